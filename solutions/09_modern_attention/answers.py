"""Planted answers for lesson 09: wrong ones that students give, and right ones in another style."""

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import nn

from autograder.authoring.answers import right, wrong
from utils.rotary import rotate

# --- grouped_query_attention -----------------------------------------------------------------------------------------


@wrong("repeats the list of heads, not each head", says="repeat_interleave")
def grouped_query_attention(q, k, v, mask=None):
    n = q.shape[1] // k.shape[1]
    k, v = k.repeat(1, n, 1, 1), v.repeat(1, n, 1, 1)
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ v


@wrong("splits the query heads the other way round", says="repeat_interleave")
def grouped_query_attention(q, k, v, mask=None):
    q = rearrange(q, "b (n g) l d -> b g n l d", g=k.shape[1])
    scores = einsum(q, k, "b g n i d, b g j d -> b g n i j") / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    out = einsum(scores.softmax(-1), v, "b g n i j, b g j d -> b g n i d")
    return rearrange(out, "b g n l d -> b (n g) l d")


@wrong("no scaling", says="not divided by √d")
def grouped_query_attention(q, k, v, mask=None):
    n = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
    scores = q @ k.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ v


@wrong("divides by d", says="not by d itself")
def grouped_query_attention(q, k, v, mask=None):
    n = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
    scores = q @ k.mT / q.shape[-1]
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ v


@wrong("always multi-query: the first key head serves all", says="first key head")
def grouped_query_attention(q, k, v, mask=None):
    scores = q @ k[:, :1].mT / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ v[:, :1]


@wrong("a result for each key head", says="a result for each query head")
def grouped_query_attention(q, k, v, mask=None):
    q = q[:, :: q.shape[1] // k.shape[1]]
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ v


@wrong("ignores the mask", says="the mask is not used")
def grouped_query_attention(q, k, v, mask=None):
    n = q.shape[1] // k.shape[1]
    return (q @ k.repeat_interleave(n, 1).mT / q.shape[-1] ** 0.5).softmax(-1) @ v.repeat_interleave(n, 1)


@wrong("True hides", says="upside down")
def grouped_query_attention(q, k, v, mask=None):
    n = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(mask, -torch.inf)
    return scores.softmax(-1).nan_to_num() @ v


@wrong("PyTorch's own", says="from scratch")
def grouped_query_attention(q, k, v, mask=None):
    return F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)


@right("each key head repeated, then lesson 04")
def grouped_query_attention(q, k, v, mask=None):
    n = q.shape[1] // k.shape[1]
    k, v = torch.repeat_interleave(k, n, dim=1), torch.repeat_interleave(v, n, dim=1)
    scores = torch.matmul(q, k.transpose(-2, -1)) * q.size(-1) ** -0.5
    if mask is not None:
        scores = scores + torch.zeros(mask.shape, dtype=q.dtype).masked_fill(mask.logical_not(), float("-inf"))
    return F.softmax(scores, dim=-1) @ v


@right("a loop over the query heads")
def grouped_query_attention(q, k, v, mask=None):
    h, g, outs = q.shape[1], k.shape[1], []
    for i in range(h):
        j = i * g // h
        scores = q[:, i] @ k[:, j].mT / q.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e30)
        outs.append(scores.softmax(-1) @ v[:, j])
    return torch.stack(outs, dim=1)


# --- LlamaAttention --------------------------------------------------------------------------------------------------


@wrong("the cache stores the repeated heads", says="not repeated ones")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = rotate(q, positions, self.base), rotate(k, positions, self.base)
        n = self.n_heads // self.n_kv_heads
        k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
        if cache is not None:
            k, v = cache.update(k, v)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("positions restart at 0 with each chunk", says="restart at 0")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = rotate(q, positions, self.base), rotate(k, positions, self.base)
        if cache is not None:
            k, v = cache.update(k, v)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("turns the cached keys again", says="turn the new keys by their places")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        if cache is not None:
            k, v = cache.update(k, v)
        q, k = rotate(q, positions, self.base), rotate(k, torch.arange(k.shape[2]) + start, self.base)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("no positions", says="are not turned")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        if cache is not None:
            k, v = cache.update(k, v)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("turns neighbours, as RoFormer does", says="not neighbours")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = (rotate(t, positions, self.base, interleaved=True) for t in (q, k))
        if cache is not None:
            k, v = cache.update(k, v)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("forgets the base", says="by self.base")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = rotate(q, positions), rotate(k, positions)
        if cache is not None:
            k, v = cache.update(k, v)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("turns the values, too", says="not values")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = rotate(q, positions, self.base), rotate(k, positions, self.base)
        v = rotate(v, positions, self.base)
        if cache is not None:
            k, v = cache.update(k, v)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("not causal", says="sees later ones")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = rotate(q, positions, self.base), rotate(k, positions, self.base)
        if cache is not None:
            k, v = cache.update(k, v)
        out = grouped_query_attention(q, k, v)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("a mask aligned with the upper left corner", says="also with a cache")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = rotate(q, positions, self.base), rotate(k, positions, self.base)
        if cache is not None:
            k, v = cache.update(k, v)
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
        out = grouped_query_attention(q, k, v, mask)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("ignores the cache", says="call cache.update once")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = rotate(q, positions, self.base), rotate(k, positions, self.base)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("queries with biases", says="without biases")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=True)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = rotate(q, positions, self.base), rotate(k, positions, self.base)
        if cache is not None:
            k, v = cache.update(k, v)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("as many key heads as query heads in the weights", says="n_kv_heads · d_head features only")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, d_model, bias=False)
        self.w_v = nn.Linear(d_model, d_model, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = rotate(q, positions, self.base), rotate(k, positions, self.base)
        if cache is not None:
            k, v = cache.update(k, v)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("keeps keys before the turn, and turns all of them at each step", says="before the turn: turn the new keys")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        if cache is not None:
            k, v = cache.update(k, v)
        q, k = rotate(q, positions, self.base), rotate(k, torch.arange(k.shape[2]), self.base)
        n = self.n_heads // self.n_kv_heads
        k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("the base by another name", says="and base as attributes")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self._b = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = rotate(q, positions, self._b), rotate(k, positions, self._b)
        if cache is not None:
            k, v = cache.update(k, v)
        n = self.n_heads // self.n_kv_heads
        k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("reads the queries' place after the update", says="read cache.length before update")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        k = rotate(k, positions, self.base)
        if cache is not None:
            k, v = cache.update(k, v)
        start = 0 if cache is None else cache.length
        q = rotate(q, start + torch.arange(q.shape[2]), self.base)
        n = self.n_heads // self.n_kv_heads
        k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("no mask with a cache", says="also with a cache")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = rotate(q, positions, self.base), rotate(k, positions, self.base)
        if cache is not None:
            k, v = cache.update(k, v)
        n = self.n_heads // self.n_kv_heads
        k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
        mask = causal_mask(q.shape[2], q.shape[2], x.device) if cache is None else None
        out = grouped_query_attention(q, k, v, mask)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@right("turned keys are kept; the mask by comparing places")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = rotate(q, positions, self.base), rotate(k, positions, self.base)
        if cache is not None:
            k, v = cache.update(k, v)
        mask = torch.arange(k.shape[2]) <= positions[:, None]
        out = F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@right("heads repeated after the cache")
class LlamaAttention(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads, base=10_000.0):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.base = n_heads, n_kv_heads, base
        d_head = d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model, bias=False)
        self.w_k = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_v = nn.Linear(d_model, n_kv_heads * d_head, bias=False)
        self.w_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        q = rearrange(self.w_q(x), "b l (h d) -> b h l d", h=self.n_heads)
        k = rearrange(self.w_k(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        v = rearrange(self.w_v(x), "b l (h d) -> b h l d", h=self.n_kv_heads)
        q, k = rotate(q, positions, self.base), rotate(k, positions, self.base)
        if cache is not None:
            k, v = cache.update(k, v)
        n = self.n_heads // self.n_kv_heads
        k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


# --- LlamaBlock ------------------------------------------------------------------------------------------------------


@wrong("norms after the sums", says="before each part, not after")
class LlamaBlock(nn.Module):
    def __init__(self, attention, d_model, d_hidden, eps=1e-6):
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.RMSNorm(d_model, eps)
        self.feed_forward = GatedFeedForward(d_model, d_hidden)
        self.feed_forward_norm = nn.RMSNorm(d_model, eps)

    def forward(self, x, cache=None):
        x = self.attention_norm(x + self.attention(x, cache))
        return self.feed_forward_norm(x + self.feed_forward(x))


@wrong("both parts read the input", says="both parts read the same x")
class LlamaBlock(nn.Module):
    def __init__(self, attention, d_model, d_hidden, eps=1e-6):
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.RMSNorm(d_model, eps)
        self.feed_forward = GatedFeedForward(d_model, d_hidden)
        self.feed_forward_norm = nn.RMSNorm(d_model, eps)

    def forward(self, x, cache=None):
        attended = self.attention(self.attention_norm(x), cache)
        return x + attended + self.feed_forward(self.feed_forward_norm(x))


@wrong("forgets the cache", says="hand the cache")
class LlamaBlock(nn.Module):
    def __init__(self, attention, d_model, d_hidden, eps=1e-6):
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.RMSNorm(d_model, eps)
        self.feed_forward = GatedFeedForward(d_model, d_hidden)
        self.feed_forward_norm = nn.RMSNorm(d_model, eps)

    def forward(self, x, cache=None):
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


@wrong("the default eps", says="with `eps`")
class LlamaBlock(nn.Module):
    def __init__(self, attention, d_model, d_hidden, eps=1e-6):
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.RMSNorm(d_model)
        self.feed_forward = GatedFeedForward(d_model, d_hidden)
        self.feed_forward_norm = nn.RMSNorm(d_model)

    def forward(self, x, cache=None):
        x = x + self.attention(self.attention_norm(x), cache)
        return x + self.feed_forward(self.feed_forward_norm(x))


@wrong("no second norm", says="with `eps`")
class LlamaBlock(nn.Module):
    def __init__(self, attention, d_model, d_hidden, eps=1e-6):
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.RMSNorm(d_model, eps)
        self.feed_forward = GatedFeedForward(d_model, d_hidden)
        self.feed_forward_norm = nn.RMSNorm(d_model, eps)

    def forward(self, x, cache=None):
        x = x + self.attention(self.attention_norm(x), cache)
        return x + self.feed_forward(x)


@right("step by step")
class LlamaBlock(nn.Module):
    def __init__(self, attention, d_model, d_hidden, eps=1e-6):
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.RMSNorm(d_model, eps)
        self.feed_forward = GatedFeedForward(d_model, d_hidden)
        self.feed_forward_norm = nn.RMSNorm(d_model, eps)

    def forward(self, x, cache=None):
        attended = self.attention(self.attention_norm(x), cache)
        middle = attended + x
        return self.feed_forward(self.feed_forward_norm(middle)) + middle


@right("keyword arguments, eps by name")
class LlamaBlock(nn.Module):
    def __init__(self, attention, d_model, d_hidden, eps=1e-6):
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.RMSNorm((d_model,), eps=eps)
        self.feed_forward = GatedFeedForward(d_model, d_hidden)
        self.feed_forward_norm = nn.RMSNorm((d_model,), eps=eps)

    def forward(self, x, cache=None):
        x = x + self.attention(self.attention_norm(x), cache=cache)
        return x + self.feed_forward(self.feed_forward_norm(x))


# --- cache_elements_per_token ----------------------------------------------------------------------------------------


@wrong("keys only", says="twice as many")
def cache_elements_per_token(kind, n_layers, n_heads, d_head, n_kv_heads=None, d_latent=None, d_rope=None):
    if kind == "MLA":
        return n_layers * (d_latent + d_rope)
    return n_layers * {"MHA": n_heads, "GQA": n_kv_heads, "MQA": 1}[kind] * d_head


@wrong("one layer", says="every layer")
def cache_elements_per_token(kind, n_layers, n_heads, d_head, n_kv_heads=None, d_latent=None, d_rope=None):
    if kind == "MLA":
        return d_latent + d_rope
    return 2 * {"MHA": n_heads, "GQA": n_kv_heads, "MQA": 1}[kind] * d_head


@wrong("the latent twice, for keys and values", says="not twice")
def cache_elements_per_token(kind, n_layers, n_heads, d_head, n_kv_heads=None, d_latent=None, d_rope=None):
    if kind == "MLA":
        return 2 * n_layers * (d_latent + d_rope)
    return 2 * n_layers * {"MHA": n_heads, "GQA": n_kv_heads, "MQA": 1}[kind] * d_head


@wrong("no rotary key", says="keeps the rotary key, too")
def cache_elements_per_token(kind, n_layers, n_heads, d_head, n_kv_heads=None, d_latent=None, d_rope=None):
    if kind == "MLA":
        return n_layers * d_latent
    return 2 * n_layers * {"MHA": n_heads, "GQA": n_kv_heads, "MQA": 1}[kind] * d_head


@wrong("a rotary key for each head", says="for all heads together")
def cache_elements_per_token(kind, n_layers, n_heads, d_head, n_kv_heads=None, d_latent=None, d_rope=None):
    if kind == "MLA":
        return n_layers * (d_latent + n_heads * d_rope)
    return 2 * n_layers * {"MHA": n_heads, "GQA": n_kv_heads, "MQA": 1}[kind] * d_head


@wrong("GQA keeps all heads", says="keeps the shared heads")
def cache_elements_per_token(kind, n_layers, n_heads, d_head, n_kv_heads=None, d_latent=None, d_rope=None):
    if kind == "MLA":
        return n_layers * (d_latent + d_rope)
    return 2 * n_layers * {"MHA": n_heads, "GQA": n_heads, "MQA": 1}[kind] * d_head


@wrong("another kind is taken for MLA", says="ValueError")
def cache_elements_per_token(kind, n_layers, n_heads, d_head, n_kv_heads=None, d_latent=1, d_rope=1):
    shared = {"MHA": n_heads, "GQA": n_kv_heads, "MQA": 1}
    return 2 * n_layers * shared[kind] * d_head if kind in shared else n_layers * (d_latent + d_rope)


@right("by cases")
def cache_elements_per_token(kind, n_layers, n_heads, d_head, n_kv_heads=None, d_latent=None, d_rope=None):
    if kind == "MHA":
        each = n_heads * d_head + n_heads * d_head
    elif kind == "GQA":
        each = n_kv_heads * (d_head + d_head)
    elif kind == "MQA":
        each = d_head + d_head
    elif kind == "MLA":
        each = d_latent + d_rope
    else:
        raise ValueError(kind)
    return each * n_layers


@right("match")
def cache_elements_per_token(kind, n_layers, n_heads, d_head, n_kv_heads=None, d_latent=None, d_rope=None):
    match kind:
        case "MHA" | "GQA" | "MQA":
            n_kv_heads = n_heads if kind == "MHA" else 1 if kind == "MQA" else n_kv_heads
            return sum(2 * n_kv_heads * d_head for _ in range(n_layers))
        case "MLA":
            return sum(d_latent + d_rope for _ in range(n_layers))
    raise ValueError(f"no such kind: {kind}")


# --- MultiHeadLatentAttention ----------------------------------------------------------------------------------------


@wrong("the scale without the rotary part", says="√(d_head + d_rope)")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = rotate(self.w_kr(x), positions, self.base)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        q = q * (q.shape[-1] / self.d_head) ** 0.5
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("positions on the content part, too", says="never the content part")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        q_c = rotate(q_c, positions, self.base)
        k_r = rotate(self.w_kr(x), positions, self.base)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_c = rotate(k_c, torch.arange(k_c.shape[2]), self.base)
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("a rotary key for each head", says="one for all heads")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, n_heads * d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = rotate(self.split(self.w_kr(x)), positions, self.base)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        if cache is not None:
            k_r, k_c, v = cache.update(k_r, k_c, v)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("caches the expanded keys and values", says="only latents and rotary keys are kept")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = rotate(self.w_kr(x), positions, self.base)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        if cache is not None:
            k_c, v, k_r = cache.update(k_c, v, k_r)
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("no norms", says="the latents are normalised")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.w_dq(x), self.w_dkv(x)
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = rotate(self.w_kr(x), positions, self.base)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("nothing is turned", says="rotary parts are not turned")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), self.split(self.w_qr(c_q))
        k_r = self.w_kr(x)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("positions restart", says="restart at 0")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = rotate(self.w_kr(x), positions, self.base)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("keeps latents before the norm, and normalises all at each step", says="latents before the norm")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.w_dkv(x)
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = rotate(self.w_kr(x), positions, self.base)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        c_kv = self.kv_norm(c_kv)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("keeps rotary keys before the turn, and turns all at each step", says="rotary keys before the turn")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = self.w_kr(x)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_r = rotate(k_r, torch.arange(k_r.shape[1]), self.base)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("does not keep its sizes", says="d_rope and base as attributes")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.base = n_heads, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = rotate(self.w_kr(x), positions, self.base)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("only the latent of keys is normalised", says="not normalised: q_norm")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.w_dq(x), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = rotate(self.w_kr(x), positions, self.base)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("only the queries' latent is normalised", says="not normalised: kv_norm")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.w_dkv(x)
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = rotate(self.w_kr(x), positions, self.base)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("the rotary key is not turned", says="but k^R is not")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = self.w_kr(x)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("caches the latent before its norm, and does not normalise it again", says="keep normalised latents")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.w_dkv(x)
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = rotate(self.w_kr(x), positions, self.base)
        if cache is None:
            c_kv = self.kv_norm(c_kv)
        else:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("caches the rotary key before its turn", says="keep normalised latents and turned keys")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = self.w_kr(x)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_r = rotate(k_r, torch.arange(k_r.shape[1]) + start, self.base)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2], x.device))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@wrong("not causal", says="sees later ones")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = rotate(self.w_kr(x), positions, self.base)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        out = grouped_query_attention(q, k, v)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@right("the scores as the sum of two products")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = rotate(self.w_kr(x), positions, self.base)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        scores = q_c @ k_c.mT + q_r @ k_r[:, None].mT
        scores = scores / (self.d_head + self.d_rope) ** 0.5
        mask = torch.arange(scores.shape[-1]) <= positions[:, None]
        out = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


@right("a mask by comparing places, PyTorch's attention")
class MultiHeadLatentAttention(nn.Module):
    def __init__(self, d_model, n_heads, d_head, d_rope, d_latent, d_query, base=10_000.0):
        super().__init__()
        self.n_heads, self.d_head, self.d_rope, self.base = n_heads, d_head, d_rope, base
        sizes = {"dq": (d_model, d_query), "uq": (d_query, n_heads * d_head), "qr": (d_query, n_heads * d_rope)}
        sizes |= {"dkv": (d_model, d_latent), "uk": (d_latent, n_heads * d_head), "uv": (d_latent, n_heads * d_head)}
        sizes |= {"kr": (d_model, d_rope), "o": (n_heads * d_head, d_model)}
        for name, (wide_in, wide_out) in sizes.items():
            self.add_module(f"w_{name}", nn.Linear(wide_in, wide_out, bias=False))
        self.q_norm, self.kv_norm = nn.RMSNorm(d_query, 1e-6), nn.RMSNorm(d_latent, 1e-6)

    def split(self, x):
        return rearrange(x, "b l (h d) -> b h l d", h=self.n_heads)

    def forward(self, x, cache=None):
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1])
        c_q, c_kv = self.q_norm(self.w_dq(x)), self.kv_norm(self.w_dkv(x))
        q_c, q_r = self.split(self.w_uq(c_q)), rotate(self.split(self.w_qr(c_q)), positions, self.base)
        k_r = rotate(self.w_kr(x), positions, self.base)
        if cache is not None:
            c_kv, k_r = cache.update(c_kv, k_r)
        k_c, v = self.split(self.w_uk(c_kv)), self.split(self.w_uv(c_kv))
        k_r = k_r[:, None].expand(-1, self.n_heads, -1, -1)
        q, k = torch.cat([q_c, q_r], -1), torch.cat([k_c, k_r], -1)
        mask = torch.arange(k.shape[2]) <= positions[:, None]
        out = F.scaled_dot_product_attention(q, k, v, mask)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)"))


# --- absorb ----------------------------------------------------------------------------------------------------------


@wrong("the other way round", says="the other way round")
def absorb(w_q, w_uk):
    return w_q.mT @ w_uk


@wrong("sums over the heads", says="do not sum over the heads")
def absorb(w_q, w_uk):
    return torch.einsum("hdc,hdi->ci", w_uk, w_q)


@wrong("the first head for all", says="transposed key matrix times")
def absorb(w_q, w_uk):
    return (w_uk[:1].mT @ w_q[:1]).repeat(len(w_q), 1, 1)


@wrong("scaled by the head size", says="transposed key matrix times")
def absorb(w_q, w_uk):
    return w_uk.mT @ w_q / w_q.shape[1] ** 0.5


@right("a product of transposed matrices")
def absorb(w_q, w_uk):
    return w_uk.transpose(1, 2) @ w_q


@right("head by head")
def absorb(w_q, w_uk):
    return torch.stack([key.T @ query for query, key in zip(w_q, w_uk, strict=True)])


# --- sliding_window_mask ---------------------------------------------------------------------------------------------


@wrong("one too wide", says="one too many")
def sliding_window_mask(length, window):
    distance = torch.arange(length)[:, None] - torch.arange(length)
    return (distance >= 0) & (distance <= window)


@wrong("one too narrow", says="one too few")
def sliding_window_mask(length, window):
    distance = torch.arange(length)[:, None] - torch.arange(length)
    return (distance >= 0) & (distance < window - 1)


@wrong("both sides", says="sees later ones")
def sliding_window_mask(length, window):
    distance = torch.arange(length)[:, None] - torch.arange(length)
    return distance.abs() < window


@wrong("True hides", says="True keeps")
def sliding_window_mask(length, window):
    distance = torch.arange(length)[:, None] - torch.arange(length)
    return (distance < 0) | (distance >= window)


@wrong("queries and keys swapped", says="row i is the query")
def sliding_window_mask(length, window):
    distance = torch.arange(length) - torch.arange(length)[:, None]
    return (distance >= 0) & (distance < window)


@wrong("numbers, not bools", says="dtype")
def sliding_window_mask(length, window):
    return torch.ones(length, length).tril().triu(1 - window)


@right("two triangles")
def sliding_window_mask(length, window):
    return torch.ones(length, length, dtype=torch.bool).tril().triu(1 - window)


@right("cell by cell")
def sliding_window_mask(length, window):
    return torch.tensor([[i - window < j <= i for j in range(length)] for i in range(length)])


# --- global_local_mask -----------------------------------------------------------------------------------------------


@wrong("global tokens see all, but are not seen", says="seen by all, too")
def global_local_mask(length, reach, global_tokens):
    place = torch.arange(length)
    mask = (place[:, None] - place).abs() <= reach
    mask[global_tokens] = True
    return mask


@wrong("global tokens are seen, but do not see", says="see all, too")
def global_local_mask(length, reach, global_tokens):
    place = torch.arange(length)
    mask = (place[:, None] - place).abs() <= reach
    mask[:, global_tokens] = True
    return mask


@wrong("causal", says="not causal")
def global_local_mask(length, reach, global_tokens):
    place = torch.arange(length)
    mask = (place[:, None] - place).abs() <= reach
    mask[global_tokens], mask[:, global_tokens] = True, True
    return mask.tril()


@wrong("half the reach to each side", says="to each side")
def global_local_mask(length, reach, global_tokens):
    place = torch.arange(length)
    mask = (place[:, None] - place).abs() <= reach // 2
    mask[global_tokens], mask[:, global_tokens] = True, True
    return mask


@wrong("no neighbours", says="neighbours are missing")
def global_local_mask(length, reach, global_tokens):
    mask = torch.zeros(length, length, dtype=torch.bool)
    mask[global_tokens], mask[:, global_tokens] = True, True
    return mask


@right("cell by cell")
def global_local_mask(length, reach, global_tokens):
    chosen = set(global_tokens)
    return torch.tensor(
        [[abs(i - j) <= reach or i in chosen or j in chosen for j in range(length)] for i in range(length)]
    )


@right("triangles, and a row of bools")
def global_local_mask(length, reach, global_tokens):
    ones = torch.ones(length, length, dtype=torch.bool)
    chosen = torch.zeros(length, dtype=torch.bool)
    chosen[global_tokens] = True
    return (ones.tril(reach) & ones.triu(-reach)) | chosen[None, :] | chosen[:, None]


# --- strided_mask ----------------------------------------------------------------------------------------------------


@wrong("fixed columns: counts the stride from the first token", says="back from the query")
def strided_mask(length, stride):
    place = torch.arange(length)
    distance = place[:, None] - place
    return (distance >= 0) & ((distance < stride) | (place % stride == stride - 1))


@wrong("fixed columns from token 0", says="not from token 0")
def strided_mask(length, stride):
    place = torch.arange(length)
    distance = place[:, None] - place
    return (distance >= 0) & ((distance < stride) | (place % stride == 0))


@wrong("not causal", says="no token sees a later one")
def strided_mask(length, stride):
    place = torch.arange(length)
    distance = place[:, None] - place
    return (distance.abs() < stride) | (distance % stride == 0)


@wrong("the window alone", says="far tokens")
def strided_mask(length, stride):
    place = torch.arange(length)
    distance = place[:, None] - place
    return (distance >= 0) & (distance < stride)


@wrong("the far tokens alone", says="the last `stride` tokens are missing")
def strided_mask(length, stride):
    place = torch.arange(length)
    distance = place[:, None] - place
    return (distance >= 0) & (distance % stride == 0)


@right("cell by cell")
def strided_mask(length, stride):
    return torch.tensor(
        [[j <= i and (i - j < stride or not (i - j) % stride) for j in range(length)] for i in range(length)]
    )


@right("a window, and diagonals")
def strided_mask(length, stride):
    mask = sliding_window_mask(length, stride)
    for offset in range(0, length, stride):
        mask |= torch.diag(torch.ones(length - offset, dtype=torch.bool), -offset)
    return mask


# --- banded_attention ------------------------------------------------------------------------------------------------


@wrong("the full table, then masked", says="table of all pairs")
def banded_attention(q, k, v, window):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    mask = sliding_window_mask(q.shape[2], window)
    return scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v


@wrong("PyTorch's attention makes no table, but its mask is one", says="table of all pairs")
def banded_attention(q, k, v, window):
    return F.scaled_dot_product_attention(q, k, v, sliding_window_mask(q.shape[2], window))


@wrong("a loop over queries that gathers a full table of scores", says="table of all pairs")
def banded_attention(q, k, v, window):
    table = q.new_full((*q.shape[:3], q.shape[2]), -torch.inf)
    for i in range(q.shape[2]):
        start = max(0, i - window + 1)
        table[:, :, i, start : i + 1] = (q[:, :, i, None] @ k[:, :, start : i + 1].mT)[:, :, 0] / q.shape[-1] ** 0.5
    return table.softmax(-1) @ v


@wrong("each block sees itself only", says="its own block only")
def banded_attention(q, k, v, window):
    out = torch.empty_like(v)
    for start in range(0, q.shape[2], window):
        block = slice(start, start + window)
        out[:, :, block] = F.scaled_dot_product_attention(
            q[:, :, block], k[:, :, block], v[:, :, block], is_causal=True
        )
    return out


@wrong("one key too many", says="one too wide")
def banded_attention(q, k, v, window):
    rows = []
    for i in range(q.shape[2]):
        seen = slice(max(0, i - window), i + 1)
        rows.append(F.scaled_dot_product_attention(q[:, :, i : i + 1], k[:, :, seen], v[:, :, seen]))
    return torch.cat(rows, dim=2)


@wrong("both sides", says="sees later ones")
def banded_attention(q, k, v, window):
    rows = []
    for i in range(q.shape[2]):
        seen = slice(max(0, i - window + 1), i + window)
        rows.append(F.scaled_dot_product_attention(q[:, :, i : i + 1], k[:, :, seen], v[:, :, seen]))
    return torch.cat(rows, dim=2)


@wrong("no scaling", says="not divided by √d")
def banded_attention(q, k, v, window):
    rows = []
    for i in range(q.shape[2]):
        seen = slice(max(0, i - window + 1), i + 1)
        rows.append(F.scaled_dot_product_attention(q[:, :, i : i + 1], k[:, :, seen], v[:, :, seen], scale=1.0))
    return torch.cat(rows, dim=2)


@wrong("leaves the filling of the last block", says="cut off what fills")
def banded_attention(q, k, v, window):
    filling = (0, 0, 0, -q.shape[2] % window)
    q, k, v = (F.pad(x, filling) for x in (q, k, v))
    rows = []
    for i in range(q.shape[2]):
        seen = slice(max(0, i - window + 1), i + 1)
        rows.append(F.scaled_dot_product_attention(q[:, :, i : i + 1], k[:, :, seen], v[:, :, seen]))
    return torch.cat(rows, dim=2)


@wrong("the filling before the first block is seen", says="are filling")
def banded_attention(q, k, v, window):
    k, v = (F.pad(x, (0, 0, window - 1, 0)).unfold(2, window, 1) for x in (k, v))
    scores = torch.einsum("bhid,bhidw->bhiw", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bhiw,bhidw->bhid", scores.softmax(-1), v)


@wrong("single queries against all keys: l · l scores, a row at a time", says="scores outside the window are made")
def banded_attention(q, k, v, window):
    rows, place = [], torch.arange(q.shape[2])
    for i in range(q.shape[2]):
        scores = q[:, :, i : i + 1] @ k.mT / q.shape[-1] ** 0.5
        scores = scores.masked_fill((place > i) | (place <= i - window), -torch.inf)
        rows.append(scores.softmax(-1) @ v)
    return torch.cat(rows, dim=2)


@wrong("later tokens of the own block are seen", says="later tokens of its own block")
def banded_attention(q, k, v, window):
    length, outs = q.shape[2], []
    for start in range(0, length, window):
        first, stop = max(0, start - window), min(length, start + window)
        mask = torch.arange(first, stop) > torch.arange(start, stop)[:, None] - window
        outs.append(F.scaled_dot_product_attention(q[:, :, start:stop], k[:, :, first:stop], v[:, :, first:stop], mask))
    return torch.cat(outs, dim=2)


@right("a loop over the queries")
def banded_attention(q, k, v, window):
    rows = []
    for i in range(q.shape[2]):
        start = max(0, i - window + 1)
        scores = q[:, :, i : i + 1] @ k[:, :, start : i + 1].mT / q.shape[-1] ** 0.5
        rows.append(scores.softmax(-1) @ v[:, :, start : i + 1])
    return torch.cat(rows, dim=2)


@right("the window of each query, by unfold")
def banded_attention(q, k, v, window):
    k, v = (F.pad(x, (0, 0, window - 1, 0)).unfold(2, window, 1) for x in (k, v))
    scores = torch.einsum("bhid,bhidw->bhiw", q, k) / q.shape[-1] ** 0.5
    key = torch.arange(q.shape[2])[:, None] + torch.arange(window) - window + 1
    weights = scores.masked_fill(key < 0, -torch.inf).softmax(-1)
    return torch.einsum("bhiw,bhidw->bhid", weights, v)


@right("a loop over blocks, PyTorch's attention in each")
def banded_attention(q, k, v, window):
    length, outs = q.shape[2], []
    for start in range(0, length, window):
        first, stop = max(0, start - window), min(length, start + window)
        query, key = torch.arange(start, stop)[:, None], torch.arange(first, stop)
        mask = (key <= query) & (key > query - window)
        outs.append(F.scaled_dot_product_attention(q[:, :, start:stop], k[:, :, first:stop], v[:, :, first:stop], mask))
    return torch.cat(outs, dim=2)


# --- bipartite_soft_matching -----------------------------------------------------------------------------------------


@wrong("the dot product", says="not the dot product")
def bipartite_soft_matching(metric, r):
    best, partner = (metric[:, ::2] @ metric[:, 1::2].mT).max(-1)
    merged = best.argsort(descending=True)[:, :r]
    return 2 * merged, 2 * partner.gather(1, merged) + 1


@wrong("normalises along the tokens", says="along the features")
def bipartite_soft_matching(metric, r):
    unit = F.normalize(metric)
    best, partner = (unit[:, ::2] @ unit[:, 1::2].mT).max(-1)
    merged = best.argsort(descending=True)[:, :r]
    return 2 * merged, 2 * partner.gather(1, merged) + 1


@wrong("the least similar go", says="not the least")
def bipartite_soft_matching(metric, r):
    unit = F.normalize(metric, dim=-1)
    best, partner = (unit[:, ::2] @ unit[:, 1::2].mT).max(-1)
    merged = best.argsort()[:, :r]
    return 2 * merged, 2 * partner.gather(1, merged) + 1


@wrong("the best pairs of the whole table: a token goes twice", says="a token goes twice")
def bipartite_soft_matching(metric, r):
    unit = F.normalize(metric, dim=-1)
    similarity = unit[:, ::2] @ unit[:, 1::2].mT
    edges = similarity.flatten(1).topk(r).indices
    odd = similarity.shape[2]
    return 2 * (edges // odd), 2 * (edges % odd) + 1


@wrong("the roles swapped: odd tokens go", says="even places go")
def bipartite_soft_matching(metric, r):
    unit = F.normalize(metric, dim=-1)
    best, partner = (unit[:, 1::2] @ unit[:, ::2].mT).max(-1)
    merged = best.argsort(descending=True)[:, :r]
    return 2 * merged + 1, 2 * partner.gather(1, merged)


@wrong("places counted within each half", says="in the whole text")
def bipartite_soft_matching(metric, r):
    unit = F.normalize(metric, dim=-1)
    best, partner = (unit[:, ::2] @ unit[:, 1::2].mT).max(-1)
    merged = best.argsort(descending=True)[:, :r]
    return merged, partner.gather(1, merged)


@wrong("in the order of places", says="the most similar first")
def bipartite_soft_matching(metric, r):
    unit = F.normalize(metric, dim=-1)
    best, partner = (unit[:, ::2] @ unit[:, 1::2].mT).max(-1)
    merged = best.argsort(descending=True)[:, :r].sort(-1).values
    return 2 * merged, 2 * partner.gather(1, merged) + 1


@wrong("the partners of the first r tokens, not of those that go", says="its own most similar")
def bipartite_soft_matching(metric, r):
    unit = F.normalize(metric, dim=-1)
    best, partner = (unit[:, ::2] @ unit[:, 1::2].mT).max(-1)
    return 2 * best.argsort(descending=True)[:, :r], 2 * partner[:, :r] + 1


@right("token by token")
def bipartite_soft_matching(metric, r):
    merged, into = [], []
    for item in metric:
        edges = []
        for i in range(0, len(item), 2):
            near = [(F.cosine_similarity(item[i], item[j], dim=0).item(), j) for j in range(1, len(item), 2)]
            edges.append((*max(near), i))
        edges = sorted(edges, reverse=True)[:r]
        merged.append([i for _, _, i in edges])
        into.append([j for _, j, _ in edges])
    return torch.tensor(merged), torch.tensor(into)


@right("topk, index by a column of numbers")
def bipartite_soft_matching(metric, r):
    metric = metric / metric.norm(dim=-1, keepdim=True)
    best = torch.einsum("bid,bjd->bij", metric[:, 0::2], metric[:, 1::2]).max(dim=2)
    edge = best.values.topk(r, dim=1).indices
    return edge * 2, best.indices[torch.arange(len(metric))[:, None], edge] * 2 + 1


# --- merge_tokens ----------------------------------------------------------------------------------------------------


@wrong("the mean ignores the sizes", says="weighted by sizes")
def merge_tokens(x, sizes, merged, into, rule="mean"):
    if rule not in ("mean", "magnitude", "interleave"):
        raise ValueError(rule)
    rows, counts = [], []
    for i in range(len(x)):
        gone = merged[i].tolist()
        groups = {j: [j] for j in range(x.shape[1]) if j not in gone}
        for start, stop in zip(gone, into[i].tolist(), strict=True):
            groups[stop].append(start)
        row = []
        for group in groups.values():
            group = sorted(group)
            tokens, weights = x[i, group], torch.ones_like(sizes[i, group])
            if rule == "mean":
                row.append((weights[:, None] * tokens).sum(0) / weights.sum())
            elif rule == "magnitude":
                row.append(tokens[tokens.norm(dim=-1).argmax()])
            else:
                row.append(torch.stack([tokens[f % len(group), f] for f in range(x.shape[-1])]))
        rows.append(torch.stack(row))
        counts.append(torch.stack([sizes[i, group].sum() for group in groups.values()]))
    return torch.stack(rows), torch.stack(counts)


@wrong("`+=` at repeated places: one addition survives", says="adds one: scatter_add or index_add")
def merge_tokens(x, sizes, merged, into, rule="mean"):
    (b, n, d), rows = x.shape, torch.arange(x.shape[0])[:, None]
    sums, counts = x * sizes[..., None], sizes.clone()
    for j in range(merged.shape[1]):
        gone, to = merged[:, j, None], into[:, j, None]
        sums[rows, to] = (x * sizes[..., None])[rows, to] + sums[rows, gone]
        counts[rows, to] = sizes[rows, to] + sizes[rows, gone]
    stay = torch.ones(b, n, dtype=torch.bool).scatter(1, merged, False)
    return (sums / counts[..., None])[stay].reshape(b, -1, d), counts[stay].reshape(b, -1)


@wrong("takes turns from the receiver on", says="not the receiver first")
def merge_tokens(x, sizes, merged, into, rule="mean"):
    if rule not in ("mean", "magnitude", "interleave"):
        raise ValueError(rule)
    rows, counts = [], []
    for i in range(len(x)):
        gone = merged[i].tolist()
        groups = {j: [j] for j in range(x.shape[1]) if j not in gone}
        for start, to in zip(gone, into[i].tolist(), strict=True):
            groups[to].append(start)
        row = []
        for group in groups.values():
            tokens, size = x[i, group], sizes[i, group]
            if rule == "mean":
                row.append((tokens * size[:, None]).sum(0) / size.sum())
            elif rule == "magnitude":
                row.append(tokens[tokens.norm(dim=-1).argmax()])
            else:
                row.append(torch.stack([tokens[f % len(group), f] for f in range(x.shape[2])]))
        rows.append(torch.stack(row))
        counts.append(torch.stack([sizes[i, group].sum() for group in groups.values()]))
    return torch.stack(rows), torch.stack(counts)


@wrong("even tokens that stay first, then odd ones", says="keep their order")
def merge_tokens(x, sizes, merged, into, rule="mean"):
    if rule not in ("mean", "magnitude", "interleave"):
        raise ValueError(rule)
    rows, counts = [], []
    for i in range(len(x)):
        gone = merged[i].tolist()
        groups = {j: [j] for j in [*range(0, x.shape[1], 2), *range(1, x.shape[1], 2)] if j not in gone}
        for start, stop in zip(gone, into[i].tolist(), strict=True):
            groups[stop].append(start)
        row = []
        for group in groups.values():
            group = sorted(group)
            tokens, weights = x[i, group], sizes[i, group]
            if rule == "mean":
                row.append((weights[:, None] * tokens).sum(0) / weights.sum())
            elif rule == "magnitude":
                row.append(tokens[tokens.norm(dim=-1).argmax()])
            else:
                row.append(torch.stack([tokens[f % len(group), f] for f in range(x.shape[-1])]))
        rows.append(torch.stack(row))
        counts.append(torch.stack([sizes[i, group].sum() for group in groups.values()]))
    return torch.stack(rows), torch.stack(counts)


@wrong("drops the tokens that go", says="dropped, not merged")
def merge_tokens(x, sizes, merged, into, rule="mean"):
    if rule not in ("mean", "magnitude", "interleave"):
        raise ValueError(rule)
    rows, counts = [], []
    for i in range(len(x)):
        gone = merged[i].tolist()
        groups = {j: [j] for j in range(x.shape[1]) if j not in gone}
        for _start, _stop in zip(gone, into[i].tolist(), strict=True):
            pass
        row = []
        for group in groups.values():
            group = sorted(group)
            tokens, weights = x[i, group], sizes[i, group]
            if rule == "mean":
                row.append((weights[:, None] * tokens).sum(0) / weights.sum())
            elif rule == "magnitude":
                row.append(tokens[tokens.norm(dim=-1).argmax()])
            else:
                row.append(torch.stack([tokens[f % len(group), f] for f in range(x.shape[-1])]))
        rows.append(torch.stack(row))
        counts.append(torch.stack([sizes[i, group].sum() for group in groups.values()]))
    return torch.stack(rows), torch.stack(counts)


@wrong("the sizes of the tokens that went are lost", says="the tokens that went are lost")
def merge_tokens(x, sizes, merged, into, rule="mean"):
    if rule not in ("mean", "magnitude", "interleave"):
        raise ValueError(rule)
    rows, counts = [], []
    for i in range(len(x)):
        gone = merged[i].tolist()
        groups = {j: [j] for j in range(x.shape[1]) if j not in gone}
        for start, stop in zip(gone, into[i].tolist(), strict=True):
            groups[stop].append(start)
        row = []
        for group in groups.values():
            group = sorted(group)
            tokens, weights = x[i, group], sizes[i, group]
            if rule == "mean":
                row.append((weights[:, None] * tokens).sum(0) / weights.sum())
            elif rule == "magnitude":
                row.append(tokens[tokens.norm(dim=-1).argmax()])
            else:
                row.append(torch.stack([tokens[f % len(group), f] for f in range(x.shape[-1])]))
        rows.append(torch.stack(row))
        counts.append(torch.stack([sizes[i, group[0]] for group in groups.values()]))
    return torch.stack(rows), torch.stack(counts)


@wrong("the shortest stays", says="by magnitude the tokens differ")
def merge_tokens(x, sizes, merged, into, rule="mean"):
    if rule not in ("mean", "magnitude", "interleave"):
        raise ValueError(rule)
    rows, counts = [], []
    for i in range(len(x)):
        gone = merged[i].tolist()
        groups = {j: [j] for j in range(x.shape[1]) if j not in gone}
        for start, stop in zip(gone, into[i].tolist(), strict=True):
            groups[stop].append(start)
        row = []
        for group in groups.values():
            group = sorted(group)
            tokens, weights = x[i, group], sizes[i, group]
            if rule == "mean":
                row.append((weights[:, None] * tokens).sum(0) / weights.sum())
            elif rule == "magnitude":
                row.append(tokens[tokens.norm(dim=-1).argmin()])
            else:
                row.append(torch.stack([tokens[f % len(group), f] for f in range(x.shape[-1])]))
        rows.append(torch.stack(row))
        counts.append(torch.stack([sizes[i, group].sum() for group in groups.values()]))
    return torch.stack(rows), torch.stack(counts)


@wrong("the largest feature, not the longest token", says="by magnitude the tokens differ")
def merge_tokens(x, sizes, merged, into, rule="mean"):
    if rule not in ("mean", "magnitude", "interleave"):
        raise ValueError(rule)
    rows, counts = [], []
    for i in range(len(x)):
        gone = merged[i].tolist()
        groups = {j: [j] for j in range(x.shape[1]) if j not in gone}
        for start, stop in zip(gone, into[i].tolist(), strict=True):
            groups[stop].append(start)
        row = []
        for group in groups.values():
            group = sorted(group)
            tokens, weights = x[i, group], sizes[i, group]
            if rule == "mean":
                row.append((weights[:, None] * tokens).sum(0) / weights.sum())
            elif rule == "magnitude":
                row.append(tokens.gather(0, tokens.abs().argmax(0, keepdim=True))[0])
            else:
                row.append(torch.stack([tokens[f % len(group), f] for f in range(x.shape[-1])]))
        rows.append(torch.stack(row))
        counts.append(torch.stack([sizes[i, group].sum() for group in groups.values()]))
    return torch.stack(rows), torch.stack(counts)


@wrong("interleaves halves, not features in turns", says="by interleave the tokens differ")
def merge_tokens(x, sizes, merged, into, rule="mean"):
    if rule not in ("mean", "magnitude", "interleave"):
        raise ValueError(rule)
    rows, counts = [], []
    for i in range(len(x)):
        gone = merged[i].tolist()
        groups = {j: [j] for j in range(x.shape[1]) if j not in gone}
        for start, stop in zip(gone, into[i].tolist(), strict=True):
            groups[stop].append(start)
        row = []
        for group in groups.values():
            group = sorted(group)
            tokens, weights = x[i, group], sizes[i, group]
            if rule == "mean":
                row.append((weights[:, None] * tokens).sum(0) / weights.sum())
            elif rule == "magnitude":
                row.append(tokens[tokens.norm(dim=-1).argmax()])
            else:
                row.append(torch.stack([tokens[f * len(group) // x.shape[-1], f] for f in range(x.shape[-1])]))
        rows.append(torch.stack(row))
        counts.append(torch.stack([sizes[i, group].sum() for group in groups.values()]))
    return torch.stack(rows), torch.stack(counts)


@wrong("begins the turns with the last", says="by interleave the tokens differ")
def merge_tokens(x, sizes, merged, into, rule="mean"):
    if rule not in ("mean", "magnitude", "interleave"):
        raise ValueError(rule)
    rows, counts = [], []
    for i in range(len(x)):
        gone = merged[i].tolist()
        groups = {j: [j] for j in range(x.shape[1]) if j not in gone}
        for start, stop in zip(gone, into[i].tolist(), strict=True):
            groups[stop].append(start)
        row = []
        for group in groups.values():
            group = sorted(group)
            tokens, weights = x[i, group], sizes[i, group]
            if rule == "mean":
                row.append((weights[:, None] * tokens).sum(0) / weights.sum())
            elif rule == "magnitude":
                row.append(tokens[tokens.norm(dim=-1).argmax()])
            else:
                row.append(torch.stack([tokens[-1 - f % len(group), f] for f in range(x.shape[-1])]))
        rows.append(torch.stack(row))
        counts.append(torch.stack([sizes[i, group].sum() for group in groups.values()]))
    return torch.stack(rows), torch.stack(counts)


@wrong("another rule is interleaving", says="ValueError")
def merge_tokens(x, sizes, merged, into, rule="mean"):
    if rule not in ("mean", "magnitude", "interleave"):
        rule = "interleave"
    rows, counts = [], []
    for i in range(len(x)):
        gone = merged[i].tolist()
        groups = {j: [j] for j in range(x.shape[1]) if j not in gone}
        for start, stop in zip(gone, into[i].tolist(), strict=True):
            groups[stop].append(start)
        row = []
        for group in groups.values():
            group = sorted(group)
            tokens, weights = x[i, group], sizes[i, group]
            if rule == "mean":
                row.append((weights[:, None] * tokens).sum(0) / weights.sum())
            elif rule == "magnitude":
                row.append(tokens[tokens.norm(dim=-1).argmax()])
            else:
                row.append(torch.stack([tokens[f % len(group), f] for f in range(x.shape[-1])]))
        rows.append(torch.stack(row))
        counts.append(torch.stack([sizes[i, group].sum() for group in groups.values()]))
    return torch.stack(rows), torch.stack(counts)


@right("token by token")
def merge_tokens(x, sizes, merged, into, rule="mean"):
    if rule not in ("mean", "magnitude", "interleave"):
        raise ValueError(rule)
    rows, counts = [], []
    for i in range(len(x)):
        gone = merged[i].tolist()
        groups = {j: [j] for j in range(x.shape[1]) if j not in gone}
        for start, stop in zip(gone, into[i].tolist(), strict=True):
            groups[stop].append(start)
        row = []
        for group in groups.values():
            group = sorted(group)
            tokens, weights = x[i, group], sizes[i, group]
            if rule == "mean":
                row.append((weights[:, None] * tokens).sum(0) / weights.sum())
            elif rule == "magnitude":
                row.append(tokens[tokens.norm(dim=-1).argmax()])
            else:
                row.append(torch.stack([tokens[f % len(group), f] for f in range(x.shape[-1])]))
        rows.append(torch.stack(row))
        counts.append(torch.stack([sizes[i, group].sum() for group in groups.values()]))
    return torch.stack(rows), torch.stack(counts)


@right("means by index_add, turns by a stack")
def merge_tokens(x, sizes, merged, into, rule="mean"):
    if rule not in ("mean", "magnitude", "interleave"):
        raise ValueError(f"no rule {rule}")
    outs = []
    for tokens, size, gone, to in zip(x, sizes, merged, into, strict=True):
        owner = torch.arange(len(tokens))
        owner[gone] = to
        total = torch.zeros_like(size).index_add(0, owner, size)
        stay = owner == torch.arange(len(tokens))
        if rule == "mean":
            result = torch.zeros_like(tokens).index_add(0, owner, tokens * size[:, None]) / total[:, None]
        else:
            result = tokens.clone()
            for place in owner.unique().tolist():
                group = tokens[owner == place]
                longest = group[group.norm(dim=-1).argmax()]
                turns = torch.stack([group[f % len(group), f] for f in range(tokens.shape[1])])
                result[place] = longest if rule == "magnitude" else turns
        outs.append((result[stay], total[stay]))
    return tuple(map(torch.stack, zip(*outs, strict=True)))


# --- proportional_attention ------------------------------------------------------------------------------------------


@wrong("ignores the sizes", says="no difference")
def proportional_attention(q, k, v, sizes):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v


@wrong("adds the sizes", says="logarithm of the sizes")
def proportional_attention(q, k, v, sizes):
    return (q @ k.mT / q.shape[-1] ** 0.5 + sizes[:, None, None]).softmax(-1) @ v


@wrong("weights times sizes, no longer summing to 1", says="no longer sum to 1")
def proportional_attention(q, k, v, sizes):
    return ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) * sizes[:, None, None]) @ v


@wrong("multiplies the scores", says="sharpen")
def proportional_attention(q, k, v, sizes):
    return (q @ k.mT / q.shape[-1] ** 0.5 * sizes[:, None, None]).softmax(-1) @ v


@wrong("no scaling", says="not divided by √d")
def proportional_attention(q, k, v, sizes):
    return (q @ k.mT + sizes.log()[:, None, None]).softmax(-1) @ v


@right("weights times sizes, summed to 1 again")
def proportional_attention(q, k, v, sizes):
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) * sizes[:, None, None]
    return weights / weights.sum(-1, keepdim=True) @ v


@right("PyTorch's attention, with the logarithms as a bias")
def proportional_attention(q, k, v, sizes):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=sizes.log()[:, None, None, :])
