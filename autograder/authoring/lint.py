"""What a lesson must keep to, checked on its source before anything is built."""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterator

from autograder.authoring.lesson import (
    BEGIN_HIDDEN,
    BEGIN_SOLUTION,
    END_HIDDEN,
    END_SOLUTION,
    Cell,
    Lesson,
    Problem,
)

POINTS = 20
GRADE_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
SETUP = """\
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import Tensor, nn

from utils import *

device = setup("{lesson}")"""

# A solution line this long says something; a shorter one (`return out`) may stand elsewhere by chance.
LEAK_LENGTH = 24

_METADATA = {"grade", "grade_id", "locked", "schema_version", "solution", "task", "points"}
_HEADING = re.compile(r"^(#{1,6}) ", re.MULTILINE)
_PICTURE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<address>[^)]*)\)")


def lint(lesson: Lesson) -> list[Problem]:
    """Everything wrong with the lesson's source, in the order of its lines."""
    problems = [
        Problem(lesson.path, line, message)
        for rule in (_grading, _regions, _code, _pairs, _setup, _tests, _leaks, _markdown)
        for line, message in rule(lesson)
    ]
    return sorted(set(problems), key=lambda problem: (problem.line, problem.message))


Found = Iterator[tuple[int, str]]


def _grading(lesson: Lesson) -> Found:
    """nbgrader's metadata: known keys, well-formed and unique grade ids, points that add up."""
    lines: dict[str, int] = {}
    for cell in lesson.cells:
        if not cell.grading:
            continue
        if unknown := set(cell.grading) - _METADATA:
            yield cell.line, f"nbgrader does not know the key {sorted(unknown)[0]!r}"
        if missing := _METADATA - {"points"} - set(cell.grading):
            yield cell.line, f"the nbgrader metadata lacks {sorted(missing)[0]!r}"
        if cell.grading.get("schema_version") != 3:
            yield cell.line, "schema_version must be 3"
        if not GRADE_ID.fullmatch(cell.grade_id):
            yield cell.line, f"wrong grade id {cell.grade_id!r}: letters, digits and underscores"
        elif cell.grade_id in lines:
            yield cell.line, f"grade id {cell.grade_id!r} is taken by line {lines[cell.grade_id]}"
        lines.setdefault(cell.grade_id, cell.line)
        if cell.grading.get("grade") and not isinstance(cell.grading.get("points"), (int, float)):
            yield cell.line, f"{cell.grade_id!r} is graded, so it needs points"
    if lesson.points != POINTS:
        yield 1, f"the points add up to {lesson.points:g}, not to {POINTS}"


def _regions(lesson: Lesson) -> Found:
    """Solutions stand only in answer cells, hidden tests only in test cells, each region closed."""
    for cell in lesson.cells:
        for begin, end, allowed, what in (
            (BEGIN_SOLUTION, END_SOLUTION, cell.is_answer, "solution region"),
            (BEGIN_HIDDEN, END_HIDDEN, cell.is_test, "hidden tests"),
        ):
            inside = None
            for offset, line in enumerate(cell.source.splitlines()):
                at = cell.line_of(offset)
                if begin in line:
                    if not allowed:
                        yield at, f"{what} in a cell that is not {'an answer' if 'solution' in what else 'a test'}"
                    if inside is not None:
                        yield at, f"{what} inside {what}"
                    inside = at
                elif end in line:
                    if inside is None:
                        yield at, f"`{end}` without `{begin}`"
                    inside = None
            if inside is not None:
                yield inside, f"`{begin}` is never closed"
        if cell.is_answer and cell.kind == "code" and BEGIN_SOLUTION not in cell.source:
            yield cell.line, f"the answer cell {cell.grade_id!r} has no `{BEGIN_SOLUTION}`"


def _code(lesson: Lesson) -> Found:
    """Every cell is plain Python, and every stub is valid Python too."""
    for cell in lesson.cells:
        if cell.kind != "code":
            continue
        for offset, line in enumerate(cell.source.splitlines()):
            if line.startswith(("%", "!", "# %", "# !")):
                yield cell.line_of(offset), "no magics and no shell lines: the lesson also runs as a script"
        try:
            cell.tree()
        except SyntaxError as error:
            yield cell.line_of((error.lineno or 1) - 1), f"not valid Python: {error.msg}"
            continue
        try:
            ast.parse(stub(cell.source))
        except SyntaxError as error:
            yield (
                cell.line,
                f"the stub of {cell.grade_id!r} is not valid Python: {error.msg} (line {error.lineno} of it)",
            )
        try:
            ast.parse(without_hidden(cell.source))
        except SyntaxError as error:
            yield cell.line, f"without its hidden tests {cell.grade_id!r} is not valid Python: {error.msg}"


def _pairs(lesson: Lesson) -> Found:
    """Each exercise is one definition of its own name, with its test right after; each test has an exercise."""
    graded = [cell for cell in lesson.cells if cell.grading]
    following = {cell.grade_id: after.grade_id for cell, after in zip(graded, graded[1:], strict=False)}
    for name, cell in lesson.answers.items():
        if f"test_{name}" not in lesson.tests:
            yield cell.line, f"the exercise {name!r} has no test: a test cell with grade id 'test_{name}'"
        elif following.get(name) != f"test_{name}":
            yield cell.line, f"the test of {name!r} must be the next graded cell after it"
        if cell.kind == "code" and name not in _definitions(cell):
            yield cell.line, f"the exercise {name!r} must define `{name}`"
    for grade_id, cell in lesson.tests.items():
        if grade_id.removeprefix("test_") not in lesson.answers:
            yield cell.line, f"the test {grade_id!r} has no exercise {grade_id.removeprefix('test_')!r}"


def _setup(lesson: Lesson) -> Found:
    """The set-up cell is the same in every lesson."""
    cells = [cell for cell in lesson.cells if cell.grade_id == "setup"]
    expected = SETUP.format(lesson=lesson.name)
    if not cells:
        yield 1, "there is no set-up cell (read-only, grade id 'setup')"
    elif cells[0].source != expected:
        yield cells[0].line, f"the set-up cell must read exactly:\n{expected}"
    elif cells[0] is not next(cell for cell in lesson.cells if cell.kind == "code"):
        yield cells[0].line, "the set-up cell must be the first code cell"


def _tests(lesson: Lesson) -> Found:
    """A test works at the desk and in the examiner: see "Two sides of a test" in docs/architecture.md."""
    for cell in lesson.cells:
        if not cell.is_test or cell.kind != "code" or not _parses(cell):
            continue
        yield from _opening(cell)
        tree = cell.tree()
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            at = cell.line_of(node.lineno - 1)
            if isinstance(node.func, ast.Attribute) and node.func.attr == "backward":
                yield at, "a test never calls .backward(): `gradients(fn, *inputs)` does it on the student's side"
            if isinstance(node.func, ast.Name) and node.func.id in lesson.answers:
                values = [*node.args, *(keyword.value for keyword in node.keywords)]
                if any(isinstance(value, ast.Lambda) for value in values):
                    yield at, f"a test hands `{node.func.id}` a lambda: only plain data crosses to student code"
        own = _globals(cell)[1]
        for other in lesson.cells:  # earlier ones too: a reader may run a test again, then a cell before it
            if other.kind == "code" and not other.is_test and _parses(other):
                reads, assigns = _globals(other)
                for name in sorted((reads - assigns) & own):
                    yield other.line, f"uses `{name}`, which the test {cell.grade_id!r} assigns: rename one of the two"


def _opening(cell: Cell) -> Found:
    """A test is one ``with exercise("name", points=n):`` that agrees with the metadata."""
    body = cell.tree().body
    name, points = cell.grade_id.removeprefix("test_"), cell.points
    expected = f'with exercise("{name}", points={points:g}):'
    opening = ast.unparse(body[0]).splitlines()[0] if body else ""
    if len(body) != 1 or opening.replace("'", '"') != expected:
        yield cell.line, f"the test {cell.grade_id!r} must be one block that opens with `{expected}`"


def _leaks(lesson: Lesson) -> Found:
    """No line of a solution stands anywhere that a student sees."""
    secret = {}
    for cell in lesson.cells:
        for line in cell.region(BEGIN_SOLUTION, END_SOLUTION):
            text = _squeeze(line)
            if len(text) >= LEAK_LENGTH and not text.startswith("#"):
                secret[text] = cell
    for cell in lesson.cells:
        visible = without_hidden(stub(cell.source))
        for offset, line in enumerate(visible.splitlines()):
            for text, origin in secret.items():
                if text in _squeeze(line):
                    message = f"solution text of {origin.grade_id!r} survives in the student notebook: {text!r}"
                    exact = [o for o, original in enumerate(cell.source.splitlines()) if original == line]
                    yield cell.line_of(exact[0] if exact else offset), message


def _markdown(lesson: Lesson) -> Found:
    """One title, headings that nest, pictures with alt text that are drawn by code or on the web."""
    level = 0
    for cell in lesson.cells:
        if cell.kind != "markdown":
            continue
        fenced = re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), cell.source, flags=re.DOTALL)
        for match in _HEADING.finditer(fenced):
            at = cell.line_of(fenced[: match.start()].count("\n"))
            depth = len(match[1])
            if depth == 1 and level > 0:
                yield at, "a second title: a lesson has one `# ` heading"
            elif depth > level + 1:
                yield at, f"a heading of level {depth} after level {level}: headings nest"
            level = depth
        for match in _PICTURE.finditer(fenced):
            at = cell.line_of(fenced[: match.start()].count("\n"))
            if not match["alt"].strip():
                yield at, "a picture without alt text"
            if not match["address"].startswith("https://"):
                yield at, "a local picture does not show in Colab: draw it by code"
    if level == 0:
        yield 1, "the lesson has no title: `# # Title` in its first cell"


def stub(source: str) -> str:
    """The student's version of an answer cell: each solution region replaced by nbgrader's stub."""
    lines, inside = [], False
    for line in source.splitlines():
        if BEGIN_SOLUTION in line:
            inside = True
            indent = line[: len(line) - len(line.lstrip())]
            lines += [indent + text for text in STUB.splitlines()]
        elif END_SOLUTION in line:
            inside = False
        elif not inside:
            lines.append(line)
    return "\n".join(lines)


def without_hidden(source: str) -> str:
    """The student's version of a test cell."""
    return re.sub(rf"[^\n]*{BEGIN_HIDDEN}.*?{END_HIDDEN}[^\n]*(\n|$)", "", source, flags=re.DOTALL)


def _squeeze(line: str) -> str:
    return re.sub(r"\s+", " ", line.split("  #")[0]).strip()


def _parses(cell: Cell) -> bool:
    try:
        cell.tree()
    except SyntaxError:
        return False
    return True


def _definitions(cell: Cell) -> set[str]:
    if not _parses(cell):
        return set()
    return {node.name for node in cell.tree().body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def _globals(cell: Cell) -> tuple[set[str], set[str]]:
    """The global names that the cell reads, functions in it included, and those that it assigns at its top level."""
    top = symtable.symtable(cell.source, "cell", "exec")
    tables, reads = [top], set()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        reads |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (table is top or s.is_global())}
    return reads, {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
