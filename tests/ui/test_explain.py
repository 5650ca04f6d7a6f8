"""The one line that says how much drafting helped."""

from __future__ import annotations

from dataclasses import replace

from specli.engine.explain import Explanation
from specli.ui.explain import estimate

EXPLAINED = Explanation(
    target_ms={1: 23.4, 2: 30.0},
    drafting_ms={},
    rollback_ms=0.0,
    acceptance={},
    decisions={},
    asked={},
    plain_ms=940.0,
    plain_rounds=39,
    speedup=0.94,
    break_even={},
    advice=None,
)


def test_the_estimate_names_its_baseline_and_what_that_rests_on() -> None:
    assert estimate(EXPLAINED) == "speed-up ≈ 0.94× (baseline 23.4 ms/token, from 39 rounds)"
    one = replace(EXPLAINED, plain_rounds=1)
    assert (estimate(one) or "").endswith("from 1 round)")
    known = replace(EXPLAINED, plain_rounds=0)
    assert (estimate(known) or "").endswith("measured before)")
