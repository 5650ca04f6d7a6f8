"""Which blocks may go, told from the header; what may not says why."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.errors import UsageError
from specli.gguf.header import Header, read_header
from specli.making.blocks import (
    Blocks,
    block_ranges,
    kept_blocks,
    parse_blocks,
    per_block_keys,
    read_blocks,
    require_droppable,
)
from tests import tiny_gguf as tiny
from tests.tiny_gguf import Value


def header_of(architecture: str = "llama", layers: int = 4, **extra: Value) -> Header:
    named = {f"{architecture}.{key.replace('__', '.')}": value for key, value in extra.items()}
    shape = tiny.Shape(layers=layers)
    content = tiny.llama_bytes(architecture=architecture, shape=shape, extra=named)
    return read_header(BytesIO(content))


def test_each_block_of_a_plain_model_may_go_but_not_all() -> None:
    blocks = read_blocks(header_of())
    assert blocks.units == [(0,), (1,), (2,)]
    with pytest.raises(UsageError, match="no block would be left"):
        require_droppable(blocks, {0, 1, 2, 3})


@pytest.mark.parametrize(
    ("architecture", "extra", "cycle"),
    [
        ("gemma3", {"attention__sliding_window": 16}, 6),
        (
            "gemma3",
            {"attention__sliding_window": 16, "attention__sliding_window_pattern": 3},
            3,
        ),
        ("gemma3", {}, 1),
        ("gemma2", {"attention__sliding_window": 16}, 2),
        ("smollm3", {}, 4),
        ("qwen35", {}, 4),
        ("qwen35", {"full_attention_interval": 2}, 2),
    ],
)
def test_patterns_that_count_blocks_make_groups(
    architecture: str, extra: dict[str, Value], cycle: int
) -> None:
    blocks = read_blocks(header_of(architecture, layers=12, **extra))
    assert blocks.cycle == cycle
    assert all(len(unit) == cycle for unit in blocks.units)
    for unit in blocks.units:
        require_droppable(blocks, unit)
    if cycle > 1:
        with pytest.raises(UsageError, match="out of step"):
            require_droppable(blocks, {1})


def test_a_pattern_spelled_out_for_each_block_needs_no_groups() -> None:
    flags = [1, 1, 0, 1]
    header = header_of(
        "gemma3", attention__sliding_window=16, attention__sliding_window_pattern=flags
    )
    assert read_blocks(header).cycle == 1
    assert "gemma3.attention.sliding_window_pattern" in per_block_keys(header)


@pytest.mark.parametrize(
    ("architecture", "layers", "extra", "reason"),
    [
        ("llama", 4, {"attention__shared_kv_layers": 2}, "cache of earlier ones"),
        ("llama", 4, {"embedding_length_per_layer_input": 8}, "an input for every block"),
        ("gemma2", 46, {"attention__sliding_window": 16}, "number of blocks"),
        ("llama99", 4, {}, "llama99"),
    ],
)
def test_what_depends_on_the_count_is_refused_with_the_reason(
    architecture: str, layers: int, extra: dict[str, Value], reason: str
) -> None:
    blocks = read_blocks(header_of(architecture, layers, **extra))
    assert blocks.units == []
    with pytest.raises(UsageError, match=reason):
        require_droppable(blocks, {1})
    require_droppable(blocks, ())


def test_leading_dense_blocks_and_trailing_prediction_blocks_stay() -> None:
    blocks = read_blocks(header_of("deepseek", leading_dense_block_count=1))
    assert blocks.units == [(1,), (2,), (3,)]
    with pytest.raises(UsageError, match="block 0 has to stay"):
        require_droppable(blocks, {0})
    blocks = read_blocks(header_of("qwen3", nextn_predict_layers=1))
    assert blocks.units == [(0,), (1,), (2,)]
    with pytest.raises(UsageError, match="block 3 has to stay"):
        require_droppable(blocks, {3})


def test_a_block_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="no block 7 among 4"):
        require_droppable(Blocks(4), {7})


def test_only_arrays_as_long_as_the_model_belong_to_blocks() -> None:
    header = header_of(
        attention__head_count_kv=[2, 2, 2, 2],
        rope__dimension_sections=[1, 1, 1, 1],
        other=[1, 2, 3],
    )
    assert per_block_keys(header) == ["llama.attention.head_count_kv"]


@given(
    count=st.integers(2, 40),
    cycle=st.integers(1, 6),
    first=st.integers(0, 3),
    last=st.integers(0, 2),
)
def test_units_can_go_alone_and_together(count: int, cycle: int, first: int, last: int) -> None:
    blocks = Blocks(count, cycle, min(first, count), min(last, count))
    for unit in blocks.units:
        require_droppable(blocks, unit)
    every = {block for unit in blocks.units for block in unit}
    require_droppable(blocks, every)
    assert kept_blocks(count, every)


@given(st.frozensets(st.integers(0, 60)))
def test_blocks_are_read_as_they_are_written(blocks: frozenset[int]) -> None:
    assert parse_blocks("--drop-layers", block_ranges(blocks) or "none") == blocks


@pytest.mark.parametrize("text", ["", "a", "3-", "-3", "5-2", "1;2", "0-99999999999"])
def test_what_is_no_list_of_blocks_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--drop-layers"):
        parse_blocks("--drop-layers", text)
