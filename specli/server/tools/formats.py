"""How families of models write calls: a table, and how a template tells which family it is."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """A call is `opening`, a JSON object with a name and `arguments`, and `closing`.

    Without an `opening` a call is the whole answer. With `listed` one opening stands before a JSON
    list of calls, or before a name and its arguments. `spelled` are control tokens that belong to
    the text. A template that is not `native` is not given the tools: a system message lists them.

    Where a grammar writes the calls, `start` stands before the first, `end` behind each, `between`
    before each further one, and `last` at the end of all. With `named` the name stands before the
    arguments, and this between the two.
    """

    name: str
    opening: str = ""
    closing: str = ""
    arguments: str = "arguments"
    listed: bool = False
    spelled: tuple[str, ...] = ()
    native: bool = True
    start: str = ""
    end: str = ""
    between: str = "; "
    last: str = ""
    named: str = ""


HERMES = ToolFormat(
    "hermes",
    "<tool_call>",
    "</tool_call>",
    spelled=("<tool_call>", "</tool_call>"),
    start="<tool_call>\n",
    end="\n</tool_call>",
    between="\n<tool_call>\n",
)
"""Hermes 2 Pro, Qwen 2.5 and 3, and most that were trained on their data."""

MISTRAL = ToolFormat(
    "mistral",
    "[TOOL_CALLS]",
    listed=True,
    spelled=("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
    start="[TOOL_CALLS][",
    between=", ",
    last="]",
)

MISTRAL_ARGS = replace(
    MISTRAL, start="[TOOL_CALLS]", between="[TOOL_CALLS]", last="", named="[ARGS]"
)
"""Mistral's templates since the middle of 2025."""

LLAMA3 = ToolFormat("llama3", arguments="parameters", spelled=("<|python_tag|>",))
"""Llama 3.1 to 3.3: JSON as the whole answer, sometimes after `<|python_tag|>`."""

GENERIC = ToolFormat("generic", native=False)
"""Any other model: it is told in a system message to answer with JSON."""


def format_of(template: str | None) -> ToolFormat:
    """The format that a chat template shows its model.

    A template that names `tools` and none of the known marks gets JSON as the whole answer.
    """
    if template is None or "tools" not in template:
        return GENERIC
    for one in (HERMES, MISTRAL):
        if one.opening in template:
            return MISTRAL_ARGS if one is MISTRAL and MISTRAL_ARGS.named in template else one
    if '"parameters"' in template or "<|python_tag|>" in template:
        return LLAMA3
    return ToolFormat("json")
