"""The report of a bench, and a comparison of two, as tables and bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.bar import Bar
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from specli.bench.compare import Change
from specli.bench.report import OVERALL, PLAIN_NAME, Report, Summary
from specli.escapes import harmless
from specli.figures import UNKNOWN, counted, duration, number, percent, short_bytes

WIDE = 110
"""Columns from which the table has acceptance by position."""
NARROW = 72
"""Columns below which the tables have only the figures that decide."""
_DECISIVE = ("tok/s", "speed-up", "acc.", "same")
_BY_POSITION = "accepted by position, %"
_NAMES = ("tok/s", "quartiles", "speed-up", "95 % CI", "acc.", "len.", "first", "same")
_SHOWN_POSITIONS = 8
_SHOWN_DIFFERENCES = 10
_LONGEST_BAR = 60


def report_view(report: Report, width: int) -> RenderableType:
    """The whole report for a terminal of `width` columns."""
    parts: list[RenderableType] = [_about(report)]
    drafting = [s.name for s in report.settings if s.name != PLAIN_NAME]
    if len(drafting) != 1:
        parts += [Text(), Text("All prompts", "bold"), _settings_table(report, width)]
        summaries = {name: report.summary(name) for name in drafting}
        parts += _speedups("Speed-up over plain decoding", summaries, 1, width)
    for name in drafting:
        parts += [Text(), Text(name, "bold"), _categories_table(report, name, width)]
        summary = report.summary(name)
        if width < WIDE and summary is not None and summary.acceptance_per_position:
            parts.append(Text(f"{_BY_POSITION}: {_by_position(summary)}", "dim"))
    if len(drafting) == 1:
        summaries = {
            category: report.summary(drafting[0], category) for category in report.categories
        }
        parts += _speedups(f"Speed-up of {drafting[0]} over plain decoding", summaries, 2, width)
    parts += _differences(report)
    parts += [Text(), Text(_LEGEND, "dim")]
    if width < NARROW:
        parts.append(Text("A wider window shows quartiles and intervals too.", "dim"))
    return Group(*parts)


def _about(report: Report) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for model in report.models:
        table.add_row(model.role, f"{model.name}, {short_bytes(model.size)}")
    runs = f"{len(report.runs)} in {duration(report.seconds)}"
    wanted = report.runs_wanted * len(report.settings) * len(report.prompts)
    if not report.complete:
        runs = f"{len(report.runs)} of {wanted} in {duration(report.seconds)}, interrupted"
    table.add_row("runs", f"{runs}, at most {counted(report.predict, 'token')} each")
    if report.cache_prompt:
        table.add_row("prompts", "cached from run to run")
    table.add_row("memory", f"{short_bytes(report.peak_memory)} at peak, all settings loaded")
    return table


def _table(first: str, figures: Sequence[str], width: int) -> Table:
    gap = 2 if width >= WIDE else 1
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False)
    table.add_column(first, overflow="fold")
    for heading in figures:
        justify: JustifyMethod = "left" if heading == _BY_POSITION else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    return table


def _settings_table(report: Report, width: int) -> Table:
    table = _table("setting", _headings(width), width)
    for setting in report.settings:
        summary = report.summary(setting.name)
        if summary is not None:
            table.add_row(setting.name, *_figures(summary, width))
    return table


def _categories_table(report: Report, name: str, width: int) -> Table:
    table = _table("category", ["plain", *_headings(width)], width)
    for category in (*report.categories, OVERALL):
        summary, plain = report.summary(name, category), report.summary(PLAIN_NAME, category)
        if summary is not None:
            speed = UNKNOWN if plain is None else number(plain.speed, 1)
            style = "bold" if category == OVERALL else ""
            table.add_row(harmless(category), speed, *_figures(summary, width), style=style)
    return table


def _headings(width: int) -> list[str]:
    if width < NARROW:
        return list(_DECISIVE)
    return [*_NAMES, _BY_POSITION] if width >= WIDE else list(_NAMES)


def _figures(summary: Summary, width: int) -> list[str]:
    speedup, first_ms = summary.speedup, summary.first_token_ms
    interval = UNKNOWN
    if speedup is not None and speedup.low is not None and speedup.high is not None:
        interval = f"{speedup.low:.2f}–{speedup.high:.2f}"
    cells = [
        number(summary.speed, 1),
        f"{summary.speed_low:.0f}–{summary.speed_high:.0f}",
        number(None if speedup is None else speedup.value, 2),
        interval,
        percent(summary.acceptance_rate),
        number(summary.mean_accepted_length, 2),
        f"{first_ms:.0f}ms" if first_ms < 1000 else f"{first_ms / 1000:.1f}s",
        f"{summary.identical}/{summary.compared}" if summary.compared else UNKNOWN,
    ]
    if width < NARROW:
        return [cell for name, cell in zip(_NAMES, cells, strict=True) if name in _DECISIVE]
    return [*cells, _by_position(summary)] if width >= WIDE else cells


def _by_position(summary: Summary) -> str:
    rates = summary.acceptance_per_position
    shown = " ".join(f"{100 * rate:.0f}" for rate in rates[:_SHOWN_POSITIONS])
    return f"{shown} …" if len(rates) > _SHOWN_POSITIONS else shown


def _speedups(
    title: str, summaries: Mapping[str, Summary | None], least: int, width: int
) -> Iterator[RenderableType]:
    """A bar for each speed-up, below the title, if there are at least so many."""
    values = [(name, s.speedup.value) for name, s in summaries.items() if s and s.speedup]
    if len(values) >= least:
        yield from (Text(), Text(title, "bold"), _bars(values, width))


def _bars(values: Sequence[tuple[str, float]], width: int) -> Table:
    """A bar for each value, below a reference bar of length 1."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    longest = max(1.0, *(value for _name, value in values))
    room = min(_LONGEST_BAR, width - max(len(name) for name, _value in values) - 8)
    table.add_row("plain", "1.00", Bar(longest, 0, 1, width=max(room, 8), color="bright_black"))
    for name, value in values:
        colour = "green" if value >= 1 else "red"
        bar = Bar(longest, 0, value, width=max(room, 8), color=colour)
        table.add_row(harmless(name), f"{value:.2f}", bar)
    return table


def _differences(report: Report) -> Iterator[RenderableType]:
    """The first difference of each text that differs from plain decoding's."""
    found = {
        f"{run.setting} on {harmless(run.prompt)} {run.compared.difference}": run.compared.passed
        for run in report.runs
        if run.compared is not None and not run.compared.identical
    }
    if not found:
        return
    yield from (Text(), Text("Texts that differ from plain decoding", "bold"))
    for sentence, passed in list(found.items())[:_SHOWN_DIFFERENCES]:
        yield Text(sentence, "" if passed else "red")
    if len(found) > _SHOWN_DIFFERENCES:
        yield Text(f"and {len(found) - _SHOWN_DIFFERENCES} more; --json has all", "dim")


_LEGEND = (
    "speed-up: over plain decoding; 95 % CI: its confidence interval on these prompts, with three "
    "or more runs; acc.: acceptance rate; len.: tokens per round; first: time to the first token; "
    "same: runs with the same text as plain decoding."
)


def changes_view(changes: Sequence[Change]) -> RenderableType:
    """Both benches by setting: speed-ups, and tokens per second for plain decoding."""
    parts: list[RenderableType] = []
    for name in dict.fromkeys(change.setting for change in changes):
        figure = "tok/s" if name == PLAIN_NAME else "speed-up"
        headings = (f"A, {figure}", f"B, {figure}", "B/A", "significant")
        table = _table("category", headings, WIDE)
        for change in changes:
            if change.setting == name:
                style = "bold" if change.category == OVERALL else ""
                table.add_row(*_change(change), style=style)
        parts += [Text(), Text(name, "bold"), table]
    return Group(*parts[1:])


def _change(change: Change) -> tuple[str, ...]:
    digits = 1 if change.setting == PLAIN_NAME else 2
    return (
        harmless(change.category),
        number(change.first, digits),
        number(change.second, digits),
        f"{100 * (change.ratio - 1):+.1f} %",
        UNKNOWN if change.clear is None else "yes" if change.clear else "no",
    )
