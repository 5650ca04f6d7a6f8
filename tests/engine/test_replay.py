"""A text computed again in its own batches: kernels are told from faults, and faults are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from specli.drafters.draft_model import DraftModel
from specli.engine import engine as engine_module
from specli.engine import verification
from specli.engine.engine import Engine
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.replay import replay
from specli.engine.sequence import GenerationRequest
from specli.generation import Generation
from specli.llama.decoder import Decoder, Logits
from specli.sampling.chooser import Chooser
from specli.sampling.params import SamplingParams
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


class Pairs:
    """A grammar of pairs: after an even token an odd one comes, and the other way round."""

    def __init__(self) -> None:
        self.parity = 0

    def allows(self, token: int) -> bool:
        return token % 2 == self.parity

    def mask(self, logits: Logits) -> Logits:
        masked = np.full_like(logits, -np.inf)
        masked[self.parity :: 2] = logits[self.parity :: 2]
        return masked

    def accept(self, token: int) -> None:
        self.parity = 1 - self.parity


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


Plant = Callable[[pytest.MonkeyPatch], None]


def penalty_of_the_round_before(patch: pytest.MonkeyPatch) -> None:
    """Penalties that are not updated within a round."""
    remember = Chooser._remember
    held: list[tuple[Chooser, int]] = []

    def late(self: Chooser, token: int) -> None:
        held.append((self, token))

    def judge(check: verification.Verification, target: Decoder, vocab: FakeVocab) -> None:
        patch.setattr(Chooser, "_remember", late)
        verification.judge(check, target, vocab)
        patch.setattr(Chooser, "_remember", remember)
        for chooser, token in held:
            chooser._remember(token)
        held.clear()

    patch.setattr(engine_module, "judge", judge)


def grammar_of_the_round_before(patch: pytest.MonkeyPatch) -> None:
    """A grammar that does not move on within a round."""

    def judge(check: verification.Verification, target: Decoder, vocab: FakeVocab) -> None:
        chooser = check.sequence.chooser
        grammar, chooser._grammar = chooser._grammar, Still(chooser._grammar)
        verification.judge(check, target, vocab)
        chooser._grammar = grammar
        for token in check.emitted:
            assert grammar is not None
            grammar.accept(token)

    patch.setattr(engine_module, "judge", judge)


class Still:
    def __init__(self, grammar: object) -> None:
        self.allows = grammar.allows  # type: ignore[attr-defined]
        self.mask = grammar.mask  # type: ignore[attr-defined]

    def accept(self, token: int) -> None:
        pass


def stop_at_the_end_of_a_round(patch: pytest.MonkeyPatch) -> None:
    """A stop string that is noticed after the proposal only."""

    def judge(check: verification.Verification, target: Decoder, vocab: FakeVocab) -> None:
        stops, check.sequence.text._stops = check.sequence.text._stops, []
        verification.judge(check, target, vocab)
        check.sequence.text._stops = stops
        if any("".join(p.text for p in check.pieces).find(stop) >= 0 for stop in stops):
            check.finish = "stop"

    patch.setattr(engine_module, "judge", judge)


def noise_of_the_position_before(patch: pytest.MonkeyPatch) -> None:
    """The position of the round's first token for all of its tokens."""

    def judge(check: verification.Verification, target: Decoder, vocab: FakeVocab) -> None:
        chooser, first = check.sequence.chooser, len(check.sequence.tokens)
        choose = chooser.choose
        patch.setattr(Chooser, "choose", lambda self, logits, position: CHOOSE(self, logits, first))
        verification.judge(check, target, vocab)
        patch.setattr(Chooser, "choose", CHOOSE)
        assert choose is not None

    patch.setattr(engine_module, "judge", judge)


CHOOSE = Chooser.choose


def another_seed_after_a_proposal(patch: pytest.MonkeyPatch) -> None:
    def judge(check: verification.Verification, target: Decoder, vocab: FakeVocab) -> None:
        chooser = check.sequence.chooser
        params = chooser._params
        if check.proposal.tokens:
            chooser._params = replace(params, seed=params.seed + 1)
        verification.judge(check, target, vocab)
        chooser._params = params

    patch.setattr(engine_module, "judge", judge)


def rollback_short_by_one(patch: pytest.MonkeyPatch) -> None:
    """A rejected token that stays in the cache, with the next one after it."""

    def rollback(self: FakeDecoder, seq: int, length: int) -> None:
        seen = self.seen.setdefault(seq, [])
        if 0 < length < len(seen):
            seen[length - 1] = seen[length]
        del seen[length:]

    patch.setattr(Kernels, "rollback", rollback)


@pytest.mark.parametrize(
    "plant",
    [
        penalty_of_the_round_before,
        grammar_of_the_round_before,
        stop_at_the_end_of_a_round,
        noise_of_the_position_before,
        another_seed_after_a_proposal,
        rollback_short_by_one,
    ],
)
def test_a_planted_fault_is_found_in_the_texts_that_it_changes(plant: Plant) -> None:
    changed = found = 0
    for seed in range(24):
        sound, again = drafted(seed, asked(plant, seed))
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            faulty, _ = drafted(seed, asked(plant, seed))
        if (faulty.tokens, faulty.text) != (sound.tokens, sound.text):
            changed += 1
            found += replay(again, FakeVocab(), [(asked(plant, seed), faulty)]) is not None
    assert changed >= 5
    assert found >= 0.9 * changed


def asked(plant: Plant, seed: int) -> GenerationRequest:
    stops = ("b", "ij", "kd") if plant is stop_at_the_end_of_a_round else ()
    return request_of(seed, grammar=plant is grammar_of_the_round_before, stops=stops)


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
