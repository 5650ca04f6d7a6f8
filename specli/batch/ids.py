"""A compact table of ids, so that a million prompts cost tens of megabytes and not hundreds."""

from __future__ import annotations

from array import array
from hashlib import blake2b

_FIRST_SLOTS = 1024
_FIELDS = 3
"""Words of a slot: two of the id's digest, one of the value. A digest of zeros is a free slot."""


def digest(text: str) -> bytes:
    """A 16-byte hash of a text; collisions are not expected in practice."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Ids:
    """Maps ids to numbers below 2**64, in 24 bytes a slot, by open addressing."""

    def __init__(self) -> None:
        self._words = array("Q", [0]) * (_FIELDS * _FIRST_SLOTS)
        self._mask = _FIRST_SLOTS - 1
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, key: str) -> int | None:
        """The number of an id, None if it was never put."""
        word, _high, _low = self._find(key)
        return self._words[word + 2] if self._words[word] else None

    def put(self, key: str, value: int) -> None:
        """Set the number of an id."""
        word, high, low = self._find(key)
        if not self._words[word]:
            if 3 * (self._count + 1) > 2 * (self._mask + 1):
                self._grow()
                word, high, low = self._find(key)
            self._count += 1
            self._words[word], self._words[word + 1] = high, low
        self._words[word + 2] = value

    def _find(self, key: str) -> tuple[int, int, int]:
        """(first word of the id's slot, or of the free slot it would take; digest in two words)."""
        data = digest(key)
        high = int.from_bytes(data[:8], "little") or 1
        low = int.from_bytes(data[8:], "little")
        return self._slot(high, low), high, low

    def _slot(self, high: int, low: int) -> int:
        words, slot = self._words, low & self._mask
        while words[word := _FIELDS * slot] and (words[word], words[word + 1]) != (high, low):
            slot = (slot + 1) & self._mask
        return word

    def _grow(self) -> None:
        old = self._words
        slots = 2 * (self._mask + 1)
        self._words = array("Q", [0]) * (_FIELDS * slots)
        self._mask = slots - 1
        for word in range(0, len(old), _FIELDS):
            if old[word]:
                moved = self._slot(old[word], old[word + 1])
                self._words[moved : moved + _FIELDS] = old[word : word + _FIELDS]
