"""Tries inputs that nobody has tried yet, one way in after the other.

    python -m tests.hostile [--minutes 30] [--seed N] [ENTRY ...]

Each entry runs in a process of its own, so that a crash of native code is a finding as well. The
seed of a finding is printed; `--only SEED ENTRY` runs it alone. What was found belongs into the
`seeds` of its entry.

Neither a busy machine nor a pause (SIGSTOP, SIGCONT) makes a finding: a case is over its time by
the processor time that it took, or by ten times as many seconds of waiting, and a pause counts as
one second.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.hostile import headers, hub, lines, profiles, schemas, templates
from tests.hostile.entry import Entry

ENTRIES = {
    module.ENTRY.name: module.ENTRY
    for module in (headers, templates, profiles, lines, schemas, hub)
}
SLICE = 60
"""Seconds of one entry before the next one has its turn."""
MOST_MEMORY = 8 << 30
"""Addresses of a process: what takes more is a finding, and must not take the machine with it."""
WAITING = 10
"""Times its seconds that a case may take where it computes nothing."""


class EndlessError(BaseException):
    """A case that does not end; no `except Exception` takes it for something else."""


def attempt(entry: Entry, given: object, folder: Path) -> str:
    """Check one input in an empty folder, within the entry's time."""
    began, ticks = time.process_time(), 0

    def tick(_number: int, _frame: object) -> None:
        nonlocal ticks
        ticks += 1
        used = time.process_time() - began
        if used >= entry.seconds or ticks >= WAITING * entry.seconds:
            raise EndlessError(f"not over after {used:.0f} s of computing and {ticks} s in all")

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    work = Path(tempfile.mkdtemp(dir=folder))
    try:
        return entry.check(given, work)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        shutil.rmtree(work, ignore_errors=True)


def run(entry: Entry, seed: int, seconds: float, note: Path) -> int:
    """Made inputs from `seed` on until the time is over; the number of findings.

    `note` holds the seed of the case that runs, and what came of all of them at the end.
    """
    results: Counter[str] = Counter()
    began, findings, longest = time.monotonic(), 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        while (start := time.monotonic()) - began < seconds:
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
            longest = max(longest, time.monotonic() - start)
    note.write_text(json.dumps(results))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(  # noqa: T201
        f"{entry.name}: {_counted(results)}; the longest took {longest:.1f} s; {memory} MiB",
        flush=True,
    )
    return min(findings, 100)


def _counted(results: Counter[str]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(results.items()))
    return f"{sum(results.values())} cases ({kinds})"


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
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        return run(ENTRIES[wanted[0]], given.seed, 60 * given.minutes, given.child)
    return _supervised(wanted, given.seed, 60 * given.minutes)


def _supervised(wanted: list[str], seed: int, seconds: float) -> int:
    """Give the entries their turns, each in a process; whether there were findings."""
    began, findings = time.monotonic(), 0
    share = min(SLICE, seconds / len(wanted))
    totals: dict[str, Counter[str]] = {name: Counter() for name in wanted}
    print(f"from seed {seed} on", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "seed"
        while time.monotonic() - began < seconds - share / 2:
            for name in wanted:
                command = [sys.executable, "-m", "tests.hostile", "--child", str(note)]
                command += ["--minutes", str(share / 60), "--seed", str(seed), name]
                code = _code_of(command, round(share) + 2 * WAITING * ENTRIES[name].seconds)
                if code < 0:
                    at = signal.Signals(-code).name
                    print(f"FOUND in {name}, seed {note.read_text()}: {at}", flush=True)  # noqa: T201
                    findings += 1
                    continue
                findings += code
                totals[name] += Counter(json.loads(note.read_text()))
            seed += 1_000_000
    for name, results in totals.items():
        print(f"all {name}: {_counted(results)}")  # noqa: T201
    print(f"{findings} findings in {(time.monotonic() - began) / 60:.0f} minutes")  # noqa: T201
    return int(findings > 0)


def _code_of(command: list[str], seconds: int) -> int:
    """What a command ends with; it is killed where native code never returns."""
    with subprocess.Popen(command) as child:
        for _second in range(seconds):
            with suppress(subprocess.TimeoutExpired):
                return child.wait(1)
        child.kill()
    return child.returncode


if __name__ == "__main__":
    sys.exit(main())
