"""How far a proposal goes: decided before a drafter is asked, in plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log

import numpy as np
from numpy.typing import NDArray

LEAST_SURVIVAL = 0.02
"""A token that is less likely than this to be reached is worth nothing on any machine."""


Floats = NDArray[np.float64]


class Growth:
    """What verifying the first 1, 2, ... tokens of a proposal is worth to who may lose `room`.

    `costs[i]` is what the first i + 1 tokens cost in all, in tokens like `room`. The worth is
    room * E[log(1 + gain / room)] (Kelly 1956): near the mean gain with much room; with little, a
    loss weighs more.
    """

    def __init__(self, costs: Floats, room: float) -> None:
        count = len(costs)
        counts, fewer = _shape(count)
        logs = room * np.log(np.maximum(1 + (counts - costs[:, None]) / room, _RUIN))
        self._fewer = logs[:, :count] * fewer
        self._all = logs.diagonal(1)

    def worth(self, survivals: Floats) -> Floats:
        """By length; `survivals[i]` is the chance that tokens 0 to i are all accepted."""
        # Of k tokens exactly i < k are accepted with chance S_i - S_(i+1), and all with S_k.
        before = np.concatenate((_ONE, survivals[:-1]))
        worth: Floats = self._fewer @ (before - survivals) + survivals * self._all
        return worth

    @property
    def if_rejected(self) -> Floats:
        """By length, if the first token is not accepted."""
        return self._fewer[:, 0]


def stopping(cost: float, room: float) -> float:
    """The worth of verifying nothing after spending `cost`."""
    return room * log(max(1 - cost / room, _RUIN))


_RUIN = 1e-6
_ONE = np.ones(1)


@lru_cache(maxsize=64)
def _shape(count: int) -> tuple[Floats, Floats]:
    """Numbers of accepted tokens by column, and a mask of those below the length of the row."""
    return np.arange(count + 1, dtype=np.float64), np.tri(count)


@dataclass(frozen=True, slots=True)
class Lookahead:
    """What another step of a drafter may gain; costs and `room` are in tokens at the present speed.

    `chance` turns a confidence into a probability of acceptance. `further` is the acceptance
    expected of tokens not drafted yet. `drafting[k]` and `verify[k]` are the costs of drafting and
    of verifying k tokens, and `growth` is the worth of doing both.
    """

    chance: Callable[[float], float]
    further: float
    drafting: Sequence[float]
    verify: Sequence[float]
    growth: Growth
    room: float

    def pays(self, confidences: Sequence[float]) -> bool:
        """Whether some longer proposal is expected to be worth more than the best part of this."""
        drafted = len(confidences)
        chances = np.full(len(self.verify) - 1, self.further)
        chances[:drafted] = [self.chance(one) for one in confidences]
        survivals = np.cumprod(chances)
        if survivals[drafted] < LEAST_SURVIVAL:
            return False
        longer = self.growth.worth(survivals)[drafted:].max()
        return bool(longer > self._stop(survivals[:drafted].tolist()))

    def _stop(self, survivals: list[float]) -> float:
        """The worth of the best part of what has been drafted."""
        spent = self.drafting[len(survivals)]
        best = stopping(spent, self.room)
        for length in range(1, len(survivals) + 1):
            cost, before, worth = spent + self.verify[length], 1.0, 0.0
            for accepted, survival in enumerate(survivals[:length]):
                worth += (before - survival) * stopping(cost - accepted, self.room)
                before = survival
            best = max(best, worth + before * stopping(cost - length, self.room))
        return best


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `limit` tokens, none less probable than `p_min`, and as many as `lookahead` says.

    `block` is how many tokens a head drafts that drafts all of them at once, though fewer may be
    wanted; None is as many as it was made for.
    """

    limit: int
    p_min: float = 0.0
    lookahead: Lookahead | None = None
    block: int | None = None

    @property
    def needs_confidence(self) -> bool:
        """Whether confidences matter; where not, a drafter may leave them at 1."""
        return self.p_min > 0 or self.lookahead is not None

    def keeps(self, confidence: float) -> bool:
        """Whether a token stays in the proposal; one that does not ends it."""
        return confidence >= self.p_min

    def wants_more(self, confidences: Sequence[float]) -> bool:
        """Whether another token should be drafted after those in `confidences`."""
        if len(confidences) >= self.limit:
            return False
        return self.lookahead is None or self.lookahead.pays(confidences)
