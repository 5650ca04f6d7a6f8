"""Functions of llama.cpp's staging interface (`src/llama-ext.h`), which draft heads need.

They have C++ linkage, so each is looked up by its plain name first, in case it gets C linkage, then
by its Itanium and its MSVC name. One that does not resolve is None, and what needs it is not
available in this build: `require` says so in words.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp

from specli.errors import LoadError

_VOID = ctypes.c_void_p
_INT = ctypes.c_int32
_UINT = ctypes.c_uint32
_BOOL = ctypes.c_bool
_lib = llama_cpp.llama_cpp._lib


def resolved(plain: str, itanium: str, msvc: str, restype: Any, *argtypes: Any) -> Any:
    """A function of the library by the first of its names that there is; None without any."""
    for name in (plain, f"_Z{len(plain)}{plain}{itanium}", f"?{plain}@@{msvc}"):
        function = getattr(_lib, name, None)
        if function is not None:
            function.restype = restype
            function.argtypes = argtypes
            return function
    return None


def require(what: str, *functions: Any) -> None:
    """Raises LoadError where one of the functions did not resolve."""
    if None in functions:
        raise LoadError(
            f"{what} is not available in this build of llama.cpp",
            hint="llama-cpp-python 0.3.36 has it: pip install 'llama-cpp-python>=0.3.36,<0.4'",
        )


set_layer_input = resolved(
    "llama_set_embeddings_layer_inp",
    "P13llama_contextjb",
    "YAXPEAUllama_context@@I_N@Z",
    *(None, _VOID, _UINT, _BOOL),
)
layer_input = resolved(
    "llama_get_embeddings_layer_inp",
    "P13llama_contextj",
    "YAPEAMPEAUllama_context@@I@Z",
    *(_VOID, _VOID, _UINT),
)
set_nextn = resolved(
    "llama_set_embeddings_nextn",
    "P13llama_contextbb",
    "YAXPEAUllama_context@@_N1@Z",
    *(None, _VOID, _BOOL, _BOOL),
)
nextn = resolved(
    "llama_get_embeddings_nextn",
    "P13llama_context",
    "YAPEAMPEAUllama_context@@@Z",
    *(_VOID, _VOID),
)
nextn_of_row = resolved(
    "llama_get_embeddings_nextn_ith",
    "P13llama_contexti",
    "YAPEAMPEAUllama_context@@H@Z",
    *(_VOID, _VOID, _INT),
)
set_nextn_layer_offset = resolved(
    "llama_set_nextn_layer_offset",
    "P13llama_contexti",
    "YAXPEAUllama_context@@H@Z",
    *(None, _VOID, _INT),
)
target_layers = resolved(
    "llama_model_target_layer_ids",
    "PK11llama_model",
    "YAPEBHPEBUllama_model@@@Z",
    *(ctypes.POINTER(_INT), _VOID),
)
target_layers_count = resolved(
    "llama_model_target_layer_ids_n",
    "PK11llama_model",
    "YAIPEBUllama_model@@@Z",
    *(_UINT, _VOID),
)
selector_top_k = resolved(
    "llama_model_dflash_selector_top_k",
    "PK11llama_model",
    "YAHPEBUllama_model@@@Z",
    *(_INT, _VOID),
)
