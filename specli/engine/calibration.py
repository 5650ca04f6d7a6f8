"""What a drafter's word is worth: its confidence turned into a probability of acceptance."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from specli.events import Source

EDGES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)
"""Bounds of the confidence bins; finer at the top, where a long proposal is decided."""

_PRIOR_WEIGHT = 3.0
_MEMORY = 200.0
"""Observations after which a bin has forgotten about two thirds: texts change."""
_NEIGHBOUR = 0.3
"""What an observation says about the bins beside its own."""


@dataclass(slots=True)
class Calibration:
    """Accepted and rejected tokens by confidence, one table per drafter, learned online.

    The prior is the confidence itself, worth a few observations: replayed answers show that draft
    models and matches are about as often right as they say.
    """

    tables: dict[Source, list[list[float]]] = field(default_factory=dict)
    """Per source and bin: [accepted, seen], both weighted."""

    def probability(self, source: Source, confidence: float) -> float:
        """The chance that a token proposed with `confidence` is accepted, if those before are."""
        table = self.tables.get(source)
        if table is None:
            return confidence
        accepted, seen = table[bisect_right(EDGES, confidence)]
        return (accepted + _PRIOR_WEIGHT * confidence) / (seen + _PRIOR_WEIGHT)

    def seen(self, source: Source) -> float:
        """Weighted number of observations of a drafter."""
        return sum(seen for _accepted, seen in self.tables.get(source, []))

    def rate(self, source: Source, expected: float, weight: float) -> float:
        """The share of a drafter's tokens that was accepted; `expected` counts as so many
        observations."""
        cells = self.tables.get(source, [])
        accepted = sum(accepted for accepted, _seen in cells)
        return (accepted + weight * expected) / (self.seen(source) + weight)

    def observe(self, source: Source, confidence: float, accepted: bool) -> None:
        """One proposed token was judged by the target."""
        table = self.tables.setdefault(source, [[0.0, 0.0] for _ in range(len(EDGES) + 1)])
        place = bisect_right(EDGES, confidence)
        for beside, weight in ((place - 1, _NEIGHBOUR), (place, 1.0), (place + 1, _NEIGHBOUR)):
            if 0 <= beside < len(table):
                cell = table[beside]
                keep = 1 - weight / _MEMORY
                cell[0] = cell[0] * keep + weight * accepted
                cell[1] = cell[1] * keep + weight

    def aged(self, share: float) -> Calibration:
        """A copy in which everything seen counts for `share` of what it did."""
        return Calibration(
            {name: [[share * a, share * n] for a, n in t] for name, t in self.tables.items()}
        )
