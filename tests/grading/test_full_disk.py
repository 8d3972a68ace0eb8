"""A disk that is really full: what does not fit is reported, and nothing is lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign import course, fake

from autograder.grading.grade import grade_class
from autograder.grading.record import Recorder

PAGE = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False) if shutil.which("mount") else None
    if made is None or made.returncode:
        pytest.skip(f"NOT TESTED: no small disk can be mounted here ({made.stderr.strip() if made else 'no mount'})")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, left: int) -> Path:
    """Use up the disk but for `left` bytes."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError as error:
            assert error.errno == errno.ENOSPC
        os.ftruncate(file.fileno(), max(0, file.tell() - left))
    return ballast


@pytest.mark.parametrize("pages", [0, 2, 10, 25])
def test_what_does_not_fit_is_reported_and_done_by_the_next_run(
    disk, foreign_course, graded_master, monkeypatch, pages
):
    folder, right = Path(shutil.copytree(foreign_course, disk / "course")), course.scores(graded_master)
    ballast = fill(disk, pages * PAGE)
    with monkeypatch.context() as patch:
        pauses: list[float] = []
        patch.setitem(Recorder.__init__.__kwdefaults__, "sleep", pauses.append)
        report = grade_class(folder, course.LESSON, run=fake.run, jobs=1)
    assert pauses and report.exit_code == 1
    assert all("No space left" in text or "disk is full" in text for text in report.problems.values()), report.problems
    earned = course.scores(folder)
    assert all(earned[who] == right[who] for who in earned if earned[who][0] is not None)
    assert {who for who, _ in right} - {who for who, _ in earned} <= report.problems.keys()
    ballast.unlink()
    assert grade_class(folder, course.LESSON, run=fake.run, jobs=1).problems == {}
    assert course.scores(folder) == right and not list(folder.rglob(".*.part"))


def test_room_that_is_made_in_time_is_used(disk, foreign_course, graded_master, monkeypatch):
    folder = Path(shutil.copytree(foreign_course, disk / "course"))
    ballast, pauses = fill(disk, 10 * PAGE), []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            ballast.unlink()

    monkeypatch.setitem(Recorder.__init__.__kwdefaults__, "sleep", sleep)
    assert grade_class(folder, course.LESSON, run=fake.run, jobs=1).problems == {}
    assert len(pauses) == 3 and course.scores(folder) == course.scores(graded_master)
