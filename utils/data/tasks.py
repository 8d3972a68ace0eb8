"""Four tasks as text to text, told apart by a prefix as in T5: one model reads a text and writes another.

    translate English to French: she sees the black cat   →   elle voit le chat noir
    sentiment: the plot was not clever .                  →   negative
    summarize: yesterday , engineers repaired a bridge …  →   engineers repair bridge in leeds
    acceptable: the keys near the lamp is old .           →   unacceptable

All of it is lower case but for the prefixes, with a space between any two tokens, so ``text.split()`` gives tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from utils.data.multi30k import tokenize

PREFIXES = {
    "translate": "translate English to French:",
    "sentiment": "sentiment:",
    "summarize": "summarize:",
    "acceptable": "acceptable:",
}


class TextPair(NamedTuple):
    """What the model reads, prefix included, and what it is to write."""

    source: str
    target: str


def task_pairs(
    task: str, n_train: int, n_held_out: int, seed: int = 0, *, max_length: int | None = None
) -> tuple[list[TextPair], list[TextPair]]:
    """Pairs of one task, a key of `PREFIXES`, to train on and to test on; no source is in both, nor twice.

    The targets are French, ``negative`` or ``positive``, a headline, ``unacceptable`` or ``acceptable``; labels are
    balanced. What a held-out text says, no training text says in other words; of translations only the sentence is new.
    With `max_length`, no source has more tokens than that after its prefix. Equal seeds give equal pairs.

    Raises: ValueError for another task, and when there are not as many pairs as asked for.
    """
    if task not in PREFIXES:
        raise ValueError(f"task must be one of {', '.join(PREFIXES)}, not {task!r}")
    if task == "translate":
        from utils.data.french import sentence_pairs

        parts = sentence_pairs(n_train, n_held_out, seed, max_length=max_length)
        found = [[(" ".join(pair.source), " ".join(pair.target)) for pair in part] for part in parts]
    else:
        generator, seen = random.Random(seed), set()
        makers = ((MAKERS[task](generator, held_out), n) for held_out, n in ((False, n_train), (True, n_held_out)))
        found = [_draw(make, generator, n, seen, max_length) for make, n in makers]
    train, held_out = ([TextPair(f"{PREFIXES[task]} {source}", target) for source, target in part] for part in found)
    return train, held_out


Maker = Callable[[int], tuple[str, str]]  # draws a text and what is to be written, of a label, 0 or 1


def _draw(
    make: Maker, generator: random.Random, n: int, seen: set[str], max_length: int | None
) -> list[tuple[str, str]]:
    labels = [i % 2 for i in range(n)]
    generator.shuffle(labels)
    found: list[tuple[str, str]] = []
    for label in labels:
        for _ in range(1000):
            source, target = map(_tokens, make(label))
            if source not in seen and (max_length is None or len(source.split()) <= max_length):
                break
        else:
            raise ValueError(
                f"there are too few such texts: {len(found)} of {n} were found; ask for fewer, or longer ones"
            )
        seen.add(source)
        found.append((source, target))
    return found


def _tokens(text: str) -> str:
    """Lower case, with a space between any two tokens; *an* before a vowel."""
    tokens = tokenize(text)
    pairs = zip(tokens, (*tokens[1:], "."), strict=True)
    return " ".join("an" if word == "a" and after[0] in "aeiou" else word for word, after in pairs)


def _sentiment(generator: random.Random, held_out: bool) -> Maker:
    from utils.data.sentiment import LABELS, Grammar

    grammar = Grammar(generator, held_out)
    return lambda label: (grammar.sentence(label)[1], LABELS[label])


def _summarize(generator: random.Random, held_out: bool) -> Maker:
    from utils.data.headlines import news

    return lambda label: news(generator, held_out)


def _acceptable(generator: random.Random, held_out: bool) -> Maker:
    from utils.data.acceptability import sentence

    return lambda label: (sentence(generator, held_out, bool(label)), ("unacceptable", "acceptable")[label])


MAKERS = {"sentiment": _sentiment, "summarize": _summarize, "acceptable": _acceptable}
