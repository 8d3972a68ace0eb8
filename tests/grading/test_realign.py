"""Realignment: each way in which a submission comes back broken, and what must survive of it."""

import json
import os
import random
from copy import deepcopy
from pathlib import Path

import pytest
from foreign import course
from nbformat import NotebookNode, validate
from nbformat.v4 import new_code_cell, new_markdown_cell
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions, ComputeChecksums

from autograder.grading import realign as module
from autograder.grading.realign import Realigned, Unreadable, find_notebook, read_submission, realign

GRADED = ["intro", "imports", "squares", "test_squares", "unit", "test_unit", "why", "sketch", "task_plot"]


@pytest.fixture(scope="module")
def release() -> NotebookNode:
    """The released notebook, made by nbgrader's own preprocessors."""
    notebook = course.source_notebooks()["problem1"]
    for step in (ClearSolutions(), ClearHiddenTests(), ComputeChecksums()):
        notebook, _ = step(notebook, {})
    return notebook


@pytest.fixture
def work(release: NotebookNode) -> dict:
    """An honest submission, as JSON data that a test may break."""
    return course.as_json(course.answered(release, course.RIGHT))


def mend(data: dict | bytes, release: NotebookNode) -> Realigned:
    """Realign, and check what must hold for every submission that can be read."""
    before = deepcopy(release)
    result = realign(data if isinstance(data, bytes) else json.dumps(data).encode(), release)
    assert release == before, "the release is not to be changed"
    validate(result.notebook)
    MetadataValidator().validate_nb(result.notebook)
    ids = [cell.id for cell in result.notebook.cells]
    assert len(ids) == len(set(ids))
    masters = {cell.metadata.nbgrader.grade_id: cell for cell in release.cells if "nbgrader" in cell.metadata}
    for cell in result.notebook.cells:
        marks = cell.metadata.get("nbgrader")
        if marks is None:
            assert cell.metadata == {}
            continue
        master = masters.pop(marks.grade_id)
        assert cell.metadata == master.metadata and cell.cell_type == master.cell_type
        if module.is_fixed(master):
            assert cell.source == master.source
    assert all(not module.is_fixed(cell) for cell in masters.values()), "a test or read-only cell is missing"
    fixed = [cell.metadata.nbgrader.grade_id for cell in result.notebook.cells if module.is_fixed(cell)]
    assert fixed == [name for name in GRADED if name in fixed], "tests stand in the release's order"
    again = realign(json.dumps(course.as_json(result.notebook)).encode(), release)
    assert again.notebook == result.notebook, "what is in order is left alone"
    return result


def names(result: Realigned) -> list[str]:
    return [cell.metadata.get("nbgrader", {}).get("grade_id", "-") for cell in result.notebook.cells]


def source(result: Realigned, grade_id: str) -> str:
    (cell,) = [c for c in result.notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id]
    return cell.source


def assert_work_kept(result: Realigned, answers: dict[str, str] = course.RIGHT) -> None:
    for grade_id, text in answers.items():
        assert source(result, grade_id) == text


def index(data: dict, grade_id: str) -> int:
    return next(i for i, c in enumerate(data["cells"]) if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)


def test_an_untouched_submission_needs_no_repair(work, release):
    result = mend(work, release)
    assert result.repairs == []
    assert [c.source for c in result.notebook.cells] == ["".join(c["source"]) for c in work["cells"]]
    assert_work_kept(result)


def test_release_itself_needs_no_repair(release):
    assert mend(course.as_json(release), release).repairs == []


def test_all_metadata_stripped(work, release):
    for cell in work["cells"]:
        cell["metadata"] = {}
    result = mend(work, release)
    assert_work_kept(result)
    assert "lost" in result.repairs[0] and len(result.repairs) == 1


def test_metadata_and_cell_ids_stripped_as_by_an_old_tool(work, release):
    work["nbformat_minor"] = 4
    for cell in work["cells"]:
        cell["metadata"] = {}
        del cell["id"]
    work["cells"].insert(3, {"cell_type": "code", "metadata": {}, "outputs": [], "source": ["1 + 1"]})
    result = mend(work, release)
    assert_work_kept(result)
    assert [name for name in names(result) if name != "-"] == GRADED


def test_answers_that_share_nothing_with_their_stub_are_found_by_their_place(release):
    stubs = deepcopy(release)
    for cell in stubs.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = "# YOUR CODE HERE\nraise NotImplementedError()"
    answers = {"squares": "a = 1", "unit": "zeta = lambda q: q", "sketch": "plot()", "why": "*indeed*"}
    data = course.as_json(course.answered(stubs, answers))
    for cell in data["cells"]:
        cell["metadata"] = {}
        del cell["id"]
    assert_work_kept(mend(data, stubs), answers)


def test_colab_keeps_ids_in_the_metadata(work, release):
    for cell in work["cells"]:
        cell["metadata"] = {"id": cell.pop("id"), "colab": {"base_uri": "x"}, "outputId": "y"}
    assert_work_kept(mend(work, release))


@pytest.mark.parametrize(
    "change", [{"grade": True, "points": 99}, {"locked": True}, {"schema_version": 1}, {"extra": 1}]
)
def test_flipped_marks_are_those_of_the_release(work, release, change):
    for cell in work["cells"]:
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"] |= change
    assert_work_kept(mend(work, release))


@pytest.mark.parametrize("marks", [None, 3, "x", [], {}, {"grade_id": 7}, {"grade_id": ["squares"]}, {"grade_id": ""}])
def test_malformed_marks(work, release, marks):
    for cell in work["cells"]:
        cell["metadata"]["nbgrader"] = marks
    assert_work_kept(mend(work, release))


def test_points_are_those_of_the_release(work, release):
    work["cells"][index(work, "test_squares")]["metadata"]["nbgrader"]["points"] = 1000
    result = mend(work, release)
    assert any("test_squares" in repair for repair in result.repairs)


def test_foreign_ids_are_ignored_and_named_safely(work, release):
    own = new_code_cell("x = 1", metadata={"nbgrader": {"grade_id": "<script>", "grade": True, "solution": False}})
    work["cells"].insert(2, own)
    result = mend(work, release)
    assert_work_kept(result)
    assert result.notebook.cells[2].source == "x = 1"
    (repair,) = result.repairs
    assert "ignored" in repair and "<" not in repair


def test_deleted_cells_come_back_in_their_place(work, release):
    work["cells"] = [c for c in work["cells"] if "nbgrader" not in c["metadata"] or c["id"] == "squares"]
    result = mend(work, release)
    assert [name for name in names(result) if name in GRADED and name != "unit"] == [n for n in GRADED if n != "unit"]
    assert "The answer cell unit is missing." in result.repairs
    assert source(result, "why") == "YOUR ANSWER HERE"


def test_a_missing_test_comes_after_everything_the_student_put_before_the_next_exercise(work, release):
    at = index(work, "test_squares")
    work["cells"][at] = course.as_json(release)["cells"][2] | {"cell_type": "code", "id": "helper", "source": "h = 1"}
    result = mend(work, release)
    cells = [cell.source for cell in result.notebook.cells]
    assert cells.index("h = 1") < names(result).index("test_squares") < cells.index("## Unit vectors")


def test_a_deleted_answer_whose_work_stands_elsewhere_does_not_undo_it(work, release):
    unit = work["cells"].pop(index(work, "unit"))
    work["cells"][index(work, "squares")]["source"] = course.RIGHT["squares"] + "\n\n" + "".join(unit["source"])
    result = mend(work, release)
    assert "unit" not in names(result)
    assert sum("def unit" in cell.source for cell in result.notebook.cells) == 1


def test_a_copied_answer_cell(work, release):
    at = index(work, "squares")
    stub = course.as_json(release)["cells"][index(course.as_json(release), "squares")]
    work["cells"].insert(at, stub | {"id": "other"})
    result = mend(work, release)
    assert_work_kept(result)
    assert names(result)[at : at + 2] == ["-", "squares"], "both stay, in their order; the one with work is the answer"
    assert "stands 2 times" in result.repairs[0]


@pytest.mark.parametrize("grade_id", ["squares", "test_squares"])
def test_a_split_cell(work, release, grade_id):
    at = index(work, grade_id)
    cell = work["cells"][at]
    first, _, second = "".join(cell["source"]).partition("\n")
    work["cells"][at : at + 1] = [cell | {"source": first}, cell | {"source": second, "id": "second"}]
    result = mend(work, release)
    assert "stands 2 times" in " ".join(result.repairs)
    text = "\n".join(c.source for c in result.notebook.cells)
    assert first in text and second in text, "nothing of the student's is thrown away"


def test_moved_tests_go_back_and_the_students_cells_stay(work, release):
    cells = work["cells"]
    cells.append(cells.pop(index(work, "test_squares")))
    result = mend(work, release)
    assert names(result) == [c.metadata.get("nbgrader", {}).get("grade_id", "-") for c in release.cells]
    assert result.repairs == ["The test cell test_squares had been moved; it is back in its place."]


def test_a_moved_set_up_cell_does_not_drag_the_tests_along(work, release):
    work["cells"].append(work["cells"].pop(index(work, "imports")))
    assert names(mend(work, release)) == [c.metadata.get("nbgrader", {}).get("grade_id", "-") for c in release.cells]


def test_shuffled_and_stripped(work, release):
    """Even with no order and no marks, the tests are the release's and no text is lost."""
    for seed in range(20):
        data = deepcopy(work)
        random.Random(seed).shuffle(data["cells"])
        for cell in data["cells"]:
            cell["metadata"] = {}
            del cell["id"]
        result = mend(data, release)
        text = "\n".join(cell.source for cell in result.notebook.cells)
        assert all(answer in text for answer in course.RIGHT.values())


def test_an_edited_test_is_the_released_one_again(work, release):
    test = work["cells"][index(work, "test_squares")]
    test["source"] = "".join(test["source"]).replace("[1, 4, 9]", "[1, 4, 8]")
    result = mend(work, release)
    assert "test_squares" in result.repairs[0] and "changed" in result.repairs[0]


def test_work_written_into_a_test_cell_is_kept_as_a_cell_of_the_students(work, release):
    work["cells"][index(work, "test_squares")]["source"] = "def helper(a, b):\n    while a != b:\n        b += 17\n"
    result = mend(work, release)
    at = names(result).index("test_squares")
    assert "def helper" in result.notebook.cells[at - 1].source


def test_tags_are_dropped(work, release):
    for cell in work["cells"]:
        cell["metadata"]["tags"] = ["skip-execution", "raises-exception", "nbval-skip"]
    result = mend(work, release)
    assert "Tags on" in result.repairs[0]
    assert not any(cell.metadata.get("tags") for cell in result.notebook.cells)


def test_changed_cell_types_are_changed_back(work, release):
    work["cells"][index(work, "squares")]["cell_type"] = "markdown"
    work["cells"][index(work, "test_unit")]["cell_type"] = "raw"
    work["cells"][index(work, "why")]["cell_type"] = "code"
    assert_work_kept(mend(work, release))


def test_kernel_is_that_of_the_release(work, release):
    work["metadata"]["kernelspec"] = {"name": "evil", "language": "bash", "display_name": "x"}
    result = mend(work, release)
    assert result.notebook.metadata.kernelspec == release.metadata.kernelspec
    assert "bash" in result.repairs[0]


def test_nbformat_3(work, release):
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": []}]}
    for cell in work["cells"]:
        text = cell.pop("source")
        extra = (
            {"input": text, "language": "python", "outputs": []} if cell["cell_type"] == "code" else {"source": text}
        )
        old["worksheets"][0]["cells"].append({"cell_type": cell["cell_type"], "metadata": cell["metadata"], **extra})
    old["worksheets"][0]["cells"].append({"cell_type": "heading", "level": 2, "metadata": {}, "source": "End"})
    result = mend(old, release)
    assert_work_kept(result)
    assert "nbformat 3" in result.repairs[0]
    assert result.notebook.cells[-1].source == "## End"


def test_no_cells(release):
    result = mend({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}, release)
    assert [n for n in names(result) if n != "-"] == [n for n in GRADED if n not in ("squares", "unit")]


def test_pasted_pictures_stay_with_an_answer(work, release):
    work["cells"][index(work, "why")]["attachments"] = {"a.png": {"image/png": "aGk="}, "b": 3, "c": {"image/png": 4}}
    result = mend(work, release)
    (cell,) = [c for c in result.notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "why"]
    assert cell.attachments == {"a.png": {"image/png": "aGk="}, "c": {}}


def test_text_that_no_file_can_hold(work, release):
    work["cells"][index(work, "squares")]["source"] = "x = '\ud800'"
    assert source(mend(work, release), "squares") == "x = '?'"


def test_other_encodings(work, release):
    text = json.dumps(work, ensure_ascii=False).replace("def squares(n):", "def squares(n):  # é")
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert "# é" in source(mend(text.encode(encoding), release), "squares")
    result = mend(text.encode("latin-1"), release)
    assert "not UTF-8" in result.repairs[0]
    assert "def squares(n):  # \ufffd" in source(result, "squares")


def test_big_outputs_are_dropped_before_parsing(work, release, monkeypatch):
    tricky = {"output_type": "stream", "name": "stdout", "text": '"outputs": [ ] } \\" [{'}
    for cell in work["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [tricky, {"output_type": "stream", "name": "stdout", "text": "x" * 500_000}] * 3
    work["cells"][index(work, "squares")]["source"] = "s = '\"outputs\": [1, 2]'"
    seen = []
    loads = json.loads
    monkeypatch.setattr(module.json, "loads", lambda text: seen.append(len(text)) or loads(text))
    result = realign(json.dumps(work).encode(), release)
    assert max(seen) < 20_000
    assert source(result, "squares") == "s = '\"outputs\": [1, 2]'"
    assert "were dropped" in result.repairs[0]


def test_outputs_of_any_shape_are_stripped_as_the_parser_sees_them():
    """Random JSON: stripping the bytes and parsing is parsing and emptying each list called outputs."""

    def value(rng: random.Random, depth: int) -> object:
        kind = rng.randrange(7 if depth else 4)
        if kind < 4:
            return [rng.choice(['"', "\\", "[", "]}", "outputs", '\\"outputs":[', "é\n"]) * 2, 1.5, None, True][kind]
        if kind == 4:
            return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
        return {rng.choice(["outputs", "a", "]", 'q"']): value(rng, depth - 1) for _ in range(rng.randrange(4))}

    def emptied(data: object) -> object:
        if isinstance(data, list):
            return [emptied(x) for x in data]
        if isinstance(data, dict):
            return {k: [] if k == "outputs" and isinstance(v, list) else emptied(v) for k, v in data.items()}
        return data

    for seed in range(300):
        data = value(random.Random(seed), 6)
        for indent in (None, 1):
            raw = json.dumps(data, indent=indent).encode()
            assert json.loads(module._without_outputs(raw)) == emptied(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"PK\x03\x04zip", "not valid JSON"),
        (b'{"cells": [', "cut off"),
        (b'{"cells": [{"source": "abc', "cut off"),
        (b"[]", "not a notebook"),
        (b'"x"', "not a notebook"),
        (b'{"a": 1}', "no list of cells"),
        (b'{"nbformat": 5, "cells": []}', "nbformat 5"),
        (b'{"nbformat": 4, "cells": {}}', "no list of cells"),
        (b'{"a": ' + b"[" * 200_000, "nested too deeply"),
        (b'{"a": ' + b"1" * 100_000 + b"}", "not valid JSON"),
        (b'{"a": 1,\n<<<<<<< HEAD\n"b": 2}', "git conflict"),
        (json.dumps({"nbformat": 4, "cells": [{}] * 2_001}).encode(), "2,001 cells"),
        (json.dumps({"nbformat": 4, "cells": [{"source": "x" * 17 * 2**20}]}).encode(), "even without its outputs"),
    ],
)
def test_unreadable(release, data, reason):
    with pytest.raises(Unreadable, match=reason):
        realign(data, release)


def test_nothing_but_unreadable_is_raised(work, release):
    """Cut, garbled and restructured submissions: a notebook comes out, or Unreadable, never another exception."""
    raw = json.dumps(work).encode()
    rng = random.Random(0)
    readable = 0
    junk = [None, 0, -1.5, "", "x", [], {}, [[]], {"a": 1}, True, float("nan"), "1e999"]
    for _ in range(400):
        if rng.random() < 0.3:
            data = bytearray(raw)
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            data = bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        else:
            broken = json.loads(raw)
            for _ in range(rng.randrange(1, 8)):
                holder = broken
                while isinstance(holder, dict | list) and holder and rng.random() < 0.8:
                    key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
                    if not isinstance(holder[key], dict | list) or rng.random() < 0.2:
                        holder[key] = rng.choice(junk)
                        break
                    holder = holder[key]
            data = json.dumps(broken).encode()
        try:
            realign(data, release)
            readable += 1
        except Unreadable as error:
            assert error.reason
    assert readable > 100, "the test would say nothing if all were unreadable"


# --- files ------------------------------------------------------------------------------------------------------------


def test_find_notebook(tmp_path: Path):
    def find(*files: str, others: tuple[str, ...] = ()) -> str | None:
        for old in sorted(tmp_path.rglob("*"), reverse=True):
            old.rmdir() if old.is_dir() else old.unlink()
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text("{}")
        found = find_notebook(tmp_path, "04_self_attention", others)
        return None if found is None else str(found.relative_to(tmp_path))

    assert find("04_self_attention.ipynb", "04_self_attention (1).ipynb") == "04_self_attention.ipynb"
    assert find("Copy of 04_Self_Attention.ipynb", "notes.ipynb") == "Copy of 04_Self_Attention.ipynb"
    assert find("04 self-attention.ipynb", "04_self_attention_alice.ipynb") == "04 self-attention.ipynb"
    assert find("homework.ipynb") == "homework.ipynb"
    assert find("homework.ipynb", "other.ipynb") is None
    assert find("problem2.ipynb", others=("problem2",)) is None
    assert find("04_self_attention/04_self_attention.ipynb") == "04_self_attention/04_self_attention.ipynb"
    assert find(".ipynb_checkpoints/04_self_attention-checkpoint.ipynb") is None
    assert find("readme.txt") is None
    assert find() is None


def test_links_and_special_files_are_refused(tmp_path: Path):
    (tmp_path / "solution.ipynb").write_text("{}")
    (tmp_path / "link.ipynb").symlink_to(tmp_path / "solution.ipynb")
    os.mkfifo(tmp_path / "pipe.ipynb")
    (tmp_path / "folder.ipynb").mkdir()
    assert read_submission(tmp_path / "solution.ipynb") == b"{}"
    for name, reason in (("link", "symbolic link"), ("pipe", "ordinary"), ("folder", "ordinary"), ("no", "No such")):
        with pytest.raises(Unreadable, match=reason):
            read_submission(tmp_path / f"{name}.ipynb")
    assert find_notebook(tmp_path, "link") is None or not find_notebook(tmp_path, "link").is_symlink()


def test_a_file_above_the_limit_is_not_read(tmp_path: Path):
    with open(tmp_path / "huge.ipynb", "wb") as file:
        file.truncate(module.MAX_FILE + 1)  # sparse: no disk is used
    with pytest.raises(Unreadable, match="the limit is 512 MB"):
        read_submission(tmp_path / "huge.ipynb")


def test_extra_cells_stay_in_order(work, release):
    for number, at in enumerate((0, 4, 4, 9, len(work["cells"]) + 4)):
        work["cells"].insert(at, course.as_json(course._notebook([new_markdown_cell(f"note {number}")]))["cells"][0])
    written = ["".join(c["source"]) for c in work["cells"]]
    result = mend(work, release)
    assert [c.source for c in result.notebook.cells] == written
