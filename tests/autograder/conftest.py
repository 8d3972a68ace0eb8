"""A fresh copy of the small course for each test."""

from pathlib import Path

import pytest
from tiny import make_course

from autograder.course import Course


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """A fresh copy of the small course."""
    return make_course(tmp_path)
