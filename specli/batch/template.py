"""A prompt made from the fields of a line: `Summarise: {text}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from string import Formatter

from specli.errors import UsageError


class MissingFieldError(Exception):
    """A line lacks a field that the template uses."""


class Template:
    """Text with `{name}` in it; `{{` and `}}` are literal braces."""

    def __init__(self, text: str) -> None:
        """Raises UsageError for unbalanced braces, or braces with more than a name in them."""
        try:
            parsed = list(Formatter().parse(text))
        except ValueError as error:
            raise UsageError(
                f"invalid template: {error}", hint="write {{ and }} for literal braces"
            ) from None
        for _literal, name, form, conversion in parsed:
            if name == "" or form or conversion:
                raise UsageError(
                    "braces in the template may contain only a field name",
                    hint="such as {text}; write {{ and }} for literal braces",
                )
        self._parts = [(literal, name) for literal, name, _form, _conversion in parsed]
        if not self.names:
            raise UsageError(
                "the template uses no field, so all prompts would be the same",
                hint="such as 'Summarise: {text}'",
            )

    @property
    def names(self) -> list[str]:
        """The fields that are used, in order."""
        return [name for _literal, name in self._parts if name is not None]

    def fill(self, fields: Mapping[str, object]) -> str:
        """The prompt; values other than text are written as JSON. Raises MissingFieldError."""
        written = []
        for literal, name in self._parts:
            written.append(literal)
            if name is not None:
                if name not in fields:
                    raise MissingFieldError(f"missing field {name!r}, which the template uses")
                value = fields[name]
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                written.append(text)
        return "".join(written)
