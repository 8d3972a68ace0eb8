"""Broken and manipulated files: what a text cannot show is made here, one function each.

A function takes the folder to hand in to and the released notebook with three right answers (`shift`, `triangle` and
`twice`: 5 points) in it. Its docstring says what it tries.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

from attacks.suite import LESSON, RIGHT, Attack, apply, cell_of, code_cell, write

ANSWERED = ["shift", "triangle", "twice"]
EARNED = {"shift": 2.0, "triangle": 2.0, "twice": 1.0}

ATTACKS: list[Attack] = []


def broken(name: str, deserves: dict[str, float] | None = EARNED) -> Callable:
    """Add a function to the suite. `deserves` None: no grade, since the file cannot be read."""

    def add(make: Callable[[Path, dict], None]) -> Callable:
        def hand_in(folder: Path, released: dict) -> None:
            folder.mkdir(parents=True)
            make(folder, apply(released, [], ANSWERED))

        ATTACKS.append(Attack(name, make.__doc__, deserves, hand_in))
        return make

    return add


def raw(folder: Path, data: bytes) -> None:
    (folder / f"{LESSON}.ipynb").write_bytes(data)


def mark(cell: dict) -> dict:
    return cell["metadata"].get("nbgrader", {})


# --- tags and flags ---------------------------------------------------------------------------------------------------


def _tagged(*tags: str) -> Callable[[Path, dict], None]:
    def make(folder: Path, notebook: dict) -> None:
        for cell in notebook["cells"]:
            cell["metadata"]["tags"] = list(tags)
        write(folder, notebook)

    make.__doc__ = f"Tags every cell {' '.join(tags)}."
    return make


broken("silence/tag_skip_execution")(_tagged("skip-execution"))
broken("silence/tag_raises_exception")(_tagged("raises-exception", "remove_output", "nbgrader-ignore"))


@broken("silence/test_turned_into_text")
def test_as_markdown(folder: Path, notebook: dict) -> None:
    """Makes the test cells raw and markdown, which are not run."""
    for cell in notebook["cells"]:
        if mark(cell).get("grade"):
            cell["cell_type"] = "raw" if mark(cell)["grade_id"] == "test_double" else "markdown"
            cell.pop("outputs"), cell.pop("execution_count")
    write(folder, notebook)


@broken("silence/test_emptied")
def test_emptied(folder: Path, notebook: dict) -> None:
    """Empties every test cell, keeps the metadata."""
    for cell in notebook["cells"]:
        if mark(cell).get("grade"):
            cell["source"] = "" if mark(cell)["grade_id"] == "test_double" else "pass"
    write(folder, notebook)


@broken("silence/test_removed")
def test_removed(folder: Path, notebook: dict) -> None:
    """Removes every test cell."""
    notebook["cells"] = [cell for cell in notebook["cells"] if not mark(cell).get("grade")]
    write(folder, notebook)


@broken("silence/grade_and_solution_flags_flipped")
def flags_flipped(folder: Path, notebook: dict) -> None:
    """Makes the tests solutions, unlocked, and the solutions tests."""
    for cell in notebook["cells"]:
        if mark(cell):
            cell["metadata"]["nbgrader"] |= {
                "grade": not mark(cell)["grade"],
                "solution": not mark(cell)["solution"],
                "locked": False,
                "points": 2,
            }
    write(folder, notebook)


@broken("forgery/points_raised")
def points_raised(folder: Path, notebook: dict) -> None:
    """Makes the test of shift worth a hundred points, that of triangle NaN, that of twice -1."""
    for name, points in (("shift", 100), ("triangle", float("nan")), ("twice", -1)):
        mark(cell_of(notebook, f"test_{name}"))["points"] = points
    write(folder, notebook)


@broken("forgery/test_passed_before")
def test_passed_before(folder: Path, notebook: dict) -> None:
    """Saves outputs that say full marks in every test cell, and checksums of another notebook."""
    for cell in notebook["cells"]:
        if mark(cell).get("grade"):
            data = {"text/plain": str(mark(cell)["points"])}
            result = {"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": 1}
            cell["outputs"], cell["execution_count"] = [result], 1
        if mark(cell):
            mark(cell)["checksum"] = "0" * 32
    write(folder, notebook)


@broken("forgery/record_of_an_earlier_run")
def forged_record(folder: Path, notebook: dict) -> None:
    """Claims, in the notebook's metadata, that it has been graded and recorded, with full marks."""
    scores = {mark(cell)["grade_id"]: mark(cell)["points"] for cell in notebook["cells"] if mark(cell).get("grade")}
    notebook["metadata"]["autograder"] = {"key": "0" * 64, "scores": scores, "timestamp": "None"}
    notebook["metadata"]["kernelspec"] = {"name": "bash", "display_name": "Bash", "language": "bash"}
    write(folder, notebook)


@broken("forgery/additional_test_cell")
def additional_test(folder: Path, notebook: dict) -> None:
    """Adds a test of its own, worth ten points, that passes."""
    cell = code_cell("assert True")
    cell["metadata"]["nbgrader"] = mark(cell_of(notebook, "test_double")) | {"grade_id": "test_bonus", "points": 10}
    notebook["cells"].append(cell)
    write(folder, notebook)


# --- cells ------------------------------------------------------------------------------------------------------------


@broken("broken/duplicated_cells")
def duplicated(folder: Path, notebook: dict) -> None:
    """Every cell stands there twice, with the same ids and metadata."""
    notebook["cells"] = [deepcopy(cell) for cell in notebook["cells"] for _ in range(2)]
    write(folder, notebook)


@broken("broken/split_cells")
def split(folder: Path, notebook: dict) -> None:
    """Every test cell is split after its first line, both halves with the same metadata."""
    cells = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if mark(cell).get("grade") and "\n" in source:
            first, second = source.split("\n", 1)
            cells += [deepcopy(cell) | {"source": first}, deepcopy(cell) | {"source": second}]
        else:
            cells.append(cell)
    notebook["cells"] = cells
    write(folder, notebook)


@broken("broken/merged_cells")
def merged(folder: Path, notebook: dict) -> None:
    """Each answer is merged with the test below it, which is gone."""
    cells: list[dict] = []
    for cell in notebook["cells"]:
        if mark(cell).get("grade"):
            cells[-1]["source"] = "".join(cells[-1]["source"]) + "\n" + "".join(cell["source"])
        else:
            cells.append(cell)
    notebook["cells"] = cells
    write(folder, notebook)


@broken("broken/stripped_metadata")
def stripped(folder: Path, notebook: dict) -> None:
    """All metadata and ids are gone, of the notebook too."""
    notebook["metadata"] = {}
    for cell in notebook["cells"]:
        cell["metadata"] = {}
        cell.pop("id", None)
    write(folder, notebook)


@broken("broken/metadata_of_another_kind")
def odd_metadata(folder: Path, notebook: dict) -> None:
    """Metadata are lists, strings and numbers where objects should be."""
    odd = [[], "nbgrader", 7, None, {"nbgrader": []}, {"nbgrader": {"grade_id": {"a": 1}}}, {"tags": 3}]
    for number, cell in enumerate(notebook["cells"]):
        cell["metadata"] = odd[number % len(odd)]
    write(folder, notebook)


@broken("broken/schema_version_of_the_future")
def future_schema(folder: Path, notebook: dict) -> None:
    """Says that its nbgrader metadata are of schema 99, with keys that nobody knows."""
    for cell in notebook["cells"]:
        if mark(cell):
            cell["metadata"]["nbgrader"] |= {"schema_version": 99, "wish": "full marks"}
    write(folder, notebook)


@broken("broken/foreign_grade_ids", {})
def foreign_ids(folder: Path, notebook: dict) -> None:
    """Hands in a notebook of another lesson: other cells, other grade ids."""
    cells = []
    for number in range(6):
        cell = code_cell(f"def other_{number}():\n    return {number}")
        cell["metadata"]["nbgrader"] = mark(cell_of(notebook, "double")) | {"grade_id": f"other_{number}"}
        cells.append(cell)
    notebook["cells"] = cells
    write(folder, notebook)


@broken("broken/swapped_grade_ids", {})
def swapped_ids(folder: Path, notebook: dict) -> None:
    """Gives each answer and each test the grade id of the next exercise."""
    for grade in (False, True):
        marks = [mark(cell) for cell in notebook["cells"] if mark(cell) and bool(mark(cell)["grade"]) is grade]
        ids = [each["grade_id"] for each in marks]
        for each, name in zip(marks, ids[1:] + ids[:1], strict=True):
            each["grade_id"] = name
    for name in ANSWERED:  # which of its answers are whose is anybody's guess: let there be none that is right
        next(c for c in notebook["cells"] if c["source"] == RIGHT[name])["source"] = "pass"
    write(folder, notebook)


@broken("broken/no_cells", {})
def no_cells(folder: Path, notebook: dict) -> None:
    """A notebook without a cell."""
    write(folder, notebook | {"cells": []})


@broken("broken/two_thousand_cells")
def many_cells(folder: Path, notebook: dict) -> None:
    """Puts 1,900 cells behind the last one."""
    notebook["cells"] += [code_cell(f"x{number} = {number}") for number in range(1900)]
    write(folder, notebook)


@broken("broken/too_many_cells", None)
def too_many_cells(folder: Path, notebook: dict) -> None:
    """A million cells."""
    cells = ",".join(['{"cell_type":"code","source":"","metadata":{},"outputs":[]}'] * 1_000_000)
    raw(folder, f'{{"nbformat":4,"nbformat_minor":5,"metadata":{{}},"cells":[{cells}]}}'.encode())


@broken("broken/shuffled_cells")
def shuffled(folder: Path, notebook: dict) -> None:
    """The cells in another order, tests before what they test."""
    first, *rest = notebook["cells"]
    random.Random(0).shuffle(rest)
    order = {name: number for number, name in enumerate(["setup", "reference"])}
    rest.sort(key=lambda cell: order.get(mark(cell).get("grade_id"), 2))
    write(folder, notebook | {"cells": [first, *rest]})


# --- files ------------------------------------------------------------------------------------------------------------


@broken("broken/truncated_json", None)
def truncated(folder: Path, notebook: dict) -> None:
    """The file ends in the middle."""
    data = json.dumps(notebook).encode()
    raw(folder, data[: len(data) // 2])


@broken("broken/empty_file", None)
def empty(folder: Path, notebook: dict) -> None:
    """A file of no bytes."""
    raw(folder, b"")


@broken("broken/merge_conflict", None)
def conflict(folder: Path, notebook: dict) -> None:
    """A file with git's conflict markers."""
    half = json.dumps(notebook, indent=1)
    raw(folder, f"<<<<<<< HEAD\n{half}\n=======\n{half}\n>>>>>>> theirs\n".encode())


@broken("broken/nbformat_3")
def nbformat_3(folder: Path, notebook: dict) -> None:
    """Notebook format 3, of 2013: worksheets, input, headings."""
    cells = []
    for cell in notebook["cells"]:
        source = cell.pop("source")
        if cell["cell_type"] == "code":
            old = {"cell_type": "code", "language": "python", "input": source, "outputs": [], "collapsed": False}
        else:
            old = {"cell_type": "heading", "level": 1, "source": source}
        cells.append(old | {"metadata": cell["metadata"]})
    sheets = [{"cells": cells, "metadata": {}}]
    raw(folder, json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": sheets}).encode())


@broken("broken/nbformat_5", None)
def nbformat_5(folder: Path, notebook: dict) -> None:
    """A notebook format that does not exist yet."""
    write(folder, notebook | {"nbformat": 5, "nbformat_minor": 0})


@broken("broken/renamed_file")
def renamed(folder: Path, notebook: dict) -> None:
    """The file has another name."""
    write(folder, notebook, name=f"Kopie von {LESSON} (1)")


@broken("broken/not_utf8")
def latin_1(folder: Path, notebook: dict) -> None:
    """Text in Latin-1."""
    notebook["cells"].append(code_cell("word = 'Übung für ß'"))
    raw(folder, json.dumps(notebook, ensure_ascii=False).encode("latin-1"))


@broken("broken/utf16")
def utf16(folder: Path, notebook: dict) -> None:
    """UTF-16 with a byte order mark, as an editor on Windows may save it."""
    raw(folder, json.dumps(notebook).encode("utf-16"))


@broken("broken/random_bytes", None)
def noise(folder: Path, notebook: dict) -> None:
    """A megabyte of noise."""
    raw(folder, random.Random(0).randbytes(2**20))


@broken("broken/nested_a_million_deep", None)
def nested(folder: Path, notebook: dict) -> None:
    """Lists in lists, a million deep."""
    raw(folder, b'{"cells":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}")


@broken("broken/nested_metadata")
def nested_metadata(folder: Path, notebook: dict) -> None:
    """Metadata and outputs as deeply nested as the JSON reader takes them."""
    deep: dict = {}
    for _ in range(450):
        deep = {"a": [deep]}
    notebook["metadata"]["deep"] = deep
    for cell in notebook["cells"]:
        cell["metadata"]["deep"] = deep
        if cell["cell_type"] == "code":
            output = {"output_type": "display_data", "metadata": deep, "data": {"application/json": deep}}
            cell["outputs"] = [output]
    write(folder, notebook)


@broken("broken/outputs_of_150_mb")
def huge_outputs(folder: Path, notebook: dict) -> None:
    """Saved outputs of 150 MB, brackets and the word "outputs" among them."""
    line = 'not the end: ]}], "outputs": [ \\ \x1b[0m '
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            text = line * (150 * 2**20 // len(json.dumps(line)) // len(notebook["cells"]) + 1)
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
    write(folder, notebook)


@broken("broken/text_of_20_mb", None)
def huge_text(folder: Path, notebook: dict) -> None:
    """A cell of 20 MB."""
    notebook["cells"].append(code_cell("# " + "x" * (20 * 2**20)))
    write(folder, notebook)


@broken("broken/surrogates_and_controls")
def surrogates(folder: Path, notebook: dict) -> None:
    """Half characters, zeros and escapes in the text of cells, ids, tags and grade ids."""
    odd = "\ud800\x00\x1b[2J\u202e"
    notebook["cells"].append(code_cell(f"text = {odd!r}\nprint(text)"))
    notebook["cells"].append(code_cell(f"print('done')  # {odd}"))
    notebook["cells"].append({"cell_type": "markdown", "metadata": {"tags": [odd]}, "id": odd, "source": [odd, odd]})
    notebook["cells"][-1]["metadata"]["nbgrader"] = {"grade_id": odd}
    write(folder, notebook)


@broken("broken/folder_instead_of_a_file", None)
def folder_as_file(folder: Path, notebook: dict) -> None:
    """A folder with the notebook's name."""
    (folder / f"{LESSON}.ipynb").mkdir()


@broken("broken/pipe_instead_of_a_file", None)
def pipe_as_file(folder: Path, notebook: dict) -> None:
    """A named pipe, on which a reader would wait for ever."""
    os.mkfifo(folder / f"{LESSON}.ipynb")


@broken("broken/pipe_beside_the_notebook")
def pipe_beside(folder: Path, notebook: dict) -> None:
    """A named pipe, a broken link and a folder called timestamp.txt beside the notebook."""
    os.mkfifo(folder / "data.csv")
    (folder / "gone").symlink_to("nowhere")
    (folder / "timestamp.txt").mkdir()
    write(folder, notebook)


@broken("broken/names_of_the_grader")
def names_of_the_grader(folder: Path, notebook: dict) -> None:
    """Files and folders with the names that the grader itself uses for its temporary files."""
    (folder / f".{LESSON}.ipynb.part").mkdir()
    (folder / f".{LESSON}.ipynb.part" / "x").write_text("x")
    (folder / "nbgrader_config.py").write_text("raise SystemExit('the configuration of a student')")
    write(folder, notebook)


# --- exhaustion by file -----------------------------------------------------------------------------------------------


@broken("exhaustion/output_in_every_cell")
def output_in_every_cell(folder: Path, notebook: dict) -> None:
    """Prints as much as one cell may in each of five hundred cells."""
    source = "from IPython.display import display\ndisplay({'image/png': 'A' * 99_000}, raw=True)\nprint('x' * 30_000)"
    notebook["cells"] += [code_cell(source) for _ in range(500)]
    write(folder, notebook)


@broken("exhaustion/source_of_deep_nesting", EARNED | {"softmax": 2.0})
def deep_source(folder: Path, notebook: dict) -> None:
    """Code nested so deeply that whoever parses it, for a test that looks at the source, runs out of stack."""
    cell_of(notebook, "softmax")["source"] = RIGHT["softmax"]
    for source in (
        "-" * 90_000 + "1",
        "not " * 90_000 + "1",
        "(" * 150 + ")" * 150,
        "[" * 5_000 + "]" * 5_000,
        "a" + ".a" * 20_000,
        "a" + "[0]" * 20_000,
        "1" + "+1" * 20_000,
        "lambda: " * 3_000 + "1",
        "if 1:\n    pass\n" + "elif 1:\n    pass\n" * 3_000,
        "".join(f"{' ' * depth}if 1:\n" for depth in range(99)) + " " * 99 + "pass",
    ):
        notebook["cells"].append(code_cell(f"if False:\n    x = {source}" if "\n" not in source else source))
    write(folder, notebook)


# --- theft by file ----------------------------------------------------------------------------------------------------


@broken("theft/link_to_a_neighbour", None)
def link_to_neighbour(folder: Path, notebook: dict) -> None:
    """The notebook is a link to an honest neighbour's."""
    (folder / f"{LESSON}.ipynb").symlink_to(f"../../honest_first/{LESSON}/{LESSON}.ipynb")


@broken("theft/link_to_the_gradebook")
def link_to_gradebook(folder: Path, notebook: dict) -> None:
    """Links to the gradebook and to the solutions beside the notebook, whose cells read them."""
    (folder / "grades").symlink_to("../../../gradebook.db")
    (folder / "answers").symlink_to(f"../../../source/{LESSON}")
    source = f"for path in ('grades', 'answers/{LESSON}.ipynb'):\n    print('BREACH', open(path, 'rb').read(9))"
    notebook["cells"].append(code_cell(source))
    write(folder, notebook)
