"""Two reports side by side: whether they may be compared, and what has changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from specli.bench.report import PLAIN_NAME, Interval, ModelFacts, Report, Summary


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that two benches do not share; `grave` where no figure of both means the same."""

    what: str
    first: str
    second: str
    grave: bool

    @property
    def sentence(self) -> str:
        return f"{self.what}: {self.first} and {self.second}"


def differences(first: Report, second: Report) -> list[Difference]:
    """What two benches do not share, machine and models first."""
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
    asked = {(p.id, p.category, p.tokens) for p in first.prompts}
    other_asked = {(p.id, p.category, p.tokens) for p in second.prompts}
    if asked != other_asked:
        shared = f"{len(other_asked)}, {len(asked & other_asked)} of them the same"
        found.append(Difference("prompts", str(len(asked)), shared, grave=False))
    return found


def _unequal(first: Report, second: Report) -> Iterator[tuple[str, str, str]]:
    for field in fields(first.machine):
        one, other = getattr(first.machine, field.name), getattr(second.machine, field.name)
        # A reboot or another container may take a few pages of memory away.
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
    `clear` says whether their 95 % intervals lie apart, None where one has no interval.
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
    """Every setting and category that both reports have, overall last."""
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
