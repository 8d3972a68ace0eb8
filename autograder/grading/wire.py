"""Messages between the examiner and the student's side: JSON and raw bytes, bounded, never pickled.

A frame is a 12-byte prefix (header length, body length), a header `[message, [buffer lengths]]` in JSON, and a body:
the buffers one after another. Values inside a message are *trees*: None, bool, float, str and 64-bit ints stand for
themselves, everything else is a list that starts with a tag. Tensors and arrays lie in the buffers, with dtype and
shape in the tree.

The reader believes nothing: lengths, nesting, counts, dtypes and shapes are checked before they are used, and anything
odd is a `ProtocolError`. Nothing that arrives can name code to run; what is not plain data is a number that only its
owner can look up.

This module runs on both sides. It imports numpy and torch only once a value needs them.
"""

from __future__ import annotations

import collections
import json
import math
import re
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

MB = 2**20
MAX_HEADER = 32 * MB
MAX_NODES = 2_000_000  # elements in one value
MAX_DEPTH = 100
MAX_BUFFERS = 100_000
MAX_FIELDS = 200  # of a named tuple
MAX_INT_BITS = 1_000_000

_PREFIX = struct.Struct("!IQ")
_SMALL_INT = 2**63
_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_TENSOR_DTYPES = _INTEGERS | {"bool", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"}
_ARRAY_DTYPE = re.compile(r"[<>|=]?[?biufcSU]\d{0,6}|[<>|=]?[mM]8\[\d{0,6}(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\]")
_DICTS = {dict: "d", collections.OrderedDict: "od", collections.Counter: "d", collections.defaultdict: "d"}
_SEQUENCES = {list: "l", tuple: "t", set: "s", frozenset: "f"}
_MAKE = {"l": list, "t": tuple, "s": set, "f": frozenset}

Keep = Callable[[Any], list]
Revive = Callable[[list], Any]


class ProtocolError(Exception):
    """The other side sent something that no honest side sends."""


def _refuse(what: Any) -> Any:
    raise TypeError(f"{type(what).__name__} is not plain data")


# --- values to trees -------------------------------------------------------------------------------------------------


class Encoder:
    """Turns values into trees, collecting the raw bytes. `keep` makes a tree for whatever is not plain data."""

    def __init__(self, keep: Keep = _refuse):
        self.keep = keep
        self.buffers: list[bytes | memoryview] = []
        self._nodes = 0

    def tree(self, value: Any, depth: int = 0) -> Any:
        """The tree of `value`. Raises ValueError when it is too deep, too long, or contains itself."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise ValueError(f"a value of more than {MAX_NODES} elements or {MAX_DEPTH} levels cannot be sent")
        kind = type(value)
        if value is None or kind in (bool, float, str):
            return value
        if kind is int:
            return value if -_SMALL_INT <= value < _SMALL_INT else ["i", hex(value)]
        if kind in _SEQUENCES:
            return [_SEQUENCES[kind], *(self.tree(item, depth + 1) for item in value)]
        if kind in _DICTS:
            pairs = ([self.tree(k, depth + 1), self.tree(v, depth + 1)] for k, v in dict.items(value))
            return [_DICTS[kind], *pairs]
        if kind is complex:
            return ["c", value.real, value.imag]
        if kind in (bytes, bytearray):
            return ["b", self._store(bytes(value))]
        if kind in (range, slice):
            parts = (value.start, value.stop, value.step)
            return [kind.__name__, *(self.tree(part, depth + 1) for part in parts)]
        if value is Ellipsis:
            return ["..."]
        tree = self._torch(value, kind) or self._numpy(value, kind) or self._namedtuple(value, kind, depth)
        return tree if tree is not None else self.keep(value)

    def _store(self, data: bytes | memoryview) -> int:
        self.buffers.append(data)
        return len(self.buffers) - 1

    def _torch(self, value: Any, kind: type) -> list | None:
        torch = sys.modules.get("torch")
        if torch is None or not hasattr(torch, "Tensor"):
            return None
        if isinstance(value, torch.Tensor):
            with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
                if value.layout != torch.strided or value.is_meta or value.is_quantized:
                    return None
                plain = value.detach().as_subclass(torch.Tensor)
                dtype = str(plain.dtype).removeprefix("torch.")
                if dtype not in _TENSOR_DTYPES:
                    return None
                dense = plain.cpu().resolve_conj().resolve_neg().contiguous()
                flat = dense.as_strided((dense.numel(),), (1,))  # where an axis has size 1, any stride is contiguous
                data = memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else b""
                return ["T", dtype, list(plain.shape), self._store(data)]
        if kind is torch.Size:
            return ["size", *map(int, value)]
        if kind is torch.dtype:
            return ["dtype", str(value).removeprefix("torch.")]
        if kind is torch.device:
            return ["device", str(value)]
        return None

    def _numpy(self, value: Any, kind: type) -> list | None:
        numpy = sys.modules.get("numpy")
        if numpy is None or not hasattr(numpy, "ndarray") or not isinstance(value, (numpy.ndarray, numpy.generic)):
            return None
        plain = numpy.array(value, subok=False, order="C")
        if not _ARRAY_DTYPE.fullmatch(plain.dtype.str):
            return None
        tag = "n" if isinstance(value, numpy.generic) else "A"
        return [tag, plain.dtype.str, list(plain.shape), self._store(plain.tobytes())]

    def _namedtuple(self, value: Any, kind: type, depth: int) -> list | None:
        """collections.namedtuple and what torch returns from `max` or `topk`: a tuple whose places have names."""
        if not issubclass(kind, tuple):
            return None
        fields = getattr(kind, "_fields", None)
        if fields is None and hasattr(kind, "n_sequence_fields"):
            places = {name: None for name in vars(kind) if name.isidentifier() and not name.startswith(("_", "n_"))}
            fields = tuple(places) if len(places) == len(value) else None
        if type(fields) is not tuple or not len(fields) == len(value) <= MAX_FIELDS:
            return None
        if not all(type(name) is str for name in fields):
            return None
        return ["nt", kind.__name__, list(fields), *(self.tree(item, depth + 1) for item in tuple.__iter__(value))]


# --- trees to values -------------------------------------------------------------------------------------------------


class Decoder:
    """Turns the trees of one message into values. `revive` is asked about the tags of what is not plain data."""

    def __init__(self, buffers: list[memoryview], revive: Revive = _refuse):
        self.buffers = buffers
        self.revive = revive
        self._nodes = 0

    def value(self, tree: Any, depth: int = 0) -> Any:
        """The value of `tree`, or ProtocolError."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise ProtocolError("too deep or too many elements")
        if not isinstance(tree, list):
            if isinstance(tree, dict):
                raise ProtocolError("a JSON object inside a value")
            return tree
        try:
            return self._tagged(tree, depth)
        except ProtocolError:
            raise
        except Exception as error:
            raise ProtocolError(f"malformed value: {type(error).__name__}") from error

    def _tagged(self, tree: list, depth: int) -> Any:
        tag, *rest = tree
        if tag in _MAKE:
            return _MAKE[tag](self.value(item, depth + 1) for item in rest)
        if tag in ("d", "od"):
            made = {} if tag == "d" else collections.OrderedDict()
            for key, item in rest:  # one by one: keys made to collide take long, and only here can a time-out come in
                made[self.value(key, depth + 1)] = self.value(item, depth + 1)
            return made
        if tag == "i":
            (digits,) = rest
            if len(digits) > MAX_INT_BITS // 4:
                raise ProtocolError("an integer of more than a million bits")
            return int(digits, 16)
        if tag == "c":
            return complex(*map(float, rest))
        if tag == "b":
            return bytes(self._buffer(*rest))
        if tag in ("range", "slice"):
            parts = [self.value(part, depth + 1) for part in rest]
            made = range(*parts) if tag == "range" else slice(*parts)
            if tag == "range" and len(made) > MAX_NODES:  # `sum` of it would hear no time-out
                raise ProtocolError("a range of more than two million numbers")
            return made
        if tag == "...":
            return Ellipsis
        if tag in ("A", "n"):
            return self._array(*rest, scalar=tag == "n")
        if tag == "T":
            return self._tensor(*rest)
        if tag == "nt":
            name, fields, *items = rest
            if len(fields) > MAX_FIELDS:
                raise ProtocolError("too many fields")
            return collections.namedtuple(name, fields)(*(self.value(item, depth + 1) for item in items))
        if tag in ("size", "dtype", "device"):
            return self._torch_data(tag, rest)
        return self.revive(tree)

    def _buffer(self, index: Any) -> memoryview:
        if type(index) is not int or not 0 <= index < len(self.buffers):
            raise ProtocolError("no such buffer")
        return self.buffers[index]

    def _shaped(self, shape: Any, index: Any, itemsize: int) -> memoryview:
        """The buffer, once it is known to hold exactly that many elements."""
        if type(shape) is not list or len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
            raise ProtocolError("a shape that is none")
        data = self._buffer(index)
        if math.prod(shape) * itemsize != len(data):
            raise ProtocolError("shape and size disagree")
        return data

    def _array(self, dtype: Any, shape: Any, index: Any, scalar: bool) -> Any:
        import numpy

        if type(dtype) is not str or not _ARRAY_DTYPE.fullmatch(dtype):
            raise ProtocolError("an unknown dtype")
        kind = numpy.dtype(dtype)
        data = self._shaped(shape, index, kind.itemsize)
        if not kind.itemsize or not len(data):
            return numpy.zeros(shape, kind)[()] if scalar else numpy.zeros(shape, kind)
        array = numpy.frombuffer(bytearray(data), kind).reshape(shape)
        return array[()] if scalar else array

    def _tensor(self, dtype: Any, shape: Any, index: Any) -> Any:
        import torch

        if dtype not in _TENSOR_DTYPES:
            raise ProtocolError("an unknown dtype")
        kind = getattr(torch, dtype)
        data = self._shaped(shape, index, kind.itemsize)
        if not len(data):
            return torch.empty(shape, dtype=kind)
        if kind is torch.bool:  # a byte that is neither 0 nor 1 is undefined behaviour as a bool
            return torch.frombuffer(bytearray(data), dtype=torch.uint8).ne(0).reshape(shape)
        return torch.frombuffer(bytearray(data), dtype=kind).reshape(shape)

    def _torch_data(self, tag: str, rest: list) -> Any:
        import torch

        if tag == "size":
            if not all(type(n) is int for n in rest):
                raise ProtocolError("a size that is none")
            return torch.Size(rest)
        (name,) = rest
        if type(name) is not str:
            raise ProtocolError(f"a {tag} that is none")
        found = torch.device(name) if tag == "device" else getattr(torch, name, None)
        if tag == "dtype" and not isinstance(found, torch.dtype):
            raise ProtocolError("an unknown dtype")
        return found


# --- frames ----------------------------------------------------------------------------------------------------------


def frame(message: dict, buffers: list[bytes | memoryview] = ()) -> list[bytes | memoryview]:
    """The pieces of a frame, ready to be sent one after another."""
    lengths = [len(buffer) for buffer in buffers]
    header = json.dumps([message, lengths], separators=(",", ":")).encode()
    if len(header) > MAX_HEADER:
        raise ValueError("the message is too long")
    return [_PREFIX.pack(len(header), sum(lengths)) + header, *buffers]


def send(sock: socket.socket, message: dict, buffers: list[bytes | memoryview] = ()) -> None:
    """Send one frame; the socket's time-out bounds each piece."""
    for piece in frame(message, buffers):
        sock.sendall(piece)


class Reader:
    """Cuts a stream of bytes into messages. Holds at most one frame, never more than its bound."""

    def __init__(self, max_body: int):
        self._max_body = max_body
        self._data = bytearray()
        self._need = _PREFIX.size

    def feed(self, data: bytes) -> list[tuple[dict, list[memoryview]]]:
        """Take what arrived; return the messages that are complete, each with its buffers. Raises ProtocolError."""
        self._data += data
        whole, start, messages = memoryview(self._data), 0, []
        while len(whole) - start >= self._need:
            header_length, body_length = _PREFIX.unpack_from(whole, start)
            if header_length > MAX_HEADER or body_length > self._max_body:
                raise ProtocolError("a message that is too long")
            self._need = _PREFIX.size + header_length + body_length
            if len(whole) - start < self._need:
                break
            messages.append(self._parse(whole[start + _PREFIX.size : start + self._need], header_length))
            start += self._need
            self._need = _PREFIX.size
        if start:  # the messages keep their part of the old bytes
            self._data = bytearray(whole[start:])
        return messages

    @staticmethod
    def _parse(data: memoryview, header_length: int) -> tuple[dict, list[memoryview]]:
        try:
            message, lengths = json.loads(bytes(data[:header_length]))
        except (ValueError, TypeError, RecursionError, MemoryError) as error:
            raise ProtocolError(f"not a message: {type(error).__name__}") from None
        if type(message) is not dict or type(lengths) is not list or len(lengths) > MAX_BUFFERS:
            raise ProtocolError("not a message")
        buffers, start = [], header_length
        for length in lengths:
            if type(length) is not int or not 0 <= length <= len(data) - start:
                raise ProtocolError("buffers that are not there")
            buffers.append(data[start : start + length])
            start += length
        if start != len(data):
            raise ProtocolError("bytes left over")
        return message, buffers
