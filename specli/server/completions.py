"""`POST /v1/completions`"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from specli.events import Finished, Round
from specli.server.asking import ask_completion
from specli.server.context import Context, Part, Texts
from specli.server.errors import RequestError
from specli.server.fields import Completion
from specli.server.figures import completion_logprobs, figures, usage
from specli.server.stream import DONE, event
from specli.server.tools.reader import Delta


def routes(context: Context) -> APIRouter:
    """The paths of this module."""
    router = APIRouter()

    @router.post("/v1/completions", response_model=None, tags=["OpenAI"])
    async def completions(body: Completion, request: Request) -> Response:
        """Continue one text or several; no chat template is applied."""
        return await context.answer(request, ask_completion, body, _CompletionAnswer(context, body))

    return router


@dataclass(slots=True)
class _CompletionAnswer:
    """Answers in the form of text completions."""

    context: Context
    body: Completion
    id: str = field(default_factory=lambda: f"cmpl-{token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def failed(self, error: RequestError) -> bytes:
        """As OpenAI's clients read it."""
        return event(error.body())

    def _head(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.context.served.name,
        }

    def whole(self, texts: Texts, deltas: list[list[Delta]]) -> Mapping[str, Any]:
        """The body of a complete answer."""
        generations = texts.answer.generations
        told = [figures(one, texts.answer.since) for one in generations]
        choices = [
            {
                "index": index,
                "text": "".join(delta.text for delta in deltas[index]),
                "logprobs": self._logprobs(texts.answer.generations[index].logprobs, 0),
                "finish_reason": texts.finish_reason(index),
                **(told[index] if len(told) > 1 else {}),
            }
            for index in range(len(generations))
        ]
        return {
            **self._head(),
            "choices": choices,
            "usage": self._usage(texts),
            **(told[0] if len(told) == 1 else {}),
        }

    def _usage(self, texts: Texts) -> dict[str, Any]:
        answer = texts.answer
        different = answer.prompts[:: self.body.n or 1]
        return usage(sum(len(one.tokens) for one in different), answer.generations)

    def _logprobs(self, found: Any, offset: int) -> dict[str, Any] | None:
        if self.body.logprobs is None:
            return None
        return completion_logprobs(self.context.served.model.vocab, found, offset)

    async def chunks(self, texts: Texts, parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
        """The events of a streamed answer."""
        offsets = [0] * len(texts.readers)
        async for part in parts:
            text = "".join(delta.text for delta in part.deltas)
            logprobs = None
            if isinstance(part.event, Round):
                logprobs = self._logprobs(part.event.logprobs or [], offsets[part.index])
                offsets[part.index] += sum(map(len, (logprobs or {}).get("tokens", ())))
            if text or logprobs:
                yield self._chunk(part.index, text, logprobs, None)
            if isinstance(part.event, Finished):
                told = figures(texts.answer.generations[part.index], texts.answer.since)
                finish = texts.finish_reason(part.index)
                yield self._chunk(part.index, "", None, finish, **told)
        options = self.body.stream_options
        if options is not None and options.include_usage:
            yield event({**self._head(), "choices": [], "usage": self._usage(texts)})
        yield DONE

    def _chunk(
        self,
        index: int,
        text: str,
        logprobs: Mapping[str, Any] | None,
        finish: str | None,
        **more: object,
    ) -> bytes:
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
        return event({**self._head(), "choices": [choice], **more})
