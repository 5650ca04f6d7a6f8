"""What the engine asks a policy, in plain data: who drafts, how far, and what is verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from specli.drafters.protocol import DraftingCost, Proposal
from specli.drafters.rule import Rule
from specli.errors import SpecliError
from specli.events import Source


@dataclass(frozen=True, slots=True)
class Costly:
    """A drafter that takes time, as one sequence sees it in one round."""

    name: Source
    cost: DraftingCost
    pending: int
    """Tokens that it has to decode before it can draft."""


@dataclass(slots=True)
class Turn:
    """One sequence in one step: what may be proposed for it, and what has been.

    `limit` is the most tokens that may be verified for it; `width` is the number of sequences that
    the step verifies together, `least` the rows that each takes at least where there are several,
    and `length` the length of the text so far.
    """

    seq: int
    limit: int
    width: int = 1
    costly: Sequence[Costly] = ()
    proposals: list[Proposal] = field(default_factory=list)
    """What drafters have proposed, at most one proposal of each, none of them empty."""
    asked: Costly | None = None
    """The costly drafter that was asked, whether or not it proposed anything."""
    error: SpecliError | None = None
    """Why a drafter failed on the sequence, which ends it."""
    length: int = 0
    least: int = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """Ask this costly drafter, under this rule."""

    name: Source
    rule: Rule


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a turn: the proposal as verified, how much of it was accepted, and the tokens
    that the text got."""

    turn: Turn
    verified: Proposal
    accepted: int
    emitted: Sequence[int]


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Milliseconds of one step: each costly drafter's by name, then the target's."""

    drafting: Mapping[Source, float]
    verify: float
    rollback: float = 0.0
    with_prompts: bool = False
    """Whether the target's batch also held parts of prompts."""
    deciding: float = 0.0
    """What finding free proposals, deciding, keeping hidden states and learning took."""

    @property
    def draft(self) -> float:
        """All that comes before the target's batch."""
        return sum(self.drafting.values()) + self.deciding


class Policy(Protocol):
    """Decides every round. Only `learn` and `end` change what it knows."""

    def rests(self, turns: Sequence[Turn]) -> bool:
        """Whether nothing that is proposed for these turns would be verified, so that no drafter
        need be asked."""

    def rule(self, turn: Turn) -> Rule:
        """How far a drafter that costs nothing may go."""

    def choose(self, turns: Sequence[Turn]) -> list[Choice | None]:
        """Which costly drafter to ask for each turn, if any; cheap proposals are in already."""

    def verify(self, turns: Sequence[Turn]) -> list[Proposal]:
        """For each turn the proposal to verify, cut to what pays; an empty one for none."""

    def learn(self, outcomes: Sequence[Outcome], times: StepTimes) -> None:
        """What came of a step."""

    def end(self, seq: int) -> None:
        """The sequence is over."""
