"""The status lines below the text during generation."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from specli.events import Prefilled, Stats
from specli.figures import counted, number, percent
from specli.ui.text import style_of

BARS = "▁▂▃▄▅▆▇█"
NOT_DRAFTED = "·"
GAP = "  "
DONE, LEFT = "━", "─"
MOST_BAR = 40


def status_rows(stats: Stats, prefilled: Prefilled | None, width: int) -> list[Text]:
    """Two rows of at most `width` cells, for the prompt and then for the rounds."""
    if prefilled is None:
        rows = [Text(reading(None), "dim"), Text()]
    elif prefilled.done < prefilled.total:
        cells = min(width, MOST_BAR)
        done = int(prefilled.done / prefilled.total * cells)
        bar = Text.assemble((DONE * done, "bold"), (LEFT * (cells - done), "dim"))
        rows = [Text(reading(prefilled), "dim"), bar]
    else:
        rows = [_figures(stats, width), _rounds(stats, width)]
    for row in rows:
        row.truncate(width)
    return rows


def reading(prefilled: Prefilled | None) -> str:
    """How much of the prompt has been decoded."""
    if prefilled is None:
        return "reading the prompt"
    return f"reading the prompt{GAP}{prefilled.done} of {counted(prefilled.total, 'token')}"


def _figures(stats: Stats, width: int) -> Text:
    rate, length = percent(stats.acceptance_rate), number(stats.mean_accepted_length, 2)
    speed = number(stats.predicted_per_second, 1)
    drafted_now = stats.recent[-1][1] if stats.recent else 0
    line = GAP.join(
        (f"{rate} accepted", f"{length} per round", f"{speed} tok/s", f"draft length {drafted_now}")
    )
    if len(line) > width:
        line = GAP.join((rate, f"{length}/round", f"{speed} tok/s", f"draft {drafted_now}"))
    return Text(line, "bold")


def _rounds(stats: Stats, width: int) -> Text:
    """Accepted tokens of each drafter in its colour, then the recent rounds."""
    row = Text()
    for name, counts in stats.by_drafter.items():
        row.append(f"{name} {counts.accepted}", style_of(name))
        row.append(GAP)
    room = width - row.cell_len
    if room > 0:
        row.append(sparkline(stats.recent[-room:]), "dim")
    return row


def sparkline(rounds: Sequence[tuple[int, int]]) -> str:
    """One character per (accepted, drafted): accepted tokens relative to the longest draft."""
    longest = max((drafted for _accepted, drafted in rounds), default=0)
    return "".join(
        BARS[round(accepted / longest * (len(BARS) - 1))] if drafted else NOT_DRAFTED
        for accepted, drafted in rounds
    )
