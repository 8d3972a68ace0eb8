"""The prelude: what the examiner takes from a released notebook before any submission comes.

The release is the instructor's, so its imports, and what its read-only cells define on their own, may run in the
trusted process. Names that depend on a student's work, or that a cell for students binds, are left to their side.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import random
import symtable
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# --- cells -----------------------------------------------------------------------------------------------------------


def is_test(cell: dict) -> bool:
    """Whether a notebook's cell is one that nbgrader scores by running it."""
    mark = cell.get("metadata", {}).get("nbgrader", {})
    return cell.get("cell_type") == "code" and bool(mark.get("grade")) and not mark.get("solution")


def may_give_points(cell: dict) -> bool:
    """Whether a test cell ends in an expression, whose value nbgrader takes for points if it is a number.

    What asserts or prints, as its name says, has none.
    """
    if not is_test(cell):
        return False
    try:
        body = parse(source_of(cell)).body
    except SyntaxError:
        return False
    if not body or not isinstance(body[-1], ast.Expr) or source_of(cell).rstrip().endswith(";"):
        return False
    called = getattr(body[-1].value, "func", None)
    return not str(getattr(called, "attr", getattr(called, "id", ""))).startswith(("assert", "print"))


def grade_id(cell: dict) -> str:
    return cell.get("metadata", {}).get("nbgrader", {}).get("grade_id", "")


def source_of(cell: dict) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def parse(source: str) -> ast.Module:
    """The syntax tree of a cell; IPython's own lines (`%matplotlib inline`, `!ls`) are passed over. Or SyntaxError."""
    try:
        return ast.parse(source)
    except SyntaxError:
        plain = "\n".join("" if line.lstrip()[:1] in ("%", "!") else line for line in source.split("\n"))
        return ast.parse(plain)


def bound_names(nodes: list[ast.stmt]) -> set[str]:
    """Names that these statements bind at the top level."""
    table = symtable.symtable(ast.unparse(ast.Module(nodes, [])), "cell", "exec")
    return {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}


def global_names(nodes: list[ast.stmt]) -> set[str]:
    """Names that these statements look up in the global namespace, at whatever depth."""
    found = set()
    tables = [symtable.symtable(ast.unparse(ast.Module(nodes, [])), "cell", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        top = table.get_type() == "module"
        found |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return found


# --- the prelude -----------------------------------------------------------------------------------------------------


@dataclass
class Prelude:
    """What the examiner knows of a lesson before any submission. Built once for each bundle and worker."""

    namespace: dict[str, Any] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)  # names that the release leaves to the student's side
    since: dict[str, set[str]] = field(default_factory=dict)  # grade id -> names that the cells before it bind anew
    wanted: set[str] = field(default_factory=set)  # names that the student's side may need from test cells


def build_prelude(release: dict) -> Prelude:
    """Run what the release itself may define: its imports, and from read-only cells the definitions and assignments
    whose names are all known already. What draws random numbers is left to the student's side, whose numbers count."""
    prelude = Prelude()
    space = prelude.namespace
    space |= {"__name__": "__main__", "__builtins__": builtins}
    fresh: set[str] = set()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for cell in release["cells"]:
            if cell["cell_type"] != "code":
                continue
            try:
                body = parse(source_of(cell)).body
            except SyntaxError:
                continue
            if is_test(cell):
                prelude.since[grade_id(cell)], fresh = fresh, set()
                continue
            mark = cell["metadata"].get("nbgrader", {})
            read_only = mark.get("locked") and not mark.get("solution")
            prelude.wanted |= global_names(body)
            for node in body:
                names = bound_names([node])
                if not _trusted(node, read_only, space):
                    prelude.given |= names
                    fresh |= names
    for name in prelude.given:
        space.pop(name, None)
    return prelude


def _trusted(node: ast.stmt, read_only: bool, space: dict) -> bool:
    """Run one statement of the release in the prelude if it may be; say whether its names are the prelude's now."""
    is_import = isinstance(node, (ast.Import, ast.ImportFrom))
    defines = isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign))
    if not is_import and not (read_only and defines):
        return not bound_names([node])
    known = space.keys() | vars(builtins).keys() | bound_names([node])
    if not is_import and not global_names([node]) <= known:
        return False
    before = _random_state()
    try:
        exec(compile(ast.Module([node], []), "<release>", "exec"), space)
    except Exception:
        return False
    drawn = not isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not is_import and _random_state() != before
    values = [space.get(name) for name in bound_names([node])]
    return not drawn or all(_never_random(value) for value in values)


def _random_state() -> tuple:
    """Changes whenever a random number is drawn."""
    state: tuple = (random.getstate(),)
    if numpy := sys.modules.get("numpy"):
        state += (numpy.random.get_state()[1].tobytes(), numpy.random.get_state()[2])
    if torch := sys.modules.get("torch"):
        state += (torch.get_rng_state().numpy().tobytes(),)
    return state


def _never_random(value: Any) -> bool:
    return value is None or isinstance(value, (str, bool, type, types.FunctionType)) or "device" in type(value).__name__


# --- for the warm parent ---------------------------------------------------------------------------------------------

TRAINING = """
import torch
weight = torch.nn.Parameter(torch.ones(2))
weight.sum().backward()
torch.optim.AdamW([weight]).step()
"""
_DRAWING = ("ipywidgets", "matplotlib", "PIL")  # not at COURSE_PLOTS=off


def imports(release: dict) -> list[str]:
    """The import statements of the release, at whatever depth. Test cells do not count: the student's side need not
    know what they import."""
    return _import_statements(_own_trees(release))


def preparations(release: dict, space: dict[str, Any], ours: Iterable[Path]) -> list[str]:
    """Further statements that load what a submission to this lesson will need, each of which may fail: the imports of
    those modules in the folders `ours` that the release's cells use. In the sandbox nothing is drawn."""
    names = set().union(*(global_names(tree.body) for tree in _own_trees(release)))
    used = [space.get(name) for name in names]
    modules = {value if isinstance(value, types.ModuleType) else sys.modules.get(_module_of(value)) for value in used}
    texts, trees = [source_of(cell) for cell in release["cells"]], []
    for module in modules:
        file = Path(getattr(module, "__file__", None) or "/")
        if file.suffix == ".py" and any(file.is_relative_to(folder) for folder in ours):
            texts.append(file.read_text(encoding="utf-8"))
            trees.append(ast.parse(texts[-1]))
    found = [line for line in _import_statements(trees) if line.split()[1].split(".")[0] not in _DRAWING]
    return [*found, *([TRAINING] if any("optim" in text for text in texts) else [])]


def _own_trees(release: dict) -> list[ast.Module]:
    trees = []
    for cell in release["cells"]:
        if cell["cell_type"] == "code" and not is_test(cell):
            with contextlib.suppress(SyntaxError):
                trees.append(parse(source_of(cell)))
    return trees


def _import_statements(trees: list[ast.Module]) -> list[str]:
    nodes = [node for tree in trees for node in ast.walk(tree)]
    found = [n for n in nodes if isinstance(n, ast.Import) or isinstance(n, ast.ImportFrom) and not n.level]
    return list(dict.fromkeys(map(ast.unparse, found)))


def _module_of(value: Any) -> str:
    name = getattr(value, "__module__", "")
    return name if isinstance(name, str) else ""
