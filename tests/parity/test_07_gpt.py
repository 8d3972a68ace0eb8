"""Lesson 07 against Hugging Face's GPT-2: every layer, cached and uncached decoding, warpers, beams, byte pairs."""

from __future__ import annotations

import json
import re

import pytest
import torch
from layers import compare_layers, lesson, randomise, recorded
from torch import Tensor, nn

from utils.checkpoints import GPT2, load_weights
from utils.data.tokenizers import train_bpe
from utils.data.words import texts

transformers = pytest.importorskip("transformers")
LESSON = "07_gpt"
SIZES = {"vocab_size": 60, "context": 48, "d_model": 24, "n_layers": 3, "n_heads": 4}


def hugging_face(**changes) -> nn.Module:
    sizes = SIZES | changes
    config = transformers.GPT2Config(
        vocab_size=sizes["vocab_size"], n_positions=sizes["context"], n_embd=sizes["d_model"],
        n_layer=sizes["n_layers"], n_head=sizes["n_heads"], bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


@pytest.fixture(scope="module")
def pair() -> tuple[nn.Module, nn.Module]:
    """The lesson's GPT and Hugging Face's, with the same random weights and biases, in float64."""
    theirs = randomise(hugging_face().double().eval(), std=0.4)
    with torch.no_grad():  # as it is, one token is the likeliest wherever one asks
        theirs.transformer.wpe.weight *= 5
        theirs.transformer.ln_f.bias *= 0.1
    ours = lesson(LESSON)["GPT"](**SIZES).double().eval()
    lesson(LESSON)["load_gpt2"](ours, theirs.state_dict())
    return ours, theirs


def ids_of(*shape: int) -> Tensor:
    return torch.randint(SIZES["vocab_size"], shape)


# --- the model -------------------------------------------------------------------------------------------------------


def test_every_layer_is_hugging_faces(pair):
    ours, theirs = pair
    blocks = range(SIZES["n_layers"])
    our_names = {"tokens": "tokens", "positions": "positions"} | {"norm": "last norm"}
    their_names = {"transformer.wte": "tokens", "transformer.wpe": "positions", "transformer.ln_f": "last norm"}
    for i in blocks:
        our_names |= {f"blocks.{i}.attention": f"attention {i}", f"blocks.{i}.feed_forward": f"feed forward {i}"}
        their_names |= {f"transformer.h.{i}.attn": f"attention {i}", f"transformer.h.{i}.mlp": f"feed forward {i}"}
        our_names[f"blocks.{i}"], their_names[f"transformer.h.{i}"] = f"block {i}", f"block {i}"
    ids = ids_of(3, 17)
    with torch.no_grad(), recorded(ours, our_names) as mine, recorded(theirs, their_names) as published:
        mine["logits"], published["logits"] = ours(ids), theirs(ids).logits
    published["positions"] = published["positions"].reshape(mine["positions"].shape)  # (1, l, d) there
    compare_layers(mine, published, 1e-10)


def test_the_readers_loader_and_the_rules_agree(pair):
    ours, theirs = pair
    other = lesson(LESSON)["GPT"](**SIZES).double()
    load_weights(other, theirs.state_dict(), GPT2)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_the_loss_and_its_gradients_are_hugging_faces(pair):
    ours, theirs = pair
    ids = ids_of(4, 11)
    mine, wanted = lesson(LESSON)["next_token_loss"](ours(ids), ids), theirs(ids, labels=ids).loss
    torch.testing.assert_close(mine, wanted.double(), rtol=0, atol=1e-5)  # its loss is in float32
    slope = torch.autograd.grad(mine, ours.blocks[1].attention.w_qkv.weight)[0]
    there = torch.autograd.grad(wanted, theirs.transformer.h[1].attn.c_attn.weight)[0]
    torch.testing.assert_close(slope, there.T, rtol=0, atol=1e-5)
    assert slope.abs().max() > 0.01


@pytest.mark.parametrize(
    "layers, wide, wanted",
    [(12, 768, 124_439_808), (24, 1024, 354_823_168), (36, 1280, 774_030_080), (48, 1600, 1_557_611_200)],
)
def test_the_published_sizes_have_as_many_parameters(layers, wide, wanted):
    assert lesson(LESSON)["count"](n_layers=layers, d_model=wide, n_heads=wide // 64) == wanted
    with torch.device("meta"):
        theirs = hugging_face(vocab_size=50257, context=1024, d_model=wide, n_layers=layers, n_heads=wide // 64)
    assert theirs.num_parameters() == wanted


# --- the cache -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [[15], [1] * 15, [6, 1, 8], [1, 13, 1], [5, 5, 5]])
def test_chunks_over_a_cache_are_hugging_faces(pair, parts):
    ours, theirs = pair
    ids = ids_of(2, 15)
    cache, past = lesson(LESSON)["KVCache"](SIZES["n_layers"], 20), transformers.DynamicCache()
    with torch.no_grad():
        for part in ids.split(parts, dim=1):
            mine, wanted = ours(part, cache), theirs(part, past_key_values=past, use_cache=True).logits
            torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-10)
            assert cache.length == past.get_seq_length()


@pytest.mark.parametrize("lengths", [[9], [6, 6], [1, 12, 5, 8]])
@pytest.mark.parametrize("cached", [True, False])
def test_greedy_tokens_are_hugging_faces(pair, lengths, cached):
    ours, theirs = pair
    prompts, new = [ids_of(n) for n in lengths], 20
    ids, padding = lesson(LESSON)["left_pad"](prompts)
    mask = torch.ones_like(ids) if padding is None else (torch.arange(ids.shape[1]) >= padding[:, None]).long()
    wanted = theirs.generate(
        ids, attention_mask=mask, max_new_tokens=new, do_sample=False, use_cache=cached, pad_token_id=0
    )[:, ids.shape[1] :]
    assert len(wanted.unique()) > 3  # else any decoder would agree
    for chunk in (None, 1, 4):
        assert torch.equal(lesson(LESSON)["generate"](ours, prompts, new, chunk=chunk), wanted)
    for prompt, row in zip(prompts, wanted, strict=True):
        assert torch.equal(lesson(LESSON)["without_cache"](ours, prompt, new), row)


def test_rows_that_end_are_hugging_faces(pair):
    ours, theirs = pair
    prompts = [ids_of(6) for _ in range(5)]
    free = lesson(LESSON)["generate"](ours, prompts, 12)
    end = free[0, 4].item()
    wanted = theirs.generate(
        torch.stack(prompts), attention_mask=torch.ones(5, 6).long(), max_new_tokens=12, do_sample=False,
        eos_token_id=end, pad_token_id=end,
    )[:, 6:]  # fmt: skip
    assert torch.equal(lesson(LESSON)["generate"](ours, prompts, 12, end=end), wanted)


# --- choosing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.4, 2.5])
@pytest.mark.parametrize("top_k", [None, 1, 5, 1000])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.5, 0.9])
def test_warping_is_hugging_faces(temperature, top_k, top_p):
    logits = 3 * torch.randn(6, 60, dtype=torch.float64)
    warpers = [transformers.TemperatureLogitsWarper(temperature)]
    warpers += [] if top_k is None else [transformers.TopKLogitsWarper(top_k)]
    warpers += [] if top_p is None else [transformers.TopPLogitsWarper(top_p)]
    wanted = logits
    for warper in warpers:
        wanted = warper(None, wanted)
    got = lesson(LESSON)["warp_logits"](logits, temperature, top_k, top_p)
    assert torch.equal(got == -torch.inf, wanted == -torch.inf)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_beams", [2, 3, 6])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("ends", [False, True])
def test_beams_are_hugging_faces(pair, n_beams, length_penalty, ends):
    ours, theirs = pair
    for _ in range(4):
        prompt = ids_of(5)
        end = int(lesson(LESSON)["generate"](ours, [prompt], 4)[0, 2]) if ends else None
        with torch.no_grad():
            got, logp = lesson(LESSON)["beam_search"](
                lambda ids: ours(ids)[:, -1], prompt, n_beams, 7, end, length_penalty
            )
        wanted = theirs.generate(
            prompt[None], attention_mask=torch.ones(1, 5).long(), max_new_tokens=7, do_sample=False, num_beams=n_beams,
            length_penalty=length_penalty, early_stopping="never", eos_token_id=end, pad_token_id=0,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        assert got == wanted.sequences[0, 5:].tolist()
        score = logp / len(got) ** length_penalty
        assert score == pytest.approx(wanted.sequences_scores[0].item(), abs=1e-5)  # float32 there


# --- byte pairs ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library():
    """A byte-level BPE that the library learned from the documentation, and its merges."""
    pytest.importorskip("tokenizers")
    tokenizer = train_bpe(texts().values(), 700)
    return tokenizer, [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def test_words_are_cut_as_by_the_library(library):
    tokenizer, merges = library
    words = {word for text in texts().values() for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)}
    assert len(words) > 5000
    for word in sorted(words)[::7]:
        wanted = [token.value for token in tokenizer.model.tokenize(word)]
        assert lesson(LESSON)["bpe_encode"](word, merges) == wanted


def test_merges_are_those_of_the_library():
    tokenizers = pytest.importorskip("tokenizers")
    found = sorted(set(re.findall(r"[a-z]+", " ".join(texts().values()))))[::5]
    # Counts at random, so that no two pairs are equally frequent: the library breaks ties in another way.
    words = dict(zip(found, torch.randint(1, 3000, (len(found),)).tolist(), strict=True))
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=10_000, show_progress=False)
    library.train_from_iterator((" ".join([word] * count) for word, count in words.items()), trainer)
    wanted = [tuple(pair) for pair in json.loads(library.to_str())["model"]["merges"]]
    assert [tuple(pair) for pair in lesson(LESSON)["bpe_merges"](words, 80)] == wanted[:80]
