"""A course in a temporary folder with one small lesson, to build, break, audit and publish."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from autograder.authoring.lint import SETUP
from autograder.authoring.publish import FILES
from autograder.course import Course

ROOT = Path(__file__).resolve().parents[2]
NAME = "01_tiny"


def header(grade_id: str, *, points: float | None = None, **flags: bool) -> str:
    """A code cell's percent header with nbgrader's metadata."""
    cell = {"grade": False, "locked": False, "solution": False, "task": False, **flags}
    cell |= {"grade_id": grade_id, "schema_version": 3} | ({} if points is None else {"points": points})
    return f"# %% nbgrader={json.dumps(cell)}"


TINY = f'''\
# %% [markdown]
# # A tiny lesson
# Two exercises.

# %% [markdown]
# ## Set-up

{header("setup", locked=True)}
{SETUP.format(lesson=NAME)}

# %% [markdown]
# ## Double

{header("double", solution=True)}
def double(x: Tensor) -> Tensor:
    """Twice `x`, of the same shape."""
    ### BEGIN SOLUTION
    answer_that_nobody_may_see = x + x
    return answer_that_nobody_may_see
    ### END SOLUTION


{header("test_double", grade=True, locked=True, points=12)}
with exercise("double", points=12):
    x = randn(3, 2)
    expect_close(double(x), 2 * x, hint="add x to itself")
    ### BEGIN HIDDEN TESTS
    hidden_numbers = randn(1, 5)
    expect_close(double(hidden_numbers), 2 * hidden_numbers, hint="also for other shapes")
    ### END HIDDEN TESTS

# %%
print("given:", double(torch.tensor(2.0)))

{header("first", solution=True)}
def first(items: list) -> object:
    """The first item."""
    ### BEGIN SOLUTION
    return items[0]
    ### END SOLUTION


{header("test_first", grade=True, locked=True, points=8)}
with exercise("first", points=8):
    expect_equal(first([3, 4]), 3, hint="the item with index 0")

# %%
score_card()
'''

ANSWERS = """\
from autograder.authoring.answers import right, wrong


@wrong("multiplies by three", says="add x to itself")
def double(x):
    return 3 * x


@wrong("flattens", says="the shape is (6,)")
def double(x):
    return (2 * x).flatten()


@wrong("returns a list", says="should be a tensor")
def double(x):
    return (2 * x).tolist()


@right("by multiplication")
def double(x):
    return 2 * x


@right("in place, on a copy")
def double(x):
    return x.clone().mul_(2)


@wrong("the last", says="index 0")
def first(items):
    return items[-1]


@wrong("a list", says="index 0")
def first(items):
    return items[:1]


@wrong("nothing", says="index 0")
def first(items):
    return None


@right("by iteration")
def first(items):
    return next(iter(items))


@right("by unpacking")
def first(items):
    item, *_ = items
    return item
"""


def make_course(folder: Path) -> Course:
    """A copy of this repository's set-up around the lesson ``01_tiny``, in `folder`."""
    for name in ("nbgrader_config.py", *FILES):
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "utils", folder / "utils", ignore=shutil.ignore_patterns("__pycache__"))
    lesson = folder / "solutions" / NAME
    lesson.mkdir(parents=True)
    (lesson / f"{NAME}.py").write_text(TINY)
    (lesson / "answers.py").write_text(ANSWERS)
    return Course(folder)
