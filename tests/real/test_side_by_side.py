"""Prompts answered side by side on the real pair: each text is plain decoding's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specli.generation import Generation
from specli.sampling.params import SamplingParams
from specli.session import Session
from tests.real.pair import Pair, require_same
from tests.real.prompts import PROMPTS

pytestmark = pytest.mark.real

SLOTS = 4
NAMES = ("fact", "code", "refactor", "copy", "json", "summary", "translate", "story")
SAMPLINGS = {"greedy": SamplingParams(), "seeded": SamplingParams(temperature=0.8, seed=7)}


@pytest.fixture(scope="module")
def beside(
    pair: Pair, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Generation]:
    """All prompts greedily and seeded, `SLOTS` of them at any time."""
    setup = replace(pair.session.setup, slots=SLOTS, n_ctx=512)
    found: dict[tuple[str, str], Generation] = {}
    with Session(setup, tmp_path_factory.mktemp("probes")) as session:
        engine = session.engine()
        ids = {}
        for name in NAMES:
            for kind, sampling in SAMPLINGS.items():
                ids[engine.submit(pair.request(PROMPTS[name], sampling))] = name, kind
                found[name, kind] = Generation()
        for event in engine.run():
            found[ids[event.seq]].add(event)
    return found


@pytest.mark.parametrize("kind", SAMPLINGS)
@pytest.mark.parametrize("name", NAMES)
def test_beside_others_a_text_is_plain_decodings_own(
    pair: Pair, beside: dict[tuple[str, str], Generation], name: str, kind: str
) -> None:
    require_same(pair.plain(PROMPTS[name], SAMPLINGS[kind]), beside[name, kind])


def test_beside_others_something_was_drafted_and_accepted(
    beside: dict[tuple[str, str], Generation],
) -> None:
    stats = [generation.stats for generation in beside.values()]
    assert sum(one.accepted for one in stats) > 0
