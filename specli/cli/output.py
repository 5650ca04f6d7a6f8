"""The one way to the outside: results on stdout, notes on stderr; human, JSON or quiet."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from specli.app.feedback import Feedback
    from specli.options import Options


def print_stderr(line: str) -> None:
    """One line on stderr."""
    print(line, file=sys.stderr)  # noqa: T201


def console(*, stderr: bool = False) -> Console:
    """A terminal, or what takes its place; nothing that is printed is read as markup."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False)


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
            print(text)  # noqa: T201

    def data(self, value: object, *, indent: int | None = 2) -> None:
        """The result as JSON."""
        self.document(json.dumps(value, ensure_ascii=False, indent=indent, default=str))

    def show(self, *parts: RenderableType, style: str | None = None, **more: Any) -> None:
        """The result for people. Text is wrapped by the terminal, not here."""
        if not self.json:
            to = console()
            for part in parts:
                to.print(part, style=style, soft_wrap=isinstance(part, str), **more)

    def write(self, text: str) -> None:
        """A result that other programs read as it is: a path, a file's content."""
        if not self.json:
            sys.stdout.write(text)
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """What a user should know and did not ask for."""
        self.remark(f"note: {text}")

    def remark(self, about: RenderableType) -> None:
        """What is said about the result: figures, what was written where."""
        if not self.quiet:
            self.asked(about)

    def asked(self, about: RenderableType) -> None:
        """What a flag asked for beside the result, which --quiet does not silence."""
        if isinstance(about, str):
            print_stderr(about)
        else:
            console(stderr=not sys.stdout.isatty()).print(about)

    def feedback(self) -> Feedback:
        """The same for what works without a terminal."""
        from specli.app.feedback import Feedback
        from specli.ui.progress import reporting

        watched = not self.quiet and sys.stderr.isatty()
        return Feedback(self.note, lambda: reporting(quiet=self.quiet), skips=watched)
