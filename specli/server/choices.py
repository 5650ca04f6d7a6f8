"""What chat and text completions share: an answer is one choice, or several."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from secrets import token_hex
from typing import Any, ClassVar, Generic, TypeVar

from specli.events import Finished
from specli.server.context import Context, Part, Texts
from specli.server.errors import RequestError
from specli.server.fields import Chat, Completion
from specli.server.figures import figures
from specli.server.stream import DONE, event
from specli.server.tools.reader import Delta

Body = TypeVar("Body", bound=Chat | Completion)


class Choices(Generic[Body]):
    """Answers in OpenAI's form of completions; the content of a choice is each API's own."""

    prefix: ClassVar[str]
    """How ids begin."""
    kind: ClassVar[str]
    chunk_kind: ClassVar[str]
    nothing: ClassVar[Mapping[str, Any]]
    """The content of a choice that only ends."""

    def __init__(self, context: Context, body: Body) -> None:
        self.context, self.body = context, body
        self._id = f"{self.prefix}-{token_hex(12)}"
        self._created = int(time.time())

    def content(self, texts: Texts, index: int, deltas: list[Delta]) -> Mapping[str, Any]:
        """The whole content of a choice."""
        raise NotImplementedError

    def pieces(self, part: Part) -> Iterator[bytes]:
        """The events of a part of the answer, without its end."""
        raise NotImplementedError

    def usage(self, texts: Texts) -> dict[str, Any]:
        """The tokens of prompt and answer."""
        raise NotImplementedError

    def failed(self, error: RequestError) -> bytes:
        """As OpenAI's clients read it."""
        return event(error.body())

    def whole(self, texts: Texts, deltas: list[list[Delta]]) -> Mapping[str, Any]:
        """The body of a complete answer; the figures of one choice are those of the answer."""
        told = [figures(one, texts.answer.since) for one in texts.answer.generations]
        several = len(told) > 1
        choices = [
            {
                "index": index,
                **self.content(texts, index, deltas[index]),
                "finish_reason": texts.finish_reason(index),
                **(own if several else {}),
            }
            for index, own in enumerate(told)
        ]
        more = {"choices": choices, "usage": self.usage(texts)}
        return {**self._head(self.kind), **more, **({} if several else told[0])}

    async def chunks(self, texts: Texts, parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
        """The events of a streamed answer."""
        async for part in parts:
            for piece in self.pieces(part):
                yield piece
            if isinstance(part.event, Finished):
                told = figures(texts.answer.generations[part.index], texts.answer.since)
                finish = texts.finish_reason(part.index)
                yield self.chunk(part.index, self.nothing, finish=finish, **told)
        options = self.body.stream_options
        if options is not None and options.include_usage:
            yield self.event(choices=[], usage=self.usage(texts))
        yield DONE

    def chunk(
        self, index: int, content: Mapping[str, Any], finish: str | None = None, **more: object
    ) -> bytes:
        """An event with a part of a choice."""
        choice = {"index": index, **content, "finish_reason": finish}
        return self.event(choices=[choice], **more)

    def event(self, **more: object) -> bytes:
        return event({**self._head(self.chunk_kind), **more})

    def _head(self, kind: str) -> dict[str, Any]:
        created, name = self._created, self.context.served.name
        return {"id": self._id, "object": kind, "created": created, "model": name}
