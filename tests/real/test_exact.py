"""`--exact` on the real pair: the same bits alone and side by side, drafted and plain.

`scripts/exact_texts.py` compares hundreds of texts, of other weights and with every drafter.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from specli.generation import Generation
from specli.sampling.params import SamplingParams
from specli.session import Session
from specli.speculative import FixedLength, SpeculativeConfig
from tests.real.pair import Pair
from tests.real.prompts import PROMPTS

pytestmark = [pytest.mark.real, pytest.mark.slow]

NAMES = ("fact", "copy")
SAMPLINGS = (SamplingParams(), SamplingParams(temperature=0.8, seed=7, repeat_penalty=1.1))


def texts(session: Session, pair: Pair, config: SpeculativeConfig) -> list[list[int]]:
    engine = session.engine_for(config)
    found = {}
    for name in NAMES:
        for sampling in SAMPLINGS:
            request = replace(pair.request(PROMPTS[name], sampling), max_tokens=16, exact=True)
            found[engine.submit(request)] = Generation()
    for event in engine.run():
        found[event.seq].add(event)
    return [generation.tokens for generation in found.values()]


def test_texts_are_the_same_to_the_bit_at_any_width(pair: Pair, tmp_path: Path) -> None:
    found = []
    for width in (1, 4):
        drafters = pair.session.setup.speculative.drafters
        # With a fixed length no costs are measured, which would take longer than the texts.
        drafting = SpeculativeConfig(drafters, FixedLength(draft_max=4))
        setup = replace(
            pair.session.setup, slots=width, n_ctx=512, exact=True, speculative=drafting
        )
        with Session(setup, tmp_path) as session:
            found.append(texts(session, pair, SpeculativeConfig()))
            found.append(texts(session, pair, drafting))
    assert all(one == found[0] for one in found)
