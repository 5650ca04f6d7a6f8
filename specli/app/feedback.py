"""What a command says while it works, to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from specli.hub.progress import ProgressSink, ignore


def _no_note(_text: str) -> None:
    """Notes of callers that show none."""


@contextmanager
def _no_progress() -> Iterator[ProgressSink]:
    yield ignore


@dataclass(frozen=True, slots=True)
class Feedback:
    """`note` takes one sentence; `progress` opens a view of downloads and of models made."""

    note: Callable[[str], None] = _no_note
    progress: Callable[[], AbstractContextManager[ProgressSink]] = _no_progress


SILENT = Feedback()
