from __future__ import annotations

import pytest
from rich.console import Console, RenderableType

from specli.events import PLAIN_ROUNDS, Event, Stats
from specli.ui.legend import legend
from specli.ui.summary import headline, summary_line, summary_table
from tests.ui.made import drafted_stats, prompt_read, round_of, stats_of


def shown(what: RenderableType, width: int) -> list[str]:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(what)
    return [line.rstrip() for line in capture.get().splitlines()]


def measured_stats(plain_ms: float, drafted_ms: float, rounds: int = PLAIN_ROUNDS) -> Stats:
    """`rounds` plain rounds, and as many that bring four tokens."""
    at = 10.0
    events: list[Event] = [prompt_read()]
    for _ in range(rounds):
        at += plain_ms / 1000
        plain = round_of(at=at)
        plain.draft_ms = 0.0
        at += drafted_ms / 1000
        events += [plain, round_of(proposal=["draft"] * 3, accepted=3, at=at)]
    return stats_of(*events)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_table_says_how_the_drafting_did_and_how_fast_it_went(width: int) -> None:
    assert shown(summary_table(drafted_stats()), width) == [
        "",
        "Speed",
        "  generated   9 tokens at 4.5 tok/s",
        "  prompt      24 tokens at 480.0 tok/s",
        "Drafting",
        "  drafted     9 in 2 rounds",
        "  accepted    6 (66.7%)",
        "    draft     4 of 6 (66.7%)",
        "    ngram     2 of 3 (66.7%)",
        "  by position 100 100 50 50 %",
        "  per round   3.00 tokens, over 3 rounds",
        "  drafting    0.03 s",
        "  verifying   0.09 s",
    ]


def test_the_headline_comes_first_and_the_rows_below_give_its_two_speeds() -> None:
    lines = shown(summary_table(measured_stats(20.0, 30.0)), 40)
    assert lines[:6] == [
        "",
        "2.0× faster than without drafting",
        "",
        "Speed",
        "  generated   30 tokens at 100.0 tok/s",
        "  plain       50.0 tok/s, by 6 rounds",
    ]


@pytest.mark.parametrize(
    ("drafted_ms", "line"),
    [
        (10.0, "3.3× faster than without drafting"),
        (75.0, "1.05× faster than without drafting"),
        (79.0, "as fast as without drafting"),
        (80.0, "as fast as without drafting"),
        (180.0, "0.50× the speed without drafting"),
    ],
)
def test_the_headline_is_a_comparison_of_this_texts_own_rounds(
    drafted_ms: float, line: str
) -> None:
    assert headline(measured_stats(20.0, drafted_ms)) == line


def test_too_few_plain_rounds_or_no_draft_make_no_headline() -> None:
    assert headline(measured_stats(20.0, 30.0, rounds=PLAIN_ROUNDS - 1)) is None
    plain = [round_of(at=10.0 + 0.02 * number) for number in range(1, 40)]
    assert headline(stats_of(prompt_read(), *plain)) is None
    assert headline(Stats()) is None


def test_one_slow_round_does_not_make_drafting_look_fast() -> None:
    stats = measured_stats(20.0, 80.0)
    stats.plain_times[0] = 5000.0
    assert headline(stats) == "as fast as without drafting"


def test_what_a_drafter_took_for_nothing_is_no_cost_of_plain_decoding() -> None:
    asked = round_of(at=10.05)
    asked.draft_ms, asked.rollback_ms = 30.0, 5.0
    assert stats_of(prompt_read(), asked).plain_times == [pytest.approx(15.0)]


def test_without_drafts_only_the_speeds_are_left() -> None:
    stats = stats_of(prompt_read(), round_of())
    assert shown(summary_table(stats), 40) == [
        "",
        "Speed",
        "  generated 1 token at 1.0 tok/s",
        "  prompt    24 tokens at 480.0 tok/s",
    ]


def test_prompt_tokens_that_were_not_decoded_again_are_named() -> None:
    prefilled = prompt_read()
    prefilled.cached = 20
    stats = stats_of(prefilled, round_of())
    assert "  from cache 20 of them" in shown(summary_table(stats), 40)


def test_long_drafts_show_their_first_positions_and_no_row_of_zeros() -> None:
    long = stats_of(prompt_read(), round_of(proposal=["draft"] * 12, accepted=12))
    assert "  by position 100 100 100 100 100 100" in shown(summary_table(long), 40)
    wrong = stats_of(prompt_read(), round_of(proposal=["draft"] * 16, accepted=1))
    assert "  by position 100 %" in shown(summary_table(wrong), 40)


def test_the_line_says_it_all_in_one() -> None:
    assert summary_line(drafted_stats()) == (
        "9 tokens at 4.5 tok/s, accepted 6 of 9 drafted (66.7%), 3.00 per round, "
        "prompt 24 tokens at 480.0 tok/s"
    )
    assert ", 2.0× faster than without drafting, " in summary_line(measured_stats(20.0, 30.0))


def test_the_line_has_no_figures_that_were_not_measured() -> None:
    assert summary_line(Stats()) == "0 tokens at – tok/s, prompt 0 tokens at – tok/s"


@pytest.mark.parametrize("width", [40, 80])
def test_the_legend_explains_every_colour_and_fits(width: int) -> None:
    lines = shown(legend(), width)
    assert max(map(len, lines)) <= width
    named = {line.split()[0] for line in lines[1:] if line[2:3] != " "}
    assert {"target", "draft", "suffix", "ngram", "prediction", "round", "accepted"} <= named
