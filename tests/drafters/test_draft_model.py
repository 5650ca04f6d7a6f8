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
