"""`POST /v1/chat/completions`"""

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
from specli.server.asking import ask_chat
from specli.server.context import Context, Part, Texts
from specli.server.errors import RequestError
from specli.server.fields import Chat
from specli.server.figures import chat_logprobs, figures, token_sources, usage
from specli.server.stream import DONE, event
from specli.server.tools.reader import Call, Delta


def routes(context: Context) -> APIRouter:
    """The paths of this module."""
    router = APIRouter()

    @router.post("/v1/chat/completions", response_model=None, tags=["OpenAI"])
    async def chat_completions(body: Chat, request: Request) -> Response:
        """Answer a conversation, in one piece or as server-sent events."""
        return await context.answer(request, ask_chat, body, _ChatAnswer(context, body))

    return router


@dataclass(slots=True)
class _ChatAnswer:
    """Answers in the form of chat completions."""

    context: Context
    body: Chat
    id: str = field(default_factory=lambda: f"chatcmpl-{token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def failed(self, error: RequestError) -> bytes:
        """As OpenAI's clients read it."""
        return event(error.body())

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.context.served.name,
        }

    def whole(self, texts: Texts, deltas: list[list[Delta]]) -> Mapping[str, Any]:
        """The body of a complete answer."""
        generations = texts.answer.generations
        choices = [
            {
                "index": index,
                "message": _message(deltas[index], texts.readers[index].calls),
                "logprobs": self._logprobs(texts, index),
                "finish_reason": texts.finish_reason(index),
            }
            for index in range(len(generations))
        ]
        told = [figures(one, texts.answer.since) for one in generations]
        if len(told) > 1:
            choices = [choice | own for choice, own in zip(choices, told, strict=True)]
        return {
            **self._head("chat.completion"),
            "choices": choices,
            "usage": self._usage(texts),
            **(told[0] if len(told) == 1 else {}),
        }

    def _usage(self, texts: Texts) -> dict[str, Any]:
        answer = texts.answer
        return usage(len(answer.prompts[0].tokens), answer.generations, texts.reasoning)

    def _logprobs(self, texts: Texts, index: int) -> dict[str, Any] | None:
        if not self.body.logprobs:
            return None
        vocab = self.context.served.model.vocab
        return {"content": chat_logprobs(vocab, texts.answer.generations[index].logprobs)}

    async def chunks(self, texts: Texts, parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
        """The events of a streamed answer."""
        for index in range(len(texts.readers)):
            yield self._chunk(index, {"role": "assistant", "content": ""})
        async for part in parts:
            logprobs = self._part_logprobs(part.event)
            for delta in part.deltas or ([Delta()] if logprobs else []):
                yield self._chunk(part.index, _delta(delta), logprobs=logprobs)
                logprobs = None
            if isinstance(part.event, Finished):
                yield self._last(texts, part.index)
            elif self.body.token_sources:
                sources = token_sources(self.context.served.model.vocab, part.event)
                yield event({**self._head(_CHUNK), "choices": [], "round": sources})
        options = self.body.stream_options
        if options is not None and options.include_usage:
            yield event({**self._head(_CHUNK), "choices": [], "usage": self._usage(texts)})
        yield DONE

    def _chunk(
        self,
        index: int,
        delta: Mapping[str, Any],
        *,
        finish: str | None = None,
        logprobs: Mapping[str, Any] | None = None,
        **more: object,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return event({**self._head(_CHUNK), "choices": [choice], **more})

    def _last(self, texts: Texts, index: int) -> bytes:
        answer = texts.answer
        told = figures(answer.generations[index], answer.since)
        return self._chunk(index, {}, finish=texts.finish_reason(index), **told)

    def _part_logprobs(self, found: Round | Finished) -> dict[str, Any] | None:
        if not self.body.logprobs or not isinstance(found, Round) or not found.logprobs:
            return None
        return {"content": chat_logprobs(self.context.served.model.vocab, found.logprobs)}


_CHUNK = "chat.completion.chunk"


def _message(deltas: list[Delta], calls: list[Call]) -> dict[str, Any]:
    text = "".join(delta.text for delta in deltas)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if reasoning := "".join(delta.reasoning for delta in deltas):
        message["reasoning_content"] = reasoning
    if calls:
        message["content"] = text.strip() or None
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in calls
        ]
    return message


def _delta(delta: Delta) -> dict[str, Any]:
    if delta.name is not None:
        call = {
            "index": delta.index,
            "id": delta.id,
            "type": "function",
            "function": {"name": delta.name, "arguments": ""},
        }
        return {"tool_calls": [call]}
    if delta.arguments:
        return {"tool_calls": [{"index": delta.index, "function": {"arguments": delta.arguments}}]}
    found = {"content": delta.text, "reasoning_content": delta.reasoning}
    return {name: text for name, text in found.items() if text}
