"""The life of a drafter: begin, propose, observe, end.

The engine tells a drafter when a sequence begins and ends, asks it for proposals, and tells it
after every round which tokens the sequence really got, whoever had proposed them. A proposal
carries a confidence per token, so that callers can learn what a drafter's word is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from specli.events import Source
from specli.llama.decoder import Logits


class Chooser(Protocol):
    """The sequence's own way to choose a token, so that a draft model can draw the same noise."""

    @property
    def plain(self) -> bool:
        """Whether `draft` always takes the most probable token, which a device can find."""

    def guess(self, logits: Logits, position: int) -> int:
        """The token this sequence would take at `position`."""

    def draft(self, logits: Logits, position: int) -> tuple[int, float]:
        """The same token, and its probability in `logits`."""


class StopRule(Protocol):
    """Decides in one round, for one drafter, how far its proposal goes.

    `of` gives the rule of another drafter in the same round; `worth` and `hope` let a cascade
    weigh drafters against each other.
    """

    limit: int
    """Most tokens that may be proposed in this round."""

    @property
    def judges(self) -> bool:
        """Whether confidences matter; where not, a drafter need not compute them and gives 1."""

    def of(self, source: Source) -> StopRule:
        """The rule for the drafter called `source`."""

    def keeps(self, confidences: Sequence[float]) -> bool:
        """Whether the newest token, the last of `confidences`, stays in the proposal.

        A token that does not stay ends the proposal.
        """

    def wants_more(self, confidences: Sequence[float]) -> bool:
        """Whether another token should be drafted after those in `confidences`."""

    def worth(self, proposal: Proposal) -> float:
        """What verifying the proposal is expected to gain; 0 for one that is worth nothing."""

    def hope(self, source: Source, unseen: int) -> float:
        """What asking a drafter that costs time is expected to gain, in the units of `worth`.

        It has to decode `unseen` tokens of the sequence before it drafts.
        """


@dataclass(slots=True)
class Request:
    """Ask for a proposal that continues `tokens`.

    `tokens` is the whole sequence so far, prompt included; the last one has not been decoded by
    the target yet. Drafters read it and never change it.
    """

    seq: int
    tokens: list[int]
    rule: StopRule
    chooser: Chooser


@dataclass(slots=True)
class Proposal:
    """Proposed tokens, the drafter behind each, and its confidence in each (0 to 1)."""

    tokens: list[int] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tokens)

    def head(self, length: int) -> Proposal:
        """The first `length` tokens."""
        return Proposal(self.tokens[:length], self.sources[:length], self.confidences[:length])


class Drafter(Protocol):
    """One drafting method, serving any number of sequences at once."""

    name: Source

    @property
    def native_ns(self) -> int:
        """Nanoseconds spent inside llama.cpp so far; 0 for a drafter without a model."""

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:
        """A sequence starts with `prompt`; its answer may resemble `prediction`."""

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        """One proposal per request, in order; an empty one where there is nothing to say."""

    def observe(self, seq: int, tokens: list[int], emitted: int, accepted: int) -> None:
        """`tokens` has grown by `emitted`, of which the first `accepted` had been proposed."""

    def end(self, seq: int) -> None:
        """The sequence is over; whatever is kept for it can go."""


class CostlyDrafter(Drafter, Protocol):
    """A drafter that takes time, because a model of its own reads the text."""

    def unseen(self, seq: int, tokens: list[int]) -> int:
        """How many of a sequence's `tokens` it would have to decode before it could draft."""
