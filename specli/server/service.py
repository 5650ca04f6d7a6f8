"""Requests from the event loop to the engine's thread, and their events back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter

from specli.api.requests import Request, Tokenised
from specli.api.scheduler import Call, Item
from specli.api.thread import EngineThread
from specli.errors import ClosedError
from specli.events import Event, Finished
from specli.generation import Generation
from specli.server.errors import RequestError
from specli.server.metrics import Metrics
from specli.server.settings import Settings


class _Outbox:
    """The events of a call, put by the engine's thread and taken by the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Item] = asyncio.Queue()

    def put(self, item: Item) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    async def get(self) -> Item:
        return await self._items.get()


class Answer:
    """The texts that one HTTP request leads to, while they are generated. Always close it."""

    def __init__(self, service: Service, requests: list[Request], prompts: list[Tokenised]) -> None:
        self.prompts = prompts
        self.generations = [Generation() for _request in requests]
        self.since = perf_counter()
        self._service = service
        self._outbox = _Outbox()
        self._left = len(requests)
        self.call = Call(requests, outbox=self._outbox)

    @property
    def unfinished(self) -> int:
        """Requests of it that still wait or run."""
        return self._left

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """What happens, until all texts are finished.

        Raises TimeoutError past the server's limit, and what ended the call.
        """
        deadline = self.call.since + self._service.settings.timeout
        while self._left:
            async with asyncio.timeout(max(deadline - perf_counter(), 0)):
                item = await self._outbox.get()
            if isinstance(item, BaseException):
                self._left = 0
                raise item
            index, event = item
            self.generations[index].add(event)
            self._service.metrics.observe(self.generations[index], self.since, event)
            self._left -= isinstance(event, Finished)
            yield index, event

    def fail(self, error: BaseException) -> None:
        """End it with an error that the client is told."""
        self._outbox.put(error)

    def close(self) -> None:
        """Give up what is not finished; the engine does so before its next round."""
        self._service.closed(self)


class Service:
    """The engine as the HTTP handlers see it. Only the event loop's thread calls it."""

    def __init__(self, thread: EngineThread, settings: Settings) -> None:
        self.settings = settings
        self.session = thread.scheduler.session
        self.metrics = Metrics(
            str(self.session.setup.target.stem), self.load, thread.scheduler.decodes
        )
        self.closing = False
        self._thread = thread
        self._open: set[Answer] = set()

    def submit(self, requests: list[Request], prompts: list[Tokenised]) -> Answer:
        """Queue requests. Raises RequestError where too many wait, and ClosedError at shutdown."""
        if self.closing:
            raise ClosedError("the server is shutting down")
        waiting = self.load()[1]
        if waiting and waiting + len(requests) > self.settings.max_queue:
            self.metrics.count("specli:requests_refused")
            raise RequestError(
                429,
                f"{waiting} requests are waiting already",
                "rate_limit_error",
                code="rate_limit_exceeded",
                headers={"Retry-After": str(self.metrics.retry_after(waiting, self.slots))},
            )
        answer = Answer(self, requests, prompts)
        self._open.add(answer)
        try:
            self._thread.submit(answer.call)
        except BaseException:
            self._open.discard(answer)
            raise
        return answer

    @property
    def slots(self) -> int:
        return self.session.slots

    def load(self) -> tuple[int, int]:
        """Requests that run, and that wait."""
        unfinished = sum(answer.unfinished for answer in self._open)
        return min(unfinished, self.slots), max(unfinished - self.slots, 0)

    def busy(self) -> dict[int, tuple[Answer, int]]:
        """What each busy slot works on."""
        answers = {id(answer.call): answer for answer in self._open}
        return {
            slot: (answers[id(call)], index)
            for slot, (call, index) in self._thread.scheduler.placed.items()
            if id(call) in answers
        }

    def closed(self, answer: Answer) -> None:
        """Forget an answer, and cancel what is left of it."""
        if answer not in self._open:
            return
        self._open.discard(answer)
        if answer.unfinished:
            self.metrics.count("specli:requests_cancelled", answer.unfinished)
            self._thread.cancel(answer.call)

    def stop(self) -> None:
        """Tell all who still wait that the server ends."""
        for answer in list(self._open):
            answer.fail(ClosedError("the server is shutting down"))
