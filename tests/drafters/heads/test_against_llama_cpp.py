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


def test_an_end_inside_a_draft_is_no_accepted_token_of_the_program() -> None:
    rounds = [(0, [1, 2]), (1, [3, 4])]
    assert heads_compare.uncounted_end(rounds, 2) == 1
    assert heads_compare.uncounted_end(rounds, 3) == 0
    assert heads_compare.uncounted_end([(0, [1]), (2, [3, 4])], 3) == 0
    assert heads_compare.uncounted_end([], 0) == 0


def test_drafts_differ_at_a_near_tie_or_without_an_excuse() -> None:
    def step(at: int, *found: tuple[int, float]) -> str:
        return "".join(
            f" - seq_id 0, draft candidate {rank:3}, pos {at:3}: {token:6} ({chance:8.3f}) 'x'\n"
            for rank, (token, chance) in enumerate(found)
        )

    log = step(0, (7, 0.5), (8, 0.49)) + step(1, (9, 0.9), (3, 0.1))
    log += "accepted 1/2 draft tokens, the last target token is: (1)\n"
    log += step(0, (4, 0.8), (5, 0.2)) + step(1, (6, 0.8), (5, 0.2))
    log += "accepted 0/2 draft tokens, the last target token is: (1)\n"
    same = [(1, [7, 9]), (0, [4, 6])]
    assert heads_compare.other_drafts(same, log, 20) == ([], [])
    assert heads_compare.other_drafts([(1, [8, 9]), (0, [4, 5])], log, 20) == ([0], [2])
    assert heads_compare.other_drafts([(1, [8, 9]), (0, [4, 5])], log, 3) == ([0], [])
