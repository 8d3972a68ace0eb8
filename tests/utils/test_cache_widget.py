"""The widget of cache sizes: each bar is what the given function counts, and the sliders move what they should."""

from __future__ import annotations

import re

import pytest

from utils import widgets
from utils.widgets import explore_cache


def elements(kind, n_layers, n_heads, d_head, n_kv_heads, d_latent, d_rope):
    heads = {"MHA": n_heads, "GQA": n_kv_heads, "MQA": 1}
    return n_layers * (d_latent + d_rope if kind == "MLA" else 2 * heads[kind] * d_head)


def shown(panel) -> dict[str, float]:
    """The sizes in MiB that the panel shows, by kind."""
    rows = re.findall(r">(M[HQL]A|GQA)</td><td[^>]*>([\d.]+) ([GM])iB<", panel.children[-1].value)
    return {kind: float(size) * (1024 if unit == "G" else 1) for kind, size, unit in rows}


def test_the_bars_are_what_is_counted_and_the_sliders_move_them():
    ipywidgets = pytest.importorskip("ipywidgets")
    panel = widgets._cache_panel(ipywidgets, elements, 2**13)
    layers, heads, groups, latent, tokens, _ = panel.children
    first = shown(panel)
    assert first == {"MHA": 4096, "GQA": 1024, "MQA": 128, "MLA": 288}
    tokens.value = 2**14
    assert shown(panel)["MHA"] == 2 * first["MHA"]
    tokens.value, latent.value = 2**13, 1024
    assert shown(panel)["MLA"] > first["MLA"] and shown(panel)["GQA"] == first["GQA"]
    layers.value = 16
    assert shown(panel)["MQA"] == pytest.approx(first["MQA"] / 2)
    heads.value = 4  # fewer than the key heads that are chosen
    assert shown(panel)["GQA"] == shown(panel)["MHA"]
    groups.value = 1
    assert shown(panel)["GQA"] == shown(panel)["MQA"]


def test_where_no_widget_runs_the_still_says_the_same(capsys):
    explore_cache(elements)
    out = capsys.readouterr().out
    assert "32 layers, 32 heads of 128, 8 key heads, latent 512 + 64" in out
    assert "  8,192 tokens: MHA 4.00 GiB, GQA 1.00 GiB, MQA 128.0 MiB, MLA 288.0 MiB" in out


def test_a_length_that_no_slider_has_is_refused():
    with pytest.raises(ValueError, match="power of two"):
        explore_cache(elements, length=1000)
