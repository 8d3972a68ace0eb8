"""The checker: follows a proof link by link, and says which link fails and why."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from utils import checks
from utils.display import show_html
from utils.proofs.expressions import (
    MeaninglessError,
    Tree,
    check_tree,
    children,
    is_number,
    rebuild,
    shape,
    show,
    tree_of,
)
from utils.proofs.rules import RULES, Rule, random_families
from utils.proofs.tidy import same, tidy
from utils.proofs.values import close, evaluate, points

MAX_LINES = 40
MAX_RANDOM = 4  # families: all their outcomes are gone through


class ProofError(Exception):
    """A proof that fails: at `link`, counted from 1 (0: before any link), for a `reason` in words."""

    def __init__(self, link: int, reason: str, lines: str = ""):
        super().__init__(f"step {link}: {reason}" if link else reason)
        self.link, self.reason, self.lines = link, reason, lines


@dataclass(frozen=True)
class Link:
    """One step: from a line to the next, by a rule."""

    number: int
    left: Tree
    rule: str
    right: Tree


def check_proof(
    proof: Any,
    start: Any,
    end: Any,
    *,
    given: Sequence[Rule] = (),
    rules: Sequence[str] | None = None,
) -> None:
    """Follow a proof that `start` equals `end`.

    `proof` is a list that takes turns: a line, the name of a rule, the next line, … . `given` are rules of this
    problem; `rules` names those of `RULES` that may be used, by default all.

    Raises: ProofError, which names the link that fails.
    """
    start, end = tree_of(start), tree_of(end)
    known = {name: RULES[name] for name in (RULES if rules is None else rules)}
    for rule in given:
        known[rule.name] = known[rule.name].joined(rule) if rule.name in known else rule
    definitions = [equation for rule in given if rule.defines for equation in rule.equations]
    lines, names = _parse(proof)
    if same(lines[0], end) and same(lines[-1], start) and not same(start, end):
        start, end = end, start  # from the right side to the left is a proof as well
    if not same(lines[0], start):
        raise ProofError(0, f"the proof must begin with {show(start)}, but it begins with {show(lines[0])}")
    links = [Link(i + 1, lines[i], name, lines[i + 1]) for i, name in enumerate(names)]
    for link in links:
        _known(link, known)
        _follow(link, known, definitions)
    if not same(lines[-1], end):  # last: a wrong end mostly comes of a wrong link
        raise ProofError(len(links), f"the proof must end with {show(end)}, but it ends with {show(lines[-1])}")
    for link in links:
        rule = known[link.rule]
        if not rule.defines and _is_claim(rule, start, end):
            raise ProofError(link.number, f"{rule.name!r} is what is to be proved: it cannot prove itself")


def expect_proof(proof: Any, start: Any, end: Any, **options: Any) -> None:
    """A check, as in `utils.checks`: fail with the link that does not hold, and why. Options: see `check_proof`."""
    try:
        check_proof(proof, start, end, **options)
    except ProofError as error:
        raise checks.CheckFailed(str(error), error.lines) from None
    checks.expect(True, "")


# --- the form of a proof ---------------------------------------------------------------------------------------------


def _parse(proof: Any) -> tuple[list[Tree], list[str]]:
    if not isinstance(proof, (list, tuple)):
        raise ProofError(
            0, f"a proof is a list: a line, the name of a rule, the next line, …; got {checks.describe(proof)}"
        )
    if len(proof) % 2 == 0 or len(proof) < 3:
        odd = next((place for place, entry in enumerate(proof) if (type(entry) is str) != bool(place % 2)), None)
        where = "" if odd is None else f"; entry {odd + 1} should be a {'rule' if odd % 2 else 'line'}"
        raise ProofError(
            0, f"a proof takes turns, and begins and ends with a line: this has {len(proof)} entries{where}"
        )
    if len(proof) > 2 * MAX_LINES:
        raise ProofError(0, f"a proof of more than {MAX_LINES} lines is too long")
    lines, names = [], []
    for place, entry in enumerate(proof):
        if place % 2:
            if type(entry) is not str:
                raise ProofError(place // 2 + 1, f"entry {place + 1} must be the name of a rule, in quotes")
            names.append(entry)
            continue
        try:
            lines.append(check_tree(tree_of(entry)))
            tidy(lines[-1])
        except MeaninglessError as error:
            raise ProofError((place + 1) // 2, f"line {place // 2 + 1} means nothing: {error}") from None
        except RecursionError:
            raise ProofError((place + 1) // 2, f"line {place // 2 + 1} is too deep") from None
    random = frozenset().union(*map(random_families, lines))
    if len(random) > MAX_RANDOM:
        raise ProofError(0, f"more than {MAX_RANDOM} random families")
    return lines, names


def _known(link: Link, known: dict[str, Rule]) -> None:
    if link.rule in known:
        return
    if link.rule in RULES:
        reason = f"{link.rule!r} may not be used in this proof: it is what is to be proved, or rests on it"
    else:
        near = difflib.get_close_matches(link.rule[:80], known, 1, cutoff=0.4)
        reason = f"there is no rule {link.rule[:80]!r}" + (f": is it {near[0]!r}?" if near else "")
    raise ProofError(link.number, reason)


def _is_claim(rule: Rule, start: Tree, end: Tree) -> bool:
    """Whether a rule is the claim itself: a theorem that gives it at once, or an equation with the same two sides."""
    ends = {tidy(start), tidy(end)}
    return (rule.theorem and rule.leads(start, end)) or any({tidy(a), tidy(b)} == ends for a, b in rule.equations)


# --- one link --------------------------------------------------------------------------------------------------------


def _follow(link: Link, known: dict[str, Rule], definitions: list) -> None:
    """Both ways of looking at a link: its values at random points, and its rule."""
    shown = f"{show(link.left)}\n= {show(link.right)}    ({link.rule})"
    if shape(link.left) != shape(link.right):
        raise ProofError(link.number, f"{show(link.left)} and {show(link.right)} are of different shapes", shown)
    if not _equal(link.left, link.right, definitions):
        raise ProofError(link.number, _why_false(link, definitions), shown)
    if link.left == link.right:
        raise ProofError(link.number, "this line repeats the one before", shown)
    tidied = same(link.left, link.right)
    if tidied and link.rule != "algebra":
        raise ProofError(link.number, f"this step only regroups: its rule is 'algebra', not {link.rule!r}", shown)
    if tidied or known[link.rule].leads(link.left, link.right):
        return
    raise ProofError(link.number, _why_unjustified(link, known), shown)


def _equal(left: Tree, right: Tree, definitions: list, style: str = "real") -> bool:
    at = points((left, right), definitions, style)
    try:
        return all(close(evaluate(left, point), evaluate(right, point)) for point in at)
    except (ArithmeticError, ValueError, KeyError, IndexError):
        return False


def _why_unjustified(link: Link, known: dict[str, Rule]) -> str:
    others = [name for name, rule in known.items() if rule.leads(link.left, link.right)]
    licence = f"{link.rule!r} says {known[link.rule].licenses}"
    if others:
        return f"true, but by {others[0]!r}, not by {link.rule!r}. {licence}"
    return f"true, but {link.rule!r} alone does not lead there: one rule at a time. {licence}"


def _why_false(link: Link, definitions: list) -> str:
    """The smallest part that is wrong, and what would mend it or where it happens to hold."""
    left, right = _difference(flat(link.left), flat(link.right))
    said = f"{show(left)} is not {show(right)}"
    undefined = [show(line) for line in (link.left, link.right) if not _equal(line, line, definitions)]
    if undefined:
        return f"{undefined[0]} has no value: a logarithm or root of a negative number, or a division by 0"
    for hint, mended in _repairs(left, right):
        if _try_equal(left, mended, definitions):
            return f"{said}: {hint}"
    for style, where in (
        ("equal", "where all numbers are equal"),
        ("whole", "for whole numbers"),
        ("neighbours", "for neighbours"),
    ):
        if _equal(left, right, definitions, style):
            return f"{said}: this holds only {where}"
    return said


def _try_equal(left: Tree, right: Tree, definitions: list) -> bool:
    try:
        return shape(left) == shape(right) and _equal(left, right, definitions)
    except MeaninglessError:
        return False


def _repairs(left: Tree, right: Tree) -> Iterator[tuple[str, Tree]]:
    """What is often meant by the right side, with the hint that leads there."""
    turned = _angles_negated(right)
    if turned != right:
        yield "check the sign of the angle, and the order of the difference", turned
    yield "check the sign", ("*", -1, right)
    if shape(right) != (1, 1):
        yield "a transpose is missing, or one too many", ("T", right)
    if isinstance(right, tuple) and right[0] == "@":
        yield "check the order of the factors", ("@", *reversed(right[1:]))
    for term in _terms(left):
        yield f"a term is missing: {show(term)}", ("+", right, term)
    for term in _terms(right):
        yield f"a term is too many: {show(term)}", ("+", right, ("*", -1, term))
    for i, term in enumerate(_terms(right), 1):
        yield f"check the sign of {show(term)}", (*right[:i], ("*", -1, term), *right[i + 1 :])


def _terms(tree: Tree) -> tuple:
    return tree[1:] if isinstance(tree, tuple) and tree[0] == "+" else ()


def _angles_negated(tree: Tree) -> Tree:
    if isinstance(tree, tuple) and tree[0] in ("R", "cis"):
        return (tree[0], ("*", -1, tree[1]))
    return rebuild(tree, _angles_negated)


def flat(tree: Tree) -> Tree:
    """The tree with sums and products in sums and products of the same kind laid open, and numbers as they are."""
    tree = rebuild(tree, flat)
    if isinstance(tree, tuple) and tree[0] in ("+", "*", "@"):
        parts = [
            x for part in tree[1:] for x in (part[1:] if isinstance(part, tuple) and part[0] == tree[0] else (part,))
        ]
        return (tree[0], *parts)
    return tree


def _difference(left: Tree, right: Tree) -> tuple[Tree, Tree]:
    """The smallest parts of two lines that hold all that differs; a function is not parted from its argument."""
    if is_number(left) or is_number(right) or left[0] != right[0] or left[0] in ("R", "cis", "symbol", "item", "index"):
        return left, right
    if left[0] in ("@", "+", "*"):
        return _trimmed(left, right)
    a, b = children(left), children(right)
    if len(a) != len(b) or left[0] in ("cos", "sin", "exp", "log", "^"):
        return left, right
    different = [(x, y) for x, y in zip(a, b, strict=True) if x != y]
    if len(different) != 1 or any(isinstance(part, tuple) and part[0] == "index" for part in different[0]):
        return left, right
    return _difference(*different[0])


def _trimmed(left: Tree, right: Tree) -> tuple[Tree, Tree]:
    """What is left of two products or sums without the parts that they share."""
    operator, a, b = left[0], list(left[1:]), list(right[1:])
    if operator == "@":
        while len(a) > 1 and len(b) > 1 and a[0] == b[0]:
            a, b = a[1:], b[1:]
        while len(a) > 1 and len(b) > 1 and a[-1] == b[-1]:
            a, b = a[:-1], b[:-1]
    else:
        for part in list(a):
            if part in b and len(a) > 1 and len(b) > 1:
                a.remove(part)
                b.remove(part)
    smaller = [(operator, *x) if len(x) > 1 else x[0] for x in (a, b)]
    try:
        if shape(smaller[0]) != shape(smaller[1]):
            return left, right
    except MeaninglessError:
        return left, right
    return _difference(*smaller) if len(a) == len(b) == 1 else (smaller[0], smaller[1])


# --- showing ---------------------------------------------------------------------------------------------------------


def show_proof(proof: Sequence[Any]) -> None:
    """Show a proof line by line, each with the rule that leads to it."""
    lines, names = _parse(proof)
    texts = [show(line) for line in lines]
    width = max(map(len, texts))
    rows = [f"  {texts[0]}", *(f"= {t:<{width}}   {name}" for t, name in zip(texts[1:], names, strict=True))]
    left = "<td style='text-align:left'>"
    cells = "".join(
        f"<tr><td>{'=' if i else ''}</td>{left}{text}</td>{left}<i>{name}</i></td></tr>"
        for i, (text, name) in enumerate(zip(texts, ["", *names], strict=True))
    )
    show_html(f"<table>{cells}</table>", "\n".join(rows))


def show_rules(*rules: str | Rule) -> None:
    """Show what each of the rules licenses, those of `RULES` by name; without any, all of `RULES`."""
    chosen = [rule if isinstance(rule, Rule) else RULES[rule] for rule in (rules or RULES)]
    width = max(len(rule.name) for rule in chosen)
    cells = "".join(
        f"<tr><td style='text-align:left'><b>{rule.name}</b></td><td style='text-align:left'>{rule.licenses}</td></tr>"
        for rule in chosen
    )
    show_html(f"<table>{cells}</table>", "\n".join(f"{rule.name:<{width}}   {rule.licenses}" for rule in chosen))
