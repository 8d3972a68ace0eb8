"""The `autograder` command: parse, call, show. What the commands do is in the modules they import."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from autograder.course import Course
from autograder.errors import UserError

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
    table = Table(title=f"{name}: planted answers that behave, of those graded ({' / '.join(settings)})")
    table.add_column("exercise")
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
                counts.append(f"[{'green' if good == len(mine) else 'red'}]{good} of {len(mine)}[/]")
            cells.append(" / ".join(counts))
        table.add_row(exercise, *cells)
    out.print(table)


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
