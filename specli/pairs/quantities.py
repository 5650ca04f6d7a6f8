"""Numbers in short, readable form."""

from __future__ import annotations


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
