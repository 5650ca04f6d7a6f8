from __future__ import annotations

import io
import threading
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from specli.events import TARGET, Event, Finished, Piece, Stats
from specli.ui.live import LiveView
from specli.ui.status import sparkline, status_rows
from specli.ui.text import rows_of
from tests.ui.made import drafted_stats, prompt_read, round_of, stats_of
from tests.ui.screen import Screen, without_empty_end

NEVER = 3600.0
"""Seconds between two drawings of the view's own thread: these tests draw themselves."""


def console_on(screen: Screen, *, colour: bool = False) -> Console:
    return Console(
        file=screen,
        force_terminal=True,
        width=screen.width,
        height=screen.height,
        color_system="standard" if colour else None,
        no_color=not colour,
        legacy_windows=False,
        _environ={"TERM": "xterm"},
    )


def show(view: LiveView, stats: Stats, *events: Event) -> None:
    for event in events:
        stats.add(event)
        view.event(event, stats)
    view.refresh()


def test_text_streams_above_two_rows_of_figures_and_only_the_text_stays() -> None:
    screen = Screen(80, 10)
    stats = Stats()
    with LiveView(console_on(screen), NEVER) as view:
        show(view, stats, prompt_read(), round_of(("one\ntw", TARGET), at=11.0))
        figures = "– accepted  1.00 per round  1.0 tok/s  draft length 0"
        assert screen.window == ["one", "tw", figures, "·"]
        assert screen.cursor_hidden
        drafts = ["draft"] * 4
        show(view, stats, round_of(("o\nthree", "draft"), proposal=drafts, accepted=4, at=12.0))
        assert screen.window == [
            "one",
            "two",
            "three",
            "100% accepted  3.00 per round  3.0 tok/s  draft length 4",
            "draft 4  ·█",
        ]
    assert screen.window == ["one", "two", "three"]
    assert not screen.cursor_hidden


def test_a_narrow_window_gets_short_figures_in_one_row() -> None:
    rows = status_rows(drafted_stats(), prompt_read(), 40)
    assert [row.plain for row in rows] == [
        "67%  3.00/round  4.5 tok/s  draft 5",
        "draft 4  ngram 2  ▇·▄",
    ]


@pytest.mark.parametrize("width", [1, 7, 20, 40, 80, 200])
def test_no_status_is_wider_than_the_window(width: int) -> None:
    for prefilled in (None, prompt_read(100_000, 4096), prompt_read()):
        rows = status_rows(drafted_stats(), prefilled, width)
        assert len(rows) == 2
        assert all(row.cell_len <= width for row in rows)


def test_a_long_prompt_shows_how_far_it_has_been_read() -> None:
    screen = Screen(60, 10)
    with LiveView(console_on(screen), NEVER) as view:
        assert screen.window == ["", "reading the prompt"]
        show(view, Stats(), prompt_read(total=2048, done=512))
        assert screen.window == [
            "",
            "reading the prompt  512 of 2048 tokens",
            "━" * 10 + "─" * 30,
        ]


def test_text_is_coloured_by_source_and_never_read_as_markup() -> None:
    screen = Screen(80, 10)
    recorded = io.StringIO()
    console = Console(
        file=recorded,
        force_terminal=True,
        width=80,
        color_system="standard",
        legacy_windows=False,
        _environ={"TERM": "xterm"},
    )
    with LiveView(console, NEVER) as view:
        event = round_of(("[red]a[/red] :smile:", "draft"), ("b", TARGET), ("c\n", "ngram"))
        show(view, Stats(), prompt_read(), event)
    assert "\x1b[32m[red]a[/red] :smile:\x1b[0mb\x1b[36mc\x1b[0m\n" in recorded.getvalue()
    screen.write(recorded.getvalue())
    assert screen.lines == ["[red]a[/red] :smile:bc"]


def test_escape_sequences_of_a_model_are_shown_and_do_nothing() -> None:
    screen = Screen(60, 10)
    with LiveView(console_on(screen), NEVER) as view:
        text = "\x1b[2J\x1b]0;title\x07 \x9b31m \x08\x7f a\r\nb\tc"
        show(view, Stats(), prompt_read(), round_of((text, TARGET)))
    assert screen.lines == ["␛[2J␛]0;title␇ �31m ␈␡ a", "b       c"]


def test_text_that_an_interrupt_sets_free_is_kept() -> None:
    screen = Screen(60, 10)
    with suppress(KeyboardInterrupt), LiveView(console_on(screen), NEVER) as view:
        show(view, Stats(), prompt_read(), round_of(("so far", TARGET)))
        view.event(Finished(0, "cancelled", [Piece(", and held", TARGET)]), Stats())
        raise KeyboardInterrupt
    assert screen.lines == ["so far, and held"]


def test_a_line_higher_than_the_window_shows_its_end_and_stays_whole() -> None:
    screen = Screen(10, 5)
    text = "".join(f"{number:<10}" for number in range(9)) + "end"
    with LiveView(console_on(screen), NEVER) as view:
        show(view, Stats(), prompt_read(), round_of((text, TARGET)))
        assert screen.window[:3] == ["7", "8", "end"]
        assert len(screen.window) == 5
    assert screen.lines == [text]


def test_each_drawing_is_one_write_and_none_happens_without_news() -> None:
    screen = Screen(60, 10)
    stats = Stats()
    with LiveView(console_on(screen), NEVER) as view:
        before = screen.writes
        show(view, stats, prompt_read(), round_of(("one\ntwo\nthree", TARGET)))
        assert screen.writes == before + 1
        view.refresh()
        assert screen.writes == before + 1


def test_the_views_own_thread_draws() -> None:
    screen = Screen(60, 10)
    drawn = threading.Event()
    write = screen.write

    def noticing(text: str) -> int:
        written = write(text)
        if "hello" in text:
            drawn.set()
        return written

    screen.write = noticing  # type: ignore[method-assign]
    with LiveView(console_on(screen), 0.01) as view:
        stats = stats_of(prompt_read())
        view.event(round_of(("hello", TARGET)), stats)
        assert drawn.wait(30)


def test_a_terminal_that_goes_away_is_told_to_the_one_who_generates() -> None:
    screen = Screen(60, 10)
    view = LiveView(console_on(screen), 0.01)
    failed = threading.Event()

    def gone(text: str) -> int:
        failed.set()
        raise OSError("gone")

    stats = stats_of(prompt_read())

    def use() -> None:
        with view:
            screen.write = gone  # type: ignore[method-assign]
            for _ in range(3000):
                view.event(round_of(("more", TARGET)), stats)
                failed.wait(0.01)

    with pytest.raises(OSError, match="gone"):
        use()


def terminal_rows(text: str, width: int) -> list[str]:
    """The rows of `text` where each line is cut at the edge, as far as `width` cells go."""
    rows = []
    for line in text.split("\n"):
        rows += [row.plain.rstrip() for row in rows_of(Text(line), width)]
    return rows


@given(
    texts=st.lists(st.text(st.sampled_from("ab [/]:日本\n\n"), max_size=40), max_size=8),
    width=st.integers(8, 60),
    height=st.integers(4, 12),
)
def test_at_every_moment_the_window_ends_with_the_text_and_the_figures(
    texts: list[str], width: int, height: int
) -> None:
    screen = Screen(width, height)
    stats = Stats()
    with LiveView(console_on(screen), NEVER) as view:
        show(view, stats, prompt_read())
        for number in range(len(texts)):
            show(view, stats, round_of((texts[number], TARGET), at=11.0 + number))
            status = [row.plain.rstrip() for row in status_rows(stats, prompt_read(), width)]
            expected = terminal_rows("".join(texts[: number + 1]), width) + status
            assert screen.window == expected[-height:]
    lines = [line.rstrip() for line in "".join(texts).split("\n")]
    assert screen.lines == without_empty_end(lines)


@pytest.mark.parametrize(
    ("line", "rows"),
    [
        ("", [""]),
        ("abcdef", ["abcdef"]),
        ("abcdefg", ["abcdef", "g"]),
        ("abcde日本", ["abcde", "日本"]),
    ],
)
def test_a_line_is_cut_where_a_terminal_would_cut_it(line: str, rows: list[str]) -> None:
    assert [row.plain for row in rows_of(Text(line), 6)] == rows


def test_recent_rounds_are_bars_against_the_longest_draft() -> None:
    assert sparkline([(0, 8), (4, 8), (8, 8), (0, 0), (1, 1)]) == "▁▅█·▂"
