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
