"""llama.cpp loads every tiny head and target that tests make."""

from __future__ import annotations

from pathlib import Path

import pytest

from specli.llama.model import Model, ModelOptions
from tests import tiny_heads, tiny_mtp
from tests.tiny_heads import CYCLE, Automaton, Tiny

KNOWN = Automaton(wrong=frozenset({3, 7}))

MADE: dict[str, Tiny] = {
    "llama": tiny_heads.llama_target(KNOWN),
    "eagle3": tiny_heads.eagle3_head(KNOWN),
    "eagle3, own embedding": tiny_heads.eagle3_head(own_embedding=True),
    "eagle3, target's output": tiny_heads.eagle3_head(own_output=False),
    "eagle3, reduced vocabulary": tiny_heads.eagle3_head(draft_vocabulary=CYCLE[::2]),
    "eagle3, norms": tiny_heads.eagle3_head(norm_before_fc=True, norm_before_residual=True),
    "dflash": tiny_heads.dflash_head(KNOWN),
    "dflash, reduced vocabulary": tiny_heads.dflash_head(draft_vocabulary=CYCLE[::2]),
    "dspark": tiny_heads.dspark_head(KNOWN),
    "qwen35": tiny_mtp.qwen35(),
    "qwen3next": tiny_mtp.qwen3next(),
    "glm4moe": tiny_mtp.glm4moe(KNOWN, [KNOWN]),
    "glm4moe, heads alone": tiny_mtp.head_only(tiny_mtp.glm4moe()),
    "glm4moe, without its heads": tiny_mtp.without_heads(tiny_mtp.glm4moe()),
    "step35": tiny_mtp.step35(),
    "nemotron_h_moe": tiny_mtp.nemotron_h_moe(),
    "lfm2": tiny_mtp.lfm2(),
    "gemma4": tiny_mtp.gemma4(KNOWN),
    "gemma4-assistant": tiny_mtp.gemma4_assistant(KNOWN),
    "dspark, no confidence": tiny_heads.dspark_head(confidence=False, sample_from_anchor=False),
}


@pytest.mark.parametrize("name", MADE)
def test_llama_cpp_loads_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "made.gguf"
    path.write_bytes(MADE[name].bytes())

    with Model(path, ModelOptions()) as model:
        assert model.architecture == MADE[name].fields["general.architecture"]
