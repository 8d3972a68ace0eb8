"""English text about Python, which every Python carries: the pages that ``help("LISTS")`` shows.

CPython builds `pydoc_data.topics` from the language reference anew for each release, so the text differs a little even
between two patch releases: `corpus` has 50,172 words in 3.11.7 and 49,951 in 3.11.2. Nothing should count on an exact
number, or on a rare word. Quotes around code, rulers under headings and the frames of tables are not words, so another
way to write these does not change the words.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"\b_*[a-z]\w*(?:'(?:s|t|re|ve|ll|d)\b)?")
_BLANK_LINES = re.compile(r"\n\s*\n")
FEWEST = 30  # words of its own that make a topic a document


def documents() -> dict[str, list[str]]:
    """The words of each topic, lower case, in order; keys are the topics' names, sorted.

    A word begins with a letter, after underscores if any: ``for``, ``doesn't``, ``__init__``, but not ``0x1f``. A fifth
    of the text stands in two topics or more (``if`` is a part of ``compound``); each paragraph is kept once, in the
    longest topic that has it, so that a document held out of training is not read in another one.

    Raises: ModuleNotFoundError where the Python has been stripped of its documentation.
    """
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
        words = []
        for paragraph in _BLANK_LINES.split(topics[name].lower().replace("’", "'")):
            its_words = _WORD.findall(paragraph)
            key = " ".join(its_words)
            if key not in seen:
                seen.add(key)
                words += its_words
        if len(words) >= FEWEST:
            found[name] = words
    return dict(sorted(found.items()))


def corpus() -> list[str]:
    """All words of `documents`, one document after the other."""
    return [word for words in documents().values() for word in words]
