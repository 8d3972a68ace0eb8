"""A foreign nbgrader course, built once for all tests; each test gets a copy of its own."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from foreign import course, fake
from kernels import shell, warm  # noqa: F401 - fixtures

from autograder.grading.grade import grade_class


@pytest.fixture(scope="session")
def foreign_master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released course, with nothing handed in. Not to be changed."""
    return course.build(tmp_path_factory.mktemp("foreign") / "course")


@pytest.fixture(scope="session")
def graded_by_nbgrader(foreign_master: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The honest class as `nbgrader autograde` grades it: what we are compared with. Not to be changed."""
    folder = Path(shutil.copytree(foreign_master, tmp_path_factory.mktemp("stock") / "course"))
    course.hand_in_honest(folder)
    course.nbgrader(folder, "autograde", course.LESSON)
    return folder


@pytest.fixture(scope="session")
def graded_master(foreign_master: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The honest class as we grade it, without a sandbox. Not to be changed."""
    folder = Path(shutil.copytree(foreign_master, tmp_path_factory.mktemp("graded") / "course"))
    course.hand_in_honest(folder)
    grade_class(folder, course.LESSON, run=fake.run)
    return folder


@pytest.fixture
def graded_course(graded_master: Path, tmp_path: Path) -> Path:
    """A copy of the graded class."""
    return Path(shutil.copytree(graded_master, tmp_path / "graded"))


@pytest.fixture
def copy_course(foreign_master: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A function that makes a copy of the course under the name it is given."""

    def copy(name: str = "course") -> Path:
        return Path(shutil.copytree(foreign_master, tmp_path / name))

    return copy


@pytest.fixture
def foreign_course(copy_course: Callable[[str], Path]) -> Path:
    """The course, with the honest class's submissions handed in."""
    folder = copy_course("course")
    course.hand_in_honest(folder)
    return folder
