"""A report as one HTML page without scripts that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from specli.bench.report import OVERALL, PLAIN_NAME, Interval, Report, Summary
from specli.errors import UsageError
from specli.pairs.quantities import short_bytes

_UNKNOWN = "–"
_TEMPLATE = "page.html.jinja"


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, and a sentence that explains it."""

    title: str
    meaning: str
    svg: Markup


def require_charts() -> None:
    """Raise UsageError if the drawing library is missing, before hours of measuring."""
    if find_spec("matplotlib") is None:
        raise UsageError(
            "--html needs matplotlib, which is not installed",
            hint="pip install 'specli[bench]', or write only the figures with --json FILE",
        )


def page(report: Report, command: str) -> str:
    """The page of a report made by `command`. Raises UsageError like `require_charts`."""
    require_charts()
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "interval": _interval,
        "number": _number,
        "percent": _percent,
        "bytes": short_bytes,
        "identical": _identical,
        "value": _value,
    }
    drafted = [setting.name for setting in report.settings if setting.name != PLAIN_NAME]
    return environment.get_template(_TEMPLATE).render(
        report=report,
        command=command,
        created=_date(report.created),
        settings=[s.name for s in report.settings if report.summary(s.name) is not None],
        drafted=[name for name in drafted if report.summary(name) is not None],
        categories=[*report.categories, OVERALL],
        plain=report.summary(PLAIN_NAME),
        charts=charts(report),
        flags=_flags(report),
        differences=_differences(report),
    )


def charts(report: Report) -> list[Chart]:
    """The charts that the report has data for."""
    found = [_speedups(report), _speeds(report), _acceptance(report), _costs(report)]
    return [chart for chart in found if chart is not None]


def _speedups(report: Report) -> Chart | None:
    from specli.bench.charts import speedup_chart

    categories = [*report.categories, OVERALL]
    settings: dict[str, Sequence[Interval | None]] = {}
    for setting in report.settings:
        found = [report.summary(setting.name, category) for category in categories]
        intervals = [None if one is None else one.speedup for one in found]
        if any(intervals):
            settings[setting.name] = intervals
    if not settings:
        return None
    return Chart(
        "Speed-up by category",
        "The geometric mean over prompts of each prompt's median; lines are 95 % confidence "
        "intervals, with three or more runs. Left of the dashed line drafting was slower.",
        Markup(speedup_chart(categories, settings)),
    )


def _speeds(report: Report) -> Chart | None:
    from specli.bench.charts import speed_chart

    overall = _overall(report)
    if not overall:
        return None
    speeds = {name: Interval(s.speed, s.speed_low, s.speed_high) for name, s in overall.items()}
    return Chart(
        "Tokens per second over settings",
        "Medians over all prompts; lines span the middle 50 % of runs and show how much prompts "
        "differ.",
        Markup(speed_chart(speeds)),
    )


def _acceptance(report: Report) -> Chart | None:
    from specli.bench.charts import acceptance_chart

    rates = {
        name: summary.acceptance_per_position
        for name, summary in _overall(report).items()
        if summary.acceptance_per_position
    }
    if not rates:
        return None
    return Chart(
        "Acceptance by position",
        "The share of rounds with a draft in which the token at this position was accepted; "
        "shorter drafts count as not accepted.",
        Markup(acceptance_chart(rates)),
    )


def _costs(report: Report) -> Chart | None:
    from specli.bench.charts import cost_chart

    curves = {
        role: dict(zip(curve.sizes, curve.ms, strict=True)) for role, curve in report.costs.items()
    }
    if not curves.get("target"):
        return None
    return Chart(
        "T(k), the time for k tokens in one decode",
        "Verifying a draft pays because the target's line is flatter than the dashed line, the "
        "time for the same tokens one by one.",
        Markup(cost_chart(curves["target"], curves.get("draft", {}))),
    )


def _overall(report: Report) -> dict[str, Summary]:
    """The summary over all prompts of each setting that has runs."""
    found = {setting.name: report.summary(setting.name) for setting in report.settings}
    return {name: summary for name, summary in found.items() if summary is not None}


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
        return _UNKNOWN
    if interval.low is None or interval.high is None:
        return f"{interval.value:.2f}"
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _number(value: float | None, digits: int = 1) -> str:
    return _UNKNOWN if value is None else f"{value:.{digits}f}"


def _percent(rate: float | None) -> str:
    return _UNKNOWN if rate is None else f"{100 * rate:.1f} %"


def _identical(summary: Summary) -> str:
    if not summary.compared:
        return _UNKNOWN
    same = f"{summary.identical} of {summary.compared}"
    return f"{same}, {summary.near_ties} near ties" if summary.near_ties else same


def _value(value: object) -> str:
    if value is None:
        return _UNKNOWN
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value(one) for one in value) or "none"
    return str(value)


def _date(created: str) -> str:
    """An ISO 8601 date as `2026-11-23 03:05 UTC`."""
    return f"{datetime.fromisoformat(created):%Y-%m-%d %H:%M %Z}".strip()
