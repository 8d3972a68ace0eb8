# %% [markdown]
# # From one-hot to word vectors
#
# A computer sees a word as a number in a list, and one number says nothing about another. In this lesson you give each
# word a vector, and train the vectors on nothing but the text of Python's own manual. Nobody tells them what a word
# means. In the end *true* lies beside *false*, *int* beside *float*, and plurals lie to one side of their singulars.
# You measure how well that works, and you draw it.
#
# | | |
# | --- | --- |
# | builds on | 00 (tensors, gradients, one step of training) |
# | points | 20, in nine exercises |
# | run time | 0.2 s at `smoke` scale, 19 s at `cpu` scale (one thread, without imports and pictures); `gpu` not measured yet |

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

device = setup("01_word_vectors")

# %% jupyter={"source_hidden": true}
diagram(
    {
        "text": ("words of the\nPython manual", 1, 0), "vocab": ("build_vocab", 1, 1),
        "pairs": ("skipgram_pairs", 0.5, 2), "noise": ("noise_distribution", 2, 2),
        "center": ("centre:\nlookup", 0, 3), "context": ("its neighbour:\nlookup", 1, 3),
        "negatives": ("noise words:\nlookup", 2, 3), "loss": ("negative_\nsampling_loss", 1, 4),
        "table": ("a vector\nfor each word", 1, 5),
        "nearest": ("nearest", 0, 6), "analogy": ("analogy", 1, 6), "pca": ("pca", 2, 6),
    },
    [
        ("text", "vocab"), ("vocab", "pairs"), ("vocab", "noise"), ("pairs", "center"), ("pairs", "context"),
        ("noise", "negatives"), ("center", "loss"), ("context", "loss"), ("negatives", "loss"), ("loss", "table"),
        ("table", "nearest"), ("table", "analogy"), ("table", "pca"),
    ],
    yours=["vocab", "pairs", "noise", "center", "context", "negatives", "loss", "nearest", "analogy", "pca"],
    title="Each word learns to tell its real neighbours from words drawn at random",
    alt="The words of the manual become a vocabulary, then pairs of a centre and a neighbour. Noise words are drawn from "
    "a distribution. The vectors of all three are looked up and meet in the loss, which trains the table of vectors. "
    "The table answers three questions: nearest words, analogies, and a picture. All but text and table is yours.",
)  # fmt: skip

# %% [markdown]
# ## 1. What does a number say about a word?
#
# Number the words: *cat* is 0, *kitten* is 1, *car* is 2. A network that multiplies these numbers believes that *car*
# is twice *kitten*. To keep it from that, give each word a place of its own: a vector of zeros with a single one. That
# is a **one-hot** vector.
#
# By hand, with three words: $e_0 = (1, 0, 0)$, $e_1 = (0, 1, 0)$, $e_2 = (0, 0, 1)$.
#
# $$(e_i)_j = \begin{cases} 1 & \text{if } j = i \\ 0 & \text{otherwise} \end{cases}$$


# %% nbgrader={"grade": false, "grade_id": "one_hot", "locked": false, "schema_version": 3, "solution": true, "task": false}
def one_hot(ids: Tensor, vocab_size: int) -> Tensor:
    """A vector of zeros for each id, with a one at the place of that id. From scratch, without F.one_hot.

    ids: (...) int64, each from 0 to vocab_size - 1; `...` is any number of axes, also none.
    Returns: (..., vocab_size) float32.
    >>> one_hot(torch.tensor([2, 0]), 3)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    ### BEGIN SOLUTION
    return (ids[..., None] == torch.arange(vocab_size, device=ids.device)).float()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_one_hot", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("one_hot", points=1):
    for shape, size in (((6,), 4), ((2, 3), 9), ((5,), 5), ((), 3)):
        ids = randint(0, size, shape)
        got = one_hot(ids, size)
        expect_equal(tuple(got.shape), (*shape, size), "the vector comes last: (..., vocab_size)")
        expect_equal(got.dtype, torch.float32, "the dtype must be float32, so that it can be multiplied with a table")
        expect_equal(got.sum(-1), torch.ones(shape), "each vector holds a single one: it sums to 1")
        expect_equal(got.argmax(-1), ids, "the one stands at the place of the id, counted from 0")
        expect_close(got, F.one_hot(ids, size).float(), "all other places hold zeros")
    expect_from_scratch(one_hot, "one_hot")
    ### BEGIN HIDDEN TESTS
    for shape, size in (((), 7), ((1,), 1), ((2, 1, 3), 12), ((0,), 3)):
        ids = randint(0, size, shape)
        expect_close(
            one_hot(ids, size), F.one_hot(ids, size).float(), f"ids of shape {tuple(shape)} give other vectors"
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Ask of each place: is its number the id? The answer is yes once and no otherwise.
#
# </details>
# <details><summary>Method</summary>
#
# `torch.arange` numbers the places. Give the ids a last axis of size 1, and a comparison with `==` broadcasts into the
# whole table.
#
# </details>
# <details><summary>Almost there</summary>
#
# `ids[..., None]` adds the axis, whatever the shape. The comparison is of booleans; `.float()` makes them 0 and 1. The
# rows of an identity matrix are another way.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# **Predict first.** Which two of these five words are closest, as one-hot vectors?

# %%
five = ["cat", "kitten", "car", "truck", "because"]
rows = one_hot(torch.arange(5), 5)
distances = torch.cdist(rows, rows)
for word, row in zip(five, distances, strict=True):
    print(f"{word:<8}", "  ".join(f"{d:.3f}" for d in row))

# %% [markdown]
# All distances are $\sqrt{1^2 + (-1)^2} = 1.414$, and all dot products are 0. One-hot vectors no longer say anything
# false about words. They say nothing at all: *cat* is as far from *kitten* as from *because*. Whatever a network learns
# about one word, it learns for that word alone.
#
# ## 2. What does a table of vectors change?
#
# Multiply a one-hot vector with a matrix. What comes out? By hand:
#
# $$\begin{pmatrix} 0 & 0 & 1 \end{pmatrix} \begin{pmatrix} 1 & 2 \\ 3 & 4 \\ 5 & 6 \end{pmatrix} = \begin{pmatrix} 5 & 6 \end{pmatrix}$$
#
# The row of that word. So the first layer of every network that reads words is a **table**: a row for each word, to be
# learned, and short: 64 numbers in place of thousands. Rows may lie close together, and then what is learned about one
# word holds for those near it.
#
# $$\text{lookup}(\text{ids}, W) = \text{one\_hot}(\text{ids})\, W$$
#
# The product multiplies mostly by 0, though. Nobody computes it.


# %% nbgrader={"grade": false, "grade_id": "lookup", "locked": false, "schema_version": 3, "solution": true, "task": false}
def lookup(ids: Tensor, table: Tensor) -> Tensor:
    """The vector of each word: equal to one_hot(ids) @ table, but nothing is multiplied. From scratch, no F.embedding.

    ids: (...) int64, each from 0 to vocab - 1. table: (vocab, d), a row for each word.
    Returns: (..., d), of the dtype of `table`; its gradient reaches the table.
    >>> lookup(torch.tensor([2, 0, 2]), torch.tensor([[1.0, 2], [3, 4], [5, 6]]))
    tensor([[5., 6.],
            [1., 2.],
            [5., 6.]])
    """
    ### BEGIN SOLUTION
    return table[ids]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_lookup", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("lookup", points=2):
    for shape, size, d in (((4,), 6, 6), ((2, 5), 7, 3), ((), 4, 2)):
        ids, table = randint(0, size, shape), randn(size, d)
        got = lookup(ids, table)
        expect_equal(tuple(got.shape), (*shape, d), "each id is replaced by its vector: (..., d)")
        if size == d:
            expect(not torch.equal(got, table.T[ids]), "these are columns: a word is a row of the table")
        expect_close(
            got, F.one_hot(ids, size).float() @ table, "row i of the table is the vector of word i, counted from 0"
        )
    ids, table = torch.tensor([1, 4, 1, 1]), randn(6, 3)
    table[2] = torch.inf
    expect(
        lookup(ids, table).isfinite().all(), "pick the rows; a product touches them all, and 0 times infinity is not 0"
    )
    expect_equal(lookup(ids, randn(6, 3).double()).dtype, torch.float64, "keep the dtype of the table")
    upstream = randn(4, 3)
    (slope,) = gradients(lookup, ids, randn(6, 3), upstream=upstream)
    expect_close(slope, F.one_hot(ids, 6).float().T @ upstream, "the gradient is that of one_hot(ids) @ table: a word that "
                 "comes three times adds up three")  # fmt: skip
    expect_from_scratch(lookup, "embedding", "Embedding", "one_hot")
    ### BEGIN HIDDEN TESTS
    for shape, size, d in (((), 5, 4), ((3, 1, 2), 8, 5), ((1,), 1, 1), ((0,), 2, 3)):
        ids, table = randint(0, size, shape), randn(size, d, dtype=torch.float64)
        expect_close(lookup(ids, table), F.embedding(ids, table), f"ids of shape {tuple(shape)} give other vectors")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# You need no arithmetic. What does `table[2]` give?
#
# </details>
# <details><summary>Method</summary>
#
# PyTorch takes a whole tensor of integers as an index, of any shape. Each integer is replaced by a row.
#
# </details>
# <details><summary>Almost there</summary>
#
# One pair of square brackets does it, and it passes gradients on. A loop over ids with `torch.stack` does it too,
# slowly.
#
# </details>
# </details>

# %% [markdown]
# ## 3. Which words are there?
#
# The text is the manual that every Python carries, the one that `help("LISTS")` shows. Here are its words, in order,
# lower case.

# %% nbgrader={"grade": false, "grade_id": "corpus", "locked": true, "schema_version": 3, "solution": false, "task": false}
from utils.data.words import corpus

tokens = corpus()
print(f"{len(tokens):,} words, {len(set(tokens)):,} different ones")
print(" ".join(tokens[:40]), "…")

# %% [markdown]
# Many of them come once or twice. From one or two sentences nothing can be learned about a word, so such words share
# one vector: that of the **unknown** word `<unk>`. Mikolov et al. (2013) drop words that come fewer than five times; so
# do we.
#
# By hand, for *a rose is a rose is a rose .* and a least count of 2: *a* and *rose* come three times, *is* twice, the
# dot once. *a* stood first, so it gets the smaller number.
#
# | `<unk>` | a | rose | is |
# | --- | --- | --- | --- |
# | 0 | 1 | 2 | 3 |


# %% nbgrader={"grade": false, "grade_id": "build_vocab", "locked": false, "schema_version": 3, "solution": true, "task": false}
def build_vocab(tokens: list[str], min_count: int) -> dict[str, int]:
    """Number the words: the unknown word "<unk>" is 0, then come those that occur at least `min_count` times.

    The most frequent word is 1; of words that occur equally often, the one that stands first in the text comes first.
    "<unk>" itself is none of the tokens.
    Returns: the id of each word; the ids are 0, 1, 2, ... without gaps.
    >>> build_vocab("a rose is a rose is a rose .".split(), min_count=2)
    {'<unk>': 0, 'a': 1, 'rose': 2, 'is': 3}
    """
    ### BEGIN SOLUTION
    from collections import Counter

    frequent = [word for word, count in Counter(tokens).most_common() if count >= min_count]
    return {word: i for i, word in enumerate(["<unk>", *frequent])}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_build_vocab", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("build_vocab", points=2):
    rose = "a rose is a rose is a rose .".split()
    got = build_vocab(rose, 2)
    expect(isinstance(got, dict), "return a dictionary from words to ids", got=got)
    expect("<unk>" in got, "the unknown word is missing: '<unk>' stands for all that are too rare", got=got)
    expect_equal(got["<unk>"], 0, "'<unk>' is the first word: its id is 0")
    expect("." not in got, "'.' occurs once, which is fewer than min_count = 2", got=got)
    expect("is" in got, "'is' occurs just min_count times: at least means that it stays", got=got)
    expect_equal(
        got,
        {"<unk>": 0, "a": 1, "rose": 2, "is": 3},
        "the more frequent, the smaller the id; equals in the order of the text",
    )
    text = [word for word, n in zip("pq xy ab zz mn cd".split(), (2, 5, 3, 7, 3, 1), strict=True) for _ in range(n)]
    text += ["mn", "mn"]  # now as often as 'xy', which stands before it
    expect_equal(build_vocab(text, 3), {"<unk>": 0, "zz": 1, "xy": 2, "mn": 3, "ab": 4},
                 "order by count, the largest first; words of equal count by where they first stand, not by the alphabet")  # fmt: skip
    expect_equal(
        build_vocab(text, 1),
        {"<unk>": 0, "zz": 1, "xy": 2, "mn": 3, "ab": 4, "pq": 5, "cd": 6},
        "with min_count = 1 all words stay",
    )
    expect_equal(build_vocab(text, 8), {"<unk>": 0}, "where every word is too rare, the unknown word is left alone")
    ### BEGIN HIDDEN TESTS
    for least in (1, 2, 4):
        drawn = [f"w{i}" for i in randint(0, 30, (90,)).tolist()]
        order = sorted(set(drawn), key=lambda word: (-drawn.count(word), drawn.index(word)))
        kept = [word for word in order if drawn.count(word) >= least]
        expect_equal(
            build_vocab(drawn, least),
            {word: i for i, word in enumerate(["<unk>", *kept])},
            f"another text, min_count = {least}",
        )
    expect_equal(build_vocab([], 1), {"<unk>": 0}, "an empty text has the unknown word alone")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Count, drop, sort, number. Each is a line.
#
# </details>
# <details><summary>Method</summary>
#
# `collections.Counter` counts, and remembers in which order it met the words. Python's `sorted` never swaps equals.
#
# </details>
# <details><summary>Almost there</summary>
#
# `Counter(tokens).most_common()` gives (word, count) from the largest count down, equals in the order in which they
# came. Filter it, put `"<unk>"` in front, and number the list with `enumerate`.
#
# </details>
# </details>

# %%
vocab = build_vocab(tokens, min_count=5)
words = list(vocab)
encoded = torch.tensor([vocab.get(token, 0) for token in tokens])  # the text as numbers: (length,)
counts = torch.bincount(encoded, minlength=len(vocab))  # how often each word comes: (vocab,)
print(f"{len(vocab):,} words; {(encoded > 0).float().mean():.1%} of the text is made of them, the rest is <unk>")

# %% [markdown]
# ### What to look at
#
# How often does the most frequent word come, and the hundredth? In any long text the n-th word comes about 1/n as often
# as the first: Zipf's law. On logarithmic axes that is a straight line of slope −1. Remember it: a few words could
# drown out all others.

# %% jupyter={"source_hidden": true}
by_count = counts[1:].sort(descending=True).values
curves(
    {"words of the manual": (range(1, len(vocab)), by_count)},
    xlabel="word, from the most frequent on",
    ylabel="times in the text",
    title=f"The {int((by_count.cumsum(0) < len(tokens) / 2).sum()) + 1} most frequent words make up half of the text",
    alt="Both axes logarithmic. The count falls from some thousands for the first word in a nearly straight line to 5 for "
    "the last of the vocabulary.",
    log="xy",
)

# %% [markdown]
# ## 4. Where could meaning come from?
#
# *You shall know a word by the company it keeps* (Firth, 1957). *true* and *false* stand among the same words: *returns
# … if*, *is … otherwise*. So let each word learn to predict its neighbours. Two words with the same neighbours then
# need the same vector.
#
# That is the **skip-gram** model. Its training data are pairs: a word, the **centre**, with each word at most `window`
# places away, its **context**.
#
# By hand, for the ids 5, 3, 5, 7 and a window of 1:
#
# | centre | 5 | 3 | 3 | 5 | 5 | 7 |
# | --- | --- | --- | --- | --- | --- | --- |
# | context | 3 | 5 | 5 | 3 | 7 | 5 |
#
# (5, 3) comes twice, and that is right: what comes often counts often.


# %% nbgrader={"grade": false, "grade_id": "skipgram_pairs", "locked": false, "schema_version": 3, "solution": true, "task": false}
def skipgram_pairs(ids: Tensor, window: int) -> Tensor:
    """Each word with each word that stands at most `window` places before or after it.

    A word is not paired with its own place; the same word at another place is a neighbour like any other.
    ids: (length,) int64, a text. window: 1 or more, also more than the length. Words near an end have fewer neighbours:
    no padding, and nothing wraps around.
    Returns: (pairs, 2) int64, the centre in column 0 and the context in column 1, in any order. A pair stands there as
    often as it occurs in the text; where there is none, the shape is (0, 2). Loop over distances, not over the words:
    the text is long.
    >>> skipgram_pairs(torch.tensor([5, 3, 7]), 1)  # in any order
    tensor([[5, 3],
            [3, 7],
            [3, 5],
            [7, 3]])
    """
    ### BEGIN SOLUTION
    pairs = [ids.new_zeros(0, 2)]
    for distance in range(1, min(window, len(ids) - 1) + 1):
        after = torch.stack([ids[:-distance], ids[distance:]], dim=-1)  # each word with the one `distance` later
        pairs += [after, after.flip(-1)]
    return torch.cat(pairs)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_skipgram_pairs", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("skipgram_pairs", points=3):
    got = skipgram_pairs(torch.tensor([5, 3, 5, 7, 2, 9]), 2)
    expect_equal(tuple(got.shape[1:]), (2,), "a row for each pair: the shape is (pairs, 2)")
    expect_equal(got.dtype, torch.int64, "ids are int64, as the text is")
    for length, window in ((12, 2), (9, 4)):
        order = torch.randperm(length, generator=rng())
        text = 10 * order + 3  # each word once, so that its place is known
        pairs = skipgram_pairs(text, window)
        place = {word: i for i, word in enumerate(text.tolist())}
        strange = set(pairs.flatten().tolist()) - place.keys()
        expect(strange != {0}, "the text has no 0: no padding at the ends, words there just have fewer neighbours")
        expect(not strange, "the pairs hold ids of the text, not places in it", got=strange)
        steps = torch.tensor([place[b] - place[a] for a, b in pairs.tolist()])
        expect((steps != 0).all(), "a word is not its own context: leave out the pair of a place with itself")
        expect((steps > 0).any(), "one-sided: the words after the centre are missing")
        expect((steps < 0).any(), "one-sided: the words before the centre are missing")
        far = steps[steps.abs() > window].abs()
        expect(
            (far >= length - window).all(),  # those further still may come from the other end
            f"a context is {int(steps.abs().max())} places away, further than the window of {window}",
        )
        expect(len(far) == 0, "the text wraps around: the last word is no neighbour of the first")
        expect(
            (steps.abs() == window).any(), f"no context is {window} places away: `window` counts the words on each side"
        )
        expect_equal(len(pairs), 2 * sum(length - step for step in range(1, window + 1)),
                     "pairs are missing: words near an end have fewer neighbours, but they have some")  # fmt: skip
        expect_equal(len(set(map(tuple, pairs.tolist()))), len(pairs), "each pair of places counts once")
    pairs = sorted(map(tuple, skipgram_pairs(torch.tensor([5, 3, 5, 7]), 1).tolist()))
    expect(
        len(set(pairs)) < len(pairs),
        "(5, 3) occurs twice in 5, 3, 5, 7: keep each pair as often as it occurs",
        got=pairs,
    )
    expect_equal(
        pairs,
        [(3, 5), (3, 5), (5, 3), (5, 3), (5, 7), (7, 5)],
        "the pairs of 5, 3, 5, 7 at window 1 are those of the table above",
    )
    expect_equal(
        skipgram_pairs(torch.tensor([4, 4]), 1).tolist(),
        [[4, 4], [4, 4]],
        "the text 4, 4 gives (4, 4) twice: leave out a word's own place, not the same word at another place",
    )
    expect_equal(
        tuple(skipgram_pairs(torch.tensor([4]), 3).shape), (0, 2), "a text of one word has no pairs: shape (0, 2)"
    )
    few = skipgram_pairs(torch.tensor([8, 6]), 5)  # the window may be longer than the text
    expect_equal(sorted(map(tuple, few.tolist())), [(6, 8), (8, 6)], "the window may be longer than the text")
    ### BEGIN HIDDEN TESTS
    for length, window in ((30, 3), (17, 1), (6, 9), (200, 5)):
        text = randint(0, 6, (length,)).tolist()
        expected = [(text[i], text[j]) for i in range(length) for j in range(length) if 0 < abs(i - j) <= window]
        got = skipgram_pairs(torch.tensor(text), window)
        expect_equal(
            sorted(map(tuple, got.tolist())), sorted(expected), f"another text, of {length} words, with window {window}"
        )
    expect_equal(
        tuple(skipgram_pairs(torch.tensor([], dtype=torch.int64), 2).shape), (0, 2), "an empty text has no pairs"
    )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Take one distance, 1, and only the words *after* the centre. Lay the text beside itself, shifted.
#
# </details>
# <details><summary>Method</summary>
#
# For each distance from 1 to the window: the text without its end is the centres, the text without its beginning is the
# contexts. Each such pair, turned round, is a pair as well.
#
# </details>
# <details><summary>Almost there</summary>
#
# Slices `[:-n]` and `[n:]` have equal length; `torch.stack` along a last axis makes rows of two, `.flip` turns them
# round, `torch.cat` joins the distances. With `n` beyond the text these slices are empty (`[: len(ids) - n]` is not: a
# negative end counts from the back). See that the result still has two columns.
#
# </details>
# </details>

# %%
WINDOW = 4
found = skipgram_pairs(encoded, WINDOW)
print(f"{len(found):,} pairs, such as", ", ".join(f"({words[a]}, {words[b]})" for a, b in found[1000:1006].tolist()))

# %% [markdown]
# ## 5. What should a word be told apart from?
#
# The model must find a real neighbour among false ones. To compare with all words of the vocabulary at each step would
# be expensive, so a few false ones are drawn at random: **noise words**. From which distribution? If all words were
# equally likely, noise would be words that never come anywhere, and too easy. If words came as often as in the text,
# noise would be *the*, *the* and *the*. Mikolov et al. (2013) tried several and kept the counts to the power of 0.75.
#
# By hand, for counts of 16, 81 and 1: raised to 0.75 they are 8, 27 and 1, the sum is 36, and the probabilities are
# 0.22, 0.75 and 0.03. Unraised they would be 0.163, 0.827 and 0.010: the rare word has nearly tripled.
#
# $$P(w) = \frac{\text{count}(w)^{0.75}}{\sum_{v} \text{count}(v)^{0.75}}$$


# %% nbgrader={"grade": false, "grade_id": "noise_distribution", "locked": false, "schema_version": 3, "solution": true, "task": false}
def noise_distribution(counts: Tensor, power: float = 0.75) -> Tensor:
    """The probability of each word to be drawn as noise: its count to the given power, over the sum of all.

    counts: (vocab,) int64, 0 or more, at least one of them more. power: more than 0; 1 keeps the text's own frequencies.
    Returns: (vocab,) float32; a word that never occurs gets 0.
    >>> noise_distribution(torch.tensor([16, 81, 1]))
    tensor([0.2222, 0.7500, 0.0278])
    """
    ### BEGIN SOLUTION
    raised = counts.float() ** power
    return raised / raised.sum()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_noise_distribution", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("noise_distribution", points=2):
    hand = torch.tensor([16, 81, 1])
    got = noise_distribution(hand)
    expect_equal(tuple(got.shape), (3,), "a probability for each word")
    expect_equal(got.dtype, torch.float32, "the dtype must be float32")
    expect_close(
        got.sum(), torch.tensor(1.0), "the probabilities must sum to 1: divide by the sum of the raised counts"
    )
    expect(
        not torch.allclose(got, hand / hand.sum()),
        "these are the frequencies of the text: raise the counts to the power first",
    )
    expect(
        not torch.allclose(got, hand.float().softmax(0)), "no softmax: the counts themselves are raised to the power"
    )
    expect_close(got, torch.tensor([8, 27, 1]) / 36, "for counts of 16, 81 and 1 it is 8/36, 27/36 and 1/36")
    expect_close(
        noise_distribution(hand, 0.5),
        torch.tensor([4, 9, 1]) / 14,
        "with the power 0.5 these counts become 4, 9 and 1: use `power`",
    )
    expect_close(noise_distribution(hand, 1.0), hand / 98, "the power 1 keeps the frequencies of the text")
    never = noise_distribution(torch.tensor([0, 5, 0, 5]))
    expect_close(
        never, torch.tensor([0.0, 0.5, 0.0, 0.5]), "a word that never occurs is never drawn: its probability is 0"
    )
    ### BEGIN HIDDEN TESTS
    for size, power in ((50, 0.75), (7, 0.3), (1, 0.75), (400, 2.0)):
        drawn = randint(0, 900, (size,)) + torch.arange(size).eq(0)
        raised = drawn.double().pow(power)
        expect_close(
            noise_distribution(drawn, power), (raised / raised.sum()).float(), f"{size} counts and the power {power}"
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# The formula has a numerator for each word and one denominator for all.
#
# </details>
# <details><summary>Method</summary>
#
# Raise the whole tensor at once, then divide it by its sum.
#
# </details>
# <details><summary>Almost there</summary>
#
# `**` works on tensors. The sum is that of the *raised* counts, or the result does not sum to 1.
#
# </details>
# </details>

# %%
noise = noise_distribution(counts)
print(f"{'':<10}{'in the text':>12}{'as noise':>10}")
for word in ("the", "list", "tuple", "nonlocal"):
    print(f"{word:<10}{counts[vocab[word]] / counts.sum():>12.2%}{noise[vocab[word]]:>10.2%}")

# %% [markdown]
# ## 6. What makes two vectors move?
#
# Each word has two vectors: $c$ for when it is the centre, and $x$ for when it is somebody's context. The model scores
# a pair by the dot product $c \cdot x$, and reads the sigmoid $\sigma(c \cdot x) = 1 / (1 + e^{-c \cdot x})$ as the
# probability that the pair is real. A real pair should get 1, a pair with a noise word 0. That is a classifier with two
# classes, and the loss is its negative log-likelihood. Note that $1 - \sigma(s) = \sigma(-s)$:
#
# $$L = -\log \sigma(c \cdot x) - \sum_{i=1}^{k} \log \sigma(-\,c \cdot n_i)$$
#
# By hand, $c = (1, 2)$, a real context $x = (2, 0)$, noise $n_1 = (0, 1)$ and $n_2 = (-1, 0)$:
#
# | | dot product | wanted | loss |
# | --- | --- | --- | --- |
# | $x$ | 2 | 1 | $-\log \sigma(2) = 0.127$ |
# | $n_1$ | 2 | 0 | $-\log \sigma(-2) = 2.127$ |
# | $n_2$ | −1 | 0 | $-\log \sigma(1) = 0.313$ |
#
# Together 2.567. Most of it comes from $n_1$, which looks like a neighbour and is none.


# %% nbgrader={"grade": false, "grade_id": "negative_sampling_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def negative_sampling_loss(center: Tensor, context: Tensor, negatives: Tensor) -> Tensor:
    """Tell real neighbours from noise: the loss above, summed over the noise words of a pair, averaged over the pairs.

    center: (b, d). context: (b, d), row i a real neighbour of center i. negatives: (b, k, d), the k noise words of pair i;
    k may be 0. The natural logarithm; finite also where a dot product is 1000 or -1000 (F.logsigmoid is yours to use).
    Returns: a tensor without axes.
    >>> negative_sampling_loss(torch.tensor([[1.0, 2]]), torch.tensor([[2.0, 0]]), torch.tensor([[[0.0, 1], [-1, 0]]]))
    tensor(2.5671)
    """
    ### BEGIN SOLUTION
    real = einsum(center, context, "b d, b d -> b")
    false = einsum(center, negatives, "b d, b k d -> b k")
    return -(F.logsigmoid(real) + F.logsigmoid(-false).sum(-1)).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_negative_sampling_loss", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("negative_sampling_loss", points=3):

    def classifier(c, x, n):  # PyTorch's loss of a classifier with two classes, over the 1 + k scores of each pair
        scores = torch.cat([x[:, None], n], dim=1) @ c[:, :, None]
        wanted = torch.zeros_like(scores)
        wanted[:, 0] = 1
        return F.binary_cross_entropy_with_logits(scores, wanted, reduction="sum") / len(c)

    c, x, n = randn(6, 5, dtype=torch.float64), randn(6, 5, dtype=torch.float64), randn(6, 6, 5, dtype=torch.float64)
    got = negative_sampling_loss(c, x, n)
    expect_equal(tuple(got.shape), (), "the loss is one number: a tensor without axes")
    expect_equal(got.dtype, torch.float64, "keep the dtype of the vectors")
    right = classifier(c, x, n)
    expect(
        not torch.isclose(got, classifier(c, x, -n)),
        "the sign of the noise: a noise word should score low, so it is log σ(−c·n)",
    )
    expect(
        not torch.isclose(got, -right),
        "the loss is the negative of the log-likelihood: it falls as the model gets better",
    )
    expect(not torch.isclose(got, 6 * right), "average over the pairs, do not add them up")
    averaged = classifier(c, x, n[:, :0]) + (right - classifier(c, x, n[:, :0])) / 6
    expect(not torch.isclose(got, averaged), "add the noise words of a pair up, do not average over them")
    expect(not torch.isclose(got, right / 7), "average over the pairs alone, not over all scores")
    expect(
        not torch.isclose(got, classifier(c, x, n.transpose(0, 1))),
        "pair i has noise words of its own, negatives[i]: rows and columns are swapped",
    )
    expect_close(got, right, "this is not −log σ(c·x) − Σ log σ(−c·n), averaged over the pairs")
    hand = negative_sampling_loss(
        torch.tensor([[1.0, 2]]), torch.tensor([[2.0, 0]]), torch.tensor([[[0.0, 1], [-1, 0]]])
    )
    expect_close(hand, torch.tensor(2.5671), "the worked example above gives 2.567", tolerance=1e-4)
    expect_close(
        negative_sampling_loss(c, x, n[:, :0]),
        classifier(c, x, n[:, :0]),
        "without noise words only the first term is left",
    )
    large = negative_sampling_loss(100 * c, x, 100 * n)
    expect(
        large.isfinite(), "large scores give infinity: log(sigmoid(s)) underflows, F.logsigmoid(s) does not", got=large
    )
    expect_close(large, classifier(100 * c, x, 100 * n), "for large scores the loss is off: F.logsigmoid stays exact")
    slopes = gradients(negative_sampling_loss, c, x, n)
    expect(
        all(slope.any() for slope in slopes),
        "centre, context and noise must all get a gradient: no .detach(), no .item()",
    )
    leaves = [t.clone().requires_grad_() for t in (c, x, n)]
    for slope, expected in zip(slopes, torch.autograd.grad(classifier(*leaves), leaves), strict=True):
        expect_close(slope, expected, "the value is right, its gradient is not")
    ### BEGIN HIDDEN TESTS
    for b, k, d in ((1, 1, 1), (9, 2, 4), (3, 8, 16)):
        c, x, n = randn(b, d), randn(b, d), randn(b, k, d)
        expect_close(
            negative_sampling_loss(c, x, n), classifier(c, x, n), f"{b} pairs with {k} noise words of size {d}"
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Compute the two kinds of scores first: (b,) for the real pairs, (b, k) for the noise.
#
# </details>
# <details><summary>Method</summary>
#
# An `einsum` names the axes: what stands on both sides of a dot product and not in the result is summed. Then
# `F.logsigmoid` of the one, and of the negated other.
#
# </details>
# <details><summary>Almost there</summary>
#
# The pattern for the noise is `"b d, b k d -> b k"`. Sum over k, add the real term, which has the same shape (b,), take
# the mean, and mind the sign in front.
#
# </details>
# </details>

# %% [markdown]
# ### Train
#
# Two things remain, and both are given. Words such as *the* stand beside everything and say little: they are **thinned
# out**. A word that makes up a share $f$ of the text stays with probability $\min(1, \sqrt{t / f})$: those rarer than
# the threshold $t = 0.001$ all stay. `<unk>` is treated as a word like any other, with 8 % of the text the most
# frequent of all; nine in ten of it go. And the text is read ten times, each time thinned anew.
#
# All results below are for `cpu` scale; `smoke` only checks that everything runs.


# %% nbgrader={"grade": false, "grade_id": "thin", "locked": true, "schema_version": 3, "solution": false, "task": false}
def thin(ids: Tensor, t: float = 1e-3) -> Tensor:
    """Drop words of a frequency above t at random. ids: (length,) int64. Returns: what is left of them, in order."""
    frequency = torch.bincount(ids).float() / len(ids)
    return ids[torch.rand(len(ids)) < (t / frequency[ids]).sqrt()]


# %% nbgrader={"grade": false, "grade_id": "train", "locked": true, "schema_version": 3, "solution": false, "task": false}
def train_vectors(k: int = 5, d: int = 64, batch: int = 2048) -> Tensor:
    """Train skip-gram vectors on the text with k noise words a pair. Returns: the centres, (vocab, d), on the CPU."""
    passes = [skipgram_pairs(thin(encoded), WINDOW) for _ in range(pick(smoke=1, cpu=10, gpu=10))]
    data = torch.cat(passes)
    data = data[torch.randperm(len(data))].to(device)  # (pairs, 2)
    likely = noise_distribution(counts).to(device)
    centers = nn.Parameter((torch.rand(len(vocab), d, device=device) - 0.5) / d)
    contexts = nn.Parameter(torch.zeros(len(vocab), d, device=device))

    def loss(step: int) -> Tensor:
        center, context = data[step * batch : (step + 1) * batch].T
        drawn = torch.multinomial(likely, batch * max(k, 1), replacement=True).view(batch, -1)[:, :k]  # (batch, k)
        return negative_sampling_loss(lookup(center, centers), lookup(context, contexts), lookup(drawn, contexts))

    fit(
        [centers, contexts],
        loss,
        steps=pick(smoke=2, cpu=len(data) // batch, gpu=len(data) // batch),
        lr=1e-2,
        label=f"{k} noise words",
    )
    return centers.detach().cpu()


# %%
vectors = train_vectors()

# %% [markdown]
# At the start all dot products are near 0, so each of the six scores costs $\log 2$, together 4.16: the first loss.
#
# ## 7. What lies near what?
#
# Two vectors are alike when they point the same way. Their length depends on how often a word comes, and that is not what
# you ask about, so it is divided out. That is the **cosine**:
#
# $$\cos(u, v) = \frac{u \cdot v}{\lVert u \rVert\, \lVert v \rVert}$$
#
# By hand: $u = (3, 0)$, $v = (1, 0.5)$, $w = (4, 8)$. The dot products say that $w$ is nearest to $u$: 12 against 3.
# The cosines are $3 / (3 \cdot 1.118) = 0.894$ for $v$ and $12 / (3 \cdot 8.944) = 0.447$ for $w$. $v$ is nearest.


# %% nbgrader={"grade": false, "grade_id": "nearest", "locked": false, "schema_version": 3, "solution": true, "task": false}
def nearest(query: int, table: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k words whose vectors point most nearly the same way as that of the word `query`, without the query itself.

    table: (vocab, d), no row all zeros. k: 1 to vocab - 1. The query is left out by its id: another word whose vector
    points exactly the same way stays.
    Returns: their ids (k,) int64 and their cosines (k,), the largest first.
    >>> nearest(0, torch.tensor([[3.0, 0], [1, 0.5], [4, 8], [0, 2]]), 2)
    (tensor([1, 2]), tensor([0.8944, 0.4472]))
    """
    ### BEGIN SOLUTION
    unit = F.normalize(table, dim=-1)
    cosines = unit @ unit[query]  # (vocab,)
    cosines[query] = -torch.inf
    best = cosines.topk(k)
    return best.indices, best.values
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_nearest", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("nearest", points=3):
    for size, d, k, query in ((9, 4, 3, 5), (30, 8, 29, 0)):
        table = randn(size, d) * (0.2 + 4 * rand(size, 1))  # rows of very different lengths
        result = nearest(query, table, k)
        expect(
            isinstance(result, (tuple, list)) and len(result) == 2, "return two tensors: ids and cosines", got=result
        )
        got, cosines = result
        expect_equal([tuple(got.shape), tuple(cosines.shape)], [(k,), (k,)], "k ids and k cosines, the ids first")
        expect_equal(got.dtype, torch.int64, "ids are int64, and come first")
        expect(
            int(got[0]) != query or cosines[0] < 0.999,
            "the query itself is among its nearest words: leave it out",
            got=got,
        )
        expect(
            (query, 0.0) not in zip(got.tolist(), cosines.tolist(), strict=True),
            "the query has got a cosine of 0, which still beats all negative ones: give it minus infinity",
        )
        expected = F.cosine_similarity(table[query][None], table)
        order = [i for i in expected.argsort(descending=True).tolist() if i != query]
        columns = F.normalize(table, dim=0)
        columns = (columns @ columns[query])[torch.arange(size) != query].topk(k).values
        expect(
            not torch.allclose(cosines, columns), "the columns have length 1: a word is a row, normalise along dim=-1"
        )
        if k == 3:
            expect(got.tolist() != order[::-1][:k], "these are the furthest: the largest cosine comes first")
            expect(cosines.abs().max() < 1.001, "a cosine is at most 1: divide by the lengths of both vectors")
        expect_close(
            cosines,
            expected[order[:k]],
            "the cosine is the dot product divided by the lengths of both vectors; the largest first",
        )
        expect_equal(got.tolist(), order[:k], "each id belongs to the cosine at its place")
    twins = randn(6, 3)
    twins[4] = 2 * twins[1]
    for query, twin in ((1, 4), (4, 1)):
        expect_equal(
            int(nearest(query, twins, 1)[0][0]),
            twin,
            "leave out the query by its id; another word that points the same way stays",
        )
    ### BEGIN HIDDEN TESTS
    for size, d, k in ((2, 1, 1), (50, 16, 7), (12, 3, 11)):
        table = randn(size, d, dtype=torch.float64) * (0.2 + 4 * rand(size, 1).double())
        query = int(randint(0, size))
        expected = F.cosine_similarity(table[query][None], table)
        got, cosines = nearest(query, table, k)
        order = [i for i in expected.argsort(descending=True).tolist() if i != query][:k]
        expect_close(cosines, expected[order], f"other cosines for a table of shape {(size, d)}")
        expect_close(expected[got], expected[order], f"other words for a table of shape {(size, d)}")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# If all vectors had length 1, what would the cosine be?
#
# </details>
# <details><summary>Method</summary>
#
# Bring all rows to length 1 first (`F.normalize`, or divide by `.norm`). One product then gives all cosines with the
# query. Make the query's own so small that it cannot win.
#
# </details>
# <details><summary>Almost there</summary>
#
# Normalise along the last axis. Overwrite one entry of the cosines with minus infinity, then `.topk(k)`, which gives
# values and indices.
#
# </details>
# </details>

# %%
for word in ("list", "true", "int", "try", "key", "two"):
    found, cosines = nearest(vocab[word], vectors, 5)
    print(f"{word:<6}", "  ".join(f"{words[i]} {c:.2f}" for i, c in zip(found.tolist(), cosines.tolist(), strict=True)))

# %% [markdown]
# ### How well does it work?
#
# A few nice examples prove nothing: one shows those that are nice. So here is a list of partners from the language,
# written down before the first training and not changed since. For each word, where does its partner stand among the
# other words, ordered by cosine? Rank 1 is the nearest.
#
# Two controls, because partners have more in common than meaning: the same measure for vectors before any training;
# and, for the trained vectors, with the partner of *another* word of the list, which is about as frequent.

# %% nbgrader={"grade": false, "grade_id": "partners", "locked": true, "schema_version": 3, "solution": false, "task": false}
PARTNERS = """list tuple, true false, int float, str bytes, for while, try except, break continue, yield await, and or,
key value, left right, mutable immutable, keyword positional, class function, global nonlocal, typeerror valueerror,
expression statement, one two, first second, uppercase lowercase, start stop, __getattr__ __setattr__,
__enter__ __exit__, iterator generator, sequence mapping, module package"""


def partner_ranks(table: Tensor, swap: int = 0) -> dict[tuple[str, str], int]:
    """The rank of the partner among all other words, for each (word, partner), in both directions.

    With `swap`, the partner is that of the word `swap` places further on in the list.
    """
    known = [pair for text in PARTNERS.split(",") if set(pair := text.split()) <= vocab.keys()]
    ranks = {}
    for (left, right), (other_left, other_right) in zip(known, known[swap:] + known[:swap], strict=True):
        for word, partner in ((left, other_right), (right, other_left)):
            order = nearest(vocab[word], table, len(table) - 1)[0].tolist()
            ranks[word, partner] = order.index(vocab[partner]) + 1
    return ranks


def median(ranks: dict) -> float:
    """The median of the ranks; halfway between the middle two where their number is even."""
    return torch.tensor(list(ranks.values())).float().quantile(0.5).item()


# %%
ranks = {
    "trained": partner_ranks(vectors),
    "not trained": partner_ranks(torch.randn(len(vocab), 64)),
    "trained, another word's partner": partner_ranks(vectors, swap=1),
}
others = len(vocab) - 1
print(f"the nearest 2 % are {0.02 * others:.0f} of {others:,} words; half of the partners are within the nearest …")
for name, found in ranks.items():
    print(f"{name:<33}{median(found):>6.1f}   ({median(found) / others:.1%})")
furthest = sorted(ranks["trained"].items(), key=lambda item: item[1])[-3:]
print("furthest from each other:", ", ".join(f"{word} → {partner} {rank}" for (word, partner), rank in furthest))

# %% jupyter={"source_hidden": true}
curves(
    {
        name: (sorted(found.values()), [(i + 1) / len(found) for i in range(len(found))])
        for name, found in ranks.items()
    },
    xlabel="rank",
    ylabel="share of partners within that rank",
    title=f"Half of the partners are among the {median(ranks['trained']):.0f} nearest words",
    alt="Share of partners found against rank, on a logarithmic axis. The line of the trained vectors starts at a quarter, at "
    "rank 1, and passes 0.8 near rank 30. Those of the two controls stay near 0 up to rank 100.",
    log="x",
)

# %% [markdown]
# Half of the partners are among the 5 or 6 nearest of 1,205 words, well within the nearest 2 %. Untrained vectors put
# them in the middle of the list, and so do trained ones with another word's partner: frequent words do not simply lie
# near everything. Eleven other settings of window, size, learning rate and passes, tried on nearly the same text, gave
# medians from 3.5 to 21; the 21 is the one that trained least.
#
# Look at the worst, too: *for* and *while*. A programmer sees two loops. The model sees English, where *for* is a
# preposition.
#
# ## 8. Does a direction mean something?
#
# Mikolov et al. (2013) found more: *the same step leads from man to woman as from king to queen*. So an **analogy**, "a
# is to b as c is to what?", becomes arithmetic: take the step from a to b, and start it at c.
#
# By hand, with vectors of length 1: $a = (1, 0, 0)$, $b = (0.8, 0.6, 0)$, $c = (0, 0, 1)$. Then $b - a + c = (-0.2,
# 0.6, 1)$. Two candidates: $(0, 0.6, 0.8)$ has the dot product 1.16 with it, $(0, 1, 0)$ has 0.6. The first wins. Here
# $c$ itself, with 1.0, comes second; in real tables it mostly comes first, in 288 of the 306 questions that you ask
# below. So the three words one asks with are left out.


# %% nbgrader={"grade": false, "grade_id": "analogy", "locked": false, "schema_version": 3, "solution": true, "task": false}
def analogy(a: int, b: int, c: int, table: Tensor) -> int:
    """a is to b as c is to what? The word nearest, by cosine, to b - a + c.

    First every vector is brought to length 1, then the sum is taken. a, b and c themselves are never the answer.
    table: (vocab, d), no row all zeros, at least one word besides a, b and c. Returns: the id of the word.
    >>> analogy(0, 1, 2, torch.tensor([[2.0, 0, 0], [0.8, 0.6, 0], [0, 0, 1], [0, 1, 0], [0, 3, 4]]))
    4
    """
    ### BEGIN SOLUTION
    unit = F.normalize(table, dim=-1)
    cosines = unit @ (unit[b] - unit[a] + unit[c])  # the length of the sum changes no order
    cosines[[a, b, c]] = -torch.inf
    return int(cosines.argmax())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_analogy", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("analogy", points=2):
    # Four things e1 to e4, and beside each a row one step towards e0; turned in space.
    things = torch.eye(8)[1:5]
    rows = torch.cat([things, F.normalize(things + torch.eye(8)[0], dim=-1)])
    rows = rows @ torch.linalg.qr(randn(8, 8)).Q
    for a, c in ((0, 1), (2, 0), (3, 2)):
        got = analogy(a, a + 4, c, rows)
        expect(isinstance(got, int), "return the id as an int, not a tensor", got=got)
        expect(got not in (a, a + 4, c), "the answer is one of the three words asked with: leave them out", got=got)
        expect_equal(got, c + 4, "go the step from a to b, starting at c: b - a + c")
        expect_equal(analogy(a + 4, a, c + 4, rows), c, "the way back is the same step, turned round: b - a + c")
    # The same with vectors of very different lengths: only directions count.
    plane = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0, 0, 1], [0, 1, 0], [0, 0.6, 0.8]])
    same = "the length of a vector must not matter: bring all to length 1, first the three, then the candidates"
    for stretch in ([1.0, 1, 1, 1, 1], [9, 1, 1, 20, 1], [1, 1, 0.05, 1, 1], [1, 0.05, 1, 9, 0.1]):
        expect_equal(analogy(0, 1, 2, plane * torch.tensor(stretch)[:, None]), 4, same)
    for a, c in ((0, 1), (2, 0), (3, 2)):
        expect_equal(analogy(a, a + 4, c, rows * (0.3 + 3 * rand(8, 1))), c + 4, same)
    close = torch.tensor([[-1.0, 0.1, 0.1], [1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, -1]])
    expect_equal(analogy(0, 1, 2, close), 3, "b is nearest to b - a + c here, and must be left out")
    alike = torch.tensor([[1.0, 0, 0], [1, 0.1, 0], [1, 0, 0.1], [0, 1, 1], [-1, 0, 0]])
    expect_equal(analogy(0, 1, 2, alike), 3, "a is near to b - a + c here, and must be left out")
    away = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, -0.2], [1, -1, -1]])
    expect_equal(
        analogy(0, 1, 2, away),
        3,
        "all other words point away from b - a + c here: overwrite the scores of a, b and c with minus infinity, not 0",
    )
    ### BEGIN HIDDEN TESTS
    for size, d in ((4, 2), (15, 3), (40, 12)):
        table = randn(size, d, dtype=torch.float64) * (0.1 + 5 * rand(size, 1).double())
        unit = table / table.norm(dim=-1, keepdim=True)
        for a, b, c in ((0, 1, 2), (3, 0, 1), (2, 1, 3)):
            goal = unit[b] - unit[a] + unit[c]
            best = max(set(range(size)) - {a, b, c}, key=lambda i: float(unit[i] @ goal))
            expect_equal(analogy(a, b, c, table), best, f"another answer for a table of shape {(size, d)}")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# It is `nearest` with another query, which is no word's vector, and with three words to leave out.
#
# </details>
# <details><summary>Method</summary>
#
# Bring all rows to length 1. Add and subtract three of them. The product of all rows with the sum puts the words in the
# order of their cosines; the length of the sum is the same for all.
#
# </details>
# <details><summary>Almost there</summary>
#
# Several entries are overwritten at once by indexing with a list. `argmax` gives a tensor; `int(...)` makes a number of
# it.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# The manual has no kings. It has singulars and plurals: *list* is to *lists* as *value* is to what? Every two of these
# words make a question; all are asked.

# %%
SINGULARS = """list function method object value name type argument string item statement keyword expression attribute
operator module character element"""
known = [(vocab[word], vocab[word + "s"]) for word in SINGULARS.split() if {word, word + "s"} <= vocab.keys()]
questions = [(a, b, c, d) for a, b in known for c, d in known if a != c]
answers = [analogy(a, b, c, vectors) for a, b, c, _ in questions]
right = sum(answer == d for answer, (*_, d) in zip(answers, questions, strict=True))
print(
    f"{right} of {len(questions)} right: {right / len(questions):.0%}; a guess would be right once in {len(vocab) - 3:,}"
)
for hit in (True, False):
    print("for example" if hit else "but")
    examples = [(*q, answer) for q, answer in zip(questions, answers, strict=True) if (answer == q[3]) == hit]
    for a, b, c, _, answer in examples[:: len(examples) // 3 + 1]:
        print(f"    {words[a]} : {words[b]} = {words[c]} : {words[answer]}")

# %% [markdown]
# One in ten is right, where a guess would be right once in 1,200. That is far from chance and far from good: the step
# is there, but fifty thousand words are too few to draw it sharply. You will see both in a moment.
#
# ## 9. Can one see it?
#
# A word has 64 numbers, a page has two. Which two directions show most? Those along which the points spread most: the
# **principal components**. Move the points so that their mean is at 0, and take the singular value decomposition $X = U
# S V^\top$: it writes $X$ as coordinates of length 1 (the columns of $U$), how far the points spread (the diagonal of
# $S$, the largest first), and directions (the rows of $V^\top$). $X V = U S$ are the coordinates along the directions.
#
# By hand, for the points (1, 1), (3, 3) and (5, 5): the mean is (3, 3), the points lie at (−2, −2), (0, 0) and (2, 2),
# the direction is $(1, 1) / \sqrt 2$, and along it they lie at −2.83, 0 and 2.83. Or at 2.83, 0 and −2.83: a direction
# may as well point the other way. One number a point is enough here; nothing is lost.


# %% nbgrader={"grade": false, "grade_id": "pca", "locked": false, "schema_version": 3, "solution": true, "task": false}
def pca(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k directions along which the points spread most, and the points along them. From scratch, by SVD.

    x: (n, d), a row for each point. k: 1 to min(n, d).
    Returns: the coordinates (n, k) of the points, less their mean, along the directions, and the directions (k, d), rows
    of length 1, at right angles, that of the largest spread first. Each direction may point either way.
    mean + coordinates @ directions is the best approximation of x by k numbers a point.
    >>> coordinates, directions = pca(torch.tensor([[1.0, 1], [3, 3], [5, 5]]), 1)
    >>> coordinates.abs(), directions.abs()
    (tensor([[2.8284],
            [0.0000],
            [2.8284]]), tensor([[0.7071, 0.7071]]))
    """
    ### BEGIN SOLUTION
    centred = x - x.mean(0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:k]
    return centred @ directions.T, directions
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_pca", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("pca", points=2):
    from sklearn.decomposition import PCA

    for n, d, k in ((20, 6, 2), (7, 7, 3), (6, 9, 3)):
        # Spread differently along each axis, and far from 0.
        x = randn(n, d, dtype=torch.float64) * (1 + torch.arange(d, 0, -1)) + 10 * randn(d, dtype=torch.float64)
        result = pca(x, k)
        expect(
            isinstance(result, (tuple, list)) and len(result) == 2,
            "return two tensors: coordinates and directions",
            got=result,
        )
        coordinates, directions = result
        shapes = [tuple(coordinates.shape), tuple(directions.shape)]
        expect_equal(shapes, [(n, k), (k, d)], "first the coordinates (n, k), then the directions (k, d): one a row")
        columns = torch.linalg.svd(x - x.mean(0)).Vh[:, :k].T
        expect(
            not torch.allclose(directions.abs(), columns.abs()),
            "these are columns of Vh: the directions are its rows",
        )
        expect_close(
            directions @ directions.T,
            torch.eye(k).double(),
            "the directions have length 1 and stand at right angles",
            tolerance=1e-8,
        )
        expect_close(
            coordinates.mean(0),
            torch.zeros(k).double(),
            "the points are not centred: subtract the mean of each column first",
            tolerance=1e-8,
        )
        spread = coordinates.norm(dim=0)
        expect(
            not torch.allclose(spread, torch.ones(k).double()),
            "U alone has columns of length 1: the coordinates are U times S",
        )
        expect((spread.diff() < 0).all(), "the direction of the largest spread comes first", got=spread)
        theirs = PCA(k).fit(x.numpy())
        expected = torch.from_numpy(theirs.singular_values_)
        expect_close(
            spread, expected, "the points spread by other amounts along scikit-learn's directions", tolerance=1e-8
        )
        lost = (x - x.mean(0) - coordinates @ directions).norm()
        least = (x - torch.from_numpy(theirs.inverse_transform(theirs.transform(x.numpy())))).norm()
        expect_close(
            lost, least, "mean + coordinates @ directions misses x by more than scikit-learn's does", tolerance=1e-8
        )
    expect_from_scratch(pca, "pca_lowrank", "PCA", "svd_lowrank")
    ### BEGIN HIDDEN TESTS
    for n, d, k in ((2, 3, 1), (40, 1, 1), (12, 5, 5), (300, 20, 2)):
        x = randn(n, d, dtype=torch.float64) * (1 + torch.arange(d)) - 5
        coordinates, directions = pca(x, k)
        theirs = PCA(k).fit(x.numpy())
        lost = (x - x.mean(0) - coordinates @ directions).pow(2).sum()
        least = (x - torch.from_numpy(theirs.inverse_transform(theirs.transform(x.numpy())))).pow(2).sum()
        expect(
            abs(lost - least) <= 1e-8 * x.pow(2).sum(),
            f"{n} points in {d} dimensions: scikit-learn's {k} directions lose less",
        )
        expect_close(
            coordinates.abs(),
            torch.from_numpy(theirs.transform(x.numpy())).abs(),
            "other coordinates, beyond the sign",
            tolerance=1e-7,
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Points are rows. Which of the three factors of the SVD has something for each *feature*, and which for each *point*?
#
# </details>
# <details><summary>Method</summary>
#
# Subtract the mean of each column. `torch.linalg.svd` with `full_matrices=False` gives U, S and Vh, the largest first.
# Directions are rows of Vh.
#
# </details>
# <details><summary>Almost there</summary>
#
# Keep the first k rows of Vh. The coordinates are the centred points times their transpose, or the first k columns of U
# times the first k numbers of S.
#
# </details>
# </details>

# %%
GROUPS = {
    "types": "list tuple dict set str bytes int float complex",
    "control flow": "if while for break continue try except finally return",
    "special methods": "__init__ __new__ __getattr__ __setattr__ __enter__ __exit__ __add__",
    "errors": "typeerror valueerror keyerror attributeerror indexerror stopiteration",
    "numbers": "one two three four",
}
handful = [(word, group) for group, text in GROUPS.items() for word in text.split() if word in vocab]
chosen = lookup(torch.tensor([vocab[word] for word, _ in handful]), F.normalize(vectors, dim=-1))
page, _ = pca(chosen, 2)
share = page.pow(2).sum() / (chosen - chosen.mean(0)).pow(2).sum()

# %% jupyter={"source_hidden": true}
labelled_points(
    page,
    [word for word, _ in handful],
    groups=[group for _, group in handful],
    xlabel="first principal component",
    ylabel="second principal component",
    title=f"Nobody said what these words are; they sort themselves ({share:.0%} of the spread is shown)",
    alt="Thirty-odd words in a plane, in five colours. Each group keeps to a region of its own: numbers and types on "
    "the right, control flow in the upper left, errors below it, special methods at the bottom; but __enter__ and __exit__ "
    "lie among the errors, and for among the types.",
)

# %% jupyter={"source_hidden": true}
ends = torch.tensor(known).flatten()  # singular, plural, singular, plural, …
labelled_points(
    pca(F.normalize(vectors, dim=-1)[ends], 2)[0],
    [words[i] for i in ends.tolist()],
    groups=["one", "many"] * len(known),
    links=[(2 * i, 2 * i + 1) for i in range(len(known))],
    xlabel="first principal component",
    ylabel="second principal component",
    title="From one to many is a step in roughly the same direction",
    alt="Eighteen singulars, each joined by a line to its plural. Most lines point the same way, from the "
    "singular down to the plural; a few lie across.",
)

# %% [markdown]
# The first picture was made from sentences alone. Numbers stand together, types beside them, control flow in a corner of
# its own, and *for* not among it. `__enter__` and `__exit__` have left the other special methods for *try* and the
# errors: the manual speaks of them where it explains the *with* statement.
#
# The second is the analogy, drawn: most lines point down, each at a slant of its own, which is why one analogy in ten
# comes out right and not each. Mind what is not shown: a page has two directions, and the rest of the spread lies in
# the other 62.
#
# ## Break it: no noise words
#
# **Predict first.** Noise words cost most of the arithmetic. Leave them out, $k = 0$, so that the model only has to
# make real neighbours score high. What happens to the loss? And to the vectors?

# %%
broken = train_vectors(k=0)


def mean_cosine(table: Tensor) -> float:
    """The mean cosine of two different words."""
    rows, n = F.normalize(table, dim=-1), len(table)
    return ((rows.sum(0).pow(2).sum() - n) / (n * (n - 1))).item()


print(f"{'':<16}{'mean cosine of two words':>26}{'median rank of the partner':>28}")
for name, table in {"5 noise words": vectors, "no noise words": broken}.items():
    print(f"{name:<16}{mean_cosine(table):>26.3f}{median(partner_ranks(table)):>28.1f}")

# %% [markdown]
# The loss falls to 0: perfect. And the vectors are worthless. Two words have a cosine of 0.998 on average, all point
# the same way. Nothing in the loss objects, for then every pair scores high, real or not. That is **collapse**. (The
# partners' median rank, 302 in place of 603 by chance, says that the last 0.002 still hold a trace of meaning.) Noise
# words are what keeps vectors apart. CLIP in lesson 12 and SimCLR in lesson 13 have the same hole, and each fills it in
# its own way.
#
# ## Play
#
# Pick a word, and see its nearest words. These vectors are counted, not trained, and need none of your code:
#
# - *one-hot* knows nothing;
# - *counts*: how often two words share ten words of text. Frequent words crowd in;
# - *compared with chance*: the logarithm of that over what chance would give;
# - *64 numbers*: what an SVD keeps of it.
#
# Skip-gram with negative sampling nearly factors such a table, and never writes it down (Levy and Goldberg, 2014).


# %% nbgrader={"grade": false, "grade_id": "play", "locked": true, "schema_version": 3, "solution": false, "task": false}
def counted_vectors(tokens: list[str], size: int, span: int = 10, d: int = 64) -> tuple[list[str], dict[str, Tensor]]:
    """Vectors by counting, for the `size` most frequent words: these words, and tables of vectors by name."""
    import collections

    frequent = [word for word, _ in collections.Counter(tokens).most_common(size)]
    place = {word: i for i, word in enumerate(frequent)}
    spans = torch.tensor([place.get(token, size) for token in tokens[: len(tokens) // span * span]]).view(-1, span)
    holds = torch.zeros(len(spans), size + 1).scatter_(1, spans, 1.0)[:, :size]  # which span holds which word
    together, alone = holds.T @ holds, holds.sum(0)
    surprise = (together * len(spans) / (alone[:, None] * alone)).log().clamp(min=0).fill_diagonal_(0)
    u, s, _ = torch.linalg.svd(surprise)
    tables = {"one-hot": torch.eye(size), "counts": together.fill_diagonal_(0), "compared with chance": surprise}
    return frequent, tables | {f"{d} numbers": u[:, :d] * s[:d].sqrt()}


explore_neighbours(*counted_vectors(tokens, size=pick(smoke=60, cpu=400, gpu=400)), start="list")

# %% [markdown]
# ## At full size
#
# Mikolov et al. (2013) trained on a billion words of news, with a vocabulary of 692,000 and vectors of 300 numbers.
# Their skip-gram with 15 noise words and thinning answers 61 % of their analogies right (their table 1). The vectors
# that Google then published were trained on about 100 billion words: three million words and phrases, 300 numbers each.
#
# | | this lesson | Mikolov et al. 2013 | Google News |
# | --- | --- | --- | --- |
# | words of text | 50 thousand | 1 billion | about 100 billion |
# | vocabulary | 1.2 thousand | 692 thousand | 3 million |
# | numbers a word | 64 | 300 | 300 |
#
# Every model in this course begins with such a table. It is no longer trained by skip-gram, but together with all the
# rest.
#
# **Optional: a real table.** all-MiniLM-L6-v2 is a small BERT; you load all of it in lesson 06. The next cell takes its
# table of 30,522 word pieces, 384 numbers each, and asks it *your* questions. It needs a package with the weights, and
# says so if that is not there.


# %%
def real_table() -> tuple[dict[str, int], Tensor] | None:
    """MiniLM's vocabulary and table of vectors; None, and a line that says what to install, where they are missing."""
    from utils.data import minilm

    try:
        return {word: i for i, word in enumerate(minilm.words())}, minilm.word_table()
    except ModuleNotFoundError as error:
        print(error)


CAPITALS = """china beijing, russia moscow, japan tokyo, turkey ankara, poland warsaw, germany berlin, france paris,
italy rome, greece athens, spain madrid, portugal lisbon"""
real = real_table() if pick(smoke=False, cpu=True, gpu=True) else None

# %%
if real:
    real_vocab, real_vectors = real
    real_words = list(real_vocab)
    for word in ("king", "blue", "walked", "python"):
        found, cosines = nearest(real_vocab[word], real_vectors, 5)
        print(
            f"{word:<8}",
            "  ".join(f"{real_words[i]} {c:.2f}" for i, c in zip(found.tolist(), cosines.tolist(), strict=True)),
        )
    for a, b, c in (("man", "woman", "king"), ("walk", "walked", "jump"), ("big", "bigger", "small")):
        print(f"{a} : {b} = {c} : {real_words[analogy(real_vocab[a], real_vocab[b], real_vocab[c], real_vectors)]}")
    pairs_of = [tuple(real_vocab[word] for word in pair.split()) for pair in CAPITALS.split(",")]
    asked = [(a, b, c, d) for a, b in pairs_of for c, d in pairs_of if a != c]
    hits = sum(analogy(a, b, c, real_vectors) == d for a, b, c, d in asked)
    print(f"countries and capitals: {hits} of {len(asked)} analogies right")

# %% jupyter={"source_hidden": true}
if real:
    places = torch.tensor(pairs_of).flatten()  # country, capital, country, capital, …
    labelled_points(
        pca(real_vectors[places], 2)[0],
        [real_words[i] for i in places.tolist()],
        groups=["country", "capital"] * len(pairs_of),
        links=[(2 * i, 2 * i + 1) for i in range(len(pairs_of))],
        xlabel="first principal component",
        ylabel="second principal component",
        title="In a real table, the step from country to capital is much the same everywhere",
        alt="Eleven countries, each joined by a line to its capital. All countries lie above and to the "
        "left of their capitals; the lines have similar lengths and directions.",
    )

# %% [markdown]
# Measured on those weights: 72 of 110 capitals are right, among 30,522 candidates. The picture is that of Mikolov et
# al. (2013, figure 2), drawn from another model's table by your `pca`.
#
# ## Score card

# %%
score_card()

# %% [markdown]
# ## In five lines
#
# - One-hot vectors are all √2 apart: nothing is similar to anything. A lookup is the product of a one-hot with a table.
# - Words with the same neighbours get the same vector. That is all that skip-gram knows, and it is enough.
# - A few noise words, drawn by count to the power of 0.75, stand in for the whole vocabulary. Without them all vectors
#   collapse into one.
# - Cosines compare directions. Judge them by a list fixed beforehand, with controls, not by nice examples.
# - A relation is roughly one step, the same for many pairs; PCA, an SVD of centred points, shows it on a page.
#
# What is missing: *list* has one vector, in *a list of names* and in *to list the files*. And a sentence has none at
# all yet. Lesson 02 reads word after word into one vector.
#
# ## Further reading
#
# - Mikolov, Sutskever, Chen, Corrado and Dean, *Distributed Representations of Words and Phrases and their
#   Compositionality*, NIPS 2013. This lesson is its section 2; compare your picture with its figure 2.
# - Levy and Goldberg, *Neural Word Embedding as Implicit Matrix Factorization*, NIPS 2014. What the training really
#   computes.
# - Bolukbasi, Chang, Zou, Saligrama and Kalai, *Man is to Computer Programmer as Woman is to Homemaker? Debiasing Word
#   Embeddings*, NIPS 2016. Vectors learn from text whatever it holds.
