"""Reads the header of a GGUF file: metadata and where the tensors lie, never a weight.

Nothing in a file is trusted. Every count and length is held against the size of the file before
anything is allocated, so that a broken file costs an error and not the machine's memory.
"""

from __future__ import annotations

import io
import os
import struct
import sys
from array import array
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, Never, TypeAlias

from specli.errors import ModelFileError
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
MAX_HEADER = 128 << 20
MAX_STRINGS = 1 << 22
"""Strings in all arrays of a file together; the largest vocabularies need a fifth of it."""
MAX_FIELDS = 1 << 16
MAX_TENSORS = 1 << 16
MAX_NAME = 63
MAX_DIMENSIONS = 4
MAX_ELEMENTS = (1 << 63) - 1

Value: TypeAlias = "int | float | bool | str | list[bytes] | array[int] | array[float]"


class NeedMoreBytes(Exception):  # noqa: N818 - a signal to the caller, not an error
    """The prefix ends inside the header; at least the first `needed` bytes of the file are due."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"at least {needed} bytes of the file are needed")
        self.needed = needed


@dataclass(frozen=True, slots=True)
class Field:
    """A metadata value with the types that the file gives it; `element` for arrays only.

    Strings are decoded with escapes for bad bytes; arrays of strings stay bytes, for speed.
    """

    value: Value
    kind: ValueType
    element: ValueType | None = None


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies: `offset` and `size` in bytes, the offset from the start of the data.

    `shape` is in the file's order, the fastest-changing dimension first.
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    size: int

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says before its weights.

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
        """A string. Raises ModelFileError when the key holds something else."""
        value = self._value(key)
        if value is None or isinstance(value, str):
            return value
        raise self._wrong_type(key, "a string")

    def flag(self, key: str) -> bool | None:
        """A boolean. Raises ModelFileError when the key holds something else."""
        value = self._value(key)
        if value is None or isinstance(value, bool):
            return value
        raise self._wrong_type(key, "a boolean")

    def integer(self, key: str) -> int | None:
        """A whole number of any width. Raises ModelFileError when the key holds something else."""
        value = self._value(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise self._wrong_type(key, "an integer")

    def number(self, key: str) -> float | None:
        """An integer or float. Raises ModelFileError when the key holds something else."""
        value = self._value(key)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        raise self._wrong_type(key, "a number")

    def strings(self, key: str) -> list[bytes] | None:
        """An array of strings. Raises ModelFileError when the key holds something else."""
        value = self._value(key)
        if value is None or isinstance(value, list):
            return value
        raise self._wrong_type(key, "an array of strings")

    def numbers(self, key: str) -> array[int] | array[float] | None:
        """An array of numbers. Raises ModelFileError when the key holds something else."""
        value = self._value(key)
        if value is None or isinstance(value, array):
            return value
        raise self._wrong_type(key, "an array of numbers")

    def model_integer(self, key: str) -> int | None:
        """An integer under the architecture's own prefix, such as `block_count`."""
        return self.integer(f"{self.architecture}.{key}")

    def _value(self, key: str) -> Value | None:
        entry = self.fields.get(key)
        return None if entry is None else entry.value

    def _wrong_type(self, key: str, expected: str) -> ModelFileError:
        entry = self.fields[key]
        found = entry.kind.name.lower()
        if entry.element is not None:
            found = f"array of {entry.element.name.lower()}"
        return ModelFileError(
            f"{self.name}: {key} is of type {found}, not {expected}", hint=_DOWNLOAD_AGAIN
        )


def read_header(source: str | os.PathLike[str] | BinaryIO) -> Header:
    """Read the header of a local file, or of a seekable binary file object.

    Raises ModelFileError when it is not a GGUF of a known version or contradicts itself. A file
    whose weights are cut short still has a header: compare `expected_size` with `file_size`.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            with path.open("rb") as file:
                return _read_growing(file, str(path))
        except OSError as error:
            raise ModelFileError(
                f"{path} cannot be read: {error.strerror}",
                hint="check the path and its permissions",
            ) from error
    return _read_growing(source, str(getattr(source, "name", "the GGUF data")))


def _read_growing(file: BinaryIO, name: str) -> Header:
    total = file.seek(0, io.SEEK_END)
    file.seek(0)
    prefix = file.read(FIRST_READ)
    while True:
        try:
            return parse_header(prefix, total, name)
        except NeedMoreBytes as signal:
            missing = max(signal.needed, 2 * len(prefix)) - len(prefix)
            more = file.read(missing)
            if not more:
                raise ModelFileError(f"{name} became shorter while it was read") from None
            prefix += more


def parse_header(prefix: bytes, file_size: int, name: str) -> Header:
    """Read a header from the first bytes of a file of `file_size` bytes; `name` is for messages.

    Raises NeedMoreBytes when the prefix is a good start but too short, ModelFileError as
    `read_header` does.
    """
    cursor = _Cursor(prefix, file_size, name)
    version = _read_version(cursor)
    tensor_count = cursor.count("Q", "tensors", MAX_TENSORS)
    field_count = cursor.count("Q", "metadata fields", MAX_FIELDS)
    fields: dict[str, Field] = {}
    for _ in range(field_count):
        key = cursor.string("a metadata key")
        if not key:
            cursor.fail("has a metadata field without a name")
        if key in fields:
            cursor.fail(f"has the metadata field {key!r} twice")
        fields[key] = _read_field(cursor, key)
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


def _read_version(cursor: _Cursor) -> int:
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


def _read_field(cursor: _Cursor, key: str) -> Field:
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


def _alignment(cursor: _Cursor, fields: dict[str, Field]) -> int:
    field = fields.get("general.alignment")
    if field is None:
        return DEFAULT_ALIGNMENT
    alignment = field.value
    if field.kind is not ValueType.UINT32 or not isinstance(alignment, int):
        cursor.fail("has a general.alignment that is not a 32-bit unsigned integer")
    if alignment == 0 or alignment & (alignment - 1):
        cursor.fail(f"has an alignment of {alignment}, which is not a power of two")
    return alignment


def _read_tensor(cursor: _Cursor, expected_offset: int) -> TensorInfo:
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
        _fail_type(cursor, name, type_id)
    elements = prod(shape)
    # Dimensions of zero may hide behind a product of zero, so each is checked on its own as well.
    if elements > MAX_ELEMENTS or any(size > MAX_ELEMENTS for size in shape):
        cursor.fail(f"has the tensor {name!r} with an impossible shape {shape}")
    if (shape[0] if shape else 1) % kind.block_size:
        cursor.fail(
            f"has the tensor {name!r} with rows of {shape[0] if shape else 1} elements, "
            f"not a multiple of {kind.name}'s block of {kind.block_size}"
        )
    offset = cursor.number("Q", f"the offset of {name!r}")
    if offset != expected_offset:
        cursor.fail(f"has the tensor {name!r} at offset {offset}, where {expected_offset} is due")
    return TensorInfo(name, shape, kind, offset, elements // kind.block_size * kind.block_bytes)


def _fail_type(cursor: _Cursor, name: str, type_id: int) -> Never:
    removed = REMOVED_TENSOR_TYPES.get(type_id)
    if removed is not None:
        raise ModelFileError(
            f"{cursor.name} stores the tensor {name!r} as {removed}, "
            "which llama.cpp no longer reads",
            hint="download another quantisation of the model, such as Q4_0 or Q4_K_M",
        )
    raise ModelFileError(
        f"{cursor.name} stores the tensor {name!r} in the unknown type {type_id}",
        hint="update specli and llama-cpp-python, or download the file again if it may be damaged",
    )


class _Cursor:
    """A place in the prefix of a file, with every read held against both lengths."""

    def __init__(self, prefix: bytes, file_size: int, name: str) -> None:
        self.name = name
        self.position = 0
        self._prefix = prefix
        self._file_size = file_size
        self._strings_left = MAX_STRINGS

    def fail(self, what: str) -> Never:
        raise ModelFileError(f"{self.name} {what}", hint=_DOWNLOAD_AGAIN)

    def _require(self, size: int, what: str) -> int:
        """The position after the next `size` bytes, which the prefix does hold."""
        end = self.position + size
        if end <= len(self._prefix):
            return end
        if end > self._file_size:
            self.fail(
                f"is cut short or damaged: {what} needs {size} bytes at {self.position}, "
                f"and the file has {self._file_size}"
            )
        if end > MAX_HEADER:
            self.fail(f"has a header larger than {MAX_HEADER >> 20} MiB, which no model has")
        raise NeedMoreBytes(end)

    def take(self, size: int, what: str) -> bytes:
        start, self.position = self.position, self._require(size, what)
        return self._prefix[start : self.position]

    def scalar(self, code: str, what: str) -> int | float:
        start, self.position = self.position, self._require(struct.calcsize("<" + code), what)
        value: int | float = struct.unpack_from("<" + code, self._prefix, start)[0]
        return value

    def number(self, code: str, what: str) -> int:
        return int(self.scalar(code, what))

    def count(self, code: str, what: str, limit: int) -> int:
        count = self.number(code, f"the number of {what}")
        if count > limit:
            self.fail(f"claims {count} {what}; {limit} is the most that is believed")
        return count

    def value_type(self, key: str) -> ValueType:
        number = self.number("I", f"the type of {key!r}")
        if number > ValueType.FLOAT64:
            self.fail(f"gives {key!r} the unknown type {number}")
        return ValueType(number)

    def string(self, what: str, limit: int = MAX_HEADER) -> str:
        size = self.number("Q", f"the length of {what}")
        if size > limit:
            self.fail(f"is damaged: {what} claims a length of {size} bytes")
        return self.take(size, what).decode("utf-8", "backslashreplace")

    def number_array(self, code: str, key: str) -> array[int] | array[float]:
        values: array[int] | array[float] = array(code)
        count = self.number("Q", f"the length of {key!r}")
        values.frombytes(self.take(count * values.itemsize, key))
        if sys.byteorder == "big":
            values.byteswap()
        return values

    def string_array(self, key: str) -> list[bytes]:
        count = self.number("Q", f"the length of {key!r}")
        if count > self._strings_left:
            self.fail(f"claims {count} strings in {key!r}; {MAX_STRINGS} is the most believed")
        self._strings_left -= count
        start = self.position
        # Each string needs eight bytes for its length: a wild count ends here.
        self._require(8 * count, key)
        prefix, limit = self._prefix, len(self._prefix)
        unpack = struct.Struct("<Q").unpack_from
        strings: list[bytes] = []
        append = strings.append
        position = start
        for _ in range(count):
            body = end = position + 8
            if body <= limit:
                end += unpack(prefix, position)[0]
            if end > limit:
                # Raises: the array leaves the prefix here, with its other lengths still to come.
                self._require(end - start + 8 * (count - len(strings) - 1), key)
            append(prefix[body:end])
            position = end
        self.position = position
        return strings


_DOWNLOAD_AGAIN = "download or convert the file again"
