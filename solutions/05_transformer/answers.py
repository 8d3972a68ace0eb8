"""Planted answers for lesson 05: wrong ones that students give, and right ones in another style."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from autograder.authoring.answers import right, wrong
from utils.blocks import MultiHeadAttention

# --- layer_norm ------------------------------------------------------------------------------------------------------


@wrong("normalises over the batch", says="each vector on its own")
def layer_norm(x, gain, bias, eps=1e-5):
    mean, variance = x.mean(0, keepdim=True), x.var(0, keepdim=True, unbiased=False)
    return gain * (x - mean) / torch.sqrt(variance + eps) + bias


@wrong("normalises over words and features together", says="each vector on its own")
def layer_norm(x, gain, bias, eps=1e-5):
    mean, variance = x.mean((-2, -1), keepdim=True), x.var((-2, -1), keepdim=True, unbiased=False)
    return gain * (x - mean) / torch.sqrt(variance + eps) + bias


@wrong("the unbiased variance, torch's default", says="divided by d, not by d − 1")
def layer_norm(x, gain, bias, eps=1e-5):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True)
    return gain * (x - mean) / torch.sqrt(variance + eps) + bias


@wrong("eps outside the root", says="under the root")
def layer_norm(x, gain, bias, eps=1e-5):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return gain * (x - mean) / (torch.sqrt(variance) + eps) + bias


@wrong("an eps of its own", says="`eps`")
def layer_norm(x, gain, bias, eps=1e-5):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return gain * (x - mean) / torch.sqrt(variance + 1e-5) + bias


@wrong("forgets the gain", says="gain")
def layer_norm(x, gain, bias, eps=1e-5):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return (x - mean) / torch.sqrt(variance + eps) + bias


@wrong("forgets the bias", says="bias")
def layer_norm(x, gain, bias, eps=1e-5):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return gain * (x - mean) / torch.sqrt(variance + eps)


@wrong("multiplies the bias by the gain, too", says="the bias is added last")
def layer_norm(x, gain, bias, eps=1e-5):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return gain * ((x - mean) / torch.sqrt(variance + eps) + bias)


@wrong("divides by the variance, not by its root", says="root of the variance")
def layer_norm(x, gain, bias, eps=1e-5):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return gain * (x - mean) / (variance + eps) + bias


@wrong("does not subtract the mean", says="subtract the mean")
def layer_norm(x, gain, bias, eps=1e-5):
    variance = x.var(-1, keepdim=True, unbiased=False)
    return gain * x / torch.sqrt(variance + eps) + bias


@wrong("no eps at all: a vector of equal numbers is 0/0", says="`eps`")
def layer_norm(x, gain, bias, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return gain * centred / centred.pow(2).mean(-1, keepdim=True).sqrt() + bias


@wrong("calls PyTorch's own", says="from scratch")
def layer_norm(x, gain, bias, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], gain, bias, eps)


@right("by einops, and the reciprocal root")
def layer_norm(x, gain, bias, eps=1e-5):
    from einops import reduce

    centred = x - reduce(x, "... d -> ... 1", "mean")
    return centred * torch.rsqrt(reduce(centred**2, "... d -> ... 1", "mean") + eps) * gain + bias


@right("E[x²] − E[x]², in float64, then back")
def layer_norm(x, gain, bias, eps=1e-5):
    wide = x.double()
    mean = wide.mean(-1, keepdim=True)
    variance = (wide**2).mean(-1, keepdim=True) - mean**2
    return ((wide - mean) / (variance + eps) ** 0.5).to(x.dtype) * gain + bias


# --- rms_norm --------------------------------------------------------------------------------------------------------


@wrong("subtracts the mean, as the other norm does", says="no mean is subtracted")
def rms_norm(x, gain, eps=1e-6):
    centred = x - x.mean(-1, keepdim=True)
    return gain * centred * torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + eps)


@wrong("divides by the length of the vector: a sum of squares", says="the mean of the squares, not their sum")
def rms_norm(x, gain, eps=1e-6):
    return gain * x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + eps)


@wrong("divides by the standard deviation", says="no mean is subtracted")
def rms_norm(x, gain, eps=1e-6):
    return gain * x * torch.rsqrt(x.var(-1, keepdim=True, unbiased=False) + eps)


@wrong("forgets the gain", says="gain")
def rms_norm(x, gain, eps=1e-6):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


@wrong("forgets the root", says="root")
def rms_norm(x, gain, eps=1e-6):
    return gain * x / (x.pow(2).mean(-1, keepdim=True) + eps)


@wrong("eps outside the root", says="under the root")
def rms_norm(x, gain, eps=1e-6):
    return gain * x / (x.pow(2).mean(-1, keepdim=True).sqrt() + eps)


@wrong("normalises over the batch", says="each vector on its own")
def rms_norm(x, gain, eps=1e-6):
    return gain * x * torch.rsqrt(x.pow(2).mean(0, keepdim=True) + eps)


@wrong("calls PyTorch's own", says="from scratch")
def rms_norm(x, gain, eps=1e-6):
    return F.rms_norm(x, x.shape[-1:], gain, eps)


@right("by the norm of the vector")
def rms_norm(x, gain, eps=1e-6):
    size = (x.norm(dim=-1, keepdim=True) ** 2 / x.shape[-1] + eps).sqrt()
    return x / size * gain


@right("torch.einsum for the squares")
def rms_norm(x, gain, eps=1e-6):
    squares = torch.einsum("...d,...d->...", x, x)[..., None]
    return gain * (x / torch.sqrt(squares / len(gain) + eps))


# --- GatedFeedForward ------------------------------------------------------------------------------------------------


@wrong("gate and value swapped", says="the gate is what swish is applied to")
class GatedFeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.w_gate, self.w_in = (nn.Linear(d_model, d_hidden, bias=False) for _ in range(2))
        self.w_out = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x):
        return self.w_out(self.w_gate(x) * F.silu(self.w_in(x)))


@wrong("swish of the product", says="before the product")
class GatedFeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.w_gate, self.w_in = (nn.Linear(d_model, d_hidden, bias=False) for _ in range(2))
        self.w_out = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x):
        return self.w_out(F.silu(self.w_gate(x) * self.w_in(x)))


@wrong("adds in place of multiplying", says="multiply")
class GatedFeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.w_gate, self.w_in = (nn.Linear(d_model, d_hidden, bias=False) for _ in range(2))
        self.w_out = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x):
        return self.w_out(F.silu(self.w_gate(x)) + self.w_in(x))


@wrong("a sigmoid for a gate: the older GLU", says="swish(z) = z · sigmoid(z)")
class GatedFeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.w_gate, self.w_in = (nn.Linear(d_model, d_hidden, bias=False) for _ in range(2))
        self.w_out = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x):
        return self.w_out(torch.sigmoid(self.w_gate(x)) * self.w_in(x))


@wrong("gelu for a gate: GEGLU", says="swish(z) = z · sigmoid(z)")
class GatedFeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.w_gate, self.w_in = (nn.Linear(d_model, d_hidden, bias=False) for _ in range(2))
        self.w_out = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x):
        return self.w_out(F.gelu(self.w_gate(x)) * self.w_in(x))


@wrong("no activation: bilinear", says="swish")
class GatedFeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.w_gate, self.w_in = (nn.Linear(d_model, d_hidden, bias=False) for _ in range(2))
        self.w_out = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x):
        return self.w_out(self.w_gate(x) * self.w_in(x))


@wrong("with biases", says="without biases")
class GatedFeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.w_gate, self.w_in = (nn.Linear(d_model, d_hidden) for _ in range(2))
        self.w_out = nn.Linear(d_hidden, d_model)

    def forward(self, x):
        return self.w_out(F.silu(self.w_gate(x)) * self.w_in(x))


@wrong("forgets the way back", says="w_out")
class GatedFeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.w_gate, self.w_in = (nn.Linear(d_model, d_hidden, bias=False) for _ in range(2))
        self.w_out = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x):
        return F.silu(self.w_gate(x)) * self.w_in(x)


@right("swish by hand")
class GatedFeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.w_in = nn.Linear(d_model, d_hidden, bias=False)
        self.w_gate = nn.Linear(d_model, d_hidden, bias=False)
        self.w_out = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x):
        gate, value = self.w_gate(x), self.w_in(x)
        return self.w_out(gate * value / (1 + torch.exp(-gate)))


@right("one product with both matrices, then chunk")
class GatedFeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        for name in ("w_gate", "w_in"):
            setattr(self, name, nn.Linear(d_model, d_hidden, bias=False))
        self.w_out = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x):
        both = x @ torch.cat([self.w_gate.weight, self.w_in.weight]).T
        gate, value = both.chunk(2, dim=-1)
        return F.linear(nn.SiLU()(gate) * value, self.w_out.weight)


# --- EncoderBlock ----------------------------------------------------------------------------------------------------


@wrong("the residual path starts from the normalised input", says="the stream itself, not from its normalised copy")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.attention_norm = MultiHeadAttention(d_model, n_heads), nn.LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, mask=None):
        if self.pre_norm:
            x = self.attention_norm(x)
            x = x + self.attention(x, mask=mask)
            x = self.feed_forward_norm(x)
            return x + self.feed_forward(x)
        x = self.attention_norm(x + self.attention(x, mask=mask))
        return self.feed_forward_norm(x + self.feed_forward(x))


@wrong("always pre-norm", says="with pre_norm=False")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.attention, self.attention_norm = MultiHeadAttention(d_model, n_heads), nn.LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, mask=None):
        x = x + self.attention(self.attention_norm(x), mask=mask)
        return x + self.feed_forward(self.feed_forward_norm(x))


@wrong("pre and post exchanged", says="the other way round")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.attention_norm = MultiHeadAttention(d_model, n_heads), nn.LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, mask=None):
        if self.pre_norm:
            x = self.attention_norm(x + self.attention(x, mask=mask))
            return self.feed_forward_norm(x + self.feed_forward(x))
        x = x + self.attention(self.attention_norm(x), mask=mask)
        return x + self.feed_forward(self.feed_forward_norm(x))


@wrong("no residual path", says="residual")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.attention_norm = MultiHeadAttention(d_model, n_heads), nn.LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, mask=None):
        if self.pre_norm:
            return self.feed_forward(self.feed_forward_norm(self.attention(self.attention_norm(x), mask=mask)))
        return self.feed_forward_norm(self.feed_forward(self.attention_norm(self.attention(x, mask=mask))))


@wrong("one residual path around both parts", says="a residual path of its own")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.attention_norm = MultiHeadAttention(d_model, n_heads), nn.LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, mask=None):
        if self.pre_norm:
            return x + self.feed_forward(self.feed_forward_norm(self.attention(self.attention_norm(x), mask=mask)))
        return self.feed_forward_norm(x + self.feed_forward(self.attention_norm(self.attention(x, mask=mask))))


@wrong("attention and feed-forward side by side", says="reads what attention has written")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.attention_norm = MultiHeadAttention(d_model, n_heads), nn.LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, mask=None):
        if self.pre_norm:
            return x + self.attention(self.attention_norm(x), mask=mask) + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self.attention(x, mask=mask))
        return self.feed_forward_norm(x + self.feed_forward(x))


@wrong("forgets the mask", says="mask")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.attention_norm = MultiHeadAttention(d_model, n_heads), nn.LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, mask=None):
        if self.pre_norm:
            x = x + self.attention(self.attention_norm(x))
            return x + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self.attention(x))
        return self.feed_forward_norm(x + self.feed_forward(x))


@wrong("hands the mask over as the memory", says="mask=mask")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.attention_norm = MultiHeadAttention(d_model, n_heads), nn.LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, mask=None):
        if self.pre_norm:
            x = x + self.attention(self.attention_norm(x), mask)
            return x + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self.attention(x, mask))
        return self.feed_forward_norm(x + self.feed_forward(x))


@wrong("one norm for both parts", says="attention_norm")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.norm = MultiHeadAttention(d_model, n_heads), nn.LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)

    def forward(self, x, mask=None):
        if self.pre_norm:
            x = x + self.attention(self.norm(x), mask=mask)
            return x + self.feed_forward(self.norm(x))
        x = self.norm(x + self.attention(x, mask=mask))
        return self.norm(x + self.feed_forward(x))


@wrong("norms exchanged", says="each part has its own norm")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.attention_norm = MultiHeadAttention(d_model, n_heads), nn.LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, mask=None):
        if self.pre_norm:
            x = x + self.attention(self.feed_forward_norm(x), mask=mask)
            return x + self.feed_forward(self.attention_norm(x))
        x = self.feed_forward_norm(x + self.attention(x, mask=mask))
        return self.attention_norm(x + self.feed_forward(x))


@wrong("ignores eps", says="eps")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.attention_norm = MultiHeadAttention(d_model, n_heads), nn.LayerNorm(d_model)
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model)

    def forward(self, x, mask=None):
        if self.pre_norm:
            x = x + self.attention(self.attention_norm(x), mask=mask)
            return x + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self.attention(x, mask=mask))
        return self.feed_forward_norm(x + self.feed_forward(x))


@wrong("takes the fused one", says="from scratch")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        from utils.blocks import EncoderBlock as Fused

        self.__dict__ = Fused(d_model, n_heads, d_hidden, pre_norm=pre_norm, eps=eps).__dict__
        self.fused = Fused

    def forward(self, x, mask=None):
        return self.fused.forward(self, x, mask)


@right("two lines for each kind")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.norm_first = pre_norm
        self.attention = MultiHeadAttention(d_model, n_heads)
        self.attention_norm = nn.LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_hidden if d_hidden is not None else 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, mask=None):
        if self.norm_first:
            normed = self.attention_norm(x)
            x = x + self.attention(normed, normed, mask)
            return self.feed_forward(self.feed_forward_norm(x)) + x
        x = self.attention_norm(x + self.attention(x, x, mask))
        return self.feed_forward_norm(self.feed_forward(x) + x)


@right("a loop over the parts")
class EncoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.feed_forward_norm, self.attention_norm = nn.LayerNorm(d_model, eps), nn.LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.attention = MultiHeadAttention(d_model, n_heads)

    def forward(self, x, mask=None):
        attend = lambda y: self.attention(y, mask=mask)  # noqa: E731
        for part, norm in ((attend, self.attention_norm), (self.feed_forward, self.feed_forward_norm)):
            x = x + part(norm(x)) if self.pre_norm else norm(x + part(x))
        return x


# --- DecoderBlock ----------------------------------------------------------------------------------------------------


@wrong("keys of the cross-attention from the decoder", says="keys and values come from the memory")
class DecoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.cross_attention = (MultiHeadAttention(d_model, n_heads) for _ in range(2))
        self.attention_norm, self.cross_attention_norm = (nn.LayerNorm(d_model, eps) for _ in range(2))
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, memory, mask=None, memory_mask=None):
        parts = [
            (lambda y: self.attention(y, mask=mask), self.attention_norm),
            (lambda y: self.cross_attention(y), self.cross_attention_norm),
            (self.feed_forward, self.feed_forward_norm),
        ]
        for part, norm in parts:
            x = x + part(norm(x)) if self.pre_norm else norm(x + part(x))
        return x


@wrong("queries from the memory", says="queries come from the decoder")
class DecoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.cross_attention = (MultiHeadAttention(d_model, n_heads) for _ in range(2))
        self.attention_norm, self.cross_attention_norm = (nn.LayerNorm(d_model, eps) for _ in range(2))
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, memory, mask=None, memory_mask=None):
        parts = [
            (lambda y: self.attention(y, mask=mask), self.attention_norm),
            (lambda y: self.cross_attention(memory, y), self.cross_attention_norm),
            (self.feed_forward, self.feed_forward_norm),
        ]
        for part, norm in parts:
            x = x + part(norm(x)) if self.pre_norm else norm(x + part(x))
        return x


@wrong("cross-attention before self-attention", says="self-attention comes first")
class DecoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.cross_attention = (MultiHeadAttention(d_model, n_heads) for _ in range(2))
        self.attention_norm, self.cross_attention_norm = (nn.LayerNorm(d_model, eps) for _ in range(2))
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, memory, mask=None, memory_mask=None):
        parts = [
            (lambda y: self.cross_attention(y, memory, memory_mask), self.cross_attention_norm),
            (lambda y: self.attention(y, mask=mask), self.attention_norm),
            (self.feed_forward, self.feed_forward_norm),
        ]
        for part, norm in parts:
            x = x + part(norm(x)) if self.pre_norm else norm(x + part(x))
        return x


@wrong("the memory is normalised with the stream's norm", says="the memory is read as it is")
class DecoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.cross_attention = (MultiHeadAttention(d_model, n_heads) for _ in range(2))
        self.attention_norm, self.cross_attention_norm = (nn.LayerNorm(d_model, eps) for _ in range(2))
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, memory, mask=None, memory_mask=None):
        if self.pre_norm:
            memory = self.cross_attention_norm(memory)
        parts = [
            (lambda y: self.attention(y, mask=mask), self.attention_norm),
            (lambda y: self.cross_attention(y, memory, memory_mask), self.cross_attention_norm),
            (self.feed_forward, self.feed_forward_norm),
        ]
        for part, norm in parts:
            x = x + part(norm(x)) if self.pre_norm else norm(x + part(x))
        return x


@wrong("the two masks exchanged", says="`mask` is for the self-attention")
class DecoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.cross_attention = (MultiHeadAttention(d_model, n_heads) for _ in range(2))
        self.attention_norm, self.cross_attention_norm = (nn.LayerNorm(d_model, eps) for _ in range(2))
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, memory, mask=None, memory_mask=None):
        parts = [
            (lambda y: self.attention(y, mask=memory_mask), self.attention_norm),
            (lambda y: self.cross_attention(y, memory, mask), self.cross_attention_norm),
            (self.feed_forward, self.feed_forward_norm),
        ]
        for part, norm in parts:
            x = x + part(norm(x)) if self.pre_norm else norm(x + part(x))
        return x


@wrong("no mask for the memory", says="memory_mask")
class DecoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.cross_attention = (MultiHeadAttention(d_model, n_heads) for _ in range(2))
        self.attention_norm, self.cross_attention_norm = (nn.LayerNorm(d_model, eps) for _ in range(2))
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, memory, mask=None, memory_mask=None):
        parts = [
            (lambda y: self.attention(y, mask=mask), self.attention_norm),
            (lambda y: self.cross_attention(y, memory), self.cross_attention_norm),
            (self.feed_forward, self.feed_forward_norm),
        ]
        for part, norm in parts:
            x = x + part(norm(x)) if self.pre_norm else norm(x + part(x))
        return x


@wrong("no mask for the stream", says="the mask of the self-attention is not used")
class DecoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.cross_attention = (MultiHeadAttention(d_model, n_heads) for _ in range(2))
        self.attention_norm, self.cross_attention_norm = (nn.LayerNorm(d_model, eps) for _ in range(2))
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, memory, mask=None, memory_mask=None):
        parts = [
            (self.attention, self.attention_norm),
            (lambda y: self.cross_attention(y, memory, memory_mask), self.cross_attention_norm),
            (self.feed_forward, self.feed_forward_norm),
        ]
        for part, norm in parts:
            x = x + part(norm(x)) if self.pre_norm else norm(x + part(x))
        return x


@wrong("causal by itself, whatever the mask", says="nothing is causal by itself")
class DecoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.cross_attention = (MultiHeadAttention(d_model, n_heads) for _ in range(2))
        self.attention_norm, self.cross_attention_norm = (nn.LayerNorm(d_model, eps) for _ in range(2))
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, memory, mask=None, memory_mask=None):
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        mask = causal if mask is None else mask & causal
        parts = [
            (lambda y: self.attention(y, mask=mask), self.attention_norm),
            (lambda y: self.cross_attention(y, memory, memory_mask), self.cross_attention_norm),
            (self.feed_forward, self.feed_forward_norm),
        ]
        for part, norm in parts:
            x = x + part(norm(x)) if self.pre_norm else norm(x + part(x))
        return x


@wrong("no residual path around the cross-attention", says="residual")
class DecoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.cross_attention = (MultiHeadAttention(d_model, n_heads) for _ in range(2))
        self.attention_norm, self.cross_attention_norm = (nn.LayerNorm(d_model, eps) for _ in range(2))
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, memory, mask=None, memory_mask=None):
        if self.pre_norm:
            x = x + self.attention(self.attention_norm(x), mask=mask)
            x = self.cross_attention(self.cross_attention_norm(x), memory, memory_mask)
            return x + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self.attention(x, mask=mask))
        x = self.cross_attention_norm(self.cross_attention(x, memory, memory_mask))
        return self.feed_forward_norm(x + self.feed_forward(x))


@wrong("post-norm is missing", says="with pre_norm=False")
class DecoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.attention, self.cross_attention = (MultiHeadAttention(d_model, n_heads) for _ in range(2))
        self.attention_norm, self.cross_attention_norm = (nn.LayerNorm(d_model, eps) for _ in range(2))
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, memory, mask=None, memory_mask=None):
        x = x + self.attention(self.attention_norm(x), mask=mask)
        x = x + self.cross_attention(self.cross_attention_norm(x), memory, memory_mask)
        return x + self.feed_forward(self.feed_forward_norm(x))


@wrong("one attention layer for both", says="cross_attention")
class DecoderBlock(EncoderBlock):
    def forward(self, x, memory, mask=None, memory_mask=None):
        x = x + self.attention(self.attention_norm(x), mask=mask)
        x = x + self.attention(self.attention_norm(x), memory, memory_mask)
        return x + self.feed_forward(self.feed_forward_norm(x))


@right("an encoder block, extended")
class DecoderBlock(EncoderBlock):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__(d_model, n_heads, d_hidden, pre_norm=pre_norm, eps=eps)
        self.before = pre_norm
        self.cross_attention, self.cross_attention_norm = (
            MultiHeadAttention(d_model, n_heads),
            nn.LayerNorm(d_model, eps),
        )

    def forward(self, x, memory, mask=None, memory_mask=None):
        def around(x, norm, part, *args):
            return x + part(norm(x), *args) if self.before else norm(x + part(x, *args))

        x = around(x, self.attention_norm, self.attention, None, mask)
        x = around(x, self.cross_attention_norm, self.cross_attention, memory, memory_mask)
        return around(x, self.feed_forward_norm, self.feed_forward)


@right("written out twice")
class DecoderBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_hidden=None, *, pre_norm=True, eps=1e-5):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention, self.cross_attention = (MultiHeadAttention(d_model, n_heads) for _ in range(2))
        self.attention_norm, self.cross_attention_norm = (nn.LayerNorm(d_model, eps) for _ in range(2))
        self.feed_forward = FeedForward(d_model, 4 * d_model if d_hidden is None else d_hidden)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x, memory, mask=None, memory_mask=None):
        if not self.pre_norm:
            x = self.attention_norm(x + self.attention(x, mask=mask))
            x = self.cross_attention_norm(x + self.cross_attention(x, memory=memory, mask=memory_mask))
            return self.feed_forward_norm(x + self.feed_forward(x))
        x = x + self.attention(self.attention_norm(x), mask=mask)
        x = x + self.cross_attention(self.cross_attention_norm(x), memory=memory, mask=memory_mask)
        return x + self.feed_forward(self.feed_forward_norm(x))


# --- Transformer -----------------------------------------------------------------------------------------------------


@wrong("embedding not scaled", says="multiplied by √d_model")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = tokens(ids)
        return x + sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x, mask = self.embed(self.source_tokens, source), (source != PAD)[:, None]
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        x, memory_mask = self.embed(self.target_tokens, given), (source != PAD)[:, None]
        causal = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool).tril()
        for block in self.decoder:
            x = block(x, memory, causal, memory_mask)
        return F.linear(self.decoder_norm(x), self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@wrong("divides by the root in place of multiplying", says="multiplied by √d_model")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = tokens(ids) / self.d_model**0.5
        return x + sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x, mask = self.embed(self.source_tokens, source), (source != PAD)[:, None]
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        x, memory_mask = self.embed(self.target_tokens, given), (source != PAD)[:, None]
        causal = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool).tril()
        for block in self.decoder:
            x = block(x, memory, causal, memory_mask)
        return F.linear(self.decoder_norm(x), self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@wrong("the positions are scaled, too", says="the positions are added after")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = self.d_model**0.5 * tokens(ids)
        return x + self.d_model**0.5 * sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x, mask = self.embed(self.source_tokens, source), (source != PAD)[:, None]
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        x, memory_mask = self.embed(self.target_tokens, given), (source != PAD)[:, None]
        causal = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool).tril()
        for block in self.decoder:
            x = block(x, memory, causal, memory_mask)
        return F.linear(self.decoder_norm(x), self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@wrong("no positions", says="positions")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = self.d_model**0.5 * tokens(ids)
        return x

    def encode(self, source):
        x, mask = self.embed(self.source_tokens, source), (source != PAD)[:, None]
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        x, memory_mask = self.embed(self.target_tokens, given), (source != PAD)[:, None]
        causal = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool).tril()
        for block in self.decoder:
            x = block(x, memory, causal, memory_mask)
        return F.linear(self.decoder_norm(x), self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@wrong("no causal mask", says="later word")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = self.d_model**0.5 * tokens(ids)
        return x + sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x, mask = self.embed(self.source_tokens, source), (source != PAD)[:, None]
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        x, memory_mask = self.embed(self.target_tokens, given), (source != PAD)[:, None]
        for block in self.decoder:
            x = block(x, memory, None, memory_mask)
        return F.linear(self.decoder_norm(x), self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@wrong("a strict causal mask: the first word sees nothing", says="each position sees itself")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = self.d_model**0.5 * tokens(ids)
        return x + sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x, mask = self.embed(self.source_tokens, source), (source != PAD)[:, None]
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        x, memory_mask = self.embed(self.target_tokens, given), (source != PAD)[:, None]
        causal = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool).tril(-1)
        for block in self.decoder:
            x = block(x, memory, causal, memory_mask)
        return F.linear(self.decoder_norm(x), self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@wrong("a causal mask upside down", says="later word")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = self.d_model**0.5 * tokens(ids)
        return x + sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x, mask = self.embed(self.source_tokens, source), (source != PAD)[:, None]
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        x, memory_mask = self.embed(self.target_tokens, given), (source != PAD)[:, None]
        causal = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool).triu()
        for block in self.decoder:
            x = block(x, memory, causal, memory_mask)
        return F.linear(self.decoder_norm(x), self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@wrong("padding of the source is read by the encoder", says="padding")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = self.d_model**0.5 * tokens(ids)
        return x + sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x = self.embed(self.source_tokens, source)
        for block in self.encoder:
            x = block(x)
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        x, memory_mask = self.embed(self.target_tokens, given), (source != PAD)[:, None]
        causal = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool).tril()
        for block in self.decoder:
            x = block(x, memory, causal, memory_mask)
        return F.linear(self.decoder_norm(x), self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@wrong("padding of the source is read by the decoder", says="the decoder, too")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = self.d_model**0.5 * tokens(ids)
        return x + sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x, mask = self.embed(self.source_tokens, source), (source != PAD)[:, None]
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        x = self.embed(self.target_tokens, given)
        causal = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool).tril()
        for block in self.decoder:
            x = block(x, memory, causal)
        return F.linear(self.decoder_norm(x), self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@wrong("no norm at the end of the encoder", says="encoder_norm")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = self.d_model**0.5 * tokens(ids)
        return x + sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x, mask = self.embed(self.source_tokens, source), (source != PAD)[:, None]
        for block in self.encoder:
            x = block(x, mask)
        return x

    def decode(self, given, memory, source):
        x, memory_mask = self.embed(self.target_tokens, given), (source != PAD)[:, None]
        causal = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool).tril()
        for block in self.decoder:
            x = block(x, memory, causal, memory_mask)
        return F.linear(self.decoder_norm(x), self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@wrong("no norm at the end of the decoder", says="decoder_norm")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = self.d_model**0.5 * tokens(ids)
        return x + sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x, mask = self.embed(self.source_tokens, source), (source != PAD)[:, None]
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        x, memory_mask = self.embed(self.target_tokens, given), (source != PAD)[:, None]
        causal = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool).tril()
        for block in self.decoder:
            x = block(x, memory, causal, memory_mask)
        return F.linear(x, self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@wrong("only the last block", says="every block of the encoder")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = self.d_model**0.5 * tokens(ids)
        return x + sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x, mask = self.embed(self.source_tokens, source), (source != PAD)[:, None]
        for block in self.encoder:
            y = block(x, mask)
        return self.encoder_norm(y)

    def decode(self, given, memory, source):
        x, memory_mask = self.embed(self.target_tokens, given), (source != PAD)[:, None]
        causal = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool).tril()
        for block in self.decoder:
            x = block(x, memory, causal, memory_mask)
        return F.linear(self.decoder_norm(x), self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@wrong("probabilities in place of logits", says="no softmax")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = self.d_model**0.5 * tokens(ids)
        return x + sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x, mask = self.embed(self.source_tokens, source), (source != PAD)[:, None]
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        x, memory_mask = self.embed(self.target_tokens, given), (source != PAD)[:, None]
        causal = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool).tril()
        for block in self.decoder:
            x = block(x, memory, causal, memory_mask)
        return F.linear(self.decoder_norm(x), self.target_tokens.weight).softmax(-1)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@wrong("embeds the target with the source's table", says="target_tokens")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = self.d_model**0.5 * tokens(ids)
        return x + sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x, mask = self.embed(self.source_tokens, source), (source != PAD)[:, None]
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        x, memory_mask = self.embed(self.source_tokens, given), (source != PAD)[:, None]
        causal = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool).tril()
        for block in self.decoder:
            x = block(x, memory, causal, memory_mask)
        return F.linear(self.decoder_norm(x), self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


@right("written with methods of tensors")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        words = torch.nn.functional.embedding(ids, tokens.weight)
        places = sinusoidal_positions(ids.size(1), words.size(-1)).to(dtype=words.dtype, device=words.device)
        return words * words.size(-1) ** 0.5 + places[None]

    def encode(self, source):
        x = self.embed(self.source_tokens, source)
        is_word = source.ne(PAD).unsqueeze(1).expand(-1, source.size(1), -1)
        for block in self.encoder:
            x = block(x, is_word)
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        x = self.embed(self.target_tokens, given)
        place = torch.arange(given.size(1), device=given.device)
        for block in self.decoder:
            x = block(x, memory, mask=place[:, None] >= place, memory_mask=source.ne(PAD).unsqueeze(1))
        return self.decoder_norm(x) @ self.target_tokens.weight.T

    def forward(self, source, given):
        memory = self.encode(source)
        return self.decode(given, memory, source)


@right("masks in other shapes, an einsum at the end")
class Transformer(nn.Module):
    def __init__(self, n_source, n_target, d_model, n_heads, n_layers, d_hidden=None, *, pre_norm=True):
        super().__init__()
        self.d_model = d_model
        self.source_tokens, self.target_tokens = nn.Embedding(n_source, d_model), nn.Embedding(n_target, d_model)
        sizes, layers = (d_model, n_heads, d_hidden), range(n_layers)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, pre_norm=pre_norm) for _ in layers)
        self.encoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if pre_norm else nn.Identity()

    def embed(self, tokens, ids):
        x = self.d_model**0.5 * tokens(ids)
        return x + sinusoidal_positions(ids.shape[1], self.d_model).to(x)

    def encode(self, source):
        x = self.embed(self.source_tokens, source)
        for i in range(len(self.encoder)):
            x = self.encoder[i](x, mask=rearrange(source != PAD, "b l -> b 1 l"))
        return self.encoder_norm(x)

    def decode(self, given, memory, source):
        n = given.shape[1]
        later = torch.triu(torch.ones(n, n), diagonal=1).bool().to(given.device)
        x = self.embed(self.target_tokens, given)
        for block in self.decoder:
            x = block(x, memory, ~later[None], rearrange(source != PAD, "b l -> b 1 l"))
        return torch.einsum("bld,vd->blv", self.decoder_norm(x), self.target_tokens.weight)

    def forward(self, source, given):
        return self.decode(given, self.encode(source), source)


# --- transformer_parameters ------------------------------------------------------------------------------------------


@wrong("the decoder has one attention layer", says="two attention layers")
def transformer_parameters(config):
    d, hidden, n = config["d_model"], config["d_hidden"], config["n_layers"]
    return {
        "embeddings": (config["n_source"] + config["n_target"]) * d,
        "attention": n * 2 * 4 * (d * d + d),
        "feed_forward": n * 2 * (2 * d * hidden + hidden + d),
        "norms": n * 5 * 2 * d + 2 * 2 * d,
    }


@wrong("forgets the biases", says="biases")
def transformer_parameters(config):
    d, hidden, n = config["d_model"], config["d_hidden"], config["n_layers"]
    return {
        "embeddings": (config["n_source"] + config["n_target"]) * d,
        "attention": n * 3 * 4 * d * d,
        "feed_forward": n * 2 * 2 * d * hidden,
        "norms": n * 5 * 2 * d + 2 * 2 * d,
    }


@wrong("multiplies by the heads", says="heads")
def transformer_parameters(config):
    d, hidden, n = config["d_model"], config["d_hidden"], config["n_layers"]
    return {
        "embeddings": (config["n_source"] + config["n_target"]) * d,
        "attention": config["n_heads"] * n * 3 * 4 * (d * d + d),
        "feed_forward": n * 2 * (2 * d * hidden + hidden + d),
        "norms": n * 5 * 2 * d + 2 * 2 * d,
    }


@wrong("counts the tied output again", says="no parameters of its own")
def transformer_parameters(config):
    d, hidden, n = config["d_model"], config["d_hidden"], config["n_layers"]
    return {
        "embeddings": (config["n_source"] + 2 * config["n_target"]) * d,
        "attention": n * 3 * 4 * (d * d + d),
        "feed_forward": n * 2 * (2 * d * hidden + hidden + d),
        "norms": n * 5 * 2 * d + 2 * 2 * d,
    }


@wrong("forgets the two norms at the ends", says="encoder_norm and decoder_norm")
def transformer_parameters(config):
    d, hidden, n = config["d_model"], config["d_hidden"], config["n_layers"]
    return {
        "embeddings": (config["n_source"] + config["n_target"]) * d,
        "attention": n * 3 * 4 * (d * d + d),
        "feed_forward": n * 2 * (2 * d * hidden + hidden + d),
        "norms": n * 5 * 2 * d,
    }


@wrong("takes the hidden layer for 4 · d_model", says="d_hidden")
def transformer_parameters(config):
    d, n = config["d_model"], config["n_layers"]
    return {
        "embeddings": (config["n_source"] + config["n_target"]) * d,
        "attention": n * 3 * 4 * (d * d + d),
        "feed_forward": n * 2 * (8 * d * d + 5 * d),
        "norms": n * 5 * 2 * d + 2 * 2 * d,
    }


@wrong("the total alone", says="four numbers by name")
def transformer_parameters(config):
    d, hidden, n = config["d_model"], config["d_hidden"], config["n_layers"]
    blocks = n * (3 * 4 * (d * d + d) + 2 * (2 * d * hidden + hidden + d) + 10 * d)
    return (config["n_source"] + config["n_target"]) * d + blocks + 4 * d


@right("block by block")
def transformer_parameters(config):
    n_source, n_target, d, _, n_layers, hidden = (
        config[key] for key in ("n_source", "n_target", "d_model", "n_heads", "n_layers", "d_hidden")
    )
    linear = lambda n_in, n_out: n_in * n_out + n_out  # noqa: E731
    counts = {"embeddings": n_source * d + n_target * d, "attention": 0, "feed_forward": 0, "norms": 4 * d}
    for _ in range(n_layers):
        for attentions in (1, 2):
            counts["attention"] += attentions * 4 * linear(d, d)
            counts["feed_forward"] += linear(d, hidden) + linear(hidden, d)
            counts["norms"] += (attentions + 1) * 2 * d
    return counts


@right("by making the layers on the meta device and asking them")
def transformer_parameters(config):
    d, hidden, n = config["d_model"], config["d_hidden"], config["n_layers"]
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    with torch.device("meta"):
        square, wide, narrow = nn.Linear(d, d), nn.Linear(d, hidden), nn.Linear(hidden, d)
        norm, words = nn.LayerNorm(d), nn.Embedding(config["n_source"] + config["n_target"], d)
    return {
        "norms": (5 * n + 2) * count(norm),
        "feed_forward": 2 * n * (count(wide) + count(narrow)),
        "attention": 12 * n * count(square),
        "embeddings": count(words),
    }


# --- relative_position_bucket ----------------------------------------------------------------------------------------


@wrong("buckets of both directions in the decoder", says="the decoder sees no later word")
def relative_position_bucket(distance, bidirectional=True, n_buckets=32, max_distance=128):
    half = n_buckets // 2
    side = (distance > 0).long() * half
    distance = distance.abs()
    exact = half // 2
    far = exact + ((distance.clamp(min=1) / exact).log() / math.log(max_distance / exact) * (half - exact)).long()
    return side + torch.where(distance < exact, distance, far.clamp(max=half - 1))


@wrong("the sides exchanged", says="later keys get the upper half")
def relative_position_bucket(distance, bidirectional=True, n_buckets=32, max_distance=128):
    side = torch.zeros_like(distance)
    if bidirectional:
        n_buckets //= 2
        side = (distance < 0).long() * n_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = n_buckets // 2
    share = (distance.clamp(min=1) / exact).log() / math.log(max_distance / exact)
    far = (exact + (share * (n_buckets - exact)).long()).clamp(max=n_buckets - 1)
    return side + torch.where(distance < exact, distance, far)


@wrong("in the decoder the distance to the right counts, not that to the left", says="earlier keys")
def relative_position_bucket(distance, bidirectional=True, n_buckets=32, max_distance=128):
    side = torch.zeros_like(distance)
    if bidirectional:
        n_buckets //= 2
        side = (distance > 0).long() * n_buckets
        distance = distance.abs()
    else:
        distance = distance.clamp(min=0)
    exact = n_buckets // 2
    share = (distance.clamp(min=1) / exact).log() / math.log(max_distance / exact)
    far = (exact + (share * (n_buckets - exact)).long()).clamp(max=n_buckets - 1)
    return side + torch.where(distance < exact, distance, far)


@wrong("linear all the way", says="logarithm")
def relative_position_bucket(distance, bidirectional=True, n_buckets=32, max_distance=128):
    side = torch.zeros_like(distance)
    if bidirectional:
        n_buckets //= 2
        side = (distance > 0).long() * n_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    return side + distance.clamp(max=n_buckets - 1)


@wrong("no last bucket for all that is far", says="max_distance")
def relative_position_bucket(distance, bidirectional=True, n_buckets=32, max_distance=128):
    side = torch.zeros_like(distance)
    if bidirectional:
        n_buckets //= 2
        side = (distance > 0).long() * n_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = n_buckets // 2
    share = (distance.clamp(min=1) / exact).log() / math.log(max_distance / exact)
    return side + torch.where(distance < exact, distance, exact + (share * (n_buckets - exact)).long())


@wrong("rounds where it should round down", says="round down")
def relative_position_bucket(distance, bidirectional=True, n_buckets=32, max_distance=128):
    side = torch.zeros_like(distance)
    if bidirectional:
        n_buckets //= 2
        side = (distance > 0).long() * n_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = n_buckets // 2
    share = (distance.clamp(min=1) / exact).log() / math.log(max_distance / exact)
    far = (exact + (share * (n_buckets - exact)).round().long()).clamp(max=n_buckets - 1)
    return side + torch.where(distance < exact, distance, far)


@wrong("all buckets of a side are exact", says="half of a side's buckets")
def relative_position_bucket(distance, bidirectional=True, n_buckets=32, max_distance=128):
    side = torch.zeros_like(distance)
    if bidirectional:
        n_buckets //= 2
        side = (distance > 0).long() * n_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = n_buckets - 2
    share = (distance.clamp(min=1) / exact).log() / math.log(max_distance / exact)
    far = (exact + (share * (n_buckets - exact)).long()).clamp(max=n_buckets - 1)
    return side + torch.where(distance < exact, distance, far)


@wrong("numbers with a fraction", says="int64")
def relative_position_bucket(distance, bidirectional=True, n_buckets=32, max_distance=128):
    side = torch.zeros_like(distance)
    if bidirectional:
        n_buckets //= 2
        side = (distance > 0).long() * n_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = n_buckets // 2
    share = (distance.clamp(min=1) / exact).log() / math.log(max_distance / exact)
    far = (exact + (share * (n_buckets - exact)).floor()).clamp(max=n_buckets - 1)
    return side + torch.where(distance < exact, distance.float(), far)


@right("number by number, with math.log")
def relative_position_bucket(distance, bidirectional=True, n_buckets=32, max_distance=128):
    per_side = n_buckets // 2 if bidirectional else n_buckets
    exact = per_side // 2

    def bucket(steps):
        side = per_side if bidirectional and steps > 0 else 0
        steps = abs(steps) if bidirectional else max(-steps, 0)
        if steps < exact:
            return side + steps
        share = math.log(steps / exact) / math.log(max_distance / exact)
        return side + min(per_side - 1, exact + int(share * (per_side - exact)))

    import math

    return torch.tensor([bucket(steps) for steps in distance.flatten().tolist()]).view(distance.shape)


@right("as Hugging Face writes it")
def relative_position_bucket(distance, bidirectional=True, n_buckets=32, max_distance=128):
    import math

    buckets = 0
    if bidirectional:
        n_buckets //= 2
        buckets += (distance > 0).to(torch.long) * n_buckets
        distance = torch.abs(distance)
    else:
        distance = -torch.min(distance, torch.zeros_like(distance))
    exact = n_buckets // 2
    far = exact + (torch.log(distance.float() / exact) / math.log(max_distance / exact) * (n_buckets - exact)).to(
        torch.long
    )
    far = torch.min(far, torch.full_like(far, n_buckets - 1))
    return buckets + torch.where(distance < exact, distance, far)


# --- span_corruption -------------------------------------------------------------------------------------------------


@wrong("one sentinel for all spans", says="a sentinel of its own")
def span_corruption(ids, spans, first_sentinel):
    inputs, targets, done = [], [], 0
    for start, stop in spans:
        inputs += [*ids[done:start], first_sentinel]
        targets += [first_sentinel, *ids[start:stop]]
        done = stop
    return inputs + ids[done:], [*targets, first_sentinel]


@wrong("sentinels counted upwards", says="count down")
def span_corruption(ids, spans, first_sentinel):
    inputs, targets, done = [], [], 0
    for i, (start, stop) in enumerate(spans):
        inputs += [*ids[done:start], first_sentinel + i]
        targets += [first_sentinel + i, *ids[start:stop]]
        done = stop
    return inputs + ids[done:], [*targets, first_sentinel + len(spans)]


@wrong("no last sentinel", says="one more sentinel")
def span_corruption(ids, spans, first_sentinel):
    inputs, targets, done = [], [], 0
    for i, (start, stop) in enumerate(spans):
        inputs += [*ids[done:start], first_sentinel - i]
        targets += [first_sentinel - i, *ids[start:stop]]
        done = stop
    return inputs + ids[done:], targets


@wrong("a sentinel for each hidden word", says="one sentinel for a whole span")
def span_corruption(ids, spans, first_sentinel):
    inputs, targets, done = [], [], 0
    for i, (start, stop) in enumerate(spans):
        inputs += [*ids[done:start], *[first_sentinel - i] * (stop - start)]
        targets += [first_sentinel - i, *ids[start:stop]]
        done = stop
    return inputs + ids[done:], [*targets, first_sentinel - len(spans)]


@wrong("forgets what stands after the last span", says="after the last span")
def span_corruption(ids, spans, first_sentinel):
    inputs, targets, done = [], [], 0
    for i, (start, stop) in enumerate(spans):
        inputs += [*ids[done:start], first_sentinel - i]
        targets += [first_sentinel - i, *ids[start:stop]]
        done = stop
    return inputs, [*targets, first_sentinel - len(spans)]


@wrong("the stop counts as hidden", says="only what is hidden")
def span_corruption(ids, spans, first_sentinel):
    inputs, targets, done = [], [], 0
    for i, (start, stop) in enumerate(spans):
        inputs += [*ids[done:start], first_sentinel - i]
        targets += [first_sentinel - i, *ids[start : stop + 1]]
        done = stop + 1
    return inputs + ids[done:], [*targets, first_sentinel - len(spans)]


@wrong("the whole text as the target", says="only what is hidden")
def span_corruption(ids, spans, first_sentinel):
    inputs, done = [], 0
    for i, (start, stop) in enumerate(spans):
        inputs += [*ids[done:start], first_sentinel - i]
        done = stop
    return inputs + ids[done:], list(ids)


@wrong("hides in the list that it is given: the second span starts in the wrong place", says="change")
def span_corruption(ids, spans, first_sentinel):
    targets = []
    for i, (start, stop) in reversed(list(enumerate(spans))):
        targets = [first_sentinel - i, *ids[start:stop], *targets]
        ids[start:stop] = [first_sentinel - i]
    return ids, [*targets, first_sentinel - len(spans)]


@right("from the last span to the first, in a copy")
def span_corruption(ids, spans, first_sentinel):
    inputs, targets = list(ids), [first_sentinel - len(spans)]
    for i in reversed(range(len(spans))):
        hidden = slice(*spans[i])
        targets = [first_sentinel - i] + inputs[hidden] + targets
        inputs[hidden] = [first_sentinel - i]
    return inputs, targets


@right("word by word; returns a list of two")
def span_corruption(ids, spans, first_sentinel):
    inputs, targets = [], []
    span_of = {place: i for i, (start, stop) in enumerate(spans) for place in range(start, stop)}
    for place, word in enumerate(ids):
        if place not in span_of:
            inputs.append(word)
            continue
        sentinel = first_sentinel - span_of[place]
        if sentinel not in targets[-1:] and span_of.get(place - 1) != span_of[place]:
            inputs.append(sentinel)
            targets.append(sentinel)
        targets.append(word)
    return [inputs, targets + [first_sentinel - len(spans)]]


# --- families --------------------------------------------------------------------------------------------------------


@wrong("encoders see to the left only", says="sees: each choice belongs to one family")
def families():
    return {
        "encoder-only": {"sees": "left", "learns": "hidden words", "for": "understand", "known": "BERT"},
        "decoder-only": {"sees": "left", "learns": "next word", "for": "continue", "known": "GPT"},
        "encoder-decoder": {
            "sees": "source on both sides, target to the left",
            "learns": "target from source",
            "for": "rewrite",
            "known": "T5",
        },
    }


@wrong("BERT and GPT exchanged", says="known")
def families():
    return {
        "encoder-only": {"sees": "both sides", "learns": "hidden words", "for": "understand", "known": "GPT"},
        "decoder-only": {"sees": "left", "learns": "next word", "for": "continue", "known": "BERT"},
        "encoder-decoder": {
            "sees": "source on both sides, target to the left",
            "learns": "target from source",
            "for": "rewrite",
            "known": "T5",
        },
    }


@wrong("decoders learn hidden words", says="learns")
def families():
    return {
        "encoder-only": {"sees": "both sides", "learns": "next word", "for": "understand", "known": "BERT"},
        "decoder-only": {"sees": "left", "learns": "hidden words", "for": "continue", "known": "GPT"},
        "encoder-decoder": {
            "sees": "source on both sides, target to the left",
            "learns": "target from source",
            "for": "rewrite",
            "known": "T5",
        },
    }


@wrong("a word that is none of the choices", says="one of the choices")
def families():
    return {
        "encoder-only": {"sees": "everything", "learns": "hidden words", "for": "understand", "known": "BERT"},
        "decoder-only": {"sees": "left", "learns": "next word", "for": "continue", "known": "GPT"},
        "encoder-decoder": {"sees": "everything", "learns": "target from source", "for": "rewrite", "known": "T5"},
    }


@right("column by column")
def families():
    columns = {
        "sees": ["both sides", "left", "source on both sides, target to the left"],
        "learns": ["hidden words", "next word", "target from source"],
        "for": ["understand", "continue", "rewrite"],
        "known": ["BERT", "GPT", "T5"],
    }
    names = ["encoder-only", "decoder-only", "encoder-decoder"]
    return {name: {key: column[i] for key, column in columns.items()} for i, name in enumerate(names)}


@right("by dict and zip")
def families():
    keys = "sees", "learns", "for", "known"
    both = "source on both sides, target to the left"
    return {
        "decoder-only": dict(zip(keys, ("left", "next word", "continue", "GPT"), strict=True)),
        "encoder-decoder": dict(zip(keys, (both, "target from source", "rewrite", "T5"), strict=True)),
        "encoder-only": dict(zip(keys, ("both sides", "hidden words", "understand", "BERT"), strict=True)),
    }
