"""What `--explain` shows: costs, acceptance by confidence, decisions."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from specli.engine.explain import Explanation
from specli.ui.figures import counted


def explanation(told: Explanation) -> RenderableType:
    """Small tables that fit 40 columns."""
    parts: list[RenderableType] = [_curve("Target, ms for k tokens", told.target_ms)]
    if told.draft_ms:
        parts.append(_curve("Draft, ms for k tokens", told.draft_ms))
    for source, rows in told.acceptance.items():
        table = Table.grid(padding=(0, 2))
        for low, rate, seen in rows:
            table.add_row(f"  {low:.3g} and up", f"{100 * rate:.0f} %", f"{seen:.0f} seen")
        parts += [Text(f"Accepted by confidence, {source}", "bold"), table]
    rounds = sum(told.decisions.values())
    if rounds:
        table = Table.grid(padding=(0, 2))
        for name, count in sorted(told.decisions.items(), key=lambda item: -item[1]):
            table.add_row(f"  {name}", f"{count} rounds", f"{100 * count / rounds:.0f} %")
        parts += [Text("Decisions", "bold"), table]
    if told.break_even is not None:
        parts.append(Text(f"The draft pays from {100 * told.break_even:.0f} % accepted"))
    return Group(Text(), *parts)


def estimate(told: Explanation) -> str | None:
    """The estimated speed-up and what it rests on, in one line."""
    if told.speedup is None:
        return None
    rounds = told.plain_rounds
    basis = f"from {counted(rounds, 'round')}" if rounds else "measured before"
    baseline = f"baseline {told.target_ms[1]:.1f} ms/token, {basis}"
    return f"speed-up ≈ {told.speedup:.2f}× ({baseline})"


def _curve(title: str, points: dict[int, float]) -> RenderableType:
    text = Text(title + "\n", "bold")
    text.append("  " + "  ".join(f"{size}: {ms:.1f}" for size, ms in points.items()), "not bold")
    return text
