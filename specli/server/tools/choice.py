"""What a request's `tools` and `tool_choice` mean for prompt, grammar and reading."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specli.llama.model import Model
from specli.llama.vocab import Vocab
from specli.server.errors import require_unicode, wrong
from specli.server.fields import Chat, NamedTool, Tool
from specli.server.settings import MOST_CONSTRAINT
from specli.server.tools.constraint import call_rules
from specli.server.tools.formats import ToolFormat, format_of
from specli.server.tools.prompt import plain_tools
from specli.server.tools.reader import Reader


@dataclass(frozen=True, slots=True)
class ToolUse:
    """How one request calls functions; by default, not at all.

    `described` are the tools that the model is told of. With `grammar` the text follows it: from
    its start, or from `trigger` on, the mark that opens a call.
    """

    form: ToolFormat | None = None
    described: Sequence[Mapping[str, Any]] = ()
    names: Collection[str] = ()
    most: int | None = None
    grammar: str | None = None
    trigger: str | None = None
    spelled: frozenset[int] = frozenset()

    @property
    def stops(self) -> tuple[str, ...]:
        """Where only one call is wanted, its end ends the answer."""
        closing = self.form.closing if self.form is not None else ""
        return (closing,) if closing and self.most == 1 and self.grammar is None else ()

    def reader(self) -> Reader:
        """A reader for one answer."""
        return Reader(self.form, self.names, self.most)


def tool_use(model: Model, body: Chat) -> ToolUse:
    """Raises RequestError for tools that are too large, chosen and not there, or not to follow."""
    choice = body.tool_choice
    tools = body.tools or []
    if not tools:
        if choice not in (None, "none", "auto"):
            raise wrong("tool_choice", "there are no tools")
        return ToolUse()
    if len({tool.function.name for tool in tools}) < len(tools):
        raise wrong("tools", "two functions have the same name")
    described = plain_tools(tools)
    _require_small(described)
    if choice == "none":
        return ToolUse()
    chosen = _chosen(tools, choice)
    form = format_of(model.chat_template)
    several = body.parallel_tool_calls is not False
    forced = choice not in (None, "auto")
    grammar = trigger = None
    if forced or all(tool.function.strict for tool in chosen):
        several = several and not isinstance(choice, NamedTool)
        grammar = call_rules(model.vocab, plain_tools(chosen), form, several=several, forced=forced)
        trigger = None if forced else form.opening or None
    return ToolUse(
        form=form,
        described=described,
        names=frozenset(tool.function.name for tool in chosen),
        most=None if several else 1,
        grammar=grammar,
        trigger=trigger,
        spelled=_tokens(model.vocab, form.spelled),
    )


def _require_small(tools: Sequence[Mapping[str, Any]]) -> None:
    require_unicode(tools, "tools")
    if len(json.dumps(tools, ensure_ascii=False).encode()) > MOST_CONSTRAINT:
        raise wrong("tools", f"at most {MOST_CONSTRAINT} bytes in all")


def _chosen(tools: Sequence[Tool], choice: object) -> list[Tool]:
    if not isinstance(choice, NamedTool):
        return list(tools)
    found = [tool for tool in tools if tool.function.name == choice.function.name]
    if not found:
        raise wrong("tool_choice", f"there is no function {choice.function.name!r}")
    return found


def _tokens(vocab: Vocab, names: Sequence[str]) -> frozenset[int]:
    """The control tokens with these names, where the vocabulary has them."""
    found = [vocab.tokenize(name, add_special=False) for name in names]
    return frozenset(one[0] for one in found if len(one) == 1 and not vocab.piece(one[0]))
