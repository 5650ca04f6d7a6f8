"""Several drafters, and in every round the one whose proposal is worth most.

The cheap ones speak first. The draft model, which costs time, is asked only where it can be hoped
to beat the best of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from specli.drafters.protocol import CostlyDrafter, Drafter, Proposal, Request
from specli.events import Source


class Cascade:
    """Asks `cheap` drafters, then `model` where their best is worth less than it may bring."""

    name: Source = "cascade"

    def __init__(self, cheap: Sequence[Drafter], model: CostlyDrafter | None = None) -> None:
        self._cheap = list(cheap)
        self._model = model
        self._drafters: list[Drafter] = [*self._cheap, *([model] if model is not None else [])]

    @property
    def native_ns(self) -> int:
        return self._model.native_ns if self._model is not None else 0

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:
        for drafter in self._drafters:
            drafter.begin(seq, prompt, prediction)

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        best = [Proposal() for _ in requests]
        worth = [0.0] * len(requests)
        for drafter in self._cheap:
            for place, proposal in enumerate(_asked(drafter, requests)):
                gain = requests[place].rule.worth(proposal)
                if gain > worth[place]:
                    best[place], worth[place] = proposal, gain
        if self._model is None:
            return best
        model = self._model
        open_places = [
            place
            for place, request in enumerate(requests)
            if request.rule.hope(model.name, model.unseen(request.seq, request.tokens))
            > worth[place]
        ]
        if open_places:
            found = _asked(model, [requests[place] for place in open_places])
            for place, proposal in zip(open_places, found, strict=True):
                # What was drafted is paid for: an earlier find is better only if it is worth more.
                if proposal and requests[place].rule.worth(proposal) >= worth[place]:
                    best[place] = proposal
        return best

    def observe(self, seq: int, tokens: list[int], emitted: int, accepted: int) -> None:
        for drafter in self._drafters:
            drafter.observe(seq, tokens, emitted, accepted)

    def end(self, seq: int) -> None:
        for drafter in self._drafters:
            drafter.end(seq)


def _asked(drafter: Drafter, requests: Sequence[Request]) -> list[Proposal]:
    return drafter.propose(
        [
            Request(request.seq, request.tokens, request.rule.of(drafter.name), request.chooser)
            for request in requests
        ]
    )
