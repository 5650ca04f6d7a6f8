"""How a proposal grows from tokens that cost nothing to find."""

from __future__ import annotations

from collections.abc import Iterable

from specli.drafters.protocol import Proposal, StopRule
from specli.events import Source

LONGEST_DRAFT = 64
"""The most that a drafter without a length of its own looks up for one proposal."""

LEAST_CHANCE = 0.2
"""A draft ends where it is less likely than this to be right throughout.

Such a token hardly pays for its place in the batch on any machine, and where nothing better
decides, as with fixed lengths, it is the only bound.
"""


def grown(
    source: Source,
    candidates: Iterable[tuple[int, float]],
    rule: StopRule,
    least_chance: float = 0.0,
) -> Proposal:
    """The head of `candidates`, pairs of token and confidence, that `rule` lets through.

    It also ends where the product of the confidences falls below `least_chance`.
    """
    proposal = Proposal()
    tokens, confidences = proposal.tokens, proposal.confidences
    limit = rule.limit
    if limit < 1:
        return proposal
    chance = 1.0
    for token, confidence in candidates:
        chance *= confidence
        if chance < least_chance:
            break
        confidences.append(confidence)
        if not rule.keeps(confidences):
            confidences.pop()
            break
        tokens.append(token)
        if len(tokens) >= limit or not rule.wants_more(confidences):
            break
    proposal.sources = [source] * len(tokens)
    return proposal
