"""Student objects as the examiner holds them: handles, and the line over which they are asked.

What a handle gives is plain data by value, checked by `wire`, or another handle. Exceptions of student code arrive as
their names and texts, and are raised here as a `RemoteError`.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import itertools
import operator
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

from autograder.grading import wire
from autograder.grading.client import Kernel, KernelLost
from autograder.grading.job import Limits
from autograder.grading.outputs import Outputs

_SAFE_DUNDERS = {"__name__", "__doc__", "__qualname__", "__module__"}


class OutOfTime(BaseException):
    """A test cell used up its time. Not an Exception, so that no test swallows it."""


class RemoteError(Exception):
    """An exception of student code. Instances are also of the built-in class that the original was one of."""

    remote_name = "Exception"
    remote_traceback = ""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def _render_traceback_(self) -> list[str]:
        return [*self.remote_traceback.rstrip().splitlines(), f"{self.remote_name}: {self}"]


class SubmissionLost(RemoteError):
    """The student's kernel ended, or did not answer in time, while a test waited for it."""

    remote_name = "SubmissionLost"


@functools.cache
def _error_class(builtin: str) -> type[RemoteError]:
    base = getattr(builtins, builtin, None)
    if builtin in ("StopIteration", "StopAsyncIteration"):
        base = RuntimeError  # as from a generator: else it would end a loop of the test, such as `all(map(f, cases))`
    if isinstance(base, type) and issubclass(base, Exception) and base is not Exception:
        with contextlib.suppress(TypeError):  # some cannot be combined with another class
            made = type(builtin, (RemoteError, base), {})
            str(made("trial"))
            return made
    return RemoteError


def _remote_error(described: Any) -> RemoteError:
    """The local exception for what the kernel says about one of its own."""
    try:
        name, lineage, message, text = described
        known = [_error_class(base) for base in lineage if isinstance(base, str)]
        error = next((made for made in known if made is not RemoteError), RemoteError)(str(message)[:20_000])
        error.remote_name, error.remote_traceback = str(name)[:200], str(text)[:20_000]
        return error
    except (TypeError, ValueError) as wrong:
        raise wire.ProtocolError("an error that is none") from wrong


# --- handles ---------------------------------------------------------------------------------------------------------


class Handle:
    """An object that lives in the student's kernel.

    Calls, attributes, items, length, iteration, `str` and `isinstance` are asked of it there. It takes part in no
    arithmetic and equals no plain data, so an object that claims to be any number is none; two handles are compared by
    the student's own `==`.
    """

    __slots__ = ("__weakref__", "_handle")

    def __init__(self, line: Line, number: int, lineage: list[str], is_class: bool, path: str = ""):
        """`path` is the name by which the examiner asked for it, such as "Attention.forward": not the object's own."""
        object.__setattr__(self, "_handle", (line, number, lineage, is_class, path))

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            line, number, *_ = object.__getattribute__(self, "_handle")
            line.forget.append(number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _line(self).call(self, args, kwargs)

    def __getattribute__(self, name: str) -> Any:
        if name in ("__doc__", "__module__"):  # this class has its own
            return _line(self).do("getattr", self, name)
        return object.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__") and name not in _SAFE_DUNDERS:
            raise AttributeError(name)
        value = _line(self).do("getattr", self, name)
        if is_handle(value) and (path := path_of(self)):
            _rename(value, f"{path}.{name}")
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        _line(self).do("setattr", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return _line(self).do("item", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _line(self).do("set item", self, key, value)

    def __len__(self) -> int:
        return _expect(int, _line(self).do("len", self))

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator:
        line = _line(self)
        return line.iterate(line.do("iter", self, keep=True))

    def __str__(self) -> str:
        return _expect(str, _line(self).do("str", self))

    def __repr__(self) -> str:
        return _expect(str, _line(self).do("repr", self))

    def __dir__(self) -> list[str]:
        return _expect(list, _line(self).do("dir", self))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Handle) and _line(self).do("eq", self, other) is True

    __hash__ = object.__hash__

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Handle) and _line(self).do("isinstance", value, self) is True

    def __subclasscheck__(self, value: Any) -> bool:
        return isinstance(value, Handle) and _line(self).do("issubclass", value, self) is True

    @property
    def __class__(self) -> type:  # type: ignore[override]
        """`isinstance(handle, nn.Module)` and `isinstance(handle, type)` hold where they do on the student's side."""
        _, _, lineage, is_class, _ = object.__getattribute__(self, "_handle")
        if is_class:
            return type
        torch = sys.modules.get("torch")
        return torch.nn.Module if torch and "torch.nn.modules.module.Module" in lineage else Handle


def _line(handle: Handle) -> Line:
    return object.__getattribute__(handle, "_handle")[0]


def is_handle(value: Any) -> bool:
    return type(value) is Handle


def path_of(handle: Handle) -> str:
    """The name by which the examiner got it; empty for what a call returned."""
    return object.__getattribute__(handle, "_handle")[4]


def _rename(handle: Handle, path: str) -> None:
    object.__setattr__(handle, "_handle", (*object.__getattribute__(handle, "_handle")[:4], path))


def _expect(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"the submission gave a {type(value).__name__} where only {kind.__name__} will do")
    return value


class Line:
    """The examiner's line to one kernel, with handles at its end. A kernel that is lost takes its handles along."""

    def __init__(self, kernel: Kernel, limits: Limits):
        self.kernel, self.limits = kernel, limits
        self.calls_cpu = 0.0
        self.forget: list[int] = []  # handles that nobody holds any more
        self.begin(Outputs(limits), 0.0)
        self._callbacks: dict[int, Callable] = {}
        self._numbers = itertools.count(1)
        kernel.on_callback = self._callback

    def begin(self, outputs: Outputs, deadline: float) -> None:
        """A test cell starts: what student code prints goes to its outputs, and all is over at `deadline`."""
        self.outputs, self.deadline = outputs, deadline

    # --- requests

    def names(self, names: list[str]) -> dict[str, Any]:
        """What the student's notebook defines of these names."""
        reply, buffers = self._request({"op": "names", "names": names}, [])
        values, decoder = reply.get("values"), wire.Decoder(buffers, self._revive)
        if not isinstance(values, dict):
            raise wire.ProtocolError("no values")
        found = {name: decoder.value(values[name]) for name in names if name in values}
        for name, value in found.items():
            if is_handle(value):
                _rename(value, name)
        return found

    def define(self, values: dict[str, Any]) -> None:
        """Define names in the student's notebook."""
        encoder = wire.Encoder(self._keep)
        tree = encoder.tree(values)
        self._request({"op": "define", "values": tree}, encoder.buffers)

    def do(self, what: str, *args: Any, keep: bool = False) -> Any:
        """One operation on handles and plain data; with `keep` the result is a handle whatever it is."""
        encoder = wire.Encoder(self._keep)
        message = {"op": "do", "what": what, "args": encoder.tree(args), "keep": keep}
        reply, buffers = self._request(message, encoder.buffers)
        return self._value(reply, buffers)

    def call(self, function: Any, args: tuple, kwargs: dict, keep: bool = False) -> Any:
        """`function(*args, **kwargs)` on the student's side."""
        return self.do("call", function, list(args), kwargs, keep=keep)

    def call_in_place(self, function: Handle, args: tuple, kwargs: dict) -> Any:
        """The same, and what it did to its arguments is done to ours: for a call whose result nobody looks at."""
        encoder = wire.Encoder(self._keep)
        message = {"op": "do", "what": "call in place", "args": encoder.tree((function, list(args), kwargs))}
        reply, buffers = self._request(message, encoder.buffers)
        decoder = wire.Decoder(buffers, self._revive)
        after = decoder.value(reply.get("args"))
        with contextlib.suppress(TypeError, ValueError, KeyError, RuntimeError):
            for ours, theirs in [*zip(args, after[0], strict=True), *((kwargs[key], after[1][key]) for key in kwargs)]:
                _assign(ours, theirs)
        return decoder.value(reply.get("value"))

    def iterate(self, iterator: Handle) -> Iterator:
        """The items of an iterator on the student's side, one at a time."""
        while True:
            reply, buffers = self._request({"op": "do", "what": "next", "args": ["t", self._keep(iterator)]}, [])
            if reply.get("stop") is True:
                return
            yield self._value(reply, buffers)

    def _request(self, message: dict, buffers: list) -> tuple[dict, list]:
        seconds = min(self.limits.call_seconds, self.deadline - time.monotonic())
        if seconds <= 0:
            raise OutOfTime
        forget, self.forget = self.forget, []
        try:
            reply, data, interrupted = self.kernel.request(message | {"forget": forget}, buffers, seconds, self.outputs)
        except KernelLost as lost:
            raise SubmissionLost(f"the submission's code was ended: {lost}") from None
        cpu = reply.get("cpu", 0.0)
        self.calls_cpu += cpu if type(cpu) is float and 0 <= cpu < 1e6 else 0.0
        if interrupted:
            if seconds < self.limits.call_seconds:
                raise OutOfTime
            raise SubmissionLost(f"a call of the submission's code was stopped after {seconds:.3g} s")
        if "error" in reply:
            raise _remote_error(reply["error"]) from None
        return reply, data

    def _value(self, reply: dict, buffers: list) -> Any:
        return wire.Decoder(buffers, self._revive).value(reply.get("value"))

    # --- what is not plain data

    def _revive(self, tree: list) -> Handle:
        tag, number, lineage, is_class = tree
        if tag != "h" or type(number) is not int or not all(type(base) is str for base in lineage):
            raise wire.ProtocolError("an unknown kind of value")
        return Handle(self, number, lineage, is_class is True)

    def _keep(self, value: Any) -> list:
        if is_handle(value):
            line, number, *_ = object.__getattribute__(value, "_handle")
            if line is not self:
                raise SubmissionLost(f"an object of the submission is gone with its process: {line.kernel.lost}")
            return ["h", number]
        if reference := _reference(value):
            return ["ref", *reference]
        if callable(value) and not isinstance(value, type):
            number = next(self._numbers)
            self._callbacks[number] = value
            return ["callback", number]
        raise TypeError(
            f"a test cannot hand a {type(value).__name__} to the submission's code: use plain data, or place(...)"
        )

    def _callback(self, message: dict, buffers: list) -> tuple[dict, list]:
        """The student's code calls a function that a test gave it."""
        function = self._callbacks.get(message.get("number")) if type(message.get("number")) is int else None
        if function is None:
            raise wire.ProtocolError("a callback that nobody gave")
        args, kwargs = wire.Decoder(buffers, self._revive).value(message.get("args"))
        encoder = wire.Encoder(self._keep)
        try:
            return {"value": encoder.tree(function(*args, **kwargs))}, encoder.buffers
        except Exception as error:
            return {"error": [type(error).__name__, str(error)]}, []


def _reference(value: Any) -> tuple[str, str] | None:
    """Where both sides can import `value` from, for modules, classes and functions of installed packages."""
    if isinstance(value, types.ModuleType):
        return value.__name__, ""
    module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if module is None and isinstance(getattr(value, "__self__", None), types.ModuleType):
        module = value.__self__.__name__
    if type(module) is str and type(path) is str and module in sys.modules and module != "__main__":
        with contextlib.suppress(AttributeError):
            if operator.attrgetter(path)(sys.modules[module]) is value:
                return module, path
    name = getattr(value, "__name__", None)  # such as torch.relu: made in C, without a module
    for module in ("torch", "torch.nn.functional", "numpy"):
        if type(name) is str and getattr(sys.modules.get(module), name, None) is value:
            return module, name
    return None


def _assign(ours: Any, theirs: Any) -> None:
    """Make a mutable argument look as the student's code left it."""
    if type(ours) is not type(theirs):
        return
    if isinstance(ours, list):
        ours[:] = theirs
    elif isinstance(ours, (dict, set)):
        ours.clear()
        ours.update(theirs)
    elif "torch" in sys.modules and isinstance(ours, sys.modules["torch"].Tensor):
        ours.detach().copy_(theirs)
    elif "numpy" in sys.modules and isinstance(ours, sys.modules["numpy"].ndarray) and ours.shape == theirs.shape:
        ours[...] = theirs
