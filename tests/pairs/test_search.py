from __future__ import annotations

import pytest

from specli.errors import FetchError
from specli.gguf.header import Header
from specli.pairs.check import CheckOptions, examine
from specli.pairs.search import Candidate, find_drafts, of_one_family
from tests import tiny_gguf as tiny
from tests.tiny_gguf import Shape

BPE = tiny.bpe_vocabulary()
CONTENTS = {
    "target": tiny.llama_bytes(shape=Shape(layers=4, n_embd=128, n_ff=512)),
    "middle": tiny.llama_bytes(shape=Shape(layers=2, n_embd=64, n_ff=256)),
    "small": tiny.llama_bytes(),
    "foreign": tiny.llama_bytes(BPE.with_token(139, b"other")),
}
TARGET = examine(tiny.header(CONTENTS["target"]))


def read(reference: str) -> Header:
    if reference not in CONTENTS:
        raise FetchError(f"{reference} is out of reach")
    return tiny.header(CONTENTS[reference])


def candidate(reference: str, size: int | None = None) -> Candidate:
    return Candidate(reference, reference, "folder", size)


def test_what_fits_is_ranked_and_all_else_counted() -> None:
    names = ["middle", "foreign", "away", "target", "small"]
    findings = find_drafts(TARGET, map(candidate, names), read, CheckOptions())
    assert [found.candidate.name for found in findings.drafts] == ["small", "middle", "foreign"]
    assert findings.drafts[-1].report.verdict == "mapped"
    assert findings.not_smaller == 1
    assert [error.message for error in findings.unreadable] == ["away is out of reach"]


def test_with_a_strict_vocabulary_others_are_only_counted() -> None:
    setup = CheckOptions(strict_vocab=True)
    findings = find_drafts(TARGET, map(candidate, ["foreign", "small"]), read, setup)
    assert [found.candidate.name for found in findings.drafts] == ["small"]
    assert findings.other_vocabulary == 1


def test_a_file_known_to_be_as_large_as_the_target_is_not_even_read() -> None:
    size = TARGET.header.file_size
    findings = find_drafts(TARGET, [candidate("away", size)], read, CheckOptions())
    assert (findings.not_smaller, findings.unreadable) == (1, [])


def test_of_two_drafts_alike_the_first_stays_first() -> None:
    here = Candidate("here", "small", "folder")
    elsewhere = Candidate("elsewhere", "small", "catalogue")
    for order in ([here, elsewhere], [elsewhere, here]):
        found = find_drafts(TARGET, order, read, CheckOptions()).drafts
        assert [one.candidate for one in found] == order


@pytest.mark.parametrize(
    ("profile", "text", "same"),
    [
        ("qwen2.5-14b", "Qwen2.5 7B Instruct", True),
        ("deepseek-r1-qwen-32b", "QwQ, made from Qwen", True),
        ("llama-3.1-8b", "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf", True),
        ("gemma-3-12b", "Qwen3 8B", False),
        ("r1-8b", "r1 b", False),
    ],
)
def test_families_are_told_by_their_names(profile: str, text: str, same: bool) -> None:
    assert of_one_family(profile, ["", text]) == same
