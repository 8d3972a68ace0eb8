"""The sandbox around student code, as data: what is visible, where one may write, what the environment holds.

`plan()` says it, `Plan.command()` turns it into a bubblewrap command line, `available()` says why it cannot be had.
The tests compare the plan with what a process inside really sees.

Two fences stand around a submission. Bubblewrap's own (this module) holds a warm parent: no network, a read-only
system, no home, no course, a clean environment. Inside it each submission gets a second one (`warm.py`): its own
processes, mounts and user, from which the warm parent cannot be seen.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autograder.errors import UserError
from autograder.grading.job import SandboxKind

SCRATCH = "/scratch"  # the one place to write in; each submission mounts its own over it
COURSE = "/course"  # on the Python path: utils, and the few modules that run a kernel
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = ("alternatives", "fonts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "timezone")
_INSIDE = ("__init__.py", *(f"grading/{name}.py" for name in ("__init__", "wire", "kernel", "seccomp", "warm")))


@dataclass(frozen=True)
class Plan:
    """What a process in the sandbox finds. Paths are as (outside, inside)."""

    read_only: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]  # (target, inside)
    hidden: tuple[str, ...]  # folders inside a visible one that stay empty
    writable: tuple[str, ...] = ("/tmp", "/dev/shm")  # beside the scratch folder, and within its limit
    env: dict[str, str] = field(default_factory=dict)
    scratch_mb: int = 256

    def command(self, argv: list[str], *, sealed: bool = True, extra: Sequence[str] = ()) -> list[str]:
        """The command that runs `argv` in bubblewrap. File descriptors above 2 that are inheritable stay open.

        `sealed` says that each submission mounts a /proc of its own; without it bubblewrap's is protected, which rules
        the other out. `extra` are further mounts, in bubblewrap's words.
        """
        words = ["bwrap", "--unshare-user", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
        for name, value in sorted(self.env.items()):
            words += ["--setenv", name, value]
        words += ["--hostname", "sandbox", "--cap-drop", "ALL"]
        root = os.geteuid() == 0
        if root and sealed:  # to take away bubblewrap's covers of /proc, and to map user 0 once more: see warm.py
            words += ["--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETFCAP"]
        mounts = [(inside, ["--ro-bind", outside, inside]) for outside, inside in self.read_only]
        mounts += [(inside, ["--symlink", target, inside]) for target, inside in self.links]
        mounts += [(path, ["--tmpfs", path]) for path in self.hidden]
        for _, mount in sorted(mounts, key=lambda pair: pair[0].count("/")):  # what lies deeper comes later
            words += mount
        words += ["--dev", "/dev", "--proc", "/proc"]  # nothing of ours lies in there
        if not sealed:  # a file of root's is writable to root in any user namespace, /proc/sys too
            words += ["--ro-bind", "/proc/sys", "/proc/sys"]
        for path in (SCRATCH, *(path for path in self.writable if path != "/dev/shm")):  # bubblewrap made that one
            words += ["--size", str(self.scratch_mb * 2**20), "--tmpfs", path]
        words += extra
        for path in (*self.hidden, "/dev", "/"):
            words += ["--remount-ro", path]
        return [*words, "--chdir", SCRATCH, "--", *argv]


def plan(extra_env: dict[str, str] | None = None, scratch_mb: int = 256) -> Plan:
    """The sandbox for this Python, on this machine."""
    package = Path(__file__).resolve().parents[1]
    root = package.parent
    read_only, links = [], []
    for path in map(Path, _SYSTEM):
        if path.is_symlink():
            links.append((os.readlink(path), str(path)))
        elif path.is_dir():
            read_only.append((str(path), str(path)))
    read_only += [(f"/etc/{name}", f"/etc/{name}") for name in _ETC if Path("/etc", name).exists()]
    for prefix in dict.fromkeys((sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix)):
        if not any(Path(prefix).is_relative_to(seen) for seen, _ in read_only):
            read_only.append((prefix, prefix))
    read_only += [(str(package / name), f"{COURSE}/autograder/{name}") for name in _INSIDE]
    utils = importlib.util.find_spec("utils")
    if utils and utils.submodule_search_locations and (root / "utils") in map(Path, utils.submodule_search_locations):
        read_only.append((str(root / "utils"), f"{COURSE}/utils"))
    private = [Path.home(), *(root / name for name in ("solutions", "class", "notebooks", ".git"))]
    hidden = [
        str(path)
        for path in private
        if path.is_dir() and any(path.is_relative_to(outside) for outside, inside in read_only if outside == inside)
    ]
    free = not any(inside.startswith("/tmp/") for _, inside in read_only)  # a Python in /tmp must stay visible
    writable = ("/tmp", "/dev/shm") if free else ("/dev/shm",)
    return Plan(tuple(read_only), tuple(links), tuple(hidden), writable, environment() | (extra_env or {}), scratch_mb)


def environment() -> dict[str, str]:
    """The environment of student code. Nothing of the grader's own is in it."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
    return threads | {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": f"{SCRATCH}/home",
        "TMPDIR": f"{SCRATCH}/tmp",
        "USER": "student",
        "LOGNAME": "student",
        "LANG": "C.UTF-8",
        "TERM": "xterm-color",
        "PYTHONPATH": COURSE,
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "COURSE_SCALE": "smoke",
        "COURSE_PLOTS": "off",  # most of a lesson's time at smoke scale, and nothing that earns points
        "HF_HUB_OFFLINE": "1",
    }


@functools.cache
def available() -> str | None:
    """Why bubblewrap cannot be used here, in one sentence that says what to do; None when it can."""
    if sys.platform != "linux":
        return "the sandbox needs Linux: grade in a Linux machine or container, or with --sandbox none"
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed: `apt install bubblewrap` (or dnf, pacman), or grade with --sandbox none"
    trial = plan().command(["/usr/bin/env", "true"])
    done = subprocess.run(trial, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"
        return f"bubblewrap cannot make a sandbox here ({why}): allow user namespaces, or grade with --sandbox none"
    return None


def require(kind: SandboxKind) -> None:
    """Raise UserError when `kind` cannot be had here."""
    if kind == "bwrap" and (reason := available()):
        raise UserError(reason, exit_code=1)


@functools.cache
def version() -> str:
    """Such as "bubblewrap 0.8.0"."""
    return subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def describe(kind: SandboxKind, sealed: bool, why_not: str = "") -> str:
    """One sentence on what held a submission."""
    if kind == "none":
        return "no sandbox: the submission ran as an ordinary process of the grader's user"
    held = f"{version()}: no network, read-only system, private scratch folder"
    return f"{held}; kernel forked from a warm one and sealed" if sealed else f"{held}; cold kernel ({why_not})"
