"""Reads the header of a GGUF file: metadata and the positions of tensors, never a weight.

Nothing in a file is trusted. Every count and length is checked against the size of the file before
anything is allocated, so that a broken file costs an error and not the machine's memory.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TypeAlias, TypeVar, cast

from specli.errors import ModelFileError
from specli.gguf.cursor import DOWNLOAD_AGAIN, Cursor, NeedMoreBytes
from specli.gguf.types import (
    REMOVED_TENSOR_TYPES,
    SCALAR_CODES,
    TENSOR_TYPES,
    TensorType,
    ValueType,
)

MAGIC = b"GGUF"
SUPPORTED_VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32

FIRST_READ = 32 << 20
"""Bytes read at once from a local file; headers are nearly always smaller."""
MAX_FIELDS = 1 << 16
MAX_TENSORS = 1 << 16
MAX_NAME = 63
MAX_DIMENSIONS = 4
MAX_ELEMENTS = (1 << 63) - 1

T = TypeVar("T")
Value: TypeAlias = "int | float | bool | str | list[bytes] | array[int] | array[float]"


@dataclass(frozen=True, slots=True)
class Field:
    """A metadata value with the types that the file gives it; `element` for arrays only.

    Strings are decoded with escapes for bad bytes; arrays of strings stay bytes, for speed. `span`
    is the range of bytes that the entry takes in the file, its key included.
    """

    value: Value
    kind: ValueType
    element: ValueType | None = None
    span: tuple[int, int] = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """The position of a tensor: `offset` and `size` in bytes, the offset from the start of data.

    `shape` is in the file's order, the fastest-changing dimension first.
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def size(self) -> int:
        return self.elements // self.type.block_size * self.type.block_bytes


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a GGUF file.

    Methods that take a key return None where the file has no such key, and raise ModelFileError
    where its value is of another type.

    `data_offset` is where the tensor data starts, `expected_size` the bytes the whole file must
    have, `file_size` the bytes it has.
    """

    name: str
    version: int
    fields: dict[str, Field]
    tensors: dict[str, TensorInfo]
    alignment: int
    data_offset: int
    expected_size: int
    file_size: int

    @property
    def architecture(self) -> str:
        """The value of general.architecture, empty where the file has none."""
        return self.text("general.architecture") or ""

    def text(self, key: str) -> str | None:
        return self._value(key, "a string", str)

    def flag(self, key: str) -> bool | None:
        return self._value(key, "a boolean", bool)

    def integer(self, key: str) -> int | None:
        """A whole number of any width."""
        return self._value(key, "an integer", int)

    def number(self, key: str) -> float | None:
        return self._value(key, "a number", int, float)

    def strings(self, key: str) -> list[bytes] | None:
        return self._value(key, "an array of strings", list)

    def numbers(self, key: str) -> array[int] | array[float] | None:
        return self._value(key, "an array of numbers", array)

    def integers(self, key: str) -> array[int] | None:
        values = self.numbers(key)
        if values is None or values.typecode not in "fd":
            return cast("array[int] | None", values)
        raise self._wrong_type(key, "an array of integers")

    def model_integer(self, key: str) -> int | None:
        """An integer under the architecture's own prefix, such as `block_count`."""
        return self.integer(f"{self.architecture}.{key}")

    def required(self, key: str) -> int:
        """A count above 0 under the architecture's prefix. Raises ModelFileError without one."""
        value = self.model_integer(key)
        if value is None or value <= 0:
            raise ModelFileError(
                f"{self.name} has no {key} ({self.architecture}.{key})", hint=DOWNLOAD_AGAIN
            )
        return value

    def _value(self, key: str, expected: str, *types: type[T]) -> T | None:
        entry = self.fields.get(key)
        if entry is None:
            return None
        # isinstance would take a boolean for an integer.
        if type(entry.value) in types:
            return cast("T", entry.value)
        raise self._wrong_type(key, expected)

    def _wrong_type(self, key: str, expected: str) -> ModelFileError:
        entry = self.fields[key]
        found = f"array of {entry.element.name}" if entry.element is not None else entry.kind.name
        return ModelFileError(
            f"{self.name}: {key} is of type {found.lower()}, not {expected}", hint=DOWNLOAD_AGAIN
        )


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read the header of a local file.

    Raises ModelFileError when it is not a GGUF of a known version or contradicts itself. A file
    whose weights are cut short still has a header: compare `expected_size` with `file_size`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            total = file.seek(0, os.SEEK_END)
            file.seek(0)
            prefix = file.read(FIRST_READ)
            while True:
                try:
                    return parse_header(prefix, total, str(path))
                except NeedMoreBytes as signal:
                    more = file.read(max(signal.needed - len(prefix), len(prefix)))
                    if not more:
                        raise ModelFileError(f"{path} became shorter while it was read") from None
                    prefix += more
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read: {error.strerror}", hint="check the path and its permissions"
        ) from error


def parse_header(prefix: bytes, file_size: int, name: str) -> Header:
    """Read a header from the first bytes of a file of `file_size` bytes; `name` is for messages.

    Raises NeedMoreBytes when the prefix is a good start but too short, ModelFileError as
    `read_header` does.
    """
    cursor = Cursor(prefix, file_size, name)
    version = _read_version(cursor)
    tensor_count = cursor.count("Q", "tensors", MAX_TENSORS)
    field_count = cursor.count("Q", "metadata fields", MAX_FIELDS)
    fields: dict[str, Field] = {}
    for _ in range(field_count):
        start = cursor.position
        key = cursor.string("a metadata key")
        if not key:
            cursor.fail("has a metadata field without a name")
        if key in fields:
            cursor.fail(f"has the metadata field {key!r} twice")
        value = _read_field(cursor, key)
        fields[key] = replace(value, span=(start, cursor.position))
    alignment = _alignment(cursor, fields)
    tensors: dict[str, TensorInfo] = {}
    next_offset = end = 0
    for _ in range(tensor_count):
        tensor = _read_tensor(cursor, next_offset)
        if tensor.name in tensors:
            cursor.fail(f"has the tensor {tensor.name!r} twice")
        tensors[tensor.name] = tensor
        end = tensor.offset + tensor.size
        next_offset = end + -end % alignment
    data_offset = cursor.position
    if tensors:
        data_offset += -data_offset % alignment
    return Header(
        name=name,
        version=version,
        fields=fields,
        tensors=tensors,
        alignment=alignment,
        data_offset=data_offset,
        expected_size=data_offset + end,
        file_size=file_size,
    )


def _read_version(cursor: Cursor) -> int:
    if cursor.take(4, "the magic bytes") != MAGIC:
        cursor.fail("is not a GGUF file: it does not start with the letters GGUF")
    version = cursor.number("I", "the format version")
    if version & 0xFFFF == 0:
        cursor.fail("is a big-endian GGUF, which cannot be read here")
    if version == 1:
        raise ModelFileError(
            f"{cursor.name} is a GGUF of version 1, which llama.cpp no longer reads",
            hint="download a newer conversion of the model",
        )
    if version not in SUPPORTED_VERSIONS:
        raise ModelFileError(
            f"{cursor.name} is a GGUF of version {version}; this version of specli reads "
            f"versions {SUPPORTED_VERSIONS[0]} and {SUPPORTED_VERSIONS[-1]}",
            hint="update specli, or download the file again if it may be damaged",
        )
    return version


def _read_field(cursor: Cursor, key: str) -> Field:
    kind = cursor.value_type(key)
    if kind is ValueType.STRING:
        return Field(cursor.string(key), kind)
    if kind is not ValueType.ARRAY:
        value = cursor.scalar(SCALAR_CODES[kind], key)
        return Field(value != 0 if kind is ValueType.BOOL else value, kind)
    element = cursor.value_type(key)
    if element is ValueType.ARRAY:
        cursor.fail(f"has an array of arrays in {key!r}, which GGUF does not allow")
    if element is ValueType.STRING:
        return Field(cursor.string_array(key), kind, element)
    return Field(cursor.number_array(SCALAR_CODES[element], key), kind, element)


def _alignment(cursor: Cursor, fields: dict[str, Field]) -> int:
    found = fields.get("general.alignment")
    if found is None:
        return DEFAULT_ALIGNMENT
    alignment = found.value
    if found.kind is not ValueType.UINT32 or not isinstance(alignment, int):
        cursor.fail("has a general.alignment that is not a 32-bit unsigned integer")
    if alignment == 0 or alignment & (alignment - 1):
        cursor.fail(f"has an alignment of {alignment}, which is not a power of two")
    return alignment


def _read_tensor(cursor: Cursor, expected_offset: int) -> TensorInfo:
    name = cursor.string("a tensor name", limit=MAX_NAME)
    dimensions = cursor.number("I", f"the shape of {name!r}")
    if dimensions > MAX_DIMENSIONS:
        cursor.fail(
            f"has the tensor {name!r} with {dimensions} dimensions; {MAX_DIMENSIONS} is most"
        )
    shape = tuple(cursor.number("Q", f"the shape of {name!r}") for _ in range(dimensions))
    type_id = cursor.number("I", f"the type of {name!r}")
    kind = TENSOR_TYPES.get(type_id)
    if kind is None:
        raise _unknown_type(cursor.name, name, type_id)
    elements = prod(shape)
    # A product of zero may hide other wrong dimensions, so each is checked on its own as well.
    if elements > MAX_ELEMENTS or any(size > MAX_ELEMENTS for size in shape):
        cursor.fail(f"has the tensor {name!r} with an impossible shape {shape}")
    row = shape[0] if shape else 1
    if row % kind.block_size:
        cursor.fail(
            f"has the tensor {name!r} with rows of {row} elements, "
            f"not a multiple of {kind.name}'s block of {kind.block_size}"
        )
    offset = cursor.number("Q", f"the offset of {name!r}")
    if offset != expected_offset:
        cursor.fail(f"has the tensor {name!r} at offset {offset}, where {expected_offset} is due")
    return TensorInfo(name, shape, kind, offset)


def _unknown_type(file: str, tensor: str, type_id: int) -> ModelFileError:
    stores = f"{file} stores the tensor {tensor!r}"
    if type_id in REMOVED_TENSOR_TYPES:
        return ModelFileError(
            f"{stores} as {REMOVED_TENSOR_TYPES[type_id]}, which llama.cpp no longer reads",
            hint="download another quantisation of the model, such as Q4_0 or Q4_K_M",
        )
    return ModelFileError(
        f"{stores} in the unknown type {type_id}",
        hint="update specli and llama-cpp-python, or download the file again if it may be damaged",
    )
