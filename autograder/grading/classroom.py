"""An nbgrader course folder, read as nbgrader reads it: its configuration, lessons, releases and submissions.

Any course will do: a folder with an `nbgrader_config.py`, or with nbgrader's default layout. The configuration is
Python that the instructor wrote, and is executed, as by nbgrader itself.
"""

from __future__ import annotations

import difflib
import glob
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from autograder.errors import UserError

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from nbgrader.api import Gradebook
    from nbgrader.apps import NbGrader
    from nbgrader.converters import Autograde
    from nbgrader.coursedir import CourseDirectory


@dataclass(frozen=True)
class LessonNotebook:
    """One notebook of a lesson (most lessons have one, of the lesson's own name)."""

    name: str
    release: NotebookNode  # what the students got
    master: NotebookNode  # the same with its hidden tests in place, from the gradebook
    points: dict[str, float]  # grade id → maximum, in the notebook's order
    solution: NotebookNode | None = None  # the instructor's own, where it is at hand


@dataclass(frozen=True)
class Lesson:
    name: str
    notebooks: dict[str, LessonNotebook]
    files: dict[str, bytes] = field(default_factory=dict)  # beside the notebooks: relative path → content

    @property
    def max_score(self) -> float:
        return sum(sum(notebook.points.values()) for notebook in self.notebooks.values())


class GradeRow(NamedTuple):
    """One cell's grade of one student."""

    student: str
    notebook: str
    cell: str
    auto_score: float | None
    manual_score: float | None
    score: float  # a human's score where there is one, else the automatic one, with extra credit; 0 while there is none
    needs_manual_grade: bool

    @property
    def is_graded(self) -> bool:
        return self.auto_score is not None or self.manual_score is not None


class Course:
    """A course folder. `open_course` makes one."""

    def __init__(self, app: NbGrader):
        self.app = app
        self.coursedir: CourseDirectory = app.coursedir

    @property
    def root(self) -> Path:
        return Path(self.coursedir.root)

    @cached_property
    def converter(self) -> Autograde:
        """nbgrader's own autograder, configured by the course: for its lists of preprocessors and its options."""
        from nbgrader.converters import Autograde

        return Autograde(coursedir=self.coursedir, parent=self.app)

    def resources(self, student: str, lesson: str, notebook: str) -> dict[str, Any]:
        """What nbgrader's preprocessors are told about the submission they work on."""
        return {
            "metadata": {"path": str(self.path("autograded", student, lesson))},
            "unique_key": notebook,
            "nbgrader": {
                "student": student,
                "assignment": lesson,
                "notebook": notebook,
                "db_url": self.coursedir.db_url,
            },
        }

    def preprocess(self, notebook: NotebookNode, steps: list[Any], resources: dict[str, Any]) -> NotebookNode:
        """Run a notebook through nbgrader preprocessors (classes or import paths) with the course's configuration."""
        from traitlets.utils.importstring import import_item

        for step in steps:
            step = import_item(step) if isinstance(step, str) else step
            notebook, resources = step(parent=self.converter)(notebook, resources)
        return notebook

    def sanitise(self, notebook: NotebookNode, student: str, lesson: str, name: str) -> NotebookNode:
        """Run the sanitising steps that the course's configuration adds to nbgrader's: those, realignment has done."""
        from nbgrader import preprocessors as stock

        done = {"ClearOutput", "DeduplicateIds", "OverwriteKernelspec", "OverwriteCells", "CheckCellMetadata"}
        done = {getattr(stock, name) for name in done} | {f"nbgrader.preprocessors.{name}" for name in done}
        added = [step for step in self.converter.sanitize_preprocessors if step not in done]
        return self.preprocess(notebook, added, self.resources(student, lesson, name))

    @property
    def results(self) -> Path:
        """Where result files go: beside the folder of autograded submissions."""
        return (self.root / self.coursedir.autograded_directory).parent / "results"

    def path(self, step: str, student: str, lesson: str) -> Path:
        """The folder of one submission; `step` is "source", "release", "submitted", "autograded" or "feedback"."""
        return Path(self.coursedir.format_path(getattr(self.coursedir, f"{step}_directory"), student, lesson))

    @contextmanager
    def gradebook(self) -> Iterator[Gradebook]:
        """The course's gradebook, which must exist. Raises `UserError` if it does not or cannot be read."""
        from nbgrader.api import Gradebook
        from sqlalchemy import make_url
        from sqlalchemy.exc import SQLAlchemyError

        url = make_url(self.coursedir.db_url)
        if url.drivername.startswith("sqlite") and not (url.database and Path(url.database).exists()):
            raise UserError(f"{self.root} has no gradebook: release a lesson first ({_release('LESSON')}).")
        try:
            gradebook = Gradebook(self.coursedir.db_url, self.coursedir.course_id)
        except ImportError as error:
            raise UserError(
                f"{url.drivername} needs the Python package {error.name}: for Postgres "
                "pip install 'attention-to-alignment[postgres]', and begin db_url with postgresql+psycopg2://"
            ) from error
        except SQLAlchemyError as error:
            where = url.render_as_string(hide_password=True)
            raise UserError(f"The gradebook {where} cannot be opened: {_first_line(error)}") from error
        with gradebook:
            yield gradebook

    def lessons(self) -> list[str]:
        """Names of the lessons in the gradebook."""
        with self.gradebook() as gradebook:
            return sorted(assignment.name for assignment in gradebook.assignments)

    def lesson(self, name: str) -> Lesson:
        """A lesson's released notebooks and hidden tests. Raises `UserError` if there is no such release."""
        import nbformat

        lessons = self.lessons()
        if name not in lessons:
            close = difflib.get_close_matches(name, lessons, 1, 0.4)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(lessons) or 'none yet'}."
            if self.path("source", ".", name).is_dir():
                hint = f"release it first ({_release(name)})."
            raise UserError(f"There is no lesson {name} in the gradebook of {self.root}; {hint}")
        notebooks = {}
        with self.gradebook() as gradebook:
            folder = self.path("release", ".", name)
            for entry in gradebook.find_assignment(name).notebooks:
                file = folder / f"{entry.name}.ipynb"
                try:
                    release = nbformat.read(file, as_version=4)
                except FileNotFoundError:
                    raise UserError(f"{file} is missing: release the lesson first ({_release(name)}).") from None
                except Exception as error:
                    raise UserError(f"{file} cannot be read as a notebook: {_first_line(error)}") from error
                sources = {cell.name: cell for cell in entry.source_cells}
                points = {cell.name: cell.max_score for cell in [*entry.grade_cells, *entry.task_cells]}
                made = _lesson_notebook(entry.name, release, sources, points, name)
                with suppress(Exception):  # it may be elsewhere: only a test that gives points by its value asks for it
                    solution = nbformat.read(self.path("source", ".", name) / f"{entry.name}.ipynb", as_version=4)
                    made = replace(made, solution=solution)
                notebooks[entry.name] = made
        if not notebooks:
            raise UserError(f"The lesson {name} has no notebooks: release it again ({_release(name)}).")
        return Lesson(name, notebooks, self._files_beside(name))

    def _files_beside(self, lesson: str) -> dict[str, bytes]:
        """The lesson's data files: the source folder's, as for nbgrader, or the release's if there is no source."""
        from nbgrader.utils import find_all_files

        folder = self.path("source", ".", lesson)
        if not folder.is_dir():
            folder = self.path("release", ".", lesson)
        kept = {str(folder / file) for file in self.converter.exclude_overwriting.get(lesson, [])}
        files = find_all_files(str(folder), [*self.coursedir.ignore, "*.ipynb"])
        return {os.path.relpath(file, folder): Path(file).read_bytes() for file in sorted(files) if file not in kept}

    def grades(self, lesson: str) -> list[GradeRow]:
        """Every grade of a lesson in the gradebook, in one query."""
        from nbgrader.api import Assignment, BaseCell, Grade, Notebook, Student, SubmittedAssignment, SubmittedNotebook

        with self.gradebook() as gradebook:
            rows = (
                gradebook.db.query(
                    Student.id,
                    Notebook.name,
                    BaseCell.name,
                    Grade.auto_score,
                    Grade.manual_score,
                    Grade.score,
                    Grade.needs_manual_grade,
                )
                .select_from(Grade)
                .join(BaseCell, BaseCell.id == Grade.cell_id)
                .join(SubmittedNotebook, SubmittedNotebook.id == Grade.notebook_id)
                .join(Notebook, Notebook.id == SubmittedNotebook.notebook_id)
                .join(SubmittedAssignment, SubmittedAssignment.id == SubmittedNotebook.assignment_id)
                .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
                .join(Student, Student.id == SubmittedAssignment.student_id)
                .filter(Assignment.name == lesson)
                .all()
            )
            return [GradeRow(*row) for row in rows]

    def submissions(self, lesson: str) -> dict[str, Path]:
        """Student → folder with what they handed in, sorted by student. Raises `UserError` for an empty class."""
        pattern = self.coursedir.format_path(self.coursedir.submitted_directory, "*", lesson)
        student = self.coursedir.format_path(self.coursedir.submitted_directory, "(?P<student>.*)", lesson, escape=True)
        excluded = set(filter(None, self.coursedir.student_id_exclude.split(",")))
        found = {}
        for folder in sorted(glob.glob(pattern)):
            match = re.fullmatch(student, folder)
            if match and os.path.isdir(folder) and match["student"] not in excluded:
                found[match["student"]] = Path(folder)
        if not found:
            raise UserError(f"Nobody has handed in {lesson}: there is no {pattern}")
        return found


def _release(lesson: str) -> str:
    """The command that releases a lesson, also where the folder for it is there already."""
    return f"in the course's folder: nbgrader generate_assignment {lesson} --force"


def _lesson_notebook(
    name: str, release: NotebookNode, sources: dict[str, Any], points: dict[str, float], lesson: str
) -> LessonNotebook:
    """The released notebook and, from the gradebook's source cells, the one with hidden tests."""
    from copy import deepcopy

    master = deepcopy(release)
    ordered = {}
    for cell in master.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        source = sources.pop(grade_id, None)
        if source is not None:
            cell.source = source.source
            cell.metadata.nbgrader.checksum = source.checksum
        elif grade_id is not None:
            sources[grade_id] = None
        if grade_id in points:
            ordered[grade_id] = points[grade_id]
    if sources:
        raise UserError(
            f"The released {name}.ipynb and the gradebook disagree about {', '.join(sorted(sources)[:3])}: "
            f"release the lesson again ({_release(lesson)})."
        )
    return LessonNotebook(name, release, master, ordered)


def open_course(folder: Path | str) -> Course:
    """Read a course's configuration. Raises `UserError` if the folder is no course or its configuration is broken."""
    from nbgrader.apps import NbGrader

    class _Reader(NbGrader):
        load_cwd_config = False  # the course's configuration, not that of whatever folder we are called from
        raise_config_file_errors = True

        def init_syspath(self) -> None:
            """nbgrader puts the course folder before everything else; here it may not shadow our own packages."""
            import sys

            if str(root) not in sys.path:
                sys.path.append(str(root))

    root = Path(folder).resolve()
    if not root.is_dir():
        raise UserError(f"{folder} is not a folder.")
    if not any((root / name).exists() for name in ("nbgrader_config.py", "gradebook.db", "source", "release")):
        raise UserError(f"{folder} is not an nbgrader course: it has no nbgrader_config.py, gradebook.db or release.")
    logging.getLogger("tornado.application").addHandler(logging.NullHandler())  # nbgrader logs what it also raises
    before = os.getcwd()
    os.chdir(root)  # as for nbgrader, which is run inside the course
    try:
        app = _Reader(log_level=logging.CRITICAL)
        app.initialize([], root=str(root))
    except (Exception, SystemExit) as error:
        raise UserError(f"{root / 'nbgrader_config.py'} cannot be loaded: {_first_line(error)}") from error
    finally:
        os.chdir(before)
    app.coursedir.db_url = _absolute(app.coursedir.db_url, root)
    return Course(app)


def _absolute(db_url: str, root: Path) -> str:
    """A database URL in which the path of an SQLite file does not depend on the folder we are called from.

    A Postgres server that says nothing of it is told to wait for a lock as long as SQLite does, and not for ever.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(db_url)
    except ArgumentError as error:
        raise UserError(f"CourseDirectory.db_url is not a database URL: {_first_line(error)}") from error
    if url.drivername.startswith("sqlite") and url.database:
        url = url.set(database=str(root / url.database))
    if url.get_backend_name() == "postgresql" and "options" not in url.query:
        url = url.update_query_dict({"options": "-c lock_timeout=5s"})
    return url.render_as_string(hide_password=False)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
