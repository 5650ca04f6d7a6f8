"""`POST /v1/responses`: OpenAI's Responses API, text and functions, without storage."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from specli.server.asking import Asked, Served, ask_chat
from specli.server.blocks import Block, Blocks, Step, blocks_of
from specli.server.context import Context, Part, Texts
from specli.server.errors import RequestError
from specli.server.figures import figures, usage
from specli.server.response_fields import Responses, as_chat
from specli.server.stream import event
from specli.server.tools.reader import Delta


def routes(context: Context) -> APIRouter:
    """The paths of this module."""
    router = APIRouter()

    @router.post("/v1/responses", response_model=None, tags=["OpenAI"])
    async def responses(body: Responses, request: Request) -> Response:
        """Answer in the form of the Responses API; nothing is stored."""
        return await context.answer(request, _ask, body, _Response(context, body))

    return router


def _ask(served: Served, body: Responses) -> Asked:
    if body.previous_response_id is not None:
        raise RequestError(
            400,
            "previous_response_id: this server stores no responses, so send the conversation "
            "with each request, as `input`",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return ask_chat(served, as_chat(body))


@dataclass(slots=True)
class _Response:
    """Answers in the form of the Responses API."""

    context: Context
    body: Responses
    id: str = field(default_factory=lambda: f"resp_{token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))
    count: int = 0

    def failed(self, error: RequestError) -> bytes:
        """As OpenAI's clients read it."""
        told = {"code": error.code or error.type, "message": error.message, "param": error.param}
        return self._event("error", **told)

    def _object(self, status: str, output: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        body = self.body
        defaults = self.context.served.defaults
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": cut,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": {},
            "model": self.context.served.name,
            "output": output,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": defaults.temperature if body.temperature is None else body.temperature,
            "top_p": defaults.top_p if body.top_p is None else body.top_p,
            "text": {"format": {"type": "text"}},
            "tool_choice": _dumped(body.tool_choice) or "auto",
            "tools": [_dumped(tool) for tool in body.tools or ()],
            "truncation": "disabled",
            "usage": None,
            **more,
        }

    def whole(self, texts: Texts, deltas: list[list[Delta]]) -> Mapping[str, Any]:
        """The body of a complete answer."""
        return self._finished(texts, [self._item(block) for block in blocks_of(deltas[0])])

    def _finished(self, texts: Texts, output: list[dict[str, Any]]) -> dict[str, Any]:
        answer = texts.answer
        generation = answer.generations[0]
        status = "incomplete" if generation.finish == "length" else "completed"
        found = usage(len(answer.prompts[0].tokens), answer.generations, texts.reasoning)
        counted = {
            "input_tokens": found["prompt_tokens"],
            "input_tokens_details": {**found["prompt_tokens_details"], "cache_write_tokens": 0},
            "output_tokens": found["completion_tokens"],
            "output_tokens_details": found["completion_tokens_details"],
            "total_tokens": found["total_tokens"],
        }
        return self._object(status, output, usage=counted, **figures(generation, answer.since))

    def _item(self, block: Block, status: str = "completed") -> dict[str, Any]:
        own = f"{self.id.removeprefix('resp_')}{block.index}"
        if block.name is not None:
            call = {"call_id": block.id, "name": block.name, "arguments": block.text}
            return {"type": "function_call", "id": f"fc_{own}", "status": status, **call}
        if block.thought:
            written = [{"type": "reasoning_text", "text": block.text}] if block.text else []
            more = {"status": status, "summary": [], "content": written}
            return {"type": "reasoning", "id": f"rs_{own}", **more}
        content = [_output_text(block.text)] if status == "completed" else []
        head = {"type": "message", "id": f"msg_{own}", "status": status, "role": "assistant"}
        return {**head, "content": content}

    async def chunks(self, texts: Texts, parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
        """The events of a streamed answer."""
        for kind in ("response.created", "response.in_progress"):
            yield self._event(kind, response=self._object("in_progress", []))
        blocks = Blocks()
        async for part in parts:
            for step in blocks.take(part):
                for chunk in self._step(step):
                    yield chunk
        done = self._finished(texts, [self._item(block) for block in blocks.all])
        yield self._event(f"response.{done['status']}", response=done)

    def _event(self, kind: str, **more: Any) -> bytes:
        number, self.count = self.count, self.count + 1
        return event({"type": kind, "sequence_number": number, **more}, kind)

    def _step(self, step: Step) -> list[bytes]:
        kind, block, more = step
        at = {"item_id": self._item(block)["id"], "output_index": block.index}
        if kind == "open":
            item = self._item(block, "in_progress")
            told = [("output_item.added", {"output_index": block.index, "item": item})]
            if block.name is None and not block.thought:
                part = {"content_index": 0, "part": _output_text("")}
                told.append(("content_part.added", {**at, **part}))
        elif block.name is not None:
            told = [("function_call_arguments.delta", {**at, "delta": more})]
            if kind == "close":
                whole = {"arguments": block.text, "name": block.name}
                told = [("function_call_arguments.done", {**at, **whole})]
        elif block.thought:
            at["content_index"] = 0
            told = [("reasoning_text.delta", {**at, "delta": more})]
            if kind == "close":
                told = [("reasoning_text.done", {**at, "text": block.text})]
        else:
            at["content_index"] = 0
            told = [("output_text.delta", {**at, "delta": more, "logprobs": []})]
            if kind == "close":
                told = [
                    ("output_text.done", {**at, "text": block.text, "logprobs": []}),
                    ("content_part.done", {**at, "part": _output_text(block.text)}),
                ]
        if kind == "close":
            done = {"output_index": block.index, "item": self._item(block)}
            told.append(("output_item.done", done))
        return [self._event(f"response.{name}", **fields) for name, fields in told]


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _dumped(value: Any) -> Any:
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value
