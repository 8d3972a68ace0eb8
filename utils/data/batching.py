"""From tokens to tensors: ids, padding, batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
POOL = 50  # batches that are sorted by length together

Example = TypeVar("Example")


class Vocabulary:
    """Ids for tokens: 0 to 3 are padding, beginning, end and unknown; the rest follow the order of `tokens`."""

    def __init__(self, tokens: Iterable[str]):
        self.tokens = list(dict.fromkeys([*SPECIAL, *tokens]))
        self.ids = {token: i for i, token in enumerate(self.tokens)}

    @classmethod
    def build(cls, sequences: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """Of all tokens that come at least `min_count` times: the frequent ones first, ties in alphabetical order."""
        counts = Counter(token for sequence in sequences for token in sequence)
        return cls(sorted((t for t, n in counts.items() if n >= min_count), key=lambda token: (-counts[token], token)))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, tokens: Sequence[str], *, bos: bool = False, eos: bool = False) -> list[int]:
        """The ids of `tokens`; a token that is not in the vocabulary is UNK."""
        ids = [self.ids.get(token, UNK) for token in tokens]
        return [BOS] * bos + ids + [EOS] * eos

    def decode(self, ids: Iterable[int] | Tensor) -> list[str]:
        """The tokens of `ids` up to the first EOS, without padding and BOS."""
        tokens = []
        for i in ids.tolist() if isinstance(ids, Tensor) else ids:
            if i == EOS:
                break
            if i not in (PAD, BOS):
                tokens.append(self.tokens[i])
        return tokens


def pad(sequences: Sequence[Sequence[int]], value: int = PAD) -> tuple[Tensor, Tensor]:
    """Stack sequences of different lengths.

    Returns: (b, l) int64 ids, where l is the longest length and `value` fills up on the right; (b,) int64 lengths.
    """
    lengths = torch.tensor([len(ids) for ids in sequences], dtype=torch.int64)
    out = torch.full((len(sequences), max(map(len, sequences), default=0)), value, dtype=torch.int64)
    for row, ids in zip(out, sequences, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
    return out, lengths


def batches(
    examples: Sequence[Example],
    size: int,
    generator: torch.Generator | None = None,
    *,
    length: Callable[[Example], int] | None = None,
) -> Iterator[list[Example]]:
    """Go through `examples` once, in an order that `generator` shuffles, `size` at a time; the last may be fewer.

    With `length`, examples of a similar length share a batch, which wastes less on padding: the shuffled examples are
    sorted in pools of 50 batches, and the batches are shuffled.
    """
    order = torch.randperm(len(examples), generator=generator).tolist()
    if length is not None:
        pools = [order[i : i + POOL * size] for i in range(0, len(order), POOL * size)]
        order = [i for pool in pools for i in sorted(pool, key=lambda i: length(examples[i]))]
    starts = torch.arange(0, len(order), size)
    if length is not None:
        starts = starts[torch.randperm(len(starts), generator=generator)]
    for start in starts.tolist():
        yield [examples[i] for i in order[start : start + size]]
