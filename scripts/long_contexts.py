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

import llama_cpp
import numpy as np
import psutil

from specli.engine.measure import timed
from specli.llama.context import Context, ContextOptions
from specli.llama.model import Model
from specli.session.loading import physical_cores

BLOCK = 1024
SIZES = (1, 2, 4, 8)


def fill(context: Context, token: int, length: int) -> None:
    """Make sequence 0 that long, by copies of its first block moved to later positions."""
    memory = llama_cpp.llama_get_memory(context.handle)
    if context.length(0) == 0:
        rng = np.random.default_rng(1)
        tokens = [token, *rng.integers(300, context.n_vocab - 300, BLOCK - 1).tolist()]
        context.add(0, tokens, 0, 0)
        context.decode()
    size = llama_cpp.llama_state_seq_get_size(context.handle, 0)
    state = (ctypes.c_uint8 * size)()
    if context.length(0) == BLOCK:
        llama_cpp.llama_state_seq_get_data(context.handle, state, size, 0)
        context_states[id(context)] = state
    state = context_states[id(context)]
    while context.length(0) < length:
        at = context.length(0)
        if not llama_cpp.llama_state_seq_set_data(context.handle, state, len(state), 1):
            raise SystemExit("llama.cpp could not copy a state")
        llama_cpp.llama_memory_seq_add(memory, 1, 0, -1, at)
        llama_cpp.llama_memory_seq_cp(memory, 1, 0, -1, -1)
        llama_cpp.llama_memory_seq_rm(memory, 1, -1, -1)


context_states: dict[int, ctypes.Array[ctypes.c_uint8]] = {}


def times(context: Context, length: int, token: int, repeats: int) -> list[float]:
    """Milliseconds of each of `SIZES` at this length."""
    fill(context, token, length)
    timed(context, token, length, 1, __import__("time").perf_counter)
    found = []
    for size in SIZES:
        runs = []
        for _run in range(repeats):
            begin = context.native_ns
            timed(context, token, length, size, lambda: 0.0)
            runs.append((context.native_ns - begin) / 1e6)
        context.rollback(0, length)
        found.append(min(runs))
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
            n_ctx=(most + BLOCK) // 2 + BLOCK,
            n_seq=2,
            threads=given.t,
            type_k=given.ctk,
            type_v=given.ctk,
            flash_attention="on",
        )
        with Model(path) as model, Context(model, options) as context:
            context.n_ctx *= 2
            context._make_batch()
            for length in lengths:
                if length > most:
                    continue
                found = times(context, length, max(model.vocab.bos, 0), given.repeats)
                cache = llama_cpp.llama_state_seq_get_size(context.handle, 0) / 2**20
                resident = process.memory_info().rss / 2**20
                row = {"model": path.name, "context": length, "window": most == given.window}
                row |= {"cache_mib": round(cache, 1), "rss_mib": round(resident)}
                print(json.dumps(row | {"ms": [round(one, 2) for one in found]}), flush=True)


if __name__ == "__main__":
    main()
