"""English text about Python, which every Python carries: the pages that ``help("LISTS")`` shows.

CPython builds `pydoc_data.topics` from the language reference anew for each release, so the text differs a little even
between two patch releases: `corpus` has 50,172 words in 3.11.7 and 49,951 in 3.11.2. Nothing should count on an exact
number, or on a rare word. Quotes around code, rulers under headings and the frames of tables are not words, so another
way to write these does not change the words.
"""

from __future__ import annotations

import random
import re
from typing import TypeVar

_WORD = re.compile(r"\b_*[a-z]\w*(?:'(?:s|t|re|ve|ll|d)\b)?")
_BLANK_LINES = re.compile(r"\n\s*\n")
FEWEST = 30  # words of its own that make a topic a document

Document = TypeVar("Document")


def documents() -> dict[str, list[str]]:
    """The words of each topic, lower case, in order; keys are the topics' names, sorted.

    A word begins with a letter, after underscores if any: ``for``, ``doesn't``, ``__init__``, but not ``0x1f``. A fifth
    of the text stands in two topics or more (``if`` is a part of ``compound``); each paragraph is kept once, in the
    longest topic that has it, so that a document held out of training is not read in another one.

    Raises: ModuleNotFoundError where the Python has been stripped of its documentation.
    """
    return {name: [word for p in paragraphs for word in _words(p)] for name, paragraphs in _paragraphs().items()}


def texts() -> dict[str, str]:
    """The same documents as text: capitals, punctuation, line breaks and indented code as they stand.

    Paragraphs are joined by a blank line, each ends without spaces, and each stands in one document only.

    Raises: as `documents`.
    """
    return {name: "\n\n".join(paragraphs) for name, paragraphs in _paragraphs().items()}


def split(
    documents: dict[str, Document], share: float = 0.1, seed: int = 0
) -> tuple[dict[str, Document], dict[str, Document]]:
    """Whole documents to train on and to test on: `share` of them are held out, at least one. The order is kept."""
    held_out = set(random.Random(seed).sample(sorted(documents), max(1, round(share * len(documents)))))
    return (
        {name: document for name, document in documents.items() if name not in held_out},
        {name: document for name, document in documents.items() if name in held_out},
    )


def corpus() -> list[str]:
    """All words of `documents`, one document after the other."""
    return [word for words in documents().values() for word in words]


def _words(paragraph: str) -> list[str]:
    return _WORD.findall(paragraph.lower().replace("’", "'"))


def _paragraphs() -> dict[str, list[str]]:
    """Of each document its paragraphs, without those that a longer document has, too."""
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "this Python came without pydoc_data, the text that lessons read: install a complete Python "
            "(python.org, conda, or Debian's libpython3-stdlib)",
            name=error.name,
        ) from error
    seen: set[str] = set()
    found = {}
    for name in sorted(topics, key=lambda name: (-len(topics[name]), name)):
        paragraphs, n_words = [], 0
        for paragraph in _BLANK_LINES.split(topics[name]):
            words = _words(paragraph)
            key = " ".join(words) or paragraph.strip()
            if key and key not in seen:
                seen.add(key)
                paragraphs.append(paragraph.strip("\n").rstrip())
                n_words += len(words)
        if n_words >= FEWEST:
            found[name] = paragraphs
    return dict(sorted(found.items()))
