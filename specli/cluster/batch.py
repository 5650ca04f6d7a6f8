"""`specli batch --ray`: reads prompts and writes records here, and answers them on a cluster."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

from specli.app.batch import Attendant, Task
from specli.batch.input import Entry
from specli.batch.output import InOrder
from specli.batch.prompt import Bad
from specli.batch.run import Work, admitted
from specli.batch.totals import Failure, Totals
from specli.cluster.engine import PROMPT, BatchEngine, sent
from specli.errors import BatchFailedError, SpecliError, UsageError
from specli.options import Options

AUTO_ADDRESS, LOCAL = "auto", "local"

ROWS_PER_SLOT = 4
"""Prompts of a task for each that is answered at once: what is lost, and answered again, when a
worker dies, against the wait for the last of a task."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a batch runs. `address` is Ray's, `auto` for the cluster that this machine belongs to,
    or `local` for one that is started and ended with the batch. `actors` are the least and the most
    engines, None one per node; each takes `cpus` and `gpus` of its node."""

    address: str = AUTO_ADDRESS
    actors: tuple[int, int] | None = None
    cpus: int | None = None
    gpus: float = 0.0


def answer_on(
    cluster: Cluster,
    work: Work,
    options: Options,
    task: Task,
    totals: Totals,
    attendant: Attendant,
) -> None:
    """Answer a batch's prompts on a cluster and write their records here, as they arrive.

    Prompts with a record of an earlier run are not sent. A worker that dies is replaced, and its
    prompts are answered by another. Raises UsageError without Ray or a cluster, and
    BatchFailedError after too many failures.
    """
    ray = _imported()
    with _connected(ray, cluster):
        nodes = [node for node in ray.nodes() if node["Alive"]]
        least, most = cluster.actors or (len(nodes), len(nodes))
        cores = min(int(node["Resources"].get("CPU", 1)) for node in nodes)
        cpus = cluster.cpus or max(1, cores * len(nodes) // most)
        slots = task.parallel if isinstance(task.parallel, int) else None
        with attendant.answering(totals, slots or most) as watcher:
            order = InOrder(work.output, in_order=work.in_order)

            def fail(failure: Failure) -> None:
                totals.fail(failure)
                watcher.failed(failure)
                failures = work.limits.max_failures
                if failures is not None and totals.failed >= failures:
                    raise BatchFailedError(
                        f"stopped after {totals.failed} failures (--max-failures)"
                    )

            rows = list(_rows(work, order, totals, fail))
            totals.expected = totals.seen + len(rows)
            if not rows:
                return
            per_task = ROWS_PER_SLOT * (slots or 1)
            data = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // per_task))
            answers = data.map_batches(
                _Worker,
                batch_size=None,
                compute=ray.data.ActorPoolStrategy(min_size=least, max_size=most),
                num_cpus=cpus,
                num_gpus=cluster.gpus,
                fn_constructor_kwargs={
                    "options": {**options.given(), "threads": options.number("threads") or cpus},
                    "parallel": slots,
                    "timeout": work.limits.timeout,
                    "settings": dict(work.settings),
                },
            )
            for row in answers.iter_rows():
                _see(row, order, totals, fail)
                watcher.changed(totals)
                if work.stopped():
                    break


class _Worker:
    """A BatchEngine that passes on the tickets of its rows."""

    def __init__(self, **arguments: Any) -> None:
        self._engine = BatchEngine(**arguments)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._engine({PROMPT: batch[PROMPT]}), "ticket": batch["ticket"]}


def _rows(work: Work, order: InOrder, totals: Totals, fail: Any) -> Iterator[dict[str, object]]:
    """A row for each prompt that has no record yet."""
    entries: Iterator[Entry] = work.source.entries()
    for entry in entries:
        if work.stopped():
            return
        if isinstance(entry, Bad):
            fail(Failure(entry.location, entry.reason))
            continue
        found = admitted(entry, work, order, totals)
        if isinstance(found, Failure):
            fail(found)
        elif found is not None:
            yield {PROMPT: sent(entry), "ticket": order.draw()}


def _see(row: Mapping[str, Any], order: InOrder, totals: Totals, fail: Any) -> None:
    """Write the record of a row, and count it."""
    record, failure = row["record"], row["failure"]
    order.put(int(row["ticket"]), row["id"], record)
    if record is not None:
        _count(json.loads(record), totals)
    if failure is not None:
        fail(Failure(row["location"], failure))
    else:
        totals.answered += 1


def _count(record: Mapping[str, Any], totals: Totals) -> None:
    timings, stats = record["timings"], totals.stats
    totals.finish_reasons[record["finish_reason"]] += 1
    totals.prompt_n += record["prompt_tokens"]
    stats.predicted_n += record["completion_tokens"]
    stats.drafted += timings["draft_n"]
    stats.accepted += timings["draft_n_accepted"]
    stats.rounds += record["speculation"]["rounds"]


def _imported() -> Any:
    """Ray, with its usage statistics, dashboard and progress bars off. Raises UsageError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What its C++ part logs is about Ray's inside.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError:
        raise UsageError(
            "--ray needs Ray, which is not installed", hint="pip install 'specli[ray]'"
        ) from None
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


@contextmanager
def _connected(ray: Any, cluster: Cluster) -> Iterator[None]:
    """Connected to the cluster; one that was started here listens on loopback alone."""
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        with redirect_stdout(StringIO()):
            if cluster.address == LOCAL:
                ray.init(
                    address=LOCAL, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet
                )
            else:
                ray.init(address=cluster.address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SpecliError(
            f"no Ray cluster at {cluster.address}: {error}",
            hint="start one with ray start --head, or give --ray local",
        ) from None
    try:
        yield
    finally:
        ray.shutdown()
