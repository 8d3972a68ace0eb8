"""The widget that switches the norm and the residuals of a stack of blocks."""

from __future__ import annotations

import math
import re

import pytest

from utils import explore_stack, widgets

SIZES = {"pre": 1.0, "post": 1e-3, "none": math.inf}


def through(depth: int, norm: str, residuals: bool) -> tuple[list[float], list[float]]:
    """A gradient of its own for each norm, and words that become one without residuals."""
    alike = [0.25] * depth + [0.5 if residuals else 1.0]
    return [SIZES[norm] * 10.0**-i for i in range(depth + 1)], alike


def test_the_widget_follows_its_controls():
    ipywidgets = pytest.importorskip("ipywidgets")
    controls, answer = widgets._stack_panel(ipywidgets, through, 3, 16).children
    norm, residuals, blocks = controls.children
    assert "pre-norm, residuals" in answer.value and "0.500" in answer.value
    assert re.findall(r"<td style=\"text-align: left\">(top|block \d)", answer.value) == [
        "top",
        "block 3",
        "block 2",
        "block 1",
    ]
    residuals.value = False
    assert "pre-norm, no residuals" in answer.value and "1.000" in answer.value
    norm.value = "post"
    assert "post-norm, no residuals" in answer.value and "1e-03" in answer.value
    blocks.value = 5
    assert answer.value.count("<tr>") == 1 + 6
    norm.value = "none"
    assert "no norm, no residuals" in answer.value and "inf" in answer.value


def test_a_letter_for_each_power_of_ten():
    assert len(widgets._log_bar(1.0)) == 12 and len(widgets._log_bar(1e-3)) == 9
    assert widgets._log_bar(0.0) == widgets._log_bar(1e-15) == ""
    assert len(widgets._log_bar(math.inf)) == len(widgets._log_bar(math.nan)) == len(widgets._log_bar(1e30)) == 24


def test_where_no_widget_runs_the_still_shows_all_six_settings(capsys):
    explore_stack(through, depth=2)
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert title == "through 2 blocks" and "gradient at the words" in head
    assert [row[:24].strip() for row in rows] == [
        f"{name}, {residuals}"
        for residuals in ("residuals", "no residuals")
        for name in ("pre-norm", "post-norm", "no norm")
    ]
    assert rows[1].split()[-4:] == ["1e-05", "1e-03", "0.250", "0.500"]
    settings = {(norm, residuals): through(2, norm, residuals) for norm in SIZES for residuals in (True, False)}
    assert widgets._stacks_as_html(settings).count("<tr>") == 7


@pytest.mark.parametrize("depth, given", [(0, through), (17, through), (3, lambda *_: ([1.0], [1.0]))])
def test_what_does_not_fit_is_refused(depth, given):
    with pytest.raises(ValueError):
        explore_stack(given, depth=depth)
