"""An answer taken apart as it arrives: text for the user, and calls of functions."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from secrets import token_hex

from specli.llama.reasoning import overlap
from specli.server.tools.formats import ToolFormat
from specli.server.tools.scan import CallScanner

_NAMED = re.compile(r"([\w.-]+)\s*(?:\[CALL_ID\]\w*\s*)?(?:\[ARGS\]\s*)?(?=\{)")
"""Mistral's newer form: a name, and behind it the arguments alone."""

_LONGEST_NAMED = 160
"""Characters after which that form is given up."""

_SPACE = " \t\r\n"
_BETWEEN = _SPACE + ",;]"
"""What may stand between two calls."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A part of an answer: `text`, `reasoning` before it, or of call `index` its `id` and `name`,
    or more `arguments`."""

    text: str = ""
    reasoning: str = ""
    index: int = 0
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(slots=True)
class Call:
    id: str
    name: str
    arguments: str = ""


class Reader:
    """Reads one answer. `calls` are those so far; without a format all of it is text."""

    def __init__(
        self, form: ToolFormat | None, names: Collection[str] = (), most: int | None = None
    ) -> None:
        """`names` are the functions: what calls another one is text. `most` calls are read."""
        self.calls: list[Call] = []
        self._form = form
        self._names = names
        self._most = most
        self._held = ""
        self._opened: str | None = None
        """How the call began that is being read; None outside of calls."""
        self._scanner: CallScanner | None = None
        self._call: Call | None = None
        self._out: list[Delta] = []

    def feed(self, text: str) -> list[Delta]:
        """What the next part of the answer amounts to."""
        self._held += text
        return self._read(final=False)

    def finish(self) -> list[Delta]:
        """What was held back, when the answer is over; after calls, one that was cut short is left
        out."""
        return self._read(final=True)

    def _read(self, *, final: bool) -> list[Delta]:
        while self._inside() if self._opened is not None else self._outside(final):
            pass
        if final and self._opened is not None and self._call is None and not self.calls:
            self._say(self._opened + (self._scanner.raw if self._scanner else "") + self._held)
            self._held = ""
        out, self._out = self._out, []
        return out

    def _say(self, text: str) -> None:
        if text:
            self._out.append(Delta(text))

    def _outside(self, final: bool) -> bool:
        """Pass text on until a call begins; True where one does."""
        form = self._form
        if form is not None and self._most is not None and len(self.calls) >= self._most:
            self._held = ""
            return False
        if form is not None and self.calls:
            self._skip_between(form.closing)
        if form is None:
            self._say(self._held)
            self._held = ""
            return False
        return self._bare(form, final) if not form.opening else self._marked(form, final)

    def _skip_between(self, closing: str) -> None:
        self._held = self._held.lstrip(_BETWEEN)
        if closing and self._held.startswith(closing):
            self._held = self._held.removeprefix(closing).lstrip(_BETWEEN)

    def _marked(self, form: ToolFormat, final: bool) -> bool:
        """Look for the mark that opens a call."""
        held = self._held
        at = held.find(form.opening)
        if at >= 0:
            self._say(held[:at].rstrip())
            return self._begin(form.opening, held[at + len(form.opening) :])
        if form.listed and self.calls and held.startswith("{"):
            return self._begin("", held)
        keep = 0
        if final:
            held = held if held.strip() or not self.calls else ""
        else:
            marks = [form.opening, form.closing] if self.calls else [form.opening]
            keep = max(overlap(held, mark) for mark in marks)
            # Space before a call is no part of the text.
            keep = len(held) - len(held[: len(held) - keep].rstrip())
        self._say(held[: len(held) - keep])
        self._held = held[len(held) - keep :]
        return False

    def _bare(self, form: ToolFormat, final: bool) -> bool:
        """Calls are the whole answer, or there are none in it."""
        text = self._held.lstrip()
        for mark in form.spelled:
            text = text.removeprefix(mark).lstrip()
        text = re.sub(r"^\[\s*(?=\{|$)", "", text)
        if text.startswith("{"):
            return self._begin("", text)
        undecided = not text or any(mark.startswith(text) for mark in form.spelled)
        if not undecided or (final and not self.calls):
            self._form = None
            return True
        return False

    def _begin(self, opening: str, rest: str) -> bool:
        self._opened, self._held = opening, rest
        return True

    def _inside(self) -> bool:
        """Read a call; True where it has ended."""
        scanner = self._scanner = self._scanner or self._new_scanner()
        if scanner is None:
            return False
        scanner.feed(self._held)
        self._held = ""
        if self._call is None and scanner.name is not None and not scanner.failed:
            self._begin_call(scanner)
        if self._call is not None and len(scanner.arguments) > len(self._call.arguments):
            more = scanner.arguments[len(self._call.arguments) :]
            self._call.arguments += more
            self._out.append(Delta(index=len(self.calls) - 1, arguments=more))
        if not scanner.done and not scanner.failed:
            return False
        if self._call is None:
            self._say((self._opened or "") + scanner.raw)
            self._form = self._form if self._form and self._form.opening else None
        elif not self._call.arguments:
            self._call.arguments = "{}"
            self._out.append(Delta(index=len(self.calls) - 1, arguments="{}"))
        self._held = scanner.rest if self._call is not None else ""
        self._opened = self._scanner = self._call = None
        return True

    def _new_scanner(self) -> CallScanner | None:
        """None where more text is needed."""
        self._held = self._held.lstrip()
        if self._form is not None and self._form.listed:
            self._held = self._held.removeprefix("[").lstrip()
            if found := _NAMED.match(self._held):
                self._held = self._held[found.end() :]
                return CallScanner(found[1])
            if not self._held.startswith("{") and len(self._held) < _LONGEST_NAMED:
                return None
        return CallScanner() if self._held else None

    def _begin_call(self, scanner: CallScanner) -> None:
        if scanner.name not in self._names:
            scanner.failed = True
        elif scanner.name is not None and (scanner.arguments or scanner.done):
            self._call = Call(f"call_{token_hex(12)}", scanner.name)
            self.calls.append(self._call)
            self._out.append(Delta(index=len(self.calls) - 1, id=self._call.id, name=scanner.name))
