"""A report as one HTML page without scripts that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from specli.bench.report import OVERALL, PLAIN_NAME, Interval, Report, Summary
from specli.errors import UsageError
from specli.figures import UNKNOWN, number, percent, short_bytes


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, and a sentence that explains it."""

    title: str
    meaning: str
    svg: str


def require_charts() -> None:
    """Raise UsageError if the drawing library is missing, before hours of measuring."""
    if find_spec("matplotlib") is None:
        raise UsageError(
            "--html needs matplotlib, which is not installed",
            hint="pip install 'specli[bench]', or write only the figures with -o FILE",
        )


def page(report: Report, command: str) -> str:
    """The page of a report made by `command`. Raises UsageError like `require_charts`."""
    require_charts()
    environment = page_environment(Path(__file__).parent)
    environment.filters |= {
        "interval": _interval,
        "number": number,
        "percent": percent,
        "bytes": short_bytes,
        "identical": _identical,
        "value": _value,
    }
    overall = _overall(report)
    return environment.get_template("page.html.jinja").render(
        report=report,
        command=command,
        created=f"{datetime.fromisoformat(report.created):%Y-%m-%d %H:%M %Z}".strip(),
        settings=list(overall),
        drafted=[name for name in overall if name != PLAIN_NAME],
        categories=[*report.categories, OVERALL],
        plain=overall.get(PLAIN_NAME),
        charts=charts(report),
        flags=_flags(report),
        differences=_differences(report),
    )


def page_environment(folder: Path) -> Environment:
    """Templates of pages in `folder`; whatever they are given is escaped."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def charts(report: Report) -> list[Chart]:
    """The charts that the report has data for."""
    from specli.bench import charts as drawing

    overall = _overall(report)
    categories = [*report.categories, OVERALL]
    speedups: dict[str, list[Interval | None]] = {}
    for name in overall:
        summaries = [report.summary(name, category) for category in categories]
        speedups[name] = [None if one is None else one.speedup for one in summaries]
    speedups = {name: found for name, found in speedups.items() if any(found)}
    speeds = {name: Interval(s.speed, s.speed_low, s.speed_high) for name, s in overall.items()}
    by_position = {name: s.acceptance_per_position for name, s in overall.items()}
    rates = {name: found for name, found in by_position.items() if found}
    costs = {role: dict(zip(c.sizes, c.ms, strict=True)) for role, c in report.costs.items()}
    found = []
    if speedups:
        meaning = (
            "The geometric mean over prompts of each prompt's median; lines are 95 % confidence "
            "intervals, with three or more runs. Left of the dashed line drafting was slower."
        )
        svg = drawing.speedup_chart(categories, speedups)
        found.append(Chart("Speed-up by category", meaning, svg))
    if speeds:
        meaning = (
            "Medians over all prompts; lines span the middle 50 % of runs and show how much "
            "prompts differ."
        )
        svg = drawing.speed_chart(speeds)
        found.append(Chart("Tokens per second over settings", meaning, svg))
    if rates:
        meaning = (
            "The share of rounds with a draft in which the token at this position was accepted; "
            "shorter drafts count as not accepted."
        )
        svg = drawing.acceptance_chart(rates)
        found.append(Chart("Acceptance by position", meaning, svg))
    if costs.get("target"):
        meaning = (
            "Verifying a draft pays because the target's line is flatter than the dashed line, "
            "the time for the same tokens one by one."
        )
        svg = drawing.cost_chart(costs["target"], costs.get("draft", {}))
        found.append(Chart("T(k), the time for k tokens in one decode", meaning, svg))
    return found


def _overall(report: Report) -> dict[str, Summary]:
    """The summary over all prompts of each setting that has runs."""
    return {s.name: found for s in report.settings if (found := report.summary(s.name))}


def _flags(report: Report) -> list[tuple[str, list[object]]]:
    """Flags that differ between settings, with their value in each."""
    names = dict.fromkeys(name for setting in report.settings for name in setting.flags)
    rows = [(name, [setting.flags.get(name) for setting in report.settings]) for name in names]
    return [(name, values) for name, values in rows if any(v != values[0] for v in values)]


def _differences(report: Report) -> list[tuple[str, str, str]]:
    """(setting, prompt, difference) of each text that differs from plain decoding's."""
    found = {
        (run.setting, run.prompt, run.compared.difference)
        for run in report.runs
        if run.compared is not None and not run.compared.identical
    }
    return sorted(found)


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return UNKNOWN
    if interval.low is None or interval.high is None:
        return f"{interval.value:.2f}"
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _identical(summary: Summary) -> str:
    if not summary.compared:
        return UNKNOWN
    same = f"{summary.identical} of {summary.compared}"
    return f"{same}, {summary.explained} by kernels" if summary.explained else same


def _value(value: object) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value(one) for one in value) or "none"
    return str(value)
