"""One source, two notebooks: deterministic, complete, and the same as nbgrader's own release."""

from __future__ import annotations

import subprocess
import sys

import nbformat
import pytest
from tiny import NAME, TINY

from autograder.authoring.build import MAX_BYTES, assemble, build, check, load, release
from autograder.authoring.lesson import LessonError


def test_student_notebook_has_stubs_and_no_secrets(built):
    text = built.student(NAME).read_text()
    assert "answer_that_nobody_may_see" not in text
    assert "hidden_numbers" not in text and "HIDDEN" not in text
    assert text.count("raise NotImplementedError()") == 2


def test_solution_notebook_is_executed_and_keeps_its_outputs(built):
    solved = nbformat.read(built.solution(NAME), as_version=4)
    outputs = [output for cell in solved.cells for output in cell.get("outputs", [])]
    assert any("double" in output.get("text", "") for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)
    assert any("20 of 20 points" in str(output.get("data", "")) for output in outputs)


def test_building_again_changes_no_byte_and_executes_nothing(built):
    before = {path: path.stat().st_mtime_ns for path in (built.student(NAME), built.solution(NAME))}
    again = build(built, NAME)
    assert (again.changed, again.executed) == ([], False)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_building_from_nothing_gives_the_same_student_bytes(built):
    first = built.student(NAME).read_bytes()
    built.student(NAME).unlink()
    build(built, NAME)
    assert built.student(NAME).read_bytes() == first


def test_nbgrader_releases_the_same_bytes(built):
    ours = built.student(NAME).read_bytes()
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", NAME, "--force"]
    done = subprocess.run(command, cwd=built.root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert built.student(NAME).read_bytes() == ours
    assert [path.name for path in built.student(NAME).parent.iterdir()] == [f"{NAME}.ipynb"]


def test_another_scale_is_executed_again_and_smoke_is_not_for_readers(built):
    assert build(built, NAME, scale="smoke").executed
    (stale,) = check(built, NAME)
    assert "at full scale" in stale


def test_check_says_what_is_stale(built):
    assert check(built, NAME) == []
    built.source(NAME).write_text(TINY.replace("Two exercises.", "Only two exercises."))
    stale = check(built, NAME)
    assert len(stale) == 2 and all(f"autograder build {NAME}" in line for line in stale)


def test_check_sees_an_edited_notebook(built):
    built.student(NAME).write_text(built.student(NAME).read_text().replace("Twice", "Thrice"))
    assert len(check(built, NAME)) == 1


def test_a_failing_cell_is_named_with_its_line(course):
    course.source(NAME).write_text(TINY.replace('print("given:"', 'print(1 / 0, "given:"'))
    with pytest.raises(LessonError) as error:
        build(course, NAME, scale="smoke")
    (problem,) = error.value.problems
    line = TINY.splitlines().index('print("given:", double(torch.tensor(2.0)))') + 1
    assert problem.line == line - 1 and "ZeroDivisionError" in problem.message  # the marker above the cell
    assert not course.student(NAME).exists() and not course.solution(NAME).exists()


def test_an_image_needs_alt_text(course):
    picture = 'Image(data=b"\\x89PNG\\r\\n\\x1a\\n" + bytes(40), format="png")'
    code = f"from IPython.display import Image, display\ndisplay({picture})"
    course.source(NAME).write_text(TINY.replace('print("given:", double(torch.tensor(2.0)))', code))
    with pytest.raises(LessonError, match="no alt text"):
        build(course, NAME, scale="smoke")


def test_a_notebook_over_the_limit_is_refused(course):
    code = f'from IPython.display import HTML, display\ndisplay(HTML("x" * {MAX_BYTES}))'
    course.source(NAME).write_text(TINY.replace('print("given:", double(torch.tensor(2.0)))', code))
    with pytest.raises(LessonError, match="is the limit"):
        build(course, NAME, scale="smoke")


def test_ids_follow_content_so_a_diff_shows_only_what_changed(course):
    def ids(text):
        course.source(NAME).write_text(text)
        return [cell.id for cell in assemble(course, load(course, NAME)).cells]

    before, after = ids(TINY), ids(TINY.replace("Two exercises.", "Two short exercises."))
    assert [a != b for a, b in zip(before, after, strict=True)].count(True) == 1
    assert len(set(before)) == len(before)


def test_colab_gets_a_badge_and_a_fetch_without_torch(course):
    notebook = release(assemble(course, load(course, NAME)))
    project = course.project
    assert f"/blob/v{project['version']}/notebooks/{NAME}/{NAME}.ipynb" in notebook.cells[0].source
    setup = next(cell for cell in notebook.cells if cell.id == "setup").source
    assert f"{project['urls']['Repository']}/archive/refs/tags/v{project['version']}.tar.gz" in setup
    assert '"--no-deps", "einops", course]' in setup


def test_run_all_goes_on_to_the_score_card(built):
    notebook = nbformat.read(built.student(NAME), as_version=4)
    assert all("raises-exception" in cell.metadata.tags for cell in notebook.cells if cell.cell_type == "code")
