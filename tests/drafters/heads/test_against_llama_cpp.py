"""Text and counts are those of llama.cpp's own program, where it has been built.

A small part of scripts/heads_against_llama_cpp.py: every case, one length, few prompts.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

import specli
from tests import heads_compare
from tests.heads_cases import CASES

BUILT = Path(specli.__file__).parents[1] / ".native" / version("llama-cpp-python") / "build/bin"
PROGRAM = BUILT / "llama-speculative-simple"
LENGTH = 4


@pytest.mark.skipif(not PROGRAM.exists(), reason="llama.cpp's programs have not been built")
@pytest.mark.parametrize("name", CASES)
def test_rounds_are_those_of_llama_cpp(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    prompts = heads_compare.prompts(3)

    ours, theirs = heads_compare.run(case, LENGTH, prompts, PROGRAM, tmp_path)

    assert heads_compare.differences(ours, theirs, counts=case.counted) == []
    assert sum(one.drafted for one in ours) > 0


@pytest.mark.skipif(not PROGRAM.exists(), reason="llama.cpp's programs have not been built")
def test_the_program_drafts_in_full_with_one_token_left_and_again_with_none(tmp_path: Path) -> None:
    case, tokens = CASES["eagle3"], 8
    target, head = tmp_path / "target.gguf", tmp_path / "head.gguf"
    target.write_bytes(case.target.bytes())
    assert case.head is not None
    head.write_bytes(case.head.bytes())
    lengths: dict[int, set[int]] = {}
    for prompt in heads_compare.prompts(6):
        said = heads_compare.llama_cpp(
            PROGRAM, target, head, case.kind, prompt, LENGTH, tokens=tokens
        )
        left = tokens
        for accepted, drafted in said.rounds:
            lengths.setdefault(left, set()).add(drafted)
            left -= accepted + 1
        assert left < 0
    assert lengths[1] == lengths[0] == {LENGTH}
    assert {left: lengths[left] for left in (2, 3, 4) if left in lengths} == {
        left: {left - 1} for left in (2, 3, 4) if left in lengths
    }


def test_rounds_are_counted_until_one_token_is_left_and_not_past_an_end() -> None:
    rounds = [(4, 4), (2, 4), (0, 1), (3, 4), (0, 4)]
    assert heads_compare.counted(rounds, 10) == ((4, 4), (2, 4), (0, 1))
    assert heads_compare.counted(rounds[:2], 10, emitted=7) == ((4, 4), (2, 4))
    assert heads_compare.counted(rounds[:1], 10, emitted=2) == ((2, 4),)
