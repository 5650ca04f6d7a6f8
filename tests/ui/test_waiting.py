from __future__ import annotations

from itertools import count

from specli.events import Stats
from specli.ui.waiting import WaitingLine
from tests.ui.made import prompt_read, round_of, stats_of
from tests.ui.screen import Screen
from tests.ui.test_live import console_on


def test_one_line_follows_prompt_and_answer_and_goes_when_it_is_over() -> None:
    screen = Screen(60, 10)
    with WaitingLine(console_on(screen), clock=count().__next__) as line:
        assert screen.window == ["reading the prompt"]
        line.event(prompt_read(2048, 512), Stats())
        assert screen.window == ["reading the prompt  512 of 2048 tokens"]
        line.event(round_of(at=11.0), stats_of(prompt_read(), round_of(at=11.0)))
        assert screen.window == ["generating  1 token  1.0 tok/s"]
    assert screen.window == []
    assert not screen.cursor_hidden
