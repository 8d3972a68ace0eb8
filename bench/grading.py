"""The same submissions graded by `nbgrader autograde` and by `autograder grade`, side by side.

    python bench/grading.py [--submissions 40] [--rounds 2] [--lesson 04_self_attention]

Both grade fresh copies of one class, in turn, at smoke scale and without plots. The class is mixed: everything right,
blank, typical mistakes, a syntax error. It holds nothing that only a time-out ends, where both would merely wait.
Printed are submissions a minute, CPU seconds for each, peak memory of all processes together (proportional set size,
sampled), the ratio, whether every score agrees, and where our CPU time went: how much of it into the students' cells.
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
    parts: dict[str, float]  # of the CPU time, for our own


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


def measure(command: list[str], folder: Path, lesson: str) -> Measured:
    """Run a grader as a program of its own and watch it and its descendants."""
    env = {**os.environ, "COURSE_SCALE": "smoke", "COURSE_PLOTS": "off", "OMP_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watch = Watch(process.pid)
    watch.start()
    _, err = process.communicate()
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    watch.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{err[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    parts = inside(folder)
    if parts:  # bubblewrap keeps the times of what it held to itself
        parts["warm parent"] = sum(watch.warm.values())
        cpu += parts["warm parent"] + parts["students' cells"] + parts["students' code in tests"] + parts["kernels"]
        parts["recording and the rest"] = cpu - sum(parts.values())
    return Measured(wall, cpu, watch.peak, scores(folder, lesson), parts)


class Watch(threading.Thread):
    """Samples the memory of a process and its descendants, and the CPU time of what bubblewrap runs."""

    def __init__(self, pid: int):
        super().__init__()
        self.pid, self.peak, self.warm = pid, 0, {}

    def run(self) -> None:
        while psutil.pid_exists(self.pid):
            total = 0
            try:
                processes = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
            except psutil.Error:
                return
            for process in processes:
                try:
                    total += process.memory_full_info().pss
                    if process.name() != "bwrap" and process.parent().name() == "bwrap":
                        times = process.cpu_times()
                        self.warm[process.pid] = times.user + times.system
                except (psutil.Error, AttributeError):  # it has gone, or its parent has
                    continue
            self.peak = max(self.peak, total)
            time.sleep(0.25)


def inside(folder: Path) -> dict[str, float]:
    """CPU seconds by use, from our result files; empty where nbgrader graded."""
    names = {
        "cells_cpu": "students' cells",
        "calls_cpu": "students' code in tests",
        "kernel_cpu": "kernels",
        "examiner_cpu": "examiner",
    }
    files = (folder / "class" / "results").rglob("*.json")
    usages = [json.loads(file.read_bytes())["result"]["usage"] for file in files]
    return {name: sum(usage[key] for usage in usages) for key, name in names.items()} if usages else {}


def scores(folder: Path, lesson: str) -> dict[str, dict[str, float]]:
    """Automatic scores by student and grade id, from the gradebook."""
    from autograder.grading.classroom import open_course

    table: dict[str, dict[str, float]] = {}
    for row in open_course(folder).grades(lesson):
        table.setdefault(row.student, {})[row.cell] = row.auto_score
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submissions", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--lesson", default="04_self_attention")
    options = parser.parse_args()
    course = Course.find(Path(__file__).parent)
    runs: dict[str, list[Measured]] = {"nbgrader autograde": [], "autograder grade": []}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(options.rounds):
            for name in runs:
                folder = Path(scratch) / f"{number}-{name.split()[0]}"
                make_class(course, options.lesson, folder, options.submissions)
                command = [sys.executable, "-m", *name.split(), options.lesson]
                if name == "autograder grade":
                    command += ["--course", str(folder)]
                runs[name].append(measure(command, folder, options.lesson))
                shutil.rmtree(folder)
    show(runs, options.submissions)


def show(runs: dict[str, list[Measured]], size: int) -> None:
    console, rounds = Console(), len(runs["autograder grade"])
    table = Table(title=f"{size} submissions, {rounds} rounds, medians, {os.cpu_count()} cores")
    for column in ("", "submissions/min", "CPU s each", "peak MiB"):
        table.add_column(column, justify="left" if not column else "right")
    pace = {}
    for name, measured in runs.items():
        pace[name] = statistics.median(60 * size / m.wall for m in measured)
        cpu = statistics.median(m.cpu / size for m in measured)
        memory = max(m.memory for m in measured) / 2**20
        table.add_row(name, f"{pace[name]:.1f}", f"{cpu:.2f}", f"{memory:.0f}")
    console.print(table)
    table = Table(title="our CPU time")
    for column in ("", "s each", "share"):
        table.add_column(column, justify="left" if not column else "right")
    for part in runs["autograder grade"][0].parts:
        seconds = statistics.median(m.parts[part] / size for m in runs["autograder grade"])
        share = statistics.median(m.parts[part] / m.cpu for m in runs["autograder grade"])
        table.add_row(part, f"{seconds:.3f}", f"{share:.0%}")
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
