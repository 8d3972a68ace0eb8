"""Tidying: what anyone may do in any step of a proof. Products regrouped, numbers collected, brackets multiplied out.

`tidy` gives two trees that differ by no more than that the same form: a sum of products, each a number, powers of
numbers in a fixed order, and a product of matrices in the order in which they stand.
"""

from __future__ import annotations

import functools
from fractions import Fraction

from utils.proofs.expressions import BINDERS, NUMBER, MeaninglessError, Tree, is_number, rebuild, shape, substitute

MAX_TERMS = 300
MAX_BITS = 2_000  # of a number

IM = ("im",)
Monomial = tuple[tuple[Tree, Fraction], ...]  # powers of numbers, sorted
Word = tuple[Tree, ...]  # factors of a matrix product, in order
Form = dict[tuple[Monomial, Word], Fraction]


def same(a: Tree, b: Tree) -> bool:
    """Whether two trees differ by no more than tidying."""
    return a == b or tidy(a) == tidy(b)


@functools.lru_cache(maxsize=50_000)
def tidy(tree: Tree) -> Tree:
    """The tree in its one tidy form. Raises: MeaninglessError where it divides by 0 or grows too large."""
    return emit(collect(tree), shape(tree))


def collect(tree: Tree) -> Form:
    """The tree as a sum: how often each product occurs in it."""
    if is_number(tree):
        return {((), ()): Fraction(tree)} if tree else {}
    operator, *parts = tree
    if operator == "+":
        return add(*map(collect, parts))
    if operator == "*":
        return functools.reduce(multiply, map(collect, parts))
    if operator == "@":
        product = functools.reduce(multiply, map(collect, parts))
        return add(*({_cut(monomial, word): factor} for (monomial, word), factor in product.items()))
    if operator == "^":
        return power(collect(parts[0]), Fraction(parts[1]))
    if operator == "identity":
        return {((), ()): Fraction(1)}
    atom = _atom(tree)
    return {((), (atom,)): Fraction(1)} if shape(tree) != NUMBER else {(((atom, Fraction(1)),), ()): Fraction(1)}


def _atom(tree: Tree) -> Tree:
    """A tree that is no sum, product or power, its parts tidied and its index renamed after its depth."""
    operator, *parts = tree
    if operator in BINDERS:
        old, body = parts[0], parts[1]
        free = _numbered(body, old)
        level = _depth(body) + 1
        while level in free:
            level += 1
        index = ("index", f"#{level}", old[2])
        return (operator, index, tidy(substitute(body, old, index)), *parts[2:])
    if operator in ("symbol", "index", "size", "item", "im", "pi"):
        return tree
    if operator == "matrix":
        return rebuild(tree, lambda row: rebuild(row, tidy))
    return rebuild(tree, tidy)


def _depth(tree: Tree) -> int:
    """How many indices are bound one inside the other."""
    if not isinstance(tree, tuple):
        return 0
    inside = max((_depth(part) for part in tree[1:] if isinstance(part, tuple)), default=0)
    return inside + (tree[0] in BINDERS)


def _numbered(tree: Tree, but: Tree) -> set[int]:
    """The numbers of free indices that were renamed before, apart from one."""
    if not isinstance(tree, tuple):
        return set()
    if tree[0] == "index":
        return {int(tree[1][1:])} if tree[1][0] == "#" and tree != but else set()
    inside = set().union(*(_numbered(part, but) for part in tree[1:] if isinstance(part, tuple)))
    return inside - {int(tree[1][1][1:])} if tree[0] in BINDERS and tree[1][1][0] == "#" else inside


def _cut(monomial: Monomial, word: Word) -> tuple[Monomial, Word]:
    """A word with its numbers taken out: from a row vector up to the column vector that ends it."""
    left: list[Tree] = []
    numbers = {(monomial, ()): Fraction(1)}
    row: list[Tree] = []
    for factor in word:
        if row or shape(factor)[0] == 1:
            row.append(factor)
            if shape(factor)[1] == 1:
                numbers = multiply(numbers, {(((("@", *row), Fraction(1)),), ()): Fraction(1)})
                row = []
        else:
            left.append(factor)
    ((monomial, _),) = numbers
    return monomial, (*left, *row)


# --- sums and products -----------------------------------------------------------------------------------------------


def add(*forms: Form) -> Form:
    out: Form = {}
    for form in forms:
        for key, factor in form.items():
            out[key] = out.get(key, 0) + factor
            if not out[key]:
                del out[key]
    return out


def multiply(a: Form, b: Form) -> Form:
    if len(a) * len(b) > MAX_TERMS:
        raise MeaninglessError(f"multiplied out, this has more than {MAX_TERMS} terms: write less at once")
    out: Form = {}
    for (powers, word), factor in a.items():
        for (more_powers, more_word), more in b.items():
            sign, monomial = _merge(powers, more_powers)
            key = monomial, word + more_word
            out[key] = _bounded(out.get(key, 0) + factor * more * sign)
    return {key: factor for key, factor in out.items() if factor}


def _bounded(number: Fraction) -> Fraction:
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > MAX_BITS:
        raise MeaninglessError("a number that is too large")
    return number


def _merge(a: Monomial, b: Monomial) -> tuple[Fraction, Monomial]:
    """The product of two products of powers, and the number that comes out of it."""
    powers = dict(a)
    for atom, exponent in b:
        powers[atom] = powers.get(atom, Fraction(0)) + exponent
    number = Fraction(1)
    if powers.get(IM, Fraction(0)).denominator == 1 and IM in powers:  # i·i = −1
        quarter = int(powers.pop(IM)) % 4
        number *= -1 if quarter >= 2 else 1
        if quarter % 2:
            powers[IM] = Fraction(1)
    for atom in [atom for atom in powers if is_number(atom) and powers[atom].denominator == 1]:
        number *= _to_the(atom, int(powers.pop(atom)))
    kept = [(atom, exponent) for atom, exponent in powers.items() if exponent]
    return number, tuple(sorted(kept, key=repr))


def power(form: Form, exponent: Fraction) -> Form:
    if not form:
        if exponent <= 0:
            raise MeaninglessError("a division by zero")
        return {}
    whole = exponent.denominator == 1
    if len(form) == 1:
        ((monomial, _), factor) = next(iter(form.items()))
        if whole or factor > 0:
            out: Form = {((), ()): Fraction(1)}
            for atom, e in monomial:
                out = multiply(out, {(((atom, e * exponent),), ()): Fraction(1)})
            for part, sign in ((factor.numerator, 1), (factor.denominator, -1)):
                out = multiply(out, _number(part, sign * exponent))
            return out
    elif whole and exponent > 0:
        return functools.reduce(multiply, [form] * int(exponent))
    lead = form[min(form, key=repr)]
    if whole:  # 1 / (2a + 2b) is 1/2 of 1 / (a + b)
        form = {key: factor / lead for key, factor in form.items()}
    scale = _to_the(lead, int(exponent)) if whole else Fraction(1)
    return {(((emit(form, NUMBER), exponent),), ()): scale}


def _number(base: int, exponent: Fraction) -> Form:
    if exponent.denominator == 1:
        return {((), ()): _to_the(base, int(exponent))}
    root = round(base ** (1 / exponent.denominator)) if base > 0 else 0
    if root**exponent.denominator == base:
        return {((), ()): _to_the(root, exponent.numerator)}
    return {(((base, exponent),), ()): Fraction(1)}


def _to_the(base: Fraction | int, exponent: int) -> Fraction:
    base = Fraction(base)
    if max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(exponent) > MAX_BITS:
        raise MeaninglessError("a number that is too large")
    return base**exponent


def emit(form: Form, size: tuple) -> Tree:
    """A form as a tree; `size` is the shape of the whole."""
    terms = [_term(key, form[key], size) for key in sorted(form, key=repr)]
    return 0 if not terms else terms[0] if len(terms) == 1 else ("+", *terms)


def _term(key: tuple[Monomial, Word], factor: Fraction, size: tuple) -> Tree:
    monomial, word = key
    parts: list[Tree] = [] if factor == 1 else [_plain(factor)]
    parts += [atom if exponent == 1 else ("^", atom, _plain(exponent)) for atom, exponent in monomial]
    if size != NUMBER:
        parts.append(("@", *word) if len(word) > 1 else word[0] if word else _identity(size))
    return ("*", *parts) if len(parts) > 1 else parts[0] if parts else 1


def _identity(size: tuple) -> Tree:
    return ("identity", size[0]) if isinstance(size[0], str) else ("identity",)


def _plain(number: Fraction) -> int | Fraction:
    return int(number) if number.denominator == 1 else number
