"""Build a lesson: from its source to the executed notebook and the student's notebook.

Nothing is written unless everything is right, and an unchanged source gives the same bytes.
"""

from __future__ import annotations

import copy
import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
)

from autograder.authoring.lesson import Lesson, LessonError, Problem, read_lesson, to_notebook
from autograder.authoring.lint import lint
from autograder.course import Course
from autograder.errors import UserError

MAX_BYTES = 1_500_000
CELL_SECONDS = 600

# What `nbgrader generate_assignment` does to a notebook, less the gradebook; a test holds the two together.
_RELEASE = (
    LockCells,
    ClearSolutions,
    ClearOutput,
    CheckCellMetadata,
    ComputeChecksums,
    ClearHiddenTests,
    ClearMarkScheme,
    ComputeChecksums,
    CheckCellMetadata,
)

_FETCH = """\
try:
    import utils  # the course's helpers
except ModuleNotFoundError:  # on Colab: fetch them, at the version that this notebook was made with
    import subprocess
    import sys

    course = "{repository}/archive/refs/tags/v{version}.tar.gz"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "einops", course], check=True)

"""

_BADGE = """\
[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]\
(https://colab.research.google.com/github/{slug}/blob/v{version}/notebooks/{lesson}/{lesson}.ipynb)"""


@dataclass(frozen=True)
class Built:
    """What one call of `build` did for a lesson."""

    lesson: str
    changed: list[Path]
    executed: bool


def load(course: Course, name: str) -> Lesson:
    """Read and lint one lesson; once, as long as its source stays what it is.

    Raises: LessonError with every problem found.
    """
    path = course.source(name)
    return _checked(path, path.read_bytes())


@functools.lru_cache(maxsize=64)
def _checked(path: Path, content: bytes) -> Lesson:
    lesson = read_lesson(path)
    if problems := lint(lesson):
        raise LessonError(problems)
    return lesson


def assemble(course: Course, lesson: Lesson) -> NotebookNode:
    """The lesson as a whole notebook, solutions and hidden tests in it, nothing executed.

    It adds what depends on the repository's address and version: the Colab badge and the fetch in the set-up cell. Code
    cells are tagged ``raises-exception``, so that *Run All* in a half-done notebook goes on to the score card.
    """
    notebook = to_notebook(lesson)
    project = course.project
    repository, version = project["urls"]["Repository"], project["version"]
    slug = repository.removeprefix("https://github.com/")
    title, _, rest = notebook.cells[0].source.partition("\n")
    badge = _BADGE.format(slug=slug, version=version, lesson=lesson.name)
    notebook.cells[0].source = f"{title}\n\n{badge}\n{rest}"
    for cell in notebook.cells:
        if cell.id == "setup":
            cell.source = _FETCH.format(repository=repository, version=version) + cell.source
        if cell.cell_type == "code":
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "raises-exception"]
    return notebook


def release(notebook: NotebookNode, *, hidden_tests: bool = False) -> NotebookNode:
    """The student's notebook: stubs for solutions, no hidden tests, no outputs, cells locked, checksums set.

    With `hidden_tests` they stay: the release as the grader knows it.
    """
    notebook, resources = copy.deepcopy(notebook), {}
    for preprocessor in _RELEASE:
        if not (hidden_tests and preprocessor is ClearHiddenTests):
            notebook, resources = preprocessor().preprocess(notebook, resources)
    return notebook


def execute(notebook: NotebookNode, folder: Path, scale: str, on_cell: Callable[[int, int], None]) -> NotebookNode:
    """Run the notebook in a fresh kernel in `folder` at `scale`, and keep what a reader can see without a kernel.

    Raises: CellExecutionError where a cell fails.
    """
    notebook = copy.deepcopy(notebook)
    kept = notebook.metadata.copy()
    tags = [cell.metadata.pop("tags", None) for cell in notebook.cells]  # `raises-exception` would hide an error here

    def report(cell, cell_index):
        on_cell(cell_index + 1, len(notebook.cells))

    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        extra_arguments=["--log-level=40"],  # errors only: ipykernel warns of every TCP kernel
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
        on_cell_executed=lambda cell, cell_index, execute_reply: report(cell, cell_index),
        coalesce_streams=True,
    )
    client.execute(env={**os.environ, "COURSE_SCALE": scale, "PYDEVD_DISABLE_FILE_VALIDATION": "1"})
    notebook.metadata = kept
    for cell, cell_tags in zip(notebook.cells, tags, strict=True):
        if cell_tags:
            cell.metadata["tags"] = cell_tags
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_readable, cell.outputs) if output]
    return notebook


def _readable(output: NotebookNode) -> NotebookNode | None:
    """The output without its live widget, which no reader of a file can move; None where nothing else is in it."""
    widget = "application/vnd.jupyter.widget-view+json"
    if widget not in output.get("data", {}):
        return output
    del output.data[widget]
    return output if set(output.data) - {"text/plain"} else None


def check_executed(lesson: Lesson, notebook: NotebookNode) -> list[Problem]:
    """What is wrong with the outputs: pictures without alt text."""
    problems = []
    for cell, source in zip(notebook.cells, lesson.cells, strict=True):
        for output in cell.get("outputs", []):
            for mime in output.get("data", {}):
                if mime.startswith("image/") and not output.metadata.get(mime, {}).get("alt"):
                    problems.append(Problem(lesson.path, source.line, f"this cell's {mime} output has no alt text"))
    return problems


def serialise(notebook: NotebookNode) -> bytes:
    """The bytes that nbgrader would write for the notebook."""
    nbformat.validate(notebook)
    return (nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n").encode()


def build(
    course: Course,
    name: str,
    *,
    scale: str = "cpu",
    force: bool = False,
    on_cell: Callable[[int, int], None] = lambda done, total: None,
) -> Built:
    """Build both notebooks of a lesson.

    The student's notebook is made each time; the solution is executed only when its source changed since it last was,
    when it was executed at another `scale`, or with `force`.

    Raises: LessonError, and nothing is written, for everything that the lint, the run or the size forbids.
    """
    lesson = load(course, name)
    plain = assemble(course, lesson)
    files = {course.student(name): serialise(release(plain))}
    executed = force or executed_scale(course, lesson, plain) != scale
    if executed:
        try:
            solved = execute(plain, course.solution(name).parent, scale, on_cell)
        except CellExecutionError as error:
            raise LessonError([_failed(lesson, plain, error)]) from None
        if problems := check_executed(lesson, solved):
            raise LessonError(problems)
        files[course.solution(name)] = serialise(solved)
    if problems := [
        Problem(
            lesson.path,
            1,
            f"{path.name} in {path.parent.parent.name}/ has {len(data):,} bytes; {MAX_BYTES:,} is the limit",
        )
        for path, data in files.items()
        if len(data) > MAX_BYTES
    ]:
        raise LessonError(problems)
    return Built(name, [path for path, data in files.items() if write(path, data)], executed)


def _failed(lesson: Lesson, notebook: NotebookNode, error: CellExecutionError) -> Problem:
    source = str(error).split("------------------\n")[1] if "------------------\n" in str(error) else ""
    lines = [c.line for c, n in zip(lesson.cells, notebook.cells, strict=True) if n.source.strip() == source.strip()]
    return Problem(lesson.path, lines[0] if lines else 1, f"this cell fails: {error.ename}: {error.evalue}")


def executed_scale(course: Course, lesson: Lesson, plain: NotebookNode) -> str | None:
    """The scale at which the notebook on disk was executed from exactly these cells; None where it was not.

    The scale is read from what the set-up cell printed: whatever metadata holds, nbgrader copies into the release.
    """
    try:
        solved = nbformat.read(course.solution(lesson.name), as_version=4)
    except (OSError, ValueError):
        return None
    if [(cell.id, cell.source) for cell in solved.cells] != [(cell.id, cell.source) for cell in plain.cells]:
        return None
    printed = "".join(o.get("text", "") for c in solved.cells if c.id == "setup" for o in c.outputs)
    found = re.search(r"at (\w+) scale", printed)
    return found[1] if found else None


def check(course: Course, name: str) -> list[str]:
    """What a fresh build of the lesson would change, in words; empty where everything committed is up to date.

    Raises: LessonError where the lesson does not build.
    """
    lesson = load(course, name)
    plain = assemble(course, lesson)
    stale = []
    student = course.student(name)
    if not student.is_file() or student.read_bytes() != serialise(release(plain)):
        stale.append(f"{student.relative_to(course.root)} is not what its source builds: run `autograder build {name}`")
    if executed_scale(course, lesson, plain) in (None, "smoke"):
        solution = course.solution(name).relative_to(course.root)
        stale.append(f"{solution} was not executed from this source at full scale: run `autograder build {name}`")
    return stale


def write(path: Path, data: bytes) -> bool:
    """Write the file in one step; False, and nothing touched, where it holds these bytes already."""
    if path.is_file() and path.read_bytes() == data:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", exit_code=1) from None
    return True
