"""llama.cpp's n-gram kinds and the static lookup cache, through `specli run`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specli.drafters.lookup import save
from tests.cli.conftest import Specli

PROMPT = "the rain in the north and the rain in the south and the rain in the east"
RUN = ("run", "-m", "target.gguf", "-n", "40", "--json", PROMPT)

SIZES = {
    "ngram-map-k": ("--spec-ngram-map-k-size-n", "2", "--spec-ngram-map-k-size-m", "4"),
    "ngram-map-k4v": ("--spec-ngram-map-k4v-size-n", "2", "--spec-ngram-map-k4v-size-m", "4"),
    "ngram-mod": ("--spec-ngram-mod-n-match", "1", "--spec-ngram-mod-n-min", "1"),
}


@pytest.mark.parametrize("kind", SIZES)
def test_a_kind_of_llama_cpp_drafts_and_the_text_stays(kind: str, specli: Specli) -> None:
    plain = json.loads(specli(*RUN, "--spec-type", "none").out)
    done = specli(*RUN, "--spec-type", kind, *SIZES[kind])
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["text"] == plain["text"]
    assert told["settings"]["drafters"] == [kind]


def test_a_static_cache_is_read_and_left_alone(specli: Specli, tmp_path: Path) -> None:
    cache = tmp_path / "static.bin"
    save(cache, {(70, 71): {72: 3}})
    before = cache.read_bytes()
    plain = json.loads(specli(*RUN, "--spec-type", "none").out)
    done = specli(*RUN, "--no-draft", "-lcs", str(cache))
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["text"] == plain["text"]
    assert "lookup" in told["settings"]["drafters"]
    assert cache.read_bytes() == before


def test_a_static_cache_must_exist_and_fit_the_model(specli: Specli, tmp_path: Path) -> None:
    missing = specli(*RUN, "--lookup-cache-static", str(tmp_path / "none.bin"))
    assert missing.code == 2
    assert "does not exist" in missing.err
    foreign = tmp_path / "foreign.bin"
    save(foreign, {(1, 2): {100_000: 1}})
    refused = specli(*RUN, "-lcs", str(foreign))
    assert refused.code == 2
    assert "another model" in refused.err
