"""llama.cpp's own parameters, as its structures want them.

What those point to must live as long as the model: the caller keeps what is returned.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from specli.errors import LoadError, ModelFileError, UsageError
from specli.gguf.header import read_header
from specli.llama import library
from specli.native import POSITIONS, Native, Override

LOAD_MODES = {"auto": -1, "none": 0, "mmap": 1, "mlock": 2, "mmap+mlock": 3, "dio": 4}
SPLIT_MODES = {"none": 0, "layer": 1, "row": 2, "tensor": 3}
ROPE_SCALINGS = {"none": 0, "linear": 1, "yarn": 2}
_KINDS = {
    "int": (0, "val_i64"),
    "float": (1, "val_f64"),
    "bool": (2, "val_bool"),
    "str": (3, "val_str"),
}


class _TensorBuffer(ctypes.Structure):
    """llama_model_tensor_buft_override, which llama-cpp-python does not bind."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p))


def set_model(params: Any, native: Native) -> list[Any]:
    """Set a model's parameters; returns what must outlive the model.

    Raises UsageError for buffers and GPUs that this build does not have.
    """
    if native.numa is not None:
        library.use_numa(native.numa)
    params.load_mode = LOAD_MODES[native.load_mode]
    params.split_mode = SPLIT_MODES[native.split_mode]
    params.main_gpu = native.main_gpu
    kept: list[Any] = []
    if native.tensor_split:
        kept.append(_shares(native.tensor_split))
        params.tensor_split = ctypes.cast(kept[-1], ctypes.POINTER(ctypes.c_float))
    if native.tensor_buffers:
        kept.append(_buffers(native.tensor_buffers))
        params.tensor_buft_overrides = ctypes.cast(kept[-1], ctypes.c_void_p)
    if native.overrides:
        kept.append(_overrides(native.overrides))
        params.kv_overrides = kept[-1]
    return kept


def set_context(params: Any, native: Native) -> None:
    """Set how positions are encoded; what is None stays the model's own."""
    if native.rope_scaling is not None:
        params.rope_scaling_type = ROPE_SCALINGS[native.rope_scaling]
    for name in POSITIONS:
        value = getattr(native, name)
        if value is not None:
            setattr(params, name, value)


def load_adapters(model: Any, loras: Sequence[tuple[str, float]]) -> list[Any]:
    """LoRA adapters for a loaded model, which frees them when it is freed.

    Raises ModelFileError for what is no adapter, LoadError with llama.cpp's words for one that
    does not fit.
    """
    handles = []
    for file, _scale in loras:
        path = Path(file).expanduser()
        _require_adapter(path)
        library.forget_log()
        handle = llama_cpp.llama_adapter_lora_init(model, os.fsencode(path))
        if not handle:
            raise LoadError(
                f"llama.cpp could not load the adapter {path}: {library.log_errors()}",
                hint="an adapter fits the model that it was trained on",
            )
        handles.append(handle)
    return handles


def load_control_vectors(
    vectors: Sequence[tuple[str, float]], hidden_size: int, layers: int
) -> NDArray[np.float32] | None:
    """The sum of control vectors, a row for each layer from the second on; None without any.

    Raises ModelFileError for what is no control vector for a model of this size.
    """
    if not vectors:
        return None
    rows = np.zeros((layers, hidden_size), dtype=np.float32)
    for file, scale in vectors:
        path = Path(file).expanduser()
        header = read_header(path)
        if not header.tensors or header.expected_size > header.file_size:
            raise ModelFileError(f"{path} holds no whole control vector")
        for tensor in header.tensors.values():
            name, _dot, layer = tensor.name.partition(".")
            if name != "direction" or not layer.isdecimal() or not 0 < int(layer) <= layers:
                raise ModelFileError(
                    f"{path} is no control vector for this model: it has the tensor {tensor.name}",
                    hint=f"directions are named direction.1 to direction.{layers} here",
                )
            if tensor.type.name != "F32" or tensor.shape != (hidden_size,):
                raise ModelFileError(
                    f"{path} is no control vector for this model: {tensor.name} is "
                    f"{tensor.type.name} of shape {tensor.shape}, not F32 of {hidden_size}",
                    hint="a control vector fits the model that it was made for",
                )
            at = header.data_offset + tensor.offset
            direction = np.fromfile(path, dtype="<f4", count=hidden_size, offset=at)
            rows[int(layer) - 1] += np.float32(scale) * direction
    return rows


def apply_control_vectors(context: Any, rows: NDArray[np.float32], layers: Sequence[int]) -> bool:
    """Compute with control vectors from the next batch on; False where llama.cpp refuses.

    `layers` are the first and the last one that they act on; without any, they act on all.
    """
    first, last = layers or (1, len(rows))
    data = rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    done: int = llama_cpp.llama_set_adapter_cvec(
        context, data, rows.size, rows.shape[1], first, last
    )
    return done == 0


def apply_adapters(context: Any, adapters: Sequence[Any], scales: Sequence[float]) -> bool:
    """Compute with the adapters from the next batch on; False where llama.cpp refuses."""
    count = len(adapters)
    handles = (llama_cpp.llama_adapter_lora_p_ctypes * count)(*adapters)
    factors = (ctypes.c_float * count)(*scales)
    return llama_cpp.llama_set_adapters_lora(context, handles, count, factors) == 0


def _require_adapter(path: Path) -> None:
    """llama.cpp ends the process where one of these entries has another type."""
    header = read_header(path)
    kinds = [header.text("general.type"), header.text("adapter.type")]
    if kinds != ["adapter", "lora"]:
        raise ModelFileError(f"{path} is no LoRA adapter", hint="give a GGUF file of type lora")
    if "adapter.alora.invocation_tokens" in header.fields:
        raise ModelFileError(f"{path} is an activated LoRA, which is not supported")
    alpha = header.fields.get("adapter.lora.alpha")
    if alpha is not None and alpha.kind.name != "FLOAT32":
        raise ModelFileError(f"{path} is damaged: adapter.lora.alpha is no 32-bit float")


def _shares(shares: Sequence[float]) -> Any:
    most = llama_cpp.llama_max_devices()
    if len(shares) > most:
        raise UsageError(
            f"`tensor_split` has {len(shares)} shares, and llama.cpp at most {most} devices"
        )
    return (ctypes.c_float * most)(*shares)


def _buffers(wanted: Sequence[tuple[str, str]]) -> Any:
    known = library.buffer_types()
    for _pattern, name in wanted:
        if name not in known:
            raise UsageError(
                f"`override_tensor` names the buffer {name!r}",
                hint=f"this build of llama.cpp has: {', '.join(known)}",
            )
    entries = [_TensorBuffer(pattern.encode(), known[name]) for pattern, name in wanted]
    return (_TensorBuffer * (len(entries) + 1))(*entries)


def _overrides(wanted: Sequence[Override]) -> Any:
    # The last entry has an empty key, which ends the array.
    array = (llama_cpp.llama_model_kv_override * (len(wanted) + 1))()
    for entry, (key, kind, value) in zip(array, wanted, strict=False):
        entry.tag, field = _KINDS[kind]
        entry.key = key.encode()
        setattr(entry.value, field, value.encode() if isinstance(value, str) else value)
    return array
