"""Draft lengths decided by costs, on a virtual clock: what is gained, and what may be lost."""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import deepcopy
from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.drafters.protocol import STEPS, Proposal, Request
from specli.drafters.suffix import SuffixDrafter
from specli.engine.explain import explain
from specli.engine.policy.acceptance import PRIOR
from specli.engine.policy.adaptive import AdaptivePolicy
from specli.engine.policy.cost import CostModel, Curve
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.policy.protocol import Costly, Outcome, StepTimes, Turn
from specli.engine.policy.text import LOSS_SHARE, LOSS_START, Text
from specli.events import Prefilled, Round, Stats
from tests.engine.policy.play import (
    DRAFT,
    DRAFT_SIZES,
    HARDLY,
    PAYING,
    VOCAB,
    Played,
    Saying,
    costs,
    plain_steps,
    play,
    proposal,
    turns,
)
from tests.fakes import FakeClock

WRONG = 0


def answer_of(seed: int, length: int = 128) -> list[int]:
    drawn = random.Random(seed)
    return [drawn.randrange(5, VOCAB) for _n in range(length)]


def sayings(
    answer: Sequence[int], seed: int, share: float, sure: tuple[float, float] = (0.9, 0.4)
) -> list[tuple[int, float]]:
    """Right in about `share` of the positions; sure as `sure` says, noisily, when right or not."""
    drawn = random.Random(seed)
    said = []
    for token in answer:
        right = drawn.random() < share
        confidence = min(max(drawn.gauss(sure[not right], 0.15), 0.02), 0.999)
        said.append((token if right else WRONG, confidence))
    return said


def played(
    policy: AdaptivePolicy | FixedPolicy,
    answer: Sequence[int],
    says: Sequence[tuple[int, float]],
    points: Sequence[float] = PAYING,
) -> Played:
    clock = FakeClock()
    draft = Saying(says, clock, Curve(list(DRAFT_SIZES), list(DRAFT)))
    return play(policy, answer, [draft], points, clock)


def speedup(done: Played, points: Sequence[float], length: int) -> float:
    return length * points[0] / done.ms


def allowed(done: Played, tokens: int, points: Sequence[float]) -> float:
    """The bound of docs/policy.md, in milliseconds."""
    granted = log2(1 + tokens / PRIOR)
    return LOSS_SHARE * done.ms + (LOSS_START + granted) * points[0] + 1e-6


def best_fixed(
    answer: Sequence[int], says: Sequence[tuple[int, float]], points: Sequence[float]
) -> float:
    return max(
        speedup(played(FixedPolicy(n), answer, says, points), points, len(answer))
        for n in (0, 1, 2, 3, 4, 6, 8, 16)
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    says=st.lists(st.tuples(st.booleans(), st.floats(0.01, 0.999)), min_size=64, max_size=160),
    points=st.sampled_from([PAYING, HARDLY]),
)
def test_whatever_is_accepted_the_loss_against_plain_decoding_stays_within_the_bound(
    says: list[tuple[bool, float]], points: list[float]
) -> None:
    answer = answer_of(1, len(says))
    pairs = zip(answer, says, strict=True)
    said = [(token if right else WRONG, sure) for token, (right, sure) in pairs]
    done = played(AdaptivePolicy(costs(points)), answer, said, points)
    plain = len(answer) * points[0]
    assert done.ms - plain <= allowed(done, len(answer), points)


@pytest.mark.parametrize("turn_at", [20, 60, 120])
def test_an_adversary_that_is_right_until_it_is_trusted_gains_nothing_by_it(turn_at: int) -> None:
    answer = answer_of(2, 240)
    said = [(token if n < turn_at else WRONG, 0.99) for n, token in enumerate(answer)]
    done = played(AdaptivePolicy(costs()), answer, said)
    plain = len(answer) * PAYING[0]
    assert done.ms - plain <= allowed(done, len(answer), PAYING)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.05, 0.3, 0.6]))
def test_a_target_on_which_speculation_never_pays_loses_at_most_three_percent(
    seed: int, share: float
) -> None:
    answer = answer_of(seed)
    done = played(AdaptivePolicy(costs(HARDLY)), answer, sayings(answer, seed, share), HARDLY)
    assert speedup(done, HARDLY, len(answer)) >= 0.97


@pytest.mark.parametrize("share", [0.7, 0.85, 0.95])
def test_with_a_good_draft_it_comes_near_the_best_fixed_length_of_hindsight(share: float) -> None:
    ratios = []
    for seed in range(8):
        answer = answer_of(seed)
        says = sayings(answer, seed, share)
        done = played(AdaptivePolicy(costs()), answer, says)
        ratios.append(
            speedup(done, PAYING, len(answer)) / max(best_fixed(answer, says, PAYING), 1.0)
        )
    assert min(ratios) >= 0.9
    assert sum(ratios) / len(ratios) >= 1.0


@pytest.mark.parametrize(("rate", "within"), [(0.95, 100), (0.85, 100), (0.2, 100)])
def test_with_constant_acceptance_it_comes_to_the_best_length_within_a_hundred_tokens(
    rate: float, within: int
) -> None:
    # Every confidence is the same: only counting tells how often the draft is right.
    answer = answer_of(3, 600)
    drawn = random.Random(3)
    says = [(token if drawn.random() < rate else WRONG, 0.8) for token in answer]
    done = played(AdaptivePolicy(costs()), answer, says)
    lengths, position = [], 0
    for proposed, accepted in done.rounds:
        if position >= within and position < len(answer) - 20:
            lengths.append(proposed)
        position += accepted + 1

    def tokens_per_ms(length: int) -> float:
        tokens = sum(rate**k for k in range(length + 1))
        return tokens / (length * DRAFT[0] + curve_ms(1 + length))

    best = max(tokens_per_ms(length) for length in range(17))
    typical = sorted(lengths)[len(lengths) // 2]
    assert tokens_per_ms(typical) >= 0.95 * best


def curve_ms(tokens: int) -> float:
    return costs().target(tokens)


def test_a_change_from_new_text_to_copied_text_is_noticed() -> None:
    new, copied = answer_of(1, 100), answer_of(2, 100)
    prompt = (1, *copied)
    policy = AdaptivePolicy(costs())
    done = play(policy, [*new, *copied], [SuffixDrafter()], prompt=prompt)
    plain = 200 * PAYING[0]
    # All of the gain is made in the second half.
    assert plain - done.ms > 0.5 * 100 * PAYING[0]


def test_when_two_tokens_cost_far_more_than_one_it_drafts_none_or_several() -> None:
    jump = [20.0, 38.0, 38.5, 39, 39.5, 40, 41, 43, 45, 50, 55, 65, 75]
    answer = answer_of(3)
    says = sayings(answer, 3, 0.9)
    done = played(AdaptivePolicy(costs(jump)), answer, says, jump)
    lengths = [proposed for proposed, _accepted in done.rounds]
    assert lengths.count(1) <= 0.1 * len(lengths)
    assert speedup(done, jump, len(answer)) > 1.2


def test_of_two_costly_drafters_the_one_that_pays_is_asked() -> None:
    answer = answer_of(4, 200)
    clock = FakeClock()
    named = {"head": [2.0, 3.0, 4.0, 6.0, 9.0], "draft": DRAFT}
    drafters = [
        Saying(sayings(answer, 5, share), clock, Curve(list(DRAFT_SIZES), named[name]), name=name)
        for name, share in (("draft", 0.75), ("head", 0.75))
    ]
    policy = AdaptivePolicy(costs(PAYING, **named))
    done = play(policy, answer, drafters, PAYING, clock)
    assert done.sources.count("head") > 4 * max(done.sources.count("draft"), 1)


def test_a_drafter_that_has_missed_tokens_catches_up_once_it_is_worth_it() -> None:
    # The first half is in the prompt, so the suffix drafter has all of it.
    copied, new = answer_of(6, 40), answer_of(7, 120)
    answer, prompt = [*copied, *new], (1, *copied)
    says = sayings(answer, 8, 0.95)
    clock = FakeClock()
    draft = Saying(says, clock, Curve(list(DRAFT_SIZES), list(DRAFT)))
    draft.says = [(0, 0.01)] * (len(prompt) - 3) + says
    policy = AdaptivePolicy(costs())
    done = play(policy, answer, [SuffixDrafter(), draft], PAYING, clock, prompt)
    assert done.sources.count("suffix") > 2
    assert done.sources.count("draft") > 10


class Counting(SuffixDrafter):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        self.asked += 1
        return super().propose(requests)


def misled(times: int) -> tuple[list[int], list[int]]:
    """A prompt that a suffix drafter learns from, and an answer that goes on otherwise."""
    prompt, answer = [1], []
    for first in range(5, 5 + times):
        prompt += [first, 60, 61, 62] * 3
        answer += [first, 63]
    return prompt, answer


def without_room() -> AdaptivePolicy:
    """The first text has lost ten tokens already."""
    policy = AdaptivePolicy(costs())
    policy.texts[0] = Text(lost_ms=(LOSS_START + 10) * PAYING[0])
    return policy


def test_a_copied_passage_pays_even_where_all_that_may_be_lost_is_lost() -> None:
    passage = answer_of(8, 160)
    done = play(without_room(), passage, [SuffixDrafter()], prompt=[1, *passage])
    assert len(done.rounds) < 0.6 * len(passage)


def test_without_room_only_what_comes_true_is_granted_a_trial_and_ever_less_often() -> None:
    # The prompt foretells eleven tokens and then another one than comes, again and again.
    answer, prompt = answer_of(8, 400), [1]
    for start in range(0, 400, 12):
        prompt += [*answer[start : start + 11], WRONG, WRONG, WRONG]
    done = play(without_room(), answer, [SuffixDrafter()], prompt=prompt)
    lost = [proposed for proposed, accepted in done.rounds if accepted < proposed]
    assert 1 <= len(lost) <= log2(1 + len(answer) / PRIOR)


def test_a_text_without_room_asks_free_drafters_now_and_then_only() -> None:
    prompt, answer = misled(50)
    drafter = Counting()
    done = play(without_room(), answer, [drafter], prompt=prompt)
    assert 5 <= drafter.asked <= len(done.rounds) / 5


def test_costs_that_a_busy_machine_has_spoilt_are_found_out_while_generating() -> None:
    spoilt = [20.0, 52.0, 75, 90, 95, 98, 100, 160, 190, 250, 300, 400, 520]
    copied = answer_of(2, 100)
    known = costs(spoilt)
    known.drafters.clear()
    for _text in range(3):
        done = play(AdaptivePolicy(known), copied, [SuffixDrafter()], prompt=(1, *copied))
        # The next process starts from what this one keeps.
        known = CostModel(Curve(list(known.target.sizes), known.target.idle_ms))
    assert speedup(done, PAYING, len(copied)) > 3
    assert known.target(2) < 30


def test_a_drafter_whose_cost_was_measured_too_high_is_found_out_at_once() -> None:
    answer = answer_of(9)
    says = sayings(answer, 9, 0.9)
    right = played(AdaptivePolicy(costs()), answer, says).ms
    poisoned = AdaptivePolicy(costs(PAYING, draft=[3 * ms for ms in DRAFT]))
    assert played(poisoned, answer, says).ms < 1.05 * right


def test_every_round_is_counted_under_its_decision() -> None:
    answer = answer_of(4)
    policy = AdaptivePolicy(costs())
    done = played(policy, answer, sayings(answer, 4, 0.8))
    assert policy.decisions.total() == len(done.rounds)
    assert policy.decisions["plain"] == sum(not proposed for proposed, _ in done.rounds)
    assert policy.asked["draft"] >= policy.decisions["draft"]


def test_what_one_text_has_taught_helps_the_next() -> None:
    answer = answer_of(5)
    says = sayings(answer, 5, 0.95, (0.2, 0.2))
    policy = AdaptivePolicy(costs())
    cold = played(policy, answer, says).ms
    assert played(policy, answer, says).ms < cold


def test_asking_a_policy_changes_nothing_of_what_it_knows() -> None:
    policy = AdaptivePolicy(costs())
    answer = answer_of(6, 30)
    played(policy, answer, sayings(answer, 6, 0.7))
    before = deepcopy(policy)
    turn = Turn(0, 16, 1, [Costly("draft", Saying([], FakeClock(), float).cost, 2)])
    policy.rule(turn)
    policy.choose([turn])
    turn.proposals.append(proposal(0.9, 0.8))
    policy.verify([turn])
    assert policy == before


@pytest.mark.parametrize(("ms", "asked"), [(2.0, True), (40.0, False)])
def test_a_draft_reads_a_prompt_only_where_it_may_pay(ms: float, asked: bool) -> None:
    policy = AdaptivePolicy(costs(PAYING, draft=[ms, ms + 1, ms + 2, ms + 4, ms + 6]))
    policy.cost.drafters["draft"].observe(1, ms)
    assert policy.would_ask("draft", STEPS) == asked


def test_a_draft_that_cannot_pay_gets_advice_with_the_numbers() -> None:
    policy = AdaptivePolicy(costs(PAYING, draft=[19.0, 20, 22, 24, 26]))
    for _round in range(3):
        policy.cost.target.observe(1, 20.0)
    policy.cost.drafters["draft"].observe(1, 19.0)
    stats = Stats()
    stats.add(Prefilled(0, 3, 3, 0, 1.0, at=0.0))
    for n in range(1, 41):
        stats.add(Round(0, [5], ["target"], [], [], 0, 0.0, 20.0, 0.0, 20.0, at=0.02 * n))
    found = explain(policy, stats)
    assert found.break_even["draft"] == 1.0
    assert found.advice is not None
    assert "19.0 ms" in found.advice
    assert "20.0" in found.advice


def test_a_pair_that_pays_gets_no_advice() -> None:
    policy = AdaptivePolicy(costs())
    stats = Stats()
    stats.add(Prefilled(0, 3, 3, 0, 1.0, at=0.0))
    stats.add(Round(0, [5] * 40, ["target"] * 40, [], [], 0, 0.0, 20.0, 0.0, 20.0, at=0.4))
    found = explain(policy, stats)
    assert found.advice is None
    assert 0.1 < found.break_even["draft"] < 0.7


def test_tokens_that_nobody_judged_teach_nothing() -> None:
    policy = AdaptivePolicy(costs())
    (turn,) = turns(proposal(0.9, 0.9, 0.9))
    first = turn.proposals[0].tokens[:1]
    policy.learn([Outcome(turn, turn.proposals[0], 1, first)], StepTimes({}, 30.0))
    assert policy.acceptance.track("suffix").seen == 1
    assert policy.acceptance.track("suffix").chance(0.9, 0.9) > 0.9


def test_a_draft_that_looked_dear_for_a_while_is_asked_again() -> None:
    policy = AdaptivePolicy(costs())
    draft = policy.cost.drafters["draft"]
    for ms in [DRAFT[0]] * 3 + [8 * DRAFT[0]] * 20:
        draft.observe(1, ms)
    assert draft(1) > 6 * DRAFT[0]
    plain_steps(policy, 200, 1, PAYING[0])
    assert draft(1) < 1.5 * DRAFT[0]


def test_time_that_prompts_took_is_no_cost_of_a_round() -> None:
    policy = AdaptivePolicy(CostModel(Curve([1, 2, 4], [10.0, 11.0, 12.0])))
    outcomes = [Outcome(turn, Proposal(), 0, [5]) for turn in turns(proposal(), proposal())]
    policy.learn(outcomes, StepTimes({}, 500.0, with_prompts=True))
    assert policy.cost.target(2) == 11.0


def test_rolling_back_is_part_of_what_a_rejected_proposal_costs() -> None:
    policy = AdaptivePolicy(costs())
    (turn,) = turns(proposal(0.9))
    policy.learn([Outcome(turn, turn.proposals[0], 0, [5])], StepTimes({}, 23.5, rollback=30.0))
    assert policy.texts[0].lost_ms == pytest.approx(33.5)
    assert policy.cost.rollback > 0


def test_what_deciding_takes_is_lost_and_leaves_less_room_for_trials() -> None:
    policy = AdaptivePolicy(costs())
    given_turns = turns(proposal(), proposal())
    outcomes = [Outcome(turn, Proposal(), 0, [5]) for turn in given_turns]
    policy.learn(outcomes, StepTimes({}, 20.0, deciding=3.0))
    assert [policy.texts[seq].lost_ms for seq in (0, 1)] == [1.5, 1.5]
    policy.learn(outcomes, StepTimes({}, 20.0, deciding=1e6))
    assert policy.verify(turns(proposal(0.9))) == [Proposal()]
