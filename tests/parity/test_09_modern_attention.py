"""Lesson 09 against Hugging Face's Llama, Mistral and DeepSeek-V3, layer by layer and token by token, and tomesd.

All in float64 with weights that are not small. Hugging Face makes the angles of rotary positions in float32, ours are
float64 there, so agreement ends at about 1e-6.
"""

from __future__ import annotations

import pytest
import torch
from einops import rearrange
from layers import compare_layers, lesson, randomise, recorded
from torch import Tensor, nn

transformers = pytest.importorskip("transformers")

LESSON, N_LAYERS, N_HEADS, LENGTH, WIDE = "09_modern_attention", 3, 4, 17, 32
TOLERANCE = 1e-5
SIZES = {
    "vocab_size": 50, "hidden_size": WIDE, "num_hidden_layers": N_LAYERS, "num_attention_heads": N_HEADS,
    "intermediate_size": 40, "max_position_embeddings": 64, "tie_word_embeddings": False,
}  # fmt: skip
LAYERS = {
    **{f"blocks.{i}.attention": f"attention {i}" for i in range(N_LAYERS)},
    **{f"blocks.{i}": f"block {i}" for i in range(N_LAYERS)},
    "norm": "norm",
    "head": "logits",
}
THEIR_LAYERS = {
    **{f"model.layers.{i}.self_attn": f"attention {i}" for i in range(N_LAYERS)},
    **{f"model.layers.{i}": f"block {i}" for i in range(N_LAYERS)},
    "model.norm": "norm",
    "lm_head": "logits",
}


@pytest.fixture(scope="module")
def ours() -> dict:
    return lesson(LESSON)


def rope(base: float) -> dict:
    return {"rope_type": "default", "rope_theta": base}


def filled(model: nn.Module) -> nn.Module:
    """Random weights that float32 holds exactly, in float64; the table of tokens as large as what it meets."""
    model = randomise(model.float().eval()).double()
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(3)
    return model


def some_ids(rows: int = 2) -> Tensor:
    return torch.randint(50, (rows, LENGTH), generator=torch.Generator().manual_seed(1))


def layer_by_layer(mine: nn.Module, theirs: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    ids = some_ids()
    with torch.no_grad(), recorded(mine, LAYERS) as got, recorded(theirs, THEIR_LAYERS) as wanted:
        mine(ids), theirs(ids, use_cache=False)
    return got, wanted


def token_by_token(mine, theirs, caches: list, sizes: list[int]) -> tuple[dict[str, Tensor], dict[str, Tensor], object]:
    """The logits of each chunk, both sides over their caches; and their cache."""
    past, got, wanted, done = transformers.DynamicCache(config=theirs.config), {}, {}, 0
    with torch.no_grad():
        for part in some_ids().split(sizes, dim=1):
            done += part.shape[1]
            got[f"up to {done}"] = mine(part, caches)
            wanted[f"up to {done}"] = theirs(part, past_key_values=past, use_cache=True).logits
    return got, wanted, past


def numbers_kept(past) -> int:
    return sum(layer.keys.numel() + layer.values.numel() for layer in past.layers)


CHUNKS = [[1] * LENGTH, [6, 1, 1, 4, 5], [LENGTH]]


# --- Llama -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[(1, 10_000.0), (2, 500.0), (4, 10_000.0)], ids=["MQA", "GQA", "MHA"])
def llamas(request, ours):
    """Our Llama and theirs, with the same weights."""
    n_kv_heads, base = request.param
    config = transformers.LlamaConfig(
        **SIZES, num_key_value_heads=n_kv_heads, rope_parameters=rope(base), rms_norm_eps=1e-3
    )
    theirs = filled(transformers.LlamaForCausalLM(config))
    return ours["from_llama"](config.to_dict(), theirs.state_dict()).double(), theirs


def test_every_layer_is_llamas(llamas):
    compare_layers(*layer_by_layer(*llamas), TOLERANCE)


@pytest.mark.parametrize("sizes", CHUNKS, ids=str)
def test_over_its_cache_it_is_llama(ours, llamas, sizes):
    mine, theirs = llamas
    caches = [ours["Cache"]() for _ in range(N_LAYERS)]
    got, wanted, past = token_by_token(mine, theirs, caches, sizes)
    compare_layers(got, wanted, TOLERANCE)
    n_kv_heads = theirs.config.num_key_value_heads
    each = ours["cache_elements_per_token"]("GQA", N_LAYERS, N_HEADS, WIDE // N_HEADS, n_kv_heads)
    assert sum(cache.elements for cache in caches) == numbers_kept(past) == 2 * LENGTH * each


def test_shared_heads_are_those_of_repeat_kv(ours):
    repeat_kv = pytest.importorskip("transformers.models.llama.modeling_llama").repeat_kv
    q, k, v = (torch.randn(2, n, 5, 8, dtype=torch.float64) for n in (6, 3, 3))
    wanted = (q @ repeat_kv(k, 2).mT / 8**0.5).softmax(-1) @ repeat_kv(v, 2)
    compare_layers({"out": ours["grouped_query_attention"](q, k, v)}, {"out": wanted}, 1e-12)


def spread(q, k, v, mask=None):
    """The wrong neighbours: query head i with key head i mod g."""
    n = q.shape[1] // k.shape[1]
    return nn.functional.scaled_dot_product_attention(q, k.repeat(1, n, 1, 1), v.repeat(1, n, 1, 1), mask)


WRONG = {
    "grouped_query_attention": lambda right: spread,
    "rotate": lambda right: lambda x, positions, base: right(x, positions, base, interleaved=True),
    "causal_mask": lambda right: lambda new, so_far, device=None: torch.ones(new, so_far, dtype=torch.bool),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_part_is_not_llamas(ours, llamas, name):
    mine, theirs = llamas
    names = ours["LlamaAttention"].forward.__globals__
    right = names[name]
    names[name] = WRONG[name](right)
    try:
        got, wanted = layer_by_layer(mine, theirs)
    finally:
        names[name] = right
    if name == "grouped_query_attention" and theirs.config.num_key_value_heads in (1, N_HEADS):
        compare_layers(got, wanted, TOLERANCE)  # at the ends both ways are the same: the lesson says so
        return
    with pytest.raises(AssertionError, match="attention 0 differs first"):
        compare_layers(got, wanted, TOLERANCE)
    assert (got["logits"] - wanted["logits"]).abs().max() > 0.1


# --- Mistral ---------------------------------------------------------------------------------------------------------


def test_the_sliding_window_is_mistrals(ours):
    window = 5
    config = transformers.MistralConfig(
        **SIZES, num_key_value_heads=N_HEADS, rope_parameters=rope(10_000.0), rms_norm_eps=1e-6, sliding_window=window
    )
    theirs = filled(transformers.MistralForCausalLM(config))
    full = ours["from_llama"](config.to_dict(), theirs.state_dict())
    layers = [ours["WindowAttention"](WIDE, N_HEADS, window) for _ in range(N_LAYERS)]
    mine = ours["LanguageModel"](50, WIDE, 40, layers)
    mine.load_state_dict(full.state_dict())
    mine = mine.double()
    got, wanted = layer_by_layer(mine, theirs)
    compare_layers(got, wanted, TOLERANCE)
    for sizes in CHUNKS[:2]:
        caches = [ours["Cache"](window) for _ in range(N_LAYERS)]
        chunks = token_by_token(mine, theirs, caches, sizes)[0]
        compare_layers({"logits": torch.cat(list(chunks.values()), dim=1)}, {"logits": wanted["logits"]}, TOLERANCE)
        assert sum(cache.elements for cache in caches) == 2 * 2 * N_LAYERS * WIDE * (window - 1)


# --- DeepSeek-V3 -----------------------------------------------------------------------------------------------------

D_HEAD, D_ROPE, D_LATENT, D_QUERY = 6, 4, 12, 20


def half_split(weight: Tensor, d: int) -> Tensor:
    """Rows of heads of `d`, stored in pairs side by side, with first and second halves apart."""
    return rearrange(weight, "(h i pair) ... -> (h pair i) ...", i=d // 2, pair=2)


def mla_state(theirs: dict[str, Tensor], interleaved: bool) -> dict[str, Tensor]:
    """The weights of one of DeepSeek's attention layers under the lesson's names."""
    q = rearrange(theirs["q_b_proj.weight"], "(h d) c -> h d c", h=N_HEADS)
    kv = rearrange(theirs["kv_b_proj.weight"], "(h d) c -> h d c", h=N_HEADS)
    w_qr, w_kr = q[:, D_HEAD:].flatten(0, 1), theirs["kv_a_proj_with_mqa.weight"][D_LATENT:]
    if interleaved:
        w_qr, w_kr = half_split(w_qr, D_ROPE), half_split(w_kr, D_ROPE)
    return {
        "w_dq.weight": theirs["q_a_proj.weight"],
        "q_norm.weight": theirs["q_a_layernorm.weight"],
        "w_uq.weight": q[:, :D_HEAD].flatten(0, 1),
        "w_qr.weight": w_qr,
        "w_dkv.weight": theirs["kv_a_proj_with_mqa.weight"][:D_LATENT],
        "kv_norm.weight": theirs["kv_a_layernorm.weight"],
        "w_kr.weight": w_kr,
        "w_uk.weight": kv[:, :D_HEAD].flatten(0, 1),
        "w_uv.weight": kv[:, D_HEAD:].flatten(0, 1),
        "w_o.weight": theirs["o_proj.weight"],
    }


@pytest.fixture(scope="module", params=[False, True], ids=["half-split", "interleaved"])
def deepseeks(request, ours):
    """Our model with latent attention and theirs without experts, with the same weights."""
    config = transformers.DeepseekV3Config(
        **SIZES, num_key_value_heads=N_HEADS, q_lora_rank=D_QUERY, kv_lora_rank=D_LATENT, qk_nope_head_dim=D_HEAD,
        qk_rope_head_dim=D_ROPE, v_head_dim=D_HEAD, first_k_dense_replace=N_LAYERS, rope_interleave=request.param,
        rope_parameters=rope(1000.0), rms_norm_eps=1e-6,
    )  # fmt: skip
    theirs = filled(transformers.DeepseekV3ForCausalLM(config))
    sizes = WIDE, N_HEADS, D_HEAD, D_ROPE, D_LATENT, D_QUERY, 1000.0
    layers = [ours["MultiHeadLatentAttention"](*sizes) for _ in range(N_LAYERS)]
    mine = ours["LanguageModel"](50, WIDE, 40, layers).double()
    state = {}
    for name, tensor in theirs.state_dict().items():
        if ".self_attn." not in name:
            for published, lessons in ours["LLAMA_NAMES"].items():
                name = name.replace(published, lessons)
            state[name] = tensor
    for i, layer in enumerate(theirs.model.layers):
        found = mla_state(layer.self_attn.state_dict(), request.param)
        state |= {f"blocks.{i}.attention.{name}": tensor for name, tensor in found.items()}
    mine.load_state_dict(state)
    return mine.eval(), theirs


def test_every_layer_is_deepseeks(deepseeks):
    compare_layers(*layer_by_layer(*deepseeks), TOLERANCE)


@pytest.mark.parametrize("sizes", CHUNKS, ids=str)
def test_over_its_latent_cache_it_is_deepseek(ours, deepseeks, sizes):
    mine, theirs = deepseeks
    caches = [ours["Cache"]() for _ in range(N_LAYERS)]
    got, wanted, past = token_by_token(mine, theirs, caches, sizes)
    compare_layers(got, wanted, TOLERANCE)
    each = ours["cache_elements_per_token"]("MLA", N_LAYERS, N_HEADS, D_HEAD, None, D_LATENT, D_ROPE)
    assert sum(cache.elements for cache in caches) == numbers_kept(past) == 2 * LENGTH * each


@pytest.mark.parametrize("sizes", CHUNKS, ids=str)
def test_absorbed_it_is_still_deepseek(ours, deepseeks, sizes):
    mine, theirs = deepseeks
    absorbed = ours["absorbed_model"](mine)
    caches = [ours["Cache"]() for _ in range(N_LAYERS)]
    got, wanted, _ = token_by_token(absorbed, theirs, caches, sizes)
    compare_layers(got, wanted, TOLERANCE)
    caches = [ours["Cache"]() for _ in range(N_LAYERS)]
    expanded, _, _ = token_by_token(mine, theirs, caches, sizes)
    compare_layers(got, expanded, 1e-10)


def test_a_wrong_latent_layer_is_not_deepseeks(ours, deepseeks):
    mine, theirs = deepseeks
    names = ours["MultiHeadLatentAttention"].forward.__globals__
    right = names["grouped_query_attention"]

    def without_the_rotary_part(q, k, v, mask):
        return right(q * ((D_HEAD + D_ROPE) / D_HEAD) ** 0.5, k, v, mask)

    names["grouped_query_attention"] = without_the_rotary_part
    try:
        got, wanted = layer_by_layer(mine, theirs)
    finally:
        names["grouped_query_attention"] = right
    with pytest.raises(AssertionError, match="attention 0 differs first"):
        compare_layers(got, wanted, TOLERANCE)


# --- token merging ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, r", [(16, 1), (16, 5), (16, 8), (40, 13)])
def test_tokens_are_merged_as_tomesd_merges_them(ours, n, r):
    """There even tokens receive and odd ones go, so their text is ours from the end; and the order differs."""
    merge = pytest.importorskip("tomesd").merge
    metric = torch.randn(3, n, 6, dtype=torch.float64)
    x, sizes = torch.eye(n, dtype=torch.float64).expand(3, -1, -1), torch.ones(3, n, dtype=torch.float64)
    merged, into = ours["bipartite_soft_matching"](metric, r)
    got, new_sizes = ours["merge_tokens"](x, sizes, merged, into)
    theirs, _ = merge.bipartite_soft_matching_random2d(metric.flip(1), w=n, h=1, sx=2, sy=1, r=r, no_rand=True)
    wanted = theirs(x).flip(2)  # a row says of which tokens, in our order, a token is the mean
    assert got.shape == wanted.shape == (3, n - r, n)
    for mine, other, size in zip(got, wanted, new_sizes, strict=True):
        order = [
            max(range(n), key=lambda i, row=row: (row[i] > 0, i % 2, i)) for row in other
        ]  # its odd token, or itself
        in_order = other[torch.tensor(order).argsort()]
        torch.testing.assert_close(mine, in_order, rtol=0, atol=1e-12)
        torch.testing.assert_close(size, (mine > 0).sum(-1).double(), rtol=0, atol=0)
