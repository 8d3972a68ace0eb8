"""The filter of system calls: what it refuses, and that ordinary work goes on behind it."""

import subprocess
import sys

import pytest

from autograder.grading import seccomp

CHECK = """
import ctypes, errno, mmap, os, socket
from autograder.grading import seccomp
assert seccomp.install()

def refused(call):
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno]

"""


def behind_the_filter(source: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECK + source], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(autouse=True, scope="module")
def filtered_here() -> None:
    """Skip where the system has no filters; it is then that the grader has none either."""
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip("NOT TESTED: this system has no seccomp filters, or another architecture")


def test_memory_without_an_owner_is_refused():
    behind_the_filter("""
assert refused(lambda: os.memfd_create("x")) == "EPERM"
assert refused(lambda: mmap.mmap(-1, 2**20)) == "ENOMEM"
assert refused(lambda: mmap.mmap(-1, 2**33)) == "ENOMEM"
libc = ctypes.CDLL(None, use_errno=True)
assert libc.shmget(0, ctypes.c_size_t(4096), 0o600) == -1 and ctypes.get_errno() == errno.EPERM
""")


def test_other_memory_is_not():
    behind_the_filter("""
import tempfile
with tempfile.TemporaryFile() as file:
    file.truncate(2**21)
    mmap.mmap(file.fileno(), 2**21)[0]
mmap.mmap(-1, 2**16)[0]
mmap.mmap(-1, 2**24, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)[0]
""")


def test_families_outside_a_network_namespace_are_refused():
    behind_the_filter("""
for family, kind in ((socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_NETLINK, 3)):
    socket.socket(family, kind).close()
for family in (socket.AF_VSOCK, socket.AF_PACKET, socket.AF_ALG, 31, 42):
    assert refused(lambda: socket.socket(family, socket.SOCK_RAW)) == "EAFNOSUPPORT"
socket.socketpair()
""")


def test_torch_and_processes_work_behind_it():
    behind_the_filter("""
import multiprocessing, subprocess, threading, torch
from torch.utils.data import DataLoader, TensorDataset
assert torch.ones(300, 300).matmul(torch.ones(300, 300)).sum() == 300**3
assert torch.ones(10**6).share_memory_().is_shared()
assert sum(len(batch[0]) for batch in DataLoader(TensorDataset(torch.ones(40, 3)), num_workers=2, batch_size=10)) == 40
assert multiprocessing.get_context("fork").Pool(2).map(abs, [-1, 2]) == [1, 2]
assert subprocess.run(["echo", "hi"], capture_output=True).stdout == b"hi\\n"
thread = threading.Thread(target=print)
thread.start()
thread.join()
""")


@pytest.mark.parametrize("machine", seccomp._MACHINES)
def test_every_jump_lands_inside_and_every_way_ends(machine: str):
    """No instruction may be left that the kernel would refuse the program for."""
    code = seccomp.program(machine)
    for at, (kind, true, false, _) in enumerate(code):
        if kind & 7 == 5:  # a jump
            assert at + 1 + max(true, false) < len(code)
    assert code[-1][0] == seccomp._RETURN
    assert len(seccomp._MACHINES[machine][3]) == len(seccomp._REFUSED)
