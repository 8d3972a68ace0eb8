"""Whole submissions: from notebook to result."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest
from kernels import as_text, needs_sandbox

from autograder.errors import UserError
from autograder.grading import runner, sandbox
from autograder.grading.client import WarmParent
from autograder.grading.job import Bundle, Job, Limits, Result

pytestmark = needs_sandbox
HERE = Path(__file__).parent

RELEASE = (
    ("given", "import math"),
    ("answer", "def square(x):\n    raise NotImplementedError()"),
    ("test", "assert square(3) == 9\nassert square(-2) == 4"),
    ("answer", "def area(r):\n    raise NotImplementedError()"),
    ("test", "assert math.isclose(area(3), 9 * math.pi)"),
    ("test", "1 if area(1) > 3 else 0.5"),
)
SQUARE, AREA = "def square(x):\n    return x * x", "def area(r):\n    return math.pi * square(r)"
LIMITS = Limits(cell_seconds=10, call_seconds=2, notebook_seconds=120)
BUNDLE = Bundle("squares", as_text(*RELEASE))


def submission(*, square: str = SQUARE, area: str = AREA, extra: str = "") -> str:
    cells = [*RELEASE]
    cells[1], cells[3] = ("answer", square), ("answer", area)
    return as_text(*cells, *([("plain", extra)] if extra else []))


def run(text: str, bundle: Bundle = BUNDLE, **fields) -> Result:
    return runner.run(Job("ada", bundle, text, **{"limits": LIMITS, **fields}))


def passed(result: Result) -> list[bool]:
    return [outcome.passed for outcome in result.outcomes]


def outputs(result: Result, place: int) -> list[dict]:
    return json.loads(result.notebook)["cells"][place]["outputs"]


@pytest.fixture(scope="module", autouse=True)
def tidy():
    yield
    runner.close()


@pytest.mark.parametrize("mode", ["sealed", "classic"])
def test_an_honest_submission(mode):
    result = run(submission(extra="print(square(4))"), mode=mode)
    assert (result.status, result.reason, result.limits_hit) == ("done", "", ())
    assert passed(result) == [True, True, True] and result.outcomes[2].credit == 1.0
    assert [outcome.grade_id for outcome in result.outcomes] == ["test2", "test4", "test5"]
    assert outputs(result, 6) == [{"output_type": "stream", "name": "stdout", "text": "16\n"}]
    assert outputs(result, 5)[0]["data"]["text/plain"] == "1"
    assert json.loads(result.notebook)["cells"][6]["execution_count"] == 7
    assert result.usage.kernels == 1 and 0 < result.usage.cpu < 30 and result.usage.cells_cpu > 0


@pytest.mark.parametrize("mode", ["sealed", "classic"])
def test_a_blank_submission(mode):
    result = run(BUNDLE.release, mode=mode)
    assert passed(result) == [False] * 3 and {outcome.error for outcome in result.outcomes} == {"NotImplementedError"}


@pytest.mark.parametrize("mode", ["sealed", "classic"])
@pytest.mark.parametrize(
    ("square", "expected", "sentence"),
    [
        ("def square(x):\n    return x + x", [False, False, True], ""),
        ("def square(x) return", [False, False, False], ""),
        ("1 / 0", [False, False, False], ""),
        ("import os\nos._exit(1)", [False, False, False], "cell 2 was stopped: its Python process ended"),
        ("def square(x):\n    while True: pass", [False, False, False], "stopped after"),
        ("import time\ntime.sleep(60)", [False, False, False], "stopped after 2.5 s"),
        ("import signal\nsignal.signal(2, signal.SIG_IGN)\nwhile True: pass", [False] * 3, "did not react"),
        ("x = [0] * 10**12", [False, False, False], "MB of memory"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_one_broken_cell_costs_that_cell(mode, square, expected, sentence):
    limits = dataclasses.replace(LIMITS, cell_seconds=2.5)
    area = AREA if "+" in square else "def area(r):\n    return math.pi * r * r"
    result = run(submission(square=square, area=area), mode=mode, limits=limits)
    assert result.status == "done"
    if area != AREA:
        expected = [False, True, True]
    assert passed(result) == expected
    assert sentence in " ".join(result.limits_hit)


def test_earlier_cells_run_again_after_a_kernel_is_lost():
    extra = "import os\nmark = 1\nopen('here', 'w').close()"
    text = json.loads(submission(extra=extra))
    text["cells"].append({**text["cells"][-1], "source": "os._exit(0)"})
    text["cells"].append({**text["cells"][-1], "source": "print(mark, square(3), os.listdir())"})
    result = run(json.dumps(text))
    assert outputs(result, 8)[0]["text"] == "1 9 ['here']\n" and result.usage.kernels == 2
    assert outputs(result, 7)[0]["ename"] == "Stopped"


def test_a_forgery_that_comes_late_costs_the_exercise_that_forged():
    forge = (HERE / "attacks/forge.py").read_text()
    square = (
        f"{forge}\nimport time\n"
        "def square(x):\n"
        "    number = asked()['id']\n"
        "    send(frame({'id': number, 'value': 9}))\n"
        "    time.sleep(0.3)\n"  # the test has failed by now, at its second call, or is over
        "    for n in (number, number + 1, number + 2):\n"
        "        send(frame({'id': n, 'value': None, 'ok': True}))\n"
    )
    area = "def area(r):\n    return math.pi * r * r"
    release = [*RELEASE]
    release[2] = ("test", "assert square(3) == 9")
    cells = [*release]
    cells[1], cells[3] = ("answer", square), ("answer", area)
    result = run(as_text(*cells), Bundle("forged", as_text(*release)))
    assert passed(result)[1:] == [True, True], result.limits_hit
    assert result.limits_hit == (
        "Code called by the test test2 was stopped: its kernel sent a reply to another request.",
    )


def test_a_test_that_hangs_where_no_time_out_is_heard_costs_its_exercise(monkeypatch):
    monkeypatch.setattr(runner, "STUCK_SECONDS", 1)
    release = [*RELEASE]
    release[2] = ("test", "assert sum(range(square(3))) == 36")  # a loop in C, as long as the submission likes
    huge = "def square(x):\n    return 10**18"
    cells = [*release]
    cells[1], cells[3] = ("answer", huge), ("answer", "def area(r):\n    return math.pi * r * r")
    limits = dataclasses.replace(LIMITS, cell_seconds=2)
    result = run(as_text(*cells), Bundle("stuck", as_text(*release)), limits=limits)
    assert (result.status, passed(result)) == ("done", [False, True, True])
    assert result.outcomes[0].error == "TimeoutError" and "took longer than 2 s" in result.outcomes[0].message
    assert result.limits_hit == (
        "Running the test test2 was stopped: it took longer than 2 s, the time limit of a cell, and did not react.",
    )
    assert outputs(result, 2)[0]["ename"] == "TimeoutError"


def test_a_function_of_a_test_that_hangs_when_a_later_cell_calls_it_costs_that_cell(monkeypatch):
    monkeypatch.setattr(runner, "STUCK_SECONDS", 1)
    release = [("answer", ""), ("test", "keep(lambda n: sum(range(n)))"), ("answer", ""), ("test", "assert ok() == 1")]
    cells = [*release]
    cells[0] = ("answer", "def keep(f):\n    global kept\n    kept = f")
    cells[2] = ("answer", "def ok():\n    return 1")
    cells.insert(2, ("plain", "kept(10**18)"))
    limits = dataclasses.replace(LIMITS, cell_seconds=2)
    result = run(as_text(*cells), Bundle("kept", as_text(*release)), limits=limits)
    assert (result.status, passed(result)) == ("done", [True, True])
    assert result.limits_hit[0].startswith("Running cell 3 was stopped: it took longer than 2 s")


def test_a_submission_that_loses_kernel_after_kernel_comes_to_an_end():
    text = json.loads(submission())
    text["cells"] += [{**text["cells"][0], "source": "import os\nos._exit(1)"} for _ in range(12)]
    result = run(json.dumps(text))
    assert result.status == "done" and passed(result) == [True] * 3
    assert result.usage.kernels == runner.MAX_KERNELS
    assert "had to be replaced" in result.limits_hit[-1] and outputs(result, 17)[0]["ename"] == "NotRun"


def test_the_time_of_a_notebook_is_limited():
    limits = dataclasses.replace(LIMITS, notebook_seconds=1.5)
    text = json.loads(submission())
    text["cells"] = [{**text["cells"][0], "source": "import time\ntime.sleep(1)"} for _ in range(5)] + text["cells"]
    start = time.monotonic()
    result = run(json.dumps(text), limits=limits)
    assert time.monotonic() - start < 20 and passed(result) == [False] * 3
    assert any("time limit of the notebook" in sentence for sentence in result.limits_hit)


def test_a_cell_whose_replay_hangs_is_given_up():
    square = "import os, time\nif os.path.exists('/tmp/x'): pass\ndef square(x): os._exit(1)"
    area = "import time\nstarted = time.time()\ndef area(r): return 3.15"
    result = run(submission(square=square, area=area))
    assert passed(result) == [False, False, True] and result.usage.kernels == 2


def test_output_is_cut_and_said():
    result = run(submission(extra="print('x' * 10**7)"))
    assert "The output of cell 7 was cut" in result.limits_hit[0] and len(result.notebook) < 10**6


def test_half_characters_do_not_reach_a_file():
    extra = "print('\\ud800')\ndisplay({'text/\\ud800': 'x', 'application/json': {'a': '\\udfff'}}, raw=True)\n"
    square = "def square(x): raise ValueError('\\ud800')"
    result = run(
        submission(square=square, extra=extra + "type('E\\ud800', (Exception,), {})\nraise ValueError('\\udc00')")
    )
    assert passed(result) == [False] * 3
    json.dumps(result.as_dict(), ensure_ascii=False).encode("utf-8")
    for output in (item for cell in json.loads(result.notebook)["cells"] for item in cell["outputs"]):
        json.dumps(output, ensure_ascii=False).encode("utf-8")


def test_a_test_that_prints_is_cut_too():
    release = as_text(("answer", ""), ("test", "f()"))
    text = as_text(("answer", "def f():\n    for _ in range(10**4): print('x' * 1000)"), ("test", "f()"))
    result = run(text, Bundle("loud", release))
    assert passed(result) == [True] and "was cut" in result.limits_hit[0] and len(result.notebook) < 10**6


def test_files_of_the_lesson_and_of_the_student():
    release = as_text(
        ("given", "import helper\ntable = open('data/table.csv').read()"),
        ("answer", ""),
        ("test", "assert seen == helper.expected(open('data/table.csv').read())"),
    )
    files = {"data/table.csv": b"1,2", "helper.py": b"def expected(text): return text.split(',')"}
    bundle = Bundle("files", release, files)
    text = json.loads(release)
    text["cells"][1]["source"] = "import extra\nseen = extra.parse(open('data/table.csv').read())"
    theirs = {
        "extra.py": b"def parse(text): return text.split(',')",
        "data/table.csv": b"forged",
        "helper.py": b"def expected(text): return 1",
    }
    assert passed(run(json.dumps(text), bundle, files=theirs)) == [True]
    other = Bundle("files", release, {**files, "helper.py": b"def expected(text): return 'another'"})
    assert passed(run(json.dumps(text), other, files=theirs)) == [False]


def test_a_file_that_shadows_a_module_shadows_nothing_of_ours():
    files = {name: b"raise SystemExit('shadowed')" for name in ("math.py", "json.py", "sitecustomize.py", "torch.py")}
    assert passed(run(submission(), files=files)) == [True, True, True]


def test_the_seed_reaches_the_examiner_and_not_the_student():
    release = as_text(
        ("answer", ""), ("test", "import os\nassert os.environ['COURSE_SEED'] == 'secret'\nassert not seen")
    )
    text = as_text(("answer", "import os\nseen = 'COURSE_SEED' in os.environ"), json.loads(release) and ("test", ""))
    text = json.loads(text)
    text["cells"][1] = json.loads(release)["cells"][1]
    assert passed(run(json.dumps(text), Bundle("seed", release), seed="secret")) == [True]


@pytest.mark.parametrize(
    ("source", "credit"),
    [
        ("def share(n): return n / 4", 0.5),
        ("def share(n): return numpy.float64(n / 4)", 0.5),
        ("def share(n): return torch.tensor(n / 4)", 0.5),
        ("def share(n): return True", 1.0),
        ("def share(n): return torch.tensor([n / 4, 1.0])", None),
        ("def share(n): return None", None),
        ("def share(n): return '1.0'", None),
        ("def share(n): return 1j", None),
        ("def share(n): return 10**400", None),
        ("def share(n): return object()", None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_points_must_be_a_number_where_the_solution_makes_them_one(source, credit):
    cells = [("given", "import numpy, torch"), ("answer", ""), ("test", "share(2)"), ("test", "str(share(2))")]
    solution = as_text(cells[0], ("answer", "def share(n): return n / 4"), *cells[2:])
    submitted = as_text(cells[0], ("answer", source), *cells[2:])
    first, second = run(submitted, Bundle("share", as_text(*cells), solution=solution)).outcomes
    assert (first.passed, first.credit) == (credit is not None, credit)
    assert credit is not None or "is no number" in first.message
    assert second.passed and second.credit is None  # what the solution makes no number is left, as in nbgrader


def test_without_the_solution_points_that_are_no_number_are_all_points_as_in_nbgrader():
    release = as_text(("answer", ""), ("test", "share(2)"))
    text = as_text(("answer", "def share(n): return 'all'"), ("test", "share(2)"))
    (outcome,) = run(text, Bundle("share", release)).outcomes
    assert outcome.passed and outcome.credit is None


def test_what_a_test_changes_is_changed_for_that_submission_only():
    release = as_text(("given", "import math\nseen = []"), ("test", "assert seen == []\nseen.append(1)\nmath.pi = 3"))
    bundle = Bundle("changes", release)
    assert [passed(run(release, bundle)) for _ in range(2)] == [[True]] * 2


def test_a_test_that_crashes_the_examiner_is_no_grade():
    release = as_text(("test", "import os\nos._exit(5)"))
    result = run(release, Bundle("crash", release))
    assert result.status == "failed" and "status 5" in result.reason and not result.outcomes
    assert passed(run(submission())) == [True, True, True]


def test_a_warm_parent_that_was_killed_is_replaced():
    assert passed(run(submission())) == [True, True, True]
    os.killpg(runner._station.warm._process.pid, signal.SIGKILL)
    runner._station.warm._process.wait()
    assert passed(run(submission())) == [True, True, True]


def test_a_class_leaves_no_process_and_no_file(tmp_path, monkeypatch):
    runner.close()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    me = psutil.Process()
    before = {process.pid for process in me.children(recursive=True)}
    daemon = (
        "import subprocess\nsubprocess.Popen(['sleep', '60'], start_new_session=True)\nopen('/tmp/mine', 'w').close()"
    )
    for _ in range(3):
        assert passed(run(submission(extra=daemon))) == [True, True, True]
    runner.close()
    assert list(tmp_path.iterdir()) == []
    assert {process.pid for process in me.children(recursive=True)} <= before
    assert not os.path.exists("/tmp/mine")


def test_it_runs_in_threads_and_in_other_processes():
    results = []
    threads = [threading.Thread(target=lambda: results.append(run(submission()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [passed(result) for result in results] == [[True] * 3] * 3
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert [passed(result) for result in pool.map(run, [submission()] * 4)] == [[True] * 3] * 4


def test_threads_run_submissions_side_by_side_and_each_in_its_own_kernel():
    slow = submission(square=f"{SQUARE}\nimport time\ntime.sleep(2)\nsecret = 1")
    spy = submission(square=f"{SQUARE}\nimport time\ntime.sleep(1)\nassert 'secret' not in globals()")
    run(submission())  # the warm parent
    start = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, [slow, spy, slow, spy]))
    assert [passed(result) for result in results] == [[True] * 3] * 4
    assert all(outputs(result, 1) == [] for result in results)
    assert time.monotonic() - start < sum(result.usage.wall for result in results) / 2


def test_a_failure_and_another_lesson_wait_until_the_others_are_through():
    slow = submission(square=f"{SQUARE}\nimport time\ntime.sleep(1)")
    crash = as_text(("test", "import os\nos._exit(5)"))
    other = dataclasses.replace(BUNDLE, lesson="other")
    with ThreadPoolExecutor(4) as pool:
        jobs = [(slow, BUNDLE), (crash, BUNDLE), (slow, other), (slow, BUNDLE)] * 2
        results = list(pool.map(lambda job: run(*job), jobs))
    assert [result.status for result in results] == ["done", "failed", "done", "done"] * 2
    assert all(passed(result) == [True] * 3 for result in results if result.status == "done")


def test_a_result_is_plain_data():
    result = run(submission(extra="while True: pass"), limits=dataclasses.replace(LIMITS, cell_seconds=0.5))
    assert Result.from_dict(json.loads(json.dumps(result.as_dict()))) == result


def test_without_a_sandbox_it_says_so():
    for _ in range(2):  # what one leaves behind is not there for the next
        result = run(submission(square=f"{SQUARE}\nopen('mine', 'x').close()"), sandbox="none")
        assert passed(result) == [True, True, True] and "no sandbox" in result.sandbox
        assert outputs(result, 1) == []


def test_where_kernels_cannot_be_sealed_each_submission_has_a_cold_one(monkeypatch):
    runner.close()
    monkeypatch.setattr(WarmParent, "_trial", lambda self: "unshare: Operation not permitted")
    leaves = submission(square=f"{SQUARE}\nopen('/scratch/mine', 'x').close()\nimport time\ntime.sleep(1)")
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, [leaves] * 3))
    assert [passed(result) for result in results] == [[True] * 3] * 3
    assert all(outputs(result, 1) == [] for result in results), "none finds the file of another"
    assert {result.sandbox.split("; ")[1] for result in results} == {"cold kernel (unshare: Operation not permitted)"}


def test_a_missing_sandbox_is_the_users_to_mend(monkeypatch):
    runner.close()
    monkeypatch.setattr(sandbox, "available", lambda: "bubblewrap is not installed")
    with pytest.raises(UserError, match="not installed"):
        run(submission())
