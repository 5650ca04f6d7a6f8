"""Targets and heads of every kind, with weights that make acceptance partial."""

from __future__ import annotations

from dataclasses import dataclass

from specli.gguf.heads import DFLASH, DSPARK, EAGLE3, MTP
from tests import tiny_heads, tiny_mtp
from tests.tiny_heads import CYCLE, Automaton, Tiny

FIFTH, SEVENTH = frozenset(range(0, 64, 5)), frozenset(range(1, 64, 7))
TRUTH = Automaton(noise=0.1)
"""A target's table; `noise` lets its text depend on more than the last token."""
WRONG = Automaton(FIFTH, noise=0.05)
RANDOM = 0.3


@dataclass(frozen=True)
class Case:
    """A target, and a head in a file of its own or None for MTP layers in the target's.

    `p_min` ends proposals where the head is unsure, so that their lengths tell its probabilities.
    `counted` is False where llama.cpp counts rounds another way; see `heads_compare.differences`.
    """

    target: Tiny
    head: Tiny | None
    kind: str
    longest: int = 8
    p_min: float = 0.0
    counted: bool = True


_LLAMA = tiny_heads.llama_target(Automaton(noise=0.02))
_GLM = tiny_mtp.glm4moe(TRUTH, [WRONG])
_TABLE = Automaton(FIFTH)

CASES: dict[str, Case] = {
    "eagle3": Case(_LLAMA, tiny_heads.eagle3_head(Automaton(FIFTH, 0.02)), EAGLE3),
    "eagle3, target's output": Case(
        _LLAMA, tiny_heads.eagle3_head(Automaton(FIFTH, 0.02), own_output=False), EAGLE3
    ),
    "eagle3, reduced vocabulary, norms": Case(
        _LLAMA,
        tiny_heads.eagle3_head(
            Automaton(SEVENTH, 0.02),
            draft_vocabulary=CYCLE[:48],
            own_embedding=True,
            norm_before_fc=True,
            norm_before_residual=True,
        ),
        EAGLE3,
    ),
    "eagle3, random": Case(
        tiny_heads.llama_target(), tiny_heads.eagle3_head(), EAGLE3, p_min=RANDOM
    ),
    "eagle3 on lfm2": Case(tiny_mtp.lfm2(TRUTH), tiny_heads.eagle3_head(_TABLE), EAGLE3),
    "dflash": Case(_LLAMA, tiny_heads.dflash_head(Automaton(FIFTH, 0.02)), DFLASH, longest=7),
    "dflash, random": Case(
        tiny_heads.llama_target(),
        tiny_heads.dflash_head(blocks=2, own_embedding=True, own_output=True),
        DFLASH,
        longest=7,
        p_min=RANDOM,
    ),
    "dflash, reduced vocabulary": Case(
        _LLAMA, tiny_heads.dflash_head(_TABLE, draft_vocabulary=CYCLE[:48]), DFLASH, longest=7
    ),
    "dspark": Case(_LLAMA, tiny_heads.dspark_head(Automaton(FIFTH, 0.02)), DSPARK),
    "dspark, unsure": Case(_LLAMA, tiny_heads.dspark_head(_TABLE), DSPARK, p_min=0.5),
    "dspark, without the anchor": Case(
        _LLAMA, tiny_heads.dspark_head(_TABLE, sample_from_anchor=False), DSPARK, longest=7
    ),
    "dspark, random": Case(
        tiny_heads.llama_target(), tiny_heads.dspark_head(), DSPARK, p_min=RANDOM
    ),
    "mtp": Case(_GLM, None, MTP),
    "mtp, unsure": Case(tiny_mtp.glm4moe(TRUTH, [Automaton(FIFTH, 0.3)]), None, MTP, p_min=0.7),
    "mtp, random": Case(tiny_mtp.glm4moe(), None, MTP, p_min=RANDOM),
    "mtp, a file of its own": Case(tiny_mtp.without_heads(_GLM), tiny_mtp.head_only(_GLM), MTP),
    "mtp, three layers": Case(
        tiny_mtp.step35(TRUTH, [WRONG, Automaton(SEVENTH, 0.05), Automaton(noise=0.2)]), None, MTP
    ),
    "mtp, three layers, random": Case(tiny_mtp.step35(), None, MTP, p_min=RANDOM),
    "mtp, shared cache": Case(
        tiny_mtp.gemma4(Automaton(noise=0.05)), tiny_mtp.gemma4_assistant(WRONG), MTP
    ),
    "mtp, shared cache, random": Case(
        tiny_mtp.gemma4(), tiny_mtp.gemma4_assistant(), MTP, p_min=RANDOM
    ),
    "mtp on qwen35": Case(tiny_mtp.qwen35(TRUTH, [WRONG]), None, MTP),
    "mtp on qwen35, random": Case(tiny_mtp.qwen35(), None, MTP, p_min=RANDOM),
    "mtp on nemotron_h_moe": Case(tiny_mtp.nemotron_h_moe(TRUTH, [WRONG]), None, MTP),
    "mtp on qwen3next": Case(tiny_mtp.qwen3next(TRUTH, [WRONG]), None, MTP, counted=False),
}
