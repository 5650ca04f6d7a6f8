"""What a draft model computes beside its tokens."""

from __future__ import annotations

import pytest

from specli.drafters.draft_model import DraftModel
from specli.drafters.protocol import Request
from specli.drafters.rule import Rule
from specli.sampling.chooser import Chooser
from specli.sampling.params import SamplingParams
from tests.fakes import FakeDecoder, hashed


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_probabilities_are_computed_only_for_a_rule_that_looks_at_them(temperature: float) -> None:
    proposals = []
    for p_min in (0.0, 1e-9):
        drafter = DraftModel(FakeDecoder(hashed(1)))
        chooser = Chooser(SamplingParams(temperature=temperature, seed=5), [1, 2, 3])
        drafter.begin(0, [1, 2, 3])
        (proposal,) = drafter.propose([Request(0, [1, 2, 3], Rule(6, p_min), chooser)])
        proposals.append(proposal)
    unweighed, weighed = proposals
    assert unweighed.tokens == weighed.tokens
    assert unweighed.confidences == [1.0] * 6
    assert all(0 < confidence < 1 for confidence in weighed.confidences)


def test_a_prompt_is_read_at_once_where_it_is_wanted_and_else_when_it_is_asked_for() -> None:
    for wanted, read in ((True, 5), (False, 0)):
        decoder = FakeDecoder(hashed(1))
        drafter = DraftModel(decoder, wanted=[wanted].pop)
        prompt = [1, 2, 3, 4, 5, 6]
        drafter.begin(0, prompt)
        assert decoder.length(0) == read
        assert drafter.pending(0, prompt) == len(prompt) - read
        chooser = Chooser(SamplingParams(), prompt)
        (proposal,) = drafter.propose([Request(0, prompt, Rule(2), chooser)])
        assert len(proposal) == 2
