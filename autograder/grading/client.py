"""The trusted end of the sandbox: starts a warm parent, forks kernels from it, runs cells and collects what they print.

Everything that comes from the other side is bounded as it arrives, and checked, before anything else sees it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from autograder.grading import sandbox, wire
from autograder.grading.job import Limits, SandboxKind
from autograder.grading.outputs import Outputs
from autograder.grading.scratch import Scratch

START_SECONDS = 180  # for the warm parent's imports
GRACE_SECONDS = 1.0  # between asking a kernel to stop and ending it
CLOSE_SECONDS = 10.0  # for a kernel's processes to end
FLOOD_BYTES = 200 * 2**20  # printed by one cell: read and thrown away up to here, then the kernel is ended


class SandboxError(Exception):
    """The sandbox itself failed: no fault of the submission."""


class KernelLost(Exception):
    """The student's kernel is no more. Says in one sentence, for the student, why."""


@dataclass(frozen=True)
class Report:
    """What a kernel cost, as its supervisor counted."""

    cpu: float = 0.0  # of the kernel and all its descendants that were waited for
    supervisor_cpu: float = 0.0  # its own, and the warm parent's for a fork
    peak: int = 0  # bytes, beyond the warm parent
    limit: str | None = None  # the limit that ended it


_launchers: dict[int, ThreadPoolExecutor] = {}  # by process: threads do not survive a fork


def _lasting_thread(call: Callable, *args: Any, **kwargs: Any) -> Any:
    """`call(...)` in a thread that lasts as long as this process: a sandbox dies with the thread that started it."""
    if threading.current_thread() is threading.main_thread():
        return call(*args, **kwargs)
    launcher = _launchers.setdefault(os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="sandbox-launcher"))
    return launcher.submit(call, *args, **kwargs).result()


class WarmParent:
    """A warm parent process and the sandbox around it.

    It imports while its maker does something else: `load` gives it more to import, `ready` waits for it. Once it is
    ready, processes that were forked from its maker may fork kernels, too, several at a time.
    """

    def __init__(self, kind: SandboxKind, limits: Limits, imports: list[str], env: dict[str, str], seal: bool = True):
        """Start it. Raises UserError when there is no such sandbox here."""
        sandbox.require(kind)
        self.kind, self.limits, self.env, self.imports = kind, limits, env, list(imports)
        self.seal = seal and kind == "bwrap"
        self.why_not = ""
        self._folder: Scratch | None = None
        self._start()

    def _start(self) -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            argv = [sys.executable, "-P", "-m", "autograder.grading.warm", str(there.fileno())]
            if self.kind == "bwrap":
                plan = sandbox.plan(self.env, self.limits.scratch_mb)
                argv = plan.command(argv, sealed=self.seal)
                env, self.scratch, self._writable = {}, sandbox.SCRATCH, plan.writable
            else:
                self._folder = Scratch()
                self.scratch = self._folder.path
                places = {"HOME": f"{self.scratch}/home", "TMPDIR": f"{self.scratch}/tmp"}
                env, self._writable = sandbox.environment() | self.env | places, ()
                env["PYTHONPATH"] = os.pathsep.join(filter(None, map(str, sys.path)))
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
            self._process = _lasting_thread(
                subprocess.Popen,
                argv,
                env=env | ({"PATH": os.environ.get("PATH", "")} if self.kind == "bwrap" else {}),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=[there.fileno()],
                start_new_session=True,
            )
        self._control = here
        here.settimeout(START_SECONDS)
        self._send({"imports": self.imports, "seal": self.seal})

    def _send(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # `ready` says why
            self._control.send(json.dumps(message).encode())

    def load(self, imports: list[str]) -> None:
        """Have it run these import statements, too."""
        self.imports += imports
        if imports:
            self._send(imports)

    def ready(self) -> WarmParent:
        """Wait until kernels can be forked. Raises SandboxError when it does not come up."""
        self._wait()
        if self.seal and (reason := self._trial()):
            self.close()
            self.seal, self.why_not = False, reason
            self._start()
            self._wait()
        return self

    def _wait(self) -> None:
        self._send([])
        try:
            self.about = json.loads(self._control.recv(1 << 20))
        except (OSError, ValueError) as error:
            self._log.seek(0)
            said = self._log.read()[-2000:].decode(errors="replace").strip()
            self.close()
            why = said.splitlines()[-1] if said else error
            raise SandboxError(f"the sandboxed Python did not start: {why}") from None
        if self.seal and self.about["threads"] != 1:  # a process with threads cannot be sealed: rather less warm
            self.close()
            self.seal = bool(self.imports)
            self.why_not = "" if self.seal else "Python itself starts threads here"
            self.imports = []
            self._start()
            self._wait()

    def another(self) -> WarmParent:
        """One like it, started and not ready, whose kernels are not sealed either."""
        made = WarmParent(self.kind, self.limits, self.imports, self.env, seal=False)
        made.why_not = self.why_not
        return made

    def _trial(self) -> str:
        """Why a kernel cannot be sealed here; empty when it can."""
        try:
            self.fork(self.limits).close()
        except SandboxError as error:
            return str(error)
        return ""

    def alive(self) -> bool:
        return self._process.poll() is None

    def describe(self) -> str:
        return sandbox.describe(self.kind, self.seal, self.why_not or "no warm parent asked for")

    def fork(self, limits: Limits) -> Kernel:
        """A fresh kernel. Raises SandboxError."""
        pairs = [socket.socketpair() for _ in range(2)]
        (data, data_there), (control, control_there) = pairs
        (out, out_there), (err, err_there) = os.pipe(), os.pipe()
        theirs = [data_there.fileno(), control_there.fileno(), out_there, err_there]
        order = {"seal": self.seal, "scratch": self.scratch, "writable": self._writable}
        order["limits"] = dataclasses.asdict(limits)
        try:
            socket.send_fds(self._control, [json.dumps(order).encode()], theirs)
        except OSError as error:
            raise SandboxError(f"the warm parent has gone: {error}") from None
        finally:
            data_there.close()
            control_there.close()
            os.close(out_there)
            os.close(err_there)
        kernel = Kernel(data, control, out, err, limits)
        kernel.wait_sealed()
        return kernel

    def close(self) -> None:
        """End the warm parent and everything in its sandbox."""
        self._control.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()
        if self._folder:
            self._folder.close()


class Kernel:
    """One student's kernel. Not believed."""

    def __init__(self, data: socket.socket, control: socket.socket, out: int, err: int, limits: Limits):
        self.limits = limits
        self.lost: str | None = None
        self.report = Report()
        self.cells_cpu = self.calls_cpu = 0.0  # as the kernel says
        self.on_callback: Callable[[dict, list[memoryview]], tuple[dict, list]] | None = None
        self._data, self._control = data, control
        self._pipes = {out: "stdout", err: "stderr"}
        self._reader = wire.Reader(limits.message_mb * wire.MB)
        self._arrived: deque[tuple[dict, list[memoryview]]] = deque()  # not looked at yet
        self._flood = 0
        self._poller = select.poll()
        for descriptor in (data.fileno(), out, err):
            self._poller.register(descriptor, select.POLLIN)
        for pipe in self._pipes:
            os.set_blocking(pipe, False)

    def wait_sealed(self) -> None:
        """Wait until the kernel is sealed and serves. Raises SandboxError."""
        self._control.settimeout(START_SECONDS)
        try:
            answer = self._control.recv(1000)
        except OSError:
            answer = b""
        if answer[:1] != b"+":
            self._shut()
            raise SandboxError(answer[1:].decode(errors="replace") or "the kernel did not start")

    def request(self, message: dict, buffers: list, seconds: float, outputs: Outputs) -> tuple[dict, list, bool]:
        """Send a request; return the reply, its buffers, and whether the kernel had to be interrupted first.

        Raises KernelLost when no proper reply came: the kernel has been ended then.
        """
        if self.lost:
            raise KernelLost(self.lost)
        number = secrets.randbits(53)  # nobody can answer what was not asked yet
        deadline = time.monotonic() + seconds
        self._flood = 0
        try:
            self._data.settimeout(max(seconds, 0.001))
            wire.send(self._data, message | {"id": number}, buffers)
            reply, data = self._wait(number, deadline, outputs)
            if reply is not None:
                return reply, data, False
            self._order(b"I")
            reply, data = self._wait(number, time.monotonic() + GRACE_SECONDS, outputs)
            if reply is not None:
                return reply, data, True
            self._end(f"it was stopped after {seconds:.3g} s and did not react")
        except wire.ProtocolError as error:
            self._end(f"its kernel sent {error}")
        except TimeoutError:
            self._end("its kernel took no more messages")
        except (OSError, EOFError):
            self._end("")
        except BaseException:  # in the middle of a message: there is no way on
            self._end("its test was stopped")
            raise
        raise KernelLost(self.lost)

    def settle(self, seconds: float, outputs: Outputs) -> None:
        """Have the kernel answer once more after a cell, so that what else it sends belongs to that cell.

        After a forged reply the grader goes on while the forger still sends: that would be the end of the next cell,
        an honest one perhaps. Raises KernelLost.
        """
        self.request({"op": "settle"}, [], seconds, outputs)

    def _wait(self, number: int, deadline: float, outputs: Outputs) -> tuple[dict | None, list]:
        """The reply to request `number`, or None at the deadline. EOFError when the kernel hangs up."""
        while (left := deadline - time.monotonic()) > 0:
            if self._arrived:
                message, buffers = self._arrived.popleft()
                if "id" not in message:
                    self._event(message, buffers, outputs)
                    continue
                if message["id"] != number or type(message["id"]) is not int:
                    raise wire.ProtocolError("a reply to another request")
                for pipe in list(self._pipes):
                    self._drain(pipe, outputs)
                return message, buffers
            ready = {descriptor for descriptor, _ in self._poller.poll(left * 1000)}
            for pipe in [pipe for pipe in self._pipes if pipe in ready]:
                self._drain(pipe, outputs)
            if self._data.fileno() in ready:
                self._data.settimeout(0.1)
                self._arrived += self._reader.feed(self._receive())
        return None, []

    def _receive(self) -> bytes:
        try:
            data = self._data.recv(1 << 20)
        except TimeoutError:
            return b""
        if not data:
            raise EOFError
        self._count_flood(len(data))
        return data

    def _event(self, message: dict, buffers: list, outputs: Outputs) -> None:
        if message.get("event") != "callback":
            outputs.event(message)
        elif self.on_callback is not None:
            reply, data = self.on_callback(message, buffers)
            self._data.settimeout(self.limits.call_seconds)
            wire.send(self._data, reply, data)
        else:
            raise wire.ProtocolError("a callback that nobody gave")

    def _drain(self, pipe: int, outputs: Outputs) -> None:
        """Take what code below Python printed."""
        try:
            while data := os.read(pipe, 1 << 16):
                self._count_flood(len(data))
                outputs.stream(self._pipes[pipe], data.decode(errors="replace"))
            self._poller.unregister(pipe)  # at its end
            del self._pipes[pipe]
            os.close(pipe)
        except BlockingIOError:
            pass

    def _count_flood(self, size: int) -> None:
        self._flood += size
        if self._flood > FLOOD_BYTES + self.limits.message_mb * wire.MB:
            raise wire.ProtocolError("more output than any cell should")

    def _order(self, order: bytes) -> None:
        with contextlib.suppress(OSError):
            self._control.send(order)

    def _end(self, why: str) -> None:
        """End the kernel; say why it is lost: what the supervisor knows comes first."""
        self.close()
        known = {
            "memory": f"it used more than {self.limits.memory_mb} MB of memory",
            "processes": f"it started more than {self.limits.processes} processes and threads",
        }
        self.lost = known.get(self.report.limit or "") or why or f"its Python process ended{self._how()}"

    def _how(self) -> str:
        status = self._status
        if status is None or status == 0:
            return ""
        return f" by signal {signal.Signals(-status).name}" if status < 0 else f" with exit status {status}"

    _status: int | None = None

    def close(self) -> Report:
        """End the kernel and all its processes; return what they cost."""
        if self.lost is None:
            self.lost = "it was over"
            self._order(b"K")
            self._control.settimeout(CLOSE_SECONDS)
            try:
                said = json.loads(self._control.recv(1 << 16))
                self._status = said.pop("status")
                self.report = Report(**said)
            except (OSError, ValueError):
                pass
            self._shut()
        return self.report

    def _shut(self) -> None:
        self._data.close()
        self._control.close()
        for pipe in self._pipes:
            os.close(pipe)
        self._pipes.clear()


def own_cpu() -> float:
    """CPU seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
