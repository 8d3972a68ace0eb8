from __future__ import annotations

import sys
from collections import Counter

import pytest

from utils.data import words


def test_words_are_words():
    found = words.corpus()
    assert len(found) > 20_000
    assert all(word == word.lower() and word.strip("_")[0].isalpha() and " " not in word for word in found)
    counts = Counter(found)
    for word in ("list", "tuple", "true", "false", "int", "float", "the", "__init__", "doesn't"):
        assert counts[word], word
    assert counts["s"] < 200  # "Python's" is a word


def test_the_corpus_is_the_documents_in_order_and_the_same_each_time():
    documents = words.documents()
    assert list(documents) == sorted(documents) and "typesseq" in documents
    assert [word for document in documents.values() for word in document] == words.corpus() == words.corpus()


def test_no_paragraph_stands_in_two_documents(monkeypatch):
    shared = "The if statement is used for conditional execution."
    own = "word " * words.FEWEST
    topics = {
        "if": f"{shared}\n\n{own}of the small one\n",
        "compound": f"{own}of the large one\n\n{shared}\n \n{shared.replace('if', '`if`')}\n{'*' * 30}\n",
        "tiny": f"{shared}\n\nA little more.\n",
    }
    _pretend(monkeypatch, topics)
    documents = words.documents()
    assert list(documents) == ["compound", "if"]  # of "tiny" too little is left
    assert [document.count("conditional") for document in documents.values()] == [1, 0]
    assert documents["if"] == f"{own}of the small one".split()


@pytest.mark.parametrize("quote", ['"', "`", "``", "'", ""])
def test_quotes_around_code_change_nothing(monkeypatch, quote):
    text = f"Use {quote}x{quote} and {quote}__add__{quote}, which *isn't* {quote}None{quote} (see PEP 3132). " * 6
    _pretend(monkeypatch, {"topic": f"Title\n=====\n\n{text}\n"})
    start = ["title", "use", "x", "and", "__add__", "which", "isn't", "none", "see", "pep", "use"]
    assert words.documents()["topic"][: len(start)] == start


def test_texts_are_the_same_documents_as_they_are_written(monkeypatch):
    assert list(words.texts()) == list(words.documents())
    lists = words.texts()["lists"]
    assert lists.startswith("List displays\n***") and "\n\n   list_display" in lists
    code = "   >>> for x in y:\n   ...     print(x)  # an Example"
    shared = "This paragraph stands in two topics, Once It Is Kept."
    topics = {
        "a": f"\n{'The small one. ' * words.FEWEST}\n \n{shared}  \n",
        "b": f"{'The large one. ' * words.FEWEST * 2}\n\n{shared}\n\n\n{code}\n\n",
    }
    _pretend(monkeypatch, topics)
    large, small = words.texts()["b"], words.texts()["a"]
    assert large.endswith(f"one.\n\n{shared}\n\n{code}")
    assert small == ("The small one. " * words.FEWEST).rstrip()


def test_documents_are_held_out_whole():
    documents = {f"d{i:02}": i for i in range(50)}
    train, held_out = words.split(documents, 0.1, seed=1)
    assert len(held_out) == 5 and len(train) == 45 and train | held_out == documents
    assert list(train) == sorted(train) and list(held_out) == sorted(held_out)
    assert words.split(documents, 0.1, seed=1) == (train, held_out) != words.split(documents, 0.1, seed=2)
    assert len(words.split({"a": 0, "b": 1}, 0.1)[1]) == 1


def test_a_python_without_its_documentation_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(ModuleNotFoundError, match="install a complete Python"):
        words.documents()


def _pretend(monkeypatch, topics: dict[str, str]) -> None:
    module = type(sys)("pydoc_data.topics")
    module.topics = topics
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", module)
