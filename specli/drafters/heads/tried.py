"""A head as what measures of batches time: a batch of k tokens is drafting after k rows."""

from __future__ import annotations

from collections.abc import Sequence

from specli.drafters.heads.core import Kind


class Tried:
    """Implements `engine.measure.Batches`."""

    max_rollback: int | None = None

    def __init__(self, head: Kind) -> None:
        self.n_ctx, self.n_batch = head.decoder.n_ctx, head.decoder.n_batch
        self._head = head
        self._rows = (0, 0)

    def length(self, seq: int) -> int:
        return self._head.decoder.length(seq)

    def rollback(self, seq: int, length: int) -> None:
        self._head.decoder.rollback(seq, length)

    def checkpoint(self, seq: int) -> None:
        """Nothing: a head's cache can be cut."""

    def add(self, seq: int, tokens: Sequence[int], position: int, outputs: int) -> int:  # noqa: ARG002
        self._rows = position, len(tokens)
        return 0

    def decode(self) -> None:
        self._head.trial(*self._rows)
