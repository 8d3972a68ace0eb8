"""A runner without a sandbox, to test what is around the runner: it executes cells in its own process.

It appends one line to the file named by FAKE_RUN_LOG for each job, so that a test can count what was run.
"""

import ast
import contextlib
import io
import json
import os
import tempfile
import threading
from pathlib import Path

from autograder.grading.job import Job, Outcome, Result

_process = threading.Lock()  # it has one working folder and one stdout


def run(job: Job) -> Result:
    if log := os.environ.get("FAKE_RUN_LOG"):
        with open(log, "a") as file:
            file.write(f"{job.student}\n")
    if "KILL THE WORKER" in job.submission:
        os.kill(os.getpid(), 9)
    if "BREAK THE GRADER" in job.submission:
        raise RuntimeError("a bug in the grader")
    if "HANG THE WORKER" in job.submission:
        import time

        time.sleep(1_000)
    notebook = json.loads(job.submission)
    space: dict = {}
    outcomes = []
    with _process, tempfile.TemporaryDirectory() as folder:
        before = os.getcwd()
        for name, data in (job.files | job.bundle.files).items():
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_bytes(data)
        os.chdir(folder)
        try:
            for cell in notebook["cells"]:
                if cell["cell_type"] == "code":
                    error = _execute(cell, space)
                    marks = cell["metadata"].get("nbgrader", {})
                    if marks.get("grade") and not marks.get("solution"):
                        outcomes.append(Outcome(marks["grade_id"], not error, error=error, message=error))
        finally:
            os.chdir(before)
    return Result(job.student, job.bundle.lesson, "done", notebook=json.dumps(notebook), outcomes=tuple(outcomes))


def _execute(cell: dict, space: dict) -> str:
    """Run one cell and store its outputs; returns the name of its error, or ''."""
    cell["outputs"] = []
    printed = io.StringIO()
    error = ""
    try:
        tree = ast.parse(cell["source"])
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, "<cell>", "exec"), space)
            value = None if last is None else eval(compile(ast.Expression(last.value), "<cell>", "eval"), space)
        if value is not None:
            data = {"text/plain": repr(value)}
            cell["outputs"].append(
                {"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": 1}
            )
    except Exception as raised:
        error = type(raised).__name__
        cell["outputs"].append({"output_type": "error", "ename": error, "evalue": str(raised), "traceback": [error]})
    if printed.getvalue():
        cell["outputs"].insert(0, {"output_type": "stream", "name": "stdout", "text": printed.getvalue()})
    return error
