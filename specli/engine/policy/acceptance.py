"""How often a drafter is right: discounted posteriors by drafter and confidence.

A text's own experience weighs against the pair's, and the pair's against the drafter's word.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt

from specli.drafters.protocol import Proposal
from specli.events import Source

PRIOR = 8.0
"""Observations that earlier knowledge counts for: the confidence itself for a bin of the pair, the
pair's experience for a text. With it some ten tokens of an answer decide."""

MEMORY = 1000.0
"""Tokens of answers after which a pair's experience has faded to a third: the next text may be of
quite another kind."""

OPTIMISM = 1.0
"""Standard deviations above the mean at which a drafter is rated that has not been asked enough:
the upper 16 % quantile of a normal distribution."""

EDGES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)
"""Bounds of the confidence bins; finer at the top, where a long proposal is decided."""

BINS = len(EDGES) + 1
CENTRES = tuple((low + high) / 2 for low, high in zip((0.0, *EDGES), (*EDGES, 1.0), strict=True))

TYPICAL = (0.07, 0.07, 0.12, 0.1, 0.09, 0.08, 0.07, 0.07, 0.06, 0.08, 0.05, 0.05, 0.05, 0.04)
"""Shares of tokens by confidence bin of an unknown draft model: the mean of the recorded pairs
(scripts/recordings). It counts as one token, so the first real ones replace it."""

Histogram = list[float]
"""Discounted number of tokens by confidence bin."""


@dataclass(slots=True)
class Track:
    """Experience with one drafter.

    `judged[b]` holds the discounted (accepted, seen) of tokens with a confidence in bin b.
    `first[b]` counts first tokens of proposals, `further[b]` all later ones.
    """

    judged: list[list[float]] = field(default_factory=lambda: [[0.0, 0.0] for _ in range(BINS)])
    first: Histogram = field(default_factory=lambda: [0.0] * BINS)
    further: Histogram = field(default_factory=lambda: [0.0] * BINS)

    def chance(self, confidence: float, expected: float) -> float:
        """The posterior probability that a token with this confidence is accepted if those before
        it are, where `expected` is what one thinks without this track."""
        accepted, seen = self.judged[bisect_right(EDGES, confidence)]
        return (accepted + PRIOR * expected) / (seen + PRIOR)

    def chances(self, expected: Sequence[float]) -> list[float]:
        """The same for every bin."""
        return [
            (accepted + PRIOR * other) / (seen + PRIOR)
            for (accepted, seen), other in zip(self.judged, expected, strict=True)
        ]

    def judge(self, confidence: float, accepted: bool) -> None:
        """One proposed token was judged by the target."""
        cell = self.judged[bisect_right(EDGES, confidence)]
        cell[0] += accepted
        cell[1] += 1

    def count(self, proposal: Proposal) -> None:
        """A proposal was made, whether or not it was verified."""
        for confidence in proposal.confidences[:1]:
            self.first[bisect_right(EDGES, confidence)] += 1
        for confidence in proposal.confidences[1:]:
            self.further[bisect_right(EDGES, confidence)] += 1

    def fade(self, keep: float) -> None:
        """Multiply every count by `keep`."""
        for cell in self.judged:
            cell[0] *= keep
            cell[1] *= keep
        for histogram in (self.first, self.further):
            for index, count in enumerate(histogram):
                histogram[index] = keep * count

    @property
    def seen(self) -> float:
        """Discounted number of judged tokens."""
        return sum(seen for _accepted, seen in self.judged)


@dataclass(slots=True)
class Tracks:
    """The tracks of drafters, by name."""

    tracks: dict[Source, Track] = field(default_factory=dict)

    def track(self, source: Source) -> Track:
        return self.tracks.get(source) or Track()

    def learning(self, source: Source) -> Track:
        """The drafter's track, to be changed."""
        if source not in self.tracks:
            self.tracks[source] = Track()
        return self.tracks[source]


@dataclass(slots=True)
class Acceptance(Tracks):
    """What all texts have shown of the drafters of a pair."""

    def fade(self, tokens: int) -> None:
        """A text of so many tokens is over. Fading with texts, not with observations, gives a
        drafter that is no longer asked another chance in the end."""
        for track in self.tracks.values():
            track.fade((1 - 1 / MEMORY) ** tokens)


@dataclass(frozen=True, slots=True)
class Shares:
    """Expected shares of tokens by confidence bin, and how many tokens they rest on."""

    shares: Sequence[float]
    known: float


def mixed(own: Histogram, earlier: Histogram) -> Shares:
    """A text's shares, where what the pair has shown counts for at most `PRIOR` tokens and the
    typical drafter for one."""
    before = sum(earlier)
    weight = min(1.0, PRIOR / before) if before else 0.0
    known = sum(own) + weight * before
    return Shares(
        [
            (count + weight * seen + typical) / (known + 1)
            for count, seen, typical in zip(own, earlier, TYPICAL, strict=True)
        ],
        known,
    )


def upper(probability: float, known: float) -> float:
    """A probability that rests on `known` observations, `OPTIMISM` standard deviations up."""
    spread = sqrt(probability * (1 - probability) / (known + 1))
    return min(probability + OPTIMISM * spread, 1.0)
