"""Writes a model file with weights of another type, with or without all its blocks."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

import llama_cpp

from specli.errors import LoadError, UsageError
from specli.llama import library


def require_type(type_name: str) -> int:
    """llama.cpp's number for a weight type (F32, Q4_K_M, ...). Raises UsageError for no such."""
    types = {
        name.removeprefix(prefix): value
        for name, value in vars(llama_cpp).items()
        for prefix in ("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_")
        if name.startswith(prefix)
    }
    wanted = types.get(type_name.upper())
    if wanted is None:
        raise UsageError(
            f"no such weight type: {type_name!r}", hint="one of: " + ", ".join(sorted(types))
        )
    return wanted


def quantize(source: Path, made: Path, type_name: str, prune_layers: Sequence[int] = ()) -> None:
    """Write `made` from `source` with weights of `type_name`, leaving out whole blocks.

    Raises UsageError for a type that does not exist, LoadError when llama.cpp refuses.
    """
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = require_type(type_name)
    params.allow_requantize = True
    params.nthread = os.cpu_count() or 1
    if prune_layers:
        # llama.cpp reads the list up to its first negative entry.
        array = (ctypes.c_int32 * (len(prune_layers) + 1))(*sorted(prune_layers), -1)
        params.prune_layers = ctypes.cast(array, ctypes.POINTER(ctypes.c_int32))
    library.start()
    library.forget_log()
    with library.holding_interrupts():
        status = llama_cpp.llama_model_quantize(
            os.fsencode(source), os.fsencode(made), ctypes.byref(params)
        )
    if status != 0:
        raise LoadError(
            f"llama.cpp could not make {type_name} weights from {source}: {library.log_errors()}"
        )
