"""Progress of a long step, reported to a sink that shows it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Action = Literal["fetch", "verify", "make", "check", "load", "map", "measure", "start"]

WATCH_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` bytes of the file `name` are done; `total` is None while it is unknown.

    Of `measure` the units are batch sizes instead.
    """

    action: Action
    name: str
    done: int
    total: int | None


ProgressSink = Callable[[Progress], None]
"""Called from any thread."""


def ignore(_progress: Progress) -> None:
    """The sink of callers that show nothing."""


@contextmanager
def watching(
    path: Path, action: Action, name: str, total: int | None, report: ProgressSink
) -> Iterator[None]:
    """While the block runs, report how `path` grows: a file, or the largest one in a folder.

    For steps that write a file without reporting progress: pip, llama.cpp's quantiser.
    """
    over = threading.Event()

    def watch() -> None:
        done = 0
        while not over.wait(WATCH_SECONDS):
            done = max(done, _largest_file(path) if path.is_dir() else file_size(path))
            report(Progress(action, name, done, total))

    report(Progress(action, name, 0, total))
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def file_size(path: Path) -> int:
    """Bytes of a file that may not be there yet."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _largest_file(folder: Path) -> int:
    """Files and folders come and go meanwhile, which `Path.rglob` does not allow."""
    paths = (Path(root, name) for root, _folders, names in os.walk(folder) for name in names)
    return max(map(file_size, paths), default=0)
