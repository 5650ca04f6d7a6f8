"""Where records go: a file that a later run can resume, or a pipe."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Protocol

from filelock import FileLock, Timeout

from specli.batch.ids import Ids
from specli.batch.records import Settings, changes, is_whole, may_be_record, required_record
from specli.closing import Closing
from specli.errors import SpecliError, UsageError
from specli.files import PARTIAL_SUFFIX

if sys.platform != "win32":
    import fcntl

HELD_SUFFIX = ".held"
"""Suffix of the file with records that wait for an earlier prompt."""

LOCK_SUFFIX = ".lock"

MOST_HELD = 1 << 24
"""Size in bytes at which the file of waiting records is rewritten without those written since."""


class Output(Protocol):
    """Takes records, each a line of JSON with its newline."""

    def held(self, id_: str) -> bytes | None:
        """The waiting record that an earlier run left under this id."""

    def hold(self, id_: str, record: bytes) -> None:
        """Keep a record that must wait for its turn."""

    def write(self, id_: str, record: bytes) -> None:
        """Write a record; when this returns it has left this process."""


class Stream:
    """A pipe or a terminal, which cannot be resumed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def held(self, id_: str) -> bytes | None:  # noqa: ARG002
        return None

    def hold(self, id_: str, record: bytes) -> None:
        pass

    def write(self, id_: str, record: bytes) -> None:  # noqa: ARG002
        self._file.write(record)
        self._file.flush()


class Journal(Closing):
    """A file of records, each synced to disk before the next is written. A context manager.

    An incomplete last line, left by a killed run, is removed, or completed if only its newline is
    missing. Records that wait for an earlier prompt are kept in a second file, so that a kill
    loses no computed answer. Records of answers that timed out count as missing: the prompt is
    answered again, and the first write removes them.
    """

    def __init__(self, path: Path, known: Ids, *, restart: bool = False) -> None:
        """Lock and read the file, or create it; `restart` empties it.

        Adds each record's id to `known` with the `short_hash` of its request. Raises UsageError
        for a file with anything else than records, and SpecliError if it cannot be written or
        another process writes it.
        """
        self.path = path
        self.settings: Settings | None = None
        """The settings of the records found; None if there are none."""
        self.records = 0
        """Number of records of earlier runs."""
        self._known = known
        self._held: dict[str, bytes] = {}
        self._timed_out: set[str] = set()
        # Whatever names lead to the file, its helpers are beside it.
        self._real = Path(os.path.realpath(path))
        self._held_path = self._real.with_name(self._real.name + HELD_SUFFIX)
        self._lock_path = self._real.with_name(self._real.name + LOCK_SUFFIX)
        if not self._real.parent.is_dir():
            raise UsageError(f"no such folder: {self._real.parent}", hint="create it first")
        with ExitStack() as stack:
            try:
                stack.enter_context(FileLock(self._lock_path, timeout=0))
                stack.callback(self._remove_helpers)
                self._file = _opened(stack, self._real)
                _lock(self._file)
                self._held_file = _opened(stack, self._held_path)
                self._read(restart=restart)
                _sync_folder(self._real.parent)
            except (Timeout, BlockingIOError):
                raise SpecliError(
                    f"another specli batch is writing {path}",
                    hint="wait for it, or choose another output with -o",
                ) from None
            except OSError as error:
                raise _cannot_write(path, error) from None
            self._stack = stack.pop_all()

    def held(self, id_: str) -> bytes | None:
        return self._held.get(id_)

    def hold(self, id_: str, record: bytes) -> None:
        if id_ not in self._held:
            self._held[id_] = record
            self._append(self._held_file, record)
            if os.fstat(self._held_file).st_size > MOST_HELD:
                # A record that never gets its turn must not keep all others.
                _rewrite(self._held_path, self._held_file, self._held.values())

    def write(self, id_: str, record: bytes) -> None:
        if self._timed_out:
            lines = self._lines(self._file, self.path)
            kept = (
                line for _n, line in lines if required_record(line, "").id not in self._timed_out
            )
            _rewrite(self._real, self._file, kept)
            self._timed_out.clear()
        self._append(self._file, record)
        if self._held.pop(id_, None) is not None and not self._held:
            os.ftruncate(self._held_file, 0)

    def _append(self, descriptor: int, data: bytes) -> None:
        try:
            if not os.fstat(descriptor).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "it was deleted meanwhile")
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        except OSError as error:
            raise _cannot_write(self.path, error) from None

    def _read(self, *, restart: bool) -> None:
        for number, line in self._lines(self._file, self.path):
            record = required_record(line, f"{self.path}:{number}")
            if restart:
                # The first line has shown that this is a file of records.
                break
            if self._known.get(record.id) is not None or record.id in self._timed_out:
                raise UsageError(
                    f"{self.path}:{number}: a second record of the id {record.id!r}",
                    hint="remove one of them, or choose another output with -o",
                )
            self._learn(record.settings)
            if record.timed_out:
                self._timed_out.add(record.id)
                continue
            self._known.put(record.id, record.hash)
            self.records += 1
        for number, line in self._lines(self._held_file, self._held_path):
            record = required_record(line, f"{self._held_path}:{number}")
            # A kill may have come after a record was written and before it was removed here.
            if restart or record.timed_out or self._known.get(record.id) is not None:
                continue
            self._held[record.id] = line
            self._learn(record.settings)
        if restart:
            os.ftruncate(self._file, 0)
        if not self._held:
            os.ftruncate(self._held_file, 0)

    def _lines(self, descriptor: int, path: Path) -> Iterator[tuple[int, bytes]]:
        """Numbered lines; an incomplete last one is removed, or completed by its newline.

        Raises UsageError if the first line is not a record."""
        with open(os.dup(descriptor), "rb") as file:  # noqa: PTH123 - a descriptor
            file.seek(0)
            end = 0
            for number, line in enumerate(file, 1):
                end += len(line)
                if number == 1 and not may_be_record(line):
                    required_record(line, f"{path}:1")
                if line.endswith(b"\n"):
                    yield number, line
                elif is_whole(line):
                    required_record(line, f"{path}:{number}")
                    self._append(descriptor, b"\n")
                    yield number, line + b"\n"
                else:
                    os.ftruncate(descriptor, end - len(line))
                    os.fsync(descriptor)

    def _learn(self, settings: Settings) -> None:
        if self.settings is None:
            self.settings = settings
        self._require(settings, "has records of")

    def require_settings(self, settings: Settings) -> None:
        """Raises UsageError naming the changes if the records have other settings."""
        self._require(settings, "was created with")

    def _require(self, settings: Settings, how: str) -> None:
        if self.settings is not None and self.settings != settings:
            different = changes(self.settings, settings)
            raise UsageError(
                f"{self.path} {how} different settings ({different})",
                hint="--restart answers everything again; or choose another output with -o",
            )

    def close(self) -> None:
        """Release the lock and remove the helper files, except waiting records."""
        self._stack.close()

    def _remove_helpers(self) -> None:
        """Called while the lock is held: a waiting process notices that its file was removed."""
        with suppress(OSError):
            if not self._held_path.stat().st_size:
                self._held_path.unlink()
        with suppress(OSError):
            self._lock_path.unlink()


class InOrder:
    """Writes records in the order in which their tickets were drawn.

    With `in_order` False they are written as they come.
    """

    def __init__(self, output: Output, *, in_order: bool) -> None:
        self._output = output
        self._in_order = in_order
        self._drawn = 0
        self._turn = 0
        self._waiting: dict[int, tuple[str, bytes] | None] = {}

    @property
    def ahead(self) -> int:
        """Number of tickets drawn after the one to be written next."""
        return self._drawn - self._turn if self._in_order else 0

    def draw(self) -> int:
        self._drawn += 1
        return self._drawn - 1

    def put(self, ticket: int, id_: str, record: bytes | None) -> None:
        """Write or keep the record of a ticket; None if the prompt has none."""
        if not self._in_order:
            if record is not None:
                self._output.write(id_, record)
            return
        self._waiting[ticket] = None if record is None else (id_, record)
        if ticket != self._turn:
            if record is not None:
                self._output.hold(id_, record)
            return
        while self._turn in self._waiting:
            ready = self._waiting.pop(self._turn)
            self._turn += 1
            if ready is not None:
                self._output.write(*ready)


def _opened(stack: ExitStack, path: Path) -> int:
    """A descriptor for reading and appending, closed with `stack`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    stack.callback(os.close, descriptor)
    return descriptor


def _rewrite(path: Path, descriptor: int, records: Iterable[bytes]) -> None:
    """Replace an open file by one with these records, locked like it.

    The new file is complete before it replaces the old one, so a kill loses nothing.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with ExitStack() as stack:
            fresh = _opened(stack, partial)
            _lock(fresh)
            os.ftruncate(fresh, 0)
            with open(os.dup(fresh), "wb") as file:  # noqa: PTH123 - a descriptor
                file.writelines(records)
            os.fsync(fresh)
            partial.replace(path)
            _sync_folder(path.parent)
            os.dup2(fresh, descriptor)
    except OSError as error:
        raise _cannot_write(path, error) from None


def _lock(descriptor: int) -> None:
    """Lock a file itself, which may have several names. Raises BlockingIOError."""
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power loss, if the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> SpecliError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return SpecliError(
        f"cannot write {path}: {error.strerror}",
        hint="free some space and run the same command again"
        if full
        else f"paths are relative to {Path.cwd()}; choose another output with -o",
    )
