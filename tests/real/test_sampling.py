"""Sampled tokens follow the target's own distribution, with its filters applied."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from specli.llama.decoder import Logits
from specli.sampling.chooser import Chooser
from specli.sampling.params import SamplingParams
from tests.real.pair import Pair, generated
from tests.real.prompts import PROMPTS

pytestmark = pytest.mark.real

PROMPT = PROMPTS["story"]
SAMPLING = SamplingParams(temperature=0.8, top_k=40, top_p=0.95, min_p=0.02)
FEWEST_EXPECTED = 5.0
FALSE_ALARM = 4.26
"""Standard deviations that a chance result exceeds once in 100,000 times."""


@pytest.fixture(scope="module")
def logits(pair: Pair) -> Logits:
    """The target's logits for the first token of an answer."""
    target, prompt = pair.session.target, pair.prompt(PROMPT)
    target.rollback(0, 0)
    row = target.add(0, prompt, 0, 1)
    target.decode()
    copied = target.logits(row).copy()
    target.rollback(0, 0)
    return copied


def distribution(logits: Logits, sampling: SamplingParams) -> NDArray[np.float64]:
    """Probabilities after top-k, top-p, min-p and temperature, written as plainly as possible."""
    order = np.argsort(-logits, kind="stable")[: sampling.top_k]
    weights = np.exp(logits[order].astype(np.float64) - float(logits.max()))
    before = np.cumsum(weights) / weights.sum() - weights / weights.sum()
    order = order[before < sampling.top_p]
    weights = np.exp(logits[order].astype(np.float64) - float(logits.max()))
    order = order[weights >= sampling.min_p]
    probabilities = np.zeros(len(logits))
    scores = (logits[order].astype(np.float64) - float(logits.max())) / sampling.temperature
    probabilities[order] = np.exp(scores) / np.exp(scores).sum()
    return probabilities


def excess(counts: Counter[int], probabilities: NDArray[np.float64]) -> float:
    """How far the chi-square statistic lies above its mean, in standard deviations.

    Tokens with few expected draws share one bin; Wilson and Hilferty's cube root makes the
    statistic normal. Infinite for a token that cannot be drawn.
    """
    if any(probabilities[token] == 0 for token in counts):
        return math.inf
    total = sum(counts.values())
    likely = np.flatnonzero(probabilities * total >= FEWEST_EXPECTED)
    expected = [*(probabilities[likely] * total)]
    seen = [counts[int(token)] for token in likely]
    rest = total - sum(expected)
    if rest >= FEWEST_EXPECTED:
        expected.append(rest)
        seen.append(total - sum(seen))
    statistic = sum((s - e) ** 2 / e for s, e in zip(seen, expected, strict=True))
    freedom = len(expected) - 1
    assert freedom >= 3, "the prompt leaves too little choice for a test"
    spread = 2 / (9 * freedom)
    return float(((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))


def drawn(logits: Logits, sampling: SamplingParams, count: int) -> Counter[int]:
    tokens: Counter[int] = Counter()
    for seed in range(count):
        token = Chooser(replace(sampling, seed=seed), []).choose(logits, 57)
        assert token is not None
        tokens[token] += 1
    return tokens


@pytest.mark.parametrize(
    "sampling",
    [SAMPLING, SamplingParams(temperature=1.5, top_k=40, top_p=1.0, min_p=0.0)],
    ids=["filtered", "hot"],
)
def test_draws_on_real_logits_follow_the_targets_distribution(
    logits: Logits, sampling: SamplingParams
) -> None:
    assert excess(drawn(logits, sampling, 6000), distribution(logits, sampling)) < FALSE_ALARM


def test_the_measure_notices_a_slightly_wrong_temperature(logits: Logits) -> None:
    wrong = replace(SAMPLING, temperature=1.0)
    assert excess(drawn(logits, wrong, 6000), distribution(logits, SAMPLING)) > FALSE_ALARM


def test_first_tokens_of_drafted_generations_follow_the_targets_distribution(
    pair: Pair, logits: Logits
) -> None:
    engine = pair.engine("draft")
    tokens: Counter[int] = Counter()
    drafted = 0
    for seed in range(200):
        # The second token gives the draft model room to propose the first.
        sampling = replace(SAMPLING, seed=seed)
        request = replace(pair.request(PROMPT, sampling), max_tokens=2)
        generation = generated(engine, request)
        tokens[generation.tokens[0]] += 1
        drafted += generation.stats.drafted
    assert drafted > 100
    assert excess(tokens, distribution(logits, SAMPLING)) < FALSE_ALARM
