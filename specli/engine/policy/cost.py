"""What a round costs: the target's time for k tokens, the draft's time per token.

The curve of T(k) is no straight line and T(1) is special (llama.cpp multiplies a single row by
other kernels, bound by memory rather than by arithmetic), so it is kept as measured points,
interpolated between them, and corrected while generating: a common factor follows the machine and
the growing context, another one what all batches take beside a single token, and the points follow
their own measurements more slowly.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field, replace

from specli.events import Source

_STEP = 0.1
_FASTER_BATCH, _SLOWER_BATCH = 0.6, 0.2
_POINT_STEP = 0.03
_FASTER_POINT, _SLOWER_POINT = 0.4, 0.1
"""Shares of a deviation that are believed at least, and at the first time."""
_OUTLIER = 2.0
_FIRST_OUTLIER = 10.0
_FIRST = 5
"""Batches of a run that may move the curve far: it was measured when the machine was perhaps
busier, or idler, than now."""


@dataclass(slots=True)
class Curve:
    """Milliseconds to decode k tokens at once: `ms[i]` for `sizes[i]`, rising."""

    sizes: list[int]
    ms: list[float]
    factor: float = 1.0
    batch: float = 1.0
    """What several tokens take now, over their points: other work that needs the same arithmetic
    slows them and not a single token."""
    seen: Counter[int] = field(default_factory=Counter)
    """How often each size has been observed since the curve was made."""

    def __post_init__(self) -> None:
        self._level()

    def __call__(self, tokens: int) -> float:
        """Milliseconds for `tokens` now; beyond the last point the last slope goes on."""
        place = bisect_left(self.sizes, tokens)
        if place < len(self.sizes) and self.sizes[place] == tokens:
            return self._now(tokens, self.ms[place])
        place = min(max(place, 1), len(self.sizes) - 1)
        left, right = self.sizes[place - 1], self.sizes[place]
        slope = (self.ms[place] - self.ms[place - 1]) / (right - left)
        return self._now(tokens, self.ms[place - 1] + slope * (tokens - left))

    def _now(self, tokens: int, ms: float) -> float:
        if tokens == 1:
            return self.factor * ms
        return self.factor * max(self.ms[0], self.batch * ms)

    @property
    def idle_ms(self) -> list[float]:
        """The points as they are now, without what other work adds to batches."""
        idle = replace(self, batch=min(self.batch, 1.0))
        return [idle(size) for size in self.sizes]

    def fastest(self, other: Curve) -> Curve:
        """A curve of the sizes in both, each with the shorter of its two times."""
        times = dict(zip(other.sizes, other.ms, strict=True))
        both = [
            (size, min(ms, times[size]))
            for size, ms in zip(self.sizes, self.ms, strict=True)
            if size in times
        ]
        return Curve([size for size, _ms in both], [ms for _size, ms in both])

    def observe(self, tokens: int, ms: float) -> None:
        """Learn from one batch of `tokens` that took `ms`."""
        total = self.seen.total()
        ratio = ms / self(tokens)
        if tokens == 1:
            # A process that was put to sleep in between says nothing about the model.
            bound = _FIRST_OUTLIER if total < _FIRST else _OUTLIER
            ratio = min(max(ratio, 1 / bound), bound)
            self.factor *= 1 + max(_STEP, 1 / (1 + total)) * (ratio - 1)
        else:
            self._observe_batch(tokens, min(max(ratio, 1 / _OUTLIER), _OUTLIER))
        self.seen[tokens] += 1

    def _observe_batch(self, tokens: int, ratio: float) -> None:
        """A single token moves the common factor alone, and several tokens what is beside it: were
        both to move both, what goes up with one would come down with the other, and a cold first
        token would leave all batches dearer for ever."""
        # A slow batch may be a hiccup, a fast one is none.
        batch, point = (
            (_SLOWER_BATCH, _SLOWER_POINT) if ratio > 1 else (_FASTER_BATCH, _FASTER_POINT)
        )
        step = max(_STEP, batch / (1 + self.seen.total() - self.seen[1]))
        self.batch *= 1 + step * (ratio - 1)
        place = bisect_left(self.sizes, tokens)
        if 0 < place < len(self.sizes) and self.sizes[place] == tokens:
            left = (1 - step) * (ratio - 1)
            self.ms[place] *= 1 + max(_POINT_STEP, point / (1 + self.seen[tokens])) * left
            self._level()

    def _level(self) -> None:
        """Fewer tokens never take more time. Where measurements say otherwise the fewer were
        disturbed: other work adds time and never takes any."""
        for place in range(len(self.ms) - 1, 0, -1):
            self.ms[place - 1] = min(self.ms[place - 1], self.ms[place])


@dataclass(slots=True)
class CostModel:
    """What everything costs in milliseconds: T(k) of the target, and of each costly drafter's own
    model by the drafter's name."""

    target: Curve
    drafters: dict[Source, Curve] = field(default_factory=dict)
    rollback: float = 0.0
    """What undoing rejected tokens takes a round."""

    def observe_rollback(self, ms: float) -> None:
        """Learn from a step in which tokens were rejected."""
        self.rollback += _STEP * (ms - self.rollback)
