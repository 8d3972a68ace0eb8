# %% [markdown]
# # Attention in today's models
#
# Lesson 07 counted what a GPT has to remember: two vectors for each token, head and layer. Lesson 08 put positions into
# angles. Here are the models that came after. You write Llama's block with fewer keys than queries, DeepSeek's attention
# that remembers one short vector a token, masks that leave most pairs out, attention that never makes the table it does
# not need, and the merging of tokens that say the same. Then one small language model learns with each attention, and a
# table says what each one costs.
#
# It builds on lessons 05 (RMS norm, gated layer), 07 (the cache) and 08 (rotary positions), and gives 20 points in
# thirteen short exercises.
#
# | scale | layers × width | text | steps a model | run time |
# | --- | --- | --- | --- | --- |
# | `smoke` (tests) | 1 × 32 | 16 letters | 2 | 5 s |
# | `cpu` (a laptop) | 2 × 64 | 128 letters | 400 | 115 s |
# | `gpu` | 6 × 256 | 256 letters | 4000 | not measured yet |
#
# Run times are processor time of the whole file, on one core.

# %% [markdown]
# ## The model
#
# Orange boxes with a pencil are yours. Section 5, merging tokens, stands beside the model: here it works between two blocks.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import Tensor, nn

from utils import *

device = setup("09_modern_attention")

# %% jupyter={"source_hidden": true}
diagram(
    {
        "x": ("tokens so far", 1, 0), "norm": ("RMS norm", 1, 1), "q": ("queries:\nmany heads", 0, 2),
        "kv": ("keys, values:\nfew heads", 1, 2), "latent": ("or one latent\nand one rope key", 2.2, 2), "cache": ("cache", 1.6, 3),
        "gqa": ("grouped_query_\nattention", 0, 4), "band": ("masks,\nbanded_attention", 1.2, 4),
        "ff": ("norm, gated\nfeed forward", 0, 5), "merge": ("merge_tokens:\nbetween blocks", 1.2, 5),
    },
    [
        ("x", "norm"), ("norm", "q"), ("norm", "kv"), ("norm", "latent"), ("kv", "cache"), ("latent", "cache"),
        ("q", "gqa"), ("cache", "gqa"), ("band", "gqa"), ("gqa", "ff"), ("ff", "merge"),
    ],
    yours=["q", "kv", "latent", "gqa", "band", "ff", "merge"],
    title="One block of a language model of today, and ways to remember and compare less",
    alt="Tokens are normalised and give queries with many heads, and either keys and values with few heads or one latent "
    "vector with one rotary key; these go into the cache. Grouped-query attention mixes them, masks and banded attention "
    "leave pairs out, and a norm with a gated feed-forward layer follows. Tokens may be merged between blocks. All but the tokens, "
    "the first norm and the cache is yours to write.",
)  # fmt: skip

# %% [markdown]
# ## 1. Does every query head need keys of its own?
#
# A model that writes reads its whole cache for each new token. In Llama 2 7B that is 262,144 numbers for each token of
# the text. Reading them often takes longer than computing with them. So let several query heads share one head of keys and
# values. With as many key heads as query heads this is multi-head attention (MHA); with one it is multi-query attention
# (MQA, Shazeer 2019); in between, grouped-query attention (GQA, Ainslie et al. 2023).
#
# By hand: 4 query heads, 2 key heads. Neighbours share: query heads 0 and 1 use key head 0, query heads 2 and 3 use key
# head 1. In general query head $i$ of $h$ uses key head $\lfloor i / (h/g) \rfloor$ of $g$.
#
# $$\text{out}_i = \text{softmax}\!\left(\frac{q_i\, k_{\lfloor ig/h \rfloor}^\top}{\sqrt d}\right) v_{\lfloor ig/h \rfloor}$$


# %% nbgrader={"grade": false, "grade_id": "grouped_query_attention", "locked": false, "schema_version": 3, "solution": true, "task": false}
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention in which neighbouring query heads share a head of keys and values.

    From scratch: not with PyTorch's own attention; torch.softmax is yours to use.
    q: (b, h, l_q, d). k: (b, g, l_k, d). v: (b, g, l_k, d_v). h is a multiple of g; of each h/g neighbouring
    query heads, counted from 0, all use the same key head.
    mask: (l_q, l_k) bool on q's device, True keeps; each query may see at least one key. None keeps all.
    Returns: (b, h, l_q, d_v). The scores are divided by √d, d being the size of a query.
    >>> v = torch.tensor([10.0, 20.0]).reshape(1, 2, 1, 1)  # two heads, one key each
    >>> grouped_query_attention(torch.ones(1, 4, 1, 3), torch.ones(1, 2, 1, 3), v).flatten()
    tensor([10., 10., 20., 20.])
    """
    ### BEGIN SOLUTION
    q = rearrange(q, "b (g n) l d -> b g n l d", g=k.shape[1])  # n query heads share a key head
    scores = einsum(q, k, "b g n i d, b g j d -> b g n i j") / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    out = einsum(scores.softmax(-1), v, "b g n i j, b g j d -> b g n i d")
    return rearrange(out, "b g n l d -> b (g n) l d")
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_grouped_query_attention", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("grouped_query_attention", points=2):
    fused = F.scaled_dot_product_attention
    q, k, v = randn(2, 6, 5, 8), randn(2, 3, 7, 8), randn(2, 3, 7, 4)
    out = grouped_query_attention(q, k, v)
    expect_equal(tuple(out.shape), (2, 6, 5, 4), "a result for each query head: (b, h, l_q, d_v)")
    shared = fused(q, k, v, enable_gqa=True)
    mistakes = {
        "query heads 0 and 1 share key head 0: repeat each head (repeat_interleave), not the list of heads (repeat)": fused(
            q, k.repeat(1, 2, 1, 1), v.repeat(1, 2, 1, 1)
        ),
        "the scores are not divided by √d": fused(q, k, v, enable_gqa=True, scale=1.0),
        "divide by the square root of d, not by d itself": fused(q, k, v, enable_gqa=True, scale=1 / 8),
        "all queries use the first key head": fused(q, k[:, :1], v[:, :1], enable_gqa=True),
    }
    expect_close(out, shared, "query head i uses key head i // (h / g), softmax over the keys", mistakes=mistakes)
    mask = torch.ones(5, 7).tril(2).bool()
    out = grouped_query_attention(q, k, v, mask)
    hint = "with a mask: True keeps, and hidden keys get no weight before the softmax"
    expect_close(
        out,
        fused(q, k, v, mask, enable_gqa=True),
        hint,
        mistakes={"the mask is not used": shared, "the mask is upside down": fused(q, k, v, ~mask, enable_gqa=True)},
    )
    for n in (1, 6):  # the two ends
        k, v = randn(2, n, 7, 8), randn(2, n, 7, 8)
        hint = {1: "one key head for all (MQA)", 6: "a key head for each query head (MHA)"}[n] + ": the result differs"
        expect_close(grouped_query_attention(q, k, v), fused(q, k, v, enable_gqa=True), hint)
    slopes = gradients(grouped_query_attention, q, k, v, mask, upstream=randn(2, 6, 5, 8))
    expect(all(g.isfinite().all() and g.any() for g in slopes), "the gradient is NaN or zero")
    expect_from_scratch(grouped_query_attention, "scaled_dot_product_attention", "MultiheadAttention")
    ### BEGIN HIDDEN TESTS
    for b, h, g, l_q, l_k, d in ((1, 1, 1, 1, 1, 1), (3, 8, 2, 1, 9, 5), (2, 4, 4, 3, 3, 16), (1, 12, 3, 2, 6, 2)):
        q, k, v = (randn(b, *shape, dtype=torch.float64) for shape in ((h, l_q, d), (g, l_k, d), (g, l_k, d + 1)))
        mask = rand(l_q, l_k) < 0.6
        mask[:, 0] = True
        for m in (None, mask):
            right = fused(q, k, v, m, enable_gqa=True)
            expect_close(grouped_query_attention(q, k, v, m), right, "another size, in float64: the result differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# It is lesson 04's attention with one more question: which key head belongs to which query head?
#
# </details>
# <details><summary>Method</summary>
#
# Either repeat keys and values until there are as many heads as queries have, or split the axis of the query heads in
# two: groups, and the members of a group. The second copies nothing.
#
# </details>
# <details><summary>Almost there</summary>
#
# In a pattern of `rearrange`, `(g n)` splits an axis so that neighbours stay together; `(n g)` would not. In `einsum`, keys
# simply lack the letter `n`.
#
# </details>
# </details>

# %% [markdown]
# ## 2. What is a block of Llama?
#
# Five changes to GPT-2's block, all of which you know. The norm is RMS norm; positions are rotary, and the halves of a
# head are turned (lesson 08's half-split form); key heads are shared; the feed-forward layer has a gate; there are no biases.
#
# A cache keeps what a layer needs of the tokens so far. Here is one for any kind of attention: it appends the tensors that
# it is given along the axis of the tokens, and counts the tokens that it has seen. `causal_mask` is lesson 07's, aligned
# with the lower right corner. `rotate(x, positions, base)` is lesson 08's, half-split unless told. What you make
# yourself, positions and masks, goes to `x.device`.

# %%
from functools import partial

from utils.counting import largest_tensor, multiply_adds
from utils.rotary import rotate


class Cache:
    """What one layer keeps of the tokens so far. `length` counts all tokens seen, `elements` the numbers kept."""

    def __init__(self, window: int | None = None):
        """Empty. With a window only the last window - 1 tokens are kept: all that the next token can still see."""
        self.window, self.length, self.kept = window, 0, ()

    def update(self, *new: Tensor) -> tuple[Tensor, ...]:
        """Append tensors (..., new tokens, d), the same number of them at each call. Returns: kept and new, in order."""
        joined = tuple(torch.cat(pair, dim=-2) for pair in zip(self.kept, new, strict=True)) if self.kept else new
        self.length += new[0].shape[-2]
        stop = joined[0].shape[-2]
        start = 0 if self.window is None else max(0, stop - self.window + 1)
        self.kept = tuple(tensor[..., start:, :] for tensor in joined)
        return joined

    @property
    def elements(self) -> int:
        return sum(tensor.numel() for tensor in self.kept)


def causal_mask(new: int, so_far: int, device: torch.device | None = None) -> Tensor:
    """(new, so_far) bool on `device`: the last `new` of `so_far` tokens, each sees itself and all before it."""
    return torch.ones(new, so_far, dtype=torch.bool, device=device).tril(so_far - new)


# %% [markdown]
# By hand: the cache has seen 4 tokens and 2 come. They stand at places 4 and 5. Their queries and keys are turned by these;
# the turned keys and the values are appended; nothing is turned twice. With 8 query heads and 2 key heads of size 16 the
# cache grows by $2 \cdot 2 \cdot 16 = 64$ numbers a token, not by 256.


# %% nbgrader={"grade": false, "grade_id": "LlamaAttention", "locked": false, "schema_version": 3, "solution": true, "task": false}
class LlamaAttention(nn.Module):
    """Causal self-attention of Llama: rotary positions, shared key heads. Use grouped_query_attention and rotate."""

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int, base: float = 10_000.0):
        """Four nn.Linear without biases. d_head = d_model / n_heads.

        w_q: d_model → d_model. w_k, w_v: d_model → n_kv_heads · d_head. w_o: d_model → d_model.
        The attributes n_heads, n_kv_heads and base are what was given.
        """
        super().__init__()
        ### BEGIN SOLUTION
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_kv = n_kv_heads * d_model // n_heads
        self.w_q, self.w_o = nn.Linear(d_model, d_model, bias=False), nn.Linear(d_model, d_model, bias=False)
        self.w_k, self.w_v = nn.Linear(d_model, d_kv, bias=False), nn.Linear(d_model, d_kv, bias=False)
        ### END SOLUTION

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x: (b, l, d_model), the new tokens. Head i owns the features from i·d_head on, in w_q, w_k, w_v and w_o.

        Queries and keys are turned by `rotate(…, positions, self.base)`, half-split; the first new token stands at place
        cache.length, or at 0 without a cache. cache.update(k, v), called once, gets turned keys and values of the new
        tokens, (b, n_kv_heads, l, d_head) each, and returns those of all tokens. Each token sees itself and all before it.
        Returns: (b, l, d_model).
        """
        ### BEGIN SOLUTION
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1], device=x.device)
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k, v = (rearrange(w(x), "b l (g d) -> b g l d", g=self.n_kv_heads) for w in (self.w_k, self.w_v))
        q, k = rotate(q, positions, self.base), rotate(k, positions, self.base)
        if cache is not None:
            k, v = cache.update(k, v)  # (b, g, so far, d)
        mixed = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(mixed, "b h l d -> b l (h d)"))
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_LlamaAttention", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("LlamaAttention", points=2):

    def turned(x, base, places=None, pairs=None):  # half-split rotary positions, with complex numbers
        half = x.shape[-1] // 2
        speeds = base ** (-torch.arange(half, dtype=torch.float64) / half)
        places = torch.arange(x.shape[-2]) if places is None else places
        one, two = (x[..., :half], x[..., half:]) if pairs is None else (x[..., 0::2], x[..., 1::2])
        z = torch.complex(one, two) * torch.polar(torch.ones(()).double(), places[:, None] * speeds)
        return torch.cat([z.real, z.imag], -1) if pairs is None else torch.stack([z.real, z.imag], -1).flatten(-2)

    def llama(state, h, g, x, turn, turn_q=None, turn_v=None, mask=None):  # the layer, by PyTorch's fused attention
        q, k, v = (F.linear(x, state[f"w_{name}.weight"]) for name in "qkv")
        q, k, v = (t.unflatten(-1, (n, -1)).transpose(1, 2) for t, n in ((q, h), (k, g), (v, g)))
        q, k, v = (turn_q or turn)(q), turn(k), turn_v(v) if turn_v else v
        mask = torch.ones(x.shape[1], x.shape[1]).tril() > 0 if mask is None else mask
        mixed = F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
        return F.linear(mixed.transpose(1, 2).flatten(2), state["w_o.weight"])

    wide, h, g, base, n = 24, 6, 2, 500.0, 7
    attend = place(LlamaAttention, wide, h, g, base).double()
    attributes = [getattr(attend, name, None) for name in ("n_heads", "n_kv_heads", "base")]
    expect_equal(attributes, [h, g, base], "keep n_heads, n_kv_heads and base as attributes")
    wanted = {"w_q.weight": (wide, wide), "w_k.weight": (8, wide), "w_v.weight": (8, wide), "w_o.weight": (wide, wide)}
    found = {name: tuple(t.shape) for name, t in attend.state_dict().items()}
    expect_equal(found, wanted, "four nn.Linear without biases; w_k and w_v give n_kv_heads · d_head features only")
    state = {name: 0.5 * randn(*shape, dtype=torch.float64) for name, shape in wanted.items()}
    attend.load_state_dict(state)
    x = randn(2, n, wide, dtype=torch.float64)
    right = llama(state, h, g, x, lambda t: turned(t, base))
    mistakes = {
        "a token sees later ones: use causal_mask": llama(
            state, h, g, x, lambda t: turned(t, base), mask=torch.ones(n, n) > 0
        ),
        "positions turn queries and keys, not values": llama(
            state, h, g, x, lambda t: turned(t, base), turn_v=lambda t: turned(t, base)
        ),
        "queries and keys are not turned": llama(state, h, g, x, lambda t: t),
        "turn by self.base, not by 10,000": llama(state, h, g, x, lambda t: turned(t, 10_000.0)),
        "turn the halves of a head, not neighbours": llama(state, h, g, x, lambda t: turned(t, base, pairs=2)),
    }
    out = attend(x)
    expect_close(out, right, "without a cache: split heads, turn q and k, attend, merge heads, w_o", mistakes=mistakes)
    shifted = llama(state, h, g, x.flip(1), lambda t: turned(t, base))
    expect_close(attend(x.flip(1)), shifted, "a second text: nothing of the first may be remembered")
    for parts in ([4, 1, 2], [1] * n, [n]):
        kept, done = place(Cache), 0
        for part in x.split(parts, dim=1):
            got = attend(part, kept)
            done += part.shape[1]
            expect_equal(kept.length, done, "call cache.update once, with the new tokens alone")
            hint = (
                f"the cache holds {kept.elements} numbers after {done} tokens: keep the shared heads, not repeated ones"
            )
            expect_equal(kept.elements, 2 * 2 * g * 4 * done, hint)
            at = torch.cat([torch.arange(size) for size in parts])[:done]
            restarted = llama(state, h, g, x[:, :done], lambda t, at=at: turned(t, base, at))[:, done - part.shape[1] :]
            late = torch.arange(done) + part.shape[1]
            late = llama(state, h, g, x[:, :done], lambda t: turned(t, base), lambda t, at=late: turned(t, base, at))
            again = {
                "positions go on from cache.length; here they restart at 0": restarted,
                "the queries' positions begin too late: read cache.length before update": late[:, -part.shape[1] :],
            }
            open_rows = torch.ones(part.shape[1], done)
            for name, seen in {"no mask": open_rows, "a mask of the upper left corner": open_rows.tril()}.items():
                mask = torch.cat([torch.ones(done, done).tril()[: -part.shape[1]], seen]) > 0
                masked = llama(state, h, g, x[:, :done], lambda t: turned(t, base), mask=mask)[:, -part.shape[1] :]
                again[f"here it is {name}: use causal_mask(new, so_far), also with a cache"] = masked
            hint = f"in chunks of {parts}: turn the new keys by their places, then append them, and see all so far"
            expect_close(got, right[:, done - part.shape[1] : done], hint, mistakes=again)
        keys = F.linear(x, state["w_k.weight"]).unflatten(-1, (g, -1)).transpose(1, 2)
        expect_close(kept.kept[0], turned(keys, base), "the cache holds the turned keys of all tokens", mistakes={
            "the cache holds keys before the turn: turn the new keys, then append them": keys,
        })  # fmt: skip
    ### BEGIN HIDDEN TESTS
    for b, h, g, d, n in ((1, 1, 1, 2, 1), (3, 4, 4, 6, 5), (2, 8, 1, 4, 9)):
        attend = place(LlamaAttention, h * d, h, g).double()
        state = {k: 0.5 * randn(*t.shape, dtype=torch.float64) for k, t in attend.state_dict().items()}
        attend.load_state_dict(state)
        x, kept = randn(b, n, h * d, dtype=torch.float64), place(Cache)
        right = llama(state, h, g, x, lambda t: turned(t, 10_000.0))
        expect_close(attend(x), right, "another size: the result differs")
        got = torch.cat([attend(part, kept) for part in x.split(2, dim=1)], dim=1)
        expect_close(got, right, "another size, two tokens at a time: the result differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Write it without a cache first. The cache changes where the positions begin and what the keys and values are.
#
# </details>
# <details><summary>Method</summary>
#
# Read `cache.length` before you call `update`: afterwards it counts the new tokens, too. After `update` there are more keys
# than queries, and `causal_mask` wants both numbers.
#
# </details>
# <details><summary>Almost there</summary>
#
# `torch.arange(start, start + l, device=x.device)` are the positions. The features of `w_k` split into `n_kv_heads` heads,
# those of `w_q` into `n_heads`.
#
# </details>
# </details>

# %% [markdown]
# The block adds a norm before each part and the residual path around it. The gated layer is lesson 05's. The attention is
# handed in, so that the same block will serve every attention of this lesson.


# %% nbgrader={"grade": false, "grade_id": "GatedFeedForward", "locked": true, "schema_version": 3, "solution": false, "task": false}
class GatedFeedForward(nn.Module):
    """SwiGLU: (..., d_model) → (..., d_model), without biases."""

    def __init__(self, d_model: int, d_hidden: int):
        super().__init__()
        self.w_gate, self.w_in = (nn.Linear(d_model, d_hidden, bias=False) for _ in range(2))
        self.w_out = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_out(F.silu(self.w_gate(x)) * self.w_in(x))


# %% nbgrader={"grade": false, "grade_id": "LlamaBlock", "locked": false, "schema_version": 3, "solution": true, "task": false}
class LlamaBlock(nn.Module):
    """Attention, then a gated feed-forward layer, each reading the normalised stream and adding to it."""

    def __init__(self, attention: nn.Module, d_model: int, d_hidden: int, eps: float = 1e-6):
        """The parts, by name: `attention` as given; `attention_norm` and `feed_forward_norm`, both nn.RMSNorm(d_model, eps);
        `feed_forward`, a GatedFeedForward.
        """
        super().__init__()
        ### BEGIN SOLUTION
        self.attention, self.feed_forward = attention, GatedFeedForward(d_model, d_hidden)
        self.attention_norm, self.feed_forward_norm = (nn.RMSNorm(d_model, eps) for _ in range(2))
        ### END SOLUTION

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x: (b, l, d_model). The attention gets `cache`, too. Returns: (b, l, d_model)."""
        ### BEGIN SOLUTION
        x = x + self.attention(self.attention_norm(x), cache)
        return x + self.feed_forward(self.feed_forward_norm(x))
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_LlamaBlock", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("LlamaBlock", points=1):

    def gated(state, x):
        gate, value = (F.linear(x, state[f"feed_forward.w_{name}.weight"]) for name in ("gate", "in"))
        return F.linear(F.silu(gate) * value, state["feed_forward.w_out.weight"])

    def normed(state, name, x, eps):
        return F.rms_norm(x, x.shape[-1:], state[f"{name}_norm.weight"], eps)

    for wide, hidden, eps, n in ((8, 12, 0.3, 5), (4, 4, 1e-6, 1)):
        inner = place(LlamaAttention, wide, 2, 1).double()
        block = place(LlamaBlock, inner, wide, hidden, eps).double()
        names = sorted({name.split(".")[0] for name in block.state_dict()})
        parts = ["attention", "attention_norm", "feed_forward", "feed_forward_norm"]
        expect_equal(names, parts, "four parts, by the names in the docstring")
        state = {k: 0.6 * randn(*t.shape, dtype=torch.float64) for k, t in block.state_dict().items()}
        block.load_state_dict(state)
        x = randn(2, n, wide, dtype=torch.float64)
        after = x + inner(normed(state, "attention", x, eps))
        right = after + gated(state, normed(state, "feed_forward", after, eps))
        post = normed(state, "attention", x + inner(x), eps)
        mistakes = {
            "normalise before each part, not after it": normed(state, "feed_forward", post + gated(state, post), eps),
            "the residual path carries the stream itself, not the normalised one": normed(state, "attention", x, eps)
            + inner(normed(state, "attention", x, eps)),
            "the residual path around the feed-forward layer is missing": right - after,
            "both parts read the same x: the second reads what the first has added to": after
            + gated(state, normed(state, "feed_forward", x, eps)),
        }
        expect_close(
            block(x), right, "x + attention(norm(x)), then x + feed_forward(norm(x)), with `eps`", mistakes=mistakes
        )
        kept = place(Cache)
        got = torch.cat([block(part, kept) for part in x.split([n - n // 2, n // 2][: 1 + (n > 1)], dim=1)], dim=1)
        expect_equal(kept.length, n, "hand the cache to the attention")
        expect_close(got, right, "in two chunks over a cache the result differs")

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Two lines, of the same form.
#
# </details>
# <details><summary>Method</summary>
#
# Each line: normalise, apply the part, add to what came in. The second line begins with the result of the first.
#
# </details>
# <details><summary>Almost there</summary>
#
# `nn.RMSNorm(d_model, eps)` twice: two norms with gains of their own. The attention takes the cache as its second argument.
#
# </details>
# </details>

# %% [markdown]
# ### What does each form have to remember?
#
# For each token and layer: with $h$ heads of size $d$, MHA keeps $2hd$ numbers, GQA $2gd$, MQA $2d$. (A fourth form keeps
# a latent vector and one rotary key, $d_c + d_R$ numbers. It is section 3's.)
#
# By hand, Llama 3 8B: 32 layers, 32 heads of 128, 8 key heads. MHA would keep $32 \cdot 2 \cdot 32 \cdot 128 = 262{,}144$
# numbers a token; GQA keeps $32 \cdot 2 \cdot 8 \cdot 128 = 65{,}536$, a quarter.


# %% nbgrader={"grade": false, "grade_id": "cache_elements_per_token", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cache_elements_per_token(
    kind: str,
    n_layers: int,
    n_heads: int,
    d_head: int,
    n_kv_heads: int | None = None,
    d_latent: int | None = None,
    d_rope: int | None = None,
) -> int:
    """How many numbers a cache keeps of each token, in all layers together.

    kind: "MHA", "GQA", "MQA" or "MLA". GQA uses n_kv_heads; MLA uses d_latent and d_rope, whatever the heads are.
    Sizes that a kind does not use are ignored.
    Raises: ValueError for another kind.
    >>> cache_elements_per_token("GQA", n_layers=32, n_heads=32, d_head=128, n_kv_heads=8)
    65536
    """
    ### BEGIN SOLUTION
    if kind == "MLA":
        return n_layers * (d_latent + d_rope)
    shared = {"MHA": n_heads, "GQA": n_kv_heads, "MQA": 1}
    if kind not in shared:
        raise ValueError(f"kind is {kind!r}, but must be MHA, GQA, MQA or MLA")
    return 2 * n_layers * shared[kind] * d_head
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_cache_elements_per_token", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("cache_elements_per_token", points=1):
    size = {"n_layers": 3, "n_heads": 8, "d_head": 5, "n_kv_heads": 2, "d_latent": 11, "d_rope": 4}
    got = cache_elements_per_token("MHA", **size)
    expect(got != 3 * 8 * 5, "keys and values are both kept: twice as many", got=got)
    expect(got != 2 * 8 * 5, "every layer has a cache of its own", got=got)
    expect_equal(got, 240, "MHA: 3 layers · 2 · 8 heads · 5")
    expect_equal(cache_elements_per_token("GQA", **size), 60, "GQA keeps the shared heads: 3 layers · 2 · 2 heads · 5")
    expect_equal(cache_elements_per_token("MQA", **size), 30, "MQA keeps one head: 3 layers · 2 · 5")
    got = cache_elements_per_token("MLA", **size)
    expect(got != 90, "one latent serves keys and values: it is kept once, not twice", got=got)
    expect(got != 33, "MLA keeps the rotary key, too", got=got)
    expect_equal(got, 45, "MLA: 3 layers · (11 + 4), for all heads together")
    expect_equal(cache_elements_per_token("MHA", 2, 3, 4), 48, "MHA must not need the sizes of the others")
    expect_equal(cache_elements_per_token("MLA", 61, 128, 128, d_latent=512, d_rope=64), 35136, "DeepSeek-V3 differs")
    expect_raises(ValueError, cache_elements_per_token, "KVQ", 1, 1, 1, hint="no such kind: raise ValueError")
    ### BEGIN HIDDEN TESTS
    layers, heads, d, c, r = randint(1, 90, (5,)).tolist()
    expect_equal(cache_elements_per_token("MQA", layers, heads, d), 2 * layers * d, "MQA, of other sizes")
    expect_equal(cache_elements_per_token("GQA", layers, heads, d, c), 2 * layers * c * d, "GQA, of other sizes")
    expect_equal(cache_elements_per_token("MLA", layers, heads, d, 1, c, r), layers * (c + r), "MLA, of other sizes")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Three of the four kinds differ in one number.
#
# </details>
# <details><summary>Method</summary>
#
# Layers, times what a layer keeps. A layer keeps keys and values of its key heads, or a latent and one rotary key.
#
# </details>
# <details><summary>Almost there</summary>
#
# A dictionary from kind to the number of key heads does the three; the fourth goes before it.
#
# </details>
# </details>

# %% [markdown]
# ## 3. Can one short vector stand for all keys and values?
#
# The keys of all heads are made from the same token. So keep something shorter that they can all be made from: a **latent**
# $c^{KV}$. Multi-head latent attention (MLA) is DeepSeek's. A bar over the $c$ stands for an RMS norm with a gain.
#
# $$\begin{aligned}
# c^Q &= \overline{W^{DQ} x} & q^C &= W^{UQ} c^Q & q^R &= \text{RoPE}(W^{QR} c^Q) \\
# c^{KV} &= \overline{W^{DKV} x} & k^C &= W^{UK} c^{KV} & k^R &= \text{RoPE}(W^{KR} x) \\
# && v &= W^{UV} c^{KV}
# \end{aligned}$$
#
# $$\text{score}_i = \frac{[q^C_i; q^R_i] \cdot [k^C_i; k^R]}{\sqrt{d_h + d_R}}, \qquad
# \text{out} = W^O\, [\text{softmax}(\text{score}_1)\, v_1; \dots]$$
#
# (Equations 37 to 47 in appendix C of DeepSeek-V2, 1 to 11 of DeepSeek-V3; the norms are in their code and a sentence of
# their text.) Two things to see:
#
# - The **cache** keeps $c^{KV}$ and $k^R$, nothing else. Keys and values are made anew from the latents.
# - A head has two parts. The *content* part, of size $d_h$, knows no position. The *rotary* part, of size $d_R$, carries all
#   of it, and its key $k^R$ is **one for all heads**. Why positions may not touch the content part, you will see at once.
#
# By hand: 4 heads with $d_h = 16$, $d_R = 8$, a latent of 24. MHA keeps $2 \cdot 4 \cdot 16 = 128$ numbers a token and
# layer, MLA $24 + 8 = 32$. A score is divided by $\sqrt{16 + 8}$.


# %% nbgrader={"grade": false, "grade_id": "MultiHeadLatentAttention", "locked": false, "schema_version": 3, "solution": true, "task": false}
class MultiHeadLatentAttention(nn.Module):
    """Causal self-attention of DeepSeek-V2 and V3, whose cache holds one latent and one rotary key a token."""

    def __init__(
        self, d_model: int, n_heads: int, d_head: int, d_rope: int, d_latent: int, d_query: int, base: float = 10_000.0
    ):
        """Linear layers without biases: w_dq: d_model → d_query. w_uq: d_query → n_heads · d_head. w_qr: d_query →
        n_heads · d_rope. w_dkv: d_model → d_latent. w_uk, w_uv: d_latent → n_heads · d_head. w_kr: d_model → d_rope.
        w_o: n_heads · d_head → d_model. Norms: q_norm and kv_norm, nn.RMSNorm over d_query and d_latent, eps 1e-6.
        The attributes n_heads, d_head, d_rope and base are what was given.
        """
        super().__init__()
        ### BEGIN SOLUTION
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        self.w_dq, self.q_norm = nn.Linear(d_model, d_query, bias=False), nn.RMSNorm(d_query, 1e-6)
        self.w_dkv, self.kv_norm = nn.Linear(d_model, d_latent, bias=False), nn.RMSNorm(d_latent, 1e-6)
        self.w_uq = nn.Linear(d_query, n_heads * d_head, bias=False)
        self.w_qr = nn.Linear(d_query, n_heads * d_rope, bias=False)
        self.w_uk, self.w_uv = (nn.Linear(d_latent, n_heads * d_head, bias=False) for _ in range(2))
        self.w_kr = nn.Linear(d_model, d_rope, bias=False)
        self.w_o = nn.Linear(n_heads * d_head, d_model, bias=False)
        ### END SOLUTION

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x: (b, l, d_model), the new tokens. Heads are blocks of features: head i owns those from i·d_head (i·d_rope) on.

        `rotate`, half-split, turns q^R and k^R; the first new token stands at cache.length, or at 0 without a cache.
        cache.update(c_kv, k_r), called once, gets the normalised latents (b, l, d_latent) and turned rotary keys
        (b, l, d_rope) of the new tokens, and returns those of all tokens. Each token sees itself and all before it.
        Returns: (b, l, d_model).
        """
        ### BEGIN SOLUTION
        start, heads = 0 if cache is None else cache.length, "b l (h d) -> b h l d"
        positions = torch.arange(start, start + x.shape[1], device=x.device)
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = (rearrange(w(c_q), heads, h=self.n_heads) for w in (self.w_uq, self.w_qr))
        q_r, k_r = rotate(q_r, positions, self.base), rotate(self.w_kr(x), positions, self.base)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)  # (b, so far, d_latent), (b, so far, d_rope)
        k_c, v = (rearrange(w(c_kv), heads, h=self.n_heads) for w in (self.w_uk, self.w_uv))
        k_r = repeat(k_r, "b l d -> b h l d", h=self.n_heads)
        q, k = torch.cat([q_c, q_r], dim=-1), torch.cat([k_c, k_r], dim=-1)  # (b, h, ·, d_head + d_rope)
        mixed = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(mixed, "b h l d -> b l (h d)"))
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_MultiHeadLatentAttention", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
with exercise("MultiHeadLatentAttention", points=3):

    def spun(x, base, places=None):  # half-split rotary positions, with complex numbers
        half = x.shape[-1] // 2
        speeds = base ** (-torch.arange(half, dtype=torch.float64) / half)
        places = torch.arange(x.shape[-2]) if places is None else places
        z = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones(()).double(), places[:, None] * speeds)
        return torch.cat([z.real, z.imag], -1)

    def mla(state, h, x, base, places=None, scale=None, norms=("q", "kv"), content=False, causal=True, turns="qk"):
        def w(name, y):
            return F.linear(y, state[f"w_{name}.weight"])

        def bar(name, y):
            return F.rms_norm(y, y.shape[-1:], state[f"{name}_norm.weight"], 1e-6) if name in norms else y

        def split(y):
            return y.unflatten(-1, (h, -1)).transpose(1, 2)

        c_q, c_kv = bar("q", w("dq", x)), bar("kv", w("dkv", x))
        q_c, q_r, k_c, v, k_r = (
            split(w("uq", c_q)),
            split(w("qr", c_q)),
            split(w("uk", c_kv)),
            split(w("uv", c_kv)),
            w("kr", x),
        )
        q_r = spun(q_r, base, places) if "q" in turns else q_r
        k_r = spun(k_r, base, places) if "k" in turns else k_r
        if content:
            q_c, k_c = spun(q_c, base, places), spun(k_c, base, places)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r[:, None].expand(-1, h, -1, -1)], -1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
        return w("o", mixed.transpose(1, 2).flatten(2))

    def mla_shapes(wide, h, d, r, c, cq):
        shapes = {"dq": (cq, wide), "uq": (h * d, cq), "qr": (h * r, cq), "dkv": (c, wide), "uk": (h * d, c)}
        shapes |= {"uv": (h * d, c), "kr": (r, wide), "o": (wide, h * d)}
        return {f"w_{k}.weight": s for k, s in shapes.items()} | {"q_norm.weight": (cq,), "kv_norm.weight": (c,)}

    for wide, h, d, r, c, cq, base, n in ((14, 3, 6, 4, 10, 8, 300.0, 7), (6, 1, 2, 2, 3, 5, 10_000.0, 4)):
        attend, wanted = (
            place(MultiHeadLatentAttention, wide, h, d, r, c, cq, base).double(),
            mla_shapes(wide, h, d, r, c, cq),
        )
        attributes = [getattr(attend, name, None) for name in ("n_heads", "d_head", "d_rope", "base")]
        expect_equal(attributes, [h, d, r, base], "keep n_heads, d_head, d_rope and base as attributes")
        found = {name: tuple(t.shape) for name, t in attend.state_dict().items()}
        expect(
            found.get("w_kr.weight") != (h * r, wide) or h == 1,
            "the rotary key k_r is one for all heads: w_kr gives d_rope features",
        )
        expect_equal(
            dict(sorted(found.items())),
            dict(sorted(wanted.items())),
            "eight nn.Linear without biases and two nn.RMSNorm, by the names in the docstring",
        )
        state = {name: 0.6 * randn(*shape, dtype=torch.float64) for name, shape in wanted.items()}
        attend.load_state_dict(state)
        x = randn(2, n, wide, dtype=torch.float64)
        right, out = mla(state, h, x, base), attend(x)
        mistakes = {
            "a token sees later ones: use causal_mask": mla(state, h, x, base, causal=False),
            "divide by √(d_head + d_rope): a query has both parts": mla(state, h, x, base, scale=d**-0.5),
            "positions turn the rotary part only, never the content part": mla(state, h, x, base, content=True),
            "the rotary parts are not turned": mla(state, h, x, base, turns=""),
            "q^R is turned, but k^R is not": mla(state, h, x, base, turns="q"),
            "the latents are normalised: q_norm and kv_norm": mla(state, h, x, base, norms=()),
            "the queries' latent is not normalised: q_norm": mla(state, h, x, base, norms=("kv",)),
            "the latent of keys and values is not normalised: kv_norm": mla(state, h, x, base, norms=("q",)),
            "turn by self.base, not by 10,000": mla(state, h, x, 10_000.0),
        } if h > 1 else {}  # fmt: skip
        hint = (
            "compare line by line: norms (eps 1e-6), turns of q^R and k^R, √(d_head + d_rope), the order of the heads"
        )
        expect_close(out, right, hint, mistakes=mistakes)
        for parts in ([n - 2, 1, 1], [1] * n, [n]):
            kept, done = place(Cache), 0
            for part in x.split(parts, dim=1):
                got = attend(part, kept)
                done += part.shape[1]
                expect_equal(kept.length, done, "call cache.update once, with the new tokens alone")
                hint = f"the cache holds {kept.elements} numbers after {done} tokens: only latents and rotary keys are kept"
                expect_equal(kept.elements, 2 * (c + r) * done, hint)
                at = torch.cat([torch.arange(size) for size in parts])[:done]
                restarted = mla(state, h, x[:, :done], base, at)[:, done - part.shape[1] :]
                again = {"positions go on from cache.length; here they restart at 0": restarted}
                hint = f"in chunks of {parts}: keep normalised latents and turned keys, make keys and values of all"
                expect_close(got, right[:, done - part.shape[1] : done], hint, mistakes=again)
            latent, key = (F.linear(x, state[f"w_{name}.weight"]) for name in ("dkv", "kr"))
            normalised = F.rms_norm(latent, (c,), state["kv_norm.weight"], 1e-6)
            hint = "the cache holds the normalised latents of all tokens first"
            expect_close(kept.kept[0], normalised, hint, mistakes={"the cache holds latents before the norm": latent})
            hint = "the cache holds the turned rotary keys of all tokens second"
            raw = {"the cache holds rotary keys before the turn: turn the new ones, then append them": key}
            expect_close(kept.kept[1], spun(key, base), hint, mistakes=raw)
    ### BEGIN HIDDEN TESTS
    attend, wanted = place(MultiHeadLatentAttention, 8, 4, 3, 2, 5, 7).double(), mla_shapes(8, 4, 3, 2, 5, 7)
    state = {name: 0.6 * randn(*shape, dtype=torch.float64) for name, shape in wanted.items()}
    attend.load_state_dict(state)
    x, kept = randn(3, 6, 8, dtype=torch.float64), place(Cache)
    right = mla(state, 4, x, 10_000.0)
    expect_close(attend(x), right, "another size: the result differs")
    got = torch.cat([attend(part, kept) for part in x.split(2, dim=1)], dim=1)
    expect_close(got, right, "another size, two tokens at a time: the result differs")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Each symbol in the equations is one line or less. Write them from left to right, then ask where the cache stands.
#
# </details>
# <details><summary>Method</summary>
#
# The cache stands between the latents and what is made of them: `update` before `w_uk` and `w_uv`, after the norm and the
# turn. The scale takes care of itself when query and key are put together from both parts.
#
# </details>
# <details><summary>Almost there</summary>
#
# `rotate` takes the rotary key without an axis for heads, (b, l, d_rope), just as well. It gets that axis after the cache.
#
# </details>
# </details>

# %% [markdown]
# ### Must the keys be made at all?
#
# To write one token, the layer makes keys and values of *all* tokens so far from their latents. But look at one score of the
# content part:
#
# $$q^C \cdot k^C = (W^{UQ} c^Q) \cdot (W^{UK} c^{KV}) = \left({W^{UK}}^\top W^{UQ}\, c^Q\right) \cdot c^{KV}$$
#
# The two matrices between the latents are constants. Multiply them once, and the query meets the latent itself: $W^{UK}$ is
# **absorbed**. Each head has its own product.
#
# By hand, one head: $W^{UQ} = (2)$, $W^{UK} = (3 \;\; 1)$. For $c^Q = 5$ and $c^{KV} = (1, 4)$ the query is 10, the key
# $3 + 4 = 7$, the score 70. Absorbed: ${W^{UK}}^\top W^{UQ} = (6, 2)^\top$, times 5 gives $(30, 10)$, and
# $(30, 10) \cdot (1, 4) = 70$.


# %% nbgrader={"grade": false, "grade_id": "absorb", "locked": false, "schema_version": 3, "solution": true, "task": false}
def absorb(w_q: Tensor, w_uk: Tensor) -> Tensor:
    """The matrix of each head that takes c^Q, what queries are made from, straight to the space of the latents.

    w_q: (h, d_head, d_in), W^UQ of each head; head i's query is w_q[i] @ x.
    w_uk: (h, d_head, d_latent), its key is w_uk[i] @ c.
    Returns: w (h, d_latent, d_in), such that (w[i] @ x) · c is head i's query times its key, for all x and c.
    >>> absorb(torch.tensor([[[2.0]]]), torch.tensor([[[3.0, 1.0]]]))
    tensor([[[6.],
             [2.]]])
    """
    ### BEGIN SOLUTION
    return einsum(w_uk, w_q, "h d latent, h d query -> h latent query")
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_absorb", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("absorb", points=1):
    for h, d, width, latent in ((3, 4, 5, 6), (1, 1, 3, 2), (2, 6, 4, 4)):
        down, up = randn(h, d, width), randn(h, d, latent)
        w = absorb(down, up)
        expect(
            tuple(w.shape) != (h, width, latent) or width == latent, "the other way round: queries go to the latents"
        )
        expect(tuple(w.shape) != (latent, width), "each head has a matrix of its own: do not sum over the heads")
        expect_equal(tuple(w.shape), (h, latent, width), "one matrix a head, (d_latent, d_in)")
        expect_close(w, up.mT @ down, "the transposed key matrix times the query matrix", mistakes={
            "the other way round: queries go to the latents": (up.mT @ down).mT,
        })  # fmt: skip
        x, c = randn(width), randn(latent)
        expanded = ((down @ x) * (up @ c)).sum(-1)
        expect_close((w @ x) @ c, expanded, "the score from the latent differs from the expanded one", tolerance=1e-4)

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# A dot product of two columns is a row times a column: $(A x) \cdot (B c) = (A x)^\top B c$.
#
# </details>
# <details><summary>Method</summary>
#
# Move the matrix of the key to the other side of the product. What becomes of it on the way?
#
# </details>
# <details><summary>Almost there</summary>
#
# `.mT` transposes the last two axes and leaves the heads alone; so does `@`. Or name the axes in an `einsum` and leave out the
# one that both share.
#
# </details>
# </details>

# %% [markdown]
# The values can stay latent too: mix the latents by the weights, and expand the one mixture. So absorbed MLA *is*
# multi-query attention: one key head, $[c^{KV}; k^R]$, whose values are $c^{KV}$. Here it is, with your functions.


# %%
@torch.no_grad()
def absorbed_step(layer: MultiHeadLatentAttention, absorbed: Tensor, x: Tensor, cache: Cache) -> Tensor:
    """What `layer(x, cache)` gives, without a key or a value being made; `absorbed` is from the layer's weights."""
    heads, per_head = "b l (h d) -> b h l d", "(h d) c -> h d c"
    positions = torch.arange(cache.length, cache.length + x.shape[1], device=x.device)
    c_q = layer.q_norm(layer.w_dq(x))
    q_r = rotate(rearrange(layer.w_qr(c_q), heads, h=layer.n_heads), positions, layer.base)
    k_r = rotate(layer.w_kr(x), positions, layer.base)
    c_kv, k_r = cache.update(layer.kv_norm(layer.w_dkv(x)), k_r)
    q_c = einsum(c_q, absorbed, "b l c, h latent c -> b h l latent")
    q, k = torch.cat([q_c, q_r], dim=-1), torch.cat([c_kv, k_r], dim=-1)[:, None]  # one key head
    q = q * (q.shape[-1] / (layer.d_head + layer.d_rope)) ** 0.5  # the scale is that of the expanded heads
    mixed = grouped_query_attention(
        q, k, c_kv[:, None], causal_mask(q.shape[2], k.shape[2], x.device)
    )  # (b, h, l, latent)
    w_uv = rearrange(layer.w_uv.weight, per_head, h=layer.n_heads)
    return layer.w_o(rearrange(einsum(mixed, w_uv, "b h l c, h d c -> b h l d"), "b h l d -> b l (h d)"))


# %%
def absorbed_weights(layer: MultiHeadLatentAttention) -> Tensor:
    """(h, d_latent, d_query): made once, when the weights are loaded."""
    return absorb(
        *(rearrange(w.weight, "(h d) c -> h d c", h=layer.n_heads) for w in (layer.w_uq, layer.w_uk))
    ).detach()


layer = MultiHeadLatentAttention(64, 4, 16, 8, 24, 32).to(device).requires_grad_(False)
text = torch.randn(1, pick(smoke=8, cpu=256, gpu=1024), 64, device=device)
expanding, absorbing, absorbed = Cache(), Cache(), absorbed_weights(layer)
layer(text[:, :-1], expanding), absorbed_step(layer, absorbed, text[:, :-1], absorbing)
token = text[:, -1:]
expanding_cost = multiply_adds(layer, token, expanding)
absorbing_cost = multiply_adds(absorbed_step, layer, absorbed, token, absorbing)
difference = (layer(token, expanding) - absorbed_step(layer, absorbed, token, absorbing)).abs().max().item()
print(f"largest difference {difference:.0e}; multiply–adds for one token after {text.shape[1] - 1}: "
      f"{expanding_cost:,} expanding, {absorbing_cost:,} absorbed")  # fmt: skip

# %% [markdown]
# **Predict first.** Why is the content part not turned by its position, as Llama's keys are?
#
# If it were, a turn would stand between the two matrices: ${W^{UQ}}^\top R(m)^\top R(n)\, W^{UK}$. It depends on the distance
# $n - m$, so there is no *one* matrix to absorb. See how far apart the would-be constants are:

# %%
w_uq, w_uk = (rearrange(w.weight, "(h d) c -> h d c", h=4) for w in (layer.w_uq, layer.w_uk))


def between(distance: int) -> Tensor:
    """What would stand between query latent and key latent, if content were turned too: (h, d_latent, d_query)."""
    moved = rotate(w_uk.mT, torch.tensor([float(distance)], device=device)).mT  # each column of W^UK, turned
    return absorb(w_uq, moved)


for distance in (0, 1, 2, 10):
    change = ((between(distance) - absorbed).norm() / absorbed.norm()).item()
    print(f"distance {distance:>2}: the product differs from the absorbed one by {change:.0%} of its size")

# %% [markdown]
# So positions get a part of their own: $q^R$ and $k^R$, eight features here, 64 beside 128 in DeepSeek-V3.

# %% [markdown]
# ## 4. Must every token see every other?
#
# The other way to spend less is to compare less. Three masks (True keeps), each with few entries a row:
#
# - **Sliding window** (Mistral 7B): a token sees the last $w$ tokens, itself included. Through $n$ layers news still
#   travels $n\,(w - 1)$ tokens.
# - **Global and local** (Longformer, not causal): a token sees its neighbours on both sides; a few chosen tokens see all,
#   and are seen by all.
# - **Strided** (Sparse Transformer, causal): the last $s$ tokens, and every $s$-th before. In two steps news
#   reaches every later token.
#
# By hand, the row of token 5 (of 8, counted from 0): a window of 3 keeps 3, 4, 5. Neighbours up to 1 away with token 0
# global keep 0, 4, 5, 6. A stride of 3 keeps 3, 4, 5 and 2 (5 − 3; the next would be −1).


# %% nbgrader={"grade": false, "grade_id": "sliding_window_mask", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sliding_window_mask(length: int, window: int) -> Tensor:
    """Causal: each token sees the last `window` tokens, itself included; fewer at the beginning.

    window ≥ 1. Returns: (length, length) bool on the CPU, row i the query, column j the key, True keeps.
    >>> sliding_window_mask(4, 2).int()
    tensor([[1, 0, 0, 0],
            [1, 1, 0, 0],
            [0, 1, 1, 0],
            [0, 0, 1, 1]], dtype=torch.int32)
    """
    ### BEGIN SOLUTION
    place = torch.arange(length)
    distance = place[:, None] - place
    return (distance >= 0) & (distance < window)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_sliding_window_mask", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("sliding_window_mask", points=1):
    for n, w in ((8, 3), (5, 1), (4, 9), (1, 1), (12, 5)):
        got, ones = sliding_window_mask(n, w), torch.ones(n, n, dtype=torch.bool)
        right = ones.tril() & ones.triu(1 - w)
        expect_equal(got, right, f"{n} tokens, a window of {w}: the row of token i keeps i - {w - 1} … i", mistakes={
            "one too many: the window includes the token itself": ones.tril() & ones.triu(-w),
            "one too few: the window includes the token itself": ones.tril() & ones.triu(2 - w),
            "a token sees later ones: the window reaches back only": ones.tril(w - 1) & ones.triu(1 - w),
            "True keeps, False hides": ~right,
            "row i is the query, column j the key": right.T,
        } if w < n and w > 1 else {})  # fmt: skip

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Whether a pair is kept depends on one number: how far the key lies behind the query.
#
# </details>
# <details><summary>Method</summary>
#
# Make a table of all distances, query minus key, and compare it with two limits.
#
# </details>
# <details><summary>Almost there</summary>
#
# `torch.arange` as a column minus itself as a row is that table. The distance to itself is 0, so the largest in a window of
# 1 is 0.
#
# </details>
# </details>


# %% nbgrader={"grade": false, "grade_id": "global_local_mask", "locked": false, "schema_version": 3, "solution": true, "task": false}
def global_local_mask(length: int, reach: int, global_tokens: list[int]) -> Tensor:
    """Not causal: each token sees its neighbours up to `reach` away on both sides; global ones see all and are seen by all.

    reach ≥ 0. global_tokens: places, possibly none. Returns: (length, length) bool on the CPU, True keeps.
    >>> global_local_mask(4, 0, [1]).int()
    tensor([[1, 1, 0, 0],
            [1, 1, 1, 1],
            [0, 1, 1, 0],
            [0, 1, 0, 1]], dtype=torch.int32)
    """
    ### BEGIN SOLUTION
    place = torch.arange(length)
    mask = (place[:, None] - place).abs() <= reach
    mask[global_tokens], mask[:, global_tokens] = True, True
    return mask
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_global_local_mask", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("global_local_mask", points=1):
    for n, reach, chosen in ((9, 2, [0, 5]), (6, 1, []), (7, 0, [6]), (1, 3, [0]), (10, 3, [4])):
        ones = torch.ones(n, n, dtype=torch.bool)
        near = ones.tril(reach) & ones.triu(-reach)
        is_global = torch.tensor([i in chosen for i in range(n)])
        right = near | is_global[:, None] | is_global
        expect_equal(global_local_mask(n, reach, chosen), right, f"{n} tokens, reach {reach}, global {chosen}: they differ", mistakes={
            "global tokens are seen by all, too": near | is_global[:, None],
            "global tokens see all, too": near | is_global,
            "neighbours on both sides: this mask is not causal": right.tril(),
            "`reach` is to each side": (ones.tril(reach // 2) & ones.triu(-(reach // 2))) | is_global[:, None] | is_global,
            "the local neighbours are missing": is_global[:, None] | is_global,
            "True keeps, False hides": ~right,
        } if n > 6 and reach > 1 else {})  # fmt: skip

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Begin with the neighbours; then give some rows and some columns everything.
#
# </details>
# <details><summary>Method</summary>
#
# The distance counts without its sign. A list of places as an index picks rows; after a colon it picks columns.
#
# </details>
# <details><summary>Almost there</summary>
#
# `.abs()` of the table of distances, compared with `reach`; then two assignments of True.
#
# </details>
# </details>


# %% nbgrader={"grade": false, "grade_id": "strided_mask", "locked": false, "schema_version": 3, "solution": true, "task": false}
def strided_mask(length: int, stride: int) -> Tensor:
    """Causal: each token sees the last `stride` tokens, itself included, and every token a multiple of `stride` before it.

    stride ≥ 1. Returns: (length, length) bool on the CPU, True keeps.
    >>> strided_mask(6, 3)[5].int()
    tensor([0, 0, 1, 1, 1, 1], dtype=torch.int32)
    """
    ### BEGIN SOLUTION
    place = torch.arange(length)
    distance = place[:, None] - place
    return (distance >= 0) & ((distance < stride) | (distance % stride == 0))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_strided_mask", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("strided_mask", points=1):
    for n, s in ((11, 3), (6, 1), (5, 8), (1, 2), (16, 4)):
        seen = [[j <= i and (i - j < s or (i - j) % s == 0) for j in range(n)] for i in range(n)]
        columns = [[j <= i and (i - j < s or j % s == s - 1) for j in range(n)] for i in range(n)]
        fixed = [[j <= i and (i - j < s or j % s == 0) for j in range(n)] for i in range(n)]
        both = [[i - j < s and j - i < s or (i - j) % s == 0 for j in range(n)] for i in range(n)]
        local = [[0 <= i - j < s for j in range(n)] for i in range(n)]
        far = [[j <= i and (i - j) % s == 0 for j in range(n)] for i in range(n)]
        right = torch.tensor(seen)
        expect_equal(strided_mask(n, s), right, f"{n} tokens, a stride of {s}: they differ", mistakes={
            "count the stride back from the query, not from the first token": torch.tensor(columns),
            "count the stride back from the query, not from token 0": torch.tensor(fixed),
            "causal: no token sees a later one": torch.tensor(both),
            "the far tokens, a multiple of the stride before, are missing": torch.tensor(local),
            "the last `stride` tokens are missing": torch.tensor(far),
            "True keeps, False hides": ~right,
        } if n > 8 else {})  # fmt: skip

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# The first half you have already. What do the far tokens have in common?
#
# </details>
# <details><summary>Method</summary>
#
# A sliding window, or a distance that the stride divides; and never a negative distance.
#
# </details>
# <details><summary>Almost there</summary>
#
# `%` works on tensors. Mind the brackets: `&` and `|` bind more strongly than comparisons.
#
# </details>
# </details>

# %% jupyter={"source_hidden": true}
n_shown = 24
shown_masks = [
    causal_mask(n_shown, n_shown),
    sliding_window_mask(n_shown, 5),
    strided_mask(n_shown, 5),
    global_local_mask(n_shown, 2, [0, 12]),
]
mask_names = ["causal", "sliding window", "strided", "global and local"]
image_grid(
    torch.stack(shown_masks).float(),
    [f"{name}\n{mask.float().mean().item():.0%} of all pairs" for name, mask in zip(mask_names, shown_masks, strict=True)],
    columns=4,
    title="Who sees whom among 24 tokens: rows ask, columns are seen where dark",
    alt="Four square maps. Causal is the whole lower triangle. The sliding window is a band below the diagonal. Strided is the "
    "same band and further diagonals below it. Global and local is a band on both sides of the diagonal, and two full rows "
    "and columns.",
)  # fmt: skip

# %% [markdown]
# ### Does a mask save anything?
#
# Not as a *table*: all $l^2$ scores are computed first and most are thrown away. Fused kernels do better. FlashAttention
# (Dao et al. 2022) never stores the table of full attention, and with a window it skips blocks that are hidden entirely;
# FlexAttention takes the mask as a rule and does the same. You write the skipping next. To save work and memory, the scores
# outside the window must never be made. Cut the text into blocks of $w$ tokens. The keys that a block's queries may see lie
# in that block and the one before, so each block needs a table of $w \times 2w$ scores, and all together $2 l w$.
#
# By hand: 8 tokens, a window of 2. Block 1 holds the queries 2 and 3; query 2 sees the keys 1 and 2, query 3 the keys 2 and
# 3. All of them are in block 0 (0, 1) and block 1 (2, 3). The full table has 64 scores, the blocks have
# $4 \cdot 2 \cdot 4 = 32$. For 8192 tokens and a window of 512 it is 67 million against 8.


# %% nbgrader={"grade": false, "grade_id": "banded_attention", "locked": false, "schema_version": 3, "solution": true, "task": false}
def banded_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Attention under sliding_window_mask(l, window), without ever making a table of all pairs.

    q, k: (b, h, l, d). v: (b, h, l, d_v). window ≥ 1; it need not divide l, and may be larger.
    Work and memory grow in proportion to l: l · l is too many, for scores and for a mask. All is on q's device.
    Returns: (b, h, l, d_v); scores are divided by √d.
    >>> x = torch.randn(1, 2, 7, 4)
    >>> full = F.scaled_dot_product_attention(x, x, x, sliding_window_mask(7, 3))
    >>> torch.allclose(banded_attention(x, x, x, 3), full, atol=1e-5)
    True
    """
    ### BEGIN SOLUTION
    length = q.shape[2]
    window = min(window, length)
    filling = (0, 0, 0, -length % window)  # at the end, so that blocks of `window` tokens come out even
    q, k, v = (rearrange(F.pad(x, filling), "b h (n w) d -> b h n w d", w=window) for x in (q, k, v))
    k, v = (torch.cat([F.pad(x, (0, 0, 0, 0, 1, -1)), x], dim=3) for x in (k, v))  # (b, h, n, 2w, d): block before, own
    query, key = torch.arange(window, device=q.device), torch.arange(-window, window, device=q.device)
    distance = query[:, None] - key  # (w, 2w)
    mask = ((distance >= 0) & (distance < window)).repeat(q.shape[2], 1, 1)  # (n, w, 2w)
    mask[0, :, :window] = False  # nothing is before the first block
    scores = einsum(q, k, "b h n i d, b h n j d -> b h n i j") / q.shape[-1] ** 0.5
    out = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v
    return rearrange(out, "b h n w d -> b h (n w) d")[:, :, :length]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_banded_attention", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("banded_attention", points=2):

    def band(n, w):
        return torch.ones(n, n).tril().triu(1 - w).bool()

    fused = F.scaled_dot_product_attention
    for b, h, n, d, d_v, w in (
        (2, 3, 12, 8, 4, 4),
        (1, 2, 11, 4, 4, 3),
        (2, 1, 9, 5, 2, 1),
        (1, 1, 5, 4, 3, 9),
        (1, 2, 1, 3, 3, 2),
    ):
        q, k, v = randn(b, h, n, d), randn(b, h, n, d), randn(b, h, n, d_v)
        out = banded_attention(q, k, v, w)
        expect_equal(tuple(out.shape), (b, h, n, d_v), f"{n} tokens in, {n} out: cut off what fills the last block")
        same_block = torch.arange(n) // w == torch.arange(n)[:, None] // w
        filled = [F.pad(t, (0, 0, w, 0)) for t in (k, v)]  # w keys of zeros in front
        early = torch.ones(n, w).triu(1) > 0
        mistakes = {
            "a token sees later ones": fused(q, k, v, torch.ones(n, n).tril(w - 1).triu(1 - w).bool()),
            "the window is one too wide: it includes the token itself": fused(q, k, v, band(n, w + 1)),
            "the scores are not divided by √d": fused(q, k, v, band(n, w), scale=1.0),
            "all earlier tokens are seen: the window is not used": fused(q, k, v, band(n, n)),
            "a query sees its own block only: it also sees the end of the block before": fused(
                q, k, v, band(n, w) & same_block
            ),
            "a query sees later tokens of its own block": fused(q, k, v, band(n, w) | same_block),
            "in the first block the keys before 0 are filling: hide them": fused(
                q, *filled, torch.cat([early, band(n, w)], 1)
            ),
        }
        expect(out.isfinite().all(), "NaN or infinite: a row of a block sees no key at all")
        expect_close(
            out, fused(q, k, v, band(n, w)), f"{n} tokens, a window of {w}: the result differs", mistakes=mistakes
        )
    w, sizes, work = 8, {}, {}
    count = place(partial, largest_tensor, banded_attention)  # counts where the answer runs
    count_work = place(partial, multiply_adds, banded_attention)
    for n in (64, 256):
        q, k, v = randn(1, 1, n, 4), randn(1, 1, n, 4), randn(1, 1, n, 4)
        sizes[n], work[n] = count(q, k, v, w), count_work(q, k, v, w)
    expect(sizes[256] < 256 * 256, "a table of all pairs is made: 256 · 256 elements for 256 tokens", got=sizes)
    expect(
        sizes[256] <= 5 * sizes[64], "four times the text, and the largest tensor grows more than fourfold", got=sizes
    )
    hint = "four times the text, and the work grows more than fourfold: scores outside the window are made"
    expect(work[256] <= 5 * work[64], hint, got=work)
    q, k, v = randn(1, 2, 10, 4), randn(1, 2, 10, 4), randn(1, 2, 10, 4)
    slopes = gradients(banded_attention, q, k, v, 4, upstream=randn(1, 2, 10, 4))
    expect(all(g.isfinite().all() and g.any() for g in slopes), "the gradient is NaN or zero")
    ### BEGIN HIDDEN TESTS
    for n, w in ((13, 5), (16, 16), (7, 2), (20, 19)):
        q, k, v = (randn(2, 2, n, 6, dtype=torch.float64) for _ in range(3))
        right = fused(q, k, v, band(n, w))
        expect_close(banded_attention(q, k, v, w), right, f"{n} tokens, a window of {w}, in float64: they differ")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Do it for one block first: which rows of `k` does it need, and which mask? The mask is the same for all blocks but the first.
#
# </details>
# <details><summary>Method</summary>
#
# Fill the text up to whole blocks and give the blocks an axis of their own. The block before is the same tensor, moved by one
# along that axis. Joined with the block itself it gives 2w keys for each block.
#
# </details>
# <details><summary>Almost there</summary>
#
# In a block, query i stands at place i and the keys at −w … w − 1: the distance decides as before. In the first block the keys
# before 0 are filling and must be hidden. A Python loop over the blocks is just as linear, only slower.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# The largest tensor that each way makes, counted while it runs.


# %%
def masked_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """The same, by the full table."""
    return grouped_query_attention(q, k, v, sliding_window_mask(q.shape[2], window).to(q.device))


lengths_counted = pick(smoke=[16, 32], cpu=[128, 256, 512, 1024, 2048], gpu=[512, 2048, 8192])
window_counted = pick(smoke=4, cpu=64, gpu=256)
counted = {
    name: [
        largest_tensor(attention, *torch.randn(3, 1, 1, n, 16, device=device), window_counted) for n in lengths_counted
    ]
    for name, attention in {"full table, masked": masked_attention, "banded_attention": banded_attention}.items()
}
for name, numbers in counted.items():
    print(f"{name:<20}" + "".join(f"{number:>12,}" for number in numbers))

# %% jupyter={"source_hidden": true}
curves(
    {name: (lengths_counted, numbers) for name, numbers in counted.items()},
    xlabel="tokens",
    ylabel="elements of the largest tensor",
    title=f"With a window of {window_counted}, blocks need memory in proportion to the text, the table its square",
    alt=f"Two lines against the number of tokens, both axes logarithmic. The full table rises to {counted['full table, masked'][-1]:,}, "
    f"twice as steeply as banded attention, which rises to {counted['banded_attention'][-1]:,}.",
    log="xy",
    markers=True,
)

# %% [markdown]
# ## 5. Do two tokens that say the same need two places?
#
# In pictures, neighbouring patches often look alike. **Token merging** (ToMe, Bolya et al. 2023) makes one of two, inside
# each block, between attention and feed-forward layer, and compares that block's keys. It needs no training. Which ones?
# Comparing all pairs and solving the best matching is slow. So take a rule that is one matrix product and one sort:
#
# 1. Split the tokens: those at even places may go, those at odd places may receive.
# 2. Each even token finds its most similar odd token, by cosine.
# 3. The $r$ even tokens whose best similarity is largest go.
#
# No token goes twice, and none is both lost and a receiver. Several may go to the same one.
#
# By hand, five tokens in the plane: $(1, 0), (1, 0.1), (0, 1), (1, 1), (2, 0)$. Even are 0, 2 and 4, odd are 1 and 3.
#
# | even token | cosine with 1 | with 3 | best |
# | --- | --- | --- | --- |
# | 0 | 0.995 | 0.707 | 1 |
# | 2 | 0.100 | 0.707 | 3 |
# | 4 | 0.995 | 0.707 | 1 |
#
# For $r = 2$, tokens 0 and 4 go, both into 1. Left over are 1, 2 and 3.


# %% nbgrader={"grade": false, "grade_id": "bipartite_soft_matching", "locked": false, "schema_version": 3, "solution": true, "task": false}
def bipartite_soft_matching(metric: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """Which tokens go, and into which.

    metric: (b, n, d) with n ≥ 2, what tokens are compared by, such as the keys; no token is zero.
    r: how many tokens of each item go, 1 ≤ r ≤ n // 2.
    Returns: merged (b, r) int64, places (even) of the tokens that go, the most similar first; into (b, r) int64, the place
    (odd) of the most similar odd token of each, by cosine.
    >>> bipartite_soft_matching(torch.tensor([[[1.0, 0.0], [1.0, 0.2], [0.0, 1.0], [2.0, 2.0]]]), 1)
    (tensor([[0]]), tensor([[1]]))
    """
    ### BEGIN SOLUTION
    unit = F.normalize(metric, dim=-1)
    similarity = unit[:, ::2] @ unit[:, 1::2].mT  # (b, even, odd)
    best, partner = similarity.max(-1)
    merged = best.argsort(descending=True)[:, :r]
    return 2 * merged, 2 * partner.gather(1, merged) + 1
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_bipartite_soft_matching", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("bipartite_soft_matching", points=2):

    def matched(metric, r, closeness=F.cosine_similarity):  # pair by pair
        n, rows = metric.shape[1], []
        for item in metric:
            best = [
                max((closeness(item[i], item[j], dim=0).item(), j, i) for j in range(1, n, 2)) for i in range(0, n, 2)
            ]
            rows.append(sorted(best, reverse=True)[:r])
        return [torch.tensor([[edge[at] for edge in row] for row in rows]) for at in (2, 1)]

    def product(x, y, dim):
        return (x * y).sum(dim)

    for b, n, d, r in ((2, 12, 5, 4), (3, 7, 3, 3), (1, 2, 4, 1), (2, 20, 2, 10)):
        metric = randn(b, n, d)
        metric[:, 0] = 3 * metric[:, 1] + 0.01 * randn(b, d)  # these two surely go together
        result = bipartite_soft_matching(metric, r)
        expect(
            isinstance(result, (tuple, list)) and len(result) == 2, "return two tensors: merged and into", got=result
        )
        merged, into = result
        expect_equal(
            [tuple(merged.shape), tuple(into.shape)], [(b, r), (b, r)], "r tokens of each item go: (b, r) each"
        )
        expect_equal([merged.dtype, into.dtype], [torch.int64] * 2, "places are int64")
        hint = "tokens at even places go, those at odd places receive; give the places in the whole text"
        expect((merged % 2 == 0).all() and (into % 2 == 1).all(), hint, got=[merged, into])
        unique = all(len(set(row)) == r for row in merged.tolist())
        expect(unique, "a token goes twice: each even token has one edge, to its most similar odd token", got=merged)
        right, by_product = matched(metric, r), matched(metric, r, product)
        along = matched(F.normalize(metric, dim=1), r, product)
        least = matched(metric, (n + 1) // 2)[0].flip(1)[:, :r]
        mistakes = {
            "compare directions: cosine, not the dot product": by_product[0],
            "each token is brought to length 1: normalise along the features": along[0],
            "the most similar go, not the least": least,
            "the most similar first": right[0].sort(-1).values,
        } if n > 10 and d > 2 else {}  # fmt: skip
        expect_equal(
            merged,
            right[0],
            "the r even tokens with the most similar partner go, the most similar first",
            mistakes=mistakes,
        )
        expect_equal(into, right[1], "each goes into its own most similar odd token")

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Make the table of the worked example. Everything else is read off it.
#
# </details>
# <details><summary>Method</summary>
#
# A cosine is the product of two vectors of length 1. The largest entry of each row and its column come from one `max`; sort the
# rows by it.
#
# </details>
# <details><summary>Almost there</summary>
#
# Slices with a step of two split the tokens. Row i of the table is place 2i, column j is place 2j + 1. Pick the partners of the
# chosen rows with `gather`.
#
# </details>
# </details>

# %% [markdown]
# ### What becomes of them?
#
# Three rules; the digits below use the mean, which is ToMe's. Say the tokens $a = (1, 2, 3, 4)$ and $b = (5, 0, 5, 0)$ become one:
#
# - **mean**, by sizes: if $a$ stands for 3 tokens already and $b$ for 1, $(3a + b)/4 = (2, 1.5, 3.5, 3)$;
# - **magnitude**: the longer vector stays as it is. $|a| = 5.5$, $|b| = 7.1$: $b$;
# - **interleave**: features in turns from the first and the second, in the order of their places: $(1, 0, 3, 0)$.
#
# The **size** of the new token is the sum of the sizes, whatever the rule.


# %% nbgrader={"grade": false, "grade_id": "merge_tokens", "locked": false, "schema_version": 3, "solution": true, "task": false}
def merge_tokens(x: Tensor, sizes: Tensor, merged: Tensor, into: Tensor, rule: str = "mean") -> tuple[Tensor, Tensor]:
    """Merge tokens; those that stay keep their order.

    x: (b, n, d). sizes: (b, n), how many tokens each stands for. merged, into: (b, r), as from bipartite_soft_matching:
    the token at place merged[i, j] goes into the one at into[i, j]. All that go into one token, and that token, are a group.
    rule: "mean": the mean of the group, weighted by sizes. "magnitude": the token of the group with the largest norm, as it
    is. "interleave": a group of k tokens, in the order of their places, gives feature j from its token number j mod k.
    Returns: x (b, n - r, d) and sizes (b, n - r); a token's size is the sum of its group's. A token in no group stays.
    Raises: ValueError for another rule.
    >>> x, ones = torch.tensor([[[1.0, 2.0], [5.0, 6.0], [7.0, 8.0]]]), torch.ones(1, 3)
    >>> merge_tokens(x, ones, torch.tensor([[0]]), torch.tensor([[1]]))
    (tensor([[[3., 4.],
             [7., 8.]]]), tensor([[2., 1.]]))
    """
    ### BEGIN SOLUTION
    (b, n, d), place = x.shape, torch.arange(x.shape[1], device=x.device)
    owner = place.expand(b, n).scatter(1, merged, into)  # the group that each token belongs to
    group = rearrange(place.expand(b, n)[owner == place], "(b m) -> b m 1", b=b)
    belongs = owner[:, None] == group  # (b, m, n)
    size = (belongs * sizes[:, None]).sum(-1)  # (b, m)
    if rule == "mean":
        return (belongs * sizes[:, None]) @ x / size[..., None], size
    if rule == "magnitude":
        longest = torch.where(belongs, x.norm(dim=-1)[:, None], -1).argmax(-1)
        return x.gather(1, repeat(longest, "b m -> b m d", d=d)), size
    if rule != "interleave":
        raise ValueError(f"rule is {rule!r}, but must be mean, magnitude or interleave")
    members = (~belongs).int().argsort(dim=-1, stable=True)  # those of the group first, in order
    turn = torch.arange(d, device=x.device) % belongs.sum(-1, keepdim=True)  # (b, m, d)
    return x.gather(1, members.gather(-1, turn)), size
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_merge_tokens", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
with exercise("merge_tokens", points=2):

    def by_hand(x, sizes, merged, into, rule, weighted=True, order=sorted):  # token by token
        rows, counts = [], []
        for i in range(len(x)):
            groups = {j: [j] for j in range(x.shape[1]) if j not in merged[i].tolist()}
            for gone, to in zip(merged[i].tolist(), into[i].tolist(), strict=True):
                groups[to].append(gone)
            row = []
            for group in map(order, groups.values()):
                tokens, weights = x[i, group], sizes[i, group] if weighted else torch.ones(len(group), dtype=x.dtype)
                if rule == "mean":
                    row.append((tokens * weights[:, None]).sum(0) / weights.sum())
                elif rule == "magnitude":
                    row.append(max(tokens, key=lambda token: token.norm()))
                else:
                    row.append(torch.stack([tokens[f % len(group)][f] for f in range(x.shape[2])]))
            rows.append(torch.stack(row))
            counts.append(torch.stack([sizes[i, group].sum() for group in groups.values()]))
        return torch.stack(rows), torch.stack(counts)

    for b, n, d, r in ((2, 9, 5, 3), (3, 6, 4, 3), (1, 2, 3, 1), (2, 14, 7, 5)):
        x, sizes = randn(b, n, d, dtype=torch.float64), randint(1, 6, (b, n)).double()
        merged = torch.stack([2 * torch.randperm((n + 1) // 2, generator=rng())[:r] for _ in range(b)])
        into = 2 * randint(0, max(1, n // 4), (b, r)) + 1  # several go to the same one
        for rule in ("mean", "magnitude", "interleave"):
            right = by_hand(x, sizes, merged, into, rule)
            result = merge_tokens(x, sizes, merged, into, rule)
            expect(
                isinstance(result, (tuple, list)) and len(result) == 2,
                "return two tensors: tokens and sizes",
                got=result,
            )
            expect_equal(tuple(result[0].shape), (b, n - r, d), "r tokens fewer: those that went are gone")
            plain, stay = by_hand(x, sizes, merged, into, rule, weighted=False)[0], torch.ones(b, n, dtype=torch.bool)
            stay.scatter_(1, merged, False)
            odd = torch.arange(n) % 2 == 1
            even_first = torch.stack([torch.cat([y[~odd[s]], y[odd[s]]]) for y, s in zip(right[0], stay, strict=True)])
            mistakes = {
                "tokens that stay keep their order, even and odd": even_first,
                "the tokens that went are dropped, not merged": x[stay].unflatten(0, (b, n - r)),
            } if n > 6 else {}  # fmt: skip
            if rule == "mean" and n > 6:
                mistakes["the mean is weighted by sizes: a token that stands for three counts three times"] = plain
            if rule == "interleave" and n > 6:
                receiver_first = by_hand(x, sizes, merged, into, rule, order=list)[0]
                mistakes["turns go in the order of the tokens' places, not the receiver first"] = receiver_first
            if rule == "mean" and n > 6:
                lone = {(i, j): m for i in range(b) for m, j in zip(merged[i].tolist(), into[i].tolist(), strict=True)}
                sums, counts = x * sizes[..., None], sizes.clone()
                for (i, j), m in lone.items():  # of several that go into j, the last
                    sums[i, j], counts[i, j] = sums[i, j] + sums[i, m], counts[i, j] + counts[i, m]
                once = "several may go into one token, but `+=` at repeated places adds one: scatter_add or index_add"
                mistakes[once] = (sums / counts[..., None])[stay].unflatten(0, (b, n - r))
            expect_close(result[0], right[0], f"by {rule} the tokens differ", mistakes=mistakes)
            expect_close(result[1], right[1], f"by {rule}: the new size is the sum of the group's sizes", mistakes={
                "the sizes of the tokens that went are lost": sizes[stay].unflatten(0, (b, n - r)),
            } if n > 6 else {})  # fmt: skip
    expect_close(
        merge_tokens(x, sizes, merged, into)[0], by_hand(x, sizes, merged, into, "mean")[0], "the default is mean"
    )
    expect_raises(ValueError, merge_tokens, x, sizes, merged, into, "sum", hint="no such rule: raise ValueError")
    ### BEGIN HIDDEN TESTS
    x, sizes = randn(3, 16, 6), 1 + rand(3, 16)
    merged, into = torch.arange(0, 16, 2).expand(3, -1), randint(0, 8, (3, 8)) * 2 + 1
    for rule in ("mean", "magnitude", "interleave"):
        got, right = merge_tokens(x, sizes, merged, into, rule), by_hand(x, sizes, merged, into, rule)
        expect_close(got[0], right[0], f"half of the tokens go, by {rule}: the tokens differ")
        expect_close(got[1], right[1], f"half of the tokens go, by {rule}: the sizes differ")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# First find out, for each token, which group it belongs to. The three rules then differ in one step.
#
# </details>
# <details><summary>Method</summary>
#
# `scatter` writes `into` at the places `merged` of a row 0, 1, 2, …: that is each token's group. A bool table (b, groups,
# tokens) of who belongs where gives sizes by a sum and means by a product with `x`. A loop over items and groups is as good.
#
# </details>
# <details><summary>Almost there</summary>
#
# For the largest norm, give tokens outside the group a norm below zero and take the `argmax`. For turns, sort each row of the
# table so that the group's tokens come first (`argsort` with `stable=True` keeps their order); feature j takes number
# j mod k of them.
#
# </details>
# </details>

# %% [markdown]
# ### And attention?
#
# A token that stands for three must weigh like three. Three equal keys give three equal terms $e^{q \cdot k}$, and
# $3\, e^{s} = e^{s + \ln 3}$: add the logarithm of the size to the score. This is proportional attention.
#
# By hand: one query, two keys with scores 0 and 0. The weights are 1/2 and 1/2. If the first stands for three, they are 3/4 and
# 1/4.
#
# $$\text{weights} = \text{softmax}\!\left(\frac{q k^\top}{\sqrt d} + \log \text{size}\right)$$


# %% nbgrader={"grade": false, "grade_id": "proportional_attention", "locked": false, "schema_version": 3, "solution": true, "task": false}
def proportional_attention(q: Tensor, k: Tensor, v: Tensor, sizes: Tensor) -> Tensor:
    """Attention in which a key counts as often as the tokens that it stands for.

    q: (b, h, l_q, d). k, v: (b, h, l_k, d). sizes: (b, l_k), above 0, the same for all heads.
    Returns: (b, h, l_q, d), what each key repeated `size` times would give.
    >>> q, v = torch.zeros(1, 1, 1, 1), torch.tensor([4.0, 8.0]).reshape(1, 1, 2, 1)
    >>> proportional_attention(q, v, v, torch.tensor([[3.0, 1.0]])).item()
    5.0
    """
    ### BEGIN SOLUTION
    scores = einsum(q, k, "b h i d, b h j d -> b h i j") / q.shape[-1] ** 0.5
    return (scores + sizes.log()[:, None, None]).softmax(-1) @ v
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "test_proportional_attention", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
with exercise("proportional_attention", points=1):
    fused = F.scaled_dot_product_attention
    for h, n_q, n, d in ((3, 4, 6, 5), (1, 1, 3, 2), (2, 7, 1, 4)):
        q, k, v = randn(2, h, n_q, d), randn(2, h, n, d), randn(2, h, n, d)
        sizes = randint(1, 5, (2, n))
        right = torch.stack([
            fused(*(t[i].repeat_interleave(sizes[i] if t is not q else 1, dim=1) if t is not q else t[i] for t in (q, k, v)))
            for i in range(2)
        ])  # fmt: skip
        weighed = {
            "sizes make no difference": fused(q, k, v),
            "add the logarithm of the sizes to the scores, not the sizes": fused(q, k, v, sizes.float()[:, None, None]),
            "the scores are not divided by √d": fused(q, k, v, sizes.log()[:, None, None], scale=1.0),
            "after the softmax the weights no longer sum to 1": fused(q, k, v * sizes[:, None, :, None]),
            "multiplied into the scores, sizes sharpen them: add the logarithm": fused(q, k * sizes[:, None, :, None], v),
        } if n > 1 and d > 2 else {}  # fmt: skip
        got = proportional_attention(q, k, v, sizes.float())
        expect_close(got, right, "a key of size 3 must count like three equal keys", mistakes=weighed, tolerance=1e-4)

# %% [markdown]
# <details><summary>Hints</summary>
#
# <details><summary>Nudge</summary>
#
# Where in the softmax would a factor of 3 stand?
#
# </details>
# <details><summary>Method</summary>
#
# A factor before the exponential is a sum inside it. The sizes belong to the keys, the last axis of the scores.
#
# </details>
# <details><summary>Almost there</summary>
#
# The scores are (b, h, l_q, l_k), the sizes (b, l_k): two axes of size 1 in the middle make them fit.
#
# </details>
# </details>

# %% [markdown]
# ### What to look at
#
# A digit of 64 pixels is 64 tokens. Each pixel is compared by its ink and its place (and a constant 1: a cosine
# ignores lengths, and dark pixels must differ by place, too), and merged by the mean, a quarter of the tokens at a time.
# Each pixel is then drawn with the ink of its token.

# %%
from utils.data.digits import load_digits

digits = load_digits()[1].images[:4]  # (4, 8, 8)
rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
pixels = torch.stack(
    [digits.flatten(1), (rows / 16).flatten().expand(4, -1), (columns / 16).flatten().expand(4, -1), torch.ones(4, 64)],
    -1,
)
pixels[..., 0] *= 2
stages, pictures_of_digits = [64], [digits]
tokens, sizes_now, members_now = pixels, torch.ones(4, 64), torch.eye(64).expand(4, -1, -1)
for _ in range(5):
    merged_now, into_now = bipartite_soft_matching(tokens, tokens.shape[1] // 4)
    members_now, _ = merge_tokens(members_now, sizes_now, merged_now, into_now)  # which pixels a token stands for
    tokens, sizes_now = merge_tokens(tokens, sizes_now, merged_now, into_now)
    stages.append(tokens.shape[1])
    ink = (members_now > 0).float().mT @ tokens[..., :1] / 2  # each pixel belongs to one token
    pictures_of_digits.append(ink.reshape(4, 8, 8))
error = [(picture - digits).abs().mean().item() for picture in pictures_of_digits]
print("tokens:", *stages, "   mean change of a pixel:", *(f"{change:.2f}" for change in error))

# %% jupyter={"source_hidden": true}
image_grid(
    rearrange(torch.stack(pictures_of_digits), "stage digit h w -> (digit stage) h w").clamp(0, 1),
    [f"{n} tokens" if digit == 0 else "" for digit in range(4) for n in stages],
    columns=len(stages),
    title="With almost half of its tokens merged away, a digit looks nearly the same",
    alt="Four digits, each drawn with 64, 48, 36, 27, 21 and 16 tokens. With 36 they look nearly the same, with 16 they are blurred but "
    "can still be read.",
)

# %% [markdown]
# ## 6. What does each attention cost, and lose?
#
# One small language model, letters of the text of lesson 08, and only the attention changes. Here are the five.


# %%
class WindowAttention(LlamaAttention):
    """Llama's attention with all key heads, in which each token sees the last `window` tokens."""

    def __init__(self, d_model: int, n_heads: int, window: int):
        super().__init__(d_model, n_heads, n_heads)
        self.window = window

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        places = torch.arange(x.shape[1], device=x.device) + (cache.length if cache else 0)
        queries, keys, values = (
            rearrange(w(x), "b l (h d) -> b h l d", h=self.n_heads) for w in (self.w_q, self.w_k, self.w_v)
        )
        queries, keys = rotate(queries, places, self.base), rotate(keys, places, self.base)
        if cache is None:
            out = banded_attention(queries, keys, values, self.window)
        else:
            keys, values = cache.update(keys, values)
            mask = sliding_window_mask(keys.shape[2], self.window)[-x.shape[1] :].to(x.device)  # the last rows
            out = grouped_query_attention(queries, keys, values, mask)
        return self.w_o(out.transpose(1, 2).flatten(2))


# %%
d_model, n_heads, d_head, n_layers = pick(smoke=(32, 4, 8, 1), cpu=(64, 4, 16, 2), gpu=(256, 8, 32, 6))
length, window = pick(smoke=(16, 4), cpu=(128, 16), gpu=(256, 32))
d_latent, d_rope = d_model * 3 // 8, d_head // 2
attentions = {
    "MHA": lambda: LlamaAttention(d_model, n_heads, n_heads),
    "GQA": lambda: LlamaAttention(d_model, n_heads, n_heads // 2),
    "MQA": lambda: LlamaAttention(d_model, n_heads, 1),
    "MLA": lambda: MultiHeadLatentAttention(d_model, n_heads, d_head, d_rope, d_latent, d_model // 2),
    "window": lambda: WindowAttention(d_model, n_heads, window),
}


class LanguageModel(nn.Module):
    """Llama: a table of tokens, blocks, a last norm, and a head."""

    def __init__(self, vocab_size: int, d_model: int, d_hidden: int, attentions: list[nn.Module], eps: float = 1e-6):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.blocks = nn.ModuleList(LlamaBlock(attention, d_model, d_hidden, eps) for attention in attentions)
        self.norm, self.head = nn.RMSNorm(d_model, eps), nn.Linear(d_model, vocab_size, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.1)

    def forward(self, ids: Tensor, caches: list[Cache] | None = None) -> Tensor:
        """ids: (b, l) int64, the new tokens; caches: one for each block. Returns: logits (b, l, vocab_size)."""
        x = self.tokens(ids)
        for block, cache in zip(self.blocks, caches or [None] * len(self.blocks), strict=True):
            x = block(x, cache)
        return self.head(self.norm(x))


# %%
from utils.data.words import split, texts

alphabet = "\n" + "".join(map(chr, range(32, 127)))


def encode(text: str) -> Tensor:
    """(l,) int64: the number of each letter in the alphabet; letters outside it are left out."""
    return torch.tensor([number for letter in text if (number := alphabet.find(letter)) >= 0])


pages = pick(smoke={"a": "abc " * 40, "b": "abd " * 40}, cpu=None, gpu=None) or texts()
train_text, test_text = (encode("\n".join(part.values())).to(device) for part in split(pages))


def draw(source: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """n pieces of a text, (n, length + 1)."""
    starts = torch.randint(len(source) - length - 1, (n, 1), generator=generator)
    return source[(starts + torch.arange(length + 1)).to(source.device)]


held_out_pieces = draw(test_text, pick(smoke=4, cpu=200, gpu=2000), torch.Generator().manual_seed(0))


@torch.no_grad()
def held_out_loss(model: LanguageModel) -> float:
    """The mean loss on held-out text, nats a letter: the same pieces for every model."""
    losses = [
        F.cross_entropy(model(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten(), reduction="sum")
        for part in held_out_pieces.split(50)
    ]
    return sum(losses).item() / held_out_pieces[:, 1:].numel()


# %%
def train(name: str) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(len(alphabet), d_model, 2 * d_model, [attentions[name]() for _ in range(n_layers)]).to(device)

    def loss(step: int) -> Tensor:
        pieces = draw(train_text, pick(smoke=2, cpu=16, gpu=64))
        return F.cross_entropy(model(pieces[:, :-1]).flatten(0, 1), pieces[:, 1:].flatten())

    fit(model, loss, steps=pick(smoke=2, cpu=400, gpu=4000), lr=pick(smoke=3e-3, cpu=5e-3, gpu=1e-3), label=name)
    return model


models = {name: train(name) for name in attentions}

# %% [markdown]
# Now count. A held-out text goes through each model, letter by letter, over a cache. The cache's numbers are counted in the
# cache, the multiply–adds of the last letter while it runs, in the whole model.


# %%
class Absorbed(nn.Module):
    """A layer of MLA in its absorbed form."""

    def __init__(self, layer: MultiHeadLatentAttention):
        super().__init__()
        self.layer, self.absorbed = layer, absorbed_weights(layer)

    def forward(self, x: Tensor, cache: Cache) -> Tensor:
        return absorbed_step(self.layer, self.absorbed, x, cache)


@torch.no_grad()
def read_through(model: LanguageModel, ids: Tensor, kind: str) -> tuple[Tensor, int, int]:
    """Letter by letter, ids (1, l): the logits (1, l, letters), the numbers kept, and the last letter's multiply–adds."""
    caches = [Cache(window if kind == "window" else None) for _ in model.blocks]
    logits = [model(letter, caches) for letter in ids[:, :-1].split(1, dim=1)]
    cost = multiply_adds(lambda: logits.append(model(ids[:, -1:], caches)))
    return torch.cat(logits, dim=1), sum(cache.elements for cache in caches), cost


def absorbed_model(model: LanguageModel) -> LanguageModel:
    """The same weights, each layer's attention absorbed."""
    import copy

    changed = copy.deepcopy(model)
    for block in changed.blocks:
        block.attention = Absorbed(block.attention)
    return changed


# %%
held_out_losses = {name: held_out_loss(model) for name, model in models.items()}
contenders = {**models, "MLA, absorbed": absorbed_model(models["MLA"])}
kept_numbers, costs, gaps, piece = {}, {}, {}, held_out_pieces[:1, :-1]
print(f"{'':<15}{'loss':>7}{f'numbers kept, {length} letters':>29}{'multiply–adds, one more letter':>33}")
for name, model in contenders.items():
    trained_as = name.split(",")[0]
    logits, kept_numbers[name], costs[name] = read_through(model, piece, name)
    with torch.no_grad():
        gaps[name] = (logits - models[trained_as](piece)).abs().max().item()
    print(f"{name:<15}{held_out_losses[trained_as]:>7.3f}{kept_numbers[name]:>29,}{costs[name]:>33,}")
print(f"letter by letter and at once, logits differ by at most {max(gaps.values()):.0e}")

# %% jupyter={"source_hidden": true}
labelled_points(
    torch.tensor([[kept_numbers[name] / 1000, held_out_losses[name]] for name in models]),
    list(models),
    xlabel=f"thousand numbers in the cache after {length} letters",
    ylabel="held-out loss (nats a letter)",
    title="Much smaller caches, and losses close together",
    alt="Five points, the size of the cache across and the held-out loss up: "
    + "; ".join(f"{name} {kept_numbers[name]:,} numbers, loss {held_out_losses[name]:.2f}" for name in models) + ".",
)  # fmt: skip

# %% [markdown]
# Read the columns one by one.
#
# - **Cache.** As counted by hand: GQA half of MHA, MQA a quarter. MLA is as small as MQA, with four heads of keys. The window's
#   stays as it is, however long the text becomes.
# - **Work.** MLA as it is written makes all keys and values anew for each letter, and costs seven times as much as MHA.
#   Absorbed it gives the same logits for a sixth of that. It stays a little above MHA: each head now compares
#   $24 + 8 = 32$ numbers and mixes 24, where MHA compares and mixes 16. What it saves is memory. Absorbing pays when few
#   queries meet many keys, as in writing. In training and in reading a prompt the expanded form is cheaper a pair:
#   DeepSeek-V3's heads compare 192 numbers and mix 128, absorbed 576 and 512.
# - **Loss.** All five lie within 0.15 nats, and not in the order of their caches. This is one seed, and the models have
#   between 82 and 95 thousand parameters: differences of this size cannot rank them. The smallest cache even has the lowest
#   loss: letters are spelt by near letters, and a window of 16 spares the model the search. That is about this task. Through
#   two layers nothing from further back than 30 letters can reach it, whatever the text asks.

# %% [markdown]
# ## Break it: the wrong neighbours
#
# **Predict first.** Load the trained GQA model into code that spreads key heads by `repeat` (0, 1, 0, 1) where it should be
# `repeat_interleave` (0, 0, 1, 1). All shapes fit. What happens to the loss?

# %%
right_way = grouped_query_attention


def wrong_way(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Query head i uses key head i mod g."""
    spread = q.shape[1] // k.shape[1]
    return right_way(q, k.repeat(1, spread, 1, 1), v.repeat(1, spread, 1, 1), mask)


broken_losses = {}
for name in ("MHA", "GQA", "MQA"):
    grouped_query_attention = wrong_way
    try:
        broken_losses[name] = held_out_loss(models[name])
    finally:
        grouped_query_attention = right_way
    print(f"{name}: loss {held_out_losses[name]:.2f}, with the wrong neighbours {broken_losses[name]:.2f}")

# %% [markdown]
# The two ends do not notice: with one key head, or as many as query heads, both ways are the same. A test of MHA and MQA alone
# would pass. GQA is the case in between, and the mistake ruins it without an error.
#
# ## Play
#
# Choose a model's sizes and see how large the cache of one text is with each attention, two bytes a number. More heads cost
# MHA only. A longer text costs all of them.

# %% nbgrader={"grade": false, "grade_id": "play", "locked": true, "schema_version": 3, "solution": false, "task": false}
explore_cache(cache_elements_per_token)

# %% [markdown]
# ## At full size
#
# Sizes from Touvron et al. (2023, Llama 2), Grattafiori et al. (2024, table 3, Llama 3), Jiang et al. (2023, Mistral 7B v0.1) and
# DeepSeek-AI (2024, DeepSeek-V3, section 4.2). Your function does the rest, at two bytes a number:


# %%
published = {
    "Llama 2 7B": ("MHA", 32, 32, 128),
    "Llama 2 70B": ("GQA", 80, 64, 128, 8),
    "Llama 3 8B": ("GQA", 32, 32, 128, 8),
    "Llama 3 405B": ("GQA", 126, 128, 128, 8),
    "Mistral 7B v0.1": ("GQA", 32, 32, 128, 8),
    "DeepSeek-V3": ("MLA", 61, 128, 128, None, 512, 64),
}
print(f"{'':<16}{'':>5}{'numbers a token':>17}{'bytes a token':>15}{'128k tokens, GiB':>18}{'as MHA, GiB':>13}")
for name, (kind, *sizes_of) in published.items():
    numbers, as_mha = cache_elements_per_token(kind, *sizes_of), cache_elements_per_token("MHA", *sizes_of)
    gib = [2 * n * 2**17 / 2**30 for n in (numbers, as_mha)]
    print(f"{name:<16}{kind:>5}{numbers:>17,}{2 * numbers:>15,}{gib[0]:>18.1f}{gib[1]:>13.1f}")

# %% [markdown]
# DeepSeek-V3 has 671 billion parameters and keeps less for a token than Llama 3 8B. Zhao et al. (2025, table 1) count the
# same for the two giants: 516.096 and 70.272 thousand bytes a token. Mistral 7B v0.1 keeps the last 4,096 tokens only, so its
# cache stops growing at 0.5 GiB, not at the 16 of the table; through 32 layers news can still come from 131,000 tokens
# back. Its later versions have no window. Llama 2 was made for 4,096 tokens: its 128k are only arithmetic. "As MHA" takes
# keys of 128 for DeepSeek-V3; with its rotary part they would be 192 wide.
#
# Models since alternate layers with a window and layers that see all (Gemma 2 and 3, gpt-oss).
#
# Does sharing hurt? Ainslie et al. (2023, table 1) trained T5-XXL further with shared heads: on average over their tasks 47.2
# with MHA, 46.6 with MQA, 47.1 with GQA of 8 groups, at 1.51, 0.24 and 0.28 seconds a sample. DeepSeek-V2 reports a cache 93.3 %
# smaller than that of DeepSeek 67B, and 5.76 times the throughput. ToMe doubles the speed of large vision transformers for 0.2
# to 0.3 points of accuracy (Bolya et al. 2023).
#
# **Optional: real weights.** SmolLM2-135M (Allal et al. 2025) is a small Llama: 30 layers, 9 query heads, 3 key heads. Set
# `DOWNLOAD = True`, and the next cells put its weights into *your* blocks. Where the library `transformers` is installed, its
# logits must agree with yours.

# %%
DOWNLOAD = False  # True: fetch 270 MB from huggingface.co, once
SOURCE = "HuggingFaceTB/SmolLM2-135M"  # or a folder that holds config.json and model.safetensors
LLAMA_NAMES = {
    "model.embed_tokens.": "tokens.", "model.layers.": "blocks.", "model.norm.": "norm.", "lm_head.": "head.",
    ".self_attn.q_proj.": ".attention.w_q.", ".self_attn.k_proj.": ".attention.w_k.", ".self_attn.v_proj.": ".attention.w_v.",
    ".self_attn.o_proj.": ".attention.w_o.", ".input_layernorm.": ".attention_norm.",
    ".post_attention_layernorm.": ".feed_forward_norm.", ".mlp.gate_proj.": ".feed_forward.w_gate.",
    ".mlp.up_proj.": ".feed_forward.w_in.", ".mlp.down_proj.": ".feed_forward.w_out.",
}  # fmt: skip


def from_llama(config: dict, tensors: dict[str, Tensor]) -> LanguageModel:
    """A published Llama with plain rotary positions, in float32, made of your blocks."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"its rotary positions are scaled ({rope['rope_type']}): that is more than this lesson has")
    wide, heads, base = (
        config["hidden_size"],
        config["num_attention_heads"],
        rope.get("rope_theta") or config["rope_theta"],
    )
    layers = [
        LlamaAttention(wide, heads, config["num_key_value_heads"], base) for _ in range(config["num_hidden_layers"])
    ]
    llama = LanguageModel(config["vocab_size"], wide, config["intermediate_size"], layers, config["rms_norm_eps"])
    state = {}
    for name, tensor in tensors.items():
        for theirs, mine in LLAMA_NAMES.items():
            name = name.replace(theirs, mine)
        state[name] = tensor.float()
    state.setdefault("head.weight", state["tokens.weight"])  # small models share the table
    llama.load_state_dict(state)
    return llama.eval()


# %%
def published_llama(source: str) -> LanguageModel:
    """From a folder, or a repository on the hub."""
    import json
    from pathlib import Path

    from utils.checkpoints import read_tensors
    from utils.data.hub import fetch

    folder = source if Path(source).is_dir() else None
    return from_llama(json.loads(fetch(source, "config.json", local_dir=folder).read_text()), read_tensors(source))


def gap_to_transformers(llama: LanguageModel, source: str, ids: Tensor) -> float | None:
    """The largest difference between your logits and Hugging Face's; None where the library is not installed."""
    try:
        from transformers import LlamaForCausalLM
    except ImportError:
        return None
    with torch.no_grad():
        theirs = LlamaForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
        return (llama(ids) - theirs(ids).logits).abs().max().item()


if DOWNLOAD:
    llama = published_llama(SOURCE)
    ids = torch.randint(llama.tokens.num_embeddings, (1, 20))
    print("largest difference from transformers:", gap_to_transformers(llama, SOURCE, ids))
    by_letter, numbers, _ = read_through(llama, ids, "GQA")
    print(f"token by token it keeps {numbers // ids.shape[1]:,} numbers a token")
else:
    print("skipped: set DOWNLOAD = True above to fetch the weights (needs a network)")

# %% [markdown]
# ## Score card

# %%
score_card()

# %% [markdown]
# ## In five lines
#
# - Query heads can share keys and values: MHA, GQA and MQA differ in one number, and the cache keeps the shared heads.
# - MLA keeps one latent and one rotary key a token. Absorbed, it never makes a key; positions must stay out of the content.
# - A table as mask saves nothing. Cut the text into blocks, and a window's scores cost l·w, not l².
# - Tokens that say the same can be merged; sizes keep means and attention honest.
# - Count it: the numbers in the cache, the elements of the largest tensor, the multiply–adds of the next token.
#
# So far every token was a piece of text. Lesson 10 leaves text for pictures.
#
# ## Further reading
#
# - Ainslie et al., *GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints*, EMNLP 2023. How to
#   make shared heads from a model that has none.
# - DeepSeek-AI, *DeepSeek-V2: A Strong, Economical, and Efficient Mixture-of-Experts Language Model*, arXiv 2024. Section 2.1
#   and appendix C are section 3.
# - Zhao et al., *Insights into DeepSeek-V3: Scaling Challenges and Reflections on Hardware for AI Architectures*, ISCA 2025. What
#   such numbers mean on machines.
