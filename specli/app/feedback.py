"""Notes and progress of a command, without a terminal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from specli.hub.progress import ProgressSink, ignore


@dataclass(frozen=True, slots=True)
class Feedback:
    """`note` takes one sentence; `progress` opens a view of all that comes before the first token.

    `skips` says that somebody watches who may skip the measuring of costs with Ctrl-C.
    """

    note: Callable[[str], None] = lambda _text: None
    progress: Callable[[], AbstractContextManager[ProgressSink]] = lambda: nullcontext(ignore)
    skips: bool = False


SILENT = Feedback()
