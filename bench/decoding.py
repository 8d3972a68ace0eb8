"""Greedy decoding by lesson 07's GPT and by Hugging Face's GPT-2, with the same weights, side by side.

    python bench/decoding.py [--rounds 5] [--new 256]

Both run on one thread and take turns, so that whatever else the machine does meets all alike; printed is the median of
each contender's processor time, and how often it decodes while Hugging Face's `generate` with its DynamicCache does so
once. Every contender must give the same tokens. Nothing is asserted of the times.
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
from torch import Tensor

SIZES = {"vocab_size": 512, "context": 512, "d_model": 384, "n_layers": 6, "n_heads": 6}
PROMPT = 64


def contenders(new: int) -> dict[str, Callable[[], Tensor]]:
    """Functions without arguments, each of which decodes `new` tokens after the same prompt: (new,)."""
    names = lesson_gpt()
    theirs = hugging_face(**SIZES).eval()
    ours = twin(names, theirs, **SIZES).eval()
    prompt = torch.randint(SIZES["vocab_size"], (PROMPT,), generator=torch.Generator().manual_seed(0))

    def generate() -> Tensor:  # with a DynamicCache, its default
        return theirs.generate(prompt[None], max_new_tokens=new, do_sample=False, pad_token_id=0)[0, PROMPT:]

    return {
        "Hugging Face generate, DynamicCache": generate,
        "lesson 07, KVCache": lambda: names["generate"](ours, [prompt], new)[0],
        "lesson 07, no cache": lambda: names["without_cache"](ours, prompt, new),
    }


def measure(functions: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """The median processor time of each, in seconds; the first round only warms up and compares the tokens."""
    tokens = {name: run() for name, run in functions.items()}
    first = next(iter(tokens.values()))
    different = [name for name, got in tokens.items() if not torch.equal(got, first)]
    if different:
        raise SystemExit(f"other tokens than the first contender's: {', '.join(different)}")
    seconds = {name: [] for name in functions}
    for _ in range(rounds):
        for name, run in functions.items():
            begin = time.process_time()
            run()
            seconds[name].append(time.process_time() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new", type=int, default=256, help="new tokens")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds = measure(contenders(options.new), options.rounds)
    baseline = next(iter(seconds.values()))
    table = Table(title=f"{options.new} tokens after {PROMPT}, greedy, one thread, median of {options.rounds}")
    for column in ("contender", "seconds", "tokens a second", "times Hugging Face"):
        table.add_column(column, justify="left" if column == "contender" else "right")
    for name, time_taken in seconds.items():
        table.add_row(name, f"{time_taken:.2f}", f"{options.new / time_taken:.0f}", f"{baseline / time_taken:.2f}")
    Console().print(table)
    saved = seconds["lesson 07, no cache"] / seconds["lesson 07, KVCache"]
    print(f"the lesson's cache against the lesson without: {saved:.1f} times as fast")


if __name__ == "__main__":
    main()
