"""From the fields of a request to what the engine is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from specli.api.requests import Request, Tokenised
from specli.api.sampling import SamplingParams
from specli.llama.chat import prompt_text, tokens_of, with_system
from specli.llama.model import Model
from specli.llama.reasoning import Thoughts
from specli.option_table import AUTO
from specli.server.errors import TOO_LONG, RequestError, require_unicode, wrong
from specli.server.fields import Chat, ChatMessage, Completion, Format, Sampling, joined
from specli.server.settings import MOST_CHOICES, MOST_CONSTRAINT
from specli.server.speculation import speculation
from specli.server.tools.choice import ToolUse, tool_use
from specli.server.tools.formats import format_of
from specli.server.tools.prompt import for_template
from specli.speculative import DrafterConfig

_ANY_OBJECT = '{"type": "object"}'
_NEVER = -1e9
"""The bias that `false` means in llama.cpp's `logit_bias`; finite, so that sums stay numbers."""


@dataclass(frozen=True, slots=True)
class Served:
    """What answers requests: the target, the server's own settings, and its drafters."""

    model: Model
    name: str
    n_ctx: int
    defaults: SamplingParams
    seed: int | None = None
    system: str = ""
    reasoning: str = AUTO
    """`none` leaves what a model thinks before it answers in the answer."""
    drafters: Sequence[DrafterConfig] = ()
    """Those that propose at all."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests for the engine, one for each text that is wanted, and their prompts.

    With `reasons` what a model thinks before it answers is told from the answer.
    """

    requests: list[Request]
    prompts: list[Tokenised]
    tools: ToolUse = field(default_factory=ToolUse)
    reasons: bool = False

    def thoughts(self) -> list[Thoughts | None]:
        """Of each text, who tells its reasoning from its answer."""
        return [Thoughts(one.text or "") if self.reasons else None for one in self.prompts]


def ask_chat(served: Served, body: Chat) -> Asked:
    """A conversation. Raises RequestError, and UsageError for what the template refuses."""
    tools = tool_use(served.model, body)
    messages = list(body.messages)
    text = chat_text(served, messages, tools.described)
    prompt = Tokenised(text, tokens_of(served.model, text))
    params = _params(served, body)
    constraint = _constraint(body, body.response_format)
    if tools.described:
        if constraint:
            raise wrong("response_format", "cannot be combined with tools")
        if tools.grammar is not None:
            constraint = {"grammar": tools.grammar, "json_schema": None}
    params = replace(params, **constraint)
    if tools.stops:
        params = replace(params, stop=(*params.stops, *tools.stops))
    top = (body.top_logprobs or 0) if body.logprobs else None
    if body.top_logprobs is not None and not body.logprobs:
        raise wrong("top_logprobs", "needs logprobs: true")
    request = replace(
        _request(served, body, params, prompt, _predicted(served.model, body), top),
        spelled=tools.spelled,
        trigger=tools.trigger,
    )
    asked = _several(request, [prompt], body.n or 1, tools)
    # Where a grammar writes the answer from its first token on, nothing stands before it.
    free = tools.trigger is not None or (params.grammar is None and params.json_schema is None)
    return replace(asked, reasons=free and (body.reasoning_format or served.reasoning) != "none")


def ask_completion(served: Served, body: Completion) -> Asked:
    """Texts to be continued. Raises RequestError."""
    prompts = [_tokenised(served.model, one) for one in _prompts(body.prompt)]
    n = body.n or 1
    if n * len(prompts) > MOST_CHOICES:
        raise wrong("n", f"at most {MOST_CHOICES} texts for one request")
    params = replace(_params(served, body), **_constraint(body, None))
    predicted = _predicted(served.model, body)
    top = body.logprobs
    asked = [
        _several(_request(served, body, params, prompt, predicted, top), [prompt], n, ToolUse())
        for prompt in prompts
    ]
    return Asked([one for each in asked for one in each.requests],
                 [one for each in asked for one in each.prompts])  # fmt: skip


def chat_text(
    served: Served, messages: Sequence[ChatMessage], tools: Sequence[Mapping[str, Any]] = ()
) -> str:
    """The conversation as the model reads it. Raises UsageError for what the template refuses."""
    form = format_of(served.model.chat_template)
    found = for_template(messages, tools, form)
    found = with_system(served.system, found)
    require_unicode([one.content for one in found], "messages")
    return prompt_text(served.model, found, tools if form.native else ())


def _several(request: Request, prompts: list[Tokenised], n: int, tools: ToolUse) -> Asked:
    """`n` requests that differ in their seeds alone."""
    requests = [replace(request, seed=request.seed + index) for index in range(n)]
    return Asked(requests, prompts * n, tools)


def _request(
    served: Served,
    body: Sampling,
    params: SamplingParams,
    prompt: Tokenised,
    predicted: tuple[int, ...],
    top: int | None,
) -> Request:
    on, limits = speculation(body, served.drafters, predicts=bool(predicted))
    if body.token_sources and top is None:
        top = 0
    return Request(
        prompt.tokens,
        params,
        params.chosen_seed(served.seed),
        prediction=predicted,
        speculate=on,
        limits=limits,
        top_logprobs=top,
    )


_SAME = (
    *("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty"),
    *("repeat_last_n", "ignore_eos", "exact", "seed"),
)
"""Fields of requests with the names of the parameters."""


def _params(served: Served, body: Sampling) -> SamplingParams:
    """The server's own parameters, where the request does not say otherwise."""
    own = served.defaults
    given: dict[str, Any] = {name: getattr(body, name) for name in _SAME}
    given |= {"repetition_penalty": body.repeat_penalty, "stop": body.stops}
    given["max_tokens"] = body.limit
    given = {name: value for name, value in given.items() if value is not None}
    for name in ("seed", "max_tokens"):
        if given.get(name) == -1:
            given[name] = None
    if given.get("repeat_last_n") == -1:
        given["repeat_last_n"] = served.n_ctx
    if body.logit_bias is not None:
        given["logit_bias"] = _bias(body.logit_bias, served.model.vocab.size)
    if "stop" in given:
        require_unicode(given["stop"], "stop")
    return replace(own, **given)


def _bias(given: Mapping[str, float] | Sequence[list[Any]], size: int) -> dict[int, float]:
    pairs = list(given.items()) if isinstance(given, Mapping) else [tuple(one[:2]) for one in given]
    found = {}
    for key, value in pairs:
        token = int(key) if str(key).isdecimal() and len(str(key)) < 10 else -1
        if isinstance(key, bool) or not 0 <= token < size:
            raise wrong("logit_bias", f"{str(key)[:20]!r} is no token of this model")
        if value is False:
            value = _NEVER
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e10:
            raise wrong("logit_bias", "a bias is a number, or false for never")
        found[token] = float(value)
    return found


def _constraint(body: Sampling, form: Format | None) -> dict[str, Any]:
    """What the text must follow, as parameters; nothing where the server's own apply."""
    given: dict[str, Any] = {}
    if body.grammar is not None:
        given["grammar"] = body.grammar
    if body.json_schema is not None:
        given["json_schema"] = _schema_text(body.json_schema, "json_schema")
    if form is not None and form.type != "text":
        given["json_schema"] = _format_schema(form)
    if len(given) > 1:
        raise wrong("grammar", "a text follows one grammar or one schema")
    # One of the server's own must not stay beside it.
    return {"grammar": None, "json_schema": None, **given} if given else {}


def _format_schema(form: Format) -> str:
    if form.type == "json_object":
        return _ANY_OBJECT if form.schema_ is None else _schema_text(
            form.schema_, "response_format.schema"
        )  # fmt: skip
    if form.json_schema is None:
        raise wrong("response_format.json_schema", "is missing")
    schema = form.json_schema.schema_ if form.json_schema.schema_ is not None else {}
    return _schema_text(schema, "response_format.json_schema.schema")


def _schema_text(schema: dict[str, Any] | bool, name: str) -> str:
    require_unicode(schema, name)
    text = json.dumps(schema, ensure_ascii=False)
    if len(text) > MOST_CONSTRAINT:
        raise wrong(name, f"at most {MOST_CONSTRAINT} characters")
    return text


def _predicted(model: Model, body: Chat | Completion) -> tuple[int, ...]:
    if body.prediction is None:
        return ()
    text = joined(body.prediction.content)
    require_unicode(text, "prediction")
    return tuple(model.vocab.tokenize(text, add_special=False, parse_special=False))


def _prompts(given: str | Sequence[Any]) -> list[str | list[int]]:
    """`prompt` may be a text, tokens, or a list of either."""
    if isinstance(given, str) or isinstance(given[0], int):
        return [given if isinstance(given, str) else list(given)]
    return list(given)


def _tokenised(model: Model, prompt: str | list[int]) -> Tokenised:
    if isinstance(prompt, str):
        require_unicode(prompt, "prompt")
        tokens = model.vocab.tokenize(prompt, add_special=True)
        return Tokenised(prompt, tokens)
    if any(not 0 <= token < model.vocab.size for token in prompt):
        raise wrong("prompt", f"token ids go from 0 to {model.vocab.size - 1}")
    return Tokenised(None, prompt)


def require_answerable(asked: Asked, n_ctx: int) -> None:
    """Raises RequestError for a prompt that is empty or leaves no room for an answer."""
    for prompt in asked.prompts:
        if not prompt.tokens:
            raise RequestError(400, "the prompt is empty", param="prompt")
        if len(prompt.tokens) >= n_ctx:
            raise RequestError(
                400,
                f"the prompt has {len(prompt.tokens)} tokens, but the context holds {n_ctx} "
                "with room for an answer",
                param="messages",
                code=TOO_LONG,
            )
