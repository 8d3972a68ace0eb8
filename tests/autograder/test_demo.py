"""The main job from start to end on lesson 04: the sample class gets what it deserves."""

from __future__ import annotations

import csv

import pytest

from autograder import demo
from autograder.authoring.build import load
from autograder.course import Course
from autograder.grading import sandbox

NAME = "04_self_attention"
COURSE = Course.find()

pytestmark = pytest.mark.skipif(sandbox.available() is not None, reason=f"no sandbox: {sandbox.available()}")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "course"
    demo.prepare(COURSE, NAME, folder)
    broken = folder / "class" / "submitted" / "not-json" / NAME / f"{NAME}.ipynb"
    broken.parent.mkdir(parents=True)
    broken.write_text('{"cells": [')
    report, places = demo.grade(folder, NAME, lambda event: None)
    return report, places


def test_each_sample_gets_what_it_deserves(graded):
    report, _ = graded
    points = {cell.grade_id: cell.points for cell in load(COURSE, NAME).tests.values()}
    exercises = list(points)
    lost = {
        name: {exercise for exercise in exercises if student.scores.get(exercise, 0) < points[exercise]}
        for name, student in report.students.items()
    }
    middle = exercises[len(exercises) // 2]
    assert lost["ada"] == lost["deleted-test"] == set()
    assert lost["blank"] == set(exercises)
    assert exercises[1] in lost["mistake-1"]  # and whatever else is built on it
    assert lost["mistake-2"] == lost["syntax-error"] == lost["exhauster"] == {middle}
    assert lost["mistake-3"] == lost["endless-loop"] == {exercises[-1]}
    assert lost["cheater"] == {exercises[0]}


def test_first_hints_and_repairs_are_said(graded):
    report, _ = graded
    assert "not written yet" in next(iter(report.students["blank"].hints.values()))
    assert any("test" in repair for repair in report.students["deleted-test"].repairs)
    assert any("memory" in limit for limit in report.students["exhauster"].limits_hit)
    assert report.students["endless-loop"].limits_hit


def test_a_file_that_is_not_json_is_named_and_the_rest_is_graded(graded):
    report, _ = graded
    assert list(report.problems) == ["not-json"] and "unreadable" in report.problems["not-json"]
    assert report.graded == 10 and report.exit_code == 1


def test_feedback_and_grades_are_where_it_says(graded):
    _, places = graded
    pages = sorted(path.parent.parent.name for path in places["feedback"].rglob("*.html"))
    assert {"ada", "blank", "cheater", "exhauster"} <= set(pages)
    with open(places["grades"], newline="") as file:
        rows = list(csv.reader(file))
    assert len({len(row) for row in rows}) == 1
    by_student = {row[0]: row for row in rows}
    assert "20" in " ".join(by_student["ada"]) and places["gradebook"].is_file()
