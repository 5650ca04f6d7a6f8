"""What a draft is worth: tokens per second that the pair will reach, from what was recorded.

Rounds are played over the recorded answers: the draft's own agreement with the target as it
occurred, run by run, and the costs of both models as measured. Nothing is assumed about how
agreement is spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from specli.engine.policy.cost import Curve

DRAFT_MAX = (1, 2, 3, 4, 5, 6, 8, 12, 16)
P_MIN = (0.0, 0.3, 0.5, 0.7, 0.85, 0.95)


@dataclass(frozen=True, slots=True)
class Echo:
    """A draft's word on each token of one answer: whether it is the target's choice, how sure."""

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


def expect(echoes: Sequence[Echo], target: Curve, draft: Curve) -> Expected:
    """The best that fixed settings reach over all answers, with T(k) of both models."""
    tokens = sum(len(echo.agrees) for echo in echoes)
    agreement = sum(sum(echo.agrees) for echo in echoes) / tokens
    played = [
        (draft_max, p_min, *_play(echoes, target, draft, draft_max, p_min))
        for draft_max in DRAFT_MAX
        for p_min in P_MIN
    ]
    draft_max, p_min, ms, rounds = min(played, key=lambda one: one[2])
    return Expected(
        predicted_per_second=1000 * tokens / ms,
        speedup=tokens * target(1) / ms,
        agreement=agreement,
        mean_accepted_length=tokens / rounds,
        draft_max=draft_max,
        p_min=p_min,
    )


def _play(
    echoes: Sequence[Echo], target: Curve, draft: Curve, draft_max: int, p_min: float
) -> tuple[float, int]:
    """(milliseconds, rounds) for all answers with these settings."""
    verify = [target(size + 1) for size in range(draft_max + 1)]
    one, two = draft(1), draft(2)
    ms, rounds = 0.0, 0
    for echo in echoes:
        place, unseen = 0, one
        while place < len(echo.agrees):
            decoded, drafted, accepted = _draft(echo, place, draft_max, p_min)
            ms += verify[drafted]
            if decoded:
                ms += unseen + (decoded - 1) * one
            # The draft has not decoded the last token of a proposal that was accepted whole.
            unseen = two if drafted and accepted == drafted else one
            place += accepted + 1
            rounds += 1
    return ms, rounds


def _draft(echo: Echo, place: int, draft_max: int, p_min: float) -> tuple[int, int, int]:
    """(tokens the draft decoded, tokens proposed, tokens accepted) of the round at `place`.

    Behind its first wrong token the draft would go its own way; how sure it would be there is
    taken from the answer's own next tokens.
    """
    # The round's own token of the target comes behind the proposal.
    limit = min(draft_max, len(echo.agrees) - place - 1)
    accepted = drafted = 0
    right = True
    for ahead in range(place, place + limit):
        if echo.confidences[ahead] < p_min:
            return drafted + 1, drafted, accepted
        drafted += 1
        right = right and echo.agrees[ahead]
        accepted += right
    return drafted, drafted, accepted
