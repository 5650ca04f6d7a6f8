"""What the handlers of all paths share: from a request's body to an answer, whole or streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from specli.events import Event, Finished, Prefilled, Round
from specli.server.asking import Asked, Served, require_answerable
from specli.server.errors import request_error
from specli.server.service import Answer, Service
from specli.server.stream import ClientGoneError, EventStream, until_gone
from specli.server.tools.reader import Delta, Reader

Body = TypeVar("Body")

_CLIENT_GONE = 499  # nginx's; nobody reads it


@dataclass(frozen=True, slots=True)
class Part:
    """An event of text `index`, and what it adds to what the client sees."""

    index: int
    event: Round | Finished
    deltas: list[Delta]


@dataclass(slots=True)
class Texts:
    """The texts of one answer, each with its reader."""

    answer: Answer
    readers: list[Reader]

    def take(self, index: int, event: Event) -> Part | None:
        """What an event adds; None for progress of the prompt."""
        if isinstance(event, Prefilled):
            return None
        reader = self.readers[index]
        deltas = reader.feed("".join(piece.text for piece in event.pieces))
        if isinstance(event, Finished):
            deltas += reader.finish()
        return Part(index, event, deltas)

    def finish_reason(self, index: int) -> str:
        """As OpenAI names it."""
        if self.readers[index].calls:
            return "tool_calls"
        return "length" if self.answer.generations[index].finish == "length" else "stop"


Whole = Callable[[Texts, list[list[Delta]]], Mapping[str, Any]]
"""The body of an answer that is complete, of its texts and all their deltas."""

Chunks = Callable[[Texts, AsyncIterator[Part]], AsyncIterator[bytes]]
"""The events of an answer that is streamed."""

Failed = Callable[[BaseException], bytes]
"""The event that ends a stream with an error."""


@dataclass(frozen=True, slots=True)
class Context:
    """The engine, and what it serves."""

    service: Service
    served: Served

    async def asked(self, ask: Callable[[Served, Body], Asked], body: Body) -> Asked:
        """The requests of a body; templates and tokenizers run beside the loop.

        Raises RequestError and UsageError.
        """
        asked = await asyncio.to_thread(ask, self.served, body)
        require_answerable(asked, self.served.n_ctx)
        return asked

    async def whole(self, request: Request, asked: Asked, made: Whole) -> Response:
        """An answer in one piece. Raises as `Answer.events`."""
        answer = self.service.submit(asked.requests, asked.prompts)
        texts = Texts(answer, [asked.tools.reader() for _request in asked.requests])
        deltas: list[list[Delta]] = [[] for _request in asked.requests]
        try:
            await until_gone(request.receive, _collect(texts, deltas))
            return JSONResponse(made(texts, deltas))
        except ClientGoneError:
            return Response(status_code=_CLIENT_GONE)
        finally:
            answer.close()

    async def streamed(
        self, request: Request, asked: Asked, made: Chunks, failed: Failed
    ) -> Response:
        """An answer as events. What goes wrong before the first one is raised."""
        answer = self.service.submit(asked.requests, asked.prompts)
        texts = Texts(answer, [asked.tools.reader() for _request in asked.requests])
        events = answer.events()
        try:
            first = await until_gone(request.receive, _first(events))
        except ClientGoneError:
            answer.close()
            return Response(status_code=_CLIENT_GONE)
        except BaseException:
            answer.close()
            raise
        parts = _parts(texts, first, events)
        return EventStream(_guarded(made(texts, parts), failed), answer.close)


async def _first(events: AsyncIterator[tuple[int, Event]]) -> tuple[int, Event]:
    return await anext(events)


async def _collect(texts: Texts, deltas: list[list[Delta]]) -> None:
    async for index, event in texts.answer.events():
        part = texts.take(index, event)
        if part is not None:
            deltas[index] += part.deltas


async def _parts(
    texts: Texts, first: tuple[int, Event], events: AsyncIterator[tuple[int, Event]]
) -> AsyncIterator[Part]:
    part = texts.take(*first)
    if part is not None:
        yield part
    async for index, event in events:
        part = texts.take(index, event)
        if part is not None:
            yield part


async def _guarded(chunks: AsyncIterator[bytes], failed: Failed) -> AsyncIterator[bytes]:
    """The same chunks; an error becomes the last of them."""
    try:
        async for chunk in chunks:
            yield chunk
    except Exception as error:
        yield failed(request_error(error))
