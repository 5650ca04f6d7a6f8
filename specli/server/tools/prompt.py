"""Messages and tools as a model's chat template wants them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from specli.llama.chat import Message
from specli.server.fields import ChatMessage, Tool, ToolCall
from specli.server.tools.formats import ToolFormat

_INSTRUCTIONS = (
    "You can call functions. To call one, answer with nothing but a JSON object such as "
    '{"name": "function_name", "arguments": {"key": "value"}}. '
    "Otherwise answer in plain text. The functions, with JSON schemas of their arguments:"
)


def plain_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Tools as templates print them: without the fields that were not given."""
    return [tool.model_dump(exclude_none=True, exclude={"function": {"strict"}}) for tool in tools]


def for_template(
    messages: Sequence[ChatMessage], tools: Sequence[Mapping[str, Any]], form: ToolFormat
) -> list[Message]:
    """The messages for a template.

    Where the template knows no tools, calls and results become text, and a system message says
    what can be called.
    """
    found = [
        _native(message) if form.native else _as_text(message)
        for message in messages
    ]  # fmt: skip
    if form.native or not tools:
        return found
    listed = [json.dumps(tool["function"], ensure_ascii=False) for tool in tools]
    text = "\n".join([_INSTRUCTIONS, *listed])
    if found[0].role == "system":
        return [Message("system", f"{found[0].content}\n\n{text}"), *found[1:]]
    return [Message("system", text), *found]


def _native(message: ChatMessage) -> Message:
    more: dict[str, Any] = {}
    if message.tool_calls:
        more["tool_calls"] = [
            {"id": call.id or "", "type": "function", "function": _function(call)}
            for call in message.tool_calls
        ]
    for name in ("tool_call_id", "name", "reasoning_content"):
        if (value := getattr(message, name)) is not None:
            more[name] = value
    return Message(_role(message.role), message.text, more)


def _as_text(message: ChatMessage) -> Message:
    if message.role in ("tool", "function"):
        name = message.name or message.tool_call_id or "the function"
        return Message("user", f"Result of {name}: {message.text}")
    calls = [json.dumps(_function(call), ensure_ascii=False) for call in message.tool_calls or ()]
    text = "\n".join([message.text, *calls] if message.text else calls)
    return Message(_role(message.role), text)


def _role(role: str) -> str:
    """Templates know OpenAI's newer name of the system role no more than the old `function`."""
    return {"developer": "system", "function": "tool"}.get(role, role)


def _function(call: ToolCall) -> dict[str, Any]:
    """Templates print the arguments as JSON themselves, so they get the object."""
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = call.function.arguments
    return {"name": call.function.name, "arguments": arguments}
