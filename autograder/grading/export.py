"""Grades as files: for a spreadsheet, for Canvas, for Moodle.

Every file is written by the csv module, in UTF-8, and a text that a spreadsheet would take for a formula gets a leading
apostrophe (OWASP, "CSV Injection"): student names and ids are whatever somebody typed.

Column conventions:
- Canvas: the gradebook's own export and import format, `Student, ID, SIS User ID, SIS Login ID, Section`, then one
  column for each assignment, with a first row of points possible (Canvas Instructor Guide, "How do I import grades in
  the Gradebook?"). `ID` is nbgrader's lms_user_id, `SIS Login ID` its student id.
- Moodle: a header row whose columns are mapped in the import form, users by `ID number` or `Email address`
  (docs.moodle.org, "Grade import"). `ID number` is the lms_user_id, or else the student id.

In both, an empty cell leaves the grade there as it is. So a total stays empty while a part of it waits for a human, or
could not be graded: a number is only exported when it is final.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from autograder.errors import UserError
from autograder.grading.classroom import Course, open_course
from autograder.grading.record import atomic_write

To = Literal["csv", "canvas", "moodle"]
Cell = str | float | None


@dataclass
class _Student:
    id: str
    first: str
    last: str
    email: str
    lms: str

    @property
    def name(self) -> str:
        return ", ".join(part for part in (self.last, self.first) if part) or self.id


@dataclass
class _Marks:
    """One student's grades in one lesson."""

    handed_in: bool = False
    timestamp: str = ""
    penalty: float = 0.0
    scores: dict[str, float | None] = field(default_factory=dict)  # exercise → score, None while there is none
    total: float = 0.0  # of what there is, the late penalty taken off

    @property
    def waiting(self) -> list[str]:
        return [name for name, score in self.scores.items() if score is None]

    @property
    def final(self) -> float | None:
        return self.total if self.handed_in and not self.waiting else None


@dataclass
class _Lesson:
    name: str
    points: dict[str, float]  # exercise → maximum
    marks: dict[str, _Marks]  # student id → grades


def export(
    course: Course | Path | str,
    to: To = "csv",
    lesson: str | None = None,
    *,
    by_exercise: bool = False,
    folder: Path | None = None,
) -> list[Path]:
    """Write the grades of a lesson, or of all. Returns the files.

    "csv" writes `grades.csv`, a row for each student with each lesson's total, and `grades-<lesson>.csv` with a column
    for each exercise. "canvas" and "moodle" write one file to import, with each lesson's total, and with
    `by_exercise` a column for each exercise as well. The files go to `folder`, by default beside the autograded
    submissions. Raises `UserError`.
    """
    course = course if isinstance(course, Course) else open_course(course)
    formats: dict[str, Callable[..., dict[str, list[list[Cell]]]]] = {"csv": _csv, "canvas": _canvas, "moodle": _moodle}
    if to not in formats:
        raise UserError(f"Grades cannot be exported to {to}: choose {', '.join(formats)}.")
    names = course.lessons()
    if lesson is not None:
        names = [course.lesson(lesson).name]
    if not names:
        raise UserError(f"{course.root} has no lessons yet: release one first (nbgrader generate_assignment).")
    students = _students(course)
    tables = formats[to](students, [_lesson(course, name) for name in names], by_exercise)
    folder = course.results.parent if folder is None else Path(folder)
    paths = []
    for name, rows in tables.items():
        path = folder / name
        try:
            atomic_write(path, _as_csv(rows).encode())
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}): choose another folder.") from error
        paths.append(path)
    return paths


# --- reading the gradebook --------------------------------------------------------------------------------------------


def _students(course: Course) -> list[_Student]:
    with course.gradebook() as gradebook:
        return [
            _Student(s.id, s.first_name or "", s.last_name or "", s.email or "", s.lms_user_id or "")
            for s in sorted(gradebook.students, key=lambda s: (s.last_name or "", s.first_name or "", s.id))
        ]


def _lesson(course: Course, name: str) -> _Lesson:
    """A lesson's grades from the gradebook, exercises in the order of the release, if that is still there."""
    try:
        order = [(nb.name, cell) for nb in course.lesson(name).notebooks.values() for cell in nb.points]
    except UserError:
        order = []
    points: dict[str, float] = {}
    marks: dict[str, _Marks] = {}
    with course.gradebook() as gradebook:
        assignment = gradebook.find_assignment(name)
        cells = [(nb.name, cell) for nb in assignment.notebooks for cell in [*nb.grade_cells, *nb.task_cells]]
        place = {key: index for index, key in enumerate(order)}
        cells.sort(key=lambda c: (place.get((c[0], c[1].name), len(place)), c[0], c[1].name))
        plain = [cell.name for _, cell in cells]
        label = {(nb, c.name): c.name if plain.count(c.name) == 1 else f"{nb}/{c.name}" for nb, c in cells}
        points = {label[notebook, cell.name]: cell.max_score for notebook, cell in cells}
        for submission in assignment.submissions:
            marks[submission.student_id] = _Marks(
                True,
                submission.timestamp.isoformat(sep=" ", timespec="seconds") if submission.timestamp else "",
                submission.late_submission_penalty or 0.0,
                dict.fromkeys(points),
            )
    for row in course.grades(name):
        one = marks[row.student]
        one.scores[label[row.notebook, row.cell]] = row.score if row.is_graded else None
        one.total += row.score
    for one in marks.values():
        one.total = max(0.0, one.total - one.penalty)
    return _Lesson(name, points, marks)


# --- tables -----------------------------------------------------------------------------------------------------------


def _csv(students: list[_Student], lessons: list[_Lesson], by_exercise: bool) -> dict[str, list[list[Cell]]]:
    who: list[Cell] = ["student_id", "last_name", "first_name", "email"]
    totals: list[list[Cell]] = [[*who, *(lesson.name for lesson in lessons), "total", "max_total"]]
    best = sum(sum(lesson.points.values()) for lesson in lessons)
    for s in students:
        got = [lesson.marks.get(s.id, _Marks()).total for lesson in lessons]
        totals.append([s.id, s.last, s.first, s.email, *got, sum(got), best])
    tables = {"grades.csv": totals} if len(lessons) > 1 else {}
    for lesson in lessons:
        end: list[Cell] = ["raw_score", "late_penalty", "score", "max_score", "waiting"]
        rows: list[list[Cell]] = [[*who, "handed_in", *lesson.points, *end]]
        for s in students:
            one = lesson.marks.get(s.id, _Marks())
            raw = sum(score or 0.0 for score in one.scores.values())
            handed_in = one.timestamp or ("yes" if one.handed_in else "no")
            rows.append(
                [s.id, s.last, s.first, s.email, handed_in]
                + [one.scores.get(name) for name in lesson.points]
                + [raw, one.penalty, one.total, sum(lesson.points.values()), " ".join(one.waiting)]
            )
        tables[f"grades-{lesson.name}.csv"] = rows
    return tables


def _columns(lessons: list[_Lesson], by_exercise: bool) -> list[tuple[str, float, Callable[[str], Cell]]]:
    """(title, maximum, score of a student id) for each column of a gradebook elsewhere."""
    columns: list[tuple[str, float, Callable[[str], Cell]]] = []
    for lesson in lessons:

        def total(student: str, marks: dict[str, _Marks] = lesson.marks) -> Cell:
            return marks.get(student, _Marks()).final

        columns.append((lesson.name, sum(lesson.points.values()), total))
        for name, points in lesson.points.items() if by_exercise else ():

            def score(student: str, name: str = name, marks: dict[str, _Marks] = lesson.marks) -> Cell:
                return marks.get(student, _Marks()).scores.get(name)

            columns.append((f"{lesson.name}: {name}", points, score))
    return columns


def _canvas(students: list[_Student], lessons: list[_Lesson], by_exercise: bool) -> dict[str, list[list[Cell]]]:
    columns = _columns(lessons, by_exercise)
    head: list[Cell] = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    rows: list[list[Cell]] = [
        [*head, *(title for title, _, _ in columns)],
        ["    Points Possible", "", "", "", "", *(points for _, points, _ in columns)],
    ]
    rows += [[s.name, s.lms, "", s.id, "", *(score(s.id) for _, _, score in columns)] for s in students]
    return {"canvas.csv": rows}


def _moodle(students: list[_Student], lessons: list[_Lesson], by_exercise: bool) -> dict[str, list[list[Cell]]]:
    columns = _columns(lessons, by_exercise)
    head: list[Cell] = ["First name", "Last name", "ID number", "Email address"]
    rows: list[list[Cell]] = [[*head, *(title for title, _, _ in columns)]]
    for s in students:
        email = s.email or (s.id if "@" in s.id else "")
        rows.append([s.first, s.last, s.lms or s.id, email, *(score(s.id) for _, _, score in columns)])
    return {"moodle.csv": rows}


def _as_csv(rows: Sequence[Sequence[Cell]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_shown(cell) for cell in row] for row in rows)
    return text.getvalue()


def _shown(cell: Cell) -> str:
    """A number in plain notation, without float noise; a text that no spreadsheet runs."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        cell = cell.replace("\0", "")
        return "'" + cell if cell.lstrip("\t\r\n ")[:1] in tuple("=+-@") or cell[:1] in ("\t", "\r", "\n") else cell
    return f"{round(cell, 6):f}".rstrip("0").rstrip(".")
