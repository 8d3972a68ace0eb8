"""A student's kernel: IPython without ZMQ, in a process forked from the warm parent, at the end of one socket.

It runs cells and sends their outputs as nbformat has them; it looks up names and calls the student's objects for the
examiner. It shares its process with student code, so nothing that it says is believed: caps and checks here only save
work, those that count are on the trusted side.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import inspect
import io
import operator
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from autograder.grading import wire

_FLUSH_BYTES = 8192
_FLUSH_SECONDS = 0.05
_ATTRIBUTES = {"getattr": getattr, "setattr": setattr, "str": str, "repr": repr, "len": len, "eq": operator.eq}
_OPERATIONS = _ATTRIBUTES | {
    "item": operator.getitem,
    "set item": operator.setitem,
    "iter": iter,
    "isinstance": isinstance,
    "issubclass": issubclass,
    "dir": dir,
}


def make_shell() -> Any:
    """The InteractiveShell that all kernels of this warm parent start from."""
    from IPython.core.compilerop import CachingCompiler
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from pygments.lexer import words
    from traitlets import Type
    from traitlets.config import Config

    class Hook(DisplayHook):
        def write_output_prompt(self) -> None:
            pass

        def write_format_data(self, format_dict: dict, md_dict: dict | None = None) -> None:
            count = self.shell.execution_count
            self.shell.emit("execute_result", data=format_dict, metadata=md_dict or {}, execution_count=count)

        def finish_displayhook(self) -> None:
            self._is_active = False

    class Publisher(DisplayPublisher):
        def publish(self, data, metadata=None, *, transient=None, update=False, **_) -> None:
            fields = {"display_id": (transient or {}).get("display_id"), "update": bool(update)}
            self.shell.emit("display_data", data=data, metadata=metadata or {}, **fields)

        def clear_output(self, wait: bool = False) -> None:
            self.shell.emit("clear", wait=bool(wait))

    class Compiler(CachingCompiler):
        def cache(self, *args, **kwargs) -> str:
            name = super().cache(*args, **kwargs)
            for path in (name, os.path.abspath(name)):  # else each traceback looks for it in every module there is
                inspect.modulesbyfile[path] = "__main__"
            return name

    class Shell(InteractiveShell):
        compiler_class = Type(Compiler)
        displayhook_class = Type(Hook)
        display_pub_class = Type(Publisher)
        emit = staticmethod(lambda kind, **fields: None)  # replaced by the kernel

        def _showtraceback(self, etype: type, evalue: BaseException, stb: list[str]) -> None:
            self.emit("error", ename=etype.__name__, evalue=_text(evalue), traceback=list(map(str, stb)))

        def _format_exception_for_storage(self, *_, **__) -> None:
            """IPython would format each traceback once more, for a history that nobody reads."""

        def init_io(self) -> None:
            pass

    words.get = functools.cache(words.get)  # a traceback makes a lexer for each frame
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "Linux"
    shell = Shell.instance(config=config)
    shell.xmode = "Context"
    return shell


def rehearse(shell: Any) -> None:
    """Run a few cells for nothing, so that IPython's first-use costs are paid before the fork."""
    for source in ("import math\nmath.pi", "def f():\n    return 1 / 0\nf()"):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            shell.run_cell(source, store_history=False)
    shell.reset(new_session=True)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as another:  # a student's __str__
        return f"<no text: {type(another).__name__}>"


class _Stream(io.TextIOBase):
    """stdout or stderr of Python code: sent in pieces, soon, in order with the other outputs."""

    encoding, errors = "utf-8", "replace"

    def __init__(self, kernel: Kernel, name: str, descriptor: int):
        self._kernel, self.name, self._descriptor = kernel, name, descriptor
        self._parts: list[str] = []
        self._size, self._sent, self._last = 0, 0, 0.0

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._kernel.flush(but=self)
        room = self._kernel.limits["output_bytes"] + 1 - self._sent - self._size  # one more, so that the cut is seen
        if room > 0:
            self._parts.append(text[:room])
            self._size += min(len(text), room)
            if self._size > _FLUSH_BYTES or time.monotonic() - self._last > _FLUSH_SECONDS:
                self.flush()
        return len(text)

    def flush(self) -> None:
        if self._parts and os.getpid() == self._kernel.pid:
            text, self._parts = "".join(self._parts), []
            self._sent, self._size, self._last = self._sent + self._size, 0, time.monotonic()
            self._kernel.send({"event": "stream", "name": self.name, "text": text})

    def start_cell(self) -> None:
        self._sent, self._last = 0, 0.0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor


class Kernel:
    """Serves requests until the socket closes. A request has an id, the one reply to it has the same."""

    def __init__(self, shell: Any, sock: socket.socket, limits: dict):
        self.shell, self.limits, self.pid = shell, limits, os.getpid()
        self._sock = sock
        self._lock = threading.RLock()
        self._objects: dict[int, Any] = {}
        self._next = 0
        self._reader = wire.Reader(limits["message_mb"] * wire.MB)
        self._waiting: list = []
        self._busy = False  # in student code, where an interrupt belongs
        self._streams = [_Stream(self, "stdout", 1), _Stream(self, "stderr", 2)]

    def serve(self) -> None:
        """Answer requests, one after another."""
        sys.stdout, sys.stderr = self._streams
        self.shell.emit = self._emit
        signal.signal(signal.SIGINT, self._interrupt)
        while request := self._receive():
            self._serve(*request)

    def _serve(self, message: dict, buffers: list) -> None:
        encoder, before = wire.Encoder(self._keep), _cpu()
        try:
            self._busy = True
            reply = self._answer(message, wire.Decoder(buffers, self._revive), encoder)
            self._busy = False
        except BaseException as error:  # whatever student code raises, SystemExit and KeyboardInterrupt too
            self._busy = False
            reply, encoder.buffers = {"error": _describe(error)}, []
        self.flush()
        about = {"id": message["id"], "cpu": _cpu() - before}
        try:
            self.send(reply | about, encoder.buffers)
        except ValueError as error:
            self.send({"error": _describe(error)} | about)

    def send(self, message: dict, buffers: list = ()) -> None:
        with self._lock:
            busy, self._busy = self._busy, False  # half a message would be the kernel's end
            wire.send(self._sock, message, buffers)
            self._busy = busy

    def _interrupt(self, *_: Any) -> None:
        __tracebackhide__ = True
        if self._busy:
            raise KeyboardInterrupt

    def _receive(self) -> tuple | None:
        while not self._waiting:
            data = self._sock.recv(1 << 20)
            if not data:
                return None
            self._waiting += self._reader.feed(data)
        return self._waiting.pop(0)

    def flush(self, but: _Stream | None = None) -> None:
        """Send what was printed, so that outputs stay in order."""
        for stream in self._streams:
            if stream is not but:
                stream.flush()

    def _emit(self, kind: str, **fields: Any) -> None:
        if os.getpid() == self.pid:
            self.flush()
            data = fields.get("data")
            if data is not None:
                fields["data"] = _jsonable(data)
                fields["metadata"] = _jsonable(fields["metadata"])
            self.send({"event": kind, **fields})

    # --- requests

    def _answer(self, message: dict, decoder: wire.Decoder, encoder: wire.Encoder) -> dict:
        for stream in self._streams:
            stream.start_cell()
        for number in message.get("forget", ()):
            self._objects.pop(number, None)
        match message["op"]:
            case "cell":
                return self._cell(message["source"], message["count"])
            case "settle":
                return {}
            case "files":
                for name, content in decoder.value(message["files"]).items():
                    path = Path(name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                return {}
            case "names":
                found = self.shell.user_ns
                return {"values": {name: encoder.tree(found[name]) for name in message["names"] if name in found}}
            case "define":
                self.shell.user_ns.update(decoder.value(message["values"]))
                return {}
            case "do":
                return self._do(message["what"], message.get("keep"), decoder.value(message["args"]), encoder)
        raise ValueError(message["op"])

    def _cell(self, source: str, count: int) -> dict:
        self.shell.execution_count = count
        return {"ok": self.shell.run_cell(source, store_history=True).success}

    def _do(self, what: str, keep: bool, args: tuple, encoder: wire.Encoder) -> dict:
        if what == "next":
            try:
                value = next(args[0])
            except StopIteration:
                return {"stop": True}
        elif what == "call":
            function, args, kwargs = args
            value = function(*args, **kwargs)
        elif what == "seed":
            module, name, *rest = args
            if module.partition(".")[0] in sys.modules:
                getattr(importlib.import_module(module), name)(*rest)
            return {"value": None}
        elif what == "call in place":  # the caller wants to see what became of the arguments
            function, args, kwargs = args
            value = function(*args, **kwargs)
            return {"value": encoder.tree(value), "args": encoder.tree([list(args), kwargs])}
        else:
            value = _OPERATIONS[what](*args)
        return {"value": self._keep(value) if keep else encoder.tree(value)}

    # --- objects that stay here

    def _keep(self, value: Any) -> list:
        self._next += 1
        self._objects[self._next] = value
        kind = value if isinstance(value, type) else type(value)
        lineage = [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__][:20]
        return ["h", self._next, lineage, isinstance(value, type)]

    def _revive(self, tree: list) -> Any:
        tag, *rest = tree
        if tag == "h":
            return self._objects[rest[0]]
        if tag == "ref":
            module, path = importlib.import_module(rest[0]), rest[1]
            return operator.attrgetter(path)(module) if path else module
        if tag == "callback":
            return self._callback(rest[0])
        raise ValueError(tag)

    def _callback(self, number: int) -> Any:
        """A function of the test cell that was handed to student code: each call goes back to the examiner."""

        def callback(*args: Any, **kwargs: Any) -> Any:
            encoder = wire.Encoder(self._keep)
            tree = encoder.tree((args, kwargs))
            self.flush()
            self.send({"event": "callback", "number": number, "args": tree}, encoder.buffers)
            while True:
                message, buffers = self._receive() or sys.exit("the examiner has gone")
                if "op" not in message:
                    break
                self._serve(message, buffers)  # the function of the test calls back
                self._busy = True
            if "error" in message:
                name, text = message["error"]
                raise getattr(builtins, name, RuntimeError)(text)
            return wire.Decoder(buffers, self._revive).value(message["value"])

        return callback


def _cpu() -> float:
    mine, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime


def _describe(error: BaseException) -> list:
    """[class name, built-in classes that it is one of, message, traceback]"""
    with contextlib.suppress(BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        mine = [frame for frame in frames if frame.filename != __file__]
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(mine)] if mine else []
        builtin = [base.__name__ for base in type(error).__mro__ if base.__module__ == "builtins"]
        return [type(error).__name__, builtin, _text(error)[:20_000], "".join(lines)[-20_000:]]
    return ["Exception", [], "<an exception that cannot be shown>", ""]


def _jsonable(data: Any) -> Any:
    """Display data as nbformat keeps it: bytes in base64, the rest as JSON can say it."""
    import base64

    if isinstance(data, dict):
        return {str(key): _jsonable(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_jsonable(item) for item in data]
    if isinstance(data, bytes):
        return base64.b64encode(data).decode()
    return data if data is None or isinstance(data, (bool, int, float, str)) else str(data)
