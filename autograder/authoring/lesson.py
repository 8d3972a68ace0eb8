"""A lesson's source: a Jupytext percent file, parsed into cells that know their line."""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

BEGIN_SOLUTION, END_SOLUTION = "### BEGIN SOLUTION", "### END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"

_MARKER = re.compile(r"# %%(?P<header>.*)$")


@dataclass(frozen=True)
class Problem:
    """Something wrong in a lesson, at a line of its source."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class LessonError(Exception):
    """A lesson that cannot be built; `problems` says why, each with file and line."""

    def __init__(self, problems: list[Problem]):
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True)
class Cell:
    """One cell of the source. `line` is the line of its ``# %%`` marker, counted from 1."""

    kind: str
    source: str
    metadata: dict
    line: int

    @property
    def grading(self) -> dict:
        """nbgrader's metadata of the cell, empty where it has none."""
        return self.metadata.get("nbgrader", {})

    @property
    def grade_id(self) -> str:
        return self.grading.get("grade_id", "")

    @property
    def is_answer(self) -> bool:
        return bool(self.grading.get("solution"))

    @property
    def is_test(self) -> bool:
        return bool(self.grading.get("grade")) and not self.is_answer and not self.grading.get("task")

    @property
    def points(self) -> float:
        return self.grading.get("points", 0)

    def line_of(self, offset: int) -> int:
        """The line in the file of line `offset` (from 0) of the cell's text; exact for code cells."""
        return self.line + 1 + offset

    def tree(self) -> ast.Module:
        """The parsed code. Raises: SyntaxError."""
        return ast.parse(self.source)

    def region(self, begin: str, end: str) -> list[str]:
        """The lines of the cell between `begin` and `end` markers, all regions together."""
        lines, inside = [], False
        for line in self.source.splitlines():
            if begin in line:
                inside = True
            elif end in line:
                inside = False
            elif inside:
                lines.append(line)
        return lines


@dataclass(frozen=True)
class Lesson:
    """A parsed lesson."""

    name: str
    path: Path
    cells: list[Cell]

    @property
    def answers(self) -> dict[str, Cell]:
        """The autograded exercises, by name."""
        return {cell.grade_id: cell for cell in self.cells if cell.is_answer and not cell.grading.get("grade")}

    @property
    def tests(self) -> dict[str, Cell]:
        """The test cells, by grade id."""
        return {cell.grade_id: cell for cell in self.cells if cell.is_test}

    @property
    def points(self) -> float:
        return sum(cell.points for cell in self.cells)


def read_lesson(path: Path) -> Lesson:
    """Parse the source at `path`.

    Raises: LessonError where the file is not a percent file or a cell's header is malformed.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    markers = [number for number, line in enumerate(lines, 1) if _MARKER.match(line)]
    if not markers or any(line.strip() for line in lines[: markers[0] - 1]):
        raise LessonError([Problem(path, 1, "the first line must open a cell: `# %% [markdown]`")])
    for number in markers:
        _check_header(path, number, lines[number - 1])
    notebook = jupytext.reads(text, fmt="py:percent")
    if len(notebook.cells) != len(markers):
        raise LessonError([Problem(path, 1, "`# %%` inside a cell's text: jupytext sees other cells than the markers")])
    cells = [
        Cell(cell.cell_type, cell.source, dict(cell.metadata), line)
        for cell, line in zip(notebook.cells, markers, strict=True)
    ]
    return Lesson(path.stem, path, cells)


def _check_header(path: Path, number: int, line: str) -> None:
    """jupytext takes what it cannot parse for a title; say so instead."""
    header = _MARKER.match(line)["header"]
    if "nbgrader" not in header:
        return
    cell = jupytext.reads(f"{line}\npass\n", fmt="py:percent").cells[0]
    if not isinstance(cell.metadata.get("nbgrader"), dict):
        raise LessonError([Problem(path, number, 'malformed cell header: write nbgrader={"grade": false, …} as JSON')])


def to_notebook(lesson: Lesson) -> NotebookNode:
    """The lesson as a notebook without outputs; a cell's id is its grade id, else made of its content."""
    seen: Counter[str] = Counter()
    cells = []
    for cell in lesson.cells:
        make = nbformat.v4.new_markdown_cell if cell.kind == "markdown" else nbformat.v4.new_code_cell
        node = make(cell.source, metadata=nbformat.from_dict(cell.metadata))
        content = hashlib.sha256(f"{cell.kind}\n{cell.source}".encode()).hexdigest()[:12]
        seen[content] += 1
        node.id = cell.grade_id or (content if seen[content] == 1 else f"{content}-{seen[content]}")
        cells.append(node)
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "file_extension": ".py"},
    }
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)
