"""Counts how often the legend was shown: by itself it appears for a newcomer only."""

from __future__ import annotations

from contextlib import suppress

from specli.hub.cache import cache_dir

SHOWN_BY_ITSELF = 3


def legend_due() -> bool:
    """Whether the legend should appear by itself, which is then counted.

    A cache that cannot be written is no reason to repeat it for ever, nor one for a note.
    """
    path = cache_dir() / "legend"
    shown = 0
    with suppress(OSError, ValueError):
        shown = int(path.read_text())
    if shown >= SHOWN_BY_ITSELF:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{shown + 1}\n")
    except OSError:
        return False
    return True
