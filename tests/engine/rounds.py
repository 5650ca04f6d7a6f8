"""An engine on scripted models, and what its rounds come to."""

from __future__ import annotations

from collections.abc import Sequence

from specli.drafters.protocol import Accepted, Drafter, Proposal, Request
from specli.drafters.without_model import WithoutModel
from specli.engine.engine import Engine
from specli.engine.policy.fixed import FixedPolicy
from specli.engine.sequence import GenerationRequest
from specli.events import Finished, Round
from tests.fakes import FakeDecoder, FakeVocab

PROMPT = [1, 2, 3]
ANSWER = [5, 6, 7, 8, 9, 10, 11, 12]


class Canned(WithoutModel):
    """A drafter that always proposes the tokens it was given for a position."""

    name = "canned"

    def __init__(self, by_length: dict[int, list[int]]) -> None:
        self.by_length = by_length
        self.results: list[tuple[int, int, int]] = []
        """(emitted, judged, accepted) of every round."""
        self.ended: list[int] = []

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None: ...

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        proposals = []
        for request in requests:
            tokens = self.by_length.get(len(request.tokens), [])[: request.rule.limit]
            proposals.append(Proposal(tokens, ["canned"] * len(tokens), [0.9] * len(tokens)))
        return proposals

    def accept(self, results: Sequence[Accepted]) -> None:
        self.results += [(one.emitted, one.judged, one.accepted) for one in results]

    def end(self, seq: int) -> None:
        self.ended.append(seq)


def engine_of(
    target: FakeDecoder,
    *drafters: Drafter,
    draft_max: int = 4,
    slots: int = 1,
    prefill_chunk: int = 512,
) -> Engine:
    policy = FixedPolicy(draft_max=draft_max)
    return Engine(target, FakeVocab(), drafters, policy, slots=slots, prefill_chunk=prefill_chunk)


def finished(engine: Engine, *requests: GenerationRequest) -> dict[int, list[Round]]:
    """The rounds of each request."""
    ids = [engine.submit(request) for request in requests]
    rounds: dict[int, list[Round]] = {seq: [] for seq in ids}
    for event in engine.run():
        if isinstance(event, Round):
            rounds[event.seq].append(event)
    return rounds


def endings(engine: Engine, *requests: GenerationRequest) -> list[Finished]:
    for request in requests:
        engine.submit(request)
    return [event for event in engine.run() if isinstance(event, Finished)]


def tokens_of(rounds: list[Round]) -> list[int]:
    return [token for round_ in rounds for token in round_.tokens]


def text_of(rounds: list[Round]) -> str:
    return "".join(piece.text for round_ in rounds for piece in round_.pieces)
