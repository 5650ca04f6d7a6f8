"""A report as one page that opens anywhere, without a network and without a script."""

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
    """A drawing, and one sentence on how to read it."""

    title: str
    meaning: str
    svg: Markup


def require_charts() -> None:
    """Raise UsageError where the library that draws is not installed: before hours of measuring."""
    if find_spec("matplotlib") is None:
        raise UsageError(
            "--html needs matplotlib, which is not installed",
            hint="pip install 'specli[bench]', or write figures alone with --json FILE",
        )


def page(report: Report, command: str) -> str:
    """The page of a report; `command` is what was typed. Raises UsageError as `require_charts`."""
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
    """The drawings that the report has data for."""
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
        "Each prompt's median over its runs, then the geometric mean of the prompts; the lines are "
        "95 % intervals, from three runs up. Left of the dashed line drafting lost time.",
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
        "Medians over all prompts; the lines hold the middle half of the runs, and so show how "
        "much prompts differ.",
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
        "Of all rounds that had a draft, the share in which the draft was still right at this "
        "position; drafts shorter than that count as not accepted.",
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
        "T(k), the time for k tokens at once",
        "Verifying a draft pays because the target's line is flatter than the dashed one, its "
        "time for as many tokens one by one.",
        Markup(cost_chart(curves["target"], curves.get("draft", {}))),
    )


def _overall(report: Report) -> dict[str, Summary]:
    """By setting, the summary over all prompts, of those that have run."""
    found = {setting.name: report.summary(setting.name) for setting in report.settings}
    return {name: summary for name, summary in found.items() if summary is not None}


def _flags(report: Report) -> list[tuple[str, list[object]]]:
    """Flags that differ between settings, each with its value in every one of them."""
    names = dict.fromkeys(name for setting in report.settings for name in setting.flags)
    rows = [(name, [setting.flags.get(name) for setting in report.settings]) for name in names]
    return [(name, values) for name, values in rows if any(v != values[0] for v in values)]


def _differences(report: Report) -> list[tuple[str, str, str]]:
    """(setting, prompt, what differs) where a text was not plain decoding's, each once."""
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
    said = f"{summary.identical} of {summary.compared}"
    return f"{said}, {summary.near_ties} near ties" if summary.near_ties else said


def _value(value: object) -> str:
    if value is None:
        return _UNKNOWN
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value(one) for one in value) or "none"
    return str(value)


def _date(created: str) -> str:
    """`2026-11-23 03:05 UTC` of an ISO 8601 date."""
    return f"{datetime.fromisoformat(created):%Y-%m-%d %H:%M %Z}".strip()
