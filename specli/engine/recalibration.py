"""Measures costs again between two rounds, where there is reason to doubt them.

That is so where the first rounds took other times than the record says, where the measuring was
disturbed, and where a record cannot be that of any model. Other work of the machine is no longer in
the way when it is done again, or still is and decides what pays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

from specli.engine.measure import Batches, timed, undisturbed
from specli.engine.policy.cost import CostModel, Curve
from specli.events import Source

TARGET_SIZES = (1, 2, 4, 8)
DRAFT_SIZES = (1, 2)
"""Batches measured again: what most rounds decode, in the time of about six tokens."""

PATIENCE = 16
"""Rounds until doubtful costs are measured once more; each further time takes twice as many, so
that on a machine that never comes to rest it costs less and less."""

MOST_PATIENCE = 256
"""Rounds between two measurings at most: what disturbed them may be over."""


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
    _rounds: int = 0
    _wait: int = 0
    _settled: bool = False

    def before_round(self, cost: CostModel) -> None:
        """To be called while nothing is being decoded."""
        if cost is not self._cost:
            self._cost, self._rounds, self._wait, self._settled = cost, 0, 0, False
            cost.sure = cost.sure and all(map(undisturbed, cost.curves))
        if self._settled:
            return
        self._rounds += 1
        own = (cost.drafters[name] for name in self.decoders if name in cost.drafters)
        doubtful = not cost.sure or any(curve.disagrees for curve in (cost.target, *own))
        if doubtful and self._rounds > self._wait:
            self._measure(cost)

    def _measure(self, cost: CostModel) -> None:
        agreed = self._again(self.target, cost.target, TARGET_SIZES)
        for name, decoder in self.decoders.items():
            if name in cost.drafters:
                agreed &= self._again(decoder, cost.drafters[name], DRAFT_SIZES)
        # What was found twice is so, even if rounds take longer than their batches.
        cost.sure = self._settled = agreed
        self._rounds, self._wait = 0, max(PATIENCE, min(2 * self._wait, MOST_PATIENCE))

    def _again(self, decoder: Batches, curve: Curve, sizes: tuple[int, ...]) -> bool:
        """Measure after what sequence 0 has in the cache, and leave that as it was; whether the
        curve was right."""
        position = decoder.length(0)
        most = min(
            decoder.n_batch, decoder.n_ctx - position, decoder.max_rollback or decoder.n_batch
        )
        if most < 1:
            return True
        # The first batch after a pause is slow.
        timed(decoder, self.token, position, 1, self.clock)
        found = {
            size: timed(decoder, self.token, position, size, self.clock)
            for size in sizes
            if size <= most
        }
        decoder.rollback(0, position)
        curve.at(position)
        return curve.remeasured(found)
