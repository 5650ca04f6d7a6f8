"""The prediction drafter: it follows, loses and finds the place in the expected text."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.drafters.prediction import PredictionDrafter
from tests.drafters.replay import Replayed, grown, replay, request

PROMPT = [900, 901]
TEXT = list(range(100, 300))
NEW = list(range(500, 520))


def drafted_after(prediction: list[int], answer: list[int], limit: int = 3) -> list[int]:
    drafter = PredictionDrafter(prediction)
    drafter.begin(0, PROMPT)
    drafter.accept([grown([*PROMPT, *answer], len(answer))])
    return drafter.propose([request([*PROMPT, *answer], limit=limit)])[0].tokens


def test_the_prediction_is_drafted_from_the_first_token_on() -> None:
    drafter = PredictionDrafter(TEXT)
    drafter.begin(0, PROMPT)
    draft = drafter.propose([request(PROMPT, limit=4)])[0]
    assert draft.tokens == TEXT[:4]
    assert draft.sources == ["prediction"] * 4
    assert draft.confidences == sorted(draft.confidences)


@pytest.mark.parametrize(
    ("answer", "goes_on_at"),
    [
        pytest.param(TEXT[:20], 20, id="as predicted"),
        pytest.param([*TEXT[:20], NEW[0]], 21, id="one token replaced"),
        pytest.param([*TEXT[:20], *NEW[:5]], 21, id="one token replaced by five"),
        pytest.param([*TEXT[:20], *NEW[:5], TEXT[25]], 26, id="five tokens replaced by five"),
        pytest.param([*TEXT[:20], *NEW[:5], TEXT[20]], 21, id="five tokens inserted"),
        pytest.param([*TEXT[:20], TEXT[23]], 24, id="three tokens left out"),
        pytest.param([*TEXT[:20], *TEXT[90:93]], 93, id="seventy tokens left out"),
        pytest.param([*NEW[:5], TEXT[0]], 1, id="a preamble"),
        pytest.param([*TEXT[100:120], *TEXT[:3]], 3, id="a passage moved to the front"),
        pytest.param(TEXT, 200, id="used up"),
    ],
)
def test_drafting_goes_on_at_the_right_place_after(answer: list[int], goes_on_at: int) -> None:
    assert drafted_after(TEXT, answer) == TEXT[goes_on_at : goes_on_at + 3]


def test_of_two_like_places_the_nearest_ahead_is_taken() -> None:
    prediction = [*TEXT[:5], 1, 2, 10, *TEXT[5:50], 1, 2, 20, *TEXT[50:90], 1, 2, 30, *TEXT[90:]]
    before = prediction[: prediction.index(20) - 5]
    assert drafted_after(prediction, [*before, 1, 2], 1) == [20]


def test_a_longer_agreement_outweighs_nearness() -> None:
    prediction = [*TEXT[:10], 7, 1, 10, *TEXT[10:60], 5, 6, 7, 1, 20, *TEXT[60:]]
    assert drafted_after(prediction, [*TEXT[:5], 5, 6, 7, 1], 1) == [20]


def edited(rate: float, seed: int) -> list[int]:
    """TEXT with a share of its tokens replaced, left out, or preceded by a new one."""
    rng = random.Random(seed)
    answer: list[int] = []
    for token in TEXT:
        kind = rng.random() / rate if rate else 1.0
        if kind < 1 / 3:
            answer.append(rng.choice(NEW))
        elif kind < 2 / 3:
            answer += [rng.choice(NEW), token]
        elif kind >= 1:
            answer.append(token)
    return answer


@pytest.mark.parametrize(
    ("rate", "least_tokens_per_round"), [(0.0, 15.0), (0.02, 9.0), (0.1, 4.0), (0.3, 1.5)]
)
def test_an_edited_text_is_drafted_as_far_as_it_agrees(
    rate: float, least_tokens_per_round: float
) -> None:
    results = [replay(PredictionDrafter(TEXT), PROMPT, edited(rate, s)) for s in range(5)]
    tokens = sum(len(edited(rate, s)) for s in range(5))
    assert tokens / sum(result.rounds for result in results) >= least_tokens_per_round


def test_a_prediction_that_is_wrong_throughout_is_given_up() -> None:
    result: Replayed = replay(PredictionDrafter(TEXT), PROMPT, [700 + n for n in range(100)])
    assert result.accepted == 0
    assert result.drafted < 20 * 16


def test_confidence_falls_with_disagreement_and_recovers_with_agreement() -> None:
    def confidence(answer: list[int]) -> float:
        drafter = PredictionDrafter(TEXT)
        drafter.begin(0, PROMPT)
        drafter.accept([grown([*PROMPT, *answer], len(answer))])
        draft = drafter.propose([request([*PROMPT, *answer], limit=1)])[0]
        return draft.confidences[0] if draft else 0.0

    wrong = NEW[:12]
    assert confidence(wrong) < confidence(wrong[:1])
    assert confidence([*wrong, *TEXT[:60]]) > confidence([*wrong, *TEXT[:8]])


ANSWERS = st.lists(st.integers(0, 5), min_size=1, max_size=60)


@settings(deadline=None)
@given(
    prediction=st.lists(st.integers(0, 5), max_size=60),
    answer=ANSWERS,
    cuts=st.sets(st.integers(1, 59)),
    limit=st.integers(0, 6),
)
def test_any_prediction_and_answer_in_any_pieces_give_the_same_draft_from_the_prediction(
    prediction: list[int], answer: list[int], cuts: set[int], limit: int
) -> None:
    drafter = PredictionDrafter(prediction)
    drafter.begin(0, PROMPT)
    ends = [0, *sorted(cut for cut in cuts if cut < len(answer)), len(answer)]
    for before, end in itertools.pairwise(ends):
        drafter.accept([grown([*PROMPT, *answer[:end]], end - before)])
    draft = drafter.propose([request([*PROMPT, *answer], limit=limit)])[0]
    assert draft.tokens == drafted_after(prediction, answer, limit)
    assert len(draft) <= limit
    starts = range(len(prediction) - len(draft) + 1)
    assert any(prediction[s : s + len(draft)] == draft.tokens for s in starts)
    assert all(0 < confidence <= 1 for confidence in draft.confidences)


def test_sequences_follow_the_prediction_independently() -> None:
    drafter = PredictionDrafter(TEXT)
    for seq in (0, 1):
        drafter.begin(seq, PROMPT)
    drafter.accept([grown([*PROMPT, *TEXT[:50]], 50)])
    first, second = drafter.propose([request(PROMPT, 0, 1), request(PROMPT, 1, 1)])
    assert first.tokens == [TEXT[50]]
    assert second.tokens == [TEXT[0]]
    drafter.end(0)
    drafter.begin(0, PROMPT)
    assert drafter.propose([request(PROMPT, 0, 1)])[0].tokens == [TEXT[0]]


def test_a_sequence_with_a_prediction_of_its_own_follows_that() -> None:
    drafter = PredictionDrafter(TEXT)
    drafter.begin(0, PROMPT, NEW)
    drafter.begin(1, PROMPT)
    own, common = drafter.propose([request(PROMPT, 0, 1), request(PROMPT, 1, 1)])
    assert own.tokens == [NEW[0]]
    assert common.tokens == [TEXT[0]]
