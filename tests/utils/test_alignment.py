"""The alignment widget: what a click shows, and the table that says the same."""

from __future__ import annotations

import re

import pytest
import torch

from utils import explore_alignment, widgets

SOURCE, TARGET = ["the", "<white>", "house"], ["la", "maison", "<blanche>"]
WEIGHTS = torch.tensor([[0.6, 0.1, 0.3], [0.1, 0.2, 0.7], [0.05, 0.9, 0.05]])


def test_a_click_shows_where_a_word_came_from():
    ipywidgets = pytest.importorskip("ipywidgets")
    words, answer = widgets._aligner(ipywidgets, SOURCE, TARGET, WEIGHTS, 1).children
    assert [button.description for button in words.children] == TARGET
    assert [button.button_style for button in words.children] == ["", "info", ""]
    assert "“maison”, it looked most at “house”, with weight 0.70" in answer.value
    words.children[2].click()
    assert [button.button_style for button in words.children] == ["", "", "info"]
    assert "most at “&lt;white&gt;”, with weight 0.90" in answer.value and "<white>" not in answer.value
    assert re.findall(r">(\d\.\d\d)</td>", answer.value) == ["0.05", "0.90", "0.05"]


def test_where_no_widget_runs_the_still_is_the_table(capsys):
    explore_alignment(SOURCE, TARGET, WEIGHTS)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == SOURCE
    assert [row.split()[0] for row in rows] == TARGET
    assert [[float(w) for w in row.split()[1:]] for row in rows] == [pytest.approx(row) for row in WEIGHTS.tolist()]
    page = widgets._alignment_as_html(SOURCE, TARGET, WEIGHTS)
    assert re.findall(r">(\d\.\d\d)</td>", page) == [f"{w:.2f}" for w in WEIGHTS.flatten().tolist()]
    assert "&lt;blanche&gt;" in page and "<blanche>" not in page


@pytest.mark.parametrize("weights, start", [(WEIGHTS[:2], 0), (WEIGHTS[:, :2], 0), (WEIGHTS, 3), (WEIGHTS, -1)])
def test_what_does_not_fit_is_refused(weights, start):
    with pytest.raises(ValueError):
        explore_alignment(SOURCE, TARGET, weights, start=start)
