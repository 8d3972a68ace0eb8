"""Rotary positions against Llama (half-split) and RoFormer (interleaved) of Hugging Face, and their definition."""

from __future__ import annotations

import pytest
import torch

from utils.rotary import rotary_table, rotate, turn

POSITIONS = torch.tensor([[3, 17, 4, 90, 0], [2, 2, 55, 1, 8]])  # neither in order nor the same for both sentences


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("base, d_head", [(10_000.0, 8), (500_000.0, 6), (10_000.0, 2)])
def test_half_split_is_llamas(base, d_head):
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=3 * d_head,
        num_attention_heads=3,
        rope_parameters={"rope_type": "default", "rope_theta": base},
    )
    q, k = torch.randn(2, 2, 3, 5, d_head)
    cos, sin = llama.LlamaRotaryEmbedding(config)(q, POSITIONS)
    wanted = llama.apply_rotary_pos_emb(q, k, cos, sin)
    for x, right in zip((q, k), wanted, strict=True):
        torch.testing.assert_close(rotate(x, POSITIONS[:, None], base), right, rtol=0, atol=1e-5)


@pytest.mark.parametrize("d_head", [2, 12])
def test_interleaved_is_roformers(d_head):
    roformer = pytest.importorskip("transformers.models.roformer.modeling_roformer")
    table = roformer.RoFormerSinusoidalPositionalEmbedding(100, d_head)
    q, k = torch.randn(2, 2, 3, 5, d_head)
    at = table.create_weight()[POSITIONS][:, None]
    wanted = roformer.RoFormerSelfAttention.apply_rotary_position_embeddings(at, q, k)
    for x, right in zip((q, k), wanted, strict=True):
        torch.testing.assert_close(rotate(x, POSITIONS[:, None], interleaved=True), right, rtol=0, atol=1e-5)


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_score_depends_on_the_difference_of_positions_alone(interleaved):
    q, k = torch.randn(2, 10, dtype=torch.float64)

    def score(m, n):
        m, n = torch.tensor(m), torch.tensor(n)
        return rotate(q, m, interleaved=interleaved) @ rotate(k, n, interleaved=interleaved)

    torch.testing.assert_close(score(3.25, 11.5), score(903.25, 911.5), rtol=0, atol=1e-10)
    assert abs(score(3.25, 11.5) - score(3.25, 12.5)) > 1e-3


def test_the_pairs_turn_from_the_first_feature_to_the_second():
    x = torch.tensor([1.0, 2.0, 0.0, 0.0])
    quarter = torch.full((2,), torch.pi / 2)
    half_split = turn(x, quarter.cos(), quarter.sin())
    torch.testing.assert_close(half_split, torch.tensor([0.0, 0.0, 1.0, 2.0]), rtol=0, atol=1e-6)
    interleaved = turn(x, quarter.cos(), quarter.sin(), interleaved=True)
    torch.testing.assert_close(interleaved, torch.tensor([-2.0, 1.0, 0.0, 0.0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_dtype_stays_and_the_angles_are_no_coarser_than_float32(dtype):
    x, positions = torch.randn(5, 8, dtype=dtype), torch.tensor([0, 1, 511, 4095, 32_000])
    exact = rotate(x.double(), positions)
    got = rotate(x, positions)
    assert got.dtype == dtype
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-2, torch.bfloat16: 4e-2}[dtype]
    torch.testing.assert_close(got.double(), exact, rtol=0, atol=tolerance)


def test_the_table_serves_a_cache():
    x, positions = torch.randn(2, 3, 7, 8), torch.arange(7)
    cos, sin = rotary_table(positions, 8)
    step = turn(x[:, :, 4:5], cos[4:5], sin[4:5])
    torch.testing.assert_close(step, rotate(x, positions)[:, :, 4:5], rtol=0, atol=0)
