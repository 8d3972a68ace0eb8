# %% [markdown]
# # GPT: predict the next token, with a KV cache
#
# Of all the tasks that language models have been trained on, one scaled: given some text, what comes next? You write
# the whole of GPT-2: the byte-pair tokens, the loss, causal attention, the model. Then the part that every served model
# needs: a cache, so that a new token costs one token's work and not the whole text's again. Your model learns the
# Python documentation from nothing, writes more of it, and at the end can take GPT-2's published weights.
#
# It builds on lessons 03 (translation), 04 (attention, masks) and 05 (blocks), and gives 20 points in ten exercises.
#
# | scale | layers × width | training steps | run time |
# | --- | --- | --- | --- |
# | `smoke` (tests) | 2 × 32 | 2 | 5 s |
# | `cpu` (a laptop) | 4 × 128 | 350 | 126 s |
# | `gpu` | 8 × 512 | 3000 | not measured yet |
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

device = setup("07_gpt")

# %% jupyter={"source_hidden": true}
diagram(
    {
        "text": ("text", 0, 0), "bpe": ("bpe_encode", 0, 1), "ids": ("tokens", 0, 2),
        "embed": ("tokens +\npositions", 1.25, 2), "attention": ("CausalSelf-\nAttention", 1.25, 3),
        "ff": ("feed forward", 1.25, 4), "head": ("logits:\ntokens again", 1.25, 5), "cache": ("KVCache", 0, 3),
        "warp": ("warp_logits,\nbeam_search", 2.5, 5), "next": ("next token", 2.5, 2), "loss": ("next_token_\nloss", 0, 5),
    },
    [
        ("text", "bpe"), ("bpe", "ids"), ("ids", "embed"), ("embed", "attention"), ("attention", "ff"),
        ("ff", "head"), ("attention", "cache"), ("cache", "attention"), ("head", "warp"), ("head", "loss"),
        ("warp", "next"), ("next", "embed"),
    ],
    yours=["bpe", "embed", "attention", "head", "cache", "warp", "loss"],
    title="To train, compare with the next token; to write, choose it and feed it back",
    alt="Text is cut into tokens by bpe_encode, embedded with positions, and goes through blocks of causal attention, which "
    "keeps keys and values in a cache, and feed-forward layers. The logits come from the token table again. Training "
    "compares them with the next token; writing chooses the next token from them, which is embedded "
    "in turn. All but the text, the list of tokens, the feed-forward layer and the chosen token is yours to write.",
)  # fmt: skip

# %% [markdown]
# ## 1. What is a token?
#
# Words are too many, and there are always new ones. Letters are few, and a text has very many of them. Byte-pair
# encoding stands between: start from letters, and again and again join the two neighbours that stand side by side most
# often. Frequent words become one token, rare ones stay in pieces, nothing is unknown.
#
# By hand, with the words of Sennrich et al. (2016), who brought it to language: *low* 5 times, *lower* 2, *newest* 6,
# *widest* 3.
#
# | join | because | then the words are |
# | --- | --- | --- |
# | e s | 6 + 3 = 9 times; so is s t, but e s comes first in the alphabet | low, lower, n e w es t, w i d es t |
# | es t | 9 times | low, lower, n e w est, w i d est |
# | l o | 5 + 2 = 7 times; so is o w | lo w, lo w e r, … |
# | lo w | 7 times | low, low e r, … |
#
# Here is the one step that learning and using share.


# %% nbgrader={"grade": false, "grade_id": "join", "locked": true, "schema_version": 3, "solution": false, "task": false}
import functools
import re
from collections import Counter


def join(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """The pieces of a word, with `pair` joined wherever it stands, from left to right.

    >>> join(["a", "a", "a", "b"], ("a", "a"))
    ['aa', 'a', 'b']
    """
    joined, at = [], 0
    while at < len(pieces):
        width = 2 if tuple(pieces[at : at + 2]) == pair else 1
        joined.append("".join(pieces[at : at + width]))
        at += width
    return joined


# %% nbgrader={"grade": false, "grade_id": "bpe_merges", "locked": false, "schema_version": 3, "solution": true, "task": false}
def bpe_merges(words: dict[str, int], n: int) -> list[tuple[str, str]]:
    """The pairs to join, in the order in which byte-pair encoding learns them.

    words: how often each word comes in the text. At first each character of a word is a piece. At each
    step the pair of neighbouring pieces that stands side by side most often in the text is joined in
    every word; among pairs that are equally frequent, the one that comes first in alphabetical order.
    Pieces of two words are never neighbours. In "aaa" the pair (a, a) stands twice.
    Returns: n pairs, or fewer when every word is one piece.
    >>> bpe_merges({"low": 5, "lower": 2, "newest": 6, "widest": 3}, 4)
    [('e', 's'), ('es', 't'), ('l', 'o'), ('lo', 'w')]
    """
    ### BEGIN SOLUTION
    pieces, merges = {word: list(word) for word in words}, []
    for _ in range(n):
        counts = Counter()
        for word, count in words.items():
            for pair in zip(pieces[word], pieces[word][1:], strict=False):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        pieces = {word: join(parts, best) if best[0] in parts else parts for word, parts in pieces.items()}
        merges.append(best)
    return merges
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_bpe_merges", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("bpe_merges", points=2):

    def learned(spelled, n):  # as Sennrich et al. print it: words as text with spaces, joined by a regular expression
        spelled, found = {" ".join(word): times for word, times in spelled.items()}, []
        for _ in range(n):
            seen = {}
            for text, times in spelled.items():
                parts = text.split()
                for pair in zip(parts[:-1], parts[1:], strict=True):
                    seen[pair] = seen.get(pair, 0) + times
            if seen:
                found.append(sorted(seen, key=lambda pair: (-seen[pair], pair))[0])
                here = re.compile(rf"(?<!\S){re.escape(' '.join(found[-1]))}(?!\S)")
                spelled = {here.sub("".join(found[-1]), text): times for text, times in spelled.items()}
        return found

    got = bpe_merges({"low": 5, "lower": 2, "newest": 6, "widest": 3}, 4)
    expect(isinstance(got, list) and len(got) == 4, "return a list of n pairs, the first one learned first", got=got)
    expect(
        all(len(pair) == 2 for pair in got), "each step joins a pair: two pieces, also where they have grown", got=got
    )
    expect([tuple(pair) for pair in got][0] != ("s", "t"), "es and st come 9 times each: take the first by alphabet")
    frequent = [tuple(pair) for pair in bpe_merges({"ab": 1, "abc": 1, "cd": 9}, 1)]
    expect(frequent != [("a", "b")], "a pair counts as often as its word comes: 9 times cd outweighs two words with ab")
    expect(
        tuple(bpe_merges({"abc": 5, "xbc": 4, "yz": 3}, 2)[1]) != ("a", "b"),
        "count anew after each step: once bc is joined, a and b are no longer neighbours",
    )
    apart = tuple(bpe_merges({"a": 5, "bc": 2}, 1)[0])
    expect_equal(apart, ("b", "c"), "pieces of two words are never neighbours, nor those of a word that comes again")
    hint = "join the pair in every word before the next count: see the table"
    expect_equal([tuple(p) for p in got], learned({"low": 5, "lower": 2, "newest": 6, "widest": 3}, 4), hint)
    first = tuple(bpe_merges({"ba": 2, "ab": 2}, 1)[0])
    expect_equal(first, ("a", "b"), "equally frequent: first in the alphabet, not first in the text")
    second = tuple(bpe_merges({"ab": 9, "aba": 2, "ac": 2}, 2)[1])
    expect_equal(second, ("a", "c"), "equally frequent: compare the pairs, first piece first, not what they make")
    hint = "stop when every word is one piece: there is nothing left to join"
    short = expect_not_raises(ValueError, bpe_merges, {"aab": 3}, 9, hint=hint)
    expect_equal(len(short), 2, hint)
    expect_equal(len(bpe_merges({"abc": 1}, 9)), 2, "go on until every word is one piece: a pair may stand only once")
    expect_equal(bpe_merges({"aaa": 3, "bcd": 5}, 1), [("a", "a")], "in aaa the pair (a, a) stands twice")
    for letters, size in (("abc", 5), ("abcdefg", 12), ("ab", 3)):
        counted = {}
        for _ in range(size):
            spelling = "".join(letters[i] for i in randint(0, len(letters), (int(randint(1, 8)),)).tolist())
            counted[spelling] = int(randint(1, 50))
        expect_equal(
            [tuple(p) for p in bpe_merges(counted, 6)], learned(counted, 6), f"for the words {counted} they differ"
        )
    ### BEGIN HIDDEN TESTS
    for letters, size in (("xyz", 9), ("aeioust", 30)):
        counted = {}
        for _ in range(size):
            spelling = "".join(letters[i] for i in randint(0, len(letters), (int(randint(1, 9)),)).tolist())
            counted[spelling] = int(randint(1, 9))
        expect_equal([tuple(p) for p in bpe_merges(counted, 15)], learned(counted, 15), "for other words they differ")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Keep, for each word, the list of its pieces. A step looks at all of them, picks one pair, and changes them.
#
# </details>
# <details><summary>Method</summary>
#
# Count pairs in a dictionary: each neighbouring pair of a word's pieces adds the word's count. Choose, join in every
# word with `join`, and count again from the start for the next step.
#
# </details>
# <details><summary>Almost there</summary>
#
# The neighbours of a list are the list zipped with itself shifted by one. To choose with a rule for ties, take the
# minimum by a key that is a tuple: first the count, negated, then the pair.
#
# </details>
# </details>

# %% [markdown]
# The merges are all that is learned. To cut a new word, replay them.


# %% nbgrader={"grade": false, "grade_id": "bpe_encode", "locked": false, "schema_version": 3, "solution": true, "task": false}
def bpe_encode(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """The pieces of a word: its characters, joined by `merges` in the order in which they were learned.

    Each merge is done wherever it fits before the next one is looked at.
    >>> bpe_encode("lowest", [("e", "s"), ("es", "t"), ("l", "o"), ("lo", "w")])
    ['low', 'est']
    """
    ### BEGIN SOLUTION
    pieces = list(word)
    for pair in merges:
        if pair[0] in pieces:
            pieces = join(pieces, pair)
    return pieces
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_bpe_encode", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("bpe_encode", points=1):
    from tokenizers.models import BPE

    def library(word, rules):  # the same by Hugging Face's tokenizers
        pieces = dict.fromkeys([*"abcdefghijklmnopqrstuvwxyz", *map("".join, rules)])
        return [token.value for token in BPE({p: i for i, p in enumerate(pieces)}, rules).tokenize(word)]

    rules = [("e", "s"), ("es", "t"), ("l", "o"), ("lo", "w")]
    got = bpe_encode("lowest", rules)
    expect_equal("".join(got), "lowest", "the pieces put together are the word: nothing is lost, nothing is added")
    expect(got != ["lo", "w", "est"], "go on to the last merge: lo and w are joined too")
    expect_equal(got, ["low", "est"], "replay the merges, each on the pieces that those before it left")
    hint = "the first merge learned comes first, even where a later one would make a longer piece"
    expect_equal(bpe_encode("abcd", [("b", "c"), ("a", "b"), ("c", "d"), ("ab", "cd")]), ["a", "bc", "d"], hint)
    expect_equal(bpe_encode("abab", [("a", "b")]), ["ab", "ab"], "a merge is done wherever it fits, not only once")
    expect_equal(bpe_encode("zoo", rules), ["z", "o", "o"], "what no merge joins stays in characters")
    for word in ("slowest", "lowlow", "estes", "e"):
        expect_equal(bpe_encode(word, rules), library(word, rules), f"{word!r} is cut otherwise by tokenizers")
    ### BEGIN HIDDEN TESTS
    rules = [("a", "b"), ("b", "a"), ("ab", "a"), ("c", "ab"), ("aba", "c"), ("c", "c"), ("ba", "cc")]
    for _ in range(20):
        word = "".join("abc"[i] for i in randint(0, 3, (int(randint(1, 12)),)).tolist())
        expect_equal(bpe_encode(word, rules), library(word, rules), f"{word!r} is cut otherwise by tokenizers")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Encoding is learning without the counting.
#
# </details>
# <details><summary>Method</summary>
#
# Begin with the characters of the word. Go through the merges once, from the first to the last.
#
# </details>
# <details><summary>Almost there</summary>
#
# `join` does a merge wherever it fits and leaves the pieces alone where it does not.
#
# </details>
# </details>

# %% [markdown]
# ### The text
#
# The text is the documentation that every Python carries, with its capitals, line breaks and code, and a tenth of its
# documents is held out. It is cut at spaces first, and a space belongs to the word after it, so the pieces put together
# are the text again. As in GPT-2 the smallest piece is not a letter but a **byte**: 256 of them write every text there
# is, *é* takes two. (In a piece a byte is shown as the character of that number.) Three tokens more are names: the end
# of a text, and two tasks of section 9.

# %%
from utils.data import words as python_docs
from utils.data.french import sentence_pairs, to_text

n_docs, n_characters = pick(smoke=(2, 1500), cpu=(99, 10**6), gpu=(99, 10**6))
train_docs, held_out_docs = (
    {name: text[:n_characters] for name, text in list(docs.items())[:n_docs]}
    for docs in python_docs.split(python_docs.texts())
)
pairs, held_out_pairs = (  # short sentences with am, is or are, and their French, for section 9
    [pair for pair in group if {"am", "is", "are"} & set(pair.source[1:3])]
    for group in sentence_pairs(pick(smoke=90, cpu=3000, gpu=8000), pick(smoke=12, cpu=300, gpu=900), max_length=4)
)


def split_words(text: str) -> list[str]:
    """Words with the space before them, runs of signs, runs of white space; each byte as one character."""
    found = re.findall(r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s", text)
    return [word.encode().decode("latin-1") for word in found]


# %%
words = Counter(word for text in train_docs.values() for word in split_words(text))
words.update(word for pair in pairs for side in (pair.source, pair.target) for word in split_words(" " + to_text(side)))
merges = bpe_merges(words, pick(smoke=20, cpu=253, gpu=765))
names = ["<end>", "<to-fr>", "<summarize>"]
vocabulary = [chr(i) for i in range(256)] + [a + b for a, b in merges] + names
id_of = {token: i for i, token in enumerate(vocabulary)}
END, TO_FR, SUMMARIZE = (id_of[name] for name in names)
print(f"256 bytes + {len(merges)} merges + {len(names)} names = {len(vocabulary)} tokens")


@functools.cache
def word_ids(word: str) -> list[int]:
    return [id_of[piece] for piece in bpe_encode(word, merges)]


def encode(text: str) -> list[int]:
    return [i for word in split_words(text) for i in word_ids(word)]


def decode(ids: list[int] | Tensor) -> str:
    return "".join(vocabulary[int(i)] for i in ids).encode("latin-1").decode(errors="replace")


# %%
example = "The for statement iterates over étudiants."
for n in (0, len(merges) // 4, len(merges)):
    cut = [piece for word in split_words(example) for piece in bpe_encode(word, merges[:n])]
    print(f"{n:>4} merges, {len(cut):>2} tokens: {'|'.join(cut)}")
assert decode(encode(example)) == example

# %% jupyter={"source_hidden": true}
steps = [round(len(merges) * i / 6) for i in range(7)]
sample = Counter(dict(words.most_common(2000)))
characters = sum(len(word) * count for word, count in sample.items())
per_token = [characters / sum(len(bpe_encode(w, merges[:n])) * count for w, count in sample.items()) for n in steps]
curves(
    {"the 2000 most frequent words": (steps, per_token)},
    xlabel="merges",
    ylabel="bytes a token",
    title="The first merges shorten the text most",
    alt=f"Bytes a token against the number of merges: from 1.0 without any to {per_token[-1]:.1f} with all {len(merges)}, "
    "steep at first, then flatter.",
    markers=True,
)

# %% [markdown]
# GPT-2 has 256 bytes, 50,000 merges and one name, `<|endoftext|>`: 50,257 tokens (Radford et al. 2019, sections 2.2 and
# 2.3).
#
# ## 2. What is it trained to do?
#
# The logits at place $i$ are a guess at the token at place $i + 1$. So $l$ tokens hold $l - 1$ questions and their
# answers, and one pass through the model asks them all. Nothing predicts the first token, and nobody knows the answer
# to the last guess.
#
# By hand: the tokens are 2, 0, 1. The model gives token 0 the probability 0.5 at the first place, token 1 the
# probability 0.25 at the second. The loss is $-(\log 0.5 + \log 0.25)/2 = 1.04$. What it says at the third place does
# not count.
#
# $$L = -\frac{\sum_{i \ge 1} w_i \log p(x_i \mid x_0 \dots x_{i-1})}{\sum_{i \ge 1} w_i}$$
#
# The weight $w_i$ of a token is 1 at first. Later a padding token gets 0, and a fine-tuned model is judged on its
# answers only.


# %% nbgrader={"grade": false, "grade_id": "next_token_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def next_token_loss(logits: Tensor, ids: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean negative log-likelihood of each token, given those before it.

    logits: (b, l, vocab_size); those at place i are for the token at place i + 1.
    ids: (b, l) int64.
    weights: (b, l) float, how much each token of `ids` counts as an answer; None counts all alike. The
    mean is over all tokens of the batch together. The first token of a row is nobody's answer, whatever
    its weight. Some answer has a weight above 0.
    Returns: a scalar.
    >>> p = torch.tensor([[[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]])
    >>> next_token_loss(p.log(), torch.tensor([[2, 0, 1]]))
    tensor(1.0397)
    """
    ### BEGIN SOLUTION
    logp = logits[:, :-1].log_softmax(-1)
    loss = -logp.gather(-1, ids[:, 1:, None])[..., 0]  # (b, l - 1)
    if weights is None:
        return loss.mean()
    return (loss * weights[:, 1:]).sum() / weights[:, 1:].sum()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_next_token_loss", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("next_token_loss", points=2):
    b, n, v = 3, 6, 7
    logits, ids = 2 * randn(b, n, v), randint(0, v, (b, n))

    def mean_loss(guesses, answers):
        return F.cross_entropy(guesses.reshape(-1, v), answers.reshape(-1))

    got = next_token_loss(logits, ids)
    expect_equal(tuple(got.shape), (), "return one number, a scalar tensor: the mean over the whole batch")
    expect(
        not torch.allclose(got, mean_loss(logits, ids)), "no shift: the logits at place i are for the token at i + 1"
    )
    other = mean_loss(logits[:, 1:], ids[:, :-1])
    expect(not torch.allclose(got, other), "shifted the wrong way: the logits lose their last place, ids their first")
    expect(not torch.allclose(got, mean_loss(logits[:, :-2], ids[:, 2:])), "shifted twice: place i answers for i + 1")
    right = mean_loss(logits[:, :-1], ids[:, 1:])
    expect(not torch.allclose(got, right * b * (n - 1)), "that is the sum: divide by the number of answers")
    hint = "the first token is nobody's answer: divide by the l - 1 answers of each row"
    expect_close(
        got, right, "the mean of -log softmax(logits) at the right answers", mistakes={hint: right * (n - 1) / n}
    )
    weights = rand(b, n)
    weights[0, 1:3] = 0.0
    got = next_token_loss(logits, ids, weights)
    each = torch.stack([F.cross_entropy(logits[:, i], ids[:, i + 1], reduction="none") for i in range(n - 1)], dim=1)
    expect(not torch.allclose(got, right), "the weights are not used")
    expect(
        not torch.allclose(got, (each * weights[:, :-1]).sum() / weights[:, :-1].sum()),
        "a weight belongs to the token that is the answer: shift the weights as the ids",
    )
    expect(
        not torch.allclose(got, (each * weights[:, 1:]).mean()), "divide by the sum of the weights, not their number"
    )
    by_row = (each * weights[:, 1:]).sum(1) / weights[:, 1:].sum(1)
    expect(not torch.allclose(got, by_row.mean()), "one mean over all tokens of the batch, not a mean of rows' means")
    total = (each * weights[:, 1:]).sum()
    known = {"the weight of the first token is in the divisor: it is nobody's answer": total / weights.sum()}
    expect_close(got, total / weights[:, 1:].sum(), "the mean weighted by the answers' weights", mistakes=known)
    slope = gradients(next_token_loss, logits, ids)[0]
    expect_equal(slope[:, -1].any().item(), False, "what is said at the last place has no answer and does not count")
    ### BEGIN HIDDEN TESTS
    for b, n, v in ((1, 2, 3), (4, 9, 11)):
        logits, ids, weights = 5 * randn(b, n, v, dtype=torch.float64), randint(0, v, (b, n)), rand(b, n).double()
        each = torch.stack(
            [F.cross_entropy(logits[:, i], ids[:, i + 1], reduction="none") for i in range(n - 1)], dim=1
        )
        expect_close(next_token_loss(logits, ids), each.mean(), "another size, in float64: the loss differs")
        expected = (each * weights[:, 1:]).sum() / weights[:, 1:].sum()
        expect_close(next_token_loss(logits, ids, weights), expected, "another size: the weighted loss differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Write the tokens in a row, and under each the place whose logits have to guess it.
#
# </details>
# <details><summary>Method</summary>
#
# Cut the last place off the logits and the first token off the ids. What is left has equal length, and stands place by
# place. Cut the weights as you cut what they belong to.
#
# </details>
# <details><summary>Almost there</summary>
#
# `log_softmax` over the vocabulary, then `gather` picks each answer's entry; it wants an index with as many axes.
# `F.cross_entropy` with `reduction="none"` and the classes on axis 1 gives the same.
#
# </details>
# </details>

# %% [markdown]
# ## 3. What of the past has to be kept?
#
# **Predict first.** A model has read 1000 tokens and now reads one more. Which of the numbers that it computed for the
# first 1000 can have changed?
#
# None. Attention is causal: no token sees a later one, so nothing about it can depend on one. And what does the new
# token need of the old ones? Its query meets their **keys**, and mixes their **values**. Their queries are never asked
# again. So keep keys and values, of each layer, and put only the new token through the model.
#
# By hand: two layers, one sentence, a head of size 3. After a prompt of 4 tokens each layer holds keys (1, 1, 4, 3) and
# values alike. The next token brings (1, 1, 1, 3) for each layer, and each then holds (1, 1, 5, 3).
#
# Copying all of it for each new token, as `torch.cat` does, costs more and more. Better reserve memory once, for
# `capacity` tokens, and fill it up; the test takes both. The sentences of a batch share one length; short prompts are
# filled up on the **left**, and `padding` says by how much. A cache only keeps that number. Attention and the positions
# will need it.


# %% nbgrader={"grade": false, "grade_id": "KVCache", "locked": false, "schema_version": 3, "solution": true, "task": false}
class KVCache:
    """The keys and values of all tokens so far, for each layer."""

    def __init__(self, n_layers: int, capacity: int, padding: Tensor | None = None):
        """An empty cache for at most `capacity` tokens.

        padding: (b,) int64, how many tokens at the beginning of each row are only filling; None where
        there are none. The attributes `capacity` and `padding` are what was given. Nothing is shared with
        other caches.
        """
        ### BEGIN SOLUTION
        self.capacity, self.padding = capacity, padding
        self.lengths = [0] * n_layers
        self.memory = [None] * n_layers  # keys and values of each layer
        ### END SOLUTION

    @property
    def length(self) -> int:
        """How many tokens, filling included, the last layer holds: they have gone through all. 0 at first."""
        ### BEGIN SOLUTION
        return self.lengths[-1]
        ### END SOLUTION

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append the keys and values of new tokens to those that `layer` (from 0) holds.

        k, v: (b, h, new, d), new ≥ 1; batch, heads and head size are the same at each call. Nobody learns
        through a cache, so it keeps them without gradients: k.detach().
        Returns: all keys and all values of that layer so far, the new ones last: (b, h, so far, d) each.
        Raises: ValueError when there would be more than `capacity` tokens; nothing is changed then.
        >>> cache, one, two = KVCache(n_layers=1, capacity=3), torch.ones(1, 1, 1, 2), torch.full((1, 1, 2, 2), 2.0)
        >>> cache.update(0, one, 5 * one)[0].tolist()
        [[[[1.0, 1.0]]]]
        >>> cache.update(0, two, 5 * two)[0].tolist(), cache.length
        ([[[[1.0, 1.0], [2.0, 2.0], [2.0, 2.0]]]], 3)
        """
        ### BEGIN SOLUTION
        start, stop = self.lengths[layer], self.lengths[layer] + k.shape[2]
        if stop > self.capacity:
            raise ValueError(f"{stop} tokens do not fit into a cache for {self.capacity}")
        if self.memory[layer] is None:  # now the shape, dtype and device are known
            b, h, _, d = k.shape
            self.memory[layer] = [k.new_empty(b, h, self.capacity, d) for _ in range(2)]
        keys, values = self.memory[layer]
        keys[:, :, start:stop], values[:, :, start:stop] = k.detach(), v.detach()
        self.lengths[layer] = stop
        return keys[:, :, :stop], values[:, :, :stop]
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_KVCache", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("KVCache", points=2):
    k, v = randn(2, 2, 3, 9, 5)  # of 9 tokens: (b, h, 9, d) each
    kept = place(KVCache, 2, 9)
    expect_equal([kept.length, kept.capacity], [0, 9], "a new cache is empty, and remembers its capacity")
    result = kept.update(0, k[:, :, :4], v[:, :, :4])
    expect(isinstance(result, (tuple, list)) and len(result) == 2, "return two tensors: keys and values", got=result)
    expect_equal(tuple(result[0].shape), (2, 3, 4, 5), "return what is filled, not the whole memory: 4 tokens of 9")
    expect(not torch.allclose(result[0], v[:, :, :4]), "first the keys, then the values")
    expect_close(result[0], k[:, :, :4], "the first keys come back as they are")
    expect_close(result[1], v[:, :, :4], "the first values come back as they are")
    expect_equal(kept.length, 0, "only layer 0 has the tokens yet: `length` is that of the last layer")
    first = kept.update(1, -k[:, :, :4], 3 * v[:, :, :4])
    expect_equal(tuple(first[0].shape), (2, 3, 4, 5), "layer 1 has keys and values of its own, not those of layer 0")
    expect_close(first[0], -k[:, :, :4], "layer 1 has keys of its own")
    expect_equal(kept.length, 4, "4 tokens went through both layers: count tokens, not calls, and once, not per layer")
    for begin, until in ((4, 5), (5, 8), (8, 9)):
        fits, new = "9 tokens fit into a cache for 9", (k[:, :, begin:until], v[:, :, begin:until])
        keys, values = expect_not_raises(ValueError, kept.update, 0, *new, hint=fits)
        hint = f"after {until} tokens layer 0 holds {until}: append the new ones once, behind the old ones"
        expect_equal(keys.shape[2], until, hint)
        expect_close(keys, k[:, :, :until], hint)
        expect_close(values, v[:, :, :until], "the values are appended as the keys")
    keys, _ = kept.update(1, k[:, :, 4:6], v[:, :, 4:6])
    expect_close(keys, torch.cat([-k[:, :, :4], k[:, :, 4:6]], dim=2), "layer 1 went on with the tokens of layer 0")
    expect_equal(kept.length, 6, "layer 1, the last, has 6 tokens")
    expect_raises(ValueError, kept.update, 1, k[:, :, :4], v[:, :, :4], hint="10 tokens in a cache for 9: ValueError")
    expect_equal(kept.length, 6, "an update that does not fit must change nothing")
    other = place(KVCache, 2, 3, padding=torch.tensor([1]))
    expect_equal(other.length, 0, "a second cache begins empty: keep the memory in the object, not in the class")
    keys, _ = other.update(0, k[:1, :1, :3].double(), v[:1, :1, :3].double())
    expect_close(keys, k[:1, :1, :3].double(), "a cache of another batch, number of heads and dtype")
    expect_equal(other.padding, torch.tensor([1]), "keep `padding` as it is given")
    expect(kept.padding is None, "`padding` is None where there is none")
    other = place(KVCache, 1, 9)

    def learn():
        gradients(other.update, 0, k, v, upstream=k)

    expect_raises(AssertionError, learn, hint="nobody learns through a cache: keep k.detach() and v.detach()")
    ### BEGIN HIDDEN TESTS
    for b, h, d, parts in ((1, 1, 1, [1] * 6), (3, 2, 4, [6]), (2, 4, 3, [3, 2, 1])):
        kept, layers = place(KVCache, 3, 6), 3
        k, v = randn(2, layers, b, h, 6, d, dtype=torch.float64)
        for part in torch.arange(6).split(parts):
            for layer in range(layers):
                keys, values = kept.update(layer, k[layer][:, :, part], v[layer][:, :, part])
                expect_close(keys, k[layer][:, :, : part[-1] + 1], "in chunks of another size the keys differ")
                expect_close(values, v[layer][:, :, : part[-1] + 1], "in chunks of another size the values differ")
        expect_equal(kept.length, 6, "in chunks of another size the length differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Per layer you need two things: the memory, and how much of it is filled. When a layer is asked for the first time, the
# shape of `k` tells how large the memory must be.
#
# </details>
# <details><summary>Method</summary>
#
# The new tokens go into the slots from the old length up to the new one. What comes back is everything up to the new
# length. Check that it fits before you touch anything.
#
# </details>
# <details><summary>Almost there</summary>
#
# `k.new_empty(...)` makes memory with the dtype and device of `k`, with `capacity` on the axis of the tokens. Assign
# to a slice of it, and return a slice of it: a slice is a view and copies nothing.
#
# </details>
# </details>

# %% [markdown]
# ## 4. How does a chunk of new tokens look back?
#
# Now attention, with or without a past. Queries come from the new tokens alone; keys and values from all tokens, old
# and new. So the scores are not square any more, and the causal mask must know where the chunk stands: **at the end**.
#
# By hand: three tokens are in the cache, two are new. True keeps:
#
# | | key 0 | key 1 | key 2 | key 3 | key 4 |
# | --- | --- | --- | --- | --- | --- |
# | query at place 3 | True | True | True | True | False |
# | query at place 4 | True | True | True | True | True |
#
# The triangle of lesson 04 is aligned with the lower right corner. Align it with the upper left one, as
# `F.scaled_dot_product_attention(..., is_causal=True)` does, and the two new tokens see nothing after key 1. For a
# single new token that goes wrong most quietly: it sees key 0 alone.
#
# A row that was filled up on the left must not look at its filling: where `cache.padding` is 2, keys 0 and 1 are
# hidden too. (A query that is filling itself then sees nothing. PyTorch's fused attention gives it zeros, and nobody
# looks at it.)


# %% nbgrader={"grade": false, "grade_id": "CausalSelfAttention", "locked": false, "schema_version": 3, "solution": true, "task": false}
class CausalSelfAttention(nn.Module):
    """Self-attention in which no token sees a later one. `F.scaled_dot_product_attention` is yours to use."""

    def __init__(self, d_model: int, n_heads: int):
        """Two layers with biases: w_qkv, d_model → 3·d_model, and w_o, d_model → d_model."""
        super().__init__()
        ### BEGIN SOLUTION
        self.n_heads = n_heads
        self.w_qkv = nn.Linear(d_model, 3 * d_model)
        self.w_o = nn.Linear(d_model, d_model)
        ### END SOLUTION

    def forward(self, x: Tensor, cache: KVCache | None = None, layer: int = 0) -> Tensor:
        """Mix what each new token may see.

        x: (b, l, d_model), the new tokens. w_qkv(x) holds first all queries, then all keys, then all
        values; in each, head i owns the d_head features from i·d_head on.
        cache: what `layer` of it holds are the tokens before `x`; `x` is appended to them, by one call of
        its `update`. Other layers may hold more or fewer. Without a cache `x` is all there is. A token at
        place j (of all) is seen by the tokens at places i ≥ j, unless it is filling: j < cache.padding of
        its row, where padding is given.
        Returns: (b, l, d_model), for the new tokens; finite for filling too, whatever it is.
        """
        ### BEGIN SOLUTION
        q, k, v = rearrange(self.w_qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.n_heads)
        if cache is not None:
            k, v = cache.update(layer, k, v)  # (b, h, so far, d)
        new, so_far = q.shape[2], k.shape[2]
        mask = torch.ones(new, so_far, dtype=torch.bool, device=x.device).tril(so_far - new)
        if cache is not None and cache.padding is not None:
            is_word = torch.arange(so_far, device=x.device) >= cache.padding[:, None]  # (b, so far)
            mask = mask & rearrange(is_word, "b k -> b 1 1 k")
        mixed = F.scaled_dot_product_attention(q, k, v, mask)  # (b, h, l, d)
        return self.w_o(rearrange(mixed, "b h l d -> b l (h d)"))
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_CausalSelfAttention", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("CausalSelfAttention", points=2):

    def expected(state, heads, x, diagonal=1, hidden=None):  # PyTorch's layer, which blocks keys from `diagonal` on
        layer = nn.MultiheadAttention(x.shape[-1], heads, batch_first=True, dtype=x.dtype)
        names = {"in_proj_": "w_qkv.", "out_proj.": "w_o."}
        layer.load_state_dict({t + p: state[o + p] for t, o in names.items() for p in ("weight", "bias")})
        blocked = torch.ones(x.shape[1], x.shape[1]).triu(diagonal) > 0
        with torch.no_grad():
            return layer(x, x, x, attn_mask=blocked, key_padding_mask=hidden, need_weights=False)[0]

    attend, b, n, wide, heads = CausalSelfAttention(12, 3).double(), 3, 7, 12, 3
    shapes = {name: tuple(t.shape) for name, t in attend.state_dict().items()}
    wanted = {"w_qkv.weight": (36, 12), "w_qkv.bias": (36,), "w_o.weight": (12, 12), "w_o.bias": (12,)}
    expect_equal(shapes, wanted, "two nn.Linear with biases, w_qkv and w_o, and nothing else")
    state = {name: 0.5 * randn(*shape, dtype=torch.float64) for name, shape in wanted.items()}
    attend.load_state_dict(state)
    x = randn(b, n, wide, dtype=torch.float64)
    out, right = attend(x), expected(state, heads, x)
    expect_equal(tuple(out.shape), (b, n, wide), "the result is (b, l, d_model)")
    expect(not torch.allclose(out, expected(state, heads, x, diagonal=n)), "a token sees later ones: mask them")
    expect(not torch.allclose(out[:, 1:], expected(state, heads, x, diagonal=0)[:, 1:]), "a token sees itself: j <= i")
    turned = expected(state, heads, x.flip(1), diagonal=0).flip(1)  # sees later ones only, the last token none
    hint = "the mask hides what it should keep: True keeps, in F.scaled_dot_product_attention"
    expect(not torch.allclose(out[:, :-1], turned[:, :-1]), hint)
    expect_close(out, right, "without a cache: queries, keys and values in this order, causal, heads merged, then w_o")

    kept = place(KVCache, 2, n)
    first = attend(x[:, :4], kept, 1)
    hint = "with a cache too the new tokens must not see one another's future"
    unmasked = {hint: expected(state, heads, x[:, :4], diagonal=4)}
    expect_close(first, right[:, :4], "the first 4 tokens, into an empty cache: as without one", mistakes=unmasked)
    single = attend(x[:, 4:5], kept, 1)
    expect_equal(kept.length, 5, "append the new tokens to the cache, once: cache.update(layer, k, v), for your layer")
    expect_equal(tuple(single.shape), (b, 1, wide), "one new token, one row of the result: the queries are new ones")
    alone = expected(state, heads, x[:, 4:5])
    expect(not torch.allclose(single, alone), "the new token sees only itself: attend to what cache.update returns")
    hint = "sees only key 0: align the mask with the lower right corner"
    top_left = expected(state, heads, x[:, :1])
    expect(not torch.allclose(single, top_left), f"the new token {hint}")
    expect_close(single, right[:, 4:5], "one token more: it sees all tokens of the cache and itself")
    rest = attend(x[:, 5:], kept, 1)
    expect_close(rest, right[:, 5:], "a chunk of 2 after 5: align the mask with the lower right corner")
    other = place(KVCache, 1, n)
    attend(x, other)
    expect_equal([kept.length, other.length], [n, n], "each call appends to the cache that it is given")
    kept = place(KVCache, 2, n)
    out = torch.cat([attend(part, kept, 0) for part in x.split([4, 1, 2], dim=1)], dim=1)
    hint = "count the keys that `update` returns: `cache.length` is that of the last layer, which is empty here"
    expect_close(out, right, hint)

    padding = torch.tensor([0, 2, 4])
    filling = torch.arange(n) < padding[:, None]
    right = expected(state, heads, x, hidden=filling)
    for parts in ([n], [5, 1, 1], [2, 3, 2]):
        kept = place(KVCache, 1, n, padding=padding)
        out = torch.cat([attend(part, kept) for part in x.split(parts, dim=1)], dim=1)
        expect(out.isfinite().all(), "NaN: filling sees nothing; use -1e9 in place of -inf, or let it see itself")
        expect(not torch.allclose(out[1:, -1], expected(state, heads, x)[1:, -1]), "filling is seen: look at padding")
        for row, missing in enumerate(padding.tolist()):
            hint = "a row with filling: hide the keys before `cache.padding` of that row, and no others"
            expect_close(out[row, missing:], right[row, missing:], hint)
    ### BEGIN HIDDEN TESTS
    for b, n, wide, heads, parts in ((1, 1, 2, 1, [1]), (2, 6, 8, 4, [1, 4, 1]), (3, 9, 6, 2, [3, 3, 3])):
        attend = CausalSelfAttention(wide, heads).double()
        state = {k: 0.5 * randn(*t.shape, dtype=torch.float64) for k, t in attend.state_dict().items()}
        attend.load_state_dict(state)
        x, kept = randn(b, n, wide, dtype=torch.float64), place(KVCache, 3, n + 2)
        right = expected(state, heads, x)
        expect_close(attend(x), right, "another size: the result differs")
        for at, part in enumerate(x.split(parts, dim=1)):
            begin = sum(parts[:at])
            expect_close(attend(part, kept, 2), right[:, begin : begin + part.shape[1]], "other chunks: they differ")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Write it without a cache first: split into three, heads apart, attend, heads together. The cache then changes only
# what the keys and values are.
#
# </details>
# <details><summary>Method</summary>
#
# After `update` count the queries and the keys. The last query is at the last key, so the shift of the triangle is the
# difference of the two counts; without a cache it is 0.
#
# </details>
# <details><summary>Almost there</summary>
#
# `torch.ones(...).tril(shift)` makes such a triangle. A mask for padding is a comparison of the keys' places with
# `padding` standing as a column, (b, so far); beside scores of (b, h, new, so far) it needs two axes of size 1 in the
# middle.
#
# </details>
# </details>

# %% [markdown]
# ## 5. What is the whole model?
#
# The block is lesson 05's, with norms in front, as GPT-2 has it. GPT-2's GELU is the tanh form. Tables and matrices
# start small, with a standard deviation of 0.02 for 768 columns; narrower ones start a little larger. (GPT-2 scales the
# two matrices that add to the stream further down, and trains with dropout; we leave out both.)


# %% nbgrader={"grade": false, "grade_id": "Block", "locked": true, "schema_version": 3, "solution": false, "task": false}
from utils.blocks import FeedForward


def gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


class Block(nn.Module):
    """Attention, then a feed-forward layer, each reading the normalised stream and adding to it."""

    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.attention_norm = nn.LayerNorm(d_model)
        self.attention = CausalSelfAttention(d_model, n_heads)
        self.feed_forward_norm = nn.LayerNorm(d_model)
        self.feed_forward = FeedForward(d_model, 4 * d_model, activation=gelu_tanh)

    def forward(self, x: Tensor, cache: KVCache | None = None, layer: int = 0) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cache, layer)
        return x + self.feed_forward(self.feed_forward_norm(x))


def small_start(module: nn.Module) -> None:
    """For `model.apply(small_start)`: biases 0, matrices and tables normal, with a variance of 0.3 / their columns."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=(0.3 / module.weight.shape[1]) ** 0.5)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


# %% [markdown]
# PyTorch has these layers too, and yours have to agree with them. The next cell is only the yardstick of the tests: you
# may skip it.


# %% nbgrader={"grade": false, "grade_id": "torch_gpt", "locked": true, "schema_version": 3, "solution": false, "task": false}
THEIRS = {
    "attention.w_qkv.": "self_attn.in_proj_", "attention.w_o.": "self_attn.out_proj.", "attention_norm.": "norm1.",
    "feed_forward.w_in.": "linear1.", "feed_forward.w_out.": "linear2.", "feed_forward_norm.": "norm2.",
}  # fmt: skip


def torch_gpt(state: dict, n_heads: int, ids: Tensor) -> Tensor:
    """The logits (b, l, vocab_size) that PyTorch's own layers give with the weights of `state`, a state dict of GPT."""
    x = state["tokens.weight"][ids] + state["positions.weight"][: ids.shape[1]]
    d_model, later = x.shape[-1], torch.ones(ids.shape[1], ids.shape[1]).triu(1) > 0
    layer = nn.TransformerEncoderLayer(
        d_model, n_heads, 4 * d_model, 0.0, gelu_tanh, batch_first=True, norm_first=True, dtype=x.dtype
    )
    with torch.no_grad():
        for i in range(len({name.split(".")[1] for name in state if name.startswith("blocks.")})):
            names = {f"blocks.{i}.{ours}{p}": theirs + p for ours, theirs in THEIRS.items() for p in ("weight", "bias")}
            layer.load_state_dict({theirs: state[ours] for ours, theirs in names.items()})
            x = layer(x, src_mask=later)
        return F.layer_norm(x, (d_model,), state["norm.weight"], state["norm.bias"]) @ state["tokens.weight"].T


def gpt_shapes(vocab_size: int, context: int, d_model: int, n_layers: int) -> dict:
    """The names and shapes of GPT's parameters."""
    shapes = {"tokens.weight": (vocab_size, d_model), "positions.weight": (context, d_model)}
    shapes |= {f"norm.{p}": (d_model,) for p in ("weight", "bias")}
    outs = {"attention.w_qkv": 3, "attention.w_o": 1, "feed_forward.w_in": 4, "feed_forward.w_out": 1}
    for i in range(n_layers):
        shapes |= {
            f"blocks.{i}.{norm}_norm.{p}": (d_model,)
            for norm in ("attention", "feed_forward")
            for p in ("weight", "bias")
        }
        for name, factor in outs.items():
            wide = 4 * d_model if name.endswith("w_out") else d_model
            shapes |= {
                f"blocks.{i}.{name}.weight": (factor * d_model, wide),
                f"blocks.{i}.{name}.bias": (factor * d_model,),
            }
    return shapes


def gpt_state(vocab_size: int, context: int, d_model: int, n_layers: int) -> dict:
    """Random weights and biases for a GPT, drawn by a test: none is small or zero."""
    shapes = gpt_shapes(vocab_size, context, d_model, n_layers)
    return {name: 0.4 * randn(*shape, dtype=torch.float64) for name, shape in shapes.items()}


# %% [markdown]
# Three things stand around the blocks.
#
# **Positions** are learned, a vector for each place, added to the token's. With a cache the places **go on**: after a
# prompt of 4 tokens the next is at place 4, though it comes alone. A row with filling counts from its first real token.
#
# By hand: 4 tokens are in the cache, 2 come. Their places are 4 and 5; in a row with a padding of 3 they are 1 and 2.
# What is filling has no place; take 0 for it.
#
# **The head** has no weights of its own. A token's logit is the dot product of the last vector with that token's own
# embedding: the table that reads also writes. In GPT-2 that saves 38.6 of what would be 163 million parameters.
#
# **A last norm** stands before the head.


# %% nbgrader={"grade": false, "grade_id": "GPT", "locked": false, "schema_version": 3, "solution": true, "task": false}
class GPT(nn.Module):
    """GPT-2: tokens in, logits of the next token out."""

    def __init__(self, vocab_size: int, context: int, d_model: int, n_layers: int, n_heads: int):
        """The parts, by name: the tables `tokens` (vocab_size, d_model) and `positions` (context, d_model), both
        nn.Embedding; `blocks`, an nn.ModuleList of n_layers Blocks; `norm`, an nn.LayerNorm. They start
        as `small_start` makes them. `context` is an attribute: the largest number of tokens.
        """
        super().__init__()
        ### BEGIN SOLUTION
        self.context = context
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.apply(small_start)
        ### END SOLUTION

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits of the token after each of `ids`.

        ids: (b, l) int64, the new tokens. cache: holds the tokens before them, and takes these in; its
        layer i belongs to block i. Without a cache `ids` is all there is.
        A token's position is how many real tokens stand before it in its row, those of the cache
        included; filling, where the cache has `padding`, gets position 0.
        Returns: (b, l, vocab_size), the dot products of the last norm's output with the rows of `tokens`.
        Raises: ValueError when cache and `ids` together are more than `context` tokens, filling included.
        """
        ### BEGIN SOLUTION
        past = 0 if cache is None else cache.length
        if past + ids.shape[1] > self.context:
            raise ValueError(f"{past + ids.shape[1]} tokens, but there are positions for {self.context}")
        places = torch.arange(past, past + ids.shape[1], device=ids.device)  # (l,)
        if cache is not None and cache.padding is not None:
            places = (places - cache.padding[:, None]).clamp(min=0)  # (b, l)
        x = self.tokens(ids) + self.positions(places)
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return F.linear(self.norm(x), self.tokens.weight)
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_GPT", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("GPT", points=3):
    v, longest, wide, layers, heads = 11, 12, 8, 2, 2
    size = (v, longest, wide, layers)
    tiny = place(GPT, v, longest, wide, layers, heads)
    state = tiny.state_dict()
    shapes = {name: tuple(t.shape) for name, t in state.items()}
    own_head = [name for name in shapes if "head" in name]
    expect(not own_head, "the head has no weights of its own: the rows of `tokens` serve again", got=own_head)
    expect_equal(shapes, gpt_shapes(*size), "tables, blocks and norm under the names that the docstring gives")
    stds = [state[f"{name}.weight"].std().item() for name in ("tokens", "positions")]
    expect(max(stds) < 0.6, "the tables start too large: self.apply(small_start), at the end", got=stds)
    hint = "biases start at 0: self.apply(small_start), at the end"
    expect(not state["blocks.1.attention.w_qkv.bias"].any(), hint)
    expect_equal(tiny.context, longest, "`context` is an attribute: self.context")
    tiny, state, ids = tiny.double(), gpt_state(*size), randint(0, v, (3, 9))
    tiny.load_state_dict(state)
    out, right = tiny(ids), torch_gpt(state, heads, ids)
    expect_equal(tuple(out.shape), (3, 9, v), "the logits are (b, l, vocab_size)")
    without = torch_gpt(state | {"positions.weight": torch.zeros(longest, wide).double()}, heads, ids)
    expect(not torch.allclose(out, without), "positions are not added")
    scale_free = state | {"norm.weight": torch.ones(wide).double(), "norm.bias": torch.zeros(wide).double()}
    expect(not torch.allclose(out, torch_gpt(scale_free, heads, ids)), "the last norm has a gain and a bias")
    expect_close(out, right, "tokens + positions, the blocks one after another, the last norm, then tokens again")
    expect_raises(ValueError, tiny, randint(0, v, (1, 13)), hint="13 tokens, but context is 12: raise ValueError")
    expect_not_raises(ValueError, tiny, randint(0, v, (1, 12)), hint="exactly `context` tokens still fit: 12 of 12")

    for parts in ([4, 1, 1, 3], [9], [1] * 9, [2, 7]):
        kept, done = place(KVCache, layers, 9), 0
        for part in ids.split(parts, dim=1):
            out = tiny(part, kept)
            expect_equal(tuple(out.shape), (3, part.shape[1], v), "with a cache: logits for the new tokens alone")
            if done:
                again = torch_gpt(state, heads, part)
                expect(not torch.allclose(out, again), "the past is forgotten: hand cache and layer to each block")
            done += part.shape[1]
            expect_equal(kept.length, done, "each block uses its own layer of the cache, once")
            hint = f"in chunks of {parts}: positions go on from cache.length, they do not start again at 0"
            expect_close(out, right[:, done - part.shape[1] : done], hint)
    expect_close(tiny(ids), right, "a call without a cache must not remember an earlier one")
    kept = place(KVCache, layers, 20)
    tiny(ids, kept)
    expect_raises(ValueError, tiny, ids[:, :4], kept, hint="9 + 4 tokens, but context is 12: count those of the cache")
    hint = "exactly `context` tokens still fit: 9 in the cache and 3"
    expect_not_raises(ValueError, tiny, ids[:, :3], kept, hint=hint)

    padding = torch.tensor([5, 0, 2])
    for parts in ([9], [6, 1, 2], [1, 8]):
        kept = place(KVCache, layers, 9, padding=padding)
        hint = "the positions of filling are negative: take 0"
        out = [expect_not_raises(IndexError, tiny, part, kept, hint=hint) for part in ids.split(parts, dim=1)]
        out = torch.cat(out, dim=1)
        for row, missing in enumerate(padding.tolist()):
            alone = torch_gpt(state, heads, ids[row : row + 1, missing:])[0]
            hint = f"a row with {missing} of 9 tokens filling must be as without it: positions count its real tokens"
            expect_close(out[row, missing:], alone, hint)
    ### BEGIN HIDDEN TESTS
    for v, longest, wide, layers, heads in ((5, 6, 4, 1, 1), (30, 8, 12, 3, 4)):
        size = (v, longest, wide, layers)
        tiny, state = place(GPT, v, longest, wide, layers, heads).double(), gpt_state(*size)
        tiny.load_state_dict(state)
        ids, kept = randint(0, v, (2, longest)), place(KVCache, layers, longest)
        right = torch_gpt(state, heads, ids)
        expect_close(tiny(ids), right, "another size: the logits differ")
        out = torch.cat([tiny(part, kept) for part in ids.split([3, longest - 3], dim=1)], dim=1)
        expect_close(out, right, "another size, in two chunks: the logits differ")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Without a cache it is six lines. Write those, then ask of each what changes when some tokens are already in the cache.
#
# </details>
# <details><summary>Method</summary>
#
# Only the positions change, and what the blocks are given. Read the cache's length *before* the blocks run: they make
# it longer. For padding, take each row's number off the places; that gives a table (b, l).
#
# </details>
# <details><summary>Almost there</summary>
#
# `torch.arange` with a start and an end, `clamp(min=0)` for the filling, `enumerate(self.blocks)` for the layers. A
# product with the rows of a table is `F.linear(x, table)`.
#
# </details>
# </details>

# %% [markdown]
# ### Train it
#
# Batches are windows from anywhere in the training text. The yardstick is a model that knows how frequent each token is
# and nothing else: the unigram.


# %%
def stream(docs: dict[str, str]) -> Tensor:
    """All documents, one after the other, each ended by <end>: (n,) int64."""
    return torch.tensor([i for text in docs.values() for i in [*encode(text), END]], device=device)


train_ids, held_out_ids = stream(train_docs), stream(held_out_docs)
context = pick(smoke=96, cpu=128, gpu=256)
n_layers, d_model, n_heads = pick(smoke=(2, 32, 2), cpu=(4, 128, 4), gpu=(8, 512, 8))
model = GPT(len(vocabulary), context, d_model, n_layers, n_heads).to(device)
print(f"{len(train_ids):,} tokens to train on; {sum(p.numel() for p in model.parameters()):,} parameters")


def window_loss(step: int) -> Tensor:
    starts = torch.randint(len(train_ids) - context, (pick(smoke=2, cpu=12, gpu=64), 1), device=device)
    ids = train_ids[starts + torch.arange(context, device=device)]
    return next_token_loss(model(ids), ids)


losses = fit(model, window_loss, steps=pick(smoke=2, cpu=350, gpu=3000), lr=pick(smoke=2e-3, cpu=3e-3, gpu=6e-4))


# %%
@torch.no_grad()
def held_out_loss(model: GPT) -> float:
    """The mean loss on the held-out documents, window by window."""
    windows = rearrange(held_out_ids[: len(held_out_ids) // context * context], "(n l) -> n l", l=context)
    return torch.stack([next_token_loss(model(ids[None]), ids[None]) for ids in windows]).mean().item()


counts = torch.bincount(train_ids, minlength=len(vocabulary)) + 1.0
unigram_loss = -(counts / counts.sum()).log()[held_out_ids].mean().item()
gpt_loss = held_out_loss(model)
print(f"held out: unigram {unigram_loss:.2f}, GPT {gpt_loss:.2f} nats a token")

# %% jupyter={"source_hidden": true}
every = max(1, len(losses) // 80)
smooth = [sum(losses[i : i + every]) / len(losses[i : i + every]) for i in range(0, len(losses), every)]
at = [i * every for i in range(len(smooth))]
curves(
    {
        "GPT, training": (at, smooth),
        "unigram, held out": (at, [unigram_loss] * len(at)),
        "GPT, held out": (at, [gpt_loss] * len(at)),
    },
    xlabel="step",
    ylabel="loss (nats a token)",
    title="It soon knows more than how frequent each token is",
    alt=f"The training loss falls from {losses[0]:.1f} to {losses[-1]:.1f}. On held-out documents the unigram stays at "
    f"{unigram_loss:.1f}, the trained model is at {gpt_loss:.1f}.",
)

# %% [markdown]
# ## 6. How does it write?
#
# Choose a token from the logits at the last place, append it, ask again. Without a cache the $n$-th new token sends the
# prompt and $n - 1$ tokens through the model. With one, the work has two phases:
#
# - **prefill**: the prompt goes through once, in one piece or in chunks, and fills the cache;
# - **decode**: each new token goes through alone.
#
# By hand: for a prompt of 5 tokens and 4 new ones, $5 + 6 + 7 + 8 = 26$ tokens go through the model without a cache,
# and $5 + 1 + 1 + 1 = 8$ with one. The last new token is chosen and never goes through.
#
# The two phases, and the filling of short prompts, are given:


# %% nbgrader={"grade": false, "grade_id": "prefill", "locked": true, "schema_version": 3, "solution": false, "task": false}
def left_pad(prompts: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Prompts (l_i,) as one tensor (b, l), filled up on the left; and by how much (b,), None where all are as long."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.stack([F.pad(prompt, (longest - len(prompt), 0)) for prompt in prompts])
    padding = torch.tensor([longest - len(prompt) for prompt in prompts], device=ids.device)
    return ids, padding if padding.any() else None


def prefill(model: nn.Module, ids: Tensor, cache: KVCache, chunk: int | None = None) -> Tensor:
    """Send the prompts (b, l) through, at most `chunk` tokens of each at a time. Returns: the last logits, (b, v)."""
    for part in ids.split(chunk or ids.shape[1], dim=1):
        logits = model(part, cache)
    return logits[:, -1]


def decode_step(model: nn.Module, tokens: Tensor, cache: KVCache) -> Tensor:
    """Send one new token of each row, (b,), through. Returns: the logits after it, (b, vocab_size)."""
    return model(tokens[:, None], cache)[:, -1]


def greedy(logits: Tensor) -> Tensor:
    """The most likely token of each row: (b, vocab_size) → (b,)."""
    return logits.argmax(-1)


# %% nbgrader={"grade": false, "grade_id": "generate", "locked": false, "schema_version": 3, "solution": true, "task": false}
@torch.no_grad()
def generate(
    model: GPT,
    prompts: list[Tensor],
    max_new: int,
    choose=greedy,
    end: int | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Continue each prompt by up to `max_new` ≥ 1 tokens.

    prompts: b tensors (l_i,) int64, of any lengths ≥ 1.
    choose: a function from logits (b, vocab_size) to tokens (b,); called once for each new column.
    end: a row that has chosen this token goes on with it, whatever `choose` says; all stop when every row
    has.
    chunk: the prompts go through at most so many tokens at a time; None: all at once.
    Each call begins with an empty cache of its own. The prompts go through the model once, together,
    filled up on the left; after that only the newest token of each row does, but for the last.
    Returns: (b, new) int64, the new tokens only; new ≤ max_new.
    Raises: the model's ValueError when more than its `context` tokens would go through.
    >>> tiny = GPT(vocab_size=5, context=8, d_model=4, n_layers=1, n_heads=1)
    >>> generate(tiny, [torch.tensor([1, 2, 3]), torch.tensor([4])], max_new=2).shape
    torch.Size([2, 2])
    """
    ### BEGIN SOLUTION
    ids, padding = left_pad(prompts)
    cache = KVCache(len(model.blocks), ids.shape[1] + max_new, padding)
    logits, new = prefill(model, ids, cache, chunk), []
    finished = torch.zeros(len(prompts), dtype=torch.bool, device=ids.device)
    while True:
        token = choose(logits)
        if end is not None:
            token = token.masked_fill(finished, end)
            finished |= token == end
        new.append(token)
        if len(new) == max_new or finished.all():
            return torch.stack(new, dim=1)
        logits = decode_step(model, token, cache)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_generate", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("generate", points=3):
    vocab, layers, heads = 13, 2, 2
    size = (vocab, 24, 8, layers)
    tiny, state = place(GPT, *size, heads).double(), gpt_state(*size)
    tiny.load_state_dict(state)
    passes, asked = [], []  # tokens a row in each pass through the first layer; the logits that were chosen from

    def count(module, inputs):
        passes.append(inputs[0].shape[1])

    tiny.blocks[0].attention.w_qkv.register_forward_pre_hook(count)

    def wander(logits):  # the most likely token, then the second, the third, and again
        asked.append(logits)
        return logits.topk(3).indices[:, (len(asked) - 1) % 3]

    def by_hand(stem, new, ranks=3):  # no cache: PyTorch's layers, on all tokens, for each new one
        ids, logits = stem, []
        for i in range(new):
            logits.append(torch_gpt(state, heads, ids[None])[0, -1])
            ids = torch.cat([ids, logits[-1].topk(ranks).indices[i % ranks, None]])
        return ids[len(stem) :], torch.stack(logits)

    stem = randint(0, vocab, (5,))
    out = generate(tiny, [stem], 6, wander)
    expect_equal(tuple(out.shape), (1, 6), "return the new tokens only, a row for each prompt: (b, new)")
    expect_equal(out.dtype, torch.int64, "tokens are int64")
    tokens, right = sum(passes), by_hand(stem, 6)
    hint = "the whole text goes through the model for each new token: use the cache"
    expect(tokens != sum(range(5, 11)), hint, got=passes)
    expect(tokens <= 11, "5 tokens of the prompt, 6 new ones: none may go through the model twice", got=passes)
    expect(tokens > 5, "nothing but the prompt went through the model", got=passes)
    expect(len(asked) >= 6, "call `choose` for each new column", got=len(asked))
    hint = "the first new token is chosen from the logits that the prompt's last token gives"
    expect_close(asked[0], right[1][:1], hint)
    expect_equal(len(asked), 6, "call `choose` once for each new column: 6 times")
    for i in range(1, 6):
        expect_close(
            asked[i], right[1][i : i + 1], f"the logits for new token {i} (from 0) differ from those without a cache"
        )
    expect_equal(out[0], right[0], "the tokens must be those that `choose` gives, in their order")
    before = list(passes)
    asked.clear()
    generate(tiny, [stem], 6, wander)
    expect_close(asked[0], right[1][:1], "a second call must begin with an empty cache of its own")
    expect_equal(passes[len(before) :], before, "a second call does the same work as the first")
    expect_equal(tokens, 10, "the last new token is chosen and never goes through: 5 tokens of the prompt and 5 more")
    expect_equal(generate(tiny, [stem], 6)[0], by_hand(stem, 6, ranks=1)[0], "without `choose`: greedy")
    hint = "5 + 20 tokens and one more: for a context of 24 too many; let the model's ValueError through"
    expect_raises(ValueError, generate, tiny, [stem], 21, hint=hint)

    texts = [randint(0, vocab, (n,)) for n in (4, 1, 7, 7)]
    for new in (5, 1):
        passes.clear(), asked.clear()
        out, right = generate(tiny, texts, new, wander), [by_hand(text, new) for text in texts]
        hint = "all prompts go through together, once: the longest has 7 tokens"
        expect(7 <= sum(passes) <= 7 + new, hint, got=passes)
        hint = "`choose` gets the last logits of all rows together, (b, vocab_size), once for each new column"
        expect_equal([tuple(logits.shape) for logits in asked], [(4, vocab)] * new, hint)
        for row, text in enumerate(texts):
            hint = f"a prompt of {len(text)} tokens beside one of 7: the row must be as if it were alone"
            expect_close(torch.stack([logits[row] for logits in asked]), right[row][1], hint)
            expect_equal(out[row], right[row][0], hint)
    for chunk, parts in ((3, [3, 3, 1]), (7, [7]), (1, [1] * 7)):
        passes.clear(), asked.clear()
        out = generate(tiny, texts, 3, wander, None, chunk)
        expect_equal(passes[: len(parts)], parts, f"with chunk={chunk} a prompt of 7 tokens goes through in such parts")
        expect_equal(out, torch.stack([by_hand(text, 3)[0] for text in texts]), "in chunks the tokens must be the same")

    alone = torch.stack([by_hand(text, 9)[0] for text in texts])
    end = int(alone[0, 2])
    for rows in ([0, 1, 2, 3], [0]):
        asked.clear()
        out = generate(tiny, [texts[row] for row in rows], 9, wander, end)
        ended = (alone[rows] == end).int().cumsum(1) > 0
        new = (10 - ended.sum(1)).clamp(max=9).max().item()  # until the last row has ended
        hint = "stop only when every row has chosen `end`, not at the first one; keep the last `end` too"
        expect(out.shape[1] >= new, hint, got=out.shape[1])
        hint = "stop when every row has chosen `end`: more tokens are wasted work"
        expect(out.shape[1] == new, hint, got=out.shape[1])
        right = alone[rows].masked_fill(ended, end)[:, :new]
        expect_equal(out, right, "a row that has chosen `end` goes on with `end`; keep the first one")

    def always_0(logits):
        return torch.zeros(len(logits), dtype=torch.int64)

    hint = "`end` may be token 0: compare it with None"
    expect_equal(tuple(generate(tiny, [stem], 4, always_0, 0).shape), (1, 1), hint)
    ### BEGIN HIDDEN TESTS
    size, heads = (7, 16, 6, 3), 3
    tiny, state = place(GPT, *size, heads).double(), gpt_state(*size)
    tiny.load_state_dict(state)
    passes.clear()
    tiny.blocks[0].attention.w_qkv.register_forward_pre_hook(count)
    texts = [randint(0, 7, (n,)) for n in (2, 6, 3)]
    asked.clear()
    out = generate(tiny, texts, 10, wander)
    expect_equal(out, torch.stack([by_hand(text, 10)[0] for text in texts]), "another model: the tokens differ")
    expect(
        sum(passes) <= 16 and passes[1:] == [1] * (len(passes) - 1), "one token a step, after the prompt", got=passes
    )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Everything is there: `left_pad`, `KVCache`, `prefill`, `decode_step`. Which of them stands before the loop, which in
# it?
#
# </details>
# <details><summary>Method</summary>
#
# The prefill's logits choose the first new token. Then each round sends the token just chosen through the model, and
# gets the logits for the next. Make the cache inside the function, large enough for prompt and new tokens.
#
# </details>
# <details><summary>Almost there</summary>
#
# For `end`, keep a bool for each row. Before a token is appended, rows that have finished get `end` in its place
# (`masked_fill`); after that, mark the rows that have it now. `len(model.blocks)` is the number of layers.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# The same tokens, with and without a cache, and the tokens that went through the model.


# %%
@torch.no_grad()
def without_cache(model: GPT, prompt: Tensor, n_new: int) -> Tensor:
    """Greedy decoding that sends all tokens through the model each time: (n_new,)."""
    ids = prompt
    for _ in range(n_new):
        ids = torch.cat([ids, greedy(model(ids[None])[:, -1])])
    return ids[len(prompt) :]


def passed(run, *args) -> tuple[Tensor, int]:
    """What `run(model, *args)` returns, and how many tokens went through the model."""
    seen = []
    hook = model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].numel()))
    result = run(model, *args)
    hook.remove()
    return result, sum(seen)


model.eval()
prompt = torch.tensor(encode('The "for" statement'), device=device)
max_new = pick(smoke=6, cpu=100, gpu=200)
slow, slow_tokens = passed(without_cache, prompt, max_new)
fast, fast_tokens = passed(generate, [prompt], max_new)
print(f"same tokens: {torch.equal(slow, fast[0])}")
print(f"tokens through the model: {slow_tokens:,} without a cache, {fast_tokens} with one")

# %%
print(decode([*prompt, *fast[0]]))

# %% [markdown]
# It goes round in circles: the same lines again and again, or nothing but line breaks. That is greedy decoding's doing,
# and section 7's subject; there you see what else it has learned.
#
# ### What does the cache cost?
#
# **Predict first.** How much memory does GPT-2 (12 layers, 12 heads of 64) keep for each token, in float32?
#
# Keys and values, for each layer, head and feature of a head: $2 \cdot 12 \cdot 12 \cdot 64 = 18{,}432$ numbers, 73,728
# bytes.


# %%
def kv_cache_bytes(n_layers: int, n_heads: int, d_head: int, length: int, batch: int = 1, bytes_per: int = 2) -> int:
    """The size of a full cache; a number takes 2 bytes in float16 and bfloat16, 4 in float32."""
    return 2 * n_layers * batch * n_heads * length * d_head * bytes_per


def token_flops(length: int, n_layers: int, d_model: int, vocab_size: int, cached: bool) -> int:
    """Operations in matrix products to get the logits after `length` tokens: of the last token alone if `cached`."""
    new = 1 if cached else length
    weights = 2 * new * (12 * n_layers * d_model**2 + d_model * vocab_size)  # 12·d² numbers in a block, and the head
    attention = n_layers * 2 * 2 * new * length * d_model  # scores and mixing
    return weights + attention


lengths = [2**i for i in range(11)]
costs = {cached: [token_flops(n, 12, 768, 50257, cached) for n in lengths] for cached in (False, True)}
gpt2_token = kv_cache_bytes(12, 12, 64, length=1, bytes_per=4)
print(f"GPT-2, float32: {gpt2_token:,} bytes a token, {1024 * gpt2_token / 2**20:.0f} MiB for 1024 tokens")
print(f"GPT-3, 2048 tokens in float16: {kv_cache_bytes(96, 96, 128, 2048) / 2**30:.1f} GiB for each text")

# %% jupyter={"source_hidden": true}
curves(
    {"without a cache": (lengths, costs[False]), "with a cache": (lengths, costs[True])},
    xlabel="tokens so far",
    ylabel="operations for the next token",
    title="Without a cache a token costs as much as the whole text before it",
    alt="Operations of GPT-2 for one more token against the tokens so far, both axes logarithmic. Without a cache they rise in "
    f"proportion to the length, to {costs[False][-1]:.1e} at 1024 tokens; with one they stay near {costs[True][-1]:.1e}.",
    log="xy",
)

# %% [markdown]
# So the cache trades memory for work, and the memory is not small: the sizes of GPT-3 are from Brown et al. (2020,
# table 2.1). A server that answers a hundred people at once holds a hundred caches. Lesson 09 is about making them
# smaller.

# %% [markdown]
# ## Break it: two bugs that crash nothing
#
# **Predict first.** Here are the two mistakes that people make most often with a cache. In both, every key and value is
# kept and every shape is right.
#
# - `length` is always 0, so each new token is given position 0.
# - The causal mask stands in the upper left corner, so a new token that comes alone sees key 0 alone.
#
# Which one does more harm?


# %%
class Forgetful(KVCache):
    """Keeps everything, and says that there was nothing: positions start again at 0 with each chunk."""

    length = 0


class TopLeft(KVCache):
    """Keeps everything, and shows n new tokens the first n keys: what a mask in the upper left corner lets through."""

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = super().update(layer, k, v)
        return keys[:, :, : k.shape[2]], values[:, :, : k.shape[2]]


@torch.no_grad()
def loss_by_place(cache: KVCache, windows: Tensor, prompt_length: int) -> list[float]:
    """The loss of each token after a prompt, the windows (b, l) going through one token at a time."""
    logits, losses = prefill(model, windows[:, :prompt_length], cache), []
    for tokens in windows[:, prompt_length:].T:
        losses.append(F.cross_entropy(logits, tokens).item())
        logits = decode_step(model, tokens, cache)
    return losses


n_windows, prompt_length = pick(smoke=2, cpu=24, gpu=64), context // 4
windows = rearrange(held_out_ids[: n_windows * context], "(n l) -> n l", n=n_windows)
kinds = {"as it should be": KVCache, "positions restart at 0": Forgetful, "mask in the wrong corner": TopLeft}
by_place = {name: loss_by_place(kind(n_layers, context), windows, prompt_length) for name, kind in kinds.items()}
average = {name: sum(losses) / len(losses) for name, losses in by_place.items()}
_, lost_positions, lost_mask = (loss - average["as it should be"] for loss in average.values())
for name, loss in average.items():
    print(f"{name:<25} loss after the prompt {loss:.2f}")

# %% jupyter={"source_hidden": true}
width = pick(smoke=6, cpu=8, gpu=12)
starts = range(0, context - prompt_length - width + 1, width)
curves(
    {
        name: ([prompt_length + i + width / 2 for i in starts], [sum(line[i : i + width]) / width for i in starts])
        for name, line in by_place.items()
    },
    xlabel="place in the window",
    ylabel="loss (nats a token)",
    title=f"A wrong mask costs {lost_mask:.2f} nats a token, wrong positions {lost_positions:.2f}",
    alt="Mean loss by place, three lines. "
    + "; ".join(f"{name}: {loss:.1f} on average" for name, loss in average.items()) + ". The unigram is at "
    + f"{unigram_loss:.1f}.",
    markers=True,
)  # fmt: skip

# %% [markdown]
# In two runs at cpu scale the mask took away 56 % and 99 % of what the model had learned beyond the unigram, the
# positions 11 % and 6 %. It looks back by content more than by place, and its texts still look like texts. The prompt
# went through in one piece, so even the first new token is right. Such a bug stays for months. That is why your tests
# compared logits chunk by chunk, and counted tokens.
#
# ## 7. Which token to choose?
#
# The most likely one, always? You saw what comes of it. Here is the logits' other use: as a distribution to draw from.
# Three knobs shape it first, in this order:
#
# - **temperature** divides the logits: below 1 the likely tokens gain, above 1 the unlikely ones;
# - **top-k** keeps the k most likely tokens;
# - **top-p** keeps the most likely tokens until together they hold a share p of the probability: few where the model is
#   sure, many where it is not (Holtzman et al. 2020).
#
# By hand, with probabilities 0.5, 0.25, 0.15, 0.1: top-k with k = 2 keeps the first two. Top-p with p = 0.7 keeps the
# first two as well: 0.5 is not enough yet, and the token that crosses 0.7 stays. What is left is divided by its sum:
# 2/3 and 1/3.


# %% nbgrader={"grade": false, "grade_id": "warp_logits", "locked": false, "schema_version": 3, "solution": true, "task": false}
def warp_logits(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Shape a distribution before a token is drawn from it: first temperature, then top-k, then top-p.

    logits: (..., vocab_size). temperature > 0.
    top_k: keeps the k most likely tokens, all where there are no more than k; every token as likely as
    the k-th stays.
    top_p: 0 < p ≤ 1; of the distribution that top_k left, keeps a token if those more likely than it hold
    less than p together. So the token with which p is reached is kept, and the most likely token always
    is. Among equally likely ones the order of the sorting decides. 1 keeps all, however it is rounded.
    Returns: (..., vocab_size): the kept logits, divided by the temperature, in their places; -inf for the
    others.
    >>> logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()
    >>> warp_logits(logits, top_p=0.7).softmax(-1)
    tensor([0.0000, 0.6667, 0.0000, 0.3333])
    """
    ### BEGIN SOLUTION
    logits = logits / temperature
    if top_k is not None:
        smallest = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    if top_p is not None and top_p < 1:
        ranked, order = logits.sort(descending=True)
        p = ranked.softmax(-1)
        dropped = p.cumsum(-1) - p >= top_p  # what stands before a token holds p already
        logits = logits.masked_fill(dropped.gather(-1, order.argsort(-1)), -torch.inf)
    return logits
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_warp_logits", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("warp_logits", points=2):

    def kept(
        logits, temperature=1.0, top_k=None, top_p=None, before=False
    ):  # one row, token by token, by the definition
        logits = [x / temperature for x in logits.tolist()]
        stay = set(range(len(logits)))
        if top_k is not None:
            stay = {i for i in stay if sum(other > logits[i] for other in logits) < top_k}
        if top_p is not None:
            p = (
                torch.tensor([x if i in stay else -torch.inf for i, x in enumerate(logits)])
                .double()
                .softmax(-1)
                .tolist()
            )
            ahead = {i: sum(q for q in p if q > p[i]) + (p[i] if before else 0) for i in stay}
            stay = {i for i in stay if ahead[i] < top_p}
        return torch.tensor([x if i in stay else -torch.inf for i, x in enumerate(logits)], dtype=torch.float64)

    logits = 2 * randn(3, 9, dtype=torch.float64)

    def rows(**knobs):
        return torch.stack([kept(row, **knobs) for row in logits])

    got = warp_logits(logits)
    expect_close(got, logits, "without any knob the logits stay as they are")
    expect(not torch.allclose(warp_logits(logits, 2.0), 2 * logits), "divide by the temperature: 2 makes it flatter")
    expect_close(warp_logits(logits, 0.5), 2 * logits, "logits divided by the temperature")
    got = warp_logits(logits, top_k=3)
    expect_equal(tuple(got.shape), (3, 9), "every token keeps its place: the shape stays")
    number = (got > -torch.inf).sum(-1).tolist()
    expect(
        (got.exp() > 0).any() and not (got == 0).any(),
        "a dropped token gets -inf: a logit of 0 is likely, not impossible",
    )
    expect_equal(number, [3, 3, 3], "top_k=3 keeps 3 tokens of each row, each by its own ranks")
    expect_close(got, rows(top_k=3), "keep the k largest logits, in their places, unchanged")
    expect_close(warp_logits(logits, top_k=40), logits, "with more than there are, top_k keeps all")
    expect_close(warp_logits(logits, top_k=1), rows(top_k=1), "top_k=1 keeps the most likely token")
    tie = torch.tensor([1.0, 3.0, 2.0, 2.0])
    expect_equal(
        (warp_logits(tie, top_k=2) > -torch.inf).tolist(), [False, True, True, True], "equals of the k-th stay"
    )
    got = warp_logits(logits, top_p=0.8)
    crossing = rows(top_p=0.8, before=True)  # without the token that crosses p
    stays = "the token that crosses p is kept: take each token's own probability off the running sum"
    expect(not torch.equal(got, crossing), stays)
    expect(got.amax(-1).isfinite().all(), "the most likely token is always kept")
    patched = torch.where(logits == logits.amax(-1, keepdim=True), logits, crossing)
    hint = "top_p: drop a token if those more likely than it hold p already; put the result back in the tokens' places"
    expect_close(got, rows(top_p=0.8), hint, mistakes={stays + ", not only for the first one": patched})
    example = warp_logits(torch.tensor([0.1, 0.5, 0.15, 0.25]).log(), top_p=0.7).softmax(-1)
    expect_close(example, torch.tensor([0, 2 / 3, 0, 1 / 3]), "the example by hand")
    expect_close(warp_logits(logits, top_p=0.05), rows(top_k=1), "with a small p the most likely token is left")
    for temperature, k, p in ((3.0, None, 0.7), (0.3, None, 0.9), (1.0, 4, 0.8), (2.0, 5, 0.6)):
        hint = f"temperature={temperature}, top_k={k}, top_p={p}: in this order, each on what the one before left"
        got = warp_logits(logits, temperature, k, p)
        expect_close(got, rows(temperature=temperature, top_k=k, top_p=p), hint)
    sure = torch.tensor([0.0, -20.0, -30.0])  # in float32 the first probability is 1
    expect_close(warp_logits(sure, top_p=1.0), sure, "top_p=1 keeps all: the running sum is rounded, so ask for p < 1")
    ### BEGIN HIDDEN TESTS
    for shape in ((1, 5), (4, 30), (2, 2)):
        logits = 3 * randn(*shape, dtype=torch.float64)
        for temperature, k, p in ((0.7, 3, 0.9), (1.5, None, 0.5), (1.0, 2, None), (2.5, 10, 0.95)):
            got = warp_logits(logits, temperature, k, p)
            expect_close(got, rows(temperature=temperature, top_k=k, top_p=p), "other logits: what is kept differs")
    expect_close(warp_logits(logits[0], 1.0, 1, 0.5), kept(logits[0], 1.0, 1, 0.5), "one row, without a batch")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Each knob only decides which logits become -inf. After a softmax those have probability 0, and the rest sums to 1
# again.
#
# </details>
# <details><summary>Method</summary>
#
# For top-k find the k-th largest logit of each row and drop what is below it. For top-p sort each row, take the
# softmax of the sorted logits, and add the probabilities up from the most likely one on.
#
# </details>
# <details><summary>Almost there</summary>
#
# The running sum at a token contains the token itself; take it off again before you compare with p. With p = 1 there is
# nothing to drop, but a rounded sum may say so. The comparison is in sorted order; `order.argsort(-1)` says where each
# token has gone, and `gather` with it brings the answer back.
#
# </details>
# </details>


# %%
def sampler(**knobs):
    """A `choose` for `generate`: draws from the distribution that `warp_logits` leaves."""

    def choose(logits: Tensor) -> Tensor:
        return torch.multinomial(warp_logits(logits, **knobs).softmax(-1), 1)[:, 0]

    return choose


def repeats(rows: Tensor, n: int = 4) -> float:
    """The share of groups of n tokens that stood in the same row before; rows: (b, l)."""
    grams = [[tuple(row[i : i + n]) for i in range(len(row) - n + 1)] for row in rows.tolist()]
    return 1 - sum(len(set(row)) for row in grams) / sum(len(row) for row in grams)


starts = held_out_ids[: pick(smoke=2, cpu=24, gpu=64) * 8].view(-1, 8)
room = pick(smoke=6, cpu=context - 8, gpu=context - 8)
chosen = {
    "greedy": greedy,
    "temperature 0.7": sampler(temperature=0.7),
    "top-k 40": sampler(top_k=40),
    "top-p 0.9": sampler(top_p=0.9),
    "all tokens": sampler(),
}
written = {name: generate(model, list(starts), room, choose) for name, choose in chosen.items()}
repeated = {name: repeats(rows) for name, rows in written.items()} | {"the real text": repeats(windows[:, 8:])}
for name, share in repeated.items():
    print(f"{name:<16} {share:4.0%} of all groups of 4 tokens stood in the text before")

# %%
print(decode([*prompt, *generate(model, [prompt], max_new, sampler(temperature=0.8, top_p=0.9))[0]]))

# %% [markdown]
# Greedy decoding loops: what it has just said makes it likely to say it again, and nothing breaks the circle. People
# do not write the most likely word each time either; but they do repeat themselves, more than a model that draws from
# all tokens. The knobs are for the ground between.
#
# ## Play
#
# The real distribution, after *If the value of the*. Turn the knobs: which tokens are left, and how likely is each?

# %% nbgrader={"grade": false, "grade_id": "play", "locked": true, "schema_version": 3, "solution": false, "task": false}
opening = torch.tensor(encode("If the value of the"), device=device)
with torch.no_grad():
    after_opening = model(opening[None])[0, -1]
explore_sampling([decode([i]) for i in range(len(vocabulary))], after_opening)

# %% [markdown]
# ## 8. Which sentence is the most likely?
#
# A sentence's probability is the product of its tokens' probabilities, each given those before it. Logarithms make it
# a sum. Look at a small tree: what follows *I*, and what follows that.

# %% nbgrader={"grade": false, "grade_id": "tree", "locked": true, "schema_version": 3, "solution": false, "task": false}
WORDS = ["I", "am", "have", "a", "the", "dream", "one", "poet", "."]
TREE = {
    "I": {"am": 0.6, "have": 0.4},
    "I am": {"the": 0.55, "a": 0.45}, "I have": {"a": 0.9, "the": 0.1},
    "I am the": {"one": 0.6, "poet": 0.4}, "I am a": {"poet": 0.7, "dream": 0.3},
    "I have a": {"dream": 0.9, "poet": 0.1}, "I have the": {"dream": 1.0},
}  # fmt: skip


def tree_logits(ids: Tensor) -> Tensor:
    """Log-probabilities of the next word after each row of ids (n, l), from the tree, or else a full stop: (n, 9)."""
    texts = [" ".join(WORDS[i] for i in row) for row in ids.tolist()]
    return torch.tensor([[TREE.get(text, {".": 1.0}).get(word, 0.0) for word in WORDS] for text in texts]).log()


def sequence_logp(next_logits, ids: Tensor) -> float:
    """The log-probability of ids (l,), given the first of them: the sum of each token's, given those before it."""
    steps = range(1, len(ids))
    return sum(next_logits(ids[None, :i])[0].log_softmax(-1)[ids[i]].item() for i in steps)


# %% jupyter={"source_hidden": true}
rows = {0: ["I"], 1: ["I am", "I have"], 2: ["I am the", "I am a", "I have a", "I have the"]}
rows[3] = [f"{text} {word}" for text in rows[2] for word in TREE[text]]
shown = {
    text: (i * 7 / len(texts) + 3.5 / len(texts) - 0.5, depth)
    for depth, texts in rows.items()
    for i, text in enumerate(texts)
}
total = {
    text: torch.tensor(sequence_logp(tree_logits, torch.tensor([WORDS.index(w) for w in text.split()]))).exp().item()
    for text in shown
}
diagram(
    {text: (f"{text.split()[-1]}\n{total[text]:.2f}", *place) for text, place in shown.items()},
    [(text.rsplit(" ", 1)[0], text) for text in shown if " " in text],
    title="Probabilities multiply along a path: “I have a dream” has the most, though “am” comes first",
    alt="A tree of words. I goes to am with 0.60 and have with 0.40. Of the sentences of four words, I have a dream has the "
    "probability 0.32; the greedy path, I am the one, has 0.20.",
)

# %% [markdown]
# Greedy decoding takes *am* (0.6), *the* (0.55), *one* (0.6): 0.20 together. *I have a dream* has 0.4 · 0.9 · 0.9 =
# 0.32, but it begins with the less likely word. To see all paths is impossible, there are $V^n$. **Beam search** keeps
# the `n_beams` best beginnings and extends all of them. With two beams, *I am* and *I have* both survive the first
# step. Each beam has one extension that ends, so of the best 2·`n_beams` candidates at most `n_beams` end, and
# `n_beams` can always live on.
#
# Longer sentences have more factors below 1, so a sum of log-probabilities prefers short ones. Therefore finished
# sentences are compared by $\log p \,/\, \text{length}^\alpha$; $\alpha = 0$ is the plain sum, $\alpha = 1$ the mean
# for each token.


# %% nbgrader={"grade": false, "grade_id": "beam_search", "locked": false, "schema_version": 3, "solution": true, "task": false}
def beam_search(
    next_logits,
    prompt: Tensor,
    n_beams: int,
    max_new: int,
    end: int | None = None,
    length_penalty: float = 1.0,
) -> tuple[list[int], float]:
    """The best continuation of a prompt that beam search finds.

    next_logits: a function from ids (n, l) int64 to logits (n, vocab_size) of the token after each row;
    called once a step, with all live beams. prompt: (l,) int64.
    At each step every live beam is extended by every token. Of all these candidates, by the sum of their
    tokens' log-probabilities: the best 2·n_beams are looked at, from the best on (all, if there are
    fewer). One that ends with `end` is finished and set aside; of the others the first n_beams live on.
    After max_new steps, or when none lives, the search stops; beams that still live then count as
    finished too. The winner has the largest sum / length ** length_penalty, where length counts its new
    tokens, `end` included.
    Returns: its new tokens, and the sum of their log-probabilities.
    >>> ids, logp = beam_search(tree_logits, torch.tensor([WORDS.index("I")]), n_beams=2, max_new=3)
    >>> [WORDS[i] for i in ids], round(logp, 3)
    (['have', 'a', 'dream'], -1.127)
    """
    ### BEGIN SOLUTION
    live, finished = [([], 0.0)], []
    for _ in range(max_new):
        ids = torch.stack([torch.cat([prompt, prompt.new_tensor(tokens)]) for tokens, _ in live])
        logp = next_logits(ids).log_softmax(-1)  # (live, vocab_size)
        sums = logp + torch.tensor([[s] for _, s in live], dtype=logp.dtype, device=logp.device)
        best = sums.flatten().topk(min(2 * n_beams, sums.numel()))
        beams, live = live, []
        for s, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            row, token = divmod(index, logp.shape[-1])
            if token == end:
                finished.append(([*beams[row][0], token], s))
            elif len(live) < n_beams:
                live.append(([*beams[row][0], token], s))
        if not live:
            break
    return max(finished + live, key=lambda beam: beam[1] / len(beam[0]) ** length_penalty)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_beam_search", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("beam_search", points=2):
    import itertools

    table, calls = 2 * randn(300, 5, dtype=torch.float64), []

    def chain(ids):  # the logits of the next token: any function of all tokens before it
        calls.append(tuple(ids.shape))
        rows = [sum((i + 2) ** 3 * (token + 1) for i, token in enumerate(row)) % 300 for row in ids.tolist()]
        return table[rows]

    def all_sums(stem, max_new, end=None):  # every continuation there is, and the sum of its log-probabilities
        found = {}
        for n in range(1, max_new + 1):
            for tokens in itertools.product(range(5), repeat=n):
                if end in tokens[:-1] or (n < max_new and tokens[-1] != end):
                    continue
                found[tokens] = sequence_logp(chain, torch.cat([stem, torch.tensor(tokens)])) - before
        return found

    stem = randint(0, 5, (3,))
    before = sequence_logp(chain, stem)
    calls.clear()
    result = beam_search(chain, stem, 3, 4)
    expect(isinstance(result, (tuple, list)) and len(result) == 2, "return the new tokens and the sum", got=result)
    tokens, total = result
    expect_equal(len(tokens), 4, "return the new tokens only, without the prompt")
    expect_equal(
        calls, [(1, 3), (3, 4), (3, 5), (3, 6)], "call next_logits once a step, on all live beams, with the prompt"
    )
    logp = sequence_logp(chain, torch.cat([stem, torch.tensor(tokens)])) - before
    expect(
        abs(total - logp / 4) > 1e-6, "return the sum itself; only the choice goes by sum / length ** length_penalty"
    )
    expect_close(total, logp, "the sum of log-probabilities along the path: log_softmax first, then add up")

    paths = all_sums(stem, 3)
    best = max(paths, key=paths.get)
    expect_equal(
        list(beam_search(chain, stem, 125, 3)[0]), list(best), "with enough beams it finds the best of all paths"
    )
    ids = stem
    for _ in range(5):
        ids = torch.cat([ids, chain(ids[None]).argmax(-1)])
    expect_equal(list(beam_search(chain, stem, 1, 5)[0]), ids[3:].tolist(), "with one beam it is greedy decoding")
    ids, total = beam_search(tree_logits, torch.tensor([0]), 2, 3)
    expect(
        [WORDS[i] for i in ids] != ["am", "the", "one"],
        "the best beginning is not always that of the best sentence: keep n_beams",
    )
    expect_equal([WORDS[i] for i in ids], ["have", "a", "dream"], "I have a dream has 0.32, I am the one 0.20")

    def by_step(ids):  # end = 0; what follows depends on the step alone
        return ways[torch.full((len(ids),), min(ids.shape[1], len(ways)) - 1)]

    one = torch.tensor([1])
    ways = torch.tensor([[0.3, 0.7], [0.9, 0.1]]).log()  # 0 has 0.3, and 1 0 has 0.63
    got = beam_search(by_step, one, 1, 2, 0, 0.0)[0]
    expect_equal(list(got), [1, 0], "the search goes on after a beam has ended: a better one may end later")
    ways = torch.tensor([[0.3, 0.7], [0.4, 0.6]]).log()  # 0 has 0.3, 1 0 has 0.28, 1 1 has 0.42
    got = beam_search(by_step, one, 1, 2, 0, 0.0)[0]
    expect_equal(list(got), [1, 1], "beams that still live after max_new steps count as finished too")

    for end in range(4):
        paths = all_sums(stem, 3, end)
        for penalty in (1.0, 0.0, 3.0):
            best = max(paths, key=lambda t: paths[t] / len(t) ** penalty)
            got = list(beam_search(chain, stem, 125, 3, end, penalty)[0])
            expect(end not in got[:-1], "a beam that has ended is finished: extend it no further", got=got)
            hint = f"length_penalty={penalty}: the winner has the largest sum / length ** length_penalty, `end` counted"
            expect_equal(got, list(best), hint)
    ways = torch.tensor([[0.3, 0.7], [0.5, 0.5]]).log()
    got = beam_search(by_step, one, 4, 3, 0, 1.0)[0]
    expect_equal(list(got), [1, 0], "`end` counts in the length: 1 0 has the mean log 0.35 / 2, which is the largest")
    ways = torch.tensor([[0.45, 0.55], [0.4, 0.6]]).log()  # 0 has 0.45; later nothing has more than 0.55 · 0.6 = 0.33
    got = beam_search(by_step, one, 1, 2, 0, 0.0)[0]
    hint = "one beam, and `end` is second best: it is set aside and wins later: look at the best 2·n_beams"
    expect_equal(list(got), [0], hint)
    ### BEGIN HIDDEN TESTS
    for n_beams, new in ((2, 5), (4, 3), (3, 2)):
        stem = randint(0, 5, (2,))
        live = [((), 0.0)]
        for _ in range(new):  # the definition, with plain lists
            grown = []
            for tokens, s in live:
                step = chain(torch.cat([stem, torch.tensor(tokens, dtype=torch.int64)])[None])[0].log_softmax(-1)
                grown += [((*tokens, i), s + step[i].item()) for i in range(5)]
            live = sorted(grown, key=lambda beam: -beam[1])[:n_beams]
        tokens, total = beam_search(chain, stem, n_beams, new)
        expect_equal(list(tokens), list(live[0][0]), f"with {n_beams} beams the path differs")
        expect_close(total, live[0][1], f"with {n_beams} beams the sum differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# A beam is two things: its tokens and its sum. A step makes a list of beams out of a list of beams.
#
# </details>
# <details><summary>Method</summary>
#
# Add each live beam's sum to its row of log-probabilities: that is a table (beams, tokens) of the candidates' sums.
# Take the best of the *whole* table, not of each row.
#
# </details>
# <details><summary>Almost there</summary>
#
# `flatten().topk(...)` gives places in the flattened table; `divmod` by the vocabulary's size gives beam and token. Go
# through them from the best on: set aside what has ended, keep the others while there is room.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# What do more beams find in your model?


# %%
@torch.no_grad()
def model_logits(ids: Tensor) -> Tensor:
    """The trained model as `beam_search` wants it."""
    return model(ids)[:, -1]


widths = pick(smoke=[1, 2], cpu=[1, 2, 4, 8], gpu=[1, 2, 4, 8, 16])
found = {n: beam_search(model_logits, opening, n, pick(smoke=3, cpu=12, gpu=12)) for n in widths}
for n, (ids, logp) in found.items():
    print(f"{n} beam{'s' * (n > 1):<1}  log p = {logp:6.2f}  {decode(ids)!r}")

# %% [markdown]
# More beams usually find likelier text. Likelier is not better to read; it is better where there is one right answer,
# as in translation. Sutskever et al. (2014), of lesson 02, reached their best with 12 beams. This search sends all
# tokens through at each step; with a cache, its rows would have to be reordered as the beams are.
#
# ## 9. One model for every task?
#
# Lesson 05 gave each task a prefix and an encoder–decoder. A decoder alone does it too. Write the question, a **tag**,
# the answer, and the end, all in one row; then it is next-token prediction again:
#
# `i am a student` `<to-fr>` ` je suis étudiant` `<end>`
#
# `the new doctor often reads a small book today` `<summarize>` ` the doctor reads a book` `<end>`
#
# No text had the tag, so pretraining only taught the model not to say it: the head shares the table. What it asks for
# is learned now. Radford et al. (2018, section 3.2) fine-tune the first GPT on the task's loss $L_2$, here on the
# answer alone, plus the language model's loss $L_1$, on the whole row, as a helper:
#
# $$L_3 = L_2 + \lambda L_1, \qquad \lambda = 0.5 \text{ in their work}$$
#
# Your `next_token_loss` gives both: they differ in the weights.


# %%
def tagged(source: str, tag: int, target: str) -> tuple[list[int], int]:
    """A row of ids, and the place at which the answer begins."""
    question = [*encode(source), tag]
    return [*question, *encode(" " + target), END], len(question)


def batch(examples: list[tuple[list[int], int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Rows filled up with END on the right: ids (b, l); 1.0 where there is an answer; 1.0 where there is no filling."""
    longest = max(len(ids) for ids, _ in examples)
    ids = torch.tensor([row + [END] * (longest - len(row)) for row, _ in examples], device=device)
    places = torch.arange(longest, device=device)
    starts, stops = (
        torch.tensor(n, device=device)[:, None]
        for n in zip(*((start, len(row)) for row, start in examples), strict=True)
    )
    return ids, ((places >= starts) & (places < stops)).float(), (places < stops).float()


def fine_tuning_loss(model: GPT, ids: Tensor, answers: Tensor, real: Tensor, weight: float = 0.5) -> Tensor:
    """L₂ + λ·L₁: the loss on the answers, and λ times the loss on all of it."""
    logits = model(ids)
    return next_token_loss(logits, ids, answers) + weight * next_token_loss(logits, ids, real)


# %%
import copy
import itertools
import random

WHO, DOES, WHAT = (
    "doctor teacher queen poet sailor painter".split(),
    "reads writes finds likes".split(),
    "book letter map song".split(),
)
triples = list(itertools.product(WHO, DOES, WHAT))
random.Random(0).shuffle(triples)


def report(who: str, does: str, what: str) -> tuple[str, str]:
    """A sentence with words that say little, and the sentence without them."""
    a, b = random.choices(["a", "the"], k=2)
    kind, other = random.choices(["new ", "good ", "small ", "famous ", ""], k=2)
    when = random.choice([" today", " every day", " at home", " again", ""])
    return (
        f"{a} {kind}{who} {random.choice(['often ', 'now ', ''])}{does} {b} {other}{what}{when}",
        f"{a} {who} {does} {b} {what}",
    )


def translation(pair) -> tuple[list[int], int]:
    return tagged(to_text(pair.source), TO_FR, to_text(pair.target))


def summary(triple: tuple[str, str, str]) -> tuple[list[int], int]:
    source, target = report(*triple)
    return tagged(source, SUMMARIZE, target)


held_out_triples, train_triples = triples[:24], triples[24:]
tuned = copy.deepcopy(model)


def task_loss(step: int) -> Tensor:
    n = pick(smoke=1, cpu=8, gpu=16)  # the easier task gets fewer rows
    rows = [*map(translation, random.choices(pairs, k=3 * n)), *map(summary, random.choices(train_triples, k=n))]
    return fine_tuning_loss(tuned, *batch(rows))


tuning_losses = fit(
    tuned,
    task_loss,
    steps=pick(smoke=2, cpu=300, gpu=3000),
    lr=pick(smoke=1e-3, cpu=2e-3, gpu=3e-4),
    label="fine-tuning",
)


# %%
def answers(examples: list[tuple[list[int], int]]) -> tuple[list[str], float]:
    """What the tuned model answers, all questions in one batch, and the share that is right in every token."""
    questions = [torch.tensor(row[:start], device=device) for row, start in examples]
    out = generate(tuned, questions, pick(smoke=4, cpu=24, gpu=32), end=END).tolist()
    out = [row[: row.index(END)] if END in row else row for row in out]
    right = [got == row[start:-1] for got, (row, start) in zip(out, examples, strict=True)]
    return [decode(row).strip() for row in out], sum(right) / len(right)


seen = pairs[: len(held_out_pairs)]
questions = {"to French, held out": held_out_pairs, "to French, trained on": seen}
scores = {name: answers([translation(pair) for pair in group]) for name, group in questions.items()}
reports = [summary(triple) for triple in held_out_triples]
scores["summaries, held out"] = answers(reports)
for name, (_, share) in scores.items():
    print(f"{name:<22} {share:4.0%} right in every token")

# %%
for pair, answer in list(zip(held_out_pairs, scores["to French, held out"][0], strict=True))[:5]:
    print(f"{to_text(pair.source)} <to-fr> {answer}    ({to_text(pair.target)})")
for (row, start), answer in list(zip(reports, scores["summaries, held out"][0], strict=True))[:3]:
    print(f"{decode(row[:start])} {answer}")

# %% [markdown]
# One set of weights, two tasks, and no new part. To leave words out is soon learned. French is harder: most mistakes
# are French in form, with a word that a thousand short sentences did not teach well enough.
#
# ## 10. Does it hold GPT-2's own weights?
#
# Your GPT *is* GPT-2, so its published weights must fit. Three things are in the way: other names; a prefix
# `transformer.` that some files have; and `Conv1D`, GPT-2's linear layer, which stores its matrix as (in, out), the
# transpose of what nn.Linear has. (Where in = out, as in `c_proj` of attention, a forgotten transpose fits and is
# wrong.)
#
# | GPT-2 | yours | |
# | --- | --- | --- |
# | `wte.weight`, `wpe.weight` | `tokens.weight`, `positions.weight` | |
# | `h.3.ln_1.*` | `blocks.3.attention_norm.*` | |
# | `h.3.attn.c_attn.*` | `blocks.3.attention.w_qkv.*` | weight transposed |
# | `h.3.attn.c_proj.*` | `blocks.3.attention.w_o.*` | weight transposed |
# | `h.3.ln_2.*` | `blocks.3.feed_forward_norm.*` | |
# | `h.3.mlp.c_fc.*` | `blocks.3.feed_forward.w_in.*` | weight transposed |
# | `h.3.mlp.c_proj.*` | `blocks.3.feed_forward.w_out.*` | weight transposed |
# | `ln_f.*` | `norm.*` | |
#
# `lm_head.weight` is `wte.weight` again, and `h.3.attn.bias` is no bias but a stored causal mask; you need neither.


# %% nbgrader={"grade": false, "grade_id": "load_gpt2", "locked": false, "schema_version": 3, "solution": true, "task": false}
def load_gpt2(model: GPT, tensors: dict[str, Tensor]) -> None:
    """Copy GPT-2's published weights into `model`, which has their sizes.

    tensors: by published name, with or without the prefix "transformer.". Names that the table does not
    have are left out. A dtype that differs is converted to the model's.
    Raises: any error when a weight of the model has no tensor, or one of another shape.
    """
    ### BEGIN SOLUTION
    theirs = {
        "tokens": "wte", "positions": "wpe", "norm": "ln_f", "blocks": "h", "attention_norm": "ln_1",
        "attention.w_qkv": "attn.c_attn", "attention.w_o": "attn.c_proj", "feed_forward_norm": "ln_2",
        "feed_forward.w_in": "mlp.c_fc", "feed_forward.w_out": "mlp.c_proj",
    }  # fmt: skip
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    state = {}
    for name in model.state_dict():
        *block, part, kind = re.fullmatch(r"(?:(blocks)\.(\d+)\.)?(.+)\.(weight|bias)", name).groups()
        published = ".".join([*(["h", block[1]] if block[0] else []), theirs[part], kind])
        tensor = tensors[published]
        state[name] = tensor.T if ".w_" in name and kind == "weight" else tensor
    model.load_state_dict(state)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_load_gpt2", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("load_gpt2", points=1):
    published = {
        "attention.w_qkv": "attn.c_attn", "attention.w_o": "attn.c_proj", "attention_norm": "ln_1", "feed_forward.w_in": "mlp.c_fc",
        "feed_forward.w_out": "mlp.c_proj", "feed_forward_norm": "ln_2",
    }  # fmt: skip

    def as_published(state, prefix=""):  # as GPT-2's files have it
        tensors = {"wte.weight": state["tokens.weight"], "wpe.weight": state["positions.weight"]}
        tensors |= {f"ln_f.{p}": state[f"norm.{p}"] for p in ("weight", "bias")} | {
            "lm_head.weight": state["tokens.weight"]
        }
        for name, tensor in state.items():
            if name.startswith("blocks."):
                _, i, part = name.split(".", 2)
                ours, kind = part.rsplit(".", 1)
                turned = tensor.T.contiguous() if tensor.dim() == 2 else tensor
                tensors[f"h.{i}.{published[ours]}.{kind}"] = turned
                tensors[f"h.{i}.attn.bias"] = torch.ones(1, 1, 4, 4).tril()
        return {name if name.startswith("lm_head") else prefix + name: tensor for name, tensor in tensors.items()}

    for size, n_heads, prefix in (((9, 7, 8, 2), 2, ""), ((5, 6, 12, 11), 3, "transformer.")):
        tiny, state = place(GPT, *size, n_heads).double(), gpt_state(*size)
        load_gpt2(tiny, as_published(state, prefix))
        got = tiny.state_dict()
        expect(
            not any(
                torch.equal(got[f"blocks.0.{name}.weight"], state[f"blocks.0.{name}.weight"].T)
                for name in ("attention.w_o",)
            ),
            "transpose the square matrix of attn.c_proj too: it fits either way",
        )
        for name, tensor in state.items():
            expect(
                torch.equal(got[name], tensor),
                f"{name} is not what GPT-2's tensor says: its name, or transposed",
                got=got[name],
            )
        ids = randint(0, size[0], (2, 5))
        expect_close(tiny(ids), torch_gpt(state, n_heads, ids), "with these weights the logits differ")
    tensors = as_published(gpt_state(9, 7, 8, 2))
    del tensors["h.1.ln_2.bias"]
    short = place(GPT, 9, 7, 8, 2, 2)
    expect_raises(
        Exception, load_gpt2, short, tensors, hint="a tensor was missing, and nobody was told: raise an error"
    )
    state = gpt_state(9, 7, 8, 2)
    tensors = as_published(state) | {"ln_f.weight": torch.ones(1)}
    hint = "ln_f.weight had shape (1,), and nobody was told: raise an error, do not broadcast it"
    expect_raises(Exception, load_gpt2, place(GPT, 9, 7, 8, 2, 2), tensors, hint=hint)
    tiny = place(GPT, 9, 7, 8, 2, 2)
    load_gpt2(tiny, as_published(state))
    for name, tensor in tiny.state_dict().items():
        hint = f"{name} of a model in float32 took the float64 of the tensor: copy into the parameters"
        expect_equal(tensor.dtype, torch.float32, hint)
        expect_close(tensor, state[name].float(), f"{name} differs, in a model of float32")
    ### BEGIN HIDDEN TESTS
    size = (6, 5, 4, 3)
    tiny, state = place(GPT, *size, 2), gpt_state(*size)
    load_gpt2(tiny, as_published(state, "transformer."))
    for name, tensor in tiny.state_dict().items():
        expect_close(tensor, state[name].float(), f"{name} differs, in a model of float32")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Go through your model's names and ask for each: what is it called there?
#
# </details>
# <details><summary>Method</summary>
#
# A dictionary from your parts to theirs, straight from the table. Build a state dict under your names and let
# `load_state_dict` check that nothing is missing and every shape fits.
#
# </details>
# <details><summary>Almost there</summary>
#
# Only the four linear layers are transposed: those whose part begins with `w_`, and of them the weight, not the bias.
# Cut the prefix off with `str.removeprefix`. Replacing one name after another also works, if `attention_norm` goes
# before `attention`.
#
# </details>
# </details>

# %% [markdown]
# ## At full size
#
# On the `meta` device a model has shapes and no memory, so all four GPT-2 models fit on a laptop. Sizes are from
# Radford et al. (2019, table 2), which counts parameters differently; 124,439,808 is what the smallest released model
# has.


# %%
def count(**sizes) -> int:
    """The parameters of a GPT, the shared head counted once."""
    with torch.device("meta"):
        return sum(p.numel() for p in GPT(vocab_size=50257, context=1024, **sizes).parameters())


gpt2_sizes = [(12, 768), (24, 1024), (36, 1280), (48, 1600)]
for layers, wide in gpt2_sizes[: pick(smoke=1, cpu=4, gpu=4)]:
    print(
        f"{layers} layers, {wide:>4} wide: {count(n_layers=layers, d_model=wide, n_heads=wide // 64):>13,} parameters"
    )

# %% [markdown]
# It was trained on 40 GB of text from eight million web pages, and nothing else. Without further training the largest
# model improved the state of the art on 7 of 8 language-modelling data sets (Radford et al. 2019, section 3).
#
# **Optional: real weights.** Set `DOWNLOAD = True`, or `FOLDER` to a folder with GPT-2's files. The next cell then
# puts the published weights into *your* model by *your* `load_gpt2`. Where the library `transformers` is installed,
# its GPT-2 must agree with yours.

# %%
DOWNLOAD = False  # True: fetch 550 MB from huggingface.co, once
FOLDER = None  # or a folder with model.safetensors, config.json, vocab.json and merges.txt

import json

from utils.checkpoints import read_tensors
from utils.data.hub import fetch

GPT2 = "openai-community/gpt2"


def published_gpt2(folder: str | None) -> GPT:
    """GPT-2 in your model, from its files."""
    config = json.loads(fetch(GPT2, "config.json", local_dir=folder).read_text())
    gpt2 = GPT(config["vocab_size"], config["n_positions"], config["n_embd"], config["n_layer"], config["n_head"])
    load_gpt2(gpt2, read_tensors(GPT2, local_dir=folder))
    return gpt2.eval()


def gap_to_transformers(gpt2: GPT, folder: str | None, ids: Tensor) -> float | None:
    """The largest difference between your logits and those of Hugging Face's GPT-2; None where it is not installed."""
    try:
        from transformers import GPT2LMHeadModel
    except ImportError:
        return None
    with torch.no_grad():
        theirs = GPT2LMHeadModel.from_pretrained(folder or GPT2).eval()(ids).logits
        return (gpt2(ids) - theirs).abs().max().item()


# %%
def show_gpt2(folder: str | None) -> None:
    """Compare your GPT-2 with that of transformers, and let it go on with a sentence; or say why not."""
    from tokenizers import ByteLevelBPETokenizer

    try:
        gpt2 = published_gpt2(folder)
        files = [str(fetch(GPT2, name, local_dir=folder)) for name in ("vocab.json", "merges.txt")]
    except OSError as error:
        print(f"skipped: {error}")
        return
    tokenizer = ByteLevelBPETokenizer(*files)
    ids = torch.tensor(tokenizer.encode("I have a dream that one day").ids)
    print("largest difference from transformers:", gap_to_transformers(gpt2, folder, ids[None]))
    print(tokenizer.decode([*ids.tolist(), *generate(gpt2, [ids], 30)[0].tolist()]))


if DOWNLOAD or FOLDER:
    show_gpt2(FOLDER)
else:
    print("skipped: set DOWNLOAD = True above to fetch the weights (needs a network), or FOLDER to where they are")

# %% [markdown]
# ## Score card

# %%
score_card()

# %% [markdown]
# ## In five lines
#
# - Byte-pair encoding joins what stands together most often; on bytes, no text is unknown.
# - The logits at place i are for the token at i + 1: one pass asks l − 1 questions.
# - A token's keys and values never change, so keep them: prefill once, then one token a step; positions go on, the mask
#   stands in the lower right corner.
# - Greedy decoding loops; temperature, top-k and top-p shape what is drawn; beams find likelier sentences.
# - With a tag between question and answer, every task is next-token prediction.
#
# Positions are a table here, and the table ends: after 1024 tokens GPT-2 cannot go on. Lesson 08 turns them into
# angles.
#
# ## Further reading
#
# - Sennrich, Haddow and Birch, *Neural Machine Translation of Rare Words with Subword Units*, ACL 2016. Byte-pair
#   encoding; its algorithm 1 is twenty lines.
# - Holtzman et al., *The Curious Case of Neural Text Degeneration*, ICLR 2020. Why the likeliest text is dull, and
#   top-p.
# - Pope et al., *Efficiently Scaling Transformer Inference*, MLSys 2023. What prefill and decode cost on real
#   machines, and why the cache decides.
