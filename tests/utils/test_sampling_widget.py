"""The widget that turns temperature, top-k and top-p."""

from __future__ import annotations

import re

import pytest
import torch

from utils import widgets
from utils.widgets import explore_sampling

LABELS = [" the", "<b>", "\n", "of", "zebra"]
P = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05])
LOGITS = P.log()


@pytest.mark.parametrize(
    "knobs, expected",
    [
        ((1.0, 0, 1.0), [0.4, 0.25, 0.2, 0.1, 0.05]),
        ((1.0, 2, 1.0), [0.4 / 0.65, 0.25 / 0.65, 0, 0, 0]),
        ((1.0, 0, 0.6), [0.4 / 0.65, 0.25 / 0.65, 0, 0, 0]),  # the token that crosses p stays
        ((1.0, 0, 0.05), [1, 0, 0, 0, 0]),
        ((0.5, 3, 1.0), [0.16 / 0.2625, 0.0625 / 0.2625, 0.04 / 0.2625, 0, 0]),
        ((1.0, 2, 0.62), [0.4 / 0.65, 0.25 / 0.65, 0, 0, 0]),  # p is of what top-k left
        ((1.0, 2, 0.61), [1, 0, 0, 0, 0]),
    ],
)
def test_the_knobs_keep_what_they_should(knobs, expected):
    order = torch.tensor([3, 0, 4, 2, 1])
    drawn = widgets._drawn(LOGITS[order], *knobs)
    torch.testing.assert_close(drawn, torch.tensor(expected, dtype=torch.float32)[order], rtol=0, atol=1e-6)


def test_a_share_of_1_keeps_every_token():
    logits = 2 * torch.randn(50, 5000)
    assert all((widgets._drawn(row, 1.0, 0, 1.0) > 0).all() for row in logits)


def test_the_sliders_move_the_table():
    ipywidgets = pytest.importorskip("ipywidgets")
    temperature, k, p, answer = widgets._mixer(ipywidgets, LABELS, LOGITS, (1.0, 0, 1.0)).children
    assert "5 of 5 tokens can be drawn" in answer.value
    k.value = 2
    shown = [float(number) for number in re.findall(r"<td>(\d\.\d{3})</td>", answer.value)]
    assert shown == pytest.approx([0.4, 0.615, 0.25, 0.385, 0.2, 0, 0.1, 0, 0.05, 0], abs=6e-4)
    k.value, p.value, temperature.value = 0, 0.5, 0.1
    assert "1 of 5 tokens can be drawn" in answer.value
    assert "&lt;b&gt;" in answer.value and "<b>" not in answer.value
    assert "␣the" in answer.value and r"\n" in answer.value


def test_where_no_widget_runs_the_still_shows_several_settings(capsys):
    explore_sampling(LABELS, LOGITS)
    head, *rows, left = capsys.readouterr().out.splitlines()
    for name in widgets.STILL_KNOBS:
        assert name in head
    assert rows[0].split() == ["␣the", "0.400", "0.582", "0.298", "0.471", "0.471"]
    assert left.split()[2:] == ["5", "5", "5", "3", "3"]


@pytest.mark.parametrize(
    "labels, start", [(LABELS[:2], (1.0, 0, 1.0)), (LABELS, (0.0, 0, 1.0)), (LABELS, (1.0, 99, 1.0))]
)
def test_what_does_not_fit_is_refused(labels, start):
    with pytest.raises(ValueError):
        explore_sampling(labels, LOGITS, start=start)
