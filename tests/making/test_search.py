"""The order of candidates, over a measurement that is made up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.making.score import Expected
from specli.making.search import Trial, Unit, Variant, least_first, search

UNITS: list[Unit] = [(block,) for block in range(8)]


@dataclass
class Machine:
    """Speed-ups by formula: each type has its own, each block that goes changes it.

    `lasts` is how many candidates fit into the budget.
    """

    types: Mapping[str, float]
    blocks: Mapping[int, float] = field(default_factory=dict)
    lasts: int = 10_000
    tried: list[tuple[Variant, bool]] = field(default_factory=list)

    def __call__(self, variant: Variant, *, until: float, brief: bool = False) -> Trial | None:
        if self.tried and len(self.tried) >= until * self.lasts:
            return None
        self.tried.append((variant, brief))
        change = sum(self.blocks.get(block, -0.2) for block in variant.dropped)
        speedup = self.types[variant.type] + change
        expected = Expected(50 * speedup, speedup, 0.8, 2.0, 4, 0.0)
        return Trial(variant, 100, 5.0, expected, (), brief)


def test_nothing_is_left_out_where_every_block_matters() -> None:
    machine = Machine({"Q8_0": 1.1, "Q4_0": 1.3, "Q2_K": 0.9})
    trials = search(list(machine.types), UNITS, machine)
    assert trials[0].variant == Variant("Q4_0")
    assert [trial.speedup for trial in trials] == sorted(
        (trial.speedup for trial in trials), reverse=True
    )
    assert not any(trial.brief for trial in trials)


def test_blocks_that_cost_more_than_they_tell_are_left_out_together() -> None:
    machine = Machine({"Q8_0": 1.1, "Q4_0": 1.3}, {2: 0.1, 5: 0.05, 6: -0.01})
    assert search(["Q8_0", "Q4_0"], UNITS, machine)[0].variant == Variant("Q4_0", (2, 5))


def test_a_loss_may_be_made_good_by_the_next_block() -> None:
    machine = Machine({"Q4_0": 1.0}, {2: -0.05, 5: -0.05, 6: 0.2})
    best = search(["Q4_0"], UNITS, machine)[0]
    assert 6 in best.variant.dropped


def test_other_types_are_tried_without_the_same_blocks() -> None:
    machine = Machine({"Q8_0": 1.1, "Q4_0": 1.3, "Q2_K": 0.9}, {2: 0.1})
    search(list(machine.types), UNITS, machine)
    assert (Variant("Q2_K", (2,)), False) in machine.tried


def test_groups_go_as_groups() -> None:
    units: list[Unit] = [(0, 1), (2, 3), (4, 5)]
    machine = Machine({"Q4_0": 1.0}, {2: 0.1, 3: 0.1})
    best = search(["Q4_0"], units, machine)[0]
    assert best.variant.dropped == (2, 3)
    assert all(len(variant.dropped) % 2 == 0 for variant, _brief in machine.tried)


def test_without_units_only_types_are_tried() -> None:
    machine = Machine({"Q8_0": 1.1, "Q4_0": 1.3})
    search(["Q8_0", "Q4_0"], [], machine)
    assert [variant for variant, _brief in machine.tried] == [Variant("Q8_0"), Variant("Q4_0")]


@pytest.mark.parametrize("lasts", [0, 1, 2, 5, 20])
def test_the_budget_is_kept_and_something_is_always_found(lasts: int) -> None:
    machine = Machine({"Q8_0": 1.1, "Q4_0": 1.3}, {2: 0.1}, lasts=lasts)
    assert search(["Q8_0", "Q4_0"], UNITS, machine)
    assert len(machine.tried) <= max(lasts, 1)


@given(gains=st.lists(st.floats(-0.3, 0.2), min_size=8, max_size=8), lasts=st.integers(1, 80))
def test_no_candidate_is_measured_twice_and_the_best_comes_first(
    gains: list[float], lasts: int
) -> None:
    machine = Machine({"Q8_0": 1.1, "Q4_0": 1.3}, dict(enumerate(gains)), lasts=lasts)
    trials = search(["Q8_0", "Q4_0"], UNITS, machine)
    full = [variant for variant, brief in machine.tried if not brief]
    assert len(full) == len(set(full))
    assert max(trial.speedup for trial in trials) == trials[0].speedup


def test_blocks_of_little_influence_are_tried_first_and_unknown_ones_last() -> None:
    assert least_first([(0,), (1,), (2,)], {1: 0.2, 2: 0.1}) == [(2,), (1,), (0,)]
    assert least_first([(0, 1), (2, 3)], {0: 0.2, 1: 0.2, 2: 0.3, 3: 0.05}) == [(2, 3), (0, 1)]
    assert least_first(UNITS[:3], {}) == [(1,), (0,), (2,)]
