"""A context in which a row's result does not depend on the batch that it is computed in.

llama.cpp has other kernels for other batch sizes. On a CPU, in llama-cpp-python 0.3.36, they are:
one row against several (llamafile's sgemm from two rows on; flash attention, which splits the cache
among threads for a single query past 512 cells), four rows (repacked K-quants round the activations
of four rows in other ways than those of one), eight rows (tiled K-quants), 64 rows (flash attention
in tiles). Sizes from two to 62 rows give the same bits where K-quants are neither repacked nor
tiled, and each sequence has a cache of its own: `find_rows` shows whether that holds here, and
`ExactContext` decodes in no other sizes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from time import perf_counter

import numpy as np

from specli.llama.context import Context
from specli.llama.model import Model
from specli.llama.opening import ContextOptions

NEAR, FAR = 32, 576
"""Cached tokens at which sizes are tried: on both sides of 512, where attention changes."""

SIZES = (1, 3, 4, 5, 6, 7, 8, 9, 12, 16, 24, 32, 48, 62)
FAR_SIZES = (1, 3, 4, 8, 32, 62)
_ROWS = 32
"""Rows that are compared at each size, or one batch where that is more. Results that are rounded
in other ways differ in few of them."""

WHOLE = -1

_TILED = "GGML_CPU_TILED_MM"


@dataclass(frozen=True, slots=True)
class Rows:
    """Batch sizes, from `least` to `most` rows, that compute a row to the same bits.

    `price` is the time of `least` rows over that of one.
    """

    least: int
    most: int
    price: float


def rounds_by_batch(tensor_types: Iterable[str]) -> bool:
    """Whether repacked weights of these types round a row as its neighbours have it."""
    return any(name.endswith("_K") for name in tensor_types)


def without_tiles() -> bool:
    """Turn the tiled K-quant kernels off for this process; False where it is too late.

    llama.cpp reads the variable once, at its first multiplication.
    """
    if os.environ.get(_TILED) == "0":
        return True
    if Context.opened:
        return False
    os.environ[_TILED] = "0"
    return True


class ExactContext(Context):
    """A context that fills up every batch to `rows.least`, once `use` has said what holds here."""

    exact = True

    def __init__(self, model: Model, options: ContextOptions) -> None:
        super().__init__(model, options)
        self._runs: list[_Run] = []
        self._rows: Rows | None = None
        # Cells for rows that fill up a batch.
        self.n_ctx -= 2

    def use(self, rows: Rows) -> None:
        """Decode in these sizes only from here on."""
        self._rows, self.least_rows = rows, rows.least
        spare = self.n_seq if rows.least > 1 else 0
        self.n_batch = max(rows.most - spare, rows.least)

    def add(self, seq: int, tokens: Sequence[int], position: int, outputs: int) -> int:
        row = super().add(seq, tokens, position, outputs)
        self._runs.append(_Run(seq, tokens[-1], position + len(tokens), len(tokens), outputs))
        return row

    def decode(self) -> None:
        runs, self._runs = self._runs, []
        added = [run for run in runs if self._is_short(run, runs)]
        for run in added:
            self._append(run.seq, [run.token], run.end, min(run.outputs, 1))
        super().decode()
        self._decoded -= len(added)
        for run in added:
            super().rollback(run.seq, run.end)

    def copy(self, source: int, seq: int, length: int) -> None:
        """See `Decoder.copy`. llama.cpp moves caches of their own as a whole only."""
        super().copy(source, seq, WHOLE)
        super().rollback(seq, length)

    def _is_short(self, run: _Run, runs: Sequence[_Run]) -> bool:
        """Whether a run needs a row more.

        With a cache for each sequence, llama.cpp computes as many rows of each at once as the
        shortest run has, then the rest: with even runs no batch has a single row. The last layers
        compute rows with outputs only, which must not be one alone either.
        """
        if self._rows is None or self._rows.least == 1:
            return False
        if self.n_seq > 1:
            return run.rows % 2 == 1 or run.outputs % 2 == 1
        return run is runs[-1] and (
            sum(one.rows for one in runs) < 2 or sum(one.outputs for one in runs) == 1
        )


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows of one sequence in a batch: the last token, the position after it, rows, outputs."""

    seq: int
    token: int
    end: int
    rows: int
    outputs: int


def find_rows(context: ExactContext) -> Rows | None:
    """Try batch sizes on an empty context; None where not even two and three rows agree.

    Takes some thousand rows. The context is empty again afterwards. Raises DecodeError.
    """
    chain = _chain(context)
    least, most = 1, SIZES[-1]
    for past, sizes in ((NEAR, SIZES), (FAR, FAR_SIZES)):
        if past + SIZES[-1] + 2 > context.n_ctx:
            continue
        _fill(context, chain, past, range(min(context.n_seq, 2)))
        expected = _digests(context, chain, past, 2)
        for size in (size for size in sizes if size <= most):
            found = _digests(context, chain, past, size)
            if found == expected[: len(found)]:
                continue
            if size == 1:
                least = 2
            else:
                most = max((one for one in sizes if 1 < one < size), default=1)
                break
        if context.n_seq > 1 and not _alike_beside_another(context, chain, past, expected):
            most = 1
    price = _seconds(context, chain, 2) / _seconds(context, chain, 1) if least > 1 else 1.0
    for seq in range(context.n_seq):
        context.rollback(seq, 0)
    return Rows(least, most, max(price, 1.0)) if most >= 3 else None


def _chain(context: Context) -> list[int]:
    """Tokens without a meaning: rare ones take the activations further than a text would."""
    numbers = np.random.default_rng(1).integers(0, context.n_vocab, FAR + SIZES[-1] + 2)
    return [int(number) for number in numbers]


def _fill(context: Context, chain: Sequence[int], past: int, seqs: Iterable[int]) -> None:
    for seq in seqs:
        context.rollback(seq, 0)
        for start in range(0, past, _ROWS):
            context.add(seq, chain[start : min(start + _ROWS, past)], start, 0)
            context.decode()


def _digests(context: Context, chain: Sequence[int], past: int, size: int) -> list[bytes]:
    """Logits of the rows after `past`, computed `size` at a time, as digests."""
    found = []
    rows = max(size, _ROWS if size != 2 else SIZES[-1])
    context.rollback(0, past)
    for start in range(past, past + rows - rows % size, size):
        row = context.add(0, chain[start : start + size], start, size)
        context.decode()
        found += [_digest(context, row + index) for index in range(size)]
    return found


def _alike_beside_another(
    context: Context, chain: Sequence[int], past: int, expected: list[bytes]
) -> bool:
    """Whether rows of two sequences in one batch come out as each does alone; of neighbours, since
    llama.cpp computes no others at once."""
    for seq in (0, 1):
        context.rollback(seq, past)
    one = context.add(0, chain[past : past + 2], past, 2)
    other = context.add(1, chain[past : past + 4], past, 4)
    context.decode()
    rows = [one, one + 1, *range(other, other + 4)]
    return [_digest(context, row) for row in rows] == [*expected[:2], *expected[:4]]


def _digest(context: Context, row: int) -> bytes:
    return blake2b(context.logits(row).tobytes(), digest_size=16).digest()


def _seconds(context: Context, chain: Sequence[int], size: int) -> float:
    """The fastest of a few batches of `size` rows after `NEAR` tokens."""
    past, took = min(NEAR, context.length(0)), []
    for _time in range(5):
        context.rollback(0, past)
        began = perf_counter()
        context.add(0, chain[past : past + size], past, size)
        context.decode()
        took.append(perf_counter() - began)
    return min(took)
