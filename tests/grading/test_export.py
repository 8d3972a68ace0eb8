"""Exports: what a spreadsheet, Canvas and Moodle read back is what the gradebook says."""

import csv
from pathlib import Path

import pytest
from foreign import course
from nbgrader.api import Gradebook

from autograder.errors import UserError
from autograder.grading.export import _shown, export


@pytest.fixture
def graded(graded_course) -> Path:
    """The honest class, graded; one student with an awkward name, one who handed in nothing."""
    with gradebook(graded_course) as book:
        book.update_or_create_student(
            "all_right", first_name='Ada "Al", B.', last_name="=1+1", email="ada@x.org", lms_user_id="4711"
        )
        book.update_or_create_student("absent", first_name="Ab", last_name="Sent")
        for name in ("why", "sketch", "task_plot"):
            grade = book.find_grade(name, "problem1", course.LESSON, "all_right")
            grade.manual_score, grade.needs_manual_grade = 1.5 if name == "why" else 0, False
        book.db.commit()
    return graded_course


def gradebook(folder: Path) -> Gradebook:
    return Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "foreign")


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv(graded):
    (path,) = export(graded, "csv", course.LESSON)
    assert path == graded / "grades-ps1.csv"
    rows = {row["student_id"]: row for row in read(path)}
    assert set(rows) == {*course.HONEST, "absent"}
    right = rows["all_right"]
    assert (right["last_name"], right["first_name"]) == ("'=1+1", 'Ada "Al", B.')
    assert {name: right[name] for name in course.MAX_SCORE} == {
        "test_squares": "2", "test_unit": "4", "test_load": "1", "why": "1.5", "sketch": "0", "task_plot": "0",
    }  # fmt: skip
    assert (right["raw_score"], right["score"], right["max_score"], right["waiting"]) == ("8.5", "8.5", "13", "")
    partly = rows["partly"]
    assert (partly["test_unit"], partly["why"], partly["score"]) == ("3", "", "6")
    assert partly["waiting"] == "why sketch task_plot", "what waits for a human is no zero"
    assert (rows["absent"]["handed_in"], rows["absent"]["score"], rows["absent"]["test_unit"]) == ("no", "0", "")
    assert all(None not in row and None not in row.values() for row in rows.values()), "every row has every column"


def test_all_lessons(graded):
    with gradebook(graded) as book:
        book.add_assignment("ps2")
        book.add_notebook("other", "ps2")
        book.add_grade_cell("only", "other", "ps2", max_score=10, cell_type="code")
        with book.db.no_autoflush:
            book.add_submission("ps2", "all_right")
        book.find_grade("only", "other", "ps2", "all_right").auto_score = 7.25
        book.db.commit()
    paths = export(graded, "csv")
    assert [path.name for path in paths] == ["grades.csv", "grades-ps1.csv", "grades-ps2.csv"]
    rows = {row["student_id"]: row for row in read(paths[0])}
    assert (rows["all_right"]["ps1"], rows["all_right"]["ps2"], rows["all_right"]["total"]) == ("8.5", "7.25", "15.75")
    assert rows["all_right"]["max_total"] == "23"


def test_canvas(graded):
    (path,) = export(graded, "canvas", course.LESSON)
    with open(path, newline="") as file:
        header, points, *rows = csv.reader(file)
    assert header == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "ps1"]
    assert points == ["    Points Possible", "", "", "", "", "13"]
    by_login = {row[3]: row for row in rows}
    assert by_login["all_right"] == ['\'=1+1, Ada "Al", B.', "4711", "", "all_right", "", "8.5"]
    assert by_login["partly"][-1] == "", "not final: Canvas leaves what it has"
    assert by_login["absent"] == ["Sent, Ab", "", "", "absent", "", ""]


def test_canvas_by_exercise(graded):
    (path,) = export(graded, "canvas", course.LESSON, by_exercise=True)
    rows = read(path)
    assert rows[0]["ps1: test_unit"] == "4"
    (partly,) = [row for row in rows if row["SIS Login ID"] == "partly"]
    assert (partly["ps1"], partly["ps1: test_unit"], partly["ps1: why"]) == ("", "3", "")


def test_moodle(graded, tmp_path):
    (path,) = export(graded, "moodle", course.LESSON, folder=tmp_path / "out")
    assert path == tmp_path / "out" / "moodle.csv"
    rows = {row["ID number"]: row for row in read(path)}
    assert rows["4711"] == {
        "First name": 'Ada "Al", B.',
        "Last name": "'=1+1",
        "ID number": "4711",
        "Email address": "ada@x.org",
        "ps1": "8.5",
    }
    assert rows["blank"]["ps1"] == "", "its task waits for a human"


def test_late_penalty(graded):
    with gradebook(graded) as book:
        book.find_submission_notebook("problem1", course.LESSON, "all_right").late_submission_penalty = 2
        book.db.commit()
    (path,) = export(graded, "csv", course.LESSON)
    (row,) = [row for row in read(path) if row["student_id"] == "all_right"]
    assert (row["raw_score"], row["late_penalty"], row["score"]) == ("8.5", "2", "6.5")


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" =1", "' =1"),
        ("\t=1", "'\t=1"),
        ("\rx", "'\rx"),
        ("a=b", "a=b"),
        ("O'Brien", "O'Brien"),
        (-1.0, "-1"),
        (0.1 + 0.2, "0.3"),
        (1e-9, "0"),
        (100.0, "100"),
        (1e15, "1000000000000000"),
        (None, ""),
    ],
)
def test_cells(cell, shown):
    assert _shown(cell) == shown


def test_bad_input(graded, tmp_path):
    with pytest.raises(UserError, match="cannot be exported to excel: choose csv, canvas, moodle"):
        export(graded, "excel")
    with pytest.raises(UserError, match="There is no lesson ps9"):
        export(graded, "csv", "ps9")
    with pytest.raises(UserError, match="cannot be written"):
        export(graded, "csv", folder=Path("/proc/nowhere"))
