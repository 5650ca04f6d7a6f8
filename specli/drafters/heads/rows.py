"""The target's hidden states of one sequence that a head has not decoded yet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from specli.llama.head import States


class Rows:
    """One row for each position from `first` to `end`, the layers that a head reads side by side.

    The buffer holds `capacity` rows at first, and grows where one batch of the target brings more.
    """

    def __init__(self, width: int, first: int, capacity: int) -> None:
        self.first = first
        self._buffer: States = np.empty((capacity, width), dtype=np.float32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def end(self) -> int:
        return self.first + self._count

    @property
    def room(self) -> int:
        return len(self._buffer) - self._count

    def add(self, layers: Sequence[States], start: int, stop: int) -> None:
        """Copy the rows `start` to `stop` of each layer's states."""
        count = stop - start
        if count > self.room:
            larger = np.empty((self._count + count, self._buffer.shape[1]), dtype=np.float32)
            larger[: self._count] = self._buffer[: self._count]
            self._buffer = larger
        to = self._buffer[self._count : self._count + count]
        np.concatenate([layer[start:stop] for layer in layers], axis=1, out=to)
        self._count += count

    def cut(self, end: int) -> None:
        """Forget the rows from position `end` on."""
        self._count = max(0, min(self._count, end - self.first))

    def view(self, end: int) -> States:
        """The rows before position `end`: a view, valid until rows are added or dropped."""
        return self._buffer[: end - self.first]

    def drop(self, end: int) -> None:
        """Forget the rows before position `end`."""
        gone = end - self.first
        kept = self._count - gone
        if kept:
            self._buffer[:kept] = self._buffer[gone : self._count].copy()
        self.first, self._count = end, kept

    def copy(self, end: int) -> Rows:
        """The rows before position `end` once more."""
        other = Rows(self._buffer.shape[1], self.first, len(self._buffer))
        other.add([self.view(max(end, self.first))], 0, max(end - self.first, 0))
        return other
