"""How much each block of a model changes what passes through it, from one decode."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from specli.errors import DecodeError, LoadError
from specli.llama import library
from specli.llama.library import ggml
from specli.llama.model import Model

_OUTPUT = re.compile(rb"l_out-(\d+)")
"""What llama.cpp's graphs call the output of a block."""


def block_influence(model: Model, tokens: Sequence[int], threads: int) -> dict[int, float]:
    """One minus the cosine between a block's input and output, on average over `tokens`.

    The first block is left out, and every block whose output the graph does not name. Raises
    LoadError and DecodeError.
    """
    outputs: dict[int, NDArray[np.float32]] = {}

    def look(tensor: int, asked: bool, _data: object) -> bool:
        named = _OUTPUT.fullmatch(ggml("ggml_get_name", ctypes.c_char_p, ctypes.c_void_p)(tensor))
        if named is None:
            # Asked whether it is wanted; else there is nothing that should stop the graph.
            return not asked
        if not asked:
            outputs[int(named[1])] = _floats(tensor, len(tokens))
        return True

    _decode(model, tokens, threads, llama_cpp.ggml_backend_sched_eval_callback(look))
    return {
        block: _change(outputs[block - 1], output)
        for block, output in outputs.items()
        if block - 1 in outputs and outputs[block - 1].shape == output.shape
    }


def _decode(model: Model, tokens: Sequence[int], threads: int, callback: Any) -> None:
    """Decode in a context of its own, all rows with logits: else the last block has few rows."""
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = len(tokens)
    params.n_threads = params.n_threads_batch = threads
    params.cb_eval = callback
    with library.holding_interrupts():
        context = llama_cpp.llama_init_from_model(model.handle, params)
        if not context:
            raise LoadError(f"llama.cpp could not make a context for {model.path}")
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        try:
            for place, token in enumerate(tokens):
                batch.token[place], batch.pos[place] = token, place
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
                batch.logits[place] = 1
            batch.n_tokens = len(tokens)
            if llama_cpp.llama_decode(context, batch) != 0:
                raise DecodeError(f"llama.cpp failed to decode with {model.path}")
        finally:
            llama_cpp.llama_batch_free(batch)
            llama_cpp.llama_free(context)


def _floats(tensor: int, rows: int) -> NDArray[np.float32]:
    size = ggml("ggml_nbytes", ctypes.c_size_t, ctypes.c_void_p)(tensor)
    values = np.empty(size // 4, dtype=np.float32)
    get = ggml(
        "ggml_backend_tensor_get",
        None,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
    )
    get(tensor, values.ctypes.data, 0, size)
    return values.reshape(rows, -1) if values.size % rows == 0 else values[None]


def _change(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    products = (before * after).sum(axis=1)
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    return float(1 - (products / np.maximum(lengths, 1e-12)).mean())
