"""Publish the tree that students get: notebooks and what they need to run, nothing that gives an answer away."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import nbformat

from autograder.authoring.build import check, load
from autograder.authoring.lesson import BEGIN_HIDDEN, BEGIN_SOLUTION, END_HIDDEN, END_SOLUTION
from autograder.course import Course
from autograder.errors import UserError

FILES = ("environment.yml", "constraints.txt", "pyproject.toml", "LICENSE", "LICENSE-TEXT")
README = Path(__file__).with_name("student_readme.md")


def publish(course: Course, target: Path) -> list[Path]:
    """Write the student tree to the new or empty folder `target`; returns the files, relative to it.

    Raises: UserError where `target` holds anything, a notebook is not up to date, or something secret would get out.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is not an empty folder: name a new one")
    if stale := [line for lesson in course.lessons for line in check(course, lesson)]:
        raise UserError(f"not published: {stale[0]}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        tree = Path(scratch) / "tree"
        for lesson in course.lessons:
            _copy(course.student(lesson), tree / course.student(lesson).relative_to(course.root))
        for module in sorted((course.root / "utils").rglob("*")):
            if module.is_file() and "__pycache__" not in module.parts:
                _copy(module, tree / module.relative_to(course.root))
        for name in FILES:
            _copy(course.root / name, tree / name)
        # Students install the helpers alone; the instructor's package stays with the instructor.
        project = (tree / "pyproject.toml").read_text(encoding="utf-8")
        packages = [p.relative_to(course.root).as_posix().replace("/", ".") for p in _packages(course.root / "utils")]
        (tree / "pyproject.toml").write_text(_student_project(project, packages), encoding="utf-8")
        _copy(README, tree / "README.md")
        _refuse_secrets(course, tree)
        if target.exists():
            target.rmdir()
        shutil.move(tree, target)
    return sorted(path.relative_to(target) for path in target.rglob("*") if path.is_file())


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)


def _packages(folder: Path) -> list[Path]:
    return sorted(init.parent for init in folder.rglob("__init__.py"))


def _student_project(text: str, packages: list[str]) -> str:
    """`pyproject.toml` without the instructor's command, kernel and packages."""
    lines, skip = [], False
    for line in text.splitlines():
        if line.startswith("["):
            skip = line.startswith(("[project.scripts]", "[project.entry-points"))
        if not skip:
            lines.append(f"packages = {packages!r}" if line.startswith("packages = ") else line)
    return "\n".join(lines) + "\n"


def _refuse_secrets(course: Course, tree: Path) -> None:
    """Look for the solutions' own lines in everything about to be published."""
    secrets = {
        line.strip()
        for name in course.lessons
        for cell in load(course, name).cells
        for region in ((BEGIN_SOLUTION, END_SOLUTION), (BEGIN_HIDDEN, END_HIDDEN))
        for line in cell.region(*region)
        if len(line.strip()) > 40
    }
    for path in tree.rglob("*"):
        if path.name == "answers.py":
            raise UserError(f"not published: {path.relative_to(tree)} holds planted answers")
        if path.suffix == ".ipynb":
            text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        elif path.is_file():
            text = path.read_text(encoding="utf-8")
        else:
            continue
        for secret in secrets:
            if secret in text:
                raise UserError(f"not published: {path.relative_to(tree)} holds a solution or hidden test: {secret!r}")
