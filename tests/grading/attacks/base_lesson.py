# %% [markdown]
# # The lesson that is attacked
#
# Exercises in both styles: checks of `utils`, and plain asserts as other nbgrader courses have them.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from utils import *

device = setup("base_lesson")

# %% nbgrader={"grade": false, "grade_id": "reference", "locked": true, "schema_version": 3, "solution": false, "task": false}
factor = 2.0


def reference(x):
    """What `double` must give."""
    return factor * x


# %% nbgrader={"grade": false, "grade_id": "double", "locked": false, "schema_version": 3, "solution": true, "task": false}
def double(x: Tensor) -> Tensor:
    """Twice `x`, in its dtype."""
    ### BEGIN SOLUTION
    canary = "canary-of-the-solution"  # noqa: F841 - looked for wherever a student can see
    return 2 * x
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_double", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("double", points=2):
    expect_close(double(torch.ones(3)), torch.full((3,), 2.0), hint="twice one is two")
    ### BEGIN HIDDEN TESTS
    x = randn(4, 5)
    expect_close(double(x), reference(x), hint="every number is doubled")  # canary-of-the-hidden-tests
    x = randn(3, dtype=torch.float64)
    expect_close(double(x), x + x, hint="keep the dtype")
    ### END HIDDEN TESTS


# %% nbgrader={"grade": false, "grade_id": "shift", "locked": false, "schema_version": 3, "solution": true, "task": false}
def shift(text: str, steps: int) -> str:
    """Every lower-case letter of `text` moved on by `steps` in the alphabet, from z on to a."""
    ### BEGIN SOLUTION
    return "".join(chr((ord(letter) - 97 + steps) % 26 + 97) for letter in text)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_shift", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("shift", points=2):
    expect_equal(shift("abc", 1), "bcd", hint="one step from a is b")
    ### BEGIN HIDDEN TESTS
    steps = int(randint(1, 26))
    expect_equal(shift("a", steps), chr(97 + steps), hint="count the steps")  # canary-of-the-hidden-tests
    expect_equal(shift("xyz", 3), "abc", hint="z is followed by a")
    ### END HIDDEN TESTS


# %% nbgrader={"grade": false, "grade_id": "softmax", "locked": false, "schema_version": 3, "solution": true, "task": false}
def softmax(x: Tensor) -> Tensor:
    """Softmax over the last axis, from scratch."""
    ### BEGIN SOLUTION
    e = (x - x.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_softmax", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("softmax", points=2):
    expect_from_scratch(softmax, "softmax", "log_softmax", "special")
    x, upstream = randn(3, 4), randn(3, 4)
    expect_close(softmax(x), F.softmax(x, -1), hint="the weights must be those of F.softmax")
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(F.softmax(leaf, -1), leaf, upstream)[0]
    expect_close(gradients(softmax, x, upstream=upstream)[0], expected, hint="the gradient must flow")


# %% nbgrader={"grade": false, "grade_id": "RunningMean", "locked": false, "schema_version": 3, "solution": true, "task": false}
class RunningMean(nn.Module):
    """The mean of all rows seen so far: `mean`, a buffer of `size` numbers; `count`, an int."""

    def __init__(self, size: int):
        super().__init__()
        self.count = 0
        self.register_buffer("mean", torch.zeros(size))

    def forward(self, rows: Tensor) -> Tensor:
        """Take in `rows` (n, size); return the mean so far."""
        ### BEGIN SOLUTION
        self.count += len(rows)
        self.mean += (rows - self.mean).sum(0) / self.count
        return self.mean.clone()
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_RunningMean", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("RunningMean", points=3):
    running, rows = RunningMean(4), randn(6, 4)
    running(rows[:2])
    expect_equal(running.count, 2, hint="count the rows")
    expect_close(running(rows[2:]), rows.mean(0), hint="every row counts the same")
    ### BEGIN HIDDEN TESTS
    running.load_state_dict({"mean": torch.ones(4)})
    expect_close(running.mean, torch.ones(4), hint="mean is a buffer")
    ### END HIDDEN TESTS


# %% nbgrader={"grade": false, "grade_id": "triangle", "locked": false, "schema_version": 3, "solution": true, "task": false}
def triangle(n):
    """The first n triangle numbers: 1, 3, 6, ..."""
    ### BEGIN SOLUTION
    return [i * (i + 1) // 2 for i in range(1, n + 1)]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_triangle", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert triangle(4) == [1, 3, 6, 10], triangle(4)
assert sum(triangle(10)) == 220
### BEGIN HIDDEN TESTS
assert triangle(0) == []  # canary-of-the-hidden-tests
assert triangle(37)[-1] == 703
### END HIDDEN TESTS


# %% nbgrader={"grade": false, "grade_id": "is_even", "locked": false, "schema_version": 3, "solution": true, "task": false}
def is_even(n):
    """Whether 2 divides n."""
    ### BEGIN SOLUTION
    return n % 2 == 0
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_is_even", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert all(map(is_even, [0, 2, 4, 86]))
assert not any(map(is_even, [1, 3, 5, 87]))


# %% nbgrader={"grade": false, "grade_id": "parity", "locked": false, "schema_version": 3, "solution": true, "task": false}
def parity(n):
    """How many ones the binary form of n has, modulo 2."""
    ### BEGIN SOLUTION
    return n.bit_count() % 2
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_parity", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
right = sum(parity(n) == bin(n).count("1") % 2 for n in range(8))
right / 8 * 2


# %% nbgrader={"grade": false, "grade_id": "twice", "locked": false, "schema_version": 3, "solution": true, "task": false}
def twice(f, x):
    """f(f(x))"""
    ### BEGIN SOLUTION
    return f(f(x))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_twice", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert twice(lambda x: x + 3, 7) == 13
assert twice(lambda x: [x], 1) == [[1]]


# %% nbgrader={"grade": false, "grade_id": "clear", "locked": false, "schema_version": 3, "solution": true, "task": false}
def clear(values):
    """Set every item of the list `values` to 0, in place."""
    ### BEGIN SOLUTION
    values[:] = [0] * len(values)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_clear", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
values = [4, 5, 6]
clear(values)
assert values == [0, 0, 0], f"left as {values}"
