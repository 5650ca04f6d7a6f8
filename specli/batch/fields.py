"""The fields of a JSON line: specli's own form, and OpenAI's batch requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from specli.option_table import LARGEST, MOST_SEED, MOST_TEMPERATURE

MaxTokens = Annotated[int, Field(ge=1, le=LARGEST)]
Temperature = Annotated[float, Field(ge=0, le=MOST_TEMPERATURE)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
Text = Annotated[str, Field(min_length=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
"""The range of OpenAI's API."""
Stops = str | list[str]
Count = Annotated[int, Field(ge=0, le=LARGEST)]


class FieldError(Exception):
    """A line that cannot be answered; the message is one sentence."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Part(_Strict):
    type: Literal["text"]
    text: str


class ChatMessage(_Strict):
    """A message of a conversation."""

    role: Text
    content: str | list[Part]
    name: str | None = None

    @property
    def text(self) -> str:
        return _joined(self.content)


class Speculative(_Strict):
    """How an answer may be drafted, as in a request to `specli serve`; `false` is plainly."""

    enabled: bool = True
    drafters: list[str] | None = None
    type: str | None = None
    n_max: Count | None = None
    n_min: Count | None = None
    p_min: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _switch(cls, given: object) -> object:
        return {"enabled": given} if isinstance(given, bool) else given


class Line(_Strict):
    """A line of specli's own form; templates may use fields of other names."""

    model_config = ConfigDict(extra="ignore")

    id: str | int | None = None
    prompt: Text | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = None
    system: str | None = None
    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    json_schema: dict[str, Any] | bool | str | None = None
    prediction: str | None = None
    speculative: Speculative | None = None
    exact: bool | None = None


class _Schema(_Strict):
    model_config = ConfigDict(extra="ignore")

    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class _Format(_Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class _Predicted(_Strict):
    type: Literal["content"]
    content: str | list[Part]


class Body(_Strict):
    """The body of an OpenAI request, limited to what specli supports."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = None
    prompt: Text | None = None
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    response_format: _Format | None = None
    prediction: _Predicted | None = None
    speculative: Speculative | None = None
    n: Literal[1] = 1
    stream: Literal[False] = False
    # These name the client and the service's model and have no effect here.
    model: str | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None

    @property
    def schema_text(self) -> str | None:
        """The JSON schema that the answer must follow."""
        form = self.response_format
        if form is None or form.type == "text":
            return None
        if form.type == "json_object":
            return '{"type": "object"}'
        if form.json_schema is None:
            raise FieldError("body.response_format.json_schema is missing")
        return json.dumps(form.json_schema.schema_)

    @property
    def predicted(self) -> str | None:
        return None if self.prediction is None else _joined(self.prediction.content)


class Request(_Strict):
    """A line of OpenAI's batch input."""

    custom_id: Text
    method: Literal["POST"] = "POST"
    url: Literal["/v1/chat/completions", "/v1/completions"] = "/v1/chat/completions"
    body: Body


KNOWN = frozenset(Line.model_fields)


M = TypeVar("M", bound=BaseModel)


def parsed(model: type[M], fields: Mapping[str, object]) -> M:
    """A line's fields as `model`. Raises FieldError naming the first invalid one."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise FieldError(_sentence(error)) from None


def _joined(content: str | list[Part]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    # Unions append the names of their members to the path.
    path = [part for part in first["loc"] if isinstance(part, int) or part.isidentifier()]
    name, message = ".".join(map(str, path)), first["msg"]
    known = {"extra_forbidden": "is not supported", "missing": "is missing"}
    if first["type"] in known:
        return f"{name} {known[first['type']]}"
    return f"{name}: {message[:1].lower()}{message[1:]}"
