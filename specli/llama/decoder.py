"""What the engine and the draft model need of a context: `Context` is one, fakes are others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


class Decoder(Protocol):
    """A causal model with a cache of the tokens it has seen, for several sequences.

    A batch is filled with `add`, run with `decode`, and its logits are then read by row.
    """

    @property
    def n_ctx(self) -> int:
        """Positions available to one sequence."""

    @property
    def n_batch(self) -> int:
        """Tokens that one batch may hold."""

    @property
    def exact(self) -> bool:
        """Whether a row comes out the same, to the bit, in every batch."""

    @property
    def least_rows(self) -> int:
        """Rows that each sequence takes at least in a batch of several sequences."""

    @property
    def n_vocab(self) -> int: ...

    @property
    def can_cut(self) -> bool:
        """Whether `rollback` works to any length; else only to the last checkpoint."""

    @property
    def max_rollback(self) -> int | None:
        """Most tokens since a checkpoint that `rollback` can cut; None when there is no limit."""

    @property
    def native_ns(self) -> int:
        """Nanoseconds spent inside the native library so far."""

    def length(self, seq: int) -> int:
        """Tokens of `seq` in the cache."""

    def add(self, seq: int, tokens: Sequence[int], position: int, outputs: int) -> int:
        """Append `tokens` of `seq`, the first at `position`; the last `outputs` get logits.

        Returns the batch row of the first token with logits; the others follow it.
        """

    def decode(self) -> None:
        """Run the batch and empty it. Raises DecodeError."""

    def logits(self, row: int) -> Logits:
        """Logits of a batch row, shape (n_vocab,): a view, valid until the next `decode`."""

    def watch_best(self, seq: int, wanted: bool) -> None:
        """Whether `best` is wanted for `seq` in place of logits, from the next batch on.

        Without effect unless logits are on a device. A batch with more than one output of `seq`
        ends it.
        """

    def best(self, row: int) -> tuple[int, float] | None:
        """The most probable token of a batch row and its probability, found on the device.

        None where only `logits` has it.
        """

    def checkpoint(self, seq: int) -> None:
        """Tokens of `seq` decoded from here on may be rolled back soon."""

    def rollback(self, seq: int, length: int) -> None:
        """Forget every token of `seq` from position `length` on."""

    def cheap_rollback(self, seq: int, length: int) -> int:
        """The longest length up to `length` that `rollback` reaches without decoding anything."""

    def drop(self, seq: int, start: int, end: int) -> bool:
        """Forget the tokens from `start` to `end` and move up those behind.

        False, and nothing done, where that cannot be.
        """

    def copy(self, source: int, seq: int, length: int) -> None:
        """Share the first `length` tokens of `source` with `seq`, which has to be empty.

        Only where `can_cut`.
        """

    def want_features(self, layers: Sequence[int]) -> None:
        """Keep the hidden states that enter these layers, for every token of a batch.

        Raises LoadError where this model or this build of llama.cpp does not give them.
        """

    def features(self, layer: int) -> NDArray[np.float32]:
        """Hidden states of the last batch, shape (tokens, hidden size): a view, valid until the
        next `decode`. `want_features` has named the layer."""


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Tokens that two sequences begin with alike: what a cache of one saves the other."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(left), len(right)))
