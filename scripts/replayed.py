"""Replays a known answer through the real policy, cascade and drafters with a virtual clock.

A draft model is given as what it would say at every position of the answer: right or wrong, and
how sure. That is all that matters until its first wrong token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from specli.drafters.cascade import Cascade
from specli.drafters.protocol import Drafter, Proposal, Request
from specli.engine.cost import CostModel, Curve
from specli.engine.policy import Outcome, Policy
from specli.events import MODEL

# Milliseconds on two cores: an F32 target, a target on which speculation hardly pays, a draft.
STEEP_SIZES = [1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64]
PAYING = [20.0, 23.5, 27.5, 31, 34, 37, 42, 54, 66, 90, 110, 165, 215]
HARDLY = [5.0, 9.8, 14.0, 18, 22, 26, 34, 50, 66, 98, 130, 194, 258]
DRAFT_SIZES = [1, 2, 4, 8, 16]
DRAFT = [5.5, 8.0, 12.0, 19.0, 28.0]

WRONG = -5


def costs(target: Sequence[float] = PAYING, draft: Sequence[float] = DRAFT) -> CostModel:
    return CostModel(Curve(list(STEEP_SIZES), list(target)), Curve(list(DRAFT_SIZES), list(draft)))


class Unused:
    """A chooser that no test drafter asks."""

    plain = True

    def guess(self, logits: object, position: int) -> int:  # noqa: ARG002
        raise AssertionError

    def draft(self, logits: object, position: int) -> tuple[int, float]:  # noqa: ARG002
        raise AssertionError


@dataclass(slots=True)
class Oracle:
    """A draft model that says `says[i] = (token, confidence)` at answer position i."""

    prompt_n: int
    says: Sequence[tuple[int, float]]
    curve: Curve
    name: str = MODEL
    native_ns: int = 0
    ms: float = 0.0
    _behind: int = 1
    _last: int | None = None

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None: ...

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        proposals = []
        for request in requests:
            place = len(request.tokens) - self.prompt_n
            proposal = Proposal()
            for token, confidence in self.says[place:]:
                self.ms += self.curve(self._behind) if not proposal else self.curve(1)
                proposal.tokens.append(token)
                proposal.sources.append(self.name)
                proposal.confidences.append(confidence)
                rule = request.rule
                if not rule.keeps(proposal.confidences):
                    proposal.tokens.pop()
                    proposal.sources.pop()
                    proposal.confidences.pop()
                    break
                if len(proposal) >= rule.limit or not rule.wants_more(proposal.confidences):
                    break
            self._last = len(proposal)
            proposals.append(proposal)
        return proposals

    def observe(self, seq: int, tokens: list[int], emitted: int, accepted: int) -> None:  # noqa: ARG002
        if self._last is None:
            self._behind += emitted
        else:
            self._behind = 2 if accepted >= self._last else 1
        self._last = None

    def end(self, seq: int) -> None: ...

    def unseen(self, seq: int, tokens: list[int]) -> int:  # noqa: ARG002
        return self._behind


@dataclass(slots=True)
class Replay:
    """Milliseconds, and (proposed, accepted) of every round."""

    ms: float = 0.0
    rounds: list[tuple[int, int]] = field(default_factory=list)


def replay(
    policy: Policy,
    answer: Sequence[int],
    target: Curve,
    *,
    prompt: Sequence[int] = (1, 2, 3),
    model: Oracle | None = None,
    cheap: Sequence[Drafter] = (),
) -> Replay:
    """One sequence from prompt to the end of `answer`."""
    told = Replay()
    tokens = list(prompt)
    cascade = Cascade(cheap, model)
    cascade.begin(0, tokens)
    while (place := len(tokens) - len(prompt)) < len(answer):
        before = model.ms if model is not None else 0.0
        proposal = Proposal()
        room = len(answer) - place - 1
        if room > 0:
            request = Request(0, tokens, policy.rule(0, room), Unused())
            proposal = policy.review([(0, cascade.propose([request])[0])])[0]
        draft_ms = model.ms - before if model is not None else 0.0
        accepted = 0
        while accepted < len(proposal) and proposal.tokens[accepted] == answer[place + accepted]:
            accepted += 1
        tokens += answer[place : place + accepted + 1]
        verify_ms = target(1 + len(proposal))
        told.ms += draft_ms + verify_ms
        told.rounds.append((len(proposal), accepted))
        cascade.observe(0, tokens, accepted + 1, accepted)
        policy.observe([Outcome(0, proposal, accepted)], draft_ms, verify_ms)
    return told
