from __future__ import annotations

import ctypes

import pytest
from llama_cpp._ggml import libggml

from specli.gguf.types import REMOVED_TENSOR_TYPES, TENSOR_TYPES


@pytest.mark.parametrize("number", TENSOR_TYPES)
def test_sizes_are_those_of_ggml(number: int) -> None:
    libggml.ggml_type_size.restype = ctypes.c_size_t
    libggml.ggml_blck_size.restype = ctypes.c_int64
    libggml.ggml_type_name.restype = ctypes.c_char_p
    kind = TENSOR_TYPES[number]
    assert libggml.ggml_type_name(number).decode().lower() == kind.name.lower()
    assert libggml.ggml_blck_size(number) == kind.block_size
    assert libggml.ggml_type_size(number) == kind.block_bytes


@pytest.mark.parametrize("number", REMOVED_TENSOR_TYPES)
def test_removed_types_have_no_block_in_ggml(number: int) -> None:
    libggml.ggml_blck_size.restype = ctypes.c_int64
    assert libggml.ggml_blck_size(number) == 0
