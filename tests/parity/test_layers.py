"""The comparison itself: it fails, it fails at the right layer, and it says by how much."""

from __future__ import annotations

from collections import OrderedDict

import layers
import pytest
import torch
from layers import compare_layers, randomise, recorded
from torch import Tensor, nn

NAMES = {"first": "one", "second": "two", "third": "three"}


def model() -> nn.Module:
    linears = OrderedDict((name, nn.Linear(5, 5)) for name in NAMES)
    return randomise(nn.Sequential(linears).double())


def run(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    with recorded(module, NAMES) as outputs:
        module(x)
    return outputs


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def failure(*arguments) -> str:
    with pytest.raises(AssertionError) as caught:
        compare_layers(*arguments)
    return str(caught.value)


def test_equal_models_agree(x):
    compare_layers(run(model(), x), run(model(), x), 1e-15)


@pytest.mark.parametrize("path, name, before", [("first", "one", 0), ("second", "two", 1), ("third", "three", 2)])
def test_it_fails_at_the_first_layer_that_differs(x, path, name, before):
    changed = model()
    with torch.no_grad():
        changed.get_submodule(path).bias[3] += 0.25
    said = failure(run(changed, x), run(model(), x), 1e-3)
    assert said.startswith(f"{name} differs first: by 0.25 at [")
    assert said.count("(0.0e+00)") == before  # those before it, and how far they are apart


def test_a_layer_that_runs_late_may_stand_early_in_the_table(x):
    theirs = run(model(), x)
    ours = {name: theirs[name] + 1 for name in ("three", "one", "two")}
    assert failure(ours, theirs, 1e-6).startswith("three differs first: by 1 ")


@pytest.mark.parametrize("tolerance, fails", [(1e-5, True), (1e-3, False)])
def test_the_tolerance_is_absolute(tolerance, fails):
    ours, theirs = {"x": torch.tensor([5.0, 1000.0001])}, {"x": torch.tensor([5.0001, 1000.0])}
    if fails:
        assert "at [" in failure(ours, theirs, tolerance)
    else:
        compare_layers(ours, theirs, tolerance)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_differ_from_numbers_and_are_equal_to_themselves(value):
    numbers, broken = torch.ones(2, 3), torch.ones(2, 3)
    broken[1, 2] = value
    assert "x differs first: by inf at [1, 2]" in failure({"x": broken}, {"x": numbers}, 1e-3)
    assert "x differs first: by inf at [1, 2]" in failure({"x": numbers}, {"x": broken}, 1e-3)
    compare_layers({"x": broken}, {"x": broken.clone()}, 1e-3)


def test_shapes_do_not_broadcast():
    said = failure({"x": torch.ones(1, 3)}, {"x": torch.ones(2, 3)}, 1e-3)
    assert "x differs first: (1, 3) here, (2, 3) there" in said


def test_a_tolerance_that_hides_the_values_is_refused():
    small = {"x": torch.full((3,), 1e-5)}
    assert "a tolerance of 0.001 shows nothing" in failure({"x": torch.zeros(3)}, small, 1e-3)
    assert "a tolerance of 0.001 shows nothing" in failure(small, small, 1e-3)


def test_tables_that_name_other_layers_are_refused():
    assert "no layer" in failure({}, {}, 1e-3)
    said = failure({"a": torch.ones(1), "b": torch.ones(1)}, {"b": torch.ones(1), "c": torch.ones(1)}, 1e-3)
    assert said == "only ours: ['a']; only theirs: ['c']"


def test_what_is_recorded_is_each_layers_output(x):
    class Pair(nn.Linear):
        def forward(self, x):
            return super().forward(x), "weights"

    module = nn.ModuleDict({"inner": Pair(5, 4), "unused": nn.Linear(1, 1)})
    randomise(module.double())
    with recorded(module, {"inner": "pair", "unused": "never"}) as outputs:
        out = module["inner"](x)[0]
        kept = out.detach().clone()
        out.data.zero_()
    assert outputs.keys() == {"pair"} and torch.equal(outputs["pair"], kept)
    module["inner"](x + 1)
    assert torch.equal(outputs["pair"], kept)  # nothing is recorded after


def test_randomise_reaches_every_parameter_and_repeats_itself():
    module = nn.TransformerEncoderLayer(16, 2, 64)
    randomise(module, std=0.5, seed=4)
    for parameter in module.parameters():
        assert parameter.dtype == torch.float32 and parameter.requires_grad and parameter.abs().min() > 0
        assert 0.25 < parameter.std() < 0.75
    again, other = randomise(nn.TransformerEncoderLayer(16, 2, 64), 0.5, 4), randomise(nn.Linear(3, 3), seed=5)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))
    assert not torch.equal(other.weight, randomise(nn.Linear(3, 3), seed=6).weight)


def test_a_lesson_runs_once_at_smoke_scale_without_plots(monkeypatch):
    ran = []
    monkeypatch.setattr(layers, "run", lambda name, scale: ran.append((name, scale)) or {"names": name})
    layers.lesson.cache_clear()
    assert layers.lesson("04_self_attention") is layers.lesson("04_self_attention")
    assert ran == [("04_self_attention", "smoke")]
    layers.lesson.cache_clear()


def test_the_names_of_a_lesson_are_those_it_defines():
    assert layers.lesson("00_orientation")["softmax"](torch.zeros(4)).tolist() == [0.25] * 4
