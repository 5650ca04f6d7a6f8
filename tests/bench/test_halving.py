"""The race: what stays, what leaves, what is chosen, and that time is kept."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.bench.halving import Drop, Failed, Race, decide, interval, narrow, settle
from tests.bench.fake_machine import FakeMachine

PLAIN = "plain"
NAMES = [f"setting {n}" for n in range(12)]

speedups = st.lists(st.floats(0.3, 4.0), min_size=1, max_size=len(NAMES)).map(
    lambda values: {PLAIN: 1.0, **dict(zip(NAMES, values, strict=False))}
)


def finished(machine: FakeMachine[str], race: Race[str], names: list[str]) -> str:
    """Narrow and settle as a search does; the setting chosen, the first name being the default."""
    default, *others = names
    half = machine.now + 0.5 * (race.deadline - machine.now)
    best = narrow(race, others, [default], half, 2, "race")
    since = settle(race, [default, *best], 40, "final")
    return decide(race, [PLAIN], [default, *best], since).chosen


@given(speedups, st.floats(0.0, 400.0), st.floats(0.0, 0.3), st.integers(0, 99))
def test_no_race_goes_on_after_its_deadline(
    known: dict[str, float], budget: float, noise: float, seed: int
) -> None:
    machine: FakeMachine[str] = FakeMachine(known.__getitem__, noise, seed=seed)
    race = machine.race(PLAIN, budget)
    finished(machine, race, [name for name in known if name != PLAIN])
    assert machine.now <= race.deadline


@given(st.permutations(NAMES), st.integers(0, 99))
def test_the_best_is_found_under_noise_where_the_gap_is_big(order: list[str], seed: int) -> None:
    known = {PLAIN: 1.0, **{name: 0.8 + 0.05 * place for place, name in enumerate(order)}}
    known[order[-1]] = 2.0
    machine: FakeMachine[str] = FakeMachine(known.__getitem__, 0.08, seed=seed)
    assert finished(machine, machine.race(PLAIN, 180), NAMES) == order[-1]


@given(st.lists(st.floats(0.3, 0.9), min_size=2, max_size=len(NAMES)), st.integers(0, 99))
def test_plain_decoding_is_chosen_where_everything_else_loses(
    values: list[float], seed: int
) -> None:
    known = {PLAIN: 1.0, **dict(zip(NAMES, values, strict=False))}
    machine: FakeMachine[str] = FakeMachine(known.__getitem__, 0.05, seed=seed)
    race = machine.race(PLAIN, 120)
    assert finished(machine, race, NAMES[: len(values)]) == PLAIN


def test_what_differs_by_less_than_the_noise_seldom_replaces_the_default() -> None:
    kept = 0
    for seed in range(40):
        known = {PLAIN: 1.0, **dict.fromkeys(NAMES, 1.5)}
        machine: FakeMachine[str] = FakeMachine(known.__getitem__, 0.1, seed=seed)
        kept += finished(machine, machine.race(PLAIN, 120), NAMES) == NAMES[0]
    assert kept >= 34


def test_a_setting_that_cannot_be_measured_leaves_with_its_reason() -> None:
    def speedup(name: str) -> float | Failed:
        return Failed("no room for it") if name == NAMES[1] else 1.2

    machine = FakeMachine(speedup)
    race = machine.race(PLAIN, 60)
    assert finished(machine, race, NAMES) != NAMES[1]
    assert race.drops[NAMES[1]] == Drop(stage="race", passes=0, reason="no room for it")


def test_what_leaves_was_measured_and_what_stays_was_measured_more() -> None:
    known = {PLAIN: 1.0, **{name: 1 + place / 10 for place, name in enumerate(NAMES)}}
    machine: FakeMachine[str] = FakeMachine(known.__getitem__, 0.05)
    race = machine.race(PLAIN, 200)
    finished(machine, race, NAMES)
    counts = {name: len(race.speeds[name]) for name in NAMES}
    left = [counts[name] for name in race.drops]
    assert len(left) >= 8
    assert min(left) >= 2
    assert max(left) < min(counts[name] for name in NAMES if name not in race.drops)


def test_all_settings_of_a_pass_meet_the_same_prompt_and_take_turns_at_being_first() -> None:
    machine: FakeMachine[str] = FakeMachine(lambda _name: 1.0)
    race = machine.race(PLAIN, 1000)
    race.run_pass(NAMES[:2])
    race.run_pass(NAMES[:2])
    there = [PLAIN, *NAMES[:2]]
    assert machine.measured == [(s, 0) for s in there] + [(s, 1) for s in reversed(there)]


@pytest.mark.parametrize(
    ("values", "drafts", "sure"),
    [
        ([1.3, 1.4, 1.3, 1.5], True, True),
        ([0.7, 0.8, 0.9, 0.8], False, True),
        ([1.01, 0.99, 1.0, 1.01], False, True),
        ([0.7, 1.9, 0.8, 1.3], True, False),
        ([1.4, 1.4], True, False),
        ([1.4], True, False),
        ([0.9], False, False),
    ],
    ids=["faster", "slower", "no faster", "unclear", "faster twice", "faster once", "slower once"],
)
def test_drafting_is_chosen_where_it_is_faster_and_doubt_is_told(
    values: list[float], drafts: bool, sure: bool
) -> None:
    race = FakeMachine[str](lambda _name: 1.0).race(PLAIN, 1)
    race.speeds = {
        PLAIN: dict.fromkeys(range(len(values)), 10.0),
        "auto": {number: 10 * value for number, value in enumerate(values)},
    }
    found = decide(race, [PLAIN], ["auto"], 0)
    assert (found.drafts, found.sure) == (drafts, sure)
    assert found.chosen == ("auto" if drafts else PLAIN)


@pytest.mark.parametrize(("passes", "chosen"), [(1, "auto"), (2, "auto"), (3, "other")])
def test_a_few_passes_are_not_enough_to_replace_the_default(passes: int, chosen: str) -> None:
    race = FakeMachine[str](lambda _name: 1.0).race(PLAIN, 1)
    for name, speed in ((PLAIN, 10.0), ("auto", 12.0), ("other", 15.0)):
        race.speeds[name] = dict.fromkeys(range(passes), speed)
    assert decide(race, [PLAIN], ["auto", "other"], 0).chosen == chosen


def test_what_may_be_chance_leaves_the_default() -> None:
    race = FakeMachine[str](lambda _name: 1.0).race(PLAIN, 1)
    race.speeds = {
        PLAIN: {0: 10.0, 1: 10.0, 2: 10.0},
        "auto": {0: 10.0, 1: 9.9, 2: 10.1},
        "other": {0: 9.0, 1: 17.0, 2: 10.0},
    }
    found = decide(race, [PLAIN], ["auto", "other"], 0)
    assert (found.chosen, found.drafts, found.sure) == ("auto", True, False)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=40))
def test_an_interval_holds_its_mean_and_is_narrower_for_more_of_the_same(
    values: list[float],
) -> None:
    found, doubled = interval(values), interval(values * 2)
    assert found.low <= found.mean + 1e-9
    assert found.mean <= found.high + 1e-9
    assert doubled.high - doubled.low <= found.high - found.low + 1e-9


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    source = random.Random(1)
    samples = [[source.gauss(0.1, 0.3) for _ in range(5)] for _ in range(2000)]
    inside = sum(interval(sample).low <= 0.1 <= interval(sample).high for sample in samples)
    assert 0.88 < inside / len(samples) < 0.92
