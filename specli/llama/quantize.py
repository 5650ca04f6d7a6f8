"""Model files made from model files: other weight types, blocks left out."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

import llama_cpp

from specli.errors import LoadError, UsageError
from specli.llama import library

_PREFIXES = ("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_")


def type_names() -> dict[str, int]:
    """Weight types by the names people use (F32, Q4_K_M, ...) and llama.cpp's number for each."""
    return {
        name.removeprefix(prefix): value
        for name, value in vars(llama_cpp).items()
        for prefix in _PREFIXES
        if name.startswith(prefix)
    }


def quantize(source: Path, made: Path, type_name: str, prune_layers: Sequence[int] = ()) -> None:
    """Write `made` from `source` with weights of `type_name`, leaving out whole blocks.

    Raises UsageError for a type that does not exist, LoadError when llama.cpp refuses.
    """
    types = type_names()
    wanted = types.get(type_name.upper())
    if wanted is None:
        raise UsageError(
            f"no weight type is called {type_name!r}", hint="one of: " + ", ".join(sorted(types))
        )
    library.start()
    library.forget_log()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = wanted
    params.allow_requantize = True
    params.nthread = os.cpu_count() or 1
    if prune_layers:
        # llama.cpp reads the list up to its first negative entry.
        layers = (ctypes.c_int32 * (len(prune_layers) + 1))(*sorted(prune_layers), -1)
        params.prune_layers = ctypes.cast(layers, ctypes.POINTER(ctypes.c_int32))
    with library.holding_interrupts():
        status = llama_cpp.llama_model_quantize(
            os.fsencode(source), os.fsencode(made), ctypes.byref(params)
        )
    if status != 0:
        raise LoadError(
            f"llama.cpp could not make {type_name} weights from {source}: "
            f"{library.log_errors() or 'no reason given'}"
        )
