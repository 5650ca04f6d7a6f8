"""What a draft is worth: the tokens per second that the pair will reach.

Rounds are simulated over recorded answers with the draft's agreement as it occurred, token by
token, and the measured costs of both models. Nothing is assumed about how agreement is spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from specli.engine.policy.cost import Curve

DRAFT_MAX = (1, 2, 3, 4, 5, 6, 8, 12, 16)
P_MIN = (0.0, 0.3, 0.5, 0.7, 0.85, 0.95)


@dataclass(frozen=True, slots=True)
class Agreement:
    """For each token of one answer: whether the draft's choice is the target's, and the draft's
    probability of it."""

    agrees: Sequence[bool]
    confidences: Sequence[float]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a pair is expected to reach; `draft_max` and `p_min` are the settings it does with."""

    predicted_per_second: float
    speedup: float
    agreement: float
    mean_accepted_length: float
    draft_max: int
    p_min: float


def expect(agreements: Sequence[Agreement], target: Curve, draft: Curve) -> Expected:
    """The best that fixed settings reach over all answers, with T(k) of both models."""
    tokens = sum(len(agreement.agrees) for agreement in agreements)
    share = sum(sum(agreement.agrees) for agreement in agreements) / tokens
    simulated = [
        (draft_max, p_min, *_simulate(agreements, target, draft, draft_max, p_min))
        for draft_max in DRAFT_MAX
        for p_min in P_MIN
    ]
    draft_max, p_min, ms, rounds = min(simulated, key=lambda one: one[2])
    speedup = tokens * target(1) / ms
    return Expected(1000 * tokens / ms, speedup, share, tokens / rounds, draft_max, p_min)


def _simulate(
    agreements: Sequence[Agreement], target: Curve, draft: Curve, draft_max: int, p_min: float
) -> tuple[float, int]:
    """(milliseconds, rounds) for all answers with these settings."""
    verify = [target(size + 1) for size in range(draft_max + 1)]
    one, two = draft(1), draft(2)
    ms, rounds = 0.0, 0
    for agreement in agreements:
        index, pending = 0, one
        while index < len(agreement.agrees):
            decoded, drafted, accepted = _draft(agreement, index, draft_max, p_min)
            ms += verify[drafted]
            if decoded:
                ms += pending + (decoded - 1) * one
            # The draft has not decoded the last token of a proposal that was accepted whole.
            pending = two if drafted and accepted == drafted else one
            index += accepted + 1
            rounds += 1
    return ms, rounds


def _draft(agreement: Agreement, index: int, draft_max: int, p_min: float) -> tuple[int, int, int]:
    """(tokens the draft decoded, tokens proposed, tokens accepted) of the round from `index` on.

    After its first wrong token the draft would continue differently; its confidence there is
    taken from the answer's own next tokens.
    """
    # The last token of a round is the target's own.
    limit = min(draft_max, len(agreement.agrees) - index - 1)
    accepted = drafted = 0
    right = True
    for ahead in range(index, index + limit):
        if agreement.confidences[ahead] < p_min:
            return drafted + 1, drafted, accepted
        drafted += 1
        right = right and agreement.agrees[ahead]
        accepted += right
    return drafted, drafted, accepted
