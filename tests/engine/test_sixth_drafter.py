"""A drafter that nobody has heard of, written against the protocol alone.

It reads hidden states of the target, takes time as a head does, and drafts a text that counts
upwards. Engine and policy know it by name and cost, and ask it where it pays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from specli.drafters.protocol import Accepted, DraftingCost, Proposal, Request, TargetBatch
from specli.engine.engine import Engine
from specli.engine.policy.adaptive import AdaptivePolicy
from specli.engine.policy.cost import CostModel, Curve
from specli.engine.sequence import GenerationRequest
from specli.events import Round
from specli.llama.decoder import Logits
from tests.fakes import FakeClock, FakeDecoder, FakeVocab

LAYER = 3


class CountingHead:
    name = "counting-head"
    cost = DraftingCost("block", 4)
    features: tuple[int, ...] = (LAYER,)
    native_ns = 0

    def __init__(self, clock: FakeClock, ms: float) -> None:
        self.clock, self.ms = clock, ms
        self.positions: dict[int, set[int]] = {}
        """Whose hidden states it has, by sequence."""

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:
        self.positions[seq] = set()

    def process(self, batch: TargetBatch) -> None:
        rows = batch.features[LAYER]
        for part in batch.parts:
            for index in range(len(part.tokens)):
                position = part.position + index
                assert list(rows[part.row + index]) == [part.seq, position, LAYER]
                self.positions[part.seq].add(position)

    def covers(self, seq: int) -> int:
        return len(self.positions[seq])

    def pending(self, seq: int, tokens: list[int]) -> int:
        return 1

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        self.clock.spend(self.ms)
        return [self._proposal(request) for request in requests]

    def _proposal(self, request: Request) -> Proposal:
        assert self.positions[request.seq] == set(range(len(request.tokens) - 1))
        count = min(4, request.rule.limit)
        tokens = [(request.tokens[-1] + n) % 16 for n in range(1, count + 1)]
        return Proposal(tokens, [self.name] * count, [0.9] * count)

    def accept(self, results: Sequence[Accepted]) -> None:
        for one in results:
            self.positions[one.seq] &= set(range(len(one.tokens) - 1))

    def end(self, seq: int) -> None:
        del self.positions[seq]


def counting(tokens: Sequence[int]) -> Logits:
    row = np.zeros(16, dtype=np.float32)
    row[(tokens[-1] + 1) % 16] = 5.0
    return row


def generated(ms: float, slots: int = 1) -> tuple[list[list[int]], dict[str, int], float]:
    """Texts of as many requests as slots, rounds by what was verified, milliseconds in all."""
    clock = FakeClock()
    target = FakeDecoder(counting, n_ctx=512, clock=clock, ms=lambda k: 10.0 + k)
    curves = {"counting-head": Curve([1, 16], [ms, ms + 0.1])}
    policy = AdaptivePolicy(CostModel(Curve([1, 2, 8, 16], [11.0, 12.0, 18.0, 26.0]), curves))
    head = CountingHead(clock, ms)
    engine = Engine(target, FakeVocab(end=-1), [head], policy, slots=slots, clock=clock)
    for n in range(slots):
        engine.submit(GenerationRequest([n + 1, n + 2], max_tokens=60, ignore_end=True))
    texts: list[list[int]] = [[] for _ in range(slots)]
    for event in engine.run():
        if isinstance(event, Round):
            texts[event.seq] += event.tokens
    return texts, dict(policy.decisions), 1000 * clock.now


def test_it_is_asked_where_it_pays_and_the_text_is_the_targets() -> None:
    texts, decisions, ms = generated(ms=2.0, slots=3)
    assert texts == [[(first + n) % 16 for n in range(60)] for first in (3, 4, 5)]
    assert decisions["counting-head"] > 2 * decisions.get("plain", 0)
    assert ms < 0.6 * 60 * 13.0


def test_it_is_left_alone_where_it_costs_more_than_it_brings() -> None:
    assert "counting-head" not in generated(ms=200.0)[1]
