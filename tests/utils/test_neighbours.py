"""The neighbours widget, and pictures of labelled points."""

from __future__ import annotations

import pytest
import torch

from utils import explore_neighbours, labelled_points, plots, widgets

WORDS = ["<list>", "tuple", "dict", "try"]
TABLE = torch.tensor([[2.0, 0.0], [3.0, 3.0], [0.0, 1.0], [-5.0, 0.1]])


def test_neighbours_are_ordered_by_cosine_and_leave_the_word_out():
    units = torch.nn.functional.normalize(TABLE, dim=-1)
    found = widgets._neighbours(WORDS, units, "<list>")
    assert [word for word, _ in found] == ["tuple", "dict", "try"]
    expected = torch.nn.functional.cosine_similarity(TABLE[:1], TABLE[1:])
    assert [cosine for _, cosine in found] == pytest.approx(expected.tolist())


def test_where_no_widget_runs_the_still_shows_every_table(capsys):
    explore_neighbours(WORDS, {"one-hot": torch.eye(4), "vectors": TABLE}, start="<list>")
    first, second, *rows = capsys.readouterr().out.splitlines()
    assert first == "one-hot: all other words are equally far from “<list>”"
    assert second == "vectors: nearest to “<list>” is “tuple”, with cosine 0.71"
    assert [row.split()[:2] for row in rows] == [["tuple", "0.71"], ["dict", "0.00"], ["try", "-1.00"]]


def test_the_widget_follows_its_controls():
    ipywidgets = pytest.importorskip("ipywidgets")
    units = {"one-hot": torch.eye(4), "vectors": torch.nn.functional.normalize(TABLE, dim=-1)}
    controls, answer = widgets._thesaurus(ipywidgets, WORDS, units, "tuple").children
    word, name = controls.children
    assert "nearest to “tuple” is" in answer.value and "&lt;list&gt;" in answer.value
    word.value = "try"
    assert "nearest to “try” is “dict”" in answer.value
    name.value = "one-hot"
    assert "equally far from “try”" in answer.value and "<th>" not in answer.value


@pytest.mark.parametrize("tables, start", [({"short": TABLE[:3]}, "try"), ({"fits": TABLE}, "absent")])
def test_what_does_not_fit_is_refused(tables, start):
    with pytest.raises(ValueError):
        explore_neighbours(WORDS, tables, start=start)


def test_labels_of_neighbouring_points_do_not_cover_each_other(monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setenv("COURSE_PLOTS", str(tmp_path))
    monkeypatch.setattr(plots, "_png", lambda draw, title: (drawn.append(draw(Figure)), None)[1])
    points = torch.tensor([[0.0, 0.0], [0.01, 0.002], [0.0, 0.03], [1.0, 1.0]])
    labelled_points(points, WORDS, groups=list("abab"), links=[(0, 1)], xlabel="x", ylabel="y", title="t", alt="a")
    (axis,) = drawn[0].axes
    boxes = [text.get_window_extent() for text in axis.texts]
    assert [text.get_text() for text in axis.texts] == WORDS
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert len(axis.lines) == 3  # a link, and the points of two groups


def test_a_picture_of_points_needs_an_alt_text():
    with pytest.raises(ValueError, match="alt text"):
        labelled_points(TABLE, WORDS, xlabel="x", ylabel="y", title="t", alt=" ")
