"""The one line that says how much drafting helped."""

from __future__ import annotations

from dataclasses import replace

from specli.engine.explain import Explanation
from specli.ui.explain import estimate

TOLD = Explanation(
    target_ms={1: 23.4, 2: 30.0},
    draft_ms={},
    acceptance={},
    decisions={},
    plain_ms=940.0,
    plain_rounds=39,
    speedup=0.94,
    break_even=None,
    advice=None,
)


def test_the_estimate_names_its_baseline_and_what_that_rests_on() -> None:
    assert estimate(TOLD) == "speed-up ≈ 0.94× (baseline 23.4 ms/token, from 39 rounds)"
    one = replace(TOLD, plain_rounds=1)
    assert (estimate(one) or "").endswith("from 1 round)")
    known = replace(TOLD, plain_rounds=0)
    assert (estimate(known) or "").endswith("measured before)")
