"""The widget that follows an LSTM's gates over a text."""

from __future__ import annotations

import re

import pytest
import torch

from utils import explore_gates, widgets

CELLS = ["<tail>", "count"]


def gates(text: str) -> torch.Tensor:
    """The first cell halves what it has and lets "a" in; the second adds 0.5 · 0.5 at each character."""
    rows = [[(float(character == "a"), 0.5, 1.0, 1.0), (0.5, 1.0, 0.5, 0.25)] for character in text]
    return torch.tensor(rows)


def test_the_states_are_those_of_an_lstm_with_such_gates():
    plain = torch.randn(6, 2, 4, generator=torch.Generator().manual_seed(0))
    by_hand = plain.sigmoid()
    by_hand[..., 2] = plain[..., 2].tanh()
    c, expected = torch.zeros(1, 2), []
    for step in plain:  # an LSTM whose gates are its biases
        none = torch.zeros(8, 2)
        _, c = torch.lstm_cell(torch.zeros(1, 2), (torch.zeros(1, 2), c), none, none, step.T.flatten(), torch.zeros(8))
        expected.append(c[0])
    assert torch.allclose(widgets._states(by_hand), torch.stack(expected))


def test_the_widget_follows_its_controls():
    ipywidgets = pytest.importorskip("ipywidgets")
    controls, answer = widgets._stepper(ipywidgets, gates, "ab<", CELLS, 0, 1).children
    typed, cell, step = controls.children
    assert "at “b”: c = f · c + i · g = 0.50 · 1.00 + 0.00 · 1.00 = 0.50" in answer.value
    assert answer.value.count("rgba") == 1 and "&lt;" in answer.value
    cell.value = 1
    assert "= 1.00 · 0.25 + 0.50 · 0.50 = 0.50" in answer.value
    assert "h = o · tanh(c) = 0.12" in answer.value
    step.value = 2
    typed.value = "a "  # shorter than the chosen character
    assert (step.value, step.max) == (1, 1) and "at “␣”" in answer.value
    typed.value = ""
    assert answer.value == "type a text"
    typed.value = "aaaa"
    assert step.max == 3 and len(re.findall("<tr", answer.value)) == 5


def test_where_no_widget_runs_the_still_shows_the_states_of_all_cells(capsys):
    explore_gates(gates, "ab a", CELLS)
    title, head, first, second = capsys.readouterr().out.splitlines()
    assert title == "the state c of each cell after each character"
    assert first.split() == ["<tail>", "1.0", "0.5", "0.2", "1.1"]
    assert second.split() == ["count", "0.2", "0.5", "0.8", "1.0"]
    assert "&lt;tail&gt;" in widgets._states_as_html("ab a", widgets._states(gates("ab a")), CELLS)


@pytest.mark.parametrize(
    "names, choice", [(CELLS[:1], {}), (CELLS, {"start": 3}), (CELLS, {"start": -1}), (CELLS, {"cell": 2})]
)
def test_what_does_not_fit_is_refused(names, choice):
    with pytest.raises(ValueError):
        explore_gates(gates, "abc", names, **choice)
