"""Advice is given where this run has measured that it is true."""

from __future__ import annotations

import pytest

from specli.engine.explain import explain
from specli.engine.policy.adaptive import AdaptivePolicy
from specli.engine.policy.cost import CostModel
from specli.events import Stats
from tests.engine.policy.play import costs

TOO_SLOW = (15.0, 16.0, 18.0, 22.0, 30.0)


def advice(cost: CostModel, target_rounds: int, draft_rounds: int) -> str | None:
    """The advice after a run of 100 tokens at the speed of plain decoding."""
    for _round in range(target_rounds):
        cost.target.observe(1, 20.0)
    for _round in range(draft_rounds):
        cost.drafters["draft"].observe(1, 15.0)
    stats = Stats(predicted_n=100, predicted_ms=2000.0)
    return explain(AdaptivePolicy(cost), stats).advice


def test_a_draft_that_was_slow_in_this_run_is_said_to_be_too_slow() -> None:
    found = advice(costs(draft=TOO_SLOW), 90, 1)
    assert found is not None
    assert "too slow: 15.0 ms/token against the target's 20.0; try a much smaller one" in found


def test_a_head_that_is_too_slow_has_no_smaller_one_to_take_its_place() -> None:
    cost = costs(draft=TOO_SLOW)
    cost.drafters = {"mtp": cost.drafters["draft"]}
    cost.drafters["mtp"].observe(1, 15.0)
    for _round in range(90):
        cost.target.observe(1, 20.0)
    found = explain(AdaptivePolicy(cost), Stats(predicted_n=100, predicted_ms=2000.0)).advice
    assert found is not None
    assert found.startswith("mtp too slow: ")
    assert found.endswith("`no_draft` leaves it out")


@pytest.mark.parametrize(("target_rounds", "draft_rounds"), [(90, 0), (2, 5)])
def test_costs_that_this_run_did_not_measure_give_no_advice(
    target_rounds: int, draft_rounds: int
) -> None:
    assert advice(costs(draft=TOO_SLOW), target_rounds, draft_rounds) is None


def test_costs_that_were_measured_on_a_busy_machine_give_no_advice() -> None:
    cost = costs(draft=TOO_SLOW)
    cost.sure = False
    assert advice(cost, 90, 5) is None
