"""What is finished stays finished: atomic result files, resume, and the one writer of the gradebook.

A result goes through two doors. First it becomes a file under `Course.results`, written in one step, named by the
hashes of everything it depends on: the submission, the lesson with its hidden tests, the mode, the seed, the limits.
Then the `Recorder`, of which a course has one at a time, puts it into nbgrader's gradebook with nbgrader's own
preprocessors, and writes the autograded notebook last. A run that is killed anywhere in between is resumed by asking
three questions of each submission: is there a result file of this name, is the autograded notebook made from it, and
does the gradebook hold its scores?

A full disk or a locked database is tried again, with growing pauses, and is then an `InfrastructureFailure`: never a
grade.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from unittest import mock

from autograder.errors import UserError
from autograder.grading.classroom import Course, Lesson
from autograder.grading.job import Job, Result, lay_over

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from nbgrader.api import Gradebook

T = TypeVar("T")

FORMAT = 1  # of a result file; raise it when what a grader computes from the same input changes


class InfrastructureFailure(Exception):
    """The grader could not do its work (a full disk, a locked gradebook). Never a grade; a later run picks it up."""


# --- result files -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finished:
    """What a result file holds."""

    key: str
    student: str
    lesson: str
    notebook: str
    result: Result
    repairs: tuple[str, ...] = ()


def result_key(submitted: bytes, job: Job) -> str:
    """Names everything that a result depends on: equal keys, equal results. `submitted` is the file as handed in."""
    parts = [
        FORMAT,
        hashlib.sha256(submitted).hexdigest(),
        [[path, hashlib.sha256(data).hexdigest()] for path, data in sorted(job.files.items())],
        job.bundle.key,
        job.mode,
        job.seed,
        job.sandbox,
        asdict(job.limits),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def atomic_write(path: Path, data: bytes, mode: int = 0o644, *, durable: bool = True) -> None:
    """Write a file so that a reader, or a run after this process was killed, sees all of it or nothing of it.

    A `durable` file outlives a power cut too, which costs two waits for the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")  # always this name: what a killed run leaves is overwritten
    part.unlink(missing_ok=True)
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        part.chmod(mode)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if not durable:
        return
    with contextlib.suppress(OSError):  # not every file system lets a folder be synced
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Store:
    """The result files of a course: <lesson>/<student>/<notebook>.<key>.json."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, lesson: str, student: str, notebook: str, key: str) -> Path:
        return self.folder / lesson / student / f"{notebook}.{key[:16]}.json"

    def load(self, lesson: str, student: str, notebook: str, key: str) -> Finished | None:
        """The finished result of this key, or None if there is none or its file is damaged."""
        try:
            data = json.loads(self.path(lesson, student, notebook, key).read_bytes())
            result, repairs = Result.from_dict(data.pop("result")), tuple(data.pop("repairs"))
            finished = Finished(**data, result=result, repairs=repairs)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return finished if finished.key == key else None

    def save(self, finished: Finished) -> None:
        """Write a result, then drop the older ones of the same submission."""
        path = self.path(finished.lesson, finished.student, finished.notebook, finished.key)
        data = {**asdict(finished), "result": finished.result.as_dict()}
        atomic_write(path, json.dumps(data).encode())
        for old in path.parent.iterdir():
            if old != path and re.fullmatch(re.escape(finished.notebook) + r"\.[0-9a-f]{16}\.json", old.name):
                old.unlink(missing_ok=True)


# --- the gradebook ----------------------------------------------------------------------------------------------------


class Recorder:
    """The single writer of a course's gradebook and autograded folder. Use it as a context manager.

    A second recorder for the same course, in this or another process, is refused with a `UserError`.
    """

    def __init__(
        self,
        course: Course,
        lesson: Lesson,
        *,
        tries: int = 6,
        pause: float = 0.25,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.course = course
        self.lesson = lesson
        self.store = Store(course.results)
        self._tries, self._pause, self._sleep = tries, pause, sleep
        self._lock: int | None = None
        # What the gradebook holds: automatic scores, and when a student handed in.
        self._scores: dict[tuple[str, str], dict[str, float | None]] = {}
        self._registered: dict[str, Any] = {}

    def __enter__(self) -> Recorder:
        try:
            for folder in (self.course.results, self.course.path("autograded", "_", self.lesson.name).parent.parent):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.course.results / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(
                f"{error.filename or self.course.results} cannot be written ({error.strerror}): "
                "make the course folder writable, or grade a copy of it."
            ) from error
        try:
            _lock(self._lock)
        except OSError:
            os.close(self._lock)
            self._lock = None
            raise UserError(f"Another run is grading {self.course.root}: wait for it, or stop it.") from None
        for row in self.course.grades(self.lesson.name):
            self._scores.setdefault((row.student, row.notebook), {})[row.cell] = row.auto_score
        with self.course.gradebook() as gradebook:
            for submission in gradebook.find_assignment(self.lesson.name).submissions:
                self._registered[submission.student_id] = submission.timestamp
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)  # which unlocks it

    def register(self, student: str, folder: Path, missing: Iterable[str] = ()) -> None:
        """Note that a student has handed in: the student, the submission, its time; zeros for `missing` notebooks.

        Raises `InfrastructureFailure`; `UserError` for a student whom the gradebook does not know, if the course says
        that such are not to be created.
        """
        missing, timestamp = list(missing), self.timestamp(folder)
        known = student in self._registered and timestamp in (None, self._registered[student])
        zeros = all(set(self._scores.get((student, name), {}).values()) <= {0} for name in missing)
        if not (known and zeros):
            self._insistently(lambda: self._register(student, timestamp, missing))

    def save(self, finished: Finished) -> None:
        """Write the result file. Raises `InfrastructureFailure`."""
        self._insistently(lambda: self.store.save(finished))

    def record(self, finished: Finished, folder: Path) -> dict[str, float | None]:
        """Put a finished result into the gradebook, and write the autograded notebook beside its files.

        `folder` is what the student handed in. Returns the automatic score of each graded cell, None where a human must
        look. Doing it twice is the same as once. Raises `InfrastructureFailure`.
        """
        return self._insistently(lambda: self._record(finished, folder))

    def is_recorded(self, finished: Finished, folder: Path) -> bool:
        """Whether the gradebook and the autograded folder hold this result already."""
        path = self._autograded(finished.student, finished.notebook)
        try:
            notebook = json.loads(path.read_bytes())
            mark = notebook["metadata"]["autograder"]
            same = mark["key"] == finished.key and mark["timestamp"] == str(self.timestamp(folder))
            return same and mark["scores"] == self._scores.get((finished.student, finished.notebook))
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def timestamp(self, folder: Path) -> Any:
        """When it was handed in (naive UTC), or None: from the submission's timestamp.txt, as nbgrader reads it."""
        try:
            return self.course.coursedir.get_existing_timestamp(str(folder))
        except Exception:  # nbgrader calls a method that is not there when the text is no time
            return None

    # --- one attempt each

    def _register(self, student: str, timestamp: Any, missing: list[str]) -> None:
        from nbgrader.api import MissingEntry

        with self._transaction() as gradebook:
            if self.course.converter.create_student:
                gradebook.update_or_create_student(student)
            else:
                try:
                    gradebook.find_student(student)
                except MissingEntry:
                    raise UserError(f"{student} is not in the gradebook: nbgrader db student add {student}") from None
            extra = {"timestamp": timestamp} if timestamp else {}
            with gradebook.db.no_autoflush:  # else SQLAlchemy warns about nbgrader's half-built objects
                gradebook.update_or_create_submission(self.lesson.name, student, **extra)
            for name in missing:
                for grade in gradebook.find_submission_notebook(name, self.lesson.name, student).grades:
                    grade.auto_score, grade.needs_manual_grade = 0, False

    def _record(self, finished: Finished, folder: Path) -> dict[str, float | None]:
        import nbformat.v4
        from nbgrader.utils import determine_grade, is_grade

        notebook = nbformat.v4.reads(finished.result.notebook)
        _bound_credit(notebook)
        target = self._autograded(finished.student, finished.notebook)
        steps = [s for s in self.course.converter.autograde_preprocessors if not _is_done(s)]
        resources = self.course.resources(finished.student, finished.lesson, finished.notebook)
        with self._for_preprocessors(steps):
            notebook = self.course.preprocess(notebook, steps, resources)
        scores = {c.metadata.nbgrader.grade_id: determine_grade(c)[0] for c in notebook.cells if is_grade(c)}
        recorded = {**dict.fromkeys(self.lesson.notebooks[finished.notebook].points), **scores}
        timestamp = str(self.timestamp(folder))
        notebook.metadata["autograder"] = {"key": finished.key, "scores": recorded, "timestamp": timestamp}
        mode = int(str(self.course.converter.permissions), 8)
        for name, data in self._files(folder).items():
            _clear_the_way(target.parent, name)
            atomic_write(target.parent / name, data, mode, durable=False)
        _clear_the_way(target.parent, target.name)
        # Last, since it says that all the rest is done. What a power cut takes of it, the result file gives again.
        atomic_write(target, nbformat.writes(notebook).encode(), mode, durable=False)
        self._scores[finished.student, finished.notebook] = recorded
        return recorded

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Gradebook]:
        """The gradebook, with nbgrader's commits (one for each cell) gathered in a single one: all or nothing, and
        one wait for the disk."""
        with self.course.gradebook() as gradebook:
            session = gradebook.db()
            commit = session.commit

            def later() -> None:
                session.flush()
                session.expire_all()  # as a commit does: totals are computed when they are read

            session.commit = later
            yield gradebook
            commit()

    @contextlib.contextmanager
    def _for_preprocessors(self, steps: list[Any]) -> Iterator[None]:
        """Let nbgrader's preprocessors, which open the gradebook by name, share one transaction.

        A course's own preprocessor may open the gradebook in its own way; then each step commits for itself.
        """
        from nbgrader.preprocessors import latesubmissions, saveautogrades

        if any(not _name(step).startswith(("nbgrader.", "nbconvert.")) for step in steps):
            yield
            return
        with self._transaction() as gradebook, contextlib.ExitStack() as stack:
            closing, gradebook.close = gradebook.close, lambda: None  # each step closes it
            stack.callback(setattr, gradebook, "close", closing)
            for module in (saveautogrades, latesubmissions):
                stack.enter_context(mock.patch.object(module, "Gradebook", lambda *_, **__: gradebook))
            yield

    def _files(self, folder: Path) -> dict[str, bytes]:
        """What stands beside the autograded notebook: the student's files, the course's over them."""
        files, _ = student_files(folder, self.course.coursedir.ignore)
        with contextlib.suppress(OSError):
            files["timestamp.txt"] = (folder / "timestamp.txt").read_bytes()
        return lay_over(files, self.lesson.files)

    def _autograded(self, student: str, notebook: str) -> Path:
        return self.course.path("autograded", student, self.lesson.name) / f"{notebook}.ipynb"

    def _insistently(self, action: Callable[[], T]) -> T:
        from nbgrader.api import InvalidEntry
        from sqlalchemy.exc import SQLAlchemyError

        for attempt in range(self._tries):
            try:
                return action()
            except (OSError, SQLAlchemyError, InvalidEntry) as error:
                if attempt + 1 == self._tries:
                    text = str(getattr(error, "orig", None) or error).splitlines()[0]
                    raise InfrastructureFailure(f"could not be written after {self._tries} tries: {text}") from error
            except UserError as error:
                if not isinstance(error.__cause__, SQLAlchemyError):
                    raise
                if attempt + 1 == self._tries:
                    raise InfrastructureFailure(str(error)) from error
            self._sleep(self._pause * 2**attempt)
        raise AssertionError("unreachable: tries is at least 1")


def _clear_the_way(root: Path, name: str) -> None:
    """Remove what an earlier submission left where now a file has to be, or a folder for it."""
    for folder in reversed((root / name).relative_to(root).parents[:-1]):
        if (root / folder).is_symlink() or (root / folder).is_file():
            (root / folder).unlink()
    if (root / name).is_dir() and not (root / name).is_symlink():
        shutil.rmtree(root / name)


def _name(step: Any) -> str:
    return step if isinstance(step, str) else step.__module__


def _is_done(step: Any) -> bool:
    """Whether a step of nbgrader's list is done elsewhere: the notebook was run, its metadata are the release's."""
    from nbconvert.preprocessors import ExecutePreprocessor
    from nbgrader.preprocessors import CheckCellMetadata

    if isinstance(step, str):
        return "Execute" in step or step == "nbgrader.preprocessors.CheckCellMetadata"
    return step is CheckCellMetadata or issubclass(step, ExecutePreprocessor)


def _lock(fd: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: nothing to lock with; runs there are for trying out
        return
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _bound_credit(notebook: NotebookNode) -> None:
    """Keep partial credit between 0 and the cell's points, where nbgrader would fail or give full marks.

    nbgrader reads a test cell's `execute_result` as its score: one above the points fails the whole submission, a
    negative one or NaN earns all points, and one without text raises. Anything that is not a number is left: it earns
    the points, as in nbgrader.
    """
    from nbgrader.utils import is_grade, is_solution

    for cell in notebook.cells:
        if cell.cell_type != "code" or not is_grade(cell) or is_solution(cell):
            continue
        kept = []
        for output in cell.outputs:
            if output.output_type == "execute_result":
                text = output.data.get("text/plain")
                text = "".join(text) if isinstance(text, list) else text
                if not text:
                    continue
                try:
                    credit = float(text)
                except (TypeError, ValueError):
                    pass
                else:
                    points = float(cell.metadata.nbgrader.points)
                    if not 0.0 <= credit <= points:
                        output.data["text/plain"] = str(points if credit > points else 0.0)
            kept.append(output)
        cell.outputs = kept


# --- the student's other files ----------------------------------------------------------------------------------------

MAX_FILES = 200
MAX_FILES_BYTES = 64 * 2**20


def student_files(folder: Path, ignore: Iterable[str] = ()) -> tuple[dict[str, bytes], list[str]]:
    """What a student handed in beside the notebooks: {relative path: content}, and a sentence on each thing left out.

    Links are not followed, so that nobody hands in somebody else's work; a file that would exceed the limits is left
    out. `ignore` are nbgrader's file patterns.
    """
    import fnmatch

    patterns = [*ignore, "*.ipynb", ".*.part"]  # the last are names of `atomic_write`
    found: dict[str, bytes] = {}
    left_out = []
    total = 0
    for path in _walk(folder, lambda name: any(fnmatch.fnmatch(name, pattern) for pattern in patterns)):
        name = str(path.relative_to(folder))
        if name == "timestamp.txt":
            continue
        if path.is_symlink() or not path.is_file():
            left_out.append("A link or special file beside the notebook was left out.")
        elif len(found) >= MAX_FILES or total + path.stat().st_size > MAX_FILES_BYTES:
            left_out.append("A file beside the notebook was left out: there are too many, or they are too large.")
        else:
            found[name] = path.read_bytes()
            total += len(found[name])
    return found, sorted(set(left_out))


def _walk(folder: Path, ignored: Callable[[str], bool]) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        linked = [name for name in folders if os.path.islink(os.path.join(root, name))]
        folders[:] = sorted(name for name in folders if name not in linked and not ignored(name))
        for name in sorted([*files, *linked]):
            if not ignored(name):
                yield Path(root, name)
