"""Chat messages to prompt text, by the template that the model carries."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import llama_cpp

from specli.errors import UsageError
from specli.llama.child import ChildError
from specli.llama.model import Model
from specli.llama.rendering import Renderer
from specli.llama.vocab import Vocab

_renderer = Renderer()

Tools = Sequence[Mapping[str, Any]]
"""Functions in the form of OpenAI's `tools`."""


@dataclass(frozen=True, slots=True)
class Message:
    """`more` are further fields that templates read, such as `tool_calls` and `tool_call_id`."""

    role: str
    content: str
    more: Mapping[str, Any] = field(default_factory=dict)


def with_system(text: str | None, messages: list[Message]) -> list[Message]:
    """The messages after this system message, where there is one and they have none."""
    if not text or (messages and messages[0].role == "system"):
        return messages
    return [Message("system", text), *messages]


def make_ready() -> None:
    """Start the process that renders templates, while there is something else to wait for."""
    _renderer.child.start()


def prompt_text(model: Model, messages: list[Message], tools: Tools = ()) -> str:
    """A conversation as the model's template writes it, ready for the assistant's answer.

    A model without a template gets the contents as they are, one paragraph each. Raises
    UsageError when neither Jinja nor llama.cpp's built-in formats can apply the template.
    """
    template = model.chat_template
    if template is None:
        return "\n\n".join(message.content for message in messages)
    return _render(model.vocab, template, messages, tools)


def prompt_tokens(model: Model, messages: list[Message]) -> list[int]:
    """Tokens of `prompt_text`, and of BOS where the model wants it. Raises as `prompt_text`."""
    return tokens_of(model, prompt_text(model, messages))


def tokens_of(model: Model, text: str) -> list[int]:
    """Tokens of what `prompt_text` wrote, and of BOS where the model wants it."""
    bos = model.vocab.name(model.vocab.bos) if model.vocab.bos >= 0 else ""
    # Many templates write BOS themselves; adding it twice changes the model's answers.
    has_bos = bool(bos) and text.startswith(bos)
    return model.vocab.tokenize(text, add_special=not has_bos)


@cache
def built_in_formats() -> tuple[str, ...]:
    """The names of llama.cpp's own formats."""
    count = llama_cpp.llama_chat_builtin_templates(None, 0)
    names = (ctypes.c_char_p * count)()
    llama_cpp.llama_chat_builtin_templates(names, count)
    return tuple(name.decode() for name in names)


def _render(vocab: Vocab, template: str, messages: list[Message], tools: Tools) -> str:
    """The template's own Jinja first (in a sandbox): llama.cpp's built-in formats leave out what
    a template adds by itself, such as a default system prompt."""
    if template in built_in_formats():
        return _named(template, messages)
    bos, eos = (vocab.name(token) if token >= 0 else "" for token in (vocab.bos, vocab.eos))
    variables = {
        "messages": [{"role": m.role, "content": m.content, **m.more} for m in messages],
        "tools": [dict(tool) for tool in tools] or None,
        "bos_token": bos,
        "eos_token": eos,
        "add_generation_prompt": True,
    }
    try:
        return _renderer.render(template, variables)
    except ChildError as error:
        text = _built_in(template, messages)
        if text is None:
            raise UsageError(
                f"the model's chat template refuses these messages: {error}",
                hint="`raw` sends the prompt without a template",
            ) from None
        return text


def _named(name: str, messages: list[Message]) -> str:
    text = _built_in(name, messages)
    if text is None:
        raise UsageError(
            f"llama.cpp's format {name} cannot write these messages",
            hint="`chat_template_file` reads a Jinja template",
        )
    return text


def _built_in(template: str, messages: list[Message]) -> str | None:
    """llama.cpp's built-in format for a template it recognises, else None."""
    chat = (llama_cpp.llama_chat_message * len(messages))(
        *(llama_cpp.llama_chat_message(m.role.encode(), m.content.encode()) for m in messages)
    )
    room = 256 + 2 * sum(len(m.content.encode()) + len(m.role) for m in messages)
    for _attempt in range(2):
        buffer = ctypes.create_string_buffer(room)
        count = llama_cpp.llama_chat_apply_template(
            template.encode(), chat, len(messages), True, buffer, room
        )
        if count < 0:
            return None
        if count <= room:
            return buffer.raw[:count].decode("utf-8", "replace")
        room = count
    return None
