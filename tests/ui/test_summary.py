from __future__ import annotations

import pytest
from rich.console import Console

from specli.events import Stats
from specli.ui.summary import summary_line, summary_table
from tests.ui.made import drafted_stats, prompt_read, round_of, stats_of


def shown(stats: Stats, width: int) -> list[str]:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(summary_table(stats))
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_says_how_the_drafting_did_and_how_fast_it_went(width: int) -> None:
    assert shown(drafted_stats(), width) == [
        "",
        "Drafting",
        "  drafted        9 in 2 rounds",
        "  accepted       6 (66.7%)",
        "  mean accepted  3.00 tokens per round",
        "  % by position  100 100 50 50 0",
        "  draft          4 of 6 (66.7%)",
        "  ngram          2 of 3 (66.7%)",
        "Speed",
        "  prompt tokens  24 at 480.0 tok/s",
        "  generated      9 at 4.5 tok/s",
        "  time drafting  0.03 s",
        "  time verifying 0.09 s",
    ]


def test_without_drafts_only_the_speeds_are_left() -> None:
    stats = stats_of(prompt_read(), round_of())
    assert shown(stats, 40) == [
        "",
        "Speed",
        "  prompt tokens 24 at 480.0 tok/s",
        "  generated     1 at 1.0 tok/s",
    ]


def test_prompt_tokens_that_were_not_decoded_again_are_named() -> None:
    prefilled = prompt_read()
    prefilled.cached = 20
    assert "  from cache    20 of them" in shown(stats_of(prefilled, round_of()), 40)


def test_many_positions_go_on_in_the_next_row_in_a_narrow_window() -> None:
    stats = stats_of(prompt_read(), round_of(proposal=["draft"] * 12, accepted=12))
    lines = shown(stats, 40)
    assert max(map(len, lines)) <= 40
    assert " ".join(lines).split().count("100") == 12


def test_the_line_says_it_all_in_one() -> None:
    assert summary_line(drafted_stats()) == (
        "9 tokens at 4.5 tok/s, accepted 6 of 9 drafted (66.7%), 3.00 per round, "
        "prompt 24 tokens at 480.0 tok/s"
    )


def test_the_line_has_no_figures_that_were_not_measured() -> None:
    assert summary_line(Stats()) == "0 tokens at – tok/s, prompt 0 tokens at – tok/s"
