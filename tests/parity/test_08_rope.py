"""Lesson 08 against Hugging Face's RoFormer (interleaved) and Llama (half-split), with weights that are not small."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from layers import compare_layers, lesson, randomise
from torch import Tensor, nn

transformers = pytest.importorskip("transformers")

LESSON, N_HEADS, LENGTH = "08_rope", 4, 19
TOLERANCE = 1e-4  # in float64: both sides make their angles in float32
Turn = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(scope="module")
def ours() -> dict:
    return lesson(LESSON)


def attention_of(module: nn.Module, run: Callable[[], object]) -> tuple[Tensor, Tensor]:
    """What an attention layer is given and what it returns, while `run` runs."""
    caught = {}

    def keep(_, args, kwargs, out):
        caught["x"] = args[0] if args else kwargs["hidden_states"]
        caught["out"] = out[0]

    hook = module.register_forward_hook(keep, with_kwargs=True)
    with torch.no_grad():
        run()
    hook.remove()
    return caught["x"], caught["out"]


def attend(x: Tensor, linears: list[nn.Linear], positions: Tensor, turn: Turn) -> Tensor:
    """Causal attention of the words x (b, l, d_model) whose queries and keys are turned by `turn`."""
    q, k, v = (rearrange(linear(x), "b l (h d) -> b h l d", h=N_HEADS) for linear in linears)
    mixed = F.scaled_dot_product_attention(turn(q, positions), turn(k, positions), v, is_causal=True)
    return rearrange(mixed, "b h l d -> b l (h d)")


# --- RoFormer: interleaved -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def roformer():
    config = transformers.RoFormerConfig(
        vocab_size=50, embedding_size=32, hidden_size=32, num_hidden_layers=3, num_attention_heads=N_HEADS,
        intermediate_size=40, max_position_embeddings=64, is_decoder=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.RoFormerModel(config).eval()
    table = model.encoder.embed_positions
    table.weight.data = table.create_weight()  # in 5.x only a loaded checkpoint fills it
    positions = table.weight.clone()
    randomise(model.double())
    table.weight.data = positions.double()
    return model


def roformer_layers(model, turn: Turn) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Each layer's attention by our functions, and by RoFormer."""
    ids = torch.randint(50, (2, LENGTH), generator=torch.Generator().manual_seed(1))
    mine, theirs = {}, {}
    for number, layer in enumerate(model.encoder.layer):
        attention = layer.attention.self
        x, theirs[f"layer {number}"] = attention_of(attention, lambda: model(ids))
        linears = [attention.query, attention.key, attention.value]
        with torch.no_grad():
            mine[f"layer {number}"] = attend(x, linears, torch.arange(LENGTH), turn)
    return mine, theirs


def test_every_layer_is_roformers(ours, roformer):
    compare_layers(*roformer_layers(roformer, ours["apply_rope"]), TOLERANCE)


def test_rotary_attention_is_roformers(ours, roformer):
    attention = roformer.encoder.layer[1].attention.self
    ids = torch.randint(50, (3, LENGTH), generator=torch.Generator().manual_seed(2))
    x, wanted = attention_of(attention, lambda: roformer(ids))
    with torch.no_grad():
        q, k, v = (
            rearrange(linear(x), "b l (h d) -> b h l d", h=N_HEADS)
            for linear in (attention.query, attention.key, attention.value)
        )
        got = rearrange(ours["rotary_attention"](q, k, v, torch.arange(LENGTH)), "b h l d -> b l (h d)")
    compare_layers({"attention": got}, {"attention": wanted}, TOLERANCE)


# --- Llama: half-split -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[10_000.0, 500.0])
def llama(request):
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=N_HEADS, num_key_value_heads=N_HEADS,
        intermediate_size=40, max_position_embeddings=64, attention_bias=True,
        rope_parameters={"rope_type": "default", "rope_theta": request.param},
    )  # fmt: skip
    return randomise(transformers.LlamaModel(config).double().eval()), request.param


def llama_layers(model, turn: Turn, positions: Tensor, convert=None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Each layer's attention by our functions, with weights that `convert` has put in another order, and by Llama."""
    ids = torch.randint(50, (2, LENGTH), generator=torch.Generator().manual_seed(1))
    mine, theirs = {}, {}
    for number, layer in enumerate(model.layers):
        attention = layer.self_attn
        run = lambda: model(ids, position_ids=positions[None])  # noqa: E731
        x, theirs[f"layer {number}"] = attention_of(attention, run)
        linears = [attention.q_proj, attention.k_proj]
        if convert:
            linears = [reordered(linear, convert) for linear in linears]
        with torch.no_grad():
            mixed = attend(x, [*linears, attention.v_proj], positions, turn)
            mine[f"layer {number}"] = attention.o_proj(mixed)
    return mine, theirs


def reordered(linear: nn.Linear, convert) -> nn.Linear:
    out = nn.Linear(linear.in_features, linear.out_features, dtype=linear.weight.dtype)
    with torch.no_grad():
        out.weight.copy_(convert(linear.weight))
        out.bias.copy_(convert(linear.bias))
    return out


def interleaved(weight: Tensor) -> Tensor:
    """The way back from `to_half_split`, by an index."""
    d_head = weight.shape[0] // N_HEADS
    rows = [h * d_head + part * d_head // 2 + i for h in range(N_HEADS) for i in range(d_head // 2) for part in (0, 1)]
    return weight[rows]


PLACES = torch.arange(LENGTH) * 2 + 5  # not from 0, and with gaps


def test_every_layer_is_llamas(ours, llama):
    model, base = llama
    compare_layers(*llama_layers(model, lambda x, p: ours["apply_rope_half"](x, p, base), PLACES), TOLERANCE)


def test_the_permutation_takes_llama_into_roformers_convention_and_back(ours, llama):
    model, base = llama
    pair = llama_layers(model, lambda x, p: ours["apply_rope"](x, p, base), PLACES, interleaved)
    compare_layers(*pair, TOLERANCE)
    for weight in (torch.randn(32, 7), torch.randn(32)):
        assert torch.equal(ours["to_half_split"](interleaved(weight), N_HEADS), weight)
    with pytest.raises(AssertionError, match="layer 0 differs first"):
        compare_layers(*llama_layers(model, lambda x, p: ours["apply_rope"](x, p, base), PLACES), TOLERANCE)


def test_a_converted_roformer_runs_half_split(ours, roformer):
    attention = roformer.encoder.layer[2].attention.self
    ids = torch.randint(50, (2, LENGTH), generator=torch.Generator().manual_seed(3))
    x, wanted = attention_of(attention, lambda: roformer(ids))
    linears = [
        reordered(linear, lambda w: ours["to_half_split"](w, N_HEADS)) for linear in (attention.query, attention.key)
    ]
    with torch.no_grad():
        got = attend(x, [*linears, attention.value], torch.arange(LENGTH), ours["apply_rope_half"])
    compare_layers({"attention": got}, {"attention": wanted}, TOLERANCE)


def test_token_by_token_through_a_cache_it_is_llamas(ours, llama):
    model, base = llama
    attention = model.layers[0].self_attn
    ids = torch.randint(50, (1, LENGTH), generator=torch.Generator().manual_seed(4))
    x, wanted = attention_of(attention, lambda: model(ids))
    with torch.no_grad():
        q, k, v = (
            rearrange(linear(x), "b l (h d) -> b h l d", h=N_HEADS)
            for linear in (attention.q_proj, attention.k_proj, attention.v_proj)
        )

        def cached(position: Callable[[int], int]) -> Tensor:
            keys, out = [], []
            for step in range(LENGTH):
                at = torch.tensor([position(step)])
                keys.append(ours["apply_rope_half"](k[:, :, step : step + 1], at, base))
                query = ours["apply_rope_half"](q[:, :, step : step + 1], at, base)
                out.append(F.scaled_dot_product_attention(query, torch.cat(keys, dim=2), v[:, :, : step + 1]))
            return attention.o_proj(rearrange(torch.cat(out, dim=2), "b h l d -> b l (h d)"))

        compare_layers({"cached": cached(lambda step: step)}, {"cached": wanted}, TOLERANCE)
        with pytest.raises(AssertionError, match="cached differs first"):
            compare_layers({"cached": cached(lambda step: 0)}, {"cached": wanted}, TOLERANCE)


# --- what must not pass ----------------------------------------------------------------------------------------------

WRONG = {
    "blind to positions": lambda ours, base: lambda x, p: x,
    "restarted": lambda ours, base: lambda x, p: ours["apply_rope_half"](x, p % 8, base),
    "turned the other way, keys too": lambda ours, base: lambda x, p: ours["apply_rope_half"](x, -p, base),
    "another base": lambda ours, base: lambda x, p: ours["apply_rope_half"](x, p, 2 * base),
    "interleaved": lambda ours, base: lambda x, p: ours["apply_rope"](x, p, base),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_turn_is_not_llamas(ours, llama, name):
    model, base = llama
    mine, theirs = llama_layers(model, WRONG[name](ours, base), PLACES)
    with pytest.raises(AssertionError, match="differs first"):
        compare_layers(mine, theirs, TOLERANCE)
    assert (mine["layer 0"] - theirs["layer 0"]).abs().max() > 0.01  # far beyond noise


# --- longer contexts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d_head, trained, length", [(8, 64, 256), (64, 128, 200)])
def test_the_longer_contexts_are_hugging_faces(ours, d_head, trained, length):
    utils = pytest.importorskip("transformers.modeling_rope_utils")
    rope = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 1.0}
    config = transformers.LlamaConfig(
        hidden_size=4 * d_head, num_attention_heads=4, max_position_embeddings=trained, rope_parameters=rope
    )
    theirs, _ = utils.ROPE_INIT_FUNCTIONS["dynamic"](config, torch.device("cpu"), seq_len=length)
    base = ours["ntk_base"](10_000.0, d_head, length / trained)
    torch.testing.assert_close(ours["rope_frequencies"](d_head, base), theirs, rtol=1e-5, atol=0)

    config.rope_parameters = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": length / trained}
    theirs, _ = utils.ROPE_INIT_FUNCTIONS["linear"](config, torch.device("cpu"))
    positions = torch.arange(length)
    squeezed = ours["interpolate_positions"](positions, trained, length)
    angles = squeezed[:, None] * ours["rope_frequencies"](d_head)
    torch.testing.assert_close(angles, positions[:, None] * theirs, rtol=1e-5, atol=1e-5)
