"""The headline of `specli run`: measured in the run itself, whoever drafted how often."""

from __future__ import annotations

import json

from tests.cli.conftest import Specli

PAIR = ["-m", "target.gguf", "--ignore-eos", "-n", "40", "-md", "draft.gguf", "--draft", "4"]


def test_a_run_that_drafts_in_every_round_is_compared_with_rounds_behind_the_text(
    specli: Specli,
) -> None:
    outcome = specli("run", *PAIR, "hello")
    assert "without drafting" in outcome.err
    drafted = json.loads(specli("run", *PAIR, "--json", "hello").out)
    assert drafted["completion_tokens"] == 40


def test_without_drafts_there_is_nothing_to_compare(specli: Specli) -> None:
    outcome = specli("run", *PAIR[:5], "--draft", "0", "hello")
    assert "without drafting" not in outcome.err


def test_a_full_context_leaves_no_room_to_compare(specli: Specli) -> None:
    outcome = specli("run", *PAIR, "-n", "-1", "-c", "64", "hello")
    assert outcome.code == 0
    assert "without drafting" not in outcome.err


def test_a_seed_that_was_drawn_is_shown_and_one_that_was_given_is_not(specli: Specli) -> None:
    drawn = specli("run", *PAIR, "--temp", "0.9", "hello").err
    assert "drawn seed: " in drawn
    assert "drawn seed" not in specli("run", *PAIR, "--temp", "0.9", "-s", "3", "hello").err
    assert "drawn seed" not in specli("run", *PAIR, "-s", "-1", "hello").err


def test_quiet_silences_what_nobody_asked_for_only(specli: Specli) -> None:
    assert specli("run", "-q", *PAIR, "hello").err == ""
    checked = specli("run", "-q", "--check", *PAIR, "hello").err
    assert checked == "check: identical to plain decoding, 40 tokens\n"
