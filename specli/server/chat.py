"""`POST /v1/chat/completions`"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from specli.events import Round, TokenLogprob
from specli.server.asking import ask_chat
from specli.server.choices import Choices
from specli.server.context import Context, Part, Texts
from specli.server.fields import Chat
from specli.server.figures import chat_logprobs, token_sources, usage
from specli.server.tools.reader import Call, Delta


def routes(context: Context) -> APIRouter:
    """The paths of this module."""
    router = APIRouter()

    @router.post("/v1/chat/completions", response_model=None, tags=["OpenAI"])
    async def chat_completions(body: Chat, request: Request) -> Response:
        """Answer a conversation, in one piece or as server-sent events."""
        return await context.answer(request, ask_chat, body, _ChatAnswer(context, body))

    return router


class _ChatAnswer(Choices[Chat]):
    """Answers in the form of chat completions."""

    prefix = "chatcmpl"
    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"
    nothing: ClassVar[Mapping[str, Any]] = {"delta": {}, "logprobs": None}

    def content(self, texts: Texts, index: int, deltas: list[Delta]) -> Mapping[str, Any]:
        """The message."""
        logprobs = self._logprobs(texts.answer.generations[index].logprobs)
        return {"message": _message(deltas, texts.readers[index].calls), "logprobs": logprobs}

    def usage(self, texts: Texts) -> dict[str, Any]:
        """One prompt for all choices."""
        answer = texts.answer
        return usage(len(answer.prompts[0].tokens), answer.generations, texts.reasoning)

    async def chunks(self, texts: Texts, parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
        """The events of a streamed answer; each message begins with its role."""
        begun = {"delta": {"role": "assistant", "content": ""}, "logprobs": None}
        for index in range(len(texts.readers)):
            yield self.chunk(index, begun)
        async for chunk in super().chunks(texts, parts):
            yield chunk

    def pieces(self, part: Part) -> Iterator[bytes]:
        """The deltas of a message, and who proposed its tokens."""
        found = part.event.logprobs if isinstance(part.event, Round) else None
        logprobs = self._logprobs(found) if found else None
        for delta in part.deltas or ([Delta()] if logprobs else []):
            yield self.chunk(part.index, {"delta": _delta(delta), "logprobs": logprobs})
            logprobs = None
        if self.body.token_sources and isinstance(part.event, Round):
            sources = token_sources(self.context.served.model.vocab, part.event)
            yield self.event(choices=[], round=sources)

    def _logprobs(self, found: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not self.body.logprobs:
            return None
        return {"content": chat_logprobs(self.context.served.model.vocab, found)}


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
