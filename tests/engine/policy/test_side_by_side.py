"""Several sequences in a step: what is verified for each, and what the step teaches."""

from __future__ import annotations

import pytest

from specli.drafters.protocol import Proposal
from specli.engine.policy.adaptive import AdaptivePolicy
from specli.engine.policy.cost import CostModel, Curve
from specli.engine.policy.protocol import Outcome, StepTimes, Turn
from specli.engine.policy.text import LOSS_START
from tests.engine.policy.play import plain_steps, proposal, turns


def test_side_by_side_the_surer_sequence_gets_the_room_that_pays() -> None:
    # Up to ten tokens cost hardly more than four; every further one costs dearly.
    policy = AdaptivePolicy(CostModel(Curve([1, 4, 10, 11, 20], [10.0, 20.0, 22.0, 60.0, 400.0])))
    given_turns = turns(
        proposal(*[0.95] * 8), proposal(*[0.6] * 8), proposal(), proposal(*[0.3] * 8)
    )
    lengths = [len(one) for one in policy.verify(given_turns)]
    assert sum(lengths) == 6
    assert lengths[0] > lengths[1] >= lengths[3]
    assert lengths[2] == 0


def test_what_one_sequence_would_draft_alone_may_not_pay_with_others() -> None:
    policy = AdaptivePolicy(CostModel(Curve([1, 2, 4, 8, 16], [10.0, 11.0, 12.0, 40.0, 80.0])))
    policy.alone = 0
    one = proposal(0.7, 0.7, 0.7)
    assert len(policy.verify(turns(one))[0]) == 3
    assert sum(map(len, policy.verify(turns(one, one, one, one)))) == 0


def test_a_step_of_several_sequences_is_one_observation_of_the_whole_batch() -> None:
    policy = AdaptivePolicy(CostModel(Curve([1, 2, 4, 8], [10.0, 11.0, 12.0, 16.0])))
    given_turns = turns(proposal(0.9), proposal(), proposal())
    outcomes = [
        Outcome(turn, turn.proposals[0] if turn.proposals else Proposal(), 0, [5])
        for turn in given_turns
    ]
    policy.learn(outcomes, StepTimes({}, 24.0))
    assert policy.cost.target.seen == {4: 1}
    assert 13.0 < policy.cost.target(4) < 24.0


def test_what_pays_beside_others_at_the_start_still_pays_after_many_steps() -> None:
    curve = Curve([1, 2, 4, 5, 8], [10.0, 11.0, 12.0, 13.0, 16.0])
    policy, side = AdaptivePolicy(CostModel(curve)), proposal(0.6)
    policy.alone = 0
    given_turns = turns(side, proposal(), proposal(), proposal())
    # One token more takes 1 ms of a step that brings four tokens in 12 ms.
    assert len(policy.verify(given_turns)[0]) == 1
    plain_steps(policy, 60, 4, 12.0)
    policy.alone = 0
    assert len(policy.verify(given_turns)[0]) == 1


def test_all_sequences_of_a_step_may_lose_together_what_one_may_lose_alone() -> None:
    policy = AdaptivePolicy(CostModel(Curve([1, 4, 8], [10.0, 12.0, 16.0])))
    sides = [Turn(seq, 60, 4) for seq in range(4)]
    assert not policy.rests(sides)
    lost = StepTimes({}, 12.0, deciding=LOSS_START * 12.0)
    policy.learn([Outcome(turn, Proposal(), 0, [5]) for turn in sides], lost)
    for turn in sides:
        policy.texts[turn.seq].foretold.pause = 1
    assert policy.rests(sides)


def test_sequences_that_take_two_rows_each_are_known_by_their_rows() -> None:
    policy = AdaptivePolicy(CostModel(Curve([1, 2, 4, 8], [10.0, 10.0, 12.0, 16.0])))
    plain_steps(policy, 3, 4, 16.0, least=2)
    assert policy.cost.target.seen == {8: 3}
    assert policy.cost.target(2) == pytest.approx(10)


def test_of_two_rows_each_the_first_proposed_token_is_free_and_the_rest_is_a_batch_of_its_own() -> (
    None
):
    policy = AdaptivePolicy(CostModel(Curve([1, 2, 4, 8], [10.0, 10.0, 12.0, 16.0])))
    policy.alone = 0
    given_turns = turns(proposal(0.5, 0.9), proposal(), proposal(), proposal())
    for turn in given_turns:
        turn.least = 2
    assert [len(one) for one in policy.verify(given_turns)] == [1, 0, 0, 0]
    proposed = given_turns[0].proposals[0]
    outcomes = [
        Outcome(turn, proposed if turn.proposals else Proposal(), 0, [5]) for turn in given_turns
    ]
    policy.learn(outcomes, StepTimes({}, 60.0))
    assert not policy.cost.target.seen
