"""A small nbgrader course that knows nothing of this repository: built by code, released by stock nbgrader.

Two notebooks with every kind of nbgrader cell: plain asserts, hidden tests, partial credit (`execute_result`), an
answer and a task graded by hand, a test that reads a data file, numpy.
"""

import json
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

from nbformat import NotebookNode, read, write, writes
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

LESSON = "ps1"
NOTEBOOKS = ("problem1", "problem2")
MAX_SCORE = {"test_squares": 2.0, "test_unit": 4.0, "test_load": 1.0, "why": 3.0, "sketch": 2.0, "task_plot": 1.0}


def _marks(grade_id: str, **flags: object) -> dict:
    base = {"grade": False, "solution": False, "locked": False, "task": False, "schema_version": 3}
    return {"nbgrader": {**base, "grade_id": grade_id, **flags}}


def _answer(grade_id: str, source: str, **flags: object) -> NotebookNode:
    return new_code_cell(source, metadata=_marks(grade_id, solution=True, **flags))


def _test(grade_id: str, source: str) -> NotebookNode:
    return new_code_cell(source, metadata=_marks(grade_id, grade=True, locked=True, points=MAX_SCORE[grade_id]))


def _notebook(cells: list[NotebookNode]) -> NotebookNode:
    for number, cell in enumerate(cells):
        cell.id = cell.metadata.get("nbgrader", {}).get("grade_id", f"plain-{number}")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def source_notebooks() -> dict[str, NotebookNode]:
    """The instructor's notebooks, with solutions and hidden tests."""
    problem1 = [
        new_markdown_cell("# Problem set 1\nFill in the cells.", metadata=_marks("intro", locked=True)),
        new_code_cell("import numpy as np", metadata=_marks("imports", locked=True)),
        new_markdown_cell("## Squares"),
        _answer(
            "squares",
            "def squares(n):\n    '''The first n squares, from 1.'''\n"
            "    ### BEGIN SOLUTION\n    return [i ** 2 for i in range(1, n + 1)]\n    ### END SOLUTION",
        ),
        _test(
            "test_squares",
            "assert squares(3) == [1, 4, 9]\nassert squares(1) == [1]\n"
            "### BEGIN HIDDEN TESTS\nassert squares(0) == [], 'SECRET empty list'\n### END HIDDEN TESTS",
        ),
        new_markdown_cell("## Unit vectors"),
        _answer(
            "unit",
            "def unit(v):\n    ### BEGIN SOLUTION\n    v = np.asarray(v, dtype=float)\n"
            "    return v / np.linalg.norm(v)\n    ### END SOLUTION",
        ),
        _test(
            "test_unit",
            "right = 0\nfor v in ([3.0, 4.0], [0.0, 2.0], [1.0, 0.0], [-3.0, 4.0]):\n"
            "    right += int(np.allclose(unit(v), np.asarray(v) / np.sqrt(np.sum(np.square(v)))))\nright",
        ),
        new_markdown_cell("## In words"),
        new_markdown_cell("YOUR ANSWER HERE", metadata=_marks("why", grade=True, solution=True, points=3.0)),
        _answer("sketch", "### BEGIN SOLUTION\nprint('a sketch')\n### END SOLUTION", grade=True, points=2.0),
        new_markdown_cell("Plot something below.", metadata=_marks("task_plot", task=True, locked=True, points=1.0)),
    ]
    problem2 = [
        _answer(
            "load",
            "def load(path):\n    ### BEGIN SOLUTION\n    with open(path) as file:\n"
            "        return [int(line) for line in file]\n    ### END SOLUTION",
        ),
        _test("test_load", "assert load('numbers.txt') == [1, 2, 3]"),
    ]
    return {"problem1": _notebook(problem1), "problem2": _notebook(problem2)}


def nbgrader(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Stock nbgrader in a course folder, offline and without the user's configuration."""
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # nbgrader calls `alembic`
        "JUPYTER_CONFIG_DIR": str(folder / ".jupyter"),
        "JUPYTER_PLATFORM_DIRS": "1",
    }
    command = [sys.executable, "-m", "nbgrader", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True, timeout=500)


def configure(folder: Path, db_url: str = "") -> None:
    """Write the course's configuration; the gradebook is a file in the folder unless `db_url` says otherwise."""
    lines = ["c = get_config()", "c.CourseDirectory.course_id = 'foreign'"]
    lines += [f"c.CourseDirectory.db_url = {db_url!r}"] if db_url else []
    (folder / "nbgrader_config.py").write_text("\n".join(lines) + "\n")


def build(folder: Path, db_url: str = "") -> Path:
    """Write the course's source and release it. Returns the course folder."""
    source = folder / "source" / LESSON
    source.mkdir(parents=True)
    configure(folder, db_url)
    (source / "numbers.txt").write_text("1\n2\n3\n")
    for name, notebook in source_notebooks().items():
        write(notebook, source / f"{name}.ipynb")
    nbgrader(folder, "generate_assignment", LESSON)
    return folder


def released(course: Path, name: str) -> NotebookNode:
    return read(course / "release" / LESSON / f"{name}.ipynb", as_version=4)


def answered(notebook: NotebookNode, answers: dict[str, str]) -> NotebookNode:
    """A copy of a released notebook with the text of some cells replaced, as a student would."""
    notebook = deepcopy(notebook)
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        if grade_id in answers:
            cell.source = answers[grade_id]
    return notebook


def submit(course: Path, student: str, name: str, notebook: NotebookNode | bytes, timestamp: str = "") -> Path:
    """Hand a notebook in. Returns its path."""
    folder = course / "submitted" / student / LESSON
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.ipynb"
    path.write_bytes(notebook if isinstance(notebook, bytes) else writes(notebook).encode())
    if timestamp:
        (folder / "timestamp.txt").write_text(timestamp)
    return path


RIGHT = {
    "squares": "def squares(n):\n    return [i * i for i in range(1, n + 1)]",
    "unit": "def unit(v):\n    return np.array(v) / np.linalg.norm(v)",
    "why": "Because the norm of a vector divided by its norm is one.",
    "sketch": "print('mine')",
}
LOAD = {"load": "def load(path):\n    return [int(x) for x in open(path).read().split()]"}

#: Honest submissions: answers to problem1 (None: not handed in), answers to problem2.
HONEST: dict[str, tuple[dict[str, str] | None, dict[str, str] | None]] = {
    "all_right": (RIGHT, LOAD),
    "blank": ({}, {}),
    "only_public": ({**RIGHT, "squares": "def squares(n):\n    return [1, 4, 9][:n] or [0]"}, LOAD),
    "partly": ({**RIGHT, "unit": "def unit(v):\n    return np.abs(np.array(v) / np.linalg.norm(v))"}, LOAD),
    "raises": ({**RIGHT, "unit": "def unit(v):\n    raise ValueError('not today')"}, LOAD),
    "syntax_error": ({**RIGHT, "squares": "def squares(n)\n    return n"}, LOAD),
    "one_missing": (RIGHT, None),
    "prints": (
        {**RIGHT, "squares": "def squares(n):\n    print('n is', n)\n    return [i*i for i in range(1, n+1)]"},
        LOAD,
    ),
}


def hand_in_honest(course: Path) -> None:
    for student, parts in HONEST.items():
        for name, answers in zip(NOTEBOOKS, parts, strict=True):
            if answers is not None:
                submit(course, student, name, answered(released(course, name), answers))


def scores(course: Path, db_url: str = "") -> dict[tuple[str, str], tuple[float | None, bool]]:
    """(student, cell) → (automatic score, needs a human) from the gradebook."""
    from nbgrader.api import Gradebook

    with Gradebook(db_url or f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        return {
            (submission.student.id, grade.name): (grade.auto_score, grade.needs_manual_grade)
            for submission in gradebook.find_assignment(LESSON).submissions
            for notebook in submission.notebooks
            for grade in notebook.grades
        }


def as_json(notebook: NotebookNode) -> dict:
    """A notebook as plain data, for tests that break it."""
    return json.loads(writes(notebook))
