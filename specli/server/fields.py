"""The fields of requests, in the spellings of OpenAI, llama.cpp and vLLM.

Unknown fields are ignored, as OpenAI's server does; a field with null is a field not given.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator

from specli.batch import fields as batch
from specli.batch.fields import Penalty, Temperature
from specli.server.settings import (
    LONGEST_STOP,
    MOST_CHOICES,
    MOST_CONSTRAINT,
    MOST_LOGPROBS,
    MOST_STOPS,
)

MOST_TOKENS = 1 << 30
MOST_SEED = (1 << 63) - 1

Count = Annotated[int, Field(ge=0, le=MOST_TOKENS)]
Length = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Limit = Annotated[int, Field(ge=-1, le=MOST_TOKENS)]
Probability = Annotated[float, Field(ge=0, le=1)]
Constraint = Annotated[str, Field(min_length=1, max_length=MOST_CONSTRAINT)]
Stop = Annotated[str, Field(max_length=LONGEST_STOP)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+$")]
"""A function's name, as OpenAI allows it, and with dots."""


class Fields(BaseModel):
    """Values are not converted: a number in quotes is not a number."""

    model_config = ConfigDict(
        extra="ignore", strict=True, frozen=True, allow_inf_nan=False, populate_by_name=True
    )


class Speculative(batch.Speculative):
    """The same as in a line of a batch, but that unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")


class VllmSpeculative(Fields):
    """vLLM's `speculative_config`, for one request. No other draft model is loaded for it."""

    method: str | None = None
    model: str | None = None
    num_speculative_tokens: Count | None = None


class StreamOptions(Fields):
    include_usage: bool | None = None


class Asking(Fields):
    """What every API calls the same."""

    model: str | None = None
    stream: bool | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-1, le=MOST_SEED)] | None = None
    speculative: Speculative | None = None


class Sampling(Asking):
    """What both forms of completions have in common."""

    stream_options: StreamOptions | None = None
    max_tokens: Length | None = None
    n_predict: Limit | None = None
    top_k: Limit | None = None
    min_p: Probability | None = None
    stop: Stop | list[Stop] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = Field(
        None, validation_alias=AliasChoices("repeat_penalty", "repetition_penalty")
    )
    repeat_last_n: Limit | None = None
    logit_bias: dict[str, float] | list[Annotated[list[Any], Field(min_length=2)]] | None = None
    ignore_eos: bool | None = None
    grammar: Constraint | None = None
    json_schema: dict[str, Any] | bool | None = None
    cache_prompt: bool | None = None
    n_max: Count | None = Field(None, validation_alias="speculative.n_max")
    n_min: Count | None = Field(None, validation_alias="speculative.n_min")
    p_min: Probability | None = Field(None, validation_alias="speculative.p_min")
    spec_type: str | None = Field(None, validation_alias="speculative.type")
    speculative_config: VllmSpeculative | None = None
    exact: bool | None = None
    """Refuse to answer unless the models are loaded with --exact."""
    token_sources: bool | None = None
    """Say for each token who proposed it, how sure that drafter was, and the target's rank."""

    @field_validator("stop")
    @classmethod
    def _few(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if isinstance(stop, list) and len(stop) > MOST_STOPS:
            raise ValueError(f"at most {MOST_STOPS} stop strings")
        return stop

    @property
    def stops(self) -> tuple[str, ...] | None:
        if self.stop is None:
            return None
        return tuple(one for one in ([self.stop] if isinstance(self.stop, str) else self.stop))

    @property
    def limit(self) -> int | None:
        """The most tokens asked for; -1 is none."""
        return self.max_tokens if self.max_tokens is not None else self.n_predict


class Part(Fields):
    type: Literal["text", "input_text", "output_text", "refusal"]
    text: str | None = None
    refusal: str | None = None


class CalledFunction(Fields):
    name: Name
    arguments: str = ""


class ToolCall(Fields):
    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class ChatMessage(Fields):
    """A message; those of an assistant may consist of calls alone."""

    role: Role
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None

    @property
    def text(self) -> str:
        return joined(self.content)


def joined(content: str | list[Part] | None) -> str:
    """The text of a content, whichever form it has."""
    if isinstance(content, list):
        return "".join(part.text or part.refusal or "" for part in content)
    return content or ""


class Function(Fields):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Fields):
    type: Literal["function"]
    function: Function


class NamedFunction(Fields):
    name: Name


class NamedTool(Fields):
    type: Literal["function"]
    function: NamedFunction


class Schema(Fields):
    name: str | None = None
    strict: bool | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class Format(Fields):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    """llama.cpp's and Together's place of the schema."""


class Predicted(Fields):
    type: Literal["content"]
    content: str | list[Part]


class Chat(Sampling):
    """`POST /v1/chat/completions`"""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Length | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    response_format: Format | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    prediction: Predicted | None = None
    reasoning_format: Literal["none", "auto", "deepseek"] | None = None
    modalities: list[Literal["text"]] | None = None
    user: str | None = None

    @property
    def limit(self) -> int | None:
        if self.max_completion_tokens is not None:
            return self.max_completion_tokens
        return super().limit


Prompts = str | list[int] | list[str] | list[list[int]]


class Completion(Sampling):
    """`POST /v1/completions`"""

    prompt: Annotated[Prompts, Field(min_length=1)]
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    prediction: Predicted | None = None
    echo: Literal[False] | None = None
    suffix: Literal[""] | None = None
    best_of: Literal[1] | None = None
    user: str | None = None


class Tokenize(Fields):
    content: str
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class Detokenize(Fields):
    tokens: list[int]


class ApplyTemplate(Fields):
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    tools: list[Tool] | None = None
