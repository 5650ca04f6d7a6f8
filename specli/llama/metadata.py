"""Writes a GGUF file's metadata anew."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from specli.errors import ModelFileError
from specli.gguf.header import TensorInfo
from specli.llama.library import ggml
from specli.llama.weights import TYPE_NUMBERS

_COPY_BYTES = 16 << 20


class _GgmlInitParams(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    )


class _InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


def rewrite(
    source: Path,
    made: Path,
    values: Mapping[str, str | int],
) -> None:
    """Write `made`: the tensors of `source` and its metadata, with `values` set.

    Raises ModelFileError when ggml cannot read the file, OSError when `made` cannot be written.
    """
    with ExitStack() as stack:
        content = _opened(source, stack)
        for key, value in values.items():
            _set(content, key, value)
        _write(content, made)
        # Of the file as it was read: setting keys does not move it.
        start = ggml("gguf_get_data_offset", ctypes.c_size_t, ctypes.c_void_p)(content)
    with source.open("rb") as old, made.open("ab") as new:
        old.seek(start)
        shutil.copyfileobj(old, new, _COPY_BYTES)


def write_grafted(
    base: Path,
    tokenizer: Path,
    made: Path,
    values: Mapping[str, str | int],
    tensors: Sequence[TensorInfo],
) -> None:
    """Write the header of `made`: the metadata of `base` with the tokenizer of another file.

    The data of `tensors` follows in their order, each filled up to `DEFAULT_ALIGNMENT`; their
    offsets are not looked at. Raises ModelFileError when ggml cannot read a file, OSError when
    `made` cannot be written.
    """
    with ExitStack() as stack:
        content = _opened(base, stack)
        for key in _keys(content):
            # Without a key of its own the alignment is the default one.
            if key.startswith(b"tokenizer.") or key == b"general.alignment":
                _remove(content, key)
        other = _opened(tokenizer, stack)
        for key in _keys(other):
            if not key.startswith(b"tokenizer."):
                _remove(other, key)
        empty = ggml("gguf_init_empty", ctypes.c_void_p)()
        stack.callback(_free, empty)
        copy = ggml("gguf_set_kv", None, ctypes.c_void_p, ctypes.c_void_p)
        copy(empty, content)
        copy(empty, other)
        for name, value in values.items():
            _set(empty, name, value)
        _add_tensors(empty, tensors)
        _write(empty, made)


def _opened(path: Path, stack: ExitStack) -> int:
    init = ggml("gguf_init_from_file", ctypes.c_void_p, ctypes.c_char_p, _InitParams)
    content: int | None = init(os.fsencode(path), _InitParams(no_alloc=True, context=None))
    if not content:
        raise ModelFileError(f"ggml cannot read {path}")
    stack.callback(_free, content)
    return content


def _free(content: int) -> None:
    ggml("gguf_free", None, ctypes.c_void_p)(content)


def _keys(content: int) -> list[bytes]:
    count = ggml("gguf_get_n_kv", ctypes.c_int64, ctypes.c_void_p)(content)
    key = ggml("gguf_get_key", ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64)
    return [key(content, index) for index in range(count)]


def _remove(content: int, key: bytes) -> None:
    ggml("gguf_remove_key", ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p)(content, key)


def _add_tensors(content: int, tensors: Sequence[TensorInfo]) -> None:
    overhead = ggml("ggml_tensor_overhead", ctypes.c_size_t)()
    init = ggml("ggml_init", ctypes.c_void_p, _GgmlInitParams)
    room = init(_GgmlInitParams((len(tensors) + 1) * overhead, None, True))
    new = ggml(
        "ggml_new_tensor",
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_int64),
    )
    name = ggml("ggml_set_name", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    add = ggml("gguf_add_tensor", None, ctypes.c_void_p, ctypes.c_void_p)
    try:
        for tensor in tensors:
            shape = (ctypes.c_int64 * len(tensor.shape))(*tensor.shape)
            handle = new(room, TYPE_NUMBERS[tensor.type], len(tensor.shape), shape)
            name(handle, tensor.name.encode())
            add(content, handle)
    finally:
        ggml("ggml_free", None, ctypes.c_void_p)(room)


def _write(content: int, made: Path) -> None:
    write = ggml(
        "gguf_write_to_file", ctypes.c_bool, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_bool
    )
    if not write(content, os.fsencode(made), True):
        raise OSError(0, "the metadata could not be written", str(made))


def _set(content: int, key: str, value: str | int) -> None:
    name = key.encode()
    if isinstance(value, str):
        function = ggml("gguf_set_val_str", None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)
        function(content, name, value.encode())
        return
    wide = value >= 1 << 32
    kind = ctypes.c_uint64 if wide else ctypes.c_uint32
    setter = "gguf_set_val_u64" if wide else "gguf_set_val_u32"
    ggml(setter, None, ctypes.c_void_p, ctypes.c_char_p, kind)(content, name, value)
