"""Widgets: what a slide of a control shows, and the still that says the same."""

from __future__ import annotations

import re

import pytest
import torch

from utils import widgets
from utils.widgets import explore_softmax

LABELS, LOGITS = ["three", "<eight>", "five"], torch.tensor([2.0, 1.0, -1.0])


def test_the_temperature_slider_moves_the_probabilities():
    ipywidgets = pytest.importorskip("ipywidgets")
    slider, answer = widgets._thermostat(ipywidgets, LABELS, LOGITS, 1.0).children
    for temperature in (1.0, 0.5, 5.0):
        slider.value = temperature
        shown = [float(number) for number in re.findall(r"<td>(\d\.\d{3})</td>", answer.value)]
        assert shown == pytest.approx((LOGITS / temperature).softmax(0).tolist(), abs=5e-4)
    slider.value = 0.0
    assert re.findall(r"<td>(\d\.\d{3})</td>", answer.value) == ["1.000", "0.000", "0.000"]
    assert "“three” gets 1.00" in answer.value
    assert "&lt;eight&gt;" in answer.value and "<eight>" not in answer.value


def test_at_temperature_zero_equal_logits_share():
    assert widgets._probabilities(torch.tensor([1.0, 3.0, 3.0]), 0.0).tolist() == [0.0, 0.5, 0.5]


def test_where_no_widget_runs_the_still_shows_several_temperatures(capsys):
    explore_softmax(LABELS, LOGITS)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["T", "logit", *(f"{t:g}" for t in widgets.STILL_TEMPERATURES)]
    assert rows[0].split()[:3] == ["three", "2.0", "1.000"]
    columns = torch.tensor([[float(number) for number in row.split()[2:]] for row in rows])
    assert torch.allclose(columns.sum(0), torch.ones(6), atol=2e-3)
    assert columns[0].tolist() == sorted(columns[0], reverse=True)  # the hotter, the less the largest gets


@pytest.mark.parametrize("labels, start", [(LABELS[:2], 1.0), (LABELS, -0.1), (LABELS, 5.1)])
def test_what_does_not_fit_is_refused(labels, start):
    with pytest.raises(ValueError):
        explore_softmax(labels, LOGITS, start=start)
