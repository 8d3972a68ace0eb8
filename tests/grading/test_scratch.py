"""What a grader that was killed left in the folder for temporary files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from kernels import as_text, needs_sandbox

from autograder.grading import scratch

MAKER = """
import time
from autograder.grading.scratch import Scratch
print(Scratch().path, flush=True)
time.sleep(600)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of this test's own, for child processes, too."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_a_folder_lasts_as_long_as_its_maker(temporary):
    maker = subprocess.Popen([sys.executable, "-c", MAKER], stdout=subprocess.PIPE, text=True)
    folder = Path(maker.stdout.readline().strip())
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("of a killed grader")
    scratch.sweep()
    assert folder.parent == temporary and (folder / "deep" / "file").exists()
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    assert folder.exists()
    mine = scratch.Scratch()  # the next to start clears up
    assert list(temporary.iterdir()) == [Path(mine.path)]
    mine.close()
    assert list(temporary.iterdir()) == []


def test_links_and_what_others_made_are_left(temporary, monkeypatch):
    elsewhere = temporary / "precious"
    elsewhere.mkdir()
    (elsewhere / ".owner").touch()
    (temporary / "autograder-link").symlink_to(elsewhere)
    (temporary / "autograder-of-something-else").mkdir()  # without our file in it
    (temporary / "autograder-file").touch()
    tricked = temporary / "autograder-tricked"
    tricked.mkdir()
    (tricked / ".owner").symlink_to(elsewhere / ".owner")
    before = sorted(temporary.rglob("*"))
    scratch.sweep()
    assert sorted(temporary.rglob("*")) == before
    left = temporary / "autograder-left"
    left.mkdir()
    (left / ".owner").touch()
    (left / "link").symlink_to(elsewhere)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    scratch.sweep()
    assert left.exists()  # another user's
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    scratch.sweep()
    assert not left.exists() and (elsewhere / ".owner").exists()


def test_a_folder_for_temporary_files_that_cannot_be_read(temporary, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "missing"))
    scratch.sweep()


@needs_sandbox
@pytest.mark.parametrize("kind", ["bwrap", "none"])
def test_what_a_killed_grader_left_is_swept(temporary, kind):
    started = temporary / "started"
    release = as_text(("test", f"import time\nopen({str(started)!r}, 'w').close()\ntime.sleep(600)"))
    source = (
        "from autograder.grading import runner\nfrom autograder.grading.job import Bundle, Job\n"
        f"runner.run(Job('ada', Bundle('sleeps', {release!r}), {release!r}, sandbox={kind!r}))"
    )
    killed = subprocess.Popen([sys.executable, "-c", source])
    deadline = time.monotonic() + 120
    while not started.exists():
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    started.unlink()
    left = list(temporary.iterdir())
    assert left and all((path / ".owner").exists() for path in left)
    while scratch.sweep() or any(path.exists() for path in left):  # its children end a moment after it
        assert time.monotonic() < deadline
        time.sleep(0.05)
