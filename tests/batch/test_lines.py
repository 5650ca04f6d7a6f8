"""Lines come out the same, however a pipe cuts them into pieces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.batch.lines import Lines


class Pipe:
    def __init__(self) -> None:
        self.end, self._start = os.pipe()

    def write(self, data: bytes) -> None:
        os.write(self._start, data)

    def finish(self) -> None:
        os.close(self._start)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.end)


@given(
    lines=st.lists(st.binary(max_size=5).filter(lambda line: b"\n" not in line), max_size=6),
    ended=st.booleans(),
    cuts=st.sets(st.integers(1, 40)),
)
def test_any_pieces_give_the_lines_that_were_written(
    lines: list[bytes], ended: bool, cuts: set[int]
) -> None:
    data = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    pipe = Pipe()
    read: list[tuple[int, bytes]] = []
    found = iter(Lines(pipe.end))
    ends = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in pairwise(ends):
        pipe.write(data[start:end])
        for _ in range(data[start:end].count(b"\n")):
            read.append(next(found))
    pipe.finish()
    read += found
    os.close(pipe.end)
    assert read == list(enumerate(_expected(data), 1))


def _expected(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    whole = parts if parts[-1] else parts[:-1]
    lines = [part.removesuffix(b"\r") for part in whole]
    return [line.removeprefix(b"\xef\xbb\xbf") for line in lines[:1]] + lines[1:]


def test_a_line_is_ready_once_it_is_written_and_at_the_end(pipe: Pipe) -> None:
    lines = Lines(pipe.end)
    assert not lines.ready()
    pipe.write(b"one\ntwo\n")
    assert lines.ready()
    found = iter(lines)
    assert next(found) == (1, b"one")
    assert lines.ready()
    assert next(found) == (2, b"two")
    assert not lines.ready()
    pipe.finish()
    assert lines.ready()
    assert list(found) == []


def test_waiting_for_a_pipe_can_be_called_off(pipe: Pipe) -> None:
    pipe.write(b"one\nhalf")
    calls = iter([False, True])
    assert list(Lines(pipe.end, lambda: next(calls))) == [(1, b"one")]
    pipe.finish()


def test_a_byte_order_mark_is_not_text(pipe: Pipe) -> None:
    pipe.write(b"\xef\xbb\xbfone\n")
    pipe.finish()
    assert list(Lines(pipe.end)) == [(1, b"one")]
