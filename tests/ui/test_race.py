from __future__ import annotations

from itertools import count

import pytest

from specli.events import Stats
from specli.ui.race import Panes, fitted, race_summary, race_table
from tests.ui.made import prompt_read, round_of, stats_of
from tests.ui.screen import Screen
from tests.ui.test_live import console_on
from tests.ui.test_summary import shown

PLAIN = stats_of(prompt_read(), round_of(("one\ntwo", "target"), at=11.0))
DRAFTED = stats_of(
    prompt_read(), round_of(("one\ntwo", "draft"), proposal=["draft"] * 4, accepted=3, at=11.0)
)


def test_two_panes_stand_side_by_side_and_stay_with_the_whole_text() -> None:
    screen = Screen(80, 20)
    with Panes(console_on(screen), count().__next__) as panes:
        assert screen.window[0].split("  ")[0] == "without drafting"
        panes.event("plain", round_of(("one\ntw", "target"), at=11.0), PLAIN)
        panes.event("drafted", round_of(("one\ntwo\nthree", "draft"), at=11.0), DRAFTED)
        assert [line.split() for line in screen.window][:3] == [
            ["without", "drafting", "with", "drafting"],
            ["one", "one"],
            ["tw", "two"],
        ]
    assert [line.rstrip() for line in screen.window] == [
        "without drafting                         with drafting",
        "one                                      one",
        "tw                                       two",
        "1 token  1.0 s  1.0 tok/s                three",
        "                                         4 tokens  4.0 tok/s  75% accepted",
    ]


@pytest.mark.parametrize("width", [40, 55])
def test_a_narrow_window_has_one_above_the_other(width: int) -> None:
    screen = Screen(width, 20)
    with Panes(console_on(screen), count().__next__) as panes:
        panes.event("plain", round_of(("a\n" * 40, "target"), at=11.0), PLAIN)
        assert len(screen.window) < 20
    assert screen.lines[0] == "without drafting"
    assert "with drafting" in screen.lines


def test_both_panes_break_a_text_between_the_same_words_however_it_arrived() -> None:
    text = "    the quick brown fox jumps over lazy dogs, " + "x" * 50 + " and an end\n\nover"
    screen = Screen(80, 20)
    with Panes(console_on(screen), count().__next__) as panes:
        for at in range(0, len(text), 3):
            panes.event("plain", round_of((text[at : at + 3], "target"), at=11.0), PLAIN)
        panes.event("drafted", round_of((text, "draft"), at=11.0), DRAFTED)
    panes_of = [(line[:38].rstrip(), line[41:].rstrip()) for line in screen.window]
    rows = [left for left, right in panes_of[1:-1] if left == right]
    assert rows == [
        "    the quick brown fox jumps over",
        "lazy dogs,",
        "x" * 38,
        "x" * 12 + " and an end",
        "",
        "over",
    ]


def test_a_comparison_gives_its_verdict_first() -> None:
    lines = shown(race_summary(PLAIN, DRAFTED, 4.0), 80)
    assert lines[1:5] == [
        "4.0× faster than without drafting",
        "",
        "  without drafting 1 token  1.0 s  1.0 tok/s",
        "  with drafting    4 tokens  1.0 s  4.0 tok/s  75% accepted",
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_table_of_tasks_has_a_bar_for_each_and_fits(width: int) -> None:
    rows = [("a question", 40.0, 44.0, 1.1), ("a function to rewrite", 40.0, 80.0, 2.0)]
    lines = shown(race_table(rows, width), width)
    assert max(map(len, lines)) <= width
    assert lines[-1].count("█") > lines[-2].count("█") if width > 40 else lines
    assert ("40.0" in lines[1]) is (width >= 80)
    assert "1.10×" in lines[1]


def test_a_task_without_a_figure_leaves_its_bar_empty() -> None:
    assert "–×" in shown(race_table([("a list", None, None, None)], 80), 80)[1]
    assert shown(race_summary(Stats(), Stats(), None), 80)[1].startswith("  without drafting 0")


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (80, "40 tokens  2.2 s  18.1 tok/s  84% accepted"),
        (38, "40 tokens  18.1 tok/s  84% accepted"),
        (20, "40 tokens"),
    ],
)
def test_figures_under_a_pane_are_left_out_and_not_cut(width: int, expected: str) -> None:
    assert fitted("40 tokens  2.2 s  18.1 tok/s  84% accepted", width) == expected
    assert fitted("reading the prompt", width) == "reading the prompt"
