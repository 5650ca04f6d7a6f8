"""The figures of a generation once it is over."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from specli.events import Stats
from specli.ui.figures import counted, number, percent
from specli.ui.text import style_of


def summary_table(stats: Stats) -> RenderableType:
    """Drafting, drafters, speeds and times, one figure per row; 40 columns are enough.

    The first row is empty and separates the table from the text above.
    """
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    if stats.drafted:
        proposals = counted(stats.rounds_with_proposal, "round")
        table.add_row(Text("Drafting", "bold"), "")
        table.add_row("  drafted", f"{stats.drafted} in {proposals}")
        table.add_row("  accepted", f"{stats.accepted} ({percent(stats.acceptance_rate, 1)})")
        length = number(stats.mean_accepted_length, 2)
        table.add_row("  mean accepted", f"{length} tokens per round")
        rates = (f"{100 * rate:.0f}" for rate in stats.acceptance_per_position)
        table.add_row("  % by position", " ".join(rates))
        for name, counts in stats.by_drafter.items():
            rate = percent(counts.acceptance_rate, 1)
            share = f"{counts.accepted} of {counts.drafted} ({rate})"
            table.add_row(Text(f"  {name}", style_of(name)), share)
    table.add_row(Text("Speed", "bold"), "")
    prompt = f"{stats.prompt_n} at {number(stats.prompt_per_second, 1)} tok/s"
    table.add_row("  prompt tokens", prompt)
    if stats.prompt_cached:
        table.add_row("  from cache", f"{stats.prompt_cached} of them")
    speed = number(stats.predicted_per_second, 1)
    table.add_row("  generated", f"{stats.predicted_n} at {speed} tok/s")
    if stats.drafted:
        table.add_row("  time drafting", f"{stats.draft_ms / 1000:.2f} s")
        table.add_row("  time verifying", f"{stats.verify_ms / 1000:.2f} s")
    return Group(Text(), table)


def summary_line(stats: Stats) -> str:
    """The same in one line, for output that is not a terminal."""
    speed = number(stats.predicted_per_second, 1)
    parts = [f"{counted(stats.predicted_n, 'token')} at {speed} tok/s"]
    if stats.drafted:
        rate = percent(stats.acceptance_rate, 1)
        parts.append(f"accepted {stats.accepted} of {stats.drafted} drafted ({rate})")
        parts.append(f"{number(stats.mean_accepted_length, 2)} per round")
    prompt = counted(stats.prompt_n, "token")
    parts.append(f"prompt {prompt} at {number(stats.prompt_per_second, 1)} tok/s")
    return ", ".join(parts)
