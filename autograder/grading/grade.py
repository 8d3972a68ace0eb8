"""Grade a class: realign each submission, run it somewhere, record what came of it.

    submissions ──realign──► jobs ──executor──► results ──recorder──► gradebook, autograded notebooks

The middle is plain data in, plain data out, and futures in between: a local process that works on several jobs at a
time, or a Dask cluster. One job more than there are workers is in flight, so memory does not grow with the class.

What a submission does is its own outcome. What goes wrong with the *grader* (a worker that died, an exception in it) is
never a grade: the submissions concerned are tried again at the end, each alone, so that one that kills its worker
cannot take others with it twice. One that fails alone too is quarantined: reported by name, left for the next run.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from autograder.errors import UserError
from autograder.grading.classroom import Course, Lesson, LessonNotebook, open_course
from autograder.grading.job import Bundle, Job, Limits, Mode, Result, SandboxKind
from autograder.grading.prelude import may_give_points
from autograder.grading.record import Finished, InfrastructureFailure, Recorder, result_key, student_files

Run = Callable[[Job], Result]
_DASK_SECONDS = 20  # to wait for a scheduler's answer
_END_SECONDS = 10  # for a worker to end when all is done


@dataclass(frozen=True)
class Progress:
    """Where a run is: for a live line. `total` counts notebooks, as do the others."""

    total: int
    done: int = 0  # have an outcome, `kept` included
    kept: int = 0  # of an earlier run, nothing to do
    running: int = 0
    failed: int = 0  # could not be graded
    seconds: float = 0.0  # since the start
    last: str = ""  # the student whose turn it was last

    @property
    def eta(self) -> float | None:
        """Seconds left at the pace so far; None until something was graded in this run."""
        graded = self.done + self.failed - self.kept
        left = self.total - self.done - self.failed
        return self.seconds / graded * left if graded else None


@dataclass
class StudentReport:
    """One student's scores, by exercise (the graded cell's grade id; "notebook/id" where two notebooks share it)."""

    student: str
    scores: dict[str, float] = field(default_factory=dict)
    by_hand: tuple[str, ...] = ()  # exercises that wait for a human
    hints: dict[str, str] = field(default_factory=dict)  # exercise → what its first failing check said
    repairs: list[str] = field(default_factory=list)
    limits_hit: list[str] = field(default_factory=list)
    cells_cpu: float = 0.0  # seconds of CPU: in the student's own cells
    cpu: float = 0.0  # and all that grading took

    @property
    def total(self) -> float:
        return sum(self.scores.values())


@dataclass
class ClassReport:
    lesson: str
    points: dict[str, float]  # exercise → maximum
    students: dict[str, StudentReport]
    problems: dict[str, str]  # student → why (a part of) the submission could not be graded
    graded: int = 0  # notebooks run now
    kept: int = 0  # notebooks of which a result was there
    seconds: float = 0.0
    sandbox: str = ""  # what held the submissions, as the workers say

    @property
    def exit_code(self) -> int:
        return 1 if self.problems else 0


@dataclass
class _Task:
    """One notebook of one student, on its way."""

    student: str
    notebook: str
    folder: Path
    path: Path
    job: Job
    key: str
    repairs: tuple[str, ...]
    attempt: int = 0
    started: float = 0.0


def grade_class(
    course: Course | Path | str,
    lesson: str,
    *,
    jobs: int | None = None,
    only: Iterable[str] = (),
    fresh: bool = False,
    mode: Mode = "sealed",
    sandbox: SandboxKind = "bwrap",
    limits: Limits | None = None,
    scheduler: str | None = None,
    on_event: Callable[[Progress], None] | None = None,
    run: Run | None = None,
    deadline: float | None = None,
    seed: str | None = None,
) -> ClassReport:
    """Grade all submissions of a lesson, or `only` those of some students; resume whatever an earlier run finished.

    `jobs` processes work at a time (default: one for each core), or the workers of the Dask `scheduler` at that
    address. `fresh` runs everything again. `deadline` is in seconds for the whole run: what is not done by then is a
    problem, and left for the next run. `seed` (default: the environment's COURSE_SEED) makes this class's test numbers
    its own.
    Raises `UserError` for what the user can mend; a submission's faults never raise.
    """
    seed = os.environ.get("COURSE_SEED", "") if seed is None else seed
    limits = limits or Limits()
    with _workers(scheduler, jobs) as workers:
        course = course if isinstance(course, Course) else open_course(course)
        loaded = course.lesson(lesson)
        submissions = _chosen(course.submissions(lesson), only)
        if run is None:
            from autograder.grading.runner import run
        with Recorder(course, loaded) as recorder:
            grading = _Grading(
                course, loaded, recorder, submissions, fresh, mode, sandbox, limits, seed, on_event, deadline
            )
            grading.go(workers, run)
            return grading.report()


def _chosen(submissions: dict[str, Path], only: Iterable[str]) -> dict[str, Path]:
    only = list(only)
    unknown = [student for student in only if student not in submissions]
    if unknown:
        raise UserError(f"No submission of {', '.join(unknown)}: there are {', '.join(list(submissions)[:10])}.")
    return {student: submissions[student] for student in only} if only else submissions


# --- workers ----------------------------------------------------------------------------------------------------------


def _work(run: Run, job: Job) -> Result:
    """What a worker does. An exception of the grader's own comes back as data; a `UserError` ends the whole run."""
    try:
        return run(job)
    except UserError:
        raise
    except Exception as error:
        reason = f"the grader failed: {type(error).__name__}: {error}"
        return Result(student=job.student, lesson=job.bundle.lesson, status="failed", reason=reason[:500])


def _serve(line: Connection, slots: int) -> None:
    """What a local worker does: jobs come over the line, `slots` run at a time, results go back as they are ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: do not outlive the parent
    if os.getppid() == 1:  # it was gone before we asked
        os._exit(1)
    answering = threading.Lock()

    def work(number: int, run: Run, job: Job) -> None:
        try:
            answer = _work(run, job)
        except UserError as error:
            answer = error
        except BaseException as error:
            answer = BrokenExecutor(repr(error))
        with answering:
            line.send((number, answer))

    with ThreadPoolExecutor(slots) as pool, contextlib.suppress(EOFError):
        while order := line.recv():
            pool.submit(work, *order)


class _Local:
    """A process of this machine that runs several jobs at a time and warms up once for all of them."""

    def __init__(self, jobs: int | None):
        self.slots = jobs or _cores()
        self._process: BaseProcess | None = None
        self._used = False
        self._numbers = itertools.count()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self.slots), daemon=True)
        self._process.start()
        theirs.close()
        self._waiting: dict[int, Future[Result]] = {}
        self._listener = threading.Thread(target=_listen, args=(self._line, self._waiting), daemon=True)
        self._listener.start()

    def submit(self, run: Run, job: Job, key: str) -> Future[Result]:
        if self._process is None:
            self._start()
        self._used, number, future = True, next(self._numbers), Future()
        future.set_running_or_notify_cancel()
        self._waiting[number] = future
        self._line.send((number, run, job))
        return future

    def restart(self) -> None:
        """Kill the worker, whatever it does; the next `submit` starts another."""
        self._end(kill=True)

    def _end(self, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if not kill:
            with contextlib.suppress(OSError):
                self._line.send(None)
            process.join(_END_SECONDS)
        process.kill()
        process.join()
        self._listener.join(_END_SECONDS)
        self._line.close()

    def __enter__(self) -> _Local:
        self._start()  # it gets ready while the course is read
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._end(kill=kind is not None or not self._used)


def _listen(line: Connection, waiting: dict[int, Future[Result]]) -> None:
    """Hand each answer to the one who waits for it; when the worker is gone, say so to all who are left."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            number, answer = line.recv()
            future = waiting.pop(number)
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
    for future in list(waiting.values()):
        future.set_exception(BrokenExecutor("the worker has gone"))


class _Dask:
    """A Dask cluster. Every submission is a task of its own that Dask neither merges with another nor repeats."""

    def __init__(self, address: str):
        try:
            from distributed import Client
        except ImportError:
            raise UserError("--scheduler needs Dask: pip install 'attention-to-alignment[cluster]'") from None
        try:
            self._client = Client(address, timeout=_DASK_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UserError(f"No Dask scheduler answers at {address} ({error}).") from error
        except TypeError as error:  # what it says when TLS is asked for and there are no certificates
            raise UserError(
                f"{address} needs certificates: name them in Dask's configuration (docs/teaching.md, More machines)."
            ) from error
        if not self._client.ncores():
            self._client.close()
            raise UserError(f"The Dask scheduler at {address} has no workers: start some with `dask worker {address}`.")
        self._pool = self._client.get_executor(pure=False, retries=0)

    @property
    def slots(self) -> int:
        return max(1, sum(self._client.ncores().values()))

    def submit(self, run: Run, job: Job, key: str) -> Future[Result]:
        return self._pool.submit(_work, run, job, key=f"grade-{key}")

    def restart(self) -> None:
        """Nothing to do: Dask's nannies restart workers that died."""

    def __enter__(self) -> _Dask:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


Workers = _Local | _Dask


def _workers(scheduler: str | None, jobs: int | None) -> Workers:
    if jobs is not None and jobs < 1:
        raise UserError("--jobs must be at least 1.")
    return _Dask(scheduler) if scheduler else _Local(jobs)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


# --- one run ----------------------------------------------------------------------------------------------------------


class _Grading:
    """The state of one run of `grade_class`."""

    def __init__(
        self,
        course: Course,
        lesson: Lesson,
        recorder: Recorder,
        submissions: dict[str, Path],
        fresh: bool,
        mode: Mode,
        sandbox: SandboxKind,
        limits: Limits,
        seed: str,
        on_event: Callable[[Progress], None] | None,
        deadline: float | None,
    ):
        self.course, self.lesson, self.recorder, self.submissions = course, lesson, recorder, submissions
        self.fresh, self.mode, self.sandbox, self.limits, self.seed = fresh, mode, sandbox, limits, seed
        self.on_event = on_event
        self.start = time.monotonic()
        self.until = None if deadline is None else self.start + deadline
        self.bundles = {name: _bundle(lesson, name) for name in lesson.notebooks}
        self.names = _exercise_names(lesson)
        self.students = {student: StudentReport(student) for student in submissions}
        self.problems: dict[str, list[str]] = {}
        self.total = len(submissions) * len(lesson.notebooks)
        self.done = self.kept = self.failed = self.graded = 0
        self.hopeless = 0  # failures of the grader itself while nothing has been graded yet
        self.last_reason = ""
        self.over = ""  # why the run was given up
        self.held_by = ""
        self.running: dict[Future[Result], _Task] = {}
        self.suspects: deque[_Task] = deque()

    # --- what there is to do

    def tasks(self) -> Iterator[_Task]:
        """Each notebook that has to be run, made ready one at a time; the others are dealt with on the way.

        All of one notebook come before any of the next: a worker keeps what it has warmed up for a notebook.
        """
        found: dict[str, dict[str, Path | None]] = {}
        for name in self.lesson.notebooks:
            for student, folder in self.submissions.items():
                if student not in found:
                    found[student] = self.arrive(student, folder)
                if path := found[student].get(name):
                    task = self.prepare(student, name, folder, path)
                    if task:
                        yield task

    def arrive(self, student: str, folder: Path) -> dict[str, Path | None]:
        """Register a submission; where its notebooks are. Empty if it cannot be graded at all."""
        found = {name: _find(folder, name, self.lesson) for name in self.lesson.notebooks}
        missing = [name for name, path in found.items() if path is None]
        try:
            if len(missing) == len(found):
                raise _NotGraded("handed in no notebook (.ipynb)")
            self.recorder.register(student, folder, missing)
        except (_NotGraded, InfrastructureFailure, UserError) as error:
            self.fail(student, str(error), len(found))
            return {}
        self.done += len(missing)
        self.students[student].repairs += [f"The notebook {name}.ipynb was not handed in." for name in missing]
        return found

    def prepare(self, student: str, name: str, folder: Path, path: Path) -> _Task | None:
        """Realign a submission and make its job; None if it is unreadable, or if its result is there already."""
        from autograder.grading.realign import Unreadable, read_submission, realign

        repairs = [] if path == folder / f"{name}.ipynb" else [f"The notebook was found as {path.name!r}."]
        try:
            submitted = read_submission(path)
            files, left_out = student_files(folder, self.course.coursedir.ignore)
            job = Job(student, self.bundles[name], "", files, self.seed, self.limits, self.mode, self.sandbox)
            key = result_key(submitted, job)
            if not self.fresh and (finished := self.recorder.store.load(self.lesson.name, student, name, key)):
                self.keep(finished, folder)
                return None
            if self.over:
                raise _NotGraded(f"{name}.ipynb was not graded: {self.over}")
            realigned = realign(submitted, self.lesson.notebooks[name].release)
            notebook = self.course.sanitise(realigned.notebook, student, self.lesson.name, name)
        except Unreadable as error:
            self.fail(student, f"{path.name} is unreadable: {error.reason}")
            return None
        except _NotGraded as error:
            self.fail(student, str(error))
            return None
        except OSError as error:
            self.fail(student, f"{path.name} cannot be read: {error.strerror}")
            return None
        text = _with_hidden_tests(notebook, self.lesson.notebooks[name].master)
        job = Job(student, self.bundles[name], text, files, self.seed, self.limits, self.mode, self.sandbox)
        return _Task(student, name, folder, path, job, key, tuple(repairs + realigned.repairs + left_out))

    def keep(self, finished: Finished, folder: Path) -> None:
        """A result of an earlier run: record it, unless that was done too."""
        try:
            if not self.recorder.is_recorded(finished, folder):
                self.recorder.record(finished, folder)
        except UserError:
            raise
        except Exception as error:
            self.fail(finished.student, f"{finished.notebook}.ipynb {_why_not_recorded(error)}")
            return
        self.kept += 1
        self.finish(finished)

    # --- doing it

    def go(self, workers: Workers, run: Run) -> None:
        """Keep the workers busy until there is nothing left, or no sense in going on."""
        source = self.tasks()
        exhausted = False
        self.tell()
        while True:
            if self.late():
                return self.give_up(workers, source, "the deadline passed")
            if self.hopeless >= max(8, 2 * workers.slots):
                return self.give_up(workers, source, f"the grader fails on every submission ({self.last_reason})")
            while not exhausted and len(self.running) < workers.slots + 1:
                task = next(source, None)
                exhausted = task is None
                if task:
                    self.send(workers, run, task)
            if exhausted and not self.running and self.suspects:
                self.send(workers, run, self.suspects.popleft())  # alone
            if self.running:
                self.collect(workers)
            elif exhausted:
                return None

    def send(self, workers: Workers, run: Run, task: _Task) -> None:
        task.attempt += 1
        task.started = time.monotonic()
        try:
            future = workers.submit(run, task.job, f"{task.key}-{task.attempt}-{os.getpid()}-{time.time_ns()}")
        except Exception as error:  # the pool broke between two submissions
            workers.restart()
            future = Future()
            future.set_exception(error)
        self.running[future] = task
        self.tell(task.student)

    def collect(self, workers: Workers) -> None:
        """Wait for something to finish, and deal with it."""
        finished, _ = wait(self.running, timeout=1.0, return_when=FIRST_COMPLETED)
        broken = False
        for future in finished:
            task = self.running.pop(future)
            try:
                result = future.result()
            except UserError:
                raise
            except Exception as error:
                broken = True
                self.retry(task, f"a worker of the grader died ({type(error).__name__})")
            else:
                if result.status == "done":
                    self.record(task, result)
                else:
                    self.retry(task, result.reason or "the grader failed")
        hung = [f for f, task in self.running.items() if time.monotonic() - task.started > self.patience()]
        if broken or hung:
            # All that shared the pool with it are suspects: each is tried alone.
            if isinstance(workers, _Local):
                workers.restart()
                concerned = list(self.running)
            else:
                concerned = hung
            for future in concerned:
                self.retry(self.running.pop(future), "a worker of the grader died or hung")
                future.cancel()
        self.tell()

    def patience(self) -> float:
        """Seconds after which a worker that has not answered is taken for hung: the runner's own limit comes first."""
        return 2 * self.limits.notebook_seconds + 120

    def retry(self, task: _Task, reason: str) -> None:
        """Once more, alone, when all the others are through; after that it is a problem to report."""
        self.last_reason = reason
        self.hopeless += not self.graded
        if task.attempt < 2:
            self.suspects.append(task)
        else:
            self.fail(task.student, f"{task.notebook}.ipynb: {reason}, twice; nothing was recorded")

    def record(self, task: _Task, result: Result) -> None:
        finished = Finished(task.key, task.student, self.lesson.name, task.notebook, result, task.repairs)
        try:
            self.recorder.save(finished)
            self.recorder.record(finished, task.folder)
        except UserError:
            raise
        except Exception as error:
            self.fail(task.student, f"{task.notebook}.ipynb was graded, but {_why_not_recorded(error)}")
            return
        self.graded += 1
        self.finish(finished)

    def finish(self, finished: Finished) -> None:
        """Count an outcome, and keep of it what the report needs."""
        self.done += 1
        result, report = finished.result, self.students[finished.student]
        for outcome in result.outcomes:
            name = self.names.get((finished.notebook, outcome.grade_id))
            if name and not outcome.passed:
                report.hints[name] = (
                    first_line(outcome.hint) or first_line(outcome.message) or first_line(outcome.error)
                )
        report.repairs += finished.repairs
        report.limits_hit += result.limits_hit
        report.cells_cpu += result.usage.cells_cpu
        report.cpu += result.usage.cpu
        self.held_by = result.sandbox or self.held_by
        self.tell(finished.student)

    def fail(self, student: str, reason: str, notebooks: int = 1) -> None:
        self.problems.setdefault(student, []).append(first_line(reason))
        self.failed += notebooks
        self.tell(student)

    def late(self) -> bool:
        return self.until is not None and time.monotonic() >= self.until

    def give_up(self, workers: Workers, source: Iterator[_Task], reason: str) -> None:
        """What is not done is reported, and left for the next run."""
        left = [*self.running.values(), *self.suspects]
        for future in self.running:
            future.cancel()
        self.running.clear()
        self.suspects.clear()
        workers.restart()
        self.over = reason
        for task in [*left, *source]:
            self.fail(task.student, f"{task.notebook}.ipynb was not graded: {reason}")

    def tell(self, student: str = "") -> None:
        if self.on_event:
            seconds = time.monotonic() - self.start
            running = min(len(self.running), self.total)
            self.on_event(Progress(self.total, self.done, self.kept, running, self.failed, seconds, student))

    def report(self) -> ClassReport:
        """What the gradebook says now, of the students of this run."""
        by_hand: dict[str, list[str]] = {}
        for row in self.course.grades(self.lesson.name):
            name = self.names.get((row.notebook, row.cell))
            if name and row.student in self.students:
                self.students[row.student].scores[name] = row.score
                if row.needs_manual_grade or (row.auto_score is None and row.student not in self.problems):
                    by_hand.setdefault(row.student, []).append(name)
        points = {self.names[n, c]: p for n, nb in self.lesson.notebooks.items() for c, p in nb.points.items()}
        for student, report in self.students.items():
            report.scores = {name: report.scores[name] for name in points if name in report.scores}
            report.hints = {name: report.hints[name] for name in points if name in report.hints}
            report.by_hand = tuple(name for name in points if name in by_hand.get(student, ()))
        return ClassReport(
            self.lesson.name,
            points,
            self.students,
            {student: "; ".join(reasons) for student, reasons in self.problems.items()},
            self.graded,
            self.kept,
            time.monotonic() - self.start,
            self.held_by,
        )


def _why_not_recorded(error: Exception) -> str:
    """What is no failure of disk or database is a mistake of ours: it costs one submission, not the class."""
    if isinstance(error, InfrastructureFailure):
        return str(error)
    return f"could not be recorded: {type(error).__name__}: {first_line(str(error))[:300]}"


class _NotGraded(Exception):
    """A submission that cannot be graded at all, and why."""


def _find(folder: Path, name: str, lesson: Lesson) -> Path | None:
    from autograder.grading.realign import find_notebook

    return find_notebook(folder, name, lesson.notebooks)


def _bundle(lesson: Lesson, name: str) -> Bundle:
    import nbformat

    notebook = lesson.notebooks[name]
    release = nbformat.writes(notebook.master)
    solution = _solved(notebook) if any(map(may_give_points, notebook.master.cells)) else ""
    return Bundle(lesson.name, release, lesson.files, env={"NBGRADER_EXECUTION": "autograde"}, solution=solution)


def _solved(notebook: LessonNotebook) -> str:
    """JSON of the instructor's solution with the tests as they are graded; empty where there is none."""
    import nbformat

    if notebook.solution is None:
        return ""
    cells = [cell for cell in notebook.solution.cells if cell.cell_type == "code"]
    plain = [{"cell_type": "code", "metadata": cell.metadata, "source": cell.source} for cell in cells]
    solved = nbformat.from_dict({"cells": plain, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    return _with_hidden_tests(solved, notebook.master)


def _with_hidden_tests(notebook: Any, master: Any) -> str:
    """JSON of a realigned notebook with the tests and checksums of the master: what nbgrader's OverwriteCells does."""
    masters = {c.metadata.nbgrader.grade_id: c for c in master.cells if "grade_id" in c.metadata.get("nbgrader", {})}
    for cell in notebook.cells:
        if released := masters.get(cell.metadata.get("nbgrader", {}).get("grade_id")):
            cell.metadata.nbgrader.checksum = released.metadata.nbgrader.checksum
            if not cell.metadata.nbgrader.solution:
                cell.source = released.source
    return json.dumps(notebook)


def _exercise_names(lesson: Lesson) -> dict[tuple[str, str], str]:
    """(notebook, grade id) → the exercise's name in tables: the grade id, with its notebook where two share it."""
    seen: dict[str, int] = {}
    for notebook in lesson.notebooks.values():
        for grade_id in notebook.points:
            seen[grade_id] = seen.get(grade_id, 0) + 1
    return {
        (notebook.name, grade_id): grade_id if seen[grade_id] == 1 else f"{notebook.name}/{grade_id}"
        for notebook in lesson.notebooks.values()
        for grade_id in notebook.points
    }


def first_line(text: str) -> str:
    """The first line that is not empty, without characters that a terminal would obey."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return "".join(letter if letter.isprintable() else "?" for letter in line)
