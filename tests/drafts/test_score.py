"""Expected speeds from recorded answers, compared with the engine's own rounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.drafters.cascade import Cascade
from specli.drafters.model import DraftModel
from specli.drafts import score
from specli.drafts.recording import Answer, measure_agreement, record_answers
from specli.drafts.score import Agreement, expect
from specli.engine.cost import Curve
from specli.engine.engine import Engine
from specli.engine.policy import FixedPolicy
from specli.engine.sequence import GenerationRequest
from specli.events import Round
from tests.fakes import FakeDecoder, FakeVocab, hashed, mostly

PROMPT = [3, 1, 4]
TARGET = Curve([1, 2, 4, 8, 16, 32], [20.0, 24.0, 30.0, 42.0, 65.0, 110.0])


def never(_token: int) -> bool:
    return False


@pytest.mark.parametrize("draft_max", [1, 3, 8])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_rounds_are_those_of_the_engine(
    draft_max: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, other = hashed(1), hashed(2)
    draft = mostly(target, other, share)
    (answer,) = record_answers(FakeDecoder(target), [PROMPT], never, 60, 100)
    assert len(answer.tokens) == 60
    agreement = measure_agreement(FakeDecoder(draft), answer)

    vocab = FakeVocab(end=-1)
    drafter = Cascade([], DraftModel(FakeDecoder(draft)))
    engine = Engine(FakeDecoder(target), vocab, drafter, FixedPolicy(draft_max=draft_max))
    engine.submit(GenerationRequest(PROMPT, max_tokens=60))
    rounds = [event for event in engine.run() if isinstance(event, Round)]
    assert [token for one in rounds for token in one.tokens] == answer.tokens

    monkeypatch.setattr(score, "DRAFT_MAX", (draft_max,))
    monkeypatch.setattr(score, "P_MIN", (0.0,))
    expected = expect([agreement], TARGET, Curve([1, 2], [5.0, 7.0]))
    assert expected.mean_accepted_length == pytest.approx(60 / len(rounds))


def test_recording_stops_where_the_target_ends_and_leaves_both_caches_empty() -> None:
    target = FakeDecoder(hashed(5))
    prompts = [[1, 2, 3], [4], [5, 6]]
    answers = record_answers(target, prompts, lambda token: token == 7, 40, 100)
    assert [answer.prompt for answer in answers] == prompts
    for answer in answers:
        assert 7 not in answer.tokens[:-1]
        assert len(answer.tokens) == 40 or answer.tokens[-1] == 7
    assert not any(target.seen.values())
    draft = FakeDecoder(hashed(5))
    assert all(all(measure_agreement(draft, answer).agrees) for answer in answers)
    assert not any(draft.seen.values())


def test_answers_of_a_slow_target_are_short() -> None:
    (answer,) = record_answers(FakeDecoder(hashed(5)), [PROMPT], never, 90, 0.0)
    assert len(answer.tokens) == 16


def test_a_draft_that_is_never_right_loses() -> None:
    wrong = Agreement([False] * 50, [0.9] * 50)
    expected = expect([wrong], TARGET, Curve([1, 2], [5.0, 7.0]))
    assert expected.agreement == 0
    assert expected.mean_accepted_length == 1
    # At best nothing of it is verified, but to be asked it has to decode a token a round.
    assert expected.speedup == pytest.approx(50 * 20 / (49 * (20 + 5) + 20))


def test_an_answer_of_one_token_has_nothing_to_draft() -> None:
    expected = expect([Agreement([True], [0.9])], TARGET, Curve([1, 2], [5.0, 7.0]))
    assert expected.speedup == pytest.approx(1.0)


def test_a_draft_that_knows_when_it_is_wrong_is_worth_more() -> None:
    agrees = [index % 3 != 0 for index in range(90)]
    draft = Curve([1, 2], [5.0, 7.0])
    blind = expect([Agreement(agrees, [0.9] * 90)], TARGET, draft)
    honest = expect([Agreement(agrees, [0.9 if right else 0.2 for right in agrees])], TARGET, draft)
    assert honest.speedup > blind.speedup


@settings(max_examples=50)
@given(
    words=st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=60),
    cost=st.floats(0.1, 30),
    cheaper=st.floats(0.1, 1),
)
def test_a_cheaper_draft_is_never_expected_to_be_slower(
    words: list[tuple[bool, float]], cost: float, cheaper: float
) -> None:
    agreement = Agreement([agrees for agrees, _sure in words], [sure for _agrees, sure in words])
    dear = expect([agreement], TARGET, Curve([1, 2], [cost, 1.5 * cost]))
    cheap = expect([agreement], TARGET, Curve([1, 2], [cheaper * cost, 1.5 * cheaper * cost]))
    assert cheap.speedup >= dear.speedup - 1e-9
    assert 1 <= dear.mean_accepted_length <= len(words)


def test_an_answer_longer_than_a_batch_is_measured_whole() -> None:
    target = hashed(9)
    (answer,) = record_answers(FakeDecoder(target), [PROMPT], never, 200, 100)
    long = Answer(answer.prompt, answer.tokens)
    assert all(measure_agreement(FakeDecoder(target, n_batch=32), long).agrees)
