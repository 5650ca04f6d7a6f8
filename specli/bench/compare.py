"""Two reports compared: whether they are comparable, and what changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from specli.bench.report import PLAIN_NAME, Interval, ModelFacts, Report, Summary


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
    found = [
        Difference(f"machine, {name}", one, other, grave=True)
        for name, one, other in _unequal(first, second)
    ]
    found += _models(first, second)
    plain = (
        ("tokens per answer", first.predict, second.predict),
        ("temperature", first.temperature, second.temperature),
        ("seed", first.seed, second.seed),
        ("cached prompts", first.cache_prompt, second.cache_prompt),
        ("specli", first.specli, second.specli),
    )
    found += [
        Difference(what, str(one), str(other), grave=False)
        for what, one, other in plain
        if one != other
    ]
    prompts = {(p.id, p.category, p.tokens) for p in first.prompts}
    other_prompts = {(p.id, p.category, p.tokens) for p in second.prompts}
    if prompts != other_prompts:
        shared = f"{len(other_prompts)}, {len(prompts & other_prompts)} of them the same"
        found.append(Difference("prompts", str(len(prompts)), shared, grave=False))
    return found


def _unequal(first: Report, second: Report) -> Iterator[tuple[str, str, str]]:
    for field in fields(first.machine):
        one, other = getattr(first.machine, field.name), getattr(second.machine, field.name)
        # After a reboot, or in a container, a few pages of memory may be missing.
        same = abs(one - other) < 0.02 * one if field.name == "memory" else one == other
        if not same:
            yield field.name, _shown(one), _shown(other)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _models(first: Report, second: Report) -> Iterator[Difference]:
    ones = {model.role: model for model in first.models}
    others = {model.role: model for model in second.models}
    for role in dict.fromkeys([*ones, *others]):
        one, other = ones.get(role), others.get(role)
        if (one and one.fingerprint) != (other and other.fingerprint):
            yield Difference(role, _model(one), _model(other), grave=True)


def _model(model: ModelFacts | None) -> str:
    return "none" if model is None else f"{model.name} ({model.fingerprint[:8]})"


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
        if other is not None:
            change = _change(one, other)
            found += [change] if change is not None else []
    return found


def _change(one: Summary, other: Summary) -> Change | None:
    if one.setting == PLAIN_NAME:
        return Change(one.setting, one.category, one.speed, other.speed, None)
    if one.speedup is None or other.speedup is None:
        return None
    clear = _apart(one.speedup, other.speedup)
    return Change(one.setting, one.category, one.speedup.value, other.speedup.value, clear)


def _apart(one: Interval, other: Interval) -> bool | None:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return None
    return one.high < other.low or other.high < one.low
