"""From runs on a fake clock to speed-ups, intervals and rates."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.bench.report import OVERALL, Summary
from specli.bench.statistics import ratios, speedup
from tests.bench.made import PROMPTS, Speed, measured, report_of

TRUE = {"plain": 1.0, "auto": 1.5, "draft 4": 0.8}
BY_PROMPT = {"question-1": 20.0, "question-2": 40.0, "story-1": 60.0}
TURNS = st.lists(st.floats(0.2, 5.0), min_size=3, max_size=7)


def noisy(noise: float, seed: int, drift: float = 0.0) -> Speed:
    """Speeds around the true ones, on a machine that slows down from turn to turn."""
    source = random.Random(seed)

    def speed(setting: str, prompt: str, number: int) -> float:
        slower = (1 - drift) ** number
        return TRUE[setting] * BY_PROMPT[prompt] * slower * math.exp(source.gauss(0, noise))

    return speed


def summary(speed: Speed, setting: str = "auto", category: str = OVERALL) -> Summary:
    found = report_of(measured(speed)).summary(setting, category)
    assert found is not None
    return found


@pytest.mark.parametrize(("setting", "expected"), [("auto", 1.5), ("draft 4", 0.8)])
@pytest.mark.parametrize("category", ["question", "story", OVERALL])
def test_without_noise_the_speed_up_is_the_true_one(
    setting: str, expected: float, category: str
) -> None:
    found = summary(noisy(0, 0, drift=0.3), setting, category).speedup
    assert found is not None
    assert [found.value, found.low, found.high] == pytest.approx([expected] * 3)


def test_plain_decoding_has_speeds_and_no_speed_up() -> None:
    found = summary(noisy(0, 0), "plain", "question")
    assert found.speedup is None
    assert (found.speed_low, found.speed, found.speed_high) == pytest.approx((20, 30, 40))


def test_the_interval_holds_the_truth_at_least_as_often_as_it_says() -> None:
    """Over the whole way from runs to summaries; slightly too wide is what its docstring says."""
    source = random.Random(1)
    inside = 0
    for _repetition in range(400):
        by_prompt = [[1.5 * math.exp(source.gauss(0, 0.1)) for _ in range(5)] for _ in range(6)]
        found = speedup(by_prompt)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 1.5 <= found.high
    assert 0.93 < inside / 400 < 0.995


def test_one_disturbed_run_moves_a_speed_up_little() -> None:
    runs = measured(noisy(0.01, 3))
    before = report_of(runs).summary("auto")
    place = next(n for n, run in enumerate(runs) if run.setting == "auto")
    runs[place] = replace(runs[place], predicted_ms=20 * runs[place].predicted_ms)
    after = report_of(runs).summary("auto")
    assert before is not None
    assert after is not None
    assert before.speedup is not None
    assert after.speedup is not None
    assert after.speedup.value == pytest.approx(before.speedup.value, rel=0.02)
    assert after.speedup.high == pytest.approx(before.speedup.high, rel=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_the_same_bench_twice_differs_by_less_than_its_interval_says(seed: int) -> None:
    first = summary(noisy(0.03, seed)).speedup
    second = summary(noisy(0.03, seed + 100)).speedup
    assert first is not None
    assert second is not None
    assert second.value == pytest.approx(first.value, rel=0.05)


@given(st.lists(TURNS, min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_an_interval_is_in_order_and_reaches_no_further_than_the_runs(
    by_prompt: list[list[float]],
) -> None:
    found = speedup(by_prompt)
    assert found.low is not None
    assert found.high is not None
    slack = 1 + 1e-9
    assert found.low <= found.value * slack
    assert found.value <= found.high * slack
    lowest = math.prod(min(turns) for turns in by_prompt) ** (1 / len(by_prompt))
    highest = math.prod(max(turns) for turns in by_prompt) ** (1 / len(by_prompt))
    assert lowest <= found.low * slack
    assert found.high <= highest * slack


@given(st.lists(TURNS, min_size=1, max_size=4), st.floats(0.5, 2.0))
@settings(max_examples=40, deadline=None)
def test_a_setting_faster_by_a_factor_has_all_its_figures_times_that(
    by_prompt: list[list[float]], factor: float
) -> None:
    one = speedup(by_prompt)
    other = speedup([[factor * ratio for ratio in turns] for turns in by_prompt])
    assert other.value == pytest.approx(factor * one.value)
    assert (one.low, other.low) != (None, None)
    assert other.low == pytest.approx(factor * (one.low or 0))


@pytest.mark.parametrize("turns", [1, 2])
def test_a_prompt_with_too_few_turns_leaves_the_interval_open(turns: int) -> None:
    found = speedup([[1.2, 1.3, 1.4], [1.1] * turns])
    assert (found.low, found.high) == (None, None)
    assert found.value == pytest.approx(math.sqrt(1.3 * 1.1))


def test_only_turns_that_plain_decoding_took_part_in_count() -> None:
    runs = measured(noisy(0, 0))
    last = [run for run in runs if not (run.setting == "plain" and run.number == 4)]
    assert {prompt: len(found) for prompt, found in ratios(last, "auto").items()} == {
        prompt.id: 4 for prompt in PROMPTS
    }
    assert ratios([run for run in runs if run.setting != "plain"], "auto") == {}


def test_rates_are_summed_over_runs_and_times_are_medians() -> None:
    runs = measured(noisy(0, 0))
    story = [n for n, run in enumerate(runs) if (run.setting, run.prompt) == ("auto", "story-1")]
    for place in story:
        runs[place] = replace(
            runs[place], drafted=300, accepted=30, accepted_at=(30,), rounds_with_proposal=80
        )
    found = report_of(runs).summary("auto")
    assert found is not None
    assert found.acceptance_rate == pytest.approx((2 * 50 + 30) / (2 * 100 + 300))
    assert found.mean_accepted_length == pytest.approx(2.0)
    assert found.acceptance_per_position == pytest.approx((90 / 160, 40 / 160))
    assert found.first_token_ms == median([60, 70, 80, 90, 100])
    assert (found.prompts, found.runs) == (3, 15)


def test_a_report_of_one_run_says_what_it_can() -> None:
    runs = measured(noisy(0, 0))[:1]
    report = report_of(runs)
    assert [(s.setting, s.category) for s in report.summaries] == [
        (runs[0].setting, "question"),
        (runs[0].setting, OVERALL),
    ]
