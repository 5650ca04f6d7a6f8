"""Tries inputs that nobody has tried yet, one way in after the other.

    python -m tests.hostile [--minutes 30] [--seed N] [ENTRY ...]

Each entry runs in a process of its own, so that a crash of native code is a finding as well. The
seed of a finding is printed; `--only SEED ENTRY` runs it alone. What was found belongs into the
`seeds` of its entry.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.hostile import headers, hub, lines, profiles, schemas, templates
from tests.hostile.entry import Entry

ENTRIES = {
    module.ENTRY.name: module.ENTRY
    for module in (headers, templates, profiles, lines, schemas, hub)
}
SLICE = 60
"""Seconds of one entry before the next one has its turn."""


class EndlessError(BaseException):
    """A case that does not end; no `except Exception` takes it for something else."""


def attempt(entry: Entry, given: object, folder: Path) -> str:
    """Check one input in an empty folder, within the entry's time."""

    def late(_number: int, _frame: object) -> None:
        raise EndlessError(f"not over after {entry.seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(entry.seconds)
    work = Path(tempfile.mkdtemp(dir=folder))
    try:
        return entry.check(given, work)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        shutil.rmtree(work, ignore_errors=True)


def run(entry: Entry, seed: int, seconds: float, note: Path) -> int:
    """Made inputs from `seed` on until the time is over; the number of findings."""
    results: Counter[str] = Counter()
    began, findings = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() - began < seconds:
            note.write_text(str(seed))
            try:
                results[attempt(entry, entry.make(random.Random(seed)), Path(folder))] += 1
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt | SystemExit):
                    raise
                findings += 1
                print(f"FOUND in {entry.name}, seed {seed}:")  # noqa: T201
                traceback.print_exc(file=sys.stdout)
            seed += 1
    print(f"{entry.name}: {sum(results.values())} cases, {dict(results)}", flush=True)  # noqa: T201
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    parser.add_argument("--only", type=int, metavar="SEED", help="run one input in this process")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("entries", nargs="*", choices=[[], *ENTRIES])
    given = parser.parse_args()
    wanted = given.entries or list(ENTRIES)
    if given.only is not None:
        entry = ENTRIES[wanted[0]]
        with tempfile.TemporaryDirectory() as folder:
            print(attempt(entry, entry.make(random.Random(given.only)), Path(folder)))  # noqa: T201
        return 0
    if given.child is not None:
        return run(ENTRIES[wanted[0]], given.seed, 60 * given.minutes, given.child)
    return _supervised(wanted, given.seed, 60 * given.minutes)


def _supervised(wanted: list[str], seed: int, seconds: float) -> int:
    """Give the entries their turns, each in a process; the number of findings."""
    began, findings = time.monotonic(), 0
    share = min(SLICE, seconds / len(wanted))
    print(f"from seed {seed} on", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "seed"
        while time.monotonic() - began < seconds - share / 2:
            for name in wanted:
                command = [sys.executable, "-m", "tests.hostile", "--child", str(note)]
                command += ["--minutes", str(share / 60), "--seed", str(seed), name]
                code = subprocess.run(command, check=False).returncode
                if code < 0:
                    at = signal.Signals(-code).name
                    print(f"FOUND in {name}, seed {note.read_text()}: {at}", flush=True)  # noqa: T201
                findings += code if code > 0 else int(code < 0)
            seed += 1_000_000
    print(f"{findings} findings in {(time.monotonic() - began) / 60:.0f} minutes")  # noqa: T201
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
