"""Figures in one form for every view, message and report."""

from __future__ import annotations

UNKNOWN = "–"


def percent(rate: float | None, digits: int = 0) -> str:
    """A rate between 0 and 1 as a percentage."""
    return UNKNOWN if rate is None else f"{100 * rate:.{digits}f}%"


def number(value: float | None, digits: int = 1) -> str:
    """A figure with a fixed count of decimals."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def rounded(value: float | None, digits: int) -> float | None:
    """A figure of a JSON object."""
    return None if value is None else round(value, digits)


def counted(count: int, thing: str) -> str:
    """`1 model`, `2 models`, `2 passes`."""
    return f"{count} {thing}{'' if count == 1 else 'es' if thing.endswith('s') else 's'}"


def duration(seconds: float | None) -> str:
    """A time in its two largest units."""
    if seconds is None:
        return UNKNOWN
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def short_count(count: float) -> str:
    """A number of parameters: 135M, 7.6B."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


def short_bytes(size: float) -> str:
    """An amount of memory in binary units: 92 MiB, 4.5 GiB."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}" if size < 100 else f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
