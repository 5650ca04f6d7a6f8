"""Costs as measured curves, and confidences as learned probabilities."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.engine.calibration import Calibration
from specli.engine.cost import POINTS, CostModel, Curve, measure, undisturbed
from specli.session.records import load, record_path, save
from tests.fakes import FakeDecoder, hashed

MS = st.floats(0.1, 500, allow_nan=False)


def test_between_two_points_the_curve_is_straight() -> None:
    curve = Curve([1, 4, 8], [10.0, 16.0, 20.0])
    assert [curve(1), curve(2), curve(4), curve(6)] == [10, 12, 16, 18]


def test_behind_the_last_point_the_last_slope_goes_on() -> None:
    assert Curve([1, 4, 8], [10.0, 16.0, 20.0])(12) == 24


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


def test_measuring_leaves_an_empty_sequence_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = FakeDecoder(hashed(1), n_ctx=400, n_batch=64)
    curve = measure(decoder, POINTS, 3, 1000.0)
    assert curve.sizes == list(POINTS)
    assert decoder.seen[0] == []


class Clocked(FakeDecoder):
    """A decoder on a clock of its own: `ms(k)` milliseconds for the n-th batch, of k tokens."""

    def __init__(self, ms: Callable[[int, int], float], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(hashed(1), n_ctx=400, n_batch=64)
        self.now = 0.0
        self._ms = ms
        monkeypatch.setattr("specli.engine.cost.perf_counter", lambda: self.now)

    def decode(self) -> None:
        self.now += self._ms(len(self._pending), self.calls) / 1000
        super().decode()


def test_powers_of_two_are_measured_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Clocked(lambda size, _call: 10.0 + size, monkeypatch)
    assert measure(decoder, POINTS, 3, 0.0).sizes == [1, 2, 4, 8, 16]


def test_a_model_of_seconds_is_measured_at_few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Clocked(lambda size, _call: 4000.0 + size, monkeypatch)
    assert measure(decoder, POINTS, 3, 1.0).sizes == [1, 2, 4]


def test_what_time_is_left_goes_to_the_points_between(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Clocked(lambda size, _call: 10.0 + size, monkeypatch)
    curve = measure(decoder, POINTS, 3, 10.0)
    assert curve.sizes == list(POINTS)
    assert curve.ms == pytest.approx([10.0 + size for size in POINTS])


def test_a_hiccup_while_measuring_is_no_cost_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Clocked(lambda size, call: 10.0 + size + 500 * (call == 3), monkeypatch)
    curve = measure(decoder, POINTS, 3, 2.0)
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
    assert curve(1) == pytest.approx(10, rel=0.2)
    assert curve(2) == pytest.approx(24, rel=0.2)
    assert curve(8) > 30


def test_what_other_work_adds_to_batches_is_not_kept(tmp_path: Path) -> None:
    cost = CostModel(Curve([1, 2, 4], [10.0, 12.0, 16.0], batch=1.8))
    save(tmp_path / "pair.json", cost, Calibration())
    known = load(tmp_path / "pair.json")
    assert known is not None
    assert known[0].target.ms == [10.0, 12.0, 16.0]


def test_batches_that_are_cheaper_than_was_measured_are_kept_so(tmp_path: Path) -> None:
    cost = CostModel(Curve([1, 2, 4], [10.0, 40.0, 60.0], batch=0.5))
    save(tmp_path / "pair.json", cost, Calibration())
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


def test_a_drafter_that_has_shown_nothing_is_believed() -> None:
    assert Calibration().probability("draft", 0.9) == 0.9


@given(rate=st.sampled_from([0.1, 0.5, 0.9]), confidence=st.floats(0.01, 0.99))
def test_the_learned_probability_comes_to_the_real_rate(rate: float, confidence: float) -> None:
    calibration = Calibration()
    for n in range(300):
        calibration.observe("draft", confidence, (n * rate) % 1 + rate >= 1)
    assert calibration.probability("draft", confidence) == pytest.approx(rate, abs=0.08)


def test_other_confidences_and_other_drafters_are_left_alone() -> None:
    calibration = Calibration()
    for _n in range(50):
        calibration.observe("draft", 0.97, False)
    assert calibration.probability("draft", 0.3) == 0.3
    assert calibration.probability("suffix", 0.97) == 0.97


def test_texts_change_and_the_past_is_forgotten() -> None:
    calibration = Calibration()
    for accepted in [True] * 500 + [False] * 500:
        calibration.observe("draft", 0.5, accepted)
    assert calibration.probability("draft", 0.5) < 0.15


def record_of(folder: Path) -> Path:
    path = folder / "pair.json"
    calibration = Calibration()
    for n in range(40):
        calibration.observe("draft", 0.9, n % 4 > 0)
    curve = Curve([1, 2, 4], [10.0, 12.0, 15.0])
    save(path, CostModel(curve, Curve([1, 2], [2.0, 3.0])), calibration)
    return path


def test_what_was_measured_comes_back_with_the_past_counting_less(tmp_path: Path) -> None:
    known = load(record_of(tmp_path))
    assert known is not None
    cost, calibration = known
    assert cost.target(2) == 12.0
    assert cost.draft is not None
    assert cost.draft(1) == 2.0
    assert 0 < calibration.seen("draft") < 30


@pytest.mark.parametrize(
    "damage",
    [
        lambda r: "{",
        lambda r: json.dumps({**r, "version": 99}),
        lambda r: json.dumps({**r, "target": {"sizes": [1], "ms": [2.0]}}),
        lambda r: json.dumps({**r, "target": {"sizes": [2, 1], "ms": [2.0, 3.0]}}),
        lambda r: json.dumps({**r, "target": {"sizes": [1, 2], "ms": [-2.0, 3.0]}}),
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
