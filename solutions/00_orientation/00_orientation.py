# %% [markdown]
# # Tensors, gradients and a first classifier
#
# Welcome. In this lesson you write the small parts that every later lesson is made of: splitting a tensor into heads, the
# softmax, the cross-entropy, the backward pass of a linear layer, a step of gradient descent. Then you put them together
# and train a classifier of handwritten digits, in which PyTorch calls *your* backward pass. On the way you learn how this
# course speaks to you: what a test says, how hints work, how your notebook is graded.
#
# | | |
# | --- | --- |
# | builds on | Python, matrix products, derivatives; what you need of PyTorch is in a table in section 1 |
# | points | 20, in nine exercises |
# | run time | 0.1 s at `smoke` scale, 3 s at `cpu` scale (one thread, without imports and pictures); `gpu` not measured yet |

# %% [markdown]
# ## The model
#
# Run the cells from top to bottom: click into a cell, then press Shift and Enter. The first cell sets everything up.
# The second one draws what you are going to build; you need not read its code. Orange boxes with a pencil are yours.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import Tensor, nn

from utils import *

device = setup("00_orientation")

# %% jupyter={"source_hidden": true}
diagram(
    {
        "digit": ("a digit:\n64 pixels", 1.1, 0), "center": ("column_means", 1.1, 1), "one": ("linear layer", 1.1, 2),
        "relu": ("ReLU", 1.1, 3), "two": ("linear layer:\nlogits", 1.1, 4), "softmax": ("softmax", 0, 5),
        "loss": ("cross_entropy", 1.1, 5), "label": ("its label", 2.2, 5), "step1": ("sgd_step", 2.2, 2),
        "step2": ("sgd_step", 2.2, 4), "back1": ("linear_backward", 3.3, 2), "back2": ("linear_backward", 3.3, 4),
        "heads": ("split_heads,\nmerge_heads", 2.2, 0), "cost": ("linear_flops", 3.3, 0),
    },
    [
        ("digit", "center"), ("center", "one"), ("one", "relu"), ("relu", "two"), ("two", "softmax"), ("two", "loss"),
        ("label", "loss"), ("loss", "back2"), ("back2", "back1"), ("back2", "step2"), ("back1", "step1"),
        ("step1", "one"), ("step2", "two"),
    ],
    yours=["center", "softmax", "loss", "step1", "step2", "back1", "back2", "heads", "cost"],
    title="Down on the left to the loss, up on the right to better weights; train goes round and round",
    alt="A digit of 64 pixels is centred with column_means and goes through a linear layer, a ReLU and a second linear "
    "layer, which gives logits. Softmax turns them into probabilities; cross_entropy compares them with the label. From "
    "the loss, linear_backward leads back to the second and on to the first layer, and at each one sgd_step changes its "
    "weights. Beside all this stand split_heads, merge_heads and linear_flops. The named functions are yours to write.",
)  # fmt: skip

# %% [markdown]
# ## How a lesson works
#
# Each **exercise** is a cell with one function (later also classes). Its docstring says exactly what goes in and what comes
# out. In your notebook its body is `raise NotImplementedError()`: replace that line with your code and run the cell.
#
# Right below it stands its **test**, a cell that you run and do not change. It says one of these:
#
# | what you see | what it means |
# | --- | --- |
# | a green line, `✓ name: … checks passed, … points` | done; the points are yours |
# | a red line, `✗ name: …`, often *got* and *expected* below it | your code ran and something is wrong; the line says what to look at |
# | `✗ name: not written yet: …` | `raise NotImplementedError()` is still there |
# | ``✗ name: `name` does not exist yet: …`` | you have not run the cell with your function |
# | a traceback | Python stopped inside your code; read its last line first |
#
# Cells further down use what you wrote. One that stops with `NotImplementedError` or `NameError` needs something from above:
# write it, run its cell, come back.
#
# Below the test, or below a pair of them, is a ladder of **hints**: a nudge, the method, and almost the answer. Climb only as
# far as you must.
# Where the text says **Predict first**, write your guess down before you read on. A wrong guess teaches most.
#
# At the end a **score card** adds up your points. The grader runs its own copy of the tests, with other random numbers and
# some more cases. An exercise counts when its whole test passes.

# %% [markdown]
# ## 1. How does a test speak?
#
# A **tensor** is a block of numbers with axes, and its **shape** says how long each axis is. Here are real digits, 8 × 8
# pixels each, that people wrote on forms (Alpaydin & Kaynak 1998). A part of them is **held out**: we never train on
# it, so that it can tell us whether the model has learned digits or has only learned these pictures by heart.

# %%
from utils.data.digits import load_digits

train_digits, held_out = load_digits()
pixels = rearrange(train_digits.images, "n h w -> n (h w)").to(device)
held_out_pixels = rearrange(held_out.images, "n h w -> n (h w)").to(device)
labels, held_out_labels = train_digits.labels.to(device), held_out.labels.to(device)
print("pixels", tuple(pixels.shape), pixels.dtype, "   labels", tuple(labels.shape), labels.dtype)
print("held out: pixels", tuple(held_out_pixels.shape))

# %% [markdown]
# So `pixels` has one row for each digit and one column for each pixel. Some pixels are nearly always ink, others never. A
# network learns faster when each of its inputs is zero on average, so we want the mean of each column.
#
# By hand, three rows and two columns:
#
# $$x = \begin{pmatrix} 1 & 10 \\ 3 & 20 \\ 5 & 60 \end{pmatrix}, \qquad
# \text{column means} = \left(\tfrac{1 + 3 + 5}{3},\ \tfrac{10 + 20 + 60}{3}\right) = (3,\ 30)$$
#
# This first exercise is easy, and you are asked to **get it wrong on purpose**:
#
# 1. Change nothing. Run both cells below: the function, then its test. Read what the test says.
# 2. Replace `raise NotImplementedError()` by `return x.mean()`. Run both cells again. Read.
# 3. Now `return x.mean(dim=1)`. Run, read.
# 4. Now get it right.
#
# A test shows a tensor as `float32 (5,) [1.941, …]`: the type of its numbers, its shape, and its elements where they are
# few. The shape `()` is that of a single number, without axes.
#
# <details><summary>What the test said to me</summary>
#
# 1. ✗ column_means: not written yet: replace `raise NotImplementedError()` with your code
# 2. ✗ column_means: this is one mean for the whole tensor; wanted is one for each column<br>
#    got float32 () 1.861
# 3. ✗ column_means: this is one mean for each row; wanted is one for each column: the axis that you name is the axis that goes away<br>
#    got float32 (5,) [1.941, 2.282, 0.9088, 2.333, 1.841]
#
# If you see another sentence, check that you ran both cells, the function first.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "column_means", "locked": false, "schema_version": 3, "solution": true, "task": false}
def column_means(x: Tensor) -> Tensor:
    """The mean of each column.

    x: (n, d) floating point, n ≥ 1.
    Returns: (d,), in the dtype of x.
    >>> column_means(torch.tensor([[1.0, 10.0], [3.0, 20.0], [5.0, 60.0]]))
    tensor([ 3., 30.])
    """
    ### BEGIN SOLUTION
    return x.mean(dim=0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_column_means", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("column_means", points=1):
    x = randn(5, 3) + 2
    got = column_means(x)
    expect(isinstance(got, Tensor), "return a tensor", got=got)
    expect(got.dim() > 0, "this is one mean for the whole tensor; wanted is one for each column", got=got)
    expect(tuple(got.shape) not in ((5,), (5, 1)), "this is one mean for each row; wanted is one for each column: "
           "the axis that you name is the axis that goes away", got=got)  # fmt: skip
    expect_equal(tuple(got.shape), (3,), "the shape must be (d,): one number for each column, and no other axis")
    expect_equal(got.dtype, torch.float32, "keep the dtype of x")
    expect(not torch.allclose(got, x.sum(0)), "these are the sums of the columns: divide by the number of rows")
    expect_close(got, torch.full((5,), 1 / 5) @ x, "add up the rows and divide by their number")
    x = randn(1, 4)
    expect_close(column_means(x), x[0], "the mean of a single row is that row")
    ### BEGIN HIDDEN TESTS
    for n, d in ((4, 4), (7, 1), (2, 9)):
        x = randn(n, d, dtype=torch.float64) - 1
        mean = torch.full((n,), 1 / n, dtype=torch.float64) @ x
        expect_close(column_means(x), mean, f"for {n} rows and {d} columns, in float64, the means differ")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# `dim` counts the axes from 0. Which axis of `(n, d)` has to go away, so that `(d,)` is left?
#
# </details>
# <details><summary>Method</summary>
#
# A reduction such as `sum`, `mean` or `max` runs along the axis that you name, and that axis disappears. Walking down a
# column you pass from row to row.
#
# </details>
# <details><summary>Almost there</summary>
#
# The wrong answer of step 3 differs from the right one in one character.
#
# </details>
# </details>

# %% [markdown]
# You can look at your points at any time:

# %%
score_card()

# %% [markdown]
# ### What to look at
#
# `pixels - center` takes a row of shape `(64,)` from each row of `(n, 64)`. PyTorch lines shapes up from the right and
# repeats what is missing or has size 1: that is **broadcasting**. So `(n, 64)` minus `(n, 1)` takes one number from each row.
# Note that the held-out digits are shifted by the mean of the *training* digits. What is held out must not influence
# anything, not even a mean.
#
# That is nearly all the PyTorch you need. For `x` of shape `(n, d)`:
#
# | operation | what it gives |
# | --- | --- |
# | `x.exp()`, `x.log()` | the exponential, the logarithm of each element |
# | `x.sum(dim=0)`, `x.amax(dim=0)` | `(d,)`: the sum, the largest of each column |
# | `x.sum(dim=1, keepdim=True)` | `(n, 1)`: the sum of each row; the axis stays, with size 1, ready to be broadcast |
# | `x[keep]` | the rows for which `keep`, `(n,)` of True and False, is True; `y != 3` makes such a tensor |
# | `x[torch.arange(n), y]` | `(n,)`: one number from each row, that at the place which `y`, `(n,)` of integers, gives for it |
# | `x.T`, `x @ w` | `(d, n)`: rows and columns swapped; the matrix product |

# %%
center = column_means(pixels)
inputs, held_out_inputs = pixels - center, held_out_pixels - center  # (n, 64)
shown = torch.cat([pixels[:9], center[None]])
image_grid(
    rearrange(shown, "n (h w) -> n h w", h=8),
    [*map(str, labels[:9].tolist()), "mean of all"],
    title="Nine of the digits, and your column_means as a picture: people write in the middle",
    alt="Nine pictures of 8 by 8 pixels, each a handwritten digit with its label below, and a tenth: a grey blur, dark "
    "in the middle columns and white at the left and right edge.",
)

# %% [markdown]
# ## 2. Same numbers, same shape: is it the same tensor?
#
# In lesson 04 every word is a row of features, and the features are shared out among **heads** that work side by side. So
# a tensor (batch, length, features) has to become (batch, heads, length, features of a head).
#
# By hand: a batch of one sentence, two words, four features, two heads. Head 0 gets the features 0 and 1 *of each word*,
# head 1 the features 2 and 3.
#
# $$\begin{pmatrix} 0 & 1 & 2 & 3 \\ 4 & 5 & 6 & 7 \end{pmatrix} \;\to\;
# \text{head 0} = \begin{pmatrix} 0 & 1 \\ 4 & 5 \end{pmatrix},\quad
# \text{head 1} = \begin{pmatrix} 2 & 3 \\ 6 & 7 \end{pmatrix}$$
#
# A bare `reshape` to the shape that is wanted runs without an error and gives head 0 the numbers 0, 1, 2, 3: all of the
# first word and nothing of the second. It is the most common silent mistake in attention code.
#
# The course moves axes with [einops](https://einops.rocks), which names them. On the left of the arrow stands what you
# have, on the right what you want. Parentheses join axes, the outer one first: the one that changes last when you count
# through.
#
# | pattern | what it does |
# | --- | --- |
# | `rearrange(x, "b l e -> b e l")` | swaps the last two axes |
# | `rearrange(x, "b l e -> (b l) e")` | joins batch and length: one long list of words |
# | `rearrange(x, "(b l) e -> b l e", l=5)` | takes it apart again; one size has to be given |


# %% nbgrader={"grade": false, "grade_id": "split_heads", "locked": false, "schema_version": 3, "solution": true, "task": false}
def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """Share the features of each word out among heads.

    x: (b, l, n_heads · d). Head i gets the features i·d up to, not including, (i + 1)·d of each word.
    Returns: (b, n_heads, l, d).
    >>> split_heads(torch.tensor([[[0, 1, 2, 3], [4, 5, 6, 7]]]), 2).tolist()
    [[[[0, 1], [4, 5]], [[2, 3], [6, 7]]]]
    """
    ### BEGIN SOLUTION
    return rearrange(x, "b l (h d) -> b h l d", h=n_heads)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_split_heads", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("split_heads", points=2):
    for b, length, n_heads, d in ((2, 5, 3, 4), (3, 4, 2, 3)):
        x = randn(b, length, n_heads * d)
        got = split_heads(x, n_heads)
        expect(isinstance(got, Tensor), "return one tensor", got=got)
        expect(tuple(got.shape) != (b, d, length, n_heads), "two sizes are swapped: n_heads is the number of heads, h, "
               "not the number of features of each, d", got=got)  # fmt: skip
        expect_equal(
            tuple(got.shape), (b, n_heads, length, d), "the shape must be (b, n_heads, l, d): heads before the length"
        )
        expect_equal(got.dtype, torch.float32, "keep the dtype of x")
        expect(
            not torch.equal(got, x.reshape(got.shape)),
            "a bare reshape cuts up words: split the features, then move the axis of heads",
        )
        dealt = x.reshape(b, length, d, n_heads).permute(0, 3, 1, 2)
        expect(
            not torch.equal(got, dealt),
            "(h d), not (d h): a head gets neighbouring features; yours are dealt out to the heads in turn, like cards",
        )
        expect_equal(
            got,
            torch.stack(x.chunk(n_heads, dim=-1), dim=1),
            "head i holds the features i·d up to (i + 1)·d of each word, in their order",
        )
    x = randn(1, 3, 5)
    expect_equal(split_heads(x, 1), x[:, None], "a single head gets everything")
    ### BEGIN HIDDEN TESTS
    for b, length, n_heads, d in ((1, 1, 4, 1), (4, 6, 2, 6), (2, 7, 5, 3)):
        x = randn(b, length, n_heads * d, dtype=torch.float64)
        hint = f"for {n_heads} heads of {d} features the result differs"
        expect_equal(split_heads(x, n_heads), torch.stack(x.chunk(n_heads, dim=-1), dim=1), hint)
    ### END HIDDEN TESTS

# %% [markdown]
# After the heads have done their work, their results are put side by side again. `merge_heads` undoes `split_heads`.


# %% nbgrader={"grade": false, "grade_id": "merge_heads", "locked": false, "schema_version": 3, "solution": true, "task": false}
def merge_heads(x: Tensor) -> Tensor:
    """Put the features of the heads side by side again: the inverse of `split_heads`.

    x: (b, n_heads, l, d).
    Returns: (b, l, n_heads · d); the features of head 0 come first, then those of head 1, and so on.
    >>> merge_heads(torch.tensor([[[[0, 1], [4, 5]], [[2, 3], [6, 7]]]]))
    tensor([[[0, 1, 2, 3],
             [4, 5, 6, 7]]])
    """
    ### BEGIN SOLUTION
    return rearrange(x, "b h l d -> b l (h d)")
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_merge_heads", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("merge_heads", points=1):
    for b, n_heads, length, d in ((2, 3, 5, 4), (3, 2, 4, 3)):
        x = randn(b, n_heads, length, d)
        got = merge_heads(x)
        expect(isinstance(got, Tensor), "return one tensor", got=got)
        expect_equal(tuple(got.shape), (b, length, n_heads * d), "the shape must be (b, l, n_heads · d)")
        expect_equal(got.dtype, torch.float32, "keep the dtype of x")
        expect(
            not torch.equal(got, x.reshape(got.shape)),
            "a bare reshape mixes up words: first move the axis of heads behind the length",
        )
        shuffled = x.permute(0, 2, 3, 1).reshape(got.shape)
        expect(
            not torch.equal(got, shuffled),
            "the heads take turns, feature by feature: keep the features of a head together, (h d), not (d h)",
        )
        expect_equal(
            got, torch.cat(x.unbind(1), dim=-1), "the features of head 0 come first, then those of head 1, and so on"
        )
    x = randn(2, 1, 3, 5)
    expect_equal(merge_heads(x), x[:, 0], "with a single head there is nothing to merge")
    ### BEGIN HIDDEN TESTS
    for b, n_heads, length, d in ((1, 4, 1, 1), (4, 2, 6, 6), (2, 5, 7, 3)):
        x = randn(b, n_heads, length, d, dtype=torch.float64)
        expect_equal(
            merge_heads(x), torch.cat(x.unbind(1), dim=-1), f"for {n_heads} heads of {d} features the result differs"
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints for both</summary>
#
# <details><summary>Nudge</summary>
#
# It is a split and a move, in one pattern. Give each axis a letter first: b, l, h for the heads, d for the features of one.
#
# </details>
# <details><summary>Method</summary>
#
# In the input of `split_heads` two letters share the last axis. The outer one, which stands first in the parentheses, is
# the head: its features are neighbours. `rearrange` needs to be told how many heads there are. Without einops:
# `reshape` to four axes, then `transpose`.
#
# </details>
# <details><summary>Almost there</summary>
#
# The left side of the pattern is `"b l (h d)"`. The right side are the same letters in the order that the docstring asks
# for, without parentheses. To merge, read your pattern from right to left.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# Take a digit for a sentence: its eight rows are the words, the eight pixels of a row the features. With two heads,
# `split_heads` must give the left half and the right half. A bare reshape gives something else, of the same shape.

# %%
digit = train_digits.images[4:5]  # (1, 8, 8)
wanted, bare = split_heads(digit, 2), digit.reshape(1, 2, 8, 4)


def side_by_side(halves: Tensor) -> Tensor:
    """Two heads (1, 2, 8, 4) as one picture (8, 9), with a line of grey between them."""
    return torch.cat([halves[0, 0], torch.full((8, 1), 0.3), halves[0, 1]], dim=-1)


image_grid(
    torch.stack([F.pad(digit[0], (0, 1)), side_by_side(wanted), side_by_side(bare)]),
    ["the digit", "split_heads", "reshape"],
    columns=3,
    title="Both have the shape (1, 2, 8, 4); one is right",
    alt="Three pictures. The digit; the same digit cut into a left and a right half by a grey line; and two scrambled "
    "halves, the first made of the digit's upper rows and the second of its lower rows.",
)
print("merge_heads undoes split_heads:", torch.equal(merge_heads(wanted), digit))

# %% [markdown]
# ## 3. How do scores become probabilities?
#
# A classifier gives each class a score, any number, called a **logit**. The **softmax** makes probabilities of them:
# take exponentials, which are positive, and divide by their sum.
#
# By hand, three logits:
#
# | | class 0 | class 1 | class 2 | sum |
# | --- | --- | --- | --- | --- |
# | logit | 2 | 1 | 0 | |
# | exponential | 7.39 | 2.72 | 1 | 11.11 |
# | probability | 0.665 | 0.245 | 0.090 | 1 |
# | at temperature 0.5: logit / 0.5 | 4 | 2 | 0 | |
# | exponential | 54.60 | 7.39 | 1 | 62.99 |
# | probability | 0.867 | 0.117 | 0.016 | 1 |
#
# The **temperature** $T$ divides the logits. A small one makes the softmax sure of itself, a large one makes it doubt.
#
# $$\text{softmax}(z)_i = \frac{e^{z_i / T}}{\sum_j e^{z_j / T}} = \frac{e^{(z_i - m) / T}}{\sum_j e^{(z_j - m) / T}},
# \qquad m = \max_j z_j$$
#
# Why the second form? The same number may be taken from all logits: numerator and denominator shrink alike. But on a
# computer $e^{89}$ is already too large for a float32, it becomes infinite, and infinity divided by infinity is NaN, not a
# number. With the largest logit taken away, the largest exponent is 0.


# %% nbgrader={"grade": false, "grade_id": "softmax", "locked": false, "schema_version": 3, "solution": true, "task": false}
def softmax(logits: Tensor, temperature: float = 1.0, dim: int = -1) -> Tensor:
    """Probabilities along the axis `dim`, from logits of any size. From scratch: exp, max and sum.

    logits: floating point, any shape with at least one axis. temperature: greater than 0. dim: may be
    negative, counted from the end. Logits of 10,000 or −10,000 make no NaN.
    Returns: a new tensor, of the shape and dtype of `logits`; sums to 1 along `dim`. `logits` stays as it is.
    >>> softmax(torch.tensor([2.0, 1.0, 0.0]))
    tensor([0.6652, 0.2447, 0.0900])
    >>> softmax(torch.tensor([2.0, 1.0, 0.0]), temperature=0.5)
    tensor([0.8668, 0.1173, 0.0159])
    """
    ### BEGIN SOLUTION
    largest = logits.amax(dim=dim, keepdim=True)
    grown = ((logits - largest) / temperature).exp()
    return grown / grown.sum(dim=dim, keepdim=True)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_softmax", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
with exercise("softmax", points=4):
    z = randn(4, 7)
    before = z.clone()
    softmax(z)
    expect_equal(
        z,
        before,
        "your function changes the logits that it is given: `x = x - …` makes a new tensor, `x -= …` does not",
    )
    p = softmax(z)
    expect(isinstance(p, Tensor), "return a tensor", got=p)
    expect_equal(tuple(p.shape), (4, 7), "there is one probability for each logit: the shape must not change")
    expect_equal(p.dtype, torch.float32, "keep the dtype of the logits")
    expect(
        not torch.allclose(p.sum(), torch.tensor(1.0)),
        "all probabilities together sum to 1; each row has to, for itself: sum along `dim`",
    )
    expect_close(
        p.sum(-1),
        torch.ones(4),
        "the probabilities must sum to 1 along the last axis: divide by the sum of the exponentials there",
    )
    expect_close(
        p, F.softmax(z, -1), "the values differ: exponential of each logit, divided by the sum of the exponentials"
    )

    z = randn(3, 4, 5)
    for dim in (0, 1, -2, 2):
        p = softmax(z, dim=dim)
        expect_close(
            p.sum(dim),
            F.softmax(z, dim).sum(dim),
            f"with dim={dim} the probabilities must sum to 1 along that axis: `dim` is not used, in max or in sum",
        )
        expect_close(p, F.softmax(z, dim), f"with dim={dim} the values differ: max and sum both run along `dim`")
    for t in (0.5, 3.0):
        p = softmax(z, temperature=t)
        expect(not torch.allclose(p, F.softmax(z, -1)), "the temperature is not used")
        expect(not torch.allclose(p, F.softmax(z * t, -1)), "divide the logits by the temperature; you multiply")
        expect(not torch.allclose(p, F.softmax(z, -1) / t), "the temperature divides the logits, not the probabilities")
        expect_close(
            p,
            F.softmax(z / t, -1),
            f"at temperature {t} the values differ: divide the logits by it before the exponential",
        )
    expect_close(softmax(z, 2.0, 0), F.softmax(z / 2, 0), "with temperature and dim together the values differ")

    for size in (1e4, -1e4):
        p = softmax(z + size)
        expect(
            not p.isnan().any(), f"logits around {size:g} give NaN: take the largest logit away before the exponential"
        )
        expect_close(
            p,
            F.softmax(z + size, -1),
            f"logits around {size:g} give other values: take the largest away, nothing else",
            tolerance=2e-3,
        )
    far = z + 1e4 * torch.tensor([1.0, -1.0, 0.0])[:, None, None]
    expect(
        not softmax(far).isnan().any(),
        "rows of very different size give NaN: take away the largest along `dim`, not that of the whole tensor",
    )
    p = softmax(z, 1e-3)
    expect(
        not p.isnan().any(),
        "a tiny temperature gives NaN: divide the largest logit by the temperature, too, (z − m) / T",
    )
    expect_close(
        p,
        F.softmax(z / 1e-3, -1),
        "at a tiny temperature the values differ: the largest takes all",
        tolerance=1e-3,
    )
    upstream = randn(3, 4, 5)
    p = F.softmax(z, -1)
    slope = p * (upstream - (p * upstream).sum(-1, keepdim=True))
    expect_close(
        gradients(softmax, z, upstream=upstream)[0],
        slope,
        "the gradient differs: no .detach(), no .item(), no torch.no_grad()",
    )
    expect_from_scratch(softmax, "softmax", "log_softmax", "Softmax", "LogSoftmax", "softmin", "Softmin")
    ### BEGIN HIDDEN TESTS
    for shape, t, dim in (((1,), 1.0, 0), ((6,), 0.3, -1), ((1, 5), 2.0, 0), ((2, 3, 4, 2), 7.0, 1)):
        z = 3 * randn(*shape, dtype=torch.float64)
        expect_close(
            softmax(z, t, dim),
            F.softmax(z / t, dim),
            f"for the shape {shape}, temperature {t} and dim {dim} the values differ",
        )
    z = torch.cat([randn(3, 4) + 1e4, randn(3, 4) - 1e4], dim=1)
    expect_close(
        softmax(z, dim=1), F.softmax(z, 1), "large logits of both signs in one row: the values differ", tolerance=2e-3
    )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Follow the table: divide, exponential, sum, divide. Before all that, take something away that changes nothing.
#
# </details>
# <details><summary>Method</summary>
#
# The largest and the sum must line up with the logits for the subtraction and the division: `keepdim=True` keeps their axis,
# and broadcasting does the rest. Both run along `dim`.
#
# </details>
# <details><summary>Almost there</summary>
#
# Three lines: the largest, with `amax`; the exponentials of (logits without it, divided by the temperature); the quotient.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# What happens at the ends? Towards temperature 0 everything goes to the largest logit: the softmax becomes an argmax.
# Towards infinity everything becomes equal. And a shift of all logits changes nothing.

# %%
z = torch.tensor([2.0, 1.0, 0.0, -1.0])
temperatures = [0.02 * 1.2**i for i in range(46)]
by_temperature = torch.stack([softmax(z, t) for t in temperatures])  # (temperatures, 4)
curves(
    {f"logit {value:g}": (temperatures, by_temperature[:, i]) for i, value in enumerate(z.tolist())},
    xlabel="temperature",
    ylabel="probability",
    title="A cold softmax is an argmax, a hot one is a coin with four sides",
    alt="Four curves against the temperature on a logarithmic axis. At the left the curve of logit 2 is at 1 and the "
    "others are at 0; to the right all four run together at 0.25.",
    log="x",
)
print("largest change when 100 is added to all logits:", (softmax(z + 100) - softmax(z)).abs().max().item())

# %% [markdown]
# ## 4. How wrong is a prediction?
#
# The **cross-entropy** looks at one number only: the probability $p$ that the model gave to the class that was true. The loss is
# $-\log p$: 0 for $p = 1$, and it grows without end as $p$ goes to 0.
#
# By hand: two examples, both with the logits (2, 1, 0) of the table above. The first one's class is 0, the second one's is 2.
# Their losses are $-\log 0.665 = 0.408$ and $-\log 0.090 = 2.408$; the mean is 1.408.
#
# It need not go through $p$ at all, which might be 0 on a computer:
#
# $$-\log \frac{e^{z_y}}{\sum_j e^{z_j}} = \log \sum_j e^{z_j} - z_y$$
#
# By hand again: $\log 11.11 = 2.408$, so the losses are $2.408 - 2$ and $2.408 - 0$. `torch.logsumexp` is the first term,
# safe for large logits.
#
# In language some positions have no right answer: the padding at the end of a short sentence. They carry a special
# target, −100 by custom, and do not count, *neither in the sum nor in the number that it is divided by*.
#
# **Predict first.** A model that knows nothing gives all ten digits the same probability. What is its loss?


# %% nbgrader={"grade": false, "grade_id": "cross_entropy", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cross_entropy(logits: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
    """The mean of −log p over the examples that count, p being the probability of an example's target. From scratch.

    You may use logsumexp or log_softmax. Logits of 10,000 or −10,000 make neither NaN nor infinity.
    logits: (n, classes) floating point. targets: (n,) int64, each a class from 0 to classes − 1, or
    `ignore_index`, which does not count and may be any int, also a class. At least one example counts.
    Returns: one number, a tensor without axes, through which gradients flow.
    >>> cross_entropy(torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]]), torch.tensor([0, 2]))
    tensor(1.4076)
    >>> cross_entropy(torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]]), torch.tensor([0, -100]))
    tensor(0.4076)
    """
    ### BEGIN SOLUTION
    counts = targets != ignore_index
    logits, targets = logits[counts], targets[counts]  # (m, classes), (m,)
    of_target = logits.gather(1, targets[:, None])[:, 0]  # (m,)
    return (logits.logsumexp(dim=-1) - of_target).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_cross_entropy", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
with exercise("cross_entropy", points=4):
    z, y = 2 * randn(6, 5), randint(0, 5, (6,))
    loss = cross_entropy(z, y)
    right = F.cross_entropy(z, y)
    expect(isinstance(loss, Tensor), "return a tensor: no .item(), or gradients cannot flow", got=loss)
    expect(loss.dim() == 0, "return one number, the mean over the examples: a tensor without axes", got=loss)
    expect(not torch.allclose(loss.float(), right * 6), "this is the sum over the examples; wanted is their mean")
    expect(
        not torch.allclose(loss.float(), right / 5), "divide by the number of examples, not by the number of all logits"
    )
    expect(
        not torch.allclose(loss.float(), -right),
        "the sign: the logarithm of a probability is negative, a loss is positive",
    )
    expect(not torch.allclose(loss.float(), (z.logsumexp(-1) - z[:, y]).mean()), "`logits[:, targets]` takes the classes of "
           "all targets from every row: (n, n) numbers; wanted is one from each row, that of its own target")  # fmt: skip
    chosen = F.softmax(z, -1)[range(6), y]
    expect(not torch.allclose(loss.float(), (1 - chosen).mean()), "take the logarithm of the probability")
    expect(
        not torch.allclose(loss.float(), -z[range(6), y].mean()), "the logits are not probabilities yet: softmax first"
    )
    expect_close(loss, right, "the mean of logsumexp(logits) − logit of the target gives another value")

    masked = y.clone()
    masked[[1, 4]] = -100
    counts = masked != -100
    right = F.cross_entropy(z[counts], y[counts])
    loss = cross_entropy(z, masked)
    expect(
        not torch.allclose(loss.float(), right * 4 / 6),
        "ignored examples do not count in the number that you divide by either",
    )
    expect_close(loss, right, "examples with the target ignore_index must not count: leave them out")
    other = torch.tensor([3, 0, 3, 1, 2, 0])
    right = F.cross_entropy(z[other != 3], other[other != 3])
    expect_close(
        cross_entropy(z, other, ignore_index=3),
        right,
        "`ignore_index` may be any number: here it is 3, a class as any other",
    )
    for size in (1e4, -1e4):
        loss, right = cross_entropy(size * z, y), F.cross_entropy(size * z, y)
        expect(
            loss.isfinite(),
            "large logits give infinity or NaN: the probability became 0 before its logarithm; use logsumexp",
            got=loss,
        )
        expect_close(loss, right, "with large logits the loss differs")
    slope = torch.zeros_like(z)
    slope[counts] = (F.softmax(z[counts], -1) - F.one_hot(y[counts], 5)) / 4
    expect_close(
        gradients(cross_entropy, z, masked)[0],
        slope,
        "the gradient differs: no .detach(), no .item(), no torch.no_grad()",
    )
    expect_from_scratch(cross_entropy, "cross_entropy", "nll_loss", "CrossEntropyLoss", "NLLLoss")
    ### BEGIN HIDDEN TESTS
    for n, classes, ignored in ((1, 3, -100), (9, 2, 1), (12, 20, -1)):
        z, y = randn(n, classes, dtype=torch.float64), randint(0, classes, (n,))
        y[0], y[1:3] = 0, ignored
        right = F.cross_entropy(z, y, ignore_index=ignored)
        expect_close(
            cross_entropy(z, y, ignored),
            right,
            f"for {n} examples, {classes} classes and ignore_index {ignored} the loss differs",
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Leave out what does not count first. What is left is an ordinary mean.
#
# </details>
# <details><summary>Method</summary>
#
# `targets != ignore_index` is a tensor of True and False: keep the rows where it is True. Then you need one logit from each
# row, the one of its target.
#
# </details>
# <details><summary>Almost there</summary>
#
# One number from each row is in the table of section 1. Count the rows that are left, not those that came in.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# Your prediction was $-\log \tfrac{1}{10} = \log 10$. Keep that number in mind: when a training run of yours starts far above
# it, something is wrong before any learning has begun.

# %%
print(f"knows nothing: {cross_entropy(torch.zeros(len(labels), 10), labels.cpu()):.3f}")
p = torch.linspace(0.01, 1, 200)
curves(
    {"-log p": (p, -p.log()), "1 - p": (p, 1 - p)},
    xlabel="probability of the true class, p",
    ylabel="loss",
    title="The cross-entropy hardly minds doubt, and punishes being sure and wrong",
    alt="Two curves that meet at p = 1 with loss 0. The straight line 1 - p reaches 1 at p = 0. The curve -log p stays near "
    "it for large p and shoots up to 4.6 at p = 0.01.",
)

# %% [markdown]
# ## 5. Which way is down?
#
# To learn, we need to know how the loss changes with each weight: its **gradient**. A network is a chain of
# layers, so the chain rule goes back through it, layer by layer. Each layer is handed one thing, the gradient of the loss
# with respect to its *output*, and has to say what that means for its input and its weights.
#
# For a linear layer, $y = xW + b$, by hand: $x = (1, 2)$, $W = \begin{pmatrix} 1 \\ 3 \end{pmatrix}$, $b = 0$. So
# $y = 1 \cdot 1 + 2 \cdot 3 = 7$. We write $dy$ for $\partial\,\text{loss} / \partial y$: by how much the loss grows for each
# unit of $y$. Say that this is 10.
#
# - The first weight is multiplied by 1 on its way to $y$, the second by 2. So $dW = \begin{pmatrix} 10 \\ 20 \end{pmatrix}$.
# - The first input is multiplied by 1, the second by 3. So $dx = (10, 30)$.
# - The bias goes straight into $y$. So $db = 10$.
#
# With many examples, one a row, all of them go through the same $W$ and $b$, and what they want of it adds up:
#
# $$dX = dY\, W^\top, \qquad dW = X^\top dY, \qquad db = \sum_{\text{rows}} dY$$
#
# You need not remember where the transposes go. A gradient has the shape of the thing it belongs to, and only one product
# has that shape.


# %% nbgrader={"grade": false, "grade_id": "linear_backward", "locked": false, "schema_version": 3, "solution": true, "task": false}
def linear_backward(x: Tensor, w: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The backward pass of y = x w + b, from scratch: no autograd.

    x: (n, d_in). w: (d_in, d_out). dy: (n, d_out), the gradient of the loss with respect to y.
    Returns: dx (n, d_in), dw (d_in, d_out), db (d_out,): the gradients with respect to x, w and b, in this order.
    >>> linear_backward(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0], [3.0]]), torch.tensor([[10.0]]))
    (tensor([[10., 30.]]), tensor([[10.],
            [20.]]), tensor([10.]))
    """
    ### BEGIN SOLUTION
    return dy @ w.T, x.T @ dy, dy.sum(dim=0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_linear_backward", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("linear_backward", points=3):
    for n, d_in, d_out in ((5, 3, 4), (4, 4, 4), (1, 6, 2)):  # a square one too, in which a missing transpose fits
        x, w, dy = randn(n, d_in), randn(d_in, d_out), randn(n, d_out)
        result = linear_backward(x, w, dy)
        expect(
            isinstance(result, (tuple, list)) and len(result) == 3, "return three tensors: dx, dw and db", got=result
        )
        dx, dw, db = result
        expect_equal([tuple(t.shape) for t in result], [(n, d_in), (d_in, d_out), (d_out,)],
                     "a gradient has the shape of what it belongs to: dx that of x, dw that of w, db that of b")  # fmt: skip
        expect_equal([t.dtype for t in result], [torch.float32] * 3, "keep the dtype of x")
        if n == d_in == d_out:
            expect(
                not torch.allclose(dx, dy @ w),
                "dx: here w is square, and its missing transpose does not show in the shape",
            )
            expect(
                not torch.allclose(dw, x @ dy),
                "dw: here x is square, and its missing transpose does not show in the shape",
            )
            expect(
                not torch.allclose(dw, dy.T @ x),
                "dw: here it is square, and upside down: rows belong to inputs, columns to outputs",
            )
        if n > 1:
            expect(
                not torch.allclose(db, dy.mean(0)),
                "db is the sum over the examples, not their mean: the mean is in the loss already",
            )
            expect(
                not torch.allclose(dw, x.T @ dy / n),
                "dw is the sum over the examples, not their mean: the mean is in the loss already",
            )
        leaves = [t.clone().requires_grad_() for t in (x, w, torch.zeros(d_out))]
        right = torch.autograd.grad(leaves[0] @ leaves[1] + leaves[2], leaves, dy)
        expect_close(dx, right[0], "dx differs from autograd's: dy times w, transposed")
        expect_close(dw, right[1], "dw differs from autograd's: x, transposed, times dy")
        expect_close(db, right[2], "db differs from autograd's: sum dy over the examples")
    expect_from_scratch(
        linear_backward, "autograd", "backward", "grad", "requires_grad", "requires_grad_", "vjp", "func"
    )
    ### BEGIN HIDDEN TESTS
    for n, d_in, d_out in ((1, 1, 1), (7, 1, 3), (3, 8, 8), (6, 6, 2)):
        x, w, dy = (randn(*shape, dtype=torch.float64) for shape in ((n, d_in), (d_in, d_out), (n, d_out)))
        leaves = [t.clone().requires_grad_() for t in (x, w, torch.zeros(d_out, dtype=torch.float64))]
        right = torch.autograd.grad(leaves[0] @ leaves[1] + leaves[2], leaves, dy)
        for got, wanted_one, name in zip(linear_backward(x, w, dy), right, ("dx", "dw", "db"), strict=True):
            expect_close(got, wanted_one, f"for {n} examples, {d_in} inputs and {d_out} outputs {name} differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Write the shapes of `x`, `w` and `dy` on paper. Which product of which two gives the shape of `w`?
#
# </details>
# <details><summary>Method</summary>
#
# For `dx`, `(n, d_in)`, only `dy` and `w` are of use; turn one of them so that `d_out` meets `d_out`. For `dw`, `(d_in, d_out)`,
# only `x` and `dy` are; turn one of them so that `n` meets `n`. The product sums over what meets.
#
# </details>
# <details><summary>Almost there</summary>
#
# `.T` turns a matrix. The bias is added to each row, so its gradient is the sum of all rows of `dy`: remember which axis goes
# away.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# PyTorch builds the chain for you: each operation remembers its inputs and knows its own backward pass. That is all that
# *autograd* is, and you can add an operation of your own. Here is a linear layer whose backward pass is yours.


# %%
class Linear(torch.autograd.Function):
    """y = x w + b. PyTorch calls `backward` when the chain rule comes by."""

    @staticmethod
    def forward(ctx, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w + b

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return linear_backward(x, w, dy)


# %%
x, w, b = (torch.randn(*shape, requires_grad=True) for shape in ((5, 3), (3, 4), (4,)))
target = torch.tensor([0, 3, 1, 1, 2])
yours = torch.autograd.grad(cross_entropy(Linear.apply(x, w, b), target), [x, w, b])
pytorchs = torch.autograd.grad(F.cross_entropy(x @ w + b, target), [x, w, b])
for name, a, c in zip(("dx", "dw", "db"), yours, pytorchs, strict=True):
    print(f"{name}: your chain and PyTorch's differ by at most {(a - c).abs().max().item():.0e}")

# %% [markdown]
# ## 6. What does it cost?
#
# Count multiplications and additions, one operation each. In the product of an $(n \times m)$ and an $(m \times p)$ matrix
# each of the $n p$ results takes $m$ of both: $2 n m p$ operations. The bias costs little beside that and does not count.
#
# **Predict first.** Which costs more, the forward pass or the backward pass of a linear layer? By which factor?
# Look at your `linear_backward` before you answer.
#
# By hand: $n = 5$, $d_{in} = 2$, $d_{out} = 3$. The forward pass takes $2 \cdot 5 \cdot 2 \cdot 3 = 60$ operations.


# %% nbgrader={"grade": false, "grade_id": "linear_flops", "locked": false, "schema_version": 3, "solution": true, "task": false}
def linear_flops(n: int, d_in: int, d_out: int) -> tuple[int, int]:
    """Operations of a linear layer on n examples, in its matrix products; a multiplication and an addition are two.

    The bias does not count. The backward pass computes the gradients of both the input and the weights.
    Returns: those of the forward pass, and those of the backward pass.
    >>> linear_flops(5, 2, 3)[0]
    60
    """
    ### BEGIN SOLUTION
    forward = 2 * n * d_in * d_out
    return forward, 2 * forward  # one product for dx, one for dw, each as large as that of the forward pass
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_linear_flops", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("linear_flops", points=1):
    sizes = ((5, 2, 3), (7, 4, 9), (3, 10, 6))
    answers = [linear_flops(*size) for size in sizes]
    from torch.utils.flop_counter import FlopCounterMode  # slow to import: only once there is something to compare

    for (n, d_in, d_out), got in zip(sizes, answers, strict=True):
        x, w, dy = randn(n, d_in).requires_grad_(), randn(d_in, d_out).requires_grad_(), randn(n, d_out)
        with FlopCounterMode(display=False) as forward:  # counts the operations of the products that PyTorch does
            y = x @ w
        with FlopCounterMode(display=False) as backward:
            torch.autograd.grad(y, (x, w), dy)
        forward, backward = forward.get_total_flops(), backward.get_total_flops()
        expect(isinstance(got, (tuple, list)) and len(got) == 2, "return two numbers: forward, backward", got=got)
        expect(got[0] * 2 != forward, "a multiplication and an addition are two operations", got=got)
        expect(got[0] * n != forward, "every example costs: the forward pass has n · d_out results", got=got)
        expect_equal(got[0], forward, "forward: the product of (n, d_in) and (d_in, d_out)")
        expect(got[1] != forward, "the backward pass has two matrix products: look at your linear_backward", got=got)
        expect(got[1] != forward + backward, "the second number is the backward pass alone", got=got)
        expect_equal(got[1], backward, "backward: one product for dx and one for dw; what does each cost?")
    ### BEGIN HIDDEN TESTS
    for n, d_in, d_out in randint(1, 500, (3, 3)).tolist():
        expect_equal(
            linear_flops(n, d_in, d_out),
            (2 * n * d_in * d_out, 4 * n * d_in * d_out),
            "other sizes: the numbers differ",
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# How many matrix products does the backward pass have, and what are their shapes?
#
# </details>
# <details><summary>Method</summary>
#
# Put the shapes of `dx` and of `dw` into the rule for a product. Compare with the forward pass.
#
# </details>
# <details><summary>Almost there</summary>
#
# In each of the three products the same three sizes appear, in another order, and their order does not matter for the cost.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# Going back costs twice as much as going forward, and both together six operations for each weight and example. Kaplan et
# al. (2020) use this to say what it costs to train a language model of $N$ weights on $D$ tokens: $C \approx 6ND$.

# %%
layers = {"our first layer, 64 digits": (64, 64, 64), "GPT-2's last layer, 1024 tokens": (1024, 768, 50257)}
for name, (n, d_in, d_out) in layers.items():
    forward, backward = linear_flops(n, d_in, d_out)
    each = (forward + backward) / (n * d_in * d_out)
    print(f"{name:<32} forward {forward:>14,}  backward {backward:>15,}  together {each:g} a weight and example")

# %% [markdown]
# ## 7. How does a model learn?
#
# Go a small step downhill, again and again: $\theta \leftarrow \theta - \eta \nabla\theta$. The step size $\eta$ is the **learning
# rate**. With gradients from a few examples at a time it is called *stochastic gradient descent*, SGD.
#
# By hand: one parameter $\theta$, the loss $(\theta - 3)^2$, its gradient $2(\theta - 3)$, the learning rate 0.25, and the
# start at 0.
#
# | step | θ | loss | gradient | new θ |
# | --- | --- | --- | --- | --- |
# | 0 | 0 | 9 | −6 | 0 + 0.25 · 6 = 1.5 |
# | 1 | 1.5 | 2.25 | −3 | 1.5 + 0.25 · 3 = 2.25 |
# | 2 | 2.25 | 0.5625 | −1.5 | 2.625 |
#
# In PyTorch a parameter is a tensor that asks for gradients (`requires_grad`) and was not computed from others (a **leaf**).
# After `loss.backward()` its gradient lies in `parameter.grad`. A step has to change the numbers *in* the tensor, since the
# model holds that very tensor. And the step itself is no part of the model, so PyTorch must not record it: inside
# `with torch.no_grad():` it looks away. Without that it says *a leaf Variable that requires grad is being used in an in-place
# operation*.
#
# The next cell is for the test: it makes parameters, calls your function, and reports what became of them.


# %% nbgrader={"grade": false, "grade_id": "after_step", "locked": true, "schema_version": 3, "solution": false, "task": false}
def after_step(values: list[Tensor], slopes: list[Tensor | None], learning_rate: float) -> dict:
    """What `sgd_step` does to parameters with these values and gradients (None: it has no gradient)."""
    parameters = [value.clone().requires_grad_() for value in values]
    for parameter, slope in zip(parameters, slopes, strict=True):
        parameter.grad = None if slope is None else slope.clone()
    sgd_step(list(parameters), learning_rate)
    return {
        "values": [parameter.detach() for parameter in parameters],
        "slopes": [parameter.grad for parameter in parameters],
        "leaves": all(parameter.is_leaf and parameter.requires_grad for parameter in parameters),
    }


# %% nbgrader={"grade": false, "grade_id": "sgd_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sgd_step(parameters: list[Tensor], learning_rate: float) -> None:
    """Move each parameter against its gradient: θ ← θ − learning_rate · θ.grad, in place.

    parameters: leaves that ask for gradients, and still do afterwards. The tensors themselves change, not
    the list. One whose `grad` is None stays as it is. The gradients stay as they are.
    From scratch: no torch.optim.
    >>> theta = torch.tensor([0.0], requires_grad=True)
    >>> ((theta - 3) ** 2).sum().backward()
    >>> sgd_step([theta], 0.25)
    >>> theta
    tensor([1.5000], requires_grad=True)
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter -= learning_rate * parameter.grad
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_sgd_step", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("sgd_step", points=2):
    expect_from_scratch(sgd_step, "optim", "SGD", "Adam")
    for learning_rate, shapes in ((0.1, ((3, 2), (4,))), (2.0, ((1,), (2, 3, 2)))):
        values, slopes = [randn(*shape) for shape in shapes], [randn(*shape) for shape in shapes]
        after = after_step(values, slopes, learning_rate)
        for value, slope, got in zip(values, slopes, after["values"], strict=True):
            expect(
                not torch.equal(got, value),
                "the parameters did not change: `p = p - …` makes a new tensor; change the numbers in the old one, `p -= …`",
            )
            expect(not torch.allclose(got, value + learning_rate * slope), "this goes uphill: subtract the gradient")
            expect(not torch.allclose(got, value - slope), "the learning rate is not used")
            parameter = nn.Parameter(value.clone())
            parameter.grad = slope
            torch.optim.SGD([parameter], lr=learning_rate).step()
            expect_close(got, parameter.data, "θ − learning_rate · gradient gives another value")
        expect(after["leaves"], "afterwards a parameter must still be a leaf that asks for gradients (requires_grad)")
        for slope, got in zip(slopes, after["slopes"], strict=True):
            expect(
                got is not None and torch.equal(got, slope),
                "leave the gradients as they are: clearing them is not this function's job",
            )
    values = [randn(3), randn(2)]
    after = after_step(values, [None, randn(2)], 0.1)
    expect_equal(after["values"][0], values[0], "a parameter whose grad is None stays as it is")
    expect(
        not torch.equal(after["values"][1], values[1]),
        "a parameter whose grad is None must not keep the others from moving",
    )
    ### BEGIN HIDDEN TESTS
    values, slopes = ([randn(*shape, dtype=torch.float64) for shape in ((5,), (1, 1), (2, 6))] for _ in range(2))
    for value, slope, got in zip(values, slopes, after_step(values, slopes, 1e-3)["values"], strict=True):
        expect_close(got, value - 1e-3 * slope, "three parameters in float64: the values differ")
    ### END HIDDEN TESTS

# %% [markdown]
# One step is not learning; many are. PyTorch *adds* each new gradient to what lies in `grad`, which is of use when a batch does
# not fit into memory, and a classic mistake otherwise: forget to clear it, and each step is taken with the sum of all
# gradients so far. In the example by hand the second step would use −6 − 3 = −9 in place of −3.
#
# The next cell, `descend`, is for the test again and for a plot; skip it.


# %% nbgrader={"grade": false, "grade_id": "descend", "locked": true, "schema_version": 3, "solution": false, "task": false}
def descend(
    starts: list[Tensor], goals: list[Tensor], steps: int, learning_rate: float
) -> tuple[list[Tensor], list, list]:
    """`train` on the sum of (parameter - goal)², as in the example by hand.

    Returns: the parameters at the end, what `train` returned, and the steps that it handed to `loss_fn`.
    """
    parameters, asked = [start.clone().requires_grad_() for start in starts], []

    def loss_fn(step):
        asked.append(step)
        return sum(((p - goal) ** 2).sum() for p, goal in zip(parameters, goals, strict=True))

    losses = train(parameters, loss_fn, steps, learning_rate)
    return [p.detach() for p in parameters], losses, asked


# %% nbgrader={"grade": false, "grade_id": "train", "locked": false, "schema_version": 3, "solution": true, "task": false}
def train(parameters: list[Tensor], loss_fn, steps: int, learning_rate: float) -> list[float]:
    """Gradient descent: `steps` times a loss, its gradients, and one `sgd_step`. From scratch: no torch.optim.

    parameters: leaves that ask for gradients, whose grad is None at the start. loss_fn(step) is called once
    a step, for step = 0, 1, …, steps − 1, and returns the loss, a tensor without axes. Each step uses the
    gradients of its own loss alone.
    Returns: the loss of each step, before that step is taken, as `steps` plain floats.
    >>> theta = torch.tensor([0.0], requires_grad=True)
    >>> train([theta], lambda step: ((theta - 3) ** 2).sum(), steps=2, learning_rate=0.25)
    [9.0, 2.25]
    >>> theta
    tensor([2.2500], requires_grad=True)
    """
    ### BEGIN SOLUTION
    losses = []
    for step in range(steps):
        for parameter in parameters:
            parameter.grad = None
        loss = loss_fn(step)
        loss.backward()
        sgd_step(parameters, learning_rate)
        losses.append(loss.item())
    return losses
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_train", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("train", points=2):
    expect_from_scratch(train, "optim", "SGD", "Adam", "fit")
    for n_steps, eta in ((4, 0.25), (3, 0.1)):
        starts, goals = [randn(3), randn(2, 2)], [randn(3) + 2, randn(2, 2)]
        ends, reported, asked = descend(starts, goals, n_steps, eta)
        expect(isinstance(reported, (list, tuple)), "return the list of losses", got=reported)
        expect_equal(len(reported), n_steps, "return one loss for each step")
        expect(
            all(type(loss) is float for loss in reported),
            "the losses must be plain numbers, loss.item(): a tensor would keep its whole chain alive",
            got=reported,
        )
        expect_equal(asked, list(range(n_steps)), "call loss_fn once in each step, with the number of the step, from 0")
        gaps = [start - goal for start, goal in zip(starts, goals, strict=True)]
        gap = sum((g**2).sum().item() for g in gaps)
        shrinks = 1 - 2 * eta  # each step shortens the way to the goal by this factor
        expect(any(not torch.equal(a, b) for a, b in zip(ends, starts, strict=True)),
               "nothing was learned: loss.backward() fills the gradients, then sgd_step uses them; do not clear them in between")  # fmt: skip
        way, slope = 1.0, 0.0  # what comes out when gradients pile up
        for _ in range(n_steps):
            slope += 2 * way
            way -= eta * slope
        piled = all(
            torch.allclose(end, goal + way * g, atol=1e-4) for end, goal, g in zip(ends, goals, gaps, strict=True)
        )
        expect(
            not piled,
            "gradients pile up: each step uses the sum of all gradients so far; clear them (p.grad = None) in each step",
        )
        right = [gap * shrinks ** (2 * k) for k in range(n_steps)]
        expect_close(
            torch.tensor(reported),
            torch.tensor(right),
            "the losses differ from those of gradient descent",
            tolerance=1e-4,
        )
        for end, goal, g in zip(ends, goals, gaps, strict=True):
            expect_close(
                end,
                goal + shrinks**n_steps * g,
                "the parameters end elsewhere: one sgd_step for each loss, with the learning rate",
                tolerance=1e-4,
            )
    ### BEGIN HIDDEN TESTS
    starts, goals = [randn(5, dtype=torch.float64)], [randn(5, dtype=torch.float64)]
    ends, reported, asked = descend(starts, goals, 9, 0.4)
    expect_close(
        ends[0], goals[0] + 0.2**9 * (starts[0] - goals[0]), "nine steps in float64: the parameters end elsewhere"
    )
    expect_equal(len(reported), 9, "nine steps have nine losses")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints for both</summary>
#
# <details><summary>Nudge</summary>
#
# `sgd_step` is the formula in its docstring, for each parameter in turn. `train` is a loop, and in it nothing but the order of
# four things matters.
#
# </details>
# <details><summary>Method</summary>
#
# For `sgd_step`: `p -= …` changes the tensor, `p = p - …` only gives the name `p` to a new one. For `train`: clear, compute the
# loss, go backward, step.
#
# </details>
# <details><summary>Almost there</summary>
#
# For `sgd_step`, the loop stands inside `with torch.no_grad():`, and in the loop an `if` skips parameters without a gradient. For
# `train`, clear by setting each `p.grad` to `None`, and keep `loss.item()`, not `loss`.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# **Predict first.** On the parabola $(\theta - 3)^2$, what happens with learning rate 0.9? With 1? With 1.1?

# %% jupyter={"source_hidden": true}
rates = (0.05, 0.25, 0.9, 1.0, 1.1)
losses = {f"learning rate {rate:g}": descend([torch.zeros(1)], [torch.full((1,), 3.0)], 15, rate)[1] for rate in rates}
curves(
    losses,
    xlabel="step",
    ylabel="loss",
    title="On a parabola: too small is slow, too large never arrives, larger still runs away",
    alt="Loss against step, logarithmic, for five learning rates. 0.25 falls fastest, 0.9 and 0.05 fall more slowly, 1.0 stays at 9 "
    "for ever, 1.1 rises.",
    log="y",
    markers=True,
)

# %% [markdown]
# A step takes $\theta - 3$ to $(1 - 2\eta)(\theta - 3)$. Above 0.5 it lands on the other side. With 1 it jumps to and fro for
# ever; above 1 each jump is longer than the last.
#
# ## 8. Can it read digits?
#
# Now put everything together. The network has two linear layers, and between them a **ReLU**, which sets negative numbers to
# zero. Without it two linear layers would be one: $(x W_1) W_2 = x (W_1 W_2)$. The weights start at random, with a standard
# deviation of $\sqrt{2 / d_{in}}$, which keeps the numbers at one size from layer to layer (He et al. 2015).

# %%
n_hidden = pick(smoke=16, cpu=64, gpu=256)


def random_weights(d_in: int, d_out: int) -> Tensor:
    return (torch.randn(d_in, d_out) * (2 / d_in) ** 0.5).to(device).requires_grad_()


def new_parameters(d_in: int = 64, d_hidden: int = n_hidden) -> list[Tensor]:
    """w1, b1, w2, b2 of an untrained network with ten outputs."""
    biases = [torch.zeros(d, device=device, requires_grad=True) for d in (d_hidden, 10)]
    return [random_weights(d_in, d_hidden), biases[0], random_weights(d_hidden, 10), biases[1]]


def network(parameters: list[Tensor], x: Tensor) -> Tensor:
    """x: (n, d_in), centred pixels. Returns: logits (n, 10). Its backward pass is your linear_backward."""
    w1, b1, w2, b2 = parameters
    hidden = Linear.apply(x, w1, b1).relu()  # (n, d_hidden)
    return Linear.apply(hidden, w2, b2)


# %%
def fit_digits(parameters: list[Tensor], x: Tensor, y: Tensor, steps: int, learning_rate: float) -> list[float]:
    """Train on batches of 64 digits, drawn anew in each step. Returns: the losses."""

    def loss_fn(step: int) -> Tensor:
        batch = torch.randint(len(x), (64,), device=x.device)
        return cross_entropy(network(parameters, x[batch]), y[batch])

    return train(parameters, loss_fn, steps, learning_rate)


@torch.no_grad()
def accuracy(parameters: list[Tensor], x: Tensor, y: Tensor) -> float:
    """The share of digits whose largest logit is that of their label."""
    return (network(parameters, x).argmax(dim=-1) == y).float().mean().item()


# %% [markdown]
# **Predict first.** Without training, what share of the digits does it get right? What is its loss?

# %%
steps = pick(smoke=30, cpu=1000, gpu=1000)
parameters = new_parameters()
loss_before = cross_entropy(network(parameters, held_out_inputs), held_out_labels)
print(f"held out, before: {accuracy(parameters, held_out_inputs, held_out_labels):.1%} right, loss {loss_before:.2f}")
learned = fit_digits(parameters, inputs, labels, steps, learning_rate=0.5)
print(f"held out, after: {accuracy(parameters, held_out_inputs, held_out_labels):.1%} right")
print(f"trained on, after: {accuracy(parameters, inputs, labels):.1%} right")

# %% [markdown]
# About a tenth before training, as by guessing. The loss is a little above $\log 10 = 2.30$: random weights are slightly worse
# than knowing nothing: they prefer some digits for no reason. After a thousand steps (`cpu` scale, cells run in order) the network reads
# about 97.8 % of the digits that it has never seen, 351 of 359. A single linear layer without the ReLU (scikit-learn's
# logistic regression on the same pixels) reads 345 of them. Of those it was trained on, your network reads all: that is why
# something must be held out. The held-out digits are new pictures by familiar writers; those of a stranger would be harder.
#
# ### What to look at
#
# Which ones does it get wrong, and how sure was it? Your softmax says.

# %%
with torch.no_grad():
    probabilities = softmax(network(parameters, held_out_inputs)).cpu()
sure, guess = probabilities.max(dim=-1)
wrong = (guess != held_out.labels).nonzero()[:, 0]
worst = wrong[sure[wrong].argsort(descending=True)][:8]
image_grid(
    held_out.images[worst],
    [f"{held_out.labels[i]}, read as {guess[i]}\nat {sure[i]:.0%}" for i in worst],
    columns=8,
    title=f"Wrong: {len(wrong)} of {len(held_out.labels)} held-out digits; here are those it was surest of",
    alt="Pictures of held-out digits that the model gets wrong, each with its label, the digit that was read, and the "
    "probability that the model gave it.",
)

# %% [markdown]
# And what did the first layer learn? Each hidden unit has 64 weights, one for each pixel, so it is a picture.

# %% jupyter={"source_hidden": true}
image_grid(
    rearrange(parameters[0].detach().cpu()[:, :10], "(h w) unit -> unit h w", h=8),
    [f"unit {i}" for i in range(10)],
    signed=True,
    title="Ten hidden units: ink on a blue pixel speaks for the unit, ink on a red one against it",
    alt="Ten pictures of 8 by 8 weights, red, white and blue. The strongest colours are in the middle, often a red pixel or "
    "two beside blue ones; much of the rest is a pale, random pattern left over from the start.",
)

# %% [markdown]
# ## Break it: start at zero, or run too fast
#
# **Predict first.** All weights start at zero in place of random numbers. Same network, same data, same steps. What happens?
# Your `linear_backward` has the answer: put $W_2 = 0$ and a hidden layer of zeros into it. And if all weights start at 0.01?
#
# And what does a learning rate of 20 do?


# %%
def equal_parameters(value: float) -> list[Tensor]:
    """Parameters of an untrained network whose weights all have one value."""
    parameters = new_parameters()
    with torch.no_grad():
        for w in parameters[::2]:
            w.fill_(value)
    return parameters


trials = {
    "random start, rate 0.5": (new_parameters(), 0.5),
    "all weights 0": (equal_parameters(0.0), 0.5),
    "all weights 0.01": (equal_parameters(0.01), 0.5),
    "random start, rate 20": (new_parameters(), 20.0),
}
runs = {name: fit_digits(start, inputs, labels, steps, rate) for name, (start, rate) in trials.items()}
for name, (trained, _) in trials.items():
    idle = (inputs @ trained[0] + trained[1] <= 0).all(dim=0).float().mean().item()
    share = accuracy(trained, held_out_inputs, held_out_labels)
    print(f"{name:<24}{share:6.1%} of the held-out digits are right, {idle:4.0%} of the hidden units always 0")

# %% jupyter={"source_hidden": true}
curves(
    {
        name: (range(5, steps, 10), [sum(run[i : i + 10]) / 10 for i in range(0, steps, 10)])
        for name, run in runs.items()
    },
    xlabel="step",
    ylabel="loss, mean of 10 steps",
    title="From zero nothing moves; from equal weights little does; at rate 20 the first steps destroy the network",
    alt="Four curves of the loss against the step, both logarithmic. The random start with rate 0.5 falls from 2 to about "
    "0.01. All weights 0 is a flat line at 2.3. All weights 0.01 stays there for 50 steps, then sinks to about 0.8. Rate 20 "
    "starts above 10, is below 3 after 50 steps and stays between 2 and 3.",
    log="xy",
)

# %% [markdown]
# **From zero** the hidden layer is zero, so $dW_2 = h^\top dY = 0$. And $W_2$ is zero, so $dh = dY\, W_2^\top = 0$, and nothing is
# left for $W_1$. Only the last bias moves: it learns how often each digit occurs, and the loss stays at $\log 10$.
#
# **From 0.01** gradients flow, but all hidden units are alike and get the same gradients. In exact arithmetic they would stay
# alike for ever, one unit in many copies. Here rounding errors tell them apart in the end, slowly and badly. Random numbers do it
# at once.
#
# **At rate 20** the first steps throw the weights so far that most hidden units are negative for every digit. The
# ReLU makes zeros of them, the gradient of a zero is zero, and they never come back. When a loss of yours jumps up in the first
# steps or becomes NaN, divide the learning rate by ten before you look for anything else.

# %% [markdown]
# ## Play
#
# Slide the temperature. These are logits for a digit that could be a 3, an 8 or a 9. At 0 the softmax is an argmax. At 1 the 3
# has just as much as all others together. **Predict first:** is there a temperature at which the 8 is likelier than the 3?
#
# <details><summary>Answer</summary>
#
# No. Dividing all logits by the same positive number keeps their order, and the exponential keeps it too. A temperature
# changes how sure the model is, never what it likes best.
#
# </details>

# %% nbgrader={"grade": false, "grade_id": "play", "locked": true, "schema_version": 3, "solution": false, "task": false}
explore_softmax(
    [str(digit) for digit in range(10)],
    torch.tensor([-4.0, 1.0, 0.5, 4.0, -3.0, 1.5, -5.0, -1.0, 3.5, 2.5]),
)

# %% [markdown]
# ## At full size
#
# **The same network, more pixels.** LeCun et al. (1998) trained a network like yours, with one hidden layer of 300 units, on the
# 60,000 digits of MNIST, 28 × 28 pixels each: 4.7 % of 10,000 held-out digits were wrong. Their convolutional LeNet-5 got that
# down to 0.95 %; lesson 10 is about it. With `DOWNLOAD = True` the next cell trains yours on the same data.
#
# **The same parts, more of them.** The last layer of GPT-2 is your linear layer without the bias, from 768 features to 50,257
# pieces of words.
# Its loss in training is your `cross_entropy`; when it writes, it draws from your `softmax`, with a temperature. One step of
# training sends gradients through 124,439,808 parameters, each layer with a backward pass of its own. What takes the step is
# usually Adam (Kingma & Ba 2015), which gives each parameter a step size of its own.

# %%
DOWNLOAD = False  # True: fetch MNIST, 11 MB, once

if DOWNLOAD:
    from utils.data.digits import load_mnist

    mnist, mnist_held_out = load_mnist()
    flat = [rearrange(part.images, "n h w -> n (h w)").to(device) for part in (mnist, mnist_held_out)]
    middle = column_means(flat[0])
    large = new_parameters(d_in=784, d_hidden=300)
    fit_digits(large, flat[0] - middle, mnist.labels.to(device), steps=10_000, learning_rate=0.2)
    print(
        f"{accuracy(large, flat[1] - middle, mnist_held_out.labels.to(device)):.1%} of the 10,000 held-out digits are right"
    )
else:
    print("skipped: set DOWNLOAD = True above to fetch MNIST (needs a network)")

# %% [markdown]
# ## Score card

# %%
score_card()

# %% [markdown]
# Before you hand in a lesson: *Restart kernel and run all cells*, look at the score card, save. A cell that only worked because
# of something you have since deleted shows itself that way.
#
# ## In five lines
#
# - A reduction makes the axis go away that you name; broadcasting lines shapes up from the right.
# - A reshape keeps the order of the numbers. Heads are split off by a reshape *and* a move of the axis.
# - Softmax: take the largest away, divide by the temperature, exponential, divide by the sum. Cross-entropy: −log of what the
#   truth got; a model that knows nothing has log of the number of classes.
# - Back through a linear layer: $dX = dY\,W^\top$, $dW = X^\top dY$, $db$ sums the rows. It costs twice the forward pass.
# - Learning: clear, loss, backward, step. Start at random, and not too fast.
#
# ## Further reading
#
# - Rumelhart, Hinton and Williams, *Learning representations by back-propagating errors*, Nature 1986. Four pages; your
#   `linear_backward` is in them.
# - LeCun, Bottou, Bengio and Haffner, *Gradient-based learning applied to document recognition*, Proceedings of the IEEE 1998.
#   Where MNIST and LeNet-5 come from; section III compares many classifiers.
# - Rogozhnikov, *Einops: Clear and Reliable Tensor Manipulations with Einstein-like Notation*, ICLR 2022. Why axes should have
#   names.
