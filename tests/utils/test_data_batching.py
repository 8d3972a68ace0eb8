from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from utils.data.batching import BOS, EOS, PAD, UNK, Vocabulary, batches, pad

SENTENCES = [("the", "cat", "sleeps"), ("the", "cat"), ("the", "dog"), ("a", "dog")]


def test_frequent_words_come_first_and_ties_are_alphabetical():
    vocabulary = Vocabulary.build(SENTENCES)
    assert vocabulary.tokens == ["<pad>", "<bos>", "<eos>", "<unk>", "the", "cat", "dog", "a", "sleeps"]
    assert len(vocabulary) == 9 and vocabulary.ids["cat"] == 5
    assert Vocabulary.build(SENTENCES, min_count=2).tokens[4:] == ["the", "cat", "dog"]


def test_encode_and_decode():
    vocabulary = Vocabulary.build(SENTENCES)
    assert vocabulary.encode(("the", "owl"), bos=True, eos=True) == [BOS, 4, UNK, EOS]
    assert vocabulary.encode("ab") == [7, UNK]  # a string is its characters
    assert vocabulary.decode([BOS, 4, 6, EOS, 5]) == ["the", "dog"]
    assert vocabulary.decode(torch.tensor([4, PAD, UNK, PAD])) == ["the", "<unk>"]
    for sentence in SENTENCES:
        assert tuple(vocabulary.decode(vocabulary.encode(sentence, bos=True, eos=True))) == sentence


def test_pad():
    ids, lengths = pad([[5, 6, 7], [], [8]])
    assert ids.tolist() == [[5, 6, 7], [PAD, PAD, PAD], [8, PAD, PAD]] and lengths.tolist() == [3, 0, 1]
    assert ids.dtype == lengths.dtype == torch.int64
    assert pad([[1], [2, 3]], value=-100)[0].tolist() == [[1, -100], [2, 3]]
    assert pad([])[0].shape == (0, 0)


@pytest.mark.parametrize("length", [None, len])
@pytest.mark.parametrize(("count", "size"), [(1, 4), (12, 4), (1003, 10)])
def test_batches_hold_every_example_once(count, size, length):
    examples = ["x" * (i * 37 % 23) + str(i) for i in range(count)]
    found = list(batches(examples, size, torch.Generator().manual_seed(0), length=length))
    assert sorted(example for batch in found for example in batch) == sorted(examples)
    assert len(found) == -(-count // size) and sorted(map(len, found))[1:] == [size] * (len(found) - 1)


def test_the_generator_decides_and_moves_on():
    examples = list(range(100))
    generator = torch.Generator().manual_seed(3)
    first, second = list(batches(examples, 8, generator)), list(batches(examples, 8, generator))
    assert first != second
    assert first == list(batches(examples, 8, torch.Generator().manual_seed(3)))


def test_similar_lengths_share_a_batch_and_batches_are_shuffled():
    examples = ["x" * (i % 40 + 1) for i in range(2000)]

    def waste(**options):
        found = list(batches(examples, 16, torch.Generator().manual_seed(0), **options))
        padded = sum(max(map(len, batch)) * len(batch) for batch in found)
        return 1 - sum(map(len, examples)) / padded, [len(batch[0]) for batch in found]

    apart, _ = waste()
    together, firsts = waste(length=len)
    assert apart > 0.4 and together < 0.1
    assert firsts != sorted(firsts)


def test_importing_the_data_modules_needs_only_torch():
    code = """
import sys
for name in ("babel", "huggingface_hub", "sklearn", "pydoc_data"):
    sys.modules[name] = None
import utils.data.batching, utils.data.dates, utils.data.french, utils.data.hub, utils.data.multi30k, utils.data.words
import utils.recurrent
"""
    subprocess.run([sys.executable, "-c", code], check=True)
