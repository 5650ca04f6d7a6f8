"""The measurements of a search, as figures and as comments of the profile it wrote."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from specli.bench.halving import Drop, LogRatio, Race, Verdict
from specli.bench.space import Setting
from specli.bench.statistics import quartiles
from specli.figures import counted

MARK = "# Written by specli tune"
"""The first line of a profile that a later search may replace."""

_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Row:
    """One setting and its speed-ups over plain decoding in the passes it took part in.

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
    """Every setting that was measured with plain decoding, those that remained first, by speed."""
    found = [
        Row(
            name=str(setting),
            speed=median(speeds.values()),
            speedup=math.exp(fmean(gains)),
            quartiles=quartiles([math.exp(gain) for gain in gains]),
            passes=len(gains),
            left=race.drops.get(setting),
            chosen=setting == chosen,
        )
        for setting, speeds in race.speeds.items()
        if (gains := race.gains(setting, race.plain))
    ]
    return sorted(found, key=lambda row: (row.left is not None, -row.speedup))


def spread(row: Row) -> str:
    """Lower quartile, median and upper quartile."""
    return " ".join(f"{value:.2f}" for value in row.quartiles)


def failures(race: Race[Setting]) -> list[tuple[str, str]]:
    """(setting, reason) of settings that could not be measured."""
    return [(str(s), drop.reason) for s, drop in race.drops.items() if not race.speeds.get(s)]


def sentence(verdict: Verdict[Setting], default: Setting) -> str:
    """The outcome in one or two sentences."""
    if not verdict.drafts:
        return "Plain decoding is fastest" + (
            "." if verdict.sure else ", but the time was too short to be sure."
        )
    plain = verdict.against_plain
    chosen = (
        f"{verdict.chosen} is {_factor(plain)} as fast as plain decoding{_interval(plain)} "
        f"over {counted(plain.count, 'pass')}"
    )
    if not verdict.sure:
        excludes_one = plain.low > 0
        chosen += ", in too few passes to be sure" if excludes_one else ": not significant"
    if verdict.chosen == default:
        return f"{chosen}. No setting was significantly faster, so that the default stays."
    found = verdict.against_default
    return f"{chosen}, and {_factor(found)} as fast as the default, {default}{_interval(found)}."


def _factor(found: LogRatio) -> str:
    return f"{math.exp(found.mean):.2f}×"


def _interval(found: LogRatio) -> str:
    if not math.isfinite(found.low):
        return ""
    return f" (90 % CI {math.exp(found.low):.2f}–{math.exp(found.high):.2f})"


def comments(
    title: Sequence[str], race: Race[Setting], verdict: Verdict[Setting], default: Setting
) -> str:
    """The evidence as YAML comments below the lines of `title`."""
    lines = [f"{MARK} {title[0]}"]
    for text in [*title[1:], sentence(verdict, default)]:
        lines += textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")
    found = rows(race, verdict.chosen)
    width = max((len(row.name) for row in found), default=0)
    remained = [row for row in found if row.left is None]
    for heading, part in (
        ("Remained until the end", remained),
        ("Dropped earlier", found[len(remained) :]),
    ):
        if part:
            lines += ["#", f"# {heading}: speed-up over plain decoding (quartiles), passes"]
        for row in part:
            line = f"#   {row.name:{width}}  {row.speedup:.2f} ({spread(row)})  {row.passes}"
            if row.left is not None:
                stage = f"{row.left.stage}: " if row.left.stage else ""
                line += f"  {stage}{row.left.reason}"
            lines.append(line)
    unable = failures(race)
    if unable:
        lines += ["#", "# Could not be measured"]
    lines += [f"#   {name}: {' '.join(reason.split())}" for name, reason in unable]
    return "\n".join(lines) + "\n"
