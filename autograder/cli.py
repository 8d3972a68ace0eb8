"""The `autograder` command: parse, call, show. What the commands do is in the modules they import."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from autograder.course import Course
from autograder.errors import UserError

if TYPE_CHECKING:
    from autograder.grading.grade import ClassReport

T = TypeVar("T")

app = typer.Typer(
    help="Build the lessons of this course, audit their tests, grade a class.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Lessons = Annotated[list[str] | None, typer.Argument(help="Names, numbers or slugs; all lessons where none is given.")]


@app.command()
def build(
    lessons: Lessons = None,
    scale: Annotated[str, typer.Option(help="Scale at which solutions are executed: smoke, cpu or gpu.")] = "cpu",
    force: Annotated[bool, typer.Option(help="Execute solutions even where their source did not change.")] = False,
) -> None:
    """Build the student notebook and the executed solution of each lesson."""
    from autograder.authoring.build import build as build_lesson

    if scale not in ("smoke", "cpu", "gpu"):
        raise UserError(f"no scale {scale!r}: choose smoke, cpu or gpu")
    course = Course.find()
    for name in course.choose(lessons):
        with _progress() as progress:
            bar = progress.add_task(name, total=None)
            built = build_lesson(
                course,
                name,
                scale=scale,
                force=force,
                on_cell=lambda done, total, bar=bar, progress=progress: progress.update(
                    bar, completed=done, total=total
                ),
            )
        how = f"executed at {scale} scale" if built.executed else "solution up to date"
        changed = ", ".join(str(path.relative_to(course.root)) for path in built.changed) or "nothing"
        out.print(f"[green]✓[/] {name}: {how}; wrote {changed}")


@app.command()
def check(lessons: Lessons = None) -> None:
    """Fail when a committed notebook is not what its source builds."""
    from autograder.authoring.build import check as check_lesson

    course = Course.find()
    names = course.choose(lessons)
    stale = [line for name in names for line in check_lesson(course, name)]
    if stale:
        raise UserError("\n".join(stale), exit_code=1)
    out.print(f"[green]✓[/] {len(names)} lesson{'s' * (len(names) != 1)}: every notebook is what its source builds")


@app.command()
def audit(lessons: Lessons = None) -> None:
    """Grade every planted answer: wrong ones must lose their points with their own words, right ones keep them."""
    from autograder.authoring import audit as auditing

    course = Course.find()
    problems = 0
    for name in course.choose(lessons):
        with _progress() as progress:
            bar = progress.add_task(f"audit {name}", total=None)
            findings = auditing.audit(
                course,
                name,
                auditing.settings(),
                on_finding=lambda finding, bar=bar, progress=progress: progress.advance(bar),
            )
        _show_audit(name, findings)
        problems += sum(bool(finding.problem) for finding in findings)
        for finding in findings:
            if finding.problem:
                where = f"{course.answers(name).relative_to(course.root)}:{finding.variant.line}: "
                what = f"{finding.variant.exercise}: an answer that {finding.variant.why}"
                err.print(
                    f"[red]✗[/] {where if finding.variant.line else ''}{what} [{finding.setting}] {finding.problem}",
                    markup=True,
                )
    if problems:
        raise UserError(f"{problems} planted answer{'s do' if problems != 1 else ' does'} not behave", exit_code=1)


def _show_audit(name: str, findings: list) -> None:
    kinds = ("solution", "wrong", "right", "generic")
    settings = sorted({finding.setting for finding in findings})
    table = Table(title=f"{name}: planted answers that behave, of those graded: {', '.join(settings)}")
    table.add_column("exercise", no_wrap=True)
    for kind in kinds:
        table.add_column(kind, justify="right")
    for exercise in dict.fromkeys(finding.variant.exercise for finding in findings):
        cells = []
        for kind in kinds:
            counts = []
            for setting in settings:
                mine = [
                    f for f in findings if (f.variant.exercise, f.variant.kind, f.setting) == (exercise, kind, setting)
                ]
                good = sum(not f.problem for f in mine)
                counts.append(f"[{'green' if good == len(mine) else 'red'}]{good}/{len(mine)}[/]")
            cells.append("  ".join(counts))
        table.add_row(exercise, *cells)
    out.print(table)


@app.command()
def grade(
    lesson: Annotated[str, typer.Argument(help="The lesson's name; in this course its number or slug will do.")],
    course: Annotated[Path | None, typer.Option(help="An nbgrader course; default: this repository.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Submissions at a time; default: one for each core.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler to grade on.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Grade this student alone; may be repeated.")] = None,
    fresh: Annotated[bool, typer.Option(help="Run again what has a result already.")] = False,
    classic: Annotated[bool, typer.Option(help="Run test cells in the student's kernel, as nbgrader does.")] = False,
    sandbox: Annotated[str, typer.Option(help="bwrap, or none: student code then runs with your rights.")] = "bwrap",
    timeout: Annotated[float | None, typer.Option(help="Seconds for one cell.")] = None,
    memory: Annotated[int | None, typer.Option(help="MB for one submission.")] = None,
) -> None:
    """Grade the submissions of a lesson; resume what an earlier run left."""
    from autograder.grading.grade import grade_class
    from autograder.grading.job import Limits

    if sandbox not in ("bwrap", "none"):
        raise UserError(f"no sandbox {sandbox!r}: choose bwrap or none")
    if (timeout is not None and timeout <= 0) or (memory is not None and memory <= 0):
        raise UserError("--timeout and --memory must be above 0")
    if sandbox == "none":
        err.print("[yellow]no sandbox: student code runs with your rights and can read and change your files[/]")
    root, name = (course, lesson) if course else _own(lesson)
    chosen = {"cell_seconds": timeout, "memory_mb": memory}
    report = _graded(
        lambda on_event: grade_class(
            root,
            name,
            jobs=jobs,
            scheduler=scheduler,
            only=only or (),
            fresh=fresh,
            mode="classic" if classic else "sealed",
            sandbox=sandbox,
            limits=Limits(**{key: value for key, value in chosen.items() if value is not None}),
            on_event=on_event,
        )
    )
    _show_class(report)
    sys.exit(report.exit_code)


def _own(lesson: str) -> tuple[Path, str]:
    course = Course.find()
    return course.root, course.choose([lesson])[0]


def _graded(grade_with: Callable[[Callable], T]) -> T:
    """Run a grading under a live line: done, running, failed, time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        bar = progress.add_task("grading", total=None, state="")

        def show(event) -> None:
            eta = "" if event.eta is None else f", about {event.eta:.0f} s left"
            failed = f", {event.failed} failed" if event.failed else ""
            state = f"{event.running} running{failed}{eta}"
            progress.update(bar, completed=event.done + event.failed, total=event.total, state=state)

        return grade_with(show)


def _show_class(report: ClassReport) -> None:
    """The closing table: points by exercise, total, the first hint; below it what could not be graded."""
    width = [max(len(f"{points:g}"), len(str(number))) for number, points in enumerate(report.points.values(), 1)]

    def row(values) -> str:
        return " ".join(f"{value:>{w}}" for value, w in zip(values, width, strict=True))

    table = Table(title=f"{report.lesson}: {report.graded} graded, {report.kept} kept, in {report.seconds:.1f} s")
    table.add_column("student", no_wrap=True)
    numbers = range(1, len(width) + 1)
    table.add_column(
        f"exercise {row(numbers)}\n   of     {row(f'{p:g}' for p in report.points.values())}", no_wrap=True
    )
    table.add_column(f"total\n{sum(report.points.values()):g}", justify="right", no_wrap=True)
    table.add_column("first hint", overflow="fold")
    for student in report.students.values():
        if student.student not in report.problems:
            scores = ("?" if e in student.by_hand else f"{student.scores.get(e, 0):g}" for e in report.points)
            hint = next((f"{escape(_short(name))}: {escape(text)}" for name, text in student.hints.items()), "")
            table.add_row(escape(student.student), f"         {row(scores)}", f"{student.total:g}", hint)
    out.print(table)
    names = ", ".join(f"{number} {escape(_short(name))}" for number, name in enumerate(report.points, 1))
    out.print(f"exercises: {names}", style="dim")
    if report.sandbox:
        out.print(f"held by: {report.sandbox}", style="dim")
    for student, reason in report.problems.items():
        err.print(f"[red]✗[/] {escape(student)} could not be graded: {escape(reason)}")


def _short(grade_id: str) -> str:
    return grade_id.removeprefix("test_")


@app.command()
def feedback(
    lesson: Annotated[str, typer.Argument(help="The lesson's name; in this course its number or slug will do.")],
    course: Annotated[Path | None, typer.Option(help="An nbgrader course; default: this repository.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="This student alone; may be repeated.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes that share the work.")] = 1,
) -> None:
    """Write a safe feedback page for each graded submission."""
    from autograder.grading.feedback import write_feedback

    root, name = (course, lesson) if course else _own(lesson)
    pages = write_feedback(root, name, only=only or (), jobs=jobs)
    out.print(f"[green]✓[/] {len(pages)} pages" + (f", the first: {pages[0]}" if pages else ""))


@app.command()
def export(
    lesson: Annotated[str | None, typer.Argument(help="One lesson; default: all.")] = None,
    to: Annotated[str, typer.Option(help="csv, canvas or moodle.")] = "csv",
    by_exercise: Annotated[bool, typer.Option(help="A column for each exercise, also for canvas and moodle.")] = False,
    course: Annotated[Path | None, typer.Option(help="An nbgrader course; default: this repository.")] = None,
) -> None:
    """Write the grades to files that a spreadsheet, Canvas or Moodle reads."""
    from autograder.grading.export import export as export_grades

    if to not in ("csv", "canvas", "moodle"):
        raise UserError(f"no format {to!r}: choose csv, canvas or moodle")
    if course:
        root, name = course, lesson
    else:
        root, name = _own(lesson) if lesson else (Course.find().root, None)
    for path in export_grades(root, to, name, by_exercise=by_exercise):
        out.print(f"[green]✓[/] {path}")


@app.command()
def kernel() -> None:
    """Install the sandbox as a Jupyter kernel, so that nbgrader's own commands can use it, too."""
    from autograder.grading.provisioner import KERNEL_NAME, install_kernelspec

    folder = install_kernelspec()
    out.print(f"[green]✓[/] {folder}")
    out.print(f"for nbgrader: nbgrader autograde LESSON --Execute.kernel_name={KERNEL_NAME}", markup=False)


@app.command()
def demo(lesson: Annotated[str, typer.Argument(help="The lesson to show.")] = "04_self_attention") -> None:
    """Build a lesson, grade a sample class of every kind of submission, show the result and say where it is."""
    from autograder import demo as demonstration

    course = Course.find()
    (name,) = course.choose([lesson])
    build([name])
    folder = course.root / "build" / "demo"
    samples = demonstration.prepare(course, name, folder)
    out.print(f"[green]✓[/] a sample class of {len(samples)} in {folder.relative_to(course.root)}/class/submitted")
    report, places = _graded(lambda on_event: demonstration.grade(folder, name, on_event))
    for sample in samples:
        out.print(f"  {sample.student:<14} {escape(sample.what)}", style="dim")
    _show_class(report)
    for what, path in places.items():
        out.print(f"[green]✓[/] {what}: {path.relative_to(course.root)}")


@app.command()
def doctor() -> None:
    """Say what works on this machine and how to mend what does not."""
    from autograder.doctor import examine

    marks = {"ok": "[green]✓[/]", "note": "[yellow]–[/]", "broken": "[red]✗[/]"}
    table = Table("", "what", "found", "how to mend it", box=None)
    broken = []
    for diagnosis in examine(Course.find()):
        table.add_row(marks[diagnosis.state], diagnosis.what, diagnosis.found, diagnosis.remedy)
        if diagnosis.state == "broken":
            broken.append(diagnosis.what)
    out.print(table)
    if broken:
        raise UserError(f"broken: {', '.join(broken)}", exit_code=1)


@app.command()
def publish(directory: Annotated[Path, typer.Argument(help="A new or empty folder.")]) -> None:
    """Write the tree that students get: no solutions, no hidden tests, no planted answers."""
    from autograder.authoring.publish import publish as publish_tree

    files = publish_tree(Course.find(), directory)
    out.print(f"[green]✓[/] {len(files)} files in {directory}")


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def main() -> None:
    """Run the command line; an ordinary mistake is one line on stderr, never a traceback."""
    from autograder.authoring.lesson import LessonError

    logging.getLogger("traitlets").setLevel(logging.ERROR)
    try:
        app()
    except UserError as error:
        err.print(f"autograder: {error}", markup=False, style="red")
        sys.exit(error.exit_code)
    except LessonError as error:
        err.print(f"autograder: the lesson has mistakes; nothing was written\n{error}", markup=False, style="red")
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("autograder: interrupted")
        sys.exit(130)
