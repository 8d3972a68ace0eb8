"""Show text, HTML and figures in whatever runs the lesson: JupyterLab, Colab, a terminal, a log file."""

from __future__ import annotations

import sys

__all__ = []


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code (IPython is never imported just to ask)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and type(shell).__name__ != "TerminalInteractiveShell"


def colour(name: str, text: str) -> str:
    """`text` in ANSI `name` ("red", "green") where colours show; unchanged in a log file."""
    if not (in_notebook() or sys.stdout.isatty()):
        return text
    return f"\x1b[{ {'red': 31, 'green': 32}[name] }m{text}\x1b[0m"


def show_html(html: str, text: str) -> None:
    """Show `html` in a notebook and `text`, which says the same, anywhere else."""
    if in_notebook():
        from IPython.display import display

        display({"text/html": html, "text/plain": text}, raw=True)
    else:
        print(text)
