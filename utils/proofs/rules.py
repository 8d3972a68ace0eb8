"""The rules of a proof: what each licenses, and the rewriting that decides whether it leads from one tree to another.

A rule rewrites trees in one direction, anywhere and as often as it applies. It leads from one line to the next, in
either direction, if both come out the same: so the two lines differ by nothing but the rule, and by tidying.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from utils.proofs.expressions import (
    BINDERS,
    NUMBER,
    Index,
    MeaninglessError,
    Tree,
    check_tree,
    children,
    is_number,
    rebuild,
    shape,
    show,
    substitute,
    subtrees,
    tree_of,
)
from utils.proofs.tidy import tidy

MAX_ROUNDS = 40
MAX_PARTS = 2_000  # of a tree on the way; the longest proof of a lesson takes a tenth

Rewrite = Callable[[Tree], Tree | None]  # None: the rule does not apply at the top of this tree


@dataclass(frozen=True)
class Rule:
    """A rule by its name. A `theorem` may not be used to prove itself; `equations` hold by what is given."""

    name: str
    licenses: str
    rewrite: Rewrite
    theorem: bool = False
    equations: tuple[tuple[Tree, Tree], ...] = ()
    defines: bool = False

    def joined(self, other: Rule) -> Rule:
        """A rule that licenses what either does."""
        licenses, rewrite = f"{self.licenses}, {other.licenses}", _first(self.rewrite, other.rewrite)
        equations, defines = self.equations + other.equations, self.defines or other.defines
        return Rule(self.name, licenses, rewrite, self.theorem or other.theorem, equations, defines)

    def normal(self, tree: Tree) -> Tree:
        """The tree, tidied, after the rule was applied wherever it can be. Raises: MeaninglessError."""
        for _ in range(MAX_ROUNDS):
            tree = tidy(tree)
            after = _everywhere(self.rewrite, tree)
            if after == tree:
                return tree
            if sum(1 for _ in itertools.islice(subtrees(after), MAX_PARTS)) == MAX_PARTS:
                break
            tree = after
        raise MeaninglessError(f"{self.name!r} makes too much of {show(tree)[:60]}")

    def leads(self, a: Tree, b: Tree) -> bool:
        """Whether the rule takes one of the trees to the other."""
        try:
            return self.normal(a) == self.normal(b)
        except MeaninglessError:
            return False


def _everywhere(rewrite: Rewrite, tree: Tree) -> Tree:
    tree = rebuild(tree, lambda part: _everywhere(rewrite, part))
    after = rewrite(tree) if isinstance(tree, tuple) and tree[0] not in ("row", "index") else None
    return tree if after is None else after


def _first(*rewrites: Rewrite) -> Rewrite:
    """The first of several rewritings that applies."""

    def rewrite(tree: Tree) -> Tree | None:
        return next((after for one in rewrites if (after := one(tree)) is not None), None)

    return rewrite


def _neighbours(tree: Tree, merge: Callable[[Tree, Tree], Tree | None]) -> Tree | None:
    """A matrix product in which the first two neighbours that `merge` makes one are one."""
    if tree[0] != "@":
        return None
    for i in range(1, len(tree) - 1):
        merged = merge(tree[i], tree[i + 1])
        if merged is not None:
            rest = (*tree[1:i], merged, *tree[i + 2 :])
            return ("@", *rest) if len(rest) > 1 else merged
    return None


def _is(tree: Tree, operator: str) -> bool:
    return isinstance(tree, tuple) and tree[0] == operator


def _minus(tree: Tree) -> Tree:
    return ("*", -1, tree)


def _factors(tree: Tree) -> tuple:
    return tree[1:] if _is(tree, "@") else (tree,)


def _product(*factors: Tree) -> Tree:
    return ("@", *factors) if len(factors) > 1 else factors[0]


def _coefficient(tree: Tree) -> Any:
    """The number in front of a tidy product."""
    return tree[1] if _is(tree, "*") and is_number(tree[1]) else tree if is_number(tree) else 1


# --- rotations and matrices ------------------------------------------------------------------------------------------


def _definition(tree: Tree) -> Tree | None:
    if tree[0] != "R":
        return None
    c, s = ("cos", tree[1]), ("sin", tree[1])
    return ("matrix", ("row", c, _minus(s)), ("row", s, c))


def _table(tree: Tree) -> Tree | None:
    if tree[0] == "matrix" and shape(tree) == NUMBER:
        return tree[1][1]
    if tree[0] == "*":
        tables = [part for part in tree[1:] if _is(part, "matrix")]
        if tables:
            numbers = [part for part in tree[1:] if part is not tables[0]]
            return _entries(tables[0], lambda entry: ("*", *numbers, entry))
    if tree[0] == "+":
        tables = [part for part in tree[1:] if _is(part, "matrix")]
        if len(tables) > 1:
            rows = zip(*(table[1:] for table in tables), strict=True)
            summed = (
                "matrix",
                *(("row", *(("+", *e) for e in zip(*(r[1:] for r in row), strict=True))) for row in rows),
            )
            rest = [part for part in tree[1:] if part not in tables]
            return ("+", summed, *rest) if rest else summed
    return _neighbours(tree, lambda a, b: _multiplied(a, b) if _is(a, "matrix") and _is(b, "matrix") else None)


def _entries(table: Tree, function: Callable[[Tree], Tree]) -> Tree:
    return ("matrix", *(("row", *map(function, row[1:])) for row in table[1:]))


def _multiplied(a: Tree, b: Tree) -> Tree:
    columns = list(zip(*(row[1:] for row in b[1:]), strict=True))

    def entry(row: Sequence[Tree], column: Sequence[Tree]) -> Tree:
        terms = [("*", x, y) for x, y in zip(row, column, strict=True)]
        return ("+", *terms) if len(terms) > 1 else terms[0]

    return ("matrix", *(("row", *(entry(row[1:], column) for column in columns)) for row in a[1:]))


def _transpose(tree: Tree) -> Tree | None:
    if tree[0] == "@" and shape(tree) == NUMBER:  # a number is its own transpose: of the two ways to write it, one
        turned = tuple(part[1] if _is(part, "T") else ("T", part) for part in reversed(tree[1:]))
        return ("@", *turned) if repr(turned) < repr(tree[1:]) and not any(map(_pushes, turned)) else None
    return _pushed(tree[1]) if tree[0] == "T" else None


def _pushes(tree: Tree) -> bool:
    return _is(tree, "T") and _pushed(tree[1]) is not None


def _pushed(inner: Tree) -> Tree | None:
    """The transpose of a product, a sum, a transpose, a table."""
    if shape(inner) == NUMBER or _is(inner, "identity"):
        return inner
    if inner[0] == "T":
        return inner[1]
    if inner[0] == "@":
        return ("@", *(("T", part) for part in reversed(inner[1:])))
    if inner[0] == "+":
        return ("+", *(("T", part) for part in inner[1:]))
    if inner[0] == "*":
        return ("*", *(part if shape(part) == NUMBER else ("T", part) for part in inner[1:]))
    if inner[0] == "matrix":
        return ("matrix", *(("row", *column) for column in zip(*(row[1:] for row in inner[1:]), strict=True)))
    return None


def _composition(tree: Tree) -> Tree | None:
    if tree[0] == "R" and tree[1] == 0:
        return ("identity",)
    return _neighbours(tree, lambda a, b: ("R", ("+", a[1], b[1])) if _is(a, "R") and _is(b, "R") else None)


def _orthogonality(tree: Tree) -> Tree | None:
    if tree[0] == "T" and _is(tree[1], "R"):
        return ("R", _minus(tree[1][1]))

    def cancel(a: Tree, b: Tree) -> Tree | None:
        opposite = _is(a, "R") and _is(b, "R") and tidy(("+", a[1], b[1])) == 0
        return ("identity",) if opposite else None

    return _neighbours(tree, cancel)


def _inner_product(tree: Tree) -> Tree | None:
    if tree[0] == "dot":
        return ("@", ("T", tree[1]), tree[2])
    if tree[0] == "@" and shape(tree) == NUMBER and _is(tree[1], "T"):  # ⟨a, b⟩ = ⟨b, a⟩
        turned = ("T", _product(*tree[2:])), *_factors(tree[1][1])
        return ("@", *turned) if repr(turned) < repr(tree[1:]) else None
    return None


# --- blocks ----------------------------------------------------------------------------------------------------------

_fresh = itertools.count()


def _new_index(over: str) -> Tree:
    return ("index", f"~{next(_fresh) % 10**9}", over)


def _pair(x: Tree, index: Tree) -> Tree | None:
    """Pair `index` of a stack x."""
    if x[0] == "symbol":
        return ("item", x, index)
    if x[0] in ("+", "*"):
        parts = [part if shape(part) == NUMBER else _pair(part, index) for part in x[1:]]
        return None if None in parts else (x[0], *parts)
    if x[0] == "@" and _is(x[1], "blocks"):
        rest = _pair(_product(*x[2:]), index)
        return None if rest is None else ("@", substitute(x[1][2], x[1][1], index), rest)
    return None


def _block_structure(tree: Tree) -> Tree | None:
    if tree[0] == "T" and _is(tree[1], "blocks"):
        return ("blocks", tree[1][1], ("T", tree[1][2]))
    if tree[0] == "blocks" and tree[2] == ("identity",):
        return ("identity", tree[1][2])
    if tree[0] == "dot" and isinstance(shape(tree[1])[0], str):
        return _by_pairs(shape(tree[1])[0], lambda i: [_pair(tree[1], i), _pair(tree[2], i)], "dot")
    if tree[0] == "@" and shape(tree) == NUMBER and isinstance(shape(tree[1])[1], str) and _is(tree[1], "T"):

        def pairs(i: Tree) -> list:
            left = _pair(tree[1][1], i)
            return [None if left is None else ("T", left), _pair(_product(*tree[2:]), i)]

        whole = _by_pairs(shape(tree[1])[1], pairs, "@")
        if whole is not None:
            return whole

    def merge(a: Tree, b: Tree) -> Tree | None:
        if not (_is(a, "blocks") and _is(b, "blocks")):
            return None
        index = _new_index(a[1][2])
        return ("blocks", index, ("@", *(substitute(x[2], x[1], index) for x in (a, b))))

    return _neighbours(tree, merge)


def _by_pairs(over: str, parts: Callable[[Tree], list], operator: str) -> Tree | None:
    index = _new_index(over)
    found = parts(index)
    return None if None in found else ("total", index, (operator, *found))


# --- trigonometry, complex numbers, exponentials ---------------------------------------------------------------------


def _trigonometry(tree: Tree) -> Tree | None:
    if tree[0] == "^" and _is(tree[1], "sin") and is_number(tree[2]) and tree[2] >= 2:
        return ("*", ("+", 1, _minus(("^", ("cos", tree[1][1]), 2))), ("^", tree[1], tree[2] - 2))
    if tree[0] not in ("cos", "sin"):
        return None
    angle = tree[1]
    if angle == 0:
        return 1 if tree[0] == "cos" else 0
    if _is(angle, "+"):
        return _added(tree[0], angle[1], ("+", *angle[2:]) if len(angle) > 3 else angle[2])
    count = _coefficient(angle)
    if is_number(angle):
        return None if angle > 0 else _reflected(tree)
    if count < 0:
        return _reflected(tree)
    if int(count) == count and 2 <= count <= 12:
        once = tidy(("*", ("^", count, -1), angle))
        return _added(tree[0], once, tidy(("+", angle, _minus(once))))
    return None


def _reflected(tree: Tree) -> Tree:
    angle = tidy(_minus(tree[1]))
    return ("cos", angle) if tree[0] == "cos" else _minus(("sin", angle))


def _added(name: str, a: Tree, b: Tree) -> Tree:
    if name == "cos":
        return ("+", ("*", ("cos", a), ("cos", b)), _minus(("*", ("sin", a), ("sin", b))))
    return ("+", ("*", ("sin", a), ("cos", b)), ("*", ("cos", a), ("sin", b)))


def _exponents(tree: Tree) -> Tree | None:
    if tree[0] in ("exp", "cis") and tree[1] == 0:
        return 1
    if tree[0] == "^" and _is_exponential(tree[1]):
        return (tree[1][0], ("*", tree[2], tree[1][1]))
    if tree[0] == "*":
        for name in ("exp", "cis"):
            found = [part for part in tree[1:] if _is(part, name)]
            if len(found) > 1:
                rest = [part for part in tree[1:] if not _is(part, name)]
                return ("*", *rest, (name, ("+", *(part[1] for part in found))))
    return None


def _is_exponential(tree: Tree) -> bool:
    return _is(tree, "exp") or _is(tree, "cis")


def _euler(tree: Tree) -> Tree | None:
    return ("+", ("cos", tree[1]), ("*", ("im",), ("sin", tree[1]))) if tree[0] == "cis" else None


def _is_real(tree: Tree) -> bool:
    if _is(tree, "real"):
        return True
    if _is(tree, "symbol"):
        return tree[2] != "complex"
    return not (_is(tree, "im") or _is(tree, "cis")) and all(map(_is_real, children(tree)))


def _conjugate(tree: Tree) -> Tree | None:
    if tree[0] != "conj":
        return None
    inner = tree[1]
    if _is_real(inner):
        return inner
    if inner[0] in ("+", "*"):
        return (inner[0], *(("conj", part) for part in inner[1:]))
    if inner[0] == "^":
        return ("^", ("conj", inner[1]), inner[2])
    if inner[0] == "cis" and _is_real(inner[1]):
        return ("cis", _minus(inner[1]))
    if inner[0] == "total":
        return ("total", inner[1], ("conj", inner[2]))
    return {"conj": inner[1] if len(inner) > 1 else None, "im": _minus(inner)}.get(inner[0])


def _real_part(tree: Tree) -> Tree | None:
    if tree[0] != "real":
        return None
    half = ("^", 2, -1)
    return tree[1] if _is_real(tree[1]) else ("*", half, ("+", tree[1], ("conj", tree[1])))


def _logarithm(tree: Tree) -> Tree | None:
    if tree[0] == "log":
        inner = tree[1]
        if inner == 1:
            return 0
        if _is(inner, "exp"):
            return inner[1]
        if _is(inner, "^"):
            return ("*", inner[2], ("log", inner[1]))
        if _is(inner, "*") and not (is_number(inner[1]) and inner[1] < 0):
            return ("+", *(("log", part) for part in inner[1:]))
    if tree[0] == "exp":
        terms = tree[1][1:] if _is(tree[1], "+") else (tree[1],)
        for i, term in enumerate(terms):
            factor, rest = _coefficient(term), tidy(("*", ("^", _coefficient(term) or 1, -1), term))
            if _is(rest, "log") and (8 * factor) % 1 == 0:
                return ("*", ("^", rest[1], factor), ("exp", ("+", 0, *terms[:i], *terms[i + 1 :])))
    return None


def _softmax(tree: Tree) -> Tree | None:
    if tree[0] != "softmax":
        return None
    _, index, body, at = tree
    return ("*", ("exp", substitute(body, index, at)), ("^", ("total", index, ("exp", body)), -1))


def _sigmoid(tree: Tree) -> Tree | None:
    return ("^", ("+", 1, ("exp", _minus(tree[1]))), -1) if tree[0] == "sigmoid" else None


# --- sums and expectations -------------------------------------------------------------------------------------------


def _free_of(tree: Tree, index: Tree) -> bool:
    return substitute(tree, index, ("index", "#0", index[2])) == tree


def _certain(tree: Tree) -> bool:
    """Whether a tree holds nothing random outside an expectation."""
    if _is(tree, "E") or _is(tree, "var"):
        return True
    return not (_is(tree, "symbol") and tree[2] == "random") and all(map(_certain, children(tree)))


def _linearity(tree: Tree) -> Tree | None:
    if tree[0] == "total":
        _, index, body = tree
        if _free_of(body, index):
            return ("*", ("size", index[2]), body)
        return _spread(body, lambda part: _free_of(part, index), lambda part: ("total", index, part))
    return _linear_expectation(tree)


def _linear_expectation(tree: Tree) -> Tree | None:
    if tree[0] != "E":
        return None
    if _certain(tree[1]):
        return tree[1]
    if _is(tree[1], "total"):
        return ("total", tree[1][1], ("E", tree[1][2]))
    return _spread(tree[1], _certain, lambda part: ("E", part))


def _spread(body: Tree, constant: Callable[[Tree], bool], inside: Callable[[Tree], Tree]) -> Tree | None:
    """Sums apart, constant factors out."""
    if _is(body, "+"):
        return ("+", *map(inside, body[1:]))
    if _is(body, "*") and any(map(constant, body[1:])):
        rest = [part for part in body[1:] if not constant(part)]
        return ("*", *filter(constant, body[1:]), inside(("*", *rest) if len(rest) > 1 else rest[0]))
    return None


def _variance(tree: Tree) -> Tree | None:
    if tree[0] == "var":
        return ("+", ("E", ("^", tree[1], 2)), _minus(("^", ("E", tree[1]), 2)))
    return _linear_expectation(tree)


def random_families(tree: Tree) -> frozenset:
    """The random families in a tree."""
    return frozenset(part[1] for part in subtrees(tree) if _is(part, "symbol") and part[2] == "random")


def _independence(tree: Tree) -> Tree | None:
    if tree[0] == "E" and _is(tree[1], "*"):
        parts = _disjoint(tree[1][1:])
        return ("*", *(("E", ("*", *part) if len(part) > 1 else part[0]) for part in parts)) if len(parts) > 1 else None
    if tree[0] == "var" and _is(tree[1], "+"):
        parts = _disjoint(tree[1][1:])
        return (
            ("+", *(("var", ("+", *part) if len(part) > 1 else part[0]) for part in parts)) if len(parts) > 1 else None
        )
    if tree[0] == "var" and _is(tree[1], "total"):
        _, index, body = tree[1]
        items = [part for part in subtrees(body) if _is(part, "item") and random_families(part)]
        if items and all(item[2] == index for item in items):  # terms with different indices share nothing random
            return ("total", index, ("var", body))
    return None


def _disjoint(parts: Sequence[Tree]) -> list[list[Tree]]:
    """The parts in groups, such that different groups share nothing random."""
    groups: list[tuple[frozenset, list[Tree]]] = []
    for part in parts:
        mine = random_families(part)
        touching = [group for group in groups if group[0] & mine]
        groups = [group for group in groups if not group[0] & mine]
        merged = mine.union(*(group[0] for group in touching)), [*(x for g in touching for x in g[1]), part]
        groups.append(merged)
    return [group for _, group in groups]


# --- algebra ---------------------------------------------------------------------------------------------------------


def _algebra(tree: Tree) -> Tree | None:
    """One fraction in lowest terms, by sympy, of a number that has a sum below the line."""
    if tree[0] not in ("+", "*") or shape(tree) != NUMBER:
        return None
    below = [part for part in subtrees(tree) if _is(part, "^") and part[2] < 0 and _is(part[1], "+")]
    if not below:
        return None
    import sympy

    names: dict[Tree, Any] = {}

    def there(part: Tree) -> Any:
        if is_number(part):
            return sympy.Rational(part)
        if part[0] in ("+", "*"):
            return (sympy.Add if part[0] == "+" else sympy.Mul)(*map(there, part[1:]))
        if part[0] == "^" and part[2] % 1 == 0:
            return there(part[1]) ** int(part[2])
        return names.setdefault(part, sympy.Symbol(f"x{len(names)}"))

    def back(polynomial: Any) -> Tree:
        atoms = {symbol: part for part, symbol in names.items()}
        terms = [
            (
                "*",
                _fraction(factor),
                *(("^", atoms[x], power) for x, power in zip(polynomial.gens, powers, strict=True)),
            )
            for powers, factor in polynomial.terms()
        ]
        return ("+", 0, *terms)

    above, under = sympy.fraction(sympy.cancel(sympy.together(there(tree))))
    generators = list(names.values()) or [sympy.Symbol("x")]
    after = tidy(("*", back(sympy.Poly(above, *generators)), ("^", back(sympy.Poly(under, *generators)), -1)))
    return None if after == tidy(tree) else after


def _fraction(number: Any) -> Fraction:
    return Fraction(int(number.p), int(number.q))


# --- the list --------------------------------------------------------------------------------------------------------

_ALL = (
    Rule("algebra", "sums, products and fractions of numbers; any regrouping", _algebra),
    Rule("definition of R", "R(t) = [cos t, −sin t; sin t, cos t]", _definition),
    Rule("matrix product", "tables multiplied, added, or multiplied by a number", _table),
    Rule(
        "transpose",
        "(A B)ᵀ = Bᵀ Aᵀ, (A + B)ᵀ = Aᵀ + Bᵀ, Aᵀᵀ = A; rows become columns; a number is its own transpose",
        _transpose,
    ),
    Rule("composition", "R(a) R(b) = R(a + b), R(0) = I", _composition, theorem=True),
    Rule("orthogonality", "R(t)ᵀ = R(−t), R(t) R(−t) = I", _orthogonality, theorem=True),
    Rule("inner product", "⟨a, b⟩ = aᵀ b = ⟨b, a⟩", _inner_product),
    Rule(
        "block structure",
        "blocks(A) blocks(B) = blocks(A B), blocks(A)ᵀ = blocks(Aᵀ), "
        "⟨x, y⟩ = Σ_i ⟨x[i], y[i]⟩, (blocks_i(A) x)[i] = A x[i]",
        _block_structure,
    ),
    Rule(
        "trigonometry",
        "cos(a + b) = cos a cos b − sin a sin b, sin(a + b) = sin a cos b + cos a sin b, cos(−a) = cos a, "
        "sin(−a) = −sin a, cos² a + sin² a = 1, cos 0 = 1, sin 0 = 0",
        _trigonometry,
    ),
    Rule("Euler", "cis(t) = cos t + i sin t", _euler),
    Rule(
        "conjugate",
        "conj(x y) = conj(x) conj(y), conj(x + y) = conj(x) + conj(y), conj(cis t) = cis(−t), conj(x) = x if x is real",
        _conjugate,
    ),
    Rule("real part", "Re z = (z + conj z) / 2 = Re(conj z)", _first(_real_part, _conjugate)),
    Rule("exponents", "exp(a) exp(b) = exp(a + b), 1 / exp(a) = exp(−a), exp(0) = 1; the same for cis", _exponents),
    Rule("logarithm", "log(x y) = log x + log y, log(x^n) = n log x, log(exp x) = x = exp(log x)", _logarithm),
    Rule("softmax", "softmax_j(x[j])[i] = exp(x[i]) / Σ_j exp(x[j])", _softmax),
    Rule("sigmoid", "σ(x) = 1 / (1 + exp(−x))", _sigmoid),
    Rule("linearity", "sums apart, constant factors out, of Σ and E; Σ_i 1 = size(i), E(c) = c", _linearity),
    Rule("variance", "Var x = E(x²) − E(x)², Var(c x) = c² Var x", _variance),
    Rule(
        "independence",
        "E(x y) = E(x) E(y), Var(x + y) = Var x + Var y, where x and y share nothing random",
        _independence,
    ),
)
RULES = {rule.name: rule for rule in _ALL}


def given(name: str, left: Any, right: Any, *, variables: Sequence[Any] = (), defines: bool = False) -> Rule:
    """A rule from an equation: a definition, a fact of the problem, or a lemma that was proved before.

    `variables` are the symbols and indices for which anything of the same kind may stand. With `defines`, `left` is a
    symbol, or an item of a family, that has its value from `right`.
    """
    left, right = check_tree(tree_of(left)), check_tree(tree_of(right))
    free = {_variable(x) for x in variables}
    pattern = tidy(left)
    if is_number(pattern) or pattern[0] in ("+", "*", "^"):
        raise MeaninglessError(f"the left side of {name!r} must be no sum, product or power: {show(left)}")

    def rewrite(tree: Tree) -> Tree | None:
        if _is(pattern, "@") and _is(tree, "@"):
            length = len(pattern) - 1
            for i in range(1, len(tree) - length + 1):
                after = instance(("@", *tree[i : i + length]))
                if after is not None:
                    return _product(*tree[1:i], after, *tree[i + length :])
            return None
        return instance(tree)

    def instance(tree: Tree) -> Tree | None:
        binding: dict[Tree, Tree] = {}
        if not match(pattern, tree, free, binding):
            return None
        made = right
        for number, variable in enumerate(binding):  # in two rounds: what one stands for may hold another
            made = substitute(made, variable, ("index", f"~{10**9 + number}", "mark"))
        for number, value in enumerate(binding.values()):
            made = substitute(made, ("index", f"~{10**9 + number}", "mark"), value)
        return made

    return Rule(name, f"{show(left)} = {show(right)}", rewrite, equations=((left, right),), defines=defines)


def _variable(x: Any) -> Tree:
    return x.tree if isinstance(x, Index) else tree_of(x)


def match(pattern: Tree, tree: Tree, free: set[Tree], binding: dict[Tree, Tree]) -> bool:
    """Whether the tree is the pattern with something for its `free` symbols and indices; `binding` says with what."""
    if pattern in free:
        if pattern[0] == "index" and not (_is(tree, "index") and tree[2] == pattern[2]):
            return False
        if pattern[0] == "symbol" and (_is(tree, "index") or shape(tree) != shape(pattern)):
            return False
        return binding.setdefault(pattern, tree) == tree
    if not isinstance(pattern, tuple) or not isinstance(tree, tuple) or pattern[0] != tree[0]:
        return pattern == tree and type(pattern) is not bool
    if pattern[0] in ("symbol", "index", "size", "identity"):
        return pattern == tree
    if pattern[0] in BINDERS and pattern[1][2] != tree[1][2]:
        return False
    if pattern[0] == "@" and len(tree) > len(pattern):  # the last factor may stand for several
        tree = (*tree[: len(pattern) - 1], ("@", *tree[len(pattern) - 1 :]))
    return len(pattern) == len(tree) and all(
        match(part, other, free, binding) for part, other in zip(pattern[1:], tree[1:], strict=True)
    )
