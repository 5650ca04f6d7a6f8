"""Several drafters, asked in order: the first with something to say proposes."""

from __future__ import annotations

from collections.abc import Sequence

from specli.drafters.protocol import Drafter, Proposal, Request
from specli.events import Source


class Cascade:
    """The cheap drafters go first, a draft model fills in where they have nothing."""

    name: Source = "cascade"

    def __init__(self, drafters: Sequence[Drafter]) -> None:
        self._drafters = list(drafters)

    @property
    def native_ns(self) -> int:
        return sum(drafter.native_ns for drafter in self._drafters)

    def begin(self, seq: int, prompt: Sequence[int]) -> None:
        for drafter in self._drafters:
            drafter.begin(seq, prompt)

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        proposals = [Proposal() for _ in requests]
        open_places = list(range(len(requests)))
        for drafter in self._drafters:
            if not open_places:
                break
            found = drafter.propose([requests[place] for place in open_places])
            for place, proposal in zip(open_places, found, strict=True):
                proposals[place] = proposal
            open_places = [place for place in open_places if not proposals[place]]
        return proposals

    def observe(self, seq: int, tokens: list[int], emitted: int, accepted: int) -> None:
        for drafter in self._drafters:
            drafter.observe(seq, tokens, emitted, accepted)

    def end(self, seq: int) -> None:
        for drafter in self._drafters:
            drafter.end(seq)
