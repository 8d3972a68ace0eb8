"""Checks: what a test cell says, and how it says it.

A test cell opens with ``with exercise("causal_mask", points=2):`` and goes from cheap and specific checks to a complete
comparison. The first check that fails ends it with :class:`CheckFailed`, which shows the hint, what came and what was
expected, and no traceback.

The same cell runs at the student's desk and in the grader's examiner, where student code lives in another process. What
differs between the two is behind one seam: :data:`side`.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import linecache
import math
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.display import colour, show_html

__all__ = [
    "CheckFailed",
    "exercise",
    "expect",
    "expect_close",
    "expect_equal",
    "expect_from_scratch",
    "expect_not_raises",
    "expect_raises",
    "gradients",
    "place",
    "rand",
    "randint",
    "randn",
    "rng",
    "score_card",
]

# Relative to the largest expected value, so that zeros, a constant or half the values never pass.
TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-10}


class CheckFailed(AssertionError):
    """A check that did not hold.

    ``hint`` is one sentence for the student; ``detail`` shows got and expected, and may be empty.
    """

    def __init__(self, hint: str, detail: str = ""):
        super().__init__(f"{hint}\n{detail}" if detail else hint)
        self.hint, self.detail = hint, detail
        self.exercise = _state.current.name if _state.current else ""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints in place of a traceback: the frames of a test are no help to a student."""
        where = f"{self.exercise}: " if self.exercise else ""
        return [colour("red", f"✗ {where}{self.hint}"), *textwrap.indent(self.detail, "  ").splitlines()]


# --- exercises -------------------------------------------------------------------------------------------------------


@dataclass
class _Exercise:
    name: str
    points: float
    checks: int = 0
    passed: bool | None = None
    hint: str = ""


@dataclass
class _State:
    """What a kernel remembers between cells: the lesson, the exercise whose test runs, and how each one went."""

    lesson: str = ""
    current: _Exercise | None = None
    generator: torch.Generator | None = None
    results: dict[str, _Exercise] = field(default_factory=dict)


_state = _State()


def start_lesson(lesson: str) -> None:
    """Forget all results and seed `rng` for `lesson`, such as ``"04_self_attention"``."""
    _state.__init__(lesson=lesson)


class exercise:  # noqa: N801 - reads as a statement: `with exercise("causal_mask", points=2):`
    """Run the checks of one exercise, then print a green line.

    A stub that was not written, or whose cell was not run, fails with a sentence that says so; any other exception of
    the student's code keeps its traceback.
    """

    def __init__(self, name: str, points: float):
        self.entry = _Exercise(name, points)

    def __enter__(self) -> None:
        _state.current = _state.results[self.entry.name] = self.entry
        _state.generator = _seeded(self.entry.name)

    def __exit__(self, kind, error, traceback) -> None:
        entry = self.entry
        entry.passed = error is None
        if error is None:
            checks = f"{entry.checks} check{'' if entry.checks == 1 else 's'}"
            print(colour("green", f"✓ {entry.name}: {checks} passed, {_points(entry.points)}"))
        failure = _friendly(error, traceback) or error
        entry.hint = "" if failure is None else str(failure).split("\n", 1)[0] or type(failure).__name__
        _state.current = _state.generator = None
        if failure is not error:
            raise failure from None


def _friendly(error: BaseException | None, traceback) -> CheckFailed | None:
    if isinstance(error, NotImplementedError):
        return CheckFailed("not written yet: replace `raise NotImplementedError()` with your code")
    if isinstance(error, NameError) and traceback.tb_next is None:  # raised by the test itself, not by student code
        return CheckFailed(f"`{error.name}` does not exist yet: run the cell that defines it, then this one")
    return None


def _points(points: float) -> str:
    return f"{points:g} point{'' if points == 1 else 's'}"


def score_card(total: float = 20) -> None:
    """Show how each exercise whose test was run in this session went, and the points out of `total`."""
    rows = list(_state.results.values())
    earned = sum(row.points for row in rows if row.passed)
    open_points = total - sum(row.points for row in rows)
    summary = f"{earned:g} of {total:g} points" + (f", {open_points:g} not tested yet" if open_points > 0 else "")
    table = "".join(
        f"<tr><td style='text-align:left'>{'✓' if row.passed else '✗'} {_escape(row.name)}</td>"
        f"<td>{row.points if row.passed else 0:g} / {row.points:g}</td>"
        f"<td style='text-align:left'>{'' if row.passed else _escape(row.hint)}</td></tr>"
        for row in rows
    )
    html = (
        f"<table><caption><b>{summary}</b></caption><tr><th style='text-align:left'>exercise</th><th>points</th>"
        f"<th style='text-align:left'>what to look at</th></tr>{table}</table>"
    )
    lines = [f"{'✓' if row.passed else '✗'} {row.name:<28} {row.points:>4g}  {row.hint}".rstrip() for row in rows]
    show_html(html, text="\n".join([*lines, summary]))


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# --- checks ----------------------------------------------------------------------------------------------------------


def expect(condition: bool | Tensor, hint: str, got: Any = None) -> None:
    """Fail with `hint` unless `condition` holds; show `got` where that helps."""
    _count()
    if not bool(condition):
        raise CheckFailed(hint, "" if got is None else f"got {describe(got)}")


def expect_equal(got: Any, expected: Any, hint: str, *, mistakes: Mapping[str, Any] | None = None) -> None:
    """Fail with `hint` unless `got` is exactly `expected`: the same type of value, shape, dtype and every element.

    A list and a tuple with equal items count as equal, as do an int and a float of the same value. `mistakes` is as for
    `expect_close`.
    """
    _expect(_equal, got, expected, hint, mistakes)


def expect_close(
    got: Any,
    expected: Any,
    hint: str,
    *,
    tolerance: float | None = None,
    mistakes: Mapping[str, Any] | None = None,
) -> None:
    """Fail unless `got` has the shape and dtype of `expected` and differs by at most `tolerance` · max|expected|.

    Nothing is broadcast. `hint` is shown when the values differ; a wrong type, shape or dtype says so. `tolerance` is
    1e-5 in float32 and 1e-10 in float64 unless given; integers and booleans must be equal. NaN equals NaN.

    `mistakes` maps hints to what those mistakes would give: where `got` is one of them, its hint is shown instead.
    """
    _expect(partial(_close, tolerance=tolerance), got, expected, hint, mistakes)


def expect_raises(error: type[Exception], fn: Callable, *args: Any, hint: str) -> None:
    """Fail with `hint` unless ``fn(*args)`` raises `error`; another exception is shown below the hint."""
    _count()
    try:
        result = fn(*args)
    except error:
        return
    except Exception as other:
        name = getattr(other, "remote_name", type(other).__name__)
        if isinstance(other, NotImplementedError) or name == "SubmissionLost":  # not written; no answer came at all
            raise
        got = f"{name}: {other}"
    else:
        got = describe(result)
    raise CheckFailed(hint, f"no {error.__name__}; got {got}")


def expect_not_raises(error: type[Exception], fn: Callable, *args: Any, hint: str) -> Any:
    """``fn(*args)``; fail with `hint` where that raises `error`, and let any other exception through."""
    _count()
    try:
        return fn(*args)
    except error as raised:
        raise CheckFailed(hint, f"got {getattr(raised, 'remote_name', type(raised).__name__)}: {raised}") from None


def expect_from_scratch(fn: Any, *forbidden: str) -> None:
    """Fail when the source of `fn`, a function or class, mentions one of the `forbidden` names.

    Names are compared, not text: comments and strings do not count.
    """
    _count()
    tree = ast.parse(textwrap.dedent(side.source(fn)))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {node.name.split(".")[-1] for node in ast.walk(tree) if isinstance(node, ast.alias)}
    for name in forbidden:
        if name in used:
            raise CheckFailed(f"write this one from scratch: your code may not use `{name}`")


def _count(checks: int = 1) -> None:
    if _state.current:
        _state.current.checks += checks


def _expect(compare: Callable, got: Any, expected: Any, hint: str, mistakes: Mapping[str, Any] | None) -> None:
    mistakes = mistakes or {}
    _count(1 + len(mistakes))
    try:
        compare(got, expected, hint)
    except CheckFailed as failure:
        for known, wrong in mistakes.items():
            try:
                compare(got, wrong, known)
            except CheckFailed:
                continue
            raise CheckFailed(known, failure.detail) from None
        raise


def _equal(got: Any, expected: Any, hint: str) -> None:
    if isinstance(expected, Tensor):
        _compare(got, expected, hint, tolerance=0.0)
    elif isinstance(got, Tensor) or not _same(got, expected):
        raise CheckFailed(hint, f"got      {describe(got)}\nexpected {describe(expected)}")


def _close(got: Any, expected: Any, hint: str, tolerance: float | None) -> None:
    if isinstance(expected, (bool, int, float)):
        if not isinstance(got, (bool, int, float, Tensor)) or (isinstance(got, Tensor) and got.dim() > 0):
            raise CheckFailed("the result should be a single number", f"got {describe(got)}\n{hint}")
        limit = (TOLERANCE[torch.float32] if tolerance is None else tolerance) * (abs(expected) or 1.0)
        if not (abs(got - expected) <= limit or got == expected or (got != got and expected != expected)):
            raise CheckFailed(hint, f"got {float(got):.6g}, expected {float(expected):.6g} (allowed: {limit:.1e})")
    else:
        _compare(got, expected, hint, tolerance)


def _same(got: Any, expected: Any) -> bool:
    if isinstance(expected, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(got) != len(expected):
            return False
        return all(_same(a, b) for a, b in zip(got, expected, strict=True))
    if isinstance(expected, dict):
        return isinstance(got, dict) and got.keys() == expected.keys() and all(_same(got[k], expected[k]) for k in got)
    if isinstance(expected, np.ndarray):
        return isinstance(got, np.ndarray) and got.shape == expected.shape and bool((got == expected).all())
    if isinstance(expected, (int, float)) and not isinstance(expected, bool):
        return type(got) in (int, float) and got == expected
    return type(got) is type(expected) and bool(got == expected)


def _compare(got: Any, expected: Tensor, hint: str, tolerance: float | None) -> None:
    if not isinstance(got, Tensor):
        raise CheckFailed("the result should be a tensor", f"got      {describe(got)}\nexpected {describe(expected)}")
    got, expected = got.detach().cpu(), expected.detach().cpu()
    both = f"got      {describe(got)}\nexpected {describe(expected)}"
    if got.shape != expected.shape:
        raise CheckFailed(f"the shape is {tuple(got.shape)}, but should be {tuple(expected.shape)}", f"{both}\n{hint}")
    if got.dtype != expected.dtype:
        raise CheckFailed(f"the dtype is {_dtype(got)}, but should be {_dtype(expected)}", f"{both}\n{hint}")
    if not (expected.is_floating_point() or expected.is_complex()):
        wrong = got != expected
        limit = ""
    else:
        finite = expected[torch.isfinite(expected)].abs()
        scale = finite.max().item() if finite.numel() and finite.max() > 0 else 1.0
        tolerance = TOLERANCE.get(expected.dtype, 1e-5) if tolerance is None else tolerance
        close = (got - expected).abs() <= tolerance * scale
        wrong = ~(close | (got == expected) | (got.isnan() & expected.isnan()))
        limit = f" (allowed: {tolerance * scale:.1e})" if tolerance else ""
    if not wrong.any():
        return
    raise CheckFailed(hint, f"{both}{_difference(got, expected, wrong)}{limit}")


def _difference(got: Tensor, expected: Tensor, wrong: Tensor) -> str:
    """Where the largest difference is and how large, and how many elements differ."""
    if got.dim() == 0:  # both values are shown already
        return ""
    gap = torch.where(wrong, (got.to(torch.complex128) - expected.to(torch.complex128)).abs(), 0.0)
    gap = torch.where(wrong & ~torch.isfinite(gap), math.inf, gap)
    index = tuple(int(i) for i in np.unravel_index(int(gap.flatten().argmax()), got.shape))
    size = "first difference" if got.dtype == torch.bool else f"largest difference {gap.max().item():.4g}"
    values = f"got {_number(got[index])}, expected {_number(expected[index])}"
    return f"\n{size} at {list(index)}: {values}; {int(wrong.sum())} of {wrong.numel()} elements differ"


def _number(value: Tensor) -> str:
    return f"{value.item():.6g}" if value.is_floating_point() else str(value.item())


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _elements(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_elements, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def describe(value: Any) -> str:
    """A short picture of any value: dtype and shape of a tensor, and its elements where they are few; else its repr."""
    if isinstance(value, Tensor):
        shape = f"{_dtype(value)} {tuple(value.shape)}"
        return f"{shape} {_elements(value.detach().cpu().tolist())}" if value.numel() <= 8 else shape
    if isinstance(value, np.ndarray):
        return f"numpy {value.dtype} {value.shape}"
    if isinstance(value, (list, tuple)) and any(isinstance(item, Tensor) for item in value):
        return f"{type(value).__name__} of {len(value)}: " + ", ".join(describe(item) for item in value[:4])
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


# --- random numbers --------------------------------------------------------------------------------------------------


def _seeded(name: str) -> torch.Generator:
    """A CPU generator seeded by lesson, `name` and COURSE_SEED: a class sees other numbers than the published ones."""
    key = f"{os.environ.get('COURSE_SEED') or 'published'}/{_state.lesson}/{name}"
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(seed)


def rng() -> torch.Generator:
    """The generator of the exercise whose test runs; it moves on with each draw and starts anew with each exercise."""
    if _state.generator is None:
        _state.generator = _seeded("")
    return _state.generator


def randn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers of the given shape, from `rng`."""
    return torch.randn(*shape, generator=rng(), dtype=dtype)


def rand(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Uniform numbers in [0, 1) of the given shape, from `rng`."""
    return torch.rand(*shape, generator=rng(), dtype=dtype)


def randint(low: int, high: int, shape: Sequence[int] = ()) -> Tensor:
    """Integers (int64) from `low` up to, not including, `high`, of the given shape, from `rng`."""
    return torch.randint(low, high, tuple(shape), generator=rng())


# --- the two sides of a test -----------------------------------------------------------------------------------------


class Desk:
    """What a test asks of the side on which student code lives. Here: this very process."""

    def place(self, cls: Callable, *args: Any, **kwargs: Any) -> Any:
        return cls(*args, **kwargs)

    def gradients(self, fn: Callable, *inputs: Any, upstream: Tensor | None = None) -> list[Tensor]:
        leaves = [x.detach().clone().requires_grad_() if _differentiable(x) else x for x in inputs]
        out = fn(*leaves)
        out = out[0] if isinstance(out, (tuple, list)) else out
        wanted = [x for x in leaves if _differentiable(x)]
        return list(torch.autograd.grad(out, wanted, upstream, materialize_grads=True))

    def source(self, obj: Any) -> str:
        """The text of the function or class `obj`: its last definition in the cell or file that holds it."""
        function = obj if inspect.isfunction(obj) else next(filter(inspect.isfunction, vars(obj).values()), None)
        lines = linecache.getlines(inspect.unwrap(function).__code__.co_filename) if function else []
        text = "".join(lines)
        for node in reversed(list(ast.walk(ast.parse(text)))):
            if getattr(node, "name", None) == obj.__name__ and not isinstance(node, ast.alias):
                return ast.get_source_segment(text, node)
        raise CheckFailed(f"the source of {obj.__name__} cannot be read: define it in its cell")


def _differentiable(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


side: Desk = Desk()


@contextlib.contextmanager
def on(other: Desk) -> Iterator[None]:
    """Within the block, `place`, `gradients` and sources come from `other`: the examiner's line to the sandbox."""
    global side
    before, side = side, other
    try:
        yield
    finally:
        side = before


def place(cls: Callable, *args: Any, **kwargs: Any) -> Any:
    """Make ``cls(*args, **kwargs)`` where student code lives, for a test that hands it an object, not plain data."""
    return side.place(cls, *args, **kwargs)


def gradients(fn: Callable, *inputs: Any, upstream: Tensor | None = None) -> list[Tensor]:
    """The gradients of ``fn(*inputs)`` with respect to each floating-point tensor among `inputs`.

    `fn` returns a scalar, or a tensor that `upstream`, of the same shape, is multiplied into; of a tuple the first item
    counts. A tensor that the result does not depend on gets zeros.

    Raises: CheckFailed where autograd cannot follow the way from the inputs to the result.
    """
    try:
        return side.gradients(fn, *inputs, upstream=upstream)
    except RuntimeError as error:
        if "does not require grad" in str(error):
            hint = "no gradient reaches the inputs: compute with tensors all the way, no .detach(), .item() or no_grad"
            raise CheckFailed(hint) from None
        raise
