"""The attack suite: its format, its submissions, and the course that they are handed in to.

An attack is a percent file in a folder that says of what kind it is. Its first lines, comments, say what it tries and
what it deserves. Cells are named after the exercise of `base_lesson.py` that they answer; `before NAME` and `after NAME`
are cells put in beside that exercise's cells; `file NAME` is a file handed in beside the notebook:

    # Tries: to make every assert pass.
    # Deserves: shift 2.
    # Answers: shift.
    # Reported: more than 400 MB
    # %% before double
    ...
    # %% double
    ...

`Answers` names exercises that are answered rightly; every other exercise stays a stub. `Deserves` says what each
exercise must earn, exactly; what is not named deserves nothing. `Reported` is what the student must be told of a limit,
`Open` why an attack still earns more than that: an expected failure, and to be taken away once it is none.
An attack that gets what it must not have prints BREACH and what it got. `@NAME@` in its text is replaced by what the
best informed attacker would know: paths of the course, ports of the listener outside, a name for marker files.

What no text can say, a broken file for example, is made by the functions of `broken.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from foreign.course import nbgrader

HERE = Path(__file__).parent
LESSON = "base_lesson"
KINDS = ("silence", "theft", "forgery", "exhaustion", "escape")
POINTS = {
    "double": 2,
    "shift": 2,
    "softmax": 2,
    "RunningMean": 3,
    "triangle": 2,
    "is_even": 1,
    "parity": 2,
    "twice": 1,
    "clear": 1,
}
EVERYTHING = {name: float(points) for name, points in POINTS.items()}
CANARIES = ("canary-of-the-solution", "canary-of-the-hidden-tests", "canary-of-the-seed", "canary-of-the-grader")


@dataclass(frozen=True)
class Attack:
    """One hostile or broken submission, ready to be handed in."""

    name: str  # such as "silence/monkeypatched_assert"
    tries: str
    deserves: dict[str, float] | None  # exercise → points; None: it cannot be read, and gets no grade
    hand_in: Callable[[Path, dict], None] = field(repr=False)  # (folder, the released notebook)
    reported: str = ""  # words that the student must be told about a limit
    open: str = ""  # why it still earns more than it deserves

    @property
    def student(self) -> str:
        return self.name.replace("/", "_")


# --- attacks that are text --------------------------------------------------------------------------------------------


@dataclass
class _Cell:
    title: str
    source: str


def read(path: Path, known: dict[str, str]) -> Attack:
    """The attack in a percent file, with what `known` says about the machine put in."""
    head, *cells = re.split(r"^# %% ?", path.read_text(), flags=re.MULTILINE)
    words = ("Tries", "Deserves", "Answers", "Reported", "Open")
    tries, deserves, answers, reported, open_ = (_said(head, word) for word in words)
    text = [_Cell(*(part.strip() for part in cell.split("\n", 1))) for cell in cells]
    for cell in text:
        cell.source = re.sub(r"@([A-Z_]+)@", lambda match: known[match[1]], cell.source)
    names = re.findall(r"\w+", answers)
    points = dict(re.findall(r"(\w+) ([\d.]+)", deserves))
    if not tries or not deserves or not {*names, *points} <= POINTS.keys():
        raise ValueError(f"{path}: it must say what it tries, and what it deserves of {', '.join(POINTS)}")

    def hand_in(folder: Path, released: dict) -> None:
        write(folder, apply(released, text, names))
        for cell in text:
            if cell.title.startswith("file "):
                target = folder / cell.title.removeprefix("file ")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(cell.source)

    name = f"{path.parent.name}/{path.stem}"
    earned = {name: float(value) for name, value in points.items()}
    return Attack(name, tries, earned, hand_in, reported.rstrip("."), open_)


def _said(head: str, word: str) -> str:
    """What the comment says after `word:`, up to the next word with a colon."""
    text = re.sub(r"^# ?", "", head, flags=re.MULTILINE)
    match = re.search(rf"^{word}: (.*?)(?=^\w+: |\Z)", text, re.DOTALL | re.MULTILINE)
    return " ".join(match[1].split()) if match else ""


def apply(notebook: dict, cells: list[_Cell], answers: list[str]) -> dict:
    """A copy of a released notebook with answers, and the attack's cells, put in."""
    notebook = json.loads(json.dumps(notebook))
    for name in answers:
        cell_of(notebook, name)["source"] = RIGHT[name]
    for cell in cells:
        where, _, name = cell.title.rpartition(" ")
        if where == "":
            cell_of(notebook, name)["source"] = cell.source
        elif where in ("before", "after"):
            at = notebook["cells"].index(cell_of(notebook, name)) + (where == "after")
            notebook["cells"].insert(at, code_cell(cell.source))
        elif where != "file":
            raise ValueError(f"{cell.title!r} is no place for a cell")
    return notebook


def cell_of(notebook: dict, grade_id: str) -> dict:
    """The cell with that grade id. Raises StopIteration when there is none."""
    return next(c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)


def code_cell(source: str) -> dict:
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}


def write(folder: Path, notebook: dict, name: str = LESSON) -> None:
    """Hand a notebook in as the JSON that it is, valid or not."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, cell in enumerate(notebook.get("cells", ())):
        cell.setdefault("id", f"cell-{number}")
    (folder / f"{name}.ipynb").write_text(json.dumps(notebook))


def attacks(known: dict[str, str]) -> Iterator[Attack]:
    """All attacks of the suite."""
    from attacks import broken

    for kind in KINDS:
        for path in sorted((HERE / kind).glob("*.py")):
            yield read(path, known)
    yield from broken.ATTACKS


def known_failures() -> dict[str, str]:
    """Attack → why it is still open."""
    heads = {name: (HERE / f"{name}.py").read_text().split("# %%")[0] for name in text_names()}
    return {name: _said(head, "Open") for name, head in heads.items() if _said(head, "Open")}


def text_names() -> list[str]:
    """Names of the attacks that are percent files."""
    return [f"{kind}/{path.stem}" for kind in KINDS for path in sorted((HERE / kind).glob("*.py"))]


def names() -> list[str]:
    """Names of all attacks, for pytest."""
    from attacks import broken

    return text_names() + [attack.name for attack in broken.ATTACKS]


# --- the course -------------------------------------------------------------------------------------------------------


def _solutions() -> dict[str, str]:
    """Exercise → the solution's text in the base lesson, without its markers."""
    text = (HERE / f"{LESSON}.py").read_text()
    found = {}
    for cell in re.split(r"^# %%", text, flags=re.MULTILINE):
        header, _, source = cell.partition("\n")
        if '"solution": true' in header:
            kept = [line for line in source.splitlines() if "###" not in line and "canary" not in line]
            found[re.search(r'"grade_id": "(\w+)"', header)[1]] = "\n".join(kept).strip()
    return found


RIGHT = _solutions()


def build_course(folder: Path) -> dict:
    """A course with the base lesson, released by stock nbgrader; returns the released notebook."""
    import jupytext

    source = folder / "source" / LESSON
    source.mkdir(parents=True)
    (folder / "nbgrader_config.py").write_text(
        "c = get_config()\n"
        "c.CourseDirectory.course_id = 'attacked'\n"
        "c.ClearSolutions.code_stub = {'python': 'raise NotImplementedError()'}\n"
        "c.IgnorePattern.enabled = True\n"
        "c.IgnorePattern.pattern = '(?s).*'\n"
    )
    notebook = jupytext.read(HERE / f"{LESSON}.py")
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = cell.metadata.get("nbgrader", {}).get("grade_id", f"text-{number}")
    nbformat.write(notebook, source / f"{LESSON}.ipynb")
    nbgrader(folder, "generate_assignment", LESSON)
    return json.loads((folder / "release" / LESSON / f"{LESSON}.ipynb").read_text())
