"""The main job, start to end, on a sample class: release a lesson, collect submissions, grade, export."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.authoring.answers import read_answers
from autograder.authoring.audit import substitute
from autograder.authoring.build import assemble, load, release, serialise
from autograder.authoring.lesson import BEGIN_SOLUTION, END_SOLUTION, Lesson
from autograder.course import Course

if TYPE_CHECKING:
    from autograder.grading.grade import ClassReport, Progress

ENDLESS = "while True:\n    pass\n"
CHEAT = """\
import builtins
import torch
torch.equal = torch.allclose = lambda *args, **kwargs: True
class Anything(torch.Tensor):
    def __eq__(self, other):
        return True
class CheckFailed(BaseException): pass
import utils.checks
for name in ("expect", "expect_close", "expect_equal"):
    setattr(utils.checks, name, lambda *args, **kwargs: None)
    globals()[name] = lambda *args, **kwargs: None
def {name}(*args, **kwargs):
    return torch.zeros(1).as_subclass(Anything)
"""
EXHAUST = """\
import torch
def {name}(*args, **kwargs):
    return torch.ones(2**32)  # 16 GiB
"""


@dataclass(frozen=True)
class Sample:
    """One student of the sample class, what they did, and the bytes of the notebook they handed in."""

    student: str
    what: str
    notebook: bytes


def answered(course: Course, lesson: Lesson, instead: dict[str, str] | None = None) -> dict:
    """The student notebook of `lesson` as a dict, filled in rightly but for the answer cells in `instead`."""
    notebook = json.loads(serialise(release(assemble(course, lesson))))
    for cell in notebook["cells"]:
        if cell["id"] in lesson.answers:
            source = (instead or {}).get(cell["id"]) or without_markers(lesson.answers[cell["id"]].source)
            cell["source"] = source.splitlines(keepends=True)
    return notebook


def without_markers(source: str) -> str:
    """An answer cell as a student would leave it: the solution without its region markers."""
    lines = source.splitlines()
    return "\n".join(line for line in lines if BEGIN_SOLUTION not in line and END_SOLUTION not in line)


def sample_class(course: Course, name: str) -> list[Sample]:
    """Submissions of every kind that an instructor meets, made from the lesson's planted answers.

    Needs a lesson with at least three exercises.
    """
    lesson = load(course, name)
    wrong = [answer for answer in read_answers(course.answers(name)) if not answer.right]
    planted = {exercise: next(a for a in wrong if a.exercise == exercise) for exercise in lesson.answers}
    exercises = list(lesson.answers)
    opening = exercises[0]

    def mistaken(*chosen: str) -> dict[str, str]:
        return {e: substitute(lesson.answers[e].source, e, planted[e].code) for e in chosen}

    def sample(student: str, what: str, notebook: dict) -> Sample:
        return Sample(student, what, json.dumps(notebook, indent=1).encode())

    def broken(exercise: str, code: str) -> dict:
        return answered(course, lesson, {exercise: code})

    deleted = answered(course, lesson)
    deleted["cells"] = [cell for cell in deleted["cells"] if cell["id"] != f"test_{exercises[1]}"]
    middle = exercises[len(exercises) // 2]
    signature = lesson.answers[middle].source.split(":\n")[0] + ":\n"
    return [
        sample("ada", "everything right", answered(course, lesson)),
        Sample("blank", "handed in as released", serialise(release(assemble(course, lesson)))),
        *(
            sample(f"mistake-{i}", f"{planted[e].why}", answered(course, lesson, mistaken(e)))
            for i, e in enumerate((exercises[1], middle, exercises[-1]), 1)
        ),
        sample("syntax-error", f"a missing bracket in {middle}", broken(middle, signature + "    return (1\n")),
        sample("endless-loop", f"{exercises[-1]} never ends", broken(exercises[-1], ENDLESS)),
        sample("deleted-test", f"the test of {exercises[1]} is gone", deleted),
        sample("cheater", f"{opening} silences every check", broken(opening, CHEAT.format(name=opening))),
        sample("exhauster", f"{middle} asks for 16 GiB of memory", broken(middle, EXHAUST.format(name=middle))),
    ]


def prepare(course: Course, name: str, folder: Path) -> list[Sample]:
    """Make `folder` anew as a course of its own: configuration, released lesson, the sample class's submissions."""
    shutil.rmtree(folder, ignore_errors=True)
    sandbox = Course(folder)
    for source in (course.root / "nbgrader_config.py", course.solution(name), course.student(name)):
        target = folder / source.relative_to(course.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    samples = sample_class(course, name)
    for sample in samples:
        target = sandbox.classroom / "submitted" / sample.student / name / f"{name}.ipynb"
        target.parent.mkdir(parents=True)
        target.write_bytes(sample.notebook)
    return samples


def grade(folder: Path, name: str, on_event: Callable[[Progress], None]) -> tuple[ClassReport, dict[str, Path]]:
    """Release the lesson into the sample course's gradebook and grade its class.

    Returns: the report, and where the feedback pages, the grades and the gradebook are.
    """
    from autograder.grading.classroom import open_course
    from autograder.grading.export import export
    from autograder.grading.feedback import write_feedback
    from autograder.grading.grade import grade_class
    from autograder.grading.job import Limits

    command = [sys.executable, "-m", "nbgrader", "generate_assignment", name, "--force"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    course = open_course(folder)
    report = grade_class(course, name, limits=Limits(cell_seconds=5, call_seconds=5), on_event=on_event)
    write_feedback(course, name)
    grades = export(course, "csv", name)
    classroom = Course(folder).classroom
    return report, {"feedback": classroom / "feedback", "grades": grades[-1], "gradebook": classroom / "gradebook.db"}
