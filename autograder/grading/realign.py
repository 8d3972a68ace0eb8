"""Match a submission against the released lesson, before anything trusts its metadata.

A submitted notebook is untrusted text: its nbgrader metadata may be lost, duplicated, split, edited or foreign, its
outputs may weigh 150 MB, its JSON may be broken. `realign` takes from it only what is the student's (the text of the
cells, their order, pictures pasted in markdown) and takes everything else (grade ids, points, flags, tests, read-only
cells, kernel) from the release.

Cells are matched by grade id, then by cell id, then by an order-preserving alignment of texts. Then

- a test, read-only or task cell gets the released text, stands where the release has it, and is put back if missing;
- an answer stays where the student has it; of several copies, the first that differs from the released stub is the
  answer, and the others stay as ordinary cells, since their code runs either way;
- any other cell is the student's own and stays in order. No text of a student is thrown away.
"""

import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from rapidfuzz.fuzz import ratio

MAX_FILE = 512 * 2**20  # bytes that are read at all
MAX_TEXT = 16 * 2**20  # bytes that may remain once the outputs are dropped
STREAM_ABOVE = 2 * 2**20  # above this, outputs are dropped before the JSON is parsed
MAX_CELLS = 2_000
_COMPARED = 800  # characters of a cell that a similarity looks at
_SAME_LOCKED = 0.75  # a test or read-only cell without metadata is recognised from here on
_STILL_LOCKED = 0.5  # a cell with a test's grade id, but less like it than this, is kept as the student's own
_SAME_PLAIN = 0.6


class Unreadable(Exception):
    """The submission cannot be graded; `reason` says why, in words for the student and the instructor."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@dataclass
class Realigned:
    notebook: NotebookNode
    """The student's work with the release's metadata: nbformat 4.5, no outputs, unique cell ids."""
    repairs: list[str]
    """What had to be mended, one short sentence each, for the feedback."""


@dataclass
class _Cell:
    """What is taken from one submitted cell."""

    kind: str
    source: str
    ids: set[str] = field(default_factory=set)
    grade_id: str | None = None
    marks: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    attachments: dict[str, dict[str, str]] = field(default_factory=dict)


# --- files ------------------------------------------------------------------------------------------------------------


def read_submission(path: Path) -> bytes:
    """The bytes of a submitted file; `Unreadable` for a link, a device, a folder or a file above `MAX_FILE`.

    A link is refused because it could lead to a solution or to another student's work.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        if path.is_symlink():
            raise Unreadable("the file is a symbolic link, not a notebook") from None
        raise Unreadable(f"the file cannot be opened: {error.strerror}") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("it is not an ordinary file")
        if status.st_size > MAX_FILE:
            raise Unreadable(f"the file has {_megabytes(status.st_size)}; the limit is {_megabytes(MAX_FILE)}")
        with open(fd, "rb", closefd=False) as file:
            return file.read(MAX_FILE + 1)
    except OSError as error:
        raise Unreadable(f"the file cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)


def find_notebook(folder: Path, name: str, others: Iterable[str] = ()) -> Path | None:
    """The notebook `name`.ipynb of a submission folder, or the file that a student renamed, or None.

    Accepted, in this order: the name itself; the name in another case or Unicode form; the most similar name
    (`Copy of name.ipynb`, `name (1).ipynb`, `name-alice.ipynb`); the only notebook there is. `others` are the lesson's
    other notebooks, whose files are never taken. Links are not followed.
    """
    exact = folder / f"{name}.ipynb"
    if exact.is_file() and not exact.is_symlink():
        return exact
    taken = {_plain_name(other) for other in others if other != name}
    wanted = _plain_name(name)
    found: list[tuple[float, str, Path]] = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for file in sorted(files):
            path = Path(root, file)
            stem = _plain_name(path.stem)
            if path.suffix.lower() != ".ipynb" or file.startswith(".") or path.is_symlink() or stem in taken:
                continue
            score = 100.0 if stem == wanted else 99.0 if wanted in stem else ratio(wanted, stem)
            found.append((-score, str(path), path))
    if not found:
        return None
    best = min(found)
    if len(found) > 1 and -best[0] < 80:
        return None
    return best[2]


def _plain_name(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", unicodedata.normalize("NFKC", name).casefold()).strip("_")


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MB"


# --- reading ----------------------------------------------------------------------------------------------------------

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NEXT_STRING = re.compile(_STRING, re.DOTALL)
_NEXT_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+[\[\]{}]", re.DOTALL)  # outside any string
_KEY_OF_LIST = re.compile(rb"\s*:\s*\[")


def _without_outputs(data: bytes) -> bytes:
    """`data` with every list under a key "outputs" emptied, without building any of it in memory.

    Works on tokens, so a bracket or the word "outputs" inside a string changes nothing. Broken JSON comes out as broken
    as it went in: the parser reports it.
    """
    kept: list[bytes] = []
    start = position = 0
    while token := _NEXT_STRING.search(data, position):
        position = token.end()
        if token.group() != b'"outputs"' or not (opening := _KEY_OF_LIST.match(data, position)):
            continue
        end = _end_of_list(data, opening.end())
        if end is None:
            break
        kept.append(data[start : opening.end()])
        start, position = end - 1, end
    kept.append(data[start:])
    return b"".join(kept)


def _end_of_list(data: bytes, position: int) -> int | None:
    """Where the list ends that was opened just before `position`; None if it does not end."""
    depth = 1
    for bracket in _NEXT_BRACKET.finditer(data, position):
        depth += 1 if data[bracket.end() - 1] in b"[{" else -1
        if not depth:
            return bracket.end()
    return None


def _parse(data: bytes, repairs: list[str]) -> dict[str, Any]:
    """The notebook as parsed JSON. Raises `Unreadable`."""
    if len(data) > MAX_FILE:
        raise Unreadable(f"the file has {_megabytes(len(data))}; the limit is {_megabytes(MAX_FILE)}")
    if not data.strip():
        raise Unreadable("the file is empty")
    if len(data) > STREAM_ABOVE:
        size, data = len(data), _without_outputs(data)
        if size - len(data) > STREAM_ABOVE:
            repairs.append(f"The saved outputs ({_megabytes(size - len(data))}) were dropped.")
        if len(data) > MAX_TEXT:
            raise Unreadable(
                f"the file has {_megabytes(len(data))} even without its outputs; the limit is {_megabytes(MAX_TEXT)}"
            )
    try:
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError:
        text = data.decode("utf-8", errors="replace")
        repairs.append("Bytes that are not UTF-8 text were replaced.")
    try:
        notebook = json.loads(text)
    except RecursionError:
        raise Unreadable("the JSON is nested too deeply to be a notebook") from None
    except json.JSONDecodeError as error:
        if text.count("\n<<<<<<< "):
            raise Unreadable("the file contains git conflict markers (<<<<<<<)") from None
        where = f"line {error.lineno}, column {error.colno}"
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        reason = "the file is cut off" if cut else "the file is not valid JSON"
        raise Unreadable(f"{reason} ({error.msg.lower()}, {where})") from None
    except ValueError as error:  # a number with more digits than Python converts
        raise Unreadable(f"the file is not valid JSON ({error})") from None
    if not isinstance(notebook, dict):
        raise Unreadable("the file is JSON, but not a notebook")
    return notebook


def _raw_cells(notebook: dict[str, Any], repairs: list[str]) -> list[Any]:
    """The list of cells, whatever nbformat they are in. Raises `Unreadable`."""
    version = notebook.get("nbformat")
    if isinstance(version, (int, float)) and version >= 5:
        raise Unreadable(f"the file is in nbformat {version:g}; save it as a notebook of nbformat 4")
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        sheets = notebook.get("worksheets")
        if not isinstance(sheets, list):
            raise Unreadable("the file is JSON, but not a notebook: it has no list of cells")
        cells = []
        for sheet in sheets:
            inside = sheet.get("cells") if isinstance(sheet, dict) else None
            cells += inside if isinstance(inside, list) else []
        repairs.append(f"The notebook was in the old nbformat {version}; it was upgraded to nbformat 4.")
    elif version != 4:
        repairs.append("The notebook did not say its nbformat; it was read as nbformat 4.")
    if len(cells) > MAX_CELLS:
        raise Unreadable(f"the notebook has {len(cells):,} cells; the limit is {MAX_CELLS:,}")
    if not cells:
        repairs.append("The notebook has no cells.")
    return cells


def _text(value: Any) -> str:
    """Source text: a string, or a list of lines; lone surrogates, which no file can hold, are replaced."""
    if isinstance(value, list):
        value = "".join(line for line in value if isinstance(line, str))
    if not isinstance(value, str):
        return ""
    return value.encode("utf-8", "replace").decode("utf-8")


def _read_cell(raw: Any) -> _Cell | None:
    """One submitted cell, or None for something that is not a cell."""
    if not isinstance(raw, dict):
        return None
    kind = raw.get("cell_type")
    source = _text(raw.get("source", raw.get("input", "")))
    if kind == "heading":
        level = raw.get("level")
        source = "#" * (level if level in range(1, 7) else 1) + " " + source
    if not isinstance(kind, str) or kind not in ("code", "raw"):
        kind = "markdown" if kind in ("markdown", "heading", "html") else "raw"
    metadata = raw.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    marks = metadata.get("nbgrader")
    marks = marks if isinstance(marks, dict) else {}
    grade_id, tags = marks.get("grade_id"), metadata.get("tags")
    return _Cell(
        kind=kind,
        source=source,
        ids={i for i in (raw.get("id"), metadata.get("id")) if isinstance(i, str)},  # Colab: in the metadata
        grade_id=grade_id if isinstance(grade_id, str) and grade_id else None,
        marks=marks,
        tags=[t for t in tags if isinstance(t, str)] if isinstance(tags, list) else [],
        attachments=_attachments(raw.get("attachments")) if kind != "code" else {},
    )


def _attachments(value: Any) -> dict[str, dict[str, str]]:
    """Pictures pasted in a cell: {file name: {type: base64}}; anything of another form is dropped."""
    if not isinstance(value, dict):
        return {}
    return {
        name: {kind: data for kind, data in bundle.items() if isinstance(data, str)}
        for name, bundle in value.items()
        if isinstance(bundle, dict)
    }


# --- matching ---------------------------------------------------------------------------------------------------------


def _marks(cell: NotebookNode) -> dict[str, Any]:
    return cell.metadata.get("nbgrader") or {}


def _grade_id(cell: NotebookNode) -> str | None:
    return _marks(cell).get("grade_id")


def is_fixed(cell: NotebookNode) -> bool:
    """Whether a released cell's text belongs to the course: a test, a read-only cell or a task's question."""
    marks = _marks(cell)
    return bool(not marks.get("solution") and (marks.get("grade") or marks.get("locked") or marks.get("task")))


def _is_answer(cell: NotebookNode) -> bool:
    return bool(_marks(cell).get("solution"))


def _is_answer_by_hand(cell: NotebookNode) -> bool:
    return _is_answer(cell) and bool(_marks(cell).get("grade"))


def _same_text(a: str, b: str) -> bool:
    return [line.rstrip() for line in a.strip().splitlines()] == [line.rstrip() for line in b.strip().splitlines()]


def _similarity(a: str, b: str, at_least: float = 0.0) -> float:
    """0 to 1; what is below `at_least` comes out as 0, sooner."""
    return ratio(a.strip()[:_COMPARED], b.strip()[:_COMPARED], score_cutoff=100 * at_least) / 100


def _defined(source: str) -> set[str]:
    """Names of the functions and classes that a cell defines at its top level (it need not be valid Python)."""
    return set(re.findall(r"^(?:async\s+def|def|class)\s+(\w+)", source, re.MULTILINE))


def _affinity(released: NotebookNode, cell: _Cell) -> float:
    """How much a submitted cell without usable metadata looks like the released one: 0 (not at all) to 1."""
    if released.cell_type != cell.kind:
        return 0.0
    if not _is_answer(released):
        return _similarity(released.source, cell.source, _SAME_LOCKED if is_fixed(released) else _SAME_PLAIN)
    names = _defined(released.source)
    floor = (
        0.9 if names and names <= _defined(cell.source) else 0.05
    )  # it may share nothing with its stub but its place
    return max(floor, _similarity(released.source, cell.source))


def _match(release: list[NotebookNode], cells: list[_Cell], repairs: list[str]) -> dict[int, int]:
    """Released cell → submitted cell, by grade id, then cell id, then similarity and order."""
    matched: dict[int, int] = {}
    used: set[int] = set()

    def pair(i: int, j: int) -> None:
        matched[i] = j
        used.add(j)

    claims: dict[str, list[int]] = {}
    for j, cell in enumerate(cells):
        if cell.grade_id is not None:
            claims.setdefault(cell.grade_id, []).append(j)

    known = set()
    for i, released in enumerate(release):
        name = _grade_id(released)
        if name is None or name in known:
            continue
        known.add(name)
        copies = claims.get(name, [])
        if not copies:
            continue
        if _is_answer(released):
            worked = [j for j in copies if not _same_text(cells[j].source, released.source) and cells[j].source.strip()]
            chosen = (worked or copies)[0]
        else:
            chosen = max(copies, key=lambda j: (_similarity(cells[j].source, released.source), -j))
        if len(copies) > 1:
            which = "the first one with your work is the answer" if _is_answer(released) else "one of them counts"
            repairs.append(f"The cell {name} stands {len(copies)} times: {which}, the others run as ordinary cells.")
        pair(i, chosen)

    foreign = sorted(set(claims) - known)
    if foreign:
        shown = ", ".join(_shown(name) for name in foreign[:5]) + (", …" if len(foreign) > 5 else "")
        repairs.append(f"Grade ids that this notebook does not have were ignored: {shown}.")

    by_id: dict[str, list[int]] = {}
    for j, cell in enumerate(cells):
        if j not in used:
            for name in cell.ids:
                by_id.setdefault(name, []).append(j)
    for i, released in enumerate(release):
        found = by_id.get(released.get("id") or "", [])
        if i not in matched and len(found) == 1 and found[0] not in used:
            pair(i, found[0])

    if any(_grade_id(released) is not None and i not in matched for i, released in enumerate(release)):
        for i, j in _align(release, cells, matched, used):
            pair(i, j)
        # What has been moved out of order, if it cannot be mistaken for anything else.
        for i, released in enumerate(release):
            if i in matched or _grade_id(released) is None:
                continue
            rest = [(_affinity(released, cell), -j) for j, cell in enumerate(cells) if j not in used]
            if rest and max(rest)[0] >= _SAME_LOCKED:
                pair(i, -max(rest)[1])
    return matched


def _shown(name: str) -> str:
    """A student's string, made fit for a sentence."""
    return re.sub(r"[^\w\- ]", "?", name)[:40]


def _align(
    release: list[NotebookNode], cells: list[_Cell], matched: dict[int, int], used: set[int]
) -> list[tuple[int, int]]:
    """New pairs from the order-preserving alignment of greatest total similarity, around the pairs there are."""
    n, m = len(release), len(cells)
    kept = set(_longest_in_order(release, matched))
    best = [[0.0] * (m + 1) for _ in range(n + 1)]
    pairs: list[dict[int, float]] = [{} for _ in range(n)]
    for i in range(n - 1, -1, -1):
        row, below = best[i], best[i + 1]
        for j in range(m - 1, -1, -1):
            if i in matched:
                score = 1_000.0 if i in kept and matched[i] == j else 0.0
            else:
                score = 0.0 if j in used else _affinity(release[i], cells[j])
            row[j] = max(below[j], row[j + 1])
            if score:
                pairs[i][j] = score
                row[j] = max(row[j], score + below[j + 1])
    new = []
    i = j = 0
    while i < n and j < m:
        score = pairs[i].get(j, 0.0)
        if score and best[i][j] == score + best[i + 1][j + 1]:
            if i not in matched:
                new.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return new


def _longest_in_order(release: list[NotebookNode], matched: dict[int, int]) -> list[int]:
    """The heaviest set of matched released cells that the student has in the released order.

    Answers weigh twice, since they are never moved. Returns indices into the release, increasing.
    """
    items = sorted(matched)
    weight: list[int] = []
    before: list[int | None] = []
    for a, i in enumerate(items):
        own = 2 if _is_answer(release[i]) else 1
        earlier = [(weight[b], -b) for b in range(a) if matched[items[b]] < matched[i]]
        top = max(earlier, default=None)
        weight.append(own + (top[0] if top else 0))
        before.append(-top[1] if top else None)
    chain: list[int] = []
    at = max(range(len(items)), key=lambda a: (weight[a], -a), default=None)
    while at is not None:
        chain.append(items[at])
        at = before[at]
    return chain[::-1]


# --- the realigned notebook -------------------------------------------------------------------------------------------


def realign(submission: bytes, release: NotebookNode) -> Realigned:
    """The submission with the release's metadata, tests and read-only cells; see the module's text.

    `release` is the released notebook (nbformat 4, with nbgrader metadata); it is not changed.
    Raises `Unreadable`, and nothing else, for a submission that cannot be read as a notebook.
    """
    repairs: list[str] = []
    notebook = _parse(submission, repairs)
    cells = [cell for raw in _raw_cells(notebook, repairs) if (cell := _read_cell(raw))]
    released = list(release.cells)
    matched = _match(released, cells, repairs)
    _say_about_metadata(released, cells, matched, repairs)

    kept = set(_longest_in_order(released, matched))
    owner = {j: i for i, j in matched.items()}
    # Each item: (index in the release or None, cell); the cells of the release among them are in its order.
    items: list[tuple[int | None, NotebookNode]] = []
    for j, cell in enumerate(cells):
        i = owner.get(j)
        if i is None or _grade_id(released[i]) is None:
            items.append((i if i in kept else None, _own_cell(cell)))
        elif is_fixed(released[i]):
            if cell.source.strip() and _similarity(cell.source, released[i].source) < _STILL_LOCKED:
                items.append((None, _own_cell(cell)))
            if i in kept:
                items.append((i, _released_cell(released[i])))
        else:
            items.append((i if i in kept else None, _answer_cell(released[i], cell)))

    elsewhere = {name for cell in cells for name in _defined(cell.source)}
    for i, master in enumerate(released):
        if _grade_id(master) is None or i in kept or (i in matched and not is_fixed(master)):
            continue
        name = _grade_id(master)
        if is_fixed(master):
            moved = i in matched
            what = "had been moved; it is back in its place" if moved else "was missing; it was put back"
            repairs.append(f"The {_role(master)} {name} {what}.")
            cell = _released_cell(master)
        elif _is_answer_by_hand(master):
            cell = _released_cell(master)
            if master.cell_type == "code" and _defined(master.source) & elsewhere:
                # Its stub would undo what the student wrote in another cell: leave the judgement to the grader.
                cell.source = "# This cell was missing from the submission; its work seems to stand in another cell."
            repairs.append(f"The answer cell {name} was missing; an empty one was put in its place.")
        else:
            repairs.append(f"The answer cell {name} is missing.")
            continue
        place = next((at for at, (k, _) in enumerate(items) if k is not None and k > i), len(items))
        items.insert(place, (i, cell))

    metadata = _notebook_metadata(notebook, release, repairs)
    result = NotebookNode(nbformat=4, nbformat_minor=5, metadata=metadata, cells=[cell for _, cell in items])
    _unique_ids(result)
    return Realigned(result, repairs)


def _role(cell: NotebookNode) -> str:
    marks = _marks(cell)
    return "test cell" if marks.get("grade") else "task" if marks.get("task") else "read-only cell"


def _say_about_metadata(
    released: list[NotebookNode], cells: list[_Cell], matched: dict[int, int], repairs: list[str]
) -> None:
    """One sentence for each kind of repair to the metadata and the text of matched cells."""
    lost, changed, tagged, retyped, edited = [], [], [], [], []
    for i, j in sorted(matched.items()):
        name = _grade_id(released[i])
        if name is None:
            continue
        cell, marks = cells[j], _marks(released[i])
        flags = ("schema_version", "grade", "solution", "locked", "task", "points")
        if cell.grade_id != name:
            lost.append(name)
        elif any(cell.marks.get(flag, False) != marks.get(flag, False) for flag in flags):
            changed.append(name)
        if set(cell.tags) - set(released[i].metadata.get("tags", [])):
            tagged.append(name)
        if cell.kind != released[i].cell_type:
            retyped.append(f"{name} ({cell.kind} → {released[i].cell_type})")
        elif is_fixed(released[i]) and not _same_text(cell.source, released[i].source):
            edited.append(name)
    for names, sentence in (
        (lost, "The grading marks of {} had been lost; they were put back."),
        (changed, "The grading marks of {} had been changed; the released ones were used."),
        (tagged, "Tags on {} were removed."),
        (retyped, "The cell type of {} had been changed; it was changed back."),
        (edited, "The text of {} had been changed; the released text was used."),
    ):
        if names:
            shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
            repairs.append(sentence.format(shown))


def _released_cell(released: NotebookNode) -> NotebookNode:
    cell = deepcopy(released)
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
    return cell


def _answer_cell(released: NotebookNode, cell: _Cell) -> NotebookNode:
    """The released answer cell with the student's text in it."""
    answer = _released_cell(released)
    answer.source = cell.source
    if cell.attachments:
        answer.attachments = NotebookNode({k: NotebookNode(v) for k, v in cell.attachments.items()})
    return answer


def _own_cell(cell: _Cell) -> NotebookNode:
    """A cell of the student's own, without any metadata. It has the student's cell id, if that is well formed."""
    name = next((i for i in sorted(cell.ids) if re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", i)), "")
    own = NotebookNode(cell_type=cell.kind, id=name, metadata=NotebookNode(), source=cell.source)
    if cell.kind == "code":
        own.outputs, own.execution_count = [], None
    if cell.attachments:
        own.attachments = NotebookNode({k: NotebookNode(v) for k, v in cell.attachments.items()})
    return own


def _notebook_metadata(submitted: dict[str, Any], release: NotebookNode, repairs: list[str]) -> NotebookNode:
    """Kernel and language of the release; nothing of the student's."""
    own = submitted.get("metadata")
    kernel = own.get("kernelspec") if isinstance(own, dict) else None
    language = kernel.get("language") if isinstance(kernel, dict) else None
    expected = release.metadata.get("kernelspec", {}).get("language", "python")
    if isinstance(language, str) and language.lower() != expected.lower():
        repairs.append(f"The notebook's kernel ({_shown(language)}) was replaced by the course's ({expected}).")
    return NotebookNode({k: deepcopy(v) for k, v in release.metadata.items() if k in ("kernelspec", "language_info")})


def _unique_ids(notebook: NotebookNode) -> None:
    """Gives each cell an id: released cells keep theirs, the others theirs if it is free, else one by their place."""
    taken = {cell.id for cell in notebook.cells if _grade_id(cell) is not None and cell.get("id")}
    for index, cell in enumerate(notebook.cells):
        if _grade_id(cell) is not None and cell.get("id"):
            continue
        name = cell.get("id")
        number = 0
        while not name or name in taken:
            name = f"cell-{index}" + (f"-{number}" if number else "")
            number += 1
        cell.id = name
        taken.add(name)
