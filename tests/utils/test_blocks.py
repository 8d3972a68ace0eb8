"""The fused blocks against PyTorch's own layers, in float64, with weights and biases that are not small."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from layers import randomise
from torch import nn

from utils.blocks import DecoderBlock, EncoderBlock, MultiHeadAttention


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        for name in ("weight", "bias"):
            parts = [getattr(layer, name) for layer in (ours.w_q, ours.w_k, ours.w_v)]
            getattr(theirs, f"in_proj_{name}").copy_(torch.cat(parts))
    theirs.out_proj.load_state_dict(ours.w_o.state_dict())


def copy_rest(ours: EncoderBlock, theirs: nn.Module, norms: list[str]) -> None:
    theirs.linear1.load_state_dict(ours.feed_forward.w_in.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.w_out.state_dict())
    for number, name in enumerate(norms, 1):
        getattr(theirs, f"norm{number}").load_state_dict(getattr(ours, name).state_dict())


@pytest.mark.parametrize("pre_norm", [False, True])
def test_the_encoder_block_is_pytorchs(pre_norm):
    ours = randomise(EncoderBlock(12, 3, 20, pre_norm=pre_norm, eps=1e-3).double())
    theirs = nn.TransformerEncoderLayer(12, 3, 20, 0.0, F.gelu, 1e-3, True, pre_norm, dtype=torch.float64)
    copy_attention(ours.attention, theirs.self_attn)
    copy_rest(ours, theirs, ["attention_norm", "feed_forward_norm"])
    x, keep = torch.randn(2, 5, 12, dtype=torch.float64), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    torch.testing.assert_close(ours(x, keep[:, None]), theirs(x, src_key_padding_mask=~keep))


@pytest.mark.parametrize("pre_norm", [False, True])
def test_the_decoder_block_is_pytorchs(pre_norm):
    ours = randomise(DecoderBlock(12, 3, pre_norm=pre_norm, activation=F.relu).double())
    theirs = nn.TransformerDecoderLayer(12, 3, 48, 0.0, F.relu, 1e-5, True, pre_norm, dtype=torch.float64)
    copy_attention(ours.attention, theirs.self_attn)
    copy_attention(ours.cross_attention, theirs.multihead_attn)
    copy_rest(ours, theirs, ["attention_norm", "cross_attention_norm", "feed_forward_norm"])
    x, memory = torch.randn(2, 5, 12, dtype=torch.float64), torch.randn(2, 4, 12, dtype=torch.float64)
    causal, keep = torch.ones(5, 5).tril().bool(), torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]]).bool()
    expected = theirs(x, memory, tgt_mask=~causal, memory_key_padding_mask=~keep)
    torch.testing.assert_close(ours(x, memory, causal, keep[:, None]), expected)


def test_a_query_that_sees_nothing_gets_the_bias_and_a_finite_gradient():
    attend = randomise(MultiHeadAttention(6, 2).double())
    x = torch.randn(1, 3, 6, dtype=torch.float64, requires_grad=True)
    out = attend(x, mask=torch.zeros(3, 3).bool())
    torch.testing.assert_close(out, attend.w_o.bias.expand(1, 3, 6))
    out.sum().backward()
    assert x.grad.isfinite().all()


def test_heads_that_do_not_split_are_refused():
    with pytest.raises(ValueError, match="not a multiple"):
        MultiHeadAttention(10, 4)
