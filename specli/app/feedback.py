"""Notes and progress of a command, without a terminal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from specli.hub.progress import ProgressSink, ignore


@dataclass(frozen=True, slots=True)
class Feedback:
    """`note` takes one sentence; `progress` opens a view of downloads and of models made."""

    note: Callable[[str], None] = lambda _text: None
    progress: Callable[[], AbstractContextManager[ProgressSink]] = lambda: nullcontext(ignore)


SILENT = Feedback()
