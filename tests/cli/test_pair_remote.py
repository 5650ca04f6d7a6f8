"""`specli pair check` and `specli inspect` on models that are only on the Hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specli.hub.remote import FIRST_BYTES
from tests import tiny_gguf as tiny
from tests.cli.conftest import FOREIGN_TOKEN, Specli
from tests.hub.fake_hub import FakeHub

REPO = "someone/Tiny-GGUF"
WIDE = tiny.Shape(layers=4, n_embd=256, n_ff=2048)
VOCABULARY = tiny.bpe_vocabulary()


@pytest.fixture
def served(sealed: Path, own_home: Path, hub: FakeHub) -> FakeHub:
    """A hub with a large target, a draft for it and one of another vocabulary."""
    hub.add(
        REPO,
        {
            "Tiny-F32.gguf": tiny.llama_bytes(shape=WIDE),
            "Tiny-Q8_0.gguf": tiny.llama_bytes(),
            "Tiny-Q4_0.gguf": tiny.llama_bytes(VOCABULARY.with_token(FOREIGN_TOKEN, b"foreign")),
        },
    )
    return hub


def test_a_remote_pair_is_checked_from_its_headers(served: FakeHub, specli: Specli) -> None:
    done = specli("pair", "check", f"hf:{REPO}:F32", f"hf:{REPO}:Q8_0")
    assert (done.code, done.err) == (0, "")
    assert "Compatible: " in done.out
    whole = sum(content.size for content in served.repos[REPO].values())
    assert served.sent <= 2 * FIRST_BYTES < whole / 10


def test_a_remote_draft_of_another_vocabulary_is_mapped(served: FakeHub, specli: Specli) -> None:
    done = specli("pair", "check", f"hf:{REPO}:F32", f"{REPO}:Q4_0", "--json")
    assert done.code == 0
    (draft,) = json.loads(done.out)["drafts"]
    assert draft["draft"] == f"hf:{REPO}:Q4_0"
    failed = [rule for rule in draft["rules"] if rule["verdict"] == "fail"]
    assert [rule["difference"]["token"] for rule in failed] == [FOREIGN_TOKEN]


def test_local_and_remote_models_mix_and_remote_ones_can_be_inspected(
    served: FakeHub, specli: Specli
) -> None:
    assert specli("pair", "check", f"hf:{REPO}:F32", "draft.gguf").code == 0
    done = specli("inspect", f"hf:{REPO}:F32", "--json")
    assert done.code == 0
    assert json.loads(done.out)["embedding_length"] == WIDE.n_embd


@pytest.mark.parametrize(
    ("reference", "code", "words"),
    [
        (f"hf:{REPO}:Q3_K_M", 2, "there are: F32, Q4_0, Q8_0"),
        ("hf:someone/Missing-GGUF:Q8_0", 1, "check the spelling"),
    ],
)
def test_what_the_hub_does_not_have_is_one_error_with_its_remedy(
    served: FakeHub, specli: Specli, reference: str, code: int, words: str
) -> None:
    done = specli("pair", "check", f"hf:{REPO}:F32", reference)
    assert (done.code, done.out) == (code, "")
    error, hint = done.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert words in hint
