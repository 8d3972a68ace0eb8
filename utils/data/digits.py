"""Handwritten digits, all of one type: small real ones that ship with scikit-learn, and MNIST, which is downloaded."""

from __future__ import annotations

import gzip
import hashlib
import struct
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn import (
    datasets,
)  # here, not where it is used: the grader imports it once for a class, not for each submission
from torch import Tensor

from utils.data.hub import DownloadError

__all__ = ["Digits", "load_digits", "load_mnist"]

MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_FILES = {  # md5 of each file
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
TIMEOUT = 60  # seconds without an answer
UNSIGNED_BYTE = 0x08  # the type of the elements, as an IDX file codes it


class Digits(NamedTuple):
    """Pictures of single digits, and which digit each one shows."""

    images: Tensor  # (n, height, width) float32 in [0, 1]: 0 is paper, 1 is ink
    labels: Tensor  # (n,) int64, 0 to 9


def load_digits(held_out: float = 0.2, seed: int = 0) -> tuple[Digits, Digits]:
    """The 1,797 digits of scikit-learn, 8 by 8 pixels each, shuffled and split: those to train on, those held out.

    `held_out` is the share of the second part, in (0, 1); the same `seed` gives the same split on every machine. The
    same 13 people wrote both parts (Alpaydin & Kaynak 1998), so a held-out digit is a new one by a familiar hand.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is the share that is not trained on, between 0 and 1; got {held_out}")
    raw = datasets.load_digits()
    order = torch.randperm(len(raw.target), generator=torch.Generator().manual_seed(seed))
    images = torch.from_numpy(raw.images).float()[order] / 16
    labels = torch.from_numpy(raw.target).long()[order]
    n = len(labels) - round(held_out * len(labels))
    return Digits(images[:n], labels[:n]), Digits(images[n:], labels[n:])


def load_mnist(folder: str | Path | None = None) -> tuple[Digits, Digits]:
    """MNIST, 28 by 28 pixels: 60,000 digits to train on and 10,000 held out, by other people (LeCun et al. 1998).

    The four files, 11 MB together, are downloaded once into `folder` (by default one in the home folder's cache).

    Raises: DownloadError, saying which file, from where and what to do, when one cannot be had or is damaged.
    """
    folder = Path(folder) if folder else Path.home() / ".cache" / "attention-to-alignment" / "mnist"
    paths = [_fetch(name, md5, folder) for name, md5 in MNIST_FILES.items()]
    images, labels, held_images, held_labels = (torch.from_numpy(_read_idx(path)) for path in paths)
    return Digits(images.float() / 255, labels.long()), Digits(held_images.float() / 255, held_labels.long())


def _fetch(name: str, md5: str, folder: Path) -> Path:
    """The file `name` in `folder`, downloaded if it is not there; nothing unchecked is ever left under that name."""
    path = folder / name
    if path.is_file() and _md5(path.read_bytes()) == md5:
        return path
    address = MNIST_MIRROR + name
    by_hand = f"Check the network, or put a copy of the file at {path} and run the cell again."
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
            data = answer.read()
    except OSError as error:
        raise DownloadError(f"{name} could not be downloaded from {address}: {error}. {by_hand}") from error
    if _md5(data) != md5:
        raise DownloadError(f"{name} from {address} is damaged: it is not the file that MNIST consists of. {by_hand}")
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_bytes(data)
    return partial.replace(path)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _read_idx(path: Path) -> np.ndarray:
    """The array in a gzipped IDX file of bytes: two zeros, type, number of axes, their sizes (big-endian), elements."""
    data = gzip.decompress(path.read_bytes())
    zeros, kind, axes = struct.unpack_from(">HBB", data)
    if zeros != 0 or kind != UNSIGNED_BYTE:
        raise DownloadError(f"{path} is no IDX file of bytes: delete it and run the cell again")
    shape = struct.unpack_from(f">{axes}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()
