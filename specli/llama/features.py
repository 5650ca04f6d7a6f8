"""Hidden states of the target, which draft heads read: what enters a layer, and its last ones."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from specli.errors import LoadError
from specli.gguf.heads import PUBLISHING, PUBLISHING_LAST, PUBLISHING_NEXTN
from specli.llama import staging

NEXTN = 1 << 30
"""Stands for the target's last hidden states, which MTP layers continue from. No
model has so many layers."""


def enable(context: int, layers: Sequence[int], architecture: str, n_layer: int) -> None:
    """Keep the inputs of `layers` at every decode of the llama_context at this address.

    Raises LoadError where that would fail, or end the process.
    """
    require(layers, architecture, n_layer)
    for layer in layers:
        if layer == NEXTN:
            staging.set_nextn(context, True, False)
        else:
            staging.set_layer_input(context, layer, True)


def require(layers: Sequence[int], architecture: str, n_layer: int) -> None:
    """Raises LoadError where a target of this architecture cannot give the inputs of `layers`."""
    inputs = [layer for layer in layers if layer != NEXTN]
    if NEXTN in layers:
        staging.require("drafting from last hidden states", staging.set_nextn, staging.nextn)
        if architecture not in PUBLISHING_NEXTN:
            raise LoadError(f"llama.cpp gives no last hidden states of {architecture!r}")
    if not inputs:
        return
    staging.require(
        "drafting from hidden states of the target", staging.set_layer_input, staging.layer_input
    )
    if architecture not in PUBLISHING:
        raise LoadError(f"llama.cpp gives no hidden states of the architecture {architecture!r}")
    end = n_layer + (architecture in PUBLISHING_LAST)
    outside = [layer for layer in inputs if not 0 <= layer < end]
    if outside:
        raise LoadError(f"the target has layers 0 to {n_layer - 1}, but no layer {outside[0]}")


def read(context: int, layer: int, rows: int, width: int) -> NDArray[np.float32]:
    """The inputs of an enabled layer for the `rows` tokens of the last batch, shape (rows, width).

    A view that the next decode overwrites. Raises LoadError where llama.cpp has none.
    """
    address = staging.nextn(context) if layer == NEXTN else staging.layer_input(context, layer)
    if not address:
        raise LoadError(f"llama.cpp has no hidden states of layer {layer}")
    return _matrix(address, rows, width)


@lru_cache(maxsize=4096)
def _matrix(address: int, rows: int, width: int) -> NDArray[np.float32]:
    return floats(address, rows * width).reshape(rows, width)


@lru_cache(maxsize=4096)
def floats(address: int, count: int) -> NDArray[np.float32]:
    """A view of so many floats of the native library. Making one takes longer than reading them,
    and llama.cpp gives the same addresses again and again."""
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))
