"""How a context is made: what one may ask for, and llama.cpp's parameters for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import llama_cpp

from specli.errors import LoadError
from specli.gguf.types import TENSOR_TYPES
from specli.llama import library
from specli.llama.model import Model
from specli.llama.parameters import set_context
from specli.native import USUAL, Native


class Borrowed(Protocol):
    """A context whose tensors or cache another one uses; `Context` is one."""

    @property
    def handle(self) -> Any:
        """The llama_context."""


KV_TYPES = {
    kind.name.lower(): number
    for number, kind in TENSOR_TYPES.items()
    if kind.name in ("F32", "F16", "Q8_0", "Q4_0", "Q4_1", "IQ4_NL", "Q5_0", "Q5_1", "BF16")
}

FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}

BATCH, UBATCH = 2048, 512  # llama.cpp's own


@dataclass(frozen=True, slots=True)
class ContextOptions:
    """How to make a context. `n_ctx` counts positions of one sequence; 0 takes the model's own.

    `snapshots` asks for that many steps of recurrent rollback inside one batch, which a context for
    one sequence alone has. `best_on_device` lets `Context.watch_best` work; None means where the
    logits are computed on a GPU (on a CPU the extra graph nodes cost more than they save). With
    `separate_caches` each sequence has a cache of its own in place of a share of one: no other's
    cells lie between its own.
    """

    target: Borrowed | None = None
    """Whose tensors or cache a draft head may borrow; closed after the head's context."""
    mtp: bool = False
    """Open a model's MTP layers alone."""
    n_ctx: int = 4096
    n_seq: int = 1
    n_batch: int = BATCH
    n_ubatch: int = UBATCH
    threads: int = 4
    threads_batch: int | None = None
    type_k: str = "f16"
    type_v: str = "f16"
    flash_attention: str = "auto"
    snapshots: int = 0
    best_on_device: bool | None = None
    separate_caches: bool = False
    native: Native = USUAL


def open_context(model: Model, options: ContextOptions, n_ctx: int) -> Any:
    """A new llama_context. Raises LoadError when llama.cpp cannot make it, with its reason."""
    params = llama_cpp.llama_context_default_params()
    if options.target is not None:
        params.ctx_other = options.target.handle
    if options.mtp:
        params.ctx_type = llama_cpp.LLAMA_CONTEXT_TYPE_MTP
    params.n_ctx = n_ctx * options.n_seq
    # llama.cpp may move the state of a sequence that a batch has decoded already, to make room for
    # another one's, and leaves its snapshots behind (its issue 28019 reports it): a rollback
    # then takes up a foreign state.
    params.n_rs_seq = options.snapshots if options.n_seq == 1 and model.keeps_snapshots else 0
    takes_checkpoints = model.is_recurrent and not (params.n_rs_seq or options.mtp)
    params.n_seq_max = 2 * options.n_seq if takes_checkpoints else options.n_seq
    # llama.cpp aborts where a token of each sequence does not fit.
    params.n_batch = max(min(options.n_batch, max(n_ctx, 32)), params.n_seq_max)
    params.n_ubatch = min(options.n_ubatch, params.n_batch)
    params.n_threads = options.threads
    params.n_threads_batch = options.threads_batch or options.threads
    params.type_k = KV_TYPES[options.type_k]
    params.type_v = KV_TYPES[options.type_v]
    params.flash_attn_type = FLASH_ATTENTION[options.flash_attention]
    params.no_perf = True
    set_context(params, options.native)
    # A window's cache forgets positions that a rollback would need again.
    params.swa_full = True
    params.kv_unified = not options.separate_caches
    library.forget_log()
    with library.holding_interrupts() as pressed:
        handle = llama_cpp.llama_init_from_model(model.handle, params)
        if pressed() and handle:
            llama_cpp.llama_free(handle)
    if not handle:
        if (short := library.out_of_memory(f"a context of {n_ctx} tokens")) is not None:
            raise short
        raise LoadError(
            f"llama.cpp could not make a context of {n_ctx} tokens for {model.path}: "
            f"{library.log_errors()}",
            hint="a smaller context (-c) or smaller cache types (-ctk q8_0 -ctv q8_0) "
            "need less memory",
        )
    if not model.apply_adapters(handle):
        llama_cpp.llama_free(handle)
        raise LoadError(f"llama.cpp could not apply the adapters to {model.path}")
    return handle
