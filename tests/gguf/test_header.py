from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.errors import ModelFileError
from specli.gguf.cursor import NeedMoreBytes
from specli.gguf.header import Header, parse_header, read_header
from specli.gguf.types import ValueType
from tests import tiny_gguf as tiny
from tests.tiny_gguf import Typed

SMALL = tiny.gguf_bytes(
    {
        "general.architecture": "llama",
        "general.alignment": 32,
        "an.integer": Typed(tiny.I64, -5),
        "a.float": 0.5,
        "a.flag": True,
        "some.strings": [b"one", b"", b"drei"],
        "some.numbers": [1, 2, 3],
    },
    {"first": np.ones((2, 4), np.float32), "second": np.zeros(3, np.float32)},
)
WHOLE = tiny.llama_bytes()


def outcome(content: bytes) -> Header | ModelFileError:
    """What reading gives; any exception but ModelFileError escapes and fails the test."""
    try:
        return tiny.header(content)
    except ModelFileError as error:
        return error


def test_metadata_comes_back_with_values_and_types() -> None:
    header = tiny.header(SMALL)
    assert header.architecture == "llama"
    assert header.integer("an.integer") == -5
    assert header.number("a.float") == 0.5
    assert header.flag("a.flag") is True
    assert header.strings("some.strings") == [b"one", b"", b"drei"]
    assert list(header.numbers("some.numbers") or []) == [1, 2, 3]
    assert header.fields["some.numbers"].element is ValueType.INT32
    assert header.text("not.there") is None


def test_tensors_come_back_with_shape_place_and_size() -> None:
    header = tiny.header(SMALL)
    first, second = header.tensors.values()
    assert (first.shape, first.type.name, first.offset, first.size) == ((4, 2), "F32", 0, 32)
    assert (second.shape, second.offset, second.size) == ((3,), 32, 12)
    assert header.data_offset % 32 == 0
    assert header.expected_size == header.data_offset + 32 + 12
    assert header.file_size == len(SMALL)


def test_a_value_of_another_type_is_refused_by_the_accessor_asked() -> None:
    header = tiny.header(SMALL)
    with pytest.raises(ModelFileError, match=r"a\.flag is of type bool, not an integer"):
        header.integer("a.flag")
    with pytest.raises(ModelFileError, match="array of int32, not an array of strings"):
        header.strings("some.numbers")


def test_a_prefix_that_is_too_short_says_how_much_more_it_needs() -> None:
    whole = parse_header(SMALL, len(SMALL), "x")
    for size in range(whole.data_offset):
        known = size
        for _ in range(200):
            try:
                header = parse_header(SMALL[:known], len(SMALL), "x")
            except NeedMoreBytes as signal:
                if not known < signal.needed <= whole.data_offset:
                    pytest.fail(f"with {known} bytes it asked for {signal.needed}")
                known = signal.needed
            else:
                assert header == whole
                break
        else:
            pytest.fail(f"never satisfied, starting from {size} bytes")


def test_a_file_larger_than_the_first_read_is_read_in_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specli.gguf.header.FIRST_READ", 100)
    path = tiny.write(tmp_path / "model.gguf", WHOLE)
    assert len(read_header(path).strings("tokenizer.ggml.tokens") or []) == 320


def test_every_truncation_of_a_header_is_a_clear_error() -> None:
    for size in range(tiny.header(SMALL).data_offset - 31):
        result = outcome(SMALL[:size])
        assert isinstance(result, ModelFileError), size
        assert "cut short" in result.message


def test_every_flipped_bit_of_a_header_ends_in_an_error_or_a_header() -> None:
    end = tiny.header(SMALL).data_offset
    results = []
    for position in range(end):
        for bit in range(8):
            broken = bytearray(SMALL)
            broken[position] ^= 1 << bit
            results.append(outcome(bytes(broken)))
    assert any(isinstance(result, Header) for result in results)
    assert any(isinstance(result, ModelFileError) for result in results)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_to_a_real_model_costs_little_memory(data: st.DataObject) -> None:
    end = tiny.header(WHOLE).data_offset
    broken = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, end - 1))
        broken[position] = data.draw(st.integers(0, 255))
    content = bytes(broken)
    tracemalloc.start()
    try:
        outcome(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20


def _head(version: int, tensors: int, fields: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, fields)


def _key(name: bytes, kind: int, rest: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + rest


def _tensor(name: bytes, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    packed = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return struct.pack("<Q", len(name)) + name + packed + struct.pack("<IQ", kind, offset)


HUGE = 1 << 60
PAGE = b"\0" * 4096
REFUSED = {
    "version 1": (_head(1, 0, 0), "version 1, which llama.cpp no longer reads"),
    "later version": (_head(4, 0, 0), "version 4"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "many fields": (_head(3, 0, HUGE), "metadata fields"),
    "many tensors": (_head(3, HUGE, 0), "tensors"),
    "long key": (_head(3, 0, 1) + struct.pack("<Q", HUGE), "claims a length"),
    "long string": (
        _head(3, 0, 1) + _key(b"k", tiny.STRING, struct.pack("<Q", 1 << 20)) + PAGE,
        "cut short or damaged",
    ),
    "many strings": (
        _head(3, 0, 1) + _key(b"k", tiny.ARRAY, struct.pack("<IQ", tiny.STRING, HUGE)) + PAGE,
        "strings in 'k'",
    ),
    "many numbers": (
        _head(3, 0, 1) + _key(b"k", tiny.ARRAY, struct.pack("<IQ", tiny.F64, HUGE)) + PAGE,
        "cut short or damaged",
    ),
    "nested arrays": (
        _head(3, 0, 1) + _key(b"k", tiny.ARRAY, struct.pack("<IQ", tiny.ARRAY, 1)) + PAGE,
        "array of arrays",
    ),
    "unknown value type": (_head(3, 0, 1) + _key(b"k", 13, PAGE), "unknown type 13"),
    "nameless field": (_head(3, 0, 1) + _key(b"", tiny.U8, b"\1"), "without a name"),
    "same field twice": (_head(3, 0, 2) + 2 * _key(b"k", tiny.U8, b"\1"), "'k' twice"),
    "odd alignment": (
        _head(3, 0, 1) + _key(b"general.alignment", tiny.U32, struct.pack("<I", 48)),
        "alignment of 48",
    ),
    "alignment of another type": (
        _head(3, 0, 1) + _key(b"general.alignment", tiny.U64, struct.pack("<Q", 32)),
        "not a 32-bit unsigned integer",
    ),
    "same tensor twice": (
        _head(3, 2, 0) + _tensor(b"t", (8,), 0, 0) + _tensor(b"t", (8,), 0, 32),
        "'t' twice",
    ),
    "long tensor name": (_head(3, 1, 0) + _tensor(b"t" * 64, (8,), 0, 0), "claims a length"),
    "five dimensions": (_head(3, 1, 0) + _tensor(b"t", (1,) * 5, 0, 0), "5 dimensions"),
    "impossible shape": (_head(3, 1, 0) + _tensor(b"t", (HUGE, 16), 0, 0), "impossible shape"),
    "zero hides a shape": (_head(3, 1, 0) + _tensor(b"t", (1 << 63, 0), 0, 0), "impossible"),
    "unknown tensor type": (_head(3, 1, 0) + _tensor(b"t", (32,), 99, 0), "unknown type 99"),
    "removed tensor type": (_head(3, 1, 0) + _tensor(b"t", (32,), 31, 0), "Q4_0_4_4"),
    "broken block": (_head(3, 1, 0) + _tensor(b"t", (33,), 2, 0), "not a multiple of Q4_0's block"),
    "tensor out of place": (_head(3, 1, 0) + _tensor(b"t", (32,), 0, 64), "where 0 is due"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_header_that_contradicts_itself_is_refused(case: str) -> None:
    content, words = REFUSED[case]
    result = outcome(content)
    assert isinstance(result, ModelFileError)
    assert words in result.message
    assert result.hint


def test_a_wild_length_in_a_huge_file_is_not_believed() -> None:
    content = _head(3, 0, 1) + _key(b"k", tiny.STRING, struct.pack("<Q", 120 << 20))
    with pytest.raises(NeedMoreBytes):
        parse_header(content, 1 << 40, "x")
    content = _head(3, 0, 1) + _key(b"k", tiny.ARRAY, struct.pack("<IQ", tiny.F64, 1 << 30))
    with pytest.raises(ModelFileError, match="header larger than"):
        parse_header(content, 1 << 40, "x")


def test_a_file_without_tensors_needs_no_padding() -> None:
    content = tiny.gguf_bytes({"general.architecture": "llama"})
    assert tiny.header(content).expected_size == len(content)
