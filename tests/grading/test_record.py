"""Result files, resume and the gradebook: nothing lost, nothing done twice, no zero that was not earned."""

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from foreign import course, fake

from autograder.errors import UserError
from autograder.grading import record
from autograder.grading.classroom import open_course
from autograder.grading.grade import grade_class
from autograder.grading.job import Bundle, Job, Limits, Result
from autograder.grading.record import (
    Finished,
    InfrastructureFailure,
    Recorder,
    Store,
    atomic_write,
    result_key,
)

HERE = Path(__file__).parent
BUNDLE = Bundle("ps1", "{}", {"numbers.txt": b"1"})
JOB = Job("ada", BUNDLE, "{}", {"notes.txt": b"x"})


def finished(key: str = "a" * 64, student: str = "ada", notebook: str = "problem1", **result: object) -> Finished:
    return Finished(key, student, "ps1", notebook, Result(student, "ps1", "done", **result), ("One repair.",))


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left")


# --- result files -----------------------------------------------------------------------------------------------------


def test_a_result_survives_its_file(tmp_path):
    store = Store(tmp_path)
    one = finished(notebook_json := "a" * 64, notebook="problem1", limits_hit=("Too slow.",))
    store.save(one)
    assert store.load("ps1", "ada", "problem1", notebook_json) == one
    assert store.load("ps1", "ada", "problem1", "a" * 16 + "b" * 48) is None, "the whole key counts"
    assert store.load("ps1", "bob", "problem1", notebook_json) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b'{"result": {}, "repairs": []}', b"\xff"])
def test_a_damaged_file_is_no_result(tmp_path, damage):
    store = Store(tmp_path)
    store.save(finished())
    store.path("ps1", "ada", "problem1", "a" * 64).write_bytes(damage)
    assert store.load("ps1", "ada", "problem1", "a" * 64) is None


def test_a_new_result_replaces_the_older_of_the_same_notebook(tmp_path):
    store = Store(tmp_path)
    for one in (finished("a" * 64), finished("a" * 64, notebook="problem10"), finished("b" * 64)):
        store.save(one)
    assert {path.name for path in (tmp_path / "ps1" / "ada").iterdir()} == {
        f"problem1.{'b' * 16}.json",
        f"problem10.{'a' * 16}.json",
    }


@pytest.mark.parametrize(
    "other",
    [
        (b"work", replace(JOB, bundle=replace(BUNDLE, release='{"hidden": 1}'))),
        (b"work", replace(JOB, bundle=replace(BUNDLE, files={"numbers.txt": b"2"}))),
        (b"work", replace(JOB, files={"notes.txt": b"y"})),
        (b"work", replace(JOB, mode="classic")),
        (b"work", replace(JOB, seed="s")),
        (b"work", replace(JOB, sandbox="none")),
        (b"work", replace(JOB, limits=Limits(cell_seconds=5))),
        (b"other work", JOB),
    ],
)
def test_whatever_a_result_depends_on_is_in_its_key(other):
    assert result_key(b"work", JOB) == result_key(b"work", replace(JOB, submission="realigned"))
    assert result_key(*other) != result_key(b"work", JOB)


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    atomic_write(path, b"old", 0o444)
    atomic_write(path, b"new", 0o444)  # over a read-only file
    monkeypatch.setattr(record.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, b"newer")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


# --- the gradebook ----------------------------------------------------------------------------------------------------


@pytest.fixture
def ada(copy_course):
    """A course with one submission, ready to be recorded."""
    folder = copy_course("course")
    for name, answers in zip(course.NOTEBOOKS, (course.RIGHT, course.LOAD), strict=True):
        course.submit(folder, "ada", name, course.answered(course.released(folder, name), answers))
    return open_course(folder)


def run_one(opened, name: str = "problem1", outputs: dict[str, list] | None = None) -> Finished:
    """A finished result in which each test cell has the given outputs."""
    notebook = course.answered(opened.lesson("ps1").notebooks[name].master, {**course.RIGHT, **course.LOAD})
    for cell in notebook.cells:
        if (grade_id := cell.metadata.get("nbgrader", {}).get("grade_id")) in (outputs or {}):
            cell.outputs = outputs[grade_id]
    return Finished("k" * 64, "ada", "ps1", name, Result("ada", "ps1", "done", notebook=json.dumps(notebook)))


def value(text: str) -> dict:
    return {"output_type": "execute_result", "data": {"text/plain": text}, "metadata": {}, "execution_count": 1}


ERROR = {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}


@pytest.mark.parametrize(
    ("outputs", "score"),
    [
        ([], 4.0),
        ([value("2.5")], 2.5),
        ([value("0")], 0.0),
        ([value("4")], 4.0),
        ([value("4.5")], 4.0),  # nbgrader fails the whole submission
        ([value("inf")], 4.0),
        ([value("-1")], 0.0),  # nbgrader gives full marks
        ([value("nan")], 0.0),
        ([value("'fine'")], 4.0),
        ([value("")], 4.0),  # nbgrader raises KeyError
        ([ERROR], 0.0),
        ([value("3"), ERROR], 3.0),  # as nbgrader: the first of the two decides
        ([{"output_type": "stream", "name": "stderr", "text": "careful"}], 0.0),
        ([{"output_type": "stream", "name": "stdout", "text": "hello"}], 4.0),
    ],
)
def test_points_of_a_test_cell(ada, outputs, score):
    with Recorder(ada, ada.lesson("ps1")) as recorder:
        folder = ada.submissions("ps1")["ada"]
        recorder.register("ada", folder)
        scores = recorder.record(run_one(ada, outputs={"test_unit": outputs}), folder)
    assert scores["test_unit"] == score
    assert course.scores(ada.root)["ada", "test_unit"] == (score, False)
    assert scores["why"] is None and course.scores(ada.root)["ada", "why"] == (None, True)


def test_ignore_pattern_of_the_course_is_honoured(ada):
    (ada.root / "nbgrader_config.py").write_text(
        "c = get_config()\nc.IgnorePattern.enabled = True\nc.IgnorePattern.pattern = 'Deprecat'\n"
    )
    opened = open_course(ada.root)
    warning = {"output_type": "stream", "name": "stderr", "text": "DeprecationWarning: x"}
    with Recorder(opened, opened.lesson("ps1")) as recorder:
        folder = opened.submissions("ps1")["ada"]
        recorder.register("ada", folder)
        assert recorder.record(run_one(opened, outputs={"test_unit": [warning]}), folder)["test_unit"] == 4.0


def test_recording_twice_is_recording_once(ada):
    lesson, folder, one = ada.lesson("ps1"), ada.submissions("ps1")["ada"], run_one(ada)
    with Recorder(ada, lesson) as recorder:
        recorder.register("ada", folder)
        assert not recorder.is_recorded(one, folder)
        recorder.record(one, folder)
        first = course.scores(ada.root)
        assert recorder.is_recorded(one, folder)
        recorder.record(one, folder)
    assert course.scores(ada.root) == first
    with Recorder(ada, lesson) as recorder:
        assert recorder.is_recorded(one, folder), "the next run sees it too"
        assert not recorder.is_recorded(replace(one, key="other"), folder)
        (folder / "timestamp.txt").write_text("2030-01-01 00:00:00 UTC")
        assert not recorder.is_recorded(one, folder), "the time of handing in counts: it may cost a late penalty"


def test_a_lost_gradebook_is_filled_again_from_the_result_files(graded_course, foreign_master):
    before = course.scores(graded_course)
    (graded_course / "gradebook.db").write_bytes((foreign_master / "gradebook.db").read_bytes())
    again = grade_class(graded_course, "ps1", run=fake.run, jobs=1)
    assert (again.graded, again.kept) == (0, 15)
    assert course.scores(graded_course) == before


def test_a_manual_score_is_not_touched(ada):
    from nbgrader.api import Gradebook

    lesson, folder, one = ada.lesson("ps1"), ada.submissions("ps1")["ada"], run_one(ada)
    with Recorder(ada, lesson) as recorder:
        recorder.register("ada", folder)
        recorder.record(one, folder)
    with Gradebook(ada.coursedir.db_url) as gradebook:
        grade = gradebook.find_grade("why", "problem1", "ps1", "ada")
        grade.manual_score, grade.needs_manual_grade = 2.5, False
        gradebook.db.commit()
    with Recorder(ada, lesson) as recorder:
        assert recorder.is_recorded(one, folder), "so a second run does not ask for it to be looked at again"
    (row,) = [row for row in ada.grades("ps1") if row.cell == "why"]
    assert row.score == 2.5 and not row.needs_manual_grade


def test_late_penalty_by_the_plugin_of_the_course(ada):
    (ada.root / "my_penalty.py").write_text(
        "from nbgrader.plugins import BasePlugin\n"
        "class Half(BasePlugin):\n"
        "    def late_submission_penalty(self, student_id, score, total_seconds_late):\n"
        "        return score / 2 if total_seconds_late > 3600 else None\n"
    )
    (ada.root / "nbgrader_config.py").write_text(
        "c = get_config()\nc.AssignLatePenalties.plugin_class = 'my_penalty.Half'\n"
    )
    from nbgrader.api import Gradebook

    with Gradebook(ada.coursedir.db_url) as gradebook:
        gradebook.update_or_create_assignment("ps1", duedate="2030-01-01 12:00:00 UTC")
    folder = ada.submissions("ps1")["ada"]
    penalties = []
    for timestamp in ("2030-01-01 12:30:00 UTC", "2030-01-01 14:00:00 UTC", "not a time", "2030-01-01 11:00:00 UTC"):
        (folder / "timestamp.txt").write_text(timestamp)
        opened = open_course(ada.root)
        with Recorder(opened, opened.lesson("ps1")) as recorder:
            recorder.register("ada", folder)
            recorder.record(run_one(opened), folder)
        with Gradebook(ada.coursedir.db_url) as gradebook:
            notebook = gradebook.find_submission_notebook("problem1", "ps1", "ada")
            penalties.append(notebook.late_submission_penalty)
    assert penalties == [None, 3.0, 3.0, None], "half of 6 points; a time that cannot be read leaves the one known"


def test_a_locked_gradebook_is_tried_again(ada):
    waits = []
    blocker = sqlite3.connect(ada.root / "gradebook.db", isolation_level=None, timeout=0)
    folder = ada.submissions("ps1")["ada"]

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            blocker.execute("ROLLBACK")

    ada.coursedir.db_url += "?timeout=0"
    with Recorder(ada, ada.lesson("ps1"), sleep=sleep) as recorder:
        blocker.execute("BEGIN EXCLUSIVE")
        recorder.register("ada", folder)
        assert waits == [0.25, 0.5]
        scores = recorder.record(run_one(ada), folder)
    assert scores["test_unit"] == 4.0


def test_a_gradebook_that_stays_locked_is_a_failure_and_no_zero(ada):
    blocker = sqlite3.connect(ada.root / "gradebook.db", isolation_level=None, timeout=0)
    folder, one = ada.submissions("ps1")["ada"], run_one(ada)
    ada.coursedir.db_url += "?timeout=0"
    with Recorder(ada, ada.lesson("ps1"), sleep=lambda seconds: None) as recorder:
        recorder.register("ada", folder)
        blocker.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InfrastructureFailure, match="database is locked"):
            recorder.record(one, folder)
        blocker.execute("ROLLBACK")
    assert course.scores(ada.root)["ada", "test_unit"][0] is None


def test_a_full_disk_is_a_failure_and_the_next_run_finishes(ada, monkeypatch):
    folder, one = ada.submissions("ps1")["ada"], run_one(ada)
    with Recorder(ada, ada.lesson("ps1"), sleep=lambda seconds: None) as recorder:
        recorder.register("ada", folder)
        with monkeypatch.context() as patch:
            patch.setattr(record.Path, "replace", no_space)
            with pytest.raises(InfrastructureFailure, match="No space left"):
                recorder.save(one)
            with pytest.raises(InfrastructureFailure, match="No space left"):
                recorder.record(one, folder)
        assert recorder.store.load("ps1", "ada", "problem1", one.key) is None
        assert not recorder.is_recorded(one, folder)
        recorder.save(one)
        recorder.record(one, folder)
        assert recorder.is_recorded(one, folder)


def test_one_writer_at_a_time(ada):
    with (
        Recorder(ada, ada.lesson("ps1")),
        pytest.raises(UserError, match="Another run is grading"),
        Recorder(ada, ada.lesson("ps1")),
    ):
        pass
    with Recorder(ada, ada.lesson("ps1")):
        pass  # free again


def test_a_folder_that_cannot_be_written(ada):
    ada.coursedir.autograded_directory = "/proc/nowhere/autograded"
    with pytest.raises(UserError, match="cannot be written"), Recorder(ada, ada.lesson("ps1")):
        pass


def test_autograded_files_are_those_of_the_course_over_those_of_the_student(ada, tmp_path):
    folder = ada.submissions("ps1")["ada"]
    (folder / "numbers.txt").write_text("my own numbers")
    (folder / "sub").mkdir()
    (folder / "sub" / "helper.py").write_text("x = 1")
    (tmp_path / "secret").write_text("not mine")
    (folder / "link.txt").symlink_to(tmp_path / "secret")
    (folder / "folder_link").symlink_to(tmp_path)
    files, left_out = record.student_files(folder)
    assert set(files) == {"numbers.txt", "sub/helper.py"} and len(left_out) == 1
    with Recorder(ada, ada.lesson("ps1")) as recorder:
        recorder.register("ada", folder)
        recorder.record(run_one(ada), folder)
    autograded = ada.path("autograded", "ada", "ps1")
    assert (autograded / "numbers.txt").read_text() == "1\n2\n3\n"
    assert (autograded / "sub" / "helper.py").read_text() == "x = 1"
    assert not (autograded / "link.txt").exists()
    assert oct((autograded / "problem1.ipynb").stat().st_mode & 0o777) == "0o444"


def test_a_file_that_becomes_a_folder_and_back(ada):
    folder, autograded = ada.submissions("ps1")["ada"], ada.path("autograded", "ada", "ps1")
    with Recorder(ada, ada.lesson("ps1"), tries=1) as recorder:
        recorder.register("ada", folder)
        for _ in range(2):
            (folder / "data").write_text("a file")
            (folder / "timestamp.txt").write_text("2030-01-01 00:00:00 UTC")
            recorder.record(run_one(ada), folder)
            assert (autograded / "data").read_text() == "a file"
            (folder / "data").unlink()
            (folder / "timestamp.txt").unlink()
            for name in ("data/deep/er", "timestamp.txt/er", "numbers.txt/er"):  # the last is a file of the lesson's
                (folder / name).parent.mkdir(parents=True)
                (folder / name).write_text("deeper")
            recorder.record(run_one(ada), folder)
            assert (autograded / "data/deep/er").read_text() == "deeper"
            assert (autograded / "numbers.txt").read_text() == "1\n2\n3\n"
            for name in ("data", "timestamp.txt", "numbers.txt"):
                shutil.rmtree(folder / name)


def test_a_notebook_that_becomes_a_folder_is_named_and_stops_nobody(foreign_course):
    assert grade_class(foreign_course, course.LESSON, run=fake.run).problems == {}
    before = course.scores(foreign_course)
    path = foreign_course / "submitted" / "partly" / course.LESSON / "problem1.ipynb"
    path.unlink()
    (path / "inside").mkdir(parents=True)
    report = grade_class(foreign_course, course.LESSON, run=fake.run, fresh=True)
    assert report.problems == {}
    assert "The notebook problem1.ipynb was not handed in." in report.students["partly"].repairs
    after = course.scores(foreign_course)
    assert {k: v for k, v in after.items() if k[0] != "partly"} == {k: v for k, v in before.items() if k[0] != "partly"}


def test_too_many_files_beside_the_notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "MAX_FILES_BYTES", 100)
    (tmp_path / "a.bin").write_bytes(b"x" * 60)
    (tmp_path / "b.bin").write_bytes(b"x" * 60)
    (tmp_path / "c.bin").write_bytes(b"x" * 30)
    files, left_out = record.student_files(tmp_path)
    assert set(files) == {"a.bin", "c.bin"} and "left out" in left_out[0]


# --- kill -9 ----------------------------------------------------------------------------------------------------------

GRADE = """
import sys
sys.path[:0] = [{here!r}, {root!r}]
from foreign import fake
from autograder.grading.grade import grade_class

if __name__ == "__main__":
    report = grade_class(sys.argv[1], "ps1", run=fake.run, jobs=2)
    assert not report.problems, report.problems
"""


def survives_kills(folder: Path, undisturbed: dict, kills: int, seed: int, db_url: str = "") -> None:
    """Grade the class, killed with SIGKILL again and again at random moments; then let it finish, and compare."""
    script = folder / "grade_it.py"
    script.write_text(GRADE.format(here=str(HERE), root=str(HERE.parent.parent)))
    log = folder / "runs.log"
    env = {**os.environ, "FAKE_RUN_LOG": str(log)}
    rng = random.Random(seed)
    progress = folder / "results"
    killed = 0
    while killed < kills:
        process = subprocess.Popen([sys.executable, script, folder], env=env, stderr=subprocess.PIPE)
        files = len(list(progress.rglob("*.json")))
        # From when it starts to write, so that the moments are spread over the work and not over the imports.
        while process.poll() is None and len(list(progress.rglob("*.json"))) == files and rng.random() < 0.97:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.08))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        assert_no_workers_of(process.pid)
        if process.returncode == 0:  # all done before we struck: start over, the files are part of the test
            (next(iter(progress.rglob("*.json")))).unlink()
        else:
            assert process.returncode == -signal.SIGKILL
    subprocess.run([sys.executable, script, folder], env=env, check=True)
    assert course.scores(folder, db_url) == undisturbed
    assert not list(folder.rglob(".*.part")), "nothing half-written is left"
    ran = len(log.read_text().splitlines())
    subprocess.run([sys.executable, script, folder], env=env, check=True)
    assert len(log.read_text().splitlines()) == ran, "a finished class is not run again"
    assert course.scores(folder, db_url) == undisturbed


def assert_no_workers_of(pid: int) -> None:
    """The workers of a killed grader must end too: they know their parent's id from their command line."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        left = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if f"parent_pid={pid}," in path.read_text():
                    left.append(path.parent.name)
        if not left:
            return
        time.sleep(0.05)
    raise AssertionError(f"workers outlive their grader: {left}")


@pytest.fixture
def undisturbed(graded_master) -> dict:
    return course.scores(graded_master)


def test_killed_runs_resume(foreign_course, undisturbed):
    survives_kills(foreign_course, undisturbed, kills=3, seed=0)


@pytest.mark.slow
def test_twenty_killed_runs_resume(foreign_course, undisturbed):
    survives_kills(foreign_course, undisturbed, kills=20, seed=1)
