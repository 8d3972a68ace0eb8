"""Digits: a split that is the same everywhere and shares no picture; MNIST's files read, checked and refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import subprocess
import sys
import urllib.error

import numpy as np
import pytest
import torch

from utils.data import digits
from utils.data.digits import load_digits, load_mnist
from utils.data.hub import DownloadError


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_every_digit_is_in_one_part_of_the_split():
    train, held_out = load_digits()
    assert train.images.shape == (1438, 8, 8) and held_out.images.shape == (359, 8, 8)
    assert train.images.dtype == torch.float32 and train.labels.dtype == torch.int64
    both = torch.cat([train.images, held_out.images])
    assert both.min() == 0 and both.max() == 1
    assert len(rows(both)) == 1797  # all pictures differ, so
    assert not rows(train.images) & rows(held_out.images)
    assert train.labels.bincount().min() > 100 and held_out.labels.bincount().min() > 20


def test_pictures_keep_their_labels():
    from sklearn import datasets

    raw = datasets.load_digits()
    label_of = {image.astype(np.float32).tobytes(): label for image, label in zip(raw.images, raw.target, strict=True)}
    for part in load_digits(held_out=0.5, seed=3):
        for image, label in zip(part.images, part.labels, strict=True):
            assert label_of[(16 * image).numpy().tobytes()] == label


def test_the_seed_decides_the_split_and_nothing_else_does():
    torch.manual_seed(1)
    first = load_digits(seed=7)
    torch.manual_seed(2)
    again, other = load_digits(seed=7), load_digits(seed=8)
    assert torch.equal(first[0].images, again[0].images)
    assert not torch.equal(first[0].images, other[0].images)
    assert load_digits()[1].labels[:8].tolist() == [4, 8, 4, 9, 6, 8, 7, 7]  # as on every machine


@pytest.mark.parametrize("share", [0, 1, -0.1, 20])
def test_a_share_that_leaves_a_part_empty_is_refused(share):
    with pytest.raises(ValueError, match="share"):
        load_digits(held_out=share)


def test_scikit_learn_is_imported_only_where_digits_are():
    code = "import sys, utils, utils.data; print('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


# --- MNIST -----------------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes(), mtime=0)


@pytest.fixture
def mirror(monkeypatch) -> dict[str, bytes]:
    """Files in MNIST's format at the mirror's address: five digits to train on, two held out."""
    files, random = {}, np.random.default_rng(0)
    for name in digits.MNIST_FILES:
        shape = (5 if name.startswith("train") else 2,) + ((28, 28) if "images" in name else ())
        files[name] = idx(random.integers(0, 256 if len(shape) == 3 else 10, shape, dtype=np.uint8))
    monkeypatch.setattr(digits, "MNIST_FILES", {name: hashlib.md5(data).hexdigest() for name, data in files.items()})

    def urlopen(address, timeout):
        name = address.removeprefix(digits.MNIST_MIRROR)
        if name not in files:
            raise urllib.error.URLError("no such host")
        return io.BytesIO(files[name])

    monkeypatch.setattr(digits.urllib.request, "urlopen", urlopen)
    return files


def test_mnist_has_the_type_of_the_small_digits(mirror, tmp_path):
    train, held_out = load_mnist(tmp_path)
    assert train.images.shape == (5, 28, 28) and held_out.images.shape == (2, 28, 28)
    assert train.images.dtype == torch.float32 and train.labels.dtype == torch.int64
    raw = gzip.decompress(mirror["train-images-idx3-ubyte.gz"])
    assert train.images[1, 2, 3] * 255 == raw[16 + 28 * 28 + 2 * 28 + 3]
    assert held_out.labels.tolist() == list(gzip.decompress(mirror["t10k-labels-idx1-ubyte.gz"])[8:])


def test_mnist_is_downloaded_once(mirror, tmp_path):
    first = load_mnist(tmp_path)
    mirror.clear()
    assert torch.equal(load_mnist(tmp_path)[0].images, first[0].images)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(digits.MNIST_FILES)


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_failed_download_says_which_file_from_where_and_what_to_do(mirror, tmp_path, damage):
    name = "t10k-labels-idx1-ubyte.gz"
    if damage == "missing":
        del mirror[name]
    else:
        mirror[name] = mirror[name][:-1]
    with pytest.raises(DownloadError) as error:
        load_mnist(tmp_path)
    for words in (name, digits.MNIST_MIRROR, str(tmp_path / name), "run the cell again"):
        assert words in str(error.value)
    assert not (tmp_path / name).exists()


def test_a_damaged_copy_is_fetched_anew(mirror, tmp_path):
    name = "train-labels-idx1-ubyte.gz"
    (tmp_path / name).write_bytes(b"half a file")
    load_mnist(tmp_path)
    assert (tmp_path / name).read_bytes() == mirror[name]


def test_a_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "floats.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBBI", 0, 0x0D, 1, 1) + b"\0" * 4))
    with pytest.raises(DownloadError, match="IDX"):
        digits._read_idx(path)
