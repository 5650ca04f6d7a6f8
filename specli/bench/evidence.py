"""What a search has measured, as figures and as the comments of the profile that it led to."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from specli.bench.halving import Drop, LogRatio, Race, Verdict
from specli.bench.space import Setting
from specli.bench.statistics import quartiles

MARK = "# Written by specli tune"
"""How a profile begins that a later search may replace."""

_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Row:
    """One setting: its speed-ups over plain decoding in the passes that it took part in.

    `speedup` is their geometric mean, `quartiles` are the lower, the median and the upper one;
    `speed` is the median of tokens per second.
    """

    name: str
    speed: float
    speedup: float
    quartiles: tuple[float, float, float]
    passes: int
    left: Drop | None
    chosen: bool


def rows(race: Race[Setting], chosen: Setting) -> list[Row]:
    """Every setting that was measured beside plain decoding: those still there first, by speed."""
    found = []
    for setting, speeds in race.speeds.items():
        gains = race.gains(setting, race.plain)
        if not gains:
            continue
        low, middle, high = quartiles([math.exp(gain) for gain in gains])
        found.append(
            Row(
                name=str(setting),
                speed=median(speeds.values()),
                speedup=math.exp(fmean(gains)),
                quartiles=(low, middle, high),
                passes=len(gains),
                left=race.drops.get(setting),
                chosen=setting == chosen,
            )
        )
    return sorted(found, key=lambda row: (row.left is not None, -row.speedup))


def spread(row: Row) -> str:
    """The quartiles, the median between them."""
    return " ".join(f"{value:.2f}" for value in row.quartiles)


def failures(race: Race[Setting]) -> list[tuple[str, str]]:
    """(setting, reason) of what could not be measured at all."""
    return [(str(s), drop.reason) for s, drop in race.drops.items() if not race.speeds.get(s)]


def ratio(found: LogRatio) -> str:
    """A mean log ratio as a factor, with its interval where there is one."""
    if not math.isfinite(found.low):
        return f"{math.exp(found.mean):.2f}"
    low, high = math.exp(found.low), math.exp(found.high)
    return f"{math.exp(found.mean):.2f} (90 % interval {low:.2f} to {high:.2f})"


def sentence(verdict: Verdict[Setting], default: Setting) -> str:
    """The outcome in one or two sentences."""
    count = verdict.against_plain.count
    passes = f"{count} {'pass' if count == 1 else 'passes'}"
    if not verdict.drafts:
        return "Plain decoding wins: no way of drafting is faster" + (
            "." if verdict.sure else ", as far as the time allowed to see."
        )
    chosen = (
        f"{verdict.chosen} runs at {ratio(verdict.against_plain)} of plain decoding, "
        f"on average over {passes}"
    )
    if not verdict.sure:
        chosen += ", which may still be chance"
    if verdict.chosen == default:
        return f"{chosen}. Nothing else was faster by more than the noise."
    return f"{chosen}, and at {ratio(verdict.against_default)} of the default, {default}."


def comments(
    title: Sequence[str], race: Race[Setting], verdict: Verdict[Setting], default: Setting
) -> str:
    """The evidence as YAML comments; `title` says who, when and where, a line each."""
    lines = [f"{MARK} {title[0]}"]
    for text in [*title[1:], sentence(verdict, default)]:
        lines += textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")
    found = rows(race, verdict.chosen)
    width = max((len(row.name) for row in found), default=0)
    for heading, part in (
        ("Measured to the end", [row for row in found if row.left is None]),
        ("Left before", [row for row in found if row.left is not None]),
    ):
        if part:
            lines += ["#", f"# {heading}: speed-up over plain (its quartiles), passes"]
        lines += [f"#   {row.name:{width}}  {_figures(row)}" for row in part]
    unable = failures(race)
    if unable:
        lines += ["#", "# Could not be measured"]
    lines += [f"#   {name}: {' '.join(reason.split())}" for name, reason in unable]
    return "\n".join(lines) + "\n"


def _figures(row: Row) -> str:
    figures = f"{row.speedup:.2f} ({spread(row)})  {row.passes}"
    if row.left is None:
        return figures
    stage = f"{row.left.stage}: " if row.left.stage else ""
    return f"{figures}  {stage}{row.left.reason}"
