# %% [markdown]
# # Self-attention and many heads
#
# In lesson 03 a decoder looked back at a sentence through attention, one step after the other. Here every word looks at
# every other word, all at once, and nothing else is left. You write that layer: the dot products, the masks, the heads,
# the positions. Then one such layer, alone, learns to copy, to reverse and to sort words that it has never seen, and
# you see in its maps how it does it.
#
# It builds on lessons 00 (splitting heads, softmax) and 03 (attention as a weighted mean), and gives 20 points in ten
# exercises.
#
# | scale | letters a word | steps a model | run time |
# | --- | --- | --- | --- |
# | `smoke` (tests) | 5 | 2 | 7 s |
# | `cpu` (a laptop) | 10 | 1000 | 50 s |
# | `gpu` | 16 | 4000 | not measured yet |
#
# Run times are processor time of the whole file, on two cores.

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

device = setup("04_self_attention")

# %% jupyter={"source_hidden": true}
diagram(
    {
        "words": ("words", 1, 0), "embed": ("embedding", 1, 1), "positions": ("sinusoidal_\npositions", 2.5, 1),
        "q": ("queries, w_q", 0, 2), "k": ("keys, w_k", 1, 2), "v": ("values, w_v", 2.5, 2),
        "scores": ("scores q·k / √d", 0.5, 3), "mask": ("causal_mask,\npadding_mask", 1.5, 3),
        "weights": ("weights: softmax", 0.5, 4), "mix": ("mix the values", 1.5, 5), "o": ("merge heads, w_o", 1.5, 6),
    },
    [
        ("words", "embed"), ("positions", "embed"), ("embed", "q"), ("embed", "k"), ("embed", "v"), ("q", "scores"),
        ("k", "scores"), ("scores", "weights"), ("mask", "weights"), ("weights", "mix"), ("v", "mix"), ("mix", "o"),
    ],
    yours=["positions", "q", "k", "v", "scores", "mask", "weights", "mix", "o"],
    title="Each word asks (query), offers (key) and carries (value); the layer mixes what is carried",
    alt="Words are embedded and positions are added. Three projections make queries, keys and values. Queries and keys "
    "give scores, masks and softmax turn them into weights, the weights mix the values, and w_o merges the heads. "
    "All but the words and the embedding is yours to write.",
)  # fmt: skip

# %% [markdown]
# ## 1. What does a word ask, offer and carry?
#
# Look at *the cat sat because it was tired*. To make sense of *it*, a model has to find *cat*. So let each word do
# three things. It **asks** for something: the query. It **offers** something to be found by: the key. It **carries**
# something to be taken away: the value. All three are made from the same vector by three learned matrices.
#
# By hand: a word is $x = (1, 2)$ and $W_Q = \begin{pmatrix} 0 & 1 \\ 1 & 0 \end{pmatrix}$. Its query is
# $x W_Q = (1\cdot 0 + 2\cdot 1,\ 1\cdot 1 + 2\cdot 0) = (2, 1)$.
#
# For a whole sentence, one row a word:
#
# $$Q = X W_Q, \qquad K = X W_K, \qquad V = X W_V$$


# %% nbgrader={"grade": false, "grade_id": "project_qkv", "locked": false, "schema_version": 3, "solution": true, "task": false}
def project_qkv(x: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of each word.

    x: (b, l, d_model). w_q, w_k: (d_model, d). w_v: (d_model, d_v). A word is a row, so the matrix
    stands on the right.
    Returns: q (b, l, d), k (b, l, d), v (b, l, d_v), in this order.
    >>> x, w_q = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> project_qkv(x, w_q, torch.eye(2), 3 * torch.eye(2))
    (tensor([[[2., 1.]]]), tensor([[[1., 2.]]]), tensor([[[3., 6.]]]))
    """
    ### BEGIN SOLUTION
    return x @ w_q, x @ w_k, x @ w_v
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_project_qkv", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("project_qkv", points=2):
    x, w_q, w_k, w_v = randn(2, 5, 6), randn(6, 6), randn(6, 6), randn(6, 6)
    result = project_qkv(x, w_q, w_k, w_v)
    expect(isinstance(result, (tuple, list)) and len(result) == 3, "return three tensors: q, k and v", got=result)
    q, k, v = result
    expect_equal([tuple(t.shape) for t in result], [(2, 5, 6)] * 3, "each word keeps its row: x @ w is (b, l, d)")
    expect_equal([t.dtype for t in result], [torch.float32] * 3, "keep the dtype of the words")
    expect(not torch.allclose(q, x @ w_q.T), "multiply by the matrix as it is, not its transpose")
    expect(not torch.allclose(q, x @ w_k), "return them in the order q, k, v")
    expect(not torch.allclose(k, x @ w_q), "queries, keys and values each have a matrix of their own")
    expect(not torch.allclose(v, x), "the values are projected too, by w_v")
    expect_close(v, F.linear(x, w_v.T), "the values are x times w_v")
    # one word, and matrices that are not square
    x, w_q, w_k, w_v = randn(3, 1, 5), randn(5, 2), randn(5, 2), randn(5, 4)
    for got, w in zip(project_qkv(x, w_q, w_k, w_v), (w_q, w_k, w_v), strict=True):
        expect_close(got, F.linear(x, w.T), "each result is x times its matrix")
    ### BEGIN HIDDEN TESTS
    x, weights = randn(1, 9, 4, dtype=torch.float64), [randn(4, n, dtype=torch.float64) for n in (7, 7, 1)]
    for got, w in zip(project_qkv(x, *weights), weights, strict=True):
        expect_close(got, F.linear(x, w.T), "each result is x times its matrix, in the dtype of x")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Three results, three products. Which of the two factors has one row a word?
#
# </details>
# <details><summary>Method</summary>
#
# `@` multiplies the last two axes and leaves the batch alone, so one product serves a whole batch of sentences.
#
# </details>
# <details><summary>Almost there</summary>
#
# Write the product for the query first. The other two differ from it in one letter. Return the three as a tuple.
#
# </details>
# </details>

# %% [markdown]
# ## 2. How does a query find its key?
#
# By a dot product: it is large where query and key point the same way. A softmax over all keys turns the scores into
# weights that sum to 1, and the weights mix the values. It is the weighted mean of lesson 03, with a dot product in
# place of the small network that scored there.
#
# By hand, with $d = 4$: the query is $(1, 1, 1, 1)$, the keys are $(1.1, 1.1, 0, 0)$ and $(1, -1, 1, -1)$, the values
# 4 and 8.
#
# | | key 1 | key 2 |
# | --- | --- | --- |
# | score $q \cdot k$ | 2.2 | 0 |
# | divided by $\sqrt 4 = 2$ | 1.1 | 0 |
# | exponential | 3.0 | 1 |
# | weight | 3.0 / 4.0 = 0.75 | 0.25 |
#
# The output is $0.75 \cdot 4 + 0.25 \cdot 8 = 5$.
#
# $$\text{Attention}(Q, K, V) = \text{softmax}\!\left(\frac{Q K^\top}{\sqrt d}\right) V$$
#
# A **mask** says which keys a query may look at: `True` keeps. A hidden key must get a weight of exactly 0, and the
# others must still sum to 1. What of a query that may look at nothing, as in an empty sentence of a batch? Its weights
# and its output are zeros. Without care they are 0/0, and one NaN spoils every weight of a network in a single step.


# %% nbgrader={"grade": false, "grade_id": "scaled_dot_product", "locked": false, "schema_version": 3, "solution": true, "task": false}
def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention: each query takes a weighted mean of the values.

    From scratch: not with PyTorch's own attention; torch.softmax is yours to use.
    q: (..., l_q, d). k: (..., l_k, d). v: (..., l_k, d_v). `...` is any number of axes, also none.
    mask: bool, True keeps, of a shape that broadcasts to (..., l_q, l_k); None keeps all.
    Returns: out (..., l_q, d_v) and weights (..., l_q, l_k). The weights of a query sum to 1, hidden
    keys get exactly 0; a query whose keys are all hidden gets weights and an output of zeros. Nothing
    is NaN, nor is a gradient.
    >>> k, v = torch.tensor([[1.1, 1.1, 0, 0], [1, -1, 1, -1]]), torch.tensor([[4.0], [8.0]])
    >>> scaled_dot_product(torch.ones(1, 4), k, v)
    (tensor([[4.9990]]), tensor([[0.7503, 0.2497]]))
    """
    ### BEGIN SOLUTION
    scores = einsum(q, k, "... i d, ... j d -> ... i j") / q.shape[-1] ** 0.5  # (..., l_q, l_k)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)  # the softmax of nothing but -inf is NaN
    return weights @ v, weights
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_scaled_dot_product", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
with exercise("scaled_dot_product", points=4):
    q, k, v = randn(2, 3, 5, 8), randn(2, 3, 7, 8), randn(2, 3, 7, 4)
    result = scaled_dot_product(q, k, v)
    expect(isinstance(result, (tuple, list)) and len(result) == 2, "return two tensors: out and weights", got=result)
    out, weights = result
    shapes = [tuple(out.shape), tuple(weights.shape)]
    expect_equal(shapes, [(2, 3, 5, 4), (2, 3, 5, 7)], "first the output (…, l_q, d_v), then the weights (…, l_q, l_k)")
    expect_close(
        weights.sum(-1), torch.ones(2, 3, 5), "weights must sum to 1 over the keys: softmax over the last axis"
    )

    def expected(scale):  # the output for values that are one-hot is the weights
        return F.scaled_dot_product_attention(q, k, torch.eye(7).expand(2, 3, 7, 7), scale=scale)

    expect(not torch.allclose(weights, expected(1.0)), "the scores are not divided by anything: divide them by √d")
    expect(not torch.allclose(weights, expected(1 / 8)), "divide by the square root of d, not by d itself")
    expect_close(weights, expected(8**-0.5), "wanted is softmax(q·k / √d), and d is the size of a query")
    expect_close(out, F.scaled_dot_product_attention(q, k, v), "the output is the weights times the values")
    large = F.scaled_dot_product_attention(90 * q, k, v)
    expect_close(scaled_dot_product(90 * q, k, v)[0], large, "large scores overflow: use torch.softmax", tolerance=1e-3)

    mask = rand(2, 1, 5, 7) < 0.6  # one mask for the three heads
    mask[..., 3], mask[..., 4] = True, False
    mask[0, 0, 2] = False  # this query may look at nothing
    keep = mask.expand(2, 3, 5, 7)
    sees = keep.any(-1)
    out, weights = scaled_dot_product(q, k, v, mask)
    expect((weights[keep] > 0).any(), "the mask is upside down: True keeps a key, False hides it")
    expect((weights[sees][~keep[sees]] == 0).all(), "masked keys got weight: give them a score of -inf")
    expect_close(
        weights[sees].sum(-1), torch.ones(27), "mask before the softmax: zeroed after it, weights no longer sum to 1"
    )
    expect(not weights.isnan().any(), "NaN: a query that may look at nothing needs weights of zero")
    expect((weights[~sees] == 0).all(), "a query that may look at nothing gets zeros; with -1e9 it looks everywhere")
    visible = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).masked_fill(~sees[..., None], 0.0)
    expect_close(out, visible, "with a mask, the output is still the weights times the values")
    slopes = gradients(scaled_dot_product, q, k, v, mask, upstream=randn(2, 3, 5, 4))
    expect(all(g.isfinite().all() and g.any() for g in slopes), "the gradient is NaN or zero")
    expect_from_scratch(
        scaled_dot_product, "scaled_dot_product_attention", "MultiheadAttention", "multi_head_attention_forward"
    )
    ### BEGIN HIDDEN TESTS
    for lead, l_q, l_k, d, d_v in (((), 1, 1, 1, 3), ((4,), 6, 1, 2, 1), ((1, 2), 1, 9, 5, 5), ((), 3, 4, 16, 2)):
        shapes = (*lead, l_q, d), (*lead, l_k, d), (*lead, l_k, d_v)
        q, k, v = (randn(*shape, dtype=torch.float64) for shape in shapes)
        mask = rand(l_q, l_k) < 0.5
        mask[..., 0] = True
        identity = torch.eye(l_k, dtype=torch.float64).expand(*lead, l_k, l_k)
        for m in (None, mask):
            out, weights = scaled_dot_product(q, k, v, m)
            expect_close(
                out,
                F.scaled_dot_product_attention(q, k, v, attn_mask=m),
                "another size, in float64: the output differs",
            )
            expect_close(
                weights, F.scaled_dot_product_attention(q, k, identity, attn_mask=m), "another size: the weights differ"
            )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Follow the table of the worked example, line by line. Each line is one operation on a matrix with a row for each query
# and a column for each key.
#
# </details>
# <details><summary>Method</summary>
#
# All scores at once are one product, of `q` and `k` with its last two axes swapped. For the mask, give hidden keys a
# score whose exponential is exactly zero. Do it before the softmax, so that the rest still sums to 1.
#
# </details>
# <details><summary>Almost there</summary>
#
# `masked_fill(condition, value)` writes where the condition is True, and your mask says True for *keep*. When a whole
# row is hidden, the softmax divides zero by zero; a second `masked_fill`, on the weights, mends it. Not `masked_fill_`:
# the gradient still needs the weights as the softmax left them.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# Here are queries and keys for our sentence, made by hand. A word has four features: *animal*, *action*, *state*,
# *anything else*. *it* asks loudly for an animal; *cat* offers one.

# %% nbgrader={"grade": false, "grade_id": "sentence", "locked": true, "schema_version": 3, "solution": false, "task": false}
sentence = "the cat sat because it was tired".split()
asks_and_offers = {  # animal, action, state, anything else
    "the": ([2, 0, 0, 0], [0, 0, 0, 1]),
    "cat": ([0, 3, 0, 0], [2, 0, 0, 0]),
    "sat": ([3, 0, 0, 0], [0, 2, 0, 0]),
    "because": ([0, 2, 2, 0], [0, 0, 0, 1]),
    "it": ([4, 0, 0, 0], [1, 0, 0, 0]),
    "was": ([1, 0, 3, 0], [0, 1, 0, 0]),
    "tired": ([3, 0, 0, 0], [0, 0, 2, 0]),
}
asks, offers = torch.tensor([asks_and_offers[word] for word in sentence]).float().unbind(1)  # (7, 4) each

# %%
_, weights = scaled_dot_product(asks, offers, offers)  # only the weights are shown: any values would do
attention_map(
    weights,
    sentence,
    title="it finds cat: with four features made by hand",
    alt="A 7 by 7 map of weights. The row of 'it' is brightest at 'cat', with 0.82. 'sat' and 'tired' look at 'cat' too; "
    "'cat' looks most at 'sat', 'was' most at 'tired'.",
)

# %% [markdown]
# ## 3. Why divide by √d?
#
# **Predict first.** Query and key are $d$ independent standard normal numbers each. How large is a score $q \cdot k$,
# typically, for $d = 64$: about 1, about 8, about 64? Then measure the variance of scores; its root is their typical
# size.


# %% nbgrader={"grade": false, "grade_id": "score_variance", "locked": false, "schema_version": 3, "solution": true, "task": false}
def score_variance(d: int, samples: int) -> float:
    """The variance of unscaled scores, measured.

    Draws `samples` pairs (at least 2) of a query and a key, `d` independent standard normal numbers
    each, and returns the variance of their `samples` dot products, as a number. Another call draws
    other numbers.
    >>> round(score_variance(1, 100_000))  # before rounding, another number each time
    1
    """
    ### BEGIN SOLUTION
    q, k = torch.randn(samples, d), torch.randn(samples, d)
    return einsum(q, k, "n d, n d -> n").var().item()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_score_variance", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("score_variance", points=2):
    n = 4000
    for d in (64, 9, 1):
        got = score_variance(d, n)
        expect(isinstance(got, (int, float)), "return a number, not a tensor: .item() makes one", got=got)
        six_sigma = 6 * d * ((2 + 6 / d) / n) ** 0.5  # of the variance of n products of normal numbers
        if d == 64:
            expect(abs(got) > 0.5, "this is about 0, as is the mean of the scores; wanted is their variance", got=got)
            expect(abs(got - 1) > 0.3, "about 1: sum the d products of a pair, not divided by √d", got=got)
            expect(abs(got - 8) > 2, "about 8: that is the standard deviation; wanted is its square", got=got)
            expect(abs(got - 128) > 30, "twice too large: query and key are two independent draws", got=got)
        expect(
            abs(got - d) < six_sigma,
            f"for d = {d} the variance is near {d}: standard normal numbers, torch.randn",
            got=got,
        )
    few = [score_variance(16, 8) for _ in range(20)]
    expect(len(set(few)) > 1, "each call gives the same number: it must be measured", got=few[0])
    expect(torch.tensor(few).std() > 2, "8 samples give a rough answer: draw just `samples` pairs")
    ### BEGIN HIDDEN TESTS
    for d in (2, 33, 250):
        got = score_variance(d, n)
        expect(abs(got - d) < 6 * d * ((2 + 6 / d) / n) ** 0.5, f"for d = {d} the variance is near {d}", got=got)
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Make all pairs at once: two matrices, a row for each pair.
#
# </details>
# <details><summary>Method</summary>
#
# A dot product of two rows is the sum, along the row, of their products. That leaves one number a pair; take the
# variance of those.
#
# </details>
# <details><summary>Almost there</summary>
#
# Two calls of `torch.randn`, one elementwise product summed over the right axis, `.var()`, and `.item()` for a number.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# A score is a sum of $d$ products. Each product has mean 0 and variance 1. Variances of independent terms add up, so
# the score has variance $d$ and typical size $\sqrt d$: about 8 for $d = 64$.
#
# Why care? Because of the gradient. The slope of a softmax is $w_i(\delta_{ij} - w_j)$: once one weight is near 1 and
# the rest near 0, every slope is near 0 and nothing is learned. Vaswani et al. (2017, section 3.2.1) give that as
# their reason for the scale.


# %%
def softmax_slope(scores: Tensor) -> float:
    """The mean size (Frobenius norm) of the softmax's derivative; scores: (n, keys)."""
    p = torch.softmax(scores, dim=-1)
    return (torch.diag_embed(p) - einsum(p, p, "n i, n j -> n i j")).norm(dim=(-2, -1)).mean().item()


sizes = pick(smoke=[1, 64], cpu=[1, 4, 16, 64, 256, 1024], gpu=[1, 4, 16, 64, 256, 1024, 4096])  # of d
variances = [score_variance(d, pick(smoke=100, cpu=10_000, gpu=10_000)) for d in sizes]
unscaled = [einsum(torch.randn(500, d), torch.randn(500, 16, d), "n d, n j d -> n j") for d in sizes]

# %% jupyter={"source_hidden": true}
curves(
    {"measured": (sizes, variances), "d": (sizes, sizes)},
    xlabel="size of a query, d",
    ylabel="variance of a score",
    title="The variance of a score is d, so its typical size is √d",
    alt="Both axes logarithmic. The measured variance lies on the straight line of d, from 1 to the largest size.",
    log="xy",
    markers=True,
)

# %% jupyter={"source_hidden": true}
curves(
    {
        "q·k": (sizes, [softmax_slope(scores) for scores in unscaled]),
        "q·k / √d": (sizes, [softmax_slope(scores / d**0.5) for d, scores in zip(sizes, unscaled, strict=True)]),
    },
    xlabel="size of a query, d",
    ylabel="mean slope of the softmax",
    title="Without the scale, the softmax over 16 keys stops learning as d grows",
    alt="Two lines against d, on a logarithmic axis. The slope of the unscaled softmax falls from 0.3 at d = 4 to 0.05 at "
    "d = 1024; that of the scaled one stays near 0.3.",
    log="x",
    markers=True,
)

# %% [markdown]
# ## 4. Which words may a word see?
#
# Two masks do nearly all the work.
#
# **Causal.** A model that predicts the next word must not see it. Query $i$ may look at key $j$ only if $j \le i$. It
# does look at itself: the word at $i$ is known when the next one is predicted.
#
# **Padding.** Sentences in a batch differ in length, so the short ones are filled up. Nobody may look at the filling.
# The filling itself still asks, as a query like any other; what it gets is never used.
#
# By hand, for three positions: $\begin{pmatrix} 1 & 0 & 0 \\ 1 & 1 & 0 \\ 1 & 1 & 1 \end{pmatrix}$ is causal; for a
# sentence of two words in three places, $\begin{pmatrix} 1 & 1 & 0 \end{pmatrix}$ is the one row that holds for every
# query.


# %% nbgrader={"grade": false, "grade_id": "causal_mask", "locked": false, "schema_version": 3, "solution": true, "task": false}
def causal_mask(length: int) -> Tensor:
    """Which positions each position may look at: itself, and those before it.

    Returns: (length, length) bool; row i is the query, column j the key, True (keep) where j <= i.
    >>> causal_mask(2)
    tensor([[ True, False],
            [ True,  True]])
    """
    ### BEGIN SOLUTION
    return torch.ones(length, length, dtype=torch.bool).tril()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_causal_mask", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("causal_mask", points=1):
    for n in (4, 1, 7):
        mask = causal_mask(n)
        allowed = torch.tensor([[key <= query for key in range(n)] for query in range(n)])
        expect_equal(mask.dtype, torch.bool, "a mask is of dtype torch.bool: True or False, no numbers")
        expect_equal(tuple(mask.shape), (n, n), "the shape must be (length, length)")
        expect(not torch.equal(mask, ~allowed), "the mask is upside down: True keeps")
        expect(mask.diagonal().all(), "each position sees itself: j <= i, not j < i")
        expect(not mask.triu(1).any(), "a key later than its query is visible: rows are queries")
        expect_equal(mask, allowed, "every earlier key is visible")
    ### BEGIN HIDDEN TESTS
    for n in (2, 3, 12):
        allowed = torch.tensor([[key <= query for key in range(n)] for query in range(n)])
        expect_equal(causal_mask(n), allowed, f"row i keeps the keys up to i; look at length {n}")
    ### END HIDDEN TESTS


# %% nbgrader={"grade": false, "grade_id": "padding_mask", "locked": false, "schema_version": 3, "solution": true, "task": false}
def padding_mask(lengths: Tensor, length: int) -> Tensor:
    """Which keys are words, in a batch of sentences that were filled up at the end.

    lengths: (b,) int64, the number of words in each sentence, 0 to `length`.
    Returns: (b, 1, length) bool, True (keep) for words. The axis of size 1 is for the queries: all see
    the same keys.
    >>> padding_mask(torch.tensor([2, 3]), 3).tolist()
    [[[True, True, False]], [[True, True, True]]]
    """
    ### BEGIN SOLUTION
    is_word = torch.arange(length, device=lengths.device) < lengths[:, None]  # (b, length)
    return rearrange(is_word, "b l -> b 1 l")
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_padding_mask", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("padding_mask", points=2):
    lengths = torch.tensor([3, 5, 2, 4])
    mask = padding_mask(lengths, 6)
    expect_equal(mask.dtype, torch.bool, "a mask is of dtype torch.bool: True or False, no numbers")
    expect_equal(tuple(mask.shape)[:2], (4, 1), "the shape must be (b, 1, length): queries before keys")
    expect_equal(mask.shape[-1], 6, "there must be `length` keys, even where every sentence is shorter")
    count = mask.sum(-1)[:, 0]
    expect_equal((6 - count).equal(lengths), False, "the mask is upside down: True keeps the words")
    expect_equal((count - 1).equal(lengths), False, "one too many: a sentence of 3 words keeps the keys 0, 1 and 2")
    expect_equal((count + 1).equal(lengths), False, "one too few: a sentence of 3 words keeps the keys 0, 1 and 2")
    expect_equal(count, lengths, "each sentence keeps as many keys as it has words")
    kept = torch.tensor([[[j < n for j in range(6)]] for n in lengths.tolist()])
    expect_equal(mask, kept, "the words stand first, the filling at the end")
    kept = torch.tensor([[[True]], [[False]]])
    expect_equal(padding_mask(torch.tensor([1, 0]), 1), kept, "a sentence may be full, or have no words at all")
    ### BEGIN HIDDEN TESTS
    for length, size in ((9, 5), (1, 3), (4, 1)):
        lengths = randint(0, length + 1, (size,))
        kept = torch.tensor([[[j < n for j in range(length)]] for n in lengths.tolist()])
        expect_equal(
            padding_mask(lengths, length), kept, "key j of a sentence is a word where j is less than its length"
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints for both masks</summary>
#
# <details><summary>Nudge</summary>
#
# Both masks compare a position with something: with another position, or with a length.
#
# </details>
# <details><summary>Method</summary>
#
# `torch.arange(length)` holds the positions. Give one side of a comparison an extra axis of size 1 and it broadcasts
# into a table. For the causal mask a triangle of ones serves as well.
#
# </details>
# <details><summary>Almost there</summary>
#
# For the padding mask, compare positions along the last axis with `lengths` standing as a column: that is (b,
# length). One axis is still missing between the two.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# The same hand-made sentence under each mask, and under both: masks combine with `&`.

# %%
causal, padding = causal_mask(7), padding_mask(torch.tensor([4]), 7)
both = causal & padding  # (7, 7) & (1, 1, 7) = (1, 7, 7): for each sentence, a row for each query
attention_heads(
    torch.stack([scaled_dot_product(asks, offers, offers, mask)[1] for mask in (causal, padding[0], both[0])]),
    sentence,
    names=["no later word", "four words only", "both"],
    title="Hidden keys get nothing, and the rest shares their weight",
    alt="Three 7 by 7 maps. Under the causal mask everything right of the diagonal is zero, and the first word can only "
    "look at itself. Under the padding mask the last three columns are zero. Under both, all of these are zero.",
)

# %% [markdown]
# ## 5. Why many heads?
#
# One softmax makes one choice: *it* looks at *cat*, or at the word before, or at the verb. A model wants all three at
# once. So split the features into `n_heads` groups, let each attend on its own with queries and keys of its own, and
# put the results side by side again. The cost is the same as that of one wide head. A mask holds for all heads alike,
# so it needs an axis for them: beside scores of (b, h, l, l), a mask (b, 1, l) becomes (b, 1, 1, l), and (l, l) becomes
# (1, l, l).
#
# By hand: `d_model` = 6 and three heads give `d_head` = 2. Head 0 owns the features 0 and 1, head 1 the features 2
# and 3, head 2 the features 4 and 5. The scores are divided by $\sqrt 2$, not by $\sqrt 6$.
#
# $$\text{head}_i = \text{Attention}(Q_i, K_i, V_i), \qquad \text{out} = [\text{head}_0; \dots; \text{head}_{h-1}]\, W_O + b_O$$
#
# PyTorch has this layer, and yours has to agree with it. The next cell is only the yardstick of the test: you may skip
# it.


# %% nbgrader={"grade": false, "grade_id": "torch_attention", "locked": true, "schema_version": 3, "solution": false, "task": false}
def torch_attention(state: dict, n_heads: int, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What nn.MultiheadAttention makes of x (b, l, d_model) with the weights of `state`, a state dict of your layer."""
    b, length, d_model = x.shape
    layer = nn.MultiheadAttention(d_model, n_heads, batch_first=True, dtype=x.dtype, device=x.device)
    merged = {f"in_proj_{p}": torch.cat([state[f"w_{n}.{p}"] for n in "qkv"]) for p in ("weight", "bias")}
    layer.load_state_dict(merged | {f"out_proj.{p}": state[f"w_o.{p}"] for p in ("weight", "bias")})
    if mask is not None:  # there True blocks, and each head of each sentence has its own map
        mask = ~mask.expand(b, length, length).repeat_interleave(n_heads, dim=0)
    with torch.no_grad():
        return layer(x, x, x, attn_mask=mask, average_attn_weights=False)


def random_state(d_model: int) -> dict:
    """Weights and biases of such a layer, drawn by a test."""
    shapes = {"weight": (d_model, d_model), "bias": (d_model,)}
    return {f"w_{n}.{p}": 0.5 * randn(*shape, dtype=torch.float64) for n in "qkvo" for p, shape in shapes.items()}


# %% nbgrader={"grade": false, "grade_id": "MultiHeadAttention", "locked": false, "schema_version": 3, "solution": true, "task": false}
class MultiHeadAttention(nn.Module):
    """Self-attention in n_heads groups of features. From scratch: your `scaled_dot_product`, nn.Linear and einops."""

    def __init__(self, d_model: int, n_heads: int):
        """Four layers with biases, nn.Linear(d_model, d_model), called w_q, w_k, w_v and w_o.

        Raises: ValueError when d_model is not a multiple of n_heads.
        """
        super().__init__()
        ### BEGIN SOLUTION
        if d_model % n_heads:
            raise ValueError(f"d_model = {d_model} is not a multiple of n_heads = {n_heads}")
        self.n_heads = n_heads
        self.w_q = nn.Linear(d_model, d_model)
        self.w_k = nn.Linear(d_model, d_model)
        self.w_v = nn.Linear(d_model, d_model)
        self.w_o = nn.Linear(d_model, d_model)
        ### END SOLUTION

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mix the words of each sentence.

        x: (b, l, d_model).
        mask: bool, True keeps, without an axis for heads: (l, l), (b, 1, l) or (b, l, l).
        Head i owns the features from i·d_head up to (i+1)·d_head, where d_head = d_model / n_heads, in
        q, k and v and in what w_o is given.
        Returns: out (b, l, d_model) and weights (b, n_heads, l, l).
        """
        ### BEGIN SOLUTION
        q, k, v = self.w_q(x), self.w_k(x), self.w_v(x)
        q, k, v = (rearrange(t, "b l (h d) -> b h l d", h=self.n_heads) for t in (q, k, v))  # (b, h, l, d)
        if mask is not None:
            mask = mask[..., None, :, :]  # the same for every head
        mixed, weights = scaled_dot_product(q, k, v, mask=mask)
        return self.w_o(rearrange(mixed, "b h l d -> b l (h d)")), weights
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_MultiHeadAttention", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
with exercise("MultiHeadAttention", points=4):
    expect_from_scratch(
        MultiHeadAttention, "MultiheadAttention", "multi_head_attention_forward", "scaled_dot_product_attention"
    )
    expect_raises(ValueError, MultiHeadAttention, 10, 4, hint="10 features do not split into 4 heads: raise ValueError")
    attend = MultiHeadAttention(12, 3).double()
    state, x = random_state(12), randn(3, 5, 12, dtype=torch.float64)
    shapes = {name: tuple(value.shape) for name, value in attend.state_dict().items()}
    wanted = {name: tuple(value.shape) for name, value in state.items()}
    expect_equal(shapes, wanted, "four nn.Linear(d_model, d_model) with biases: w_q, w_k, w_v, w_o, nothing else")
    attend.load_state_dict(state)
    result = attend(x)
    expect(isinstance(result, (tuple, list)) and len(result) == 2, "return two tensors: out and weights", got=result)
    out, weights = result
    expect_equal(tuple(weights.shape), (3, 3, 5, 5), "the weights are one map for each head: (b, n_heads, l, l)")
    expect_equal([out.dtype, weights.dtype], [torch.float64] * 2, "keep the dtype of the words")
    narrow = torch_attention(state | {f"w_q.{p}": state[f"w_q.{p}"] / 3**0.5 for p in ("weight", "bias")}, 3, x)
    expect(not torch.allclose(weights, narrow[1]), "divide by the root of the size of one head, not of the model")
    for q, k in ("qq", "kk", "kq"):
        swapped = {f"w_{n}.{p}": state[f"w_{m}.{p}"] for n, m in (("q", q), ("k", k)) for p in ("weight", "bias")}
        other = torch_attention(state | swapped, 3, x)[1]
        expect(not torch.allclose(weights, other), "the queries are w_q(x) and the keys w_k(x)")
    right_out, right_weights = torch_attention(state, 3, x)
    expect_close(weights, right_weights, "the heads are mixed up: head i owns features side by side, from i·d_head on")
    bare = torch_attention(state | {"w_o.weight": torch.eye(12).double(), "w_o.bias": torch.zeros(12).double()}, 3, x)
    expect(not torch.allclose(out, bare[0]), "the merged heads still have to go through w_o")
    expect_close(out, right_out, "put the heads back side by side before w_o: (b, h, l, d) to (b, l, h·d)")

    mask = rand(3, 1, 5) < 0.5  # as many sentences as heads: a mask on the wrong axis fits, and is wrong
    mask[..., 1], mask[..., 2] = True, False
    out, weights = attend(x, mask)
    expect(not torch.allclose(weights, right_weights), "the mask is not used")
    expect_close(
        weights,
        torch_attention(state, 3, x, mask)[1],
        "the mask needs an axis for the heads: beside scores (b, h, l, l), a mask (b, 1, l) must be (b, 1, 1, l)",
    )
    for n in (3, 5):  # as many words as heads: here too a mask on the wrong axis fits
        for mask in (torch.ones(n, n).tril() > 0, (rand(3, n, n) < 0.5) | (torch.eye(n) > 0)):
            hint = f"a mask {tuple(mask.shape)} gets the wrong axis: that of the heads stands just before the last two"
            for got, right in zip(attend(x[:, :n], mask), torch_attention(state, 3, x[:, :n], mask), strict=True):
                expect_close(got, right, hint)
    nothing = attend(x, torch.zeros(3, 1, 5) > 0)[0]
    expect_close(nothing, state["w_o.bias"].expand(3, 5, 12), "with every key hidden, only the bias of w_o is left")
    ### BEGIN HIDDEN TESTS
    for b, length, d_model, n_heads in ((1, 1, 4, 1), (2, 7, 6, 6), (4, 3, 16, 2), (2, 9, 8, 4)):
        attend = MultiHeadAttention(d_model, n_heads).double()
        state, x = random_state(d_model), randn(b, length, d_model, dtype=torch.float64)
        attend.load_state_dict(state)
        mask = (rand(b, length, length) < 0.5) | (torch.eye(length) > 0)
        for m in (None, mask, mask[:, :1] | (torch.arange(length) == 0), mask[0]):
            for got, right in zip(attend(x, m), torch_attention(state, n_heads, x, m), strict=True):
                expect_close(got, right, f"with {n_heads} heads of {d_model // n_heads} features the result differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Heads are nothing but one more leading axis, and your `scaled_dot_product` takes any number of those.
#
# </details>
# <details><summary>Method</summary>
#
# Project first, then split the last axis into (heads, features of a head) and move the heads in front of the length, as
# `split_heads` did in lesson 00. Afterwards go the same way back. A plain `view` to the final shape cuts sentences, not
# features: it fits, and is wrong.
#
# </details>
# <details><summary>Almost there</summary>
#
# In einops the pattern is `"b l (h d) -> b h l d"`, and its mirror image merges. A mask without an axis for the heads
# lines up with the wrong one: insert an axis third from the right.
#
# </details>
# </details>

# %% [markdown]
# ## 6. What does it cost?
#
# Count multiplications and additions, two operations for each pair. A product of an $(n \times m)$ and an
# $(m \times p)$ matrix takes $2nmp$.
#
# - four projections of $b\,l$ words, each from $d_\text{model}$ to $d_\text{model}$ features:
#   $4 \cdot 2\, b\, l\, d_\text{model}^2$
# - every query with every key, and every weight with every value, over all heads: $2 \cdot 2\, b\, l^2 d_\text{model}$
#
# The first grows with the length, the second with its square. The heads do not appear: there are $h$ of them, each
# $h$ times narrower.
#
# By hand, $b = 1$, $l = 3$, $d_\text{model} = 5$: projections $8 \cdot 3 \cdot 25 = 600$, scores and mixing
# $4 \cdot 9 \cdot 5 = 180$.


# %% nbgrader={"grade": false, "grade_id": "attention_flops", "locked": false, "schema_version": 3, "solution": true, "task": false}
def attention_flops(batch: int, length: int, d_model: int) -> tuple[int, int]:
    """Operations in one layer of multi-head self-attention, forward: multiplications and additions in matrix products.

    Biases, scale and softmax do not count.
    Returns: those of the four projections, and those of scores and mixing together.
    >>> attention_flops(1, 3, 5)
    (600, 180)
    """
    ### BEGIN SOLUTION
    projections = 4 * 2 * batch * length * d_model**2
    scores_and_mixing = 2 * 2 * batch * length**2 * d_model
    return projections, scores_and_mixing
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_attention_flops", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("attention_flops", points=1):
    from torch.utils.flop_counter import FlopCounterMode

    def counted(b, n, d_model):  # in PyTorch's layer, by PyTorch's counter of matrix products
        layer, x = nn.MultiheadAttention(d_model, 2, batch_first=True), randn(b, n, d_model)
        with FlopCounterMode(display=False) as counter:
            layer(x, x, x)
        counts = {str(name): count for name, count in counter.get_flop_counts()["Global"].items()}
        mixing = sum(count for name, count in counts.items() if "bmm" in name)
        return sum(counts.values()) - mixing, mixing

    for b, n, d_model in ((3, 7, 12), (1, 1, 4), (2, 11, 6)):
        (projections, mixing), got = counted(b, n, d_model), attention_flops(b, n, d_model)
        expect(
            isinstance(got, (tuple, list)) and len(got) == 2,
            "return two numbers: projections, scores and mixing",
            got=got,
        )
        expect(tuple(got) != (mixing, projections), "the other way round: the projections come first", got=got)
        expect(got[0] * 2 != projections, "a multiplication and an addition are two operations", got=got)
        expect(got[0] * 4 != projections * 3, "there are four projections: queries, keys, values and output", got=got)
        expect(b == 1 or got[0] * b != projections, "each sentence of the batch counts", got=got)
        expect_equal(got[0], projections, "projections: 4 products of (batch·length, d_model) with (d_model, d_model)")
        expect(got[1] * 2 != mixing, "scores and mixing are two products, of equal cost", got=got)
        expect(n == 1 or got[1] * n != mixing, "every query meets every key: that is length times length", got=got)
        expect_equal(got[1], mixing, "scores and mixing: 2 products, over all pairs of words and all features")
    ### BEGIN HIDDEN TESTS
    for size in ((4, 5, 8), (1, 23, 2)):
        expect_equal(
            attention_flops(*size), counted(*size), f"another (batch, length, d_model), {size}: the counts differ"
        )
    ### END HIDDEN TESTS


# %% nbgrader={"grade": false, "grade_id": "crossover_length", "locked": false, "schema_version": 3, "solution": true, "task": false}
def crossover_length(d_model: int) -> int:
    """The length at which scores and mixing cost just as much as the projections; beyond it the square term rules.

    >>> crossover_length(5)
    10
    """
    ### BEGIN SOLUTION
    return 2 * d_model  # 8·l·d_model² = 4·l²·d_model
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_crossover_length", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("crossover_length", points=1):
    for d_model in (5, 12, 64):
        n = crossover_length(d_model)
        expect(
            8 * n * d_model**2 == 4 * n**2 * d_model and n > 0,
            f"for d_model = {d_model} the two costs differ at your length: solve 8·l·d_model² = 4·l²·d_model for l",
            got=n,
        )
        expect(isinstance(n, int), "a length is a whole number: return an int", got=n)
    ### BEGIN HIDDEN TESTS
    for d_model in randint(100, 900, (3,)).tolist():
        n = crossover_length(d_model)
        equal = 8 * n * d_model**2 == 4 * n**2 * d_model and n > 0
        expect(equal, f"for d_model = {d_model} the two costs differ at your length", got=n)
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints for both</summary>
#
# <details><summary>Nudge</summary>
#
# The two bullets above are the two numbers. For the crossover, set one equal to the other.
#
# </details>
# <details><summary>Method</summary>
#
# Check your numbers against the example by hand before the test does. In the equation the batch and one power each of
# the length and `d_model` cancel.
#
# </details>
# <details><summary>Almost there</summary>
#
# What is left is linear: a number times `d_model` on one side, a number times the length on the other.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# The Transformer of 2017 has `d_model` = 512. Its square term takes over at 1024 words, far beyond the sentences it
# translated.

# %%
lengths = [2**i for i in range(5, 17)]
costs = [attention_flops(1, n, 512) for n in lengths]
curves(
    {"projections": (lengths, [a for a, _ in costs]), "scores and mixing": (lengths, [b for _, b in costs])},
    xlabel="length (words)",
    ylabel="operations",
    title=f"At d_model = 512 the square term takes over at {crossover_length(512)} words",
    alt="Operations against length, both axes logarithmic. The line of scores and mixing is twice as steep as that of the "
    f"projections and crosses it at {crossover_length(512)} words.",
    log="xy",
)

# %% [markdown]
# ## 7. Where is the word order?
#
# **Predict first.** Shuffle the words of a sentence, put them through your layer. What changes in the output?

# %%
attend = MultiHeadAttention(64, 4)
x, order = torch.randn(1, 6, 64), torch.tensor([3, 0, 5, 1, 4, 2])


@torch.no_grad()
def shuffle_gap(positions: Tensor | float) -> float:
    """How far "shuffle the words, then attend" is from "attend, then shuffle", when places have vectors of their own."""
    return (attend(x[:, order] + positions)[0] - attend(x + positions)[0][:, order]).abs().max().item()


print(f"without positions: {shuffle_gap(0.0):.0e}    with random positions: {shuffle_gap(torch.randn(6, 64)):.2f}")

# %% [markdown]
# Nothing but the order. A word's output depends on its own query and on the *set* of all keys and values:
# self-attention cannot tell *the cat chased the dog* from *the dog chased the cat*. So a place needs a vector of its
# own, added to the word's. Which one?
#
# **Count from 0 to 1?** With $p / (l - 1)$ "one word further" is 0.25 in a sentence of five words and 0.02 in one of
# fifty-one. No fixed rule finds the neighbour in both. **Count 0, 1, 2, …?** The numbers outgrow everything the model
# saw.
#
# Vaswani et al. turn clock hands instead. Of the $d = d_\text{model}$ features, $2i$ and $2i + 1$ are the two
# coordinates of a hand that turns by $\omega_i$ with each word; the hands run from fast to slow:
#
# $$PE(p)_{2i} = \sin(\omega_i\, p), \qquad PE(p)_{2i+1} = \cos(\omega_i\, p), \qquad \omega_i = 10000^{-2i/d}$$
#
# By hand, $d = 4$: $\omega_0 = 1$ and $\omega_1 = 1/100$. So $PE(0) = (0, 1, 0, 1)$ and
# $PE(1) = (\sin 1, \cos 1, \sin 0.01, \cos 0.01) = (0.84, 0.54, 0.01, 1.00)$.


# %% nbgrader={"grade": false, "grade_id": "sinusoidal_positions", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sinusoidal_positions(length: int, d: int) -> Tensor:
    """A vector for each position: d/2 clock hands, as sine and cosine, side by side.

    d is even. Pair i (features 2i and 2i + 1) turns by 10000^(-2i/d) radians a position; the first
    position is 0.
    Returns: (length, d) float32, on the CPU.
    >>> sinusoidal_positions(2, 4)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    ### BEGIN SOLUTION
    frequency = 10000 ** (-torch.arange(0, d, 2) / d)  # (d/2,)
    angle = einsum(torch.arange(length).float(), frequency, "l, i -> l i")
    return rearrange([angle.sin(), angle.cos()], "pair l i -> l (i pair)")
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_sinusoidal_positions", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("sinusoidal_positions", points=2):

    def clocks(positions, d):  # the same hands as complex numbers, in float64
        angle = positions[:, None].double() / 10000.0 ** (torch.arange(0, d, 2).double() / d)
        return torch.view_as_real(torch.polar(torch.ones_like(angle), angle)).flip(-1).flatten(-2).float()

    got = sinusoidal_positions(7, 10)
    expect_equal(tuple(got.shape), (7, 10), "the shape must be (length, d)")
    expect_equal(got.dtype, torch.float32, "the dtype must be float32")
    first = got[0]
    expect(
        not torch.allclose(first, torch.tensor([0.0] * 5 + [1.0] * 5)), "sine and cosine take turns: sin, cos, sin, cos"
    )
    expect(not torch.allclose(first, torch.tensor([1.0, 0.0] * 5)), "in each pair sine comes first, then cosine")
    expect_close(first, torch.tensor([0.0, 1.0] * 5), "the first row is position 0: each sine is 0, each cosine is 1")
    for n, d in ((7, 10), (1, 2), (40, 6)):
        hint = "the frequencies are off: pair i, both its features, turns by 10000^(-2i/d) a position"
        expect_close(sinusoidal_positions(n, d), clocks(torch.arange(n), d), hint, tolerance=1e-3)
    ### BEGIN HIDDEN TESTS
    for n, d in ((3, 2), (25, 16), (90, 8)):
        expect_close(
            sinusoidal_positions(n, d), clocks(torch.arange(n), d), f"for d = {d} the values differ", tolerance=1e-3
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# First a table of angles: a row for each position, a column for each *pair*.
#
# </details>
# <details><summary>Method</summary>
#
# An angle is position times frequency, an outer product. Then sine and cosine of the whole table, and then let them
# take turns along the last axis.
#
# </details>
# <details><summary>Almost there</summary>
#
# Stack sine and cosine on a *new last* axis, (length, d/2, 2), and flatten the last two axes. Or fill every second
# column of an empty table, starting at 0 and at 1.
#
# </details>
# </details>

# %% jupyter={"source_hidden": true}
signed_map(
    sinusoidal_positions(48, 64),
    xlabel="feature",
    ylabel="position",
    title="Each pair of features is a clock hand; they run from fast (left) to slow (right)",
    alt="A map of 48 positions by 64 features. On the left the values change sign every few positions; to the right the "
    "stripes grow longer, until the last pairs hardly change at all.",
)

# %% [markdown]
# ### One word further, whatever the place
#
# Here is what the hands are for. To move from $p$ to $p + k$, each hand turns by the same angle wherever it stands.
# So there is **one** matrix $M_k$, the same for each $p$, with
#
# $$PE(p + k) = M_k\, PE(p)$$
#
# where $PE(p)$ is a column, as is usual for turns (for words as rows, multiply by $M_k^\top$ on the right). A head that
# looks one word to the left needs no more: the query $M_{-1} PE(p)$ has its largest dot product with the key
# $PE(p - 1)$. Find the matrix. You need two lines from school:
#
# $$\sin(a + b) = \sin a \cos b + \cos a \sin b, \qquad \cos(a + b) = \cos a \cos b - \sin a \sin b$$
#
# By hand, for one hand that turns by a quarter circle: it stands at $(\sin 0, \cos 0) = (0, 1)$ and then at $(1, 0)$.
# The matrix $\begin{pmatrix} 0 & 1 \\ -1 & 0 \end{pmatrix}$ does that.


# %% nbgrader={"grade": false, "grade_id": "shift_matrix", "locked": false, "schema_version": 3, "solution": true, "task": false}
def shift_matrix(k: int, d: int) -> Tensor:
    """The matrix M_k that moves each sinusoidal position by k: PE(p + k) = M_k PE(p) for every p, PE(p) a column.

    k may be negative (to the left) or 0. d is even.
    Returns: (d, d) float32.
    >>> shift_matrix(1, 2)
    tensor([[ 0.5403,  0.8415],
            [-0.8415,  0.5403]])
    """
    ### BEGIN SOLUTION
    angle = k * 10000 ** (-torch.arange(0, d, 2) / d)
    turns = rearrange([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], "(row column) i -> i row column", row=2)
    return torch.block_diag(*turns)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_shift_matrix", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("shift_matrix", points=1):

    def clocks(positions, d):  # PE at any positions, whole or not: the hands as complex numbers, in float64
        angle = positions[:, None].double() / 10000.0 ** (torch.arange(0, d, 2).double() / d)
        return torch.view_as_real(torch.polar(torch.ones_like(angle), angle)).flip(-1).flatten(-2).float()

    for k, d in ((3, 10), (1, 2), (7, 6)):
        p = 50 * rand(9)
        got = shift_matrix(k, d)
        expect_equal(tuple(got.shape), (d, d), "the shape must be (d, d)")
        expect_equal(got.dtype, torch.float32, "the dtype must be float32")
        moved = clocks(p, d) @ got.T
        expect(not torch.allclose(moved, clocks(p - k, d), atol=1e-3), "this turns the other way: it moves by -k")
        expect_close(
            moved,
            clocks(p + k, d),
            "PE(p + k) = M PE(p) fails: each pair turns by k times its own frequency, in radians",
            tolerance=1e-4,
        )
    for k in (-4, 0):
        p = 50 * rand(9)
        expect_close(
            clocks(p, 8) @ shift_matrix(k, 8).T,
            clocks(p + k, 8),
            "a negative k moves to the left, k = 0 nowhere",
            tolerance=1e-4,
        )
    ### BEGIN HIDDEN TESTS
    for k, d in ((11, 4), (-2, 16), (1, 12)):
        p = 80 * rand(20)
        expect_close(
            clocks(p, d) @ shift_matrix(k, d).T,
            clocks(p + k, d),
            f"PE(p + k) = M PE(p) does not hold for k = {k}, d = {d}",
            tolerance=1e-4,
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Solve it for one pair, $d = 2$, on paper. In the two school formulas, what is $a$ and what is $b$?
#
# </details>
# <details><summary>Method</summary>
#
# With $a = \omega_i p$ and $b = \omega_i k$ each formula is a row of a 2 × 2 matrix that acts on $(\sin a, \cos a)$.
# Pairs do not mix, so the large matrix has these blocks on its diagonal and zeros elsewhere.
#
# </details>
# <details><summary>Almost there</summary>
#
# The first row of a block is (cosine, sine) of $\omega_i k$. Read the second row off the second formula; mind its sign.
# `torch.block_diag` puts blocks together, or a loop fills the entries.
#
# </details>
# </details>

# %% [markdown]
# ## 8. What can attention do alone?
#
# One layer, nothing around it: no feed-forward part, no shortcut from input to output. The letters of a word become
# vectors, positions are added, your layer attends, and a linear layer reads a letter off at each place. Three tasks:
# copy the word, reverse it, sort its letters.
#
# A third of all words is held out: those whose letters (a = 0 to z = 25) add up to a multiple of 3. The model is never
# trained on one of them, and is judged on them alone.

# %%
n_letters = pick(smoke=5, cpu=10, gpu=16)
tasks = {
    "copy": lambda words: words,
    "reverse": lambda words: words.flip(-1),
    "sort": lambda words: words.sort(-1).values,
}


def draw(n: int, held_out: bool = False) -> Tensor:
    """n words as (n, n_letters) int64, 0 to 25: all held out, or none."""
    words = torch.randint(26, (10 * n + 100, n_letters))
    return words[(words.sum(-1) % 3 == 0) == held_out][:n].to(device)


# %%
class OneLayer(nn.Module):
    """Letters, embedded, plus positions; one layer of attention; a letter read off at each place."""

    def __init__(self, d_model: int, n_heads: int, with_positions: bool):
        super().__init__()
        self.embed = nn.Embedding(26, d_model)
        self.attend = MultiHeadAttention(d_model, n_heads)
        self.read = nn.Linear(d_model, 26)
        self.register_buffer("positions", with_positions * sinusoidal_positions(n_letters, d_model))

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """words: (b, l) int64. Returns: logits (b, l, 26) and weights (b, n_heads, l, l)."""
        out, weights = self.attend(self.embed(words) + self.positions)
        return self.read(out), weights


# %%
def train(task: str, n_heads: int = 4, with_positions: bool = True) -> tuple[OneLayer, float]:
    """Returns: the model, and the share of held-out words that it gets right in every letter."""
    model = OneLayer(pick(smoke=32, cpu=64, gpu=128), n_heads, with_positions).to(device)

    def loss(step: int) -> Tensor:
        words = draw(64)
        logits = rearrange(model(words)[0], "b l letter -> b letter l")  # cross_entropy wants the classes on axis 1
        return F.cross_entropy(logits, tasks[task](words))

    label = f"{task} ({n_heads} head{'s' * (n_heads > 1)}{'' if with_positions else ', no positions'})"
    fit(model, loss, steps=pick(smoke=2, cpu=1000, gpu=4000), lr=1e-2, label=label)
    words = draw(pick(smoke=20, cpu=2000, gpu=2000), held_out=True)
    with torch.no_grad():
        right = model(words)[0].argmax(-1) == tasks[task](words)
    return model, right.all(-1).float().mean().item()


# %%
models, accuracy = {}, {}
for task in tasks:
    models[task], accuracy[task] = train(task)
for task, share in accuracy.items():
    print(f"{task:<8} {share:6.1%} of held-out words right in every letter")

# %% [markdown]
# ### What to look at: reversing
#
# Take one held-out word, in the maps too: rows are places of the output, columns are letters of the input. If a letter
# of the sorted word is wrong, it is one of the few words in a hundred that the model cannot sort.


# %%
def spell(letters: Tensor) -> list[str]:
    """The letters at each place of one word, (l,) int64, as text."""
    return [chr(ord("a") + letter) for letter in letters.tolist()]


text = pick(smoke="sassy", cpu="bookkeeper", gpu="disproportionate")  # held out: add the letters up
word = torch.tensor([[ord(letter) - ord("a") for letter in text]], device=device)
head_names = [f"head {i}" for i in range(4)]
print(*(f"{task}: {''.join(spell(model(word)[0].argmax(-1)[0]))}" for task, model in models.items()), sep="    ")

# %% jupyter={"source_hidden": true}
attention_heads(
    models["reverse"](word)[1][0],
    spell(tasks["reverse"](word)[0]),
    spell(word[0]),
    names=head_names,
    title="To reverse, every head looks at the mirror place",
    alt="Four maps, each bright along the diagonal from the lower left to the upper right: the first place of the output "
    "looks at the last letter of the input, and so on.",
)

# %% [markdown]
# ### What to look at: copying
#
# **Predict first.** Will each place look at the same place of the input, a diagonal from the upper left?

# %% jupyter={"source_hidden": true}
attention_heads(
    models["copy"](word)[1][0],
    spell(tasks["copy"](word)[0]),
    spell(word[0]),
    names=head_names,
    title="To copy, heads look for the same letter, not only at the same place",
    alt="Four maps, bright on parts of the diagonal. Where a letter occurs more than once, its rows look at several of its "
    "places.",
)

# %% [markdown]
# Not quite. Look at the letters that occur more than once: their rows look at several places. Count over many words,
# for such letters alone:

# %%
words = draw(pick(smoke=20, cpu=1000, gpu=1000), held_out=True)
with torch.no_grad():
    weights = models["copy"](words)[1]
same_letter = (words[:, :, None] == words[:, None, :])[:, None]  # (b, 1, l, l)
own_place = torch.eye(n_letters, dtype=torch.bool, device=device)
repeated = (same_letter.sum(-1) > 1).expand(-1, 4, -1)
for what, where in {"its own place": own_place, "its letter elsewhere": same_letter & ~own_place}.items():
    print(f"weight on {what:<21} {(weights * where).sum(-1)[repeated].mean().item():.2f}")

# %% [markdown]
# The two do not overlap: about a third of the weight each, and the last third is on other letters. So the model mostly
# asks *where is a letter like me?* Any place that holds the letter carries the right value; no position is needed.

# %% [markdown]
# ### What to look at: sorting
#
# The hard one: what belongs at place 3 depends on *all* letters. Order the columns by the alphabet, and ask which
# letter a place looks at on average, over many words.

# %% jupyter={"source_hidden": true}
by_letter = word[0].argsort()
attention_heads(
    models["sort"](word)[1][0][:, :, by_letter],
    spell(tasks["sort"](word)[0]),
    spell(word[0, by_letter]),
    names=head_names,
    title="To sort, a place looks at a broad range of letters",
    alt="Four maps with columns in alphabetical order. The weights are spread over many keys; the first rows look more to "
    "the left, at early letters, and the last rows more to the right.",
    highest=0.5,
)

# %%
with torch.no_grad():
    looked_at = einsum(models["sort"](words)[1], words.float(), "b h i j, b j -> h i") / len(words)
places = range(n_letters)
curves(
    {"letter that belongs there": (places, words.sort(-1).values.float().mean(0).cpu())}
    | {f"{name} looks at": (places, mean.cpu()) for name, mean in zip(head_names, looked_at, strict=True)},
    xlabel="place in the sorted word, from 0",
    ylabel="mean letter (a = 0, z = 25)",
    title="Each head looks further on in the alphabet for late places than for early",
    alt="Five lines, higher at the last place than at the first. The letter that belongs there is the steepest; the mean "
    f"letter that a head looks at rises less, on average from {looked_at[:, 0].mean():.0f} to {looked_at[:, -1].mean():.0f}.",
    markers=True,
)

# %% [markdown]
# No head finds the letter for its place. Broad weights mix many values, and the mixture tells how often each letter
# occurs. That is enough: count letters through the alphabet, and place $i$ belongs to the first letter at which the
# count exceeds $i$. (*bookkeeper* has one b and three e, so places 1 to 3 are e.) Several heads count better than one:

# %%
heads = pick(smoke=[1, 2], cpu=[1, 2, 4, 8], gpu=[1, 2, 4, 8])
sorted_by = [train("sort", n_heads)[1] for n_heads in heads]
curves(
    {"sort": (heads, sorted_by)},
    xlabel="heads, at the same cost",
    ylabel="held-out words sorted",
    title="One wide head sorts worst; more, narrower heads sort better",
    alt="The share of held-out words sorted without a mistake rises with the number of heads: "
    + ", ".join(f"{share:.2f} with {n}" for n, share in zip(heads, sorted_by, strict=True)) + ".",
    markers=True,
)  # fmt: skip

# %% [markdown]
# ## Break it: no positions
#
# **Predict first.** Take the positions away and train again. Which of the three tasks survives?

# %%
broken = {task: train(task, with_positions=False)[1] for task in tasks}
for task in tasks:
    print(f"{task:<8} with positions {accuracy[task]:6.1%}    without {broken[task]:6.1%}")

# %% [markdown]
# Copying survives, because it never needed a place. Reversing and sorting cannot be learned, however long you train:
# the layer sees a bag of letters, so two places with the same letter get the same output, and every place of a
# shuffled word gets what it had before. Section 7 said so; now it costs two tasks of three.

# %% [markdown]
# ## Play
#
# Click a word: who does it look at? Multiply the scores: at 0 every word gets the same weight, at 8 nearly all goes
# to one; that is the knob that $\sqrt d$ sets. Hide the later words: *it* still finds *cat*, but *cat* has lost
# *sat*. The second head is made of clock hands: its queries are its keys, turned back by one word.

# %% nbgrader={"grade": false, "grade_id": "play", "locked": true, "schema_version": 3, "solution": false, "task": false}
hands, turn = torch.arange(7)[:, None] * torch.tensor([1.0, 0.35]), torch.tensor([1.0, 0.35])
clock_keys = 3 * torch.cat([hands.sin(), hands.cos()], dim=-1)
clock_queries = 3 * torch.cat([(hands - turn).sin(), (hands - turn).cos()], dim=-1)
explore_attention(
    sentence,
    torch.stack([asks, clock_queries]),
    torch.stack([offers, clock_keys]),
    heads=["meaning", "one word to the left"],
    start=sentence.index("it"),
)

# %% [markdown]
# ## At full size
#
# BERT's attention is your layer, with dropout. In GPT-3 it is causal, and in every other layer a word sees only some of
# those before it. Code Llama has no biases, and turns queries and keys by their positions. The table counts your layer
# at their sizes: Devlin et al. 2019 (BERT-base), Brown et al. 2020, table 2.1 (GPT-3), Rozière et al. 2023 (Code Llama
# 7B, which takes inputs of up to 100,000 tokens).


# %%
def costs_of(name: str, d_model: int, n_heads: int, longest: int) -> str:
    """A line of the table."""
    projections, mixing = attention_flops(1, longest, d_model)
    sizes = f"{name:<14}{d_model:>8}{n_heads:>7}{d_model // n_heads:>8}{longest:>9}{crossover_length(d_model):>11}"
    return f"{sizes}{mixing / (projections + mixing):>19.0%}"


print(f"{'':<14}{'d_model':>8}{'heads':>7}{'d_head':>8}{'length':>9}{'crossover':>11}{'scores and mixing':>19}")
for model in ("BERT-base", 768, 12, 512), ("GPT-3", 12288, 96, 2048), ("Code Llama 7B", 4096, 32, 100_000):
    print(costs_of(*model))

# %% [markdown]
# At the length that it was made for, BERT spends a quarter of its attention layers' operations on the part that
# everybody calls quadratic, and a layer of GPT-3 at most a thirteenth. It is long inputs that turn this around; lesson
# 09 is about them.
#
# Vaswani et al. (2017) translated English to German at 28.4 BLEU and English to French at 41.8, after 3.5 days on
# eight GPUs. In their table 3, one head is 0.9 BLEU worse than the best number of heads at the same cost, too many
# heads are worse again, and learned positions do as well as clock hands.
#
# **Optional: real weights.** all-MiniLM-L6-v2 is a small BERT with twelve heads. Set `DOWNLOAD = True` and the next
# cells put the weights of its first layer into *your* layer, which must then agree with PyTorch's.

# %%
DOWNLOAD = False  # True: fetch 91 MB from huggingface.co, once


def fetch_minilm() -> dict | None:
    """The tensors of sentence-transformers/all-MiniLM-L6-v2 by name; None, and a line that says why, without them."""
    from utils.checkpoints import read_tensors
    from utils.data.hub import DownloadError

    if not DOWNLOAD:
        print("skipped: set DOWNLOAD = True above to fetch the weights (needs a network)")
        return None
    try:
        return read_tensors("sentence-transformers/all-MiniLM-L6-v2")
    except DownloadError as error:
        print(f"skipped: {error}")


# %%
def first_layer(tensors: dict, ids: list[int]) -> tuple[dict, Tensor]:
    """From the tensors of a BERT: a state dict for your layer, and what its first layer attends to, (1, l, d_model)."""
    theirs = {"w_q": "self.query", "w_k": "self.key", "w_v": "self.value", "w_o": "output.dense"}
    block, parts = "encoder.layer.0.attention", ("weight", "bias")
    state = {f"{name}.{p}": tensors[f"{block}.{theirs[name]}.{p}"] for name in theirs for p in parts}
    words, places, segments = (tensors[f"embeddings.{n}_embeddings.weight"] for n in ("word", "position", "token_type"))
    x = words[ids] + places[: len(ids)] + segments[0]
    return state, F.layer_norm(x, x.shape[-1:], *(tensors[f"embeddings.LayerNorm.{p}"] for p in parts), eps=1e-12)[None]


# %%
tokens = "[CLS] the animal did not cross the street because it was too tired [SEP]".split()
ids = [101, 1996, 4111, 2106, 2025, 2892, 1996, 2395, 2138, 2009, 2001, 2205, 5458, 102]  # in BERT's vocabulary
tensors = fetch_minilm()
if tensors is not None:
    state, x = first_layer(tensors, ids)
    layer = MultiHeadAttention(384, 12)
    layer.load_state_dict(state)
    with torch.no_grad():
        out, weights = layer(x)
    print(f"largest difference from PyTorch's layer: {(out - torch_attention(state, 12, x)[0]).abs().max().item():.0e}")
    attention_heads(
        weights[0, [2, 6]],
        tokens,
        names=["head 2", "head 6"],
        title="In a trained BERT, head 2 looks one word to the left",
        alt="Two maps. Head 2 is bright just below the diagonal, at the previous token. Head 6 is spread out.",
    )

# %% [markdown]
# Measured on those weights and this sentence: head 2 puts 1.00 of its weight, on average, on the token to the left.
# Nobody told it to. Training found the head that the clock hands make by hand.

# %% [markdown]
# ## Score card

# %%
score_card()

# %% [markdown]
# ## In five lines
#
# - A word asks (query), offers (key), carries (value); scores are dot products, and the softmax over keys mixes the
#   values.
# - A score has variance d: divide by √d, or the softmax saturates and its gradient dies.
# - A mask hides keys before the softmax; True keeps; a query that sees nothing gets zeros, not NaN.
# - Heads are one more axis: several choices at the price of one. Up to a length of 2·d_model, projections cost
#   more.
# - Attention sees a set. Word order comes from positions, and one matrix moves clock hands by k words wherever they
#   stand.
#
# ## Further reading
#
# - Vaswani et al., *Attention Is All You Need*, NeurIPS 2017. Section 3.2 is this lesson; read table 3 for what each
#   part is worth.
# - Clark et al., *What Does BERT Look At? An Analysis of BERT's Attention*, BlackboxNLP workshop at ACL 2019. Heads
#   that look at the previous word, at the object of a verb, at what a pronoun stands for.
# - Dao et al., *FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness*, NeurIPS 2022. The same
#   numbers without ever storing the map.
