"""What `--explain` shows: costs, acceptance by confidence, decisions."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from specli.engine.explain import Explanation
from specli.figures import counted


def explanation(explained: Explanation) -> RenderableType:
    """Small tables that fit 40 columns."""
    parts: list[RenderableType] = [_curve("Target, ms for k tokens", explained.target_ms)]
    parts += [
        _curve(f"{name.capitalize()}, ms for k tokens", points)
        for name, points in explained.drafting_ms.items()
    ]
    if explained.rollback_ms >= _WORTH_SHOWING:
        parts.append(Text(f"Rolling back takes {explained.rollback_ms:.1f} ms a round"))
    for source, rows in explained.acceptance.items():
        if not rows:
            continue
        table = Table.grid(padding=(0, 2))
        for low, rate, seen in rows:
            table.add_row(f"  {low:.3g} and up", f"{100 * rate:.0f} %", f"{seen:.0f} seen")
        parts += [Text(f"Accepted by confidence, {source}", "bold"), table]
    rounds = sum(explained.decisions.values())
    if rounds:
        table = Table.grid(padding=(0, 2))
        for name, count in sorted(explained.decisions.items(), key=lambda item: -item[1]):
            table.add_row(f"  {name}", counted(count, "round"), f"{100 * count / rounds:.0f} %")
        parts += [Text("Verified in each round", "bold"), table]
    for name, least in explained.break_even.items():
        asked = explained.asked.get(name, 0)
        parts.append(
            Text(f"{name}: drafted in {counted(asked, 'round')}, pays from {100 * least:.0f} %")
        )
    return Group(Text(), *parts)


_WORTH_SHOWING = 0.1
"""Milliseconds: cutting a cache takes less, restoring a state takes more."""


def _curve(title: str, points: dict[int, float]) -> RenderableType:
    text = Text(title + "\n", "bold")
    text.append(
        "  " + "  ".join(f"{size}:\N{NO-BREAK SPACE}{ms:.1f}" for size, ms in points.items()),
        "not bold",
    )
    return text
