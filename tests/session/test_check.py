"""`--check` on llama.cpp's own caches: planted faults are found, and sound texts pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from specli.app.compare import compare_with_plain
from specli.engine.sequence import GenerationRequest
from specli.generation import Generation
from specli.sampling.params import SamplingParams
from specli.session import Session, Setup
from tests.engine.plants import PLANTS, Pairs, rollback_short_by_one

Asked = Callable[[], GenerationRequest]


def drafted(session: Session, request: GenerationRequest) -> Generation:
    engine, generation = session.engine_for(session.setup.speculative), Generation()
    engine.submit(request)
    for event in engine.run():
        generation.add(event)
    return generation


def found(session: Session, name: str, requests: list[Asked]) -> tuple[int, int]:
    """Texts that a planted fault changes, and those of them in which it is found."""
    changed = caught = 0
    for asked in requests:
        sound = drafted(session, asked())
        assert compare_with_plain(session, asked, sound).passed
        with pytest.MonkeyPatch.context() as patch:
            if name in PLANTS:
                PLANTS[name](patch)
            else:
                rollback_short_by_one(patch, session.target)
            faulty = drafted(session, asked())
        if (faulty.tokens, faulty.text) != (sound.tokens, sound.text):
            changed += 1
            caught += not compare_with_plain(session, asked, faulty).passed
    return changed, caught


def requests_for(session: Session, name: str, count: int, prompts: list[list[int]]) -> list[Asked]:
    """Sampled requests that the fault of this name can change."""
    made: list[Asked] = []
    for seed in range(count):
        sampling = SamplingParams(temperature=0.8, seed=seed, repeat_penalty=1.4, penalty_last_n=12)
        request = GenerationRequest(prompts[seed % len(prompts)], 24, sampling, ignore_end=True)
        if name == "stop":
            text = drafted(session, request).text
            request = replace(request, stops=(text[11:14],))
        grammar = Pairs if name == "grammar" else lambda: None
        made.append(lambda one=request, of=grammar: replace(one, grammar=of()))  # type: ignore[misc]
    return made


@pytest.mark.parametrize("name", [*PLANTS, "rollback"])
def test_a_planted_fault_is_found_in_the_texts_that_it_changes(
    name: str, setup: Setup, records: Path
) -> None:
    with Session(setup.with_threads(1, 1), records) as session:
        prompts = [[5, 6, 7, *range(20, 22 + 3 * number), 5, 6] for number in range(4)]
        changed, caught = found(session, name, requests_for(session, name, 12, prompts))
    assert changed >= 3
    assert caught >= 0.9 * changed
