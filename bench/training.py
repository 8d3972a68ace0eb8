"""A training step of lesson 07's GPT and of Hugging Face's GPT-2, with the same weights, side by side.

    python bench/training.py [--rounds 30]

A step is the loss on one batch, its gradients, and Adam. Both run on one thread and take turns; printed is the median
of the processor time of each, and its share of Hugging Face's. The losses of the first step must agree. Nothing is
asserted of the times.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from peers import hugging_face, lesson_gpt, twin
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

SIZES = {"vocab_size": 512, "context": 64, "d_model": 128, "n_layers": 4, "n_heads": 4}
BATCH = (12, 64)


def stepper(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], float]:
    """A function without arguments that trains `model` by one step and returns the loss before it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.item()

    return step


def contenders() -> dict[str, Callable[[], float]]:
    names = lesson_gpt()
    theirs = hugging_face(**SIZES).train()
    ours = twin(names, theirs, **SIZES).train()
    ids = torch.randint(SIZES["vocab_size"], BATCH, generator=torch.Generator().manual_seed(0))
    return {
        "Hugging Face": stepper(theirs, lambda: theirs(ids, labels=ids).loss),
        "lesson 07": stepper(ours, lambda: names["next_token_loss"](ours(ids), ids)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps = contenders()
    first = {name: step() for name, step in steps.items()}
    if max(first.values()) - min(first.values()) > 1e-4:
        raise SystemExit(f"the first losses differ: {first}")
    seconds = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            begin = time.process_time()
            step()
            seconds[name].append(time.process_time() - begin)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    title = f"One training step on {BATCH[0]} × {BATCH[1]} tokens, one thread, median of {options.rounds}"
    table = Table(title=title)
    for column in ("contender", "milliseconds", "of Hugging Face's"):
        table.add_column(column, justify="left" if column == "contender" else "right")
    for name, taken in medians.items():
        table.add_row(name, f"{1000 * taken:.1f}", f"{taken / medians['Hugging Face']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
