"""How a proposal is built from tokens that cost nothing to find."""

from __future__ import annotations

from collections.abc import Iterable

from specli.drafters.protocol import Proposal
from specli.drafters.rule import Rule
from specli.events import Source

LONGEST_DRAFT = 64
"""The most that a drafter without a length of its own looks up for one proposal."""

LEAST_CHANCE = 0.2
"""A draft ends where it is less likely than this to be right throughout.

Such a token hardly pays for its place in the batch on any machine, and with fixed lengths, where
no costs decide, it is the only bound.
"""


def build_proposal(
    source: Source,
    candidates: Iterable[tuple[int, float]],
    rule: Rule,
    least_chance: float = 0.0,
) -> Proposal:
    """The first of `candidates`, pairs of token and confidence, that `rule` keeps.

    It also ends where the product of the confidences falls below `least_chance`.
    """
    proposal = Proposal()
    tokens, confidences = proposal.tokens, proposal.confidences
    if rule.limit < 1:
        return proposal
    chance = 1.0
    for token, confidence in candidates:
        chance *= confidence
        if chance < least_chance or not rule.keeps(confidence):
            break
        confidences.append(confidence)
        tokens.append(token)
        if not rule.wants_more(confidences):
            break
    proposal.sources = [source] * len(tokens)
    return proposal
