"""Notebooks made of a few lines, and a warm parent and kernels for tests of the sandboxed half."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from autograder.grading import sandbox
from autograder.grading.client import Kernel, WarmParent
from autograder.grading.job import Limits
from autograder.grading.outputs import Outputs

needs_sandbox = pytest.mark.skipif(sandbox.available() is not None, reason=str(sandbox.available()))

_MARKS = {
    "given": {"grade": False, "solution": False, "locked": True},
    "answer": {"grade": False, "solution": True, "locked": False},
    "test": {"grade": True, "solution": False, "locked": True, "points": 1},
}


def notebook(*cells: tuple[str, str]) -> dict:
    """A notebook from (kind, source) pairs; kind is given, answer, test or plain. Grade ids are kind and place."""
    made = []
    for place, (kind, source) in enumerate(cells):
        mark = _MARKS.get(kind)
        mark = mark and {**mark, "task": False, "grade_id": f"{kind}{place}", "schema_version": 3}
        metadata = {"nbgrader": mark} if mark else {}
        made.append(
            {
                "cell_type": "code",
                "id": f"c{place}",
                "metadata": metadata,
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
        )
    return {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def as_text(*cells: tuple[str, str]) -> str:
    return json.dumps(notebook(*cells))


@dataclass
class Shell:
    """A kernel of a test, asked in one line."""

    kernel: Kernel

    def run(self, source: str, seconds: float = 20) -> Outputs:
        outputs = Outputs(self.kernel.limits)
        self.kernel.request({"op": "cell", "source": source, "count": 1}, [], seconds, outputs)
        return outputs

    def text(self, source: str, seconds: float = 20) -> str:
        """What a cell prints; its exception if it raises one."""
        items = self.run(source, seconds).items
        return "".join(item.get("text") or f"{item.get('ename')}: {item.get('evalue')}" for item in items)

    def value(self, expression: str) -> Any:
        """The value of an expression over there, as JSON can say it."""
        return json.loads(self.text(f"import json as _json\nprint(_json.dumps({expression}))"))


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmParent]:
    parent = WarmParent("bwrap", Limits(), ["import torch", "import numpy"], {}).ready()
    yield parent
    parent.close()


@pytest.fixture
def shell(warm: WarmParent) -> Iterator[Shell]:
    kernel = warm.fork(Limits())
    yield Shell(kernel)
    kernel.close()
