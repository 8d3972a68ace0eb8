"""The training loop that lessons share, once the reader has written one."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from utils.display import in_notebook

__all__ = ["fit"]

REDRAW_SECONDS = 0.1


def fit(
    parameters: nn.Module | Iterable[Tensor],
    loss_fn: Callable[[int], Tensor],
    steps: int,
    *,
    lr: float = 1e-3,
    warmup: float = 0.1,
    threads: int | None = 1,
    label: str | None = "training",
) -> list[float]:
    """Minimise a loss with Adam, show a progress bar, and return the loss of each step.

    `parameters` is a module or an iterable of tensors. ``loss_fn(step)`` draws its own batch for `step` (from 0) and
    returns a scalar. The learning rate rises to `lr` over the first `warmup` (a fraction) of the steps, then falls in a
    line to 0. On a CPU it runs on `threads` threads, None for as many as PyTorch likes: in models as small as these,
    threads wait for one another longer than they work, and on a busy machine many times longer. Without a `label`
    nothing is shown: for trainings that are many and short.

    Raises: FloatingPointError when the loss is not finite, which no further step would mend.
    """
    module = parameters if isinstance(parameters, nn.Module) else None
    optimizer = torch.optim.Adam(module.parameters() if module else parameters, lr=lr)
    rise = max(1, round(warmup * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, (steps - step) / max(1, steps - rise))
    )
    bar, losses = _Bar(label, steps), []
    with _threads(threads):
        for step in range(steps):
            loss = loss_fn(step)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                bar.close(losses)
                raise FloatingPointError(
                    f"{label or 'training'}: the loss is {losses[-1]} at step {step}: look at scores and masks"
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update(losses)
    bar.close(losses)
    return losses


@contextlib.contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Bar:
    """Progress as an HTML bar in a notebook, as a line that rewrites itself in a terminal, and not at all in a log.

    All end in the same line, without times, so that a lesson built again reads the same.
    """

    def __init__(self, label: str | None, steps: int):
        self.label, self.steps, self.drawn, self.handle = label, steps, 0.0, None

    def update(self, losses: list[float]) -> None:
        if self.label is None or time.monotonic() - self.drawn < REDRAW_SECONDS or len(losses) == self.steps:
            return
        self.drawn = time.monotonic()
        text = f"{self.label}: step {len(losses)} of {self.steps}, loss {losses[-1]:.3f}"
        if in_notebook():
            self._display(f'<progress value="{len(losses)}" max="{self.steps}"></progress> {text}', text)
        elif sys.stdout.isatty():
            print(f"\r{text}\x1b[K", end="", flush=True)

    def close(self, losses: list[float]) -> None:
        if self.label is None:
            return
        text = f"{self.label}: {len(losses)} steps"
        text += f", loss {losses[0]:.3f} → {losses[-1]:.3f}" if losses else ""
        if in_notebook():
            self._display(text, text)
        else:
            print(f"\r{text}\x1b[K" if sys.stdout.isatty() else text)

    def _display(self, html: str, text: str) -> None:
        from IPython.display import display

        bundle = {"text/html": html, "text/plain": text}
        if self.handle is None:
            self.handle = display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)
