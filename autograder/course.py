"""Where things are: the course's folders and its lessons."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from autograder.errors import UserError

LESSON_NAME = re.compile(r"\d\d_[a-z0-9_]+")


@dataclass(frozen=True)
class Course:
    """A checkout of this repository, known by its ``nbgrader_config.py`` beside ``solutions/``."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Course:
        """The course that holds `start` (default: the working folder).

        Raises: UserError where there is none.
        """
        start = (start or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            if (folder / "nbgrader_config.py").is_file() and (folder / "solutions").is_dir():
                return cls(folder)
        raise UserError(f"no course here: {start} is not inside a folder with nbgrader_config.py and solutions/")

    @property
    def lessons(self) -> list[str]:
        """The names of all lessons, in order, such as ``["04_self_attention"]``."""
        sources = (self.root / "solutions").glob("*/*.py")
        return sorted(p.stem for p in sources if p.stem == p.parent.name and LESSON_NAME.fullmatch(p.stem))

    def choose(self, names: list[str] | None) -> list[str]:
        """The lessons that `names` mean: full names, numbers or slugs; all lessons where `names` is empty.

        Raises: UserError that lists the lessons there are.
        """
        chosen = []
        for name in names or self.lessons:
            matches = [lesson for lesson in self.lessons if name in (lesson, lesson[:2], lesson[3:])]
            if not matches:
                there_are = ", ".join(self.lessons) or "none yet"
                raise UserError(f"no lesson {name!r}; the lessons are: {there_are}")
            chosen += matches
        return chosen

    def source(self, lesson: str) -> Path:
        """The file the lesson is written in."""
        return self.root / "solutions" / lesson / f"{lesson}.py"

    def solution(self, lesson: str) -> Path:
        """The executed notebook."""
        return self.root / "solutions" / lesson / f"{lesson}.ipynb"

    def answers(self, lesson: str) -> Path:
        """The planted answers."""
        return self.root / "solutions" / lesson / "answers.py"

    def student(self, lesson: str) -> Path:
        """The student's notebook."""
        return self.root / "notebooks" / lesson / f"{lesson}.ipynb"

    @property
    def classroom(self) -> Path:
        """The git-ignored folder with submissions, gradebook and feedback."""
        return self.root / "class"

    @property
    def project(self) -> dict:
        """The ``[project]`` table of ``pyproject.toml``: version, repository address."""
        return tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
