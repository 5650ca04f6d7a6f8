"""The life of a drafter: begin, process, propose, accept, end.

It mirrors llama.cpp's `common_speculative_{begin,process,draft,accept}`. The engine says when a
sequence begins and ends, passes on every batch of the target to drafters that read hidden states,
asks for proposals, and reports after each round which tokens the sequence got, whoever proposed
them. A sequence is known to target, drafters and policy by one number, the slot it runs in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from specli.drafters.rule import Rule
from specli.errors import SpecliError
from specli.events import Source
from specli.llama.decoder import Logits

Features = NDArray[np.float32]
"""Hidden states of one layer, shape (tokens of the batch, hidden size)."""


class Chooser(Protocol):
    """The sequence's own way to choose a token, so that a draft model can draw the same noise."""

    @property
    def plain(self) -> bool:
        """Whether `draft` always takes the most probable token, which a device can find."""

    def guess(self, logits: Logits, position: int) -> int:
        """The token this sequence would take at `position`."""

    def forced(self) -> Sequence[int]:
        """The tokens that the sequence's grammar lets come next, where these are its only ones."""

    def draft(self, logits: Logits, position: int) -> tuple[int, float]:
        """The same token, and its probability in `logits`."""


@dataclass(frozen=True, slots=True)
class DraftingCost:
    """What a proposal costs, in batches of the drafter's own model.

    `none`: too little to count. `steps`: one batch per proposed token; the first one also decodes
    the pending tokens. `block`: one batch of the pending tokens and `block` more, however many
    tokens are proposed.
    """

    batches: Literal["none", "steps", "block"] = "none"
    block: int = 0

    @property
    def is_free(self) -> bool:
        return self.batches == "none"


FREE = DraftingCost()
STEPS = DraftingCost("steps")


@dataclass(slots=True)
class Request:
    """Ask for a proposal that continues `tokens`.

    `tokens` is the whole sequence so far, prompt included; the last one has not been decoded by
    the target yet. Drafters read it and never change it.
    """

    seq: int
    tokens: list[int]
    rule: Rule
    chooser: Chooser


@dataclass(slots=True)
class Proposal:
    """Proposed tokens with the drafter that proposed each and its confidence in each (0 to 1).

    With `error` the drafter has failed on this sequence, which cannot go on.
    """

    tokens: list[int] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    error: SpecliError | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def source(self) -> Source | None:
        """The drafter that proposed the first token."""
        return self.sources[0] if self.sources else None

    def head(self, length: int) -> Proposal:
        """The first `length` tokens."""
        if length >= len(self.tokens):
            return self
        return Proposal(self.tokens[:length], self.sources[:length], self.confidences[:length])


@dataclass(frozen=True, slots=True)
class Decoded:
    """One sequence's share of a batch: `tokens`, the first at `position`, in the rows of the batch
    from `row` on."""

    seq: int
    tokens: Sequence[int]
    position: int
    row: int


@dataclass(frozen=True, slots=True)
class TargetBatch:
    """A batch that the target has decoded: prompt chunks and verifications of all sequences.

    `features` maps a layer to its hidden states, one row for each row of the batch; the arrays are
    views that the target's next decode overwrites.
    """

    parts: Sequence[Decoded]
    features: Mapping[int, Features]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a round brought to one sequence.

    `tokens` is the whole sequence, of which the last `emitted` are new. Of the verified `proposal`
    the target judged the first `judged` tokens and accepted the first `accepted`; it never judged
    tokens after a stop or an end token, so they say nothing about the drafter.
    """

    seq: int
    tokens: list[int]
    emitted: int
    proposal: Proposal
    judged: int
    accepted: int


class Drafter(Protocol):
    """One drafting method, serving any number of sequences at once.

    `features` names the layers of the target whose inputs it must see; `process` is called only
    for drafters that name some.
    """

    name: Source
    cost: DraftingCost
    features: tuple[int, ...]

    @property
    def native_ns(self) -> int:
        """Nanoseconds spent inside llama.cpp so far; 0 for a drafter without a model."""

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:
        """A sequence starts with `prompt`; its answer may resemble `prediction`."""

    def covers(self, seq: int) -> int | None:
        """How many tokens of the prompt the target need not decode for this drafter, because it has
        seen their hidden states; None where it reads none. Asked right after `begin`."""

    def process(self, batch: TargetBatch) -> None:
        """The target has decoded `batch`. Rejected tokens are in it; `accept` names the others."""

    def pending(self, seq: int, tokens: list[int]) -> int:
        """How many of a sequence's `tokens` it has to decode before it can draft."""

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        """One proposal per request, in order; an empty one where there is nothing to propose."""

    def accept(self, results: Sequence[Accepted]) -> None:
        """What the sequences got in the round that is over."""

    def end(self, seq: int) -> None:
        """The sequence is over; what is kept for it may go."""
