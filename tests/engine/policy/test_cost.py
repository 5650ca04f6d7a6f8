"""Costs as measured curves, corrected while generating and kept on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.drafters.protocol import Proposal
from specli.engine.measure import POINTS, measure, undisturbed
from specli.engine.policy.acceptance import Acceptance
from specli.engine.policy.cost import CostModel, Curve
from specli.session.records import load, record_path, save
from tests.fakes import FakeClock, FakeDecoder, hashed

MS = st.floats(0.1, 500, allow_nan=False)


def test_between_two_points_the_curve_is_straight() -> None:
    curve = Curve([1, 4, 8], [10.0, 16.0, 20.0])
    assert [curve(1), curve(2), curve(4), curve(6)] == [10, 12, 16, 18]


def test_behind_the_last_point_the_last_slope_goes_on() -> None:
    assert Curve([1, 4, 8], [10.0, 16.0, 20.0])(12) == 24


def test_a_long_text_makes_every_token_dearer_and_says_nothing_of_short_ones() -> None:
    curve = Curve([1, 4, 8], [10.0, 16.0, 20.0], per_context=0.0005)
    assert curve(1) == 10
    for _ in range(60):
        curve.at(30_000)
        # Each token takes twice as long as was thought for each one before it.
        for tokens in (1, 4):
            curve.observe(tokens, (10.0 if tokens == 1 else 16.0) + 0.001 * 30_000 * tokens)
    assert curve(1) == pytest.approx(40, rel=0.03)
    assert curve(4) == pytest.approx(136, rel=0.03)
    curve.at(15_000)
    assert curve(1) == pytest.approx(25, rel=0.1)
    curve.at(0)
    assert curve(1) == pytest.approx(10, rel=0.3)
    assert curve(4) == pytest.approx(16, rel=0.3)


def test_measuring_again_at_the_end_of_a_long_text_leaves_the_costs_of_short_ones() -> None:
    curve = Curve([1, 2, 4], [10.0, 12.0, 16.0], per_context=0.001)
    curve.at(30_000)
    assert not curve.remeasured({1: 70.0, 2: 132.0, 4: 256.0})
    assert curve(4) == pytest.approx(256, rel=0.15)
    curve.at(0)
    assert [curve(1), curve(4)] == [10, 16]


def test_a_window_bounds_what_a_long_text_costs() -> None:
    curve = Curve([1, 4], [10.0, 16.0], per_context=0.001, window=2_000)
    curve.at(30_000)
    assert curve(1) == 12


@given(ms=st.lists(MS, min_size=3, max_size=3), observed=st.lists(st.tuples(st.integers(1, 9), MS)))
def test_more_tokens_never_take_less_time_whatever_is_observed(
    ms: list[float], observed: list[tuple[int, float]]
) -> None:
    curve = Curve([1, 4, 8], ms)
    for tokens, took in observed:
        curve.observe(tokens, took)
    values = [curve(tokens) for tokens in range(1, 12)]
    assert all(a <= b * (1 + 1e-9) for a, b in pairwise(values))
    assert values[0] > 0


def test_a_machine_that_has_become_slower_is_noticed_within_some_rounds() -> None:
    curve = Curve([1, 4, 8], [10.0, 16.0, 20.0])
    for _round in range(10):
        curve.observe(1, 30.0)
    assert curve(1) == pytest.approx(30, rel=0.05)
    assert curve(8) == pytest.approx(60, rel=0.35)


def test_a_single_hiccup_late_in_a_run_moves_the_curve_little() -> None:
    curve = Curve([1, 4, 8], [10.0, 16.0, 20.0])
    for _round in range(20):
        curve.observe(1, 10.0)
    curve.observe(1, 5000.0)
    assert curve(1) < 12


def test_measuring_leaves_an_empty_sequence_behind() -> None:
    decoder = FakeDecoder(hashed(1), n_ctx=400, n_batch=64)
    curve = measure(decoder, POINTS, 3, 1000.0)
    assert curve.sizes == list(POINTS)
    assert decoder.seen[0] == []


def measured(ms: Callable[[int, int], float], seconds: float) -> Curve:
    """A curve of a decoder whose n-th batch, of k tokens, takes `ms(k, n)`."""
    clock, calls = FakeClock(), count()
    decoder = FakeDecoder(
        hashed(1), n_ctx=400, n_batch=64, clock=clock, ms=lambda size: ms(size, next(calls))
    )
    return measure(decoder, POINTS, 3, seconds, clock)


def test_powers_of_two_are_measured_before_anything_else() -> None:
    assert measured(lambda size, _call: 10.0 + size, 0.0).sizes == [1, 2, 4, 8, 16]


def test_a_model_of_seconds_is_measured_at_few_points() -> None:
    assert measured(lambda size, _call: 4000.0 + size, 1.0).sizes == [1, 2, 4]


def test_what_time_is_left_goes_to_the_points_between() -> None:
    curve = measured(lambda size, _call: 10.0 + size, 10.0)
    assert curve.sizes == list(POINTS)
    assert curve.ms == pytest.approx([10.0 + size for size in POINTS])


@pytest.mark.parametrize(("skipped_at", "sizes"), [(0, [1, 2]), (3, [1, 2, 4])])
def test_measuring_that_is_skipped_keeps_what_it_has_and_at_least_two_points(
    skipped_at: int, sizes: list[int]
) -> None:
    decoder = FakeDecoder(hashed(1), n_ctx=400, n_batch=64)
    curve = measure(decoder, POINTS, 3, 1000.0, FakeClock(), lambda done, _total: done < skipped_at)
    assert curve.sizes == sizes
    assert decoder.seen[0] == []


def test_a_hiccup_while_measuring_is_no_cost_of_the_model() -> None:
    curve = measured(lambda size, call: 10.0 + size + 500 * (call == 3), 2.0)
    assert curve(2) == pytest.approx(12)


def test_twice_the_tokens_never_take_thrice_the_time() -> None:
    assert undisturbed(Curve([1, 2, 4, 8], [7.0, 15.0, 19.0, 26.0]))
    assert not undisturbed(Curve([1, 2, 4, 8], [23.0, 66.0, 70.0, 80.0]))
    assert not undisturbed(Curve([1, 2, 4, 8], [16.0, 24.3, 61.2, 91.2]))


def test_where_more_tokens_took_less_time_the_fewer_were_disturbed() -> None:
    assert Curve([1, 2, 4, 8], [10.0, 31.0, 16.0, 20.0]).ms == [10.0, 16.0, 16.0, 20.0]


def test_other_work_slows_batches_of_all_sizes_and_not_a_single_token() -> None:
    curve = Curve([1, 2, 4, 8], [10.0, 12.0, 16.0, 20.0])
    for _round in range(20):
        curve.observe(1, 10.0)
        curve.observe(2, 24.0)
    assert curve(1) == pytest.approx(10, rel=0.3)
    assert curve(2) == pytest.approx(24, rel=0.2)
    assert curve(8) > 30


def test_what_disturbed_batches_is_forgotten_while_single_tokens_are_decoded() -> None:
    curve = Curve([1, 2, 4, 8], [10.0, 12.0, 16.0, 20.0])
    for ms in [12.0] * 3 + [40.0] * 20:
        curve.observe(2, ms)
    assert curve(2) > 35
    assert curve(8) > 40
    for _round in range(200):
        curve.observe(1, 10.0)
    assert curve(2) < 1.7 * 12
    assert curve(8) < 1.7 * 20


def test_what_batches_took_from_the_beginning_is_not_forgotten() -> None:
    curve = Curve([1, 2, 4, 8], [10.0, 12.0, 16.0, 20.0])
    for _round in range(20):
        curve.observe(2, 24.0)
    before = curve(2)
    for _round in range(100):
        curve.observe(1, 10.0)
    assert curve(2) > 0.8 * before


def test_what_other_work_adds_to_batches_is_not_kept(tmp_path: Path) -> None:
    cost = CostModel(Curve([1, 2, 4], [10.0, 12.0, 16.0], batch=1.8))
    save(tmp_path / "pair.json", cost, Acceptance())
    known = load(tmp_path / "pair.json")
    assert known is not None
    assert known[0].target.ms == [10.0, 12.0, 16.0]


def test_batches_that_are_cheaper_than_was_measured_are_kept_so(tmp_path: Path) -> None:
    cost = CostModel(Curve([1, 2, 4], [10.0, 40.0, 60.0], batch=0.5))
    save(tmp_path / "pair.json", cost, Acceptance())
    known = load(tmp_path / "pair.json")
    assert known is not None
    assert known[0].target.ms == [10.0, 20.0, 30.0]


def test_a_cold_first_token_leaves_batches_as_they_were() -> None:
    curve = Curve([1, 2, 4, 8], [10.0, 12.0, 16.0, 20.0])
    for took in [60.0, *[10.0] * 60]:
        curve.observe(1, took)
    assert curve(8) == pytest.approx(20, rel=0.02)


def test_one_slow_batch_does_not_lift_the_sizes_above_it() -> None:
    curve = Curve([1, 2, 4, 8], [10.0, 12.0, 16.0, 20.0])
    for _round in range(10):
        curve.observe(1, 10.0)
    curve.observe(2, 60.0)
    assert curve(8) < 27


def test_of_two_disturbed_measurements_the_faster_time_of_each_size_counts() -> None:
    first, second = Curve([1, 2, 4], [10.0, 40.0, 41.0]), Curve([1, 2], [30.0, 31.0])
    assert first.fastest(second).ms == [10.0, 31.0]


def record_of(folder: Path) -> Path:
    path = folder / "pair.json"
    acceptance = Acceptance()
    track = acceptance.learning("draft")
    track.count(Proposal([1, 2], ["draft", "draft"], [0.9, 0.5]))
    for n in range(40):
        track.judge(0.9, n % 4 > 0)
    curve = Curve([1, 2, 4], [10.0, 12.0, 15.0])
    save(path, CostModel(curve, {"draft": Curve([1, 2], [2.0, 3.0])}), acceptance)
    return path


def test_costs_and_acceptance_come_back_as_they_were(tmp_path: Path) -> None:
    known = load(record_of(tmp_path))
    assert known is not None
    cost, acceptance = known
    assert cost.target(2) == 12.0
    assert cost.drafters["draft"](1) == 2.0
    track = acceptance.track("draft")
    assert track.seen == 40
    assert track.chance(0.9, 0.9) == pytest.approx((30 + 8 * 0.9) / 48)
    assert (sum(track.first), sum(track.further)) == (1, 1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda r: "{",
        lambda r: json.dumps({**r, "version": 99}),
        lambda r: json.dumps({**r, "target": {"sizes": [1], "ms": [2.0]}}),
        lambda r: json.dumps({**r, "target": {"sizes": [2, 1], "ms": [2.0, 3.0]}}),
        lambda r: json.dumps({**r, "target": {"sizes": [1, 2], "ms": [-2.0, 3.0]}}),
        lambda r: json.dumps({**r, "drafters": {"draft": {"sizes": [1], "ms": [2.0]}}}),
        lambda r: json.dumps({**r, "acceptance": {"draft": {"first": [1.0]}}}),
        lambda r: json.dumps({**r, "surplus": 1}),
    ],
)
def test_a_record_that_is_not_sound_is_measured_anew(tmp_path: Path, damage: object) -> None:
    path = record_of(tmp_path)
    assert callable(damage)
    path.write_text(damage(json.loads(path.read_text())))
    assert load(path) is None


def test_another_file_or_another_machine_has_another_record(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"one")
    first = record_path(tmp_path, [model], ["2 threads"])
    assert record_path(tmp_path, [model], ["2 threads"]) == first
    assert record_path(tmp_path, [model], ["4 threads"]) != first
    model.write_bytes(b"other")
    assert record_path(tmp_path, [model], ["2 threads"]) != first
