"""The search of `specli tune`: drafting, then the machine, then details, then the finalists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp
from statistics import fmean
from time import perf_counter

from specli.bench.halving import SLOWER_HALF, Race, Verdict, decide, interval, narrow, settle
from specli.bench.rig import Rig
from specli.bench.space import (
    PLAIN_SETTING,
    Choices,
    Setting,
    configs_to_try,
    default_config,
    neighbours,
    single_changes,
    together,
)
from specli.speculative import DraftModel, FixedLength, SpeculativeConfig

DRAFTING_SHARE, MACHINE_SHARE = 0.4, 0.55
DETAILS_SHARES = (0.68, 0.78)
"""Share of the budget at which each stage ends; details have two, finalists get the rest."""

LEAST_TOKENS, MOST_TOKENS = 24, 96
_PASSES = 6
"""Passes over the first settings for which the length of a text is chosen."""
_MOST_FINAL_PASSES = 40


@dataclass(frozen=True, slots=True)
class Space:
    """The search space: the default, other ways to draft, and machine settings."""

    default: Setting
    configs: tuple[SpeculativeConfig, ...]
    choices: Choices


def space_of(
    draft: DraftModel | None, choices: Choices, own: SpeculativeConfig | None = None
) -> Space:
    """The settings for a pair, or for a target alone; `own` is what a profile had so far."""
    default = default_config(draft)
    configs = configs_to_try(draft)
    if own is not None and own.drafters and own != default:
        configs = [own, *(config for config in configs if config != own)]
    return Space(Setting(default), tuple(configs), choices)


def affordable(space: Space, seconds: float, prompt: float, token: float) -> tuple[Space, int]:
    """The part of the space that fits into `seconds`, and the number of tokens of a text.

    `prompt` and `token` are seconds for a usual prompt and for a token of the answer. The least
    likely settings are left out if not every setting could be measured twice.
    """
    share = DRAFTING_SHARE * seconds
    always = 2
    most = max(1, int(share / (2 * (prompt + LEAST_TOKENS * token))) - always)
    configs = space.configs[:most]
    each = share / (_PASSES * (len(configs) + always))
    tokens = int(min(max((each - prompt) / token, LEAST_TOKENS), MOST_TOKENS))
    return replace(space, configs=configs), tokens


def search(race: Race[Setting], space: Space) -> int:
    """Run the race until its deadline, or until the order is clear.

    Returns the first pass that counts for `verdict`. An interrupt leaves the race as it is.
    """
    began = race.clock()
    total = race.deadline - began
    default = space.default
    ways = [Setting(config) for config in space.configs]
    best = narrow(race, ways, [default], began + DRAFTING_SHARE * total, 3, "drafting")
    if race.over:
        return 0
    leader = next(iter(race.ranked([default, *best])), None)
    if leader is None:
        return 0
    better = _machine(race, space, leader, began + MACHINE_SHARE * total)
    if race.over:
        return 0
    settings = _details(race, default, best, leader, better)
    rivals = [leader]
    for share in DETAILS_SHARES:
        kept = list(dict.fromkeys([default, leader]))
        fine = narrow(race, settings, kept, began + share * total, 2, "details")
        if race.over:
            return 0
        rivals = list(dict.fromkeys([*fine, *rivals]))
        before, leader = leader, race.ranked([leader, *fine])[0]
        if leader == before:
            break
        steps = [Setting(step, leader.machine) for step in neighbours(leader.speculative)]
        settings = [s for s in steps if s not in race.speeds]
    order = race.ranked([s for s in rivals if s != default and s not in race.drops])
    for setting in order[2:]:
        race.drop(setting, SLOWER_HALF)
    plains = [s for s in race.speeds if s not in race.drops and not s.drafts]
    finalists = [default, *order[:2], *(s for s in plains if s != race.plain)]
    return settle(race, finalists, _MOST_FINAL_PASSES, "final")


def verdict(race: Race[Setting], space: Space, since: int = 0) -> Verdict[Setting]:
    """The choice by all measurements since the pass `since`."""
    left = [s for s in race.speeds if s not in race.drops]
    by_changes = sorted(left, key=lambda setting: setting.changes)
    plains = [s for s in by_changes if not s.drafts and s != race.plain]
    drafting = [s for s in by_changes if s.drafts and s != space.default]
    return decide(race, [race.plain, *plains], [space.default, *drafting], since)


def _machine(race: Race[Setting], space: Space, leader: Setting, until: float) -> list[Setting]:
    """The leader with machine settings that make it faster, fastest first."""
    changes = single_changes(space.choices, draft=leader.speculative.draft_model is not None)
    settings = [Setting(leader.speculative, change) for change in changes]
    if interval(race.gains(leader, race.plain)).low <= 0:
        # Drafting is not significantly faster, so plain decoding is varied too.
        changes = single_changes(space.choices, draft=False)
        settings += [Setting(PLAIN_SETTING.speculative, change) for change in changes]
    first = race.passes
    kept = list(dict.fromkeys([space.default, leader]))
    better = []
    for setting in narrow(race, settings, kept, until, 3, "machine"):
        unchanged = leader if setting.drafts else race.plain
        if race.ranked([setting, unchanged], first)[0] == unchanged:
            race.drop(setting, f"no faster than {unchanged}")
        elif setting.drafts:
            better.append(setting)
    return better


def _details(
    race: Race[Setting],
    default: Setting,
    best: Sequence[Setting],
    leader: Setting,
    better: Sequence[Setting],
) -> list[Setting]:
    """Remaining settings with the better machine settings, and neighbours of the best length."""
    machine = together([setting.machine for setting in better])
    configs = [leader.speculative, *(s.speculative for s in best), default.speculative]
    # Leaders whose length is adaptive have no neighbours; those with a fixed length do.
    fixed = [c for c in configs if c.draft_model and isinstance(c.policy, FixedLength)]
    configs += [step for config in fixed[:1] for step in neighbours(config)]
    fitting = [Setting(c, machine if c.draft_model else machine.without_draft()) for c in configs]
    found = list(dict.fromkeys([*better, *fitting]))
    for setting in best:
        if setting != leader and setting not in found:
            race.drop(setting, f"continued with {machine}")
    return [s for s in found if s not in race.drops and s not in (default, leader)]


@dataclass(frozen=True, slots=True)
class Tuned:
    """The result of a search; `verdict` is None if not even plain decoding and one setting could
    be measured. `seconds` count from the first load to the last measurement."""

    race: Race[Setting]
    space: Space
    verdict: Verdict[Setting] | None
    seconds: float
    tokens: int
    interrupted: bool


def tune(
    rig: Rig,
    space: Space,
    budget: float,
    on_progress: Callable[[Race[Setting]], None] = lambda _race: None,
) -> Tuned:
    """Load the rig's base and search `space` within `budget` seconds, loading included.

    Ctrl-C ends the search and keeps its results. Raises what loading the base raises.
    """
    began = perf_counter()
    race = Race(PLAIN_SETTING, rig.measure, perf_counter, began + budget)
    race.on_progress = lambda: on_progress(race)
    since, interrupted = 0, False
    try:
        pace = rig.warm_up(race.deadline)
        if pace is not None:
            left = race.deadline - perf_counter()
            space, rig.tokens = affordable(space, left, pace.prompt, pace.token)
            since = search(race, space)
    except KeyboardInterrupt:
        interrupted = True
    known = any(race.gains(setting, race.plain) for setting in race.speeds if setting != race.plain)
    return Tuned(
        race=race,
        space=space,
        verdict=verdict(race, space, since) if known else None,
        seconds=perf_counter() - began,
        tokens=rig.tokens,
        interrupted=interrupted,
    )


@dataclass(frozen=True, slots=True)
class SearchState:
    """The state of a search; `speedup` is the leader's over plain decoding."""

    stage: str
    rivals: int
    leader: str | None
    speedup: float | None

    @property
    def best(self) -> str:
        if self.leader is None or self.speedup is None:
            return ""
        return f"best {self.speedup:.2f}×: {self.leader}"


def search_state(race: Race[Setting]) -> SearchState:
    """The state of a race."""
    rivals = [s for s in race.speeds if s not in race.drops and s != race.plain]
    leader = next(iter(race.ranked([s for s in rivals if race.gains(s, race.plain)])), None)
    if leader is None:
        return SearchState(race.stage, len(rivals), None, None)
    speedup = exp(fmean(race.gains(leader, race.plain)))
    return SearchState(race.stage, len(rivals), str(leader), speedup)
