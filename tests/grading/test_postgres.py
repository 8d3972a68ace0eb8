"""The gradebook in Postgres, through `db_url`: a throw-away server of the tests' own, on a socket in /tmp."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign import course, fake
from test_record import survives_kills

from autograder.errors import UserError
from autograder.grading.classroom import open_course
from autograder.grading.feedback import write_feedback
from autograder.grading.grade import grade_class
from autograder.grading.record import InfrastructureFailure, Recorder

psycopg2 = pytest.importorskip("psycopg2", reason="NOT TESTED: pip install psycopg2-binary")
BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
pytestmark = pytest.mark.skipif(BIN is None, reason="NOT TESTED: Postgres is not installed: `apt install postgresql`")


class Server:
    """A Postgres server that ends with the tests."""

    def __init__(self, folder: Path):
        self.folder, self.data = folder, folder / "data"
        if os.geteuid() == 0:  # which Postgres refuses to run as
            shutil.chown(folder, "postgres", "postgres")
        self.call("initdb", "-D", self.data, "-U", "grader", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-locale")
        self.start()

    def call(self, program: str, *arguments: object) -> None:
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        command = [BIN / program, *map(str, arguments)]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=120, **user)

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off"
        self.call("pg_ctl", "-D", self.data, "-o", options, "-l", self.folder / "log", "-w", "start")

    def stop(self) -> None:
        self.call("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def execute(self, statement: str) -> None:
        with contextlib.closing(psycopg2.connect(host=self.folder, user="grader", dbname="postgres")) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg2://grader@/{database}?host={self.folder}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has 107 characters at most
    made = Server(folder)
    yield made
    with contextlib.suppress(subprocess.CalledProcessError):
        made.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def released(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course, released by stock nbgrader into a database that no test changes."""
    server.execute("CREATE DATABASE released")
    folder = course.build(tmp_path_factory.mktemp("postgres") / "course", server.url("released"))
    course.hand_in_honest(folder)
    return folder


@pytest.fixture
def fresh(server: Server, released: Path, tmp_path: Path) -> tuple[Path, str]:
    """A copy of the course, with a class that nobody has graded, and the URL of its copy of the database."""
    name = f"copy_{uuid.uuid4().hex}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE released")
    folder = Path(shutil.copytree(released, tmp_path / "course"))
    course.configure(folder, server.url(name))
    return folder, server.url(name)


def test_scores_are_those_of_sqlite(fresh, graded_master):
    folder, url = fresh
    assert grade_class(folder, course.LESSON, run=fake.run, jobs=2).problems == {}
    assert course.scores(folder, url) == course.scores(graded_master) and not list(folder.glob("*.db"))
    again = grade_class(folder, course.LESSON, run=fake.run, jobs=1)
    assert (again.graded, again.problems) == (0, {})
    assert len(write_feedback(folder, course.LESSON, only=["all_right"])) == 2


def test_killed_runs_resume(fresh, graded_master):
    folder, url = fresh
    survives_kills(folder, course.scores(graded_master), kills=2, seed=2, db_url=url)


def test_a_server_that_ends_in_the_middle_loses_nothing(server, fresh, graded_master, monkeypatch):
    folder, url = fresh
    recorded, original = [], Recorder._record

    def pull_the_plug(self, *arguments):
        recorded.append(arguments)
        if len(recorded) == 3:
            server.stop()
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "_record", pull_the_plug)
        patch.setitem(Recorder.__init__.__kwdefaults__, "sleep", lambda seconds: None)
        with pytest.raises(UserError, match="grader@.* cannot be opened"):  # at the end, for the report
            grade_class(folder, course.LESSON, run=fake.run, jobs=1)
    server.start()
    before = course.scores(folder, url)
    right = course.scores(graded_master)
    assert before and all(score == right[who] for who, score in before.items() if score[0] is not None)
    assert grade_class(folder, course.LESSON, run=fake.run, jobs=1).problems == {}
    assert course.scores(folder, url) == right


def test_a_table_that_somebody_holds_is_waited_for_and_then_reported(fresh):
    folder, url = fresh
    opened = open_course(folder)
    assert "lock_timeout" in opened.coursedir.db_url
    opened.coursedir.db_url = f"{url}&options=-c%20lock_timeout%3D50ms"
    submitted = opened.submissions(course.LESSON)["partly"]
    with contextlib.closing(psycopg2.connect(url.replace("+psycopg2", ""))) as other:
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                other.rollback()

        with Recorder(opened, opened.lesson(course.LESSON), sleep=sleep) as recorder:
            other.cursor().execute("LOCK TABLE submitted_assignment IN ACCESS EXCLUSIVE MODE")
            recorder.register("partly", submitted)
            assert len(pauses) == 3
            other.cursor().execute("LOCK TABLE submitted_assignment IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(InfrastructureFailure, match="lock timeout"):
                recorder.register("blank", submitted, ["problem1"])


def test_a_driver_that_is_not_there_is_the_users_to_install(fresh):
    folder, url = fresh
    course.configure(folder, url.replace("psycopg2", "pg8000"))
    with pytest.raises(UserError, match=r"needs the Python package pg8000.*attention-to-alignment\[postgres\]"):
        grade_class(folder, course.LESSON, run=fake.run)
