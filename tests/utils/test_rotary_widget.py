"""The widget of rotary positions: the score stays while both words move, and changes when one does."""

from __future__ import annotations

import re

import pytest
import torch

from utils import widgets
from utils.widgets import explore_rotary

Q, K = torch.tensor([[1.0, 0.5], [0.3, -1.0]]), torch.tensor([[0.2, 1.0], [1.0, 0.1]])
FREQUENCIES = torch.tensor([1.0, 0.1])


def score(panel) -> float:
    return float(re.search(r"score (-?\d+\.\d+)", panel.children[-1].value)[1])


def test_the_score_stays_while_both_words_move_and_changes_when_one_does():
    ipywidgets = pytest.importorskip("ipywidgets")
    panel = widgets._rotator(ipywidgets, ("it", "<cat>"), Q, K, FREQUENCIES, (2, 5))
    first, second, both, _ = panel.children
    before, drawn = score(panel), panel.children[-1].value
    both.value = 17
    assert score(panel) == before
    assert panel.children[-1].value != drawn  # the hands have turned
    second.value = 8
    assert score(panel) != before
    first.value = 5
    assert score(panel) == before
    assert "&lt;cat&gt;" in panel.children[-1].value and "<cat>" not in panel.children[-1].value


def test_the_score_is_that_of_the_turned_vectors():
    _, _, got = widgets._turned(Q.double(), K.double(), FREQUENCIES.double(), 2, 5)
    angle = 3 * FREQUENCIES.double()
    turned = torch.stack([K[:, 0] * angle.cos() - K[:, 1] * angle.sin(), K[:, 0] * angle.sin() + K[:, 1] * angle.cos()])
    assert got == pytest.approx((Q * turned.T).sum().item())


def test_where_no_widget_runs_the_still_says_the_same(capsys):
    explore_rotary(("it", "cat"), Q, K, FREQUENCIES)
    scores = re.findall(r"score (-?\d+\.\d+)", capsys.readouterr().out)
    assert scores[0] == scores[1] != scores[2]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="pair a frequency"):
        explore_rotary(("it", "cat"), Q, K, FREQUENCIES[:1])
