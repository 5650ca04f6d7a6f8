"""`specli batch --ray`: reads prompts and writes records here, and answers them on a cluster."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from queue import Empty, Queue
from typing import Any

from specli.app.batch import Attendant, Task
from specli.app.feedback import SILENT, Feedback
from specli.batch.output import InOrder
from specli.batch.prompt import Bad
from specli.batch.run import Watcher, Work, admitted, fail
from specli.batch.totals import Failure, Totals
from specli.cluster.engine import PROMPT, BatchEngine, sent
from specli.cluster.pool import Pool, fitting, pool_for
from specli.cluster.ray import LOCAL, connected, imported, is_there, meant, nodes
from specli.errors import SpecliError, UsageError, shortened
from specli.figures import counted
from specli.hub.progress import Progress
from specli.options import Options

_GLANCE = 0.2
"""Seconds between two looks at whether the batch was stopped."""

_SILENCE = 10.0
"""Seconds without an answer after which the cluster is asked whether it is there."""

_MOST_ARRIVED = 1000
"""Answers that may wait to be written."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a batch runs. `address` is Ray's, `auto` for the cluster that this machine belongs to,
    `local` for one that is started and ended with the batch, `here` for RAY_ADDRESS or else such a
    one. `actors` are the least and the most engines, None one per node or per GPU. `feedback` shows
    how they start."""

    address: str
    actors: tuple[int, int] | None = None
    feedback: Feedback = SILENT


def answer_on(
    cluster: Cluster,
    work: Work,
    options: Options,
    task: Task,
    totals: Totals,
    attendant: Attendant,
) -> None:
    """Answer a batch's prompts on a cluster and write their records here, as they arrive.

    Prompts with a record of an earlier run are not sent. An engine that dies is replaced, and its
    prompts are answered by another. Raises UsageError without Ray, SpecliError without a cluster
    and for what ends it, and BatchFailedError after too many failures.
    """
    address, run = meant(cluster.address), _Run(work, totals)
    slots = task.parallel if isinstance(task.parallel, int) else None
    engines, arriving = 0, None
    with ExitStack() as stack:
        with cluster.feedback.progress() as report:
            report(Progress("check", "the prompts", 0, None))
            prompts = list(run.prompts())
            totals.expected = totals.seen + len(run.bad) + len(prompts)
            if prompts:
                report(Progress("start", f"Ray ({address})", 0, None))
                ray = imported(address)
                stack.enter_context(connected(ray, address))
                found, count = nodes(ray), len(prompts)
                pool = pool_for(options, found, actors=cluster.actors, slots=slots, prompts=count)
                _require_room(pool, fitting(pool, found), address, cluster.feedback)
                engines = pool.most
                report(Progress("start", counted(engines, "engine"), 0, None))
                arguments = _arguments(work, options, slots, pool)
                arriving = _Arriving(
                    _answers(ray, pool, prompts, arguments), partial(is_there, ray)
                )
                arriving.wait()
        with attendant.answering(totals, slots or engines) as watcher:
            run.tell(watcher)
            if arriving is not None:
                run.follow(arriving, watcher)


def _require_room(pool: Pool, fit: int, address: str, feedback: Feedback) -> None:
    """Raises UsageError where a cluster that cannot grow has no room for an engine."""
    size = counted(pool.cpus, "CPU") + (f" and {counted(pool.gpus, 'GPU')}" if pool.gpus else "")
    if not fit and address == LOCAL:
        raise UsageError(f"this machine has no {size} for an engine", hint="take fewer with -t")
    if fit < pool.least:
        feedback.note(
            f"the cluster has room for {fit} of {counted(pool.least, 'engine')} of {size}; "
            "the others wait until it grows"
        )


def _arguments(work: Work, options: Options, slots: int | None, pool: Pool) -> dict[str, object]:
    return {
        "options": {**options.given(), "threads": options.number("threads") or pool.cpus},
        "parallel": slots,
        "timeout": work.limits.timeout,
        "settings": dict(work.settings),
    }


def _answers(ray: Any, pool: Pool, prompts: list[str], arguments: dict[str, object]) -> Any:
    """A dataset of answers. Tickets are the places of the prompts."""
    import pyarrow

    table = pyarrow.table({PROMPT: prompts, "ticket": range(len(prompts))})
    tasks = [table.slice(start, pool.rows) for start in range(0, len(prompts), pool.rows)]
    strategy = ray.data.ActorPoolStrategy
    fixed = pool.least == pool.most
    how: dict[str, Any] = {
        "min_size": pool.least,
        "max_size": pool.most,
        # A pool that grows needs a queue to see that it should.
        "max_tasks_in_flight_per_actor": pool.tasks if fixed else None,
        "enable_true_multi_threading": True,
    }
    more = {"max_concurrency": pool.tasks}
    if "max_concurrent_calls_per_actor" in signature(strategy).parameters:
        # What Ray calls it from 2.60 on.
        how, more = {**how, "max_concurrent_calls_per_actor": pool.tasks}, {}
    return ray.data.from_arrow(tasks).map_batches(
        _Worker,
        batch_size=None,
        compute=strategy(**how),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
        fn_constructor_kwargs=arguments,
        **more,
    )


class _Worker:
    """A BatchEngine that passes on the tickets of its rows, and says where they were answered.

    An error that would meet every other engine too is an answer: Ray would only try again.
    """

    def __init__(self, **arguments: Any) -> None:
        from ray import get_runtime_context
        from ray.util import get_node_ip_address

        node = get_runtime_context().get_node_id()
        self._about = {"node": node[:8], "address": get_node_ip_address(), "pid": os.getpid()}
        self._engine: BatchEngine | None = None
        self._problem: SpecliError | None = None
        try:
            self._engine = BatchEngine(**arguments)
        except SpecliError as error:
            self._problem = error

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        tickets = list(batch["ticket"])
        answers: dict[str, list[Any]] = {}
        try:
            if self._engine is not None:
                answers = self._engine({PROMPT: batch[PROMPT]})
        except SpecliError as error:
            self._problem = error
        about = self._about
        if self._problem is not None:
            one = self._problem
            about = {**about, "problem": [one.message, one.hint, one.exit_code]}
        return {**answers, "ticket": tickets, "engine": [json.dumps(about)] * len(tickets)}


class _Arriving:
    """Answers as they come, read in a thread so that a batch can be stopped between two."""

    def __init__(self, answers: Any, alive: Callable[[], bool]) -> None:
        """`alive` is asked where nothing has come for long; Ray itself would wait for ever."""
        self._queue: Queue[Row | BaseException | None] = Queue(_MOST_ARRIVED)
        self._alive = alive
        self._silent_since = time.monotonic()
        threading.Thread(target=self._read, args=(answers,), daemon=True).start()
        self._first: list[Row | BaseException | None] = []

    def _read(self, answers: Any) -> None:
        end: BaseException | None = None
        try:
            for row in answers.iter_rows():
                self._queue.put(row)
        except BaseException as error:
            end = error
        self._queue.put(end)

    def wait(self) -> None:
        """Until there is one, or no more. Raises SpecliError where the cluster is gone."""
        while not self._first:
            with suppress(Empty):
                self._first.append(self._get())

    def next(self) -> Row | None:
        """None after the last. Raises Empty where none came for a moment, and SpecliError."""
        found = self._first.pop() if self._first else self._get()
        if isinstance(found, BaseException):
            raise _ended(found)
        return found

    def _get(self) -> Row | BaseException | None:
        try:
            found = self._queue.get(timeout=_GLANCE)
        except Empty:
            if time.monotonic() > self._silent_since + _SILENCE:
                self._silent_since = time.monotonic()
                if not self._alive():
                    raise _ended(ConnectionError("nothing answers any more")) from None
            raise
        self._silent_since = time.monotonic()
        return found


def _ended(error: BaseException) -> SpecliError:
    if isinstance(error, SpecliError):
        return error
    lines = str(error).strip().splitlines()
    return SpecliError(
        f"the cluster ended the batch: {shortened(lines[-1] if lines else type(error).__name__)}",
        hint="the same command goes on with the prompts that have no record",
    )


@dataclass(slots=True)
class _Run:
    """What is here of a batch: which prompts are sent, and what becomes of their answers."""

    work: Work
    totals: Totals
    order: InOrder = field(init=False)
    bad: list[Failure] = field(default_factory=list)
    """Found while the prompts were read."""
    tickets: list[int] = field(default_factory=list)
    """Of the prompts that are sent: their turns among all records."""

    def __post_init__(self) -> None:
        self.order = InOrder(self.work.output, in_order=self.work.in_order)

    def prompts(self) -> Iterator[str]:
        """The prompts that have no record yet, as they are sent."""
        for entry in self.work.source.entries():
            if isinstance(entry, Bad):
                self.bad.append(Failure(entry.location, entry.reason))
                continue
            found = admitted(entry, self.work, self.order, self.totals)
            if isinstance(found, Failure):
                self.bad.append(found)
            elif found is not None:
                self.tickets.append(self.order.draw())
                yield sent(entry)

    def tell(self, watcher: Watcher) -> None:
        """Report the prompts that cannot be sent."""
        for failure in self.bad:
            fail(failure, self.work.limits, self.totals, watcher)

    def follow(self, arriving: _Arriving, watcher: Watcher) -> None:
        """Write answers until the last of them, or until the batch is stopped."""
        while not self.work.stopped():
            try:
                row = arriving.next()
            except Empty:
                continue
            if row is None:
                return
            self._see(row, watcher)
            watcher.changed(self.totals)

    def _see(self, row: Row, watcher: Watcher) -> None:
        engine = json.loads(row["engine"])
        if problem := engine.pop("problem", None):
            message, hint, code = problem
            error = SpecliError(f"{message} (on node {engine['address']})", hint=hint)
            error.exit_code = code
            raise error
        record, failure = row["record"], row["failure"]
        self.order.put(self.tickets[int(row["ticket"])], row["id"], record)
        if record is not None:
            self._count(json.loads(record))
        if failure is not None:
            found = Failure(row["location"], failure)
            fail(found, self.work.limits, self.totals, watcher)
            return
        self.totals.answered += 1
        self.totals.engines[tuple(engine.values())] += 1

    def _count(self, record: Row) -> None:
        timings, totals = record["timings"], self.totals
        totals.finish_reasons[record["finish_reason"]] += 1
        totals.prompt_n += record["prompt_tokens"]
        totals.stats.predicted_n += record["completion_tokens"]
        totals.stats.drafted += timings["draft_n"]
        totals.stats.accepted += timings["draft_n_accepted"]
        totals.stats.rounds += record["speculation"]["rounds"]
