"""Plays a known answer through the real engine and policy on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from specli.drafters.protocol import STEPS, Accepted, Drafter, DraftingCost, Proposal, Request
from specli.engine.engine import Engine
from specli.engine.policy.cost import CostModel, Curve
from specli.engine.policy.protocol import Outcome, Policy, StepTimes, Turn
from specli.engine.recalibration import Recalibration
from specli.engine.sequence import GenerationRequest
from specli.events import Round
from specli.llama.decoder import Logits
from tests.fakes import FakeClock, FakeDecoder, FakeVocab

# Milliseconds: an F32 target on two cores, one on which speculation hardly pays, a 4-bit draft.
SIZES = [1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64]
PAYING = [20.0, 23.5, 27.5, 31, 34, 37, 42, 54, 66, 90, 110, 165, 215]
HARDLY = [5.0, 9.8, 14.0, 18, 22, 26, 34, 50, 66, 98, 130, 194, 258]
DRAFT_SIZES = [1, 2, 4, 8, 16]
DRAFT = [5.5, 8.0, 12.0, 19.0, 28.0]

VOCAB = 64
PROMPT = [1, 2, 3]


def curve(points: Sequence[float] = PAYING) -> Curve:
    return Curve(list(SIZES), list(points))


def costs(target: Sequence[float] = PAYING, **drafters: Sequence[float]) -> CostModel:
    """Costs of a target and of drafters by name; `draft` is there unless others are named."""
    named = drafters or {"draft": DRAFT}
    return CostModel(
        curve(target), {name: Curve(list(DRAFT_SIZES), list(ms)) for name, ms in named.items()}
    )


@dataclass
class Saying:
    """A drafter that says `says[i]`, a token and how sure it is of it, at answer position i.

    It takes time as a draft model does: one batch a token, and the pending ones in the first.
    """

    says: Sequence[tuple[int, float]]
    clock: FakeClock
    ms: Callable[[int], float]
    name: str = "draft"
    cost: DraftingCost = STEPS
    features: tuple[int, ...] = ()
    native_ns: int = 0
    read: int = len(PROMPT) - 1

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:
        self.read = len(prompt) - 1

    def process(self, batch: object) -> None: ...

    def covers(self, seq: int) -> None: ...

    def pending(self, seq: int, tokens: list[int]) -> int:
        return len(tokens) - self.read

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        return [self._proposal(request) for request in requests]

    def _proposal(self, request: Request) -> Proposal:
        proposal, start = Proposal(), len(request.tokens) - len(PROMPT)
        for token, confidence in self.says[start:]:
            self.clock.spend(self.ms(1 if proposal else self.pending(0, request.tokens)))
            proposal.tokens.append(token)
            proposal.sources.append(self.name)
            proposal.confidences.append(confidence)
            if not request.rule.wants_more(proposal.confidences):
                break
        self.read = len(request.tokens) + max(len(proposal) - 1, 0)
        return proposal

    def accept(self, results: Sequence[Accepted]) -> None:
        for result in results:
            self.read = min(self.read, len(result.tokens) - result.emitted + result.accepted)

    def end(self, seq: int) -> None: ...


@dataclass
class Played:
    """Milliseconds after the prompt, and (proposed, accepted) of every round."""

    ms: float = 0.0
    rounds: list[tuple[int, int]] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


def play(
    policy: Policy,
    answer: Sequence[int],
    drafters: Sequence[Drafter] = (),
    target_ms: Sequence[float] = PAYING,
    clock: FakeClock | None = None,
    prompt: Sequence[int] = tuple(PROMPT),
    looks_after: CostModel | None = None,
) -> Played:
    """One sequence from its prompt to the end of `answer`. Costs that are looked after may be
    measured again between rounds; a draft's own batches take `DRAFT` then."""
    clock = clock or FakeClock()

    def script(tokens: Sequence[int]) -> Logits:
        row = np.zeros(VOCAB, dtype=np.float32)
        row[answer[min(len(tokens) - len(prompt), len(answer) - 1)]] = 5.0
        return row

    target = FakeDecoder(
        script, n_ctx=4096, n_batch=512, vocab=VOCAB, clock=clock, ms=curve(target_ms)
    )
    drafts = FakeDecoder(
        script, n_ctx=4096, vocab=VOCAB, clock=clock, ms=Curve(list(DRAFT_SIZES), list(DRAFT))
    )
    again = Recalibration(target, {"draft": drafts}, 1, clock)
    engine = Engine(
        target,
        FakeVocab(end=-1),
        drafters,
        policy,
        clock=clock,
        before_step=partial(again.before_round, looks_after) if looks_after else lambda: None,
    )
    engine.submit(GenerationRequest(list(prompt), max_tokens=len(answer), ignore_end=True))
    done, prompt_over = Played(), 0.0
    for event in engine.run():
        if isinstance(event, Round):
            done.rounds.append((len(event.proposal_sources), event.accepted))
            done.sources += event.proposal_sources[:1]
        elif not done.rounds:
            prompt_over = clock.now
    done.ms = 1000 * (clock.now - prompt_over)
    return done


def proposal(*confidences: float, source: str = "suffix") -> Proposal:
    count = len(confidences)
    return Proposal([7] * count, [source] * count, list(confidences))


def turns(*proposals: Proposal, limit: int = 60) -> list[Turn]:
    return [
        Turn(seq, limit, len(proposals), proposals=[one] if one else [])
        for seq, one in enumerate(proposals)
    ]


def plain_steps(policy: Policy, count: int, width: int, ms: float, least: int = 1) -> None:
    for _step in range(count):
        sides = [Turn(seq, 60, width, least=least) for seq in range(width)]
        policy.learn([Outcome(turn, Proposal(), 0, [5]) for turn in sides], StepTimes({}, ms))
