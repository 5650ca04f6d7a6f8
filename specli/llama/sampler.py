"""A draft's most probable token, chosen on the device by llama.cpp's own backend sampler.

As `common/speculative.cpp` does for its drafts, a chain with top-k 10 becomes part of the model's
graph, so that ten candidates of each row are copied to the host and not the whole vocabulary.
"""

from __future__ import annotations

import ctypes
from math import exp

import llama_cpp

from specli.llama.library import function

NO_TOKEN = -1

_TOP_K = 10  # of common/speculative.cpp

_VOID = ctypes.c_void_p


_set_sampler = function("llama_set_sampler", ctypes.c_bool, _VOID, ctypes.c_int32, _VOID)
_chain_init = function("llama_sampler_chain_init", _VOID, llama_cpp.llama_sampler_chain_params)
_chain_add = function("llama_sampler_chain_add", None, _VOID, _VOID)
_top_k_init = function("llama_sampler_init_top_k", _VOID, ctypes.c_int32)
_name = function("llama_sampler_name", ctypes.c_char_p, _VOID)
_free = function("llama_sampler_free", None, _VOID)
_count = function("llama_get_sampled_logits_count_ith", ctypes.c_uint32, _VOID, ctypes.c_int32)
_logits = function("llama_get_sampled_logits_ith", _VOID, _VOID, ctypes.c_int32)
_candidates = function("llama_get_sampled_candidates_ith", _VOID, _VOID, ctypes.c_int32)


class BestTokens:
    """Finds the most probable token on the device for any of a context's sequences.

    A watched sequence has no logits. llama.cpp rejects a batch with more than one output of it.
    """

    def __init__(self, context: int) -> None:
        """`context` is the address of a llama_context, which must outlive this object's use."""
        self._context = context
        self._chains: dict[int, int] = {}
        self._supported: bool | None = None

    def __contains__(self, seq: int) -> bool:
        return seq in self._chains

    def watch(self, seq: int) -> None:
        """Find the best tokens of `seq` from the next batch on, where the device can."""
        if seq in self._chains or self._supported is False:
            return
        chain: int = _chain_init(llama_cpp.llama_sampler_chain_default_params())
        sampler: int = _top_k_init(_TOP_K)
        _chain_add(chain, sampler)
        attached = _set_sampler(self._context, seq, chain)
        # The chain is attached even if the device lacks an operation: then it yields nothing.
        # llama.cpp prefixes the name of a sampler that its device computes with a plus.
        self._supported = attached and _name(sampler).startswith(b"+")
        if self._supported:
            self._chains[seq] = chain
        else:
            _set_sampler(self._context, seq, None)
            _free(chain)

    def forget(self, seq: int) -> None:
        """Give `seq` its logits back from the next batch on."""
        chain = self._chains.pop(seq, None)
        if chain is not None:
            _set_sampler(self._context, seq, None)
            _free(chain)

    def best(self, row: int) -> tuple[int, float]:
        """The token of a batch row and its probability among the top 10 candidates.

        (`NO_TOKEN`, 0.0) where the device computed none.
        """
        address = _logits(self._context, row)
        if not address:
            return NO_TOKEN, 0.0
        count: int = _count(self._context, row)
        # Without candidates of its own llama.cpp returns the whole vocabulary, in order.
        ids = (ctypes.c_int32 * count).from_address(_candidates(self._context, row))
        logits = (ctypes.c_float * count).from_address(address)
        # The candidates are not sorted.
        index = max(range(count), key=logits.__getitem__)
        return ids[index], 1.0 / sum(exp(logit - logits[index]) for logit in logits)

    def close(self) -> None:
        """Free the samplers; the context must have been freed before."""
        for chain in self._chains.values():
            _free(chain)
        self._chains.clear()
