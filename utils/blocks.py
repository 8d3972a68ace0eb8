"""Transformer blocks on PyTorch's fused attention, for a reader who has written the parts in lessons 04 and 05."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    """Attention with `n_heads` heads: lesson 04's, without the weights, which the fused kernel never stores.

    Four layers ``w_q``, ``w_k``, ``w_v``, ``w_o`` = ``nn.Linear(d_model, d_model, bias)``. Raises: ValueError when
    d_model is not a multiple of n_heads.
    """

    def __init__(self, d_model: int, n_heads: int, *, bias: bool = True):
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model = {d_model} is not a multiple of n_heads = {n_heads}")
        self.n_heads = n_heads
        self.w_q = nn.Linear(d_model, d_model, bias)
        self.w_k = nn.Linear(d_model, d_model, bias)
        self.w_v = nn.Linear(d_model, d_model, bias)
        self.w_o = nn.Linear(d_model, d_model, bias)

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Queries from `x` (b, l, d_model); keys and values from `memory` (b, l_k, d_model), by default from `x`.

        `mask` is bool, True keeps, without an axis for heads: (l, l_k), (b, 1, l_k) or (b, l, l_k).

        Returns: (b, l, d_model); a query that may look at nothing mixes no value: what it gets is w_o's bias.
        """
        memory = x if memory is None else memory
        q, k, v = self.w_q(x), self.w_k(memory), self.w_v(memory)
        q, k, v = (rearrange(t, "b l (h d) -> b h l d", h=self.n_heads) for t in (q, k, v))  # (b, h, l, d)
        mask = None if mask is None else mask[..., None, :, :]  # the same for every head
        mixed = F.scaled_dot_product_attention(q, k, v, mask)
        return self.w_o(rearrange(mixed, "b h l d -> b l (h d)"))


class FeedForward(nn.Module):
    """Two layers, ``w_in`` (d_model → d_hidden) and ``w_out`` back, with `activation` between; each word for itself."""

    def __init__(self, d_model: int, d_hidden: int, *, activation: Callable[[Tensor], Tensor] = F.gelu):
        super().__init__()
        self.w_in, self.w_out, self.activation = nn.Linear(d_model, d_hidden), nn.Linear(d_hidden, d_model), activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_model) → (..., d_model)."""
        return self.w_out(self.activation(self.w_in(x)))


class EncoderBlock(nn.Module):
    """Attention, then a feed-forward layer, each beside a residual path.

    `d_hidden` is 4 · d_model unless given. With `pre_norm` each part reads the normalised stream, ``x + f(norm(x))``
    (Xiong et al., ICML 2020); without, the sum is normalised, ``norm(x + f(x))`` (Vaswani et al., NeurIPS 2017).
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_hidden: int | None = None,
        *,
        pre_norm: bool = True,
        eps: float = 1e-5,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = MultiHeadAttention(d_model, n_heads)
        self.attention_norm = nn.LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_hidden or 4 * d_model, activation=activation)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`x` is (b, l, d_model), `mask` as for `MultiHeadAttention`. Returns: (b, l, d_model)."""
        x = self._add(x, self.attention_norm, lambda y: self.attention(y, mask=mask))
        return self._add(x, self.feed_forward_norm, self.feed_forward)

    def _add(self, x: Tensor, norm: nn.Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        return x + part(norm(x)) if self.pre_norm else norm(x + part(x))


class DecoderBlock(EncoderBlock):
    """An encoder block that also reads a `memory`: self-attention, cross-attention, feed-forward."""

    def __init__(self, d_model: int, n_heads: int, d_hidden: int | None = None, *, eps: float = 1e-5, **options):
        super().__init__(d_model, n_heads, d_hidden, eps=eps, **options)
        self.cross_attention = MultiHeadAttention(d_model, n_heads)
        self.cross_attention_norm = nn.LayerNorm(d_model, eps)

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """`x` is (b, l, d_model), `memory` (b, l_k, d_model); `mask` is for `x`, `memory_mask` for the memory.

        Nothing is causal by itself: give `mask` for that. Returns: (b, l, d_model).
        """
        x = self._add(x, self.attention_norm, lambda y: self.attention(y, mask=mask))
        x = self._add(x, self.cross_attention_norm, lambda y: self.cross_attention(y, memory, memory_mask))
        return self._add(x, self.feed_forward_norm, self.feed_forward)
