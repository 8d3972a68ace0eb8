# %% [markdown]
# # Learning to align and translate
#
# In lesson 02 a whole sentence had to pass through one vector, and long sentences did not fit. Here the decoder keeps
# every word of the source in view and chooses, at each step, where to look. That choice is attention (Bahdanau, Cho and
# Bengio, 2015). You write it from scratch, train it on English and French, and measure two things: how good the
# translations are (BLEU), and whether the model looks where it should (its alignments, scored against gold).
#
# It builds on lessons 00 (softmax) and 02 (GRU, encoder and decoder), and gives 20 points in nine exercises.
#
# | scale | sentence pairs | steps a model | run time |
# | --- | --- | --- | --- |
# | `smoke` (tests) | 150 | 2 | 0.1 s |
# | `cpu` (a laptop) | 16,000 | 1000 | 140 s |
# | `gpu` | 40,000 | 4000 | not measured yet |
#
# Run times are processor time of one core, measured on a busy machine; the imports come on top.

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

device = setup("03_bahdanau_attention")

# %% jupyter={"source_hidden": true}
diagram(
    {
        "source": ("English words", 0.5, 0), "reverse": ("reverse_words", 1.75, 0),
        "encoder": ("Bidirectional-\nEncoder", 0.5, 1), "annotations": ("annotations h", 1.75, 1),
        "state": ("old state s", 3, 1), "score": ("additive_score", 3, 2), "softmax": ("masked_softmax", 3, 3),
        "context": ("context c", 1.75, 3), "word": ("word before y", 0.5, 4), "cell": ("Attention-\nDecoder", 1.75, 4),
        "aer": ("alignment_\nerror_rate", 3, 4), "out": ("next French word", 1.75, 5), "bleu": ("bleu", 0.5, 5),
    },
    [
        ("source", "encoder"), ("reverse", "encoder"), ("encoder", "annotations"), ("annotations", "score"),
        ("state", "score"), ("score", "softmax"), ("softmax", "context"), ("annotations", "context"),
        ("context", "cell"), ("word", "cell"), ("cell", "out"), ("softmax", "aer"), ("out", "bleu"),
    ],
    yours=["reverse", "encoder", "score", "softmax", "context", "cell", "aer", "bleu"],
    title="At each step the decoder scores every source word, and reads a weighted mean of them",
    alt="English words go through a bidirectional encoder, which needs reverse_words, and become annotations. The old "
    "state of the decoder and the annotations give scores, a masked softmax turns them into weights, and the weights mix "
    "the annotations into a context. Context and the word before give the new state and the next French word. BLEU scores "
    "the words, the alignment error rate the weights. All but words, annotations and states is yours to write.",
)  # fmt: skip

# %% [markdown]
# ## 1. Where should the decoder look?
#
# You translate *the cat is black* and have written *le chat est*. To write the next word you look at *black* again. You
# do not recall the sentence from memory, and no more should a network. So keep one vector for each source word, called
# its **annotation**, and score how well each fits what the decoder wants next. The decoder's state says what it wants.
# In the code the state is called the **query**, that which asks, and the annotations are the **keys**, which are asked.
#
# How do you score a fit? Bahdanau et al. let a small network learn it: project both into a common space, add, squash,
# and read one number off.
#
# By hand, with one unit everywhere and $W_q = W_k = 1$, $v = 2$: the state is 1, the two annotations are 1 and −1.5.
#
# | | word 1 | word 2 |
# | --- | --- | --- |
# | $W_q s + W_k h$ | 1 + 1 = 2 | 1 − 1.5 = −0.5 |
# | tanh | 0.964 | −0.462 |
# | times $v$ | 1.928 | −0.924 |
#
# $$e_{ij} = v^\top \tanh(W_q\, s_{i-1} + W_k\, h_j)$$
#
# Because the two are added, this is called **additive** attention. State and annotation may have different sizes.


# %% nbgrader={"grade": false, "grade_id": "additive_score", "locked": false, "schema_version": 3, "solution": true, "task": false}
def additive_score(query: Tensor, keys: Tensor, w_q: Tensor, w_k: Tensor, v: Tensor) -> Tensor:
    """How well each source word fits what the decoder asks for: vᵀ tanh(W_q s + W_k h).

    query: (b, d_s), a decoder state s for each sentence. keys: (b, l, d_h), an annotation h for each word of it.
    w_q: (d_a, d_s) and w_k: (d_a, d_h), matrices (out, in) as in nn.Linear. v: (d_a,).
    Returns: scores (b, l); the query of a sentence scores the words of that sentence.
    >>> one = torch.eye(1)
    >>> additive_score(one, torch.tensor([[[1.0], [-1.5]]]), one, one, torch.tensor([2.0]))
    tensor([[ 1.9281, -0.9242]])
    """
    ### BEGIN SOLUTION
    asked = rearrange(F.linear(query, w_q), "b a -> b 1 a")
    offered = F.linear(keys, w_k)  # (b, l, d_a)
    return torch.tanh(asked + offered) @ v
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_additive_score", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("additive_score", points=2):

    def inputs(b, n, d_s, d_h, d_a):
        shapes = (b, d_s), (b, n, d_h), (d_a, d_s), (d_a, d_h), (d_a,)
        return [0.7 * randn(*shape, dtype=torch.float64) for shape in shapes]

    def word_by_word(query, keys, w_q, w_k, v, squash=torch.tanh):
        rows = zip(query, keys, strict=True)
        return torch.stack([torch.stack([v @ squash(w_q @ s + w_k @ h) for h in words]) for s, words in rows])

    for size in (
        (3, 3, 4, 4, 4),
        (2, 5, 3, 6, 4),
        (4, 1, 2, 1, 5),
    ):  # square first: there a transpose fits, and is wrong
        query, keys, w_q, w_k, v = arguments = inputs(*size)
        got, wanted = additive_score(*arguments), word_by_word(*arguments)
        expect(isinstance(got, Tensor), "return one tensor, the scores", got=got)
        expect_equal(tuple(got.shape), size[:2], "one score for each word of each sentence: (b, l)")
        expect_equal(got.dtype, torch.float64, "keep the dtype of the inputs")
        without = word_by_word(*arguments, squash=lambda x: x)
        expect(not torch.allclose(got, without), "squash the sum with tanh before v reads it")
        expect(not torch.allclose(got, word_by_word(query, keys, 0 * w_q, w_k, v)), "the query is not used")
        expect(not torch.allclose(got, word_by_word(query, keys, w_q, 0 * w_k, v)), "the keys are not used")
        late = torch.tanh(query @ w_q.T)[:, None] @ v + torch.tanh(keys @ w_k.T) @ v
        expect(not torch.allclose(got, late), "add first, then squash: tanh of the sum, not the sum of two tanh")
        expect(not torch.allclose(got, wanted.softmax(-1)), "return the scores; the softmax comes later")
        if len({*size[1:], size[0]}) <= 2:
            for a, c in ((w_q.T, w_k), (w_q, w_k.T), (w_q.T, w_k.T)):
                other = word_by_word(query, keys, a, c, v)
                expect(not torch.allclose(got, other), "a matrix is (out, in): with rows that is x @ w.T, or F.linear")
        if size[0] == size[1]:
            mixed = torch.tanh((query @ w_q.T)[None] + keys @ w_k.T) @ v
            hint = "each sentence has a query of its own: give it an axis of size 1 for the words, (b, 1, d_a)"
            expect(not torch.allclose(got, mixed), hint)
        expect_close(got, wanted, "wanted is v · tanh(W_q s + W_k h), for each word h with its sentence's state s")
    slopes = gradients(additive_score, *arguments, upstream=randn(4, 1, dtype=torch.float64))
    expect(all(g.isfinite().all() and g.any() for g in slopes), "the gradient is NaN or zero")
    ### BEGIN HIDDEN TESTS
    for size in ((1, 7, 5, 2, 3), (6, 2, 1, 4, 1)):
        arguments = inputs(*size)
        expect_close(additive_score(*arguments), word_by_word(*arguments), "another size: the scores differ")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Project the states, project the annotations, add. Which of the two has one vector a sentence, and which one a word?
#
# </details>
# <details><summary>Method</summary>
#
# `F.linear(x, w)` multiplies the last axis of `x` by a matrix (out, in) and leaves the other axes alone. To add (b, d_a)
# to (b, l, d_a), give the first an axis of size 1 where the words are.
#
# </details>
# <details><summary>Almost there</summary>
#
# `rearrange` with a `1` in its pattern makes that axis. A product of (b, l, d_a) with the vector `v` sums the last axis
# away.
#
# </details>
# </details>

# %% [markdown]
# ## 2. How do scores become a choice?
#
# A softmax turns the scores of one sentence into weights that sum to 1. There is a trap. Sentences of a batch have
# different lengths and are filled up with padding. Padding is no word: nobody may look at it.
#
# By hand: the scores are 1.928, −0.924 and 5, but the sentence has only two words. The 5 is padding, however large.
#
# | | word 1 | word 2 | padding |
# | --- | --- | --- | --- |
# | exponential | 6.876 | 0.397 | none |
# | weight | 6.876 / 7.273 = 0.945 | 0.055 | 0 |
#
# $$\alpha_{ij} = \frac{\exp e_{ij}}{\sum_{k \le \text{length}} \exp e_{ik}}$$


# %% nbgrader={"grade": false, "grade_id": "masked_softmax", "locked": false, "schema_version": 3, "solution": true, "task": false}
def masked_softmax(scores: Tensor, lengths: Tensor) -> Tensor:
    """Softmax over the words of each sentence. torch.softmax is yours to use.

    scores: (b, l), or (b, n, l) with the scores of n queries. lengths: (b,) int64, from 1 to l, the words of each sentence;
    the places from `lengths` on are padding.
    Returns: weights, of the shape and dtype of scores. Over the words of a sentence they sum to 1; padding gets exactly 0.
    The scores themselves are not changed.
    >>> masked_softmax(torch.tensor([[1.928, -0.924, 5.0]]), torch.tensor([2]))
    tensor([[0.9454, 0.0546, 0.0000]])
    """
    ### BEGIN SOLUTION
    is_word = torch.arange(scores.shape[-1], device=scores.device) < lengths[:, None]  # (b, l)
    if scores.dim() == 3:
        is_word = rearrange(is_word, "b l -> b 1 l")
    return scores.masked_fill(~is_word, -torch.inf).softmax(-1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_masked_softmax", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("masked_softmax", points=2):

    def row_by_row(scores, lengths):  # cut the padding off, and put zeros there
        wanted = torch.zeros_like(scores)
        for i, n in enumerate(lengths.tolist()):
            grown = scores[i, ..., :n].double().exp()
            wanted[i, ..., :n] = (grown / grown.sum(-1, keepdim=True)).to(scores.dtype)
        return wanted

    over_words = (
        "the weights of a sentence must sum to 1 over its words: softmax over the last axis, padding hidden before it"
    )
    for shape in ((4, 5), (4, 4, 5)):  # no padding yet: which axis?
        got = masked_softmax(randn(*shape), torch.full((4,), 5))
        expect_equal(tuple(got.shape), shape, "the weights have the shape of the scores")
        expect(got.nan_to_num().any(), "no word got weight: is the mask upside down? It has to hide padding")
        expect_close(got.sum(-1), torch.ones(shape[:-1]), over_words)
    lengths = torch.tensor([2, 5, 1, 4])
    for shape in ((4, 5), (4, 4, 5), (4, 3, 6)):
        raw = randn(*shape)
        given = raw.clone()
        got, wanted = masked_softmax(given, lengths), row_by_row(raw, lengths)
        hint = (
            "your function changes the scores that it is given: masked_fill makes a new tensor, masked_fill_ does not"
        )
        expect_equal(given, raw, hint)
        expect_equal(tuple(got.shape), shape, "the weights have the shape of the scores")
        expect_equal(got.dtype, torch.float32, "keep the dtype of the scores")
        expect(not got.isnan().any(), "NaN: subtract nothing infinite, divide by no zero")
        if shape == (4, 4, 5):  # as many queries as sentences: there a mask (b, l) fits, and is wrong
            mixed = row_by_row(raw.transpose(0, 1), lengths).transpose(0, 1)
            hint = "the mask lines up with the queries, not with the sentences: it needs an axis of size 1, (b, 1, l)"
            expect(not torch.allclose(got, mixed), hint)
        padding = (wanted == 0).expand(shape)
        hint = "padding got weight: give it a score of -inf, whose exponential is 0"
        expect((got[padding] == 0).all(), hint)
        expect_close(got.sum(-1), torch.ones(shape[:-1]), over_words)
        expect_close(got, wanted, "wanted is the softmax over the first `length` scores of each sentence")
    low = masked_softmax(randn(4, 5) - 60, lengths)
    expect_close(low.sum(-1), torch.ones(4), "low scores are scores too: hide padding with -inf, not with 0")
    high = 200 * randn(4, 5)
    hint = "large scores overflow: use torch.softmax, or subtract the largest first"
    expect_close(masked_softmax(high, lengths), masked_softmax(high - 100, lengths), hint, tolerance=1e-3)
    expect_close(masked_softmax(high, lengths).sum(-1), torch.ones(4), hint)
    slopes = gradients(masked_softmax, randn(4, 5), lengths, upstream=randn(4, 5))[0]
    expect(slopes.isfinite().all() and slopes.any(), "the gradient is NaN or zero")
    ### BEGIN HIDDEN TESTS
    for shape in ((3, 1), (2, 9), (5, 2, 7), (1, 1, 4)):
        raw, lengths = randn(*shape, dtype=torch.float64), randint(1, shape[-1] + 1, (shape[0],))
        hint = "another size, in float64: the weights differ"
        expect_close(masked_softmax(raw, lengths), row_by_row(raw, lengths), hint)
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# What score has an exponential of exactly zero?
#
# </details>
# <details><summary>Method</summary>
#
# Compare `torch.arange(l)` with the lengths standing as a column: that is True for words, (b, l). Fill the other places
# before the softmax, so that the rest still sums to 1.
#
# </details>
# <details><summary>Almost there</summary>
#
# `scores.masked_fill(where, value)` fills where the mask is True. For scores (b, n, l) the mask needs an axis of size 1
# between its two, or it lines up with the wrong one.
#
# </details>
# </details>

# %% [markdown]
# ## 3. What does the decoder get?
#
# The mean of the annotations, weighted. It is called the **context** of that step.
#
# By hand: the weights are 0.75 and 0.25, the annotations (4, 0) and (8, 2). The context is
# $0.75 \cdot (4, 0) + 0.25 \cdot (8, 2) = (5, 0.5)$.
#
# $$c_i = \sum_j \alpha_{ij}\, h_j \tag{5}$$
#
# The (5) is the paper's number.
#
# Picking the best word alone would have no gradient. A mean is soft, so the whole of it can be learned from
# translations, and nobody has to tell the model which word goes with which.


# %% nbgrader={"grade": false, "grade_id": "context", "locked": false, "schema_version": 3, "solution": true, "task": false}
def context(weights: Tensor, annotations: Tensor) -> Tensor:
    """The weighted mean of each sentence's annotations, equation 5 of the paper.

    weights: (b, l); those of a sentence sum to 1. annotations: (b, l, d).
    Returns: (b, d).
    >>> context(torch.tensor([[0.75, 0.25]]), torch.tensor([[[4.0, 0.0], [8.0, 2.0]]]))
    tensor([[5.0000, 0.5000]])
    """
    ### BEGIN SOLUTION
    return einsum(weights, annotations, "b l, b l d -> b d")
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_context", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("context", points=1):
    for b, n, d in ((3, 3, 3), (2, 5, 4), (4, 1, 2)):
        weights, annotations = randn(b, n).softmax(-1), randn(b, n, d)
        got = context(weights, annotations)
        wanted = torch.bmm(weights[:, None], annotations)[:, 0]
        expect(isinstance(got, Tensor), "return one tensor", got=got)
        expect_equal(tuple(got.shape), (b, d), "one vector for each sentence: (b, d); sum over the words")
        if n > 1:
            expect(not torch.allclose(got, annotations.mean(1)), "this is the plain mean: the weights are not used")
            expect(not torch.allclose(got, wanted / n), "a weighted mean is a sum: the weights sum to 1 already")
            best = annotations[torch.arange(b), weights.argmax(-1)]
            expect(not torch.allclose(got, best), "do not pick the best word: mix them all, by weight")
        expect_close(got, wanted, "wanted is the sum over the words of weight times annotation, in each sentence")
    ### BEGIN HIDDEN TESTS
    for b, n, d in ((1, 6, 2), (5, 2, 7)):
        weights, annotations = randn(b, n, dtype=torch.float64).softmax(-1), randn(b, n, d, dtype=torch.float64)
        wanted = torch.bmm(weights[:, None], annotations)[:, 0]
        expect_close(context(weights, annotations), wanted, "another size, in float64: the context differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Which axis disappears?
#
# </details>
# <details><summary>Method</summary>
#
# Multiply each annotation by its weight, then sum over the words. Or write the equation as an `einsum`.
#
# </details>
# <details><summary>Almost there</summary>
#
# In the pattern of the `einsum`, letters that stand on the left alone are summed over. The batch stands on both sides.
#
# </details>
# </details>

# %% [markdown]
# ## 4. What should an annotation know?
#
# *the* becomes *le*, *la*, *l'* or *les*: it depends on what comes **after** it, the noun for *le*, *la* and *les*, the
# first sound of the next word for *l'*. A network that reads from left to right has seen neither when it reads *the*. So
# let a second network read from right to left, and put the two states of each word side by side: an annotation knows the
# whole sentence, and its own neighbourhood best.
#
# $$h_j = [\overrightarrow{h}_j;\ \overleftarrow{h}_j]$$
#
# The second network is an ordinary one that is given the reversed sentence. Mind the padding: the reversed sentence has
# to begin with its last **word**.
#
# By hand: *a b c · ·* with two places of padding reverses to *c b a · ·*, not to *· · c b a*. Reverse that once more
# and you are back.


# %% nbgrader={"grade": false, "grade_id": "reverse_words", "locked": false, "schema_version": 3, "solution": true, "task": false}
def reverse_words(x: Tensor, lengths: Tensor) -> Tensor:
    """Each sentence from its last word to its first; what stands at padding stays where it is.

    x: (b, l, d), a vector for each place; it is not changed. lengths: (b,) int64, from 1 to l.
    Returns: (b, l, d), a new tensor.
    >>> reverse_words(torch.tensor([[[1.0], [2.0], [3.0], [9.0]]]), torch.tensor([3]))[0, :, 0]
    tensor([3., 2., 1., 9.])
    """
    ### BEGIN SOLUTION
    place = torch.arange(x.shape[1], device=x.device)
    mirror = lengths[:, None] - 1 - place  # (b, l), negative at padding
    source = torch.where(mirror >= 0, mirror, place)
    return x.gather(1, repeat(source, "b l -> b l d", d=x.shape[2]))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_reverse_words", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("reverse_words", points=2):

    def one_by_one(x, lengths):
        return torch.stack([torch.cat([row[:n].flip(0), row[n:]]) for row, n in zip(x, lengths.tolist(), strict=True)])

    for b, n, d, lengths in ((3, 5, 5, [2, 4, 1]), (4, 4, 2, [3, 1, 4, 2]), (1, 1, 3, [1])):
        x, lengths = randn(b, n, d), torch.tensor(lengths)
        given = x.clone()
        got = reverse_words(given, lengths)
        expect(isinstance(got, Tensor), "return one tensor", got=got)
        expect_equal(tuple(got.shape), (b, n, d), "the shape does not change")
        expect_equal(given, x, "your function changes the x that it is given: write into a new tensor, x.clone()")
        if (lengths < n).all():
            hint = "off by one: the first word comes from place length - 1; place length is padding already"
            expect(not torch.equal(got[:, 0], x[torch.arange(b), lengths]), hint)
        if n > 1:
            expect(not torch.equal(got, x), "nothing is reversed")
            expect(not torch.equal(got, x.flip(1)), "the padding has come to the front: reverse the words alone")
            expect(not torch.equal(got, x.flip(2)), "reverse the order of the words, not of their features")
            expect(not torch.equal(got, x.flip(0)), "reverse the words of each sentence, not the sentences")
        hint = "after a sentence's words, what stands at its padding must be as it was"
        expect(all(torch.equal(a[k:], c[k:]) for a, c, k in zip(got, x, lengths.tolist(), strict=True)), hint)
        expect_equal(got, one_by_one(x, lengths), "word j comes from place length - 1 - j of its own sentence")
        expect_equal(reverse_words(got.clone(), lengths), x, "reversed twice, a sentence is as it was")
    ### BEGIN HIDDEN TESTS
    for b, n, d in ((6, 8, 1), (2, 3, 4)):
        x, lengths = randn(b, n, d, dtype=torch.float64), randint(1, n + 1, (b,))
        expect_equal(
            reverse_words(x.clone(), lengths), one_by_one(x, lengths), "another size: the words are in another order"
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# For each place of the result: from which place of the source does it come? Write that as a formula with the length.
#
# </details>
# <details><summary>Method</summary>
#
# Build a table of those places, (b, l): one formula for words, the place itself for padding. `torch.where` chooses
# between two tables. A loop over sentences is right as well, and slower.
#
# </details>
# <details><summary>Almost there</summary>
#
# `x.gather(1, index)` takes from axis 1 and wants an `index` of the shape of the result, so repeat your table along a
# third axis.
#
# </details>
# </details>

# %% [markdown]
# Now the encoder. PyTorch has it ready made, as `nn.GRU(..., bidirectional=True)` over packed sequences. Below it stands
# with your weights, for the test: yours has to agree with it.


# %% nbgrader={"grade": false, "grade_id": "torch_encoder", "locked": true, "schema_version": 3, "solution": false, "task": false}
from utils.recurrent import encode, join_directions


def torch_encoder(state: dict, ids: Tensor, lengths: Tensor) -> Tensor:
    """The annotations (b, l, 2·d_hidden) that PyTorch's bidirectional GRU makes with the weights of your encoder."""
    d_hidden, d_embed = state["left_to_right.weight_hh_l0"].shape[1], state["embed.weight"].shape[1]
    rnn = nn.GRU(d_embed, d_hidden, batch_first=True, bidirectional=True, dtype=state["embed.weight"].dtype)
    theirs = {name.removeprefix("left_to_right."): t for name, t in state.items() if name.startswith("left")}
    theirs |= {
        name.removeprefix("right_to_left.") + "_reverse": t for name, t in state.items() if name.startswith("right")
    }
    rnn.load_state_dict(theirs)
    with torch.no_grad():
        return encode(rnn, F.embedding(ids, state["embed.weight"]), lengths)[0]


def random_state(state: dict) -> dict:
    """Weights of the same names and shapes, drawn by a test, in float64."""
    return {name: 0.6 * randn(*value.shape, dtype=torch.float64) for name, value in state.items()}


# %% nbgrader={"grade": false, "grade_id": "BidirectionalEncoder", "locked": false, "schema_version": 3, "solution": true, "task": false}
class BidirectionalEncoder(nn.Module):
    """Read each sentence in both directions. From scratch: your `reverse_words` and two GRUs that read one way."""

    def __init__(self, vocab_size: int, d_embed: int, d_hidden: int):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.left_to_right = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.right_to_left = nn.GRU(d_embed, d_hidden, batch_first=True)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The annotation of each word.

        ids: (b, l) int64, filled up on the right with any id. lengths: (b,) int64, from 1 to l.
        A GRU is called as outputs, last = gru(x) with x (b, l, d_embed); outputs (b, l, d_hidden) are its states.
        Returns: annotations (b, l, 2·d_hidden): at each word the state of left_to_right after reading it, then that of
        right_to_left after reading it; zeros at padding.
        """
        ### BEGIN SOLUTION
        x = self.embed(ids)
        forward, _ = self.left_to_right(x)
        backward, _ = self.right_to_left(reverse_words(x, lengths))
        annotations = torch.cat([forward, reverse_words(backward, lengths)], dim=-1)
        is_word = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]  # (b, l)
        return annotations * is_word[..., None]
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_BidirectionalEncoder", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("BidirectionalEncoder", points=3):
    expect_from_scratch(BidirectionalEncoder, "encode", "torch_encoder")
    encoder = BidirectionalEncoder(11, 3, 4).double()
    state = encoder.state_dict()
    wanted = {
        f"{way}.{part}_l0"
        for way in ("left_to_right", "right_to_left")
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    hint = "keep the three layers: embed, left_to_right and right_to_left, each GRU reading one way"
    expect_equal(sorted(state), sorted(wanted | {"embed.weight"}), hint)
    state = random_state(state)
    encoder.load_state_dict(state)
    ids, lengths = randint(0, 11, (4, 6)), torch.tensor([3, 6, 1, 4])
    got, wanted = encoder(ids, lengths), torch_encoder(state, ids, lengths)
    expect(isinstance(got, Tensor), "return one tensor, the annotations", got=got)
    expect_equal(tuple(got.shape), (4, 6, 8), "an annotation is both states side by side: (b, l, 2·d_hidden)")
    expect(not torch.allclose(got, wanted.roll(4, -1)), "the state of left_to_right comes first")
    is_word = torch.arange(6) < lengths[:, None]
    expect_close(
        got[..., :4][is_word],
        wanted[..., :4][is_word],
        "the first half is what left_to_right makes of the words in their order",
    )
    back = got[..., 4:]
    expect(
        not torch.allclose(back[1], wanted[1].flip(0)[:, 4:]),
        "the backward states come in reading order: reverse them back, or word 1 gets the state of the last word",
    )
    swapped = {name.replace("left_to_right", "x"): t for name, t in state.items()}
    plain = torch_encoder(
        {**state, **{k.replace("x", "right_to_left"): v for k, v in swapped.items() if k.startswith("x")}}, ids, lengths
    )
    expect(
        not torch.allclose(back[is_word], plain[..., 4:][is_word]),
        "the second reader is right_to_left, with weights of its own",
    )
    same = {name.replace("right_to_left", "left_to_right"): t for name, t in state.items() if name.startswith("right")}
    unturned = torch_encoder({**state, **same}, ids, lengths)[..., :4]
    expect(
        not torch.allclose(back[is_word], unturned[is_word]),
        "right_to_left has read from left to right: nothing was reversed, neither its input nor its output",
    )
    full = torch_encoder(state, ids, torch.full((4,), 6))[..., 4:]
    expect(
        not torch.allclose(back[is_word], full[is_word]),
        "right_to_left has read padding: start at each sentence's own last word",
    )
    expect_close(
        back[is_word],
        wanted[..., 4:][is_word],
        "the second half is the state of right_to_left after it has read that word, coming from the end",
    )
    expect((got[~is_word] == 0).all(), "the annotations must be zeros at padding")
    expect_close(got, wanted, "the annotations differ from nn.GRU's")
    ### BEGIN HIDDEN TESTS
    for size, (b, n) in (((5, 2, 1), (3, 4)), ((20, 4, 6), (2, 9)), ((3, 1, 2), (1, 1))):
        encoder = BidirectionalEncoder(*size).double()
        state, ids, lengths = random_state(encoder.state_dict()), randint(0, size[0], (b, n)), randint(1, n + 1, (b,))
        encoder.load_state_dict(state)
        expect_close(encoder(ids, lengths), torch_encoder(state, ids, lengths), "another size: the annotations differ")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# `right_to_left` does not know that it reads backwards. Somebody has to turn its input around, and its output too.
#
# </details>
# <details><summary>Method</summary>
#
# Embed once. Give one GRU the words, the other the reversed words. Its first output belongs to the last word, so reverse
# its outputs before you put the two side by side.
#
# </details>
# <details><summary>Almost there</summary>
#
# `torch.cat(..., dim=-1)` joins features. Left to right, padding comes after all words and cannot disturb them; but the
# GRU gives states there too, so multiply by a mask that is 1 at words and 0 at padding.
#
# </details>
# </details>

# %% [markdown]
# ## 5. How does the decoder use it?
#
# A step writes one French word. It begins with the old state $s_{i-1}$ and the word before, $y_{i-1}$:
#
# 1. score each annotation **with the old state**: $e_{ij}$, then weights $\alpha_{ij}$
# 2. mix the annotations: $c_i = \sum_j \alpha_{ij} h_j$
# 3. update the state: $s_i = f(s_{i-1}, y_{i-1}, c_i)$, here $\text{GRU}([y_{i-1}; c_i],\ s_{i-1})$
# 4. read the next word off: $\text{logits} = g(y_{i-1}, s_i, c_i)$; their softmax is the paper's equation 4
#
# The order matters. In step 1 the new state does not exist yet: it needs the context, and the context needs the
# weights.
#
# By hand, with numbers for the order alone: let $s_{i-1} = 1$, and let the weights of section 2 come out, 0.945 and
# 0.055. With annotations 1 and −1.5 the context is $0.945 - 0.083 = 0.86$. The cell is given the embedded word with
# 0.86 beside it, and only now is there an $s_i$.
#
# The layers, the first state and the loop over a known target are given. Your part is the step.


# %% nbgrader={"grade": false, "grade_id": "Decoder", "locked": true, "schema_version": 3, "solution": false, "task": false}
class Decoder(nn.Module):
    """A decoder that lacks its step."""

    def __init__(self, vocab_size: int, d_embed: int, d_hidden: int, d_annotation: int):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.first = nn.Linear(d_annotation // 2, d_hidden)
        self.w_q = nn.Parameter(torch.randn(d_hidden, d_hidden) / d_hidden**0.5)  # score: (d_a, d_s), d_a = d_hidden
        self.w_k = nn.Parameter(torch.randn(d_hidden, d_annotation) / d_annotation**0.5)  # (d_a, d_h)
        self.v = nn.Parameter(torch.randn(d_hidden) / d_hidden**0.5)  # (d_a,)
        self.cell = nn.GRUCell(d_embed + d_annotation, d_hidden)
        self.read = nn.Sequential(
            nn.Linear(d_embed + d_hidden + d_annotation, d_hidden), nn.Tanh(), nn.Linear(d_hidden, vocab_size)
        )

    def start(self, annotations: Tensor) -> Tensor:
        """The first state s_0, (b, d_hidden): from the backward state of the first word, which has read all others."""
        backward = annotations[:, 0, annotations.shape[-1] // 2 :]
        return torch.tanh(self.first(backward))

    def forward(self, given: Tensor, annotations: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Each step is given the right word before: given is (b, n). Returns: logits (b, n, vocab), weights (b, n, l)."""
        state, logits, weights = self.start(annotations), [], []
        for y in given.unbind(1):
            step_logits, state, step_weights = self.step(y, state, annotations, lengths)
            logits.append(step_logits)
            weights.append(step_weights)
        return torch.stack(logits, 1), torch.stack(weights, 1)


# %% nbgrader={"grade": false, "grade_id": "AttentionDecoder", "locked": false, "schema_version": 3, "solution": true, "task": false}
class AttentionDecoder(Decoder):
    """The decoder of Bahdanau et al. (2015). From scratch: your three functions and the layers of `Decoder`."""

    def step(self, y: Tensor, state: Tensor, annotations: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Write one word.

        y: (b,) int64, the word before, y_{i−1}. state: (b, d_hidden), the old state s_{i−1}.
        annotations: (b, l, d_annotation). lengths: (b,) int64, from 1 to l.
        self.cell(x, state) gives the new state; its x is the embedded y, then the context, side by side.
        self.read gives the logits; it is given the embedded y, the new state, the context, side by side in this order.
        Keep what your function context returns under another name: a variable `context` in here would hide the function,
        and Python would raise an UnboundLocalError.
        Returns: logits (b, vocab_size) of y_i; the new state s_i (b, d_hidden); weights (b, l), zeros at padding.
        """
        ### BEGIN SOLUTION
        weights = masked_softmax(additive_score(state, annotations, self.w_q, self.w_k, self.v), lengths)
        c = context(weights, annotations)
        y = self.embed(y)
        state = self.cell(torch.cat([y, c], dim=-1), state)
        return self.read(torch.cat([y, state, c], dim=-1)), state, weights
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_AttentionDecoder", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
with exercise("AttentionDecoder", points=4):

    def one_sentence(p: dict, y: Tensor, s: Tensor, words: Tensor, *, ask_with: Tensor | None = None) -> tuple:
        """A step for one sentence without padding: y (), s (d_hidden,), words (l, d_annotation).

        `p` is a state dict of the decoder; `ask_with` is the state that the scores are made with, s unless given.
        Returns: logits (vocab,), new state (d_hidden,), weights (l,), context (d_annotation,).
        """
        asked = p["w_q"] @ (s if ask_with is None else ask_with)
        fits = torch.stack([(p["v"] * torch.tanh(asked + p["w_k"] @ h)).sum() for h in words])
        weights = (fits - fits.logsumexp(0)).exp()
        c = words.T @ weights
        y = p["embed.weight"][y]
        gru = [p[f"cell.{part}_{way}"] for part in ("weight", "bias") for way in ("ih", "hh")]
        new = torch.gru_cell(torch.cat([y, c])[None], s[None], *gru)[0]
        hidden = torch.tanh(p["read.0.weight"] @ torch.cat([y, new, c]) + p["read.0.bias"])
        return p["read.2.weight"] @ hidden + p["read.2.bias"], new, weights, c

    def sentences(p, y, s, words, lengths, **other):  # one_sentence for a batch; zeros at padding
        steps = [
            one_sentence(p, y[i], s[i], words[i, :n], **{name: value[i] for name, value in other.items()})
            for i, n in enumerate(lengths.tolist())
        ]
        logits, new, weights, c = zip(*steps, strict=True)
        weights = [F.pad(w, (0, words.shape[1] - len(w))) for w in weights]
        return tuple(torch.stack(list(x)) for x in (logits, new, weights, c))

    def problem(vocab_size, d_embed, d_hidden, d_annotation, b, n):
        decoder = AttentionDecoder(vocab_size, d_embed, d_hidden, d_annotation).double()
        p = random_state(decoder.state_dict())
        decoder.load_state_dict(p)
        y, s = randint(0, vocab_size, (b,)), randn(b, d_hidden, dtype=torch.float64).tanh()
        return decoder, p, (y, s, randn(b, n, d_annotation, dtype=torch.float64), randint(1, n + 1, (b,)))

    decoder, p, (y, s, words, lengths) = problem(9, 3, 5, 4, 3, 6)
    lengths = torch.tensor([2, 6, 4])
    result = decoder.step(y, s, words, lengths)
    expect(
        isinstance(result, (tuple, list)) and len(result) == 3,
        "return three tensors: logits, new state, weights",
        got=result,
    )
    logits, new, weights = result
    expect_equal(
        [tuple(t.shape) for t in result],
        [(3, 9), (3, 5), (3, 6)],
        "logits (b, vocab_size), new state (b, d_hidden), weights (b, l), in this order",
    )
    right_logits, right_new, right_weights, c = sentences(p, y, s, words, lengths)
    expect(not new.equal(s), "the state that you return must be the new one")
    late = sentences(p, y, s, words, lengths, ask_with=right_new)
    expect(
        not torch.allclose(weights, late[2]), "the scores are made with the old state s_{i-1}: the new one comes after"
    )
    expect(
        (weights[torch.arange(6) >= lengths[:, None]] == 0).all(),
        "padding got weight: use masked_softmax with the lengths",
    )
    expect_close(
        weights, right_weights, "the weights are the masked softmax of additive_score(state, annotations, ...)"
    )
    no_context = torch.gru_cell(
        torch.cat([p["embed.weight"][y], 0 * c], -1),
        s,
        *(p[f"cell.{x}"] for x in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
    )
    expect(not torch.allclose(new, no_context), "the cell is given the word before and the context, side by side")
    expect_close(new, right_new, "the new state is cell([embedded y; context], state), with the context of this step")
    shares = logits.sum(-1), logits.exp().sum(-1)  # what sums to 1 went through a softmax, or through a log-softmax
    expect(not any(torch.allclose(x, torch.ones_like(x)) for x in shares), "return logits: no softmax at the end")
    old = p["read.0.weight"] @ torch.cat([p["embed.weight"][y], s, c], -1).T + p["read.0.bias"][:, None]
    old = (p["read.2.weight"] @ old.tanh() + p["read.2.bias"][:, None]).T
    expect(not torch.allclose(logits, old), "the word is read off the new state, not the old one")
    expect_close(logits, right_logits, "the logits are read([embedded y; new state; context])")
    other = randn(3, 5, dtype=torch.float64)  # a step depends on what it is given, not on the step before
    for got, wanted in zip(
        decoder.step(y, other, words, lengths), sentences(p, y, other, words, lengths)[:3], strict=True
    ):
        expect_close(got, wanted, "in the next step the result differs: use the context of this step, remember nothing")
    for n in (4, 2):
        given = randint(0, 9, (3, n))
        (logits, weights), s = decoder(given, words, lengths), decoder.start(words)
        for i in range(n):
            wanted_logits, s, wanted_weights, _ = sentences(p, given[:, i], s, words, lengths)
            expect_close(weights[:, i], wanted_weights, f"through a whole target, the weights of step {i + 1} differ")
            expect_close(logits[:, i], wanted_logits, f"through a whole target, the logits of step {i + 1} differ")
    ### BEGIN HIDDEN TESTS
    for size in ((4, 1, 3, 2, 2, 3), (12, 6, 2, 8, 5, 1), (7, 4, 4, 4, 4, 4)):
        decoder, p, arguments = problem(*size)
        for got, wanted in zip(decoder.step(*arguments), sentences(p, *arguments)[:3], strict=True):
            expect_close(got, wanted, "another size: logits, state or weights differ")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# The list of four above is the whole method, in order. Each line is one or two lines of code.
#
# </details>
# <details><summary>Method</summary>
#
# Scores, weights and context are calls of your three functions. Embed `y` before you use it. `torch.cat([...], dim=-1)`
# puts vectors side by side; the docstring says in which order.
#
# </details>
# <details><summary>Almost there</summary>
#
# If `torch.cat` complains about dimensions, or a layer about integers, `y` is not embedded yet: it is (b,), and the cell
# wants (b, d_embed). If the weights are right and the state is not, look at what the cell is given. If the state is
# right and the logits are not, look at the three parts that `read` is given, and whether the state among them is the new
# one.
#
# </details>
# </details>

# %% [markdown]
# ## 6. How good is a translation?
#
# There are many right translations, so *exactly equal* is too strict a judge. **BLEU** (Papineni et al., 2002) asks how
# many words, pairs, triples and quadruples of words of the candidate also stand in the reference.
#
# By hand. Reference: *le chat noir dort sur un lit*. Candidate: *le chat noir dort sur le lit*.
#
# | n | n-grams of the candidate | found | $p_n$ |
# | --- | --- | --- | --- |
# | 1 | 7 | 6: of the two *le*, the reference has one | 6/7 |
# | 2 | 6 | 4 | 4/6 |
# | 3 | 5 | 3 | 3/5 |
# | 4 | 4 | 2 | 2/4 |
#
# Their geometric mean is $(6/7 \cdot 4/6 \cdot 3/5 \cdot 2/4)^{1/4} = 0.643$. Both have seven words, so BLEU is 64.3.
#
# Two rules close two loopholes. **Clipping**: an n-gram counts at most as often as the reference has it, or *le le le
# le* would be a perfect text. **The brevity penalty**: precision favours the short, so a corpus of $c$ words where the
# references have $r > c$ is multiplied by $e^{1 - r/c}$.
#
# $$\text{BLEU} = 100 \cdot \min\!\left(1, e^{1 - r/c}\right) \cdot (p_1\, p_2\, p_3\, p_4)^{1/4}$$
#
# It is a number for a **corpus**: found, counted, $r$ and $c$ are summed over all sentences first. A mean over sentences is
# another number, and a worse one: one short sentence without a quadruple gives 0.


# %% nbgrader={"grade": false, "grade_id": "bleu", "locked": false, "schema_version": 3, "solution": true, "task": false}
def bleu(candidates: list, references: list) -> float:
    """BLEU-4 of a corpus, 0 to 100, without smoothing. From scratch; collections.Counter is yours to use.

    candidates, references: equally many sentences, each a list or tuple of words; one reference for each candidate.
    p_n is found over counted, n = 1 to 4, both summed over the corpus: counted are all n-grams of the candidates; found
    are those in their own reference, each n-gram at most as often as it stands there. A sentence shorter than n has none.
    Returns: 100 · BP · (p_1 p_2 p_3 p_4)^(1/4); BP is e^(1 − r/c) where c < r, else 1, with c and r the words of all
    candidates and of all references. 0.0 where some p_n is 0, or has nothing to count.
    >>> round(bleu(["le chat noir dort sur le lit".split()], ["le chat noir dort sur un lit".split()]), 1)
    64.3
    """
    ### BEGIN SOLUTION
    import collections
    import math

    def ngrams(words, n: int) -> collections.Counter:
        return collections.Counter(zip(*(words[i:] for i in range(n)), strict=False))

    precisions = []
    for n in range(1, 5):
        pairs = [(ngrams(c, n), ngrams(r, n)) for c, r in zip(candidates, references, strict=True)]
        found = sum((ours & theirs).total() for ours, theirs in pairs)
        precisions.append(found / max(1, sum(ours.total() for ours, _ in pairs)))
    if not all(precisions):
        return 0.0
    c, r = sum(map(len, candidates)), sum(map(len, references))
    return 100 * min(1.0, math.exp(1 - r / c)) * math.prod(precisions) ** 0.25
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_bleu", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("bleu", points=3):

    def by_formula(candidates, references, *, clip=True, brevity=True, orders=(1, 2, 3, 4)):
        c, r, logs = sum(map(len, candidates)), sum(map(len, references)), 0.0
        for n in orders:
            found = counted = 0
            for candidate, reference in zip(candidates, references, strict=True):
                left = [tuple(reference[i : i + n]) for i in range(len(reference) - n + 1)]
                for i in range(len(candidate) - n + 1):
                    counted += 1
                    if tuple(candidate[i : i + n]) in left:
                        found += 1
                        if clip:
                            left.remove(tuple(candidate[i : i + n]))
            if found == 0:
                return 0.0
            logs += torch.tensor(found / counted, dtype=torch.float64).log().item() / len(orders)
        factor = min(0.0, 1 - r / c) if brevity else 0.0
        return 100 * torch.tensor(logs + factor, dtype=torch.float64).exp().item()

    def corpus(sizes, noise=0.15, cut=0):
        vocabulary = "le la chat chien noir dort mange sur lit un".split()
        references = [[vocabulary[i] for i in randint(0, 10, (n,)).tolist()] for n in sizes]
        other = [[vocabulary[i] for i in randint(0, 10, (n,)).tolist()] for n in sizes]
        keep = [(rand(n) > noise).tolist() for n in sizes]
        mixed = [
            [a if k else b for a, b, k in zip(*rows, strict=True)] for rows in zip(references, other, keep, strict=True)
        ]
        return [row[: len(row) - cut] for row in mixed], references

    reference = "le chat noir dort sur un lit".split()
    got = bleu(["le chat noir dort sur le lit".split()], [reference])
    expect(isinstance(got, (int, float)), "return one number", got=got)
    expect(abs(got - 0.6434588841607617) > 1e-6, "BLEU goes from 0 to 100 here: multiply by 100", got=got)
    repeated = "le chat et le chien et le lit dort".split(), "le chat et le chien et le rat dort".split()
    as_sets = [100 * share**0.25 for share in (5 / 6 * 5 / 7 * 5 / 7 * 4 / 6, 5 / 9 * 5 / 8 * 5 / 7 * 4 / 6)]
    twice = bleu([repeated[0]], [repeated[1]])
    hint = "count each n-gram as often as it stands there: a set has *et le* once, where both sentences have it twice"
    expect(all(abs(twice - other) > 0.05 for other in as_sets), hint, got=twice)
    worked = 64.34588841607617  # 100 · (6/7 · 4/6 · 3/5 · 2/4)^(1/4)
    expect(abs(got - 66.874) > 0.05, "clip: an n-gram counts at most as often as the reference has it", got=got)
    expect(abs(got - 65.6) > 0.05, "the mean of the four precisions is geometric, not arithmetic", got=got)
    expect_close(got, worked, "in the example worked by hand BLEU is 64.35")
    expect_close(bleu([reference], [reference]), 100.0, "a perfect translation has BLEU 100")

    def or_none(candidates, references):  # None where a zero was divided by, or its logarithm taken
        try:
            return bleu(candidates, references)
        except (ZeroDivisionError, ValueError):
            return None

    nothing_found = or_none([reference[::-1]], [reference])
    nothing_counted = or_none([["le", "chat"], []], [["le", "chat"], ["un"]])
    hint = "a zero needs a guard: return 0.0 before you divide by it or take its logarithm"
    expect(nothing_found is not None and nothing_counted is not None, hint)
    expect_equal(nothing_found, 0.0, "without a pair of words in common BLEU is 0")
    expect_equal(nothing_counted, 0.0, "where there are no quadruples to count BLEU is 0")
    babble = "le le le le chat noir dort".split()
    clipped = by_formula([babble], [reference])
    loose = by_formula([babble], [reference], clip=False)
    got = bleu([babble], [reference])
    expect(abs(got - loose) > 1e-3, "clip: an n-gram counts at most as often as the reference has it", got=got)
    expect_close(got, clipped, "an n-gram counts at most as often as its own reference has it")
    short = bleu([reference[:5]], [reference])
    recall = by_formula([reference], [reference[:5]])  # found over the n-grams of the reference
    hint = "divide by the n-grams of the candidate, not of the reference: a precision, not a recall"
    expect(all(abs(short - factor * recall) > 1e-3 for factor in (1, 0.67032004603)), hint, got=short)
    expect(
        abs(short - 100.0) > 1e-3, "five words of seven, all right, are no perfect text: the brevity penalty", got=short
    )
    expect_close(short, 67.03200460356393, "the brevity penalty is e^(1 − 7/5) for five words of seven")
    expect_close(
        bleu([[*reference, "vert"]], [reference]),
        by_formula([[*reference, "vert"]], [reference]),
        "there is no bonus and no penalty for a candidate that is longer",
    )
    candidates, originals = corpus([9, 4, 12, 7, 3, 10])
    got, wanted = bleu(candidates, originals), by_formula(candidates, originals)
    mean = sum(by_formula([c], [r]) for c, r in zip(candidates, originals, strict=True)) / len(candidates)
    expect(
        abs(got - mean) > 1e-6, "this is a mean over sentences: sum the counts over the corpus, then divide", got=got
    )
    for orders in ((1,), (1, 2), (1, 2, 3)):
        fewer = by_formula(candidates, originals, orders=orders)
        expect(abs(got - fewer) > 1e-6, f"n-grams of up to four words count, not of {orders[-1]} at most", got=got)
    expect_close(got, wanted, "on a corpus of six sentences BLEU differs")
    candidates, originals = corpus([8, 11, 9, 14], cut=2)
    got, wanted = bleu(candidates, originals), by_formula(candidates, originals)
    expect_close(got, wanted, "on a corpus of short candidates BLEU differs: r and c are summed over the corpus")
    expect_from_scratch(bleu, "corpus_bleu", "sentence_bleu", "bleu_score", "sacrebleu")
    ### BEGIN HIDDEN TESTS
    for sizes, noise, cut in (([20, 5, 17], 0.3, 0), ([6] * 9, 0.1, 1), ([13, 2, 1, 8, 30], 0.2, 0)):
        candidates, originals = corpus(sizes, noise, cut)
        expect_close(bleu(candidates, originals), by_formula(candidates, originals), "on another corpus BLEU differs")
    candidates, originals = corpus([9, 8, 12])
    candidates[1] = candidates[1][:2]  # short in one sentence, and long in another
    candidates[0] = candidates[0] + ["vert", "vert", "vert", "vert"]
    expect_close(bleu(candidates, originals), by_formula(candidates, originals), "r and c are sums over the corpus")
    tuples = [tuple(row) for row in candidates], [tuple(row) for row in originals]
    expect_close(bleu(*tuples), by_formula(candidates, originals), "sentences may be tuples of words")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Write the table of the worked example: for each n two sums, found and counted.
#
# </details>
# <details><summary>Method</summary>
#
# Count the n-grams of a candidate and of its reference; found is the sum of the smaller counts. Loop over all sentences
# before you divide. The brevity penalty comes last, once.
#
# </details>
# <details><summary>Almost there</summary>
#
# An n-gram as a tuple can be counted by `collections.Counter`, and `a & b` of two counters keeps the smaller counts. Mind
# the case of 0: return before you divide by it.
#
# </details>
# </details>

# %% [markdown]
# ## 7. Does it look where it should?
#
# An **alignment** says which word of one sentence means which word of the other. Our grammar writes both languages at
# once, so it knows: gold links, as (English place, French place). The model only gives weights. So we need a rule, and
# say it openly: **each French word is linked to the one English word that it gave the most weight**, no threshold, no
# exception.
#
# Let $A$ be the model's links and $G$ the gold ones. The **alignment error rate** (Och and Ney, 2003; all our gold links
# are sure) is
#
# $$\text{AER} = 1 - \frac{2\,|A \cap G|}{|A| + |G|}$$
#
# By hand: three French words and two English ones. The model links (0, 0), (1, 1), (0, 2); gold is (0, 0), (1, 1),
# (1, 2), (0, 1). Two links agree, so AER is $1 - 2 \cdot 2 / (3 + 4) = 0.43$.
#
# Every French word of our grammar has at least one gold link. Some have two, and our rule finds one of them at most: a
# perfect model would not get 0. You will see below what it would get.


# %% nbgrader={"grade": false, "grade_id": "alignment_error_rate", "locked": false, "schema_version": 3, "solution": true, "task": false}
def alignment_error_rate(weights: list, gold: list) -> float:
    """How far the links that attention makes are from gold, 0 (equal) to 1 (no link in common).

    weights: for each sentence a map (target words, source words), a row for each target word.
    gold: for each sentence a list of its links, pairs (source place, target place), from 0, none twice.
    Each target word is linked to the source word of its largest weight (where equal, the first): that many links.
    Returns: 1 − 2·common / (links + gold links), each summed over all sentences.
    >>> maps = [torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])]
    >>> round(alignment_error_rate(maps, [[(0, 0), (1, 1), (1, 2), (0, 1)]]), 4)
    0.4286
    """
    ### BEGIN SOLUTION
    common = links = 0
    for rows, sure in zip(weights, gold, strict=True):
        found = {(source, target) for target, source in enumerate(rows.argmax(-1).tolist())}
        common += len(found & {tuple(link) for link in sure})
        links += len(found) + len(sure)
    return 1 - 2 * common / links
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_alignment_error_rate", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("alignment_error_rate", points=2):

    def links_of(rows, source, target):  # a random gold: some links of the map, some others
        places = torch.arange(target)
        best = torch.stack([rows.max(-1).indices, places], -1)[rand(target) < 0.7].tolist()
        more = torch.stack([randint(0, source, (target,)), places], -1)[rand(target) < 0.6].tolist()
        return sorted({tuple(link) for link in best + more} | {(0, 0)})

    def sentences(*sizes):
        maps = [rand(target, source) for source, target in sizes]
        return maps, [links_of(rows, *size) for rows, size in zip(maps, sizes, strict=True)]

    def by_table(maps, gold):  # links as tables of ones
        common = total = 0.0
        for rows, sure in zip(maps, gold, strict=True):
            table = F.one_hot(rows.max(-1).indices, rows.shape[1])
            wanted = torch.zeros_like(table)
            for source, target in sure:
                wanted[target, source] = 1
            common, total = common + (table * wanted).sum().item(), total + (table.sum() + wanted.sum()).item()
        return 1 - 2 * common / total

    got = alignment_error_rate([torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])], [[(0, 0), (0, 1), (0, 2)]])
    expect(isinstance(got, (int, float)), "return one number", got=got)
    hint = "each target word, a row, chooses a source word; not the other way round"
    expect(abs(got - 3 / 5) > 1e-6, hint, got=got)
    expect(abs(got - 2 / 3) > 1e-6, "the other way round: a pair is (source place, target place)", got=got)
    one = [torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])]
    got = alignment_error_rate(one, [[(0, 0), (1, 1), (1, 2), (0, 1)]])
    expect(abs(got - 4 / 7) > 1e-6, "this is the agreement: the error rate is 1 minus it", got=got)
    expect(abs(got - 1 / 3) > 1e-6, "divide by all links, the model's and gold's, not by the model's alone", got=got)
    expect(
        abs(got - 3 / 5) > 1e-6, "divide twice the common links by the sum of both sizes, not by their union", got=got
    )
    expect(abs(got - 5 / 7) > 1e-6, "common links count twice: they are in both sets", got=got)
    expect_close(got, 3 / 7, "in the example worked by hand it is 3/7")
    expect_close(alignment_error_rate(one, [[(0, 0), (1, 1), (0, 2)]]), 0.0, "equal links have an error rate of 0")
    expect_close(alignment_error_rate(one, [[(1, 0), (0, 1), (1, 2)]]), 1.0, "no link in common is an error rate of 1")
    maps, links = sentences((4, 6), (7, 5), (3, 3), (9, 12))
    got, wanted = alignment_error_rate(maps, links), by_table(maps, links)
    mean = sum(by_table([m], [g]) for m, g in zip(maps, links, strict=True)) / len(maps)
    expect(
        abs(got - mean) > 1e-9, "sum the counts over all sentences, then divide once: no mean over sentences", got=got
    )
    expect_close(got, wanted, "on four sentences the error rate differs")
    ### BEGIN HIDDEN TESTS
    for sizes in (((2, 8), (8, 2)), ((5, 1), (1, 5), (6, 6)), ((10, 9),)):
        maps, links = sentences(*sizes)
        expect_close(
            alignment_error_rate(maps, links), by_table(maps, links), "on other sentences the error rate differs"
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Make the model's links first, as pairs written like the gold ones. Then it is counting.
#
# </details>
# <details><summary>Method</summary>
#
# `argmax(-1)` gives the source place for each target place. Which comes first in a pair? Python's sets intersect with
# `&`; make both sides tuples.
#
# </details>
# <details><summary>Almost there</summary>
#
# Keep two running sums over the sentences, common links and all links of both sides, and divide at the end.
#
# </details>
# </details>

# %% [markdown]
# ## 8. Train it
#
# The data: English sentences and their French, from a grammar that knows agreement (*les vieilles portes*), adjectives
# after the noun, *ne … pas*, elision (*l'homme*), questions (*est-ce que*), and where each word comes from. The held-out
# sentences are never trained on.

# %%
from utils.data.batching import BOS, PAD, Vocabulary, batches, pad
from utils.data.french import sentence_pairs, to_text

n_train, n_held_out = pick(smoke=150, cpu=16_000, gpu=40_000), pick(smoke=20, cpu=600, gpu=2000)
train_pairs, held_out = sentence_pairs(n_train, n_held_out, max_length=14)
english = Vocabulary.build(pair.source for pair in train_pairs)
french = Vocabulary.build(pair.target for pair in train_pairs)
print(
    f"{len(train_pairs)} pairs to train on, {len(held_out)} held out; {len(english)} English ids, {len(french)} French ids"
)
for pair in held_out[:4]:
    print(f"  {to_text(pair.source)}  →  {to_text(pair.target)}")

# %% [markdown]
# All numbers in the text below are those of a run at `cpu` scale. At `smoke` scale two steps train nothing: it only
# checks that everything runs.
#
# The decoder is trained as in lesson 02: at each step it is given the right word before, and has to name the next one.


# %%
def tensors(pairs: list, english: Vocabulary, french: Vocabulary) -> list[Tensor]:
    """source (b, l), lengths (b,), given (b, n) and wanted (b, n): the target after BOS, and the target before EOS."""
    source, lengths = pad([english.encode(pair.source) for pair in pairs])
    given, _ = pad([french.encode(pair.target, bos=True) for pair in pairs])
    wanted, _ = pad([french.encode(pair.target, eos=True) for pair in pairs])
    return [x.to(device) for x in (source, lengths, given, wanted)]


class Attentive(nn.Module):
    """Your encoder and your decoder: a context for each step."""

    def __init__(self, n_source: int, n_target: int, d: int):
        super().__init__()
        self.encoder = BidirectionalEncoder(n_source, d, d)
        self.decoder = AttentionDecoder(n_target, d, d, 2 * d)

    def forward(self, source: Tensor, lengths: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        return self.decoder(given, self.encoder(source, lengths), lengths)

    def begin(self, source: Tensor, lengths: Tensor):
        """The first state, and a step(y, state) → logits, new state, weights."""
        annotations = self.encoder(source, lengths)
        return self.decoder.start(annotations), lambda y, state: self.decoder.step(y, state, annotations, lengths)


# %% [markdown]
# Beside it stands the model of lesson 02, of about the same size, from PyTorch's fused layers. It too reads in both
# directions and gives its decoder a context at each step. But that is **one** context for all steps, the final states of
# both readers; yours is mixed anew at each step. Two things differ besides: its first state comes from both final
# states, yours from the backward one, and it has no parameters for scores.


# %%
class FixedContext(nn.Module):
    """Lesson 02's model: everything the decoder knows of the sentence is one vector of 2·d numbers."""

    def __init__(self, n_source: int, n_target: int, d: int):
        super().__init__()
        self.embed_source, self.embed_target = nn.Embedding(n_source, d), nn.Embedding(n_target, d)
        self.encoder = nn.GRU(d, d, batch_first=True, bidirectional=True)
        self.first = nn.Linear(2 * d, d)
        self.rnn = nn.GRU(3 * d, d, batch_first=True)
        self.read = nn.Sequential(nn.Linear(4 * d, d), nn.Tanh(), nn.Linear(d, n_target))

    def write(self, given: Tensor, state: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        y, c = self.embed_target(given), repeat(c, "b d -> b n d", n=given.shape[1])
        states, state = self.rnn(torch.cat([y, c], dim=-1), state)
        return self.read(torch.cat([y, states, c], dim=-1)), state

    def summary(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        c = join_directions(encode(self.encoder, self.embed_source(source), lengths)[1])  # (1, b, 2d)
        return torch.tanh(self.first(c)), c[0]

    def forward(self, source: Tensor, lengths: Tensor, given: Tensor) -> tuple[Tensor, None]:
        return self.write(given, *self.summary(source, lengths))[0], None

    def begin(self, source: Tensor, lengths: Tensor):
        state, c = self.summary(source, lengths)

        def step(y: Tensor, state: Tensor):
            logits, state = self.write(y[:, None], state, c)
            return logits[:, 0], state, None

        return state, step


# %%
def train(kind: type[nn.Module], pairs: list, english: Vocabulary, french: Vocabulary, label: str) -> nn.Module:
    """A model of that kind, trained on the pairs, in batches of sentences of similar length."""
    torch.manual_seed(0)
    model, order = kind(len(english), len(french), pick(smoke=16, cpu=128, gpu=256)).to(device), torch.Generator()
    size, stream = pick(smoke=8, cpu=64, gpu=128), iter(())

    def loss(step: int) -> Tensor:
        nonlocal stream
        if (batch := next(stream, None)) is None:
            stream = batches(pairs, size, order, length=lambda pair: len(pair.source))
            batch = next(stream)
        source, lengths, given, wanted = tensors(batch, english, french)
        logits, _ = model(source, lengths, given)
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=PAD)

    fit(model, loss, steps=pick(smoke=2, cpu=1000, gpu=4000), lr=pick(smoke=3e-3, cpu=3e-3, gpu=2e-3), label=label)
    return model.eval()


# %%
attentive = train(Attentive, train_pairs, english, french, "attention")
fixed = train(FixedContext, train_pairs, english, french, "one fixed context")
for name, model in {"attention": attentive, "one fixed context": fixed}.items():
    print(f"{name:<18} {sum(p.numel() for p in model.parameters()):>9,} parameters")

# %% [markdown]
# To translate, each model writes the likeliest word and is given it back at the next step, until it writes the end.


# %%
@torch.no_grad()
def translate(model: nn.Module, pairs: list, english: Vocabulary = english, french: Vocabulary = french) -> list:
    """The French that the model writes for each source, as lists of words."""
    source, lengths, *_ = tensors(pairs, english, french)
    state, step = model.begin(source, lengths)
    y, written = torch.full_like(lengths, BOS), []
    for _ in range(2 * source.shape[1] + 5):
        logits, state, _ = step(y, state)
        y = logits.argmax(-1)
        written.append(y)
    return [french.decode(row) for row in torch.stack(written, 1)]


references = [list(pair.target) for pair in held_out]
outputs = {"attention": translate(attentive, held_out), "one fixed context": translate(fixed, held_out)}
scores = {name: bleu(output, references) for name, output in outputs.items()}
for name, score in scores.items():
    exact = sum(a == b for a, b in zip(outputs[name], references, strict=True)) / len(references)
    print(f"{name:<18} BLEU {score:5.1f}   every word right in {exact:4.0%} of {len(references)} unseen sentences")

# %% [markdown]
# ### What to look at: length
#
# **Predict first.** Which sentences does the fixed context lose, and does attention lose the same ones?

# %%
by_length = sorted(range(len(held_out)), key=lambda i: len(held_out[i].source))
bounds = [round(len(by_length) * part / 6) for part in range(7)]
groups = [by_length[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
mean_length = [sum(len(held_out[i].source) for i in group) / len(group) for group in groups]


def bleu_of(name: str, group: list[int]) -> float:
    return bleu([outputs[name][i] for i in group], [references[i] for i in group])


curves(
    {name: (mean_length, [bleu_of(name, group) for group in groups]) for name in outputs},
    xlabel="English words in a sentence (mean of a sixth of the held-out sentences)",
    ylabel="BLEU",
    title="One vector loses long sentences; attention keeps them",
    alt="BLEU against sentence length for two models. The line of attention stays near the top; the line of the fixed "
    "context falls as sentences grow longer.",
    markers=True,
)

# %%
longest = by_length[len(by_length) * 2 // 3 :]
long_scores = {name: bleu_of(name, longest) for name in outputs}
print("on the longest third:", *(f"{name} {score:.1f}" for name, score in long_scores.items()), sep="   ")
i = next(
    (i for i in reversed(longest) if outputs["attention"][i] == references[i] != outputs["one fixed context"][i]),
    longest[-1],
)
print(f"English:            {to_text(held_out[i].source)}")
for name in outputs:
    print(f"{name + ':':<19} {to_text(outputs[name][i])}")

# %% [markdown]
# ### What to look at: alignments
#
# Nobody told the model which word belongs to which. Give it the right French, step by step, and look at its weights, as
# in figure 3 of the paper. **Predict first**: for an adjective after its noun, which way do the bright squares run?


# %%
@torch.no_grad()
def maps(pairs: list) -> list[Tensor]:
    """For each pair the weights (target words, source words) while the model is given the right words."""
    source, lengths, given, _ = tensors(pairs, english, french)
    weights = attentive(source, lengths, given)[1].cpu()
    return [rows[: len(p.target), : len(p.source)] for rows, p in zip(weights, pairs, strict=True)]


held_out_maps = maps(held_out)


def draw_alignment(i: int, title: str, alt: str) -> None:
    """The map of held-out pair i."""
    attention_map(held_out_maps[i], held_out[i].target, held_out[i].source, title=title, alt=alt)


def example(wanted) -> int:
    """The first held-out pair of 6 words or more that is as wanted and that the model translates without a mistake."""
    fits = (
        i
        for i, p in enumerate(held_out)
        if len(p.source) > 5 and wanted(p) and outputs["attention"][i] == references[i]
    )
    return next(fits, 0)


def crossed(pair) -> bool:
    """Does an adjective change places with its noun: after an article, two links that cross, side by side?"""
    after_article = [(s, t) for s, t in pair.alignment if s and pair.source[s - 1] in ("the", "a", "an")]
    return any((s + 1, t - 1) in pair.alignment for s, t in after_article)


# %% jupyter={"source_hidden": true}
draw_alignment(
    example(lambda pair: crossed(pair) and not {"not", "?"} & set(pair.source)),
    "Word order differs: the bright squares cross where noun and adjective change places",
    "A map of weights, French words down, English words across. Most rows have one bright square, near the diagonal; for "
    "an adjective and its noun the two squares stand in swapped order.",
)

# %% jupyter={"source_hidden": true}
draw_alignment(
    example(lambda pair: "not" in pair.source and len(pair.source) > 6),
    "A negation: two French words, ne and pas, stand around the verb",
    "A map of weights, French words down, English words across. The rows of ne and pas are two, with the verb between "
    "them, where English has not before the verb.",
)

# %% jupyter={"source_hidden": true}
draw_alignment(
    example(lambda pair: "?" in pair.source and "est-ce" in pair.target),
    "A question: to write est-ce the model looks at the question mark, not at the verb in front",
    "A map of weights, French words down, English words across. The first row, est-ce, is bright at the far right, at the "
    "question mark. The verb that stands first in English is looked at further down, where French has it.",
)

# %% [markdown]
# ### Scored, not only looked at
#
# A picture of three sentences proves nothing: it was chosen. Score all held-out sentences against gold. Beside the model
# stand two rules that have learned nothing, and the best that our rule could reach: a model that gives all weight to
# gold links, of which the rule then takes one for each French word.

# %%
gold = [sorted(pair.alignment) for pair in held_out]
sizes = [(len(pair.target), len(pair.source)) for pair in held_out]
diagonals = [F.one_hot((torch.arange(n) * m // n).clamp(max=m - 1), m).float() for n, m in sizes]
best = [
    torch.zeros(size).index_put_((torch.tensor([t for _, t in g]), torch.tensor([s for s, _ in g])), torch.ones(len(g)))
    for size, g in zip(sizes, gold, strict=True)
]
error_rates = {
    "attention": alignment_error_rate(held_out_maps, gold),
    "the diagonal": alignment_error_rate(diagonals, gold),
    "at random": alignment_error_rate([torch.rand(size) for size in sizes], gold),
    "one gold link for each word": alignment_error_rate(best, gold),
}
for name, rate in error_rates.items():
    print(f"{name:<28} AER {rate:.3f}")

# %% [markdown]
# Where is it wrong? Count, for each French word, how often its link is not gold, and what it looked at then.

# %%
from collections import Counter

seen, wrong = Counter(), {}
for pair, rows, sure in zip(held_out, held_out_maps, gold, strict=True):
    for t, s in enumerate(rows.argmax(-1).tolist()):
        seen[pair.target[t]] += 1
        if (s, t) not in sure:
            wrong.setdefault(pair.target[t], Counter())[pair.source[s]] += 1
for word, instead in sorted(wrong.items(), key=lambda item: -item[1].total())[:8]:
    often = ", ".join(f"{other} ({count})" for other, count in instead.most_common(3))
    print(f"{word:<8} wrong {instead.total():>3} times of {seen[word]:>3}; it looked at {often}")

# %% [markdown]
# Small words head the list. To write *est-ce* one has to know that this is a question; the question mark says so, and
# gold links *est-ce* to the verb that English puts in front. To choose between *que* and *qu'*, or *ne* and *n'*, one
# has to know the first letter of the word that comes next, so that word is worth a look. The model looks where the
# information is, and that is not always where a linguist draws the link. A low AER was never its goal; translation was.

# %% [markdown]
# ## Break it
#
# **Predict first, twice.** (1) Shuffle the annotations of each sentence before the decoder sees them: what becomes of
# BLEU? (2) Replace each annotation by the mean of its sentence, so that looking anywhere is looking everywhere? Both
# times the first word keeps its own: the decoder starts from that one.


# %%
def shuffled(annotations: Tensor, lengths: Tensor) -> Tensor:
    """Every word but the first (the decoder starts from that one) in another order, in each sentence."""
    out = annotations.clone()
    for row, n in zip(out, lengths.tolist(), strict=True):
        row[1:n] = row[1 + torch.randperm(n - 1, device=row.device)]
    return out


def averaged(annotations: Tensor, lengths: Tensor) -> Tensor:
    """The mean of the sentence in place of every word but the first."""
    mean = annotations.sum(1) / lengths[:, None]
    return torch.cat([annotations[:, :1], repeat(mean, "b d -> b l d", l=annotations.shape[1] - 1)], dim=1)


class Broken(nn.Module):
    """The trained model, with something done to its annotations."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def begin(self, source: Tensor, lengths: Tensor):
        annotations = self.change(attentive.encoder(source, lengths), lengths)
        start = attentive.decoder.start(annotations)
        return start, lambda y, state: attentive.decoder.step(y, state, annotations, lengths)


broken = {change.__name__: bleu(translate(Broken(change), held_out), references) for change in (shuffled, averaged)}
print(f"as trained {scores['attention']:.1f}", *(f"{name} {score:.1f}" for name, score in broken.items()), sep="   ")

# %% [markdown]
# Shuffling changes nothing at all. A weighted sum does not know in which order its terms stand, and neither does a
# softmax: word order lives *inside* the annotations, put there by the recurrent encoder. Keep that in mind for lesson 04,
# which has no recurrent encoder. Averaging destroys the translation: what helped was the choice.

# %% [markdown]
# ## 9. What is left to wait for?
#
# Attention shortens the way from any source word to any target word to one step. It does not shorten the **wait**. State
# 2 needs state 1, state 3 needs state 2. A machine with a thousand cores can do no more than one after the other.
#
# Count the states that have to be computed one after the other, when everything that can run side by side does. The two
# readers do not wait for each other. The decoder waits for both: its first context needs all annotations. Everything but
# the recurrent states costs no wait here.
#
# By hand: *the cat is black* has 4 words, *le chat est noir* and its end are 4 + 1. The readers take 4 steps side by
# side, the decoder 5 more: 9.


# %% nbgrader={"grade": false, "grade_id": "sequential_steps", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sequential_steps(source_length: int, target_length: int) -> int:
    """How many recurrent states must be computed one after the other to train on one pair, however many cores there are.

    source_length: words of the source. target_length: steps of the decoder, its end included. Both at least 1.
    Each step of a reader or of the decoder counts 1; the first state of the decoder, scores and contexts count nothing.
    >>> sequential_steps(4, 5)
    9
    """
    ### BEGIN SOLUTION
    return source_length + target_length
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_sequential_steps", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("sequential_steps", points=1):

    def longest_chain(n, m):  # who waits for whom, and the longest way through it
        waits = {("right", j): [("right", j - 1)] if j else [] for j in range(n)}
        waits |= {("left", j): [("left", j + 1)] if j < n - 1 else [] for j in range(n - 1, -1, -1)}
        annotations = [(way, j) for way in ("right", "left") for j in range(n)]
        waits |= {("state", i): annotations + ([("state", i - 1)] if i else []) for i in range(m)}
        depth = {}
        for node, needs in waits.items():
            depth[node] = 1 + max((depth[other] for other in needs), default=0)
        return max(depth.values())

    got = sequential_steps(7, 3)
    expect(isinstance(got, (int, float)), "return one number", got=got)
    hints = {
        17: "the two readers run side by side: they do not wait for each other",
        14: "the two readers run side by side and count once; after them comes the decoder",
        21: "scores are not sequential: those of one step are computed at once",
        7: "the decoder cannot begin before the readers are done: its steps come after theirs",
        3: "the decoder cannot begin before the readers are done: count their steps, too",
        6: "the readers take as many steps as the source has words",
        9: "count the last step, the end of the sentence, too: target_length has it",
        11: "the first state of the decoder counts nothing, and target_length has the end already",
    }
    expect(got not in hints, hints.get(got, ""), got=got)
    for n, m in ((7, 3), (4, 5), (1, 1), (5, 12)):
        got = sequential_steps(n, m)
        expect_equal(
            got, longest_chain(n, m), f"for {n} source words and {m} steps of the decoder the longest chain differs"
        )
    ### BEGIN HIDDEN TESTS
    for n, m in randint(1, 40, (4, 2)).tolist():
        expect_equal(sequential_steps(n, m), longest_chain(n, m), "for other lengths the longest chain differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Draw the states as dots, with an arrow from each to those that need it. How long is the longest way along the arrows?
#
# </details>
# <details><summary>Method</summary>
#
# A reader is a chain as long as the source. The decoder is a chain too. Do the chains stand side by side or end to end?
#
# </details>
# <details><summary>Almost there</summary>
#
# Check it against the example by hand: four words and five steps are nine.
#
# </details>
# </details>

# %% jupyter={"source_hidden": true}
lengths = [2**i for i in range(2, 10)]
curves(
    {
        "this lesson: recurrent": (lengths, [sequential_steps(n, n + 1) for n in lengths]),
        "lesson 04: one layer of self-attention": (lengths, [1] * len(lengths)),
    },
    xlabel="words in a sentence, and in its translation",
    ylabel="steps that wait for one another",
    title="Recurrent states wait for one another; in lesson 04 nothing will",
    alt=f"The line of this lesson rises in step with the length, to {sequential_steps(512, 513)} steps for 512 words; the "
    "line of a layer of self-attention stays at 1. Both axes are logarithmic.",
    log="xy",
    markers=True,
)  # fmt: skip

# %% [markdown]
# While it trains, the decoder is given the whole right sentence, and still it cannot run its steps side by side: a
# context needs the state before it. What if words looked at each other directly, with no state to wait for? That is
# lesson 04.

# %% [markdown]
# ## Play
#
# Click a French word: which English words did the model look at while it wrote that word? The weights are those of a
# model trained at `cpu` scale, for a sentence that it had not seen. Try *ne*, then *pas*; *chemise*, then *noire*.

# %% nbgrader={"grade": false, "grade_id": "play", "locked": true, "schema_version": 3, "solution": false, "task": false}
english_words = "an uncle does not lose a black shirt".split()
french_words = "un oncle ne perd pas de chemise noire".split()
looks = [  # in percent: a row for each French word, a column for each English one
    [100, 0, 0, 0, 0, 0, 0, 0],
    [1, 99, 0, 0, 0, 0, 0, 0],
    [0, 0, 67, 30, 2, 0, 0, 0],
    [0, 0, 1, 1, 97, 1, 0, 0],
    [0, 0, 0, 98, 1, 1, 0, 0],
    [0, 0, 0, 0, 1, 99, 0, 0],
    [0, 0, 0, 0, 0, 0, 1, 99],
    [0, 0, 0, 0, 0, 0, 99, 1],
]
explore_alignment(english_words, french_words, torch.tensor(looks) / 100, start=2)

# %% [markdown]
# ## At full size
#
# The model of the paper has 1000 units in each direction, embeddings of 620 and 30,000 words in each language. It was
# trained on 348 million words of English and French for about five days. Its table 1, BLEU on news of 2014 (all
# sentences; sentences without unknown words):
#
# | | all | no unknown word |
# | --- | --- | --- |
# | one fixed context (RNNencdec-50) | 17.82 | 26.71 |
# | attention (RNNsearch-50) | 26.75 | 34.16 |
# | attention, trained longer (RNNsearch-50⋆) | 28.45 | 36.15 |
# | Moses, a phrase-based system | 33.30 | 35.63 |
#
# The picture that convinced people was its figure 2: BLEU by length, where the fixed context falls and attention stays
# level. Luong et al. (2015) scored alignments as you did: 0.34 AER at best, near the 0.32 of the Berkeley aligner.

# %%
with torch.device("meta"):  # shapes without numbers: nothing is stored
    parts = BidirectionalEncoder(30_000, 620, 1000), AttentionDecoder(30_000, 620, 1000, 2000)
counts = [sum(p.numel() for p in part.parameters()) for part in parts]
print(f"yours at the paper's size: encoder {counts[0]:,} parameters, decoder {counts[1]:,}")

# %% [markdown]
# **Optional: real sentences.** Multi30k holds 29,000 captions of pictures, in English and German, written by people
# (Elliott et al., 2016). Set `DOWNLOAD = True`, and the same code is trained on them. Expect a far lower BLEU: people
# have many ways to say one thing, and words come up that the training never showed.

# %%
DOWNLOAD = False  # True: fetch 5 MB from huggingface.co, once


def real_sentences(limit: int = 20) -> tuple[list, list] | None:
    """Training and validation pairs of up to `limit` words; None, and a line that says why, without them."""
    if not DOWNLOAD:
        return print("skipped: set DOWNLOAD = True above to fetch Multi30k (needs a network)")
    from utils.data.hub import DownloadError
    from utils.data.multi30k import multi30k

    try:
        both = [multi30k(split) for split in ("train", "validation")]
    except DownloadError as error:
        return print(f"skipped: {error}")
    return tuple([p for p in pairs if 0 < len(p.source) <= limit >= len(p.target) > 0] for pairs in both)


# %%
if real := real_sentences():
    vocabularies = [Vocabulary.build((getattr(p, side) for p in real[0]), min_count=3) for side in ("source", "target")]
    captions = train(Attentive, real[0], *vocabularies, "attention on Multi30k")
    german = translate(captions, real[1], *vocabularies)
    print(f"BLEU {bleu(german, [list(pair.target) for pair in real[1]]):.1f} on {len(german)} validation captions")
    for pair, output in list(zip(real[1], german, strict=True))[:3]:
        print(f"  {' '.join(pair.source)}\n  → {' '.join(output)}\n  wanted: {' '.join(pair.target)}")

# %% [markdown]
# ## Score card

# %%
score_card()

# %% [markdown]
# ## In five lines
#
# - Keep an annotation for each source word, and let the decoder choose at each step: score, softmax, weighted mean.
# - The scores are made with the old state, because the new one needs the context.
# - Padding must get a weight of exactly 0; a sentence is reversed from its own last word.
# - BLEU sums clipped n-grams over a corpus and punishes brevity; AER scores alignments against gold, by a rule that you
#   have to say.
# - Attention removes the bottleneck of one vector. What remains is the wait: source plus target steps, one by one.
#
# ## Further reading
#
# - Bahdanau, Cho and Bengio, *Neural Machine Translation by Jointly Learning to Align and Translate*, ICLR 2015. This
#   lesson; look at figures 2 and 3.
# - Luong, Pham and Manning, *Effective Approaches to Attention-based Neural Machine Translation*, EMNLP 2015. Dot
#   products in place of the small network, the new state in place of the old one, and alignments scored.
# - Jain and Wallace, *Attention is not Explanation*, NAACL 2019. How far a map of weights may be trusted to say why.
