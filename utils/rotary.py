"""Rotary positions, for a reader who has written them in lesson 08: queries and keys turned by where they stand."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor


def rotary_table(positions: Tensor, d: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angles by which pairs of features turn, each ``(*positions.shape, d/2)``.

    Pair i turns by ``positions * base**(-2i/d)`` radians; positions need not be whole or in order. The table is float64
    where `positions` are, float32 otherwise.
    """
    dtype = torch.promote_types(positions.dtype, torch.float32)
    frequencies = base ** (-torch.arange(0, d, 2, dtype=dtype, device=positions.device) / d)
    angles = positions[..., None] * frequencies
    return angles.cos(), angles.sin()


def turn(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool = False) -> Tensor:
    """`x` (..., d) with each pair of features turned by the angle whose `cos` and `sin` (..., d/2) are given.

    A pair is features i and i + d/2, as in Llama; `interleaved`, it is features 2i and 2i + 1, as in RoFormer. Both go
    from the first feature to the second: (1, 0) by a quarter circle is (0, 1). Returns: (..., d), of the dtype of `x`.
    """
    pairs = "... (i pair) -> pair ... i" if interleaved else "... (pair i) -> pair ... i"
    first, second = rearrange(x, pairs, pair=2)
    turned = [first * cos - second * sin, first * sin + second * cos]
    back = "pair ... i -> ... (i pair)" if interleaved else "pair ... i -> ... (pair i)"
    return rearrange(turned, back).to(x.dtype)


def rotate(x: Tensor, positions: Tensor, base: float = 10_000.0, *, interleaved: bool = False) -> Tensor:
    """Queries or keys `x` (..., l, d), turned by their `positions`.

    `positions` is (l,), the same for all, or of a shape that broadcasts to (..., l), such as (b, 1, l) beside
    (b, h, l, d). Returns: (..., l, d), of the dtype of `x`.
    """
    if x.dtype == torch.float64:
        positions = positions.double()
    return turn(x, *rotary_table(positions, x.shape[-1], base), interleaved=interleaved)
