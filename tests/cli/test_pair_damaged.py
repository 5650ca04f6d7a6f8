"""Damaged headers through the whole command: one clear sentence and exit code 1, or a verdict."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specli.gguf.header import read_header
from tests import tiny_gguf as tiny
from tests.cli.conftest import Outcome, Specli

SHAPE = tiny.Shape(layers=1, n_embd=8, heads=1, kv_heads=1, n_ff=8)
WHOLE = tiny.llama_bytes(shape=SHAPE)
FIELDS = 400
"""Bytes of magic, counts and the first fields; most of what follows are tokens."""

whole_command = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check(specli: Specli, folder: Path, content: bytes) -> Outcome:
    tiny.write(folder / "damaged.gguf", content)
    return specli("pair", "check", "target.gguf", str(folder / "damaged.gguf"))


def assert_one_sentence(done: Outcome) -> None:
    assert done.code == 1
    assert done.out == ""
    error, *hint = done.err.splitlines()
    assert error.startswith("error: ")
    assert "damaged.gguf" in error
    assert "fault of specli" not in done.err
    assert all(line.startswith("hint: ") for line in hint)
    assert len(hint) <= 1


@whole_command
@given(data=st.data())
def test_a_file_that_is_cut_short_is_refused(
    specli: Specli, tmp_path: Path, data: st.DataObject
) -> None:
    header_size = read_header(tiny.write(tmp_path / "damaged.gguf", WHOLE)).data_offset
    end = data.draw(st.integers(0, header_size) | st.integers(0, len(WHOLE) - 1))
    assert_one_sentence(check(specli, tmp_path, WHOLE[:end]))


@whole_command
@given(
    flips=st.lists(
        st.tuples(st.integers(0, FIELDS) | st.integers(0, 6000), st.integers(0, 7)),
        min_size=1,
        max_size=4,
    )
)
def test_flipped_bits_end_in_a_verdict_or_in_one_sentence(
    specli: Specli, tmp_path: Path, flips: list[tuple[int, int]]
) -> None:
    content = bytearray(WHOLE)
    for position, bit in flips:
        content[position] ^= 1 << bit
    done = check(specli, tmp_path, bytes(content))
    if done.code == 1:
        assert_one_sentence(done)
    else:
        assert done.code in (0, 3)
        assert len(re.findall("^(?:Compatible|Incompatible|Mapped)[:,]", done.out, re.M)) == 1
        assert done.err == ""
