"""Successive halving over settings that are measured in turns, within a deadline.

A pass measures plain decoding and every setting still in the race on one prompt, one after the
other. Settings are compared by the ratios of their speeds in the passes they share. A setting is
dropped when it is significantly slower than the leader, and at the end of a rung when it is in the
slower half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)

WORTH_IT = math.log(1.02)
"""A smaller gain justifies neither a changed setting nor the memory of a draft."""

SLOWER_HALF = "in the slower half"

_SURE_AFTER = 3
"""Shared passes before a difference can be significant."""
_CLOSE = math.log(1.01)
"""Half width of the interval from which a difference needs no further passes."""

_T90 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)
"""Two-sided 90 % quantiles of Student's t for 1, 2, ... degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A setting that cannot be measured, and the reason."""

    reason: str


Measure = Callable[[S, int, float], float | Failed | None]
"""(setting, pass, deadline) to tokens per second; None if the deadline came first."""


@dataclass(frozen=True, slots=True)
class Drop:
    """When and why a setting was dropped; `passes` counts its measurements."""

    stage: str
    passes: int
    reason: str


@dataclass(frozen=True, slots=True)
class LogRatio:
    """The 90 % confidence interval of a mean log ratio from `count` ratios."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def is_loss(self) -> bool:
        """Whether the first of both is significantly slower, by more than a little."""
        return self.count >= _SURE_AFTER and self.high < 0 and self.mean < -WORTH_IT


def interval(values: Sequence[float]) -> LogRatio:
    """The interval of the mean of `values`; infinite with fewer than two."""
    count = len(values)
    if count < 2:
        return LogRatio(values[0] if values else 0.0, -math.inf, math.inf, count)
    mean, free = fmean(values), count - 1
    t = _T90[free - 1] if free <= len(_T90) else 1.645 + 1.6 / free
    half = t * stdev(values) / math.sqrt(count)
    return LogRatio(mean, mean - half, mean + half, count)


@dataclass(slots=True)
class Race(Generic[S]):
    """The measurements so far. None is started that is not expected to end before the deadline."""

    plain: S
    measure: Measure[S]
    clock: Callable[[], float]
    deadline: float
    on_progress: Callable[[], None] = lambda: None
    """Called after every measurement."""
    stage: str = ""
    passes: int = 0
    over: bool = False
    """Whether the deadline left no time for the next measurement."""
    speeds: dict[S, dict[int, float]] = field(default_factory=dict)
    """Tokens per second of each setting by pass, in the order of first measurement."""
    drops: dict[S, Drop] = field(default_factory=dict)
    _seconds: dict[S, float] = field(default_factory=dict)

    def run_pass(self, settings: Iterable[S]) -> None:
        """Measure plain decoding and `settings` on the next prompt.

        Every other pass runs in reverse, so that a machine that slows down within a pass favours
        no setting, and the models loaded last are used first.
        """
        order = [self.plain, *(s for s in settings if s not in self.drops)]
        if self.passes % 2:
            order.reverse()
        number, self.passes = self.passes, self.passes + 1
        for setting in order:
            began = self.clock()
            if began + self._seconds.get(setting, 0.0) > self.deadline:
                self.over = True
                return
            found = self.measure(setting, number, self.deadline)
            if found is None:
                self.over = True
            elif isinstance(found, Failed):
                self.drop(setting, found.reason)
            else:
                self.speeds.setdefault(setting, {})[number] = found
                self._seconds[setting] = self.clock() - began
            self.on_progress()
            if self.over:
                return

    def drop(self, setting: S, reason: str) -> None:
        self.drops[setting] = Drop(self.stage, len(self.speeds.get(setting, ())), reason)

    def pass_seconds(self, settings: Iterable[S]) -> float:
        """Expected seconds of the next pass over `settings`."""
        return sum(self._seconds.get(s, 0.0) for s in (self.plain, *settings))

    def gains(self, setting: S, other: S, since: int = 0) -> list[float]:
        """Log ratios of the speeds of two settings in each shared pass."""
        mine, theirs = self.speeds.get(setting, {}), self.speeds.get(other, {})
        shared = [number for number in mine if number >= since and number in theirs]
        return [math.log(mine[number] / theirs[number]) for number in shared]

    def ranked(self, settings: Iterable[S], since: int = 0) -> list[S]:
        """The measured ones of `settings`, fastest first.

        If there are shared passes, only these count: an extra pass on an easy prompt would be an
        advantage.
        """
        known = [s for s in settings if self.speeds.get(s)]
        plain = self.speeds.get(self.plain, {})
        shared = set(plain).intersection(*(self.speeds[s] for s in known))
        passes = {number for number in shared if number >= since} or shared

        def merit(setting: S) -> float:
            own = self.speeds[setting]
            logs = [math.log(own[n] / plain[n]) for n in passes or own.keys() & plain.keys()]
            return fmean(logs) if logs else -math.inf

        return sorted(known, key=merit, reverse=True)


def narrow(
    race: Race[S], settings: Sequence[S], kept: Sequence[S], until: float, leave: int, stage: str
) -> list[S]:
    """Race `settings` against `kept`, which are never dropped, until about `until`.

    Returns at most `leave` of them, fastest first; more only if the race ends before.
    """
    race.stage = stage
    first = race.passes
    alive = [s for s in settings if s not in race.drops and s not in kept]
    rungs = math.ceil(math.log2(len(alive) / leave)) if len(alive) > leave else 1
    for rung in range(rungs):
        ends = race.clock() + (until - race.clock()) / (rungs - rung)
        while alive and not race.over:
            race.run_pass([*kept, *alive])
            alive = _drop_slow(race, alive, kept, first)
            # A single prompt is too little evidence to drop half of them.
            end = ends if race.passes - first > 1 else until
            if race.clock() + race.pass_seconds([*kept, *alive]) > end:
                break
        if race.over or not alive:
            break
        order = race.ranked(alive, first)
        staying = order[: max(leave, math.ceil(len(order) / 2))]
        for setting in alive:
            if setting not in staying:
                race.drop(setting, SLOWER_HALF)
        alive = staying
        if len(alive) <= leave:
            break
    return race.ranked(alive, first)


def _drop_slow(race: Race[S], alive: list[S], kept: Sequence[S], first: int) -> list[S]:
    """Drop settings that are significantly slower than the leader."""
    alive = [s for s in alive if s not in race.drops]
    leader = next(iter(race.ranked([race.plain, *kept, *alive], first)), race.plain)
    for setting in alive:
        distance = interval(race.gains(setting, leader, first))
        if distance.is_loss:
            percent = f"{100 * math.expm1(-distance.mean):.0f} %"
            race.drop(setting, f"significantly slower than the best, by {percent}")
    return [s for s in alive if s not in race.drops]


@dataclass(frozen=True, slots=True)
class Verdict(Generic[S]):
    """The chosen setting. `against_plain` and `against_default` are log ratios to the settings
    without tuning; `sure` says whether it is significant that drafting is faster, or is not."""

    chosen: S
    drafts: bool
    sure: bool
    against_plain: LogRatio
    against_default: LogRatio


def settle(race: Race[S], finalists: Sequence[S], most_passes: int, stage: str) -> int:
    """Measure the finalists until their order is known, or the race is over.

    Returns the first pass that counts for the choice: passes from here on, which did not influence
    the choice of finalists, or all passes if these are too few.
    """
    race.stage = stage
    first = race.passes
    while not race.over and race.passes - first < most_passes:
        race.run_pass(finalists)
        if race.passes - first >= 2 * _SURE_AFTER and _is_clear(race, finalists, first):
            break
    shared = len(race.speeds.get(race.plain, {}).keys() & set(range(first, race.passes)))
    return first if shared >= _SURE_AFTER else 0


def _is_clear(race: Race[S], finalists: Sequence[S], first: int) -> bool:
    best, *others = race.ranked([race.plain, *finalists], first)
    distances = [interval(race.gains(setting, best, first)) for setting in others]
    # Testing after every pass finds a difference by chance sooner or later, so twice the interval
    # must exclude zero.
    return all(d.mean + 2 * (d.high - d.mean) < 0 or d.high - d.mean <= _CLOSE for d in distances)


def decide(race: Race[S], plains: Sequence[S], drafting: Sequence[S], since: int) -> Verdict[S]:
    """Choose among settings with and without drafting, each list from the least changed on.

    A later setting must be significantly faster than those before it. `plains[0]` must be the
    race's plain setting, and `drafting[0]` the default.
    """
    plain = _pick(race, plains, since)[0]
    likely = _pick(race, drafting, since)
    distances = [interval(race.gains(setting, plain, since)) for setting in likely]
    drafts = any(distance.mean >= WORTH_IT for distance in distances)
    chosen = likely[0] if drafts else plain
    known = all(distance.count >= _SURE_AFTER for distance in distances)
    return Verdict(
        chosen=chosen,
        drafts=drafts,
        sure=known and (distances[0].low > 0 or not drafts),
        against_plain=interval(race.gains(chosen, race.plain, since)),
        against_default=interval(race.gains(chosen, drafting[0], since)),
    )


def _pick(race: Race[S], settings: Sequence[S], since: int) -> list[S]:
    """The settings that may be the fastest, in the given order."""
    order = race.ranked([s for s in settings if s not in race.drops], since)
    if not order:
        return list(settings[:1])
    return [
        s for s in settings if s in order and not interval(race.gains(s, order[0], since)).is_loss
    ]
