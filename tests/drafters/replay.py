"""Replays a known answer through a drafter, without a model, and counts what it would save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from specli.drafters.protocol import Accepted, Drafter, Proposal, Request
from specli.drafters.rule import Rule
from specli.llama.decoder import Logits, common_prefix


class NoChooser:
    """For drafters that have no model: nobody may ask it."""

    plain = True

    def forced(self) -> Sequence[int]:
        return ()

    def guess(self, logits: Logits, position: int) -> int:
        raise AssertionError("a drafter without a model has no logits")

    def draft(self, logits: Logits, position: int) -> tuple[int, float]:
        raise AssertionError("a drafter without a model has no logits")


@dataclass(slots=True)
class Replayed:
    """What came of a replay. `rounds` counts those without a proposal too."""

    accepted: int = 0
    drafted: int = 0
    rounds: int = 0
    checked: list[tuple[float, bool]] = field(default_factory=list)
    """Confidence and outcome of each proposed token up to the first rejected one."""


def request(
    tokens: Sequence[int], seq: int = 0, limit: int = 16, rule: Rule | None = None
) -> Request:
    return Request(seq, list(tokens), rule or Rule(limit), NoChooser())


def grown(tokens: Sequence[int], emitted: int, seq: int = 0) -> Accepted:
    """A sequence that has got its last `emitted` tokens from the target alone."""
    return Accepted(seq, list(tokens), emitted, Proposal(), 0, 0)


def replay(
    drafter: Drafter,
    prompt: Sequence[int],
    answer: Sequence[int],
    *,
    seq: int = 0,
    limit: int = 16,
    rule: Rule | None = None,
) -> Replayed:
    """Emit `answer` after `prompt` in rounds, keeping what `drafter` proposes rightly."""
    result = Replayed()
    tokens = list(prompt)
    drafter.begin(seq, prompt)
    while (place := len(tokens) - len(prompt)) < len(answer):
        ask = Request(seq, tokens, rule or Rule(limit), NoChooser())
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
        judged = min(accepted + 1, len(proposal))
        drafter.accept([Accepted(seq, tokens, len(emitted), proposal, judged, accepted)])
    drafter.end(seq)
    return result
