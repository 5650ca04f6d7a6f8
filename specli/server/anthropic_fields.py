"""The fields of Anthropic's Messages API, and the same request in OpenAI's."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from specli.server.errors import RequestError
from specli.server.fields import Asking, Chat, Fields, Length, Limit, Name, Stop
from specli.server.settings import MOST_STOPS


class TextBlock(Fields):
    type: Literal["text"]
    text: str


class ToolUseBlock(Fields):
    type: Literal["tool_use"]
    id: str
    name: Name
    input: dict[str, Any]


class ToolResultBlock(Fields):
    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[TextBlock] | None = None
    is_error: bool | None = None


class ThinkingBlock(Fields):
    """Of an earlier answer of another model; left out."""

    type: Literal["thinking", "redacted_thinking"]


Block = Annotated[
    TextBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock, Field(discriminator="type")
]


class AnthropicMessage(Fields):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class AnthropicTool(Fields):
    name: Name
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None


class AnthropicChoice(Fields):
    type: Literal["auto", "any", "tool", "none"]
    name: Name | None = None
    disable_parallel_tool_use: bool | None = None


class Counted(Fields):
    """`POST /v1/messages/count_tokens`"""

    model: str | None = None
    messages: Annotated[list[AnthropicMessage], Field(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: AnthropicChoice | None = None


class Messages(Counted, Asking):
    """`POST /v1/messages`"""

    max_tokens: Length
    top_k: Limit | None = None
    stop_sequences: Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None


def as_chat(body: Counted) -> Chat:
    """The same request as a chat completion. Raises RequestError."""
    messages: list[dict[str, Any]] = []
    if body.system:
        messages.append({"role": "system", "content": _joined(body.system)})
    for message in body.messages:
        messages += _messages(message)
    fields: dict[str, Any] = {"messages": messages}
    if body.tools:
        fields["tools"] = [_tool(tool) for tool in body.tools]
    choice = body.tool_choice
    if choice is not None:
        fields["tool_choice"] = _choice(choice)
        fields["parallel_tool_calls"] = not choice.disable_parallel_tool_use
    if isinstance(body, Messages):
        fields["stop"] = body.stop_sequences
        for name in ("max_tokens", "temperature", "top_p", "top_k", "seed", "speculative"):
            fields[name] = getattr(body, name)
    return valid_chat(fields)


def valid_chat(fields: dict[str, Any]) -> Chat:
    """A chat completion made from another API's request. Raises RequestError."""
    try:
        return Chat.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(map(str, first["loc"][:2]))
        raise RequestError(400, f"{name}: {first['msg']}", param=name) from None


def _messages(message: AnthropicMessage) -> list[dict[str, Any]]:
    """Results of calls are messages of their own in OpenAI's API."""
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    results = [
        {"role": "tool", "tool_call_id": block.tool_use_id, "content": _joined(block.content)}
        for block in message.content
        if isinstance(block, ToolResultBlock)
    ]
    calls = [
        {"id": block.id, "function": {"name": block.name, "arguments": json.dumps(block.input)}}
        for block in message.content
        if isinstance(block, ToolUseBlock)
    ]
    text = _joined([block for block in message.content if isinstance(block, TextBlock)])
    found: list[dict[str, Any]] = list(results)
    if text or calls or not results:
        found.append({"role": message.role, "content": text, "tool_calls": calls or None})
    return found


def _joined(content: str | list[TextBlock] | None) -> str:
    if isinstance(content, list):
        return "".join(block.text for block in content)
    return content or ""


def _tool(tool: AnthropicTool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.input_schema,
        "strict": tool.strict,
    }
    return {"type": "function", "function": function}


def _choice(choice: AnthropicChoice) -> Any:
    if choice.type != "tool":
        return {"any": "required"}.get(choice.type, choice.type)
    if choice.name is None:
        raise RequestError(400, "tool_choice.name: is missing", param="tool_choice.name")
    return {"type": "function", "function": {"name": choice.name}}
