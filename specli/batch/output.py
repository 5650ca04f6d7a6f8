"""Where records go: a file that a later run can go on from, or a pipe."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from filelock import FileLock, Timeout

from specli.batch.ids import Ids
from specli.errors import SpecliError, UsageError

HELD_SUFFIX = ".held"
"""Behind the output's name: records that wait for their turn, kept until it has come."""

LOCK_SUFFIX = ".lock"

MOST_HELD = 1 << 24
"""Bytes of waiting records after which those that have had their turn are dropped."""

_SHOWN = 60
"""Characters of a setting that a message quotes."""

_BEGIN = b'{"id": '
"""What every record begins with."""

Settings = Mapping[str, object]


class Output(Protocol):
    """Takes records, each a line of JSON with its newline."""

    def held(self, id_: str) -> bytes | None:
        """The record that an earlier run has held back under this id."""

    def hold(self, id_: str, record: bytes) -> None:
        """Keep a record that must wait for its turn."""

    def write(self, id_: str, record: bytes) -> None:
        """Hand a record on; when this returns it is out of this process's hands."""


class Stream:
    """A pipe or a terminal: nothing can be gone on from."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def held(self, id_: str) -> bytes | None:  # noqa: ARG002
        return None

    def hold(self, id_: str, record: bytes) -> None:
        pass

    def write(self, id_: str, record: bytes) -> None:  # noqa: ARG002
        self._file.write(record)
        self._file.flush()


class Journal:
    """A file of records, each on disk before the next one is begun. Use it as a context manager.

    A line that a killed run has torn is cut off, or completed where only its end is missing.
    Records that must wait for their turn lie in a second file until then, so that a kill
    loses nothing that has been computed.
    """

    def __init__(self, path: Path, known: Ids, *, restart: bool = False) -> None:
        """Lock and read the file, or make it; `restart` empties it.

        Each record's id goes into `known`, with the `short_hash` of its request. Raises
        UsageError for a file that holds something else than records, and SpecliError where it
        cannot be written or another process writes it.
        """
        self.path = path
        self.settings: Settings | None = None
        """The settings that the records found were made with; None where there are none."""
        self.records = 0
        """How many records earlier runs have written."""
        self._known = known
        self._held: dict[str, bytes] = {}
        self._held_path = path.with_name(path.name + HELD_SUFFIX)
        self._lock_path = path.with_name(path.name + LOCK_SUFFIX)
        if not path.absolute().parent.is_dir():
            raise UsageError(f"there is no folder {path.parent}", hint="make it first")
        with ExitStack() as stack:
            try:
                self._lock(stack)
                self._file = _opened(stack, path)
                self._held_file = _opened(stack, self._held_path)
                self._read(restart=restart)
                _sync_folder(path.parent)
            except OSError as error:
                raise _cannot_write(path, error) from None
            self._stack = stack.pop_all()

    def _lock(self, stack: ExitStack) -> None:
        lock = FileLock(self._lock_path, timeout=0)
        try:
            stack.enter_context(lock)
        except Timeout:
            raise SpecliError(
                f"another specli batch is writing {self.path}",
                hint="wait for it, or name another output with -o",
            ) from None

    def held(self, id_: str) -> bytes | None:
        return self._held.get(id_)

    def hold(self, id_: str, record: bytes) -> None:
        if id_ not in self._held:
            self._held[id_] = record
            self._append(self._held_file, record)
            if os.fstat(self._held_file).st_size > MOST_HELD:
                self._drop_released()

    def write(self, id_: str, record: bytes) -> None:
        self._append(self._file, record)
        if self._held.pop(id_, None) is not None and not self._held:
            os.ftruncate(self._held_file, 0)

    def _append(self, descriptor: int, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        except OSError as error:
            raise _cannot_write(self.path, error) from None

    def _drop_released(self) -> None:
        """Write anew what still waits: a record that never gets its turn must not keep the rest.

        The new file has its name before the old one is gone, so that a kill loses nothing."""
        with ExitStack() as stack:
            partial = self._held_path.with_name(self._held_path.name + ".part")
            fresh = _opened(stack, partial)
            os.ftruncate(fresh, 0)
            self._append(fresh, b"".join(self._held.values()))
            partial.replace(self._held_path)
            _sync_folder(self.path.parent)
            os.dup2(fresh, self._held_file)

    def _read(self, *, restart: bool) -> None:
        for number, line in self._lines(self._file, self.path):
            if restart:
                # The first line has shown that what goes is a file of records.
                break
            id_, hash_, settings = _record(line, f"{self.path}:{number}")
            if self._known.get(id_) is not None:
                raise UsageError(
                    f"{self.path}:{number}: a second record of the id {id_!r}",
                    hint="remove one of the two, or name another output with -o",
                )
            self._known.put(id_, hash_)
            self._learn(settings)
            self.records += 1
        for number, line in self._lines(self._held_file, self._held_path):
            id_, _hash, settings = _record(line, f"{self._held_path}:{number}")
            # A kill may have come between a record's turn and its end here.
            if not restart and self._known.get(id_) is None:
                self._held[id_] = line
                self._learn(settings)
        if restart:
            os.ftruncate(self._file, 0)
        if not self._held:
            os.ftruncate(self._held_file, 0)

    def _lines(self, descriptor: int, path: Path) -> Iterator[tuple[int, bytes]]:
        """Numbered lines; a torn last one is cut off, or given the newline that alone it lacks.

        Raises UsageError where the first line shows that the file holds something else."""
        with open(os.dup(descriptor), "rb") as file:  # noqa: PTH123 - a descriptor
            file.seek(0)
            end = 0
            for number, line in enumerate(file, 1):
                end += len(line)
                if number == 1 and not line.startswith(_BEGIN[: len(line)]):
                    _record(line, f"{path}:1")
                if line.endswith(b"\n"):
                    yield number, line
                elif _is_record(line):
                    self._append(descriptor, b"\n")
                    yield number, line + b"\n"
                else:
                    os.ftruncate(descriptor, end - len(line))
                    os.fsync(descriptor)

    def _learn(self, settings: Settings) -> None:
        if self.settings is None:
            self.settings = settings
        elif settings != self.settings:
            raise UsageError(
                f"{self.path} holds records of different settings: "
                f"{_differences(self.settings, settings)}",
                hint="--restart answers all anew; or name another output with -o",
            )

    def require_settings(self, settings: Settings) -> None:
        """Raises UsageError, naming what has changed, unless the records were made with these."""
        if self.settings is not None and self.settings != settings:
            raise UsageError(
                f"{self.path} was created with different settings "
                f"({_differences(self.settings, settings)})",
                hint="--restart answers all anew; or name another output with -o",
            )

    def close(self) -> None:
        """Free the lock; the files beside the output go, but for records that wait."""
        if not self._held:
            self._held_path.unlink(missing_ok=True)
        with suppress(OSError):
            # Still held: who waits for it notices that the file has no name any more.
            self._lock_path.unlink()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class InOrder:
    """Hands records on in the order in which their tickets were drawn.

    With `in_order` False they are handed on as they come.
    """

    def __init__(self, output: Output, *, in_order: bool) -> None:
        self._output = output
        self._in_order = in_order
        self._drawn = 0
        self._turn = 0
        self._waiting: dict[int, tuple[str, bytes] | None] = {}

    @property
    def ahead(self) -> int:
        """Tickets drawn since the one whose turn it is."""
        return self._drawn - self._turn if self._in_order else 0

    def draw(self) -> int:
        self._drawn += 1
        return self._drawn - 1

    def put(self, ticket: int, id_: str, record: bytes | None) -> None:
        """The record of a ticket, None where there will be none."""
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


def record_line(id_: str, report: Mapping[str, object], settings: Settings, hash_: str) -> bytes:
    """The line of one answer."""
    record = {"id": id_, **report, "settings": settings, "hash": hash_}
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def short_hash(hash_: str) -> int:
    """As much of a request's hash as the table of ids keeps: 64 bits, the lowest one zero."""
    return int(hash_[:16], 16) & ~1


def _record(line: bytes, place: str) -> tuple[str, int, Settings]:
    """(id, hash, settings) of a record. Raises UsageError for anything else."""
    try:
        record = json.loads(line)
        id_, settings = record["id"], record["settings"]
        if isinstance(id_, str) and isinstance(settings, dict):
            return id_, short_hash(record["hash"]), settings
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise UsageError(
        f"{place} is not a record of specli batch", hint="name another output with -o"
    ) from None


def _is_record(line: bytes) -> bool:
    try:
        _record(line, "")
    except UsageError:
        return False
    return True


def _opened(stack: ExitStack, path: Path) -> int:
    """A descriptor to read from and append to, closed with `stack`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    stack.callback(os.close, descriptor)
    return descriptor


def _sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power loss, where the system has a way to."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _differences(old: Settings, new: Settings) -> str:
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return "; ".join(
        f"{name}: {_shown(old.get(name))}, now {_shown(new.get(name))}" for name in names
    )


def _shown(value: object) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _cannot_write(path: Path, error: OSError) -> SpecliError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return SpecliError(
        f"cannot write {path}: {error.strerror}",
        hint="free some space, and run the same command again to go on"
        if full
        else f"check the path, seen from {Path.cwd()}, or name another one with -o",
    )
