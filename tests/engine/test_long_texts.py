"""A round of a long text does no more work in Python than one of a short text."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from specli.drafters.draft_model import DraftModel
from specli.drafters.lookup import LookupDrafter
from specli.drafters.ngram import NgramDrafter
from specli.drafters.protocol import Drafter
from specli.drafters.suffix import SuffixDrafter
from specli.drafters.windowed import WindowedDrafter
from specli.engine.engine import Engine
from specli.engine.policy.adaptive import AdaptivePolicy
from specli.engine.policy.cost import CostModel, Curve
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.policy.protocol import Policy
from specli.engine.sequence import GenerationRequest
from specli.events import Round
from specli.llama.decoder import Logits
from tests.fakes import FakeDecoder, FakeVocab, hashed

SHORT, LONG = 2_000, 32_000
ROUNDS = 30
WINDOW = 1_024


class Cheap(FakeDecoder):
    """Keeps no token: the next one follows from the position."""

    def __init__(self, n_ctx: int) -> None:
        super().__init__(hashed(1), n_ctx=n_ctx, n_batch=512)
        self.lengths: dict[int, int] = {}
        self.rows: list[Logits] = list(np.eye(16, dtype=np.float32))
        self.asked: list[int] = []
        self.decoded_rows: list[int] = []

    def length(self, seq: int) -> int:
        return self.lengths.get(seq, 0)

    def add(self, seq: int, tokens: Sequence[int], position: int, outputs: int) -> int:
        self.lengths[seq] = position + len(tokens)
        self.asked += range(position, position + len(tokens))
        return len(self.asked) - outputs

    def decode(self) -> None:
        self.decoded_rows, self.asked = self.asked, []

    def logits(self, row: int) -> Logits:
        return self.rows[1 + self.decoded_rows[row] * 7 // 3 % 13]

    def rollback(self, seq: int, length: int) -> None:
        self.lengths[seq] = min(self.length(seq), length)

    def drop(self, seq: int, start: int, end: int) -> bool:
        self.lengths[seq] -= end - start
        return True

    def copy(self, source: int, seq: int, length: int) -> None:
        self.lengths[seq] = length


def windowed() -> Drafter:
    return WindowedDrafter(DraftModel(Cheap(WINDOW)), WINDOW)


DRAFTERS: dict[str, Callable[[], Drafter]] = {
    "draft model": lambda: DraftModel(Cheap(2 * LONG)),
    "window": windowed,
    "suffix": SuffixDrafter,
    "ngram": NgramDrafter,
    "lookup": LookupDrafter,
}


def most_allocated(drafter: Drafter, policy: Policy, length: int) -> int:
    """The most bytes that a round needed at once, the median of some rounds of a long text."""
    engine = Engine(Cheap(2 * LONG), FakeVocab(), [drafter], policy)
    prompt = [1 + n * 7 // 3 % 13 for n in range(length)]
    engine.submit(GenerationRequest(prompt, 500, ignore_end=True))
    while not any(isinstance(event, Round) for event in engine.step()):
        continue
    for _ in range(20):
        engine.step()
    found = []
    for _ in range(ROUNDS):
        tracemalloc.start()
        engine.step()
        found.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return sorted(found)[ROUNDS // 2]


@pytest.mark.parametrize("name", DRAFTERS)
def test_what_a_round_needs_does_not_grow_with_the_text(name: str) -> None:
    curves = Curve([1, 2, 4, 8], [10.0, 11.0, 12.0, 14.0]), Curve([1, 2, 4], [1.0, 1.1, 1.2])
    for policy in (FixedPolicy(4), AdaptivePolicy(CostModel(curves[0], {"draft": curves[1]}))):
        short, long = (most_allocated(DRAFTERS[name](), policy, length) for length in (SHORT, LONG))
        # A copy of the long text alone would be 8 * 32,000 bytes.
        assert long < 2 * short + 20_000
        assert long < 8 * LONG
