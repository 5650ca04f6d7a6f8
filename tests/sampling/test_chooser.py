"""The choice of a token: llama.cpp's filters, and noise that does not care who proposed."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from specli.errors import DecodeError, UsageError
from specli.sampling.chain import filtered
from specli.sampling.chooser import Chooser
from specli.sampling.noise import gumbel
from specli.sampling.params import SamplingParams

OPEN = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}


def row(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, dtype=np.float32)


def kept(logits: np.ndarray, **filters: float) -> list[int]:
    params = SamplingParams(temperature=1.0, **{**OPEN, **filters})  # type: ignore[arg-type]
    return [int(token) for token in filtered(logits, float(logits.max()), params, 1.0).ids]


def reference(logits: np.ndarray, params: SamplingParams) -> list[int]:
    """The same filters written as plainly as possible, over the whole vocabulary."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if params.top_k:
        order = order[: params.top_k]
    top = float(logits[order[0]])
    weights = [math.exp(float(logits[i]) - top) for i in order]
    if params.top_p < 1:
        total, reached = sum(weights), 0.0
        for place, weight in enumerate(weights):
            reached += weight
            if reached / total >= params.top_p:
                order, weights = order[: place + 1], weights[: place + 1]
                break
    return [i for i, w in zip(order, weights, strict=True) if w >= params.min_p or i == order[0]]


def test_top_k_keeps_the_k_best() -> None:
    assert kept(row(1, 5, 3, 4, 2), top_k=3) == [1, 3, 2]


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    logits = np.log(row(0.5, 0.3, 0.15, 0.05))
    assert kept(logits, top_p=0.79) == [0, 1]
    assert kept(logits, top_p=0.81) == [0, 1, 2]


def test_min_p_drops_what_is_too_improbable_beside_the_best() -> None:
    assert kept(np.log(row(0.5, 0.3, 0.15, 0.05)), min_p=0.2) == [0, 1, 2]


@settings(max_examples=200, deadline=None)
@given(
    logits=hnp.arrays(
        np.float32,
        st.integers(2, 300),
        elements=st.floats(-30, 30, width=32).map(lambda x: round(x, 2)),
    ),
    top_k=st.sampled_from([0, 1, 5, 40]),
    top_p=st.sampled_from([0.3, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.5]),
)
def test_the_fast_filters_keep_what_the_plain_ones_keep(
    logits: np.ndarray, top_k: int, top_p: float, min_p: float
) -> None:
    params = SamplingParams(temperature=1.0, top_k=top_k, top_p=top_p, min_p=min_p)
    fast = filtered(logits, float(logits.max()), params, 1.0).ids.tolist()
    plain = reference(logits, params)
    # Candidates too improbable ever to win may be missing; sums differ in their last digits.
    top = float(logits.max())
    likely = {i for i in plain if logits[i] > top - 35}
    assert abs(len(set(fast) & likely) - len(likely)) <= (1 if top_p < 1 or min_p > 0 else 0)
    assert set(fast) - set(plain) == set() or top_p < 1 or min_p > 0


def test_the_choice_depends_on_seed_position_and_logits_alone() -> None:
    logits = np.random.default_rng(1).normal(0, 1, 500).astype(np.float32)
    params = SamplingParams(temperature=1.0, seed=7)
    first = [Chooser(params, [1]).choose(logits, position) for position in range(50)]
    other = Chooser(params, [2, 3])
    assert [other.choose(logits, position) for position in reversed(range(50))] == first[::-1]
    assert len(set(first)) > 5
    assert first != [
        Chooser(SamplingParams(temperature=1.0, seed=8), [1]).choose(logits, position)
        for position in range(50)
    ]


def test_a_draft_with_the_same_logits_makes_the_same_choice() -> None:
    rng = np.random.default_rng(3)
    chooser = Chooser(SamplingParams(temperature=0.8, seed=5, repeat_penalty=1.1), [1, 2, 3])
    for position in range(50):
        logits = rng.normal(0, 3, 1000).astype(np.float32)
        token, confidence = chooser.draft(logits, position)
        assert token == chooser.choose(logits, position)
        weights = np.exp(logits.astype(np.float64) - logits.max())
        assert confidence == pytest.approx(weights[token] / weights.sum(), rel=1e-4)


@pytest.mark.parametrize("level", [-300.0, -59.0, 0.0, 59.0, 300.0])
def test_a_probability_does_not_depend_on_the_level_of_the_logits(level: float) -> None:
    chooser = Chooser(SamplingParams(logit_bias={1: -math.inf}), [])
    logits = np.log(row(0.2, 0.5, 0.2, 0.1)) + np.float32(level)
    assert chooser.draft(logits, 0) == pytest.approx((0, 0.2), rel=1e-4)
    assert Chooser(SamplingParams(), []).draft(logits, 0) == pytest.approx((1, 0.5), rel=1e-4)


def test_a_probability_is_finite_below_one_huge_logit() -> None:
    chooser = Chooser(SamplingParams(logit_bias={1: -math.inf}), [])
    token, chance = chooser.draft(row(50, 300, 1), 0)
    assert token == 0
    assert chance == pytest.approx(0.0, abs=1e-30)


def test_sampled_tokens_follow_the_distribution() -> None:
    logits = np.log(row(0.4, 0.3, 0.2, 0.1))
    drawn = Counter(
        Chooser(SamplingParams(temperature=1.0, seed=seed, **OPEN), []).choose(logits, 11)  # type: ignore[arg-type]
        for seed in range(8000)
    )
    expected = {0: 3200, 1: 2400, 2: 1600, 3: 800}
    chi_square = sum((drawn[token] - n) ** 2 / n for token, n in expected.items())
    # 16.27 is the 99.9th percentile with three degrees of freedom.
    assert chi_square < 16.27


def test_positions_are_independent_draws() -> None:
    logits = np.zeros(2, dtype=np.float32)
    chooser = Chooser(SamplingParams(temperature=1.0, seed=3, **OPEN), [])  # type: ignore[arg-type]
    drawn = [chooser.choose(logits, position) for position in range(4000)]
    pairs = Counter(pairwise(drawn))
    assert all(900 < pairs[pair] < 1100 for pair in [(0, 0), (0, 1), (1, 0), (1, 1)])


def test_the_noise_is_standard_gumbel() -> None:
    noise = np.concatenate([gumbel(1, position, np.arange(1000)) for position in range(100)])
    assert noise.mean() == pytest.approx(0.5772, abs=0.02)
    assert noise.var() == pytest.approx(math.pi**2 / 6, abs=0.05)


def test_penalties_count_recent_tokens_of_prompt_and_answer() -> None:
    params = SamplingParams(repeat_penalty=2.0, penalty_last_n=2)
    chooser = Chooser(params, [0, 1])
    assert chooser.choose(row(4, 4, 3), 2) == 2
    chooser.accept(2)
    # Token 0 has left the window of two.
    assert chooser.choose(row(4, 4, 3), 3) == 0


def test_a_negative_logit_is_penalised_downwards() -> None:
    chooser = Chooser(SamplingParams(repeat_penalty=2.0), [0])
    assert chooser.choose(row(-1.0, -1.5), 1) == 1


def test_frequency_and_presence_penalties_are_subtracted() -> None:
    chooser = Chooser(SamplingParams(frequency_penalty=0.5, presence_penalty=1.0), [0, 0, 1])
    # Token 0 loses 2.0, token 1 loses 1.5.
    assert chooser.choose(row(3.1, 2.7, 1.15), 3) == 1


def test_logit_bias_forbids_and_favours_tokens() -> None:
    logits = row(1, 2, 3)
    assert Chooser(SamplingParams(logit_bias={2: -math.inf}), []).choose(logits, 0) == 1
    assert Chooser(SamplingParams(logit_bias={0: 5.0}), []).choose(logits, 0) == 0


def test_a_model_that_computes_no_number_is_an_error() -> None:
    with pytest.raises(DecodeError, match="NaN"):
        Chooser(SamplingParams(), []).choose(row(1, math.nan, 2), 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("min_p", 2.0),
        ("repeat_penalty", 0.0),
        ("presence_penalty", math.inf),
        ("typical_p", 0.0),
        ("xtc_probability", 1.5),
        ("dry_multiplier", -1.0),
        ("mirostat", 3),
    ],
)
def test_a_parameter_outside_its_range_is_refused_by_its_name(name: str, value: float) -> None:
    setting = {"temperature": "temp"}.get(name, name)
    with pytest.raises(UsageError, match=f"`{setting}` is"):
        SamplingParams(**{name: value})  # type: ignore[arg-type]
