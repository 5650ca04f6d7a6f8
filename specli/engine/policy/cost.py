"""What a round costs: the target's time for k tokens, and each drafter's time for its batches.

The curve T(k) is not a straight line and T(1) is special (llama.cpp multiplies a single row by
other kernels, bound by memory rather than by arithmetic), so it is kept as measured points,
interpolated between them, and corrected while generating.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from specli.events import Source

STEP = 0.1
"""Share of a deviation that is believed: a curve follows the machine within some ten batches."""

FIRST_FASTER, FIRST_SLOWER = 0.6, 0.2
"""Share that is believed of the first batches of several tokens. A slow one may be a hiccup."""

POINT = 0.5
"""Share of the rest that goes to the point of a batch's own size."""

OUTLIER = 2.0
"""A time off by more than this factor counts as off by this factor."""

FIRST, FIRST_OUTLIER = 5, 10.0
"""The same for the first batches of a process: the machine may have been much busier when the
curve was measured, or much idler."""


CHECKED = 3
"""First batches that a measured curve is checked by: the median of three is no hiccup."""

AGREES = 1.25
"""Most that the times of one machine differ from measurement to measurement, as a factor."""

UNCONFIRMED = 48.0
"""Rounds after which a third is left of what was added to a cost that no round confirms: as many
tokens as a text remembers."""

TRUSTED_SPREAD = 1.1
"""Most that the second fastest time of a size is above the fastest where nothing disturbs."""


@dataclass(slots=True)
class Curve:
    """Milliseconds to decode k tokens at once: `ms[i]` for `sizes[i]`, rising."""

    sizes: list[int]
    ms: list[float]
    factor: float = 1.0
    """What everything takes now, over the points."""
    batch: float = 1.0
    """What several tokens take in addition: other programs that need arithmetic slow them down,
    and not a single token."""
    seen: Counter[int] = field(default_factory=Counter)
    """How often each size has been observed since the curve was measured."""
    spread: float = 1.0
    """The second fastest time over the fastest, the median of the sizes that were measured more
    than once: what disturbs the one seldom disturbs the other as much."""
    per_context: float = 0.0
    """What each token of a batch takes in addition for each token before it."""
    window: int | None = field(default=None, compare=False)
    """Most tokens that it sees before a batch."""
    context: int = field(default=0, compare=False)
    """Tokens before the present batch; see `at`."""
    measured: list[float] = field(init=False)
    """The points before anything was observed."""
    first: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    """The times of the first batches over what was measured, of a single token and of several."""

    def __post_init__(self) -> None:
        self._level()
        self.measured = list(self.ms)

    def at(self, context: int) -> None:
        """So many tokens are before the batches that are asked about from here on."""
        self.context = context if self.window is None else min(context, self.window)

    def __call__(self, tokens: int) -> float:
        """Milliseconds for `tokens` now; past the last point the last slope goes on."""
        return self._now(tokens, self._between(self.ms, tokens))

    def _attending(self, tokens: int) -> float:
        return self.per_context * self.context * tokens

    def _between(self, points: Sequence[float], tokens: int) -> float:
        index = bisect_left(self.sizes, tokens)
        if index < len(self.sizes) and self.sizes[index] == tokens:
            return points[index]
        index = min(max(index, 1), len(self.sizes) - 1)
        left, right = self.sizes[index - 1], self.sizes[index]
        slope = (points[index] - points[index - 1]) / (right - left)
        return points[index - 1] + slope * (tokens - left)

    def _now(self, tokens: int, ms: float) -> float:
        ms = ms if tokens == 1 else max(self.ms[0], self.batch * ms)
        return self.factor * (ms + self._attending(tokens))

    @property
    def idle_ms(self) -> list[float]:
        """The points as they are now, without what other programs add to batches."""
        idle = replace(self, batch=min(self.batch, 1.0), context=0)
        return [idle(size) for size in self.sizes]

    @property
    def disagrees(self) -> bool:
        """Whether the first batches took other times than was measured."""
        return any(
            len(ratios) == CHECKED and not agree(median(ratios)) for ratios in self.first.values()
        )

    @property
    def checked(self) -> bool:
        """Whether enough batches were seen to say whether they take the times measured."""
        return any(len(ratios) == CHECKED for ratios in self.first.values())

    def shown(self, size: int) -> float | None:
        """Milliseconds of so many tokens by the first batches, of a single token or of several;
        None before enough of them were seen."""
        ratios = self.first[size == 1]
        if len(ratios) < CHECKED:
            return None
        return median(ratios) * (self._between(self.measured, size) + self._attending(size))

    @property
    def agrees(self) -> bool:
        """Whether the first batches, of a single token or of several, took the times measured."""
        return self.checked and not self.disagrees

    def in_proportion(self, times: Mapping[int, float]) -> bool:
        """Whether the times of these sizes are off by the same factor."""
        ratios = [self._measured_ratio(size, ms) for size, ms in times.items()]
        return agree(max(ratios) / min(ratios))

    def remeasured(self, times: Mapping[int, float]) -> bool:
        """Take over newly measured times of a single token and of at most one size of several, the
        others in proportion; whether they agree with what was measured before, and nothing had to
        change."""
        ratios = [self._measured_ratio(size, times[size]) for size in sorted(times)]
        self.first, self.spread = {True: [], False: []}, 1.0
        if all(map(agree, ratios)):
            return True
        if self._share(1) > 0.5:
            # So long a text says little of anything else.
            self.per_context *= median(ratios)
            return False
        self.ms = [
            ms * ratios[0 if size == 1 else -1]
            for size, ms in zip(self.sizes, self.measured, strict=True)
        ]
        self.factor = self.batch = 1.0
        # What was timed just now was seen: one batch after it does not outweigh it.
        self.seen = Counter(times)
        self._level()
        self.measured = list(self.ms)
        return False

    def slower(self, factor: float) -> Curve:
        """A curve that nothing has confirmed: this one, as it is now, with every time changed by
        `factor`."""
        here = replace(self, context=0)
        ms = [factor * here(size) for size in self.sizes]
        return Curve(
            list(self.sizes), ms, per_context=factor * self.per_context, window=self.window
        )

    def fastest(self, other: Curve) -> Curve:
        """A curve of the sizes in both, each with the shorter of its two times."""
        times = dict(zip(other.sizes, other.ms, strict=True))
        both = [
            (size, min(ms, times[size]))
            for size, ms in zip(self.sizes, self.ms, strict=True)
            if size in times
        ]
        return Curve(
            [size for size, _ms in both],
            [ms for _size, ms in both],
            per_context=self.per_context,
            window=self.window,
        )

    def _measured_ratio(self, tokens: int, ms: float) -> float:
        return ms / (self._between(self.measured, tokens) + self._attending(tokens))

    def _share(self, tokens: int) -> float:
        """The share of a batch's time that the text before it takes."""
        return self.factor * self._attending(tokens) / self(tokens)

    def observe(self, tokens: int, ms: float) -> None:
        """Learn from one batch of `tokens` that took `ms`.

        A single token moves `factor` alone, several move `batch` and their own point: if both
        moved both, one cold token would leave all batches dearer. The longer the text before it,
        the more a batch says of `per_context`, and the less of all else.
        """
        early = self.first[tokens == 1]
        if len(early) < CHECKED:
            early.append(self._measured_ratio(tokens, ms))
        total, ratio, share = self.seen.total(), ms / self(tokens), self._share(tokens)
        bound = FIRST_OUTLIER if tokens == 1 and total < FIRST else OUTLIER
        ratio = min(max(ratio, 1 / bound), bound)
        self.per_context *= 1 + share * max(STEP, 1 / (1 + total)) * (ratio - 1)
        ratio = 1 + (1 - share) * (ratio - 1)
        if tokens == 1:
            self.factor *= 1 + max(STEP, 1 / (1 + total)) * (ratio - 1)
            self._doubt_batches()
        else:
            first = FIRST_FASTER if ratio < 1 else FIRST_SLOWER
            step = max(STEP, first / (1 + total - self.seen[1]))
            self.batch *= 1 + step * (ratio - 1)
            self._observe_point(tokens, (1 - step) * (ratio - 1), first)
        self.seen[tokens] += 1

    def doubt(self, factor: float) -> None:
        """Nothing was decoded in a round, and what makes it look dear may be over; `factor` is that
        of the target."""
        self.factor = _doubted(self.factor, max(1.0, factor, self._usual(True)))

    def _doubt_batches(self) -> None:
        self.batch = _doubted(self.batch, max(1.0, self._usual(False)))
        points = zip(self.ms[1:], self.measured[1:], strict=True)
        self.ms[1:] = [_doubted(ms, measured) for ms, measured in points]

    def _usual(self, single: bool) -> float:
        """What the first batches took over what was measured; at most, where they were few."""
        ratios = self.first[single]
        return median(ratios) if len(ratios) == CHECKED else max(ratios, default=1.0)

    def _observe_point(self, tokens: int, deviation: float, first: float) -> None:
        index = bisect_left(self.sizes, tokens)
        if 0 < index < len(self.sizes) and self.sizes[index] == tokens:
            step = POINT * max(STEP, first / (1 + self.seen[tokens]))
            self.ms[index] *= 1 + step * deviation
            self._level()

    def _level(self) -> None:
        """Fewer tokens never take more time. If a measurement says so, it was disturbed: other
        programs add time and never take any away."""
        for index in range(len(self.ms) - 1, 0, -1):
            self.ms[index - 1] = min(self.ms[index - 1], self.ms[index])


def _doubted(believed: float, usual: float) -> float:
    """A little less of what is above the usual by more than times of one machine differ."""
    bound = AGREES * usual
    return believed if believed <= bound else bound + (1 - 1 / UNCONFIRMED) * (believed - bound)


def agree(ratio: float) -> bool:
    """Whether two times with this ratio may be measurements of the same thing."""
    return 1 / AGREES <= ratio <= AGREES


@dataclass(slots=True)
class CostModel:
    """All costs in milliseconds: T(k) of the target, and of each costly drafter's own model by the
    drafter's name."""

    target: Curve
    drafters: dict[Source, Curve] = field(default_factory=dict)
    rollback: float = 0.0
    """What undoing rejected tokens takes in a step."""
    sure: bool = True
    """Whether the curves were measured undisturbed; else they are measured again soon."""
    threads: tuple[int, ...] = ()
    """The threads of target and drafters that the costs are those of."""

    @property
    def curves(self) -> list[Curve]:
        return [self.target, *self.drafters.values()]

    def at(self, context: int) -> None:
        """So many tokens are before the batches of a round."""
        for curve in self.curves:
            curve.at(context)

    def slower(self, factor: float) -> CostModel:
        """A guess: every time changed by `factor`."""
        drafters = {name: curve.slower(factor) for name, curve in self.drafters.items()}
        return CostModel(self.target.slower(factor), drafters, self.rollback, sure=False)

    def observe_rollback(self, ms: float) -> None:
        """Learn from a step in which tokens were rejected."""
        self.rollback += STEP * (ms - self.rollback)
