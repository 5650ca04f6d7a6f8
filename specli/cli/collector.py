"""Keeps Python's garbage collector out of measured rounds."""

from __future__ import annotations

import gc


def freeze_loaded() -> None:
    """Leave out of every later collection what is loaded by now: it lives to the end, and looking
    at it takes longer than a round. For a process that is specli's own."""
    gc.collect()
    gc.freeze()
