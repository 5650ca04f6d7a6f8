"""What fails inside one text ends that text, and what fails for all leaves the engine usable."""

from __future__ import annotations

import pytest

from specli.drafters.draft_model import DraftModel
from specli.engine.engine import Engine
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.sequence import GenerationRequest
from specli.errors import DecodeError, FaultError, MemoryShortError
from specli.events import Finished, Round
from specli.llama.decoder import Logits
from specli.sampling.params import SamplingParams
from tests.fakes import FakeDecoder, FakeVocab, hashed

PROMPTS = [[1, 2, 3], [4, 5, 6, 7], [1, 2, 9]]
MODEL = hashed(7)
GREEDY = SamplingParams()
SAMPLED = SamplingParams(temperature=0.8, seed=1)


def texts(
    target: FakeDecoder,
    draft: FakeDecoder | None = None,
    sampling: SamplingParams = GREEDY,
    again: bool = False,
) -> tuple[list[list[int]], list[Finished]]:
    """Tokens and ends of three requests; with `again` each is asked a second time if it failed."""
    drafters = [] if draft is None else [DraftModel(draft)]
    engine = Engine(target, FakeVocab(end=99), drafters, FixedPolicy(draft_max=3), slots=2)
    ids = {engine.submit(_request(prompt, sampling)): prompt for prompt in PROMPTS}
    tokens: dict[int, list[int]] = {seq: [] for seq in ids}
    ends: dict[int, Finished] = {}
    while not engine.idle:
        for event in engine.step():
            if isinstance(event, Round):
                tokens[event.seq] += event.tokens
            elif isinstance(event, Finished):
                ends[event.seq] = event
                if again and event.reason == "error":
                    seq = engine.submit(_request(ids[event.seq], sampling))
                    ids[seq], tokens[seq] = ids[event.seq], []
    answered = {tuple(ids[seq]): tokens[seq] for seq in ids}
    return [answered[tuple(prompt)] for prompt in PROMPTS], list(ends.values())


def _request(prompt: list[int], sampling: SamplingParams) -> GenerationRequest:
    return GenerationRequest(prompt, max_tokens=12, ignore_end=True, sampling=sampling)


EXPECTED, _ENDS = texts(FakeDecoder(MODEL))


@pytest.mark.parametrize("fault", [DecodeError("it failed"), MemoryShortError("no memory")])
@pytest.mark.parametrize("at", range(6))
def test_a_failed_decode_ends_what_was_in_it_and_nothing_after_it(
    at: int, fault: Exception
) -> None:
    target, draft = FakeDecoder(MODEL, faults={at: fault}), FakeDecoder(MODEL)
    tokens, ends = texts(target, draft, again=True)
    assert tokens == EXPECTED, "what was in the caches is not used again"
    failed = [one.error for one in ends if one.reason == "error"]
    assert failed
    assert set(failed) == {fault}


@pytest.mark.parametrize("at", range(6))
def test_a_draft_model_that_fails_ends_what_it_drafted_for(at: int) -> None:
    draft = FakeDecoder(MODEL, faults={at: DecodeError("it failed")})
    tokens, ends = texts(FakeDecoder(MODEL), draft, again=True)
    assert tokens == EXPECTED
    assert {one.error.message for one in ends if one.error} == {"it failed"}


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_a_text_whose_logits_are_no_numbers_ends_alone(sampling: SamplingParams) -> None:
    expected, _ = texts(FakeDecoder(MODEL), sampling=sampling)
    target = FakeDecoder(MODEL, nan_at={(0, 6)})
    tokens, ends = texts(target, FakeDecoder(MODEL), sampling)
    failed = [one for one in ends if one.error is not None]
    assert {one.seq for one in failed} == {0, 2}, "those that ran in the slot of broken logits"
    assert "no number (NaN) at position 7" in str(failed[0].error)
    assert tokens[1] == expected[1]


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_a_draft_model_that_computes_no_numbers_is_named(sampling: SamplingParams) -> None:
    draft = FakeDecoder(MODEL, nan_at={(0, position) for position in range(20)})
    _tokens, ends = texts(FakeDecoder(MODEL), draft, sampling)
    messages = [one.error.message for one in ends if one.error is not None]
    assert messages
    assert all("the draft model failed" in message for message in messages)


class _Broken:
    """A grammar whose code fails."""

    def allows(self, token: int) -> bool:
        raise IndexError("list index out of range")

    def mask(self, logits: Logits) -> Logits:
        raise NotImplementedError

    def accept(self, token: int) -> None:
        raise NotImplementedError


def test_a_fault_of_specli_ends_one_text_and_asks_to_be_reported() -> None:
    engine = Engine(FakeDecoder(MODEL), FakeVocab(end=99), [], FixedPolicy(draft_max=0), slots=2)
    engine.submit(GenerationRequest(PROMPTS[0], max_tokens=5, grammar=_Broken()))
    engine.submit(GenerationRequest(PROMPTS[1], max_tokens=12, ignore_end=True))
    events = list(engine.run())
    broken, whole = sorted(
        (one for one in events if isinstance(one, Finished)), key=lambda one: one.seq
    )
    assert isinstance(broken.error, FaultError)
    assert "IndexError: list index out of range; please report it" in broken.error.message
    assert whole.error is None
    tokens = [t for one in events if isinstance(one, Round) and one.seq == 1 for t in one.tokens]
    assert tokens == EXPECTED[1]
