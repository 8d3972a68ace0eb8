"""Planted answers: wrong ones that a lesson's tests must reject, right ones in another style that they must accept.

A lesson's ``answers.py`` defines functions or classes named like its exercises, each under a decorator::

    @wrong("divides by the head size, not by its root", says="square root of the head size")
    def scaled_dot_product(q, k, v, mask=None): ...

    @right("with torch.einsum and a loop over heads")
    def scaled_dot_product(q, k, v, mask=None): ...

The audit puts the text below the decorator in place of the solution's definition of that name. Planted code is never
run by importing ``answers.py``, so it may use every name of the lesson.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autograder.errors import UserError


@dataclass(frozen=True)
class Answer:
    """One planted answer: `code` defines `exercise`; the failing check of a wrong one must say the words `says`."""

    exercise: str
    code: str
    why: str
    right: bool
    says: str
    line: int


def wrong(why: str, *, says: str) -> Callable:
    """Mark a planted answer that must lose its points with a message that contains `says`."""
    return lambda definition: definition


def right(how: str) -> Callable:
    """Mark a planted answer that is right, written differently from the solution, and must keep its points."""
    return lambda definition: definition


def read_answers(path: Path) -> list[Answer]:
    """The planted answers of one file, in order.

    Raises: UserError, with file and line, for a definition without exactly one well-formed decorator.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, filename=str(path))
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: plant at least three wrong and two right answers for each exercise"
        ) from None
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from None
    lines = text.splitlines()
    answers = []
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        kind, why, says = _decorator(node, path)
        code = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        answers.append(Answer(node.name, code, why, kind == "right", says, node.lineno))
    return answers


def _decorator(node: ast.FunctionDef | ast.ClassDef, path: Path) -> tuple[str, str, str]:
    marks = [d for d in node.decorator_list if isinstance(d, ast.Call) and isinstance(d.func, ast.Name)]
    marks = [d for d in marks if d.func.id in ("wrong", "right")]
    where = f"{path}:{node.lineno}: {node.name}"
    if len(marks) != 1 or len(node.decorator_list) != 1:
        raise UserError(f'{where} needs exactly one decorator, @wrong("why", says="words") or @right("how")')
    kind, mark = marks[0].func.id, marks[0]
    try:
        (why,) = (ast.literal_eval(arg) for arg in mark.args)
        keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in mark.keywords}
    except ValueError:
        raise UserError(f"{where}: the decorator takes plain strings") from None
    if set(keywords) != ({"says"} if kind == "wrong" else set()) or not all(keywords.values()):
        raise UserError(f'{where}: write @wrong("why", says="words of the message") or @right("how")')
    return kind, why, keywords.get("says", "")
