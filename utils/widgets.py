"""Things to play with: they show what a click does, and a still picture that says the same where no widget runs.

Only what ipywidgets 7.7 (Colab) and 8 (JupyterLab) share is used.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from utils.display import in_notebook, show_html

__all__ = ["explore_attention"]

BAR = 24  # letters in a bar of weight 1
ORANGE = "230, 159, 0"


def explore_attention(
    tokens: Sequence[str],
    q: Tensor,
    k: Tensor,
    *,
    heads: Sequence[str] | None = None,
    start: int = 0,
) -> None:
    """Click a token, and see which tokens it looks at.

    `q` and `k` are (tokens, d) or (heads, tokens, d); `heads` are the names of the heads, and `start` is the token that
    is chosen at first. The scores are q·k / √d; a slider multiplies them, a box hides the tokens that come later.
    """
    q, k = (x.detach().cpu().float() for x in (q, k))
    q, k = (x[None] if x.dim() == 2 else x for x in (q, k))
    if q.shape != k.shape or q.shape[1] != len(tokens):
        raise ValueError(f"{len(tokens)} tokens need q and k of one row each; got {tuple(q.shape)}, {tuple(k.shape)}")
    if not 0 <= start < len(tokens):
        raise ValueError(f"start must be the index of one of the {len(tokens)} tokens, not {start}")
    names = list(heads or [f"head {i + 1}" for i in range(len(q))])
    if len(names) != len(q):
        raise ValueError(f"{len(names)} names for {len(q)} heads")
    weights = [_weights(q[i], k[i]) for i in range(len(q))]
    still = "".join(_as_html(tokens, w[start], start, name) for w, name in zip(weights, names, strict=True))
    text = "\n".join(_as_text(tokens, w[start], start, name) for w, name in zip(weights, names, strict=True))
    ipywidgets = _ipywidgets()
    if ipywidgets is None:
        show_html(still, text)
        return
    from IPython.display import display

    # One output, of which each reader takes what it can show: the widget where there is a kernel, the still elsewhere.
    view = {"version_major": 2, "version_minor": 0, "model_id": _panel(ipywidgets, tokens, q, k, names, start).model_id}
    bundle = {"application/vnd.jupyter.widget-view+json": view, "text/html": still, "text/plain": text}
    display(bundle, raw=True)


def _ipywidgets():
    """The module, or None where no widget can be shown or none is wanted."""
    if not in_notebook() or os.environ.get("COURSE_PLOTS") == "off":
        return None
    try:
        import ipywidgets
    except ImportError:
        return None
    return ipywidgets


def _weights(q: Tensor, k: Tensor, factor: float = 1.0, causal: bool = False) -> Tensor:
    """Who looks at whom: (tokens, tokens), rows sum to 1."""
    scores = factor * q @ k.T / math.sqrt(q.shape[-1])
    if causal:
        scores = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -math.inf)
    return scores.softmax(-1)


def _panel(ipywidgets, tokens: Sequence[str], q: Tensor, k: Tensor, names: list[str], start: int):
    """The live widget: a button for each token, three controls, and the answer below."""
    chosen = start
    buttons = [
        ipywidgets.Button(description=token, tooltip=f"who does {token!r} look at?", layout={"width": "auto"})
        for token in tokens
    ]
    head = ipywidgets.Dropdown(options=[(name, i) for i, name in enumerate(names)], value=0, description="head")
    factor = ipywidgets.FloatSlider(value=1.0, min=0.0, max=8.0, step=0.25, description="scores ×")
    causal = ipywidgets.Checkbox(value=False, description="causal mask", indent=False)
    answer = ipywidgets.HTML()

    def draw(change=None):
        weights = _weights(q[head.value], k[head.value], factor.value, causal.value)
        for i, button in enumerate(buttons):
            button.button_style = "info" if i == chosen else ""
        answer.value = _as_html(tokens, weights[chosen], chosen, names[head.value])

    def choose(button):
        nonlocal chosen
        chosen = buttons.index(button)
        draw()

    for button in buttons:
        button.on_click(choose)
    controls = [head, factor, causal] if len(names) > 1 else [factor, causal]
    for control in controls:
        control.observe(draw, names="value")
    draw()
    row = {"flex_flow": "row wrap"}
    return ipywidgets.VBox([ipywidgets.HBox(buttons, layout=row), ipywidgets.HBox(controls, layout=row), answer])


def _message(tokens: Sequence[str], weights: Tensor, query: int, name: str) -> str:
    best = int(weights.argmax())
    return f"{name}: “{tokens[query]}” looks most at “{tokens[best]}”, with weight {weights[best]:.2f}"


def _bar(weight: float) -> str:
    return "█" * round(weight * BAR)


def _as_text(tokens: Sequence[str], weights: Tensor, query: int, name: str) -> str:
    width = max(map(len, tokens))
    rows = [f"  {t:<{width}} {w:.2f} {_bar(w)}".rstrip() for t, w in zip(tokens, weights.tolist(), strict=True)]
    return "\n".join([_message(tokens, weights, query, name), *rows])


def _as_html(tokens: Sequence[str], weights: Tensor, query: int, name: str) -> str:
    """A table with a row for each token: the word, shaded by its weight, the weight, and a bar."""
    rows = "".join(
        f'<tr><td style="text-align: left; background-color: rgba({ORANGE}, {w:.2f})">'
        f"{'<b>▸ ' if i == query else ''}{html.escape(token)}{'</b>' if i == query else ''}</td>"
        f'<td style="text-align: right">{w:.2f}</td><td style="text-align: left">{_bar(w)}</td></tr>'
        for i, (token, w) in enumerate(zip(tokens, weights.tolist(), strict=True))
    )
    heading = f"<caption>{html.escape(_message(tokens, weights, query, name))}</caption>"
    return f"<table>{heading}<tr><th>key</th><th>weight</th><th></th></tr>{rows}</table>"
