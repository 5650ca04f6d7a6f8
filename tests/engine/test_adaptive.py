"""Draft lengths decided by costs, on a virtual clock: what is gained, and what may be lost."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replayed import (
    DRAFT,
    DRAFT_SIZES,
    HARDLY,
    PAYING,
    STEEP_SIZES,
    WRONG,
    Oracle,
    Replay,
    costs,
    replay,
)

from specli.drafters.protocol import Proposal
from specli.drafters.suffix import SuffixDrafter
from specli.engine.policy.adaptive import AdaptivePolicy
from specli.engine.policy.cost import CostModel, Curve
from specli.engine.explain import explain
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.policy.protocol import Outcome
from specli.events import Prefilled, Round, Stats

PROMPT_N = 3


def answer_of(seed: int, length: int = 128) -> list[int]:
    return [random.Random(seed * 1000 + n).randrange(10, 5000) for n in range(length)]


def sayings(
    answer: list[int], seed: int, share: float, sure: tuple[float, float] = (0.9, 0.4)
) -> list[tuple[int, float]]:
    """Right in about `share` of the positions; sure as `sure` says, noisily, when right or not."""
    drawn = random.Random(seed)
    said = []
    for token in answer:
        right = drawn.random() < share
        confidence = min(max(drawn.gauss(sure[not right], 0.15), 0.02), 0.999)
        said.append((token if right else WRONG, confidence))
    return said


def oracle(says: list[tuple[int, float]]) -> Oracle:
    return Oracle(PROMPT_N, says, Curve(list(DRAFT_SIZES), list(DRAFT)))


def curve(points: list[float]) -> Curve:
    return Curve(list(STEEP_SIZES), list(points))


def speedup(told: Replay, points: list[float], length: int) -> float:
    return length * points[0] / told.ms


def best_fixed(answer: list[int], says: list[tuple[int, float]], points: list[float]) -> float:
    return max(
        speedup(
            replay(FixedPolicy(n), answer, curve(points), model=oracle(says) if n else None),
            points,
            len(answer),
        )
        for n in (0, 1, 2, 3, 4, 6, 8, 16)
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), sure=st.sampled_from([(0.9, 0.4), (0.9, 0.9)]))
def test_a_draft_that_is_nearly_always_wrong_costs_at_most_three_percent(
    seed: int, sure: tuple[float, float]
) -> None:
    answer = answer_of(seed)
    says = sayings(answer, seed, 0.05, sure)
    told = replay(AdaptivePolicy(costs()), answer, curve(PAYING), model=oracle(says))
    assert speedup(told, PAYING, len(answer)) >= 0.97


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.3, 0.6, 0.8]))
def test_a_target_on_which_speculation_never_pays_loses_at_most_three_percent(
    seed: int, share: float
) -> None:
    answer = answer_of(seed)
    model = oracle(sayings(answer, seed, share))
    told = replay(AdaptivePolicy(costs(HARDLY)), answer, curve(HARDLY), model=model)
    assert speedup(told, HARDLY, len(answer)) >= 0.97


@pytest.mark.parametrize("share", [0.7, 0.85, 0.95])
def test_with_a_good_draft_it_comes_near_the_best_fixed_length_of_hindsight(share: float) -> None:
    ratios = []
    for seed in range(8):
        answer = answer_of(seed)
        says = sayings(answer, seed, share)
        told = replay(AdaptivePolicy(costs()), answer, curve(PAYING), model=oracle(says))
        ratios.append(
            speedup(told, PAYING, len(answer)) / max(best_fixed(answer, says, PAYING), 1.0)
        )
    assert min(ratios) >= 0.85
    assert sum(ratios) / len(ratios) >= 0.9


def test_a_change_from_new_text_to_copied_text_is_noticed() -> None:
    new, copied = answer_of(1, 100), answer_of(2, 100)
    prompt = (1, *copied)
    suffix = SuffixDrafter()
    policy = AdaptivePolicy(costs())
    told = replay(policy, [*new, *copied], curve(PAYING), prompt=prompt, cheap=[suffix])
    plain = 200 * PAYING[0]
    copied_plainly = 100 * PAYING[0]
    # All of the gain is made in the second half.
    assert plain - told.ms > 0.5 * copied_plainly


def test_when_two_tokens_cost_far_more_than_one_it_drafts_none_or_several() -> None:
    jump = [20.0, 38.0, 38.5, 39, 39.5, 40, 41, 43, 45, 50, 55, 65, 75]
    answer = answer_of(3)
    says = sayings(answer, 3, 0.9)
    told = replay(AdaptivePolicy(costs(jump)), answer, curve(jump), model=oracle(says))
    lengths = [proposed for proposed, _accepted in told.rounds]
    assert lengths.count(1) <= 0.1 * len(lengths)
    assert speedup(told, jump, len(answer)) > 1.2


def test_costs_that_a_busy_machine_has_spoilt_are_found_out_while_generating() -> None:
    spoilt = [20.0, 52.0, 75, 90, 95, 98, 100, 160, 190, 250, 300, 400, 520]
    copied = answer_of(2, 100)
    known = costs(spoilt).target
    for _text in range(3):
        policy = AdaptivePolicy(CostModel(known))
        told = replay(policy, copied, curve(PAYING), prompt=(1, *copied), cheap=[SuffixDrafter()])
        # The next process starts from what this one keeps.
        kept = CostModel(known).as_dict()["target"]
        assert isinstance(kept, dict)
        known = Curve(list(kept["sizes"]), list(kept["ms"]))
    assert speedup(told, PAYING, len(copied)) > 3
    assert known(2) < 30


def test_every_round_is_counted_under_its_decision() -> None:
    answer = answer_of(4)
    policy = AdaptivePolicy(costs())
    told = replay(policy, answer, curve(PAYING), model=oracle(sayings(answer, 4, 0.8)))
    assert policy.decisions.total() == len(told.rounds)
    assert policy.decisions["plain"] == sum(not proposed for proposed, _ in told.rounds)


def test_what_one_text_has_taught_helps_the_next() -> None:
    answer = answer_of(5)
    says = sayings(answer, 5, 0.95, (0.5, 0.5))
    policy = AdaptivePolicy(costs())
    cold = replay(policy, answer, curve(PAYING), model=oracle(says)).ms
    policy.end(0)
    assert replay(policy, answer, curve(PAYING), model=oracle(says)).ms < cold


def test_a_draft_that_cannot_pay_gets_advice_with_the_numbers() -> None:
    policy = AdaptivePolicy(costs(PAYING, [19.0, 20, 22, 24, 26]))
    stats = Stats()
    stats.add(Prefilled(0, 3, 3, 0, 1.0, at=0.0))
    for n in range(1, 41):
        stats.add(Round(0, [5], ["target"], [], [], 0, 0.0, 20.0, 20.0, at=0.02 * n))
    told = explain(policy, stats)
    assert told.break_even == 1.0
    assert told.advice is not None
    assert "19.0 ms" in told.advice
    assert "20.0 ms" in told.advice


def test_a_pair_that_pays_gets_no_advice() -> None:
    policy = AdaptivePolicy(costs())
    stats = Stats()
    stats.add(Prefilled(0, 3, 3, 0, 1.0, at=0.0))
    stats.add(Round(0, [5] * 40, ["target"] * 40, [], [], 0, 0.0, 20.0, 20.0, at=0.4))
    told = explain(policy, stats)
    assert told.speedup == pytest.approx(2.0)
    assert told.advice is None
    assert told.break_even is not None
    assert 0.1 < told.break_even < 0.7


def proposal(*confidences: float) -> Proposal:
    count = len(confidences)
    return Proposal([7] * count, ["suffix"] * count, list(confidences))


def policy_beside(width: int, target: Curve) -> AdaptivePolicy:
    policy = AdaptivePolicy(CostModel(target))
    for seq in range(width):
        policy.rule(seq, 60, width)
    return policy


def test_beside_each_other_the_surer_sequence_gets_the_room_that_pays() -> None:
    # Up to ten tokens cost hardly more than four; every further one costs dearly.
    policy = policy_beside(4, Curve([1, 4, 10, 11, 20], [10.0, 20.0, 22.0, 60.0, 400.0]))
    given = [
        (0, proposal(*[0.95] * 8)),
        (1, proposal(*[0.6] * 8)),
        (2, proposal()),
        (3, proposal(*[0.3] * 8)),
    ]
    lengths = [len(one) for one in policy.review(given)]
    assert sum(lengths) == 6
    assert lengths[0] > lengths[1] >= lengths[3]
    assert lengths[2] == 0


def test_what_one_sequence_would_draft_alone_may_not_pay_beside_others() -> None:
    curve = Curve([1, 2, 4, 8, 16], [10.0, 11.0, 12.0, 40.0, 80.0])
    alone = policy_beside(1, curve).review([(0, proposal(0.7, 0.7, 0.7))])
    beside = policy_beside(4, curve).review([(seq, proposal(0.7, 0.7, 0.7)) for seq in range(4)])
    assert len(alone[0]) == 3
    assert sum(map(len, beside)) == 0


def test_a_step_of_several_sequences_is_one_observation_of_the_whole_batch() -> None:
    policy = policy_beside(3, Curve([1, 2, 4, 8], [10.0, 11.0, 12.0, 16.0]))
    outcomes = [Outcome(seq, proposal(0.9) if seq == 0 else proposal(), 0) for seq in range(3)]
    policy.observe(outcomes, 0.0, 24.0)
    assert policy.cost.target.seen == {4: 1}
    assert 13.0 < policy.cost.target(4) < 24.0


def test_time_that_prompts_took_is_no_cost_of_a_round() -> None:
    policy = policy_beside(2, Curve([1, 2, 4], [10.0, 11.0, 12.0]))
    outcomes = [Outcome(seq, proposal(), 0) for seq in range(2)]
    policy.observe(outcomes, 0.0, 500.0, with_prompts=True)
    assert policy.cost.target(2) == 11.0
