"""Where specli keeps its files; each is written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from specli.errors import FetchError
from specli.files import replacing

SHA256 = re.compile(r"[0-9a-f]{64}")


def cache_dir() -> Path:
    """The folder of everything specli keeps; the variable SPECLI_CACHE names another one."""
    override = os.environ.get("SPECLI_CACHE")
    if override:
        return Path(override).expanduser().absolute()
    return user_cache_path("specli", appauthor=False)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, waiting for other processes that hold it; makes its folder.

    Raises FetchError when the folder or the lock cannot be written.
    """
    locks = cache_dir() / "locks"
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
    with explained_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{name}.lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(path: Path, variable: str = "SPECLI_CACHE") -> Iterator[Path]:
    """A temporary file next to `path`: renamed to it when the block succeeds, else removed.

    The caller holds the lock of `path`, so a file that a killed process left is overwritten.
    Raises FetchError for any OSError in the block.
    """
    with explained_write(path, variable), replacing(path, locked=True) as partial:
        yield partial


@contextmanager
def explained_write(path: Path, variable: str = "SPECLI_CACHE") -> Iterator[None]:
    """Turn an OSError in the block into a FetchError that names the variable that moves `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FetchError(
                f"the disk is full: {path} could not be written",
                hint=f"free some space, or set {variable} to a folder on another disk",
            ) from error
        raise FetchError(
            f"{path} could not be written: {error.strerror or error}",
            hint=f"check the folder's permissions, or set {variable} to another folder",
        ) from error


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, cached by its path, size and time of last change."""
    resolved = path.resolve()
    status = resolved.stat()
    key = [str(resolved), status.st_size, status.st_mtime_ns]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    record = cache_dir() / "hashes" / name
    try:
        if SHA256.fullmatch(known := record.read_text(encoding="ascii")):
            return known
    except (OSError, ValueError):
        # Missing or damaged: it is calculated again.
        pass
    with resolved.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # A cache that cannot be written costs time, not the run.
    with suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        with replacing(record) as partial:
            partial.write_text(digest)
    return digest
