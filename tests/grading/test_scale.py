"""A large class in one run with the real sandbox: everybody has an outcome, and the grader does not grow."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from foreign import course
from kernels import needs_sandbox

pytestmark = needs_sandbox

NAME = "problem1"
GRADE = f"""
import json, os, sys
from autograder.grading.grade import grade_class

sizes = {{}}

def watch(progress):
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    sizes[(progress.done + progress.failed) // {len(course.NOTEBOOKS)}] = pages * os.sysconf("SC_PAGE_SIZE")

if __name__ == "__main__":
    report = grade_class(sys.argv[1], {course.LESSON!r}, jobs=2, on_event=watch)
    totals = {{name: student.total for name, student in report.students.items()}}
    print(json.dumps([totals, report.problems, report.seconds, sizes]))
"""

#: What is handed in, over and over: answers and the points that they earn, or a broken file and None.
KINDS: dict[str, tuple[dict[str, str] | bytes, float | None]] = {
    "right": (course.RIGHT, 6),
    "blank": ({}, 0),
    "wrong": ({**course.RIGHT, "squares": "def squares(n):\n    return [n]"}, 4),
    "partly": ({**course.RIGHT, "unit": "def unit(v):\n    return np.abs(v) / np.linalg.norm(v)"}, 5),
    "syntax": ({**course.RIGHT, "squares": "def squares(n)\n    return n"}, 4),
    "exits": ({**course.RIGHT, "squares": "import os\nos._exit(3)"}, 4),
    "prints": ({**course.RIGHT, "sketch": "for _ in range(10_000):\n    print('x' * 100)"}, 6),
    "hungry": ({**course.RIGHT, "sketch": "held = bytearray(10**11)"}, 6),
    "broken": (b'{"cells": [', None),
    "empty": (b"", None),
}


def hand_in(folder: Path, size: int) -> dict[str, float | None]:
    """A class of `size`; student → points, None for a file that nobody can read."""
    release, expected = course.released(folder, NAME), {}
    for number in range(size):
        kind = list(KINDS)[number % len(KINDS)]
        answers, points = KINDS[kind]
        student = f"{kind}-{number:05}"
        notebook = answers
        if isinstance(answers, dict):
            mine = {**answers, "why": f"An answer of {student}."}
            notebook = course.answered(release, mine)
        course.submit(folder, student, NAME, notebook)
        expected[student] = points
    return expected


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("size", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_large_class(copy_course: Callable[[str], Path], tmp_path: Path, size: int, capsys):
    folder = copy_course("course")
    expected = hand_in(folder, size)
    (tmp_path / "grade.py").write_text(GRADE)
    command = [sys.executable, str(tmp_path / "grade.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    totals, problems, seconds, sizes = json.loads(done.stdout.splitlines()[-1])
    assert set(problems) == {student for student, points in expected.items() if points is None}
    assert all("unreadable" in reason for reason in problems.values())
    assert {s: totals[s] for s in expected if s not in problems} == {
        s: p for s, p in expected.items() if s not in problems
    }
    mb = {n: max(int(b) for at, b in sizes.items() if int(at) <= n) / 2**20 for n in (size // 4, size // 2, size)}
    with capsys.disabled():
        print(f"\n{size} submissions in {seconds:.0f} s; the grader's memory after n of them, in MiB:")
        print("  ".join(f"{n}: {mb[n]:.1f}" for n in mb))
    if size >= 1000:
        assert mb[size] - mb[size // 4] < 0.1 * mb[size // 4]
