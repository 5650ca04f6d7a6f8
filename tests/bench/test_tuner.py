"""The search: it keeps its budget, finds the best, and says when plain decoding wins."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.bench.evidence import MARK, comments, rows, sentence
from specli.bench.halving import Failed, Race, Verdict
from specli.bench.space import PLAIN_SETTING, Choices, Machine, Setting, default_config
from specli.bench.tuner import affordable, search, space_of, verdict
from specli.speculative import DraftModel, FixedLength, SpeculativeConfig
from tests.bench.fake_machine import FakeMachine

CHOICES = Choices(threads=(2, 6), threads_draft=(1,), cache_type_draft=("q8_0",))
DRAFT = DraftModel("draft.gguf")
DEFAULT = Setting(default_config(DRAFT))


def gain(config: SpeculativeConfig, best: tuple[int, float]) -> float:
    """A smooth hill of draft lengths and cut-offs around `best`."""
    policy = config.policy
    if not config.drafters:
        return 1.0
    if not isinstance(policy, FixedLength):
        return 1.3 if config.draft_model else 1.05
    if not config.draft_model:
        return 0.95
    far = abs(policy.draft_max - best[0]) / 8 + abs(policy.p_min - best[1])
    return 1.6 - 0.5 * far


def machine_of(
    best: tuple[int, float], threads: int | None, noise: float, seed: int
) -> FakeMachine[Setting]:
    def speedup(setting: Setting) -> float:
        return gain(setting.speculative, best) * (
            1.25 if setting.machine.threads == threads else 1.0
        )

    return FakeMachine(speedup, noise, seed=seed)


def searched(
    machine: FakeMachine[Setting], budget: float, *, draft: bool = True
) -> tuple[Race[Setting], Verdict[Setting]]:
    space = space_of(DRAFT if draft else None, CHOICES)
    space, machine.tokens = affordable(
        space, budget, machine.prompt_seconds, 1 / machine.plain_speed
    )
    race = machine.race(PLAIN_SETTING, budget)
    since = search(race, space)
    return race, verdict(race, space, since)


def test_the_choice_is_seldom_five_percent_slower_than_the_best_of_all() -> None:
    ratios = []
    for best in [(2, 0.0), (4, 0.0), (8, 0.5), (16, 0.8), (6, 0.2)]:
        for threads in (None, 2, 6):
            for seed in range(4):
                machine = machine_of(best, threads, 0.05, seed)
                _race, found = searched(machine, 180)
                speedup = machine.speedup(found.chosen)
                assert isinstance(speedup, float)
                ratios.append(speedup / (1.6 * 1.25))
    assert len([ratio for ratio in ratios if ratio >= 0.95]) >= 0.9 * len(ratios)


@given(
    seed=st.integers(0, 10_000),
    budget=st.floats(0.1, 600),
    speed=st.floats(0.2, 500),
    prompt=st.floats(0.0, 30.0),
    draft=st.booleans(),
)
@settings(deadline=None)
def test_the_budget_is_kept_and_one_measured_setting_is_an_answer(
    seed: int, budget: float, speed: float, prompt: float, draft: bool
) -> None:
    def speedup(setting: Setting) -> float | Failed:
        fate = random.Random(f"{seed} {setting}")
        if setting not in (PLAIN_SETTING, DEFAULT) and fate.random() < 0.1:
            return Failed("it does not fit")
        return fate.uniform(0.4, 3.0)

    machine = FakeMachine(speedup, 0.2, plain_speed=speed, prompt_seconds=prompt, seed=seed)
    race, found = searched(machine, budget, draft=draft)
    assert machine.now <= race.deadline
    assert found.chosen in race.speeds or not any(race.speeds.values())
    assert not isinstance(speedup(found.chosen), Failed)


@given(st.integers(0, 99), st.booleans())
@settings(deadline=None)
def test_plain_decoding_is_chosen_where_all_drafting_loses(seed: int, draft: bool) -> None:
    machine = FakeMachine[Setting](lambda setting: 0.85 if setting.drafts else 1.0, 0.03, seed=seed)
    _race, found = searched(machine, 120, draft=draft)
    assert not found.chosen.drafts
    assert not found.drafts
    assert sentence(found, DEFAULT).startswith("Plain decoding is fastest")


def test_plain_decoding_has_its_own_best_threads() -> None:
    def speedup(setting: Setting) -> float:
        return (0.8 if setting.drafts else 1.0) * (1.4 if setting.machine.threads == 6 else 1.0)

    _race, found = searched(FakeMachine(speedup, 0.02), 180)
    assert found.chosen == Setting(SpeculativeConfig(), Machine(threads=6))


def test_changes_that_help_by_themselves_are_tried_together() -> None:
    def speedup(setting: Setting) -> float:
        faster = setting.machine.threads == 2, setting.machine.threads_draft == 1
        return (1.3 if setting.speculative.draft_model else 1.0) * 1.2 ** sum(faster)

    _race, found = searched(FakeMachine(speedup, 0.02), 240)
    assert found.chosen.machine == Machine(threads=2, threads_draft=1)


def test_an_interrupted_search_still_has_an_answer() -> None:
    machine = machine_of((4, 0.0), None, 0.02, 1)
    space = space_of(DRAFT, CHOICES)
    race = machine.race(PLAIN_SETTING, 300)

    def interrupt() -> None:
        if len(machine.measured) == 60:
            raise KeyboardInterrupt

    race.on_progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        search(race, space)
    found = verdict(race, space)
    assert found.drafts
    assert race.speeds[found.chosen]


@pytest.mark.parametrize(
    ("token", "ways", "tokens"), [(0.001, 13, 96), (0.02, 13, 35), (2.0, 1, 24)]
)
def test_a_slow_machine_tries_fewer_settings_on_shorter_texts(
    token: float, ways: int, tokens: int
) -> None:
    space = space_of(DRAFT, CHOICES)
    less, length = affordable(space, 180, 5 * token, token)
    assert less.configs == space.configs[:ways]
    assert length == pytest.approx(tokens, abs=3)


def test_what_a_profile_had_so_far_is_tried_first() -> None:
    own = SpeculativeConfig((DRAFT,), FixedLength(5))
    assert space_of(DRAFT, CHOICES, own).configs[0] == own
    default = default_config(DRAFT)
    assert default not in space_of(DRAFT, CHOICES, default).configs


def test_the_evidence_names_what_was_measured_and_why_the_rest_left() -> None:
    machine = machine_of((8, 0.5), 2, 0.03, 5)
    race, found = searched(machine, 180)
    text = comments(["by a test."], race, found, DEFAULT)
    assert all(line.startswith("#") for line in text.splitlines())
    assert text.startswith(MARK)
    assert all(f"#   {setting} " in text for setting in race.speeds)
    assert f"{found.chosen} is " in " ".join(text.replace("#", "").split())
    left = {row.name: row.left for row in rows(race, found.chosen)}
    assert left[str(found.chosen)] is None
    assert sum(drop is not None for drop in left.values()) >= 10
