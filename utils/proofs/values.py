"""Values: what a tree comes to at a random point, in float64."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from utils.proofs.expressions import NUMBER, Tree, is_number, shape, substitute, subtrees

TOLERANCE = 1e-9
SIZES = (3, 2)  # how many members a range has, by turns


@dataclass
class Point:
    """Random values for all symbols: drawn when asked for, from the seed and the symbol's name.

    `style` says what numbers are: "real", not whole and in no order; "whole", "neighbours" (whole and one after the
    other) or "equal", to find out where a false step happens to hold. Free indices of a range are all alike if `alike`.
    """

    seed: int
    style: str = "real"
    alike: bool = False
    definitions: Sequence[tuple[Tree, Tree]] = ()
    randoms: Sequence[Tree] = ()  # all random families of the problem
    numbers: Sequence[str] = ()  # the names of all plain numbers of the problem, in order
    ranks: Mapping[Tree, int] = field(default_factory=dict)  # of all indices of the problem
    indices: dict[Tree, int] = field(default_factory=dict)  # the values of those that are bound at present

    def generator(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed // 2, zlib.crc32(name.encode())])

    def size(self, over: str) -> int:
        return SIZES[(self.seed // 2 + len(over)) % 2]

    def outcomes(self) -> tuple[dict[Tree, np.ndarray], np.ndarray]:
        """For each random family its (members, outcomes), and the probability of each outcome, exactly.

        Every member takes one of three values, or of two where there are many, with mean 0 and variance 1.
        """
        members = [(family, i) for family in self.randoms for i in range(self.size(family[3]))]
        values, weights = [], []
        for family, i in members:
            g = self.generator(f"{family[1]} {i}")
            p = g.dirichlet(np.full(3 if len(members) <= 6 else 2, 3.0))
            x = g.normal(size=len(p))
            x -= p @ x
            values.append(x / np.sqrt(p @ x**2))
            weights.append(p)
        grids = np.array(list(itertools.product(*values)))
        chances = np.prod(list(itertools.product(*weights)), axis=1)
        found: dict[Tree, list] = {}
        for (family, _), column in zip(members, grids.T, strict=True):
            found.setdefault(family, []).append(column)
        return {family: np.array(rows) for family, rows in found.items()}, chances

    def symbol(self, tree: Tree) -> np.ndarray:
        """A symbol's value; of a family, one for each member."""
        _, name, kind, over = tree
        g = self.generator(name)
        count = self.size(over) if over else 1
        if kind == "probability":
            return g.dirichlet(np.full(count, 2.0))
        draw = {
            "number": lambda: (-1) ** self.seed * g.uniform(-3, 3, count),
            "positive": lambda: g.uniform(0.3, 3, count),
            "complex": lambda: g.normal(size=count) + 1j * g.normal(size=count),
            "vector": lambda: g.normal(size=(2 * count, 1)),
            "matrix": lambda: g.normal(size=(2, 2)),
        }
        if kind in ("vector", "matrix"):
            return draw[kind]()
        if kind == "number" and not over and self.style != "real":
            return np.float64(self._special(name, g))
        return draw[kind]() if over else draw[kind]()[0]

    def _special(self, name: str, g: np.random.Generator) -> float:
        if self.style == "equal":
            return self.generator("equal").uniform(-3, 3)
        place = self.numbers.index(name) if name in self.numbers else 0
        if self.style == "neighbours":
            return float(place + self.seed)
        return float(g.integers(-40, 40))

    def index(self, tree: Tree) -> int:
        if tree in self.indices:
            return self.indices[tree]
        place = 0 if self.alike else self.ranks.get(tree, 0)
        return (place + self.seed) % self.size(tree[2])


def evaluate(tree: Tree, point: Point) -> np.ndarray:
    """The value of a tree: () or, where something is random, (outcomes,) for a number; (rows, columns) for the rest."""
    with np.errstate(all="ignore"):
        return _value(tree, point, *(point.outcomes() if point.randoms else ({}, None)))


def _value(tree: Tree, point: Point, randoms: dict, chances: np.ndarray | None):
    def value(part: Tree):
        return _value(part, point, randoms, chances)

    if is_number(tree):
        return np.float64(tree)
    operator, *parts = tree
    if operator in ("symbol", "item"):
        return _leaf(tree, point, randoms, chances)
    if operator in ("total", "blocks", "softmax"):
        return _bound(tree, point, value)
    if operator == "size":
        return np.float64(point.size(parts[0]))
    if operator == "identity":
        return np.eye(2 * point.size(parts[0]) if parts else 2)
    if operator == "matrix":
        return np.array([[value(entry) for entry in row[1:]] for row in parts])
    if operator == "^":
        return _power(value(parts[0]), float(parts[1]))
    if operator in ("E", "var"):
        return _moment(operator, value(parts[0]), chances)
    found = [value(part) for part in parts]
    if operator == "@":
        product = found[0]
        for factor in found[1:]:
            product = product @ factor
        return product[0, 0] if shape(tree) == NUMBER else product
    return _OPERATIONS[operator](*found)


def _power(base, exponent: float):
    return base ** int(exponent) if exponent % 1 == 0 and exponent > 0 else base**exponent


def _leaf(tree: Tree, point: Point, randoms: dict, chances):
    for left, right in point.definitions:
        if left == tree:
            return _value(right, point, randoms, chances)
        if left[0] == "item" == tree[0] and left[1] == tree[1]:
            return _value(substitute(right, left[2], tree[2]), point, randoms, chances)
    if tree[0] == "symbol":
        return point.symbol(tree)
    family, i = tree[1], point.index(tree[2])
    if family[2] == "random":
        return randoms[family][i]
    whole = point.symbol(family)
    return whole[2 * i : 2 * i + 2] if family[2] == "vector" else whole[i]


def _bound(tree: Tree, point: Point, value):
    index, body = tree[1], tree[2]
    before = point.indices.get(index)
    at = point.index(tree[3]) if tree[0] == "softmax" else None
    found = []
    for i in range(point.size(index[2])):
        point.indices[index] = i
        found.append(value(body))
    if before is None:
        del point.indices[index]
    else:
        point.indices[index] = before
    if tree[0] == "total":
        return sum(found)
    if tree[0] == "softmax":
        return np.exp(found[at]) / sum(map(np.exp, found))
    out = np.zeros((2 * len(found), 2 * len(found)), dtype=np.result_type(*found))
    for i, block in enumerate(found):
        out[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = block
    return out


def _moment(operator: str, x, chances: np.ndarray | None):
    if chances is None or np.ndim(x) == 0:
        return x if operator == "E" else 0.0 * x
    mean = x @ chances
    return mean if operator == "E" else x**2 @ chances - mean**2


def _rotation(t):
    return np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])


_OPERATIONS = {
    "+": lambda *terms: sum(terms[1:], terms[0]),
    "*": lambda *factors: np.prod(np.array([1.0])) if not factors else _times(factors),
    "T": lambda a: np.transpose(a),
    "dot": lambda a, b: (a.T @ b)[0, 0],
    "R": _rotation,
    "cos": np.cos, "sin": np.sin, "exp": np.exp, "log": np.log, "conj": np.conj, "real": np.real,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "cis": lambda t: np.exp(1j * t),
    "im": lambda: 1j, "pi": lambda: np.pi,
}  # fmt: skip


def _times(factors):
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product


def close(a, b) -> bool:
    """Whether two values are equal but for rounding; what is not a number equals nothing."""
    a, b = np.asarray(a), np.asarray(b)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    scale = max(1.0, float(np.abs(a).max()), float(np.abs(b).max()))
    try:
        return bool((np.abs(a - b) <= TOLERANCE * scale).all())
    except ValueError:
        return False


def points(trees: Iterable[Tree], definitions: Sequence[tuple[Tree, Tree]], style: str = "real") -> list[Point]:
    """The points at which two trees are compared: in pairs, in which all numbers have their signs changed."""
    parts = [part for tree in trees for part in subtrees(tree) if isinstance(part, tuple)]
    parts += [part for pair in definitions for tree in pair for part in subtrees(tree) if isinstance(part, tuple)]
    symbols = sorted({part for part in parts if part[0] == "symbol"})
    randoms = [s for s in symbols if s[2] == "random"]
    numbers = [s[1] for s in symbols if s[2] == "number" and not s[3]]
    ranks = {index: rank for rank, index in enumerate(sorted({part for part in parts if part[0] == "index"}))}
    return [
        Point(seed, style, alike, definitions, randoms, numbers, ranks)
        for seed, alike in ((0, False), (1, False), (2, False), (3, False), (0, True), (3, True))
    ]
