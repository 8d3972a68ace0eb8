"""Temporary folders of the grader. What one that was killed left behind, the next one removes.

Each folder holds a file that its maker has locked for as long as it lives: the system lets go of the lock however the
maker ends. Only folders of the same user whose lock is free are removed, and links are never followed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

try:
    import fcntl
except ImportError:  # Windows: nothing to lock with, so nothing is swept there
    fcntl = None

PREFIX = "autograder-"
_OWNER = ".owner"


class Scratch:
    """A new temporary folder, at `path`; `close` removes it."""

    def __init__(self) -> None:
        sweep()
        self.path = tempfile.mkdtemp(prefix=PREFIX)
        draft = os.path.join(self.path, f"{_OWNER}.new")
        self._lock = os.open(draft, os.O_RDWR | os.O_CREAT, 0o600)
        if fcntl:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.rename(draft, os.path.join(self.path, _OWNER))  # nobody finds it before it is locked

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def sweep() -> None:
    """Remove the folders of makers that are no more."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                    _remove_if_left(entry.path)


def _remove_if_left(path: str) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(folder).st_uid != os.geteuid():
            return
        lock = os.open(_OWNER, os.O_RDWR | os.O_NOFOLLOW, dir_fd=folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)
    finally:
        os.close(folder)
