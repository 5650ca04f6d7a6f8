"""Measures costs again between two rounds, where there is reason to doubt them.

That is so once where the measuring was disturbed, or a record cannot be that of any model, and
after that where rounds take other times than was measured: only then is measuring worth its time
beside programs that never rest. Costs that rounds confirm are sure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

from specli.engine.measure import Batches, timed, too_slow, undisturbed
from specli.engine.policy.cost import CostModel, Curve
from specli.events import Source

TARGET_SIZES = (1, 2, 4, 8)
DRAFT_SIZES = (1, 2)
"""Batches measured again: what most rounds decode, in the time of about seven tokens."""

PATIENCE = 16
"""Rounds until costs that still disagree are measured once more; each further time takes
`IMPATIENCE` times as many, so that beside programs which never rest it costs next to nothing."""

IMPATIENCE = 4

MOST_PATIENCE = 1024
"""Rounds between two measurings at most: what disturbed them may be over."""


@dataclass(slots=True)
class _Watched:
    """One curve, and what it can be measured with."""

    decoder: Batches
    curve: Curve
    sizes: tuple[int, ...]
    settled: bool = False
    """Found twice alike: it is so, even if rounds take longer than their batches."""


@dataclass(slots=True)
class Recalibration:
    """Looks after one cost model at a time. `decoders` are the draft models by name; `token` is any
    token of the vocabulary.

    Other drafters are left to the corrections of each round: a small head that is timed alone
    stays in the processor's caches, and would be found too fast again and again.
    """

    target: Batches
    decoders: Mapping[Source, Batches]
    token: int
    clock: Callable[[], float] = perf_counter
    _cost: CostModel | None = None
    _watched: list[_Watched] = field(default_factory=list)
    _rounds: int = 0
    _wait: int = 0

    def before_round(self, cost: CostModel) -> None:
        """To be called while nothing is being decoded."""
        first = cost is not self._cost
        if first:
            self._cost, self._rounds, self._wait = cost, 0, 0
            self._watched = [
                _Watched(self.target, cost.target, TARGET_SIZES),
                *(
                    _Watched(decoder, cost.drafters[name], DRAFT_SIZES)
                    for name, decoder in self.decoders.items()
                    if name in cost.drafters
                ),
            ]
            cost.sure = cost.sure and all(map(undisturbed, cost.curves))
        self._rounds += 1
        doubtful = [
            one
            for one in self._watched
            if (first and not cost.sure) or (one.curve.disagrees and not one.settled)
        ]
        if doubtful and self._rounds > self._wait:
            self._rounds, self._wait = 0, self._next_wait()
            for one in doubtful:
                one.settled = self._again(one)
        elif not doubtful and (self._watched[0].settled or cost.target.agrees):
            cost.sure = True

    def _next_wait(self) -> int:
        return min(IMPATIENCE * self._wait, MOST_PATIENCE) or PATIENCE

    def _again(self, one: _Watched) -> bool:
        """Measure after what sequence 0 has in the cache, and leave that as it was; whether the
        curve was right.

        A hiccup makes few tokens take longer than more, which the curve knows not to believe; where
        it hits more tokens, they are timed once more, and the cheap ones always.
        """
        decoder, position = one.decoder, one.decoder.length(0)
        most = min(
            decoder.n_batch, decoder.n_ctx - position, decoder.max_rollback or decoder.n_batch
        )
        if most < 1:
            return True
        # The first batch after a pause is slow.
        timed(decoder, self.token, position, 1, self.clock)
        found: dict[int, float] = {}
        for size in (size for size in one.sizes if size <= most):
            found[size] = timed(decoder, self.token, position, size, self.clock)
            hiccup = size // 2 in found and too_slow(size // 2, found[size // 2], found[size])
            if hiccup or decoder is not self.target:
                again = timed(decoder, self.token, position, size, self.clock)
                found[size] = min(found[size], again)
        decoder.rollback(0, position)
        one.curve.at(position)
        return one.curve.remeasured(found)
