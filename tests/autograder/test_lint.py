"""The lint names file and line of every mistake, and nothing is written."""

from __future__ import annotations

import pytest
from tiny import NAME, TINY, header

from autograder.authoring.build import build
from autograder.authoring.lesson import LessonError, read_lesson
from autograder.authoring.lint import lint

MISTAKES = {
    "a wrong grade id": (
        header("double", solution=True),
        header("Double it!", solution=True),
        "wrong grade id 'Double it!'",
    ),
    "a grade id used twice": (
        header("first", solution=True),
        header("double", solution=True),
        "grade id 'double' is taken by line",
    ),
    "a missing test": (
        header("test_first", grade=True, locked=True, points=8),
        "# %%",
        "the exercise 'first' has no test",
    ),
    "points that do not add up": ("points=8", "points=8.5", "must be one block that opens with"),
    "a total that is not 20": (
        header("test_first", grade=True, locked=True, points=8),
        header("test_first", grade=True, locked=True, points=7),
        "the points add up to 19, not to 20",
    ),
    "leaking solution text in prose": (
        "# ## Double",
        "# ## Double\n# Write `answer_that_nobody_may_see = x + x`.",
        "solution text of 'double' survives",
    ),
    "leaking solution text in code": (
        'print("given:"',
        'answer_that_nobody_may_see = x + x\nprint("given:"',
        "solution text of 'double' survives",
    ),
    "a stub that is not valid Python": (
        "    return items[0]\n",
        "    if items:\n        pass\n    ### END SOLUTION\n    else:\n        pass\n    ### BEGIN SOLUTION\n",
        "the stub of 'first' is not valid Python",
    ),
    "a cell that is not valid Python": ("return items[0]", "return items[0", "not valid Python"),
    "an unclosed solution": ("    return items[0]\n    ### END SOLUTION\n", "    return items[0]\n", "is never closed"),
    "a magic": ("score_card()", "%matplotlib inline\nscore_card()", "no magics"),
    "another set-up": ("import torch\n", "import torch as t\n", "the set-up cell must read exactly"),
    "backward in a test": (
        'expect_equal(first([3, 4]), 3, hint="the item with index 0")',
        "first([x]).backward()",
        "a test never calls .backward()",
    ),
    "a lambda handed over": ("expect_equal(first([3, 4])", "expect_equal(first(lambda: 3)", "hands `first` a lambda"),
    "a name of a test used later": ("score_card()", "print(x)\nscore_card()", "uses `x`, which the test 'test_double'"),
    "a name of a test used later, by a function": (
        "score_card()",
        "def show():\n    print(x)\nscore_card()",
        "uses `x`, which the test 'test_double' assigns: rename one of the two",
    ),
    "a name of a test assigned anew, then used": (
        "# %%\nscore_card()",
        "# %%\nx = 3\n\n# %%\nprint(x)",
        "uses `x`, which the test 'test_double'",
    ),
    "a name of a test used before it": (
        "# %% [markdown]\n# ## Double",
        "# %%\nx = 3\n\n# %%\nprint(x)\n\n# %% [markdown]\n# ## Double",
        "uses `x`, which the test 'test_double'",
    ),
    "a heading too deep": ("# ## Double", "# #### Double", "headings nest"),
    "a picture without alt text": ("# ## Double", "# ## Double\n# ![](https://x.org/a.png)", "without alt text"),
    "an unknown metadata key": ('"task": false', '"task": false, "weight": 1', "does not know the key 'weight'"),
    "a malformed header": ('nbgrader={"grade"', "nbgrader={'grade'", "malformed cell header"),
    "hidden tests outside a test": ("score_card()", "### BEGIN HIDDEN TESTS\nscore_card()", "hidden tests in a cell"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_file_and_line_and_nothing_is_written(course, mistake):
    old, new, message = MISTAKES[mistake]
    text = TINY.replace(old, new, 1)
    assert text != TINY
    course.source(NAME).write_text(text)
    before = sorted(course.root.rglob("*"))

    with pytest.raises(LessonError) as error:
        build(course, NAME)

    assert message in str(error.value)
    found = next(problem for problem in error.value.problems if message in problem.message)
    changed = [n for n, (a, b) in enumerate(zip(text.splitlines(), TINY.splitlines(), strict=False), 1) if a != b]
    assert found.path == course.source(NAME)
    assert 1 <= found.line <= changed[0] + 12 and found.line <= len(text.splitlines())
    assert sorted(course.root.rglob("*")) == before


def test_a_cell_may_use_a_name_of_a_test_that_it_assigns_itself(course):
    course.source(NAME).write_text(TINY.replace("score_card()", "x = 3\nprint(x, [x for x in range(x)])\nscore_card()"))
    assert lint(read_lesson(course.source(NAME))) == []
