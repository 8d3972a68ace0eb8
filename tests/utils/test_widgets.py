"""Widgets: what a slide of a control shows, and the still that says the same."""

from __future__ import annotations

import re

import pytest
import torch

from utils import widgets
from utils.widgets import explore_attention, explore_softmax

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


# --- attention -------------------------------------------------------------------------------------------------------

TOKENS = ["it", "<cat>", "sat"]
Q = torch.tensor([[[0.0, 4.0], [1.0, 0.0], [2.0, 1.0]], [[3.0, 0.0], [0.0, 3.0], [1.0, 1.0]]])
K = torch.tensor([[[0.5, 0.0], [0.0, 2.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]])


class Panel:
    """The live widget, as a reader meets it: buttons, controls, and the weights in the answer below."""

    def __init__(self, q=Q, k=K, names=("one", "two")):
        ipywidgets = pytest.importorskip("ipywidgets")
        words, controls, self.answer = widgets._panel(ipywidgets, TOKENS, q, k, list(names), 0).children
        self.buttons, self.controls = words.children, controls.children

    def control(self, description):
        (found,) = [control for control in self.controls if control.description == description]
        return found

    @property
    def weights(self) -> list[float]:
        return [float(number) for number in re.findall(r"right\">(\d\.\d\d)</td>", self.answer.value)]


def expected(head: int, query: int, factor: float = 1.0, keys: int = 3) -> list[float]:
    return pytest.approx((factor * Q[head, query] @ K[head, :keys].T / 2**0.5).softmax(-1).tolist(), abs=5e-3)


def test_a_click_picks_the_query():
    panel = Panel()
    assert [button.description for button in panel.buttons] == TOKENS
    for query, button in enumerate(panel.buttons):
        button.click()
        assert panel.weights == expected(0, query)
        assert [b.button_style for b in panel.buttons].index("info") == query
    assert "“sat” looks most at" in panel.answer.value


def test_the_controls_change_scale_mask_and_head():
    panel = Panel()
    panel.control("scores ×").value = 0.0
    assert panel.weights == pytest.approx([1 / 3] * 3, abs=5e-3)
    panel.control("scores ×").value = 3.0
    assert panel.weights == expected(0, 0, factor=3.0)
    panel.control("scores ×").value = 1.0
    panel.control("head").value = 1
    assert panel.weights == expected(1, 0)
    panel.control("causal mask").value = True
    assert panel.weights == [1.0, 0.0, 0.0]
    panel.buttons[1].click()
    assert panel.weights[:2] == expected(1, 1, keys=2) and panel.weights[2] == 0


def test_one_head_needs_no_chooser():
    descriptions = [control.description for control in Panel(Q[:1], K[:1], names=["one"]).controls]
    assert descriptions == ["scores ×", "causal mask"]


def test_words_are_text_not_html():
    panel = Panel()
    assert "&lt;cat&gt;" in panel.answer.value and "<cat>" not in panel.answer.value


def test_where_no_widget_runs_each_head_says_who_looks_at_whom(capsys):
    explore_attention(TOKENS, Q, K, heads=["meaning", "place"], start=0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "meaning: “it” looks most at “<cat>”, with weight 0.94"
    assert lines[2].split() == ["<cat>", "0.94", "█" * round(0.94 * widgets.BAR)]
    assert lines[4].startswith("place: “it” looks most at “sat”")


@pytest.mark.parametrize(
    "tokens, q, k, options, message",
    [
        (TOKENS[:2], Q, K, {}, "2 tokens need q and k of one row each"),
        (TOKENS, Q, K[:1], {}, "3 tokens need q and k"),
        (TOKENS, Q, K, {"start": 3}, "index of one of the 3 tokens"),
        (TOKENS, Q, K, {"heads": ["one"]}, "1 names for 2 heads"),
    ],
)
def test_attention_that_does_not_fit_is_refused(tokens, q, k, options, message):
    with pytest.raises(ValueError, match=message):
        explore_attention(tokens, q, k, **options)
