"""How far a proposal goes: decided before a drafter is asked, in plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

LEAST_SURVIVAL = 0.02
"""A token that is less likely than this to be reached is worth nothing on any machine."""


@dataclass(frozen=True, slots=True)
class Lookahead:
    """What another step of a drafter may gain; all costs are in tokens at the present speed.

    `chance` turns a confidence into a probability of acceptance. `further` is the acceptance
    expected of tokens not drafted yet. `step` is the cost of drafting one. `verify[k]` is the cost
    of verifying k proposed tokens.
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
        survival, mean, square = 1.0, 0.0, 0.0
        cost = self.first + (len(confidences) - 1) * self.step
        best = self._worth(0.0, 0.0, cost)
        for length, confidence in enumerate(confidences, 1):
            survival *= self.chance(confidence)
            mean += survival
            square += (2 * length - 1) * survival
            best = max(best, self._worth(mean, square, cost + self.verify[length]))
        for length in range(len(confidences) + 1, limit + 1):
            survival *= self.further
            if survival < LEAST_SURVIVAL:
                return False
            mean += survival
            square += (2 * length - 1) * survival
            cost += self.step
            if self._worth(mean, square, cost + self.verify[length]) > best:
                return True
        return False

    def _worth(self, mean: float, square: float, cost: float) -> float:
        gain = mean - cost
        return gain - (square - 2 * cost * mean + cost * cost) / (2 * self.room)


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
