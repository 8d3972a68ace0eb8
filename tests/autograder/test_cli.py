"""The command line as a person meets it: one line for an ordinary mistake, never a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tiny import ANSWERS, NAME, TINY

from autograder import cli
from autograder.authoring import audit
from autograder.authoring.publish import publish
from autograder.errors import UserError


def autograder(course, *arguments):
    command = [sys.executable, "-m", "autograder", *arguments]
    return subprocess.run(command, cwd=course.root, capture_output=True, text=True, timeout=300)


def test_an_unknown_lesson_lists_the_lessons_there_are(course):
    done = autograder(course, "build", "nosuch")
    assert done.returncode == 2
    assert done.stderr.strip() == f"autograder: no lesson 'nosuch'; the lessons are: {NAME}"


@pytest.mark.parametrize("name", [NAME, "01", "tiny"])
def test_a_lesson_goes_by_its_name_number_or_slug(course, name):
    assert course.choose([name]) == [NAME]


def test_build_says_what_it_did(course):
    done = autograder(course, "build", "tiny", "--scale", "smoke")
    assert done.returncode == 0, done.stderr
    assert "executed at smoke scale" in done.stdout and course.student(NAME).is_file()


def test_a_lesson_with_mistakes(course):
    course.source(NAME).write_text(TINY.replace("score_card()", "!ls"))
    done = autograder(course, "build")
    assert done.returncode == 1
    assert "nothing was written" in done.stderr and f"{NAME}.py:" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_check_fails_before_the_first_build(course):
    done = autograder(course, "check")
    assert done.returncode == 1 and f"run `autograder build {NAME}`" in done.stderr


def test_audit_is_green(course):
    done = autograder(course, "audit", NAME)
    assert done.returncode == 0, done.stderr
    assert "double" in done.stdout and "3/3  3/3" in done.stdout, "at the desk and in the grader"


def test_audit_is_red(course, monkeypatch, capsys):
    monkeypatch.setattr(audit, "settings", lambda: {"desk": audit.at_desk})
    monkeypatch.setattr(sys, "argv", ["autograder", "audit", NAME])
    monkeypatch.chdir(course.root)
    course.answers(NAME).write_text(ANSWERS.replace("return 3 * x", "return 2 * x"))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "is wrong, but kept its points" in said and "answers.py:5" in said


def test_outside_a_course(course, tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-m", "autograder", "check"],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2 and done.stderr.startswith("autograder: no course here")


def test_doctor_finds_nothing_broken(course):
    done = autograder(course, "doctor")
    assert done.returncode == 0, done.stderr
    assert "torch" in done.stdout and "Sandbox" in done.stdout


def test_publish_wants_what_is_built(course, tmp_path_factory):
    target = tmp_path_factory.mktemp("out") / "tree"
    with pytest.raises(UserError, match="not published"):
        publish(course, target)
    assert not target.exists()


def test_publish_gives_nothing_away_and_the_tree_works(built, tmp_path_factory):
    target = tmp_path_factory.mktemp("out") / "tree"
    done = autograder(built, "publish", str(target))
    assert done.returncode == 0, done.stderr
    files = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert {f"notebooks/{NAME}/{NAME}.ipynb", "utils/checks.py", "environment.yml", "README.md"} <= files
    everything = "\n".join(path.read_text() for path in target.rglob("*") if path.is_file())
    for secret in ("answer_that_nobody_may_see", "hidden_numbers", "autograder.cli"):
        assert secret not in everything
    assert not any("solutions" in name or "answers" in name or "autograder" in name for name in files)

    again = autograder(built, "publish", str(target))
    assert again.returncode == 2 and "not an empty folder" in again.stderr
