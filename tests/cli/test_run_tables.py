"""llama.cpp's n-gram kinds with tables, and its static lookup cache, have no code any more."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Specli

PROMPT = "the rain in the north and the rain in the south and the rain in the east"
RUN = ("run", "-m", "target.gguf", "-n", "40", "--json", PROMPT)

SIZES = {
    "ngram-map-k": ("--spec-ngram-map-k-size-n", "2", "--spec-ngram-map-k-size-m", "4"),
    "ngram-map-k4v": ("--spec-ngram-map-k4v-size-n", "2", "--spec-ngram-map-k4v-min-hits", "4"),
    "ngram-mod": ("--spec-ngram-mod-n-match", "1", "--spec-ngram-mod-n-min", "1"),
}


@pytest.mark.parametrize("kind", SIZES)
def test_a_kind_of_llama_cpp_means_suffix_drafting_and_says_so_once(
    kind: str, specli: Specli
) -> None:
    plain = json.loads(specli(*RUN, "--spec-type", "none").out)
    done = specli(*RUN, "--spec-type", kind)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["text"] == plain["text"]
    assert told["settings"]["drafters"] == ["suffix"]
    assert done.err == f"note: {kind}: suffix drafting is used instead\n"


@pytest.mark.parametrize("kind", SIZES)
def test_sizes_of_those_kinds_are_ignored_with_one_note(kind: str, specli: Specli) -> None:
    done = specli(*RUN, "--no-draft", *SIZES[kind])
    assert done.code == 0, done.err
    (note,) = done.err.splitlines()
    assert note.startswith(f"note: {SIZES[kind][0]}, {SIZES[kind][2]} has no effect: ")
    assert specli(*RUN, "--no-draft", "-q", *SIZES[kind]).err == ""


def test_a_static_cache_is_ignored_with_a_note(specli: Specli) -> None:
    done = specli(*RUN, "--no-draft", "-lcs", "none.bin")
    assert done.code == 0, done.err
    assert done.err.startswith("note: -lcs has no effect: ")
