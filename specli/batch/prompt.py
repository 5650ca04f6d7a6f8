"""One prompt of a batch, whichever form its line has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from specli.batch.fields import Body, FieldError, Line, Request, parsed
from specli.escapes import NO_UNICODE, is_unicode


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and the settings of its line; None: the flags decide.

    `messages` are (role, text). A `raw` prompt has one message and no chat template.
    """

    id: str
    location: str
    messages: tuple[tuple[str, str], ...]
    raw: bool = False
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    json_schema: str | None = None
    prediction: str | None = None
    speculative: Mapping[str, Any] | None = None
    """The fields of `Speculative`."""
    exact: bool | None = None


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that cannot be answered, and the reason, which may be a fault of specli."""

    location: str
    reason: str
    fault: bool = False


def require_unicode(prompt: Prompt) -> None:
    """Raises FieldError for half of a surrogate pair, which JSON's escapes can spell."""
    for name, value in asdict(prompt).items():
        if not is_unicode(value):
            raise FieldError(f"{name}: {NO_UNICODE}")


def own_prompt(location: str, id_: str, fields: Mapping[str, object]) -> Prompt:
    """A prompt from a line of specli's own form, with `id_` if it has no id of its own.

    Raises FieldError for a line that cannot be answered.
    """
    line = parsed(Line, fields)
    if (line.prompt is None) == (line.messages is None):
        given = "neither" if line.prompt is None else "both"
        raise FieldError(f"needs one of prompt and messages, has {given}")
    messages = [("user", line.prompt or "")]
    if line.messages is not None:
        messages = [(message.role, message.text) for message in line.messages]
    if line.system is not None and messages[0][0] == "system":
        raise FieldError("two system messages: the field system, and a message")
    schema = line.json_schema
    if schema is not None and not isinstance(schema, str):
        schema = json.dumps(schema)
    return Prompt(
        id=id_ if line.id is None else str(line.id),
        location=location,
        messages=tuple(messages),
        system=line.system,
        max_tokens=line.max_tokens,
        json_schema=schema,
        prediction=line.prediction,
        exact=line.exact,
        **_shared(line),
    )


def requested_prompt(location: str, fields: Mapping[str, object]) -> Prompt:
    """A prompt from a line of OpenAI's batch input. Raises FieldError as `own_prompt`."""
    request = parsed(Request, fields)
    body = request.body
    raw = request.url.endswith("/v1/completions")
    if raw:
        messages = [("user", body.prompt)] if body.prompt is not None else []
    else:
        messages = [(message.role, message.text) for message in body.messages or []]
    if not messages:
        raise FieldError(f"body.{'prompt' if raw else 'messages'} is missing")
    return Prompt(
        id=request.custom_id,
        location=location,
        messages=tuple(messages),
        raw=raw,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        top_p=body.top_p,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        json_schema=body.schema_text,
        prediction=body.predicted,
        **_shared(body),
    )


def _shared(one: Line | Body) -> dict[str, Any]:
    """The settings that both forms of a line write alike."""
    asked = one.speculative
    stop = [one.stop] if isinstance(one.stop, str) else one.stop
    return {
        "temperature": one.temperature,
        "seed": one.seed,
        "stop": None if stop is None else tuple(stop),
        "speculative": None if asked is None else asked.model_dump(exclude_none=True),
    }
