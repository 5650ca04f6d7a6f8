"""How far a proposal goes: decided before a drafter is asked, in plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

LEAST_SURVIVAL = 0.02
"""A token that is less likely than this to be reached is worth nothing on any machine."""


Floats = NDArray[np.float64]


def growth(survivals: Floats, costs: Floats, room: float) -> Floats:
    """The worth of verifying the first 1, 2, ... tokens of a proposal to who may lose `room`.

    `survivals[i]` is the chance that tokens 0 to i are all accepted, `costs[i]` what the first
    i + 1 tokens cost in all, in tokens like `room`. The worth is room * E[log(1 + gain / room)]
    (Kelly 1956): near the mean gain with much room; with little, a loss weighs more.
    """
    count = len(survivals)
    reached = np.append(1.0, survivals)
    gains = np.arange(count + 1)[None, :] - costs[:, None]
    logs = np.log(np.maximum(1 + gains / room, _RUIN))
    # Of the first k tokens exactly i < k are accepted with chance S_i - S_(i+1), all with S_k.
    fewer = np.tril(logs[:, :count] * -np.diff(reached))
    whole: Floats = room * (fewer.sum(axis=1) + survivals * logs.diagonal(1))
    return whole


def stopping(cost: float, room: float) -> float:
    """The worth of verifying nothing after spending `cost`."""
    return room * log(max(1 - cost / room, _RUIN))


_RUIN = 1e-6


@dataclass(frozen=True, slots=True)
class Lookahead:
    """What another step of a drafter may gain; costs and `room` are in tokens at the present speed.

    `chance` turns a confidence into a probability of acceptance. `further` is the acceptance
    expected of tokens not drafted yet. `first` and `step` are the costs of drafting the first token
    and each later one. `verify[k]` is the cost of verifying k proposed tokens.
    """

    chance: Callable[[float], float]
    further: float
    first: float
    step: float
    verify: Sequence[float]
    room: float

    def pays(self, confidences: Sequence[float], limit: int) -> bool:
        """Whether some proposal longer than this one, of at most `limit`, is expected to be worth
        more than the best part of this one."""
        drafted = len(confidences)
        chances = np.full(limit, self.further)
        chances[:drafted] = [self.chance(one) for one in confidences]
        survivals = np.cumprod(chances)
        if survivals[drafted] < LEAST_SURVIVAL:
            return False
        steps = np.maximum(np.arange(limit), drafted - 1)
        drafting = self.first + self.step * steps
        worth = growth(survivals, drafting + self.verify[1 : limit + 1], self.room)
        stop = max(stopping(drafting[0], self.room), worth[:drafted].max())
        return bool(worth[drafted:].max() > stop)


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `limit` tokens, none less probable than `p_min`, and as many as `lookahead` says."""

    limit: int
    p_min: float = 0.0
    lookahead: Lookahead | None = None

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
        return self.lookahead is None or self.lookahead.pays(confidences, self.limit)
