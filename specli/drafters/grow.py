"""How a proposal grows: from tokens that cost nothing to find, or from what a model computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from specli.drafters.protocol import Proposal
from specli.drafters.rule import Rule
from specli.errors import DecodeError
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


def extend(
    proposal: Proposal,
    rule: Rule,
    source: Source,
    choose: Callable[[], tuple[int, float]],
    what: str,
) -> bool:
    """Add the token that `choose` finds, where the rule keeps it; whether another one is wanted.

    Where llama.cpp fails, `what` has failed, and the proposal has the error.
    """
    try:
        token, confidence = choose()
    except DecodeError as error:
        proposal.error = DecodeError(
            f"the draft {what} failed: {error.message}",
            hint=f"fetch the draft {what} again, or run without it: `no_draft`",
        )
        return False
    if not rule.keeps(confidence):
        return False
    proposal.tokens.append(token)
    proposal.sources.append(source)
    proposal.confidences.append(confidence)
    return rule.wants_more(proposal.confidences)


def agreeing(tokens: Sequence[int], position: int, context: Sequence[int]) -> int:
    """How many tokens before `position` equal the end of `context`."""
    most = min(len(context), position)
    if tokens[position - most : position] == context[len(context) - most :]:
        return most
    matched = 0
    while matched < most and tokens[position - 1 - matched] == context[-1 - matched]:
        matched += 1
    return matched
