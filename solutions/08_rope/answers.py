"""Planted answers for lesson 08: wrong ones that students give, and right ones in another style."""

import torch
import torch.nn.functional as F
from einops import rearrange

from autograder.authoring.answers import right, wrong
from utils.proofs import R, blocks, cis, conj, cos, dot, identity, im, indices, matrix, real, sin, symbols, total

a, b, t, m, n = symbols("a b t m n")
q, k = symbols("q k", "vector")
u, v = symbols("u v", "complex")
i, j = indices("i j", "pairs")
w = symbols("w", over="pairs")
Q, K = symbols("Q K", "vector", over="pairs")

# --- rotate_pair -----------------------------------------------------------------------------------------------------


@wrong("turns with the clock", says="with the clock")
def rotate_pair(x, y, theta):
    return x * theta.cos() + y * theta.sin(), y * theta.cos() - x * theta.sin()


@wrong("takes the angle in degrees", says="in radians")
def rotate_pair(x, y, theta):
    theta = torch.deg2rad(theta)
    return x * theta.cos() - y * theta.sin(), x * theta.sin() + y * theta.cos()


@wrong("the second line uses the new x", says="with the old x")
def rotate_pair(x, y, theta):
    x = x * theta.cos() - y * theta.sin()
    return x, x * theta.sin() + y * theta.cos()


@wrong("cosine and sine exchanged", says="which function and which number")
def rotate_pair(x, y, theta):
    return x * theta.sin() - y * theta.cos(), x * theta.cos() + y * theta.sin()


@wrong("the minus is missing", says="the new x is")
def rotate_pair(x, y, theta):
    return x * theta.cos() + y * theta.sin(), x * theta.sin() + y * theta.cos()


@wrong("returns one stacked tensor", says="two tensors")
def rotate_pair(x, y, theta):
    return torch.stack([x * theta.cos() - y * theta.sin(), x * theta.sin() + y * theta.cos()])


@right("with complex numbers")
def rotate_pair(x, y, theta):
    turned = torch.complex(x, y) * torch.exp(1j * theta)
    return turned.real, turned.imag


@right("by the angle and the length of each point, as a list")
def rotate_pair(x, y, theta):
    length, angle = (x * x + y * y).sqrt(), torch.atan2(y, x) + theta
    return [length * angle.cos(), length * angle.sin()]


# --- prove_composition -----------------------------------------------------------------------------------------------


@wrong("assumes the claim", says="may not be used in this proof")
def prove_composition():
    return [R(a) @ R(b), "composition", R(a + b)]


@wrong("multiplies rows by rows", says="is not")
def prove_composition():
    return [
        R(a) @ R(b),
        "definition of R",
        matrix([cos(a), -sin(a)], [sin(a), cos(a)]) @ matrix([cos(b), -sin(b)], [sin(b), cos(b)]),
        "matrix product",
        matrix(
            [cos(a) * cos(b) + sin(a) * sin(b), cos(a) * sin(b) - sin(a) * cos(b)],
            [sin(a) * cos(b) - cos(a) * sin(b), sin(a) * sin(b) + cos(a) * cos(b)],
        ),
        "trigonometry",
        matrix([cos(a - b), -sin(a - b)], [sin(a - b), cos(a - b)]),
        "definition of R",
        R(a - b),
    ]


@wrong("a sign in the upper left entry", says="step 2: ")
def prove_composition():
    return [
        R(a) @ R(b),
        "definition of R",
        matrix([cos(a), -sin(a)], [sin(a), cos(a)]) @ matrix([cos(b), -sin(b)], [sin(b), cos(b)]),
        "matrix product",
        matrix(
            [cos(a) * cos(b) + sin(a) * sin(b), -cos(a) * sin(b) - sin(a) * cos(b)],
            [sin(a) * cos(b) + cos(a) * sin(b), cos(a) * cos(b) - sin(a) * sin(b)],
        ),
        "trigonometry",
        matrix([cos(a + b), -sin(a + b)], [sin(a + b), cos(a + b)]),
        "definition of R",
        R(a + b),
    ]


@wrong("the minus of the definition in the other corner", says="step 1: ")
def prove_composition():
    return [
        R(a) @ R(b),
        "definition of R",
        matrix([cos(a), sin(a)], [-sin(a), cos(a)]) @ matrix([cos(b), sin(b)], [-sin(b), cos(b)]),
        "matrix product",
        matrix(
            [cos(a) * cos(b) - sin(a) * sin(b), cos(a) * sin(b) + sin(a) * cos(b)],
            [-sin(a) * cos(b) - cos(a) * sin(b), cos(a) * cos(b) - sin(a) * sin(b)],
        ),
        "trigonometry",
        matrix([cos(a + b), sin(a + b)], [-sin(a + b), cos(a + b)]),
        "definition of R",
        R(a + b),
    ]


@wrong("stops at the table", says="must end with R(a + b)")
def prove_composition():
    return [
        R(a) @ R(b),
        "definition of R",
        matrix([cos(a), -sin(a)], [sin(a), cos(a)]) @ matrix([cos(b), -sin(b)], [sin(b), cos(b)]),
        "matrix product",
        matrix(
            [cos(a) * cos(b) - sin(a) * sin(b), -cos(a) * sin(b) - sin(a) * cos(b)],
            [sin(a) * cos(b) + cos(a) * sin(b), cos(a) * cos(b) - sin(a) * sin(b)],
        ),
        "trigonometry",
        matrix([cos(a + b), -sin(a + b)], [sin(a + b), cos(a + b)]),
    ]


@wrong("one step from the tables to the sum", says="one rule at a time")
def prove_composition():
    return [
        R(a) @ R(b),
        "definition of R",
        matrix([cos(a), -sin(a)], [sin(a), cos(a)]) @ matrix([cos(b), -sin(b)], [sin(b), cos(b)]),
        "trigonometry",
        matrix([cos(a + b), -sin(a + b)], [sin(a + b), cos(a + b)]),
        "definition of R",
        R(a + b),
    ]


@wrong("lines without rules", says="name of a rule")
def prove_composition():
    return [R(a) @ R(b), R(a + b), R(a + b)]


@right("defines one factor after the other, and backwards")
def prove_composition():
    left = matrix([cos(a), -sin(a)], [sin(a), cos(a)])
    return [
        R(a + b),
        "definition of R",
        matrix([cos(a + b), -sin(a + b)], [sin(a + b), cos(a + b)]),
        "trigonometry",
        matrix(
            [cos(a) * cos(b) - sin(a) * sin(b), -(sin(a) * cos(b) + cos(a) * sin(b))],
            [sin(a) * cos(b) + cos(a) * sin(b), cos(a) * cos(b) - sin(a) * sin(b)],
        ),
        "matrix product",
        left @ matrix([cos(b), -sin(b)], [sin(b), cos(b)]),
        "definition of R",
        left @ R(b),
        "definition of R",
        R(a) @ R(b),
    ]


@right("with a step of algebra, as a tuple")
def prove_composition():
    product = matrix(
        [cos(a) * cos(b) + (-sin(a)) * sin(b), cos(a) * (-sin(b)) + (-sin(a)) * cos(b)],
        [sin(a) * cos(b) + cos(a) * sin(b), sin(a) * (-sin(b)) + cos(a) * cos(b)],
    )
    tidied = matrix(
        [cos(a) * cos(b) - sin(a) * sin(b), -(cos(a) * sin(b) + sin(a) * cos(b))],
        [cos(b) * sin(a) + sin(b) * cos(a), cos(b) * cos(a) - sin(b) * sin(a)],
    )
    return (
        R(a) @ R(b),
        "definition of R",
        matrix([cos(a), -sin(a)], [sin(a), cos(a)]) @ matrix([cos(b), -sin(b)], [sin(b), cos(b)]),
        "matrix product",
        product,
        "algebra",
        tidied,
        "trigonometry",
        matrix([cos(b + a), -sin(b + a)], [sin(b + a), cos(b + a)]),
        "definition of R",
        R(b + a),
    )


# --- prove_relative_score --------------------------------------------------------------------------------------------


@wrong("the order of the difference", says="check the sign of the angle, and the order of the difference")
def prove_relative_score():
    return [
        dot(R(m) @ q, R(n) @ k),
        "inner product",
        (R(m) @ q).T @ R(n) @ k,
        "transpose",
        q.T @ R(m).T @ R(n) @ k,
        "orthogonality",
        q.T @ R(-m) @ R(n) @ k,
        "composition",
        q.T @ R(m - n) @ k,
        "inner product",
        dot(q, R(n - m) @ k),
    ]


@wrong("forgets to turn the product round", says="means nothing")
def prove_relative_score():
    return [
        dot(R(m) @ q, R(n) @ k),
        "inner product",
        (R(m) @ q).T @ R(n) @ k,
        "transpose",
        ("@", ("T", R(m).tree), ("T", q.tree), R(n).tree, k.tree),
        "orthogonality",
        q.T @ R(-m) @ R(n) @ k,
        "composition",
        q.T @ R(n - m) @ k,
        "inner product",
        dot(q, R(n - m) @ k),
    ]


@wrong("the transpose of a rotation is itself", says="R(m)ᵀ is not R(m)")
def prove_relative_score():
    return [
        dot(R(m) @ q, R(n) @ k),
        "inner product",
        (R(m) @ q).T @ R(n) @ k,
        "transpose",
        q.T @ R(m).T @ R(n) @ k,
        "orthogonality",
        q.T @ R(m) @ R(n) @ k,
        "composition",
        q.T @ R(n + m) @ k,
        "inner product",
        dot(q, R(n + m) @ k),
    ][:-1] + [dot(q, R(n - m) @ k)]


@wrong("proves it for neighbours", says="only for neighbours")
def prove_relative_score():
    return [
        dot(R(m) @ q, R(n) @ k),
        "inner product",
        (R(m) @ q).T @ R(n) @ k,
        "transpose",
        q.T @ R(m).T @ R(n) @ k,
        "orthogonality",
        q.T @ R(-m) @ R(n) @ k,
        "composition",
        q.T @ R(1) @ k,
        "inner product",
        dot(q, R(n - m) @ k),
    ]


@wrong("the rotations simply cancel", says="where all numbers are equal")
def prove_relative_score():
    return [
        dot(R(m) @ q, R(n) @ k),
        "orthogonality",
        dot(q, k),
        "composition",
        dot(q, R(n - m) @ k),
    ]


@wrong("names the wrong rule", says="true, but by 'composition'")
def prove_relative_score():
    return [
        dot(R(m) @ q, R(n) @ k),
        "inner product",
        (R(m) @ q).T @ R(n) @ k,
        "transpose",
        q.T @ R(m).T @ R(n) @ k,
        "orthogonality",
        q.T @ R(-m) @ R(n) @ k,
        "orthogonality",
        q.T @ R(n - m) @ k,
        "inner product",
        dot(q, R(n - m) @ k),
    ]


@wrong("proves another claim, that the lengths are kept", says="must end with")
def prove_relative_score():
    return [
        dot(R(m) @ q, R(n) @ k),
        "inner product",
        (R(m) @ q).T @ R(n) @ k,
        "transpose",
        q.T @ R(m).T @ R(n) @ k,
    ]


@right("splits R(n) into R(m) R(n − m)")
def prove_relative_score():
    return [
        dot(R(m) @ q, R(n) @ k),
        "composition",
        dot(R(m) @ q, R(m) @ R(n - m) @ k),
        "inner product",
        (R(m) @ q).T @ R(m) @ R(n - m) @ k,
        "transpose",
        q.T @ R(m).T @ R(m) @ R(n - m) @ k,
        "orthogonality",
        q.T @ R(n - m) @ k,
        "inner product",
        dot(q, R(n - m) @ k),
    ]


@right("from the key's side, through the symmetry of the inner product")
def prove_relative_score():
    return [
        dot(R(m) @ q, R(n) @ k),
        "inner product",
        (R(n) @ k).T @ R(m) @ q,
        "transpose",
        k.T @ R(n).T @ R(m) @ q,
        "orthogonality",
        k.T @ R(n).T @ R(-m).T @ q,
        "transpose",
        (R(-m) @ R(n) @ k).T @ q,
        "composition",
        (R(-m + n) @ k).T @ q,
        "inner product",
        dot(q, R(n - m) @ k),
    ]


@right("turns everything into complex-free tables of one rotation: two steps of composition and an identity")
def prove_relative_score():
    return [
        dot(q, R(n - m) @ k),
        "inner product",
        q.T @ R(n - m) @ k,
        "composition",
        q.T @ R(-m) @ R(n) @ identity @ k,
        "orthogonality",
        q.T @ R(m).T @ R(n) @ k,
        "transpose",
        (R(m) @ q).T @ (R(n) @ k),
        "inner product",
        dot(R(m) @ q, R(n) @ k),
    ]


# --- prove_blocks ----------------------------------------------------------------------------------------------------


@wrong("forgets the frequencies", says="is not")
def prove_blocks():
    return [
        dot(blocks(i, R(m * w[i])) @ Q, blocks(i, R(n * w[i])) @ K),
        "block structure",
        total(i, dot(R(m) @ Q[i], R(n) @ K[i])),
        "relative score",
        total(i, dot(Q[i], R(n - m) @ K[i])),
        "block structure",
        dot(Q, blocks(i, R((n - m) * w[i])) @ K),
    ]


@wrong("one block in place of the sum", says="is not")
def prove_blocks():
    return [
        dot(blocks(i, R(m * w[i])) @ Q, blocks(i, R(n * w[i])) @ K),
        "block structure",
        dot(R(m * w[i]) @ Q[i], R(n * w[i]) @ K[i]),
        "relative score",
        dot(Q[i], R(n * w[i] - m * w[i]) @ K[i]),
        "block structure",
        dot(Q, blocks(i, R((n - m) * w[i])) @ K),
    ]


@wrong("the order of the difference in the lemma", says="check the sign of the angle")
def prove_blocks():
    return [
        dot(blocks(i, R(m * w[i])) @ Q, blocks(i, R(n * w[i])) @ K),
        "block structure",
        total(i, dot(R(m * w[i]) @ Q[i], R(n * w[i]) @ K[i])),
        "relative score",
        total(i, dot(Q[i], R(m * w[i] - n * w[i]) @ K[i])),
        "algebra",
        total(i, dot(Q[i], R((m - n) * w[i]) @ K[i])),
        "block structure",
        dot(Q, blocks(i, R((n - m) * w[i])) @ K),
    ]


@wrong("takes the claim of a pair for that of a head", says="one rule at a time")
def prove_blocks():
    return [
        dot(blocks(i, R(m * w[i])) @ Q, blocks(i, R(n * w[i])) @ K),
        "relative score",
        dot(Q, blocks(i, R((n - m) * w[i])) @ K),
    ]


@wrong("mixes the blocks", says="is not")
def prove_blocks():
    j = indices("j", over="pairs")
    return [
        dot(blocks(i, R(m * w[i])) @ Q, blocks(i, R(n * w[i])) @ K),
        "block structure",
        total(i, total(j, dot(R(m * w[i]) @ Q[i], R(n * w[j]) @ K[j]))),
        "relative score",
        dot(Q, blocks(i, R((n - m) * w[i])) @ K),
    ]


@wrong("ends with the sum over pairs", says="must end with")
def prove_blocks():
    return [
        dot(blocks(i, R(m * w[i])) @ Q, blocks(i, R(n * w[i])) @ K),
        "block structure",
        total(i, dot(R(m * w[i]) @ Q[i], R(n * w[i]) @ K[i])),
        "relative score",
        total(i, dot(Q[i], R(n * w[i] - m * w[i]) @ K[i])),
    ]


@right("without the lemma, with the large matrices themselves")
def prove_blocks():
    return [
        dot(turn_head(m) @ Q, turn_head(n) @ K),
        "inner product",
        (turn_head(m) @ Q).T @ turn_head(n) @ K,
        "transpose",
        Q.T @ turn_head(m).T @ turn_head(n) @ K,
        "block structure",
        Q.T @ blocks(i, R(m * w[i]).T @ R(n * w[i])) @ K,
        "orthogonality",
        Q.T @ blocks(i, R(-m * w[i]) @ R(n * w[i])) @ K,
        "composition",
        Q.T @ turn_head(n - m) @ K,
        "inner product",
        dot(Q, turn_head(n - m) @ K),
    ]


@right("with the difference factored at once, and another name for the index")
def prove_blocks():
    j = indices("j", over="pairs")
    return [
        dot(turn_head(m) @ Q, turn_head(n) @ K),
        "block structure",
        total(j, dot(R(m * w[j]) @ Q[j], R(n * w[j]) @ K[j])),
        "relative score",
        total(j, dot(Q[j], R((n - m) * w[j]) @ K[j])),
        "block structure",
        dot(Q, turn_head(n - m) @ K),
    ]


# --- prove_complex ---------------------------------------------------------------------------------------------------


@wrong("the conjugate leaves the angle alone", says="check the sign of the angle")
def prove_complex():
    return [
        real(u * cis(m) * conj(v * cis(n))),
        "conjugate",
        real(u * cis(m) * conj(v) * cis(n)),
        "exponents",
        real(u * conj(v) * cis(m - n)),
    ]


@wrong("the conjugate leaves v alone", says="is not")
def prove_complex():
    return [
        real(u * cis(m) * conj(v * cis(n))),
        "conjugate",
        real(u * cis(m) * v * cis(-n)),
        "exponents",
        real(u * conj(v) * cis(m - n)),
    ]


@wrong("multiplies the angles", says="is not")
def prove_complex():
    return [
        real(u * cis(m) * conj(v * cis(n))),
        "conjugate",
        real(u * cis(m) * conj(v) * cis(-n)),
        "exponents",
        real(u * conj(v) * cis(-m * n)),
    ]


@wrong("both steps under one name", says="one rule at a time")
def prove_complex():
    return [real(u * cis(m) * conj(v * cis(n))), "conjugate", real(u * conj(v) * cis(m - n))]


@wrong("begins with another product", says="must begin with")
def prove_complex():
    return [real(u * cis(m) * v * cis(-n)), "exponents", real(u * v * cis(m - n))]


@right("the conjugate in two steps")
def prove_complex():
    return [
        real(u * cis(m) * conj(v * cis(n))),
        "conjugate",
        real(u * cis(m) * conj(v) * conj(cis(n))),
        "conjugate",
        real(u * cis(m) * conj(v) * cis(-n)),
        "exponents",
        real(u * conj(v) * cis(m - n)),
    ]


@right("by Euler and the addition theorems")
def prove_complex():
    return [
        real(u * cis(m) * conj(v * cis(n))),
        "conjugate",
        real(u * conj(v) * cis(m) * cis(-n)),
        "Euler",
        real(u * conj(v) * (cos(m) + im * sin(m)) * (cos(-n) + im * sin(-n))),
        "algebra",
        real(u * conj(v) * (cos(m) * cos(-n) - sin(m) * sin(-n) + im * (cos(m) * sin(-n) + sin(m) * cos(-n)))),
        "trigonometry",
        real(u * conj(v) * (cos(m - n) + im * sin(m - n))),
        "Euler",
        real(u * conj(v) * cis(m - n)),
    ]


# --- absolute_positions_fail -----------------------------------------------------------------------------------------


@wrong("query and key of zeros", says="does depend on n − m alone")
def absolute_positions_fail():
    return [0.0] * 4, [0.0] * 4, (0, 1), (5, 6)


@wrong("another distance", says="the same distance")
def absolute_positions_fail():
    return [1.0, 0.0, 0.0, 0.0], [0.0] * 4, (0, 1), (0, 2)


@wrong("the same places twice", says="must not be the same")
def absolute_positions_fail():
    return [1.0, 0.0, 0.0, 0.0], [0.0] * 4, (3, 5), (3, 5)


@wrong("a number in place of a pair of places", says="pairs (m, n) of places")
def absolute_positions_fail():
    return [1.0, 0.0, 0.0, 0.0], [0.0] * 4, 0, 1


@wrong("places between whole numbers", says="places are whole numbers")
def absolute_positions_fail():
    return [1.0, 0.0, 0.0, 0.0], [0.0] * 4, (0, 0), (1.5, 1.5)


@wrong("an entry that hardly changes", says="must differ by more than 0.01")
def absolute_positions_fail():
    return [0.0, 0.0, 0.0, 1.0], [0.0] * 4, (0, 0), (1, 1)


@wrong("vectors of two numbers", says="4 numbers each")
def absolute_positions_fail():
    return [1.0, 0.0], [0.0, 0.0], (0, 0), (1, 1)


@wrong("places outside the range", says="from 0 to 100")
def absolute_positions_fail():
    return [1.0, 0.0, 0.0, 0.0], [0.0] * 4, (0, 0), (-1, -1)


@right("found by search")
def absolute_positions_fail():
    query, key = torch.tensor([1.0, -2.0, 0.5, 3.0]), torch.tensor([0.3, 1.0, 2.0, -1.0])

    def score(m, n):
        return (query + sinusoidal(torch.tensor(m), 4)) @ (key + sinusoidal(torch.tensor(n), 4))

    far = max(range(1, 98), key=lambda m: abs(score(m, m + 3) - score(0, 3)).item())
    return query, key, (0, 3), (far, far + 3)


@right("with a key alone, as lists of lists")
def absolute_positions_fail():
    return [0, 0, 0, 0], [0, 7, 0, 0], [4, 2], [6, 4]


# --- rope_frequencies ------------------------------------------------------------------------------------------------


@wrong("one frequency for all", says="a frequency of its own")
def rope_frequencies(d, base=10_000.0):
    return torch.cat([torch.ones(1), torch.full((d // 2 - 1,), base ** (-2 / d))])


@wrong("growing frequencies", says="later pairs turn more slowly")
def rope_frequencies(d, base=10_000.0):
    return base ** (torch.arange(0, d, 2) / d)


@wrong("a frequency for each feature", says="one frequency for each pair")
def rope_frequencies(d, base=10_000.0):
    return base ** (-torch.arange(d) / d)


@wrong("i in place of 2i", says="base^(-2i/d)")
def rope_frequencies(d, base=10_000.0):
    return base ** (-torch.arange(d // 2) / d)


@wrong("starts at the second pair", says="the exponent starts at 0")
def rope_frequencies(d, base=10_000.0):
    return base ** (-torch.arange(2, d + 2, 2) / d)


@wrong("the base is not used", says="base 500000")
def rope_frequencies(d, base=10_000.0):
    return 10_000.0 ** (-torch.arange(0, d, 2) / d)


@right("as Llama's code has it")
def rope_frequencies(d, base=10_000.0):
    return 1.0 / (base ** (torch.arange(0, d, 2, dtype=torch.int64).float() / d))


@right("number by number")
def rope_frequencies(d, base=10_000.0):
    import math

    return torch.tensor([math.exp(-2 * pair / d * math.log(base)) for pair in range(d // 2)])


# --- apply_rope ------------------------------------------------------------------------------------------------------


@wrong("ignores the positions", says="the positions are not used")
def apply_rope(x, positions, base=10_000.0):
    angles = torch.arange(x.shape[-2])[:, None] * rope_frequencies(x.shape[-1], base)
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack(rotate_pair(first, second, angles), dim=-1).flatten(-2).to(x.dtype)


@wrong("counts from the first position given: restarts for a word that comes alone", says="restarts at 0")
def apply_rope(x, positions, base=10_000.0):
    if x.shape[-2] == 1:
        positions = torch.zeros_like(positions)
    angles = positions[..., None] * rope_frequencies(x.shape[-1], base)
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack(rotate_pair(first, second, angles), dim=-1).flatten(-2).to(x.dtype)


@wrong("turns with the clock", says="with the clock")
def apply_rope(x, positions, base=10_000.0):
    angles = -positions[..., None] * rope_frequencies(x.shape[-1], base)
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack(rotate_pair(first, second, angles), dim=-1).flatten(-2).to(x.dtype)


@wrong("one frequency for all pairs", says="each pair turns by its own frequency")
def apply_rope(x, positions, base=10_000.0):
    angles = positions[..., None] * torch.ones(x.shape[-1] // 2)
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack(rotate_pair(first, second, angles), dim=-1).flatten(-2).to(x.dtype)


@wrong("angles in degrees", says="not in degrees")
def apply_rope(x, positions, base=10_000.0):
    angles = torch.deg2rad(positions[..., None] * rope_frequencies(x.shape[-1], base))
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack(rotate_pair(first, second, angles), dim=-1).flatten(-2).to(x.dtype)


@wrong("pairs half the head apart", says="half the head apart")
def apply_rope(x, positions, base=10_000.0):
    angles = positions[..., None] * rope_frequencies(x.shape[-1], base)
    first, second = x.chunk(2, dim=-1)
    return torch.cat(rotate_pair(first, second, angles), dim=-1).to(x.dtype)


@wrong("cuts interleaved, joins in halves", says="the turns are right")
def apply_rope(x, positions, base=10_000.0):
    angles = positions[..., None] * rope_frequencies(x.shape[-1], base)
    return torch.cat(rotate_pair(x[..., 0::2], x[..., 1::2], angles), dim=-1).to(x.dtype)


@wrong("rounds the positions", says="need not be whole")
def apply_rope(x, positions, base=10_000.0):
    angles = positions.long()[..., None] * rope_frequencies(x.shape[-1], base)
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack(rotate_pair(first, second, angles), dim=-1).flatten(-2).to(x.dtype)


@wrong("the base is lost", says="the base is not used")
def apply_rope(x, positions, base=10_000.0):
    angles = positions[..., None] * rope_frequencies(x.shape[-1])
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack(rotate_pair(first, second, angles), dim=-1).flatten(-2).to(x.dtype)


@wrong("adds the angles", says="a turn keeps lengths")
def apply_rope(x, positions, base=10_000.0):
    angles = positions[..., None] * rope_frequencies(x.shape[-1], base)
    return x + torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(-2)


@wrong("does not cast the result", says="cast it in the end")
def apply_rope(x, positions, base=10_000.0):
    angles = positions[..., None] * rope_frequencies(x.shape[-1], base)
    return torch.stack(rotate_pair(x[..., 0::2], x[..., 1::2], angles), dim=-1).flatten(-2)


@wrong("casts to float32", says="cast it in the end")
def apply_rope(x, positions, base=10_000.0):
    angles = positions[..., None] * rope_frequencies(x.shape[-1], base)
    return torch.stack(rotate_pair(x[..., 0::2], x[..., 1::2], angles), dim=-1).flatten(-2).to(torch.float32)


@wrong("angles in the dtype of x", says="make the angles in float32")
def apply_rope(x, positions, base=10_000.0):
    angles = positions[..., None].to(x.dtype) * rope_frequencies(x.shape[-1], base).to(x.dtype)
    return torch.stack(rotate_pair(x[..., 0::2], x[..., 1::2], angles), dim=-1).flatten(-2).to(x.dtype)


@wrong("turns x in place", says="x itself was changed")
def apply_rope(x, positions, base=10_000.0):
    angles = positions[..., None] * rope_frequencies(x.shape[-1], base)
    turned = rotate_pair(x[..., 0::2], x[..., 1::2], angles)
    x[..., 0::2], x[..., 1::2] = turned
    return x


@wrong("the helper of the course", says="from scratch")
def apply_rope(x, positions, base=10_000.0):
    from utils.rotary import rotate

    return rotate(x, positions, base, interleaved=True)


@right("with complex numbers, angles in float64")
def apply_rope(x, positions, base=10_000.0):
    d = x.shape[-1]
    angles = positions.double().unsqueeze(-1) / base ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    pairs = torch.view_as_complex(x.double().reshape(*x.shape[:-1], d // 2, 2))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2).type_as(x)


@right("x cos + rotated x sin, as RoFormer's code has it")
def apply_rope(x, positions, base=10_000.0):
    angles = (positions[..., None] * rope_frequencies(x.shape[-1], base)).repeat_interleave(2, dim=-1)
    rotated = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).reshape_as(x)
    return (x * angles.cos() + rotated * angles.sin()).to(x.dtype)


# --- rotary_attention ------------------------------------------------------------------------------------------------


@wrong("turns the values too", says="the values are not turned")
def rotary_attention(q, k, v, positions, base=10_000.0):
    q, k, v = (apply_rope(x, positions, base) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@wrong("turns the queries alone", says="but not the keys")
def rotary_attention(q, k, v, positions, base=10_000.0):
    return F.scaled_dot_product_attention(apply_rope(q, positions, base), k, v, is_causal=True)


@wrong("ignores the positions", says="the positions are not used")
def rotary_attention(q, k, v, positions, base=10_000.0):
    places = torch.arange(q.shape[-2])
    return F.scaled_dot_product_attention(apply_rope(q, places, base), apply_rope(k, places, base), v, is_causal=True)


@wrong("a mask by the positions, not by the rows", says="whatever the positions say")
def rotary_attention(q, k, v, positions, base=10_000.0):
    q, k = apply_rope(q, positions, base), apply_rope(k, positions, base)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=positions[:, None] >= positions)


@wrong("not causal", says="later words are seen")
def rotary_attention(q, k, v, positions, base=10_000.0):
    return F.scaled_dot_product_attention(apply_rope(q, positions, base), apply_rope(k, positions, base), v)


@wrong("nothing is turned", says="are not turned")
def rotary_attention(q, k, v, positions, base=10_000.0):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@wrong("the base is lost", says="the base is not used")
def rotary_attention(q, k, v, positions, base=10_000.0):
    q, k = apply_rope(q, positions), apply_rope(k, positions)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@right("turned and masked by hand")
def rotary_attention(q, k, v, positions, base=10_000.0):
    import math

    q, k = apply_rope(q, positions, base), apply_rope(k, positions, base)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    causal = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    return scores.masked_fill(~causal, -torch.inf).softmax(-1) @ v


@right("queries and keys turned in one call")
def rotary_attention(q, k, v, positions, base=10_000.0):
    q, k = apply_rope(torch.stack([q, k]), positions, base)
    mask = torch.tril(torch.ones(q.shape[-2], q.shape[-2])).bool()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


# --- apply_rope_half -------------------------------------------------------------------------------------------------


@wrong("pairs that are neighbours", says="these pairs are neighbours")
def apply_rope_half(x, positions, base=10_000.0):
    return apply_rope(x, positions, base)


@wrong("interleaves the result", says="not interleaved")
def apply_rope_half(x, positions, base=10_000.0):
    angles = positions[..., None] * rope_frequencies(x.shape[-1], base)
    return torch.stack(rotate_pair(*x.chunk(2, dim=-1), angles), dim=-1).flatten(-2).to(x.dtype)


@wrong("turns with the clock", says="with the clock")
def apply_rope_half(x, positions, base=10_000.0):
    angles = -positions[..., None] * rope_frequencies(x.shape[-1], base)
    return torch.cat(rotate_pair(*x.chunk(2, dim=-1), angles), dim=-1).to(x.dtype)


@wrong("the two halves turn by different angles", says="the two halves of each pair")
def apply_rope_half(x, positions, base=10_000.0):
    angles = (positions[..., None] * rope_frequencies(x.shape[-1], base)).repeat_interleave(2, dim=-1)
    first, second = x.chunk(2, dim=-1)
    return (x * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()).to(x.dtype)


@wrong("ignores the positions", says="the positions are not used")
def apply_rope_half(x, positions, base=10_000.0):
    angles = torch.arange(x.shape[-2])[:, None] * rope_frequencies(x.shape[-1], base)
    return torch.cat(rotate_pair(*x.chunk(2, dim=-1), angles), dim=-1).to(x.dtype)


@wrong("does not cast the result", says="cast it in the end")
def apply_rope_half(x, positions, base=10_000.0):
    angles = positions[..., None] * rope_frequencies(x.shape[-1], base)
    return torch.cat(rotate_pair(*x.chunk(2, dim=-1), angles), dim=-1)


@wrong("angles in the dtype of x", says="make the angles in float32")
def apply_rope_half(x, positions, base=10_000.0):
    angles = positions[..., None].to(x.dtype) * rope_frequencies(x.shape[-1], base).to(x.dtype)
    return torch.cat(rotate_pair(*x.chunk(2, dim=-1), angles), dim=-1).to(x.dtype)


@wrong("turns x in place", says="x itself was changed")
def apply_rope_half(x, positions, base=10_000.0):
    angles, half = positions[..., None] * rope_frequencies(x.shape[-1], base), x.shape[-1] // 2
    x[..., :half], x[..., half:] = rotate_pair(*x.chunk(2, dim=-1), angles)
    return x


@right("through the interleaved form")
def apply_rope_half(x, positions, base=10_000.0):
    paired = rearrange(x, "... (pair i) -> ... (i pair)", pair=2)
    return rearrange(apply_rope(paired, positions, base), "... (i pair) -> ... (pair i)", pair=2)


@right("x cos + rotate_half(x) sin, as Llama's code has it")
def apply_rope_half(x, positions, base=10_000.0):
    angles = positions[..., None] * rope_frequencies(x.shape[-1], base)
    angles = torch.cat((angles, angles), dim=-1)
    half = x.shape[-1] // 2
    return (x * angles.cos() + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * angles.sin()).to(x.dtype)


# --- to_half_split ---------------------------------------------------------------------------------------------------


@wrong("the way back", says="the way back")
def to_half_split(weight, n_heads):
    return rearrange(weight, "(h pair i) ... -> (h i pair) ...", h=n_heads, pair=2)


@wrong("across all heads", says="not across all of them")
def to_half_split(weight, n_heads):
    return torch.cat([weight[0::2], weight[1::2]])


@wrong("changes nothing", says="has not changed")
def to_half_split(weight, n_heads):
    return weight.clone()


@wrong("reorders the columns", says="columns stay as they are")
def to_half_split(weight, n_heads):
    if weight.dim() == 1:
        return rearrange(weight, "(h i pair) -> (h pair i)", h=n_heads, pair=2)
    return weight.flip(-1)


@wrong("the second members first", says="within a head of 8 the order is")
def to_half_split(weight, n_heads):
    heads = weight.unflatten(0, (n_heads, -1))
    return torch.cat([heads[:, 1::2], heads[:, 0::2]], dim=1).flatten(0, 1)


@wrong("loses every second row", says="as many rows")
def to_half_split(weight, n_heads):
    return weight.unflatten(0, (n_heads, -1))[:, 0::2].flatten(0, 1)


@right("view and transpose, as in the script that converts Llama")
def to_half_split(weight, n_heads):
    rest = weight.shape[1:]
    return weight.view(n_heads, weight.shape[0] // n_heads // 2, 2, *rest).transpose(1, 2).reshape(weight.shape)


@right("by an index of the rows")
def to_half_split(weight, n_heads):
    d_head = weight.shape[0] // n_heads
    within = list(range(0, d_head, 2)) + list(range(1, d_head, 2))
    return weight[[head * d_head + row for head in range(n_heads) for row in within]]


# --- interpolate_positions -------------------------------------------------------------------------------------------


@wrong("multiplies by the wrong ratio", says="inside the trained length")
def interpolate_positions(positions, trained, length):
    return positions * max(1.0, length / trained)


@wrong("stretches short texts", says="must not be stretched")
def interpolate_positions(positions, trained, length):
    return positions * (trained / length)


@wrong("whole numbers only", says="do not round")
def interpolate_positions(positions, trained, length):
    return (positions * min(1.0, trained / length)).floor()


@wrong("wraps around", says="place p becomes")
def interpolate_positions(positions, trained, length):
    return (positions % trained).float()


@wrong("keeps int64 for short texts and all", says="float32")
def interpolate_positions(positions, trained, length):
    return positions * trained // max(length, trained)


@wrong("the whole number 1 as the factor of a text that fits", says="should be float32")
def interpolate_positions(positions, trained, length):
    return positions * min(1, trained / length)


@wrong("decides by the largest place", says="the length decides")
def interpolate_positions(positions, trained, length):
    return positions.float() if positions.max() < trained else positions * (trained / length)


@right("with a condition")
def interpolate_positions(positions, trained, length):
    if length <= trained:
        return positions.to(torch.float32)
    return positions / length * trained


@right("divided by how many times too long the text is")
def interpolate_positions(positions, trained, length):
    return positions / max(length / trained, 1.0)


# --- ntk_base --------------------------------------------------------------------------------------------------------


@wrong("the base times the scale", says="mind the exponent")
def ntk_base(base, d, scale):
    return base * scale


@wrong("the exponent upside down", says="times slower")
def ntk_base(base, d, scale):
    return base * scale ** ((d - 2) / d)


@wrong("makes the base smaller", says="a larger base")
def ntk_base(base, d, scale):
    return base / scale ** (d / (d - 2))


@wrong("brackets forgotten", says="times slower")
def ntk_base(base, d, scale):
    return base * scale ** (d / d - 2 + 3)


@wrong("returns a tensor of frequencies", says="return a number")
def ntk_base(base, d, scale):
    return torch.tensor(base * scale ** (d / (d - 2)))


@right("from the slowest frequency")
def ntk_base(base, d, scale):
    slowest = base ** (-(d - 2) / d) / scale
    return slowest ** (-d / (d - 2))


@right("through logarithms")
def ntk_base(base, d, scale):
    import math

    return math.exp(math.log(base) + d / (d - 2) * math.log(scale))
