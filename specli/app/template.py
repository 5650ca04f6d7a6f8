"""What the options say of the chat template: another one, and variables for it."""

from __future__ import annotations

import json
import re

from specli.errors import UsageError
from specli.options import Options

_NAME = re.compile(r"[A-Za-z_]\w*")


def chosen_template(given: str | None, file: str | None) -> str | None:
    """The template to use in place of the model's: the one that was given, or a file's text.

    Raises UsageError for both of them, and for a name of llama.cpp's built-in formats.
    """
    if given is None:
        return file
    if file is not None:
        raise UsageError(
            "--chat-template and --chat-template-file were both given",
            hint="a prompt has one template: give one of them",
        )
    if "{" not in given:
        raise UsageError(
            f"--chat-template takes the text of a Jinja template, not {given!r}",
            hint="templates have no names here: --chat-template-file FILE reads one",
        )
    return given


def template_variables(options: Options) -> str:
    """Jinja that sets the variables that the options give, to be put before a template.

    `enable_thinking` is the name that llama.cpp and most templates have for reasoning.
    Raises UsageError for what is no JSON object.
    """
    values: dict[str, object] = {}
    if options.reasoning in ("on", "off"):
        values["enable_thinking"] = options.reasoning == "on"
    if options.chat_template_kwargs is not None:
        values |= _object(options.chat_template_kwargs)
    return "".join(f"{{%- set {name} = {value!r} -%}}" for name, value in values.items())


def _object(text: str) -> dict[str, object]:
    try:
        values = json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise UsageError(f"--chat-template-kwargs is not valid JSON: {error}") from None
    if not isinstance(values, dict) or not all(map(_NAME.fullmatch, values)):
        raise UsageError(
            "--chat-template-kwargs is no JSON object of variables",
            hint="such as '{\"enable_thinking\": false}'",
        )
    return values


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")
