"""A compact table of ids, so that a million prompts cost tens of megabytes and not hundreds."""

from __future__ import annotations

import sqlite3
import weakref
from hashlib import blake2b


def digest(text: str) -> bytes:
    """A 16-byte hash of a text; collisions are not expected in practice."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Ids:
    """Maps ids to numbers below 2**64: a table in memory of digests and 8 bytes each."""

    def __init__(self) -> None:
        self._table = sqlite3.connect(":memory:", isolation_level=None)
        self._table.execute("CREATE TABLE ids (id BLOB PRIMARY KEY, number BLOB) WITHOUT ROWID")
        weakref.finalize(self, self._table.close)

    def __len__(self) -> int:
        return int(self._table.execute("SELECT count(*) FROM ids").fetchone()[0])

    def get(self, key: str) -> int | None:
        """The number of an id, None if it was never put."""
        row = self._table.execute("SELECT number FROM ids WHERE id = ?", (digest(key),)).fetchone()
        return None if row is None else int.from_bytes(row[0])

    def put(self, key: str, value: int) -> None:
        """Set the number of an id."""
        row = digest(key), value.to_bytes(8)
        self._table.execute("INSERT OR REPLACE INTO ids VALUES (?, ?)", row)
