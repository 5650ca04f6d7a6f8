"""What the handlers of all paths share: from a request's body to an answer, whole or streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from specli.events import Event, Finished, Prefilled, Round
from specli.llama.reasoning import Thoughts
from specli.server.asking import Asked, Served, require_answerable
from specli.server.errors import RequestError, request_error
from specli.server.service import Answer, Service
from specli.server.stream import ClientGoneError, EventStream, until_gone
from specli.server.tools.reader import Delta, Reader

Body = TypeVar("Body")
Streamed = TypeVar("Streamed", bound="Streamable")

Told = tuple[int, Event]
"""Which text an event belongs to, and the event."""

_CLIENT_GONE = 499  # nginx's; nobody reads it


@dataclass(frozen=True, slots=True)
class Part:
    """An event of text `index`, and what it adds to what the client sees."""

    index: int
    event: Round | Finished
    deltas: list[Delta]


@dataclass(slots=True)
class Texts:
    """The texts of one answer, each with its readers, and the tokens that were reasoning."""

    answer: Answer
    readers: list[Reader]
    thoughts: list[Thoughts | None]
    reasoning: int = 0

    def take(self, index: int, event: Event) -> Part | None:
        """What an event adds; None for progress of the prompt."""
        if isinstance(event, Prefilled):
            return None
        reader, thoughts = self.readers[index], self.thoughts[index]
        text, final = "".join(piece.text for piece in event.pieces), isinstance(event, Finished)
        deltas = []
        if thoughts is not None:
            thought, text = thoughts.take(text, final=final)
            deltas = [Delta(reasoning=thought)] if thought else []
            if isinstance(event, Round) and thoughts.inside:
                self.reasoning += len(event.tokens)
        deltas += reader.feed(text)
        if final:
            deltas += reader.finish()
        return Part(index, event, deltas)

    def finish_reason(self, index: int) -> str:
        """As OpenAI names it."""
        if self.answer.generations[index].finish == "length":
            return "length"
        return "tool_calls" if self.readers[index].calls else "stop"


class Form(Protocol):
    """One API's form of an answer."""

    def whole(self, texts: Texts, deltas: list[list[Delta]]) -> Mapping[str, Any]:
        """The body of an answer that is complete, of its texts and all their deltas."""

    def chunks(self, texts: Texts, parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
        """The events of an answer that is streamed."""

    def failed(self, error: RequestError) -> bytes:
        """The event that ends a stream with an error."""


class Streamable(Protocol):
    """The body of a request."""

    @property
    def stream(self) -> bool | None: ...


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

    async def answer(
        self, request: Request, ask: Callable[[Served, Streamed], Asked], body: Streamed, form: Form
    ) -> Response:
        """The answer to a body, in one piece or as events. Raises as `asked` and `Answer.events`;
        what goes wrong in a stream after its first event is the last one of it."""
        asked = await self.asked(ask, body)
        answer = self.service.submit(asked.requests, asked.prompts)
        readers = [asked.tools.reader() for _request in asked.requests]
        texts = Texts(answer, readers, asked.thoughts())
        stream = None
        try:
            if not body.stream:
                deltas = await until_gone(request.receive, _collect(texts))
                return JSONResponse(form.whole(texts, deltas))
            events = answer.events()
            first = await until_gone(request.receive, anext(events))
            chunks = form.chunks(texts, _parts(texts, _after(first, events)))
            stream = EventStream(_guarded(chunks, form.failed), answer.close)
            return stream
        except ClientGoneError:
            return Response(status_code=_CLIENT_GONE)
        finally:
            if stream is None:
                answer.close()


async def _collect(texts: Texts) -> list[list[Delta]]:
    deltas: list[list[Delta]] = [[] for _reader in texts.readers]
    async for part in _parts(texts, texts.answer.events()):
        deltas[part.index] += part.deltas
    return deltas


async def _after(first: Told, events: AsyncIterator[Told]) -> AsyncIterator[Told]:
    yield first
    async for event in events:
        yield event


async def _parts(texts: Texts, events: AsyncIterator[Told]) -> AsyncIterator[Part]:
    async for index, event in events:
        part = texts.take(index, event)
        if part is not None:
            yield part


async def _guarded(
    chunks: AsyncIterator[bytes], failed: Callable[[RequestError], bytes]
) -> AsyncIterator[bytes]:
    """The same chunks; an error becomes the last of them."""
    try:
        async for chunk in chunks:
            yield chunk
    except Exception as error:
        yield failed(request_error(error))
