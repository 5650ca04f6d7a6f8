"""A drafter that nobody has heard of, written against the protocol alone.

It reads hidden states of the target, takes time as a small head does, and drafts what it has seen
in them. Engine and policy know it by its name and its cost, and ask it where it pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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


@dataclass
class CountingHead:
    """Drafts in blocks of four: the next tokens of a text that counts upwards."""

    clock: FakeClock
    ms: float
    name: str = "counting-head"
    cost: DraftingCost = field(default_factory=lambda: DraftingCost("block", 4))
    features: tuple[int, ...] = (LAYER,)
    native_ns: int = 0
    rows: dict[int, dict[int, float]] = field(default_factory=dict)
    """Hidden state by sequence and position."""

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:
        self.rows[seq] = {}

    def process(self, batch: TargetBatch) -> None:
        hidden = batch.features[LAYER]
        for seq, position, row in zip(batch.seqs, batch.positions, hidden, strict=True):
            assert (row[0], row[1], row[2]) == (seq, position, LAYER)
            self.rows[seq][position] = float(row[1])

    def pending(self, seq: int, tokens: list[int]) -> int:
        return 1

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        self.clock.spend(self.ms)
        return [self._proposal(request) for request in requests]

    def _proposal(self, request: Request) -> Proposal:
        seen = self.rows[request.seq]
        assert set(seen) == set(range(len(request.tokens) - 1)), "a position is missing"
        last = request.tokens[-1]
        tokens = [(last + n) % 16 for n in range(1, min(4, request.rule.limit) + 1)]
        return Proposal(tokens, [self.name] * len(tokens), [0.9] * len(tokens))

    def accept(self, results: Sequence[Accepted]) -> None:
        for result in results:
            kept = range(len(result.tokens) - 1)
            self.rows[result.seq] = {p: h for p, h in self.rows[result.seq].items() if p in kept}

    def end(self, seq: int) -> None:
        del self.rows[seq]


def counting(tokens: Sequence[int]) -> Logits:
    row = np.zeros(16, dtype=np.float32)
    row[(tokens[-1] + 1) % 16] = 5.0
    return row


def generated(ms: float, slots: int = 1) -> tuple[list[list[int]], dict[str, int], float]:
    """Texts of as many requests as slots, decisions by name, and milliseconds in all."""
    clock = FakeClock()
    target = FakeDecoder(counting, n_ctx=512, clock=clock, ms=lambda k: 10.0 + k)
    known = CostModel(
        Curve([1, 2, 8, 16], [11.0, 12.0, 18.0, 26.0]),
        {"counting-head": Curve([1, 16], [ms, ms + 0.1])},
    )
    policy = AdaptivePolicy(known)
    head = CountingHead(clock, ms)
    engine = Engine(target, FakeVocab(end=-1), [head], policy, slots=slots, clock=clock)
    texts: dict[int, list[int]] = {}
    for n in range(slots):
        request = GenerationRequest([n + 1, n + 2], max_tokens=60, ignore_end=True)
        texts[engine.submit(request)] = []
    for event in engine.run():
        if isinstance(event, Round):
            texts[event.seq] += event.tokens
    assert not head.rows
    return list(texts.values()), dict(policy.decisions), 1000 * clock.now


def test_it_is_asked_where_it_pays_and_the_text_is_the_targets() -> None:
    (text,), decisions, ms = generated(ms=2.0)
    assert text == [(2 + n) % 16 for n in range(1, 61)]
    assert decisions["counting-head"] > 2 * decisions.get("plain", 0)
    assert ms < 0.6 * 60 * 11.0


def test_it_is_left_alone_where_it_costs_more_than_it_brings() -> None:
    _texts, decisions, _ms = generated(ms=200.0)
    assert "counting-head" not in decisions


def test_side_by_side_it_sees_the_hidden_states_of_every_sequence() -> None:
    texts, decisions, _ms = generated(ms=2.0, slots=3)
    assert [text[0] for text in texts] == [3, 4, 5]
    assert decisions["counting-head"] > 10
