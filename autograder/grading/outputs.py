"""What a cell shows, as nbformat keeps it: bounded while it arrives, and checked, because student code sends it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from autograder.grading.job import Limits

MAX_OUTPUTS = 1000  # of one cell
MAX_ERRORS = 10  # among these: an ordinary cell has one
MAX_NESTING = 50  # levels of JSON in an output: who copies a notebook does it by recursion


def clean(text: str) -> str:
    """The text with half characters (lone surrogates), which no file can hold, replaced by question marks."""
    return text.encode("utf-8", "replace").decode()


@dataclass
class Outputs:
    """The outputs of one cell, capped while they arrive."""

    limits: Limits
    text_only: bool = False  # for a test cell: student code may print there, but its results are the examiner's
    items: list[dict] = field(default_factory=list)
    cut: bool = False
    _room: int = 0
    _binary_room: int = 0
    _shown: dict[str, dict] = field(default_factory=dict)
    _errors: int = 0

    def __post_init__(self) -> None:
        self._room, self._binary_room = self.limits.output_bytes, self.limits.figure_bytes

    def stream(self, name: str, text: str) -> None:
        """Add to stdout or stderr."""
        text = self._fit(text)
        if text and self.items and self.items[-1].get("name") == name:
            self.items[-1]["text"] += text
        elif text and self._has_place():
            self.items.append({"output_type": "stream", "name": name, "text": text})

    def error(self, name: str, message: str, traceback: list[str]) -> None:
        """Add an exception. One is always kept: it decides about the points."""
        lines = [self._fit(line) for line in traceback[:1000]]
        while len(self.items) > MAX_OUTPUTS:
            del self.items[-1]
        name, message = clean(name[:200]), clean(message[:2000])
        self.items.append({"output_type": "error", "ename": name, "evalue": message, "traceback": lines})

    def result(self, data: dict[str, str], count: int) -> None:
        """Add the value of a cell's last expression."""
        data = {mime: clean(text) for mime, text in data.items()}
        self.items.append({"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": count})

    def event(self, event: dict) -> None:
        """Add what an untrusted kernel reports; what makes no sense is dropped."""
        kind, data = event.get("event"), event.get("data")
        if kind == "stream" and event.get("name") in ("stdout", "stderr") and isinstance(event.get("text"), str):
            self.stream(event["name"], event["text"])
        elif self.text_only:
            pass
        elif kind == "error" and isinstance(event.get("traceback"), list):
            self._errors += 1
            self.cut |= self._errors > MAX_ERRORS
            if self._errors <= MAX_ERRORS:
                lines = [line[:20_000] for line in event["traceback"] if isinstance(line, str)]
                self.error(_text(event.get("ename")), _text(event.get("evalue")), lines)
        elif kind == "clear":
            self.items.clear()
            self._shown.clear()
        elif kind in ("display_data", "execute_result") and isinstance(data, dict):
            self._display(kind, data, event)

    def _display(self, kind: str, data: dict, event: dict) -> None:
        ident = event.get("display_id")
        shown = {clean(mime): kept for mime, value in data.items() if (kept := self._fit_mime(mime, value)) is not None}
        if event.get("update") and isinstance(ident, str):
            if ident in self._shown and shown:
                self._shown[ident]["data"] = shown
        elif shown and self._has_place():
            output = {"output_type": kind, "data": shown, "metadata": {}}
            if kind == "execute_result":
                count = event.get("execution_count")
                output["execution_count"] = count if type(count) is int else None
            if isinstance(ident, str):
                self._shown[ident] = output
            self.items.append(output)

    def _has_place(self) -> bool:
        self.cut |= len(self.items) >= MAX_OUTPUTS
        return len(self.items) < MAX_OUTPUTS

    def _fit(self, text: str) -> str:
        if len(text) > self._room:
            text, self.cut = text[: self._room], True
        self._room -= len(text)
        return clean(text)

    def _fit_mime(self, mime: str, value: Any) -> Any:
        if mime.startswith("text/") or isinstance(value, str) and mime.endswith("xml"):
            return (self._fit(value) or None) if isinstance(value, str) else None
        if not _is_shallow(value):
            self.cut = True
            return None
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if len(text) > self._binary_room:
            self.cut = True
            return None
        self._binary_room -= len(text)
        if isinstance(value, str):
            return clean(text)
        return json.loads(clean(text)) if mime.endswith("json") else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _is_shallow(value: Any, levels: int = MAX_NESTING) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    inside = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in inside)
