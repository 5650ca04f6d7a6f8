"""Hidden states of the target, which draft heads read: what enters a layer, and its last ones."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from specli.errors import LoadError
from specli.llama import staging

NEXTN = 1 << 30
"""Stands for the target's last hidden states, which MTP layers continue from. No
model has so many layers."""

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

PUBLISHING_LAST = frozenset(("mimo2", "nemotron_h", "nemotron_h_moe", "deepseek4"))
"""Those that also publish the output of the last layer, as the input of a layer past it."""

PUBLISHING_NEXTN = frozenset(
    (
        *("bailingmoe3", "cohere2moe", "deepseek2", "deepseek32", "deepseek4", "gemma4", "glm-dsa"),
        *("glm4moe", "gpt-oss", "hy_v3", "mimo2", "nemotron_h", "nemotron_h_moe", "qwen35"),
        *("qwen35moe", "qwen3next", "step35"),
    )
)
"""Those whose graphs publish `NEXTN`; any other gives zeros for it."""


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
    return floats(address, rows * width).reshape(rows, width)


def floats(address: int, count: int) -> NDArray[np.float32]:
    """A view of so many floats of the native library."""
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))
