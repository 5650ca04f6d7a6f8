"""The drafters without a model, in the engine: they change the speed and never the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.drafters.lookup import LookupDrafter
from specli.drafters.ngram import NgramDrafter
from specli.drafters.prediction import PredictionDrafter
from specli.drafters.protocol import Drafter
from specli.drafters.suffix import SuffixDrafter
from specli.engine.engine import Engine
from specli.engine.policy import FixedPolicy
from specli.engine.sequence import GenerationRequest
from specli.events import Round
from tests.fakes import FakeDecoder, FakeVocab, hashed

DRAFTERS: dict[str, Callable[[], Drafter]] = {
    "ngram": lambda: NgramDrafter(2, 4),
    "suffix": SuffixDrafter,
    "lookup": LookupDrafter,
    "prediction": lambda: PredictionDrafter([1, 2, 3, 4, 5, 6, 7, 8] * 4),
}


def generated(
    drafter: Drafter | None, requests: Sequence[GenerationRequest], seed: int, slots: int = 1
) -> tuple[list[list[int]], int]:
    """The text of each request, and how many proposed tokens were accepted."""
    # One token of context and few tokens: the text soon runs in circles, as small models' does.
    target = FakeDecoder(hashed(seed, vocab=6, window=1), vocab=6)
    engine = Engine(target, FakeVocab(), drafter, FixedPolicy(draft_max=6), slots=slots)
    texts: dict[int, list[int]] = {engine.submit(request): [] for request in requests}
    accepted = 0
    for event in engine.run():
        if isinstance(event, Round):
            texts[event.seq] += event.tokens
            accepted += event.accepted
    return list(texts.values()), accepted


@pytest.mark.parametrize("name", DRAFTERS)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 20),
    firsts=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    slots=st.integers(1, 3),
)
def test_the_text_is_the_same_with_and_without(
    name: str, seed: int, firsts: list[int], slots: int
) -> None:
    requests = [GenerationRequest([2, n], max_tokens=30, ignore_end=True) for n in firsts]
    plain, _ = generated(None, requests, seed)
    assert generated(DRAFTERS[name](), requests, seed, slots)[0] == plain


@pytest.mark.parametrize("name", ["ngram", "suffix", "lookup"])
def test_a_text_in_circles_is_mostly_drafted(name: str) -> None:
    requests = [GenerationRequest([1, 2], max_tokens=100, ignore_end=True)]
    _, accepted = generated(DRAFTERS[name](), requests, seed=3)
    assert accepted > 60


def test_a_prediction_of_the_request_reaches_its_drafter() -> None:
    (answer,), _ = generated(None, [GenerationRequest([2, 1], max_tokens=30, ignore_end=True)], 3)
    told = GenerationRequest([2, 1], max_tokens=30, ignore_end=True, prediction=tuple(answer))
    (text,), accepted = generated(PredictionDrafter(), [told], 3)
    assert text == answer
    assert accepted > 20
