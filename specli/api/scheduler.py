"""Requests of several callers on one engine. Only the engine's thread calls this."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from queue import SimpleQueue
from time import perf_counter
from typing import Protocol

from specli.api.requests import (
    Request,
    Tokenised,
    generation_request,
    grammar_of,
    grammar_state,
    tokenised,
)
from specli.engine.slots import Decodes
from specli.errors import PromptTooLongError
from specli.events import Event, Finished
from specli.llama.constraint import State
from specli.session import Session

Item = tuple[int, Event] | BaseException
"""An event of one of a call's requests, or the error that ends the whole call."""


class Outbox(Protocol):
    """Where the events of a call go; its `put` never waits."""

    def put(self, item: Item, /) -> None: ...


@dataclass(slots=True, eq=False)
class Call:
    """Requests of one caller.

    `events` receives what happens, or else `outbox` where one is given. `prompts` is filled before
    the first of it.
    """

    requests: list[Request]
    prompts: list[Tokenised] = field(default_factory=list)
    events: SimpleQueue[Item] = field(default_factory=SimpleQueue)
    outbox: Outbox | None = None
    since: float = field(default_factory=perf_counter)

    def put(self, item: Item) -> None:
        (self.outbox or self.events).put(item)


@dataclass(slots=True)
class _Live:
    call: Call
    index: int
    grammar: State | None


class Scheduler:
    """Gives the requests to the engine in the order of their calls, as slots become free."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._engine = session.engine()
        self._waiting: deque[tuple[Call, int]] = deque()
        self._live: dict[int, _Live] = {}

    @property
    def placed(self) -> dict[int, tuple[Call, int]]:
        """The call, and which of its requests, in each busy slot; any thread may ask."""
        live = dict(self._live)
        slots = self._engine.placed
        return {slots[seq]: (one.call, one.index) for seq, one in live.items() if seq in slots}

    @property
    def decodes(self) -> Decodes:
        """What the target has decoded so far."""
        return self._engine.decodes

    @property
    def idle(self) -> bool:
        return not self._live and not self._waiting

    def add(self, call: Call) -> None:
        """Queue the requests of a call; where one of them is wrong, none is begun."""
        try:
            for request in call.requests:
                prompt = tokenised(self.session.target_model, request)
                self._check(request, prompt)
                call.prompts.append(prompt)
        except Exception as error:
            call.put(error)
            return
        self._waiting.extend((call, index) for index in range(len(call.requests)))

    def _check(self, request: Request, prompt: Tokenised) -> None:
        try:
            self._engine.check(generation_request(request, prompt.tokens))
        except PromptTooLongError as error:
            raise PromptTooLongError(
                error.message,
                hint=f"a larger max_model_len, such as {2 * len(prompt.tokens)}",
            ) from None

    def step(self) -> None:
        """Begin what has a slot, and advance every sequence by one round."""
        self._begin()
        for event in self._engine.step():
            self._deliver(event)

    def _begin(self) -> None:
        while self._waiting and len(self._live) < self.session.slots:
            call, index = self._waiting.popleft()
            request, tokens = call.requests[index], call.prompts[index].tokens
            try:
                model = self.session.target_model
                grammar = grammar_of(model, request.params)
                state = grammar_state(model, request, grammar)
                seq = self._engine.submit(generation_request(request, tokens, state))
            except Exception as error:
                self._fail(call, error)
                continue
            self._live[seq] = _Live(call, index, grammar)

    def _deliver(self, event: Event) -> None:
        live = self._live.get(event.seq)
        if live is None:
            # An error earlier in this step has ended the call.
            return
        if isinstance(event, Finished):
            self._forget(event.seq)
            if event.error is not None:
                self._fail(live.call, event.error)
                return
        live.call.put((live.index, event))

    def cancel(self, call: Call) -> None:
        """End the requests of a call that still run or wait."""
        self._waiting = deque(item for item in self._waiting if item[0] is not call)
        for seq in [seq for seq, live in self._live.items() if live.call is call]:
            self._engine.cancel(seq)
            self._forget(seq)

    def _fail(self, call: Call, error: BaseException) -> None:
        self.cancel(call)
        call.put(error)

    def end_all(self, error: BaseException) -> None:
        """End every call with `error`."""
        live = [live.call for live in self._live.values()]
        for call in dict.fromkeys([*live, *(call for call, _index in self._waiting)]):
            self._fail(call, error)

    def _forget(self, seq: int) -> None:
        grammar = self._live.pop(seq).grammar
        if grammar is not None:
            grammar.close()
