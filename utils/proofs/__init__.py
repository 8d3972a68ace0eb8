"""Proofs that a machine follows: a chain of lines, and the rule that leads from each to the next.

A proof is a list that takes turns, as on paper::

    m, n = symbols("m n")
    q, k = symbols("q k", "vector")
    [
        dot(R(m) @ q, R(n) @ k),
        "inner product",
        (R(m) @ q).T @ R(n) @ k,
        "transpose",
        q.T @ R(m).T @ R(n) @ k,
        …
    ]

Each link is checked twice: the rule must take one line to the other (anywhere in it, in either direction, as often as
one likes), and both must have the same value in float64 at random points. Any step may also tidy sums and products.
"""

from utils.proofs.checker import ProofError, check_proof, expect_proof, show_proof, show_rules
from utils.proofs.expressions import (
    Expression,
    MeaninglessError,
    R,
    blocks,
    cis,
    conj,
    cos,
    dot,
    exp,
    expectation,
    identity,
    im,
    indices,
    log,
    matrix,
    pi,
    real,
    sigmoid,
    sin,
    size,
    softmax,
    sqrt,
    symbols,
    total,
    variance,
)
from utils.proofs.rules import RULES, Rule, given

__all__ = [
    "RULES", "Expression", "MeaninglessError", "ProofError", "R", "Rule", "blocks", "check_proof", "cis", "conj", "cos",
    "dot", "exp", "expect_proof", "expectation", "given", "identity", "im", "indices", "log", "matrix", "pi", "real",
    "show_proof", "show_rules", "sigmoid", "sin", "size", "softmax", "sqrt", "symbols", "total", "variance",
]  # fmt: skip
