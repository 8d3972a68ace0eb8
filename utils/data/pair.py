"""What a data set for translation yields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """A source and its target, as sequences of tokens: words in a tuple, or the characters of a string.

    `alignment` holds (source index, target index) for each two tokens that mean the same; None where nobody has said.
    """

    source: Sequence[str]
    target: Sequence[str]
    alignment: frozenset[tuple[int, int]] | None = None
