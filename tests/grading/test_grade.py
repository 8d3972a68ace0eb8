"""A class from folder to gradebook: parity with nbgrader, resume, what breaks, what is said to the user."""

import json
import os
import shutil
from pathlib import Path

import pytest
from foreign import course, fake

from autograder.errors import UserError
from autograder.grading import grade
from autograder.grading.classroom import open_course
from autograder.grading.grade import Progress, grade_class
from autograder.grading.job import Limits


@pytest.fixture
def log(tmp_path, monkeypatch) -> Path:
    """The file in which the fake runner writes a line for each job."""
    path = tmp_path / "runs.log"
    path.touch()
    monkeypatch.setenv("FAKE_RUN_LOG", str(path))
    return path


def hand_in(folder: Path, student: str, extra: str = "", **answers: str) -> Path:
    """A right submission of problem1 and problem2, with a line added to the first answer."""
    for name, right in zip(course.NOTEBOOKS, (course.RIGHT, course.LOAD), strict=True):
        texts = {**right, **answers}
        if extra and "squares" in texts:
            texts["squares"] += f"\n# {extra}"
        course.submit(folder, student, name, course.answered(course.released(folder, name), texts))
    return folder / "submitted" / student / course.LESSON


def test_scores_are_those_of_nbgrader(foreign_course, graded_by_nbgrader):
    report = grade_class(foreign_course, course.LESSON, run=fake.run)
    assert course.scores(foreign_course) == course.scores(graded_by_nbgrader)
    assert report.problems == {} and report.exit_code == 0
    assert report.graded == 2 * len(course.HONEST) - 1
    assert report.points == course.MAX_SCORE
    right, blank = report.students["all_right"], report.students["blank"]
    assert (right.total, right.by_hand) == (7.0, ("why", "sketch", "task_plot"))
    assert blank.total == 0 and set(blank.hints) == {"test_squares", "test_unit", "test_load"}
    assert "problem2.ipynb was not handed in" in report.students["one_missing"].repairs[0]
    # What nbgrader reads next finds what it expects.
    course.nbgrader(foreign_course, "generate_feedback", course.LESSON, "--student", "all_right")
    assert len(list((foreign_course / "feedback").rglob("*.html"))) == 2
    ours, theirs = (
        {path.relative_to(folder) for path in (folder / "autograded").rglob("*.*")}
        for folder in (foreign_course, graded_by_nbgrader)
    )
    assert ours == theirs


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap")
@pytest.mark.parametrize("mode", ["sealed", "classic"])
def test_the_runner_gives_the_scores_of_nbgrader(foreign_course, graded_by_nbgrader, mode):
    report = grade_class(foreign_course, course.LESSON, mode=mode)
    assert report.problems == {}
    assert course.scores(foreign_course) == course.scores(graded_by_nbgrader)
    assert report.students["raises"].cpu > 0


def test_nothing_is_done_twice_and_what_changed_is_done_again(foreign_course, log):
    def students() -> list[str]:
        lines = log.read_text().split()
        log.write_text("")
        return sorted(lines)

    first = grade_class(foreign_course, course.LESSON, run=fake.run)
    assert len(students()) == first.graded == 15
    again = grade_class(foreign_course, course.LESSON, run=fake.run)
    assert (again.graded, again.kept, students()) == (0, 15, [])
    assert {s: r.scores for s, r in again.students.items()} == {s: r.scores for s, r in first.students.items()}
    assert {s: r.hints for s, r in again.students.items()} == {s: r.hints for s, r in first.students.items()}

    hand_in(foreign_course, "blank")
    assert grade_class(foreign_course, course.LESSON, run=fake.run).students["blank"].total == 7.0
    assert students() == ["blank", "blank"]

    one = grade_class(foreign_course, course.LESSON, run=fake.run, only=["prints"], fresh=True)
    assert students() == ["prints", "prints"] and list(one.students) == ["prints"]

    # A test of problem2 changes: problem2 is run again for everybody, problem1 for nobody.
    source = foreign_course / "source" / course.LESSON / "problem2.ipynb"
    source.write_text(source.read_text().replace("[1, 2, 3]", "[1, 2, 4]"))
    course.nbgrader(foreign_course, "generate_assignment", course.LESSON, "--force")
    changed = grade_class(foreign_course, course.LESSON, run=fake.run)
    assert (changed.graded, changed.kept) == (7, 8)
    assert changed.students["all_right"].scores["test_load"] == 0

    # Other numbers for the class, another time limit, another mode: everything depends on them.
    assert grade_class(foreign_course, course.LESSON, run=fake.run, seed="2031").graded == 15
    assert grade_class(foreign_course, course.LESSON, run=fake.run, seed="2031", mode="classic").graded == 15
    limits = Limits(cell_seconds=3)
    assert grade_class(foreign_course, course.LESSON, run=fake.run, seed="2031", limits=limits).graded == 15


def test_a_broken_submission_costs_only_itself(copy_course):
    folder = copy_course("course")
    for student in ("ada", "zoe"):
        hand_in(folder, student)
    course.submit(folder, "cut", "problem1", b'{"cells": [')
    course.submit(folder, "empty", "problem1", b"")
    (folder / "submitted" / "nothing" / course.LESSON).mkdir(parents=True)
    link = hand_in(folder, "thief") / "problem1.ipynb"
    link.unlink()
    link.symlink_to(folder / "submitted" / "ada" / course.LESSON / "problem1.ipynb")
    renamed = hand_in(folder, "renamed")
    (renamed / "problem1.ipynb").rename(renamed / "Copy of problem1 (1).ipynb")

    report = grade_class(folder, course.LESSON, run=fake.run)
    assert set(report.problems) == {"cut", "empty", "nothing"} and report.exit_code == 1
    assert "problem1.ipynb is unreadable: the file is cut off" in report.problems["cut"]
    assert "handed in no notebook" in report.problems["nothing"]
    assert [report.students[s].total for s in ("ada", "zoe", "renamed")] == [7.0] * 3
    assert "found as 'Copy of problem1 (1).ipynb'" in report.students["renamed"].repairs[0]
    assert report.students["thief"].total == 1.0, "a link to another's notebook is as good as none"
    unreadable = {key: value for key, value in course.scores(folder).items() if key[0] == "cut"}
    assert unreadable["cut", "test_squares"][0] is None, "unreadable is not a zero"
    assert unreadable["cut", "test_load"][0] == 0, "what was not handed in is"


def test_a_submission_that_kills_its_worker_is_quarantined(copy_course, log):
    folder = copy_course("course")
    for number in range(6):
        hand_in(folder, f"honest{number}")
    hand_in(folder, "killer", "KILL THE WORKER")
    hand_in(folder, "breaker", "BREAK THE GRADER")
    report = grade_class(folder, course.LESSON, run=fake.run, jobs=2)
    assert set(report.problems) == {"killer", "breaker"}
    assert "worker of the grader died" in report.problems["killer"]
    assert "RuntimeError: a bug in the grader" in report.problems["breaker"]
    assert all(report.students[f"honest{number}"].total == 7.0 for number in range(6))
    assert log.read_text().split().count("killer") == 3, "its notebook twice, its other notebook once"
    scores = course.scores(folder)
    assert scores["killer", "test_squares"][0] is None, "no zero that was not earned"
    assert scores["killer", "test_load"] == (1.0, False), "the other notebook of the same student counts"


def test_a_grader_that_always_fails_is_not_tried_on_the_whole_class(copy_course, log):
    folder = copy_course("course")
    for number in range(40):
        hand_in(folder, f"s{number:02}", "BREAK THE GRADER")
        (folder / "submitted" / f"s{number:02}" / course.LESSON / "problem2.ipynb").unlink()
    report = grade_class(folder, course.LESSON, run=fake.run, jobs=2)
    assert len(report.problems) == 40
    assert len(log.read_text().split()) < 15
    assert "fails on every submission" in report.problems["s39"] and "a bug in the grader" in report.problems["s39"]


def refuse(job: object) -> None:
    raise UserError("bubblewrap is missing: apt install bubblewrap")


def test_what_the_user_can_mend_ends_the_run(foreign_course):
    with pytest.raises(UserError, match="bubblewrap is missing"):
        grade_class(foreign_course, course.LESSON, run=refuse)


def test_the_deadline_leaves_the_rest_for_the_next_run(copy_course, monkeypatch, log):
    folder = copy_course("course")
    for student in ("ada", "slow", "zoe"):
        hand_in(folder, student, "HANG THE WORKER" if student == "slow" else "")
    with monkeypatch.context() as patch:
        patch.setattr(grade._Grading, "late", lambda self: self.done >= 1)  # it passes while a worker hangs
        report = grade_class(folder, course.LESSON, run=fake.run, jobs=1)
    assert report.students["ada"].scores["test_unit"] == 4.0
    assert set(report.problems) == {"ada", "slow", "zoe"}, "each has a notebook left"
    assert "problem1.ipynb was not graded: the deadline passed" in report.problems["slow"]
    assert report.exit_code == 1
    hand_in(folder, "slow")
    log.write_text("")
    assert grade_class(folder, course.LESSON, run=fake.run, jobs=2).problems == {}
    assert log.read_text().split().count("ada") == 1


def test_a_deadline_of_nothing(foreign_course):
    report = grade_class(foreign_course, course.LESSON, run=fake.run, deadline=0)
    assert set(report.problems) == set(course.HONEST) and report.graded == 0


def test_a_worker_that_hangs_is_killed(copy_course, monkeypatch):
    folder = copy_course("course")
    hand_in(folder, "ada")
    hand_in(folder, "slow", "HANG THE WORKER")

    def patience(self: grade._Grading) -> float:
        return 3.0 if any("HANG" in task.job.submission for task in self.running.values()) else 600.0

    monkeypatch.setattr(grade._Grading, "patience", patience)
    report = grade_class(folder, course.LESSON, run=fake.run, jobs=2)
    assert set(report.problems) == {"slow"} and "twice" in report.problems["slow"]
    assert report.students["ada"].total == 7.0


def test_progress(foreign_course):
    events: list[Progress] = []
    grade_class(foreign_course, course.LESSON, run=fake.run, jobs=2, on_event=events.append)
    assert events[0].eta is None
    assert (events[-1].done, events[-1].running, events[-1].failed, events[-1].eta) == (16, 0, 0, 0)
    assert all(event.total == 16 and event.running <= 3 for event in events), "what is in flight is bounded"
    assert [event.done for event in events] == sorted(event.done for event in events)


def test_odd_names(copy_course):
    folder = copy_course("course")
    names = ["O'Brien", "josé álvarez", "=cmd()", "a+b", "x{y}", "[1]", "100%", "名前"]
    for name in names:
        hand_in(folder, name)
    report = grade_class(folder, course.LESSON, run=fake.run)
    assert report.problems == {} and sorted(report.students) == sorted(names)
    assert {student.total for student in report.students.values()} == {7.0}
    assert grade_class(folder, course.LESSON, run=fake.run).kept == 16


def test_a_course_with_other_folders_and_a_relative_database(copy_course, monkeypatch, tmp_path):
    folder = copy_course("course")
    (folder / "class").mkdir()
    (folder / "gradebook.db").rename(folder / "class" / "gradebook.db")
    (folder / "release").rename(folder / "notebooks")
    (folder / "nbgrader_config.py").write_text(
        "c = get_config()\nd = c.CourseDirectory\nd.course_id = 'foreign'\nd.release_directory = 'notebooks'\n"
        "d.submitted_directory = 'class/submitted'\nd.autograded_directory = 'class/autograded'\n"
        "d.db_url = 'sqlite:///class/gradebook.db'\n"
    )
    target = folder / "class" / "submitted" / "ada" / course.LESSON
    target.mkdir(parents=True)
    for name, right in zip(course.NOTEBOOKS, (course.RIGHT, course.LOAD), strict=True):
        notebook = course.answered(open_course(folder).lesson(course.LESSON).notebooks[name].release, right)
        (target / f"{name}.ipynb").write_text(json.dumps(notebook))
    monkeypatch.chdir(tmp_path)
    assert grade_class(folder, course.LESSON, run=fake.run).students["ada"].total == 7.0
    assert (folder / "class" / "results" / course.LESSON / "ada").is_dir()
    assert (folder / "class" / "autograded" / "ada" / course.LESSON / "problem1.ipynb").is_file()
    assert Path.cwd() == tmp_path, "reading a course's configuration leaves us where we were"


def test_preprocessors_that_a_course_adds_are_run(copy_course):
    folder = copy_course("course")
    (folder / "my_steps.py").write_text(
        "from nbgrader.preprocessors import NbGraderPreprocessor, SaveAutoGrades\n"
        "class Repair(NbGraderPreprocessor):\n"
        "    def preprocess(self, nb, resources):\n"
        "        for cell in nb.cells:\n"
        "            cell.source = cell.source.replace('sqaures', 'squares')\n"
        "        return nb, resources\n"
        "class Generous(SaveAutoGrades):\n"
        "    def preprocess(self, nb, resources):\n"
        "        nb, resources = super().preprocess(nb, resources)\n"
        "        with self.gradebook as gradebook:\n"
        "            who = resources['nbgrader']['student']\n"
        "            grade = gradebook.find_grade('test_squares', 'problem1', 'ps1', who)\n"
        "            grade.extra_credit = 0.5\n"
        "            gradebook.db.commit()\n"
        "        return nb, resources\n"
    )
    (folder / "nbgrader_config.py").write_text(
        "c = get_config()\n"
        "c.Autograde.sanitize_preprocessors.append('my_steps.Repair')\n"
        "c.Autograde.autograde_preprocessors = [\n"
        "    'nbgrader.preprocessors.Execute', 'my_steps.Generous', 'nbgrader.preprocessors.CheckCellMetadata']\n"
    )
    answers = {**course.RIGHT, "squares": course.RIGHT["squares"].replace("squares", "sqaures")}
    course.submit(folder, "ada", "problem1", course.answered(course.released(folder, "problem1"), answers))
    report = grade_class(folder, course.LESSON, run=fake.run)
    assert report.problems == {}
    assert report.students["ada"].scores["test_squares"] == 2.5


# --- what the user can mend -------------------------------------------------------------------------------------------


def no_release(folder: Path) -> None:
    (folder / "release" / course.LESSON / "problem2.ipynb").unlink()


def no_gradebook(folder: Path) -> None:
    (folder / "gradebook.db").unlink()


def no_submissions(folder: Path) -> None:
    os.rename(folder / "submitted", folder / "elsewhere")


def broken_release(folder: Path) -> None:
    (folder / "release" / course.LESSON / "problem1.ipynb").write_text("{")


def another_release(folder: Path) -> None:
    path = folder / "release" / course.LESSON / "problem1.ipynb"
    path.write_text(path.read_text().replace('"test_unit"', '"test_units"'))


def broken_config(folder: Path) -> None:
    (folder / "nbgrader_config.py").write_text("c = get_confg()")


def broken_gradebook(folder: Path) -> None:
    (folder / "gradebook.db").write_text("this is no database, it is a text file")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_release, "problem2.ipynb is missing: release the lesson first"),
        (no_gradebook, "has no gradebook: release a lesson first .*generate_assignment LESSON --force"),
        (no_submissions, "Nobody has handed in ps1"),
        (broken_release, "problem1.ipynb cannot be read as a notebook"),
        (another_release, "disagree about test_unit, test_units: release the lesson again"),
        (broken_config, "nbgrader_config.py cannot be loaded: name 'get_confg' is not defined"),
        (broken_gradebook, "cannot be opened: .*not a database"),
    ],
)
def test_a_course_in_disorder_is_one_sentence(foreign_course, damage, message):
    damage(foreign_course)
    with pytest.raises(UserError, match=message) as error:
        grade_class(foreign_course, course.LESSON, run=fake.run)
    assert "\n" not in str(error.value)


def test_wrong_arguments_are_one_sentence(foreign_course, tmp_path):
    with pytest.raises(UserError, match=r"There is no lesson ps2 .*did you mean ps1\?"):
        grade_class(foreign_course, "ps2", run=fake.run)
    (foreign_course / "source" / "ps2").mkdir()
    with pytest.raises(UserError, match="There is no lesson ps2 .*release it first .*generate_assignment ps2 --force"):
        grade_class(foreign_course, "ps2", run=fake.run)
    with pytest.raises(UserError, match="No submission of nobody: there are all_right"):
        grade_class(foreign_course, course.LESSON, run=fake.run, only=["nobody"])
    with pytest.raises(UserError, match="is not a folder"):
        grade_class(tmp_path / "nowhere", course.LESSON, run=fake.run)
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match="is not an nbgrader course"):
        grade_class(tmp_path / "bare", course.LESSON, run=fake.run)
    with pytest.raises(UserError, match="at least 1"):
        grade_class(foreign_course, course.LESSON, run=fake.run, jobs=0)


# --- a cluster --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster():
    """Two Dask workers, each a process of its own, as on a cluster."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
    ) as local:
        yield local


def test_dask_gives_the_same_scores(cluster, foreign_course, copy_course):
    pool = copy_course("pool")
    course.hand_in_honest(pool)
    grade_class(pool, course.LESSON, run=fake.run)
    report = grade_class(foreign_course, course.LESSON, run=fake.run, scheduler=cluster.scheduler_address)
    assert report.problems == {} and report.graded == 15
    assert course.scores(foreign_course) == course.scores(pool)


def test_a_worker_killed_under_dask(cluster, copy_course):
    folder = copy_course("course")
    for number in range(4):
        hand_in(folder, f"honest{number}")
    hand_in(folder, "killer", "KILL THE WORKER")
    report = grade_class(folder, course.LESSON, run=fake.run, scheduler=cluster.scheduler_address)
    assert set(report.problems) == {"killer"}
    assert all(report.students[f"honest{number}"].total == 7.0 for number in range(4))
    assert course.scores(folder)["killer", "test_squares"][0] is None


def test_no_scheduler(foreign_course, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(grade, "_DASK_SECONDS", 1)
    with pytest.raises(UserError, match="No Dask scheduler answers"):
        grade_class(foreign_course, course.LESSON, run=fake.run, scheduler="tcp://127.0.0.1:9")
