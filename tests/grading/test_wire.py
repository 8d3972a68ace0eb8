"""The wire: what crosses it unchanged, and what it refuses."""

from __future__ import annotations

import collections
import json
import math

import numpy as np
import pytest
import torch

from autograder.grading import wire


def there_and_back(value, keep=None, revive=None):
    encoder = wire.Encoder(keep or wire._refuse)
    message = {"value": encoder.tree(value)}
    data = b"".join(bytes(piece) for piece in wire.frame(message, encoder.buffers))
    ((message, buffers),) = wire.Reader(wire.MB).feed(data)
    return wire.Decoder(buffers, revive or wire._refuse).value(message["value"])


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        2**64,
        -(3**500),
        0.1,
        math.inf,
        "",
        "ü\ud800\x00",
        b"\x00\xff",
        1 + 2j,
        [],
        [1, [2, (3,)]],
        (),
        {"a": 1, 2: [None], (1, 2): {}},
        {1, 2},
        frozenset({"x"}),
        range(3, 9, 2),
        slice(None, 4, None),
        ...,
        collections.OrderedDict(b=1, a=2),
        torch.Size([2, 0, 3]),
        torch.bfloat16,
        torch.device("cpu"),
        np.float32(0.1),
        np.int64(3),
        np.bool_(True),
        np.str_("word"),
        np.datetime64("2024-02-03"),
    ],
    ids=repr,
)
def test_plain_data_survives(value):
    got = there_and_back(value)
    assert type(got) is type(value) and got == value


def test_nan_survives():
    assert math.isnan(there_and_back(math.nan))


@pytest.mark.parametrize("dtype", sorted(wire._TENSOR_DTYPES))
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2, 3, 4)])
def test_tensors_survive(dtype, shape):
    dtype = getattr(torch, dtype)
    value = torch.randint(0, 2, shape).to(dtype)
    got = there_and_back(value)
    assert type(got) is torch.Tensor and got.dtype == dtype and got.shape == shape
    assert torch.equal(got.to(torch.complex128), value.to(torch.complex128))


def test_a_tensor_arrives_plain_detached_and_writable():
    class Mine(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, kinds, args=(), kwargs=None):
            raise AssertionError("student code was called")

    for value in (torch.nn.Parameter(torch.ones(2)), torch.ones(2).as_subclass(Mine), torch.ones(4)[::2]):
        got = there_and_back(value)
        assert type(got) is torch.Tensor and not got.requires_grad and got.tolist() == [1, 1]
        got += 1


@pytest.mark.parametrize(
    "value", [torch.arange(6).reshape(2, 3)[:1, 1], torch.ones(3, 1, 4)[:, :, 2], torch.ones(2, 0, 3)]
)
def test_tensors_with_odd_strides_survive(value):
    got = there_and_back(value)
    assert got.dtype == value.dtype and torch.equal(got, value)


@pytest.mark.parametrize("value", [np.arange(6.0).reshape(2, 3).T, np.zeros((0, 2)), np.array("ab"), np.array([True])])
def test_arrays_survive(value):
    got = there_and_back(value)
    assert got.dtype == value.dtype and got.shape == value.shape and (got == value).all()


def test_named_places_of_a_tuple_survive():
    point = collections.namedtuple("Point", "x y")(1, 2)
    assert there_and_back(point)._asdict() == {"x": 1, "y": 2}
    top = there_and_back(torch.tensor([1.0, 3.0]).max(0))
    assert top.values == 3 and top.indices == 1


def test_counters_and_default_dicts_come_as_dicts():
    assert there_and_back(collections.Counter("aab")) == {"a": 2, "b": 1}
    assert there_and_back(collections.defaultdict(list, a=[1])) == {"a": [1]}


@pytest.mark.parametrize(
    "value",
    [
        object(),
        lambda: 0,
        type("Number", (int,), {})(3),
        type("Text", (str,), {})("x"),
        np.array([object()]),
        torch.ones(2, device="meta"),
        torch.ones(2, 2).to_sparse(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_kept_by_its_owner(value):
    kept = []
    got = there_and_back([value], lambda item: kept.append(item) or ["h", 7], lambda tree: tuple(tree))
    assert got == [("h", 7)] and kept[0] is value
    with pytest.raises(TypeError):
        there_and_back(value)


def test_a_value_that_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="levels"):
        there_and_back(loop)


# --- a hostile other side --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tree",
    [
        {"object": 1},
        [],
        [1],
        [["l"]],
        ["nonsense", 1],
        ["i", 12],
        ["i", "0x"],
        ["i", "0x" + "f" * wire.MAX_INT_BITS],
        ["c", "nan", "x"],
        ["b", 0.0],
        ["b", True],
        ["b", -1],
        ["b", 99],
        ["d", 1],
        ["d", [["l"], 1]],
        ["s", ["l"]],
        ["range", "a", 1, 1],
        ["T", "float32", [3], 0],
        ["T", "float32", [2**62, 2**62], 0],
        ["T", "float32", [-2], 0],
        ["T", "float32", [2.0], 0],
        ["T", "float32", 2, 0],
        ["T", "float32", [1] * 1000, 0],
        ["T", "nn", [2], 0],
        ["T", ["float32"], [2], 0],
        ["A", "|O", [1], 0],
        ["A", "f4,(1000000)f8", [2], 0],
        ["A", "<U999999999999", [1], 0],
        ["A", "<f4", [0, 2**39, 2**39], 0],
        ["n", "|V8", [], 0],
        ["nt", "Evil", ["a b", "__class__"], 1, 2],
        ["nt", "x", ["a"], 1, 2],
        ["dtype", "nn"],
        ["dtype", 3],
        ["device", "__import__('os')"],
        ["size", "a"],
        ["h", 1],
    ],
    ids=lambda tree: json.dumps(tree)[:50],
)
def test_malformed_values_are_refused(tree):
    with pytest.raises((wire.ProtocolError, TypeError)):
        wire.Decoder([memoryview(bytes(8))]).value(tree)


def test_depth_and_number_of_elements_are_bounded():
    deep = None
    for _ in range(wire.MAX_DEPTH + 1):
        deep = ["l", deep]
    with pytest.raises(wire.ProtocolError, match="deep"):
        wire.Decoder([]).value(deep)
    with pytest.raises(wire.ProtocolError, match="many"):
        wire.Decoder([]).value(["l", *[None] * wire.MAX_NODES])


def _frame(header: bytes, body: bytes = b"") -> bytes:
    return wire._PREFIX.pack(len(header), len(body)) + header + body


@pytest.mark.parametrize(
    "data",
    [
        _frame(b""),
        _frame(b"nonsense"),
        _frame(b"\xff\xfe"),
        _frame(b"[" * 1_000_000),
        _frame(b'{"a":' * 1_000_000),
        _frame(b"[{}, [1e400]]"),
        _frame(b"[{}, []]", b"left over"),
        _frame(b"[{}, [9]]", b"short"),
        _frame(b"[{}, [-1, 6]]", b"short"),
        _frame(b"[{}, [true]]", b"x"),
        _frame(b"[[], []]"),
        _frame(b"[{}]"),
        _frame(b"[" + b"9" * 5000 + b", []]"),
        wire._PREFIX.pack(wire.MAX_HEADER + 1, 0),
        wire._PREFIX.pack(2, 2**63),
    ],
    ids=lambda data: repr(data[:30]),
)
def test_malformed_frames_are_refused(data):
    with pytest.raises(wire.ProtocolError):
        wire.Reader(wire.MB).feed(data)


def test_a_frame_that_arrives_in_pieces():
    data = b"".join(map(bytes, wire.frame({"n": 1}, [b"abc"]))) * 2
    reader, seen = wire.Reader(wire.MB), []
    for place in range(len(data)):
        seen += reader.feed(data[place : place + 1])
    assert [(message, bytes(buffers[0])) for message, buffers in seen] == [({"n": 1}, b"abc")] * 2


def test_odd_bytes_in_a_bool_tensor_are_true():
    got = wire.Decoder([memoryview(bytes([0, 1, 7]))]).value(["T", "bool", [3], 0])
    assert got.tolist() == [False, True, True] and got.view(torch.uint8).tolist() == [0, 1, 1]
