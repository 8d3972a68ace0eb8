"""What crosses process boundaries when a submission is graded: plain, picklable data and nothing else.

A `Job` goes to whichever worker is free (a local process, a Dask worker on another machine); a `Result` comes back.
Notebooks travel as JSON text, so neither side depends on the other's version of nbformat.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Literal

Mode = Literal["sealed", "classic"]
SandboxKind = Literal["bwrap", "none"]
Status = Literal["done", "failed"]


@dataclass(frozen=True)
class Limits:
    """What one submission may use. Sizes in MB are 2**20 bytes."""

    cell_seconds: float = 30  # one cell, the student's or a test
    notebook_seconds: float = 600  # all cells together, replays after a lost kernel included
    call_seconds: float = 30  # one call from a test to the student's code
    memory_mb: int = 2048  # beyond what the warm parent holds already, all processes of the submission together
    processes: int = 64  # processes and threads together
    open_files: int = 256  # for each process
    scratch_mb: int = 256  # files in the working folder, in /tmp and in /dev/shm together
    output_bytes: int = 200_000  # text outputs of one cell; the rest is cut as it arrives
    figure_bytes: int = 2_000_000  # binary outputs of one cell; further ones are dropped
    message_mb: int = 256  # one message between the student's side and the examiner


@dataclass(frozen=True)
class Bundle:
    """A lesson as the instructor knows it. The same for the whole class."""

    lesson: str
    release: str  # JSON of the released notebook with its hidden tests in place
    files: dict[str, bytes] = field(default_factory=dict)  # relative path -> content, beside the notebook
    env: dict[str, str] = field(default_factory=dict)  # for the student's side: nothing secret
    imports: bool = True  # the warm parent loads what the release needs
    solution: str = ""  # JSON of the solved notebook, where a test may give points by its value: see `runner`

    @cached_property
    def key(self) -> str:
        """Hash of everything that the bundle holds: equal keys may share a warm parent."""
        digest = hashlib.sha256()
        digest.update(json.dumps([self.lesson, self.release, sorted(self.env.items()), self.imports]).encode())
        if self.solution:
            digest.update(self.solution.encode())
        for path in sorted(self.files):
            digest.update(json.dumps([path, len(self.files[path])]).encode())
            digest.update(self.files[path])
        return digest.hexdigest()


def lay_over(theirs: dict[str, bytes], ours: dict[str, bytes]) -> dict[str, bytes]:
    """A lesson's files over a student's (relative path → content): where both have something of that name, a file or a
    folder, the lesson's stays."""
    folders = {str(folder) for name in ours for folder in PurePosixPath(name).parents}

    def in_the_way(name: str) -> bool:
        return name in folders or any(str(folder) in ours for folder in PurePosixPath(name).parents)

    return {name: data for name, data in theirs.items() if not in_the_way(name)} | ours


@dataclass(frozen=True)
class Job:
    """One submission to run."""

    student: str
    bundle: Bundle
    submission: str  # JSON of the realigned notebook: metadata sane, test cells those of the release
    files: dict[str, bytes] = field(default_factory=dict)  # what the student handed in beside the notebook
    seed: str = ""  # COURSE_SEED for the examiner; the student's side never learns it
    limits: Limits = Limits()
    mode: Mode = "sealed"
    sandbox: SandboxKind = "bwrap"


@dataclass(frozen=True)
class Outcome:
    """How one test cell ended. The points are nbgrader's to compute, from the executed notebook."""

    grade_id: str
    passed: bool  # it raised nothing
    credit: float | None = None  # value of its last expression where that is a number: nbgrader's partial credit
    error: str = ""  # name of the exception's class
    message: str = ""  # what it said, first 2,000 characters
    hint: str = ""  # the hint of the check that failed, when it was one of `utils.checks`
    seconds: float = 0.0


@dataclass(frozen=True)
class Usage:
    """What a submission cost. CPU seconds are user plus system."""

    cells_cpu: float = 0.0  # the student's own cells
    calls_cpu: float = 0.0  # the student's code, called by tests
    kernel_cpu: float = 0.0  # the rest of the student's side: fork, seal, replay, shut down
    examiner_cpu: float = 0.0  # the trusted side: test cells, messages
    wall: float = 0.0
    peak_memory_mb: float = 0.0  # beyond the warm parent
    kernels: int = 1  # 1 + how often a lost kernel had to be replaced

    @property
    def cpu(self) -> float:
        return self.cells_cpu + self.calls_cpu + self.kernel_cpu + self.examiner_cpu


@dataclass(frozen=True)
class Result:
    """What became of a job.

    `status` is "failed" only when the grader itself could not do its work (no sandbox, a killed worker): never a grade,
    always worth a second try. Whatever the submission did, even if nothing of it ran, is "done".
    """

    student: str
    lesson: str
    status: Status
    reason: str = ""  # of a failure, one sentence
    notebook: str = ""  # JSON of the executed notebook
    outcomes: tuple[Outcome, ...] = ()
    limits_hit: tuple[str, ...] = ()  # sentences for the student's feedback
    usage: Usage = Usage()
    sandbox: str = ""  # what held the submission, one sentence

    def as_dict(self) -> dict:
        """As JSON-able data; `from_dict` reverses it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> Result:
        data = dict(data)
        data["outcomes"] = tuple(Outcome(**outcome) for outcome in data["outcomes"])
        data["limits_hit"] = tuple(data["limits_hit"])
        data["usage"] = Usage(**data["usage"])
        return cls(**data)
