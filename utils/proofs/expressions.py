"""Expressions: immutable trees of plain tuples over a short list of operators, written and shown as on paper.

A tree is a number or a tuple that begins with the name of its operator, such as ``("@", ("T", q), k)``. `shape` is the
gate: it accepts exactly the trees that mean something, whoever made them, and says in words what is wrong with others.
"""

from __future__ import annotations

import functools
import math
import re
from fractions import Fraction
from typing import Any

Tree = Any  # a number, or a tuple whose first item is the name of an operator

MAX_NODES, MAX_DEPTH, MAX_BOUND = 400, 40, 4
MAX_NUMBER, MAX_POWER, MAX_TABLE = 10**9, 12, 4

KINDS = ("number", "positive", "complex", "vector", "matrix", "random", "probability")
FUNCTIONS = ("cos", "sin", "exp", "log", "sigmoid", "cis", "conj", "real", "E", "var")
BINDERS = ("total", "blocks", "softmax")
NUMBER = (1, 1)

_NAME = re.compile(r"[^\W\d_][\w*']{0,15}")
_INDEX = re.compile(r"[^\W\d_][\w*']{0,15}|[#~]\d+")


class MeaninglessError(TypeError):
    """An expression that means nothing, such as the sum of a number and a vector."""


# --- what a tree means -----------------------------------------------------------------------------------------------


def is_number(tree: Tree) -> bool:
    return type(tree) in (int, float, Fraction)


def children(tree: Tree) -> tuple:
    """The parts of a tree that are trees themselves."""
    return tree[1:] if type(tree) is tuple and tree[0] not in ("symbol", "index", "size", "identity") else ()


def rebuild(tree: Tree, function) -> Tree:
    """The tree with `function` applied to each of its parts."""
    return (tree[0], *map(function, children(tree))) if children(tree) else tree


def check_tree(tree: Any) -> Tree:
    """`tree` itself, if it is an expression of reasonable size. Raises: MeaninglessError that says why not."""
    _measure(tree, MAX_DEPTH, MAX_BOUND, left=[MAX_NODES], seen={})
    shape(tree)
    return tree


def _measure(tree: Any, depth: int, bound: int, left: list[int], seen: dict) -> None:
    """Refuse what is too large, or no tree. What is `left` of the parts, and the names `seen`, are kept up to date."""
    left[0] -= 1
    if left[0] < 0 or depth < 0 or bound < 0:
        parts = f"{MAX_NODES} parts, {MAX_DEPTH} levels or {MAX_BOUND} sums in one another"
        raise MeaninglessError(f"an expression of more than {parts}: write less at once")
    if type(tree) is not tuple:
        if type(tree) not in (int, float):
            raise MeaninglessError(f"a {type(tree).__name__} is no expression: {str(tree)[:60]}")
        return
    if not tree or type(tree[0]) is not str:
        raise MeaninglessError(f"this is no expression: {str(tree)[:60]}")
    if tree[0] in ("symbol", "index"):
        if not all(type(part) is str for part in tree) or len(tree) != (4 if tree[0] == "symbol" else 3):
            raise MeaninglessError(f"this is no symbol: {str(tree)[:60]}")
        if seen.setdefault(tree[1], tree) != tree:
            raise MeaninglessError(f"{tree[1]} stands for two different things")
    elif tree[0] not in ("size", "identity") or not all(type(part) is str for part in tree):
        for part in tree[1:]:
            _measure(part, depth - 1, bound - (tree[0] in BINDERS), left, seen)


@functools.lru_cache(maxsize=50_000)
def shape(tree: Tree) -> tuple:
    """(rows, columns) of what the tree stands for; (1, 1) is a number, and a stack of pairs has its range as rows.

    Raises: MeaninglessError.
    """
    if not isinstance(tree, tuple):
        if not math.isfinite(tree) or abs(tree) > MAX_NUMBER:
            raise MeaninglessError(f"the number {tree} is too large")
        return NUMBER
    operator, *parts = tree
    rule = _SHAPES.get(operator)
    if rule is None:
        raise MeaninglessError(f"there is no operator {str(operator)[:40]!r}")
    try:
        return rule(*parts)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, MeaninglessError):
            raise
        raise MeaninglessError(f"{operator!r} does not take {len(parts)} parts of this kind") from None


def _scalar(tree: Tree, where: str) -> None:
    if shape(tree) != NUMBER:
        raise MeaninglessError(f"{where} takes a number, not {show(tree)}")


def _symbol(name: str, kind: str, over: str = "") -> tuple:
    if not _NAME.fullmatch(name) or kind not in KINDS or (over and not _NAME.fullmatch(over)):
        raise MeaninglessError(f"this is no symbol: {name!r}, {kind!r}")
    if over and kind != "vector":
        raise MeaninglessError(f"{name} is a family: write {name}[i] for one of its numbers")
    if not over and kind in ("random", "probability"):
        raise MeaninglessError(f"{name} must be a family: say over what")
    return (over or 2, 1) if kind == "vector" else (2, 2) if kind == "matrix" else NUMBER


def _index(index: Tree) -> str:
    """The range of an index."""
    operator, name, over = index
    if operator != "index" or not _INDEX.fullmatch(name) or not _NAME.fullmatch(over):
        raise MeaninglessError(f"this is no index: {str(index)[:60]}")
    return over


def _item(symbol: Tree, index: Tree) -> tuple:
    operator, name, kind, over = symbol
    if operator != "symbol" or kind not in KINDS or kind == "matrix" or not _NAME.fullmatch(name):
        raise MeaninglessError(f"only a family of numbers or a stack of pairs has items: {str(symbol)[:60]}")
    if over != _index(index):
        raise MeaninglessError(f"{name} runs over {over}, but the index {index[1]} over {index[2]}")
    return (2, 1) if kind == "vector" else NUMBER


def _plus(*terms: Tree) -> tuple:
    shapes = [shape(term) for term in terms]
    for term, size in zip(terms, shapes, strict=True):
        if size != shapes[0]:
            raise MeaninglessError(f"{show(terms[0])} and {show(term)} cannot be added: they are of different shapes")
    return shapes[0]


def _times(*factors: Tree) -> tuple:
    large = [factor for factor in factors if shape(factor) != NUMBER]
    if not factors:
        raise MeaninglessError("a product of nothing")
    if len(large) > 1:
        raise MeaninglessError(f"write {show(large[0])} @ {show(large[1])} for a product of vectors or matrices")
    return shape(large[0]) if large else NUMBER


def _power(base: Tree, exponent: Tree) -> tuple:
    _scalar(base, "a power")
    if not is_number(exponent) or not abs(exponent) <= MAX_POWER or (8 * exponent) % 1:
        raise MeaninglessError(f"a power must be a number of at most {MAX_POWER}, such as 2, -1 or 0.5")
    return NUMBER


def _matmul(*factors: Tree) -> tuple:
    shapes = [shape(factor) for factor in factors]
    if len(factors) < 2:
        raise MeaninglessError("a product of matrices has at least two factors")
    for i in range(1, len(factors)):
        before, after = shapes[i - 1], shapes[i]
        if NUMBER in (before, after):
            raise MeaninglessError(f"{show(factors[i - 1])} @ {show(factors[i])}: multiply by a number with *")
        if before[1] != after[0]:
            wide, high = _count(before[1], "column"), _count(after[0], "row")
            raise MeaninglessError(f"{show(factors[i - 1])} has {wide}, {show(factors[i])} {high}: no product")
    return shapes[0][0], shapes[-1][1]


def _count(n: Any, what: str) -> str:
    return f"2·{n} {what}s" if isinstance(n, str) else f"{n} {what}{'s' * (n != 1)}"


def _dot(a: Tree, b: Tree) -> tuple:
    if shape(a)[1] != 1 or shape(a) != shape(b) or shape(a) == NUMBER:
        raise MeaninglessError(f"an inner product takes two vectors of one size, not {show(a)} and {show(b)}")
    return NUMBER


def _matrix(*rows: Tree) -> tuple:
    lengths = {len(row) - 1 for row in rows if row[0] == "row"}
    if len(lengths) != 1 or not 1 <= len(rows) <= MAX_TABLE or not 1 <= min(lengths) <= MAX_TABLE:
        raise MeaninglessError("a table has rows of one length")
    for row in rows:
        if row[0] != "row":
            raise MeaninglessError("a table has rows of one length")
        for entry in row[1:]:
            _scalar(entry, "a table")
    return len(rows), lengths.pop()


def _rotation(angle: Tree) -> tuple:
    _scalar(angle, "R")
    return 2, 2


def _blocks(index: Tree, block: Tree) -> tuple:
    if shape(block) != (2, 2):
        raise MeaninglessError(f"a block is a matrix for one pair, not {show(block)}")
    return _index(index), _index(index)


def _total(index: Tree, body: Tree) -> tuple:
    _index(index)
    _scalar(body, "a sum")
    return NUMBER


def _softmax(index: Tree, body: Tree, at: Tree) -> tuple:
    if _index(index) != _index(at):
        raise MeaninglessError("both indices of a softmax run over the same range")
    _scalar(body, "softmax")
    return NUMBER


def _function(name: str):
    def rule(argument: Tree) -> tuple:
        _scalar(argument, name)
        return NUMBER

    return rule


def _identity(over: str = "") -> tuple:
    return (over or 2, over or 2)


_SHAPES = {
    "symbol": _symbol, "item": _item, "+": _plus, "*": _times, "^": _power, "@": _matmul, "dot": _dot,
    "matrix": _matrix, "R": _rotation, "blocks": _blocks, "total": _total, "softmax": _softmax, "identity": _identity,
    "T": lambda a: shape(a)[::-1], "size": lambda over: NUMBER, "im": lambda: NUMBER, "pi": lambda: NUMBER,
    **{name: _function(name) for name in FUNCTIONS},
}  # fmt: skip


def substitute(tree: Tree, old: Tree, new: Tree) -> Tree:
    """The tree with `new` for every free `old`, a symbol or an index."""
    if tree == old:
        return new
    if not isinstance(tree, tuple):
        return tree
    if tree[0] in BINDERS and tree[1] == old:  # bound in here; only the place of a softmax lies outside
        return (*tree[:3], *(substitute(part, old, new) for part in tree[3:]))
    return rebuild(tree, lambda part: substitute(part, old, new))


def subtrees(tree: Tree):
    """The tree and all its parts."""
    yield tree
    for part in children(tree):
        yield from subtrees(part)


# --- writing ---------------------------------------------------------------------------------------------------------


class Expression:
    """A tree that can be added, multiplied and shown. ``.tree`` is the plain data."""

    __slots__ = ("tree",)

    def __init__(self, tree: Tree):
        object.__setattr__(self, "tree", check_tree(tree))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("an expression never changes")

    def __repr__(self) -> str:
        return show(self.tree)

    def __add__(self, other: Any) -> Expression:
        return Expression(("+", self.tree, tree_of(other)))

    def __radd__(self, other: Any) -> Expression:
        return Expression(("+", tree_of(other), self.tree))

    def __neg__(self) -> Expression:
        return Expression(("*", -1, self.tree))

    def __sub__(self, other: Any) -> Expression:
        return Expression(("+", self.tree, ("*", -1, tree_of(other))))

    def __rsub__(self, other: Any) -> Expression:
        return Expression(("+", tree_of(other), ("*", -1, self.tree)))

    def __mul__(self, other: Any) -> Expression:
        return Expression(("*", self.tree, tree_of(other)))

    def __rmul__(self, other: Any) -> Expression:
        return Expression(("*", tree_of(other), self.tree))

    def __truediv__(self, other: Any) -> Expression:
        return Expression(("*", self.tree, ("^", tree_of(other), -1)))

    def __rtruediv__(self, other: Any) -> Expression:
        return Expression(("*", tree_of(other), ("^", self.tree, -1)))

    def __pow__(self, exponent: Any) -> Expression:
        return Expression(("^", self.tree, exponent))

    def __matmul__(self, other: Any) -> Expression:
        return Expression(("@", self.tree, tree_of(other)))

    @property
    def T(self) -> Expression:  # noqa: N802 - as in PyTorch
        return Expression(("T", self.tree))


class Family:
    """Numbers or pairs by index: ``w[i]``. A family of vectors is also the stack of them, a vector itself."""

    __slots__ = ("symbol",)

    def __init__(self, symbol: Tree):
        self.symbol = symbol

    def __getitem__(self, index: Index) -> Expression:
        return Expression(("item", self.symbol, _index_tree(index)))

    def __repr__(self) -> str:
        return self.symbol[1]

    def _alone(self, *others: Any) -> None:
        tree_of(self)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __pow__ = _alone
    __neg__ = __matmul__ = _alone


class Stack(Expression):
    """A vector made of pairs, such as the query of one head; ``q[i]`` is its pair number i."""

    __slots__ = ()

    def __getitem__(self, index: Index) -> Expression:
        return Expression(("item", self.tree, _index_tree(index)))


class Index:
    """Counts the members of a range: pairs of features, words, answers."""

    __slots__ = ("tree",)

    def __init__(self, name: str, over: str):
        self.tree = ("index", name, over)
        _index(self.tree)

    def __repr__(self) -> str:
        return self.tree[1]


def _index_tree(index: Any) -> Tree:
    if not isinstance(index, Index):
        raise MeaninglessError(f"{index!r} is no index: make one with indices(...), again if its name was overwritten")
    return index.tree


def tree_of(value: Any) -> Tree:
    """The plain tree of an expression, also of one that lives in a student's process. Raises: MeaninglessError."""
    if isinstance(value, Family):
        raise MeaninglessError(f"{value} is a family: write {value}[i] for one of its numbers")
    if type(value) in (tuple, int, float):
        return value
    if type(value) is Fraction:
        return ("*", value.numerator, ("^", value.denominator, -1))
    tree = getattr(value, "tree", None)
    if type(tree) in (tuple, int, float):
        return tree
    lost = "" if isinstance(value, (str, bool)) else "; was its name overwritten? make it again with symbols(...)"
    raise MeaninglessError(f"a {type(value).__name__} is no expression: {str(value)[:60]}{lost}")


def _several(names: str, make) -> Any:
    made = tuple(make(name) for name in names.split())
    return made if len(made) > 1 else made[0]


def symbols(names: str, kind: str = "number", over: str = "") -> Any:
    """Symbols for the names in a string: ``m, n = symbols("m n")``.

    `kind` is number, positive, complex, vector (of two numbers) or matrix (two by two). With `over`, a family: numbers
    or pairs by index, and also random (independent, mean 0, variance 1) or probability (positive, their sum is 1).
    """

    def make(name: str) -> Any:
        tree = ("symbol", name, kind, over)
        if not over or kind == "vector":
            return (Stack if over else Expression)(tree)
        _item(tree, ("index", "i", over))
        return Family(tree)

    return _several(names, make)


def indices(names: str, over: str) -> Any:
    """Indices that run over one range: ``i, j = indices("i j", over="pairs")``."""
    return _several(names, lambda name: Index(name, over))


def _makes(operator: str, doc: str):
    def function(*parts: Any) -> Expression:
        return Expression((operator, *map(tree_of, parts)))

    function.__name__, function.__doc__ = operator, doc
    return function


R = _makes("R", "The rotation of the plane by an angle: ``R(m)``.")
dot = _makes("dot", "The inner product of two vectors.")
cos = _makes("cos", "Cosine.")
sin = _makes("sin", "Sine.")
exp = _makes("exp", "The exponential function.")
log = _makes("log", "The natural logarithm, of something positive.")
sigmoid = _makes("sigmoid", "1 / (1 + exp(-x)).")
cis = _makes("cis", "e to the power i·t: the complex number at angle t on the unit circle.")
conj = _makes("conj", "The complex conjugate.")
real = _makes("real", "The real part.")
expectation = _makes("E", "The expectation.")
variance = _makes("var", "The variance.")
im, pi, identity = Expression(("im",)), Expression(("pi",)), Expression(("identity",))


def matrix(*rows: Any) -> Expression:
    """A table of numbers by rows: ``matrix([a, b], [c, d])``."""
    return Expression(("matrix", *(("row", *map(tree_of, row)) for row in rows)))


def sqrt(x: Any) -> Expression:
    """The square root of something positive."""
    return Expression(("^", tree_of(x), 0.5))


def total(index: Index, body: Any) -> Expression:
    """The sum of `body` over all values of the index."""
    return Expression(("total", _index_tree(index), tree_of(body)))


def blocks(index: Index, block: Any) -> Expression:
    """The block-diagonal matrix with `block`, a matrix for one pair, for each value of the index."""
    return Expression(("blocks", _index_tree(index), tree_of(block)))


def softmax(index: Index, body: Any, at: Index) -> Expression:
    """Entry `at` of the softmax, over the index, of `body`."""
    return Expression(("softmax", _index_tree(index), tree_of(body), _index_tree(at)))


def size(index: Index) -> Expression:
    """How many values the index has."""
    return Expression(("size", _index_tree(index)[2]))


# --- showing ---------------------------------------------------------------------------------------------------------

_SUM, _PRODUCT, _ATOM = range(3)
_UP = {"T": "ᵀ", "^": {2: "²", 3: "³"}}


def show(tree: Tree) -> str:
    """The tree in one line, as on paper: ``⟨R(m) q, R(n) k⟩``."""
    try:
        return _show(tree, _SUM)
    except (TypeError, ValueError, IndexError, KeyError):
        return str(tree)[:60]


def _show(tree: Tree, around: int) -> str:
    if not isinstance(tree, tuple):
        text = str(tree if isinstance(tree, (int, Fraction)) else f"{tree:g}").replace("-", "−")
        return f"({text})" if around == _ATOM and not text.isdigit() else text
    operator, *parts = tree
    if operator == "+":
        text = _show_sum(parts)
        return f"({text})" if around > _SUM else text
    if operator in ("*", "@"):
        text = _show_product(parts) if operator == "*" else " ".join(_show_factor(part) for part in parts)
        return f"({text})" if around > _PRODUCT or (around == _PRODUCT and text.startswith("−")) else text
    return _show_atom(operator, parts)


def _show_factor(tree: Tree) -> str:
    flat = isinstance(tree, tuple) and tree[0] == "@"  # a product in a product needs no brackets
    return _show(tree, _PRODUCT if flat else _ATOM)


def _show_sum(terms: list[Tree]) -> str:
    text = ""
    for term in terms:
        shown = _show(term, _SUM) if isinstance(term, tuple) and term[0] == "+" and not text else _show(term, _PRODUCT)
        if shown.startswith("(−") and isinstance(term, tuple) and term[0] == "*":
            shown = shown[1:-1]
        minus = shown.startswith("−")
        text += shown if not text else f" − {shown[1:]}" if minus else f" + {shown}"
    return text


def _show_product(factors: list[Tree]) -> str:
    flat: list[Tree] = []
    for factor in factors:
        nested = isinstance(factor, tuple) and factor[0] == "*"
        flat += factor[1:] if nested else [factor]
    sign = ""
    while flat and is_number(flat[0]) and flat[0] == -1 and len(flat) > 1:
        sign = "" if sign else "−"
        flat = flat[1:]
    under = [f for f in flat if isinstance(f, tuple) and f[0] == "^" and f[2] == -1]
    over = [f for f in flat if f not in under] or [1]
    text = "·".join(_show(f, _ATOM) for f in over)
    for factor in under:
        text += f" / {_show(factor[1], _ATOM)}"
    return sign + text


def _show_atom(operator: str, parts: list) -> str:
    if operator == "symbol":
        return parts[0]
    if operator == "index":
        return parts[0].replace("#", "i").replace("~", "i")
    if operator == "item":
        return f"{parts[0][1]}[{_show_atom('index', parts[1][1:])}]"
    if operator == "T":
        return f"{_show(parts[0], _ATOM)}ᵀ"
    if operator == "^":
        if parts[1] == 0.5:
            return f"√{_show(parts[0], _ATOM)}"
        if parts[1] == -1:
            return f"(1 / {_show(parts[0], _ATOM)})"
        up = _UP["^"].get(parts[1]) or f"^{_show(parts[1], _ATOM)}"
        return f"{_show(parts[0], _ATOM)}{up}"
    if operator == "dot":
        return f"⟨{_show(parts[0], _SUM)}, {_show(parts[1], _SUM)}⟩"
    if operator == "matrix":
        return "[" + "; ".join(", ".join(_show(entry, _SUM) for entry in row[1:]) for row in parts) + "]"
    if operator in ("total", "blocks"):
        return (
            f"{'Σ' if operator == 'total' else 'blocks'}_{_show_atom('index', parts[0][1:])}({_show(parts[1], _SUM)})"
        )
    if operator == "softmax":
        i, j = (_show_atom("index", part[1:]) for part in (parts[0], parts[2]))
        return f"softmax_{i}({_show(parts[1], _SUM)})[{j}]"
    constant = {"im": "i", "pi": "π", "identity": "I", "size": f"size({parts[0]})" if parts else ""}
    if operator in constant:
        return constant[operator]
    name = {"real": "Re", "sigmoid": "σ", "var": "Var", "cis": "cis"}.get(operator, operator)
    return f"{name}({', '.join(_show(part, _SUM) for part in parts)})"
