"""Faults that are planted into the engine; `replay` must find each in the texts that it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from specli.engine import engine as engine_module
from specli.engine import verification
from specli.engine.verification import Pieces, Verification
from specli.llama.context import Context
from specli.llama.decoder import Decoder, Logits
from specli.sampling.chooser import Chooser
from tests.fakes import FakeDecoder


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


Plant = Callable[[pytest.MonkeyPatch], None]


def penalty_of_the_round_before(patch: pytest.MonkeyPatch) -> None:
    """Penalties that are not updated within a round."""
    remember = Chooser._remember
    held: list[tuple[Chooser, int]] = []

    def late(self: Chooser, token: int) -> None:
        held.append((self, token))

    def judge(check: Verification, target: Decoder, vocab: Pieces) -> None:
        patch.setattr(Chooser, "_remember", late)
        verification.judge(check, target, vocab)
        patch.setattr(Chooser, "_remember", remember)
        for chooser, token in held:
            chooser._remember(token)
        held.clear()

    patch.setattr(engine_module, "judge", judge)


def grammar_of_the_round_before(patch: pytest.MonkeyPatch) -> None:
    """A grammar that does not move on within a round."""

    def judge(check: Verification, target: Decoder, vocab: Pieces) -> None:
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

    def judge(check: Verification, target: Decoder, vocab: Pieces) -> None:
        stops, check.sequence.text._stops = check.sequence.text._stops, []
        verification.judge(check, target, vocab)
        check.sequence.text._stops = stops
        if any("".join(p.text for p in check.pieces).find(stop) >= 0 for stop in stops):
            check.finish = "stop"

    patch.setattr(engine_module, "judge", judge)


def noise_of_the_position_before(patch: pytest.MonkeyPatch) -> None:
    """The position of the round's first token for all of its tokens."""

    def judge(check: Verification, target: Decoder, vocab: Pieces) -> None:
        chooser, first = check.sequence.chooser, len(check.sequence.tokens)
        choose = chooser.choose
        patch.setattr(Chooser, "choose", lambda self, logits, position: CHOOSE(self, logits, first))
        verification.judge(check, target, vocab)
        patch.setattr(Chooser, "choose", CHOOSE)
        assert choose is not None

    patch.setattr(engine_module, "judge", judge)


CHOOSE = Chooser.choose


def another_seed_after_a_proposal(patch: pytest.MonkeyPatch) -> None:
    def judge(check: Verification, target: Decoder, vocab: Pieces) -> None:
        chooser = check.sequence.chooser
        params = chooser._params
        if check.proposal.tokens:
            chooser._params = replace(params, seed=params.seed + 1)
        verification.judge(check, target, vocab)
        chooser._params = params

    patch.setattr(engine_module, "judge", judge)


def fake_rollback_short_by_one(patch: pytest.MonkeyPatch) -> None:
    """A rejected token that stays in the cache, with the next one after it."""

    def rollback(self: FakeDecoder, seq: int, length: int) -> None:
        seen = self.seen.setdefault(seq, [])
        if 0 < length < len(seen):
            seen[length - 1] = seen[length]
        del seen[length:]

    patch.setattr(FakeDecoder, "rollback", rollback)


def rollback_short_by_one(patch: pytest.MonkeyPatch, target: Context) -> None:
    """The same in a cache of llama.cpp's, for one sequence."""
    kept: list[int] = []
    add, rollback = target.add, target.rollback

    def noted(seq: int, tokens: list[int], position: int, outputs: int) -> int:
        kept[position:] = tokens
        return add(seq, tokens, position, outputs)

    def short(seq: int, length: int) -> None:
        if not 0 < length < len(kept):
            rollback(seq, length)
        else:
            rollback(seq, length - 1)
            noted(seq, [kept[length]], length - 1, 0)
            target.decode()
        del kept[length:]

    patch.setattr(target, "add", noted)
    patch.setattr(target, "rollback", short)


PLANTS: dict[str, Plant] = {
    "penalty": penalty_of_the_round_before,
    "grammar": grammar_of_the_round_before,
    "stop": stop_at_the_end_of_a_round,
    "position": noise_of_the_position_before,
    "seed": another_seed_after_a_proposal,
}
"""Those of the engine; a cache is rolled back by its decoder."""
