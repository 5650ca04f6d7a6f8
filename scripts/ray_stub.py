"""What Ray itself takes: `specli batch --ray` with engines that only wait.

    python scripts/ray_stub.py [--actors 2] [--rates 30,100,300,1000] [--rows 1,4,16] [--seconds 6]

Two engines stand in for models: each answers its share of a rate, in prompts per second, by
sleeping, and gives back a record of the usual size. All else is what `specli batch --ray` does:
prompts are read, sent, received, and every record is synced to disk. Printed is the rate that was
reached for tasks of so many prompts, and the processor time of the command itself for each prompt.
Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ray_check import HEAD, free_port, node, require_token, wait_for, write_prompts

from specli.app.batch import Task
from specli.batch.ids import Ids
from specli.batch.input import Reading, Source
from specli.batch.output import Journal
from specli.batch.requests import Defaults
from specli.batch.run import Work
from specli.batch.totals import Failure, Totals
from specli.cluster import batch as cluster
from specli.cluster.engine import PROMPT
from specli.cluster.pool import Pool, pool_for
from specli.options import Options
from specli.sampling.params import SamplingParams

SETTINGS: dict[str, object] = {"model": "stub", "temp": 0.0}
RECORD = {
    "text": "word " * 60,
    "finish_reason": "length",
    "prompt_tokens": 20,
    "completion_tokens": 60,
    "timings": {"draft_n": 40, "draft_n_accepted": 30},
    "speculation": {"rounds": 30},
    "settings": SETTINGS,
    "hash": "0" * 32,
}


class Stub:
    """Answers `rate` prompts per second, in place of an engine."""

    rate = 1.0

    def __init__(self, **_arguments: Any) -> None:
        self._lock = threading.Lock()

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        ids = [json.loads(prompt)["id"] for prompt in batch[PROMPT]]
        with self._lock:
            time.sleep(len(ids) / self.rate)
        about = json.dumps({"node": "stub", "address": "", "pid": 0})
        return {
            "id": ids,
            "record": [json.dumps({"id": one, **RECORD}).encode() + b"\n" for one in ids],
            "failure": [None] * len(ids),
            "location": ids,
            "ticket": list(batch["ticket"]),
            "engine": [about] * len(ids),
        }


class Watch:
    """The attendant and the watcher of a run: when its answers came."""

    stopped_by = None

    def __init__(self) -> None:
        self.times: list[float] = []

    def stopped(self) -> bool:
        return False

    def failed(self, failure: Failure) -> None:
        raise AssertionError(failure)

    def changed(self, _totals: Totals) -> None:
        self.times.append(time.perf_counter())

    @contextmanager
    def answering(self, _totals: Totals, _slots: int) -> Iterator[Watch]:
        yield self


def sized(rows: int, *arguments: Any, **more: Any) -> Pool:
    """The pool with tasks of so many prompts."""
    return replace(pool_for(*arguments, **more), rows=rows)


def reached(
    folder: Path, address: str, actors: int, rate: float, rows: int, seconds: float
) -> tuple[float, float]:
    """Prompts per second from a tenth of the answers on, and milliseconds of this process each."""
    prompts = max(40, int(rate * seconds))
    write_prompts(folder / "in.jsonl", prompts)
    stub = type("Stub", (Stub,), {"rate": rate / actors})
    # The engine and the size of tasks are all that is not as in a batch.
    for name, value in {"_Worker": stub, "pool_for": partial(sized, rows)}.items():
        setattr(cluster, name, value)
    watch, known, path = Watch(), Ids(), folder / "in.jsonl"
    with (
        path.open("rb", buffering=0) as file,
        Journal(folder / "out.jsonl", known, restart=True) as output,
    ):
        work = Work(
            source=Source(path, file, Reading()),
            defaults=Defaults(SamplingParams()),
            settings=SETTINGS,
            output=output,
            known=known,
            in_order=False,
        )
        spent = time.process_time()
        task, options = Task("in.jsonl", parallel=1), Options(threads=1)
        where = cluster.Cluster(address, (actors, actors))
        cluster.answer_on(where, work, options, task, Totals(), watch)
        spent = time.process_time() - spent
    warm = prompts // 10
    speed = (prompts - warm - 1) / (watch.times[-1] - watch.times[warm])
    return speed, 1000 * spent / prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--rates", default="30,100,300,1000")
    parser.add_argument("--rows", default="1,4,16")
    parser.add_argument("--seconds", type=float, default=6)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ray-stub-"))
    address = f"{HEAD}:{free_port()}"
    require_token()
    head = ("--head", "--port", address.partition(":")[2], "--include-dashboard", "false")
    found = []
    with node(folder, HEAD, *head, cpus=given.actors):
        wait_for(address)
        for rate in map(float, given.rates.split(",")):
            for rows in map(int, given.rows.split(",")):
                speed, ms = reached(folder, address, given.actors, rate, rows, given.seconds)
                found.append({"rate": rate, "rows": rows, "reached": round(speed, 1)})
                share = f"{100 * speed / rate:.0f} %"
                print(f"{rate:6.0f}/s, {rows:2} a task: {speed:7.1f}/s ({share}), {ms:.2f} ms")
    print(json.dumps({"check": "stub", "actors": given.actors, "found": found}))


if __name__ == "__main__":
    main()
