"""Checks fail on every classic wrong result, and say what, where and how large."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from utils import checks
from utils.checks import (
    CheckFailed,
    exercise,
    expect,
    expect_close,
    expect_equal,
    expect_from_scratch,
    expect_not_raises,
    expect_raises,
    gradients,
    place,
    rand,
    randint,
    randn,
    rng,
    score_card,
    start_lesson,
)

RIGHT = torch.tensor([[0.5, -2.0, 3.0], [1.0, 4.0, -0.25]])
WRONG = {
    "zeros": torch.zeros_like(RIGHT),
    "ones": torch.ones_like(RIGHT),
    "constant": torch.full_like(RIGHT, RIGHT.mean().item()),
    "negated": -RIGHT,
    "halved": RIGHT / 2,
    "transposed": RIGHT.T,
    "NaN": torch.full_like(RIGHT, float("nan")),
    "float64": RIGHT.double(),
    "broadcastable": RIGHT[:, :1],
    "one element off": RIGHT + torch.tensor([[0, 0, 1e-3], [0, 0, 0]]),
    "a list": RIGHT.tolist(),
    "numpy": RIGHT.numpy(),
    "None": None,
}


@pytest.fixture(autouse=True)
def fresh_lesson():
    start_lesson("04_self_attention")


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_expect_close_refuses_wrong_results_of_any_size(name, size):
    wrong = WRONG[name] * size if isinstance(WRONG[name], torch.Tensor) else WRONG[name]
    with pytest.raises(CheckFailed):
        expect_close(wrong, RIGHT * size, hint="h")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_expect_close_accepts_rounding(dtype):
    right = RIGHT.to(dtype)
    expect_close(right * (1 + 4 * torch.finfo(dtype).eps), right, hint="h")


def test_expect_close_shows_where_and_how_much():
    with pytest.raises(CheckFailed) as error:
        expect_close(RIGHT + torch.tensor([[0, 0, 0], [0, 1.0, 0.5]]), RIGHT, hint="add nothing")
    assert error.value.hint == "add nothing"
    assert "largest difference 1 at [1, 1]: got 5, expected 4; 2 of 6 elements differ" in error.value.detail
    assert "got      float32 (2, 3)" in error.value.detail and "expected float32 (2, 3)" in error.value.detail


def test_a_wrong_shape_is_said_before_the_hint():
    with pytest.raises(CheckFailed, match=r"the shape is \(3, 2\), but should be \(2, 3\)") as error:
        expect_close(RIGHT.T, RIGHT, hint="the hint")
    assert error.value.detail.endswith("the hint")


def failure(check, *arguments, **options) -> CheckFailed:
    with pytest.raises(CheckFailed) as caught:
        check(*arguments, **options)
    return caught.value


def test_a_known_mistake_has_its_own_hint_and_shows_what_was_expected():
    known = {"the sign is wrong": -RIGHT, "half of it": RIGHT / 2, "rows and columns": RIGHT.T}
    rounded = -RIGHT * (1 + 1e-6)
    assert failure(expect_close, rounded, RIGHT, "other values", mistakes=known).hint == "the sign is wrong"
    halved = failure(expect_close, RIGHT / 2, RIGHT, "other values", mistakes=known)
    assert halved.hint == "half of it"
    assert halved.detail == failure(expect_close, RIGHT / 2, RIGHT, "other values").detail
    assert "got 2, expected 4" in halved.detail
    turned = failure(expect_close, RIGHT.T, RIGHT, "other values", mistakes=known)
    assert turned.hint == "rows and columns" and "float32 (2, 3)" in turned.detail  # before the shape is complained of
    assert failure(expect_close, RIGHT + 1, RIGHT, "other values", mistakes=known).hint == "other values"
    assert "dtype" in failure(expect_close, -RIGHT.double(), RIGHT, "other values", mistakes=known).hint


def test_a_mistake_that_is_right_in_this_case_is_none():
    """With one head, one word or a size of 1 a wrong formula often gives the right numbers."""
    expect_close(RIGHT, RIGHT, "other values", mistakes={"never shown": RIGHT.clone(), "nor this": -RIGHT})
    expect_equal([1, 2], [1, 2], "other items", mistakes={"never shown": [1, 2]})


def test_known_mistakes_in_numbers_and_in_what_must_be_equal():
    assert (
        failure(expect_close, 4.0, 2.0, "other", mistakes={"twice as much": 4.0, "none": 0.0}).hint == "twice as much"
    )
    mask = torch.ones(3, 3, dtype=torch.bool).tril()
    upside_down = failure(expect_equal, ~mask, mask, "other", mistakes={"True keeps": ~mask})
    assert upside_down.hint == "True keeps" and "first difference" in upside_down.detail
    assert failure(expect_equal, "ab", ["a", "b"], "other", mistakes={"a list": "ab"}).hint == "a list"
    assert failure(expect_close, RIGHT * 1.01, RIGHT, "other", mistakes={"no": -RIGHT}, tolerance=1e-3).hint == "other"
    loose = {"nearly half": RIGHT * 0.505}
    assert failure(expect_close, RIGHT / 2, RIGHT, "other", mistakes=loose, tolerance=1e-2).hint == "nearly half"


def test_each_known_mistake_is_a_check(capsys):
    with exercise("count", points=1):
        expect_close(RIGHT, RIGHT, "other", mistakes={"a": -RIGHT, "b": RIGHT / 2})
        expect_equal(1, 1, "other")
    assert "count: 4 checks passed" in capsys.readouterr().out


def test_infinities_and_nans_count_as_values():
    inf = float("inf")
    expect_close(torch.tensor([inf, 1.0, float("nan")]), torch.tensor([inf, 1.0, float("nan")]), hint="h")
    for wrong in ([-inf, 1.0], [inf, inf], [1e30, 1.0]):
        with pytest.raises(CheckFailed):
            expect_close(torch.tensor(wrong), torch.tensor([inf, 1.0]), hint="h")


@pytest.mark.parametrize("got", [2.1, float("nan"), "2", None, torch.ones(1) * 2, [2.0]])
def test_numbers(got):
    expect_close(2, 2.0, hint="h")
    expect_close(torch.tensor(2.0), 2.0, hint="h")
    with pytest.raises(CheckFailed):
        expect_close(got, 2.0, hint="h")


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        ([1, 2], [1, 3]),
        ([1, 2], [1, 2, 3]),
        ((1, (2, 3)), (1, (2, 4))),
        (True, 1),
        (1, True),
        ("a", "b"),
        (None, 0),
        ({"a": 1}, {"a": 2}),
        (np.arange(3), np.arange(3).reshape(1, 3)),
        (torch.tensor([1, 2]), [1, 2]),
        ([1, 2], torch.tensor([1, 2])),
        (torch.tensor([1, 2]), torch.tensor([1.0, 2.0])),
        (torch.tensor([True, False]), torch.tensor([True, True])),
    ],
)
def test_expect_equal_refuses(got, expected):
    with pytest.raises(CheckFailed):
        expect_equal(got, expected, hint="h")


@pytest.mark.parametrize(
    ("got", "expected"),
    [([1, 2], (1, 2)), (2.0, 2), ({"a": [1]}, {"a": (1,)}), (torch.tensor([1, 2]), torch.tensor([1, 2]))],
)
def test_expect_equal_accepts(got, expected):
    expect_equal(got, expected, hint="h")


def test_an_object_that_claims_to_equal_everything_does_not():
    class Yes:
        def __eq__(self, other):
            return True

    for expected in (1, "a", [1], {"a": 1}, torch.ones(2)):
        with pytest.raises(CheckFailed):
            expect_equal(Yes(), expected, hint="h")


def test_expect_and_expect_raises():
    expect(torch.tensor(True), hint="h")
    expect_raises(ValueError, int, "x", hint="h")
    with pytest.raises(CheckFailed, match="h\ngot 3"):
        expect(False, hint="h", got=3)
    with pytest.raises(CheckFailed, match="no ValueError; got 3"):
        expect_raises(ValueError, int, "3", hint="h")


def test_another_exception_than_the_expected_one_is_shown_below_the_hint():
    wrong = failure(expect_raises, ValueError, [].pop, hint="h")
    assert (wrong.hint, wrong.detail) == ("h", "no ValueError; got IndexError: pop from empty list")
    expect_raises(LookupError, [].pop, hint="h")  # a class of its own, or one above it

    class Remote(Exception):  # as an exception of student code arrives in the grader
        remote_name = "Full"

    def remote():
        raise Remote("no room")

    def stub():
        raise NotImplementedError

    assert failure(expect_raises, ValueError, remote, hint="h").detail == "no ValueError; got Full: no room"
    Remote.remote_name = "SubmissionLost"
    with pytest.raises(Remote):
        expect_raises(ValueError, remote, hint="h")
    with pytest.raises(CheckFailed, match="not written yet"), exercise("stub", points=1):
        expect_raises(ValueError, stub, hint="h")


def test_what_must_not_raise_is_returned():
    assert expect_not_raises(ValueError, int, "3", hint="h") == 3
    wrong = failure(expect_not_raises, LookupError, [].pop, hint="h")
    assert (wrong.hint, wrong.detail) == ("h", "got IndexError: pop from empty list")
    with pytest.raises(ValueError):
        expect_not_raises(LookupError, int, "x", hint="h")


def test_from_scratch_reads_names_not_text():
    def honest(x):
        """Not torch.softmax."""
        return x.exp() / x.exp().sum()  # softmax

    def cheat(x):
        return torch.softmax(x, -1)

    class Cheat(nn.Module):
        def forward(self, x):
            from torch.nn.functional import softmax as s

            return s(x, -1)

    expect_from_scratch(honest, "softmax")
    for answer in (cheat, Cheat):
        with pytest.raises(CheckFailed, match="may not use `softmax`"):
            expect_from_scratch(answer, "softmax")


def test_exercise_prints_a_green_line_and_counts(capsys):
    with exercise("a", points=2):
        expect(True, hint="h")
        expect_equal(1, 1, hint="h")
    assert capsys.readouterr().out == "✓ a: 2 checks passed, 2 points\n"


def test_a_stub_and_a_missing_name_are_said_in_words():
    def stub():
        raise NotImplementedError()

    with pytest.raises(CheckFailed, match="not written yet"), exercise("a", points=2):
        stub()
    with pytest.raises(CheckFailed, match="`nowhere` does not exist yet"), exercise("a", points=2):
        nowhere()  # noqa: F821


def test_a_name_error_inside_student_code_keeps_its_traceback():
    def student():
        return nowhere  # noqa: F821

    with pytest.raises(NameError), exercise("a", points=2):
        student()


def test_score_card_lists_points_and_first_hints(capsys):
    with exercise("a", points=2):
        expect(True, hint="h")
    with pytest.raises(CheckFailed), exercise("b", points=3):
        expect(False, hint="the <hint>")
    score_card(total=8)
    card = capsys.readouterr().out.splitlines()[-3:]
    assert card[0].startswith("✓ a") and card[1].startswith("✗ b") and card[1].endswith("the <hint>")
    assert card[2] == "2 of 8 points, 3 not tested yet"


def test_random_numbers_depend_on_lesson_exercise_and_course_seed(monkeypatch):
    def draw(lesson="04_self_attention", name="a", seed=None):
        if seed:
            monkeypatch.setenv("COURSE_SEED", seed)
        start_lesson(lesson)
        with exercise(name, points=1):
            return randn(3), rand(2), randint(0, 10, (4,)), torch.randn(2, generator=rng())

    first = draw()
    assert all(torch.equal(a, b) for a, b in zip(first, draw(), strict=True))
    for other in (draw(lesson="05_transformer"), draw(name="b"), draw(seed="spring")):
        assert not torch.equal(first[0], other[0])


def test_gradients_and_place():
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])
    dx, dy = gradients(lambda a, b: ((a * b).sum(), "weights"), x, y)
    assert torch.equal(dx, y) and torch.equal(dy, x)
    (dx,) = gradients(lambda a, mask: a * mask, x, torch.tensor([True, False]), upstream=torch.tensor([2.0, 2.0]))
    assert torch.equal(dx, torch.tensor([2.0, 0.0]))
    assert x.grad is None and not x.requires_grad
    assert isinstance(place(nn.Linear, 2, 3), nn.Linear)
    with pytest.raises(CheckFailed, match="no gradient reaches the inputs"):
        gradients(lambda a: a.detach().sum(), x)


def test_the_examiner_can_take_the_desks_place():
    class Elsewhere(checks.Desk):
        def place(self, cls, *args, **kwargs):
            return "made elsewhere"

    with checks.on(Elsewhere()):
        assert place(nn.Linear, 2, 3) == "made elsewhere"
    assert isinstance(place(nn.Linear, 2, 3), nn.Linear)


def test_the_message_replaces_the_traceback_in_ipython():
    with pytest.raises(CheckFailed) as error, exercise("a", points=1):
        expect_close(RIGHT / 2, RIGHT, hint="the hint")
    shown = error.value._render_traceback_()
    assert shown[0] == "✗ a: the hint" and shown[1].startswith("  got      float32 (2, 3)")


def test_importing_utils_needs_torch_numpy_and_einops_alone():
    code = """
import sys
allowed = {"torch", "numpy", "einops", "utils"}
import torch, numpy, einops
before = {name.split(".")[0] for name in sys.modules}
import utils
new = {name.split(".")[0] for name in sys.modules} - before - allowed - set(sys.stdlib_module_names)
assert not new, new
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_star_import_brings_functions_and_no_modules():
    import types

    space = {}
    exec("from utils import *", space)
    assert {"setup", "exercise", "expect_close", "curves", "fit"} <= space.keys() and callable(space["setup"])
    assert not [name for name, value in space.items() if isinstance(value, types.ModuleType)]
