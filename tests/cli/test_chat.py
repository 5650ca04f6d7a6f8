"""`specli chat`, with its input from a pipe and from a terminal that a test writes to."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from specli.app.chat import Conversation, conversation
from specli.app.feedback import SILENT
from specli.app.follow import Silent
from specli.cli.chat import _terminal, private
from specli.errors import PromptTooLongError, UsageError
from specli.events import Event, Stats
from specli.options import Options
from tests.cli.conftest import Outcome

Specli = Callable[..., Outcome]


@contextmanager
def talking(**options: Any) -> Iterator[Conversation]:
    given = {"model": "target.gguf", "model_draft": "draft.gguf", "predict": 6, "threads": 1}
    with conversation(Options(**given | options), SILENT) as talk:
        yield talk


def test_a_turn_decodes_only_what_is_new(sealed: Path) -> None:
    with talking() as talk:
        first = talk.say("hello", Silent())
        second = talk.say("and now?", Silent())
    told = second.stats
    answered = first.stats.predicted_n
    assert told.prompt_cached >= first.stats.prompt_n + answered - 1
    assert [one.role for one in talk.messages] == ["user", "assistant"] * 2


@pytest.mark.parametrize("width", [40, 80])
def test_the_list_of_commands_fits(
    specli: Specli, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    done = specli("chat", "-m", "target.gguf", "--draft", "0", stdin=b"/help\n")
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= width
    for command in ("/draft off|auto|N  plain", "/quit", "Alt-Enter"):
        assert any(line.startswith(command) for line in lines), command


def test_reasoning_is_no_part_of_what_the_assistant_said(sealed: Path, tmp_path: Path) -> None:
    forced = 'root ::= "<think>hm</think>yes"'
    with talking(reasoning_format="deepseek", grammar=forced, predict=30) as talk:
        talk.say("hello", Silent())
        answer = talk.messages[-1]
        assert (answer.content, answer.more) == ("yes", {"reasoning_content": "hm"})
        talk.save(tmp_path / "talk.json")
        talk.reset()
        talk.load(tmp_path / "talk.json")
        assert talk.messages[-1] == answer
    with talking(grammar=forced, predict=30) as talk:
        talk.say("hello", Silent())
        assert talk.messages[-1].content == "<think>hm</think>yes"


def test_retry_answers_the_same_message_with_another_seed(sealed: Path) -> None:
    with talking(temp=1.5, seed=1) as talk:
        first = talk.say("hello", Silent()).generation.text
        again = talk.retry(Silent()).generation.text
        assert first != again
        assert [one.role for one in talk.messages] == ["user", "assistant"]
        talk.reset()
        with pytest.raises(UsageError):
            talk.retry(Silent())


def test_an_interrupted_answer_stays_in_the_conversation(sealed: Path) -> None:
    class Interrupting(Silent):
        pressed = False

        def event(self, event: Event, stats: Stats) -> None:
            if stats.predicted_n == 2 and not self.pressed:
                self.pressed = True
                raise KeyboardInterrupt

    with talking(model_draft=None, spec_type="none") as talk:
        done = talk.say("hello", Interrupting())
        assert done.interrupted
        assert talk.messages[-1].content == done.generation.text
        assert not talk.say("go on", Silent()).interrupted


def test_a_message_that_does_not_fit_is_not_kept(sealed: Path) -> None:
    with talking() as talk:
        talk.say("hello", Silent())
        with pytest.raises(PromptTooLongError):
            talk.say("x " * 5000, Silent())
        assert len(talk.messages) == 2
        talk.say("short", Silent())


def test_drafting_can_be_turned_off_and_bounded(sealed: Path) -> None:
    with talking(draft_max=4, predict=30) as talk:
        talk.draft("off")
        assert talk.say("hello", Silent()).stats.drafted == 0
        talk.draft("1")
        told = talk.say("hello", Silent()).stats
        assert told.drafted == told.rounds_with_proposal > 0
        with pytest.raises(UsageError):
            talk.draft("a lot")


def test_a_conversation_is_saved_and_loaded(sealed: Path, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    with talking(system="Be kind.") as talk:
        talk.say("hello", Silent())
        talk.save(file)
        saved = list(talk.messages)
        talk.reset()
        assert talk.system == "Be kind."
        talk.load(file)
        assert talk.messages == saved
        for content in ("", "[]", '{"messages": [{"role": "x", "content": "y"}]}'):
            file.write_text(content)
            with pytest.raises(UsageError):
                talk.load(file)
        assert talk.messages == saved


def test_lines_from_a_pipe_are_messages_and_commands(
    specli: Specli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "talk.json"
    lines = f"hello\n/nonsense\n/draft off\nand now?\n/save {file}\n/quit\nnever read\n"
    done = specli(
        "chat", "-m", "target.gguf", "-md", "draft.gguf", "-n", "4", "-t", "1", stdin=lines.encode()
    )
    assert done.code == 0
    assert "there is no command /nonsense" in done.err
    messages = json.loads(file.read_text())["messages"]
    assert [one["role"] for one in messages] == ["user", "assistant", "user", "assistant"]
    assert messages[2]["content"] == "and now?"
    assert "never read" not in done.out


def test_the_terminal_takes_several_lines_and_keeps_a_private_history(sealed: Path) -> None:
    with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
        ask = _terminal()
        keyboard.send_text("one\\\rtwo\x1b\rthree\r")
        assert ask() == "one\ntwo\nthree"
        keyboard.send_text("given up\x03second\r")
        assert ask() == "second"
        keyboard.send_text("\x04")
        assert ask() is None
    (history,) = list((sealed / "cache").glob("**/chat_history"))
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert private(history) == history
