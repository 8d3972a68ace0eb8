"""Multi30k: 30,000 captions of Flickr pictures in English, translated into German by people.

Elliott, Frank, Sima'an and Specia, "Multi30K: Multilingual English-German Image Descriptions", VL 2016. On the hub as
``bentrevett/multi30k``: three files of JSON lines, each ``{"en": ..., "de": ...}``. That repository has no French, so
the pairs are English and German. There are no gold alignments.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from utils.data.hub import DownloadError, fetch
from utils.data.pair import Pair

REPOSITORY = "bentrevett/multi30k"
REVISION = "37e118600232bb5298ca011a8a7e7a44e863c36a"  # the last commit that changed the three files
FILES = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}  # 29,000, 1,014 and 1,000 pairs
_TOKEN = re.compile(r"\w+(?:[-'’.]\w+)*|[^\w\s]")


def multi30k(split: str = "train", *, local_dir: str | Path | None = None) -> list[Pair]:
    """The pairs of ``"train"``, ``"validation"`` or ``"test"``, English to German, tokenised as `tokenize` does.

    With `local_dir`, a folder that holds the three files, nothing is downloaded (5 MB otherwise, then cached).

    Raises: DownloadError when a file does not come or is not what it should be.
    """
    if split not in FILES:
        raise ValueError(f"split must be one of {', '.join(FILES)}, not {split!r}")
    path = fetch(REPOSITORY, FILES[split], kind="dataset", revision=REVISION, local_dir=local_dir)
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            example = json.loads(line)
            pairs.append(Pair(tokenize(example["en"]), tokenize(example["de"])))
        except (ValueError, KeyError, TypeError) as error:
            raise DownloadError(
                f'{path}, line {number}, is not {{"en": ..., "de": ...}}: delete the file and download it again'
            ) from error
    return pairs


def tokenize(text: str) -> tuple[str, ...]:
    """The words and punctuation marks of `text`, in lower case: ``"A man's hat."`` → ``a man's hat .``"""
    return tuple(_TOKEN.findall(text.lower()))
