"""What works on this machine, and how to mend what does not."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from autograder.course import Course


@dataclass(frozen=True)
class Diagnosis:
    """One line of the report: `state` is "ok", "note" (something is missing that not everybody needs) or "broken"."""

    what: str
    state: str
    found: str
    remedy: str = ""


def examine(course: Course) -> Iterator[Diagnosis]:
    """Look at Python, the packages, torch and its devices, the Jupyter kernel, the sandbox and the browser."""
    project = tomllib.loads((course.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    yield _python()
    yield from (_package(Requirement(text)) for text in project["dependencies"])
    yield _device()
    yield _kernel()
    yield _sandbox()
    yield _program("chromium", "browser checks in `make test`", "apt install chromium")
    yield _gradebook(course.classroom)


def _python() -> Diagnosis:
    good = sys.version_info >= (3, 11)
    return Diagnosis(
        "Python", "ok" if good else "broken", platform.python_version(), "" if good else "use Python 3.11+"
    )


def _package(requirement: Requirement) -> Diagnosis:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Diagnosis(requirement.name, "broken", "not installed", f"pip install -c constraints.txt '{requirement}'")
    if not requirement.specifier.contains(version, prereleases=True):
        return Diagnosis(requirement.name, "broken", version, f"pip install -c constraints.txt '{requirement}'")
    return Diagnosis(requirement.name, "ok", version)


def _device() -> Diagnosis:
    import torch

    if torch.cuda.is_available():
        return Diagnosis("GPU", "ok", torch.cuda.get_device_name())
    if torch.backends.mps.is_available():
        return Diagnosis("GPU", "ok", "Apple MPS")
    threads = f"none; {torch.get_num_threads()} CPU threads"
    return Diagnosis("GPU", "note", threads, "every lesson runs without; for NVIDIA install a CUDA build of torch")


def _kernel() -> Diagnosis:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return Diagnosis("Jupyter kernel", "broken", "no python3 kernel", "python -m ipykernel install --sys-prefix")
    return Diagnosis("Jupyter kernel", "ok", spec.argv[0])


def _sandbox() -> Diagnosis:
    from autograder.grading import sandbox

    reason = sandbox.available()
    if reason is None:
        return Diagnosis("Sandbox", "ok", shutil.which("bwrap") or "bubblewrap")
    return Diagnosis("Sandbox", "note", reason, "grading needs it: on Linux, apt install bubblewrap; else a Linux VM")


def _program(name: str, purpose: str, remedy: str) -> Diagnosis:
    path = shutil.which(name)
    if path is None:
        return Diagnosis(name, "note", f"not found; only for {purpose}", remedy)
    version = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20).stdout.strip()
    return Diagnosis(name, "ok", version or path)


def _gradebook(folder: Path) -> Diagnosis:
    place = folder if folder.exists() else folder.parent
    try:
        probe = place / ".doctor"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return Diagnosis("class/", "broken", f"cannot be written: {error.strerror}", f"chmod u+w {place}")
    return Diagnosis("class/", "ok", f"{shutil.disk_usage(place).free / 2**30:.0f} GiB free")
