"""A text computed again in its own batches: kernels are told from faults, and faults are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from specli.drafters.draft_model import DraftModel
from specli.engine.engine import Engine
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.replay import replay
from specli.engine.sequence import GenerationRequest
from specli.generation import Generation
from specli.sampling.params import SamplingParams
from tests.engine.plants import PLANTS, Pairs, fake_rollback_short_by_one
from tests.fakes import FakeDecoder, FakeVocab, Script, hashed, mostly

PROMPT = [1, 2, 3, 4, 5]
SEEDS = range(12)


class Kernels(FakeDecoder):
    """Computes a row otherwise in a batch of several tokens, as llama.cpp does."""

    def decode(self) -> None:
        several = len(self._pending) > 1
        super().decode()
        for row in self._rows if several else ():
            shifted = self._rows[row] + np.linspace(0, 1.5, self.n_vocab, dtype=np.float32)
            self._rows[row] = shifted.astype(np.float32)


def request_of(
    seed: int, *, grammar: bool = False, stops: tuple[str, ...] = ()
) -> GenerationRequest:
    return GenerationRequest(
        PROMPT,
        max_tokens=24,
        sampling=SamplingParams(temperature=0.8, seed=seed, repeat_penalty=1.4, penalty_last_n=12),
        stops=stops,
        ignore_end=True,
        grammar=Pairs() if grammar else None,
    )


def generated(target: FakeDecoder, request: GenerationRequest, model: Script) -> Generation:
    draft = DraftModel(FakeDecoder(mostly(model, hashed(7), 0.8)))
    engine = Engine(target, FakeVocab(), [draft], FixedPolicy(draft_max=4))
    generation = Generation()
    engine.submit(request)
    for event in engine.run():
        generation.add(event)
    return generation


def drafted(seed: int, request: GenerationRequest) -> tuple[Generation, FakeDecoder]:
    model = hashed(seed)
    return generated(Kernels(model), request, model), Kernels(model)


def test_a_text_that_other_kernels_changed_is_the_targets_own() -> None:
    differ = 0
    for seed in SEEDS:
        request = request_of(seed)
        text, again = drafted(seed, request)
        plain, _ = drafted(seed, replace(request, speculate=False))
        differ += text.tokens != plain.tokens
        assert replay(again, FakeVocab(), [(request, text)]) is None
    assert differ > len(SEEDS) / 2


def test_a_second_turn_goes_on_with_the_cache_of_the_first() -> None:
    model = hashed(3)
    engine = Engine(
        Kernels(model),
        FakeVocab(),
        [DraftModel(FakeDecoder(mostly(model, hashed(7), 0.8)))],
        FixedPolicy(draft_max=4),
    )
    turns = []
    prompt = PROMPT
    for _turn in range(2):
        request, generation = replace(request_of(3), prompt=prompt), Generation()
        engine.submit(request)
        for event in engine.run():
            generation.add(event)
        turns.append((request, generation))
        prompt = [*prompt, *generation.tokens, 2, 2]
    assert turns[1][1].prefilled[0] > len(PROMPT)
    assert replay(Kernels(model), FakeVocab(), turns) is None


@pytest.mark.parametrize("name", [*PLANTS, "rollback"])
def test_a_planted_fault_is_found_in_the_texts_that_it_changes(name: str) -> None:
    changed = found = 0
    for seed in range(24):
        sound, again = drafted(seed, asked(name, seed))
        with pytest.MonkeyPatch.context() as patch:
            PLANTS.get(name, fake_rollback_short_by_one)(patch)
            faulty, _ = drafted(seed, asked(name, seed))
        if (faulty.tokens, faulty.text) != (sound.tokens, sound.text):
            changed += 1
            found += replay(again, FakeVocab(), [(asked(name, seed), faulty)]) is not None
    assert changed >= 5
    assert found >= 0.9 * changed


def asked(name: str, seed: int) -> GenerationRequest:
    stops = ("b", "ij", "kd") if name == "stop" else ()
    return request_of(seed, grammar=name == "grammar", stops=stops)


def shortened(generation: Generation, by: int) -> Sequence[int]:
    return generation.tokens[:-by]


def test_a_text_that_ends_too_early_is_a_fault() -> None:
    request = request_of(1)
    text, again = drafted(1, request)
    last = len(text.rounds[-1][1])
    text.tokens, text.rounds = list(shortened(text, last)), text.rounds[:-1]
    found = replay(again, FakeVocab(), [(request, text)])
    assert found is not None
    assert found.position == len(text.tokens)
