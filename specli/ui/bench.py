"""The report of a bench, and a comparison of two, as tables and bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from specli.bench.compare import Change
from specli.bench.report import OVERALL, PLAIN_NAME, Interval, Report, Summary
from specli.pairs.quantities import short_bytes
from specli.ui.batch import duration
from specli.ui.figures import UNKNOWN, counted, number, percent
from specli.ui.text import harmless

WIDE = 110
"""Columns from which the table has acceptance by position."""
_SHOWN_POSITIONS = 8
_SHOWN_DIFFERENCES = 10
_LONGEST_BAR = 60


def report_view(report: Report, width: int) -> RenderableType:
    """The whole report for a terminal of `width` columns."""
    parts: list[RenderableType] = [_about(report)]
    drafting = [s.name for s in report.settings if s.name != PLAIN_NAME]
    if len(drafting) != 1:
        parts += [Text(), Text("All prompts", "bold"), _settings_table(report, width)]
        parts += _bars_of_settings(report, drafting, width)
    for name in drafting:
        parts += [Text(), Text(name, "bold"), _categories_table(report, name, width)]
        if width < WIDE:
            parts += _positions(report, name)
    if len(drafting) == 1:
        parts += _bars_of_categories(report, drafting[0], width)
    parts += _differences(report)
    parts.append(_legend())
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


def _table(first: str, width: int) -> Table:
    gap = 2 if width >= WIDE else 1
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False)
    table.add_column(first, overflow="fold")
    return table


def _settings_table(report: Report, width: int) -> Table:
    table = _table("setting", width)
    _add_figures(table, width)
    for setting in report.settings:
        summary = report.summary(setting.name)
        if summary is not None:
            table.add_row(setting.name, *_figures(summary, width))
    return table


def _categories_table(report: Report, name: str, width: int) -> Table:
    table = _table("category", width)
    table.add_column("plain", justify="right", no_wrap=True)
    _add_figures(table, width)
    for category in (*report.categories, OVERALL):
        summary, plain = report.summary(name, category), report.summary(PLAIN_NAME, category)
        if summary is not None:
            speed = UNKNOWN if plain is None else number(plain.speed, 1)
            style = "bold" if category == OVERALL else ""
            table.add_row(harmless(category), speed, *_figures(summary, width), style=style)
    return table


def _add_figures(table: Table, width: int) -> None:
    headings = ["tok/s", "quartiles", "speed-up", "95 % CI", "acc.", "len.", "first", "same"]
    if width >= WIDE:
        headings.append("accepted by position, %")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    table.columns[-1].justify = "left" if width >= WIDE else "right"


def _figures(summary: Summary, width: int) -> list[str]:
    cells = [
        number(summary.speed, 1),
        f"{summary.speed_low:.0f}–{summary.speed_high:.0f}",
        UNKNOWN if summary.speedup is None else f"{summary.speedup.value:.2f}",
        _interval(summary.speedup),
        percent(summary.acceptance_rate),
        number(summary.mean_accepted_length, 2),
        _milliseconds(summary.first_token_ms),
        _same(summary),
    ]
    if width >= WIDE:
        cells.append(_by_position(summary))
    return cells


def _interval(speedup: Interval | None) -> str:
    if speedup is None or speedup.low is None or speedup.high is None:
        return UNKNOWN
    return f"{speedup.low:.2f}–{speedup.high:.2f}"


def _milliseconds(ms: float) -> str:
    return f"{ms:.0f}ms" if ms < 1000 else f"{ms / 1000:.1f}s"


def _same(summary: Summary) -> str:
    return f"{summary.identical}/{summary.compared}" if summary.compared else UNKNOWN


def _by_position(summary: Summary) -> str:
    rates = summary.acceptance_per_position
    shown = " ".join(f"{100 * rate:.0f}" for rate in rates[:_SHOWN_POSITIONS])
    return f"{shown} …" if len(rates) > _SHOWN_POSITIONS else shown


def _positions(report: Report, name: str) -> Iterator[RenderableType]:
    summary = report.summary(name)
    if summary is not None and summary.acceptance_per_position:
        yield Text(f"accepted by position, %: {_by_position(summary)}", "dim")


def _bars_of_settings(report: Report, names: Sequence[str], width: int) -> Iterator[RenderableType]:
    found = [(name, report.summary(name)) for name in names]
    values = [(name, s.speedup.value) for name, s in found if s is not None and s.speedup]
    if values:
        yield from (Text(), Text("Speed-up over plain decoding", "bold"), _bars(values, width))


def _bars_of_categories(report: Report, name: str, width: int) -> Iterator[RenderableType]:
    found = [(category, report.summary(name, category)) for category in report.categories]
    values = [(c, s.speedup.value) for c, s in found if s is not None and s.speedup]
    if len(values) > 1:
        heading = Text(f"Speed-up of {name} over plain decoding", "bold")
        yield from (Text(), heading, _bars(values, width))


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
        f"{run.setting} on {harmless(run.prompt)} {run.compared.difference}": run.compared.near_tie
        for run in report.runs
        if run.compared is not None and not run.compared.identical
    }
    if not found:
        return
    yield from (Text(), Text("Texts that differ from plain decoding", "bold"))
    for sentence, near_tie in list(found.items())[:_SHOWN_DIFFERENCES]:
        yield Text(sentence, "" if near_tie else "red")
    if len(found) > _SHOWN_DIFFERENCES:
        yield Text(f"and {len(found) - _SHOWN_DIFFERENCES} more; --json has all", "dim")


def _legend() -> RenderableType:
    legend = (
        "speed-up: over plain decoding; 95 % CI: its confidence interval on these prompts, with "
        "three or more runs; acc.: acceptance rate; len.: tokens per round; first: time to the "
        "first token; same: runs with the same text as plain decoding."
    )
    return Group(Text(), Text(legend, "dim"))


def changes_view(changes: Sequence[Change]) -> RenderableType:
    """Both benches by setting: speed-ups, and tokens per second for plain decoding."""
    parts: list[RenderableType] = []
    for name in dict.fromkeys(change.setting for change in changes):
        figure = "tok/s" if name == PLAIN_NAME else "speed-up"
        table = _table("category", WIDE)
        for heading in (f"A, {figure}", f"B, {figure}", "B/A", "significant"):
            table.add_column(heading, justify="right", no_wrap=True)
        for change in changes:
            if change.setting == name:
                table.add_row(*_change(change), style=_change_style(change))
        parts += [Text(), Text(name, "bold"), table]
    return Group(*parts[1:])


def _change(change: Change) -> tuple[str, ...]:
    digits = 1 if change.setting == PLAIN_NAME else 2
    clear = UNKNOWN if change.clear is None else "yes" if change.clear else "no"
    return (
        harmless(change.category),
        number(change.first, digits),
        number(change.second, digits),
        f"{100 * (change.ratio - 1):+.1f} %",
        clear,
    )


def _change_style(change: Change) -> str:
    return "bold" if change.category == OVERALL else ""
