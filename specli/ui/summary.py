"""The figures of a generation once it is over."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from specli.events import Stats
from specli.figures import counted, number, percent
from specli.ui.text import style_of

ALIKE = 0.03
"""Share by which two speeds differ before one of them is called faster."""

MOST_POSITIONS = 8

Rows = Iterator[tuple[Text | str, str]]


def headline(stats: Stats) -> str | None:
    """How much faster than without drafting, by the rounds of this text; None where it is open."""
    return None if stats.speedup is None else verdict(stats.speedup)


def verdict(speedup: float) -> str:
    """A measured speed-up in words."""
    if abs(speedup - 1) < ALIKE:
        return "as fast as without drafting"
    if speedup < 1:
        return f"{speedup:.2f}× the speed without drafting"
    return f"{times(speedup)} faster than without drafting"


def times(speedup: float) -> str:
    """A speed-up as precise as it is worth: 1.07×, 1.6×, 12×."""
    digits = 2 if speedup < 1.15 else 1 if speedup < 9.95 else 0
    return f"{speedup:.{digits}f}×"


def summary_table(stats: Stats) -> RenderableType:
    """The headline, speeds, and how the drafting did, one figure a row; 40 columns are enough.

    The first row is empty and separates the table from the text above.
    """
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, figure in _rows(stats):
        table.add_row(name, figure)
    parts: list[RenderableType] = [Text()]
    line = headline(stats)
    if line is not None:
        good = stats.speedup is not None and stats.speedup > 1 - ALIKE
        parts += [Text(line, "bold green" if good else "bold yellow"), Text()]
    return Group(*parts, table)


def _rows(stats: Stats) -> Rows:
    yield Text("Speed", "bold"), ""
    speed = number(stats.predicted_per_second, 1)
    yield "  generated", f"{counted(stats.predicted_n, 'token')} at {speed} tok/s"
    if stats.drafted and stats.plain_per_second is not None:
        rounds = counted(len(stats.plain_times), "round")
        yield "  plain", f"{stats.plain_per_second:.1f} tok/s, by {rounds}"
    prompt = counted(stats.prompt_n, "token")
    yield "  prompt", f"{prompt} at {number(stats.prompt_per_second, 1)} tok/s"
    if stats.prompt_cached:
        yield "  from cache", f"{stats.prompt_cached} of them"
    if stats.drafted:
        yield from _drafting(stats)


def _drafting(stats: Stats) -> Rows:
    yield Text("Drafting", "bold"), ""
    yield "  drafted", f"{stats.drafted} in {counted(stats.rounds_with_proposal, 'round')}"
    yield "  accepted", f"{stats.accepted} ({percent(stats.acceptance_rate, 1)})"
    if len(stats.by_drafter) > 1:
        for name, counts in stats.by_drafter.items():
            rate = percent(counts.acceptance_rate, 1)
            share = f"{counts.accepted} of {counts.drafted} ({rate})"
            yield Text(f"    {name}", style_of(name)), share
    yield "  by position", f"{by_position(stats)} %"
    length = number(stats.mean_accepted_length, 2)
    yield "  per round", f"{length} tokens, over {counted(stats.rounds, 'round')}"
    yield "  drafting", f"{stats.draft_ms / 1000:.2f} s"
    yield "  verifying", f"{stats.verify_ms / 1000:.2f} s"


def by_position(stats: Stats) -> str:
    """Acceptance at the first positions in per cent, without the zeros at the end."""
    rates = [round(100 * rate) for rate in stats.acceptance_per_position]
    while len(rates) > 1 and not rates[-1]:
        rates.pop()
    shown = " ".join(map(str, rates[:MOST_POSITIONS]))
    return f"{shown} …" if len(rates) > MOST_POSITIONS else shown


def summary_line(stats: Stats) -> str:
    """The same in one line, for output that is not a terminal."""
    speed = number(stats.predicted_per_second, 1)
    parts = [f"{counted(stats.predicted_n, 'token')} at {speed} tok/s"]
    line = headline(stats)
    if line is not None:
        parts.append(line)
    if stats.drafted:
        rate = percent(stats.acceptance_rate, 1)
        parts.append(f"accepted {stats.accepted} of {stats.drafted} drafted ({rate})")
        parts.append(f"{number(stats.mean_accepted_length, 2)} per round")
    prompt = counted(stats.prompt_n, "token")
    parts.append(f"prompt {prompt} at {number(stats.prompt_per_second, 1)} tok/s")
    return ", ".join(parts)
