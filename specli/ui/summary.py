"""The figures of a generation once it is over."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from specli.events import Stats
from specli.ui.figures import counted, number, percent
from specli.ui.text import style_of

SECOND = 1000


def summary_table(stats: Stats) -> RenderableType:
    """Drafting, drafters, speeds and times, one figure per row; 40 columns are enough.

    The first row is empty and separates the table from the text above.
    """
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    if stats.drafted:
        _add_drafting(table, stats)
    _add_speed(table, stats)
    return Group(Text(), table)


def _add_drafting(table: Table, stats: Stats) -> None:
    _heading(table, "Drafting")
    table.add_row("  drafted", f"{stats.drafted} in {counted(stats.rounds_with_proposal, 'round')}")
    table.add_row("  accepted", f"{stats.accepted} ({percent(stats.acceptance_rate, 1)})")
    table.add_row("  mean accepted", f"{number(stats.mean_accepted_length, 2)} tokens per round")
    rates = (f"{100 * rate:.0f}" for rate in stats.acceptance_per_position)
    table.add_row("  % by position", " ".join(rates))
    for name, counts in stats.by_drafter.items():
        rate = percent(counts.acceptance_rate, 1)
        table.add_row(
            Text(f"  {name}", style_of(name)), f"{counts.accepted} of {counts.drafted} ({rate})"
        )


def _add_speed(table: Table, stats: Stats) -> None:
    _heading(table, "Speed")
    prompt = f"{stats.prompt_n} at {number(stats.prompt_per_second, 1)} tok/s"
    table.add_row("  prompt tokens", prompt)
    if stats.prompt_cached:
        table.add_row("  from cache", f"{stats.prompt_cached} of them")
    speed = number(stats.predicted_per_second, 1)
    table.add_row("  generated", f"{stats.predicted_n} at {speed} tok/s")
    if stats.drafted:
        table.add_row("  time drafting", _seconds(stats.draft_ms))
        table.add_row("  time verifying", _seconds(stats.verify_ms))


def _heading(table: Table, text: str) -> None:
    table.add_row(Text(text, "bold"), "")


def _seconds(ms: float) -> str:
    return f"{ms / SECOND:.2f} s"


def summary_line(stats: Stats) -> str:
    """The same in one line, for output that is not a terminal."""
    parts = [
        f"{counted(stats.predicted_n, 'token')} at {number(stats.predicted_per_second, 1)} tok/s"
    ]
    if stats.drafted:
        rate = percent(stats.acceptance_rate, 1)
        parts.append(f"accepted {stats.accepted} of {stats.drafted} drafted ({rate})")
        parts.append(f"{number(stats.mean_accepted_length, 2)} per round")
    parts.append(
        f"prompt {counted(stats.prompt_n, 'token')} at {number(stats.prompt_per_second, 1)} tok/s"
    )
    return ", ".join(parts)
