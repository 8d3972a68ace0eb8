"""One submission: its own cells to the sandbox, its test cells to the examiner, in the notebook's order.

`run(job)` is what an executor calls, in whatever process or thread. It keeps one warm parent and one prelude at hand,
for the bundle that it graded last, and forks a process of its own for each submission: a test that crashes, hangs, or
changes what it imported costs nobody else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, BinaryIO

from autograder.errors import UserError
from autograder.grading.client import GRACE_SECONDS, Kernel, KernelLost, SandboxError, WarmParent, own_cpu
from autograder.grading.examiner import Examiner, compile_tests
from autograder.grading.handles import Line
from autograder.grading.job import Job, Limits, Outcome, Result, Usage, lay_over
from autograder.grading.outputs import Outputs
from autograder.grading.prelude import (
    TRAINING,
    Prelude,
    build_prelude,
    grade_id,
    imports,
    is_test,
    preparations,
    source_of,
)
from autograder.grading.scratch import Scratch
from autograder.grading.warm import die_with_parent
from autograder.grading.wire import Encoder

MARGIN_SECONDS = 30  # beyond the notebook's own time, before the whole submission is given up
STUCK_SECONDS = 15  # beyond a cell's own time, before the process that waits for it is given up
MAX_KERNELS = 6  # a submission that loses more than this many kernels runs no further
MAX_PRINTING_CELLS = 20  # all cells together may print as much as this many
_REPLAY_SHARE = 3  # replaying gets a third of what is left of the notebook's time
_LIMIT_ERRORS: tuple[tuple[str, Callable[[Limits], str]], ...] = (
    ("MemoryError", lambda limits: f"{limits.memory_mb} MB of memory"),
    ("an't allocate memory", lambda limits: f"{limits.memory_mb} MB of memory"),
    ("No space left on device", lambda limits: f"{limits.scratch_mb} MB of files"),
    ("Too many open files", lambda limits: f"{limits.open_files} open files"),
    ("File too large", lambda limits: f"{limits.scratch_mb} MB of files"),
    ("Resource temporarily unavailable", lambda limits: f"{limits.processes} processes and threads"),
)


# --- what a worker keeps between submissions -------------------------------------------------------------------------


@dataclass
class _Station:
    """A warm parent and a prelude, ready for submissions to one bundle."""

    key: tuple
    warm: WarmParent
    prelude: Prelude
    scratch: Scratch  # holds the bundle's files, for tests that read them
    running: int = 0  # submissions
    spoilt: bool = False  # it takes no more of them

    def takes(self, key: tuple) -> bool:
        """Whether it is right for one more submission."""
        return self.key == key and not self.spoilt and self.warm.alive()

    def close(self) -> None:
        self.warm.close()
        self.scratch.close()
        for name, module in list(sys.modules.items()):  # another lesson may have a helper of the same name
            if (getattr(module, "__file__", None) or "").startswith(self.scratch.path):
                del sys.modules[name]


_station: _Station | None = None
_scored: dict[str, frozenset[str]] = {}  # bundle's key → grade ids of the tests whose value is their points
_lock = threading.RLock()  # whoever changes the station or forks has it, so that no fork sees anything half done
_free = threading.Condition(_lock)


def close() -> None:
    """Let go of the warm parent. A worker that ends does so by itself."""
    global _station
    with _lock:
        if _station is not None and _station.key[-1] == os.getpid():  # in a fork it is the parent's
            _station.close()
        _station = None


def _station_for(job: Job) -> _Station:
    """The station for a job, once nothing else is going on that forbids it. Call it with the lock."""
    global _station
    key = (job.bundle.key, job.sandbox, job.limits.scratch_mb, os.getpid())
    while _station is None or not _station.takes(key):
        if _station is not None and _station.running:
            _free.wait()
            continue
        close()
        _station = _open_station(key, job)
        Finalize(None, close, exitpriority=10)  # at the end of a worker process too, where atexit is not run
        if job.bundle.solution and job.mode == "sealed" and job.bundle.key not in _scored:
            _station.spoilt = True  # unless all goes well
            _scored[job.bundle.key] = _scored_tests(_station, job)
            _station.spoilt = False
    return _station


def _open_station(key: tuple, job: Job) -> _Station:
    """What the trusted side needs is loaded while the warm parent starts."""
    release, scratch = json.loads(job.bundle.release), Scratch()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the examiner forks, and compares on the CPU
    os.environ["COURSE_SCALE"] = "smoke"
    os.environ["MPLBACKEND"] = "agg"
    warm = None
    try:
        _write_files(Path(scratch.path), job.bundle.files)
        first = imports(release) if job.bundle.imports else []
        warm = WarmParent(job.sandbox, job.limits, first, job.bundle.env)
        with _inside(scratch.path):
            prelude = build_prelude(release)
        compile_tests(release)
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)
        if job.bundle.imports:
            ours = (Path(scratch.path), Path(__file__).resolve().parents[2] / "utils")
            further = preparations(release, prelude.namespace, ours)
            warm.load(further)
            if TRAINING in further:
                with contextlib.suppress(Exception):
                    exec(TRAINING, {})
        warm.ready()
        gc.collect()
        gc.freeze()  # a collection in a forked process would copy what both could share
        return _Station(key, warm, prelude, scratch)
    except BaseException:
        if warm is not None:
            warm.close()
        scratch.close()
        raise


def _scored_tests(station: _Station, job: Job) -> frozenset[str]:
    """The tests that give the instructor's own solution a number for their value: points, as nbgrader has it.

    A submission for which such a value is no number earns none. Of other tests the value says nothing.
    """
    result = _in_a_fork(station, dataclasses.replace(job, submission=job.bundle.solution, files={}))
    if result.status == "failed":
        raise SandboxError(f"the lesson's solution could not be run: {result.reason}")
    return frozenset(outcome.grade_id for outcome in result.outcomes if outcome.credit is not None)


@contextlib.contextmanager
def _inside(folder: str):
    """In the folder of the bundle's files, as a notebook would be."""
    before = os.getcwd()
    os.chdir(folder)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        os.chdir(before)


def _write_files(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"a lesson's file may not lie outside its folder: {name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


# --- one job ---------------------------------------------------------------------------------------------------------


def run(job: Job) -> Result:
    """Run a submission and examine it. UserError when there is no sandbox; any other trouble is told in the result.

    Threads of one process may call it at the same time: submissions to one bundle then run side by side.
    """
    start = time.monotonic()
    try:
        with _lock:
            station = _station_for(job)
            station.running += 1
    except SandboxError as error:
        return Result(job.student, job.bundle.lesson, "failed", reason=str(error))
    result = None
    try:
        result = _in_a_fork(station, job)
    finally:
        with _lock:
            station.running -= 1
            station.spoilt |= result is None or result.status == "failed"  # something in here may be broken
            if station.spoilt and not station.running and station is _station:
                close()
            _free.notify_all()
    usage = dataclasses.replace(result.usage, wall=time.monotonic() - start)
    return dataclasses.replace(result, usage=usage)


def _in_a_fork(station: _Station, job: Job) -> Result:
    """Conduct the job in a forked process, which gets the notebook's time and a bit, and no more.

    A cell that gets the process stuck where no time-out is heard (in C, over what the submission gave to a test) is the
    submission's own loss: the process is ended, and another goes through the notebook in what is left of the time,
    without that cell.
    """
    if not station.warm.seal:  # nothing would separate submissions in there: each has a warm parent for itself
        try:
            with _lock:
                own = station.warm.another()
            with contextlib.closing(own):
                return _conducted(dataclasses.replace(station, warm=own.ready()), job)
        except SandboxError as error:
            return Result(job.student, job.bundle.lesson, "failed", reason=str(error))
    return _conducted(station, job)


def _conducted(station: _Station, job: Job) -> Result:
    until = time.monotonic() + job.limits.notebook_seconds
    stuck: set[int] = set()
    while True:
        result, cell = _attempt(station, job, until, frozenset(stuck))
        if result is not None:
            return result
        stuck.add(cell)


def _attempt(station: _Station, job: Job, until: float, stuck: frozenset[int]) -> tuple[Result | None, int]:
    """Conduct the job without the cells that are `stuck`. The result, or the number of a cell that is stuck now."""
    with _lock:  # until the pipe's other end is the child's alone: a child of another thread would keep it open
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a fork while other threads run: they wait or read
            pid = os.fork()
        if pid:
            os.close(write)
    if pid == 0:
        status = 1
        try:
            die_with_parent()
            os.close(read)
            with os.fdopen(write, "wb") as pipe:
                known = set(sys.modules)
                result = _conduct_safely(_Conductor(station, job, until, stuck, pipe))
                loaded = sorted(set(sys.modules) - known)
                pipe.write(json.dumps({"result": result.as_dict(), "loaded": loaded}).encode())
            status = 0
        finally:
            os._exit(status)
    end = deadline = until + MARGIN_SECONDS
    cell, data, late = 0, bytearray(), True
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while (left := deadline - time.monotonic()) > 0 and select.select([pipe], [], [], left)[0]:
            piece = pipe.read(1 << 20)
            if not piece:
                late = False
                break
            data += piece
            if b"\n" in piece:  # where it is, and how long that may take; what follows the last line is the result
                *lines, data = data.split(b"\n")
                cell, seconds = json.loads(lines[-1])
                deadline = min(end, time.monotonic() + seconds) if cell else end
    if late:
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    if late and cell and cell not in stuck:
        return None, cell
    try:
        answer = json.loads(data)
        result = Result.from_dict(answer["result"])
    except ValueError:
        reason = "did not end in time" if late else f"ended early (status {os.waitstatus_to_exitcode(status)})"
        return Result(job.student, job.bundle.lesson, "failed", reason=f"the examiner's process {reason}"), 0
    with _lock:
        for name in answer["loaded"]:  # by tests, never by student code: the next submission finds it loaded
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    cpu = usage.ru_utime + usage.ru_stime
    return dataclasses.replace(result, usage=dataclasses.replace(result.usage, examiner_cpu=cpu)), 0


def _conduct_safely(conductor: _Conductor) -> Result:
    job = conductor.job
    try:
        return conductor.conduct()
    except SandboxError as error:
        return Result(job.student, job.bundle.lesson, "failed", reason=str(error))
    except Exception as error:
        traceback.print_exc()
        return Result(job.student, job.bundle.lesson, "failed", reason=f"{type(error).__name__} in the grader: {error}")


@dataclass
class _Conductor:
    """Goes through one notebook. Lives in the forked process."""

    station: _Station
    job: Job
    deadline: float  # of the notebook
    stuck: frozenset[int]  # numbers of cells that are not run: the grader got stuck in them
    pipe: BinaryIO  # to say where it is
    kernel: Kernel | None = None
    line: Line | None = None
    kernels: list[Kernel] = field(default_factory=list)
    done: list[tuple[str, int]] = field(default_factory=list)  # cells that a new kernel has to run again
    sentences: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    cells_cpu: float = 0.0
    calls_cpu: float = 0.0
    printed: int = 0  # bytes of outputs so far
    why_none: str = ""  # why there will be no kernel any more

    def conduct(self) -> Result:
        job = self.job
        os.environ["COURSE_SEED"] = job.seed
        _limit_memory(job)
        notebook = json.loads(job.submission)
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        own = [source_of(cell) for cell in cells if not is_test(cell)]
        tests = Examiner(self.station.prelude, job.limits, own, _scored.get(job.bundle.key, ()))
        with _inside(self.station.scratch.path):
            for count, cell in enumerate(cells, 1):
                source = source_of(cell)
                if count in self.stuck:
                    outputs = self._stuck(cell, count)
                elif not source.strip():
                    outputs = Outputs(job.limits)
                    if is_test(cell):
                        self.outcomes.append(Outcome(grade_id(cell), True))
                elif not is_test(cell):
                    outputs = self._own_cell(source, count, f"cell {count}")
                elif job.mode == "classic":
                    outputs = self._classic_test(cell, source, count)
                else:
                    outputs = self._test(tests, cell, count)
                for item in outputs.items:
                    if item["output_type"] == "error" and (limit := _limit_in(item)):
                        self._say(f"Cell {count} reached the limit of {limit(job.limits)}.")
                self.printed += len(json.dumps(outputs.items))
                if outputs.cut:
                    self._say(f"The output of cell {count} was cut: it was too long.")
                cell["execution_count"], cell["outputs"] = count, outputs.items
        if self.kernel is not None:
            self._let_go()
        return Result(
            job.student,
            job.bundle.lesson,
            "done",
            notebook=json.dumps(notebook),
            outcomes=tuple(self.outcomes),
            limits_hit=tuple(self.sentences),
            usage=self._usage(),
            sandbox=self.station.warm.describe(),
        )

    # --- cells

    @contextlib.contextmanager
    def _watched(self, count: int, seconds: float) -> Iterator[None]:
        """Let the parent end this process if it is not out of here in time: it may be where it hears no time-out."""
        self._report(count, seconds + 2 * GRACE_SECONDS + STUCK_SECONDS)
        try:
            yield
        finally:
            self._report(0, 0)

    def _report(self, count: int, seconds: float) -> None:
        self.pipe.write(json.dumps([count, seconds]).encode() + b"\n")
        self.pipe.flush()

    def _stuck(self, cell: dict, count: int) -> Outputs:
        """In place of a cell that never ended."""
        seconds, outputs = self.job.limits.cell_seconds, Outputs(self.job.limits)
        what = f"the test {grade_id(cell)}" if is_test(cell) else f"cell {count}"
        message = f"it took longer than {seconds:.3g} s, the time limit of a cell, and did not react"
        self._say(f"Running {what} was stopped: {message}.")
        outputs.error("TimeoutError", message, [f"Running {what} was stopped: {message}."])
        if is_test(cell):
            self.outcomes.append(Outcome(grade_id(cell), False, error="TimeoutError", message=message, seconds=seconds))
        return outputs

    def _own_cell(self, source: str, count: int, what: str) -> Outputs:
        limits = self.job.limits
        if self.printed > MAX_PRINTING_CELLS * (limits.output_bytes + limits.figure_bytes):
            limits = dataclasses.replace(limits, output_bytes=0, figure_bytes=0)
        outputs = Outputs(limits)
        if not self._ready():
            outputs.error("NotRun", self.why_none, [f"This cell was not run: {self.why_none}"])
            return outputs
        seconds = min(self.job.limits.cell_seconds, self._left())
        try:
            with self._watched(count, seconds + self.job.limits.call_seconds):
                interrupted = self._run(source, count, seconds, outputs)
                self._settle(outputs)
        except KernelLost as lost:
            self._let_go()
            self._say(f"Running {what} was stopped: {lost}.")
            outputs.error("Stopped", str(lost), [f"This cell was stopped: {lost}."])
            return outputs
        self.done.append((source, count))
        if interrupted:
            self._say(f"Running {what} was stopped after {seconds:.3g} s, the time limit of a cell.")
            if not any(item["output_type"] == "error" for item in outputs.items):
                outputs.error("TimeoutError", "time limit", ["This cell took longer than its time limit."])
        return outputs

    def _classic_test(self, cell: dict, source: str, count: int) -> Outputs:
        """A test cell in the student's kernel, as nbgrader runs it."""
        start, ident = time.monotonic(), grade_id(cell)
        outputs = self._own_cell(source, count, f"the test {ident}")
        errors = [item for item in outputs.items if item["output_type"] == "error"]
        error = {"error": errors[0]["ename"], "message": errors[0]["evalue"]} if errors else {}
        credit = None
        for item in outputs.items:
            if item["output_type"] == "execute_result":
                with contextlib.suppress(ValueError, TypeError):
                    credit = float(item["data"].get("text/plain"))
        seconds = time.monotonic() - start
        self.outcomes.append(Outcome(ident, not errors, credit=credit, seconds=seconds, **error))
        return outputs

    def _test(self, tests: Examiner, cell: dict, count: int) -> Outputs:
        line = self.line if self._ready() else None
        seconds = max(0.0, min(self.job.limits.cell_seconds, self._left()))
        before = line.calls_cpu if line else 0.0
        why = f"the submission's code could not be asked: {self.why_none}"
        with self._watched(count, seconds):
            outputs, outcome = tests.run(cell, count, seconds, line, why)
        if line:
            self.calls_cpu += line.calls_cpu - before
            with contextlib.suppress(KernelLost), self._watched(count, self.job.limits.call_seconds):
                self._settle(outputs)
            if line.kernel.lost:
                self._say(f"Code called by the test {outcome.grade_id} was stopped: {line.kernel.lost}.")
                self._let_go()
            elif outcome.error == "SubmissionLost":
                self._say(f"In the test {outcome.grade_id}, {outcome.message}.")
        if outcome.error == "TimeoutError" and seconds and outcome.seconds >= seconds:
            self._say(f"The test {outcome.grade_id} was stopped after {seconds:.3g} s, the time limit of a cell.")
        self.outcomes.append(outcome)
        return outputs

    # --- kernels

    def _left(self) -> float:
        return self.deadline - time.monotonic()

    def _ready(self) -> bool:
        """Have a kernel that has run every cell so far which did not cost one. False when that is over for good."""
        while self.kernel is None and not self.why_none:
            if self._left() <= 0:
                self.why_none = "the time limit of the notebook was reached"
            elif len(self.kernels) >= MAX_KERNELS:
                self.why_none = f"its Python process had to be replaced {MAX_KERNELS - 1} times"
            else:
                self._start_kernel()
            if self.why_none:
                self._say(f"The rest of the notebook was not run: {self.why_none}.")
        if self.kernel is not None and self._left() <= 0:
            self._let_go()
            return self._ready()
        return self.kernel is not None

    def _start_kernel(self) -> None:
        self.kernel = self.station.warm.fork(self.job.limits)
        self.kernels.append(self.kernel)
        self.line = Line(self.kernel, self.job.limits)
        ignored = Outputs(self.job.limits)
        try:
            if files := lay_over(self.job.files, self.job.bundle.files):
                encoder = Encoder()
                message = {"op": "files", "files": encoder.tree(files)}
                self.kernel.request(message, encoder.buffers, self.job.limits.cell_seconds, ignored)
            limit = time.monotonic() + self._left() / _REPLAY_SHARE
            for source, count in self.done:
                seconds = min(self.job.limits.cell_seconds, limit - time.monotonic())
                self.kernel.request({"op": "cell", "source": source, "count": count}, [], max(seconds, 0.01), ignored)
        except KernelLost as lost:
            self._let_go()
            self._say(f"Running the earlier cells once more was stopped: {lost}.")

    def _run(self, source: str, count: int, seconds: float, outputs: Outputs) -> bool:
        """Run a cell of the submission's own; whether it had to be interrupted. Raises KernelLost."""
        message = {"op": "cell", "source": source, "count": count}
        reply, _, interrupted = self.kernel.request(message, [], seconds, outputs)
        cpu = reply.get("cpu")
        self.cells_cpu += cpu if type(cpu) is float and 0 <= cpu < 1e6 else 0.0
        return interrupted

    def _settle(self, outputs: Outputs) -> None:
        seconds = min(self.job.limits.call_seconds, max(self._left(), GRACE_SECONDS))
        self.kernel.settle(seconds, outputs)

    def _let_go(self) -> None:
        self.kernel.close()
        self.kernel = self.line = None

    # --- the record

    def _say(self, sentence: str) -> None:
        if sentence not in self.sentences and len(self.sentences) < 100:
            self.sentences.append(sentence)

    def _usage(self) -> Usage:
        reports = [kernel.report for kernel in self.kernels]
        total = sum(report.cpu for report in reports)
        own = min(self.cells_cpu + self.calls_cpu, total)  # what the kernel says of itself, within what the system says
        share = own / (self.cells_cpu + self.calls_cpu) if own else 0.0
        return Usage(
            cells_cpu=self.cells_cpu * share,
            calls_cpu=self.calls_cpu * share,
            kernel_cpu=total - own + sum(report.supervisor_cpu for report in reports),
            examiner_cpu=own_cpu(),
            peak_memory_mb=max((report.peak for report in reports), default=0) / 2**20,
            kernels=len(self.kernels),
        )


def _limit_in(error: dict) -> Callable[[Limits], str] | None:
    """The limit that an exception speaks of: the system's limits show as exceptions, not as an end."""
    text = f"{error['ename']}: {error['evalue']}"
    return next((name for pattern, name in _LIMIT_ERRORS if pattern in text), None)


def _limit_memory(job: Job) -> None:
    """What a test may allocate beyond what the worker holds: a huge answer must not take the machine down."""
    with contextlib.suppress(OSError, ValueError):
        text = Path("/proc/self/status").read_text()
        data = int(text.partition("VmData:")[2].split()[0]) * 1024
        room = (job.limits.memory_mb + 4 * job.limits.message_mb) * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (data + room, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def main(argv: list[str]) -> Any:
    """`python -m autograder.grading.runner RELEASE SUBMISSION`: run one notebook and print its outcomes."""
    from autograder.grading.job import Bundle

    release, submission = (Path(path).read_text() for path in argv)
    result = run(Job("student", Bundle("lesson", release), submission))
    for outcome in result.outcomes:
        print(f"{'passed' if outcome.passed else 'failed':7} {outcome.grade_id}  {outcome.hint or outcome.message}")
    for sentence in (result.reason, *result.limits_hit):
        print(sentence)
    print(result.usage, result.sandbox, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
