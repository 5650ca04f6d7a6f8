"""Two reports compared: whether they are comparable, and what changed."""

from __future__ import annotations

from dataclasses import dataclass, fields

from specli.bench.report import PLAIN_NAME, Interval, ModelFacts, Report


@dataclass(frozen=True, slots=True)
class Difference:
    """A condition that differs between two benches; `grave` makes their figures incomparable."""

    what: str
    first: str
    second: str
    grave: bool

    @property
    def sentence(self) -> str:
        return f"{self.what}: {self.first} and {self.second}"


def differences(first: Report, second: Report) -> list[Difference]:
    """Conditions that differ between two benches, machine and models first."""
    found = []
    for name in (field.name for field in fields(first.machine)):
        one, other = getattr(first.machine, name), getattr(second.machine, name)
        # After a reboot, or in a container, a few pages of memory may be missing.
        same = abs(one - other) < 0.02 * one if name == "memory" else one == other
        if not same:
            found.append(Difference(f"machine, {name}", _shown(one), _shown(other), grave=True))
    ones = {model.role: model for model in first.models}
    others = {model.role: model for model in second.models}
    for role in {**ones, **others}:
        one, other = ones.get(role), others.get(role)
        if (one and one.fingerprint) != (other and other.fingerprint):
            found.append(Difference(role, _shown(one), _shown(other), grave=True))
    for what, name in _CONDITIONS.items():
        one, other = getattr(first, name), getattr(second, name)
        if one != other:
            found.append(Difference(what, str(one), str(other), grave=False))
    prompts = {(p.id, p.category, p.tokens) for p in first.prompts}
    other_prompts = {(p.id, p.category, p.tokens) for p in second.prompts}
    if prompts != other_prompts:
        shared = f"{len(other_prompts)}, {len(prompts & other_prompts)} of them the same"
        found.append(Difference("prompts", str(len(prompts)), shared, grave=False))
    return found


_CONDITIONS = {
    "tokens per answer": "predict",
    "temperature": "temperature",
    "seed": "seed",
    "cached prompts": "cache_prompt",
    "specli": "specli",
}


def _shown(value: object) -> str:
    if isinstance(value, ModelFacts):
        return f"{value.name} ({value.fingerprint[:8]})"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Change:
    """One setting in one category in both reports.

    `first` and `second` are speed-ups over plain decoding; for plain itself tokens per second.
    `clear` says whether their 95 % intervals are disjoint, None if one has no interval.
    """

    setting: str
    category: str
    first: float
    second: float
    clear: bool | None

    @property
    def ratio(self) -> float:
        return self.second / self.first


def changes(first: Report, second: Report) -> list[Change]:
    """Every setting and category in both reports, overall last."""
    found = []
    for one in first.summaries:
        other = second.summary(one.setting, one.category)
        if other is None:
            continue
        if one.setting == PLAIN_NAME:
            found.append(Change(one.setting, one.category, one.speed, other.speed, None))
        elif one.speedup is not None and other.speedup is not None:
            clear = _disjoint(one.speedup, other.speedup)
            values = one.speedup.value, other.speedup.value
            found.append(Change(one.setting, one.category, *values, clear))
    return found


def _disjoint(one: Interval, other: Interval) -> bool | None:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return None
    return one.high < other.low or other.high < one.low
