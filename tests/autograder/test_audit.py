"""The audit sees a test that accepts a wrong answer, refuses a right one, or says the wrong words."""

from __future__ import annotations

import pytest
from tiny import ANSWERS, NAME, TINY

from autograder.authoring.audit import at_desk, audit
from autograder.errors import UserError


def problems(course):
    return {(f.variant.exercise, f.variant.why): f.problem for f in audit(course, NAME, {"desk": at_desk}) if f.problem}


def test_a_sound_lesson_is_green(course):
    findings = audit(course, NAME, {"desk": at_desk})
    assert [f for f in findings if f.problem] == []
    generic = [f for f in findings if f.variant.kind == "generic"]
    assert {f.variant.exercise for f in generic} == {"double"}  # `first` returns no tensor
    assert len(generic) == 10


def test_a_test_that_accepts_everything_is_red(course):
    text = TINY
    for line in [line for line in TINY.splitlines() if "expect_close(double" in line]:
        text = text.replace(line, "    expect(double(x) is not None, hint='always')", 1)
    course.source(NAME).write_text(text)
    found = problems(course)
    assert "is wrong, but kept its points" in found["double", "multiplies by three"]
    assert "is wrong, but kept its points" in found["double", "returns zeros"]
    assert not any(exercise == "first" for exercise, _ in found)


def test_a_test_with_a_single_input_is_red(course):
    end = "    ### END HIDDEN TESTS\n"
    hidden = TINY[TINY.index("    ### BEGIN HIDDEN") : TINY.index(end) + len(end)]
    course.source(NAME).write_text(TINY.replace(hidden, ""))
    assert list(problems(course)) == [("double", "computes the right result once and returns it ever after")]


def test_a_test_that_refuses_another_style_is_red(course):
    course.source(NAME).write_text(
        TINY.replace("    x = randn(3, 2)\n", "    x = randn(3, 2)\n    expect_from_scratch(double, 'mul_')\n")
    )
    found = problems(course)
    assert list(found) == [("double", "in place, on a copy")]
    assert "is right, but lost its points" in found["double", "in place, on a copy"]


def test_a_message_without_the_words_is_red(course):
    course.answers(NAME).write_text(ANSWERS.replace("add x to itself", "subtract"))
    assert "should be told 'subtract'" in problems(course)["double", "multiplies by three"]


@pytest.mark.parametrize("body", ["while True: pass", "import os; os._exit(3)"])
def test_an_answer_that_hangs_or_crashes_costs_only_itself(course, body, monkeypatch):
    monkeypatch.setattr("autograder.authoring.audit.SECONDS", 2)
    course.answers(NAME).write_text(ANSWERS.replace("return 3 * x", body).replace("add x to itself", "no result"))
    assert problems(course) == {}


def test_too_few_planted_answers_are_refused(course):
    course.answers(NAME).write_text(ANSWERS.replace('@right("by unpacking")', '@wrong("by unpacking", says="x")'))
    with pytest.raises(UserError, match="'first' has 4 wrong and 1 right answers"):
        audit(course, NAME, {"desk": at_desk})


def test_a_planted_answer_for_no_exercise_is_refused(course):
    course.answers(NAME).write_text(ANSWERS + '\n\n@right("x")\ndef third(items):\n    return 3\n')
    with pytest.raises(UserError, match="'third' is no exercise"):
        audit(course, NAME, {"desk": at_desk})
