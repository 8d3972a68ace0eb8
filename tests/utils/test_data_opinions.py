"""Plain reviews: short, without negation, labels balanced, held-out combinations in one part only."""

from __future__ import annotations

import re

import pytest

from utils.data.opinions import LONGEST, opinions, reviews

SAID = re.compile(r"^The (.+?) (?:was|were) (?:\w+ )?(\w+)\.$")


def test_sentences_are_short_plain_different_and_balanced():
    found = opinions(600, seed=1)
    texts = [example.text for example in found]
    assert len(set(texts)) == 600 and sum(example.label for example in found) == 300
    assert all(len(text.split()) <= LONGEST for text in texts)
    assert not any(re.search(r"n't|\b(not|never|although|but|despite)\b", text) for text in texts)
    assert {0, 1} == {example.label for example in found[:20]}  # in random order


def test_equal_seeds_give_equal_text_and_others_do_not():
    assert opinions(50, seed=3) == opinions(50, seed=3) != opinions(50, seed=4)
    assert reviews(50, seed=3) == reviews(50, seed=3) != reviews(50, seed=4)


def test_a_review_is_two_passages_of_a_sentence_and_a_verdict():
    found = reviews(300)
    assert all(len(review.passages) == 2 and review.passages[0] != review.passages[1] for review in found)
    assert 100 < sum(review.label for review in found) < 200
    verdicts = {label: {p.split(". ", 1)[1] for r in found if r.label == label for p in r.passages} for label in (0, 1)}
    assert len(verdicts[0]) > 5 and len(verdicts[1]) > 5 and not verdicts[0] & verdicts[1]


def test_what_is_said_of_a_noun_is_in_one_part_only():
    def said(sentences):
        return {match.groups() for match in map(SAID.match, sentences) if match}

    held_out = said(example.text for example in opinions(300, held_out=True))
    held_out |= said(p.split(". ")[0] + "." for r in reviews(500, held_out=True) for p in r.passages)
    others = said(example.text for example in opinions(700))
    others |= said(p.split(". ")[0] + "." for r in reviews(2000) for p in r.passages)
    assert len(held_out) > 50 and len(others) > 200
    assert not held_out & others
    assert {noun for noun, _ in held_out} <= {noun for noun, _ in others}  # each noun is known
    known = {what for _, what in others}
    assert sum(what in known for _, what in held_out) > 0.95 * len(held_out)  # and nearly each word said of it


def test_too_many_sentences_are_refused():
    with pytest.raises(ValueError, match="too few"):
        opinions(100_000, held_out=True)
