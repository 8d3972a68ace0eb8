"""The examiner: runs test cells where no student code ever runs.

A test cell is executed in a copy of the lesson's *prelude*: what the released notebook itself defines and may be
trusted. Every other name that it uses is asked of the student's kernel: plain data comes by value, anything else as a
`Handle`.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import importlib
import io
import linecache
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from autograder.grading import wire
from autograder.grading.client import GRACE_SECONDS
from autograder.grading.handles import Handle, Line, OutOfTime, RemoteError, is_handle, path_of
from autograder.grading.job import Limits, Outcome
from autograder.grading.outputs import Outputs, clean
from autograder.grading.prelude import Prelude, bound_names, global_names, grade_id, is_test, parse, source_of

_SEEDS = (("random", "seed"), ("numpy.random", "seed"), ("torch", "manual_seed"))


# --- what our own tests ask beside calls -----------------------------------------------------------------------------


class Side:
    """`utils.checks.side` while a test cell runs in the examiner."""

    def __init__(self, line: Line, cells: list[str]):
        self._line, self._cells = line, cells

    def place(self, cls: Callable, *args: Any, **kwargs: Any) -> Handle:
        return self._line.call(cls, args, kwargs, keep=True)

    def gradients(self, fn: Callable, *inputs: Any, upstream: Any = None) -> list:
        from utils import checks

        return self._line.call(checks.gradients, (fn, *inputs), {"upstream": upstream})

    def source(self, obj: Any) -> str:
        """The definition in the submitted notebook's text: never asked of the student's process."""
        path = path_of(obj) if is_handle(obj) else getattr(obj, "__qualname__", str(obj))
        sources = definitions(tuple(self._cells))
        if path not in sources:
            from utils import checks

            what = f"the source of {path}" if path else "the source of that object"
            raise checks.CheckFailed(f"{what} cannot be read: define it once, in its cell, by `def` or `class`")
        return sources[path]


@functools.lru_cache(maxsize=2)
def definitions(cells: tuple[str, ...]) -> dict[str, str]:
    """Text of the functions and classes that the cells define at the top level, and of methods as "Class.method".

    The last definition counts. A name that is bound in another way as well has no source.
    """
    found: dict[str, str] = {}
    otherwise: set[str] = set()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for source in cells:
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            body = parse(source).body
            if rest := [node for node in body if not isinstance(node, kinds)]:
                otherwise |= bound_names(rest)
            for node in body:
                if not isinstance(node, kinds):
                    continue
                found[node.name] = ast.get_source_segment(source, node) or ""
                for inner in node.body if isinstance(node, ast.ClassDef) else []:
                    if isinstance(inner, kinds):
                        found[f"{node.name}.{inner.name}"] = ast.get_source_segment(source, inner) or ""
    return {path: text for path, text in found.items() if path.split(".")[0] not in otherwise}


# --- test cells ------------------------------------------------------------------------------------------------------


class _Capture(io.TextIOBase):
    def __init__(self, outputs: Outputs, name: str):
        self._outputs, self._name = outputs, name

    def write(self, text: str) -> int:
        self._outputs.stream(self._name, text)
        return len(text)

    def writable(self) -> bool:
        return True


class _InPlace(ast.NodeTransformer):
    """`f(x)` as a statement of its own is called for what it does to x: let the examiner's x see it."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        call = node.value
        if isinstance(call, ast.Call) and not (isinstance(call.func, ast.Name) and hasattr(builtins, call.func.id)):
            name = ast.copy_location(ast.Name("__in_place__", ast.Load()), call.func)
            node.value = ast.copy_location(ast.Call(name, [call.func, *call.args], call.keywords), call)
        return node


@dataclass(frozen=True)
class _Test:
    """A test cell, ready to run."""

    names: set[str]  # looked up in the global namespace
    bound: set[str]
    code: CodeType
    last: CodeType | None  # the expression whose value the cell has


@functools.lru_cache(maxsize=1024)
def _compiled(ident: str, source: str) -> _Test:
    body = parse(source).body
    names = global_names(body)
    last = body.pop() if body and isinstance(body[-1], ast.Expr) and not source.rstrip().endswith(";") else None
    bound, file = bound_names(body), f"<test {ident}>"
    code = compile(ast.fix_missing_locations(_InPlace().visit(ast.Module(body, []))), file, "exec")
    return _Test(names, bound, code, last and compile(ast.Expression(last.value), file, "eval"))


def compile_tests(release: dict) -> None:
    """Compile a notebook's test cells ahead of time, for every process that is forked from this one."""
    for cell in release["cells"]:
        if is_test(cell):
            with contextlib.suppress(SyntaxError, ValueError):
                _compiled(grade_id(cell), source_of(cell))


class Examiner:
    """Runs the test cells of one submission, one after another, in one namespace."""

    def __init__(self, prelude: Prelude, limits: Limits, cells: list[str], scored: Collection[str] = ()):
        """`cells` are the sources of the submission's own code cells, which are read and never run; `scored` the grade
        ids of tests whose value is their points."""
        self.prelude, self.limits, self.cells, self.scored = prelude, limits, cells, scored
        self.space = dict(prelude.namespace)
        self._own: set[str] = set()  # bound by test cells

    def run(
        self, cell: dict, count: int, seconds: float, line: Line | None, why_no_line: str = ""
    ) -> tuple[Outputs, Outcome]:
        """Run a test cell within `seconds`. Without a `line` it fails for the reason given, if it needs one."""
        outputs, ident, source = Outputs(self.limits, text_only=True), grade_id(cell), source_of(cell)
        start, credit, error = time.monotonic(), None, None
        if line is not None:
            line.begin(outputs, start + seconds)
        try:
            with _alarm(seconds + 2 * GRACE_SECONDS):  # a call has its own clock: this one is for loops in the test
                credit = self._execute(ident, source, count, line, why_no_line, outputs)
        except (Exception, OutOfTime, SystemExit, KeyboardInterrupt) as raised:
            error = raised
        outcome = {"grade_id": ident, "passed": error is None, "credit": credit, "seconds": time.monotonic() - start}
        if error is None:
            return outputs, Outcome(**outcome)
        if isinstance(error, OutOfTime):
            error = TimeoutError(f"this test was stopped after {seconds:.3g} s")
        elif isinstance(error, wire.ProtocolError):
            error = RemoteError(f"the submission's process gave an answer that is none: {error}")
        name = getattr(error, "remote_name", type(error).__name__) if isinstance(error, RemoteError) else None
        name, message = name or type(error).__name__, _message(error)
        outputs.error(name, message, _render(error))
        hint = getattr(error, "hint", "")
        hint = clean(hint[:2000]) if isinstance(hint, str) else ""
        return outputs, Outcome(**outcome, error=clean(name), message=clean(message[:2000]), hint=hint)

    def _execute(
        self, ident: str, source: str, count: int, line: Line | None, why_no_line: str, outputs: Outputs
    ) -> float | None:
        """Run the cell; its partial credit, if its last expression is a number. Raises what the test raises."""
        test = _compiled(ident, source)
        self._own -= self.prelude.since.get(ident, set())
        self._fetch(test.names, line, why_no_line)
        file = f"<test {ident}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        value = None
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(_Capture(outputs, "stdout")))
            stack.enter_context(contextlib.redirect_stderr(_Capture(outputs, "stderr")))
            if line is not None:
                stack.enter_context(_shared_seeds(line))
                self.space["__in_place__"] = _in_place(line)
                if checks := sys.modules.get("utils.checks"):
                    stack.enter_context(checks.on(Side(line, self.cells)))
            try:
                exec(test.code, self.space)
                if test.last is not None:
                    value = eval(test.last, self.space)
            finally:
                self._own |= test.bound
        if line is not None:
            self._tell(test.bound & self.prelude.wanted, line)
        if ident in self.scored:
            value = as_points(value)
        if value is None:
            return None
        shown = "<an object of the submission>" if is_handle(value) else repr(value)
        outputs.result({"text/plain": shown[:2000]}, count)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def _fetch(self, names: set[str], line: Line | None, why_no_line: str) -> None:
        """Ask the student's side for the names that are neither the prelude's nor an earlier test's."""
        mine = self.prelude.namespace.keys() | self._own | (vars(builtins).keys() - self.prelude.given)
        asked = sorted(names - mine)
        for name in asked:
            self.space.pop(name, None)
        if asked and line is None:
            raise RemoteError(why_no_line)
        if asked and line is not None:
            self.space |= line.names(asked)

    def _tell(self, names: set[str], line: Line) -> None:
        """Let the student's later cells see what this test cell bound, where the release says that they use it."""
        for name in sorted(names & self.space.keys()):
            with contextlib.suppress(TypeError, ValueError, RemoteError):
                line.define({name: self.space[name]})


def as_points(value: Any) -> float:
    """The value of a test that gives points by it. Raises TypeError for what is no number: that is no full marks here,
    as it is with nbgrader, since a submission decides what the value is."""
    kind = type(value)
    if kind in (bool, int, float) or getattr(value, "shape", None) == () and kind.__module__ in ("torch", "numpy"):
        with contextlib.suppress(TypeError, ValueError, RuntimeError, OverflowError):  # complex, a text, too large
            return float(value)
    raise TypeError("the value of this test is its points, and with this submission it is no number")


def _in_place(line: Line) -> Callable:
    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        if is_handle(function):
            return line.call_in_place(function, args, kwargs)
        return function(*args, **kwargs)

    return call


@contextlib.contextmanager
def _shared_seeds(line: Line) -> Iterator[None]:
    """A seed that a test sets is set on the student's side as well."""
    saved = []

    def both(module: str, name: str, original: Callable) -> Callable:
        def seed(*args: Any, **kwargs: Any) -> Any:
            line.do("seed", module, name, *args)
            return original(*args, **kwargs)

        return seed

    for module, name in _SEEDS:
        if module.partition(".")[0] in sys.modules:
            owner = importlib.import_module(module)
            saved.append((owner, name, getattr(owner, name)))
            setattr(owner, name, both(module, name, getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, original in saved:
            setattr(owner, name, original)


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in this thread, the main one, after `seconds`."""

    def ring(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except (Exception, OutOfTime) as another:  # the text may be that of a student's object
        return f"<no text: {type(another).__name__}>"


def _render(error: BaseException) -> list[str]:
    """The traceback as nbformat keeps it: as the error wants it, else from the test cell's own frames on."""
    own = getattr(error, "_render_traceback_", None)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith("<test ")]
    mine = [line.rstrip("\n") for line in traceback.format_list(frames)]
    if own is None:
        return [*mine, *"".join(traceback.format_exception_only(error)).rstrip().splitlines()]
    return [*mine, *own()] if isinstance(error, RemoteError) else list(own())
