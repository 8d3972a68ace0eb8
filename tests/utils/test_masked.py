"""The widget that hides a word and asks models for it."""

from __future__ import annotations

import pytest

from utils import explore_masked, widgets


def neighbours(words: list[str], hidden: int) -> list[tuple[str, float]]:
    """What stands on the left with probability 3/4, what stands on the right with 1/4."""
    around = [words[hidden - 1] if hidden else "<start>", words[hidden + 1] if hidden + 1 < len(words) else "<end>"]
    return list(zip(around, (0.75, 0.25), strict=True))


MODELS = {"both": neighbours, "<left>": lambda words, hidden: neighbours(words, hidden)[:1]}


def test_the_widget_asks_each_model_for_the_word_that_was_clicked():
    ipywidgets = pytest.importorskip("ipywidgets")
    typed, row, answer = widgets._filler(ipywidgets, MODELS, "It wasn't good, really.", 1).children
    assert [button.description for button in row.children] == ["It", "wasn't", "good", ",", "really", "."]
    assert "It ▁▁▁ good , really ." in answer.value and "&lt;left&gt;" in answer.value
    assert "It 0.75" in answer.value and "good 0.25" in answer.value
    row.children[0].click()
    assert "▁▁▁ wasn&#x27;t" in answer.value and "&lt;start&gt; 0.75" in answer.value
    assert [button.button_style for button in row.children] == ["info", "", "", "", "", ""]
    typed.value = "one two"
    assert len(row.children) == 2 and "▁▁▁ two" in answer.value
    typed.value = "  "
    assert row.children == () and answer.value == "type a sentence"


def test_where_no_widget_runs_the_still_shows_the_models_side_by_side(capsys):
    explore_masked(MODELS, "The soup was cold.", start=1)
    assert capsys.readouterr().out.splitlines() == [
        "The ▁▁▁ was cold .",
        "  both    The 0.75  was 0.25",
        "  <left>  The 0.75",
    ]


@pytest.mark.parametrize("start", [-1, 3])
def test_a_word_that_is_not_there_is_refused(start):
    with pytest.raises(ValueError, match="3 words"):
        explore_masked(MODELS, "It was good", start=start)
