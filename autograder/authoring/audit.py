"""Audit a lesson's tests: a planted wrong answer must lose its points with its own words, a right one keep them."""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import json
import linecache
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import nbformat
from nbformat import NotebookNode

from autograder.authoring.answers import Answer, read_answers
from autograder.authoring.build import load, release
from autograder.authoring.lesson import Cell, Lesson, to_notebook
from autograder.authoring.mutations import DESCRIPTIONS, KINDS, spoilt_code
from autograder.course import Course
from autograder.errors import UserError

MIN_WRONG, MIN_RIGHT = 3, 2
SECONDS = 60
POSITIONS = 2  # of a returned tuple, the first items are spoilt one at a time


@dataclass(frozen=True)
class Variant:
    """One answer cell to put in place of the solution's, and what must come of it."""

    exercise: str
    kind: str  # "solution", "wrong", "right" or "generic"
    why: str
    code: str
    says: str = ""
    line: int = 0


@dataclass(frozen=True)
class Verdict:
    """How the test of one variant went; `applies` is False for a generic mutation that changed nothing."""

    passed: bool
    message: str
    applies: bool = True


@dataclass(frozen=True)
class Finding:
    """A variant, the setting it was graded in, and whether it behaved."""

    variant: Variant
    setting: str
    verdict: Verdict

    @property
    def problem(self) -> str:
        """What is wrong with the test, in words; empty where the variant behaved."""
        variant, verdict = self.variant, self.verdict
        if not verdict.applies:
            return ""
        if variant.kind in ("right", "solution"):
            return "" if verdict.passed else f"is right, but lost its points: {verdict.message}"
        if verdict.passed:
            return "is wrong, but kept its points"
        if variant.says.lower() not in verdict.message.lower():
            return f"should be told {variant.says!r}, but was told: {verdict.message}"
        return ""


Examine = Callable[[Lesson, list[Variant]], Iterator[Verdict]]


def audit(course: Course, name: str, settings: dict[str, Examine], on_finding=lambda finding: None) -> list[Finding]:
    """Grade every variant of the lesson in every setting.

    A generic mutation that changes nothing at the desk is left out of the other settings.

    Raises: LessonError or UserError where the lesson or its planted answers are malformed or too few.
    """
    lesson = load(course, name)
    variants = plant(lesson, read_answers(course.answers(name)), course.answers(name))
    findings = []
    for setting, examine in settings.items():
        applying = []
        for variant, verdict in zip(variants, examine(lesson, variants), strict=True):
            if verdict.applies:
                findings.append(Finding(variant, setting, verdict))
                on_finding(findings[-1])
                applying.append(variant)
        variants = applying
    return findings


def plant(lesson: Lesson, answers: list[Answer], path: Path) -> list[Variant]:
    """Every variant of every exercise.

    Raises: UserError where an exercise has too few planted answers or an answer belongs to no exercise.
    """
    for answer in answers:
        if answer.exercise not in lesson.answers:
            raise UserError(f"{path}:{answer.line}: {answer.exercise!r} is no exercise of {lesson.name}")
    variants = []
    for name, cell in lesson.answers.items():
        mine = [answer for answer in answers if answer.exercise == name]
        n_right = sum(answer.right for answer in mine)
        if len(mine) - n_right < MIN_WRONG or n_right < MIN_RIGHT:
            counts = f"{len(mine) - n_right} wrong and {n_right} right answers"
            raise UserError(f"{path}: {name!r} has {counts}; it needs at least {MIN_WRONG} and {MIN_RIGHT}")
        variants.append(Variant(name, "solution", "the lesson's own solution", cell.source))
        for a in mine:
            code = substitute(cell.source, name, a.code)
            variants.append(Variant(name, "right" if a.right else "wrong", a.why, code, a.says, a.line))
        for kind in KINDS:
            for position in range(POSITIONS):
                why = DESCRIPTIONS[kind] + (f" (item {position + 1})" if position else "")
                variants.append(Variant(name, "generic", why, spoilt_code(cell.source, name, kind, position)))
    return variants


def substitute(source: str, name: str, code: str) -> str:
    """The answer cell `source` with `code` in place of its definition of `name`."""
    lines = source.splitlines()
    node = next(n for n in ast.parse(source).body if getattr(n, "name", None) == name)
    start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return "\n".join([*lines[: start - 1], code, *lines[node.end_lineno :]])


# --- the desk --------------------------------------------------------------------------------------------------------


def at_desk(lesson: Lesson, variants: list[Variant]) -> Iterator[Verdict]:
    """Run each variant's test as a student's kernel would: in the process that runs the student's code.

    The lesson runs once; for each variant a fork of it, made just before the exercise, runs the variant and the test.
    """
    with mock.patch.dict(os.environ, COURSE_SCALE="smoke", COURSE_PLOTS="off"):
        yield from _run_variants(lesson, variants)


def _run_variants(lesson: Lesson, waiting: list[Variant]) -> Iterator[Verdict]:
    import torch

    torch.set_num_threads(1)  # a fork of a process with running threads can hang
    namespace = {"__name__": "__main__"}
    verdicts: dict[int, Verdict] = {}
    code = [cell for cell in lesson.cells if cell.kind == "code"]
    for index, cell in enumerate(code):
        if cell.is_answer and cell.grade_id in lesson.answers:
            test = next(i for i, c in enumerate(code) if c.grade_id == f"test_{cell.grade_id}")
            for number, variant in enumerate(waiting):
                if variant.exercise == cell.grade_id:
                    cells = [(variant.code, cell), *((c.source, c) for c in code[index + 1 : test + 1])]
                    verdicts[number] = _forked(lambda c=cells: _attempt(c, namespace))
        with contextlib.redirect_stdout(io.StringIO()):
            _execute(cell.source, cell, namespace)
    yield from (verdicts[number] for number in range(len(waiting)))


def _attempt(cells: list[tuple[str, Cell]], namespace: dict) -> Verdict:
    passed, message = True, ""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for source, cell in cells:
                _execute(source, cell, namespace)
    except Exception as error:
        passed, message = False, f"{type(error).__name__}: {error}"
    spoil = namespace.get("spoil")
    return Verdict(passed, message, applies=getattr(spoil, "changed", True) if spoil else True)


def _execute(source: str, cell: Cell, namespace: dict) -> None:
    """Run a cell so that tracebacks and `inspect` find its source, as in a kernel."""
    filename = f"<{cell.grade_id or f'line {cell.line}'}: {hash(source):x}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), namespace)


def _forked(attempt: Callable[[], Verdict]) -> Verdict:
    """The verdict of `attempt` made in a fork of this process, which can neither hang nor crash it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            verdict = attempt()
            os.write(writer, json.dumps([verdict.passed, verdict.message[:20_000], verdict.applies]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    data, deadline = b"", time.monotonic() + SECONDS
    with os.fdopen(reader, "rb") as stream:
        while select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
            chunk = os.read(stream.fileno(), 65_536)
            data += chunk
            if not chunk:
                break
        else:
            os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if not data:
        return Verdict(False, f"no result: the answer crashed or ran for more than {SECONDS} s")
    return Verdict(*json.loads(data))


# --- the grader ------------------------------------------------------------------------------------------------------


def in_grader(lesson: Lesson, variants: list[Variant]) -> Iterator[Verdict]:
    """Run each variant's test as the grader does: the answer in the sandbox, the test in the examiner.

    A notebook ends with the test of its variant's exercise and holds no other test.
    """
    from autograder.grading import sandbox
    from autograder.grading.job import Bundle, Job, Limits
    from autograder.grading.runner import run

    master = release(to_notebook(lesson), hidden_tests=True)
    bundle = Bundle(lesson.name, nbformat.writes(master))
    limits = Limits(cell_seconds=SECONDS, call_seconds=SECONDS)
    kind = "none" if sandbox.available() else "bwrap"
    for variant in variants:
        submission = nbformat.writes(_submission(lesson, master, variant))
        result = run(Job("planted", bundle, submission, limits=limits, sandbox=kind))
        outcome = next((o for o in result.outcomes if o.grade_id == f"test_{variant.exercise}"), None)
        if outcome is None:
            raise UserError(f"the grader could not run a planted answer: {result.reason}", exit_code=1)
        yield Verdict(outcome.passed, f"{outcome.error}: {outcome.message}" if not outcome.passed else "")


def _submission(lesson: Lesson, master: NotebookNode, variant: Variant) -> NotebookNode:
    notebook = copy.deepcopy(master)
    test = f"test_{variant.exercise}"
    last = next(i for i, cell in enumerate(notebook.cells) if cell.id == test)
    notebook.cells = [c for c in notebook.cells[: last + 1] if c.id == test or c.id not in lesson.tests]
    for cell in notebook.cells:
        if cell.id in lesson.answers:
            cell.source = variant.code if cell.id == variant.exercise else lesson.answers[cell.id].source
    return notebook


def settings() -> dict[str, Examine]:
    """The settings that a variant is graded in, by name."""
    return {"desk": at_desk, "grader": in_grader}
