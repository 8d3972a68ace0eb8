"""Generic wrong answers: the right result, spoilt in a way that a test must notice.

:func:`spoil` runs where student code runs: its text is appended to an answer cell, so it imports what it needs itself.
"""

from __future__ import annotations

import inspect

KINDS = ("zeros", "ones", "input", "negated", "halved", "transposed", "nan", "dtype", "broadcast", "cached")

DESCRIPTIONS = {
    "zeros": "returns zeros",
    "ones": "returns ones",
    "input": "returns its first tensor input",
    "negated": "negates the right result",
    "halved": "halves the right result",
    "transposed": "swaps the last two axes of the right result",
    "nan": "returns NaN",
    "dtype": "returns the right values in another dtype",
    "broadcast": "keeps one column, which broadcasts to the right shape",
    "cached": "computes the right result once and returns it ever after",
}


def spoil(answer, kind, position):
    """Wrap the function, or the forward pass of the module class, `answer` so that it returns a spoilt result.

    Of a tuple only the item at `position` is spoilt. ``spoil.changed`` says whether any call so far gave another result
    than the right one; where it stays False, the mutation does not apply. "cached" always applies: a test that cannot
    tell it from the right answer tries a single input.
    """
    import functools

    import torch

    def spoilt(value, inputs):
        if not isinstance(value, torch.Tensor):
            return value
        number = value.is_floating_point()
        if kind == "zeros":
            return torch.zeros_like(value)
        if kind == "ones":
            return torch.ones_like(value)
        if kind == "input":
            return next((x for x in inputs if isinstance(x, torch.Tensor)), value)
        if kind == "negated":
            return ~value if value.dtype == torch.bool else -value
        if kind == "halved" and value.dtype != torch.bool:
            return value / 2 if number else value // 2
        if kind == "transposed" and value.dim() > 1:
            return value.transpose(-1, -2)
        if kind == "nan" and number:
            return torch.full_like(value, float("nan"))
        if kind == "dtype":
            return value.float() if value.dtype == torch.float64 else value.double()
        if kind == "broadcast" and value.dim() > 0 and value.shape[-1] > 1:
            return value[..., :1]
        if kind == "cached":
            if "first" not in memory:
                memory["first"] = value
            return memory["first"]
        return value

    def same(a, b):
        return a is b or (a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a, b)))

    def wrap(function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            result = function(*args, **kwargs)
            items = list(result) if isinstance(result, tuple) else [result]
            if position >= len(items) or not isinstance(items[position], torch.Tensor):
                return result
            right = items[position]
            items[position] = spoilt(right, [*args, *kwargs.values()])
            spoil.changed = spoil.changed or kind == "cached" or not same(items[position], right)
            return tuple(items) if isinstance(result, tuple) else items[0]

        return wrapped

    memory = {}
    spoil.changed = False
    if not isinstance(answer, type):
        return wrap(answer)
    if hasattr(answer, "forward"):
        answer.forward = wrap(answer.forward)
    return answer


def spoilt_code(code: str, name: str, kind: str, position: int) -> str:
    """The answer cell `code` with its definition of `name` spoilt."""
    return f"{code}\n\n\n{inspect.getsource(spoil)}\n\n{name} = spoil({name}, {kind!r}, {position})\n"
