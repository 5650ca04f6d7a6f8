"""Hidden states that enter a layer of the target, which draft heads read.

The functions belong to llama.cpp's staging interface (`src/llama-ext.h`): they have C++ linkage, so
they are looked up by their plain, their Itanium and their MSVC name. What does not resolve makes
hidden states unavailable in this build.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from specli.errors import LoadError

PUBLISHING = frozenset(
    (
        *("llama", "qwen3", "qwen3moe", "qwen3next", "qwen35", "qwen35moe", "qwen4exp", "gemma4"),
        *("gpt-oss", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe", "hunyuan-dense"),
        *("hunyuan_vl", "mimo2", "minimax-01", "minimax-m2", "muse-glimmer", "nanbeige"),
        *("bailingmoe3", "deepseek4"),
    )
)
"""Values of `general.architecture` whose graphs publish layer inputs (llama.cpp 0.5.0). With any
other, enabling them ends the process by an assertion at the next decode."""

_VOID = ctypes.c_void_p
_lib = llama_cpp.llama_cpp._lib


def _resolved(names: Sequence[str], restype: Any, *argtypes: Any) -> Any:
    for name in names:
        function = getattr(_lib, name, None)
        if function is not None:
            function.restype = restype
            function.argtypes = argtypes
            return function
    return None


_enable = _resolved(
    (
        "llama_set_embeddings_layer_inp",
        "_Z30llama_set_embeddings_layer_inpP13llama_contextjb",
        "?llama_set_embeddings_layer_inp@@YAXPEAUllama_context@@I_N@Z",
    ),
    None,
    _VOID,
    ctypes.c_uint32,
    ctypes.c_bool,
)
_rows = _resolved(
    (
        "llama_get_embeddings_layer_inp",
        "_Z30llama_get_embeddings_layer_inpP13llama_contextj",
        "?llama_get_embeddings_layer_inp@@YAPEAMPEAUllama_context@@I@Z",
    ),
    _VOID,
    _VOID,
    ctypes.c_uint32,
)


def enable(context: int, layers: Sequence[int], architecture: str, n_layer: int) -> None:
    """Keep the inputs of `layers` at every decode of the llama_context at this address.

    Raises LoadError where that would fail, or end the process.
    """
    if _enable is None or _rows is None:
        raise LoadError("this build of llama.cpp gives no hidden states of the target")
    if architecture not in PUBLISHING:
        raise LoadError(f"llama.cpp gives no hidden states of the architecture {architecture!r}")
    outside = [layer for layer in layers if not 0 <= layer < n_layer]
    if outside:
        raise LoadError(f"the target has layers 0 to {n_layer - 1}, but no layer {outside[0]}")
    for layer in layers:
        _enable(context, layer, True)


def read(context: int, layer: int, rows: int, width: int) -> NDArray[np.float32]:
    """The inputs of an enabled layer for the `rows` tokens of the last batch, shape (rows, width).

    A view that the next decode overwrites. Raises LoadError where llama.cpp has none.
    """
    address = _rows(context, layer)
    if not address:
        raise LoadError(f"llama.cpp has no hidden states of layer {layer}")
    buffer = (ctypes.c_float * (rows * width)).from_address(address)
    return np.ctypeslib.as_array(buffer).reshape(rows, width)
