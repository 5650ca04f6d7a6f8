"""Rows of weights in ggml's storage types, to floats and back."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from specli.gguf.types import TYPE_NUMBERS, TensorType
from specli.llama.library import function

Floats = NDArray[np.float32]
Stored = NDArray[np.uint8]

_ToFloats = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


class _Traits(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("block_size", ctypes.c_int64),
        ("interleaved", ctypes.c_int64),
        ("block_bytes", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_floats", _ToFloats),
    )


def floats(kind: TensorType, rows: Stored) -> Floats:
    """Dequantised rows: one row of bytes each in, one row of numbers each out."""
    rows = np.ascontiguousarray(rows)
    if kind.name == "F32":
        return rows.view(np.float32)
    width = rows.shape[1] // kind.block_bytes * kind.block_size
    out = np.empty((len(rows), width), dtype=np.float32)
    find = function("ggml_get_type_traits", ctypes.POINTER(_Traits), ctypes.c_int)
    to_floats = find(TYPE_NUMBERS[kind]).contents.to_floats
    to_floats(rows.ctypes.data, out.ctypes.data, out.size)
    return out


def stored(kind: TensorType, rows: Floats) -> Stored:
    """Quantised rows, as llama.cpp's quantiser writes them without an importance matrix."""
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    count, width = rows.shape
    out = np.empty((count, width // kind.block_size * kind.block_bytes), dtype=np.uint8)
    number = TYPE_NUMBERS[kind]
    # Types of about two bits refuse to work without one; ones weigh all columns alike.
    needed = function("ggml_quantize_requires_imatrix", ctypes.c_bool, ctypes.c_int)(number)
    importance = np.ones(width, dtype=np.float32) if needed else None
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    arguments = (ctypes.c_int, pointer, pointer, size, size, size, pointer)
    quantize = function("ggml_quantize_chunk", ctypes.c_size_t, *arguments)
    address = None if importance is None else importance.ctypes.data
    quantize(number, rows.ctypes.data, out.ctypes.data, 0, count, width, address)
    return out
