"""`specli chat`: a conversation on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from specli.cli.output import Sink, with_flags
from specli.cli.parameters import takes
from specli.cli.serve import require_packages
from specli.errors import SpecliError, UsageError
from specli.option_table import GENERATION
from specli.options import Options

if TYPE_CHECKING:
    from specli.app.chat import Answered, Conversation
    from specli.app.follow import View

COMMANDS = {
    "/system [TEXT]": "show or change the system message, and begin anew",
    "/reset": "forget the conversation",
    "/retry": "answer the last message again, with another seed",
    "/save FILE": "write the conversation as JSON",
    "/load FILE": "go on from one",
    "/stats": "figures of the last answer",
    "/draft off|auto|N": "plain decoding, measured lengths, or at most N tokens a round",
    "/help": "this list",
    "/quit": "leave, as Ctrl-D does",
    "Ctrl-C": "stop an answer and keep it",
    "Alt-Enter": "begin a new line, as a \\ at the end of one does",
}

PROMPT = "> "


@takes(*(name for name in GENERATION if name != "raw"), "reasoning_format", "quiet", "verbose")
def chat(*, options: Options) -> None:
    """Talk with a model; only what is new in a turn is decoded.

    Without -m the embedded SmolLM2 pair is used, which is downloaded on the first run.

    Examples:
      specli chat
      specli chat -m target.gguf -md draft.gguf --system "Answer briefly."
    """
    if sys.stdin.isatty():
        require_packages("chat", ("prompt_toolkit",))

    from specli.app.chat import conversation

    sink = Sink.of(options)
    with conversation(options, sink.feedback()) as talk:
        if sys.stdin.isatty():
            sink.remark("/help lists the commands, Ctrl-D leaves")
            ask = _terminal()
        else:
            ask = _piped
        Chat(talk, sink).run(ask)


class Chat:
    """Reads messages and commands, and shows the answers."""

    def __init__(self, talk: Conversation, sink: Sink) -> None:
        self._talk = talk
        self._sink = sink
        self._last: Answered | None = None
        self._commands: dict[str, Callable[[str], None]] = {
            "system": self._system,
            "reset": self._reset,
            "retry": self._retry,
            "save": lambda name: self._talk.save(_named(name)),
            "load": self._load,
            "stats": self._stats,
            "draft": self._draft,
            "help": self._help,
        }

    def run(self, ask: Callable[[], str | None]) -> None:
        """Until `ask` returns None, or /quit. An error ends a turn, not the conversation."""
        while (text := ask()) is not None:
            text = text.strip()
            if text in ("/quit", "/exit", "/bye"):
                return
            try:
                self._take(text)
            except SpecliError as error:
                self._sink.remark(f"error: {error.message}")
                if error.hint:
                    self._sink.remark(f"hint: {with_flags(error.hint)}")

    def _take(self, text: str) -> None:
        if text.startswith("/"):
            name, _, given = text[1:].partition(" ")
            command = self._commands.get(name)
            if command is None:
                raise UsageError(f"there is no command /{name}", hint="/help lists them")
            command(given.strip())
        elif text:
            with self._view() as view:
                self._last = self._talk.say(text, view)

    def _view(self) -> AbstractContextManager[View]:
        from specli.cli.views import chat_view

        return chat_view(self._sink)

    def _system(self, text: str) -> None:
        if text:
            self._talk.reset(text)
            self._sink.remark("the conversation begins anew")
        else:
            self._sink.show(self._talk.system or "no system message")

    def _reset(self, _given: str) -> None:
        self._talk.reset()
        self._sink.remark("the conversation begins anew")

    def _retry(self, _given: str) -> None:
        with self._view() as view:
            self._last = self._talk.retry(view)

    def _load(self, name: str) -> None:
        self._talk.load(_named(name))
        for message in self._talk.messages:
            self._sink.show(f"{message.role}: {message.content}")

    def _help(self, _given: str) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column()
        for name, effect in COMMANDS.items():
            table.add_row(Text(name), Text(effect))
        self._sink.show(table)

    def _stats(self, _given: str) -> None:
        from specli.ui.summary import summary_table

        if self._last is None:
            raise UsageError("there is no answer yet")
        self._sink.show(summary_table(self._last.stats))

    def _draft(self, how: str) -> None:
        self._talk.draft(how)
        self._sink.remark(f"drafting: {how}")


def _named(name: str) -> Path:
    if not name:
        raise UsageError("no file was named", hint="as in /save talk.json")
    return Path(name).expanduser()


def _piped() -> str | None:
    """The next line of stdin; None at its end."""
    return sys.stdin.readline() or None


def _terminal() -> Callable[[], str | None]:
    """Reads from the terminal, with a history that lasts and lines that can be edited."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    from specli.hub.cache import cache_dir

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    names = [name.split()[0] for name in COMMANDS if name.startswith("/")]
    session: PromptSession[str] = PromptSession(
        PROMPT,
        history=FileHistory(str(private(cache_dir() / "chat_history"))),
        completer=WordCompleter(names, sentence=True),
        complete_while_typing=False,
        key_bindings=keys,
        multiline=True,
    )

    def ask() -> str | None:
        while True:
            try:
                return session.prompt()
            except KeyboardInterrupt:
                # A line is given up, as in a shell.
                continue
            except EOFError:
                return None

    return ask


def private(path: Path) -> Path:
    """A file that only this user can read, made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    return path
