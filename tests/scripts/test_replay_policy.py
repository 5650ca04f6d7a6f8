"""Recorded answers, replayed on a virtual clock."""

from __future__ import annotations

import pytest
from recordings import RecordedText
from replay_policy import MACHINES, PAIRS, changed, oracle, run, suffix_lengths, texts

from specli.engine.policy import acceptance, text

COPY = list(range(10, 40))


def recorded(agrees: bool, answer: list[int] | None = None) -> RecordedText:
    answer = answer or [token + 100 for token in COPY] * 3
    said = answer if agrees else [token + 1 for token in answer]
    confidences = [0.9] * len(answer)
    return RecordedText("made", "story", "report", 0.0, COPY, answer, said, confidences)


def test_a_draft_that_is_always_right_is_followed_and_one_that_never_is_costs_little() -> None:
    answers = [[1000 * n + token for token in range(90)] for n in (1, 2)]
    (right,) = run([recorded(True, answers[0])], MACHINES["epyc"])
    (wrong,) = run([recorded(False, answers[1])], MACHINES["epyc"])
    assert right.plain / right.auto > 1.8
    assert min(wrong.fixed.values()) == wrong.plain
    assert wrong.plain / wrong.auto > 0.95


def test_a_text_that_repeats_its_prompt_gains_without_a_draft_model() -> None:
    (copied,) = run([recorded(False, [*COPY, *COPY, *COPY][5:85])], MACHINES["xeon"])
    assert copied.plain / copied.auto > 1.2
    assert max(suffix_lengths(recorded(False, COPY))) > 10


@pytest.mark.parametrize("pair", PAIRS)
def test_nothing_is_faster_than_the_oracle(pair: str) -> None:
    for one in texts(pair, "report")[:8]:
        (result,) = run([one], MACHINES["epyc"])
        assert oracle(one, MACHINES["epyc"]) <= result.auto * (1 + 1e-9)


def test_a_changed_constant_is_back_afterwards() -> None:
    before = text.LOSS_START, acceptance.PRIOR
    with changed("PRIOR", 2.0):
        assert vars(text)["PRIOR"] == acceptance.PRIOR == 2 * before[1]
    assert before == (text.LOSS_START, acceptance.PRIOR)


def test_costs_that_are_wrong_by_a_third_lose_little() -> None:
    some = texts("f32-q4_0", "report")[:20]
    right = sum(one.auto for one in run(some, MACHINES["epyc"], only_auto=True))
    wrong = sum(one.auto for one in run(some, MACHINES["epyc"], wrong=True, only_auto=True))
    assert wrong < 1.1 * right
