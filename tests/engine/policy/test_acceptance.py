"""How often a drafter is right, learned by confidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.drafters.protocol import Proposal
from specli.engine.policy.acceptance import BINS, CENTRES, MEMORY, Acceptance, Track, mixed, upper


def test_a_drafter_that_has_shown_nothing_is_rated_as_expected() -> None:
    assert Acceptance().track("draft").chance(0.9, 0.8) == 0.8


@given(rate=st.sampled_from([0.1, 0.5, 0.9]), confidence=st.floats(0.01, 0.99))
def test_the_learned_probability_comes_to_the_real_rate(rate: float, confidence: float) -> None:
    track = Track()
    for n in range(300):
        track.judge(confidence, (n * rate) % 1 + rate >= 1)
    assert track.chance(confidence, confidence) == pytest.approx(rate, abs=0.08)


def test_other_confidences_and_other_drafters_are_left_alone() -> None:
    acceptance = Acceptance()
    for _n in range(50):
        acceptance.learning("draft").judge(0.97, False)
    assert acceptance.track("draft").chance(0.3, 0.3) == 0.3
    assert acceptance.track("suffix").chance(0.97, 0.97) == 0.97


def test_looking_at_an_unknown_drafter_keeps_nothing_of_it() -> None:
    acceptance = Acceptance()
    acceptance.track("draft").judge(0.5, True)
    assert acceptance.tracks == {}


def test_what_is_known_fades_with_texts_also_of_a_drafter_that_is_no_longer_asked() -> None:
    acceptance = Acceptance()
    track = acceptance.learning("draft")
    for _n in range(100):
        track.judge(0.5, False)
        track.count(Proposal([1], ["draft"], [0.1]))
    pessimistic = track.chance(0.5, 0.5)
    for _text in range(60):
        acceptance.fade(100)
    assert track.chance(0.5, 0.5) > 5 * pessimistic
    assert sum(track.first) < 1


def test_after_the_memory_a_third_is_left() -> None:
    acceptance = Acceptance()
    acceptance.learning("draft").judge(0.5, True)
    acceptance.fade(int(MEMORY))
    assert acceptance.track("draft").seen == pytest.approx(0.368, abs=0.001)


def test_a_text_starts_with_what_the_pair_has_shown_and_soon_rests_on_its_own() -> None:
    low, high = [100.0] + [0.0] * (BINS - 1), [0.0] * (BINS - 1) + [30.0]
    nothing = [0.0] * BINS
    assert mixed(nothing, low).shares[0] > 0.85
    assert mixed(high, low).shares[-1] > 0.75
    assert mixed(nothing, nothing).known == 0


@given(
    own=st.lists(st.floats(0, 50), min_size=BINS, max_size=BINS),
    pair=st.lists(st.floats(0, 50), min_size=BINS, max_size=BINS),
)
def test_shares_are_a_distribution(own: list[float], pair: list[float]) -> None:
    shares = mixed(own, pair).shares
    assert sum(shares) == pytest.approx(1, abs=0.02)
    assert min(shares) >= 0
    assert len(shares) == len(CENTRES)


@given(probability=st.floats(0, 1), known=st.floats(0, 1000))
def test_the_upper_end_of_a_probability_is_one_and_comes_down_with_knowledge(
    probability: float, known: float
) -> None:
    assert probability <= upper(probability, known) <= 1
    assert upper(probability, known + 1) <= upper(probability, known)
