"""The same submissions graded by `nbgrader autograde` and by `autograder grade`, side by side.

    python bench/grading.py [--submissions 40] [--rounds 2] [--lesson 04_self_attention]

Both grade fresh copies of one class, in turn, at smoke scale and without plots. The class is mixed: everything right,
blank, typical mistakes, a syntax error. It holds nothing that only a time-out ends, where both would merely wait.
Printed are submissions a minute, CPU seconds for each, peak memory of all processes together (proportional set size,
sampled), the share of CPU time that went into the students' own cells, the ratio, and whether every score agrees.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from autograder.course import Course
from autograder.demo import prepare

LEFT_OUT = {"endless-loop", "exhauster", "deleted-test", "cheater"}


@dataclass(frozen=True)
class Measured:
    """One contender's run over the class. Seconds, and bytes of memory."""

    wall: float
    cpu: float
    memory: int
    scores: dict[str, dict[str, float]]


def make_class(course: Course, lesson: str, folder: Path, size: int) -> list[str]:
    """A course in `folder` with `size` submissions to `lesson`, released into its gradebook. Returns the students."""
    samples = [sample for sample in prepare(course, lesson, folder) if sample.student not in LEFT_OUT]
    shutil.rmtree(folder / "class" / "submitted")
    students = []
    for number in range(size):
        sample = samples[number % len(samples)]
        students.append(f"{sample.student}-{number:03}")
        target = folder / "class" / "submitted" / students[-1] / lesson / f"{lesson}.ipynb"
        target.parent.mkdir(parents=True)
        target.write_bytes(sample.notebook)
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", lesson, "--force"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return students


def measure(command: list[str], folder: Path, lesson: str) -> tuple[Measured, str]:
    """Run a grader as a program of its own and watch it and its descendants."""
    env = {**os.environ, "COURSE_SCALE": "smoke", "COURSE_PLOTS": "off", "OMP_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peak))
    watcher.start()
    out, err = process.communicate()
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{err[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(wall, cpu, peak[0], scores(folder, lesson)), out


def _watch(pid: int, peak: list[int]) -> None:
    while psutil.pid_exists(pid):
        total = 0
        try:
            processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        except psutil.Error:
            return
        for process in processes:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
        peak[0] = max(peak[0], total)
        time.sleep(0.25)


def scores(folder: Path, lesson: str) -> dict[str, dict[str, float]]:
    """Automatic scores by student and grade id, from the gradebook."""
    from autograder.grading.classroom import open_course

    table: dict[str, dict[str, float]] = {}
    for row in open_course(folder).grades(lesson):
        table.setdefault(row.student, {})[row.cell] = row.auto_score
    return table


def grade_ours(folder: str, lesson: str) -> None:
    """What the child process of our contender does."""
    from autograder.grading.grade import grade_class

    report = grade_class(Path(folder), lesson)
    students = report.students.values()
    print(json.dumps([sum(s.cells_cpu for s in students), sum(s.cpu for s in students), report.problems]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submissions", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--lesson", default="04_self_attention")
    parser.add_argument("--ours", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        return grade_ours(*options.ours)
    course = Course.find(Path(__file__).parent)
    runs: dict[str, list[Measured]] = {"nbgrader autograde": [], "autograder grade": []}
    shares = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(options.rounds):
            for name in runs:
                folder = Path(scratch) / f"{number}-{name.split()[0]}"
                make_class(course, options.lesson, folder, options.submissions)
                if name == "autograder grade":
                    command = [sys.executable, __file__, "--ours", str(folder), options.lesson]
                else:
                    command = [sys.executable, "-m", "nbgrader", "autograde", options.lesson]
                measured, out = measure(command, folder, options.lesson)
                runs[name].append(measured)
                if name == "autograder grade":
                    cells, cpu, problems = json.loads(out.strip().splitlines()[-1])
                    shares.append(cells / cpu)
                    if problems:
                        sys.exit(f"not graded: {problems}")
                shutil.rmtree(folder)
    show(runs, shares, options.submissions)


def show(runs: dict[str, list[Measured]], shares: list[float], size: int) -> None:
    console = Console()
    table = Table(title=f"{size} submissions, {len(shares)} rounds, medians, {os.cpu_count()} cores")
    for column in ("", "submissions/min", "CPU s each", "peak MiB", "CPU in students' cells"):
        table.add_column(column, justify="left" if not column else "right")
    pace = {}
    for name, measured in runs.items():
        pace[name] = statistics.median(60 * size / m.wall for m in measured)
        cpu = statistics.median(m.cpu / size for m in measured)
        memory = max(m.memory for m in measured) / 2**20
        share = f"{statistics.median(shares):.0%}" if name.startswith("autograder") else "–"
        table.add_row(name, f"{pace[name]:.1f}", f"{cpu:.2f}", f"{memory:.0f}", share)
    console.print(table)
    theirs, ours = runs.values()
    same = all(a.scores == b.scores for a, b in zip(theirs, ours, strict=True))
    print(f"ratio: {pace['autograder grade'] / pace['nbgrader autograde']:.1f}")
    print(f"every score agrees: {'yes' if same else 'NO'}")
    if not same:
        for student, score in theirs[0].scores.items():
            if ours[0].scores.get(student) != score:
                print(f"  {student}: nbgrader {score}, ours {ours[0].scores.get(student)}")


if __name__ == "__main__":
    main()
