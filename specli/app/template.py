"""What the options say of the chat template: another one, and variables for it."""

from __future__ import annotations

import difflib
import json
import re

from specli.errors import UsageError
from specli.llama.chat import built_in_formats
from specli.options import Options

_NAME = re.compile(r"[A-Za-z_]\w*")


def chosen_template(given: str | None, file: str | None) -> str | None:
    """The template to use in place of the model's: the one that was given, the name of one of
    llama.cpp's built-in formats, or a file's text.

    Raises UsageError for both of them, and for a name that llama.cpp has not.
    """
    if given is None:
        return file
    if file is not None:
        raise UsageError(
            "--chat-template and --chat-template-file were both given",
            hint="a prompt has one template: give one of them",
        )
    if "{" not in given and given not in built_in_formats():
        close = difflib.get_close_matches(given, built_in_formats(), n=1)
        raise UsageError(
            f"--chat-template {given!r} is neither a Jinja template nor one of llama.cpp's formats",
            hint=f"did you mean {close[0]}?"
            if close
            else f"there are: {', '.join(built_in_formats())}",
        )
    return given


def template_variables(options: Options, template: str | None) -> str:
    """Jinja that sets the variables that the options give, to be put before a template.

    `enable_thinking` is the name that llama.cpp and most templates have for reasoning.
    Raises UsageError for what is no JSON object, and for variables of a built-in format.
    """
    values: dict[str, object] = {}
    if options.reasoning in ("on", "off"):
        values["enable_thinking"] = options.reasoning == "on"
    if options.chat_template_kwargs is not None:
        values |= _object(options.chat_template_kwargs)
    if values and template in built_in_formats():
        raise UsageError(
            f"llama.cpp's format {template} takes no variables",
            hint="leave --reasoning and --chat-template-kwargs out, or give a Jinja template",
        )
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
