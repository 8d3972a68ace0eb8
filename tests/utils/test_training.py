"""The shared training loop: what it does to the parameters, and what it prints where."""

from __future__ import annotations

import math
import re
import sys

import pytest
import torch
from torch import nn

from utils import training
from utils.training import fit


def test_it_minimises_and_returns_each_loss(capsys):
    torch.manual_seed(0)
    x = torch.randn(64, 3)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 1
    model = nn.Linear(3, 1)
    losses = fit(model, lambda step: ((model(x) - y) ** 2).mean(), steps=300, lr=0.1)
    assert len(losses) == 300
    assert all(isinstance(loss, float) for loss in losses)
    assert losses[-1] < 1e-3 < losses[0]


def test_it_takes_tensors_and_counts_steps():
    w = torch.tensor([1.0], requires_grad=True)
    seen = []

    def loss(step):
        seen.append(step)
        return (w**2).sum()

    fit(iter([w]), loss, steps=7)
    assert seen == list(range(7))


def test_the_learning_rate_rises_then_falls_to_nothing():
    """Adam moves a parameter with a constant gradient by the learning rate, so the path shows the schedule."""
    w = torch.zeros(1, requires_grad=True)
    path = []

    def loss(step):
        path.append(w.item())
        return -w.sum()

    fit([w], loss, steps=100, lr=0.1, warmup=0.2)
    moves = [b - a for a, b in zip(path, path[1:], strict=False)]
    rise = [0.1 * (step + 1) / 20 for step in range(20)]
    fall = [0.1 * (100 - step) / 80 for step in range(20, 99)]
    assert moves == pytest.approx(rise + fall, rel=1e-3)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_of_a_step_or_two(steps):
    w = torch.ones(1, requires_grad=True)
    assert len(fit([w], lambda step: (w**2).sum(), steps=steps)) == steps
    assert w.item() < 1


def test_no_steps_is_no_training(capsys):
    w = torch.ones(1, requires_grad=True)
    assert fit([w], lambda step: (w**2).sum(), steps=0) == []
    assert w.item() == 1
    assert capsys.readouterr().out == "training: 0 steps\n"


def test_a_loss_that_is_not_finite_stops_it_and_says_where(capsys):
    w = torch.ones(1, requires_grad=True)
    with pytest.raises(FloatingPointError, match="fall: the loss is nan at step 3"):
        fit([w], lambda step: w.sum() * (math.nan if step == 3 else 1), steps=10, label="fall")
    assert w.isfinite().all()
    assert "4 steps" in capsys.readouterr().out


def test_threads_are_put_back_also_after_an_error():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        w = torch.ones(1, requires_grad=True)
        inside = []
        fit([w], lambda step: (inside.append(torch.get_num_threads()), w.sum())[1], steps=1)
        fit([w], lambda step: (inside.append(torch.get_num_threads()), w.sum())[1], steps=1, threads=None)
        assert inside == [1, 2]
        with pytest.raises(ZeroDivisionError):
            fit([w], lambda step: 1 / 0, steps=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_log_gets_one_line_and_no_times(capsys):
    w = torch.ones(3, requires_grad=True)
    losses = fit([w], lambda step: (w**2).sum(), steps=40, label="a run")
    out, err = capsys.readouterr()
    assert out == f"a run: 40 steps, loss 3.000 → {losses[-1]:.3f}\n"
    assert err == ""


def test_a_terminal_gets_a_line_that_rewrites_itself(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(training, "REDRAW_SECONDS", 0.0)
    w = torch.ones(3, requires_grad=True)
    fit([w], lambda step: (w**2).sum(), steps=5, label="a run")
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and out.endswith("\n")
    lines = out.rstrip("\n").split("\r")
    assert [re.match(r"a run: step (\d) of 5", line)[1] for line in lines[1:-1]] == ["1", "2", "3", "4"]
    assert lines[-1].startswith("a run: 5 steps, loss 3.000 → ")
    assert err == ""


def test_without_a_label_nothing_is_shown(capsys):
    weight = torch.nn.Parameter(torch.ones(2))
    assert len(fit([weight], lambda step: weight.square().sum(), steps=3, label=None)) == 3
    assert capsys.readouterr().out == ""
