"""`POST /v1/messages`: Anthropic's API, text and tools."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from specli.server.anthropic_fields import Counted, Messages, as_chat
from specli.server.asking import Asked, Served, ask_chat
from specli.server.blocks import Block, Blocks, Step, blocks_of
from specli.server.context import Context, Part, Texts
from specli.server.errors import RequestError
from specli.server.figures import figures
from specli.server.stream import event
from specli.server.tools.reader import Delta


def routes(context: Context) -> APIRouter:
    """The paths of this module."""
    router = APIRouter()

    @router.post("/v1/messages", response_model=None, tags=["Anthropic"])
    async def messages(body: Messages, request: Request) -> Response:
        """Answer a conversation in Anthropic's form."""
        return await context.answer(request, _ask, body, _Message(context, body))

    @router.post("/v1/messages/count_tokens", response_model=None, tags=["Anthropic"])
    async def count_tokens(body: Counted) -> Response:
        """The tokens of a conversation, as the model reads it."""
        asked = await context.asked(_ask, body)
        return JSONResponse({"input_tokens": len(asked.prompts[0].tokens)})

    return router


def _ask(served: Served, body: Counted) -> Asked:
    return ask_chat(served, as_chat(body))


@dataclass(slots=True)
class _Message:
    """Answers in the form of Anthropic's messages."""

    context: Context
    body: Messages
    id: str = field(default_factory=lambda: f"msg_{token_hex(12)}")

    def failed(self, error: RequestError) -> bytes:
        """As Anthropic's clients read it."""
        return event(error.anthropic_body(), "error")

    def _head(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.context.served.name,
        }

    def whole(self, texts: Texts, deltas: list[list[Delta]]) -> Mapping[str, Any]:
        """The body of a complete answer."""
        return {
            **self._head(),
            "content": [_content(block) for block in blocks_of(deltas[0])],
            **self._stop(texts),
            "usage": _usage(texts),
            **figures(texts.answer.generations[0], texts.answer.since),
        }

    def _stop(self, texts: Texts) -> dict[str, Any]:
        """Why the answer ended."""
        generation = texts.answer.generations[0]
        reason, sequence = "end_turn", None
        if generation.finish == "length":
            reason = "max_tokens"
        elif texts.readers[0].calls:
            reason = "tool_use"
        else:
            text = self.context.served.model.vocab.detokenize(generation.tokens)
            found = [(text.find(one), one) for one in self.body.stop_sequences or () if one in text]
            if found:
                reason, sequence = "stop_sequence", min(found)[1]
        return {"stop_reason": reason, "stop_sequence": sequence}

    async def chunks(self, texts: Texts, parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
        """The events of a streamed answer."""
        unfinished: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
        start = {**self._head(), **unfinished, "usage": {**_usage(texts), "output_tokens": 0}}
        yield _event("message_start", message=start)
        blocks = Blocks()
        async for part in parts:
            for step in blocks.take(part):
                yield _step(step)
        told = figures(texts.answer.generations[0], texts.answer.since)
        yield _event("message_delta", delta=self._stop(texts), usage=_usage(texts), **told)
        yield _event("message_stop")


def _event(kind: str, **more: Any) -> bytes:
    return event({"type": kind, **more}, kind)


def _step(step: Step) -> bytes:
    kind, block, more = step
    match kind:
        case "open":
            empty = replace(block, text="")
            return _event("content_block_start", index=block.index, content_block=_content(empty))
        case "more":
            delta = {"type": "text_delta", "text": more}
            if block.thought:
                delta = {"type": "thinking_delta", "thinking": more}
            if block.name is not None:
                delta = {"type": "input_json_delta", "partial_json": more}
            return _event("content_block_delta", index=block.index, delta=delta)
        case _:
            return _event("content_block_stop", index=block.index)


def _content(block: Block) -> dict[str, Any]:
    if block.thought:
        return {"type": "thinking", "thinking": block.text, "signature": ""}
    if block.name is None:
        return {"type": "text", "text": block.text}
    call = block.id.replace("call_", "toolu_")
    return {"type": "tool_use", "id": call, "name": block.name, "input": block.input}


def _usage(texts: Texts) -> dict[str, int]:
    """Tokens; as in Anthropic's API, `input_tokens` leaves out those that were in the cache."""
    stats = texts.answer.generations[0].stats
    return {
        "input_tokens": len(texts.answer.prompts[0].tokens) - stats.prompt_cached,
        "cache_read_input_tokens": stats.prompt_cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": stats.predicted_n,
    }
