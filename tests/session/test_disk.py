"""A disk that fails at any moment costs notes, never the answer: faults at each file operation."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from specli.engine.policy.acceptance import Acceptance
from specli.engine.policy.cost import CostModel, Curve
from specli.engine.sequence import GenerationRequest
from specli.events import Round
from specli.session import Session, Setup
from specli.session.costs import costs_record
from specli.session.records import save

CHANGES = ("os.mkdir", "os.rename", "os.remove")
KNOWN = CostModel(Curve([1, 2, 4], [9.0, 9.5, 10.0]), {"draft": Curve([1, 2], [1.0, 1.1])})

Fault = Callable[[Path], None]


class Disk:
    """Sees what this process changes below a folder, and fails as it is told.

    Python cannot take an audit hook away again, so there is one for all tests.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.changes = 0
        self.faulty: Callable[[int], bool] = lambda _number: False
        self.fault: Fault = lambda _folder: None
        sys.addaudithook(self._seen)

    def _seen(self, event: str, given: tuple[object, ...]) -> None:
        folder = self.folder
        if folder is None or (event != "open" and event not in CHANGES):
            return
        path, flags = given[0], given[2] if event == "open" else os.O_WRONLY
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not writes or not isinstance(path, str | bytes | os.PathLike):
            return
        if Path(os.fsdecode(path)).is_relative_to(folder):
            self.changes += 1
            if self.faulty(self.changes - 1):
                # What the fault does to the disk is not seen.
                self.folder = None
                try:
                    self.fault(folder)
                finally:
                    self.folder = folder


_disks: list[Disk] = []


@pytest.fixture
def disk(
    tmp_path: Path, records: Path, adaptive: Setup, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Disk]:
    """A disk with what is known of the models, as a second run finds it."""
    folder = tmp_path / "disk"
    monkeypatch.setenv("SPECLI_CACHE", str(folder))
    records.mkdir(exist_ok=True)
    shutil.copytree(records, folder / "probes")
    save(costs_record(adaptive, folder / "probes"), KNOWN, Acceptance())
    answered(adaptive, folder)
    if not _disks:
        _disks.append(Disk())
    disk = _disks[0]
    disk.folder, disk.changes = folder, 0
    yield disk
    disk.folder = None


def answered(setup: Setup, folder: Path) -> tuple[list[int], list[str]]:
    """The tokens of an answer, and the notes that a person reads with it."""
    notes: list[str] = []
    with Session(setup, folder / "probes", notes.append) as session:
        engine = session.engine()
        engine.submit(GenerationRequest([5, 6, 7, 20, 21], 12, ignore_end=True))
        tokens = [t for event in engine.run() if isinstance(event, Round) for t in event.tokens]
    return tokens, notes


def raising(number: int) -> Fault:
    def fault(_folder: Path) -> None:
        raise OSError(number, os.strerror(number))

    return fault


FAULTS: dict[str, Fault] = {
    "full": raising(errno.ENOSPC),
    "read-only": raising(errno.EROFS),
    "broken": raising(errno.EIO),
    "vanishing": lambda folder: shutil.rmtree(folder, ignore_errors=True),
    "slow": lambda _folder: time.sleep(0.05),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_disk_that_fails_costs_notes_and_no_token(
    name: str, disk: Disk, adaptive: Setup, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    expected, notes = answered(adaptive, folder)
    assert notes == []
    operations = disk.changes
    assert operations >= 4
    disk.fault = FAULTS[name]
    whole = shutil.copytree(folder, tmp_path / "whole")
    for start, end in [*((at, at + 1) for at in range(operations)), (0, 1000)]:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        disk.changes, disk.faulty = 0, lambda at, s=start, e=end: s <= at < e  # type: ignore[misc]
        tokens, notes = answered(adaptive, folder)
        assert tokens == expected
        assert len(notes) <= 1, notes
        disk.faulty = lambda _number: False
        leftovers = [one.name for one in folder.rglob("*.part")] if folder.exists() else []
        assert leftovers == [], f"after a fault at operation {start}"
