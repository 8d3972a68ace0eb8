"""The examiner: what a test cell can do with student objects, and what student objects cannot do to it."""

from __future__ import annotations

import json
import time

import pytest
import torch
from kernels import Shell, needs_sandbox, notebook

from autograder.grading.client import WarmParent
from autograder.grading.examiner import Examiner
from autograder.grading.handles import Handle, Line
from autograder.grading.job import Limits
from autograder.grading.prelude import build_prelude, may_give_points

pytestmark = needs_sandbox
LIMITS = Limits(cell_seconds=10, call_seconds=2)


class Desk:
    """One submission and its examiner: `answer` runs a student's cell, `test` a test cell."""

    def __init__(self, warm: WarmParent, *release: tuple[str, str]):
        self.prelude = build_prelude(notebook(*release))
        self.cells: list[str] = []
        self.examiner = Examiner(self.prelude, LIMITS, self.cells)
        self.shell = Shell(warm.fork(LIMITS))
        self.line = Line(self.shell.kernel, LIMITS)

    def answer(self, source: str) -> None:
        self.cells.append(source)
        assert self.shell.text(source) == ""

    def test(self, source: str, name: str = "test0", seconds: float = 10):
        (cell,) = notebook(("test", source))["cells"]
        cell["metadata"]["nbgrader"]["grade_id"] = name
        self.outputs, self.outcome = self.examiner.run(cell, 1, seconds, self.line)
        return self.outcome

    def passes(self, source: str) -> bool:
        outcome = self.test(source)
        assert outcome.passed or outcome.error == "AssertionError", (outcome, self.outputs.items)
        return outcome.passed


@pytest.fixture
def desk(warm: WarmParent):
    made = Desk(warm, ("given", "import torch\nimport numpy as np\nfrom utils import *"))
    yield made
    made.shell.kernel.close()


# --- the prelude -----------------------------------------------------------------------------------------------------


def test_the_prelude_has_what_read_only_cells_define_alone():
    prelude = build_prelude(
        notebook(
            ("given", "import math\nsize = 3\ndef area(r):\n    return math.pi * r**2\nclass Box:\n    side = size"),
            ("answer", "def f(x):\n    raise NotImplementedError()\nx = None"),
            ("given", "uses = f(3)\nafter = uses + 1\ndef calls(): return f(1)\nfor i in range(3): pass\nprint('no')"),
            ("plain", "import json\nopen_cell = 1"),
            ("answer", "import statistics\nsize = 4"),
        )
    )
    assert {"math", "area", "Box", "json", "statistics"} <= prelude.namespace.keys()
    assert {"f", "x", "uses", "after", "calls", "i", "open_cell", "size"} <= prelude.given
    assert not prelude.given & prelude.namespace.keys()


def test_random_data_is_left_to_the_students_side():
    prelude = build_prelude(
        notebook(
            (
                "given",
                """
import torch, random
seed = torch.manual_seed(0)
x = torch.randn(3)
y = random.random()
z = torch.ones(2)
""",
            ),
            ("given", "def setup():\n    torch.manual_seed(1)\n    return torch.device('cpu')\ndevice = setup()"),
        )
    )
    assert {"x", "y"} <= prelude.given and {"z", "device", "setup"} <= prelude.namespace.keys()


def test_a_broken_release_cell_is_passed_over():
    prelude = build_prelude(
        notebook(
            ("given", "this is no Python"),
            ("given", "import nosuchmodule\nok = 1"),
            ("given", "%matplotlib inline\nb = 2"),
        )
    )
    assert prelude.namespace["ok"] == 1 and prelude.namespace["b"] == 2 and "nosuchmodule" in prelude.given


@pytest.mark.parametrize(
    ("source", "may"),
    [
        ("right / 8 * 2", True),
        ("assert f(1)\nscore(f)", True),
        ("right / 8;", False),
        ("assert f(1) == 2", False),
        ("np.testing.assert_allclose(f(1), 2)", False),
        ("assert_equal(f(1), 2)", False),
        ("print(f(1))", False),
        ("", False),
        ("this is no Python", False),
    ],
)
def test_tests_whose_value_may_be_points(source, may):
    (test,) = notebook(("test", source))["cells"]
    (plain,) = notebook(("plain", source))["cells"]
    assert may_give_points(test) is may and not may_give_points(plain)


# --- names and values ------------------------------------------------------------------------------------------------


def test_plain_data_comes_by_value_and_the_rest_as_handles(desk):
    desk.answer(
        "n = 3\nt = torch.ones(2, requires_grad=True)\nd = {'a': np.arange(2)}\nclass A: pass\na = A()\n"
        if False
        else ""
    )
    desk.answer(
        """
import torch, numpy as np
n = 3
t = torch.ones(2, requires_grad=True)
d = {'a': np.arange(2)}
class A: pass
a = A()
"""
    )
    assert desk.test("kinds = [type(x) for x in (n, t, d, a, A)]").passed
    assert desk.examiner.space["kinds"] == [int, torch.Tensor, dict, Handle, Handle]
    assert desk.passes("assert not t.requires_grad and t.sum() == 2 and d['a'].tolist() == [0, 1]")


def test_a_missing_name_is_a_name_error(desk):
    outcome = desk.test("f(1)")
    assert outcome.error == "NameError" and "'f'" in outcome.message


def test_names_are_asked_anew_for_each_test(desk):
    desk.answer("x = 1")
    assert desk.passes("assert x == 1")
    desk.answer("x = 2")
    assert desk.passes("assert x == 2")
    desk.answer("del x")
    assert desk.test("x").error == "NameError"


def test_the_prelude_cannot_be_replaced(desk):
    desk.answer(
        """
import torch
torch.allclose = lambda *a: True
def expect_close(*a, **k): pass
len = lambda x: 3
f = lambda: torch.zeros(2)
"""
    )
    assert not desk.passes("assert torch.allclose(f(), torch.ones(2))")
    assert not desk.passes("assert len([1]) == 3")
    assert desk.test("expect_close(f(), torch.ones(2), hint='ones')").hint == "ones"


def test_builtins_are_asked_only_if_the_exercise_defines_them(warm):
    desk = Desk(warm, ("answer", "def sum(xs):\n    raise NotImplementedError()"))
    desk.answer("def sum(xs): return 42\ndef max(xs): return 42")
    assert desk.passes("assert sum([1]) == 42 and max([1]) == 1")


def test_a_helper_of_an_earlier_test_stays_until_the_release_binds_it_anew(warm):
    desk = Desk(
        warm, ("test", "def same(a, b): return a == b\nout = 1"), ("answer", "out = None"), ("test", "same(out, 2)")
    )
    assert desk.test("def same(a, b): return a == b\nout = 1", "test0").passed
    desk.answer("def same(a, b): return True\nout = 2")
    assert desk.test("assert not same(1, 2) and out == 2", "test2").passed


def test_later_cells_of_the_student_see_what_a_test_bound(warm):
    desk = Desk(warm, ("test", "data = [1, 2]\nsecret = 3"), ("answer", "answer = sum(data)"))
    assert desk.test("data = [1, 2]\nsecret = 3").passed
    assert desk.shell.value("[sum(data), 'secret' in globals()]") == [3, False]


# --- handles ---------------------------------------------------------------------------------------------------------


def test_what_a_handle_can_do(desk):
    desk.answer(
        """
import torch
class Net(torch.nn.Module):
    '''A net.'''
    def __init__(self, n):
        super().__init__()
        self.w = torch.nn.Parameter(torch.arange(float(n)))
        self.cache = {}
    def forward(self, x, scale=1):
        return x * self.w * scale
class Stack:
    def __init__(self): self.items = []
    def push(self, item): self.items.append(item)
    def __len__(self): return len(self.items)
    def __getitem__(self, i): return self.items[i]
    def __setitem__(self, i, item): self.items[i] = item
    def __iter__(self): return iter(self.items)
    def __eq__(self, other): return self.items == other.items
    def __str__(self): return f"Stack of {len(self)}"
    def __repr__(self): return "Stack()"
def count(n):
    yield from range(n)
"""
    )
    assert desk.passes(
        """
net = Net(3)
assert isinstance(net, torch.nn.Module) and isinstance(net, Net) and not isinstance(3, Net)
assert issubclass(Net, Net) and not issubclass(Net, Stack)
assert net(torch.ones(3), scale=2).tolist() == [0, 2, 4]
assert [p.shape for p in net.parameters()] == [torch.Size([3])] and net.w.sum() == 3
assert net.__doc__ == "A net." and Net.__name__ == "Net"
assert hasattr(net, "w") and not hasattr(net, "nosuch") and callable(net)
s, t = Stack(), Stack()
s.push("a"); s.push(2); t.push("a"); t.push(2)
assert len(s) == 2 and s[0] == "a" and list(s) == ["a", 2] and "a" in s and s == t and s != Stack()
s[0] = "b"
assert s != t and str(s) == "Stack of 2" and repr(s) == "Stack()" and f"{s}" == "Stack of 2"
s.label = "x"
assert s.label == "x" and s.items == ["b", 2]
assert list(count(3)) == [0, 1, 2] and sum(count(4)) == 6
assert net.state_dict()["w"].shape == (3,)
"""
    )


@pytest.mark.parametrize(
    "check",
    ["x() == 9", "9 == x()", "not (x() != 9)", "abs(x() - 9) < 1", "x() < 10", "float(x()) == 9", "int(x()) == 9",
     "x() in [9]", "9 in x()", "bool(x() == 9)", "torch.allclose(x(), torch.ones(1))", "np.allclose(x(), 9)",
     "torch.ones(1) == x()", "np.ones(1) == x()", "isinstance(x(), int)", "isinstance(x(), torch.Tensor)",
     "math.isclose(x(), 9)", "round(x()) == 9", "[x()] == [9]", "{'a': x()} == {'a': 9}"],
)  # fmt: skip
def test_an_object_that_equals_everything_equals_nothing(desk, check):
    desk.answer(
        """
import torch
class Any:
    def _yes(self, *a, **k): return True
    def _self(self, *a, **k): return self
    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __contains__ = __bool__ = _yes
    __sub__ = __rsub__ = __abs__ = __call__ = __round__ = _self
    def __ne__(self, other): return False
    def __float__(self): return 9.0
    def __int__(self): return 9
    __index__ = __int__
    def __iter__(self): return iter([self])
    def __array__(self, *a): return 9
    __class__ = int
    __hash__ = None
def x(): return Any()
"""
    )
    outcome = desk.test(f"import math\nassert {check}")
    assert not outcome.passed


def test_functions_of_a_test_can_be_handed_over(desk):
    desk.answer(
        "def twice(f, x): return f(f(x))\ndef grab(f):\n    try: f(1)\n    except ZeroDivisionError: return 'caught'"
    )
    assert desk.passes("import math\nassert twice(lambda v: v + 1, 3) == 5 and twice(math.sqrt, 16.0) == 2")
    assert desk.passes("def bad(x): return x / 0\nassert grab(bad) == 'caught'")
    assert desk.passes("def deep(v): return twice(lambda w: w + 1, v)\nassert twice(deep, 0) == 4")


def test_a_call_for_its_effect_is_seen(desk):
    desk.answer(
        """
import torch
def sort(l): l.sort()
def zero(t): t.zero_()
def put(d, k=None): d[1] = 2
def step(ps):
    for p in ps: p -= 1
"""
    )
    assert desk.passes("l = [3, 1]\nsort(l)\nassert l == [1, 3]")
    assert desk.passes("t, a = torch.ones(2), np.ones(2)\nzero(t)\nassert t.sum() == 0")
    assert desk.passes("d = {}\nput(k=None, d=d)\nassert d == {1: 2}")
    assert desk.passes("ps = [torch.ones(2)]\nkept = ps[0]\nstep(ps)\nassert ps[0].sum() == 0")
    assert desk.passes("t = torch.ones(2)\nr = zero(t)\nassert t.sum() == 2")


def test_what_cannot_be_handed_over_says_so(desk):
    desk.answer("def f(x): return x")
    outcome = desk.test("class Mine: pass\nf(Mine())")
    assert outcome.error == "TypeError" and "place(...)" in outcome.message


def test_errors_of_student_code_keep_their_kind(desk):
    desk.answer(
        """
class Own(KeyError): pass
def f(kind): raise {'own': Own, 'value': ValueError, 'exit': SystemExit}[kind]('oh')
"""
    )
    assert desk.passes("import pytest\nwith pytest.raises(ValueError, match='oh'): f('value')")
    assert desk.passes("try: f('own')\nexcept KeyError as e: assert 'oh' in str(e)")
    outcome = desk.test("f('own')")
    assert (outcome.error, outcome.message) == ("Own", "'oh'")
    assert "raise {" not in outcome.message and any("in f" in line for line in desk.outputs.items[0]["traceback"])
    assert desk.test("f('exit')").error == "SystemExit"
    assert desk.passes("assert True")


def test_a_stub_says_that_it_is_not_written(desk):
    desk.answer("def f(x): raise NotImplementedError()")
    outcome = desk.test("with exercise('f', points=2):\n    expect_close(f(1), 1, hint='no')")
    assert outcome.error == "CheckFailed" and "not written yet" in outcome.hint


# --- checks of utils -------------------------------------------------------------------------------------------------


def test_checks_work_over_handles(desk):
    desk.answer(
        "import torch\ndef square(x): return x**2\nclass Lin(torch.nn.Linear): pass\ndef run(net, x): return net(x)"
    )
    assert desk.passes(
        """
with exercise("square", points=1):
    x = randn(3)
    expect_close(square(x), x**2, hint="square")
    (g,) = gradients(square, x, upstream=torch.ones(3))
    expect_close(g, 2 * x, hint="gradient")
    net = place(torch.nn.Linear, 3, 2)
    expect(run(net, x).shape == (2,), hint="shape")
    expect_from_scratch(square, "matmul")
"""
    )
    assert "✓ square: 4 checks passed" in desk.outputs.items[0]["text"]


@pytest.mark.parametrize(
    "answer",
    [
        "def f(x): return x.softmax(-1)",
        "def honest(x): return x.exp()\ndef f(x): return x.softmax(-1)\nf.__name__ = f.__qualname__ = 'honest'",
        "def f(x): return x.exp()\nimport torch\nf = torch.softmax",
        "f = lambda x: x.softmax(-1)",
        """
import inspect, linecache
exec('def f(x): return x.softmax(-1)')
inspect.getsource = lambda o: 'def f(x): pass'
""",
    ],
)
def test_the_source_is_read_from_the_notebook_not_from_the_process(desk, answer):
    desk.answer(answer)
    outcome = desk.test("with exercise('f', points=1):\n    expect_from_scratch(f, 'softmax')")
    assert outcome.error == "CheckFailed"


def test_random_numbers_follow_the_seed_of_a_test_on_both_sides(desk):
    desk.answer(
        """
import torch, random
import numpy as np
def draw(): return [torch.randn(2).tolist(), random.random(), np.random.rand()]
"""
    )
    source = "import random\ntorch.manual_seed(3); random.seed(3); np.random.seed(3)\na = draw()\n"
    source += "torch.manual_seed(3); random.seed(3); np.random.seed(3)\nb = draw()\nassert a == b"
    assert desk.passes(source)
    assert desk.passes(
        "torch.manual_seed(5)\nmine = torch.randn(2).tolist()\ntorch.manual_seed(5)\nassert draw()[0] == mine"
    )


# --- how a test ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "credit", "shown"),
    [
        ("1.5", 1.5, "1.5"),
        ("x = 1", None, None),
        ("2;", None, None),
        ("None", None, None),
        ("'3'", None, "'3'"),
        ("True", None, "True"),
    ],
)
def test_the_last_expression_is_partial_credit(desk, source, credit, shown):
    outcome = desk.test(source)
    assert outcome.passed and outcome.credit == credit
    assert [item["data"]["text/plain"] for item in desk.outputs.items] == ([shown] if shown else [])


def test_an_object_of_the_student_is_no_credit(desk):
    desk.answer("class Two:\n    def __repr__(self): return '2'\ndef f(): return Two()")
    outcome = desk.test("f()")
    assert outcome.credit is None and "2" not in desk.outputs.items[0]["data"]["text/plain"]


def test_output_of_the_test_and_of_the_code_it_calls(desk):
    desk.answer("import warnings\ndef f():\n    print('theirs')\n    warnings.warn('careful')")
    desk.test("print('mine')\nf()")
    texts = {item["name"]: item["text"] for item in desk.outputs.items}
    assert texts["stdout"] == "mine\ntheirs\n" and "careful" in texts["stderr"]


def test_the_traceback_shows_the_line_of_the_test(desk):
    desk.test("x = 1\nassert x == 2, 'no'")
    (item,) = desk.outputs.items
    assert item["ename"] == "AssertionError" and "assert x == 2" in "\n".join(item["traceback"])
    assert "examiner.py" not in "\n".join(item["traceback"])


@pytest.mark.parametrize(
    "source",
    ["while True: pass", "while True:\n    try: f()\n    except Exception: pass", "import time\ntime.sleep(30)"],
)
def test_a_test_that_takes_too_long_is_stopped(desk, source):
    desk.answer("def f(): pass")
    start = time.monotonic()
    outcome = desk.test(source, seconds=0.5)
    assert outcome.error == "TimeoutError" and time.monotonic() - start < 10
    assert desk.passes("assert f() is None")


def test_a_call_that_takes_too_long_is_stopped(desk):
    desk.answer("import time\ndef slow(): time.sleep(30)\ndef quick(): return 1")
    assert "stopped after 2 s" in desk.test("slow()").message
    assert desk.passes("assert quick() == 1")


def test_a_kernel_that_dies_in_a_call_fails_that_test(desk):
    desk.answer("import os\ndef f(): os._exit(3)")
    outcome = desk.test("import pytest\nwith pytest.raises(ValueError): f()")
    assert outcome.error == "SubmissionLost" and "exit status 3" in outcome.message
    assert desk.test("f()").error == "SubmissionLost"


# --- hostile answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "['T', 'float32', [2], 9]",
        "['T', 'float32', [10**12], 0]",
        "['h', 'x', [], False]",
        "['h', 1, 3, False]",
        "['h', 1, ['torch.Tensor'], False]",
        "['l'] * 1",
        "['dtype', 'nn']",
        "['i', 'ff' * 10**6]",
        "['nonsense']",
        "{'a': 1}",
    ],
)
def test_a_forged_value_earns_nothing(desk, value):
    desk.answer(
        f"""
from autograder.grading import kernel
kernel.Kernel._do = lambda self, *a: {{"value": {value}}}
def f(): pass
"""
    )
    assert not desk.test("assert torch.equal(f(), torch.ones(2))").passed
    assert not desk.test("assert f() == 1").passed


def test_forged_results_and_errors_do_not_reach_a_tests_outputs(desk):
    desk.answer(
        """
import socket
from autograder.grading import wire
def f():
    s = socket.socket(fileno=3)
    for event in (
        {"event": "clear"},
        {"event": "execute_result", "data": {"text/plain": "100"}, "metadata": {}, "execution_count": 1},
        {"event": "display_data", "data": {"text/html": "<b>100</b>"}, "metadata": {}},
        {"event": "error", "ename": "x", "evalue": "y", "traceback": []},
        {"event": "stream", "name": "stdout", "text": "100"},
    ):
        wire.send(s, event)
    s.detach()
    return 0
"""
    )
    assert not desk.test("print('mine')\nassert f() == 1").passed
    assert [item["output_type"] for item in desk.outputs.items] == ["stream", "error"]
    assert desk.outputs.items[0]["text"] == "mine\n100" and desk.outputs.items[1]["ename"] == "AssertionError"


def test_a_nested_answer_earns_nothing(desk):
    desk.answer(
        """
import socket
from autograder.grading import wire
def f():
    s = socket.socket(fileno=3)
    header = b'[{"id":99,"value":' + b'[' * 10**6
    s.sendall(wire._PREFIX.pack(len(header), 0) + header)
"""
    )
    outcome = desk.test("f()")
    assert outcome.error == "SubmissionLost" and "not a message" in outcome.message


def test_a_huge_answer_earns_nothing(warm):
    desk = Desk(warm)
    desk.shell.kernel._reader._max_body = 10**6
    desk.answer("def f(): return bytes(10**7)")
    assert desk.test("f()").error == "SubmissionLost"


def test_the_hidden_side_is_not_in_the_students_process(desk):
    desk.answer(
        """
import gc, sys
seen = []
def f(x):
    frame = sys._getframe()
    while frame:
        seen.append(repr(frame.f_locals)[:100_000])
        frame = frame.f_back
    for thing in gc.get_objects():
        if isinstance(thing, (str, list, dict)):
            seen.append(str(thing)[:2000] if isinstance(thing, str) else '')
    return x
"""
    )
    assert desk.test("expected = 'hidden ' + 'treasure'\nf(1)").passed
    assert (
        json.loads(
            desk.shell.text(
                "import json\nprint(json.dumps(any('treasure' in s for s in seen[:-1] if 'seen' not in s)))"
            )
        )
        is False
    )
