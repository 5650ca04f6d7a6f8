"""A grammar for calls: the model can write nothing but valid ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from specli.server.tools.formats import ToolFormat

_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


def call_schema(tools: Sequence[Mapping[str, Any]], form: ToolFormat) -> dict[str, Any]:
    """The JSON schema of one call of one of the tools, in the form of the model's family."""
    definitions = {
        f"arguments{index}": _moved(
            tool["function"].get("parameters") or _NO_ARGUMENTS, f"#/$defs/arguments{index}"
        )
        for index, tool in enumerate(tools)
    }
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool["function"]["name"]},
                form.arguments: {"$ref": f"#/$defs/arguments{index}"},
            },
            "required": ["name", form.arguments],
            "additionalProperties": False,
        }
        for index, tool in enumerate(tools)
    ]
    return {"$defs": definitions, "oneOf": calls}


def _moved(schema: Any, to: str) -> Any:
    """The schema with references that still hold when it is part of another."""
    if isinstance(schema, list):
        return [_moved(one, to) for one in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value, to) for key, value in schema.items()}
    reference = moved.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = to + reference[1:]
    return moved


def call_grammar(schema_rules: str, form: ToolFormat, *, several: bool, opened: bool) -> str:
    """GBNF for calls with the marks around them.

    `schema_rules` is the grammar of `call_schema`, with its rule `root`. Where the text is already
    `opened`, the grammar starts behind the first mark.
    """
    rules = [_renamed(line) for line in schema_rules.splitlines() if line.strip()]
    before, after = ("[", "]") if form.listed else ("", "")
    first = _literal("" if opened else form.opening + before)
    if opened and form.listed:
        first = _literal(before)
    one = "calls-space calls-one calls-space"
    if form.listed:
        more = f'("," {one})*' if several else ""
        root = f"{first} {one} {more} {_literal(after)}"
    else:
        more = (
            f"({_literal(form.opening or ';')} {one} {_literal(form.closing)})*" if several else ""
        )
        root = f"{first} {one} {_literal(form.closing)} {more}"
    return "\n".join([f"root ::= {root}", 'calls-space ::= | " " | "\\n"', *rules])


def _renamed(line: str) -> str:
    name, sign, body = line.partition("::=")
    return f"calls-one {sign}{body}" if name.strip() == "root" else line


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if text else ""
