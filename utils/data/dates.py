"""Dates as people write them, in several languages, and the same dates as ISO 8601 writes them.

The written forms are CLDR's, which Babel (a dependency of JupyterLab) carries: ``tuesday, march 4, 2025``,
``mardi 4 mars 2025`` and ``04.03.25`` all mean ``2025-03-04``. Another release of CLDR may spell a form otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from utils.data.pair import Pair

# (locale, style). Left out are the short forms that only their locale tells apart: in es, 3/4/25 is the third of April.
FORMS = tuple(
    (locale, style)
    for locale, styles in {
        "en_US": "short medium long full",
        "en_GB": "short medium long full",
        "fr": "short medium long full",
        "de": "short medium long full",
        "es": "medium long full",
        "nl": "short medium long full",
    }.items()
    for style in styles.split()
)
FIRST, LAST = date(1950, 1, 1), date(2049, 12, 31)  # a hundred years, so that two digits name one of them
HELD_OUT = 0.1  # of the days


@dataclass(frozen=True)
class DatePair(Pair):
    """`source` is the written date in lower case, `target` its ISO form, ten characters; both are strings.

    `locale` is such as ``"en_US"``, `style` one of ``"short"``, ``"medium"``, ``"long"``, ``"full"``.
    """

    locale: str = ""
    style: str = ""


def date_pairs(
    n_train: int, n_held_out: int, seed: int = 0, forms: Iterable[tuple[str, str]] = FORMS
) -> tuple[list[DatePair], list[DatePair]]:
    """Written dates with their ISO forms, to train on and to test on.

    Days are from 1950 to 2049. A tenth of them is held out: no form of such a day is in the training pairs. No written
    date comes twice, and none has two readings. Equal seeds give equal pairs (with one release of Babel).

    Raises: ValueError when there are not as many different pairs as asked for.
    """
    generator = random.Random(seed)
    days = [FIRST + timedelta(n) for n in range((LAST - FIRST).days + 1)]
    generator.shuffle(days)
    cut = round(len(days) * HELD_OUT)
    forms = tuple(forms)
    held_out = _draw(generator, days[:cut], forms, n_held_out)
    return _draw(generator, days[cut:], forms, n_train), held_out


def written(day: date, locale: str, style: str) -> str:
    """`day` as CLDR writes it for `locale` in `style`, in lower case, with plain spaces."""
    from babel.dates import format_date

    return " ".join(format_date(day, style, locale).lower().split())


def characters(pairs: Iterable[Pair]) -> tuple[list[str], list[str]]:
    """The characters of the sources and those of the targets, each sorted: what a `Vocabulary` is made of."""
    pairs = list(pairs)
    return sorted({c for pair in pairs for c in pair.source}), sorted({c for pair in pairs for c in pair.target})


def _draw(generator: random.Random, days: Sequence[date], forms: Sequence[tuple[str, str]], n: int) -> list[DatePair]:
    pairs: dict[str, DatePair] = {}
    choices = range(len(days) * len(forms))
    for choice in generator.sample(choices, min(len(choices), 4 * n)):  # forms of a day that agree are few
        day, (locale, style) = days[choice // len(forms)], forms[choice % len(forms)]
        pair = DatePair(written(day, locale, style), day.isoformat(), locale=locale, style=style)
        pairs.setdefault(pair.source, pair)
        if len(pairs) == n:
            break
    if len(pairs) < n:
        raise ValueError(f"only {len(pairs)} different written dates were found; ask for fewer, or give more forms")
    return list(pairs.values())
