"""The round loop on scripted models: what is proposed, kept, emitted and counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.drafters.draft_model import DraftModel
from specli.engine.engine import Engine
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.sequence import GenerationRequest
from specli.errors import PromptTooLongError, UsageError
from specli.events import Finished, Round, Stats
from specli.sampling.params import SamplingParams
from tests.engine.rounds import (
    ANSWER,
    PROMPT,
    Canned,
    endings,
    engine_of,
    finished,
    text_of,
    tokens_of,
)
from tests.fakes import FakeClock, FakeDecoder, FakeVocab, hashed, mostly, scripted


def test_without_a_drafter_every_round_emits_one_token_of_the_target() -> None:
    target = FakeDecoder(scripted(ANSWER, len(PROMPT)))
    rounds = finished(engine_of(target), GenerationRequest(PROMPT))[0]
    assert tokens_of(rounds) == [*ANSWER, 0]
    assert {len(round_.tokens) for round_ in rounds} == {1}
    assert text_of(rounds) == "efghijkl"


def test_the_last_event_of_a_request_says_why_it_ended() -> None:
    engine = engine_of(FakeDecoder(scripted(ANSWER, len(PROMPT))))
    requests = [GenerationRequest(PROMPT), GenerationRequest(PROMPT, max_tokens=2)]
    assert [(one.seq, one.reason) for one in endings(engine, *requests)] == [
        (0, "stop"),
        (1, "length"),
    ]


def test_no_token_is_generated_where_none_is_allowed() -> None:
    target = FakeDecoder(scripted(ANSWER, len(PROMPT)))
    engine = engine_of(target, Canned({len(PROMPT): ANSWER[:4]}))
    engine.submit(GenerationRequest(PROMPT, max_tokens=0))
    events = list(engine.run())
    assert [one.reason for one in events if isinstance(one, Finished)] == ["length"]
    assert [one.tokens for one in events if isinstance(one, Round)] == [[]]


@pytest.mark.parametrize("wrong_at", range(5))
def test_a_proposal_is_kept_up_to_its_first_wrong_token(wrong_at: int) -> None:
    proposal = ANSWER[:4]
    if wrong_at < 4:
        proposal = [*proposal[:wrong_at], 15, *proposal[wrong_at + 1 :]]
    drafter = Canned({len(PROMPT): proposal})
    target = FakeDecoder(scripted(ANSWER, len(PROMPT)))
    first = finished(engine_of(target, drafter), GenerationRequest(PROMPT))[0][0]
    assert first.tokens == ANSWER[: wrong_at + 1]
    assert first.accepted == wrong_at
    assert first.sources == ["canned"] * wrong_at + ["target"]
    assert drafter.results[0] == (wrong_at + 1, min(wrong_at + 1, 4), wrong_at)


def test_the_cache_holds_exactly_what_was_accepted_after_a_rejection() -> None:
    target = FakeDecoder(scripted(ANSWER, len(PROMPT)))
    engine = engine_of(target, Canned({len(PROMPT): [5, 15, 15, 15]}))
    engine.submit(GenerationRequest(PROMPT))
    engine.step()
    engine.step()
    assert target.seen[0] == [*PROMPT, 5]


def test_tokens_after_the_end_inside_a_proposal_are_neither_emitted_nor_counted() -> None:
    target = FakeDecoder(scripted([5, 6, 0, 7, 8], len(PROMPT)))
    drafter = Canned({len(PROMPT): [5, 6, 0, 7]})
    rounds = finished(engine_of(target, drafter), GenerationRequest(PROMPT))[0]
    assert tokens_of(rounds) == [5, 6, 0]
    assert rounds[0].accepted == 3
    assert text_of(rounds) == "ef"


@pytest.mark.parametrize(
    ("proposal", "stops", "expected"),
    [
        # The end token was accepted: nobody judged what follows it.
        ([5, 6, 0, 7], (), (3, 3, 3)),
        # The stop string is complete with the second token.
        ([5, 6, 7, 8], ("ef",), (2, 2, 2)),
        # A wrong token was judged, those after it were not.
        ([5, 9, 0, 7], (), (2, 2, 1)),
    ],
)
def test_a_drafter_hears_how_many_of_its_tokens_were_judged(
    proposal: list[int], stops: tuple[str, ...], expected: tuple[int, int, int]
) -> None:
    drafter = Canned({len(PROMPT): proposal})
    target = FakeDecoder(scripted([5, 6, 0, 7], len(PROMPT)))
    finished(engine_of(target, drafter), GenerationRequest(PROMPT, stops=stops))
    assert drafter.results[0] == expected


def test_a_stop_string_inside_a_proposal_ends_there_and_is_never_shown() -> None:
    target = FakeDecoder(scripted(ANSWER, len(PROMPT)))
    drafter = Canned({len(PROMPT): ANSWER[:4]})
    request = GenerationRequest(PROMPT, stops=("fg",))
    rounds = finished(engine_of(target, drafter), request)[0]
    assert text_of(rounds) == "e"
    assert rounds[0].accepted == 3


def test_max_tokens_is_exact_and_the_proposal_leaves_room_for_the_targets_token() -> None:
    target = FakeDecoder(scripted(ANSWER, len(PROMPT)))
    drafter = Canned({n: ANSWER[n - len(PROMPT) :] for n in range(3, 12)})
    rounds = finished(engine_of(target, drafter), GenerationRequest(PROMPT, max_tokens=6))[0]
    assert tokens_of(rounds) == ANSWER[:6]
    assert [len(round_.proposal_sources) for round_ in rounds] == [5]


def test_generation_ends_with_length_when_the_context_is_full() -> None:
    target = FakeDecoder(hashed(1), n_ctx=10)
    request = GenerationRequest(PROMPT, ignore_end=True)
    rounds = finished(engine_of(target, DraftModel(FakeDecoder(hashed(1), n_ctx=10))), request)[0]
    assert len(PROMPT) + len(tokens_of(rounds)) == 10


def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers() -> None:
    engine = engine_of(FakeDecoder(hashed(1), n_ctx=4))
    with pytest.raises(PromptTooLongError, match=r"has 4 tokens.*holds 4"):
        engine.submit(GenerationRequest([1, 2, 3, 4]))


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        engine_of(FakeDecoder(hashed(1))).submit(GenerationRequest([]))


def test_a_request_may_decline_speculation() -> None:
    drafter = Canned({n: [5, 5, 5] for n in range(50)})
    target = FakeDecoder(scripted(ANSWER, len(PROMPT)))
    request = GenerationRequest(PROMPT, speculate=False)
    rounds = finished(engine_of(target, drafter), request)[0]
    assert all(not round_.proposal_sources for round_ in rounds)
    assert tokens_of(rounds) == [*ANSWER, 0]


def test_the_statistics_agree_with_the_rounds() -> None:
    target_script = hashed(4)
    draft = DraftModel(FakeDecoder(mostly(target_script, hashed(5), 0.7)))
    engine = engine_of(FakeDecoder(target_script), draft)
    engine.submit(GenerationRequest(PROMPT, max_tokens=60, ignore_end=True))
    stats = Stats()
    rounds = []
    for event in engine.run():
        stats.add(event)
        rounds += [event] if isinstance(event, Round) else []
    assert stats.predicted_n == 60 == sum(len(round_.tokens) for round_ in rounds)
    assert stats.rounds == len(rounds)
    assert stats.drafted == sum(len(round_.proposal_sources) for round_ in rounds)
    assert 0 < stats.accepted < stats.drafted
    assert stats.accepted + stats.rounds == stats.predicted_n
    assert stats.mean_accepted_length == pytest.approx(60 / len(rounds))
    assert stats.by_drafter["draft"].accepted == stats.accepted
    per_position = stats.acceptance_per_position
    assert per_position == sorted(per_position, reverse=True)
    assert sum(stats.accepted_at) == stats.accepted


MODELS = st.integers(0, 50)


@settings(max_examples=60, deadline=None)
@given(
    seed=MODELS,
    agreement=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    draft_max=st.integers(1, 9),
    temperature=st.sampled_from([0.0, 0.9]),
    keeps_state=st.booleans(),
    penalty=st.sampled_from([1.0, 1.3]),
)
def test_the_text_is_the_same_whoever_drafts(
    seed: int,
    agreement: float,
    draft_max: int,
    temperature: float,
    keeps_state: bool,
    penalty: float,
) -> None:
    script = hashed(seed)
    sampling = SamplingParams(
        temperature=temperature, seed=seed, repeat_penalty=penalty, presence_penalty=0.1
    )
    request = GenerationRequest(PROMPT, max_tokens=40, sampling=sampling)
    plain = tokens_of(finished(engine_of(FakeDecoder(script)), request)[0])
    drafting = FakeDecoder(mostly(script, hashed(seed + 1), agreement), keeps_state=keeps_state)
    target = FakeDecoder(script, keeps_state=keeps_state)
    speculated = finished(engine_of(target, DraftModel(drafting), draft_max=draft_max), request)[0]
    assert tokens_of(speculated) == plain


def test_with_fixed_lengths_a_draft_model_is_asked_only_where_no_free_drafter_proposes() -> None:
    script = scripted(ANSWER, len(PROMPT))
    first = Canned({len(PROMPT): ANSWER[:2]})
    draft = FakeDecoder(script)
    engine = engine_of(FakeDecoder(script), first, DraftModel(draft), draft_max=3)
    rounds = finished(engine, GenerationRequest(PROMPT))[0]
    assert rounds[0].proposal_sources == ["canned", "canned"]
    assert rounds[1].proposal_sources == ["draft"] * 3
    assert tokens_of(rounds) == [*ANSWER, 0]


def test_a_limit_on_rollback_limits_the_proposal() -> None:
    script = hashed(2)
    target = FakeDecoder(script, keeps_state=True, max_rollback=2)
    engine = engine_of(target, DraftModel(FakeDecoder(hashed(9))), draft_max=6)
    rounds = finished(engine, GenerationRequest(PROMPT, max_tokens=12, ignore_end=True))[0]
    assert max(len(round_.proposal_sources) for round_ in rounds) == 2


def test_margins_tell_how_close_each_choice_was() -> None:
    def script(tokens: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        row = np.zeros(16, dtype=np.float32)
        row[4], row[5] = 1.0, 0.75
        return row

    engine = engine_of(FakeDecoder(script))
    rounds = finished(engine, GenerationRequest(PROMPT, max_tokens=2, margins=True))[0]
    assert [round_.margins for round_ in rounds] == [[0.25], [0.25]]


def test_a_grammar_that_allows_nothing_more_stops_the_text() -> None:
    class OnlyTwice:
        left = 2

        def allows(self, token: int) -> bool:
            return self.left > 0

        def mask(self, logits: object) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
            return np.full(16, -np.inf, dtype=np.float32)

        def accept(self, token: int) -> None:
            self.left -= 1

    target = FakeDecoder(scripted(ANSWER, len(PROMPT)))
    drafter = Canned({len(PROMPT): ANSWER[:4]})
    request = GenerationRequest(PROMPT, grammar=OnlyTwice())
    rounds = finished(engine_of(target, drafter), request)[0]
    assert tokens_of(rounds) == ANSWER[:2]


def test_all_time_of_a_step_is_charged_to_drafting_verifying_rolling_back_or_the_prompt() -> None:
    clock = FakeClock()
    script = hashed(1)
    target = FakeDecoder(script, clock=clock, ms=lambda k: 10.0 + k, rollback_ms=50.0)
    draft = FakeDecoder(
        hashed(9), clock=clock, ms=lambda _k: 3.0, keeps_state=True, rollback_ms=7.0
    )
    engine = Engine(target, FakeVocab(), [DraftModel(draft)], FixedPolicy(draft_max=4), clock=clock)
    engine.submit(GenerationRequest(PROMPT, max_tokens=12, ignore_end=True))
    stats = Stats()
    for event in engine.run():
        stats.add(event)
    charged = stats.draft_ms + stats.verify_ms + stats.rollback_ms + stats.prompt_ms
    assert stats.rollback_ms >= 50
    assert charged == pytest.approx(1000 * clock.now)
