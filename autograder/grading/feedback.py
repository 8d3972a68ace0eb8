"""Feedback pages: what a student gets back. Safe to open, and of use.

The page is nbgrader's: its scores and comments (`GetGrades`) and its template for cells. Around it stands a table of
exercises with the first thing to look at, what was repaired, what limit was hit, and what the run used.

Safe for whoever opens it: everything that comes out of a notebook passes a sanitiser (no script, handler, frame, form
or remote picture survives), the page itself has no script, and a content security policy forbids them all the same.
Formulas are therefore shown as their TeX source.

Safe for the course: cells of the course are shown as released, so hidden tests and marking schemes do not appear. What
a failing test says is shown in full only when it failed in a part that the student can read; otherwise its hint and
the kind of error, and no expected value.
"""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterable
from copy import deepcopy
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.grading.classroom import Course, Lesson, LessonNotebook, open_course
from autograder.grading.job import Outcome
from autograder.grading.record import Finished, Store, atomic_write

if TYPE_CHECKING:
    from nbformat import NotebookNode

# Characters of the student's that are rendered, of one cell or output and of a page: text made to be slow exists.
MAX_SOURCE, MAX_SOURCES = 50_000, 200_000  # what is longer is cut
MAX_MARKDOWN, MAX_MARKDOWNS = 10_000, 100_000  # a longer text is shown as it was typed
MAX_HTML, MAX_HTMLS = 100_000, 200_000  # a larger output is left out


def write_feedback(course: Course | Path | str, lesson: str, *, only: Iterable[str] = (), jobs: int = 1) -> list[Path]:
    """Write the feedback of every autograded submission of a lesson, or of `only` some students. Returns the pages.

    `jobs` processes share the work. A page is written in one step, so there is never half of one.
    """
    course = course if isinstance(course, Course) else open_course(course)
    loaded = course.lesson(lesson)
    students = list(only) or list(course.submissions(lesson))
    if jobs <= 1 or len(students) < 8:
        return [page for student in students for page in _write(course, loaded, student)]
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        pages = pool.map(_write_there, [(str(course.root), lesson, s) for s in students], chunksize=4)
        return [page for some in pages for page in some]


def _write_there(what: tuple[str, str, str]) -> list[Path]:
    root, lesson, student = what
    course, loaded = _opened(root, lesson)
    return _write(course, loaded, student)


@lru_cache(maxsize=1)
def _opened(root: str, lesson: str) -> tuple[Course, Lesson]:
    course = open_course(root)
    return course, course.lesson(lesson)


def _write(course: Course, lesson: Lesson, student: str) -> list[Path]:
    """The pages of one student: one for each notebook that was autograded."""
    import nbformat.v4

    pages = []
    for name, notebook in lesson.notebooks.items():
        source = course.path("autograded", student, lesson.name) / f"{name}.ipynb"
        if not source.is_file():
            continue
        graded = nbformat.v4.reads(source.read_text(encoding="utf-8"))
        key = graded.metadata.get("autograder", {}).get("key", "")
        finished = Store(course.results).load(lesson.name, student, name, key) if key else None
        page = course.path("feedback", student, lesson.name) / f"{name}.html"
        atomic_write(page, render(course, lesson, notebook, student, graded, finished).encode(), durable=False)
        pages.append(page)
    return pages


def render(
    course: Course,
    lesson: Lesson,
    notebook: LessonNotebook,
    student: str,
    graded: NotebookNode,
    finished: Finished | None,
) -> str:
    """The page for one autograded notebook. `finished` is its result file; None if nbgrader itself graded it."""
    from nbgrader.preprocessors import GetGrades

    outcomes = {outcome.grade_id: outcome for outcome in finished.result.outcomes} if finished else {}
    delimiters = _delimiters(course)
    resources = course.resources(student, lesson.name, notebook.name)
    graded, resources = GetGrades(parent=course.converter)(graded, resources)
    graded.metadata = deepcopy(notebook.release.metadata)
    hints, bounds = {}, _Bounds(notebook.release)
    released = {_grade_id(cell): cell for cell in notebook.release.cells if _grade_id(cell)}
    masters = {_grade_id(cell): cell for cell in notebook.master.cells if _grade_id(cell)}
    for cell in graded.cells:
        name = _grade_id(cell)
        if name in released and not cell.metadata.nbgrader.get("solution"):
            hidden = _hidden_lines(masters[name].source, released[name].source, delimiters)
            if cell.cell_type == "code" and cell.metadata.nbgrader.get("grade"):
                hints[name] = _show_test(cell, outcomes.get(name), masters[name].source, hidden)
            cell.source = released[name].source
        bounds.apply(cell)
    try:
        body = sanitise(_cells_html(graded, resources))
    except Exception:  # content made to break a renderer: RecursionError above all
        body = sanitise(_cells_html(_plain(graded), resources))
    top = _top(lesson, notebook, student, graded, resources["nbgrader"], hints, finished)
    title = html.escape(f"{notebook.name} · {student}")
    return _PAGE.format(title=title, policy=_POLICY, css=_CSS + _pygments_css(), top=top, body=body)


def _grade_id(cell: NotebookNode) -> str:
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


# --- what a test may say ----------------------------------------------------------------------------------------------


def _delimiters(course: Course) -> tuple[str, str]:
    from nbgrader.preprocessors import ClearHiddenTests

    step = ClearHiddenTests(parent=course.converter)
    return step.begin_test_delimeter, step.end_test_delimeter


def _hidden_lines(master: str, released: str, delimiters: tuple[str, str]) -> set[int]:
    """Numbers (from 1) of the lines of a test cell that the student has not got."""
    if master == released:
        return set()
    begin, end = delimiters
    hidden, inside = set(), False
    lines = master.split("\n")
    for number, line in enumerate(lines, 1):
        inside = inside or begin in line
        if inside:
            hidden.add(number)
        inside = inside and end not in line
    return hidden or set(range(1, len(lines) + 1))  # they differ, and not by a hidden region: show nothing


def _failed_in_the_open(outcome: Outcome, traceback: list[str], master: str, hidden: set[int]) -> bool:
    """Whether a test failed in lines that the student can read. When in doubt, no."""
    if not hidden:
        return True
    lines = [line] if (line := getattr(outcome, "line", 0)) else _frames(traceback)
    if lines:
        return not hidden.intersection(lines)
    if not outcome.hint:
        return False
    shown, unseen = set(), set()
    try:
        for node in ast.walk(ast.parse(master)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                (unseen if node.lineno in hidden else shown).add(node.value)
    except SyntaxError:
        return False
    return outcome.hint in shown and outcome.hint not in unseen


def _frames(traceback: list[str]) -> list[int]:
    """Lines of the test cell in the examiner's traceback, which begins with its frames."""
    lines = []
    for entry in traceback:
        frame = re.match(r'\s*File "<test [\w-]*>", line (\d+), in ', entry)
        if not frame:
            break
        lines.append(int(frame[1]))
    return lines


def _show_test(cell: NotebookNode, outcome: Outcome | None, master: str, hidden: set[int]) -> str:
    """Replace the outputs of a test cell by what the student may know; return the hint, "" if it passed."""
    error = next((out for out in cell.outputs if out.output_type == "error"), None)
    if outcome is None:  # graded by nbgrader itself
        name, message = (str(error.get("ename", "")), str(error.get("evalue", ""))) if error else ("", "")
        outcome = Outcome(cell.metadata.nbgrader.grade_id, error is None, error=name, message=message)
    kept = [] if hidden else [out for out in cell.outputs if out.output_type != "error"]
    if outcome.passed:
        score, points = cell.metadata.nbgrader.get("score") or 0.0, cell.metadata.nbgrader.get("points") or 0.0
        warned = any(out.output_type == "stream" and out.name == "stderr" for out in cell.outputs)
        cell.outputs = kept or [_text(f"✓ {score:g} of {points:g} points")]
        if score >= points:
            return ""
        return "the test ran, but what it wrote to stderr costs the points" if warned else "correct in part"
    traceback = error.get("traceback", []) if error else []
    first = next((line.strip() for line in outcome.message.splitlines() if line.strip()), "")
    if _failed_in_the_open(outcome, traceback, master, hidden):
        hint = outcome.hint or (f"{outcome.error}: {first}" if first else outcome.error)
        detail = "\n".join(outcome.message.splitlines()[1:]) if outcome.hint else outcome.message
        shown = [f"✗ {hint}", *([detail] if detail and detail != first else [])]
        cell.outputs = [*kept, error] if error and not hidden else [*kept, _text("\n".join(shown))]
    else:
        hint = outcome.hint or f"{outcome.error or 'an error'} in a hidden test"
        cell.outputs = [*kept, _text(f"✗ {hint}")]
    return hint


def _text(text: str) -> NotebookNode:
    from nbformat import NotebookNode

    return NotebookNode(output_type="stream", name="stdout", text=text)


# --- what may be shown ------------------------------------------------------------------------------------------------


class _Bounds:
    """What may still be shown on a page."""

    def __init__(self, release: NotebookNode):
        self._released = {cell.source for cell in release.cells}
        self._left = {"source": MAX_SOURCES, "markdown": MAX_MARKDOWNS, "html": MAX_HTMLS}

    def _fits(self, what: str, text: str, limit: int) -> bool:
        fits = len(text) <= min(limit, self._left[what])
        self._left[what] -= len(text) if fits else 0
        return fits

    def apply(self, cell: NotebookNode) -> None:
        """Leave of a cell what the page can show: nbgrader's metadata, bounded texts, outputs of known kinds."""
        from nbformat import NotebookNode

        cell.metadata = NotebookNode({k: v for k, v in cell.metadata.items() if k == "nbgrader"})
        if cell.source not in self._released:
            if not self._fits("source", cell.source, MAX_SOURCE):
                shown = min(MAX_SOURCE, self._left["source"])
                cell.source = f"{cell.source[:shown]}\n… ({len(cell.source) - shown:,} characters more)"
                self._left["source"] -= shown
            if cell.cell_type == "markdown" and not self._fits("markdown", cell.source, MAX_MARKDOWN):
                _as_typed(cell)
        if cell.cell_type != "code":
            return
        for output in cell.outputs:
            if output.output_type in ("display_data", "execute_result"):
                output.metadata = NotebookNode()
                output.data = NotebookNode({k: v for k, v in output.data.items() if self._shows(k, v)})
        cell.outputs = [output for output in cell.outputs if output.get("data", True)]

    def _shows(self, kind: str, data: object) -> bool:
        if kind in ("text/html", "text/markdown"):
            return isinstance(data, str) and self._fits("html", data, MAX_HTML)
        known = ("text/plain", "text/latex", "image/png", "image/jpeg", "image/svg+xml")
        return kind in known and isinstance(data, str)


def _as_typed(cell: NotebookNode) -> None:
    """Make a markdown cell show its source."""
    fence = "`" * (3 + max((len(ticks) for ticks in re.findall("`{3,}", cell.source)), default=0))
    cell.source = f"{fence}\n{cell.source}\n{fence}"


def _plain(notebook: NotebookNode) -> NotebookNode:
    """A copy in which nothing of the student's is rendered: markdown as typed, outputs as text."""
    notebook = deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source[:MAX_MARKDOWN]
            _as_typed(cell)
        for output in cell.get("outputs", []):
            for kind in ("text/html", "text/markdown", "text/latex", "image/svg+xml"):
                output.get("data", {}).pop(kind, None)
    return notebook


@cache
def _exporter() -> Any:
    """nbgrader's feedback template, of which the cells are taken and the page around them is not."""
    import nbgrader
    from nbconvert.exporters import HTMLExporter

    templates = Path(nbgrader.__file__).parent / "server_extensions" / "formgrader" / "templates"
    return HTMLExporter(
        template_name="feedback",
        extra_template_basedirs=[str(templates)],
        raw_template=(
            "{%- extends 'index.html.j2' -%}{% block header %}{% endblock %}{% block footer %}{% endblock %}"
            "{% block body %}{{ self.body_loop() }}{% endblock %}"
        ),
    )


def _cells_html(notebook: NotebookNode, resources: dict[str, Any]) -> str:
    return _exporter().from_notebook_node(notebook, resources=deepcopy(resources))[0]


_TAGS = set(
    re.findall(
        r"\w+",
        "a abbr b blockquote br caption code col colgroup dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins "
        "kbd li ol p pre s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var",
    )
)
_STYLES = set(
    re.findall(
        r"[\w-]+",
        "background-color border border-collapse border-bottom border-left border-right border-top color font-family "
        "font-size font-style font-weight height margin max-width padding text-align text-decoration vertical-align "
        "white-space width",
    )
)
_ATTRIBUTES = {
    "*": {"class", "id", "style", "title"},
    "a": {"href", "name"},
    "details": {"open"},
    "img": {"alt", "height", "src", "width"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]*")
_LINK = re.compile(r"(https?://|mailto:|#)", re.IGNORECASE)


def _attribute(tag: str, name: str, value: str) -> str | None:
    """An attribute's value, or None to drop it: pictures only from the page itself, links only to where links lead."""
    allowed = {"src": _PICTURE.fullmatch, "href": _LINK.match}.get(name)
    return value if allowed is None or allowed(value) else None


def sanitise(text: str) -> str:
    """HTML without anything that runs, loads or submits."""
    import nh3

    return nh3.clean(
        text,
        tags=_TAGS,
        clean_content_tags={"script", "style"},
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes={"http", "https", "mailto", "data"},
        filter_style_properties=_STYLES,
        link_rel="noopener noreferrer",
    )


# --- the page ---------------------------------------------------------------------------------------------------------


def _top(
    lesson: Lesson,
    notebook: LessonNotebook,
    student: str,
    graded: NotebookNode,
    grades: dict[str, Any],
    hints: dict[str, str],
    finished: Finished | None,
) -> str:
    """The head of the page: score, exercises, repairs, limits, use of time and memory."""
    e = html.escape
    cells = {_grade_id(cell): cell.metadata.nbgrader for cell in graded.cells if _grade_id(cell)}
    rows = []
    for name, points in notebook.points.items():
        marks = cells.get(name, {})
        by_hand = bool(marks.get("solution") or marks.get("task"))
        look = marks.get("comment") or ("graded by hand" if by_hand else "") if by_hand else hints.get(name, "")
        score = marks.get("score") or 0.0
        state = "ok" if score >= points else "no"
        rows.append(
            f'<tr class="{state}"><td><a href="#{e(name)}">{e(name)}</a></td>'
            f'<td class="number">{score:g} / {points:g}</td><td>{e(str(look))}</td></tr>'
        )
    penalty = grades.get("late_penalty") or 0.0
    if penalty:
        rows.append(f'<tr class="no"><td>handed in late</td><td class="number">−{penalty:g}</td><td></td></tr>')
    parts = [
        f"<h1>{e(notebook.name)}</h1>",
        f'<p class="score">{e(student)} · <b>{grades["score"]:g} of {grades["max_score"]:g} points</b></p>',
        "<table><tr><th>exercise</th><th>points</th><th>look at</th></tr>" + "".join(rows) + "</table>",
    ]
    if finished:
        result = finished.result
        for title, sentences in (("Limits reached", result.limits_hit), ("What was repaired", finished.repairs)):
            if sentences:
                items = "".join(f"<li>{e(sentence)}</li>" for sentence in sentences)
                parts.append(f"<h2>{title}</h2><ul>{items}</ul>")
        usage = result.usage
        parts.append(
            f'<p class="usage">Your cells used {usage.cells_cpu + usage.calls_cpu:.1f} s of processor time, the whole '
            f"run took {usage.wall:.1f} s; at most {usage.peak_memory_mb:.0f} MB of memory.</p>"
        )
    return "\n".join(parts)


@cache
def _pygments_css() -> str:
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(style="default").get_style_defs(".highlight")


_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{css}
</style>
</head>
<body>
<a id="top"></a>
<header>
{top}
</header>
<main>
{body}
</main>
</body>
</html>
"""

_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 56rem; margin: 0 auto; padding: 1rem; }
h1 { margin: 0; } .score { font-size: 1.1rem; margin: .2rem 0 1rem; } .usage { color: #595959; }
table { border-collapse: collapse; } td, th { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid #ddd; }
td.number { text-align: right; white-space: nowrap; } tr.ok td.number { color: #00694e; }
tr.no td.number { color: #a33c00; font-weight: bold; }
header { border-bottom: 2px solid #1a1a1a; margin-bottom: 1.5rem; padding-bottom: .5rem; }
.cell { margin: .8rem 0; overflow-x: auto; } .prompt { display: none; } .anchor-link { display: none; }
pre { font: 13px/1.4 ui-monospace, Menlo, Consolas, monospace; margin: 0; white-space: pre-wrap; }
.input_area { background: #f6f6f6; padding: .5rem .7rem; border-radius: 4px; }
.output_area { padding: .3rem .7rem; } .output_stderr, .output_error { background: #fdf0ea; }
.panel { border: 1px solid #9db4c0; border-radius: 4px; } .panel-heading { background: #e8eff3; padding: .3rem .7rem; }
.panel-body { padding: .4rem; } .panel-footer { background: #fbf6e2; padding: .3rem .7rem; }
.pull-right { float: right; } img { max-width: 100%; }
.ansi-red-fg, .ansi-red-intense-fg { color: #a33c00; } .ansi-green-fg, .ansi-green-intense-fg { color: #00694e; }
.ansi-bold { font-weight: bold; }
"""
