"""Drafts what a grammar leaves as the only text: keys of a schema, brackets, constants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from specli.drafters.grow import build_proposal
from specli.drafters.protocol import Accepted, Proposal, Request
from specli.drafters.without_model import WithoutModel
from specli.events import Source


class GrammarDrafter(WithoutModel):
    """Proposes forced tokens; none is ever rejected, because the target may take no other."""

    name: Source = "grammar"

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:
        """Nothing: the grammar is the chooser's."""

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        return [
            build_proposal(self.name, _certain(request.chooser.forced()), request.rule)
            for request in requests
        ]

    def accept(self, results: Sequence[Accepted]) -> None:
        """Nothing: the chooser moves its grammar on."""

    def end(self, seq: int) -> None:
        """Nothing is kept."""


def _certain(tokens: Sequence[int]) -> Iterator[tuple[int, float]]:
    for token in tokens:
        yield token, 1.0
