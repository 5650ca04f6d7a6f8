"""Drafting never changes a text of the real pair, greedy or sampled."""

from __future__ import annotations

import pytest

from specli.sampling.params import SamplingParams
from tests.real.pair import VARIANTS, Pair, require_same
from tests.real.prompts import PROMPTS

pytestmark = pytest.mark.real

GREEDY = SamplingParams()
SEEDS = range(10)
SAMPLED_PROMPTS = ("story", "code", "list", "copy")


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_greedy_text_with_drafting_is_the_targets_own(
    pair: Pair, variant: str, prompt: str
) -> None:
    text = PROMPTS[prompt]
    require_same(pair.plain(text, GREEDY), pair.drafted(variant, text, GREEDY))


@pytest.mark.parametrize("variant", VARIANTS)
def test_drafting_has_been_accepted_and_rejected(pair: Pair, variant: str) -> None:
    text = PROMPTS["copy"]
    pair.drafted(variant, text, GREEDY)
    drafted, accepted = pair.totals[variant]
    assert 0 < accepted < drafted


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_gives_the_same_text_with_and_without_drafting(pair: Pair, seed: int) -> None:
    text = PROMPTS[SAMPLED_PROMPTS[seed % len(SAMPLED_PROMPTS)]]
    sampling = SamplingParams(temperature=0.8, seed=seed)
    require_same(pair.plain(text, sampling), pair.drafted("both", text, sampling))


def test_a_seed_gives_the_same_text_with_adaptive_lengths(pair: Pair) -> None:
    text, sampling = PROMPTS["story"], SamplingParams(temperature=0.8, seed=0)
    require_same(pair.plain(text, sampling), pair.drafted("adaptive", text, sampling))


def test_seeds_give_different_texts(pair: Pair) -> None:
    texts = {
        pair.plain(PROMPTS["story"], SamplingParams(temperature=0.8, seed=seed)).text
        for seed in (0, 4, 8)
    }
    assert len(texts) == 3


def test_penalties_and_a_bias_are_the_same_with_drafting(pair: Pair) -> None:
    sampling = SamplingParams(
        temperature=0.8, seed=3, repeat_penalty=1.2, presence_penalty=0.3, logit_bias={28: -2.0}
    )
    text = PROMPTS["list"]
    require_same(pair.plain(text, sampling), pair.drafted("both", text, sampling))
