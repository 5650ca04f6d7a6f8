"""The most probable token of a row, found where the logits are: nothing of them is copied.

llama.cpp runs a sampler as part of a model's graph where every operation is supported by the
device of the output layer. None of its own samplers gives a token with its probability over the
whole vocabulary, so this one is made from `greedy`: the same functions but for the one that builds
the graph, which becomes

    token = argmax(logits),  probability = softmax(logits)[token].

Each row then brings eight bytes to the host, and no exponential is computed there.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import llama_cpp

from specli.llama import library

NO_TOKEN = -1

_VOID = ctypes.c_void_p
_lib = llama_cpp.llama_cpp._lib


class _Data(ctypes.Structure):
    """llama_sampler_data: tensors that one sampler hands to the next, and to the caller."""

    _fields_ = [
        ("logits", _VOID),
        ("probs", _VOID),
        ("sampled", _VOID),
        ("candidates", _VOID),
    ]


_Apply = ctypes.CFUNCTYPE(None, _VOID, _VOID, _VOID, ctypes.POINTER(_Data))

_FUNCTIONS = 12
_APPLY = 8
# name, accept, apply, reset, clone, free, backend_init, backend_accept, backend_apply,
# backend_set_input, backend_reset, copy_state: which of them `greedy` has.
_OF_GREEDY = (True, False, True, True, True, True, True, False, True, False, False, True)

_Interface = _VOID * _FUNCTIONS


class _Sampler(ctypes.Structure):
    _fields_ = [("interface", ctypes.POINTER(_Interface)), ("state", _VOID)]


def _native(name: str, restype: Any, *argtypes: Any) -> Any:
    function = _lib[name]
    function.restype = restype
    function.argtypes = argtypes
    return function


_set_sampler = _native("llama_set_sampler", ctypes.c_bool, _VOID, ctypes.c_int32, _VOID)
_chain_init = _native("llama_sampler_chain_init", _VOID, llama_cpp.llama_sampler_chain_params)
_chain_add = _native("llama_sampler_chain_add", None, _VOID, _VOID)
_greedy_init = _native("llama_sampler_init_greedy", _VOID)
_name = _native("llama_sampler_name", ctypes.c_char_p, _VOID)
_free = _native("llama_sampler_free", None, _VOID)
_token_at = _native("llama_get_sampled_token_ith", ctypes.c_int32, _VOID, ctypes.c_int32)
_chance_at = _native("llama_get_sampled_probs_ith", _VOID, _VOID, ctypes.c_int32)


class BestTokens:
    """Finds the most probable token on the device for any of a context's sequences.

    A sequence that is watched has no logits, and one output row in each batch.
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
        if seq in self._chains or self._supported is False or not known_layout():
            return
        chain, sampler = _chain()
        taken = _set_sampler(self._context, seq, chain)
        # llama.cpp marks a sampler that its device computes with a plus.
        self._supported = taken and _name(sampler).startswith(b"+")
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
        """The token of a batch row and its probability; NO_TOKEN where none was computed."""
        token: int = _token_at(self._context, row)
        chance = _chance_at(self._context, row)
        if not chance:
            return NO_TOKEN, 0.0
        return token, ctypes.c_float.from_address(chance).value

    def close(self) -> None:
        """Free the samplers; the context must have been freed before."""
        for chain in self._chains.values():
            _free(chain)
        self._chains.clear()


def _chain() -> tuple[int, int]:
    """A new chain and the one sampler in it; freeing the chain frees both."""
    sampler: int = _greedy_init()
    _Sampler.from_address(sampler).interface = ctypes.pointer(_interface())
    chain: int = _chain_init(llama_cpp.llama_sampler_chain_default_params())
    _chain_add(chain, sampler)
    return chain, sampler


@cache
def known_layout() -> bool:
    """Whether this library's samplers are laid out as this module was written for."""
    sampler: int = _greedy_init()
    interface = _Sampler.from_address(sampler).interface.contents
    found = tuple(bool(function) for function in interface) == _OF_GREEDY
    _free(sampler)
    return found


@cache
def _interface() -> Any:
    """greedy's functions with another `backend_apply`; lives as long as the process."""
    sampler: int = _greedy_init()
    interface = _Interface(*_Sampler.from_address(sampler).interface.contents)
    _free(sampler)
    interface[_APPLY] = ctypes.cast(_apply, _VOID).value
    return interface


@cache
def _operations() -> tuple[Any, ...]:
    long = ctypes.c_int64
    return (
        library.ggml("ggml_nelements", long, _VOID),
        library.ggml("ggml_reshape_1d", _VOID, _VOID, _VOID, long),
        library.ggml("ggml_reshape_2d", _VOID, _VOID, _VOID, long, long),
        library.ggml("ggml_argmax", _VOID, _VOID, _VOID),
        library.ggml("ggml_soft_max", _VOID, _VOID, _VOID),
        library.ggml("ggml_get_rows", _VOID, _VOID, _VOID, _VOID),
    )


def _build(graph: int, data: _Data) -> None:
    elements, flat, columns, argmax, soft_max, get_rows = _operations()
    count = elements(data.logits)
    logits = flat(graph, data.logits, count)
    best = argmax(graph, logits)
    chances = columns(graph, soft_max(graph, logits), 1, count)
    data.probs = get_rows(graph, chances, best)
    data.sampled = best
    # What is left here would be copied to the host.
    data.logits = None


_interrupted: list[bool] = []
"""Not empty when Ctrl-C fell into a callback, where raising it would only print it."""


def raise_interrupt() -> None:
    """Raise the KeyboardInterrupt that fell into a graph being built, if one did."""
    if _interrupted:
        _interrupted.clear()
        raise KeyboardInterrupt


@_Apply
def _apply(_sampler: int, graph: int, _nodes: int, data: Any) -> None:
    try:
        _build(graph, data.contents)
    except KeyboardInterrupt:
        _interrupted.append(True)
        _build(graph, data.contents)
