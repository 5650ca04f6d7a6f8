"""Writes a GGUF file's header anew. What is taken from another file is copied byte by byte."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from specli.gguf.header import DEFAULT_ALIGNMENT, MAGIC, Header, TensorInfo, read_header
from specli.gguf.types import TYPE_NUMBERS, ValueType

_VERSION = 3
_COPY_BYTES = 16 << 20


def rewrite(source: Path, made: Path, values: Mapping[str, str | int]) -> None:
    """Write `made`: the tensors of `source` and its metadata, with `values` set.

    Raises ModelFileError when `source` cannot be read, OSError when `made` cannot be written.
    """
    header = read_header(source)
    fields = _copied(source, header, lambda key: key not in values)
    with source.open("rb") as old, made.open("wb") as new:
        new.write(_header(fields, values, list(header.tensors.values()), header.alignment))
        old.seek(header.data_offset)
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
    offsets are computed. Raises as `rewrite` does.
    """

    def is_kept(key: str) -> bool:
        # Without a key of its own the alignment is the default one.
        return not (key.startswith("tokenizer.") or key == "general.alignment" or key in values)

    fields = _copied(base, read_header(base), is_kept)
    fields += _copied(tokenizer, read_header(tokenizer), lambda key: key.startswith("tokenizer."))
    offset = 0
    located = []
    for tensor in tensors:
        located.append(replace(tensor, offset=offset))
        offset += tensor.size + -tensor.size % DEFAULT_ALIGNMENT
    made.write_bytes(_header(fields, values, located, DEFAULT_ALIGNMENT))


def _copied(path: Path, header: Header, is_kept: Callable[[str], bool]) -> list[bytes]:
    """The entries of a file's metadata whose key is kept."""
    with path.open("rb") as file:
        start = file.read(header.data_offset)
    return [start[slice(*one.span)] for key, one in header.fields.items() if is_kept(key)]


def _header(
    fields: Sequence[bytes],
    values: Mapping[str, str | int],
    tensors: Sequence[TensorInfo],
    alignment: int,
) -> bytes:
    counts = struct.pack("<IQQ", _VERSION, len(tensors), len(fields) + len(values))
    parts = [MAGIC, counts, *fields, *(_field(key, value) for key, value in values.items())]
    for tensor in tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        parts += [_string(tensor.name), shape]
        parts.append(struct.pack("<IQ", TYPE_NUMBERS[tensor.type], tensor.offset))
    content = b"".join(parts)
    return content + b"\0" * (-len(content) % alignment)


def _field(key: str, value: str | int) -> bytes:
    if isinstance(value, str):
        return _string(key) + struct.pack("<I", ValueType.STRING) + _string(value)
    wide = value >= 1 << 32
    kind = ValueType.UINT64 if wide else ValueType.UINT32
    return _string(key) + struct.pack("<IQ" if wide else "<II", kind, value)


def _string(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content
