"""One prompt of a batch: what a line asks for, whichever form the line has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from specli.batch.fields import FieldError, parsed_line, parsed_request


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and what its line asks for; None leaves it to the flags.

    `messages` are (role, text). A `raw` prompt has one, which no chat template is put around.
    """

    id: str
    place: str
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


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that cannot be answered, and why."""

    place: str
    reason: str


def own_prompt(place: str, id_: str, fields: Mapping[str, object]) -> Prompt:
    """A prompt from a line of specli's own form, with `id_` where it has no id itself.

    Raises FieldError for a line that cannot be answered.
    """
    line = parsed_line(fields)
    if (line.prompt is None) == (line.messages is None):
        given = "neither" if line.prompt is None else "both"
        raise FieldError(f"one of prompt and messages is needed, {given} given")
    messages = [("user", line.prompt or "")]
    if line.messages is not None:
        messages = [(said.role, said.text) for said in line.messages]
    if line.system is not None and messages[0][0] == "system":
        raise FieldError("system is given twice, as a field and as a message")
    schema = line.json_schema
    if schema is not None and not isinstance(schema, str):
        schema = json.dumps(schema)
    return Prompt(
        id=id_ if line.id is None else str(line.id),
        place=place,
        messages=tuple(messages),
        system=line.system,
        max_tokens=line.max_tokens,
        temperature=line.temperature,
        seed=line.seed,
        stop=_stops(line.stop),
        json_schema=schema,
        prediction=line.prediction,
    )


def requested_prompt(place: str, fields: Mapping[str, object]) -> Prompt:
    """A prompt from a line of OpenAI's batch input. Raises FieldError as `own_prompt`."""
    request = parsed_request(fields)
    body = request.body
    raw = request.url.endswith("/v1/completions")
    if raw:
        messages = [("user", body.prompt)] if body.prompt is not None else []
    else:
        messages = [(said.role, said.text) for said in body.messages or []]
    if not messages:
        raise FieldError(f"body.{'prompt' if raw else 'messages'} is missing")
    return Prompt(
        id=request.custom_id,
        place=place,
        messages=tuple(messages),
        raw=raw,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        seed=body.seed,
        stop=_stops(body.stop),
        json_schema=body.schema_text,
        prediction=body.predicted,
    )


def _stops(stop: str | list[str] | None) -> tuple[str, ...] | None:
    if stop is None:
        return None
    return (stop,) if isinstance(stop, str) else tuple(stop)
