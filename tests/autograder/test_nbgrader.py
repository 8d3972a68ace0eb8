"""nbgrader's stock commands work in the course's root folder with its one configuration."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from tiny import NAME

from autograder.authoring.build import load
from autograder.course import Course
from autograder.demo import answered


def nbgrader(course, *arguments):
    command = [sys.executable, "-m", "nbgrader", *arguments]
    return subprocess.run(command, cwd=course.root, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def collected(built_master, tmp_path_factory):
    """The tiny lesson released, and handed in by three students: all right, half right, as released."""
    course = Course(Path(shutil.copytree(built_master, tmp_path_factory.mktemp("collected") / "course")))
    lesson = load(course, NAME)
    half = {"first": "def first(items):\n    return items[-1]"}
    handed_in = {"ada": answered(course, lesson), "half": answered(course, lesson, half)}
    handed_in["blank"] = json.loads(course.student(NAME).read_text())
    for student, notebook in handed_in.items():
        path = course.classroom / "submitted" / student / NAME / f"{NAME}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(notebook))
    done = nbgrader(course, "generate_assignment", NAME, "--force")
    assert done.returncode == 0, done.stderr
    return course


def test_autograde_feedback_and_export(collected):
    done = nbgrader(collected, "autograde", NAME)
    assert done.returncode == 0, done.stderr
    done = nbgrader(collected, "export", "--to", str(collected.classroom / "grades.csv"))
    assert done.returncode == 0, done.stderr
    header, *rows = (collected.classroom / "grades.csv").read_text().splitlines()
    column = header.split(",").index("score")
    by_student = {row.split(",")[header.split(",").index("student_id")]: float(row.split(",")[column]) for row in rows}
    assert by_student == {"ada": 20.0, "half": 12.0, "blank": 0.0}
    done = nbgrader(collected, "generate_feedback", NAME)
    assert done.returncode == 0, done.stderr
    assert (collected.classroom / "feedback" / "half" / NAME / f"{NAME}.html").is_file()


def test_validate_speaks_in_hints(collected):
    done = nbgrader(collected, "validate", str(collected.student(NAME).relative_to(collected.root)))
    assert "failed" in done.stdout and "not written yet" in done.stdout
    right = collected.classroom / "submitted" / "ada" / NAME / f"{NAME}.ipynb"
    done = nbgrader(collected, "validate", str(right.relative_to(collected.root)))
    assert "Success" in done.stdout, done.stdout


def test_formgrader_lists_the_lesson(collected):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    extension = "--ServerApp.jpserver_extensions={'nbgrader.server_extensions.formgrader': True}"
    options = ["--allow-root", "--no-browser", f"--ServerApp.port={port}", "--IdentityProvider.token=", extension]
    command = [sys.executable, "-m", "jupyter_server", *options]
    server = subprocess.Popen(
        command, cwd=collected.root, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + 240
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/formgrader/api/assignments", timeout=60) as reply:
                    (assignment,) = json.load(reply)
                break
            except OSError:
                if time.monotonic() > deadline or server.poll() is not None:
                    server.kill()
                    pytest.fail(f"formgrader did not answer:\n{server.communicate()[0][-3000:]}")
                time.sleep(0.3)
        assert assignment["name"] == NAME and assignment["max_score"] == 20 and assignment["num_submissions"] == 3
    finally:
        server.kill()
        server.wait(20)
