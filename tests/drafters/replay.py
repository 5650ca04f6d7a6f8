"""Replays a known answer through a drafter, without a model, and counts what it would save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from specli.drafters.protocol import Drafter, Proposal, Request, StopRule
from specli.events import Source
from specli.llama.decoder import Logits, common_prefix


class NoChooser:
    """For drafters that have no model: nobody may ask it."""

    plain = True

    def guess(self, logits: Logits, position: int) -> int:
        raise AssertionError("a drafter without a model has no logits")

    def draft(self, logits: Logits, position: int) -> tuple[int, float]:
        raise AssertionError("a drafter without a model has no logits")


@dataclass(slots=True)
class Threshold:
    """Stops at the first token with a confidence below `least`."""

    limit: int
    least: float = 0.0
    judges: bool = True

    def keeps(self, confidences: Sequence[float]) -> bool:
        return confidences[-1] >= self.least

    def wants_more(self, confidences: Sequence[float]) -> bool:
        return True

    def of(self, source: Source) -> StopRule:
        return self

    def worth(self, proposal: Proposal) -> float:
        return 1.0 if proposal else 0.0

    def hope(self, source: Source, unseen: int) -> float:
        return 0.0


@dataclass(slots=True)
class Replayed:
    """What came of a replay. `rounds` counts those without a proposal too."""

    accepted: int = 0
    drafted: int = 0
    rounds: int = 0
    checked: list[tuple[float, bool]] = field(default_factory=list)
    """Confidence and outcome of each proposed token up to the first rejected one."""


def request(
    tokens: Sequence[int], seq: int = 0, limit: int = 16, rule: StopRule | None = None
) -> Request:
    return Request(seq, list(tokens), rule or Threshold(limit), NoChooser())


def replay(
    drafter: Drafter,
    prompt: Sequence[int],
    answer: Sequence[int],
    *,
    seq: int = 0,
    limit: int = 16,
    rule: StopRule | None = None,
) -> Replayed:
    """Emit `answer` after `prompt` in rounds, keeping what `drafter` proposes rightly."""
    result = Replayed()
    tokens = list(prompt)
    drafter.begin(seq, prompt)
    while (place := len(tokens) - len(prompt)) < len(answer):
        ask = Request(seq, tokens, rule or Threshold(limit), NoChooser())
        proposal = drafter.propose([ask])[0]
        accepted = common_prefix(proposal.tokens, answer[place:])
        result.rounds += 1
        result.drafted += len(proposal)
        result.accepted += accepted
        result.checked += [
            (confidence, position < accepted)
            for position, confidence in enumerate(proposal.confidences[: accepted + 1])
        ]
        emitted = answer[place : place + accepted + 1]
        tokens.extend(emitted)
        drafter.observe(seq, tokens, len(emitted), accepted)
    drafter.end(seq)
    return result
