# %% [markdown]
# # Rotary positions, proved
#
# Lesson 04 added a vector of clock hands to each word, and one matrix moved all of them a word further. Here the hands
# leave the words alone and turn the queries and the keys instead. A score then depends on how far apart two words are,
# and on nothing else. You do not have to believe that: you prove it, and a machine checks each line. Then you write
# rotary positions in both of the forms in use, turn one into the other, and let a model that was trained on 64 letters
# read 256.
#
# It builds on lessons 04 (clock hands, attention) and 07 (a causal language model), and gives 20 points in fourteen
# short exercises; one of them is graded by hand.
#
# | scale | letters in training, in the test | steps a model | run time |
# | --- | --- | --- | --- |
# | `smoke` (tests) | 8, 32 | 2 | 3 s |
# | `cpu` (a laptop) | 64, 256 | 800 | 90 s |
# | `gpu` | 64, 256 | 4000 | not measured yet |
#
# Run times are processor time of the whole file, on one core.

# %% [markdown]
# ## The model
#
# Orange boxes with a pencil are yours.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import Tensor, nn

from utils import *

device = setup("08_rope")

# %% jupyter={"source_hidden": true}
diagram(
    {
        "words": ("words", 1, 0), "positions": ("positions\n0, 1, 2, …", 3, 0),
        "q": ("queries", 0, 1), "k": ("keys", 1, 1), "v": ("values", 2, 1), "f": ("rope_\nfrequencies", 3, 1),
        "rq": ("apply_rope:\nturned queries", 0, 2), "rk": ("apply_rope:\nturned keys", 1, 2),
        "longer": ("interpolate_positions,\nntk_base", 3, 2), "scores": ("scores", 0.5, 3), "mix": ("mix the values", 1.5, 4),
    },
    [
        ("words", "q"), ("words", "k"), ("words", "v"), ("q", "rq"), ("k", "rk"), ("rq", "scores"), ("rk", "scores"),
        ("scores", "mix"), ("v", "mix"), ("positions", "f"), ("f", "rk"), ("longer", "f"),
    ],
    yours=["f", "rq", "rk", "longer", "scores", "mix"],
    title="Queries and keys are turned by their positions; values, and the words themselves, are not",
    alt="Words give queries, keys and values. Positions and frequencies give angles, by which queries and keys are turned "
    "before they meet in the scores. The values are mixed as they are. For longer contexts, positions or frequencies "
    "are rescaled. Yours are the frequencies, the turns, the attention and the rescaling.",
)  # fmt: skip

# %% [markdown]
# ## 1. How do you turn a pair of numbers?
#
# Two numbers are a point in the plane, the tip of a hand. Turn the hand by an angle $\theta$, against the clock, and
# its tip moves:
#
# $$\begin{pmatrix} x' \\ y' \end{pmatrix} = R(\theta) \begin{pmatrix} x \\ y \end{pmatrix}, \qquad
# R(\theta) = \begin{pmatrix} \cos\theta & -\sin\theta \\ \sin\theta & \cos\theta \end{pmatrix}$$
#
# By hand: $(1, 0)$ turned by a quarter circle is $(0, 1)$. $(0, 1)$ turned by an eighth, 45°, is
# $(-\sin 45°, \cos 45°) = (-0.707, 0.707)$. Angles in code are in radians: 90° is $\pi/2 = 1.571$.


# %% nbgrader={"grade": false, "grade_id": "rotate_pair", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rotate_pair(x: Tensor, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """The points (x, y), turned against the clock by the angles `theta`, in radians.

    x, y: tensors of one shape. theta: of a shape that broadcasts to it, so one angle may serve many points.
    Returns: the new x and the new y.
    >>> rotate_pair(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(torch.pi / 4))
    (tensor(-0.7071), tensor(0.7071))
    """
    ### BEGIN SOLUTION
    return x * theta.cos() - y * theta.sin(), x * theta.sin() + y * theta.cos()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_rotate_pair", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("rotate_pair", points=1):
    quarter = torch.tensor(torch.pi / 2)
    result = rotate_pair(torch.tensor(1.0), torch.tensor(0.0), quarter)
    expect(
        isinstance(result, (tuple, list)) and len(result) == 2,
        "return two tensors: the new x and the new y",
        got=result,
    )
    expect(
        abs(result[1] + 1) > 0.1,
        "this turns with the clock: (1, 0) by a quarter circle is (0, 1), not (0, -1)",
        got=result,
    )
    expect(
        not (result[0] > 0.99 and 0.01 < result[1] < 0.1),
        "this turns by 1.57 degrees: the angle is in radians, not in degrees",
        got=result,
    )
    expect(
        abs(result[0]) < 1e-5,
        "(1, 0) by a quarter circle must be (0, 1): check which function and which number stand where",
        got=result,
    )
    xs, ys, angles = randn(3, 5), randn(3, 5), 3 * randn(5)
    new_x, new_y = rotate_pair(xs, ys, angles)
    turned = torch.polar(torch.ones(5), angles) * torch.complex(xs, ys)  # the same with complex numbers
    expect_close(new_x, turned.real, "the new x is x cos θ − y sin θ")
    expect_close(new_y, turned.imag, "the new y is x sin θ + y cos θ, with the old x")
    ### BEGIN HIDDEN TESTS
    xs, ys, angles = randn(2, 1, 4), randn(2, 1, 4), 9 * randn(2, 1, 1)
    turned = torch.polar(torch.ones(2, 1, 1), angles) * torch.complex(xs, ys)
    for new, right in zip(rotate_pair(xs, ys, angles), (turned.real, turned.imag), strict=True):
        expect_close(new, right, "another shape, other angles: the turned point differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# The matrix above has two rows. Each is one line of code.
#
# </details>
# <details><summary>Method</summary>
#
# Multiply the matrix and the column by hand: the first row gives the new x, the second the new y. Both use the old x
# and the old y.
#
# </details>
# <details><summary>Almost there</summary>
#
# `theta.cos()` and `theta.sin()` are tensors, so elementwise products do all points at once. The sign stands in the first
# line only.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# A query and a key, two numbers each, at the places $m$ and $n$ of a sentence. Turn the query by $m$ times some angle,
# the key by $n$ times the same, and take their dot product. Here are all scores of 12 places by 12. Beside them are the
# scores of lesson 04, where a vector for the place is added instead.


# %% nbgrader={"grade": false, "grade_id": "sinusoidal", "locked": true, "schema_version": 3, "solution": false, "task": false}
def sinusoidal(places: Tensor, d: int) -> Tensor:
    """Lesson 04's positions: (…,) to (…, d), sine and cosine side by side; places need not be whole."""
    angles = places[..., None] * 10000 ** (-torch.arange(0, d, 2) / d)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


# %%
query, key, places = torch.tensor([1.0, 0.5]), torch.tensor([0.8, -0.6]), torch.arange(12.0)
turned_queries = torch.stack(rotate_pair(query[0], query[1], 0.4 * places), dim=-1)  # (12, 2)
turned_keys = torch.stack(rotate_pair(key[0], key[1], 0.4 * places), dim=-1)
rotary_scores = turned_queries @ turned_keys.T  # (12, 12)
added_scores = (query + sinusoidal(places, 2)) @ (key + sinusoidal(places, 2)).T

# %% jupyter={"source_hidden": true}
image_grid(
    torch.stack([rotary_scores, added_scores]),
    ["turned: the same along each diagonal", "added: not the same"],
    columns=2,
    signed=True,
    title="Turned queries and keys give scores that depend on the distance alone",
    alt="Two maps of scores, 12 places of the query down and 12 of the key across. The left one is constant along each "
    "diagonal, so it depends on the distance alone. The right one changes along the diagonals.",
)

# %% [markdown]
# ## 2. Can you prove it?
#
# A picture shows 144 cases. A proof covers all of them, and those between. Here is the claim, for one pair:
#
# $$\langle R(m)\,q,\; R(n)\,k \rangle = \langle q,\; R(n - m)\,k \rangle$$
#
# On the right only $n - m$ is left. A **proof** is a chain of lines, each equal to the one before, and the rule that
# says why. In this lesson a machine reads your proofs. It checks each link twice: the rule must really lead from one
# line to the next, and both lines must have the same value at random real numbers, not at whole ones, where a false
# formula may hold by chance. Write a proof as a list: a line, the name of a rule in quotes, the next line, and so on.

# %% nbgrader={"grade": false, "grade_id": "symbols", "locked": true, "schema_version": 3, "solution": false, "task": false}
from utils.proofs import *  # R, dot, matrix, cos, sin, …: what lines are made of; check_proof, show_proof

# a b t m n q k, and i w Q K u v below: use these names for nothing else here; for tensors write torch.cos, torch.sin
a, b, t, m, n = symbols("a b t m n")  # numbers
q, k = symbols("q k", "vector")  # of two numbers each

# %%
show_rules("algebra", "definition of R", "matrix product", "transpose", "trigonometry", "inner product")

# %% [markdown]
# Here is a proof to learn from: **a turn back is a transpose**, $R(t)^\top = R(-t)$. `@` multiplies matrices and
# vectors, `.T` transposes, `*` is for numbers. `matrix([…], […])` is a table, row by row.

# %%
turn_back = [
    R(t).T,
    "definition of R",
    matrix([cos(t), -sin(t)], [sin(t), cos(t)]).T,
    "transpose",
    matrix([cos(t), sin(t)], [-sin(t), cos(t)]),
    "trigonometry",
    matrix([cos(-t), -sin(-t)], [sin(-t), cos(-t)]),
    "definition of R",
    R(-t),
]
check_proof(turn_back, R(t).T, R(-t))
show_proof(turn_back)

# %% [markdown]
# The last step reads the definition from right to left. A rule may be used in either direction, anywhere in a line, and
# as often as one likes. Sums and products may be tidied in any step; a step that does nothing else is called
# `"algebra"`. And this is what the machine says of a slip:

# %%
slip = turn_back[:4] + [matrix([cos(t), -sin(t)], [sin(t), cos(t)]), "definition of R", R(t)]
try:
    check_proof(slip, R(t).T, R(t))
except ProofError as error:
    print(error)

# %% [markdown]
# Your turn. **Two turns are one turn by the sum of the angles.** Write both rotations as tables, multiply, and look for
# the two school formulas of lesson 04.


# %% nbgrader={"grade": false, "grade_id": "prove_composition", "locked": false, "schema_version": 3, "solution": true, "task": false}
def prove_composition() -> list:
    """R(a) R(b) = R(a + b), from the definition.

    Rules you may use: "definition of R", "matrix product", "trigonometry", "algebra".
    Returns: the proof, a list that takes turns: line, "rule", line, …; it begins with R(a) @ R(b) and
    ends with R(a + b).
    >>> check_proof(prove_composition(), R(a) @ R(b), R(a + b))  # says nothing if the proof holds
    """
    ### BEGIN SOLUTION
    return [
        R(a) @ R(b),
        "definition of R",
        matrix([cos(a), -sin(a)], [sin(a), cos(a)]) @ matrix([cos(b), -sin(b)], [sin(b), cos(b)]),
        "matrix product",
        matrix(
            [cos(a) * cos(b) - sin(a) * sin(b), -cos(a) * sin(b) - sin(a) * cos(b)],
            [sin(a) * cos(b) + cos(a) * sin(b), -sin(a) * sin(b) + cos(a) * cos(b)],
        ),
        "trigonometry",
        matrix([cos(a + b), -sin(a + b)], [sin(a + b), cos(a + b)]),
        "definition of R",
        R(a + b),
    ]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_prove_composition", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("prove_composition", points=2):
    allowed = ("definition of R", "matrix product", "trigonometry", "algebra")
    expect_proof(prove_composition(), R(a) @ R(b), R(a + b), rules=allowed)

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Four steps: into tables, multiply, school formulas, back into a rotation.
#
# </details>
# <details><summary>Method</summary>
#
# Row times column. The upper left entry of the product is the first row of the left table times the first column of the
# right one. Write all four entries out. The rule "trigonometry" then recognises the formulas.
#
# </details>
# <details><summary>Almost there</summary>
#
# After "trigonometry" the line is the table of $R(a + b)$. If the machine says *is not*, compare the tables entry by entry
# with `cos(a + b)` = cos a cos b − sin a sin b and `sin(a + b)` = sin a cos b + cos a sin b.
#
# </details>
# </details>

# %% [markdown]
# ## 3. Why does only the distance count?
#
# You now own two theorems, and may use them by name:

# %%
show_rules("composition", "orthogonality")

# %% [markdown]
# With them the claim is five steps. The inner product is $\langle x, y\rangle = x^\top y$; a transposed product turns its
# order round. Mind the order of the difference: it is where most people slip.


# %% nbgrader={"grade": false, "grade_id": "prove_relative_score", "locked": false, "schema_version": 3, "solution": true, "task": false}
def prove_relative_score() -> list:
    """⟨R(m) q, R(n) k⟩ = ⟨q, R(n − m) k⟩, for a query and a key of two numbers.

    Rules you may use: "inner product", "transpose", "orthogonality", "composition", "algebra".
    Returns: the proof; it begins with dot(R(m) @ q, R(n) @ k) and ends with dot(q, R(n - m) @ k).
    >>> check_proof(prove_relative_score(), dot(R(m) @ q, R(n) @ k), dot(q, R(n - m) @ k))
    """
    start, end = dot(R(m) @ q, R(n) @ k), dot(q, R(n - m) @ k)
    ### BEGIN SOLUTION
    return [
        start,
        "inner product",
        (R(m) @ q).T @ (R(n) @ k),
        "transpose",
        q.T @ R(m).T @ R(n) @ k,
        "orthogonality",
        q.T @ R(-m) @ R(n) @ k,
        "composition",
        q.T @ R(n - m) @ k,
        "inner product",
        end,
    ]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_prove_relative_score", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("prove_relative_score", points=2):
    allowed = ("inner product", "transpose", "orthogonality", "composition", "algebra")
    expect_proof(prove_relative_score(), dot(R(m) @ q, R(n) @ k), dot(q, R(n - m) @ k), rules=allowed)

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Get rid of the brackets ⟨ ⟩ first, and put them back last.
#
# </details>
# <details><summary>Method</summary>
#
# "inner product" makes $(R(m) q)^\top R(n) k$ of it, "transpose" moves the ᵀ inside. Now a transposed rotation stands
# beside another rotation, and both theorems have something to do.
#
# </details>
# <details><summary>Almost there</summary>
#
# A transposed rotation turns back, so its angle gets a minus. Two rotations side by side add their angles:
# $-m + n$. Each of these is one step with a name of its own.
#
# </details>
# </details>

# %% [markdown]
# ## 4. And for a whole head?
#
# One angle is not enough: after a full circle, distances repeat. So a head of $d$ numbers is cut into $d/2$ pairs, and
# pair $i$ turns by an angle of its own, $\omega_i$, a place. All turns together are one large matrix with a small
# rotation for each pair on its diagonal:
#
# $$R_d(m) = \begin{pmatrix} R(m\,\omega_0) & & \\ & R(m\,\omega_1) & \\ & & \ddots \end{pmatrix}$$
#
# In code, `i` counts pairs, `w[i]` is $\omega_i$, and `Q` and `K` are vectors made of pairs `Q[i]` and `K[i]`.

# %% nbgrader={"grade": false, "grade_id": "head_symbols", "locked": true, "schema_version": 3, "solution": false, "task": false}
i = indices("i", over="pairs")
w = symbols("w", over="pairs")
Q, K = symbols("Q K", "vector", over="pairs")
relative_score = given("relative score", dot(R(m) @ q, R(n) @ k), dot(q, R(n - m) @ k), variables=[m, n, q, k])


def turn_head(position):
    """R_d(position): each pair turned by its own angle."""
    return blocks(i, R(position * w[i]))


# %%
show_rules("block structure", relative_score)

# %% [markdown]
# The claim of section 3 is a rule now, `"relative score"`. For $m$ and $n$ you may put anything, so also
# $m\,\omega_i$ and $n\,\omega_i$. `total(i, …)` is the sum over all pairs.


# %% nbgrader={"grade": false, "grade_id": "prove_blocks", "locked": false, "schema_version": 3, "solution": true, "task": false}
def prove_blocks() -> list:
    """⟨R_d(m) Q, R_d(n) K⟩ = ⟨Q, R_d(n − m) K⟩, for a head of any even size.

    Rules you may use: "block structure", "relative score", "algebra", and those of sections 2 and 3.
    Returns: the proof; it begins with dot(turn_head(m) @ Q, turn_head(n) @ K) and ends with
    dot(Q, turn_head(n - m) @ K).
    >>> start, end = dot(turn_head(m) @ Q, turn_head(n) @ K), dot(Q, turn_head(n - m) @ K)
    >>> check_proof(prove_blocks(), start, end, given=[relative_score])
    """
    start, end = dot(turn_head(m) @ Q, turn_head(n) @ K), dot(Q, turn_head(n - m) @ K)
    ### BEGIN SOLUTION
    return [
        start,
        "block structure",
        total(i, dot(R(m * w[i]) @ Q[i], R(n * w[i]) @ K[i])),
        "relative score",
        total(i, dot(Q[i], R(n * w[i] - m * w[i]) @ K[i])),
        "algebra",
        total(i, dot(Q[i], R((n - m) * w[i]) @ K[i])),
        "block structure",
        end,
    ]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_prove_blocks", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("prove_blocks", points=2):
    start, end = dot(turn_head(m) @ Q, turn_head(n) @ K), dot(Q, turn_head(n - m) @ K)
    expect_proof(prove_blocks(), start, end, given=[relative_score])

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Blocks do not mix. What is an inner product of long vectors, pair by pair?
#
# </details>
# <details><summary>Method</summary>
#
# "block structure" makes a sum over pairs of it, in which each term looks like the claim of section 3, with other angles.
# Apply that claim inside the sum, and go back.
#
# </details>
# <details><summary>Almost there</summary>
#
# Inside the sum the angles are `m * w[i]` and `n * w[i]`. Their difference has a factor in common; "algebra" takes it out,
# and what is left in the brackets is the angle of one single large turn.
#
# </details>
# </details>

# %% [markdown]
# ### The same with complex numbers
#
# The paper (Su et al. 2021) does it in one line. A pair is a complex number, a turn is a product with
# $\text{cis}(m) = e^{\mathrm{i} m}$, and $\langle q, k\rangle$ is the real part of $u\,\bar v$.

# %% nbgrader={"grade": false, "grade_id": "complex_symbols", "locked": true, "schema_version": 3, "solution": false, "task": false}
u, v = symbols("u v", "complex")  # a query and a key, as complex numbers

# %%
show_rules("conjugate", "exponents", "Euler", "real part")


# %% nbgrader={"grade": false, "grade_id": "prove_complex", "locked": false, "schema_version": 3, "solution": true, "task": false}
def prove_complex() -> list:
    """Re(u e^(im) · conj(v e^(in))) = Re(u · conj(v) · e^(i(m − n))), with cis(m) for e^(im).

    Rules you may use: "conjugate", "exponents", "Euler", "real part", "trigonometry", "algebra". Two are enough.
    Returns: the proof; it begins with real(u * cis(m) * conj(v * cis(n))) and ends with
    real(u * conj(v) * cis(m - n)).
    >>> start, end = real(u * cis(m) * conj(v * cis(n))), real(u * conj(v) * cis(m - n))
    >>> check_proof(prove_complex(), start, end)
    """
    start, end = real(u * cis(m) * conj(v * cis(n))), real(u * conj(v) * cis(m - n))
    ### BEGIN SOLUTION
    return [
        start,
        "conjugate",
        real(u * cis(m) * conj(v) * cis(-n)),
        "exponents",
        end,
    ]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_prove_complex", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("prove_complex", points=1):
    expect_proof(prove_complex(), real(u * cis(m) * conj(v * cis(n))), real(u * conj(v) * cis(m - n)))

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Two steps. The conjugate of a product comes apart.
#
# </details>
# <details><summary>Method</summary>
#
# "conjugate" does two things at once: it splits the product, and it mirrors `cis(n)`. "exponents" multiplies the two
# `cis`.
#
# </details>
# <details><summary>Almost there</summary>
#
# A mirrored turn goes back: its angle gets a minus. Factors may stand in any order, these are numbers.
#
# </details>
# </details>

# %% [markdown]
# ## 5. A proof in your own words
#
# A machine checks links. It cannot tell whether you see why. This one your instructor reads; if you learn alone, compare
# it with the model answer in the worked notebook.
#
# **Prove** that a turned query is as long as it was, $\lVert R_d(m)\,q \rVert = \lVert q \rVert$ at every position and for every
# even $d$, and **conclude** that no score is larger than $\lVert q\rVert \lVert k\rVert$, wherever the two words stand. Half a page
# is plenty. You may use the theorems above.
#
# | half a point each | what is looked for |
# | --- | --- |
# | start | the squared length is written as an inner product, or as a sum over pairs |
# | turn | the turn cancels, with its reason: $R(t)^\top R(t) = R(-t)R(t) = R(0) = I$, or $\cos^2 + \sin^2 = 1$ |
# | all pairs | the step from one pair to $d$ numbers is said, not only meant: the blocks do not mix |
# | conclusion | $\lvert\langle x, y\rangle\rvert \le \lVert x\rVert\lVert y\rVert$ is used on the turned vectors, and named (Cauchy–Schwarz) |

# %% [markdown] nbgrader={"grade": true, "grade_id": "written_proof", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# <!-- ### BEGIN SOLUTION -->
# **Model answer.** Write the squared length as an inner product and cut it into pairs, which is allowed because the
# blocks of $R_d(m)$ do not mix:
#
# $$\lVert R_d(m)\,q \rVert^2 = \langle R_d(m)\,q, R_d(m)\,q \rangle = \sum_i \langle R(m\omega_i)\,q_i, R(m\omega_i)\,q_i \rangle$$
#
# In each term the turn cancels: with $t = m\,\omega_i$ it is
# $q_i^\top R(t)^\top R(t)\, q_i = q_i^\top R(-t) R(t)\, q_i = q_i^\top R(0)\, q_i = q_i^\top q_i$. The sum of these is
# $\lVert q\rVert^2$, and lengths are not negative, so $\lVert R_d(m)\,q\rVert = \lVert q\rVert$. The same holds for the key.
#
# By the inequality of Cauchy and Schwarz,
# $\lvert\langle R_d(m)\,q, R_d(n)\,k\rangle\rvert \le \lVert R_d(m)\,q\rVert\,\lVert R_d(n)\,k\rVert = \lVert q\rVert\,\lVert k\rVert$,
# whatever $m$ and $n$ are. Position can only take away from the largest score that two words can have. ∎
# <!-- ### END SOLUTION -->

# %% [markdown]
# ## 6. Do added positions really fail?
#
# In lesson 04 the vector of the place was *added*: a score is $\langle q + PE(m),\; k + PE(n)\rangle$. Multiply out, and four terms
# appear. One of them, $\langle PE(m), PE(n)\rangle$, does depend on $n - m$ alone: lesson 04 proved it. So is the sum relative as
# well? To show that a claim is false, one example is enough.
#
# Find one with $d = 4$: a query, a key, and two pairs of places at the same distance, with scores that differ.


# %% nbgrader={"grade": false, "grade_id": "absolute_positions_fail", "locked": false, "schema_version": 3, "solution": true, "task": false}
def absolute_positions_fail() -> tuple:
    """A counterexample: with added positions, the score is not a function of the distance.

    Returns: (query, key, first, second). query and key are lists of 4 numbers; first and second are pairs
    (m, n) of places, whole numbers from 0 to 100, two different pairs with the same n - m. The scores
    (query + PE(m)) · (key + PE(n)) of the two must differ by more than 0.01, where PE(p) is
    sinusoidal(torch.tensor(p), 4).
    >>> query, key, (m1, n1), (m2, n2) = absolute_positions_fail()
    >>> n1 - m1 == n2 - m2
    True
    """
    ### BEGIN SOLUTION
    return [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], (0, 0), (1, 1)  # the term query · PE(n) is left, sin n
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_absolute_positions_fail", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("absolute_positions_fail", points=1):
    found = absolute_positions_fail()
    expect(
        isinstance(found, (tuple, list)) and len(found) == 4, "return four things: query, key, first, second", got=found
    )
    vectors = [torch.as_tensor(vector, dtype=torch.float64) for vector in found[:2]]
    expect_equal([tuple(vector.shape) for vector in vectors], [(4,), (4,)], "query and key have 4 numbers each")
    pairs = [torch.as_tensor(pair).flatten().tolist() for pair in found[2:]]
    expect_equal([len(pair) for pair in pairs], [2, 2], "first and second are pairs (m, n) of places")
    expect(all(place % 1 == 0 for pair in pairs for place in pair), "places are whole numbers", got=pairs)
    expect(all(0 <= place <= 100 for pair in pairs for place in pair), "places run from 0 to 100", got=pairs)
    expect(pairs[0] != pairs[1], "the two pairs of places must not be the same", got=pairs)
    apart = [pair[1] - pair[0] for pair in pairs]
    expect(apart[0] == apart[1], "both pairs must have the same distance n − m: else they prove nothing", got=pairs)
    at = [[sinusoidal(torch.tensor(place), 4).double() for place in pair] for pair in pairs]
    added = [((vectors[0] + pe_m) @ (vectors[1] + pe_n)).item() for pe_m, pe_n in at]
    expect(
        any(vector.abs().max() > 0 for vector in vectors),
        "with a query and a key of zeros only PE(m)·PE(n) is left, and that does depend on n − m alone",
    )
    gap = abs(added[0] - added[1])
    expect(
        gap > 0.01,
        f"the scores differ by {gap:.4f}, but must differ by more than 0.01: look at the mixed terms, query·PE(n), "
        "and take places farther apart",
        got=added,
    )

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Four terms: query·key, query·PE(n), PE(m)·key, PE(m)·PE(n). Two of them depend on more than the distance.
#
# </details>
# <details><summary>Method</summary>
#
# Make all terms vanish but one that is to blame. A vector of zeros helps; two of them help too much.
#
# </details>
# <details><summary>Almost there</summary>
#
# With a key of zeros and a query that is zero but for one number, the score is one entry of PE(n), up to a part that
# is relative.
#
# </details>
# </details>

# %% [markdown]
# ## 7. Which angles?
#
# One pair alone repeats after a full circle. With slow hands beside fast ones, as on a clock, no two distances look
# alike for a long time. RoPE takes the frequencies of lesson 04:
#
# $$\omega_i = \text{base}^{-2i/d}, \qquad i = 0, \dots, d/2 - 1, \qquad \text{base} = 10{,}000$$
#
# By hand, $d = 4$: $\omega_0 = 1$ and $\omega_1 = 10000^{-1/2} = 0.01$ radians a place.


# %% nbgrader={"grade": false, "grade_id": "rope_frequencies", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rope_frequencies(d: int, base: float = 10_000.0) -> Tensor:
    """By how many radians each pair of a head of d numbers turns a place: base^(-2i/d) for pair i. d is even.

    Returns: (d/2,) float32, from the fastest to the slowest.
    >>> rope_frequencies(4)
    tensor([1.0000, 0.0100])
    """
    ### BEGIN SOLUTION
    return base ** (-torch.arange(0, d, 2) / d)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_rope_frequencies", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("rope_frequencies", points=1):
    got = rope_frequencies(10)
    expect(
        isinstance(got, Tensor) and tuple(got.shape) == (5,),
        "one frequency for each pair: the shape is (d/2,)",
        got=got,
    )
    expect_equal(got.dtype, torch.float32, "the dtype must be float32")
    expect(got[0] == 1, "the first pair turns by 1 radian a place: the exponent starts at 0", got=got)
    expect(got[1] < 1, "later pairs turn more slowly: the exponent is negative", got=got)
    expect(not torch.allclose(got[1:], got[1:2]), "each pair has a frequency of its own", got=got)
    for d, base in ((10, 10_000.0), (2, 10_000.0), (64, 500_000.0), (6, 100.0)):
        right = torch.tensor([base ** (-2 * pair / d) for pair in range(d // 2)])
        expect_close(rope_frequencies(d, base), right, f"for d = {d} and base {base:g}: pair i turns by base^(-2i/d)")
    ### BEGIN HIDDEN TESTS
    for d, base in ((128, 10_000.0), (4, 77.0)):
        right = torch.tensor([base ** (-2 * pair / d) for pair in range(d // 2)])
        expect_close(rope_frequencies(d, base), right, f"for d = {d} and base {base:g} the frequencies differ")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# One line, as in lesson 04: a number to the power of a tensor is a tensor.
#
# </details>
# <details><summary>Method</summary>
#
# Count by twos from 0 up to d. That is 2i for every pair.
#
# </details>
# <details><summary>Almost there</summary>
#
# `torch.arange(0, d, 2)` divided by d is float. The minus belongs to the exponent, and so into its brackets.
#
# </details>
# </details>

# %% [markdown]
# Now the whole operation. The paper's way, used by RoFormer and GPT-J: features $2i$ and $2i + 1$ stand side by side and are
# pair $i$, **interleaved**.
#
# By hand, $d = 4$, $x = (1, 0, 1, 0)$ at position 2: pair 0 turns by 2 radians, pair 1 by 0.02. So
# $(\cos 2, \sin 2, \cos 0.02, \sin 0.02) = (-0.42, 0.91, 1.00, 0.02)$.
#
# The position is an argument, because the rows of $x$ need not be words $0, 1, 2, \dots$. A model that writes with a cache
# sends one word at a time, and that word is number 37.
#
# Models compute in bfloat16, which keeps 8 bits of a number: 257 is not among its values. So angles are made in float32,
# and only the result is cast back.


# %% nbgrader={"grade": false, "grade_id": "apply_rope", "locked": false, "schema_version": 3, "solution": true, "task": false}
def apply_rope(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Turn queries or keys by their positions; pair i is the features 2i and 2i + 1.

    From scratch: your `rotate_pair` and `rope_frequencies`. Call no variable `turn` or `rotate`: utils has these.
    x: (..., l, d), d even. positions: (l,), the same for all, or of a shape that broadcasts to (..., l), such as
    (b, 1, l) beside (b, h, l, d); int64 or float, in any order, and not always whole. x and positions are on one
    device, and so is the result; rope_frequencies makes its table on the CPU: move it.
    Returns: (..., l, d), a new tensor of the dtype of x. Angles are float32, also where x is bfloat16.
    >>> apply_rope(torch.tensor([[1.0, 0, 1, 0]]), torch.tensor([2]))
    tensor([[-0.4161,  0.9093,  0.9998,  0.0200]])
    """
    ### BEGIN SOLUTION
    first, second = rearrange(x, "... (i pair) -> pair ... i", pair=2)  # (..., l, d/2) each
    angles = positions[..., None].to(x.device) * rope_frequencies(x.shape[-1], base).to(x.device)
    turned = rotate_pair(first, second, angles)
    return rearrange(list(turned), "pair ... i -> ... (i pair)").to(x.dtype)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_apply_rope", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("apply_rope", points=2):

    def turned_pairs(x, places, base=10_000.0, degrees=False, sign=1):  # with complex numbers, in float64
        d = x.shape[-1]
        angles = sign * places[..., None].double() * base ** (-torch.arange(0, d, 2).double() / d)
        turns = torch.polar(torch.ones_like(angles), torch.deg2rad(angles) if degrees else angles)
        pairs = torch.view_as_complex(x.double().unflatten(-1, (d // 2, 2)).contiguous())
        return torch.view_as_real(turns * pairs).flatten(-2).to(x.dtype)

    x, places = randn(2, 3, 5, 8), torch.tensor([7, 0, 31, 4, 12])
    kept = x.clone()
    got = apply_rope(x, places)
    expect(torch.equal(x, kept), "x itself was changed: write into a new tensor")
    expect(isinstance(got, Tensor) and got.shape == x.shape, "the result has the shape of x", got=got)
    expect_equal(got.dtype, torch.float32, "keep the dtype of x")
    expect(not torch.allclose(got, x, atol=1e-3), "nothing is turned")
    expect(
        not torch.allclose(got, turned_pairs(x, torch.arange(5)), atol=1e-3),
        "the positions are not used: row 0 need not be word 0",
    )
    expect(
        not torch.allclose(got, turned_pairs(x, places, sign=-1), atol=1e-3),
        "this turns with the clock: the other way round",
    )
    expect(
        not torch.allclose(got, turned_pairs(x, places, degrees=True), atol=1e-3),
        "the angles are in radians, not in degrees",
    )
    half = rearrange(x, "... (pair i) -> ... (i pair)", pair=2)
    half = rearrange(turned_pairs(half, places), "... (i pair) -> ... (pair i)", pair=2)
    expect(
        not torch.allclose(got, half, atol=1e-3),
        "pairs are neighbours, features 2i and 2i + 1; these are half the head apart",
    )
    joined = rearrange(turned_pairs(x, places), "... (i pair) -> ... (pair i)", pair=2)
    expect(
        not torch.allclose(got, joined, atol=1e-3),
        "the turns are right: put first and second of each pair back side by side",
    )
    expect(torch.allclose(got.norm(dim=-1), x.norm(dim=-1), atol=1e-4), "a turn keeps lengths: these have changed")
    expect_close(
        got[..., :2], turned_pairs(x, places)[..., :2], "the first pair turns by 1 radian a place", tolerance=1e-4
    )
    expect_close(got, turned_pairs(x, places), "each pair turns by its own frequency", tolerance=1e-4)
    one = x[:, :, :1]
    expect_close(
        apply_rope(one, places[2:3]),
        turned_pairs(one, places[2:3]),
        "one word alone, at place 31: restarts at 0",
        tolerance=1e-4,
    )
    each = randint(0, 60, (2, 1, 5))
    expect_close(
        apply_rope(x, each), turned_pairs(x, each), "positions (b, 1, l): each sentence has its own", tolerance=1e-4
    )
    between = 20 * rand(5)
    expect_close(apply_rope(x, between), turned_pairs(x, between), "positions need not be whole", tolerance=1e-4)
    other = turned_pairs(x, places, base=500.0)
    expect_close(apply_rope(x, places, 500.0), other, "the base is not used", tolerance=1e-4)
    x16, far = randn(1, 300, 8).bfloat16(), torch.arange(300)
    got = apply_rope(x16, far)
    expect_equal(got.dtype, torch.bfloat16, "x is bfloat16, and so must be the result: cast it in the end")
    eight_bits = (
        "make the angles in float32, and cast the result only: bfloat16 has 8 bits, and 257 is not among its numbers"
    )
    expect_close(got, turned_pairs(x16, far), eight_bits, tolerance=0.02)
    changed = "x itself was changed, and autograd cannot follow: write into a new tensor"
    expect_not_raises(RuntimeError, lambda: gradients(apply_rope, x, places, upstream=kept), hint=changed)
    expect_from_scratch(apply_rope, "utils", "rotary", "rotate", "turn")
    ### BEGIN HIDDEN TESTS
    for lead, length, d in (((), 1, 2), ((4,), 6, 12), ((1, 2), 3, 64)):
        x, places = randn(*lead, length, d, dtype=torch.float64), randint(0, 90, (length,))
        expect_close(
            apply_rope(x, places),
            turned_pairs(x, places),
            f"another size, {length} words of {d}, in float64",
            tolerance=1e-4,
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# First a table of angles, a row for each position and a column for each pair, as in lesson 04. Then one call of
# `rotate_pair`.
#
# </details>
# <details><summary>Method</summary>
#
# Split the features into the first and the second of each pair: every second feature, from 0 and from 1. Turn. Put them
# back so that they take turns again. For the angles give `positions` a new last axis.
#
# </details>
# <details><summary>Almost there</summary>
#
# `x[..., 0::2]` and `x[..., 1::2]` are the two parts. To interleave the results, stack them on a new last axis and flatten
# the last two, or let einops do both. In the end ask for the dtype of x.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at: how far does a word see?
#
# Let the key be the same vector as the query, all pairs of length 1. At the distance $s$ their score, divided by $d/2$,
# is $\frac{2}{d}\sum_i \cos(s\,\omega_i)$; so is the average over random queries, if the key is the query. Su et al. give a **bound**
# for any two vectors, too. With $h_i = q_i \bar k_i$ in complex numbers, $h_{d/2} = 0$, and the partial sums
# $S_j = \sum_{i<j} e^{\mathrm{i} s \omega_i}$:
#
# $$\Bigl|\sum_i h_i\, e^{\mathrm{i} s \omega_i}\Bigr| = \Bigl|\sum_{j=1}^{d/2} S_j\,(h_j - h_{j-1})\Bigr| \le \max_j |h_j - h_{j-1}| \; \sum_{j=1}^{d/2} |S_j|$$
#
# The first equation is summation by parts, the second step the triangle inequality. Only $\sum_j |S_j|$ depends on the
# distance. The picture shows its shape, scaled to 1 at distance 0. With $h_i = 1$ and $d = 128$ the bound itself is 32.5
# times higher, above 1 everywhere: it says nothing about the size of these scores. Only its fall is shown.


# %%
def score_by_distance(distances: Tensor, d: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """At each distance: the score of a word with itself, and the shape of Su et al.'s bound; each is 1 at distance 0.

    The two were scaled by different numbers, so their heights cannot be compared.
    """
    angles = distances[:, None] * rope_frequencies(d, base)  # (n, d/2)
    partial_sums = torch.polar(torch.ones_like(angles), angles).cumsum(-1).abs()  # |S_1|, |S_2|, …
    return angles.cos().mean(-1), partial_sums.mean(-1) / (d / 2 + 1) * 2


distances = torch.arange(0.0, 257.0)
average, bound = score_by_distance(distances, 128)
average_llama3, _ = score_by_distance(distances, 128, 500_000.0)

# %% jupyter={"source_hidden": true}
curves(
    {
        "average, base 10,000": (distances, average), "bound, its shape only": (distances, bound),
        "average, base 500,000": (distances, average_llama3),
    },
    xlabel="distance (words)",
    ylabel="score (1 at distance 0)",
    title="A word's score with its like falls with the distance, more slowly for a larger base",
    alt="Three falling, wavy lines over distances from 0 to 256. With base 10,000 the average falls from 1 to about "
    f"{average[-1]:.2f}; the bound, scaled to 1 at distance 0 and not comparable in height, falls as well. With base 500,000 the average falls only to {average_llama3[-1]:.2f}.",
)  # fmt: skip

# %% [markdown]
# What falls is the score of two vectors that are alike, and not steadily: the waves show distances that get more than
# nearer ones. For a key that has nothing to do with the query the average is 0 at every distance. Rotary positions do not
# prefer near words by themselves (Barbero et al. 2025), and a learned query and key may favour any distance they like.
#
# ## 8. Turn what, and what not?
#
# Queries and keys are turned, then attention goes on as before. Values are not turned: they are what is carried, and the
# score has already said from how far.


# %% nbgrader={"grade": false, "grade_id": "rotary_attention", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rotary_attention(q: Tensor, k: Tensor, v: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Causal attention with rotary positions.

    q, k, v: (b, h, l, d). positions: (l,), those of all l words. Word i sees the words up to i in the order
    of the rows, whatever the positions say. F.scaled_dot_product_attention is yours to use.
    Returns: (b, h, l, d).
    >>> one = torch.ones(1, 1, 1, 2)
    >>> rotary_attention(one, one, 5 * one, torch.tensor([3]))  # a single word: its own value
    tensor([[[[5., 5.]]]])
    """
    ### BEGIN SOLUTION
    turned_q, turned_k = apply_rope(q, positions, base), apply_rope(k, positions, base)
    return F.scaled_dot_product_attention(turned_q, turned_k, v, is_causal=True)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_rotary_attention", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("rotary_attention", points=1):

    def mixed(queries, keys, values, places, base=10_000.0, which="qk", causal=True):  # with complex numbers
        def turned(x):
            angles = places[:, None].double() * base ** (-torch.arange(0, x.shape[-1], 2).double() / x.shape[-1])
            pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
            return torch.view_as_real(torch.polar(torch.ones_like(angles), angles) * pairs).flatten(-2).to(x.dtype)

        inputs = zip("qkv", (queries, keys, values), strict=True)
        return F.scaled_dot_product_attention(
            *(turned(x) if name in which else x for name, x in inputs), is_causal=causal
        )

    queries, keys, values = randn(2, 3, 6, 8), randn(2, 3, 6, 8), randn(2, 3, 6, 8)
    places = torch.tensor([0, 3, 4, 9, 20, 21])
    got = rotary_attention(queries, keys, values, places)
    expect(isinstance(got, Tensor) and got.shape == values.shape, "the result has the shape of v", got=got)
    expect_close(
        got,
        mixed(queries, keys, values, places),
        "turn queries and keys by the same positions, then causal attention",
        tolerance=1e-4,
        mistakes={
            "later words are seen: is_causal": mixed(queries, keys, values, places, causal=False),
            "queries and keys are not turned": mixed(queries, keys, values, places, which=""),
            "the queries are turned, but not the keys": mixed(queries, keys, values, places, which="q"),
            "the keys are turned, but not the queries": mixed(queries, keys, values, places, which="k"),
            "the values are not turned": mixed(queries, keys, values, places, which="qkv"),
            "the positions are not used: row 1 need not be word 1": mixed(queries, keys, values, torch.arange(6)),
        },
    )
    back = places.flip(0)
    expect_close(
        rotary_attention(queries, keys, values, back),
        mixed(queries, keys, values, back),
        "places may descend: word i sees the rows up to i, whatever the positions say",
        tolerance=1e-4,
    )
    shifted = rotary_attention(queries, keys, values, places + 100)
    expect_close(shifted, got, "moved by 100 places, all words together, nothing may change", tolerance=1e-3)
    right = mixed(queries, keys, values, places, base=300.0)
    expect_close(rotary_attention(queries, keys, values, places, 300.0), right, "the base is not used", tolerance=1e-4)
    ### BEGIN HIDDEN TESTS
    for shape in ((1, 1, 1, 4), (3, 2, 9, 6)):
        queries, keys, values = randn(*shape), randn(*shape), randn(*shape)
        places = randint(0, 50, (shape[2],))
        expect_close(
            rotary_attention(queries, keys, values, places),
            mixed(queries, keys, values, places),
            f"another size, {shape}: the result differs",
            tolerance=1e-4,
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Two lines. Which of the three inputs meet in a score?
#
# </details>
# <details><summary>Method</summary>
#
# Call `apply_rope` twice, hand on positions and base, then PyTorch's attention with `is_causal=True`.
#
# </details>
# <details><summary>Almost there</summary>
#
# The third argument of the attention is the value as it came.
#
# </details>
# </details>

# %% [markdown]
# ## 9. Why do two libraries disagree?
#
# GPT-NeoX pairs other features: $i$ with $i + d/2$, so that one half of the head turns against the other. It is
# **half-split**. It saves interleaving, and is as good. Llama exists in both forms: Meta's own code and weights are
# interleaved, the copy on the hub is half-split. Weights that were trained with one fail with the other, silently: shapes
# fit, and the text is nonsense.
#
# By hand, $d = 4$, $x = (1, 1, 0, 0)$ at position 2: pair 0 is $(x_0, x_2) = (1, 0)$, pair 1 is $(x_1, x_3) = (1, 0)$. The
# result is $(\cos 2, \cos 0.02, \sin 2, \sin 0.02)$. Hints for this exercise and the next stand below the next.


# %% nbgrader={"grade": false, "grade_id": "apply_rope_half", "locked": false, "schema_version": 3, "solution": true, "task": false}
def apply_rope_half(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """As `apply_rope`, devices and dtypes too, but pair i is the features i and i + d/2.

    >>> apply_rope_half(torch.tensor([[1.0, 1, 0, 0]]), torch.tensor([2]))
    tensor([[-0.4161,  0.9998,  0.9093,  0.0200]])
    """
    ### BEGIN SOLUTION
    first, second = x.chunk(2, dim=-1)  # (..., l, d/2) each
    frequencies = rope_frequencies(x.shape[-1], base).to(x.device)
    halves = rotate_pair(first, second, positions[..., None].to(x.device) * frequencies)
    return torch.cat(halves, dim=-1).to(x.dtype)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_apply_rope_half", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("apply_rope_half", points=1):

    def turned_halves(x, places, base=10_000.0):  # as Llama's code writes it: x cos + rotate_half(x) sin
        d = x.shape[-1]
        angles = places[..., None].double() * base ** (-torch.arange(0, d, 2).double() / d)
        angles = torch.cat([angles, angles], dim=-1)
        rotated = torch.cat([-x[..., d // 2 :], x[..., : d // 2]], dim=-1)
        return (x * angles.cos() + rotated * angles.sin()).to(x.dtype)

    x, places = randn(2, 3, 5, 8), torch.tensor([7, 0, 31, 4, 12])
    kept = x.clone()
    got = apply_rope_half(x, places)
    expect(torch.equal(x, kept), "x itself was changed: write into a new tensor")
    expect(isinstance(got, Tensor) and got.shape == x.shape, "the result has the shape of x", got=got)
    expect_equal(got.dtype, torch.float32, "keep the dtype of x")
    expect(
        not torch.allclose(got, turned_halves(x, torch.arange(5)), atol=1e-3),
        "the positions are not used: row 0 need not be word 0",
    )
    expect(
        not torch.allclose(got, turned_halves(x, -places), atol=1e-3), "this turns with the clock: the other way round"
    )
    neighbours = rearrange(x, "... (i pair) -> ... (pair i)", pair=2)
    neighbours = rearrange(turned_halves(neighbours, places), "... (pair i) -> ... (i pair)", pair=2)
    expect(
        not torch.allclose(got, neighbours, atol=1e-3),
        "these pairs are neighbours; pair i is the features i and i + d/2",
    )
    mixed_up = rearrange(turned_halves(x, places), "... (pair i) -> ... (i pair)", pair=2)
    expect(not torch.allclose(got, mixed_up, atol=1e-3), "put the halves back side by side, not interleaved")
    expect_close(got, turned_halves(x, places), "the two halves of each pair turn by the same angle", tolerance=1e-4)
    each, wide = 30 * rand(2, 1, 5), randn(2, 3, 5, 8, dtype=torch.float64)
    expect_close(
        apply_rope_half(wide, each, 700.0),
        turned_halves(wide, each, 700.0),
        "other positions and another base",
        tolerance=1e-4,
    )
    x16, far = randn(1, 300, 8).bfloat16(), torch.arange(300)
    got = apply_rope_half(x16, far)
    expect_equal(got.dtype, torch.bfloat16, "x is bfloat16, and so must be the result: cast it in the end")
    right = turned_halves(x16.double(), far).bfloat16()
    expect_close(got, right, "make the angles in float32, and cast the result only", tolerance=0.02)
    changed = "x itself was changed, and autograd cannot follow: write into a new tensor"
    expect_not_raises(RuntimeError, lambda: gradients(apply_rope_half, x, places, upstream=kept), hint=changed)
    expect_from_scratch(apply_rope_half, "utils", "rotary", "rotate", "turn")
    ### BEGIN HIDDEN TESTS
    for lead, length, d in (((), 1, 2), ((4,), 6, 12), ((1, 2), 3, 64)):
        x, places = randn(*lead, length, d), randint(0, 90, (length,))
        expect_close(
            apply_rope_half(x, places),
            turned_halves(x, places),
            f"another size, {length} words of {d}: the result differs",
            tolerance=1e-4,
        )
    ### END HIDDEN TESTS

# %% [markdown]
# The two differ by the order of the features alone. And a score is a sum over features: it does not care for their order,
# if query and key agree on it. So put the **rows of the weights** that make queries and keys in another order, once, and a
# model trained with one convention runs with the other. It is what the script that brought Llama to the hub does.
#
# By hand, one head of $d = 4$: interleaved rows 0, 1, 2, 3 hold the pairs (0, 1) and (2, 3). Half-split wants pair 0 at places 0 and
# 2, pair 1 at places 1 and 3. So the new order of the rows is 0, 2, 1, 3.


# %% nbgrader={"grade": false, "grade_id": "to_half_split", "locked": false, "schema_version": 3, "solution": true, "task": false}
def to_half_split(weight: Tensor, n_heads: int) -> Tensor:
    """Query or key weights for `apply_rope`, put in order for `apply_rope_half`: scores stay the same.

    weight: (n_heads · d_head, d_model), as nn.Linear stores it: head h owns the rows from h·d_head on. Or its
    bias, (n_heads · d_head,).
    Returns: the same rows in another order, within each head.
    >>> to_half_split(torch.tensor([0, 1, 2, 3, 4, 5]), n_heads=1)
    tensor([0, 2, 4, 1, 3, 5])
    """
    ### BEGIN SOLUTION
    return rearrange(weight, "(h i pair) ... -> (h pair i) ...", h=n_heads, pair=2)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_to_half_split", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("to_half_split", points=2):
    rows = torch.arange(24)
    got = to_half_split(rows, 3)  # a bias: three heads of 8
    expect(isinstance(got, Tensor) and tuple(got.shape) == (24,), "as many rows as before", got=got)
    expect_equal(got.sort().values, rows, "the same rows in another order: none may be lost or doubled")
    expect(not torch.equal(got, rows), "the order of the rows has not changed")
    whole = torch.cat([rows[0::2], rows[1::2]])
    expect(not torch.equal(got, whole), "each head keeps its own rows: reorder within a head, not across all of them")
    back = rearrange(rows, "(h pair i) -> (h i pair)", h=3, pair=2)
    expect(not torch.equal(got, back), "this is the way back, from half-split to interleaved")
    order = [8 * head + 2 * pair + part for head in range(3) for part in range(2) for pair in range(4)]
    expect_equal(got, torch.tensor(order), "within a head of 8 the order is 0, 2, 4, 6, 1, 3, 5, 7")
    weight = randn(12, 5)
    order = [6 * head + 2 * pair + part for head in range(2) for part in range(2) for pair in range(3)]
    expect_equal(to_half_split(weight, 2), weight[order], "rows are reordered, whole: columns stay as they are")

    def scores(half, w_q, w_k, words, places):  # of two heads of 6, by other code than yours
        def turned(x):
            x = rearrange(x, "l (h d) -> h l d", h=2)
            pattern = "h l (pair i) -> pair h l i" if half else "h l (i pair) -> pair h l i"
            angles = places[:, None] * 10_000 ** (-torch.arange(0, 6, 2).double() / 6)
            first, second = rearrange(x, pattern, pair=2)
            return torch.polar(torch.ones_like(angles), angles) * torch.complex(first, second)

        return (turned(words @ w_q.T) @ turned(words @ w_k.T).mH).real

    words, places = randn(7, 5, dtype=torch.float64), randint(0, 80, (7,))
    w_q, w_k = randn(12, 5, dtype=torch.float64), randn(12, 5, dtype=torch.float64)
    right = scores(False, w_q, w_k, words, places)
    halves = scores(True, to_half_split(w_q, 2), to_half_split(w_k, 2), words, places)
    expect_close(halves, right, "turned half-split, the reordered weights must give the scores that they gave before")
    ### BEGIN HIDDEN TESTS
    for n_heads, d_head in ((1, 2), (4, 4), (2, 10)):
        weight = randn(n_heads * d_head, 3)
        order = [
            d_head * head + 2 * pair + part
            for head in range(n_heads)
            for part in range(2)
            for pair in range(d_head // 2)
        ]
        expect_equal(to_half_split(weight, n_heads), weight[order], f"{n_heads} heads of {d_head}: the order differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints for both</summary>
#
# <details><summary>Nudge</summary>
#
# The two functions differ in how they cut the features into firsts and seconds, and in how they put them back. The
# weights need the same cut, on their rows.
#
# </details>
# <details><summary>Method</summary>
#
# For the weights: split the rows into heads, each head into pairs. Then let first and second members change places with
# the number of the pair, and merge again.
#
# </details>
# <details><summary>Almost there</summary>
#
# einops does it in one pattern: on the left the rows are (head, pair number, member), on the right (head, member, pair
# number). Three dots stand for the columns, which a bias does not have.
#
# </details>
# </details>

# %% [markdown]
# ## 10. What lies beyond the longest text?
#
# A model is trained on texts of some length, 64 letters here. Then somebody hands it 256. Learned positions have no vector for
# the 65th place, or an untrained one, as in the experiment below; BERT's end at 512. Rotary positions have an angle for any place, but the model has never seen such
# distances. Two repairs need no new weights:
#
# **Interpolate** (Chen et al. 2023): squeeze the places, so that 256 of them fit where 64 were. Place $p$ becomes
# $p \cdot 64 / 256$. No angle is new, but neighbours are only a quarter of a place apart.
#
# **Change the base** (NTK-aware scaling, bloc97 2023): slow the hands, not the places, and not all alike. The fastest hand
# keeps its speed, so neighbours stay apart. The slowest becomes $s$ times slower, so its angles stay in the range that was
# seen; those between are slowed by less, and some do leave it. With $s = 4$ here, solve $\text{base}'^{-(d-2)/d} = \text{base}^{-(d-2)/d} / s$:
#
# $$\text{base}' = \text{base} \cdot s^{\,d/(d-2)}$$
#
# By hand, $d = 4$, base 100, $s = 3$: $100 \cdot 3^2 = 900$. The frequencies were 1 and 1/10, now they are 1 and 1/30.
# Hints for both exercises stand below the second.


# %% nbgrader={"grade": false, "grade_id": "interpolate_positions", "locked": false, "schema_version": 3, "solution": true, "task": false}
def interpolate_positions(positions: Tensor, trained: int, length: int) -> Tensor:
    """Positions of a text of `length` words, squeezed into the `trained` length; a text that fits is left as it is.

    positions: int64 or float, some or all places of the text. Returns: float32, of the shape of positions.
    >>> interpolate_positions(torch.tensor([0, 1, 7]), trained=4, length=8)
    tensor([0.0000, 0.5000, 3.5000])
    >>> interpolate_positions(torch.tensor([0, 1, 2]), trained=4, length=3)
    tensor([0., 1., 2.])
    """
    ### BEGIN SOLUTION
    return positions.float() * min(1.0, trained / length)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_interpolate_positions", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("interpolate_positions", points=1):
    places = torch.tensor([0, 3, 17, 199])
    got = interpolate_positions(places, 50, 200)
    expect(isinstance(got, Tensor) and got.shape == places.shape, "as many positions as before", got=got)
    expect_equal(got.dtype, torch.float32, "positions between whole numbers are float32")
    expect(got.max() < 50, "every place must lie inside the trained length", got=got)
    expect(got[1] != 0, "do not round: places between whole numbers are the point", got=got)
    expect_close(got, torch.tensor([0, 0.75, 4.25, 49.75]), "place p becomes p · trained / length")
    alone = interpolate_positions(torch.tensor([3]), 50, 200)
    expect_close(alone, torch.tensor([0.75]), "the length decides, not the largest place: one word of a long text")
    expect_close(
        interpolate_positions(places[:3], 50, 20), torch.tensor([0.0, 3, 17]), "a text that fits must not be stretched"
    )
    ### BEGIN HIDDEN TESTS
    for short, long in ((64, 256), (7, 30), (10, 10), (100, 1)):
        places = randint(0, long, (2, 5))
        right = torch.tensor([[place * short / max(long, short) for place in row] for row in places.tolist()])
        expect_close(interpolate_positions(places, short, long), right, f"from {long} to {short} words")
    ### END HIDDEN TESTS


# %% nbgrader={"grade": false, "grade_id": "ntk_base", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ntk_base(base: float, d: int, scale: float) -> float:
    """The base that makes the slowest pair of a head of d numbers `scale` times slower; d is even and at least 4.

    >>> ntk_base(100.0, 4, 3.0)
    900.0
    """
    ### BEGIN SOLUTION
    return base * scale ** (d / (d - 2))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_ntk_base", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("ntk_base", points=1):
    for base, d, scale in ((10_000.0, 16, 4.0), (500.0, 6, 2.5), (10_000.0, 128, 8.0)):
        got = ntk_base(base, d, scale)
        expect(isinstance(got, (int, float)), "return a number", got=got)
        slowest = base ** (-(d - 2) / d)
        expect(got > base, "slower hands need a larger base", got=got)
        expect(
            abs(got / (base * scale) - 1) > 1e-6,
            "base · scale slows the slowest pair by less: mind the exponent",
            got=got,
        )
        expect_close(
            got ** (-(d - 2) / d) * scale, slowest, "the slowest pair, base^(-(d-2)/d), must be `scale` times slower"
        )
    expect_close(ntk_base(10_000.0, 8, 1.0), 10_000.0, "with scale 1 nothing changes")

# %% [markdown]
# <details><summary>Hints for both</summary>
#
# <details><summary>Nudge</summary>
#
# Both are one line, and both formulas stand above.
#
# </details>
# <details><summary>Method</summary>
#
# The factor for the positions is never larger than 1. For the base, take both sides of the equation to the power
# $-d/(d-2)$.
#
# </details>
# <details><summary>Almost there</summary>
#
# Multiplying whole numbers by a float gives float, but `min(1, …)` may be the whole number 1, and // gives whole numbers.
# In Python, `**` binds more tightly than
# `*`, and the exponent needs brackets.
#
# </details>
# </details>

# %% [markdown]
# ### The experiment
#
# The text is English about Python, letter by letter; a tenth of its documents is held out. Two small causal models differ
# in one thing: one adds a learned vector for each place, the other uses your `rotary_attention`. Both are trained on 64
# letters. Then they read 256.

# %%
from utils.data.words import split, texts

trained, longer = pick(smoke=8, cpu=64, gpu=64), pick(smoke=32, cpu=256, gpu=256)
alphabet = "\n" + "".join(map(chr, range(32, 127)))


def encode(text: str) -> Tensor:
    """(l,) int64: the number of each letter in the alphabet; letters outside it are left out."""
    return torch.tensor([number for letter in text if (number := alphabet.find(letter)) >= 0])


pages = pick(smoke={"a": "abc " * 40, "b": "abd " * 40}, cpu=None, gpu=None) or texts()
train_text, test_text = (encode("\n".join(part.values())).to(device) for part in split(pages))
print(f"{len(train_text):,} letters to train on, {len(test_text):,} held out")
if pick(smoke=True, cpu=False, gpu=False):
    print("smoke scale: nothing is learned here, and the text below does not fit the numbers")


# %%
class Block(nn.Module):
    """Attention and a feed-forward layer, each beside a residual path, as in lesson 07."""

    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.w_qkv, self.w_o = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.feed_forward = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))

    def forward(self, x: Tensor, places: Tensor, base: float) -> Tensor:
        qkv = self.w_qkv(self.attention_norm(x))
        queries, keys, values = rearrange(qkv, "b l (three h d) -> three b h l d", three=3, h=self.n_heads)
        mixed = rotary_attention(queries, keys, values, places, base)
        x = x + self.w_o(rearrange(mixed, "b h l d -> b l (h d)"))
        return x + self.feed_forward(self.feed_forward_norm(x))


# %%
class Reader(nn.Module):
    """A causal model of letters; its positions are "learned" or "rotary"."""

    def __init__(self, kind: str, d_model: int = pick(smoke=16, cpu=64, gpu=128), n_heads: int = 4):
        super().__init__()
        self.letters = nn.Embedding(len(alphabet), d_model)
        self.learned = nn.Embedding(longer, d_model) if kind == "learned" else None
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(pick(smoke=1, cpu=2, gpu=4)))
        self.norm, self.read = nn.LayerNorm(d_model), nn.Linear(d_model, len(alphabet))
        for table in [self.letters, self.learned] if self.learned else [self.letters]:
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, ids: Tensor, places: Tensor | None = None, base: float = 10_000.0) -> Tensor:
        """ids: (b, l) int64; places: (l,), by default 0, 1, 2, …. Returns: logits (b, l, letters)."""
        places = torch.arange(ids.shape[1], device=ids.device) if places is None else places
        x = self.letters(ids)
        if self.learned:
            x, places = x + self.learned(places), torch.zeros_like(places)  # turned by nothing
        for block in self.blocks:
            x = block(x, places, base)
        return self.read(self.norm(x))


# %%
def draw(text: Tensor, n: int, length: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """n pieces of a text, and the same a letter later: (n, length) each."""
    starts = torch.randint(len(text) - length - 1, (n, 1), generator=generator)
    pieces = text[(starts + torch.arange(length + 1)).to(text.device)]
    return pieces[:, :-1], pieces[:, 1:]


def train(model: Reader, label: str, steps: int, length: int, n: int, lr: float = 3e-3, **positions) -> Reader:
    """Fit a model to predict the next letter; `positions` may be places and base."""

    def loss(step: int) -> Tensor:
        ids, following = draw(train_text, n, length)
        return F.cross_entropy(model(ids, **positions).flatten(0, 1), following.flatten())

    fit(model, loss, steps=steps, lr=lr, label=label)
    return model


@torch.no_grad()
def loss_by_place(model: Reader, **positions) -> Tensor:
    """(longer,): the mean loss at each place of held-out texts, always the same ones."""
    pieces = draw(test_text, pick(smoke=4, cpu=300, gpu=2000), longer, torch.Generator().manual_seed(0))
    losses = [
        F.cross_entropy(rearrange(model(ids, **positions), "b l letter -> b letter l"), following, reduction="none")
        for ids, following in zip(*(part.split(50) for part in pieces), strict=True)
    ]
    return torch.cat(losses).mean(0).cpu()


# %%
steps = pick(smoke=2, cpu=800, gpu=4000)
learned = train(Reader("learned").to(device), "learned positions", steps, trained, n=32)
rotary = train(Reader("rotary").to(device), "rotary positions", steps, trained, n=32)

# %%
all_places = torch.arange(longer, device=device)
squeezed = interpolate_positions(all_places, trained, longer)
slower = ntk_base(10_000.0, pick(smoke=4, cpu=16, gpu=32), longer / trained)  # for the size of a head
losses = {
    "learned": loss_by_place(learned),
    "rotary": loss_by_place(rotary),
    "rotary, interpolated": loss_by_place(rotary, places=squeezed),
    "rotary, other base": loss_by_place(rotary, base=slower),
}

# %% [markdown]
# **Predict first.** Which of the four lines holds out longest beyond 64 letters? Which fails even before?


# %%
def smooth(losses: Tensor) -> tuple[Tensor, Tensor]:
    """Places, and the mean loss of the eight places around each."""
    return torch.arange(len(losses) // 8) * 8 + 3.5, losses.unflatten(0, (-1, 8)).mean(-1)


# %% jupyter={"source_hidden": true}
curves(
    {name: smooth(values) for name, values in losses.items()},
    xlabel="place of the letter",
    ylabel="loss (nats a letter)",
    title=f"Trained on {trained} letters: learned positions fail at once beyond, rotary ones later",
    alt="Loss against place, from 0 to 256. Learned positions jump up at 64. Plain rotary positions hold a little longer, "
    "then rise. Interpolated ones are high everywhere. With another base the loss stays low up to about 160 places.",
)


# %%
def table(losses: dict[str, Tensor]) -> None:
    """The mean loss in each quarter of the places."""
    quarters = [f"{start}–{start + longer // 4 - 1}" for start in range(0, longer, longer // 4)]
    print(f"{'loss at places':<34}" + "".join(f"{quarter:>10}" for quarter in quarters))
    for name, values in losses.items():
        means = values.unflatten(0, (4, -1)).mean(-1).tolist()
        print(f"{name:<34}" + "".join(f"{mean:>10.2f}" for mean in means))


table(losses)

# %% [markdown]
# - **Learned** positions fail at place 64: the vectors beyond were never trained.
# - **Rotary** positions hold for some places more, then fail as well: the angles are there, but not the experience.
# - **Interpolated** positions fail everywhere, also at the start. A model that learned what a whole place means cannot read
#   quarters of it. Chen et al. train on for up to 1,000 steps, on longer texts.
# - **Another base** needs no training, and more than doubles the length that can be read. Not four times: the middle hands
#   now reach angles never seen. YaRN (further reading) and Llama 3.1 slow each hand by its own count of circles.
#
# So train on, a little, on 256 letters:

# %%
more, rate = pick(smoke=2, cpu=80, gpu=400), 1e-3


def trained_on(model: Reader, label: str, **positions) -> Tensor:
    """The losses of a copy of the model that was trained a little longer, on long texts."""
    copy = Reader("learned" if model.learned else "rotary").to(device)
    copy.load_state_dict(model.state_dict())
    train(copy, label, more, longer, n=8, lr=rate, **positions)
    return loss_by_place(copy, **positions)


losses |= {
    "learned, trained on": trained_on(learned, "learned, trained on"),
    "rotary, interpolated, trained on": trained_on(rotary, "interpolated, trained on", places=squeezed),
    "rotary, other base, trained on": trained_on(rotary, "other base, trained on", base=slower),
}
table(losses)

# %% [markdown]
# A few steps are enough for the new base to be flat to the end. Interpolation is flat too, but pays for its blur: letters
# are spelt by near neighbours, and those have moved together. Learned positions have to learn 192 vectors from nothing.
#
# ## Break it: a cache that forgets where it is
#
# A model that writes keeps the keys of what it has read, and sends one new word at a time. That word is alone in its
# tensor. Code that counts positions from the shape of its input gives it the position 0, again and again. Nothing
# crashes. Here the first half of each text is read properly, and each letter after it is put at place 0.

# %%
restarted = torch.where(torch.arange(trained) < trained // 2, torch.arange(trained), 0).to(device)
broken = {}
for name, places in {"right": None, "restarts at 0": restarted, "no positions": torch.zeros_like(restarted)}.items():
    ids, following = draw(test_text, pick(smoke=4, cpu=300, gpu=2000), trained, torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = rearrange(rotary(ids, places), "b l letter -> b letter l")
    broken[name] = F.cross_entropy(logits, following, reduction="none").mean(0)[trained // 2 :].mean().item()
    print(f"{name:<15} loss in the second half: {broken[name]:.2f}")

# %% [markdown]
# Almost as bad as no positions at all. The test of `apply_rope` that sent one word at place 31 was for this.
#
# ## Play
#
# Two words, three pairs of numbers each, drawn as hands. Move both words along the sentence: all hands turn, and the score
# stays. Move one: the score changes. The fast pair on the left tells near places apart, the slow one on the right far ones.

# %% nbgrader={"grade": false, "grade_id": "play", "locked": true, "schema_version": 3, "solution": false, "task": false}
explore_rotary(
    ("it", "cat"),
    torch.tensor([[1.0, 0.2], [0.4, 0.8], [0.9, -0.3]]),
    torch.tensor([[0.8, 0.6], [-0.2, 1.0], [0.7, 0.5]]),
    torch.tensor([0.5, 0.1, 0.02]),
)

# %% [markdown]
# ## At full size
#
# | | head size | base | trained length |
# | --- | --- | --- | --- |
# | RoFormer (Su et al. 2021) | 64 | 10,000 | 512 |
# | Llama 2 (Touvron et al. 2023) | 128 | 10,000 | 4,096 |
# | Code Llama (Rozière et al. 2023) | 128 | 1,000,000 | 16,384 |
# | Llama 3 (Grattafiori et al. 2024) | 128 | 500,000 | 8,192, then in stages up to 131,072 |
#
# How long does the slowest hand take for a full circle? And how many hands complete one within the trained length?

# %%
print(f"{'':<12}{'slowest hand: places a circle':>32}{'hands with a full circle':>28}{'within 8,192 places':>23}")
for name, base, length in (
    ("RoFormer", 10_000.0, 512), ("Llama 2", 10_000.0, 4096), ("Code Llama", 1e6, 16_384), ("Llama 3", 500_000.0, 8192),
):  # fmt: skip
    circles = 2 * torch.pi / rope_frequencies(64 if name == "RoFormer" else 128, base)  # places a full circle
    rounds, rounds_8192 = (f"{(circles <= places).sum()} of {len(circles)}" for places in (length, 8192))
    print(f"{name:<12}{circles[-1].item():>32,.0f}{rounds:>28}{rounds_8192:>23}")

# %% [markdown]
# At the same length and head size, a larger base leaves fewer hands that come round: the slow ones hardly turn, and carry
# meaning rather than place.
#
# **Optional: real weights.** SmolLM2-135M (Allal et al. 2025) is a small Llama. Set `DOWNLOAD = True`, and the next cell takes
# the query and key weights of its first layer, which are half-split, puts them into the interleaved order, and compares
# scores: half-split with `apply_rope_half`, interleaved with `apply_rope`.

# %%
DOWNLOAD = False  # True: fetch 270 MB from huggingface.co, once
SOURCE = "HuggingFaceTB/SmolLM2-135M"  # or a folder that holds config.json and model.safetensors


def first_layer(source: str) -> tuple[dict[str, Tensor], dict]:
    """Query and key weights of the first layer of a Llama, in float32, and its configuration."""
    import json
    from pathlib import Path

    from utils.checkpoints import read_tensors
    from utils.data.hub import fetch

    tensors = read_tensors(source)
    names = {"w_q": "model.layers.0.self_attn.q_proj.weight", "w_k": "model.layers.0.self_attn.k_proj.weight"}
    folder = source if Path(source).is_dir() else None
    config = json.loads(fetch(source, "config.json", local_dir=folder).read_text())
    return {name: tensors[theirs].float() for name, theirs in names.items()}, config


# %%
def largest_gap(weights: dict[str, Tensor], config: dict) -> float:
    """How far the scores of one layer, half-split, are from those of its interleaved form; they are about 1 in size."""
    d_head = config["hidden_size"] // config["num_attention_heads"]
    base = (config.get("rope_parameters") or config)["rope_theta"]
    words, places = torch.randn(20, config["hidden_size"]), torch.randint(0, 2000, (20,))

    def turned(weight: Tensor, turn) -> Tensor:
        vectors = F.normalize(words @ weight.T, dim=-1)
        return turn(rearrange(vectors, "l (h d) -> h l d", d=d_head)[:1] * d_head**0.5, places, base)

    def interleaved(weight: Tensor) -> Tensor:  # the inverse of to_half_split
        paired = rearrange(weight, "(h pair i) ... -> (h i pair) ...", pair=2, i=d_head // 2)
        assert torch.equal(
            to_half_split(paired, len(weight) // d_head), weight
        )  # yours undoes it; keys have fewer heads
        return paired

    half = [turned(weights[name], apply_rope_half) for name in ("w_q", "w_k")]
    paired = [turned(interleaved(weights[name]), apply_rope) for name in ("w_q", "w_k")]
    return (half[0] @ half[1].mT - paired[0] @ paired[1].mT).abs().max().item()


if DOWNLOAD:
    print(f"largest difference of the scores: {largest_gap(*first_layer(SOURCE)):.0e}")
else:
    print("skipped: set DOWNLOAD = True above to fetch the weights (needs a network)")

# %% [markdown]
# ## Score card
#
# It counts the 18 points that the machine gives. The written proof of section 5 has the other 2.

# %%
score_card(18)

# %% [markdown]
# ## In five lines
#
# - Turn queries and keys by an angle that grows with the position; a score then depends on the distance alone. You proved
#   it, for a pair and for a head.
# - Turns compose and keep lengths; a turn back is a transpose. Nothing else is needed.
# - Pair i turns by base^(-2i/d): fast pairs tell neighbours apart, slow ones far places.
# - Interleaved and half-split are the same thing in another order; reorder the rows of the weights to change over.
# - Beyond the trained length angles exist, but no experience: slow the hands (another base), or squeeze the places and
#   train on.
#
# Lesson 09 puts your rotary positions into the block of Llama, and asks what the cache costs.
#
# ## Further reading
#
# - Su, Ahmed, Lu, Pan, Bo and Liu, *RoFormer: Enhanced Transformer with Rotary Position Embedding*, arXiv 2021;
#   Neurocomputing 568, 2024. Section 3 is this lesson; section 3.4.3 has the bound.
# - Peng, Quesnelle, Fan and Shippole, *YaRN: Efficient Context Window Extension of Large Language Models*, ICLR 2024. What
#   became of interpolation and of the other base.
# - Barbero, Vitvitskyi, Perivolaropoulos, Pascanu and Veličković, *Round and Round We Go! What Makes Rotary Positional
#   Encodings Useful?*, ICLR 2025. Which frequencies a trained model uses, and for what.
