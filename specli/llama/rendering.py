"""Chat templates render in a child process: they are programs from a model file.

Jinja's sandbox keeps a template from reaching anything outside, but bounds neither its time nor
its memory.

    python -m specli.llama.rendering      see `specli.llama.child`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from specli.llama.child import Child, serve

SECONDS = 10
MEMORY = 512 << 20

MOST_TEXT = 64 << 20
"""Characters of a conversation; a million tokens are about 4 million."""


class Renderer:
    """Applies templates. Its calls may come from any thread."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.child = Child("specli.llama.rendering", seconds)

    def render(self, template: str, variables: Mapping[str, Any]) -> str:
        """The text of a template. Raises ChildError."""
        return str(self.child.ask({"template": template, "variables": variables})["text"])


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    pieces, length = [], 0
    for piece in _compiled(request["template"]).generate(**request["variables"]):
        length += len(piece)
        if length > MOST_TEXT:
            raise ValueError(f"it writes more than {MOST_TEXT >> 20} million characters")
        pieces.append(piece)
    return {"text": "".join(pieces)}


@lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    """The template in the environment that Transformers gives to chat templates, as
    llama-cpp-python's `Jinja2ChatFormatter` has it."""
    from datetime import datetime

    import jinja2.ext
    import jinja2.parser
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """Transformers' mark of what the assistant wrote, which changes no text."""

        tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

        def parse(self, parser: jinja2.parser.Parser) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def tojson(value: Any, ensure_ascii: bool = False, **more: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **more)

    def raise_exception(message: str) -> None:
        raise ValueError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template)


if __name__ == "__main__":
    _compiled("")  # Jinja is there before the first request.
    serve(_answer, MEMORY, SECONDS)
