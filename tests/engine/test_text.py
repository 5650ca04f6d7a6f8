"""Text as it may be shown: whole characters, and never a stop string."""

from __future__ import annotations

from itertools import cycle

from hypothesis import given
from hypothesis import strategies as st

from specli.engine.text import TextStream
from specli.events import Piece


def shown(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def feed_all(stream: TextStream, chunks: list[bytes]) -> str:
    text = ""
    for chunk in chunks:
        if stream.stopped:
            break
        text += shown(stream.feed(chunk, "target"))
    return text + shown(stream.finish("target"))


def test_a_character_split_over_tokens_is_shown_once_it_is_whole() -> None:
    stream = TextStream()
    first, second = "é".encode()[:1], "é".encode()[1:]
    assert stream.feed(first, "target") == []
    assert stream.feed(second, "draft") == [Piece("é", "draft")]


def test_a_character_cut_by_the_end_becomes_a_replacement_mark() -> None:
    assert feed_all(TextStream(), ["é".encode()[:1]]) == "\ufffd"


def test_a_stop_string_split_over_tokens_is_never_shown() -> None:
    stream = TextStream(["</s>"])
    assert shown(stream.feed(b"hello <", "target")) == "hello "
    assert shown(stream.feed(b"/", "target")) == ""
    assert shown(stream.feed(b"s> more", "target")) == ""
    assert stream.stopped
    assert stream.finish("target") == []


def test_text_that_only_looked_like_a_stop_string_is_shown_with_its_source() -> None:
    stream = TextStream(["END"])
    assert stream.feed(b"E", "draft") == []
    assert stream.feed(b"N!", "target") == [Piece("E", "draft"), Piece("N!", "target")]


def test_the_earliest_of_several_stop_strings_wins() -> None:
    assert feed_all(TextStream(["bc", "abcd"]), [b"xabcd"]) == "x"


@given(
    text=st.text(alphabet="abcé🦊", max_size=30),
    stops=st.lists(st.text(alphabet="abcé🦊", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=60),
)
def test_any_cutting_into_tokens_shows_the_text_before_the_first_stop(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    data = text.encode()
    chunks, at = [], 0
    for size in cycle(cuts):
        if at >= len(data):
            break
        chunks.append(data[at : at + size])
        at += size
    # A stop string is found when its last character arrives: the earliest end decides.
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    result = feed_all(TextStream(stops), chunks)
    if not ends:
        assert result == text
    else:
        assert all(stop not in result for stop in stops)
        assert text.startswith(result)
        assert len(result) <= max(start for _end, start in ends)
