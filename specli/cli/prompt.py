"""The prompt of a command: from files, a pipe, an argument and a template, as `llm` takes it.

The parts are joined by empty lines: files, then what is piped in, then the argument. A line end
at the end of a file or pipe is left out, so that the same text is the same tokens whichever way
it comes.
"""

from __future__ import annotations

import os
import re
import select
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from specli.cli.output import print_stderr
from specli.errors import UsageError

FORMS = 'specli run "Why is the sky blue?", or -f FILE, or pipe it in'
STDIN = "-"
PATIENCE = 1.0
"""Seconds after which is said that stdin is being read."""
INPUT = "input"
"""The template's field for the parts of the prompt."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the command line says of the prompt."""

    text: str | None = None
    files: Sequence[Path] = ()
    template: str | None = None
    values: Sequence[str] = ()
    """NAME=VALUE for the template."""
    escapes: bool = False


def read_prompt(parts: Parts) -> str:
    """The whole prompt. Raises UsageError when there is none, or an empty one."""
    found = [_read(path) for path in parts.files]
    needed = parts.template is None or f"{{{INPUT}}}" in parts.template
    if parts.text == STDIN or _is_piped(required=needed and not found and parts.text is None):
        found.append(_without_line_end(_stdin()))
    if parts.text not in (None, STDIN):
        found.append(escaped(parts.text) if parts.escapes else parts.text)
    text = "\n\n".join(filter(None, found))
    if parts.template is not None:
        text = _filled(parts.template, text, parts.values)
    elif parts.values:
        raise UsageError("--value is for a template", hint="give one with --template")
    if not text:
        # A chat template would make a prompt of nothing at all.
        raise UsageError(_problem(parts, found), hint=FORMS)
    return text


def _problem(parts: Parts, found: Sequence[str]) -> str:
    if parts.text not in (None, STDIN):
        return "the prompt is empty"
    if parts.files:
        return f"{parts.files[0]} is empty"
    return "no prompt came from stdin" if found else "no prompt was given"


def _read(path: Path) -> str:
    from specli.files import read_text

    return _without_line_end(read_text(path))


def _without_line_end(text: str) -> str:
    return re.sub(r"\r?\n\Z", "", text)


def _is_piped(*, required: bool) -> bool:
    """Whether stdin holds a part of the prompt: a pipe or a file, and not a terminal.

    Where there is another prompt, what is neither, such as /dev/null or a socket of a parent that
    never writes, is left alone.
    """
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return required
    return required or stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _stdin() -> str:
    try:
        if not select.select([sys.stdin], [], [], PATIENCE)[0]:
            print_stderr("note: reading the prompt from stdin; < /dev/null leaves it out")
    except (OSError, ValueError):
        # What is no file of the system can be read at once.
        pass
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def _filled(template: str, text: str, values: Iterable[str]) -> str:
    """Raises UsageError for a field without a value, and for a value without a field."""
    from specli.batch.template import MissingFieldError, Template

    fields = {}
    for value in values:
        name, equals, given = value.partition("=")
        if not equals or not name:
            raise UsageError(f"--value takes NAME=TEXT, not {value!r}", hint="such as lang=French")
        fields[name] = given
    if text:
        fields.setdefault(INPUT, text)
    form = Template(template)
    for name in fields:
        if name not in form.names:
            raise UsageError(
                f"the template has no {{{name}}}",
                hint=f"it has {', '.join(f'{{{one}}}' for one in form.names)}",
            )
    try:
        return form.fill(fields)
    except MissingFieldError as error:
        missing = next(name for name in form.names if name not in fields)
        hint = "give the prompt" if missing == INPUT else f"give it with --value {missing}=TEXT"
        raise UsageError(f"{error}", hint=hint) from None


_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "'": "'", '"': '"', "\\": "\\"}


def escaped(text: str) -> str:
    """The text with \\n, \\r, \\t, \\', \\", \\\\ and \\x41 read as llama.cpp does with -e."""

    def meant(found: re.Match[str]) -> str:
        if found[1] is not None:
            return chr(int(found[1], 16))
        return _ESCAPES.get(found[2], found[0])

    return _ESCAPE.sub(meant, text)
