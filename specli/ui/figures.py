"""Figures in one format for every view."""

from __future__ import annotations

UNKNOWN = "–"


def percent(rate: float | None, digits: int = 0) -> str:
    """A rate between 0 and 1 as a percentage."""
    return UNKNOWN if rate is None else f"{100 * rate:.{digits}f}%"


def number(value: float | None, digits: int) -> str:
    """A figure with a fixed number of decimals."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def count(number: int, noun: str) -> str:
    """A number and its noun, in the plural unless it is one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
