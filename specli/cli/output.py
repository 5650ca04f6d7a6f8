"""The one way to the outside: results on stdout, notes on stderr; human, JSON or quiet."""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TextIO

from specli.escapes import harmless, is_unicode
from specli.option_table import OPTIONS
from specli.options import Options

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from specli.app.feedback import Feedback

_SETTING = re.compile(rf"`({'|'.join(OPTIONS)})`")


def print_stderr(line: str) -> None:
    """One line on stderr."""
    print(harmless(line), file=sys.stderr)  # noqa: T201


def with_flags(text: str) -> str:
    """A text of a lower room, with flags where it names settings: `temp` becomes --temp."""
    return _SETTING.sub(lambda found: OPTIONS[found[1]].flag, text)


def console(*, stderr: bool = False) -> Console:
    """A terminal, or what takes its place; see `Terminal`."""
    from specli.ui.terminal import Terminal

    return Terminal(stderr=stderr)


def freeze_loaded() -> None:
    """Leave out of every later garbage collection what is loaded by now: it lives to the end, and
    looking at it takes longer than a round. For a process that is specli's own."""
    gc.collect()
    gc.freeze()


def open_streams() -> None:
    """Give a process the standard streams that it was started without.

    Else the first file that is opened takes the number of a missing one, and what is written to
    stderr goes to stdout. Writing to a missing stdout stays an error. Names of files that are not
    UTF-8 are printed as they are.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        # Not opened as text: Python checks that the file can be written.
        sys.stdout = io.TextIOWrapper(_Closed(), encoding="utf-8", write_through=True)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")


class _Closed(io.RawIOBase):
    """A stdout that is not there."""

    def writable(self) -> bool:
        return True

    def write(self, _data: object) -> int:
        raise OSError(errno.EBADF, "stdout is closed")


def _wrapped(text: str, stream: TextIO) -> str:
    """On a terminal broken between words, which the terminal itself does not care about."""
    if not stream.isatty():
        return text
    width = max(20, shutil.get_terminal_size().columns)
    lines = (
        wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]
        for line in text.splitlines()
    )
    return "\n".join(one for part in lines for one in part)


@dataclass(frozen=True, slots=True)
class Sink:
    """Where a command's results and notes go.

    With `json` only `data` reaches stdout; with `quiet` nothing but results is printed.
    """

    json: bool = False
    quiet: bool = False

    @classmethod
    def of(cls, options: Options) -> Sink:
        """What --json and --quiet ask for."""
        return cls(json=bool(options.json), quiet=bool(options.quiet))

    def document(self, text: str) -> None:
        """The result as JSON that has been written already."""
        if self.json:
            print(harmless(text) if sys.stdout.isatty() else text, flush=True)  # noqa: T201

    def data(self, value: object, *, indent: int | None = 2) -> None:
        """The result as JSON."""
        text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
        if not is_unicode(text):
            # The name of a file that is not UTF-8.
            text = json.dumps(value, indent=indent, default=str)
        self.document(text)

    def show(self, *parts: RenderableType, style: str | None = None, **more: Any) -> None:
        """The result for people. Text is wrapped by the terminal, not here."""
        if not self.json:
            to = console()
            for part in parts:
                to.print(part, style=style, soft_wrap=isinstance(part, str), **more)

    def say(self, text: str, style: str | None = None) -> None:
        """A sentence for people, which nobody copies into a command."""
        self.show(_wrapped(text, sys.stdout), style=style)

    def write(self, text: str) -> None:
        """A result that other programs read as it is: a path, a file's content."""
        if not self.json:
            sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """What a user should know and did not ask for."""
        self.remark(f"note: {with_flags(text)}")

    def remark(self, about: RenderableType) -> None:
        """What is said about the result: figures, what was written where."""
        if not self.quiet:
            self.asked(about)

    def asked(self, about: RenderableType) -> None:
        """What a flag asked for beside the result, which --quiet does not silence."""
        if isinstance(about, str):
            print_stderr(_wrapped(about, sys.stderr))
        else:
            console(stderr=not sys.stdout.isatty()).print(about)

    def feedback(self) -> Feedback:
        """The same for what works without a terminal."""
        from specli.app.feedback import Feedback
        from specli.ui.progress import reporting

        watched = not self.quiet and sys.stderr.isatty()
        return Feedback(self.note, lambda: reporting(quiet=self.quiet), skips=watched)
