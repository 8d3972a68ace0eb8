"""The warm parent: imports once, then forks one sealed kernel after another. Runs inside bubblewrap.

For each submission it forks a *supervisor*, which enters new user, process, mount, IPC and UTS namespaces and forks
the *kernel*, process 1 in there. The kernel mounts a /proc that shows its own processes only and a scratch folder of
limited size, gives up every capability and its open files, and only then meets student code. So it cannot name, signal
or trace the warm parent, the supervisor or another submission, and when it ends the system ends every descendant with
it. The supervisor counts memory and processes from outside, ends the kernel when it is told to or a limit is passed,
and reports.

Student code never runs in the warm parent or the supervisor. All of it is Linux's; without `seal` (no bubblewrap, or a
system that forbids nested namespaces) the kernel is an ordinary child, and the grader starts a warm parent for each.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import re
import resource
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from autograder.grading import kernel, seccomp

POLL_SECONDS = 0.1
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000
_NEWNET = 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 0x1000, 0x4000, 0x40000
_PDEATHSIG, _CAPBSET_DROP, _SUBREAPER, _NO_NEW_PRIVS = 1, 24, 36, 38
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *args: Any) -> None:
    if getattr(_libc, name)(*args) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _call("prctl", option, *map(ctypes.c_ulong, (value, 0, 0, 0)))


def die_with_parent() -> None:
    """Have the system kill this process when the thread that forked it ends."""
    _prctl(_PDEATHSIG, signal.SIGKILL)


# --- sealing ---------------------------------------------------------------------------------------------------------


def _enter_namespaces() -> None:
    """New namespaces for this process's children; user 1000 in there is the user of now."""
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", _NEWUSER | _NEWPID | _NEWNS | _NEWIPC | _NEWUTS | _NEWNET)  # sockets have names in the last
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"1000 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"1000 {gid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _seal(scratch: str, scratch_mb: int, writable: list[str]) -> None:
    """Own /proc, terminals and scratch folder, also behind the other writable paths; no namespaces, no capabilities."""
    _call("mount", b"none", b"/", None, _REC | _PRIVATE, None)
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    _call("mount", b"proc", b"/proc", b"proc", _RDONLY | _NOSUID | _NODEV | _NOEXEC, None)
    _call("mount", b"devpts", b"/dev/pts", b"devpts", _NOSUID | _NOEXEC, b"newinstance,ptmxmode=0666,mode=620,max=16")
    size = f"size={scratch_mb}m,nr_inodes={scratch_mb * 64},mode=755".encode()
    _call("mount", b"tmpfs", scratch.encode(), b"tmpfs", _NOSUID | _NODEV, size)
    for path in writable:
        os.mkdir(own := f"{scratch}/{os.path.basename(path)}")
        _call("mount", own.encode(), path.encode(), None, _BIND, None)
    _drop_capabilities()


def _drop_capabilities() -> None:
    for capability in range(64):
        if _libc.prctl(_CAPBSET_DROP, *map(ctypes.c_ulong, (capability, 0, 0, 0))) == -1:
            break  # the last one there is
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _call("capset", header, nothing)


def set_limits(limits: dict, sealed: bool) -> None:
    """Limits of the system, for each process. The supervisor's are for all processes together."""
    data = _status("self").get("VmData", 0) + limits["memory_mb"] * 2**20
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_DATA: data,  # so that an allocation fails as MemoryError before the supervisor has to kill
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_FSIZE: limits["scratch_mb"] * 2**20,
    }
    release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    if sealed and release >= (5, 14):  # since then counted for each user namespace, not for the user as a whole
        wanted[resource.RLIMIT_NPROC] = limits["processes"]
    for what, value in wanted.items():
        hard = resource.getrlimit(what)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS knows fewer
            resource.setrlimit(what, (value, value))


# --- watching --------------------------------------------------------------------------------------------------------


_FIELDS = re.compile(rb"^(RssAnon|RssShmem|VmPTE|VmData|Threads|State):\s+(\w+)", re.MULTILINE)


def _status(pid: str | int) -> dict[str, int]:
    """Numbers of /proc/<pid>/status: memory in bytes, threads; empty for a process that is gone or only waits to go."""
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            fields = dict(_FIELDS.findall(file.read()))
    except OSError:
        return {}
    if fields.pop(b"State", b"Z") in b"ZX":
        return {}
    return {name.decode(): int(value) * (1 if name == b"Threads" else 1024) for name, value in fields.items()}


def _size(status: dict[str, int]) -> int:
    """Memory of a process, the tables that describe it included; shared pages count in full."""
    return sum(status.get(name, 0) for name in ("RssAnon", "RssShmem", "VmPTE"))


def _private(pid: str | int) -> int:
    """Memory of a process with shared pages counted in parts: exact, and slow."""
    status = _status(pid)
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return _size(status)
    parts = [int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon", "Pss_Shmem"))]
    return sum(parts) + status.get("VmPTE", 0)


def _descendants(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *_descendants(child)]
    return found


class Watch:
    """What the processes of one submission use together, beyond what the kernel was born with."""

    def __init__(self, pid: int, base: int, limits: dict, sealed: bool):
        self.pid, self.base, self.limits, self.sealed = pid, base, limits, sealed
        self.peak = 0

    def check(self) -> str | None:
        """The name of the limit that is passed, or None."""
        if self.sealed:
            pids: list = [name for name in os.listdir("/proc") if name.isdigit()]  # the submission's own /proc
        else:
            pids = [self.pid, *_descendants(self.pid)]
        usage = [status for pid in pids if (status := _status(pid))]
        if sum(status["Threads"] for status in usage) > self.limits["processes"]:
            return "processes"
        sizes = [_size(status) for status in usage]
        memory = sum(max(size - self.base, 0) for size in sizes)  # at least: forked processes share some pages
        most = self.limits["memory_mb"] * 2**20
        if sum(sizes) - self.base > most:  # at most
            memory = sum(map(_private, pids))
        self.peak = max(self.peak, memory)
        return "memory" if memory > most else None


def _supervise(pid: int, control: socket.socket, watch: Watch) -> dict:
    """Wait for the kernel's end; bring it about when `control` says so or closes, or a limit is passed."""
    poller, limit = select.poll(), None
    poller.register(control, select.POLLIN)
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            poller.register(os.pidfd_open(pid), select.POLLIN)
    while True:
        for descriptor, _ in poller.poll(POLL_SECONDS * 1000):
            if descriptor == control.fileno():
                order = control.recv(1)
                watch.check()  # for the peak
                os.kill(pid, signal.SIGINT if order == b"I" else signal.SIGKILL)
                if not order:
                    poller.unregister(control)
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        if limit is None and (limit := watch.check()):
            os.kill(pid, signal.SIGKILL)
    if not watch.sealed:
        _sweep(pid)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "limit": limit,
        "cpu": usage.ru_utime + usage.ru_stime,
        "supervisor_cpu": _cpu(),
        "peak": watch.peak,
    }


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _sweep(group: int) -> None:
    """End what an unsealed kernel left behind: its process group, and orphans that came to this process."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
        left = _descendants(os.getpid())
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not left:
            return
        time.sleep(0.01)


# --- forking ---------------------------------------------------------------------------------------------------------


def _fork_kernel(shell: Any, order: dict, descriptors: list[int]) -> None:
    """In the supervisor: make the kernel, watch it, report. Does not return."""
    status = 1
    try:
        die_with_parent()
        data, control, out, err = descriptors
        sealed, limits = order["seal"], order["limits"]
        watched = socket.socket(fileno=control)
        try:
            if sealed:
                _enter_namespaces()
            else:
                _prctl(_SUBREAPER, 1)
            base = _size(_status("self"))
            gate, opened = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(gate)
                _become_kernel(shell, order, data, out, err, opened)
            os.close(opened)
            for descriptor in (data, out, err):
                os.close(descriptor)
            with os.fdopen(gate) as pipe:  # closed without a word once the kernel is sealed
                if trouble := pipe.read():
                    os.waitpid(pid, 0)
                    raise OSError(trouble)
            watched.sendall(b"+")
        except OSError as error:
            watched.sendall(b"-" + str(error).encode())
        else:
            report = _supervise(pid, watched, Watch(pid, base, limits, sealed))
            report["supervisor_cpu"] += order["parent_cpu"]
            watched.sendall(json.dumps(report).encode())
        status = 0
    finally:
        os._exit(status)


def _become_kernel(shell: Any, order: dict, data: int, out: int, err: int, opened: int) -> None:
    """In the kernel's process: seal it, then serve. Does not return."""
    status = 1
    try:
        try:
            die_with_parent()
            os.setsid()
            scratch = order["scratch"]
            if order["seal"]:
                _seal(scratch, order["limits"]["scratch_mb"], order["writable"])
            home = f"{scratch}/home"
            for path in (home, f"{scratch}/tmp"):
                os.makedirs(path, exist_ok=True)
            os.chdir(home)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.dup2(err, 2)
            low, high = sorted((data, opened))
            for first, last in ((3, low), (low + 1, high), (high + 1, 65536)):
                os.closerange(first, last)
            set_limits(order["limits"], order["seal"])
            _prctl(_NO_NEW_PRIVS, 1)
            seccomp.install()
        except OSError as error:
            os.write(opened, str(error).encode())
            os._exit(1)
        os.close(opened)
        os.environ["HOME"] = home
        sys.path.insert(0, "")
        kernel.Kernel(shell, socket.socket(fileno=data), order["limits"]).serve()
        status = 0
    finally:
        os._exit(status)


def _warm_up(imports: list[str]) -> list[str]:
    """Run import statements, and pay what torch costs at its first use. Returns what failed."""
    failed = []
    for statement in imports:
        try:
            exec(statement, {"__name__": "__main__"})
        except Exception as error:
            failed.append(f"{statement}: {error}")
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        x = torch.ones(4, 4, requires_grad=True)
        torch.nn.Linear(4, 4)((x @ x).softmax(-1)).sum().backward()
        torch.einsum("ij,jk->ik", x, x)
        str(x)
    return failed


def main(descriptor: int) -> None:
    """Serve the socket `descriptor`: messages with what to import, the last one empty; then one for each kernel."""
    sys.modules.pop("rfc3987_syntax", None)  # our own short cut is not the student's
    control = socket.socket(fileno=descriptor)
    setup = json.loads(control.recv(1 << 20))
    if setup["seal"] and os.geteuid() == 0:
        for path in Path("/proc").iterdir():  # bubblewrap's covers, as root: with them no new /proc may be mounted
            if not path.name.isdigit():
                _libc.umount2(str(path).encode(), 0)
    for name in ("HOME", "TMPDIR"):
        os.makedirs(os.environ[name], exist_ok=True)
    shell = kernel.make_shell()
    failed = _warm_up(setup["imports"])
    while more := json.loads(control.recv(1 << 20)):
        failed += _warm_up(more)
    kernel.rehearse(shell)
    threads = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 1
    gc.collect()
    gc.freeze()
    control.sendall(json.dumps({"threads": threads, "failed": failed}).encode())
    spent = _cpu()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 4)
        if not message:
            return
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        order = json.loads(message) | {"parent_cpu": _cpu() - spent}  # of the fork before this one
        spent = _cpu()
        if os.fork() == 0:
            control.close()
            _fork_kernel(shell, order, descriptors)
        for number in descriptors:
            os.close(number)


if __name__ == "__main__":
    main(int(sys.argv[1]))
