"""What a round costs over the length of its context: time and memory of target and draft.

    python scripts/long_contexts.py TARGET.gguf DRAFT.gguf [--lengths 1024,4096] [--window 2048]

The caches are filled once, by copies of the states of a first block at later positions: what they
hold is no text, and costs as much as one. Then batches of 1, 2, 4 and 8 tokens are timed at each
length, of the target, of the draft that sees all of it and of one that sees a window, each the
fastest of several. Caches are Q8_0 with flash attention unless other types are asked for.
"""

from __future__ import annotations

import argparse
import ctypes
import json
from pathlib import Path
from time import perf_counter
from typing import Any

import llama_cpp
import numpy as np
import psutil

from specli.engine.measure import timed
from specli.llama.context import Context
from specli.llama.model import Model
from specli.llama.opening import ContextOptions
from specli.session.loading import physical_cores

BLOCK, CELL = 1024, 3
SIZES = (1, 2, 4, 8)


class Filled:
    """A context whose sequence 0 grows by copies of its first block, moved to later positions."""

    def __init__(self, context: Context, token: int) -> None:
        self.context, self.token = context, token
        rng = np.random.default_rng(1)
        tokens = [token, *rng.integers(300, context.n_vocab - 300, BLOCK - 1).tolist()]
        context.add(0, tokens, 0, 0)
        context.decode()
        size = llama_cpp.llama_state_seq_get_size(context.handle, 0)
        self.state = np.zeros(-(-size // 4), dtype=np.int32)
        llama_cpp.llama_state_seq_get_data(context.handle, self.pointer, size, 0)
        # Of each cell the state has the position, the number of its sequences, and the sequence.
        wanted = np.arange(BLOCK)
        starts = np.flatnonzero(self.state[:64] == 0)
        (self.start,) = (
            start
            for start in starts
            if np.array_equal(self.state[start : start + CELL * BLOCK : CELL], wanted)
        )

    @property
    def pointer(self) -> Any:
        return self.state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))

    def grow(self, length: int) -> None:
        context = self.context
        memory = llama_cpp.llama_get_memory(context.handle)
        while (at := context.length(0)) < length:
            places = slice(self.start, self.start + CELL * BLOCK, CELL)
            self.state[places] = np.arange(at, at + BLOCK)
            size = 4 * len(self.state)
            if not llama_cpp.llama_state_seq_set_data(context.handle, self.pointer, size, 1):
                raise SystemExit("llama.cpp could not copy a state")
            llama_cpp.llama_memory_seq_cp(memory, 1, 0, -1, -1)
            llama_cpp.llama_memory_seq_rm(memory, 1, -1, -1)

    def times(self, repeats: int) -> list[float]:
        """Milliseconds of each of `SIZES`, the fastest of so many."""
        context = self.context
        length = context.length(0)
        # The first batch after a pause is slow.
        timed(context, self.token, length, 1, perf_counter)
        found = [
            min(timed(context, self.token, length, size, perf_counter) for _run in range(repeats))
            for size in SIZES
        ]
        context.rollback(0, length)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path)
    parser.add_argument("draft", type=Path)
    parser.add_argument("--lengths", default="1024,4096,8192,16384,31744")
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-ctk", default="q8_0")
    parser.add_argument("-t", type=int, default=physical_cores())
    given = parser.parse_args()
    lengths = [int(one) for one in given.lengths.split(",")]
    process = psutil.Process()
    print("model, context, cache in MiB, process in MiB, ms for 1, 2, 4, 8 tokens")
    for path, most in (
        (given.target, max(lengths)),
        (given.draft, max(lengths)),
        (given.draft, given.window),
    ):
        options = ContextOptions(
            n_ctx=most + BLOCK,
            n_seq=2,
            threads=given.t,
            type_k=given.ctk,
            type_v=given.ctk,
            flash_attention="on",
        )
        with Model(path) as model, Context(model, options) as context:
            filled = Filled(context, max(model.vocab.bos, 0))
            for length in sorted({min(length, most) for length in lengths}):
                filled.grow(length)
                found = filled.times(given.repeats)
                cache = llama_cpp.llama_state_seq_get_size(context.handle, 0) / 2**20
                resident = process.memory_info().rss / 2**20
                row = {"model": path.name, "context": length, "window": most == given.window}
                row |= {"cache_mib": round(cache, 1), "rss_mib": round(resident)}
                print(json.dumps(row | {"ms": [round(one, 2) for one in found]}), flush=True)


if __name__ == "__main__":
    main()
