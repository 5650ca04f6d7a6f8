"""Submits prompts to the engine and writes their answers until there are no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from specli.batch.ids import Ids
from specli.batch.input import Entry
from specli.batch.output import InOrder, Output
from specli.batch.prompt import Bad, Prompt
from specli.batch.records import TIMEOUT, Settings, record_line, short_hash
from specli.batch.requests import Defaults, build, request_hash
from specli.batch.totals import Failure, FailureKind, Totals
from specli.engine.engine import Engine
from specli.engine.sequence import GenerationRequest
from specli.errors import BatchFailedError, FaultError, SpecliError, UsageError
from specli.events import Event, Finished
from specli.figures import counted
from specli.generation import Generation
from specli.llama.constraint import State
from specli.llama.model import Model

WINDOW = 32
"""Answers per running sequence that may wait for an earlier prompt's answer."""

_MET = 1
"""Lowest bit of an id's number: the id has occurred in this run's input."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits after which one prompt (seconds) or the batch (failures) ends."""

    timeout: float | None = None
    max_failures: int | None = None


class Prompts(Protocol):
    """Where the prompts of a batch come from; `batch.input.Source` reads them."""

    def entries(self) -> Iterator[Entry]:
        """The prompts in their order, once."""

    def ready(self) -> bool:
        """Whether the next one is there without waiting."""

    def total(self) -> int | None:
        """How many there are, if that is known."""


@dataclass(frozen=True, slots=True)
class Work:
    """A batch: its prompts, their common settings, and where answers go."""

    source: Prompts
    defaults: Defaults
    settings: Settings
    output: Output
    known: Ids
    """Ids with answers and the hashes of their requests; ids of this run are added."""
    in_order: bool = True
    limits: Limits = field(default_factory=Limits)
    stopped: Callable[[], bool] = lambda: False
    """Whether to stop soon; prompts that are being answered then have no record."""


class Watcher(Protocol):
    """Follows the progress of a batch."""

    def changed(self, totals: Totals) -> None:
        """A step is over."""

    def failed(self, failure: Failure) -> None:
        """A prompt has no answer."""


@dataclass(slots=True)
class _Answer:
    """An answer that is being generated."""

    ticket: int
    prompt: Prompt
    hash: str
    request: GenerationRequest
    since: float
    generation: Generation = field(default_factory=Generation)


def answer_all(
    work: Work,
    engine: Engine,
    model: Model,
    slots: int,
    totals: Totals,
    watcher: Watcher,
) -> None:
    """Answer every prompt, at most `slots` at once, or stop soon after `work.stopped` says so.

    Raises BatchFailedError after too many failures, and UsageError for a prompt whose id has an
    answer to something else.
    """
    _Batch(work, engine, model, slots, totals, watcher).run()


def validate(work: Work, engine: Engine, model: Model, failed: Callable[[Failure], None]) -> int:
    """The number of prompts that cannot be answered; `failed` is called for each."""
    met = Ids()
    count = 0
    for entry in work.source.entries():
        failure = None
        if isinstance(entry, Bad):
            failure = _bad(entry)
        else:
            try:
                _close(_buildable(entry, work, engine, model))
            except Exception as error:
                failure = _failure(entry, error)
            if met.get(entry.id) is not None:
                failure = Failure(entry.location, _duplicate(entry))
            met.put(entry.id, _MET)
        if failure is not None:
            count += 1
            failed(failure)
    return count


@dataclass(slots=True)
class _Batch:
    """One run over the prompts."""

    work: Work
    engine: Engine
    model: Model
    slots: int
    totals: Totals
    watcher: Watcher
    entries: Iterator[Entry] = field(init=False)
    order: InOrder = field(init=False)
    live: dict[int, _Answer] = field(default_factory=dict)
    ended: bool = False

    def __post_init__(self) -> None:
        self.entries = self.work.source.entries()
        self.order = InOrder(self.work.output, in_order=self.work.in_order)

    def run(self) -> None:
        try:
            while not self.work.stopped():
                self._fill()
                if self.engine.idle:
                    break
                for event in self.engine.step():
                    self._see(event)
                self._expire()
                self.watcher.changed(self.totals)
        finally:
            for seq, answer in self.live.items():
                self.engine.cancel(seq)
                _close(answer.request)

    def _fill(self) -> None:
        """Submit prompts until every slot has one; wait for input only when nothing runs."""
        window = WINDOW * self.slots
        while len(self.live) < self.slots and self.order.ahead < window and not self.ended:
            if self.live and not self.work.source.ready():
                return
            entry = next(self.entries, None)
            if entry is None:
                self.ended = True
                self.totals.expected = self.totals.seen + len(self.live)
            elif isinstance(entry, Bad):
                self._fail(_bad(entry))
            else:
                self._begin(entry)
            if self.work.stopped():
                return

    def _begin(self, prompt: Prompt) -> None:
        found = admitted(prompt, self.work, self.order, self.totals)
        if isinstance(found, Failure):
            self._fail(found)
        elif found is not None:
            self._submit(prompt, found)

    def _submit(self, prompt: Prompt, hash_: str) -> None:
        # One prompt must not end the batch, whatever is wrong with it: every rerun would meet it.
        try:
            request = _buildable(prompt, self.work, self.engine, self.model)
            seq = self.engine.submit(request)
        except Exception as error:
            self._fail(_failure(prompt, error))
            return
        ticket = self.order.draw()
        self.live[seq] = _Answer(ticket, prompt, hash_, request, perf_counter())

    def _see(self, event: Event) -> None:
        answer = self.live[event.seq]
        answer.generation.add(event)
        self.totals.add(event)
        if isinstance(event, Finished):
            self._finish(event)

    def _finish(self, finished: Finished) -> None:
        answer = self.live.pop(finished.seq)
        _close(answer.request)
        self.totals.finish_reasons[finished.reason] += 1
        line, failure, location = None, None, answer.prompt.location
        if finished.error is not None:
            # A sequence that could not go on has no answer; the others go on.
            kind: FailureKind = "fault" if isinstance(finished.error, FaultError) else "error"
            failure = Failure(location, finished.error.message, kind)
        else:
            report = answer.generation.stats.report(answer.generation.text, finished.reason)
            line = record_line(answer.prompt.id, report, self.work.settings, answer.hash)
            if finished.reason == TIMEOUT:
                again = "took longer than --timeout; the same command tries it again"
                failure = Failure(location, again, "timeout")
        self.order.put(answer.ticket, answer.prompt.id, line)
        if failure is None:
            self.totals.answered += 1
        else:
            self._fail(failure)

    def _expire(self) -> None:
        timeout = self.work.limits.timeout
        if timeout is None:
            return
        late = perf_counter() - timeout
        for seq in [seq for seq, answer in self.live.items() if answer.since < late]:
            finished = self.engine.cancel(seq, "timeout")
            if finished is not None:
                self._see(finished)

    def _fail(self, failure: Failure) -> None:
        fail(failure, self.work.limits, self.totals, self.watcher)


def fail(failure: Failure, limits: Limits, totals: Totals, watcher: Watcher) -> None:
    """Count and show a failure. Raises BatchFailedError where it is one too many."""
    totals.fail(failure)
    watcher.failed(failure)
    if limits.max_failures is not None and totals.failed >= limits.max_failures:
        failures = counted(totals.failed, "failure")
        raise BatchFailedError(f"stopped after {failures} (--max-failures)")


def admitted(prompt: Prompt, work: Work, order: InOrder, totals: Totals) -> str | Failure | None:
    """The hash of a prompt that is still to be answered, None where an earlier run has its record.

    A waiting record takes its turn in `order`. Raises UsageError for a prompt whose id has an
    answer to something else.
    """
    number = work.known.get(prompt.id)
    if number is not None and number & _MET:
        return Failure(prompt.location, _duplicate(prompt))
    hash_ = request_hash(prompt, work.settings)
    work.known.put(prompt.id, short_hash(hash_) | _MET)
    if number is not None:
        if number != short_hash(hash_):
            raise _answered_otherwise(prompt)
        totals.earlier += 1
        return None
    held = work.output.held(prompt.id)
    if held is not None:
        order.put(order.draw(), prompt.id, held)
        totals.earlier += 1
        return None
    return hash_


def _buildable(prompt: Prompt, work: Work, engine: Engine, model: Model) -> GenerationRequest:
    """A request that the engine accepts. Raises SpecliError if the prompt cannot be answered."""
    request = build(model, prompt, work.defaults)
    try:
        engine.check(request)
    except BaseException:
        _close(request)
        raise
    return request


def _bad(entry: Bad) -> Failure:
    return Failure(entry.location, entry.reason, "fault" if entry.fault else "input")


def _failure(prompt: Prompt, error: Exception) -> Failure:
    """A prompt that could not be begun; what is no error of ours is a fault of specli."""
    if isinstance(error, SpecliError):
        return Failure(prompt.location, error.message)
    return Failure(prompt.location, FaultError.of(error).message, "fault")


def _close(request: GenerationRequest) -> None:
    """Free a grammar, of which a batch may have many."""
    if isinstance(request.grammar, State):
        request.grammar.close()


def _duplicate(prompt: Prompt) -> str:
    return f"a second prompt with the id {prompt.id!r}"


def _answered_otherwise(prompt: Prompt) -> UsageError:
    return UsageError(
        f"{prompt.location}: the id {prompt.id!r} already has an answer to another prompt, or with "
        "other settings of its line",
        hint="--restart answers everything again; give lines ids of their own if they move",
    )
