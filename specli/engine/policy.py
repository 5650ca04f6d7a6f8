"""How long to draft: what decides it, and the fixed lengths that llama.cpp's users know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from specli.drafters.protocol import Proposal, StopRule
from specli.events import MODEL, Source


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one sequence's round: the proposal as verified, and how much of it held."""

    seq: int
    proposal: Proposal
    accepted: int


class Policy(Protocol):
    """Gives every round its stop rule, and learns from what the round brought.

    Sequences that run side by side share a batch: what one of them drafts is paid for by all.
    """

    def rule(self, seq: int, limit: int, width: int = 1) -> StopRule:
        """The rule for a round of `seq` that may propose at most `limit` tokens, in a step that
        verifies `width` sequences."""

    def review(self, proposals: Sequence[tuple[int, Proposal]]) -> list[Proposal]:
        """The proposals of a step, each with its sequence, as they will be verified: the policy
        may shorten or drop them."""

    def observe(
        self,
        outcomes: Sequence[Outcome],
        draft_ms: float,
        verify_ms: float,
        *,
        with_prompts: bool = False,
    ) -> None:
        """What came of a step's rounds. `with_prompts`: the batch held parts of prompts too."""

    def end(self, seq: int) -> None:
        """The sequence is over."""


@dataclass(slots=True)
class FixedRule:
    """A draft model drafts up to `draft_max` tokens and stops at one less probable than `p_min`;
    a drafter that costs nothing goes as far as it can, its own settings permitting."""

    limit: int
    draft_max: int
    p_min: float = 0.0

    @property
    def judges(self) -> bool:
        return self.p_min > 0

    def of(self, source: Source) -> StopRule:
        if source == MODEL:
            return FixedRule(min(self.limit, self.draft_max), self.draft_max, self.p_min)
        return FixedRule(self.limit, self.draft_max)

    def keeps(self, confidences: Sequence[float]) -> bool:
        return confidences[-1] >= self.p_min

    def wants_more(self, confidences: Sequence[float]) -> bool:
        return len(confidences) < self.limit

    def worth(self, proposal: Proposal) -> float:
        """Any proposal at all comes before asking a drafter that costs time."""
        return 1.0 if proposal else 0.0

    def hope(self, source: Source, unseen: int) -> float:  # noqa: ARG002
        return 0.5 if self.draft_max > 0 else 0.0


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """llama.cpp's `--spec-draft-n-max`, `-n-min` and `-p-min`, with its meaning of each."""

    draft_max: int = 3
    draft_min: int = 0
    p_min: float = 0.0

    def rule(self, seq: int, limit: int, width: int = 1) -> StopRule:  # noqa: ARG002
        return FixedRule(limit, self.draft_max, self.p_min)

    def review(self, proposals: Sequence[tuple[int, Proposal]]) -> list[Proposal]:
        return [Proposal() if self._short(one) else one for _seq, one in proposals]

    def _short(self, proposal: Proposal) -> bool:
        return len(proposal) < self.draft_min and proposal.sources[:1] == [MODEL]

    def observe(
        self,
        outcomes: Sequence[Outcome],
        draft_ms: float,
        verify_ms: float,
        *,
        with_prompts: bool = False,
    ) -> None:
        pass

    def end(self, seq: int) -> None:
        pass
