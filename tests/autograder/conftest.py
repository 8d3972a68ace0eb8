"""A fresh copy of the small course for each test, as its author left it or built."""

import shutil
from pathlib import Path

import pytest
from tiny import NAME, make_course

from autograder.authoring.build import build
from autograder.course import Course


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """A fresh copy of the small course."""
    return make_course(tmp_path)


@pytest.fixture(scope="session")
def built_master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small course, built. Not to be changed."""
    course = make_course(tmp_path_factory.mktemp("built"))
    build(course, NAME)
    return course.root


@pytest.fixture
def built(built_master: Path, tmp_path: Path) -> Course:
    """A fresh copy of the built course."""
    return Course(Path(shutil.copytree(built_master, tmp_path / "built")))
