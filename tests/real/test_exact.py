"""`--exact` on the real pair: the same bits alone and side by side, drafted and plain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from specli.generation import Generation
from specli.sampling.params import SamplingParams
from specli.session import Session
from specli.speculative import SpeculativeConfig
from tests.real.pair import Pair
from tests.real.prompts import PROMPTS

pytestmark = [pytest.mark.real, pytest.mark.slow]

NAMES = ("fact", "code", "copy", "story")
SAMPLINGS = (SamplingParams(), SamplingParams(temperature=0.8, seed=7, repeat_penalty=1.1))


def texts(session: Session, pair: Pair, config: SpeculativeConfig) -> list[list[int]]:
    engine = session.engine_for(config)
    found = {}
    for name in NAMES:
        for sampling in SAMPLINGS:
            request = replace(pair.request(PROMPTS[name], sampling), max_tokens=24, exact=True)
            found[engine.submit(request)] = Generation()
    for event in engine.run():
        found[event.seq].add(event)
    return [generation.tokens for generation in found.values()]


def test_texts_are_the_same_to_the_bit_at_any_width(pair: Pair, tmp_path: Path) -> None:
    found = []
    for width in (1, 4):
        setup = replace(pair.session.setup, slots=width, n_ctx=512, exact=True)
        with Session(setup, tmp_path) as session:
            found.append(texts(session, pair, SpeculativeConfig()))
            found.append(texts(session, pair, session.setup.speculative))
    assert all(one == found[0] for one in found)
