"""The warm parent and its sealed kernels: what student code can see, reach, use up and leave behind.

Every attack here is bounded in number, size and time, so that it is harmless where the sandbox is broken.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import time
from pathlib import Path

import psutil
import pytest
from kernels import Shell, needs_sandbox

from autograder.grading import sandbox
from autograder.grading.client import KernelLost, WarmParent
from autograder.grading.job import Limits
from autograder.grading.outputs import Outputs

pytestmark = needs_sandbox

THREADS = """
import threading, time
for _ in range(50):
    threading.Thread(target=time.sleep, args=(10,)).start()
time.sleep(10)
"""
IGNORES_SIGNALS = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(30)
"""


def kernel_with(warm: WarmParent, **limits) -> Shell:
    return Shell(warm.fork(dataclasses.replace(Limits(), **limits)))


def descendants(warm: WarmParent) -> set[int]:
    family = psutil.Process(warm._process.pid).children(recursive=True)
    return {process.pid for process in family if alive(process)}


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def settle(condition, seconds=10) -> bool:
    """Whether a condition comes true: ends of processes take a moment to show."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_kernels_are_sealed_here(warm: WarmParent):
    assert warm.seal, warm.why_not
    assert "sealed" in warm.describe()


def test_a_cell_gives_nbformat_outputs(shell: Shell):
    source = "from IPython.display import display, HTML\nprint('a')\ndisplay(HTML('<b>'))\nprint('b')\n6 * 7"
    kinds = [(item["output_type"], item.get("text") or item["data"]["text/plain"]) for item in shell.run(source).items]
    assert [kind for kind, _ in kinds] == ["stream", "display_data", "stream", "execute_result"]
    assert [text for _, text in kinds][::2] == ["a\n", "b\n"] and kinds[-1][1] == "42"


def test_output_from_below_python_is_caught(shell: Shell):
    assert shell.text("import os\n_ = os.write(1, b'raw ')\n_ = os.system('echo shell; echo oops >&2')").split() == [
        "raw",
        "shell",
        "oops",
    ]


def test_exceptions_have_ipythons_traceback(shell: Shell):
    (item,) = shell.run("def f():\n    return 1 / 0\nf()").items
    assert item["ename"] == "ZeroDivisionError" and item["evalue"] == "division by zero"
    assert "in" in "".join(item["traceback"]) and "kernel.py" not in "".join(item["traceback"])


def test_figures_are_shown(shell: Shell):
    (item,) = shell.run("import matplotlib.pyplot as plt\nplt.plot([1, 2]);", 60).items
    assert item["data"]["image/png"].startswith("iVBOR")


def test_updated_displays_take_the_place_of_the_old(shell: Shell):
    items = shell.run("h = display('one', display_id=True)\nh.update('two')").items
    assert [item["data"]["text/plain"] for item in items] == ["'two'"]


def test_clear_output_clears(shell: Shell):
    assert shell.text("from IPython.display import clear_output\nprint('old')\nclear_output()\nprint('new')") == "new\n"


@pytest.mark.parametrize("source", ["print('x' * 10**7)", "import os\nfor _ in range(1000): os.write(1, b'x' * 10**4)"])
def test_output_is_cut_while_it_arrives(warm: WarmParent, source):
    shell = kernel_with(warm, output_bytes=1000)
    outputs = shell.run(source)
    assert outputs.cut and sum(len(item.get("text", "")) for item in outputs.items) == 1000
    shell.kernel.close()


def test_large_figures_are_dropped(warm: WarmParent):
    shell = kernel_with(warm, figure_bytes=1000)
    outputs = shell.run("from IPython.display import Image, display\ndisplay(Image(b'\\x89PNG' * 1000, format='png'))")
    assert outputs.cut and "image/png" not in str(outputs.items)
    shell.kernel.close()


def test_the_number_of_outputs_is_limited_and_an_error_is_kept(shell: Shell):
    outputs = shell.run("import sys\nfor _ in range(3000): print(end='a'); print(end='b', file=sys.stderr)\n1 / 0")
    assert outputs.cut and len(outputs.items) == 1001 and outputs.items[-1]["ename"] == "ZeroDivisionError"


# --- what it can see and reach ---------------------------------------------------------------------------------------


def test_only_its_own_processes_are_there(shell: Shell):
    assert shell.value("__import__('os').getpid()") == 1
    assert shell.value("[p for p in __import__('os').listdir('/proc') if p.isdigit()]") == ["1"]


def test_it_is_nobody_with_no_rights(shell: Shell):
    status = dict(
        line.split(":\t", 1) for line in shell.text("print(open('/proc/self/status').read())").splitlines()[:-1]
    )
    assert status["Uid"].split() == ["1000"] * 4
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"


def test_no_file_of_the_graders_is_open(shell: Shell):
    source = "import os\nprint(sorted(os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')[:-1]))"
    text = shell.text(source)
    assert text.count("socket:") == 1 and text.count("pipe:") == 2 and text.count("/dev/null") == 1
    assert text.count(",") <= 5, text


@pytest.mark.parametrize(
    "source",
    [
        "os.kill(os.getppid() or 2, 9)",
        "os.kill(-1, 9) if os.getpid() == 1 else None; os.kill(2, 9)",
        "ptrace(16, 2)",
        "ctypes.CDLL(None, use_errno=True).unshare(0x10000000) == 0 and print('unshared') or 1/0",
        "ctypes.CDLL(None, use_errno=True).mount(b'tmpfs', b'/usr', b'tmpfs', 0, None) == 0 or 1/0",
        "ctypes.CDLL(None, use_errno=True).umount2(b'/proc', 2) == 0 or 1/0",
        "ctypes.CDLL(None, use_errno=True).sethostname(b'x', 1) == 0 or 1/0",
        "ctypes.CDLL(None, use_errno=True).chroot(b'/tmp') == 0 or 1/0",
        "os.setuid(0)",
        "open('/proc/1/uid_map', 'w').write('0 0 1')",
        "open('/proc/2/mem', 'rb')",
        "open('/usr/mine', 'w')",
        "open('/mine', 'w')",
        "open('/dev/mine', 'w')",
        "open('/course/utils/mine.py', 'w')",
        "os.mknod('/tmp/disk', 0o60600, os.makedev(254, 0))",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    ],
)
def test_the_way_out_is_shut(shell: Shell, source):
    prepare = "import ctypes, os, socket\ndef ptrace(what, pid):\n"
    prepare += "    if ctypes.CDLL(None, use_errno=True).ptrace(what, pid, 0, 0): raise OSError('refused')\n"
    outputs = shell.run(prepare + source)
    assert [item["output_type"] for item in outputs.items] == ["error"], outputs.items
    assert shell.value("1") == 1


def test_submissions_do_not_see_each_others_files_or_names(warm: WarmParent):
    first, second = kernel_with(warm), kernel_with(warm)
    places = "['.', '/tmp', '/dev/shm', '/scratch']"
    before = second.value(f"[sorted(__import__('os').listdir(p)) for p in {places}]")
    for place in (".", "/tmp", "/dev/shm", "/scratch"):
        first.text(f"open('{place}/mine', 'w').write('x')")
    first.text("secret = 1\nimport torch\ntorch.secret = 1\nimport os\nos.environ['SECRET'] = '1'")
    assert second.value(f"[sorted(__import__('os').listdir(p)) for p in {places}]") == before
    assert "NameError" in second.text("secret")
    assert second.value("[hasattr(__import__('torch'), 'secret'), 'SECRET' in __import__('os').environ]") == [
        False,
        False,
    ]
    first.kernel.close()
    third = kernel_with(warm)
    assert third.value(f"[sorted(__import__('os').listdir(p)) for p in {places}]") == before
    second.kernel.close()
    third.kernel.close()


def test_submissions_do_not_see_each_others_terminals(warm: WarmParent):
    first, second = kernel_with(warm), kernel_with(warm)
    first.text("import os\nours, theirs = os.openpty()")
    assert "0" in first.value("os.listdir('/dev/pts')")
    assert second.value("__import__('os').listdir('/dev/pts')") == ["ptmx"]
    assert second.text("!tty").startswith("/dev/pts/")
    first.kernel.close()
    second.kernel.close()


def test_abstract_sockets_and_shared_memory_do_not_outlive_a_kernel(warm: WarmParent):
    first = kernel_with(warm)
    first.text("import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind('\\0mine')\ns.listen()")
    first.text("import ctypes\nctypes.CDLL(None).shmget(4711, 4096, 0o1666)")
    first.kernel.close()
    second = kernel_with(warm)
    assert "refused" in second.text("import socket\nsocket.socket(socket.AF_UNIX).connect('\\0mine')")
    assert second.text("import ctypes\nprint(ctypes.CDLL(None).shmget(4711, 4096, 0o666))") == "-1\n"
    second.kernel.close()


# --- what it can use up ----------------------------------------------------------------------------------------------


def test_memory_of_one_process_ends_in_an_exception(warm: WarmParent):
    shell = kernel_with(warm, memory_mb=200)
    assert "MemoryError" in shell.text("held = [bytearray(10**7) for _ in range(40)]")
    assert "can't allocate memory" in shell.text("import torch\ntorch.zeros(10**8)")
    assert shell.value("1") == 1
    shell.kernel.close()


def test_memory_of_all_processes_together_ends_the_kernel(warm: WarmParent):
    shell = kernel_with(warm, memory_mb=200)
    source = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        held = bytearray(os.urandom(1) * 100_000_000)
        time.sleep(10)
        os._exit(0)
time.sleep(10)
"""
    with pytest.raises(KernelLost, match="more than 200 MB of memory"):
        shell.run(source)


def test_shared_memory_counts(warm: WarmParent):
    shell = kernel_with(warm, memory_mb=100)
    with pytest.raises(KernelLost, match="memory"):
        shell.run(
            """
import mmap, time
file = open('/dev/shm/shared', 'w+b')
file.truncate(200_000_000)
m = mmap.mmap(file.fileno(), 200_000_000)
[m.write(b'x' * 10**6) for _ in range(200)]
time.sleep(10)
"""
        )


def test_processes_are_limited(warm: WarmParent):
    shell = kernel_with(warm, processes=20)
    source = """
import os, time
for _ in range(100):
    try:
        if os.fork() == 0:
            time.sleep(10)
            os._exit(0)
    except OSError:
        print("refused")
        break
else:
    time.sleep(10)
"""
    try:
        assert "refused" in shell.text(source)
    except KernelLost as lost:
        assert "more than 20 processes" in str(lost)
    shell.kernel.close()


def test_threads_are_limited(warm: WarmParent):
    shell = kernel_with(warm, processes=20)
    source = THREADS
    try:
        assert "can't start new thread" in shell.text(source)
    except KernelLost as lost:
        assert "more than 20 processes" in str(lost)
    shell.kernel.close()


def test_files_are_limited_all_places_together(warm: WarmParent):
    shell = kernel_with(warm, scratch_mb=8)
    places = (".", *sandbox.plan().writable)  # /tmp is among them, unless the Python that grades lies there
    fill = f"for place in {places!r}:\n    open(f'{{place}}/big', 'wb').write(bytes(5 * 2**20))"
    assert "No space left" in shell.text(fill)
    assert "No space left" in shell.text("for n in range(10_000): open(f'/dev/shm/{n}', 'w').close()")
    shell.kernel.close()


def test_open_files_are_limited(warm: WarmParent):
    shell = kernel_with(warm, open_files=64)
    assert "Too many open files" in shell.text("held = [open('/dev/null') for _ in range(200)]")
    shell.kernel.close()


def test_a_cell_that_takes_too_long_is_interrupted(shell: Shell):
    outputs = Outputs(shell.kernel.limits)
    message = {"op": "cell", "source": "print('started')\nimport time\ntime.sleep(30)", "count": 1}
    _, _, interrupted = shell.kernel.request(message, [], 0.3, outputs)
    assert interrupted and outputs.items[0]["text"] == "started\n" and outputs.items[1]["ename"] == "KeyboardInterrupt"
    assert shell.value("1") == 1


def test_a_cell_that_ignores_interrupts_is_ended(shell: Shell):
    source = IGNORES_SIGNALS
    with pytest.raises(KernelLost, match="did not react"):
        shell.run(source, 0.3)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import os\nos._exit(7)", "exit status 7"),
        ("import ctypes\nctypes.string_at(8)", "SIGSEGV"),
        ("import os\nos.close(3)", "ended|exit"),
        ("import socket\nsocket.socket(fileno=3).sendall(b'nonsense' * 1000)", "too long|not a message"),
    ],
)
def test_a_kernel_that_ends_says_how(shell: Shell, source, why):
    with pytest.raises(KernelLost, match=why):
        shell.run(source, 5)


@pytest.mark.parametrize("reply", [{"id": 1}, {"id": True}, {"id": 10**30}, {"id": "3"}, {"id": None}, {"id": [3]}])
def test_a_reply_to_another_call_is_no_reply(shell: Shell, reply):
    source = "import socket\nfrom autograder.grading import wire\ns = socket.socket(fileno=3)\n"
    shell.run("1")
    with pytest.raises(KernelLost, match="a reply to another request"):
        shell.run(source + f"wire.send(s, {reply!r})\n_ = s.detach()", 5)


def test_a_callback_that_nobody_gave_is_refused(shell: Shell):
    source = "import socket\nfrom autograder.grading import wire\ns = socket.socket(fileno=3)\n"
    with pytest.raises(KernelLost, match="a callback that nobody gave"):
        shell.run(source + "wire.send(s, {'event': 'callback', 'number': 1})\n_ = s.detach()", 5)


def test_forged_events_are_dropped_or_harmless(shell: Shell):
    events = [
        {"event": "stream", "name": "stdin", "text": "x"},
        {"event": "stream", "name": "stdout", "text": ["x"]},
        {"event": "error", "traceback": "no list"},
        {"event": "display_data", "data": {"text/plain": 3}},
        {"event": "display_data", "data": {"image/png": {"a": 1}}},
        {"event": "update", "data": []},
        {"event": None},
        {},
    ]
    source = "import socket\nfrom autograder.grading import wire\ns = socket.socket(fileno=3)\n"
    source += f"for event in {events!r}: wire.send(s, event)\n_ = s.detach()"
    assert shell.run(source).items == []


# --- what it leaves behind -------------------------------------------------------------------------------------------


def test_kernels_side_by_side_share_no_socket(warm: WarmParent):
    """Names of abstract sockets and ports belong to a network namespace, not to a process."""
    listen = """
import socket
for family, address in ((socket.AF_UNIX, "\\0note"), (socket.AF_INET, ("127.0.0.1", 50_001))):
    kept = globals().setdefault("kept", [])
    kept.append(socket.socket(family))
    kept[-1].bind(address)
    kept[-1].listen()
"""
    reach = """
import socket
for family, address in ((socket.AF_UNIX, "\\0note"), (socket.AF_INET, ("127.0.0.1", 50_001))):
    with socket.socket(family) as caller:
        print(caller.connect_ex(address))
"""
    first, second = kernel_with(warm), kernel_with(warm)
    try:
        assert first.text(listen) == "" and first.text(reach) == "0\n0\n"  # a kernel reaches itself
        assert second.text(reach) == f"{errno.ECONNREFUSED}\n{errno.ECONNREFUSED}\n"
        assert second.text(listen) == ""
    finally:
        first.kernel.close()
        second.kernel.close()


def test_nothing_survives_a_kernel(warm: WarmParent):
    assert settle(lambda: len(descendants(warm)) <= 2)
    before = descendants(warm)
    shell = kernel_with(warm)
    shell.text(
        """
import os, signal, subprocess, time
subprocess.Popen(["sleep", "60"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    for number in range(1, 65):
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
"""
    )
    assert settle(lambda: len(descendants(warm) - before) >= 4)  # supervisor, kernel, sleep, daemon
    shell.kernel.close()
    assert settle(lambda: descendants(warm) == before)


def test_the_sandbox_ends_with_its_parent_process():
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        parent = WarmParent("bwrap", Limits(), [], {}).ready()
        os.write(write, str(parent._process.pid).encode())
        time.sleep(60)
        os._exit(0)
    os.close(write)
    sandbox = psutil.Process(int(os.read(read, 100)))
    family = [sandbox, *sandbox.children(recursive=True)]
    assert len(family) >= 2
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    os.close(read)
    assert settle(lambda: not any(map(alive, family)))


# --- without sealing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bwrap", "none"])
def test_unsealed_kernels_work_say_so_and_leave_nothing(kind):
    parent = WarmParent(kind, Limits(memory_mb=1000, processes=20), [], {}, seal=False).ready()
    assert "cold kernel" in parent.describe() if kind == "bwrap" else "no sandbox" in parent.describe()
    shell = Shell(parent.fork(parent.limits))
    assert shell.value("6 * 7") == 42
    before = descendants(parent)
    shell.text("import subprocess\np = subprocess.Popen(['sleep', '60'], start_new_session=True)")
    assert len(descendants(parent) - before) == 1
    with pytest.raises(KernelLost, match="processes"):
        shell.run(THREADS)
    family = descendants(parent)
    parent.close()
    assert settle(lambda: not any(psutil.pid_exists(pid) for pid in family))
    assert kind == "bwrap" or not Path(parent.scratch).exists()
