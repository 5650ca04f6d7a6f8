"""Reads bytes, numbers and strings from the start of a file that may be damaged."""

from __future__ import annotations

import struct
import sys
from array import array
from typing import Never

from specli.errors import ModelFileError
from specli.gguf.types import ValueType

MAX_HEADER = 128 << 20
MAX_STRINGS = 1 << 22
"""Strings in all arrays of a file together; the largest vocabularies need a fifth of it."""

DOWNLOAD_AGAIN = "download or convert the file again"


class NeedMoreBytes(Exception):  # noqa: N818 - a signal to the caller, not an error
    """The prefix ends inside the header; at least the first `needed` bytes of the file are due."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"at least {needed} bytes of the file are needed")
        self.needed = needed


class Cursor:
    """A position in the prefix of a file; every read is checked against both lengths."""

    def __init__(self, prefix: bytes, file_size: int, name: str) -> None:
        self.name = name
        self.position = 0
        self._prefix = prefix
        self._file_size = file_size
        self._strings_left = MAX_STRINGS

    def fail(self, what: str) -> Never:
        raise ModelFileError(f"{self.name} {what}", hint=DOWNLOAD_AGAIN)

    def _require(self, size: int, what: str) -> int:
        """The position after the next `size` bytes, which the prefix does hold."""
        end = self.position + size
        if end <= len(self._prefix):
            return end
        if end > self._file_size:
            self.fail(
                f"is cut short or damaged: {what} needs {size} bytes at {self.position}, "
                f"and the file has {self._file_size}"
            )
        if end > MAX_HEADER:
            self.fail(f"has a header larger than {MAX_HEADER >> 20} MiB, which no model has")
        raise NeedMoreBytes(end)

    def take(self, size: int, what: str) -> bytes:
        start, self.position = self.position, self._require(size, what)
        return self._prefix[start : self.position]

    def scalar(self, code: str, what: str) -> int | float:
        start, self.position = self.position, self._require(struct.calcsize("<" + code), what)
        value: int | float = struct.unpack_from("<" + code, self._prefix, start)[0]
        return value

    def number(self, code: str, what: str) -> int:
        return int(self.scalar(code, what))

    def count(self, code: str, what: str, limit: int) -> int:
        count = self.number(code, f"the number of {what}")
        if count > limit:
            self.fail(f"claims {count} {what}; {limit} is the most allowed")
        return count

    def value_type(self, key: str) -> ValueType:
        number = self.number("I", f"the type of {key!r}")
        if number > ValueType.FLOAT64:
            self.fail(f"gives {key!r} the unknown type {number}")
        return ValueType(number)

    def string(self, what: str, limit: int = MAX_HEADER) -> str:
        size = self.number("Q", f"the length of {what}")
        if size > limit:
            self.fail(f"is damaged: {what} claims a length of {size} bytes")
        return self.take(size, what).decode("utf-8", "backslashreplace")

    def number_array(self, code: str, key: str) -> array[int] | array[float]:
        values: array[int] | array[float] = array(code)
        count = self.number("Q", f"the length of {key!r}")
        values.frombytes(self.take(count * values.itemsize, key))
        if sys.byteorder == "big":
            values.byteswap()
        return values

    def string_array(self, key: str) -> list[bytes]:
        count = self.number("Q", f"the length of {key!r}")
        if count > self._strings_left:
            self.fail(f"claims {count} strings in {key!r}; {MAX_STRINGS} is the most allowed")
        self._strings_left -= count
        start = self.position
        # Each string needs eight bytes for its length: a wild count ends here.
        self._require(8 * count, key)
        prefix, limit = self._prefix, len(self._prefix)
        unpack = struct.Struct("<Q").unpack_from
        strings: list[bytes] = []
        append = strings.append
        position = start
        for _ in range(count):
            body = end = position + 8
            if body <= limit:
                end += unpack(prefix, position)[0]
            if end > limit:
                # Raises: the array leaves the prefix here, with its other lengths still to come.
                self._require(end - start + 8 * (count - len(strings) - 1), key)
            append(prefix[body:end])
            position = end
        self.position = position
        return strings
