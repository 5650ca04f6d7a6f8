"""Wrong costs are right again within a hundred tokens, whichever way they were wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from specli.engine.policy.adaptive import AdaptivePolicy
from specli.engine.policy.cost import CHECKED, CostModel, Curve
from specli.engine.recalibration import PATIENCE, Recalibration
from tests.engine.policy.play import DRAFT, DRAFT_SIZES, PAYING, Saying, costs, curve, play
from tests.fakes import FakeClock, FakeDecoder, hashed

ANSWER = [1 + n % 60 for n in range(100)]
SIZES = (1, 2, 3, 4, 6, 8, 16)


def says(right: Callable[[int], bool]) -> list[tuple[int, float]]:
    return [(token if right(n) else 61, 0.9) for n, token in enumerate(ANSWER)]


def times(points: Sequence[float], factor: float, first: int = 0) -> list[float]:
    return [ms * factor if n >= first else ms for n, ms in enumerate(points)]


POISONED = {
    "target": lambda by: costs(times(PAYING, by)),
    "draft": lambda by: costs(draft=times(DRAFT, by)),
    "both": lambda by: costs(times(PAYING, by), draft=times(DRAFT, by)),
    "batches of the target": lambda by: costs(times(PAYING, by, first=1)),
    "single tokens of the target": lambda by: costs([PAYING[0] * by, *PAYING[1:]]),
}


def drafter(clock: FakeClock) -> Saying:
    """Right in four of five tokens."""
    return Saying(says(lambda n: n % 5 != 4), clock, Curve(list(DRAFT_SIZES), list(DRAFT)))


@pytest.mark.parametrize("by", [4.0, 0.25])
@pytest.mark.parametrize("poisoned", POISONED)
def test_a_record_that_is_wrong_by_four_is_right_again_within_a_hundred_tokens(
    poisoned: str, by: float
) -> None:
    cost, clock = POISONED[poisoned](by), FakeClock()
    play(AdaptivePolicy(cost), ANSWER, [drafter(clock)], clock=clock, looks_after=cost)
    true = curve()
    found = [cost.target(size) / true(size) for size in SIZES]
    found.append(cost.drafters["draft"](1) / DRAFT[0])
    assert all(0.8 < ratio < 1.25 for ratio in found)


def test_a_draft_that_looks_dearer_than_the_target_is_timed_once() -> None:
    cost, clock = costs(draft=times(DRAFT, 16.0)), FakeClock()
    play(AdaptivePolicy(cost), ANSWER, [drafter(clock)], clock=clock, looks_after=cost)
    assert 0.8 < cost.drafters["draft"](1) / DRAFT[0] < 1.25


def test_a_record_that_is_right_costs_no_time_at_all() -> None:
    took = []
    for looked_after in (True, False):
        cost, clock = costs(), FakeClock()
        policy = AdaptivePolicy(cost)
        play(
            policy,
            ANSWER,
            [drafter(clock)],
            clock=clock,
            looks_after=cost if looked_after else None,
        )
        took.append(clock.now)
    assert took[0] == took[1]


def recalibration(clock: FakeClock, decoder: FakeDecoder) -> Recalibration:
    return Recalibration(decoder, {}, 1, clock)


def see(again: Recalibration, cost: CostModel, took: Sequence[float]) -> None:
    """Rounds of a single token that take these times, and the look before the next round."""
    for ms in took:
        again.before_round(cost)
        cost.target.observe(1, ms)
    again.before_round(cost)


def test_one_slow_batch_is_no_reason_to_measure_again() -> None:
    clock = FakeClock()
    decoder, cost = FakeDecoder(hashed(1), clock=clock), costs()
    again = recalibration(clock, decoder)
    for took in (200.0, 20.0, 20.0, 20.0):
        again.before_round(cost)
        cost.target.observe(1, took)
    assert decoder.calls == 0


def test_measuring_leaves_what_the_cache_holds() -> None:
    clock = FakeClock()
    decoder, cost = FakeDecoder(hashed(1), clock=clock), costs()
    decoder.add(0, [1, 2, 3], 0, 0)
    decoder.decode()
    again = recalibration(clock, decoder)
    see(again, cost, [4 * PAYING[0]] * CHECKED)
    assert decoder.calls > 1
    assert decoder.seen[0] == [1, 2, 3]


def test_costs_that_were_measured_on_a_busy_machine_are_sure_once_rounds_confirm_them() -> None:
    clock = FakeClock()
    decoder = FakeDecoder(hashed(1), clock=clock, ms=curve())
    cost = CostModel(Curve(list(curve().sizes), times(PAYING, 1.5), spread=1.4))
    again = recalibration(clock, decoder)
    see(again, cost, [PAYING[0]] * CHECKED)
    assert cost.target(4) == pytest.approx(curve()(4))
    assert decoder.calls == 1
    for _round in range(PATIENCE + 1):
        again.before_round(cost)
        assert cost.sure == (_round >= CHECKED)
        cost.target.observe(1, PAYING[0])
    assert decoder.calls == 1


def test_single_tokens_of_the_rounds_need_no_measuring_and_a_batch_is_timed_twice_at_most() -> None:
    for first, batches in ((0, [4]), (1, [4, 4])):
        clock, seen = FakeClock(), list[int]()
        truth = Curve(list(curve().sizes), times(PAYING, 2.0, first))

        def took(size: int, truth: Curve = truth, seen: list[int] = seen) -> float:
            seen.append(size)
            return truth(size)

        cost = costs()
        cost.sure = False
        again = recalibration(clock, FakeDecoder(hashed(1), clock=clock, ms=took))
        see(again, cost, [truth(1)] * CHECKED)
        assert seen == batches
        assert all(0.8 < cost.target(size) / truth(size) < 1.25 for size in SIZES)


def test_only_what_disagrees_changes() -> None:
    clock = FakeClock()
    target, draft = (FakeDecoder(hashed(1), clock=clock, ms=curve()) for _each in "12")
    cost = costs()
    again = Recalibration(target, {"draft": draft}, 1, clock)
    for _round in range(CHECKED + 1):
        again.before_round(cost)
        cost.target.observe(1, PAYING[0])
        cost.drafters["draft"].observe(1, 4 * DRAFT[0])
    assert cost.drafters["draft"](1) == pytest.approx(4 * DRAFT[0])
    assert cost.target(4) == pytest.approx(PAYING[3])
    # Rounds have shown it all.
    assert (target.calls, draft.calls) == (0, 0)


def test_rounds_that_never_agree_are_measured_ever_more_rarely() -> None:
    clock, load = FakeClock(), [4.0]
    decoder = FakeDecoder(hashed(1), clock=clock, ms=lambda size: load[0] * curve()(size))
    cost, measured = costs(), 0
    again = Recalibration(decoder, {}, 1, clock)
    for _round in range(1000):
        before = decoder.calls
        again.before_round(cost)
        if decoder.calls > before:
            measured += 1
            load[0] = 5.0 - load[0]
        cost.target.observe(1, load[0] * PAYING[0])
    assert 2 <= measured <= 5


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("hit", [1, 4])
def test_a_hiccup_while_costs_are_measured_again_is_not_believed(hit: int, first: int) -> None:
    clock, seen = FakeClock(), Counter[int]()

    def took(size: int) -> float:
        seen[size] += 1
        return curve()(size) * (3.0 if size == hit and seen[size] == 1 else 1.0)

    cost = costs(times(PAYING, 4.0, first))
    cost.sure = False
    again = recalibration(clock, FakeDecoder(hashed(1), clock=clock, ms=took))
    for _each in range(CHECKED):
        # Rounds show the times of what is not hit.
        cost.target.observe(4 if hit == 1 else 1, curve()(4 if hit == 1 else 1))
    again.before_round(cost)
    assert seen[hit] == 2
    assert all(0.8 < cost.target(size) / curve()(size) < 1.25 for size in SIZES)
