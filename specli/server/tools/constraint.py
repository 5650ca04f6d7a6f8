"""A grammar for calls: the model can write nothing but valid ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from specli.errors import UsageError
from specli.llama.guidance import LARK, embedded_schema, literal, schema_rules
from specli.llama.vocab import Vocab
from specli.server.errors import wrong
from specli.server.tools.formats import ToolFormat

_NO_CALL = r"/(?s:\s*[^\s{\[].*)?/"
"""Any text that the reader does not take for the beginning of a call."""


def call_rules(
    vocab: Vocab,
    tools: Sequence[Mapping[str, Any]],
    form: ToolFormat,
    *,
    several: bool,
    forced: bool,
) -> str:
    """A Lark grammar of calls in the form of the model's family, with the marks around them.

    White space is as templates print it, so that all but values is forced. Calls that are not
    `forced` begin behind the first mark, which is in the text already; in a family without marks
    the text may also be another one. Raises RequestError for parameters that are no object or
    cannot be followed.
    """

    def text(given: str) -> str:
        return literal(vocab, given, form.spelled)

    start = form.start if forced else form.start.removeprefix(form.opening)
    more = f"({text(form.between)} call {text(form.end)})*" if several else ""
    rules = [
        f"{LARK} {{}}",
        "start: calls" + ("" if forced or form.opening else f" | {_NO_CALL}"),
        f"calls: {text(start)} call {text(form.end)} {more} {text(form.last)}",
        "call: " + " | ".join(f"call{index}" for index in range(len(tools))),
    ]
    for index, tool in enumerate(tools):
        before, after = _around(tool["function"]["name"], form)
        rules.append(f"call{index}: {text(before)} arguments{index} {text(after)}")
        rules.append(f"arguments{index}: {embedded_schema(_arguments(tool['function']))}")
    return "\n".join(rules)


def _around(name: str, form: ToolFormat) -> tuple[str, str]:
    """What stands before and behind the arguments of a call."""
    if form.named:
        return name + form.named, ""
    return f'{{"name": {json.dumps(name)}, "{form.arguments}": ', "}"


def _arguments(function: Mapping[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", **(function.get("parameters") or {"properties": {}})}
    if schema["type"] != "object":
        raise wrong("tools", f"the parameters of {function['name']} are not of type object")
    try:
        schema_rules(json.dumps(schema))
    except UsageError as error:
        raise wrong("tools", f"{function['name']}: {error.message}") from None
    return schema
