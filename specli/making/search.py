"""The order in which candidates are tried: weight types first, then fewer and fewer blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from specli.making.blocks import block_ranges
from specli.making.score import Echo, Expected

Unit = tuple[int, ...]
"""Blocks that can only be left out together; mostly one."""

TYPES_UNTIL, SINGLES_UNTIL, ALL = 0.4, 0.7, 1.0
"""Shares of the budget at which a phase ends, however far it has come."""

WIDTH = 3
"""Blocks that are tried as the next one to go, the least important first."""

STARTS = 2
"""Types that blocks are left out of, the best of all with all blocks."""

PATIENCE = 3
"""Blocks that may go without a new best before a search ends."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A draft to be: the target with weights of a type, without some blocks."""

    type: str
    dropped: Unit = ()

    def without(self, unit: Unit) -> Variant:
        return Variant(self.type, tuple(sorted({*self.dropped, *unit})))

    def __str__(self) -> str:
        return f"{self.type} without {block_ranges(self.dropped)}" if self.dropped else self.type


@dataclass(frozen=True, slots=True)
class Trial:
    """A variant that has been made and measured. `brief` trials saw a part of the answers.

    `size` in bytes of the file, `draft_ms` for one token.
    """

    variant: Variant
    size: int
    draft_ms: float
    expected: Expected
    echoes: tuple[Echo, ...]
    brief: bool = False

    @property
    def speedup(self) -> float:
        return self.expected.speedup


class Measure(Protocol):
    """Makes a variant and measures it; None where that would end past this share of the budget."""

    def __call__(self, variant: Variant, *, until: float, brief: bool = False) -> Trial | None: ...


def search(types: Sequence[str], units: Sequence[Unit], measure: Measure) -> list[Trial]:
    """Every full trial, best first. The first of `types` is tried however short the time is.

    `units` come in the order in which they are worth trying.
    """
    trials = _try_types(types, measure)
    starts = best_first(trials)[:STARTS]
    if not units or not starts:
        return best_first(trials)
    ranked = _rank(starts[0].variant, units, measure)
    for start in starts:
        trials += _leave_out(start, ranked, measure)
    pruned = best_first(trials)[0].variant.dropped
    if pruned:
        trials += _try_types(types, measure, pruned, {trial.variant for trial in trials})
    return best_first(trials)


def least_first(units: Sequence[Unit], influence: Mapping[int, float]) -> list[Unit]:
    """Units in the order of their blocks' influence; what is unknown comes last.

    Without any, the middle comes first: the first and the last blocks of a model matter most.
    """
    if influence:
        return sorted(units, key=lambda unit: sum(influence.get(b, math.inf) for b in unit))
    middle = (len(units) - 1) / 2
    return [units[place] for place in sorted(range(len(units)), key=lambda i: abs(i - middle))]


def best_first(trials: Sequence[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda trial: -trial.speedup)


def _try_types(
    types: Sequence[str], measure: Measure, dropped: Unit = (), known: set[Variant] | None = None
) -> list[Trial]:
    trials = []
    for name in types:
        variant = Variant(name, dropped)
        if known and variant in known:
            continue
        trial = measure(variant, until=ALL if dropped else TYPES_UNTIL)
        if trial is None:
            break
        trials.append(trial)
    return trials


def _rank(whole: Variant, units: Sequence[Unit], measure: Measure) -> list[Unit]:
    """Units by what is left of the speed when only they are gone; untried ones are left out."""
    speeds: dict[Unit, float] = {}
    for unit in units:
        trial = measure(whole.without(unit), until=SINGLES_UNTIL, brief=True)
        if trial is None:
            break
        speeds[unit] = trial.speedup
    return sorted(speeds, key=lambda unit: -speeds[unit])


def _leave_out(start: Trial, ranked: Sequence[Unit], measure: Measure) -> list[Trial]:
    """Leave out one unit after another, each time the best of the next few."""
    trials: list[Trial] = []
    left = list(ranked)
    now, best, since = start.variant, start.speedup, 0
    while left and since < PATIENCE:
        tried: list[tuple[Unit, Trial]] = []
        for unit in left[:WIDTH]:
            trial = measure(now.without(unit), until=ALL)
            if trial is None:
                break
            tried.append((unit, trial))
        trials += [trial for _unit, trial in tried]
        if not tried:
            break
        unit, step = max(tried, key=lambda one: one[1].speedup)
        left.remove(unit)
        now = step.variant
        since = 0 if step.speedup > best else since + 1
        best = max(best, step.speedup)
    return trials
