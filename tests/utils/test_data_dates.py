from __future__ import annotations

import itertools
from datetime import date

import pytest

from utils.data.dates import FORMS, characters, date_pairs, written


@pytest.fixture(scope="module")
def data():
    return date_pairs(3000, 400, seed=1)


def test_written_dates():
    day = date(2025, 3, 4)
    assert written(day, "en_US", "full") == "tuesday, march 4, 2025"
    assert written(day, "en_US", "short") == "3/4/25"
    assert written(day, "en_GB", "short") == "04/03/2025"
    assert written(day, "fr", "long") == "4 mars 2025"
    assert written(day, "de", "long") == "4. märz 2025"
    assert written(day, "es", "long") == "4 de marzo de 2025"
    assert written(day, "nl", "long") == "4 maart 2025"


def test_no_written_date_has_two_readings():
    """Of these days each comes with its day and month, or its century, changed places."""
    years, months = (1950, 1999, 2003, 2049), range(1, 13)
    days = [date(year, month, day) for year in years for month in months for day in months]
    readings = {}
    for day, (locale, style) in itertools.product(days, FORMS):
        assert readings.setdefault(written(day, locale, style), day) == day, (locale, style)


def test_pairs_mean_the_same_day(data):
    train, held_out = data
    assert (len(train), len(held_out)) == (3000, 400)
    for pair in [*train[:300], *held_out]:
        assert written(date.fromisoformat(pair.target), pair.locale, pair.style) == pair.source
        assert len(pair.target) == 10 and pair.alignment is None
    assert {(pair.locale, pair.style) for pair in train} == set(FORMS)
    assert len({pair.source for pair in train + held_out}) == 3400


def test_held_out_days_are_never_trained_on(data):
    train, held_out = data
    assert not {pair.target for pair in train} & {pair.target for pair in held_out}


def test_seeds_decide():
    assert date_pairs(50, 20, seed=5) == date_pairs(50, 20, seed=5) != date_pairs(50, 20, seed=6)
    assert date_pairs(50, 20, seed=5)[1] == date_pairs(80, 20, seed=5)[1]  # more to train on: the same test


def test_characters(data):
    source, target = characters(data[0])
    assert target == list("-0123456789")
    assert {*"0123456789/., é"} <= set(source) and source == sorted(source) and all(c == c.lower() for c in source)


def test_asking_for_too_much_is_refused():
    with pytest.raises(ValueError, match="ask for fewer"):
        date_pairs(0, 4000, forms=[("fr", "short")])
