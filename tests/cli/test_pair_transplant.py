"""`specli pair make --from` as a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import tiny_gguf as tiny
from tests.cli.conftest import Specli
from tests.drafts.test_transplant import shuffled


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """The tiny target's own weights, but with the ids of its tokens turned round."""
    vocabulary = tiny.bpe_vocabulary()
    order = range(len(vocabulary.tokens))[::-1]
    return tiny.write(tmp_path / "stranger.gguf", tiny.llama_bytes(shuffled(vocabulary, order)))


def test_a_stranger_drafts_for_the_target(specli: Specli, stranger: Path, tmp_path: Path) -> None:
    draft = tmp_path / "made.gguf"
    assert specli("pair", "check", "target.gguf", str(stranger)).out.startswith("Mapped: ")
    done = specli("pair", "make", "target.gguf", "--from", str(stranger), "-o", str(draft))
    assert done.code == 0, done.err
    assert "Shared: 320 of 320 tokens (100.0%), which make 100.0% of sample texts." in done.out
    assert done.out.splitlines()[-1].startswith("specli run -m target.gguf --draft-model")
    assert specli("pair", "check", "target.gguf", str(draft)).code == 0
    run = specli("run", "-m", "target.gguf", "-md", str(draft), "--draft", "2", "-n", "8", "hello")
    assert run.code == 0, run.err
    assert "accepted" in run.err


def test_json_has_the_overlap(specli: Specli, stranger: Path, tmp_path: Path) -> None:
    draft = tmp_path / "made.gguf"
    done = specli(
        "pair", "make", "target.gguf", "--from", str(stranger), "-o", str(draft), "--json"
    )
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert told["draft"] == str(draft)
    assert told["tokens"] == told["tokens_shared"] == 320
    assert told["sample_tokens"] == told["sample_tokens_shared"] > 100


def test_too_little_in_common_ends_with_code_3_and_no_file(specli: Specli, tmp_path: Path) -> None:
    donor = tiny.write(tmp_path / "spm.gguf", tiny.llama_bytes(tiny.spm_vocabulary()))
    draft = tmp_path / "made.gguf"
    done = specli("pair", "make", "target.gguf", "--from", str(donor), "-o", str(draft))
    assert (done.code, done.out) == (3, "")
    assert "of 320 tokens" in done.err
    assert not list(tmp_path.glob("made*"))


def test_weights_and_blocks_cannot_be_chosen_as_well(specli: Specli, stranger: Path) -> None:
    done = specli("pair", "make", "target.gguf", "--from", str(stranger), "--type", "Q8_0")
    assert done.code == 2
    assert "--from" in done.err
