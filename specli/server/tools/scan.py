"""A call in JSON, read as it arrives: the name as soon as it is known, arguments in parts."""

from __future__ import annotations

import json
import re

_SPACE = " \t\r\n"
_SCALAR = re.compile(r"[^,\}\]\s]*")
_ARGUMENTS = ("arguments", "parameters")
"""Models mix up the two spellings, so both are read in every format."""


class CallScanner:
    """Reads one JSON object from text that comes in parts.

    `name` is the function's, once it is complete. `arguments` is the raw JSON of the arguments so
    far. `done` when the object is closed, and `failed` where it is no such object; `rest` is the
    text behind it.
    """

    def __init__(self, name: str | None = None) -> None:
        """With a `name` only the arguments follow."""
        self.name = name
        self._nameless = name is None
        self.arguments = ""
        self.done = False
        self.failed = False
        self.raw = ""
        self._at = 0
        self._key: str | None = None
        self._value: int | None = None
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._opened = False
        if name is not None:
            self._opened, self._key, self._value = True, _ARGUMENTS[0], 0

    @property
    def rest(self) -> str:
        return self.raw[self._at :] if self.done else ""

    def feed(self, text: str) -> None:
        """Read on."""
        self.raw += text
        while not self.done and not self.failed and self._step():
            pass

    def _step(self) -> bool:
        """Read one part of the object; False where more text is needed."""
        if self._value is not None:
            return self._read_value()
        self._skip(_SPACE if not self._opened else _SPACE + ",")
        if self._at == len(self.raw):
            return False
        char = self.raw[self._at]
        if not self._opened:
            self._opened = char == "{"
            self.failed = not self._opened
            self._at += 1
        elif char == "}":
            self._at += 1
            self.done = True
            self.failed = self.name is None
        else:
            return self._read_key()
        return True

    def _skip(self, characters: str) -> None:
        while self._at < len(self.raw) and self.raw[self._at] in characters:
            self._at += 1

    def _read_key(self) -> bool:
        found = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:\s*(?=\S)').match(self.raw, self._at)
        if found is None:
            # Either the key is cut short, or this is no JSON.
            self.failed = self.raw[self._at] != '"' or "\n" in self.raw[self._at :].strip()
            return False
        self._key, self._at = found[1], found.end()
        self._value, self._depth, self._in_string = self._at, 0, False
        return True

    def _read_value(self) -> bool:
        start = self._value
        assert start is not None
        end = self._end_of_value(start)
        if self._key in _ARGUMENTS and self.raw[start] == "{":
            self.arguments = self.raw[start : self._at if end is None else end]
        if end is None:
            return False
        self._at, self._value = end, None
        self._keep(self.raw[start:end])
        self.done = not self._nameless
        return True

    def _end_of_value(self, start: int) -> int | None:
        """Where the value ends; None where it goes on."""
        if self.raw[start] not in '{["':
            found = _SCALAR.match(self.raw, start)
            end = found.end() if found else start
            return end if start < end < len(self.raw) else None
        while self._at < len(self.raw):
            char = self.raw[self._at]
            self._at += 1
            if self._in_string:
                self._escaped, was = char == "\\" and not self._escaped, self._escaped
                self._in_string = char != '"' or was
            elif char == '"':
                self._in_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
            if self._depth == 0 and not self._in_string:
                return self._at
        return None

    def _keep(self, raw: str) -> None:
        try:
            value = json.loads(raw, strict=False)
        except (ValueError, RecursionError):
            self.failed = True
            return
        if self._key == "name":
            self.name = value if isinstance(value, str) else None
            self.failed = self.name is None
        elif self._key in _ARGUMENTS and isinstance(value, str):
            # Some models write the arguments as JSON inside a string.
            self.arguments = value
        elif self._key == "function" and isinstance(value, dict):
            self.name = value.get("name") if isinstance(value.get("name"), str) else self.name
            inner: object = next((value[key] for key in _ARGUMENTS if key in value), {})
            self.arguments = inner if isinstance(inner, str) else json.dumps(inner)
