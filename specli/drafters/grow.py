"""How a proposal grows from tokens that cost nothing to find."""

from __future__ import annotations

from collections.abc import Iterable

from specli.drafters.protocol import Proposal, StopRule
from specli.events import Source


def grown(source: Source, candidates: Iterable[tuple[int, float]], rule: StopRule) -> Proposal:
    """The head of `candidates`, pairs of token and confidence, that `rule` lets through."""
    proposal = Proposal()
    tokens, confidences = proposal.tokens, proposal.confidences
    limit = rule.limit
    if limit < 1:
        return proposal
    for token, confidence in candidates:
        confidences.append(confidence)
        if not rule.keeps(confidences):
            confidences.pop()
            break
        tokens.append(token)
        if len(tokens) >= limit or not rule.wants_more(confidences):
            break
    proposal.sources = [source] * len(tokens)
    return proposal
