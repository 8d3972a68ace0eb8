# %% [markdown]
# # Recurrent networks and sequence to sequence
#
# In lesson 01 a word became a vector. Here a whole sentence becomes one: a network reads it item by item, keeps a
# state, and a second network writes the answer from that state alone. You write the cells (plain, LSTM, GRU) and check
# them against PyTorch's, see why gradients vanish and explode, and then build the encoder–decoder of Sutskever et al.
# (2014). Yours turns *mardi 4 mars 2025* and *3/4/25* into `2025-03-04`, for days that it has never seen. At the end
# you measure what stops this design: everything must fit into one vector.
#
# | | |
# | --- | --- |
# | builds on | 00 (gradients, cross-entropy), 01 (embeddings, PCA) |
# | points | 20, in ten exercises |
# | run time | 0.2 s at `smoke` scale, 50 s at `cpu` scale (one thread, without imports and pictures); `gpu` not measured yet |

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

device = setup("02_seq2seq")

# %%
diagram(
    {
        "source": ("mardi 4\nmars 2025", 0, 0), "encoder": ("encoder", 0, 1), "cells": ("rnn_cell,\nlstm_cell", 0, 2.2),
        "gru": ("gru_cell,\nunroll", 1.25, 2.2), "context": ("context:\none vector", 1.25, 1),
        "target": ("2025-03-04", 2.5, 3.2), "shift": ("shift_right", 2.5, 2.2), "decoder": ("Decoder", 2.5, 1),
        "loss": ("masked_cross\n_entropy", 3.75, 2.2), "clip": ("clip_\ngradients", 3.75, 3.2),
        "greedy": ("greedy_\ndecode", 2.5, 0), "out": ("2025-03-04", 3.75, 0),
    },
    [
        ("source", "encoder"), ("cells", "encoder"), ("gru", "encoder"), ("encoder", "context"), ("context", "decoder"),
        ("target", "shift"), ("shift", "decoder"), ("decoder", "loss"), ("loss", "clip"), ("decoder", "greedy"),
        ("greedy", "out"),
    ],
    yours=["cells", "gru", "shift", "decoder", "loss", "clip", "greedy"],
    title="The encoder reads the source into one vector; the decoder writes the target from it",
    alt="A source date goes into an encoder, which is made of recurrent cells and hands one context vector to the "
    "decoder. In training the decoder is given the target shifted right, and masked cross-entropy and gradient clipping "
    "follow. In use, greedy decoding writes the target. The cells, unroll, shift_right, the decoder, the loss, clipping "
    "and greedy_decode are yours to write.",
)  # fmt: skip

# %% [markdown]
# ## 1. How can one network read a text of any length?
#
# A linear layer takes a fixed number of inputs. A text has any number of words. So read one item at a time, keep a
# **state**, and use the same weights at each step. The state is what the network remembers.
#
# By hand, with one unit: the weight of the input is 1, that of the old state is 0.5, the biases are 0. The inputs are
# 1, 0, 0 and the state starts at 0.
#
# | step | input | state |
# | --- | --- | --- |
# | 1 | 1 | tanh(1 + 0.5 · 0) = 0.76 |
# | 2 | 0 | tanh(0 + 0.5 · 0.76) = 0.36 |
# | 3 | 0 | tanh(0 + 0.5 · 0.36) = 0.18 |
#
# The 1 echoes, and fades.
#
# $$h_t = \tanh(W_{ih}\, x_t + b_{ih} + W_{hh}\, h_{t-1} + b_{hh})$$
#
# Two biases where one would do: that is PyTorch's layout, and yours has to read PyTorch's weights. The matrices stand
# on the left of a column here, so a matrix is (out, in), as in `nn.Linear`. The cell below serves the tests.


# %% nbgrader={"grade": false, "grade_id": "torch_layer", "locked": true, "schema_version": 3, "solution": false, "task": false}
def numbers(*shape: int) -> Tensor:
    """Standard normal numbers for a test, in float64: there your result and PyTorch's must agree to ten digits."""
    return randn(*shape, dtype=torch.float64)


def random_weights(gates: int, d_in: int, d: int) -> list[Tensor]:
    """Weights of a recurrent layer, drawn by a test, in PyTorch's order: w_ih, w_hh, b_ih, b_hh.

    Their shapes are (gates·d, d_in), (gates·d, d), (gates·d,) and (gates·d,); float64.
    """
    shapes = (gates * d, d_in), (gates * d, d), (gates * d,), (gates * d,)
    return [0.8 * numbers(*shape) for shape in shapes]


def torch_layer(kind: type[nn.RNNBase], weights: list[Tensor]) -> nn.RNNBase:
    """PyTorch's own layer of this kind (nn.RNN, nn.LSTM or nn.GRU), batch first, with these weights."""
    w_ih, w_hh = weights[:2]
    layer = kind(w_ih.shape[1], w_hh.shape[1], batch_first=True, dtype=w_ih.dtype, device=w_ih.device)
    layer.load_state_dict(dict(zip(layer.state_dict(), weights, strict=True)))
    return layer.requires_grad_(False)


# %% nbgrader={"grade": false, "grade_id": "rnn_cell", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rnn_cell(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """One step of a plain recurrent network. From scratch: no recurrent layer or cell of PyTorch's.

    x: (b, d_in), the input of this step, a row for each sequence; so W x of the formula is x @ W.T here. h: (b, d), the
    old state. w_ih: (d, d_in). w_hh: (d, d). b_ih, b_hh: (d,).
    Returns: (b, d), the new state.
    >>> one, zero = torch.ones(1, 1), torch.zeros(1)
    >>> rnn_cell(one, 0 * one, one, 0.5 * one, zero, zero)
    tensor([[0.7616]])
    """
    ### BEGIN SOLUTION
    return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_rnn_cell", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("rnn_cell", points=1):
    for b, d_in, d in ((3, 5, 5), (4, 2, 3), (1, 1, 2)):  # square first: there a transpose fits, and is wrong
        weights, x, h = random_weights(1, d_in, d), numbers(b, d_in), numbers(b, d)
        w_ih, w_hh, b_ih, b_hh = weights
        got = rnn_cell(x, h, *weights)
        expect(isinstance(got, Tensor), "return one tensor, the new state", got=got)
        expect_equal(
            [tuple(got.shape), got.dtype], [(b, d), torch.float64], "the new state has the shape and dtype of h"
        )
        expected = torch_layer(nn.RNN, weights)(x[:, None], h[None])[0][:, 0]
        expect(not torch.allclose(got, expected.atanh()), "the sum still has to go through a tanh")
        expect(not torch.allclose(got, expected.atanh().sigmoid()), "the nonlinearity is tanh, not a sigmoid")
        no_state = torch_layer(nn.RNN, weights)(x[:, None])[0][:, 0]
        expect(not torch.allclose(got, no_state), "the old state h is not used")
        for bias in (b_ih, b_hh):
            without = torch.tanh(expected.atanh() - bias)
            expect(not torch.allclose(got, without), "there are two biases, b_ih and b_hh: add both")
        for a, c in ((w_ih.T, w_hh), (w_ih, w_hh.T), (w_ih.T, w_hh.T)) if d_in == d else ():
            other = torch_layer(nn.RNN, [a, c, b_ih, b_hh])(x[:, None], h[None])[0][:, 0]
            expect(not torch.allclose(got, other), "a matrix is (out, in): with x as rows that is x @ w.T, or F.linear")
        expect_close(got, expected, "wanted is tanh(W_ih x + b_ih + W_hh h + b_hh)")
    expect_from_scratch(rnn_cell, "RNN", "RNNCell", "rnn_tanh", "rnn_tanh_cell")
    ### BEGIN HIDDEN TESTS
    for b, d_in, d in ((2, 7, 4), (5, 1, 1), (3, 3, 6)):
        weights, x, h = random_weights(1, d_in, d), numbers(b, d_in), numbers(b, d)
        expected = torch_layer(nn.RNN, weights)(x[:, None], h[None])[0][:, 0]
        expect_close(rnn_cell(x, h, *weights), expected, "another size: the new state differs from nn.RNN's")
    ### END HIDDEN TESTS

# %% [markdown]
# One step is not a sentence. To **unroll** a cell is to call it once for each item, with the state that the call
# before left behind and the same weights each time.


# %% nbgrader={"grade": false, "grade_id": "unroll", "locked": false, "schema_version": 3, "solution": true, "task": false}
def unroll(cell, xs: Tensor, state, *weights: Tensor):
    """Read a batch of sequences, one item of each at a time.

    cell: called as cell(x, state, *weights) with x (b, d_in); it returns the new state, which the next call is given.
    A state is one tensor, h (b, d), or, for an LSTM, a tuple of two, (h, c).
    xs: (b, l, d_in), l at least 1. state: the state before the first item.
    Returns: outputs (b, l, d), the h after each item, in the order of the items; and the last state, as the cell
    returned it.
    >>> unroll(lambda x, h: x + h, torch.tensor([[[1.0], [2.0], [3.0]]]), torch.zeros(1, 1))
    (tensor([[[1.],
             [3.],
             [6.]]]), tensor([[6.]]))
    """
    ### BEGIN SOLUTION
    outputs = []
    for x in rearrange(xs, "b l d -> l b d"):
        state = cell(x, state, *weights)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs, dim=1), state
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_unroll", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("unroll", points=2):
    for b, n, d_in, d in ((4, 4, 3, 3), (3, 5, 4, 2), (2, 1, 2, 5)):
        weights, xs = random_weights(1, d_in, d), numbers(b, n, d_in)
        h = numbers(b, d)
        result = unroll(torch.rnn_tanh_cell, xs, h, *weights)
        expect(
            isinstance(result, (tuple, list)) and len(result) == 2,
            "return two things: outputs and last state",
            got=result,
        )
        outputs, last = result
        hint = "outputs are (b, l, d): a row for each sequence, then one for each of its items"
        expect_equal([tuple(outputs.shape), outputs.dtype], [(b, n, d), torch.float64], hint)
        expect_equal(tuple(last.shape), (b, d), "the last state is what the cell returned last, (b, d)")
        expected, final = torch_layer(nn.RNN, weights)(xs, h[None])
        if n > 1:
            alone = [torch.rnn_tanh_cell(x, h, *weights) for x in xs.unbind(1)]
            expect(
                not torch.allclose(outputs, torch.stack(alone, 1)),
                "each step starts from the first state: carry the new one on",
            )
            expect(not torch.allclose(outputs, expected.flip(1)), "the outputs come in the order of the items")
            backward = torch_layer(nn.RNN, weights)(xs.flip(1), h[None])[0]
            expect(not torch.allclose(outputs[:, -1], backward[:, -1]), "read the items from the first to the last")
        zeros = torch_layer(nn.RNN, weights)(xs)[0]
        expect(not torch.allclose(outputs, zeros), "the state before the first item is given: do not start from zeros")
        if b == n:
            turned = torch.allclose(outputs, expected.transpose(0, 1))
            expect(not turned, "outputs are (b, l, d), not (l, b, d): stack along the second axis")
            mixed = torch_layer(nn.RNN, weights)(xs.transpose(0, 1), h[None])[0]
            expect(
                not any(torch.allclose(outputs, m) for m in (mixed, mixed.transpose(0, 1))),
                "a step takes the next item of each sequence, xs[:, t], not the next sequence",
            )
        expect_close(outputs, expected, "the outputs are the state h after each item")
        expect_close(last, final[0], "the last state is the one after the last item")
    weights, xs = random_weights(4, 3, 4), numbers(2, 6, 3)
    h, c = numbers(2, 4), numbers(2, 4)
    outputs, last = unroll(torch.lstm_cell, xs, (h, c), *weights)
    expected, (h_last, c_last) = torch_layer(nn.LSTM, weights)(xs, (h[None], c[None]))
    expect_equal(tuple(outputs.shape), (2, 6, 4), "of a state (h, c) the output is h alone")
    expect_close(outputs, expected, "of a state (h, c) the output is h")
    expect(isinstance(last, (tuple, list)) and len(last) == 2, "the last state of an LSTM is the pair (h, c)", got=last)
    for got, want in zip(last, (h_last[0], c_last[0]), strict=True):
        expect_close(got, want, "the last state of an LSTM is the pair (h, c) after the last item")
    expect_from_scratch(unroll, "RNN", "LSTM", "GRU")
    ### BEGIN HIDDEN TESTS
    for b, n, d_in, d in ((1, 7, 3, 4), (6, 2, 1, 1)):
        weights, xs, h = random_weights(3, d_in, d), numbers(b, n, d_in), numbers(b, d)
        outputs, last = unroll(torch.gru_cell, xs, h, *weights)
        expected, final = torch_layer(nn.GRU, weights)(xs, h[None])
        expect_close(outputs, expected, "with a GRU cell the outputs differ")
        expect_close(last, final[0], "with a GRU cell the last state differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints for both</summary>
#
# <details><summary>Nudge</summary>
#
# For the cell, do the table above for a whole batch at once. For `unroll`, ask what has to survive from one turn of
# the loop to the next.
#
# </details>
# <details><summary>Method</summary>
#
# The cell is two products, each with a matrix that is (out, in), two biases and a tanh. `unroll` is a loop over the
# second axis of `xs` that overwrites `state` and collects one tensor a turn.
#
# </details>
# <details><summary>Almost there</summary>
#
# `F.linear(x, w_ih, b_ih)` is half of the sum. In the loop the new state goes by the old one's name; if it is a tuple,
# its first item is what you collect. `torch.stack(..., dim=1)` puts the length between batch and features.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# The worked example, longer, with three weights for the old state. The input is 1 and then nothing but zeros: how long
# does one unit remember it?

# %%
impulse = torch.zeros(1, 30, 1)
impulse[0, 0] = 1.0
one, zero = torch.ones(1, 1), torch.zeros(1)
echoes = {w: unroll(rnn_cell, impulse, 0 * one, one, w * one, zero, zero)[0].flatten() for w in (0.5, 0.95, 1.2)}
curves(
    {f"weight {w}": (range(1, 31), echo) for w, echo in echoes.items()},
    xlabel="step",
    ylabel="state h",
    title="Below 1 the memory fades; above 1 it stays, and cannot be let go",
    alt="The state of one unit over 30 steps, after an input of 1 at step 1. With weight 0.5 it is gone after 8 steps, "
    "with 0.95 it falls slowly to 0.08, with 1.2 it settles near 0.66 and stays.",
    markers=True,
)

# %% [markdown]
# ### Five shapes
#
# One cell serves many tasks. What differs is where inputs come in and where outputs are read.

# %%
shapes = {  # at which steps inputs come in, and at which outputs are read
    "A": ([0], [0]), "B": ([1], [1, 2, 3]), "C": ([4, 5, 6], [6]), "D": ([7, 8, 9], [7, 8, 9]), "E": ([10, 11], [12, 13, 14]),
}  # fmt: skip
boxes, arrows = {}, []
for name, (read, written) in shapes.items():
    steps = sorted({*read, *written})
    gap = 0.6 * "ABCDE".index(name)  # between two shapes
    for step in steps:
        boxes[f"h{step}"] = ("h", 1.3 * (step + gap), 1)
        arrows += [(f"h{step - 1}", f"h{step}")] if step > steps[0] else []
        if step in read:
            boxes[f"x{step}"] = ("x", 1.3 * (step + gap), 2)
            arrows.append((f"x{step}", f"h{step}"))
        if step in written:
            boxes[f"y{step}"] = ("y", 1.3 * (step + gap), 0)
            arrows.append((f"h{step}", f"y{step}"))
    boxes[name] = (name, 1.3 * (sum(steps) / len(steps) + gap), 3)
diagram(
    boxes,
    arrows,
    title="Inputs x, states h, outputs y: one to one, one to many, many to one, and many to many in two ways",
    alt="Five small networks. A: one input, one state, one output. B: one input, then three states with an output each. "
    "C: three inputs, an output after the last. D: three inputs, an output at each. E: two inputs first, then three "
    "outputs.",
)

# %% [markdown]
# **Predict first.** Which shape fits which task: (1) the title of a picture, (2) the mood of a review, (3) a digit
# from its pixels, (4) a translation, (5) the part of speech of each word?
#
# <details><summary>Answer</summary>
#
# | | shape | task |
# | --- | --- | --- |
# | A | one to one | (3) a digit from its pixels: lesson 00, no recurrence needed |
# | B | one to many | (1) the title of a picture: one picture in, words out |
# | C | many to one | (2) the mood of a review: read it all, then say one thing |
# | D | many to many, in step | (5) the part of speech of each word: an answer at each input |
# | E | many to many, one after the other | (4) a translation: its length is its own, so read first, then write |
#
# E is C followed by B. That is the model of this lesson.
#
# </details>

# %% [markdown]
# ## 2. How far back does a gradient reach?
#
# To learn that the first word matters for the last output, the gradient has to come back through every step between.
# Each step multiplies it by a matrix. Near zero a tanh is a straight line of slope 1, so that matrix is nearly
# $W_{hh}$ itself, and after $t$ steps
#
# $$\frac{\partial h_t}{\partial h_0} \approx W_{hh}^{\,t}$$
#
# How large is that? Take the **spectral norm**: how much the matrix stretches the vector that it stretches most.
#
# By hand: $W = \begin{pmatrix} 0 & 2 \\ 0.5 & 0 \end{pmatrix}$ swaps the two numbers, doubles one and halves the
# other. It stretches by 2 at most. Twice in a row it does nothing: $W^2 = I$. So the norms are 1, 2, 1, 2, …; the
# power of the first norm, $2^t$, is far off.
#
# In the long run the largest eigenvalue, by magnitude, decides. It is called the **spectral radius**: here it is 1.


# %% nbgrader={"grade": false, "grade_id": "gradient_through_time", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gradient_through_time(w: Tensor, steps: int) -> Tensor:
    """How large the Jacobian ∂h_t/∂h_0 is, for h_t = W h_{t−1}.

    w: (d, d), float32 or float64. steps: 0 or more.
    Returns: (steps + 1,), in the dtype of w: the spectral norm (the largest singular value) of the Jacobian after
    t = 0, 1, …, steps steps. At t = 0 nothing has happened yet, so the first is 1.
    >>> gradient_through_time(torch.tensor([[0.0, 2.0], [0.5, 0.0]]), 3)
    tensor([1., 2., 1., 2.])
    """
    ### BEGIN SOLUTION
    jacobian, norms = torch.eye(len(w), dtype=w.dtype, device=w.device), []
    for _ in range(steps + 1):
        norms.append(torch.linalg.matrix_norm(jacobian, ord=2))
        jacobian = w @ jacobian
    return torch.stack(norms)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_gradient_through_time", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("gradient_through_time", points=2):
    for d, steps in ((4, 6), (2, 3), (1, 2), (3, 0)):
        w = numbers(d, d)
        got = gradient_through_time(w, steps)
        expect(isinstance(got, Tensor), "return one tensor with a norm for each step", got=got)
        hint = "one number for each t from 0 to steps: steps + 1 of them, in the dtype of w"
        expect_equal([tuple(got.shape), got.dtype], [(steps + 1,), torch.float64], hint)
        powers = [torch.linalg.matrix_power(w, t) for t in range(steps + 2)]
        if d > 1 and steps:
            shifted = torch.stack([torch.linalg.svdvals(p)[0] for p in powers[1:]])
            expect(
                not torch.allclose(got, shifted), "one step ahead: at t = 0 nothing has happened yet, and the norm is 1"
            )
            frobenius = torch.stack([p.square().sum().sqrt() for p in powers[:-1]])
            expect(
                not torch.allclose(got, frobenius), "this is the Frobenius norm: wanted is the largest singular value"
            )
            guess = torch.linalg.svdvals(w)[0] ** torch.arange(steps + 1)
            expect(
                not torch.allclose(got, guess),
                "the norm of a power is not the power of the norm: multiply the matrices first",
            )
            radius = torch.linalg.eigvals(w).abs().max() ** torch.arange(steps + 1)
            expect(
                not torch.allclose(got, radius),
                "the eigenvalue rules only in the long run: wanted is the norm after each step",
            )
            elementwise = torch.stack([torch.linalg.svdvals(w**t)[0] for t in range(1, steps + 1)])
            expect(
                not torch.allclose(got[1:], elementwise),
                "** raises each number by itself: wanted is the matrix product, @",
            )
        expected = torch.stack([torch.linalg.svdvals(p)[0] for p in powers[:-1]])
        expect_close(got, expected, "wanted is the largest singular value of W^t, for each t from 0 to steps")
    ### BEGIN HIDDEN TESTS
    for d, steps in ((5, 12), (7, 1)):
        w = 0.6 * numbers(d, d)
        expected = torch.stack([torch.linalg.svdvals(torch.linalg.matrix_power(w, t))[0] for t in range(steps + 1)])
        expect_close(gradient_through_time(w, steps), expected, "another size: the norms differ")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# What is the Jacobian after no step at all? And how do you get the next one from the last?
#
# </details>
# <details><summary>Method</summary>
#
# Start from the identity. In a loop, keep its norm, then multiply by `w`. Multiply matrices with `@`, not with `*` or
# `**`.
#
# </details>
# <details><summary>Almost there</summary>
#
# `torch.linalg.matrix_norm` has an argument `ord`; its default is the Frobenius norm, and 2 is the one you want.
# `torch.stack` makes one tensor of a list of numbers.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# Random matrices for 64 units, scaled to a spectral radius of 0.9, 1 and 1.1.

# %%
w = torch.randn(64, 64, dtype=torch.float64)
w = w / torch.linalg.eigvals(w).abs().max()  # now its spectral radius is 1
steps = pick(smoke=10, cpu=100, gpu=100)
reach = {radius: gradient_through_time(radius * w, steps) for radius in (0.9, 1.0, 1.1)}
curves(
    {f"spectral radius {radius}": norms for radius, norms in reach.items()},
    xlabel="steps between",
    ylabel="size of the gradient, ‖∂h_t/∂h_0‖",
    title=f"After {steps} steps: {1 / reach[0.9][-1]:,.0f} times smaller, or {reach[1.1][-1]:,.0f} times larger",
    alt="Three lines on a logarithmic axis, against the number of steps. After a short rise the line of radius 0.9 "
    "falls steadily, that of 1.0 stays level, that of 1.1 climbs steadily.",
    log="y",
)

# %% [markdown]
# Two diseases, one cause. With a radius below 1 the gradient **vanishes**: the network cannot learn from what is far
# back. Above 1 it **explodes**: one step throws the weights away. A real tanh bends, so its slopes are at most 1, and
# vanishing is the more common of the two (Bengio et al. 1994).
#
# ## 3. What to do when it explodes?
#
# Look at it on the smallest network there is: $h_t = w\, h_{t-1}$, twenty steps from $h_0 = 1$, wanted is $h_{20} =
# 1$. The answer is $w = 1$. Start at $w = 1.2$: $h_{20} = 1.2^{20} = 38$, and the slope of the squared error is $2
# \cdot (38 - 1) \cdot 20 \cdot 1.2^{19} \approx 47\,700$. With a learning rate of 0.001 the first step goes from 1.2
# to −46.5.
#
# The *direction* of that step is right; its length is not. So keep the direction and cut the length. Take all
# gradients of the network together as one long vector $g$:
#
# $$g \leftarrow g \cdot \min\!\left(1,\ \frac{\text{max\_norm}}{\lVert g \rVert}\right)$$
#
# By hand: two parameters have the gradients (3, 4) and (12). Together their norm is $\sqrt{9 + 16 + 144} = 13$. With
# `max_norm` = 6.5 all three numbers are halved: (1.5, 2) and (6). With `max_norm` = 20 nothing happens. Nor does it
# where the norm is 0: mind the division.


# %% nbgrader={"grade": false, "grade_id": "clip_gradients", "locked": false, "schema_version": 3, "solution": true, "task": false}
def clip_gradients(parameters: list[Tensor], max_norm: float) -> float:
    """Scale all gradients by one factor so that their norm, all taken together, is at most max_norm. From scratch.

    parameters: tensors with a gradient in `grad`; one whose `grad` is None is passed over. max_norm > 0. The gradients
    change, `p.grad`, not the parameters; where the norm is max_norm or less they stay as they are, also where it is 0.
    Returns: the norm before clipping, a plain number.
    >>> p = nn.Parameter(torch.zeros(2))
    >>> p.grad = torch.tensor([6.0, 8.0])
    >>> clip_gradients([p], 5.0), p.grad
    (10.0, tensor([3., 4.]))
    """
    ### BEGIN SOLUTION
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = sum(gradient.square().sum() for gradient in gradients).sqrt().item()
    if norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / norm
    return norm
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_clip_gradients", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("clip_gradients", points=2):
    for shapes, max_norm in (
        (((3, 2), (4,)), 1.5),
        (((2,), (1, 3), (5,)), 0.25),
        (((3,), (2, 2)), 50.0),
        (((4,),), 20.0),
    ):
        values, slopes = ([2 * numbers(*shape) for shape in shapes] for _ in range(2))
        parameters = [place(nn.Parameter, value.clone()) for value in values]
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = slope.clone()
        norm = torch.cat([slope.flatten() for slope in slopes]).norm().item()
        returned = clip_gradients(parameters, max_norm)
        after = [parameter.grad for parameter in parameters]
        for parameter, value in zip(parameters, values, strict=True):
            expect_equal(parameter.detach(), value, "the gradients are to change, `p.grad`, not the parameters")
        if norm <= max_norm:
            for got, slope in zip(after, slopes, strict=True):
                expect_equal(got, slope, "the norm is below max_norm: leave the gradients alone")
        else:
            factors = [(got / slope).mean().item() for got, slope in zip(after, slopes, strict=True)]
            expect(
                any(not torch.equal(got, slope) for got, slope in zip(after, slopes, strict=True)),
                "the gradients did not change: `g = g * …` makes a new tensor; change the numbers in the old one",
            )
            each = [max_norm / max(max_norm, slope.norm().item()) for slope in slopes]
            expect(
                not torch.allclose(torch.tensor(factors), torch.tensor(each)),
                "each tensor was clipped by itself: one norm and one factor for all, or the direction changes",
            )
            clamped = [slope.clamp(-max_norm, max_norm) for slope in slopes]
            expect(
                not all(map(torch.allclose, after, clamped)),
                "each number was clamped: one factor for all, or the direction changes",
            )
            expect(
                max(factors) - min(factors) < 1e-4 * max(factors),
                "the gradients were not all scaled by the same factor",
                got=factors,
            )
            total = sum(slope.norm().item() for slope in slopes)
            expect(
                abs(factors[0] * total / max_norm - 1) > 1e-4,
                "norms do not add up: add the squares of all numbers, then take one root",
            )
            for got, slope in zip(after, slopes, strict=True):
                expect_close(
                    got, slope * max_norm / norm, "all gradients together must have norm max_norm", tolerance=1e-5
                )
        expect(
            isinstance(returned, (int, float)) or isinstance(returned, Tensor) and returned.dim() == 0,
            "return the norm before clipping",
            got=returned,
        )
        expect_close(float(returned), norm, "return the norm that all gradients together had before clipping")
    first, second = place(nn.Parameter, randn(2)), place(nn.Parameter, randn(3))
    second.grad = torch.tensor([6.0, -2.0, 3.0])
    expect_close(float(clip_gradients([first, second], 3.5)), 7.0, "a parameter whose grad is None is passed over")
    expect_close(
        second.grad,
        torch.tensor([3.0, -1.0, 1.5]),
        "a parameter whose grad is None is passed over, the others are clipped",
    )
    second.grad = torch.zeros(3)
    clip_gradients([second], 1.0)
    expect_equal(second.grad, torch.zeros(3), "gradients of zero stay zero: no division by a norm of 0")
    expect_from_scratch(
        clip_gradients, "clip_grad_norm_", "clip_grads_with_norm_", "clip_grad_value_", "get_total_norm"
    )
    ### BEGIN HIDDEN TESTS
    for max_norm in (0.01, 3.0, 1000.0):
        slopes = [numbers(4, 3), numbers(1), numbers(2, 2, 2)]
        parameters, ours = (
            [place(nn.Parameter, torch.zeros_like(slope)) for slope in slopes],
            [nn.Parameter(0 * s) for s in slopes],
        )
        for parameter, mine, slope in zip(parameters, ours, slopes, strict=True):
            parameter.grad, mine.grad = slope.clone(), slope.clone()
        expected = torch.nn.utils.clip_grad_norm_(ours, max_norm).item()
        expect_close(
            float(clip_gradients(parameters, max_norm)), expected, "the norm before clipping differs from PyTorch's"
        )
        for parameter, mine in zip(parameters, ours, strict=True):
            expect_close(parameter.grad, mine.grad, "the clipped gradients differ from PyTorch's", tolerance=1e-5)
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# There is one norm for the whole network, and one factor. First compute the one, then apply the other.
#
# </details>
# <details><summary>Method</summary>
#
# The square of the norm is the sum of the squares of all numbers in all gradients. Only if the norm is too large, go
# through the gradients again and multiply each by the same factor, in place.
#
# </details>
# <details><summary>Almost there</summary>
#
# `g *= factor` changes the tensor that the parameter holds; `g = g * factor` only gives the name `g` to a new one.
# Return the norm with `.item()`.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# The smallest network again, with and without your clipping.


# %%
def descend(steps: int, max_norm: float = torch.inf) -> list[float]:
    """w after each step of gradient descent on (w^20 - 1)², from w = 1.2."""
    w = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    path = [w.item()]
    for _ in range(steps):
        (w.grad,) = torch.autograd.grad((w**20 - 1) ** 2, w)
        clip_gradients([w], max_norm)
        with torch.no_grad():
            w -= 0.001 * w.grad
        path.append(w.item())
    return path


print("not clipped:", *(f"{w:.3g}" for w in descend(3)))
print("clipped to norm 1, every 50th step:", *(f"{w:.3f}" for w in descend(300, max_norm=1.0)[::50]))

# %% [markdown]
# Without clipping two steps are enough to leave everything behind. With it, $w$ walks to 1 and stays. Sutskever et al.
# (2014) clipped at norm 5. Clipping cures explosions. It does nothing for a gradient that vanishes.

# %% [markdown]
# ## 4. What if forgetting were a choice?
#
# A plain cell writes over its whole state at each step. The **long short-term memory** (Hochreiter & Schmidhuber 1997;
# forget gate: Gers et al. 2000) has a second state, the *cell* $c$, that is only added to and scaled. Three **gates**,
# numbers between 0 and 1, decide for each unit: how much of $c$ to keep (*forget* gate $f$), how much of the new
# candidate $g$ to let in (*input* gate $i$), how much to show (*output* gate $o$).
#
# $$\begin{pmatrix} i \\ f \\ g \\ o \end{pmatrix} = \begin{pmatrix} \sigma \\ \sigma \\ \tanh \\ \sigma \end{pmatrix}
# (W_{ih}\, x_t + b_{ih} + W_{hh}\, h_{t-1} + b_{hh}), \qquad
# c_t = f \odot c_{t-1} + i \odot g, \qquad h_t = o \odot \tanh(c_t)$$
#
# The four blocks are stacked in one matrix of $4d$ rows, in the order $i, f, g, o$: PyTorch's.
#
# By hand: all weights and biases are 0 and $c = 2$. Then $i = f = o = \sigma(0) = 0.5$ and $g = \tanh(0) = 0$, so
# $c' = 0.5 \cdot 2 + 0.5 \cdot 0 = 1$ and $h' = 0.5 \cdot \tanh(1) = 0.38$.


# %% nbgrader={"grade": false, "grade_id": "lstm_cell", "locked": false, "schema_version": 3, "solution": true, "task": false}
def lstm_cell(
    x: Tensor, state: tuple[Tensor, Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """One step of an LSTM. From scratch: no recurrent layer or cell of PyTorch's.

    x: (b, d_in). state: (h, c), (b, d) each. w_ih: (4·d, d_in). w_hh: (4·d, d). b_ih, b_hh: (4·d,).
    The first d rows belong to gate i, the next to f, then g, then o.
    Returns: the new state, a tuple (h, c), (b, d) each.
    >>> h, c, x = torch.zeros(1, 1), torch.full((1, 1), 2.0), torch.ones(1, 3)
    >>> lstm_cell(x, (h, c), torch.zeros(4, 3), torch.zeros(4, 1), torch.zeros(4), torch.zeros(4))
    (tensor([[0.3808]]), tensor([[1.]]))
    """
    ### BEGIN SOLUTION
    h, c = state
    i, f, g, o = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=-1)  # (b, d) each
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_lstm_cell", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("lstm_cell", points=3):
    from itertools import permutations

    def torch_step(weights, x, h, c):  # nn.LSTM, for a single item
        return [part[0] for part in torch_layer(nn.LSTM, weights)(x[:, None], (h[None], c[None]))[1]]

    for b, d_in, d in ((3, 5, 4), (2, 3, 3), (4, 2, 1)):
        weights, x = random_weights(4, d_in, d), numbers(b, d_in)
        h, c = numbers(b, d), 2 * numbers(b, d)
        got = lstm_cell(x, (h, c), *weights)
        expect(isinstance(got, (tuple, list)) and len(got) == 2, "return a pair, (h, c)", got=got)
        expect_equal([tuple(part.shape) for part in got], [(b, d)] * 2, "h and c are (b, d) each")
        expect_equal([part.dtype for part in got], [torch.float64] * 2, "keep the dtype of the input")
        expected = torch_step(weights, x, h, c)
        expect(not all(map(torch.allclose, got, expected[::-1])), "return (h, c) in this order, not (c, h)")
        for order in list(permutations(range(4)))[1:]:
            other = torch_step([torch.cat([w.chunk(4)[gate] for gate in order]) for w in weights], x, h, c)
            expect(not all(map(torch.allclose, got, other)), "the gates are stacked in the order i, f, g, o")
        other = torch_step([torch.cat([w[gate::4] for gate in range(4)]) for w in weights], x, h, c)
        hint = "the first d rows are gate i's, the next d gate f's: cut into four blocks, do not take every fourth row"
        expect(d == 1 or not all(map(torch.allclose, got, other)), hint)
        for skipped in (2, 3):
            other = torch_step([w * (i != skipped) for i, w in enumerate(weights)], x, h, c)
            expect(not all(map(torch.allclose, got, other)), "there are two biases, b_ih and b_hh: add both")
        other = torch_step(weights, x, torch.zeros_like(h), c)
        expect(not all(map(torch.allclose, got, other)), "the old h is not used")

        plain = torch.tensor([2.0, 3.0, -1.5, 0.5], dtype=torch.float64)  # i, f, g, o before any sigmoid or tanh
        known = [torch.zeros_like(w) for w in weights[:3]] + [plain.repeat_interleave(d)]
        c_known = lstm_cell(x, (h, c), *known)[1]
        i, f, *_ = plain.sigmoid()
        hint = "the forget gate is a sigmoid: between 0 and 1, or c grows by itself"
        expect(not torch.allclose(c_known, 3 * c + i * plain[2].tanh()), hint)
        hint = "the candidate g is a tanh, not a sigmoid: it must be able to subtract"
        expect(not torch.allclose(c_known, f * c + i * plain[2].sigmoid()), hint)
        expect_close(got[1], expected[1], "the new c is f times the old c, plus i times g")
        opened = expected[0] / expected[1].tanh()
        expect(
            not torch.allclose(got[0], opened * expected[1]), "h is o times tanh of c: without the tanh it has no bound"
        )
        expect(not torch.allclose(got[0], opened * c.tanh()), "h shows the new c, not the old one")
        expect_close(got[0], expected[0], "the new h is o times tanh of the new c")
    expect_from_scratch(lstm_cell, "LSTM", "LSTMCell", "lstm", "lstm_cell")
    ### BEGIN HIDDEN TESTS
    for b, d_in, d in ((1, 1, 2), (5, 4, 7)):
        weights, x = random_weights(4, d_in, d), numbers(b, d_in)
        h, c = numbers(b, d), numbers(b, d)
        for got, want in zip(lstm_cell(x, (h, c), *weights), torch_step(weights, x, h, c), strict=True):
            expect_close(got, want, "another size: the new state differs from nn.LSTM's")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# The sum in the brackets is the one of `rnn_cell`; it is only four times as wide.
#
# </details>
# <details><summary>Method</summary>
#
# Compute the sum once, (b, 4·d), and cut its last axis into four blocks. Three of them go through a sigmoid, one
# through a tanh. Then the two lines on the right of the formula.
#
# </details>
# <details><summary>Almost there</summary>
#
# `.chunk(4, dim=-1)` cuts; the blocks are i, f, g, o in this order. Compute the new c first, since h needs it.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# The way along the cell: $\partial c_t / \partial c_{t-1}$ is the forget gate, a number for each unit, and no matrix.
# Where it is near 1 the gradient comes through. It starts near 0.5 with PyTorch's initial weights. A larger bias for
# the forget gate opens the way from the start; Jozefowicz et al. (2015) advise it. Below, the gradient that comes back
# from step $t$ to the first state, through random weights: a plain network, and LSTMs with two biases.


# %%
def gradient_that_returns(cell, weights: list[Tensor], xs: Tensor, n_parts: int) -> float:
    """How much of a gradient of length 1 at the last state is left when it has come back to the first.

    n_parts: 1 where a state is h, 2 where it is (h, c); then c counts. Returns: the mean over xs and random directions.
    """
    first = [torch.zeros_like(xs[:, 0]).requires_grad_() for _ in range(n_parts)]
    _, last = unroll(cell, xs, tuple(first) if n_parts > 1 else first[0], *weights)
    last = last[-1] if n_parts > 1 else last
    direction = F.normalize(torch.randn_like(last), dim=-1)
    (gradient,) = torch.autograd.grad((last * direction).sum(), first[-1])
    return gradient.norm(dim=-1).mean().item()


# %%
d, distances = 32, pick(smoke=[1, 3], cpu=[1, *range(10, 101, 10)], gpu=[1, *range(10, 201, 10)])
xs = torch.randn(16, distances[-1], d).double()
plain, lstm = ([w.detach().double() for w in kind(d, d).parameters()] for kind in (nn.RNN, nn.LSTM))
opened = [*lstm[:3], lstm[3] + 4 * (torch.arange(4 * d) // d == 1)]  # block 1 is the forget gate
networks = {"plain": (rnn_cell, plain, 1), "LSTM": (lstm_cell, lstm, 2), "LSTM, forget bias 4": (lstm_cell, opened, 2)}
comes_back = {
    name: [gradient_that_returns(cell, weights, xs[:, :t], parts) for t in distances]
    for name, (cell, weights, parts) in networks.items()
}

# %%
curves(
    {name: (distances, norms) for name, norms in comes_back.items()},
    xlabel="steps between",
    ylabel="size of the gradient that returns",
    title="With an open forget gate the gradient comes through; without, an LSTM vanishes as well",
    alt="Three lines on a logarithmic axis. Those of the plain network and of the LSTM with PyTorch's initial weights fall "
    "by many powers of ten, the plain one fastest. That of the LSTM with a forget bias of 4 stays level: after "
    f"{distances[-1]} steps it is at {comes_back['LSTM, forget bias 4'][-1]:.2g}.",
    log="y",
    markers=True,
)

# %% [markdown]
# **Predict first.** How many numbers does `nn.LSTM(256, 512, num_layers=2)` learn: one million, four million, forty?
#
# One layer has four gates; each has a matrix for the input, one for the state, and two biases. The second layer reads
# the first one's state. Count, then look.


# %%
def lstm_parameters(d_in: int, d_hidden: int, layers: int) -> int:
    """What nn.LSTM(d_in, d_hidden, layers) learns: weights and biases of four gates in each layer."""
    first = 4 * d_hidden * (d_in + d_hidden + 2)
    later = 4 * d_hidden * (d_hidden + d_hidden + 2)
    return first + (layers - 1) * later


theirs = sum(parameter.numel() for parameter in nn.LSTM(256, 512, num_layers=2).parameters())
print(f"counted {lstm_parameters(256, 512, 2):,}    nn.LSTM {theirs:,}")

# %% [markdown]
# ## 5. Are three gates too many?
#
# The **gated recurrent unit** (Cho et al. 2014) does with two gates and one state. The *update* gate $z$ says how much
# of the old state to keep; what is not kept is replaced by the candidate $n$. The *reset* gate $r$ says how much of
# the old state the candidate may see.
#
# $$r = \sigma(W_{ir} x + b_{ir} + W_{hr} h + b_{hr}), \qquad z = \sigma(W_{iz} x + b_{iz} + W_{hz} h + b_{hz})$$
#
# $$n = \tanh\bigl(W_{in} x + b_{in} + r \odot (W_{hn} h + b_{hn})\bigr), \qquad h' = (1 - z) \odot n + z \odot h$$
#
# The blocks are stacked as $r, z, n$. Mind two things. In $n$ the reset gate multiplies what $W_{hn}$ has *made* of
# $h$, its bias included; in the paper it multiplies $h$ before. PyTorch does the first, because then one product
# serves all three blocks. And here it is $z = 1$ that keeps the old state.
#
# By hand: all weights and biases are 0 and $h = 3$. Then $r = z = 0.5$, $n = 0$, and $h' = 0.5 \cdot 0 + 0.5 \cdot 3 =
# 1.5$.


# %% nbgrader={"grade": false, "grade_id": "gru_cell", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gru_cell(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """One step of a GRU as PyTorch defines it. From scratch: no recurrent layer or cell of PyTorch's.

    x: (b, d_in). h: (b, d). w_ih: (3·d, d_in). w_hh: (3·d, d). b_ih, b_hh: (3·d,).
    The first d rows belong to r, the next to z, then n.
    Returns: (b, d), the new state.
    >>> x, h, bias = torch.ones(1, 2), torch.full((1, 1), 3.0), torch.zeros(3)
    >>> gru_cell(x, h, torch.zeros(3, 2), torch.zeros(3, 1), bias, bias)
    tensor([[1.5000]])
    """
    ### BEGIN SOLUTION
    r_x, z_x, n_x = (x @ w_ih.T + b_ih).chunk(3, dim=-1)  # (b, d) each
    r_h, z_h, n_h = (h @ w_hh.T + b_hh).chunk(3, dim=-1)
    r, z = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
    n = torch.tanh(n_x + r * n_h)
    return (1 - z) * n + z * h
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_gru_cell", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("gru_cell", points=2):
    from itertools import permutations

    def torch_step(weights, x, h):  # nn.GRU, for a single item
        return torch_layer(nn.GRU, weights)(x[:, None], h[None])[1][0]

    for b, d_in, d in ((3, 5, 4), (2, 3, 3), (4, 2, 1)):
        weights, x, h = random_weights(3, d_in, d), numbers(b, d_in), numbers(b, d)
        got = gru_cell(x, h, *weights)
        expect(isinstance(got, Tensor), "return one tensor, the new state", got=got)
        expect_equal(
            [tuple(got.shape), got.dtype], [(b, d), torch.float64], "the new state has the shape and dtype of h"
        )
        expected = torch_step(weights, x, h)
        for order in list(permutations(range(3)))[1:]:
            other = torch_step([torch.cat([w.chunk(3)[block] for block in order]) for w in weights], x, h)
            expect(not torch.allclose(got, other), "the blocks are stacked in the order r, z, n")

        def rows(w, block, value=0.0):  # the same weights with a number in place of one block
            return torch.cat(
                [part if i != block else torch.full_like(part, value) for i, part in enumerate(w.chunk(3))]
            )

        shut = [rows(w, 1) for w in weights[:2]] + [rows(weights[2], 1, 50.0), rows(weights[3], 1)]  # z = 1
        hint = "z and 1 - z are swapped: where z is 1 the old state stays, h' = (1 - z) n + z h"
        n = torch_step([*shut[:2], rows(weights[2], 1, -50.0), shut[3]], x, h)  # z = 0
        expect(not torch.allclose(gru_cell(x, h, *shut), n), hint)
        expect_close(gru_cell(x, h, *shut), h, "where z is 1 the old state stays as it is")
        ready = [*shut[:2], rows(weights[2], 1, -50.0), shut[3]]  # z = 0: the new state is n
        w_in, w_hn, b_in, b_hn = (w.chunk(3)[2] for w in weights)
        w_ir, w_hr, b_ir, b_hr = (w.chunk(3)[0] for w in weights)
        r = torch.sigmoid(F.linear(x, w_ir, b_ir) + F.linear(h, w_hr, b_hr))
        paper = torch.tanh(F.linear(x, w_in, b_in) + F.linear(r * h, w_hn, b_hn))
        n = gru_cell(x, h, *ready)
        hint = "the reset gate multiplies what W_hn has made of h, not h itself"
        expect(d == 1 or not torch.allclose(n, paper), hint)
        outside = torch.tanh(F.linear(x, w_in, b_in) + r * F.linear(h, w_hn) + b_hn)
        expect(
            not torch.allclose(n, outside), "the reset gate multiplies the bias b_hn too: it stands inside the bracket"
        )
        expect(
            not torch.allclose(n, torch.tanh(F.linear(x, w_in, b_in) + F.linear(h, w_hn, b_hn))),
            "the reset gate is not used",
        )
        expect(
            not torch.allclose(n, torch_step(ready, x, h).atanh().sigmoid()), "the candidate n is a tanh, not a sigmoid"
        )
        expect_close(n, torch_step(ready, x, h), "where z is 0 the new state is n; its formula is not met")
        expect_close(got, expected, "wanted is h' = (1 - z) n + z h")
    expect_from_scratch(gru_cell, "GRU", "GRUCell", "gru", "gru_cell")
    ### BEGIN HIDDEN TESTS
    for b, d_in, d in ((1, 1, 2), (5, 4, 7)):
        weights, x, h = random_weights(3, d_in, d), numbers(b, d_in), numbers(b, d)
        expect_close(
            gru_cell(x, h, *weights), torch_step(weights, x, h), "another size: the new state differs from nn.GRU's"
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# You cannot add the two products first, as in the LSTM: in $n$ they are not simply added.
#
# </details>
# <details><summary>Method</summary>
#
# Two sums, each (b, 3·d): one of the input, one of the state, each with its bias. Cut both into three blocks, and put
# them together block by block.
#
# </details>
# <details><summary>Almost there</summary>
#
# The first two pairs of blocks are added and go through a sigmoid. Of the third pair the block of the state is
# multiplied by r before it is added.
#
# </details>
# </details>

# %% [markdown]
# ### Earned: PyTorch's own layers
#
# Your three cells, unrolled, against `nn.RNN`, `nn.LSTM` and `nn.GRU` with the same weights. They agree, so from here
# on the layers of PyTorch do the work: the same formulas, with the loop over the steps inside.

# %%
xs = torch.randn(8, 20, 32)
for kind, cell in ((nn.RNN, rnn_cell), (nn.LSTM, lstm_cell), (nn.GRU, gru_cell)):
    layer = kind(32, 64, batch_first=True).requires_grad_(False)
    zeros = torch.zeros(8, 64)
    outputs, _ = unroll(cell, xs, (zeros, zeros) if kind is nn.LSTM else zeros, *layer.parameters())
    gap, n_weights = (outputs - layer(xs)[0]).abs().max().item(), sum(w.numel() for w in layer.parameters())
    print(f"{kind.__name__:<5} largest difference {gap:.0e}    {n_weights:>6,} weights")


# %% [markdown]
# ## 6. A sentence in, a sentence out
#
# Shape E: an **encoder** reads the source; its last state is the **context**, one vector for the whole source,
# whatever its length. A **decoder** starts from the context and writes the target, item by item, until it writes
# *end*.
#
# Our sources are dates as people write them, in five languages and four styles, our targets the same dates as ISO 8601
# writes them. An item is a character. The forms come from the Unicode CLDR, through Babel. A tenth of the days from
# 1950 to 2049 is **held out**: no form of such a day is ever trained on.

# %%
from utils.data.batching import BOS, EOS, PAD, Vocabulary, pad
from utils.data.dates import characters, date_pairs

train_pairs, held_out_pairs = date_pairs(pick(smoke=60, cpu=20_000, gpu=20_000), pick(smoke=20, cpu=2000, gpu=2000))
source_vocab, target_vocab = (Vocabulary(tokens) for tokens in characters(train_pairs))
for pair in train_pairs[:6]:
    print(f"{pair.locale:<6} {pair.style:<7} {pair.source:<32} {pair.target}")
print(
    len(source_vocab),
    "characters in sources,",
    len(target_vocab),
    "in targets, four of each special: pad, begin, end, unknown",
)

# %% [markdown]
# Sentences in a batch differ in length, so the short ones are filled up with PAD. The state must be taken after the
# last real item, not after the filling: the shared function `encode` of the course sees to that. The encoder is given.
# It is an embedding (lesson 01) and a GRU.

# %%
from utils.recurrent import encode


class Encoder(nn.Module):
    """Reads sentences, and returns one vector for each."""

    def __init__(self, vocab_size: int, d_embed: int, d_hidden: int):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_embed, padding_idx=PAD)
        self.gru = nn.GRU(d_embed, d_hidden, batch_first=True)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """ids: (b, l) int64, padded on the right. lengths: (b,) int64. Returns: the contexts, (b, d_hidden)."""
        _, state = encode(self.gru, self.embed(ids), lengths)  # (1, b, d_hidden)
        return state[0]


# %% [markdown]
# ### What the decoder is given
#
# At each step the decoder sees its own last word and has to say the next. In training we know all the words. So give
# it the *true* last word, whatever it would have said itself: **teacher forcing**. Then all steps of all sentences go
# through in one call.
#
# It has to predict the target, so it must not see it: at each place it gets the word *before*. By hand, the target is
# `2 0 2 5 <eos>`:
#
# | | | | | | |
# | --- | --- | --- | --- | --- | --- |
# | given | `<bos>` | 2 | 0 | 2 | 5 |
# | to predict | 2 | 0 | 2 | 5 | `<eos>` |


# %% nbgrader={"grade": false, "grade_id": "shift_right", "locked": false, "schema_version": 3, "solution": true, "task": false}
def shift_right(targets: Tensor, bos: int) -> Tensor:
    """What the decoder is given while it learns to predict targets.

    targets: (b, l) int64, l at least 1. It is left as it is.
    Returns: (b, l) int64: bos, then each sentence without its last item.
    >>> shift_right(torch.tensor([[7, 8, 2], [9, 2, 0]]), bos=1)
    tensor([[1, 7, 8],
            [1, 9, 2]])
    """
    ### BEGIN SOLUTION
    first = torch.full_like(targets[:, :1], bos)
    return torch.cat([first, targets[:, :-1]], dim=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_shift_right", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("shift_right", points=1):
    for b, n, bos in ((3, 5, 1), (1, 4, 6), (4, 1, 2)):
        targets = randint(10, 90, (b, n))
        before = targets.clone()
        got = shift_right(targets, bos)
        expect_equal(targets, before, "the targets themselves have changed: make a new tensor")
        expect(tuple(got.shape) != (b, n + 1), "one item too many: the last item of the target is never an input")
        expect_equal([tuple(got.shape), got.dtype], [(b, n), torch.int64], "as many items as the targets, int64")
        expect(not torch.equal(got, targets), "the decoder sees the very item that it must predict: shift by one")
        if n > 1:
            expect(
                not torch.equal(got[:, :-1], targets[:, 1:]),
                "this shifts to the left: the decoder would see the item after the one it predicts",
            )
            expect(
                not torch.equal(got, targets.roll(1, dims=1)),
                "the last item has come round to the front: bos belongs there",
            )
        expect((got[:, 0] == bos).all(), "each sentence begins with bos, as it is given")
        expected = torch.tensor([[bos, *row[:-1]] for row in targets.tolist()])
        expect_equal(got, expected, "at place t stands the target of place t - 1")
    ### BEGIN HIDDEN TESTS
    for b, n, bos in ((2, 9, 0), (5, 2, 3)):
        targets = randint(4, 50, (b, n))
        expected = torch.tensor([[bos, *row[:-1]] for row in targets.tolist()])
        expect_equal(shift_right(targets, bos), expected, "another size: bos, then the targets without their last item")
    ### END HIDDEN TESTS

# %% [markdown]
# ### The decoder
#
# $$s_0 = \text{context}, \qquad s_t = \text{GRU}(E\, y_{t-1},\ s_{t-1}), \qquad \text{logits}_t = W s_t + b$$
#
# The context goes in once, as the state before the first step. After that the decoder is on its own.


# %% nbgrader={"grade": false, "grade_id": "Decoder", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Decoder(nn.Module):
    """Writes sentences, each from a vector. PyTorch's layers are yours to use."""

    def __init__(self, vocab_size: int, d_embed: int, d_hidden: int):
        """Three layers: `embed`, an nn.Embedding; `rnn`, an nn.GRU of one layer; `read`, an nn.Linear with a bias."""
        super().__init__()
        ### BEGIN SOLUTION
        self.embed = nn.Embedding(vocab_size, d_embed)
        self.rnn = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.read = nn.Linear(d_hidden, vocab_size)
        ### END SOLUTION

    def forward(self, ids: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Go on writing from a state.

        ids: (b, l) int64, what was written last, at each step; l = 1 for a single step. state: (b, d_hidden), the state
        before the first of these steps; at the very beginning that is the context.
        Returns: logits (b, l, vocab_size) for the item that comes after each of ids, no softmax; and the state after
        the last step, (b, d_hidden), from which another call can go on.
        """
        ### BEGIN SOLUTION
        outputs, state = self.rnn(self.embed(ids), state[None])  # (b, l, d_hidden), (1, b, d_hidden)
        return self.read(outputs), state[0]
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_Decoder", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("Decoder", points=2):

    def random_state(v, e, d):
        names = [f"rnn.{kind}_l0" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        others = {"embed.weight": (v, e), "read.weight": (v, d), "read.bias": (v,)}
        drawn = {name: numbers(*shape) for name, shape in others.items()}
        return drawn | dict(zip(names, random_weights(3, e, d), strict=True))

    def by_steps(weights, ids, state):  # the same, step by step, with PyTorch's cell
        cell = [weights[f"rnn.{kind}_l0"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        logits = []
        for column in ids.unbind(1):
            state = torch.gru_cell(weights["embed.weight"][column], state, *cell)
            logits.append(F.linear(state, weights["read.weight"], weights["read.bias"]))
        return torch.stack(logits, 1), state

    for b, n, v, e, d in ((4, 4, 9, 3, 5), (2, 6, 7, 4, 4), (3, 1, 5, 2, 6)):
        ours, weights = Decoder(v, e, d).double(), random_state(v, e, d)
        shapes = {name: tuple(value.shape) for name, value in ours.state_dict().items()}
        wanted = {name: tuple(value.shape) for name, value in weights.items()}
        expect_equal(
            shapes, wanted, "wanted are embed (nn.Embedding), rnn (nn.GRU), read (nn.Linear), and nothing else"
        )
        ours.load_state_dict(weights)
        ids, state = randint(0, v, (b, n)), numbers(b, d)
        result = ours(ids, state)
        expect(
            isinstance(result, (tuple, list)) and len(result) == 2, "return two tensors: logits and state", got=result
        )
        logits, last = result
        expect_equal(
            tuple(logits.shape), (b, n, v), "logits are (b, l, vocab_size): one number for each item of the vocabulary"
        )
        expect_equal(tuple(last.shape), (b, d), "the state is (b, d_hidden), without PyTorch's axis for layers")
        expect_equal([logits.dtype, last.dtype], [torch.float64] * 2, "keep the dtype of the weights")
        expected, expected_last = by_steps(weights, ids, state)
        expect(
            not torch.allclose(logits, expected.softmax(-1)) and not torch.allclose(logits, expected.log_softmax(-1)),
            "return logits: no softmax",
        )
        expect(
            not torch.allclose(logits, by_steps(weights, ids, 0 * state)[0]),
            "the state is not used: the decoder would know nothing of the source",
        )
        expect(
            not torch.equal(last, state),
            "the state that is returned is the one that was given: return the one after the last step",
        )
        others = torch.cat([randint(0, v, (b - 1, n)), ids[-1:]])  # the last sentence stays, the others change
        hint = "sentences are mixed up: make the layer with batch_first=True"
        expect_close(ours(others, state)[0][-1], logits[-1], hint)
        expect_close(logits, expected, "the logits are read from the state after each step")
        expect_close(last, expected_last, "the state is the one after the last step")
        slopes = gradients(ours, ids, state, upstream=numbers(b, n, v))
        expect(slopes[0].any(), "no gradient reaches the context: the encoder would never learn")
        first, carried = ours(ids[:, :1], state)
        if n > 1:
            rest, _ = ours(ids[:, 1:], carried)
            expect_close(
                torch.cat([first, rest], 1),
                expected,
                "two calls, the second from the first one's state, must do what one call does",
            )
    ### BEGIN HIDDEN TESTS
    for b, n, v, e, d in ((1, 8, 12, 6, 3), (5, 2, 4, 1, 2)):
        ours, weights = Decoder(v, e, d).double(), random_state(v, e, d)
        ours.load_state_dict(weights)
        ids, state = randint(0, v, (b, n)), numbers(b, d)
        for got, want in zip(ours(ids, state), by_steps(weights, ids, state), strict=True):
            expect_close(got, want, "another size: logits or state differ")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints for both</summary>
#
# <details><summary>Nudge</summary>
#
# For `shift_right`, write the two rows of the table for a batch. The decoder is the encoder once more, with one layer
# on top and one thing that is no longer zero at the start.
#
# </details>
# <details><summary>Method</summary>
#
# `torch.cat` along the length joins a column of bos and all columns but one. PyTorch's GRU takes its first state as a
# second argument and returns outputs and last state; the outputs are what `read` turns into logits.
#
# </details>
# <details><summary>Almost there</summary>
#
# PyTorch wants the state with an axis for layers in front, (1, b, d_hidden), and gives it back like that:
# `state[None]` adds the axis, `[0]` takes it away. `torch.full_like` makes the column in the right dtype, on the right
# device.
#
# </details>
# </details>

# %% [markdown]
# ### The loss
#
# The mean of $-\log p(\text{true item})$ over all items of all sentences. PAD is no item: it must not count, or a
# batch of short sentences would look well learned because it is easy to predict nothing.
#
# By hand: one sentence has two items with losses 1 and 2 and then PAD, the other three items with losses 1, 1 and 5.
# The loss is $(1 + 2 + 1 + 1 + 5) / 5 = 2$. It is neither the mean over all six places nor the mean of the two
# sentences' means, $(1.5 + 2.33) / 2 = 1.92$: each item weighs the same.


# %% nbgrader={"grade": false, "grade_id": "masked_cross_entropy", "locked": false, "schema_version": 3, "solution": true, "task": false}
def masked_cross_entropy(logits: Tensor, targets: Tensor, pad: int) -> Tensor:
    """The mean negative log-likelihood of all items that are not padding.

    logits: (b, l, v). targets: (b, l) int64, 0 to v − 1; places that hold `pad` do not count. At least one item counts.
    PyTorch's functions are yours to use.
    Returns: a tensor without axes; each item weighs the same, whichever sentence it is in.
    >>> logits = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]])
    >>> masked_cross_entropy(logits, torch.tensor([[1, 0]]), pad=0)  # log 3: the second place is padding
    tensor(1.0986)
    """
    ### BEGIN SOLUTION
    return F.cross_entropy(rearrange(logits, "b l v -> (b l) v"), targets.flatten(), ignore_index=pad)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_masked_cross_entropy", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("masked_cross_entropy", points=2):
    for b, n, v, pad_id in ((4, 4, 4, 3), (3, 5, 7, 0), (2, 6, 3, 1), (1, 2, 5, 0)):
        lengths = torch.tensor([n, 1, n // 2, n - 1][:b])  # of the sentences, before padding
        logits = 2 * numbers(b, n, v)
        items = (pad_id + 1 + randint(0, v - 1, (b, n))) % v  # anything but padding
        kept = torch.arange(n) < lengths[:, None]
        targets = torch.where(kept, items, pad_id)
        each = -torch.distributions.Categorical(logits=logits).log_prob(targets)  # (b, n)
        got = masked_cross_entropy(logits, targets, pad_id)
        expect(isinstance(got, Tensor) and got.dim() == 0, "return one number, as a tensor without axes", got=got)
        expect_equal(got.dtype, torch.float64, "keep the dtype of the logits")
        if not kept.all():
            expect(not torch.allclose(got, each.mean()), "padding is counted: leave out the places that hold pad")
            expect(
                not torch.allclose(got, (each * kept).mean()),
                "divide by the number of items, not by that of all places",
            )
            sentences = (each * kept).sum(1) / kept.sum(1)
            expect(
                not torch.allclose(got, sentences.mean()),
                "the mean of the sentences' means: a short sentence's items would weigh more",
            )
        expect(
            n == 1 or not torch.allclose(got, each[kept].sum()), "this is the sum; wanted is the mean over the items"
        )
        if v == n:
            mixed = F.cross_entropy(logits, targets, ignore_index=pad_id)
            expect(
                not torch.allclose(got, mixed),
                "F.cross_entropy wants the classes on axis 1: flatten batch and length into one axis first",
            )
        expect_close(got, each[kept].mean(), "wanted is the mean of -log p(target) over the items that are not padding")
        (slope,) = gradients(masked_cross_entropy, logits, targets, pad_id)
        expect(not slope[~kept].any(), "padding has a gradient: it must not move any weight")
        expect(slope[kept].any(), "no gradient reaches the logits")
    ### BEGIN HIDDEN TESTS
    for b, n, v, pad_id in ((5, 3, 9, 8), (2, 7, 2, 1)):
        logits, targets = 3 * randn(b, n, v), randint(0, v, (b, n))
        targets[0, 0] = (pad_id + 1) % v
        each = -torch.distributions.Categorical(logits=logits).log_prob(targets)
        expect_close(
            masked_cross_entropy(logits, targets, pad_id),
            each[targets != pad_id].mean(),
            "another size, padding anywhere: the loss differs",
            tolerance=1e-5,
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# You have written `cross_entropy` in lesson 00, with a way to ignore targets. What is new is one more axis.
#
# </details>
# <details><summary>Method</summary>
#
# For the loss it does not matter which sentence an item is in. Make one long list of items out of the batch, logits
# and targets alike.
#
# </details>
# <details><summary>Almost there</summary>
#
# `F.cross_entropy` takes (n, v) and (n,), and has an argument `ignore_index`. The default of its `reduction` is the
# mean over what is not ignored.
#
# </details>
# </details>

# %% [markdown]
# ## 7. Who speaks when the teacher is gone?
#
# In use nobody knows the target. The decoder begins with `<bos>`, says the most likely item, gets it back as the next
# input, and goes on until it says `<eos>`. That is **greedy** decoding.
#
# By hand, a batch of two. The first sentence is done after two items, the second goes on; the batch stops when all are
# done. What a finished sentence says afterwards is of no interest, and is overwritten by `<eos>`:
#
# | step | 1 | 2 | 3 |
# | --- | --- | --- | --- |
# | first says | 7 | `<eos>` | *(5)* → `<eos>` |
# | second says | 9 | 8 | `<eos>` |


# %% nbgrader={"grade": false, "grade_id": "greedy_decode", "locked": false, "schema_version": 3, "solution": true, "task": false}
@torch.no_grad()
def greedy_decode(decoder, state: Tensor, bos: int, eos: int, max_length: int) -> Tensor:
    """Write a batch of sentences, item by item.

    decoder: called as decoder(ids, state) with ids (b, 1) int64, returns logits (b, 1, v) and the new state, as your
    Decoder does. Nothing else of it is used. It is called once for each item: first with bos in each row, then with
    the items that it said last. state: (b, d), the contexts; work on their device. max_length: at least 1.
    Each item is the one with the largest logit. Decoding ends as soon as each row has said eos, or after max_length
    items.
    Returns: (b, n) int64, the n items that were said, without bos. From its first eos on, a row holds eos; a row that
    never says it has no eos.
    """
    ### BEGIN SOLUTION
    ids = torch.full((len(state), 1), bos, device=state.device)
    done, said = torch.zeros_like(ids, dtype=torch.bool), []
    while len(said) < max_length and not done.all():
        logits, state = decoder(ids, state)
        ids = logits.argmax(-1).masked_fill(done, eos)
        done |= ids == eos
        said.append(ids)
    return torch.cat(said, dim=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_greedy_decode", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("greedy_decode", points=3):

    def scripted(ids, state):
        """A decoder that says what is written in its state, the first column first, whatever it is given."""
        given.append(ids.clone())
        logits = 0.5 * rand(len(state), 1, 12)
        logits.scatter_(2, state[:, :1, None].long(), 1.0)
        return logits, state[:, 1:]

    bos, eos = 1, 2
    first = [[7, 5, eos, 6, 8, 7, 9], [9, 8, 4, 5, eos, 6, 7], [eos, 5, 6, 7, 8, 9, 4]]
    expected = torch.tensor([[7, 5, 2, 2, 2], [9, 8, 4, 5, 2], [2, 2, 2, 2, 2]])
    given = []
    got = greedy_decode(scripted, torch.tensor(first).float(), bos, eos, 7)
    expect(isinstance(got, Tensor) and got.dim() == 2, "return one tensor, (b, n)", got=got)
    expect(not (got[:, 0] == bos).all(), "bos is not part of what was said: leave it out")
    expect(
        not torch.equal(got, expected[:, :1]),
        "it stops as soon as the first row is done: wait until each row has said eos",
    )
    expect(
        not torch.equal(got, torch.tensor(first)[:, :1].expand(3, got.shape[1])),
        "each row says the same item again and again: carry the new state on",
    )
    expect(
        tuple(got.shape) != (3, 7),
        "when each row has said eos, stop: go on only while one is not done, up to max_length",
    )
    expect_equal(
        [tuple(got.shape), got.dtype],
        [(3, 5), torch.int64],
        "n is the number of items that were said, the last eos included; int64",
    )
    expect(
        not torch.equal(got, torch.tensor(first)[:, :5]),
        "from its first eos on a row holds eos, whatever the decoder says",
    )
    expect_equal(got, expected, "each item is the one with the largest logit")
    expect_equal(len(given), 5, "call the decoder once for each item")
    expect_equal(
        [(tuple(ids.shape), ids.dtype) for ids in given],
        [((3, 1), torch.int64)] * 5,
        "the decoder is given one item for each row: ids (b, 1) of dtype int64",
    )
    expect((given[0] == bos).all(), "the first input is bos, in each row", got=given[0])
    fed = torch.cat(given[1:], 1)
    expect(not (fed == bos).all(), "bos is given again and again: give back what was said last")
    busy = expected[:, :4] != eos  # what a row that is done is given does not matter
    expect_equal(fed[busy], expected[:, :4][busy], "give the decoder what it said last")

    for rows, limit in (([[4, 5, 6, 7], [8, eos, 9, 10]], 3), ([[11, 10, 9, 8, 7, 6]], 6), ([[eos, 5], [eos, 6]], 2)):
        given, wanted = [], []
        for row in rows:
            kept = row[: row.index(eos)] if eos in row else row
            wanted.append((kept + [eos] * len(row))[:limit])
        n = 1 if rows[0][0] == eos else limit
        got = greedy_decode(scripted, torch.tensor(rows).float(), 3, eos, limit)
        expect_equal(
            tuple(got.shape), (len(rows), n), f"at most max_length = {limit} items, fewer where each row is done"
        )
        expect_equal(got, torch.tensor(wanted)[:, :n], "where max_length comes first, return what was said until then")
        expect((given[0] == 3).all(), "bos is an argument: use the one that was given", got=given[0])
    ### BEGIN HIDDEN TESTS
    given, end = [], 0
    script = 1 + randint(0, 10, (6, 15))
    stops = [4, 9, 1, 14, 7, 2]
    for row, stop in zip(script, stops, strict=True):
        row[stop] = end
    got = greedy_decode(scripted, script.float(), 11, end, 15)
    expected = torch.stack(
        [torch.where(torch.arange(15) < stop, row, end) for row, stop in zip(script, stops, strict=True)]
    )
    expect_equal(got, expected, "another batch, another eos: the items differ")
    expect_equal(len(given), 15, "call the decoder once for each item")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Three things change from step to step: what is given to the decoder, its state, and which rows are done.
#
# </details>
# <details><summary>Method</summary>
#
# A loop of at most `max_length` turns. In each: call the decoder, take the `argmax`, put eos where a row was done
# before, note which rows are done now, collect the items. Leave the loop when all are done.
#
# </details>
# <details><summary>Almost there</summary>
#
# Keep everything (b, 1), and `torch.cat` along axis 1 at the end. `masked_fill(done, eos)` overwrites what finished
# rows say. `done` is a bool tensor that is joined by `|` with a comparison in each turn; `.all()` of it ends the loop.
#
# </details>
# </details>

# %% [markdown]
# ## 8. Does it work?
#
# **Predict first.** The model sees 20,000 dates of about 33,000 training days. A held-out date is right only if all
# ten characters are. How many will be: half, nine in ten, nearly all? Which style is the hardest?
#
# One thing is taken from section 4: the gates start open. With PyTorch's initial weights $z$ is near 0.5, so after ten
# characters a thousandth of the state is left, and so little gradient comes back that the first steps learn nothing.
# With 2 added to the bias of $z$ it starts near 0.88.
#
# Numbers in the text below are those of `cpu` scale; `smoke` only checks that everything runs.


# %%
def tensors(pairs) -> tuple[Tensor, Tensor, Tensor]:
    """Sources (n, l), their lengths (n,), and targets (n, 11), which end in EOS."""
    sources, lengths = pad([source_vocab.encode(pair.source) for pair in pairs])
    targets, _ = pad([target_vocab.encode(pair.target, eos=True) for pair in pairs])
    return sources.to(device), lengths, targets.to(device)


def new_models(n_source: int, n_target: int, d_hidden: int, d_embed: int = 32) -> tuple[Encoder, Decoder]:
    """An encoder and a decoder for vocabularies of these sizes; their update gates start near σ(2) = 0.88."""
    encoder, decoder = Encoder(n_source, d_embed, d_hidden), Decoder(n_target, d_embed, d_hidden)
    for gru in (encoder.gru, decoder.rnn):
        gru.bias_hh_l0.data[d_hidden : 2 * d_hidden] += 2.0  # block z
    return encoder.to(device), decoder.to(device)


# %%
def train(encoder: Encoder, decoder: Decoder, draw, steps: int, label: str, shift=shift_right) -> None:
    """Teacher forcing; draw() returns a batch: sources, lengths and targets."""

    def loss(step: int) -> Tensor:
        sources, lengths, targets = draw()
        logits, _ = decoder(shift(targets, BOS), encoder(sources[:, : lengths.max()], lengths))
        return masked_cross_entropy(logits, targets, PAD)

    fit([*encoder.parameters(), *decoder.parameters()], loss, steps, lr=5e-3, label=label)


# %%
@torch.no_grad()
def translate(encoder: Encoder, decoder: Decoder, sources: Tensor, lengths: Tensor, max_length: int) -> Tensor:
    """What the two make of the sources: (n, up to max_length) int64, EOS at the end."""
    return greedy_decode(decoder, encoder(sources, lengths), BOS, EOS, max_length)


def exact(said: Tensor, targets: Tensor) -> Tensor:
    """Which rows are right in every item up to EOS; targets are padded with PAD. Returns: (n,) bool."""
    said = F.pad(said, (0, targets.shape[1] - said.shape[1]), value=EOS)
    return ((said == targets) | (targets == PAD)).all(-1)


# %%
width = pick(smoke=16, cpu=128, gpu=256)
dates = tensors(train_pairs)


def draw_dates() -> tuple[Tensor, Tensor, Tensor]:
    chosen = torch.randint(len(train_pairs), (64,))
    return tuple(part[chosen.to(part.device)] for part in dates)


encoder, decoder = new_models(len(source_vocab), len(target_vocab), width)
train(encoder, decoder, draw_dates, steps=pick(smoke=2, cpu=900, gpu=3000), label="dates")

# %%
sources, lengths, held_out_targets = tensors(held_out_pairs)
said = translate(encoder, decoder, sources, lengths, max_length=11)
right = exact(said, held_out_targets).tolist()
print(f"held-out dates right in all ten characters: {sum(right) / len(right):.1%} of {len(right)}")
for style in ("short", "medium", "long", "full"):
    of_style = [ok for ok, pair in zip(right, held_out_pairs, strict=True) if pair.style == style]
    print(f"    {style:<7} {sum(of_style) / len(of_style):6.1%} of {len(of_style)}")

# %%
mistakes = [i for i, ok in enumerate(right) if not ok]
for i in mistakes[:6]:
    pair = held_out_pairs[i]
    print(f"{pair.locale:<6} {pair.source:<32} is {pair.target}, said {''.join(target_vocab.decode(said[i]))}")

# %% [markdown]
# Nearly all. With the month in words everything is right, for days that the model has never seen. What is wrong is all
# short and American: day and month change places, wholly or in part. `12/11/95` is American and means December,
# `12/11/1995` is British or French and means November, and what tells them apart is the length of the year, which
# comes last. The encoder has to keep both numbers without knowing which is which, until the end.
#
# ## 9. What is in the vector?
#
# Take the 14th of six months of 2031, and write each in all 23 forms: 138 sources, 138 vectors of 128 numbers. Project
# them onto two axes, as you did with words in lesson 01. (Some of these dates were trained on, in some of the forms.)
#
# **Predict first.** Will the sources that *look* alike lie together (all French ones, all numbers), or those that
# *mean* the same?

# %%
from datetime import date

from utils.data.dates import FORMS, written

months = {"January": 1, "March": 3, "May": 5, "July": 7, "September": 9, "November": 11}
forms = pick(smoke=FORMS[:2], cpu=FORMS, gpu=FORMS)
names = [month for month in months for _ in forms]
styles = [form for _ in months for form in forms]
spelt = [source_vocab.encode(written(date(2031, number, 14), *form)) for number in months.values() for form in forms]
ids, lengths = pad(spelt)
with torch.no_grad():
    contexts = encoder(ids.to(device), lengths).cpu()  # (6 · forms, width)

# %%
centred = contexts - contexts.mean(0)
plane = centred @ torch.pca_lowrank(contexts, q=2)[2]
labelled_points(
    plane,
    [""] * len(plane),
    groups=names,
    xlabel="first principal axis",
    ylabel="second principal axis",
    title="Dates that mean the same lie together, in whatever language and style they are written",
    alt="138 points in six colours, one for each month. Each month's points form a group; some groups touch, and few points "
    "lie among those of another month.",
)

# %%
distances = torch.cdist(contexts, contexts).fill_diagonal_(torch.inf)
nearest = distances.argmin(-1).tolist()
same_month = sum(names[i] == names[j] for i, j in enumerate(nearest)) / len(names)
same_form = sum(styles[i] == styles[j] for i, j in enumerate(nearest)) / len(names)
print(f"the nearest other vector is of the same month for {same_month:.0%}, of the same form for {same_form:.0%}")

# %% [markdown]
# The encoder has never been told what a month is, or that *mars*, *märz*, *maart* and *03* are the same. It was only
# asked to write the date, and for that the form is of no use. So the form is forgotten and the meaning stays: that is
# the space that people mean when they speak of the *meaning* of a sentence as a vector.
#
# ## 10. How much fits into one vector?
#
# A date is little: one of 36,525 days. Now say back a *string of random letters*, of length 1 to 14. Each letter more
# is a choice among 26 more. The context stays as wide as it is. Nearly all strings of 5 letters and more are new to
# the model: there are 12 million of those alone, and it sees 32,000 strings in all.
#
# **Predict first.** Draw two curves: the share of strings said back without a mistake, by length, for a context of 64
# numbers and one of 128.
#
# The third curve is a trick of Sutskever et al. (2014): the source is read **backwards**. What is to be said first is
# then read last, just before it is needed.

# %%
longest = pick(smoke=4, cpu=14, gpu=24)


def draw_strings(n: int, lengths: Tensor, backwards: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """n strings of random letters (ids 4 to 29), read from either end, to be said back from the first letter on."""
    letters, position = torch.randint(4, 30, (n, longest)), torch.arange(longest)
    targets = torch.where(position < lengths[:, None], letters, PAD)
    targets = F.pad(targets, (0, 1), value=PAD).scatter(1, lengths[:, None], EOS)
    order = (lengths[:, None] - 1 - position).clamp(min=0) if backwards else position.expand(n, -1)
    sources = torch.where(position < lengths[:, None], letters.gather(1, order), PAD)
    return sources.to(device), lengths, targets.to(device)


# %%
def say_back(d_hidden: int, backwards: bool = False) -> list[float]:
    """Train on strings of all lengths; the share said back without a mistake, for each of `tested`."""
    encoder, decoder = new_models(30, 30, d_hidden)
    label = f"{d_hidden} numbers{', read backwards' if backwards else ''}"
    steps = pick(smoke=2, cpu=500, gpu=4000)
    train(encoder, decoder, lambda: draw_strings(64, torch.randint(1, longest + 1, (64,)), backwards), steps, label)
    shares = []
    for length in tested:
        sources, lengths, targets = draw_strings(n_tested, torch.full((n_tested,), length), backwards)
        said = translate(encoder, decoder, sources[:, :length], lengths, max_length=length + 1)
        shares.append(exact(said, targets).float().mean().item())
    return shares


tested, n_tested = range(1, longest + 1), pick(smoke=5, cpu=500, gpu=1000)
widths = pick(smoke=(8, 8), cpu=(64, 128), gpu=(128, 256))
said_back = {f"{d_hidden} numbers": say_back(d_hidden) for d_hidden in widths}
said_back[f"{widths[1]} numbers, read backwards"] = say_back(widths[1], backwards=True)

# %%
curves(
    {name: (tested, shares) for name, shares in said_back.items()},
    xlabel="length of the string",
    ylabel="share said back without a mistake",
    title="One vector holds a few letters; a wider one, or reading backwards, a few more",
    alt="Three curves against length. All start at 1 and fall to 0. They cross one half between four and five letters with "
    "64 numbers, near six with 128, and near seven with 128 and the source read backwards.",
    markers=True,
)

# %%
print(f"{'length':<28}", *(f"{length:>5}" for length in tested[3::2]))
for name, shares in said_back.items():
    print(f"{name:<28}", *(f"{share:>5.0%}" for share in shares[3::2]))

# %% [markdown]
# Longer strings are lost, whatever the width. It is not for want of room: 14 letters are 66 bits, and 128 numbers in
# float32 have 4096. It is that each letter has to be written into the same few numbers without disturbing the others,
# and found there again, and all of that has to be learned. Trained six times as long (measured once, not run here),
# 128 numbers say back 85 % of the strings of 8 letters and 10 % of those of 14: the curve moves to the right, and
# still falls.
#
# Twice the width buys one or two letters. Reading backwards buys another one, for nothing. Sutskever et al. saw the
# same: their test perplexity fell from 5.8 to 4.7. For our dates it matters little: after 1000 steps (measured once), from two other
# starts, 99.2 and 99.6 % of the held-out dates were right when read forwards, and 99.7 and 99.8 % when read backwards.
#
# But these are ways to live with the bottleneck. The way out is not to squeeze the sentence into one vector at all:
# keep a vector for each word, and let the decoder look back at them. That is lesson 03.

# %% [markdown]
# ## Break it: the decoder sees the answer
#
# **Predict first.** Leave the shift out: give the decoder at each place the very item that it must predict. What
# happens to the loss? And to held-out dates?

# %%
broken = new_models(len(source_vocab), len(target_vocab), width)
train(*broken, draw_dates, steps=pick(smoke=2, cpu=100, gpu=300), label="no shift", shift=lambda targets, bos: targets)
said = translate(*broken, *tensors(held_out_pairs)[:2], max_length=11)
print(f"held-out dates right: {exact(said, held_out_targets).float().mean().item():.1%}")
for pair, ids in zip(held_out_pairs[:3], said, strict=False):
    print(f"{pair.source:<32} is {pair.target}, said {''.join(target_vocab.decode(ids))!r}")

# %% [markdown]
# The loss falls to nearly nothing, faster than ever, and all that was learned is to repeat. When the teacher is gone,
# the decoder gets `<bos>`, which it has never been asked to repeat, says something, and repeats that. A loss that is
# too good is a symptom: look for the answer in the input.

# %% [markdown]
# ## Play
#
# Three cells of an LSTM with gates set by hand; an open gate is 0.99, a shut one 0.01. The first notes an opening
# bracket and lets go at the closing one. The second counts the letters of a word and starts again at a space. The
# third keeps 0.8 of itself at each step and adds 1 at a vowel. Type a text of your own, and go through it step by
# step.
#
# Karpathy et al. (2015) found cells like the first two, for quotes and for the length of a line, in LSTMs that were
# only trained to predict the next character.


# %% nbgrader={"grade": false, "grade_id": "play", "locked": true, "schema_version": 3, "solution": false, "task": false}
def gates_by_hand(text: str) -> Tensor:
    """The gates i, f, g, o of three cells at each character: (characters, 3, 4), float32."""
    opened, shut = 0.99, 0.01
    rows = []
    for character in text:
        letter, vowel = character.isalpha(), character.lower() in "aeiou"
        bracket = {"(": (opened, shut, opened, opened), ")": (shut, shut, opened, opened)}
        rows.append(
            [
                bracket.get(character, (shut, opened, 0.0, opened)),
                (opened if letter else shut, shut if character == " " else opened, opened if letter else 0.0, opened),
                (opened if vowel else shut, 0.8, opened, opened),
            ]
        )
    return torch.tensor(rows)


explore_gates(gates_by_hand, "a cell (or two)", ["inside brackets", "letters of the word", "fading vowels"], start=10)

# %% [markdown]
# ## At full size
#
# Sutskever et al. (2014) is this lesson with larger numbers: LSTMs of 4 layers, 1000 units and embeddings of 1000
# numbers, a vocabulary of 160,000 English and 80,000 French words, sources read backwards, gradients clipped at norm
# 5. Count it with the function of section 4:

# %%
parts = {
    "encoder": lstm_parameters(1000, 1000, 4),
    "decoder": lstm_parameters(1000, 1000, 4),
    "embedding of English words": 160_000 * 1000,
    "embedding of French words": 80_000 * 1000,
    "reading French words off": 80_000 * 1000,
}
for part, count in parts.items():
    print(f"{part:<28}{count / 1e6:>7.1f} M")
print(f"{'all':<28}{sum(parts.values()) / 1e6:>7.1f} M")

# %% [markdown]
# The paper says 384 million, of which 64 are recurrent. Most of it is tables of words: lesson 01 all over again.
#
# | English to French, WMT 2014 | BLEU |
# | --- | --- |
# | phrase-based baseline | 33.3 |
# | five such LSTMs together, beam search | 34.8 |
# | the baseline's 1000 best translations, rescored by the LSTMs | 36.5 |
#
# The authors call it the first time that a network alone beat a phrase-based system on a large task. Reading the
# source backwards took a single LSTM from 25.9 to 30.6. (BLEU is yours to write in lesson 03.)
#
# **Optional: real sentences.** Multi30k has 29,000 captions of pictures in English and German. Set `DOWNLOAD = True`,
# and the next cells train *your* encoder and decoder on them, word by word.

# %%
DOWNLOAD = False  # True: fetch 5 MB from huggingface.co, once


def fetch_captions() -> tuple[list, list] | None:
    """Training and test pairs of Multi30k; None, and a line that says why, without them."""
    if not DOWNLOAD:
        return print("skipped: set DOWNLOAD = True above to fetch the captions (needs a network)")
    from utils.data.hub import DownloadError
    from utils.data.multi30k import multi30k

    try:
        return multi30k("train"), multi30k("test")
    except DownloadError as error:
        print(f"skipped: {error}")


# %%
def numbered(pairs, english: Vocabulary, german: Vocabulary) -> tuple[Tensor, Tensor, Tensor]:
    """As `tensors`, but of words, and read backwards."""
    sources, lengths = pad([english.encode(pair.source[::-1]) for pair in pairs])
    targets, _ = pad([german.encode(pair.target, eos=True) for pair in pairs])
    return sources.to(device), lengths, targets.to(device)


if captions := fetch_captions():
    english, german = (
        Vocabulary.build((getattr(p, side) for p in captions[0]), min_count=3) for side in ("source", "target")
    )
    pair_of_models = new_models(len(english), len(german), d_hidden=256, d_embed=128)

    def draw_captions() -> tuple[Tensor, Tensor, Tensor]:
        chosen = torch.randint(len(captions[0]), (64,)).tolist()
        return numbered([captions[0][i] for i in chosen], english, german)

    train(*pair_of_models, draw_captions, steps=pick(smoke=2, cpu=1000, gpu=5000), label="captions")
    shown = captions[1][:5]
    for pair, ids in zip(shown, translate(*pair_of_models, *numbered(shown, english, german)[:2], 30), strict=True):
        print(" ".join(pair.source), " ".join(pair.target), " ".join(german.decode(ids)), sep="\n    ")

# %% [markdown]
# ## Score card

# %%
score_card()

# %% [markdown]
# ## In five lines
#
# - A recurrent network reads one item at a time, with the same weights, and remembers in its state.
# - A gradient through time is a product of matrices: it vanishes or explodes. Clip what explodes.
# - An LSTM and a GRU choose what to keep. Where the gate is open, the gradient comes back.
# - Encoder, one vector, decoder: trained on the true last word, shifted right; used on its own last word, until EOS.
# - One vector is a bottleneck: the longer the source, the more is lost. Lesson 03 lets the decoder look back.
#
# ## Further reading
#
# - Sutskever, Vinyals & Le, *Sequence to Sequence Learning with Neural Networks*, NeurIPS 2014. Section 3.3 is the
#   trick of reading backwards.
# - Cho et al., *Learning Phrase Representations using RNN Encoder–Decoder for Statistical Machine Translation*, EMNLP
#   2014. The GRU, and pictures of what the context holds.
# - Pascanu, Mikolov & Bengio, *On the difficulty of training recurrent neural networks*, ICML 2013. Why gradients
#   vanish and explode, and why clipping the norm is enough for one of the two.
