"""Files are written whole or not at all, and read within bounds."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from specli.errors import SpecliError, UsageError

PARTIAL_SUFFIX = ".part"

MOST_TEXT = 64 << 20
"""Bytes of a prompt, a prediction, a grammar or a schema; a million tokens are about 4 MiB."""


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


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """The text of a file of at most `most` bytes, with line ends as on Unix. Raises UsageError."""
    try:
        return read_within(path, most).decode("utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint=f"check the path, seen from {Path.cwd()}"
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text (byte {error.start})", hint="save it as UTF-8"
        ) from None


def write_text(path: Path, text: str, *, folders: bool = False) -> None:
    """Write a file, whole or not at all, and its `folders` where wanted. Raises SpecliError."""
    try:
        if folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise SpecliError(
            f"cannot write {path}: {error.strerror or error}",
            hint="check the folder and its permissions",
        ) from None
