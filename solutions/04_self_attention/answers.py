"""Planted answers for lesson 04: wrong ones that students give, and right ones in another style."""

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import nn

from autograder.authoring.answers import right, wrong

# --- project_qkv -----------------------------------------------------------------------------------------------------


@wrong("multiplies by the transposed matrix, as nn.Linear stores it", says="not its transpose")
def project_qkv(x, w_q, w_k, w_v):
    return F.linear(x, w_q), F.linear(x, w_k), F.linear(x, w_v)


@wrong("one matrix for all three", says="a matrix of their own")
def project_qkv(x, w_q, w_k, w_v):
    return x @ w_q, x @ w_q, x @ w_q


@wrong("returns keys first", says="in the order q, k, v")
def project_qkv(x, w_q, w_k, w_v):
    return x @ w_k, x @ w_q, x @ w_v


@wrong("takes the words themselves for values", says="the values are projected too")
def project_qkv(x, w_q, w_k, w_v):
    return x @ w_q, x @ w_k, x


@wrong("returns one stacked tensor", says="three tensors")
def project_qkv(x, w_q, w_k, w_v):
    return torch.cat([x @ w_q, x @ w_k, x @ w_v], dim=-1)


@right("as einsums")
def project_qkv(x, w_q, w_k, w_v):
    return tuple(torch.einsum("ble,ed->bld", x, w) for w in (w_q, w_k, w_v))


@right("one product for all three, then split; returns a list")
def project_qkv(x, w_q, w_k, w_v):
    sizes = [w.shape[1] for w in (w_q, w_k, w_v)]
    return list((x @ torch.cat([w_q, w_k, w_v], dim=1)).split(sizes, dim=-1))


# --- scaled_dot_product ----------------------------------------------------------------------------------------------


@wrong("no scaling", says="not divided by anything")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-1).nan_to_num()
    return weights @ v, weights


@wrong("divides by d", says="not by d itself")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / q.shape[-1]
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-1).nan_to_num()
    return weights @ v, weights


@wrong("divides by the root of the number of keys", says="the size of a query")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / k.shape[-2] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-1).nan_to_num()
    return weights @ v, weights


@wrong("divides by the root of the size of a value", says="the size of a query")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / v.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-1).nan_to_num()
    return weights @ v, weights


@wrong("softmax over the queries", says="sum to 1 over the keys")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-2).nan_to_num()
    return weights @ v, weights


@wrong("softmax over the heads", says="sum to 1 over the keys")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    weights = scores.softmax(1)
    return weights @ v, weights


@wrong("multiplies by the mask after the softmax", says="before the softmax")
def scaled_dot_product(q, k, v, mask=None):
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
    if mask is not None:
        weights = weights * mask
    return weights @ v, weights


@wrong("True blocks, as in nn.MultiheadAttention", says="True keeps")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(mask, -torch.inf)
    weights = scores.softmax(-1).nan_to_num()
    return weights @ v, weights


@wrong("-1e9 for masked scores: a fully masked row looks everywhere", says="may look at nothing")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e9)
    weights = scores.softmax(-1)
    return weights @ v, weights


@wrong("a fully masked row is NaN", says="NaN")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-1)
    return weights @ v, weights


@wrong("masks with a score of zero, which is no small score", says="masked keys got weight")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores * mask
    weights = scores.softmax(-1)
    return weights @ v, weights


@wrong("ignores the mask", says="masked keys got weight")
def scaled_dot_product(q, k, v, mask=None):
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
    return weights @ v, weights


@wrong("returns the output alone", says="return two tensors")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1).nan_to_num() @ v


@wrong("returns the scores in place of the weights", says="sum to 1 over the keys")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1).nan_to_num() @ v, scores


@wrong("returns weights first", says="first the output")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-1).nan_to_num()
    return weights, weights @ v


@wrong("exponentials without subtracting the maximum", says="overflow")
def scaled_dot_product(q, k, v, mask=None):
    grown = torch.exp(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5)
    if mask is not None:
        grown = grown * mask
    total = grown.sum(-1, keepdim=True)
    weights = torch.where(total > 0, grown / total, torch.zeros_like(grown))
    return weights @ v, weights


@wrong("computes without gradients", says="grad")
def scaled_dot_product(q, k, v, mask=None):
    q, k, v = q.detach(), k.detach(), v.detach()
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-1).nan_to_num()
    return weights @ v, weights


@wrong("calls PyTorch's own", says="from scratch")
def scaled_dot_product(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).nan_to_num(), scores.softmax(-1).nan_to_num()


@right("torch.einsum; a softmax by hand, zero rows by a division that cannot be 0/0")
def scaled_dot_product(q, k, v, mask=None):
    scores = torch.einsum("...id,...jd->...ij", q, k) * q.shape[-1] ** -0.5
    keep = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand(scores.shape)
    scores = torch.where(keep, scores, torch.full_like(scores, torch.finfo(scores.dtype).min))
    grown = torch.exp(scores - scores.amax(-1, keepdim=True)) * keep
    weights = grown / grown.sum(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)
    return torch.einsum("...ij,...jd->...id", weights, v), weights


@wrong("an additive mask: the gradient of a fully masked row is NaN", says="gradient is NaN")
def scaled_dot_product(q, k, v, mask=None):
    scores = torch.matmul(q / q.size(-1) ** 0.5, k.mT)
    if mask is not None:
        scores = scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill(mask.logical_not(), float("-inf"))
    weights = torch.nan_to_num(F.softmax(scores, dim=-1))
    return torch.matmul(weights, v), weights


@right("scales the queries, F.softmax, nan_to_num")
def scaled_dot_product(q, k, v, mask=None):
    scores = torch.matmul(q / q.size(-1) ** 0.5, k.mT)
    if mask is not None:
        scores = scores.masked_fill(mask.logical_not(), float("-inf"))
    weights = torch.nan_to_num(F.softmax(scores, dim=-1))
    return torch.matmul(weights, v), weights


@right("-1e9, with the weights of masked keys set to zero afterwards")
def scaled_dot_product(q, k, v, mask=None):
    scores = einsum(q, k, "... i d, ... j d -> ... i j") / q.shape[-1] ** 0.5
    if mask is None:
        weights = scores.softmax(dim=-1)
    else:
        weights = scores.masked_fill(mask == False, -1e9).softmax(dim=-1) * mask  # noqa: E712
    return [weights @ v, weights]


# --- score_variance --------------------------------------------------------------------------------------------------


@wrong("the standard deviation", says="standard deviation")
def score_variance(d, samples):
    return (torch.randn(samples, d) * torch.randn(samples, d)).sum(-1).std().item()


@wrong("scores that are scaled already", says="divided by")
def score_variance(d, samples):
    return ((torch.randn(samples, d) * torch.randn(samples, d)).sum(-1) / d**0.5).var().item()


@wrong("no sum over the d products", says="sum the d products")
def score_variance(d, samples):
    return (torch.randn(samples, d) * torch.randn(samples, d)).var().item() + 0.01


@wrong("the mean of the scores", says="mean")
def score_variance(d, samples):
    return (torch.randn(samples, d) * torch.randn(samples, d)).sum(-1).mean().item()


@wrong("the answer of the theory, nothing measured", says="measured")
def score_variance(d, samples):
    return float(d)


@wrong("uniform numbers", says="standard normal")
def score_variance(d, samples):
    return (torch.rand(samples, d) * torch.rand(samples, d)).sum(-1).var().item()


@wrong("the key is the query", says="two independent draws")
def score_variance(d, samples):
    q = torch.randn(samples, d)
    return (q * q).sum(-1).var().item()


@wrong("ignores how many samples are asked for", says="`samples`")
def score_variance(d, samples):
    return (torch.randn(5000, d) * torch.randn(5000, d)).sum(-1).var().item()


@right("a loop over the samples, statistics.pvariance")
def score_variance(d, samples):
    import statistics

    return statistics.pvariance([float(torch.randn(d) @ torch.randn(d)) for _ in range(samples)])


@wrong("a tensor without axes", says="not a tensor")
def score_variance(d, samples):
    return (torch.randn(samples, d) * torch.randn(samples, d)).sum(-1).var()


@right("batched dot products")
def score_variance(d, samples):
    q, k = torch.randn(samples, 1, d), torch.randn(samples, d, 1)
    return torch.bmm(q, k).flatten().var(unbiased=False).item()


# --- causal_mask -----------------------------------------------------------------------------------------------------


@wrong("True for the future", says="later than")
def causal_mask(length):
    return torch.ones(length, length, dtype=torch.bool).triu()


@wrong("strict: no position sees itself", says="sees itself")
def causal_mask(length):
    return torch.ones(length, length, dtype=torch.bool).tril(-1)


@wrong("True blocks", says="True keeps")
def causal_mask(length):
    return torch.ones(length, length, dtype=torch.bool).triu(1)


@wrong("numbers in place of booleans", says="bool")
def causal_mask(length):
    return torch.ones(length, length).tril()


@wrong("one step into the future", says="later than")
def causal_mask(length):
    return torch.ones(length, length, dtype=torch.bool).tril(1)


@right("by comparing positions")
def causal_mask(length):
    position = torch.arange(length)
    return position[None, :] <= position[:, None]


@right("cell by cell")
def causal_mask(length):
    return torch.tensor([[key <= query for key in range(length)] for query in range(length)])


# --- padding_mask ----------------------------------------------------------------------------------------------------


@wrong("True for the padding", says="True keeps")
def padding_mask(lengths, length):
    return (torch.arange(length) >= lengths[:, None])[:, None]


@wrong("one word too many", says="one too many")
def padding_mask(lengths, length):
    return (torch.arange(length) <= lengths[:, None])[:, None]


@wrong("one word too few", says="one too few")
def padding_mask(lengths, length):
    return (torch.arange(length) < lengths[:, None] - 1)[:, None]


@wrong("padding on the left", says="at the end")
def padding_mask(lengths, length):
    return (torch.arange(length) >= length - lengths[:, None])[:, None]


@wrong("no axis for the queries", says="shape")
def padding_mask(lengths, length):
    return torch.arange(length) < lengths[:, None]


@wrong("the axis of the queries at the end: masks queries, not keys", says="shape")
def padding_mask(lengths, length):
    return (torch.arange(length) < lengths[:, None])[..., None]


@wrong("as long as the longest sentence, not as asked", says="`length` keys")
def padding_mask(lengths, length):
    return (torch.arange(int(lengths.max())) < lengths[:, None])[:, None]


@wrong("int64", says="bool")
def padding_mask(lengths, length):
    return (torch.arange(length) < lengths[:, None])[:, None].long()


@right("sentence by sentence")
def padding_mask(lengths, length):
    return torch.stack([torch.tensor([[j < n for j in range(length)]]) for n in lengths.tolist()])


@right("by a cumulative sum of ones")
def padding_mask(lengths, length):
    count = torch.ones(len(lengths), 1, length).cumsum(-1)
    return count.le(lengths.reshape(-1, 1, 1))


# --- MultiHeadAttention ----------------------------------------------------------------------------------------------


@wrong("heads split by view, without moving axes", says="heads are mixed up")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be a multiple of n_heads")
        self.n_heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x, mask=None):
        b, length, e = x.shape
        q, k, v = (w(x).view(b, self.n_heads, length, e // self.n_heads) for w in (self.w_q, self.w_k, self.w_v))
        out, weights = scaled_dot_product(q, k, v, None if mask is None else mask[..., None, :, :])
        return self.w_o(out.reshape(b, length, e)), weights


@wrong("features counted head-last", says="heads are mixed up")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be a multiple of n_heads")
        self.n_heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (rearrange(w(x), "b l (d h) -> b h l d", h=self.n_heads) for w in (self.w_q, self.w_k, self.w_v))
        out, weights = scaled_dot_product(q, k, v, None if mask is None else mask[..., None, :, :])
        return self.w_o(rearrange(out, "b h l d -> b l (d h)")), weights


@wrong("heads merged without moving them back", says="put the heads back")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be a multiple of n_heads")
        self.n_heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (rearrange(w(x), "b l (h d) -> b h l d", h=self.n_heads) for w in (self.w_q, self.w_k, self.w_v))
        out, weights = scaled_dot_product(q, k, v, None if mask is None else mask[..., None, :, :])
        return self.w_o(out.reshape(x.shape)), weights


@wrong("no output projection", says="w_o")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be a multiple of n_heads")
        self.n_heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (rearrange(w(x), "b l (h d) -> b h l d", h=self.n_heads) for w in (self.w_q, self.w_k, self.w_v))
        out, weights = scaled_dot_product(q, k, v, None if mask is None else mask[..., None, :, :])
        return rearrange(out, "b h l d -> b l (h d)"), weights


@wrong("the mask lines up with the heads, not with the batch", says="axis for the heads")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be a multiple of n_heads")
        self.n_heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (rearrange(w(x), "b l (h d) -> b h l d", h=self.n_heads) for w in (self.w_q, self.w_k, self.w_v))
        out, weights = scaled_dot_product(q, k, v, mask)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)")), weights


@wrong("forgets the mask", says="the mask is not used")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be a multiple of n_heads")
        self.n_heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (rearrange(w(x), "b l (h d) -> b h l d", h=self.n_heads) for w in (self.w_q, self.w_k, self.w_v))
        out, weights = scaled_dot_product(q, k, v)
        return self.w_o(rearrange(out, "b h l d -> b l (h d)")), weights


@wrong("one head, as wide as the model", says="one map for each head")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be a multiple of n_heads")
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x, mask=None):
        out, weights = scaled_dot_product(self.w_q(x), self.w_k(x), self.w_v(x), mask)
        return self.w_o(out), weights


@wrong("weights averaged over the heads", says="one map for each head")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be a multiple of n_heads")
        self.n_heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (rearrange(w(x), "b l (h d) -> b h l d", h=self.n_heads) for w in (self.w_q, self.w_k, self.w_v))
        out, weights = scaled_dot_product(q, k, v, None if mask is None else mask[..., None, :, :])
        return self.w_o(rearrange(out, "b h l d -> b l (h d)")), weights.mean(1)


@wrong("scales by the width of the model", says="the size of one head")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be a multiple of n_heads")
        self.n_heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (rearrange(w(x), "b l (h d) -> b h l d", h=self.n_heads) for w in (self.w_q, self.w_k, self.w_v))
        scores = q @ k.mT / x.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[..., None, :, :], -torch.inf)
        weights = scores.softmax(-1).nan_to_num()
        return self.w_o(rearrange(weights @ v, "b h l d -> b l (h d)")), weights


@wrong("no biases", says="biases")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be a multiple of n_heads")
        self.n_heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (rearrange(w(x), "b l (h d) -> b h l d", h=self.n_heads) for w in (self.w_q, self.w_k, self.w_v))
        out, weights = scaled_dot_product(q, k, v, None if mask is None else mask[..., None, :, :])
        return self.w_o(rearrange(out, "b h l d -> b l (h d)")), weights


@wrong("takes any number of heads", says="ValueError")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (rearrange(w(x), "b l (h d) -> b h l d", h=self.n_heads) for w in (self.w_q, self.w_k, self.w_v))
        out, weights = scaled_dot_product(q, k, v, None if mask is None else mask[..., None, :, :])
        return self.w_o(rearrange(out, "b h l d -> b l (h d)")), weights


@wrong("the axis for the heads is always the second: wrong for a mask (l, l)", says="a mask (3, 3) gets the wrong axis")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be a multiple of n_heads")
        self.n_heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (rearrange(w(x), "b l (h d) -> b h l d", h=self.n_heads) for w in (self.w_q, self.w_k, self.w_v))
        out, weights = scaled_dot_product(q, k, v, None if mask is None else mask.unsqueeze(1))
        return self.w_o(rearrange(out, "b h l d -> b l (h d)")), weights


@wrong("keys and queries from the same matrix", says="keys w_k(x)")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be a multiple of n_heads")
        self.n_heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (rearrange(w(x), "b l (h d) -> b h l d", h=self.n_heads) for w in (self.w_q, self.w_q, self.w_v))
        out, weights = scaled_dot_product(q, k, v, None if mask is None else mask[..., None, :, :])
        return self.w_o(rearrange(out, "b h l d -> b l (h d)")), weights


@wrong("wraps PyTorch's own", says="from scratch")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError("d_model must be a multiple of n_heads")
        self.attention = nn.MultiheadAttention(d_model, n_heads, batch_first=True)

    def forward(self, x, mask=None):
        return self.attention(x, x, x, average_attn_weights=False)


@right("views and transposes, its own softmax")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError(f"{d_model} features do not split into {n_heads} heads")
        self.h, self.d = n_heads, d_model // n_heads
        self.w_q = nn.Linear(d_model, d_model)
        self.w_k = nn.Linear(d_model, d_model)
        self.w_v = nn.Linear(d_model, d_model)
        self.w_o = nn.Linear(d_model, d_model)

    def split(self, x):
        return x.view(x.size(0), x.size(1), self.h, self.d).transpose(1, 2)

    def forward(self, x, mask=None):
        q, k, v = self.split(self.w_q(x)), self.split(self.w_k(x)), self.split(self.w_v(x))
        scores = q.matmul(k.transpose(-2, -1)) / self.d**0.5
        if mask is not None:
            if mask.dim() == 3:
                mask = mask.unsqueeze(1)
            scores = scores.masked_fill(~mask, float("-inf"))
        weights = torch.nan_to_num(F.softmax(scores, dim=-1))
        out = weights.matmul(v).transpose(1, 2).contiguous().view(x.shape)
        return self.w_o(out), weights


@right("a loop over the heads, each with its slice of the features")
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        if d_model % n_heads:
            raise ValueError("n_heads must divide d_model")
        super().__init__()
        self.n_heads = n_heads
        for name in ("w_q", "w_k", "w_v", "w_o"):
            self.add_module(name, nn.Linear(d_model, d_model))

    def forward(self, x, mask=None):
        outs, maps = [], []
        parts = (w(x).chunk(self.n_heads, dim=-1) for w in (self.w_q, self.w_k, self.w_v))
        for q, k, v in zip(*parts, strict=True):
            out, weights = scaled_dot_product(q, k, v, mask)
            outs.append(out)
            maps.append(weights)
        return self.w_o(torch.cat(outs, dim=-1)), torch.stack(maps, dim=1)


# --- attention_flops -------------------------------------------------------------------------------------------------


@wrong("counts multiply-adds once", says="two operations")
def attention_flops(batch, length, d_model):
    return 4 * batch * length * d_model**2, 2 * batch * length**2 * d_model


@wrong("forgets the output projection", says="four projections")
def attention_flops(batch, length, d_model):
    return 6 * batch * length * d_model**2, 4 * batch * length**2 * d_model


@wrong("forgets the mixing of the values", says="mixing")
def attention_flops(batch, length, d_model):
    return 8 * batch * length * d_model**2, 2 * batch * length**2 * d_model


@wrong("returns the sum", says="two numbers")
def attention_flops(batch, length, d_model):
    return 8 * batch * length * d_model**2 + 4 * batch * length**2 * d_model


@wrong("linear in the length", says="every query meets every key")
def attention_flops(batch, length, d_model):
    return 8 * batch * length * d_model**2, 4 * batch * length * d_model


@wrong("one sentence only", says="batch")
def attention_flops(batch, length, d_model):
    return 8 * length * d_model**2, 4 * length**2 * d_model


@wrong("scores and mixing first", says="projections come first")
def attention_flops(batch, length, d_model):
    return 4 * batch * length**2 * d_model, 8 * batch * length * d_model**2


@right("product by product")
def attention_flops(batch, length, d_model):
    def matmul(n, inner, m):
        return 2 * n * inner * m

    return 4 * matmul(batch * length, d_model, d_model), batch * (
        matmul(length, d_model, length) + matmul(length, length, d_model)
    )


@right("as a list")
def attention_flops(batch, length, d_model):
    return [8 * batch * length * d_model * d_model, 4 * batch * d_model * length * length]


# --- crossover_length ------------------------------------------------------------------------------------------------


@wrong("the width", says="the two costs differ")
def crossover_length(d_model):
    return d_model


@wrong("half the width", says="the two costs differ")
def crossover_length(d_model):
    return d_model / 2


@wrong("a constant", says="the two costs differ")
def crossover_length(d_model):
    return 1024


@wrong("the square of the width", says="the two costs differ")
def crossover_length(d_model):
    return d_model**2


@right("by search")
def crossover_length(d_model):
    length = 1
    while 4 * length * d_model < 8 * d_model**2:
        length += 1
    return length


@wrong("as a float", says="whole number")
def crossover_length(d_model):
    return 8 * d_model**2 / (4 * d_model)


@right("the quotient of the two costs a word")
def crossover_length(d_model):
    return 8 * d_model**2 // (4 * d_model)


# --- sinusoidal_positions --------------------------------------------------------------------------------------------


@wrong("all sines, then all cosines", says="take turns")
def sinusoidal_positions(length, d):
    angle = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, d, 2) / d)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


@wrong("cosine first", says="sine comes first")
def sinusoidal_positions(length, d):
    angle = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, d, 2) / d)
    return torch.stack([angle.cos(), angle.sin()], dim=-1).flatten(-2)


@wrong("the exponent is i/d for 2i/d", says="frequencies")
def sinusoidal_positions(length, d):
    angle = torch.arange(length)[:, None] / 10000 ** (torch.arange(d // 2) / d)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


@wrong("sine and cosine of a pair have different frequencies", says="frequencies")
def sinusoidal_positions(length, d):
    angle = torch.arange(length)[:, None] / 10000 ** (torch.arange(d) / d)
    out = angle.sin()
    out[:, 1::2] = angle[:, 1::2].cos()
    return out


@wrong("multiplies by the wave lengths", says="frequencies")
def sinusoidal_positions(length, d):
    angle = torch.arange(length)[:, None] * 10000 ** (torch.arange(0, d, 2) / d)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


@wrong("counts from one", says="position 0")
def sinusoidal_positions(length, d):
    angle = torch.arange(1, length + 1)[:, None] / 10000 ** (torch.arange(0, d, 2) / d)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


@right("by powers in float64, filled column by column")
def sinusoidal_positions(length, d):
    out = torch.zeros(length, d, dtype=torch.float64)
    position = torch.arange(length, dtype=torch.float64)
    for i in range(d // 2):
        frequency = 10000.0 ** (-2 * i / d)
        out[:, 2 * i] = torch.sin(position * frequency)
        out[:, 2 * i + 1] = torch.cos(position * frequency)
    return out.float()


@right("as the annotated transformer: exp of a log")
def sinusoidal_positions(length, d):
    import math

    out = torch.zeros(length, d)
    position = torch.arange(0, length).unsqueeze(1)
    factor = torch.exp(torch.arange(0, d, 2) * -(math.log(10000.0) / d))
    out[:, 0::2] = torch.sin(position * factor)
    out[:, 1::2] = torch.cos(position * factor)
    return out


# --- shift_matrix ----------------------------------------------------------------------------------------------------


@wrong("turns the other way", says="other way")
def shift_matrix(k, d):
    angle = k / 10000 ** (torch.arange(0, d, 2) / d)
    return torch.block_diag(*(torch.tensor([[a.cos(), -a.sin()], [a.sin(), a.cos()]]) for a in angle))


@wrong("one frequency for all pairs", says="each pair")
def shift_matrix(k, d):
    import math

    c, s = math.cos(k), math.sin(k)
    return torch.block_diag(*[torch.tensor([[c, s], [-s, c]]) for _ in range(d // 2)])


@wrong("shifts the features, not the position", says="PE(p + k)")
def shift_matrix(k, d):
    return torch.eye(d).roll(k, dims=0)


@wrong("no shift", says="PE(p + k)")
def shift_matrix(k, d):
    return torch.eye(d)


@wrong("degrees", says="each pair")
def shift_matrix(k, d):
    angle = torch.deg2rad(k / 10000 ** (torch.arange(0, d, 2) / d))
    return torch.block_diag(*(torch.tensor([[a.cos(), a.sin()], [-a.sin(), a.cos()]]) for a in angle))


@wrong("the absolute value of the shift", says="to the left")
def shift_matrix(k, d):
    angle = abs(k) / 10000 ** (torch.arange(0, d, 2) / d)
    return torch.block_diag(*(torch.tensor([[a.cos(), a.sin()], [-a.sin(), a.cos()]]) for a in angle))


@right("filled entry by entry")
def shift_matrix(k, d):
    import math

    out = torch.zeros(d, d)
    for i in range(0, d, 2):
        angle = k * 10000.0 ** (-i / d)
        out[i, i] = out[i + 1, i + 1] = math.cos(angle)
        out[i, i + 1], out[i + 1, i] = math.sin(angle), -math.sin(angle)
    return out


@right("as the exponential of k times a generator")
def shift_matrix(k, d):
    frequency = 10000 ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    return torch.matrix_exp(k * torch.block_diag(*(f * turn for f in frequency))).float()
