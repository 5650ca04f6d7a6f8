"""Files are written whole or not at all, and read within bounds."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL_SUFFIX = ".part"


@contextmanager
def replacing(path: Path, *, locked: bool = False) -> Iterator[Path]:
    """A temporary file next to `path`: synced and renamed to it when the block succeeds, else
    removed. A symbolic link is followed.

    A caller that holds the lock of `path` says so: then the temporary name is fixed, and what a
    killed process left is overwritten. Raises OSError.
    """
    real = Path(os.path.realpath(path))
    own = "" if locked else f".{secrets.token_hex(4)}"
    partial = real.with_name(f"{real.name}{own}{PARTIAL_SUFFIX}")
    try:
        partial.unlink(missing_ok=True)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(real)
    finally:
        partial.unlink(missing_ok=True)


def read_within(path: Path, most: int) -> bytes:
    """The content of a file or a pipe of at most `most` bytes. Raises OSError, also for a longer
    one: a device such as /dev/zero has no end."""
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it holds more than {most >> 10} KiB", str(path))
    return data
