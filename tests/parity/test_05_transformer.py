"""Lesson 05: its blocks and its T5, layer by layer, against PyTorch's and Hugging Face's, random weights in float64."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from layers import compare_layers, lesson, randomise, recorded
from torch import Tensor, nn

from utils.checkpoints import T5, load_weights

transformers = pytest.importorskip("transformers")
modeling_bert = pytest.importorskip("transformers.models.bert.modeling_bert")
modeling_t5 = pytest.importorskip("transformers.models.t5.modeling_t5")

LESSON = "05_transformer"
TOLERANCE = 1e-10


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ids(low: int, high: int, shape: tuple[int, ...], seed: int = 2) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


# --- blocks ----------------------------------------------------------------------------------------------------------


def copy_attention(ours: nn.Module, theirs: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        for name in ("weight", "bias"):
            parts = [getattr(layer, name) for layer in (ours.w_q, ours.w_k, ours.w_v)]
            getattr(theirs, f"in_proj_{name}").copy_(torch.cat(parts))
    theirs.out_proj.load_state_dict(ours.w_o.state_dict())


def copy_rest(ours: nn.Module, theirs: nn.Module, norms: list[str]) -> None:
    theirs.linear1.load_state_dict(ours.feed_forward.w_in.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.w_out.state_dict())
    for number, name in enumerate(norms, 1):
        getattr(theirs, f"norm{number}").load_state_dict(getattr(ours, name).state_dict())


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize(
    "b, length, d_model, n_heads, d_hidden", [(3, 6, 12, 3, 20), (1, 1, 4, 1, 5), (2, 9, 16, 8, 64)]
)
def test_the_encoder_block_and_its_gradients_are_pytorchs(pre_norm, b, length, d_model, n_heads, d_hidden):
    ours = lesson(LESSON)["EncoderBlock"](d_model, n_heads, d_hidden, pre_norm=pre_norm, eps=1e-3)
    randomise(ours.double())
    theirs = nn.TransformerEncoderLayer(
        d_model, n_heads, d_hidden, 0.0, F.gelu, 1e-3, True, pre_norm, dtype=torch.float64
    )
    copy_attention(ours.attention, theirs.self_attn)
    copy_rest(ours, theirs, ["attention_norm", "feed_forward_norm"])
    keep = torch.arange(length) < ids(1, length + 1, (b, 1))
    mine, other = (x.requires_grad_() for x in numbers(b, length, d_model).expand(2, -1, -1, -1).clone())
    outs = ours(mine, keep[:, None]), theirs(other, src_key_padding_mask=~keep)
    torch.testing.assert_close(*outs, rtol=0, atol=TOLERANCE)
    upstream = numbers(b, length, d_model, seed=3)
    slopes = [torch.autograd.grad(out, x, upstream)[0] for out, x in zip(outs, (mine, other), strict=True)]
    torch.testing.assert_close(*slopes, rtol=0, atol=TOLERANCE * 100)


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("n, m", [(5, 7), (1, 3), (4, 4)])
def test_the_decoder_block_is_pytorchs(pre_norm, n, m):
    ours = randomise(lesson(LESSON)["DecoderBlock"](12, 3, pre_norm=pre_norm).double())
    theirs = nn.TransformerDecoderLayer(12, 3, 48, 0.0, F.gelu, 1e-5, True, pre_norm, dtype=torch.float64)
    copy_attention(ours.attention, theirs.self_attn)
    copy_attention(ours.cross_attention, theirs.multihead_attn)
    copy_rest(ours, theirs, ["attention_norm", "cross_attention_norm", "feed_forward_norm"])
    x, memory = numbers(3, n, 12), numbers(3, m, 12, seed=4)
    causal, keep = torch.ones(n, n).tril().bool(), torch.arange(m) < ids(1, m + 1, (3, 1))
    wanted = theirs(x, memory, tgt_mask=~causal, memory_key_padding_mask=~keep)
    torch.testing.assert_close(ours(x, memory, causal, keep[:, None]), wanted, rtol=0, atol=TOLERANCE)


def test_a_post_norm_block_is_berts():
    config = transformers.BertConfig(
        hidden_size=24, num_attention_heads=4, intermediate_size=40, attn_implementation="eager"
    )
    theirs = randomise(modeling_bert.BertLayer(config).eval().double())
    ours = lesson(LESSON)["EncoderBlock"](24, 4, 40, pre_norm=False, eps=config.layer_norm_eps).double()
    names = {
        "attention.self.query": "attention.w_q", "attention.self.key": "attention.w_k",
        "attention.self.value": "attention.w_v", "attention.output.dense": "attention.w_o",
        "attention.output.LayerNorm": "attention_norm", "intermediate.dense": "feed_forward.w_in",
        "output.dense": "feed_forward.w_out", "output.LayerNorm": "feed_forward_norm",
    }  # fmt: skip
    state = theirs.state_dict()
    ours.load_state_dict({f"{mine}.{p}": state[f"{t}.{p}"] for t, mine in names.items() for p in ("weight", "bias")})
    x, keep = numbers(2, 6, 24), torch.arange(6) < torch.tensor([[6], [3]])
    hidden = torch.zeros(2, 1, 1, 6, dtype=torch.float64).masked_fill(~keep[:, None, None], -torch.inf)
    wanted = theirs(x, hidden)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    torch.testing.assert_close(ours(x, keep[:, None]), wanted, rtol=0, atol=TOLERANCE)


# --- T5 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("n_buckets, max_distance", [(32, 128), (16, 64), (12, 50), (8, 20), (32, 256)])
def test_buckets_are_those_of_t5(bidirectional, n_buckets, max_distance):
    distance = torch.arange(-400, 401).view(3, -1)
    got = lesson(LESSON)["relative_position_bucket"](distance, bidirectional, n_buckets, max_distance)
    wanted = modeling_t5.T5Attention._relative_position_bucket(distance, bidirectional, n_buckets, max_distance)
    assert torch.equal(got, wanted)


@pytest.fixture(scope="module", params=[(16, 4, 2, 4), (12, 3, 3, 8)], ids=["square", "wide heads"])
def pair(request) -> tuple[nn.Module, nn.Module]:
    """The reader's T5 and Hugging Face's, with the same random weights; heads need not share d_model among them."""
    d_model, n_heads, n_layers, d_head = request.param
    config = transformers.T5Config(
        vocab_size=40, d_model=d_model, d_kv=d_head, d_ff=24, num_layers=n_layers, num_heads=n_heads,
        dropout_rate=0.0, decoder_start_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    theirs = randomise(transformers.T5ForConditionalGeneration(config).eval().double())
    theirs.lm_head.weight = theirs.shared.weight
    ours = lesson(LESSON)["T5"](40, d_model, n_heads, n_layers, 24, d_head).double()
    load_weights(ours, theirs.state_dict(), T5)
    return ours, theirs


def in_float64(theirs: nn.Module) -> nn.Module:
    """A copy whose norms are PyTorch's: Hugging Face's compute the mean square in float32, whatever the model is in."""
    exact = copy.deepcopy(theirs)
    for name, norm in list(exact.named_modules()):
        if isinstance(norm, modeling_t5.T5LayerNorm):
            fused = nn.RMSNorm(len(norm.weight), norm.variance_epsilon, dtype=torch.float64)
            fused.weight = norm.weight
            exact.set_submodule(name, fused)
    return exact


def batch() -> tuple[Tensor, Tensor]:
    """Sources of different lengths, long enough for shared buckets, and targets that begin with the start token."""
    source, given = ids(1, 40, (3, 30)), ids(1, 40, (3, 21), seed=5)
    source[0, 20:] = source[1, 4:] = 0
    given[:, 0] = 0
    return source, given


@pytest.mark.parametrize("exact, tolerance", [(True, TOLERANCE), (False, 1e-5)])
def test_t5_is_hugging_faces_layer_by_layer(pair, exact, tolerance):
    ours, theirs = pair
    theirs = in_float64(theirs) if exact else theirs
    n_layers = len(ours.encoder)
    stacks = [(stack, i) for stack in ("encoder", "decoder") for i in range(n_layers)]
    mine = {f"{stack}.{i}": f"{stack} block {i}" for stack, i in stacks}
    other = {f"{stack}.block.{i}": f"{stack} block {i}" for stack, i in stacks}
    for stack in ("encoder", "decoder"):
        mine[f"{stack}_norm"] = other[f"{stack}.final_layer_norm"] = f"{stack} norm"
    source, given = batch()
    with torch.no_grad(), recorded(ours, mine) as got, recorded(theirs, other) as wanted:
        logits = ours(source, given)
        out = theirs(input_ids=source, attention_mask=(source != 0).long(), decoder_input_ids=given)
    got["logits"], wanted["logits"] = logits, out.logits
    compare_layers(got, wanted, tolerance)


def test_t5s_loss_and_gradients_are_hugging_faces(pair):
    ours, theirs = pair[0], in_float64(pair[1])
    source, given = batch()
    labels = torch.cat([given[:, 1:], ids(1, 40, (3, 1), seed=6)], dim=1)
    labels[1, 9:] = -100
    shifted = theirs._shift_right(labels)  # where they hide a label they give padding
    out = theirs(input_ids=source, attention_mask=(source != 0).long(), labels=labels)
    loss = F.cross_entropy(ours(source, shifted).flatten(0, 1), labels.flatten(), ignore_index=-100)
    torch.testing.assert_close(loss, out.loss, rtol=0, atol=TOLERANCE)
    for mine, other in (
        ("tokens", "shared"),
        ("encoder_bias", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias"),
    ):
        slopes = [
            torch.autograd.grad(value, model.get_submodule(name).weight, retain_graph=True)[0]
            for value, model, name in ((loss, ours, mine), (out.loss, theirs, other))
        ]
        torch.testing.assert_close(*slopes, rtol=0, atol=TOLERANCE)
        assert slopes[0].any()


def test_they_write_the_same(pair):
    ours, theirs = pair
    source, _ = batch()
    options = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "num_beams": 1}
    wanted = theirs.generate(source, attention_mask=(source != 0).long(), eos_token_id=None, **options)
    with torch.no_grad():
        memory, given = ours.encode(source), torch.zeros(3, 1, dtype=torch.int64)
        for _ in range(12):
            given = torch.cat([given, ours.decode(given, memory, source)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(given, wanted)
    assert len({tuple(row) for row in given.tolist()}) > 1  # the sources matter


def test_small_and_base_are_as_large_as_hugging_faces():
    for sizes in ((512, 8, 6, 2048, 64), (768, 12, 12, 3072, 64), (1024, 32, 2, 256, 128)):
        d_model, n_heads, n_layers, d_hidden, d_head = sizes
        config = transformers.T5Config(
            d_model=d_model, d_kv=d_head, d_ff=d_hidden, num_layers=n_layers, num_heads=n_heads
        )
        with torch.device("meta"):
            theirs = transformers.T5ForConditionalGeneration(config)
            ours = lesson(LESSON)["T5"](config.vocab_size, *sizes)
        count = [sum(p.numel() for p in {id(p): p for p in model.parameters()}.values()) for model in (ours, theirs)]
        assert count[0] == count[1]
