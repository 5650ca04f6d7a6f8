"""Several sequences: prompts in chunks, shared beginnings, slots, errors of one among others."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from specli.drafters.draft_model import DraftModel
from specli.engine.engine import Engine
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.sequence import GenerationRequest
from specli.engine.slots import Slots
from specli.events import Event, Prefilled
from specli.sampling.params import SamplingParams
from tests.engine.rounds import ANSWER, PROMPT, Canned, endings, engine_of, finished, tokens_of
from tests.fakes import FakeClock, FakeDecoder, FakeVocab, Script, hashed, mostly, scripted


def test_a_long_prompt_is_decoded_in_chunks_that_report_progress() -> None:
    target = FakeDecoder(hashed(1))
    engine = engine_of(target, prefill_chunk=20)
    engine.submit(GenerationRequest([1 + n % 9 for n in range(50)], max_tokens=1))
    progress = [event for event in engine.run() if isinstance(event, Prefilled)]
    assert [event.done for event in progress] == [20, 40, 50]
    assert {event.total for event in progress} == {50}


def test_a_prompt_that_starts_like_the_last_one_is_not_decoded_again() -> None:
    target = FakeDecoder(hashed(1))
    engine = engine_of(target)
    finished(engine, GenerationRequest(list(range(1, 13)), max_tokens=3))
    decoded = target.decoded
    seq = engine.submit(GenerationRequest([*range(1, 11), 14, 15], max_tokens=1))
    events = list(engine.run())
    # Ten tokens are in the cache; 14 is prompt, 15 is the round's own token.
    assert target.decoded - decoded == 2
    assert [e.cached for e in events if isinstance(e, Prefilled) and e.seq == seq] == [10]


def test_a_model_with_a_state_starts_anew_when_the_prompt_differs() -> None:
    target = FakeDecoder(hashed(1), keeps_state=True)
    engine = engine_of(target)
    finished(engine, GenerationRequest([1, 2, 3, 4, 5], max_tokens=2))
    again = finished(engine, GenerationRequest([1, 2, 9, 4, 5], max_tokens=4, ignore_end=True))
    fresh = engine_of(FakeDecoder(hashed(1)))
    alone = finished(fresh, GenerationRequest([1, 2, 9, 4, 5], max_tokens=4, ignore_end=True))
    assert tokens_of(again[1]) == tokens_of(alone[0])


def test_more_requests_than_slots_wait_for_their_turn() -> None:
    target = FakeDecoder(hashed(3))
    engine = engine_of(target, slots=2)
    requests = [GenerationRequest([n, n + 1], max_tokens=5) for n in range(1, 6)]
    rounds = finished(engine, *requests)
    assert len(rounds) == 5
    assert set(target.seen) == {0, 1}
    assert engine.idle


def test_a_batch_lists_neighbouring_slots_one_after_the_other() -> None:
    # With caches of their own, llama.cpp computes only such sequences at once.
    target, order = FakeDecoder(hashed(3)), list[list[int]]()
    add, decode = target.add, target.decode
    placed: list[int] = []

    def adding(seq: int, tokens: Sequence[int], position: int, outputs: int) -> int:
        placed.append(seq)
        return add(seq, tokens, position, outputs)

    def decoding() -> None:
        order.append(list(placed))
        placed.clear()
        decode()

    target.add, target.decode = adding, decoding  # type: ignore[method-assign]
    engine = engine_of(target, slots=3)
    for count in (2, 6, 6, 6):
        engine.submit(GenerationRequest([count], max_tokens=count, ignore_end=True))
    list(engine.run())
    both = [one for one in order if len(one) > 1]
    assert len(both) > 4
    assert all(one == sorted(one) for one in both)


def test_the_first_of_slots_that_hold_as_much_is_taken() -> None:
    slots = Slots(FakeDecoder(hashed(1)), 3)
    assert [slots.take([1, 2], ())[0] for _n in range(2)] == [0, 1]
    slots.give_back(1, [])
    slots.give_back(0, [])
    assert slots.take([1, 2], ())[0] == 0


def test_closing_the_run_early_ends_every_sequence() -> None:
    drafter = Canned({})
    engine = engine_of(FakeDecoder(hashed(1)), drafter)
    engine.submit(GenerationRequest(PROMPT, ignore_end=True))
    run = engine.run()
    for _event, _count in zip(run, range(4), strict=False):
        pass
    run.close()
    assert engine.idle
    assert drafter.ended == [0]


@settings(max_examples=40, deadline=None)
@given(
    seeds=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    slots=st.integers(1, 4),
    draft_max=st.integers(1, 6),
    chunk=st.integers(1, 12),
)
def test_several_sequences_at_once_each_get_the_text_they_get_alone(
    seeds: list[int], slots: int, draft_max: int, chunk: int
) -> None:
    script: Script = hashed(7)
    requests = [
        GenerationRequest(
            [seed] * seed + [place + 1], max_tokens=20, sampling=SamplingParams(0.8, seed=seed)
        )
        for place, seed in enumerate(seeds)
    ]
    alone = [tokens_of(finished(engine_of(FakeDecoder(script)), r)[0]) for r in requests]
    draft = DraftModel(FakeDecoder(mostly(script, hashed(8), 0.8)))
    engine = engine_of(
        FakeDecoder(script), draft, draft_max=draft_max, slots=slots, prefill_chunk=chunk
    )
    together = finished(engine, *requests)
    assert [tokens_of(together[seq]) for seq in range(len(requests))] == alone


def test_what_prompts_begin_with_in_common_is_decoded_once() -> None:
    system = [9, 8, 7, 6, 5, 4, 3, 2, 1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 2]
    target, draft = FakeDecoder(hashed(7)), FakeDecoder(hashed(7))
    engine = engine_of(target, DraftModel(draft), draft_max=0, slots=4)
    requests = [GenerationRequest([*system, 10, n, 11], max_tokens=1) for n in range(1, 5)]
    rounds = finished(engine, *requests)
    alone = [tokens_of(finished(engine_of(FakeDecoder(hashed(7))), r)[0]) for r in requests]
    assert [tokens_of(rounds[seq]) for seq in range(4)] == alone
    # The first prompt whole; of the others what differs; each one's last token in its round.
    own = 2
    assert target.decoded == len(system) + 1 + 4 * own
    # With other sequences live, a draft model that is not asked reads nothing.
    assert draft.decoded == len(system) + 2


def test_a_prompt_like_one_that_is_just_being_decoded_waits_for_it() -> None:
    target = FakeDecoder(hashed(7))
    engine = engine_of(target, slots=2, prefill_chunk=32)
    shared = [1, 2, 3, 4, 5, 6, 7] * 8
    for last in (8, 9):
        engine.submit(GenerationRequest([*shared, last, 1], max_tokens=4))
    begun = [e for e in engine.run() if isinstance(e, Prefilled)]
    assert next(e.cached for e in begun if e.seq == 1) == len(shared)


def test_prompts_that_have_little_in_common_do_not_wait() -> None:
    target = FakeDecoder(hashed(7))
    engine = engine_of(target, slots=2)
    for last in (8, 9):
        engine.submit(GenerationRequest([1, 2, 3, last, 1], max_tokens=4))
    assert {event.seq for event in engine.step()} == {0, 1}


def test_several_sequences_draft_in_lockstep_and_share_the_targets_batch() -> None:
    script = hashed(7)
    draft, target = FakeDecoder(script), FakeDecoder(script)
    engine = engine_of(target, DraftModel(draft), draft_max=4, slots=3)
    for first in (1, 2, 3):
        engine.submit(GenerationRequest([first, 5], max_tokens=20, ignore_end=True))
    engine.step()
    draft_calls, target_calls = draft.calls, target.calls
    engine.step()
    assert draft.calls - draft_calls == 4
    assert target.calls - target_calls == 1


def test_events_of_a_step_name_their_sequence() -> None:
    engine = engine_of(FakeDecoder(hashed(1)), slots=2)
    ids = {engine.submit(GenerationRequest([n, 2], max_tokens=3)) for n in (1, 3)}
    events: list[Event] = list(engine.run())
    assert {event.seq for event in events} == ids


def test_a_sequence_whose_logits_are_no_numbers_ends_alone() -> None:
    requests = [GenerationRequest([n, 2], max_tokens=6, ignore_end=True) for n in (1, 3)]
    target = FakeDecoder(hashed(1), nan_at={(0, 3)})
    engine = engine_of(target, slots=2)
    ends = {one.seq: one for one in endings(engine, *requests)}
    assert ends[0].reason == "error"
    assert ends[0].error is not None
    assert "NaN" in ends[0].error.message
    assert ends[1].reason == "length"
    assert engine.idle


def test_a_draft_model_that_computes_no_number_ends_its_sequence_and_is_named() -> None:
    script = hashed(1)
    draft = DraftModel(FakeDecoder(script, nan_at={(1, 4)}))
    requests = [
        GenerationRequest([n, 2], max_tokens=6, ignore_end=True, sampling=SamplingParams(0.8))
        for n in (1, 3)
    ]
    ends = endings(engine_of(FakeDecoder(script), draft, slots=2), *requests)
    broken = [one for one in ends if one.reason == "error"]
    assert len(broken) == 1
    assert broken[0].error is not None
    assert "draft model" in broken[0].error.message
    assert sorted(one.reason for one in ends) == ["error", "length"]


def test_a_cancelled_request_ends_once_with_the_text_that_was_held_back() -> None:
    target = FakeDecoder(scripted(ANSWER, len(PROMPT)))
    engine = engine_of(target)
    seq = engine.submit(GenerationRequest(PROMPT, stops=("fz",)))
    waiting = engine.submit(GenerationRequest(PROMPT))
    for _step in range(3):
        engine.step()
    ended = engine.cancel(seq, "timeout")
    assert ended is not None
    assert (ended.reason, [piece.text for piece in ended.pieces]) == ("timeout", ["f"])
    assert engine.cancel(seq) is None
    ended = engine.cancel(waiting)
    assert ended is not None
    assert ended.reason == "cancelled"
    assert engine.idle


def test_copying_a_cached_prefix_is_no_drafting_time() -> None:
    clock = FakeClock()
    target = FakeDecoder(hashed(1), clock=clock, rollback_ms=80.0)
    engine = Engine(target, FakeVocab(), [Canned({})], FixedPolicy(), clock=clock)
    finished(engine, GenerationRequest([1, 2, 3, 4, 5], max_tokens=2))
    rounds = finished(engine, GenerationRequest([1, 9, 3, 4, 5], max_tokens=2))[1]
    assert sum(round_.draft_ms for round_ in rounds) == 0
