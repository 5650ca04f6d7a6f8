"""The fields of OpenAI's Responses API, and the same request as a chat completion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from specli.server.anthropic_fields import valid_chat
from specli.server.errors import RequestError
from specli.server.fields import Asking, Chat, Fields, Length, Name, Part, joined


class InputMessage(Fields):
    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]


class FunctionCall(Fields):
    type: Literal["function_call"]
    call_id: str
    name: Name
    arguments: str


class FunctionOutput(Fields):
    type: Literal["function_call_output"]
    call_id: str
    output: str | list[Part]


class Reasoning(Fields):
    """Of an earlier answer; left out."""

    type: Literal["reasoning"]


class ResponseTool(Fields):
    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseChoice(Fields):
    type: Literal["function"]
    name: Name


class TextFormat(Fields):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class Text(Fields):
    format: TextFormat | None = None


class Responses(Asking):
    """`POST /v1/responses`. Nothing is stored: the whole conversation comes with each request."""

    input: (
        str
        | Annotated[
            list[InputMessage | FunctionCall | FunctionOutput | Reasoning], Field(min_length=1)
        ]
    )
    instructions: str | None = None
    max_output_tokens: Length | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ResponseChoice | None = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    previous_response_id: str | None = None
    background: Literal[False] | None = None
    store: bool | None = None


def as_chat(body: Responses) -> Chat:
    """The same request as a chat completion. Raises RequestError."""
    messages: list[dict[str, Any]] = []
    if body.instructions:
        messages.append({"role": "system", "content": body.instructions})
    if isinstance(body.input, str):
        messages.append({"role": "user", "content": body.input})
    else:
        for item in body.input:
            _add(messages, item)
    if not messages:
        raise RequestError(400, "input: has no message", param="input")
    fields: dict[str, Any] = {"messages": messages, "max_tokens": body.max_output_tokens}
    for name in ("temperature", "top_p", "seed", "speculative", "parallel_tool_calls"):
        fields[name] = getattr(body, name)
    if body.tools:
        fields["tools"] = [
            {"type": "function", "function": tool.model_dump(exclude={"type"})}
            for tool in body.tools
        ]
    choice = body.tool_choice
    if isinstance(choice, ResponseChoice):
        choice = {"type": "function", "function": {"name": choice.name}}  # type: ignore[assignment]
    fields["tool_choice"] = choice
    form = body.text.format if body.text is not None else None
    if form is not None:
        schema = {"name": form.name, "strict": form.strict, "schema": form.schema_}
        fields["response_format"] = {"type": form.type}
        if form.type == "json_schema":
            fields["response_format"]["json_schema"] = schema
    return valid_chat(fields)


def _add(messages: list[dict[str, Any]], item: Any) -> None:
    match item:
        case InputMessage():
            messages.append({"role": item.role, "content": joined(item.content)})
        case FunctionCall():
            function = {"name": item.name, "arguments": item.arguments}
            call = {"id": item.call_id, "function": function}
            last = messages[-1] if messages else {}
            if last.get("tool_calls"):
                last["tool_calls"].append(call)
            else:
                messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        case FunctionOutput():
            text = joined(item.output)
            messages.append({"role": "tool", "tool_call_id": item.call_id, "content": text})
