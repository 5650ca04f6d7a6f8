"""Measures costs again between two rounds, where there is reason to doubt them.

That is so where rounds take other times than was measured, and once where the measuring was
disturbed or a record cannot be that of any model: only then is measuring worth its time beside
programs that never rest. Costs that rounds confirm are sure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

from specli.engine.measure import Batches, timed, undisturbed
from specli.engine.policy.cost import CostModel, Curve
from specli.events import Source

TARGET_SIZE = 4
"""The batch that is timed where the first rounds decoded single tokens alone: what most rounds
with a proposal decode, in the time of about two tokens."""

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
    _measured: bool = False
    """Whether unsure costs have been measured again."""

    def before_round(self, cost: CostModel) -> None:
        """To be called while nothing is being decoded."""
        if cost is not self._cost:
            self._cost, self._rounds, self._wait, self._measured = cost, 0, 0, False
            self._watched = [
                _Watched(self.target, cost.target),
                *(
                    _Watched(decoder, cost.drafters[name])
                    for name, decoder in self.decoders.items()
                    if name in cost.drafters
                ),
            ]
            cost.sure = cost.sure and all(map(undisturbed, cost.curves)) and not self._too_dear
        self._rounds += 1
        unsure = not (cost.sure or self._measured) and cost.target.checked
        doubtful = [
            one for one in self._watched if (unsure or one.curve.disagrees) and not one.settled
        ]
        if doubtful and self._rounds > self._wait:
            self._rounds, self._wait, self._measured = 0, self._next_wait(), True
            for one in doubtful:
                one.settled = self._again(one)
        elif not doubtful and (self._watched[0].settled or cost.target.agrees):
            cost.sure = True

    @property
    def _too_dear(self) -> bool:
        """Whether a draft model is said to take longer than the target. It is hardly asked then,
        and no round would show that this is wrong."""
        target, *drafts = (one.curve(1) for one in self._watched)
        return any(draft > target for draft in drafts)

    def _next_wait(self) -> int:
        return min(IMPATIENCE * self._wait, MOST_PATIENCE) or PATIENCE

    def _again(self, one: _Watched) -> bool:
        """Take over what the first rounds took, and measure what they do not show; whether the
        curve was right.

        Measured after what sequence 0 has in the cache, which is left as it was.
        """
        decoder, curve, position = one.decoder, one.curve, one.decoder.length(0)
        most = min(
            decoder.n_batch, decoder.n_ctx - position, decoder.max_rollback or decoder.n_batch
        )
        if most < 1:
            return True
        curve.at(position)
        sizes = [1, TARGET_SIZE] if decoder is self.target and most >= TARGET_SIZE else [1]
        shown = {size: curve.shown(size) for size in sizes}
        found = {size: ms for size, ms in shown.items() if ms is not None}
        for size in (size for size in sizes if size not in found):
            found[size] = timed(decoder, self.token, position, size, self.clock)
            if len(found) < 2 or not curve.in_proportion(found):
                # The first batch after a pause is slow, and any may be a hiccup.
                again = timed(decoder, self.token, position, size, self.clock)
                found[size] = min(found[size], again)
        decoder.rollback(0, position)
        return curve.remeasured(found)
