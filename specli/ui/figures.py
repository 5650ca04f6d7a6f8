"""Figures in one format for every view."""

from __future__ import annotations

UNKNOWN = "–"


def percent(rate: float | None, digits: int = 0) -> str:
    """A rate between 0 and 1 as a percentage."""
    return UNKNOWN if rate is None else f"{100 * rate:.{digits}f}%"


def number(value: float | None, digits: int) -> str:
    """A figure with a fixed count of decimals."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def counted(count: int, thing: str) -> str:
    """`1 model`, `2 models`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
