"""How long to draft: what decides it, and the fixed lengths that llama.cpp's users know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from specli.drafters.protocol import Proposal, StopRule
from specli.events import MODEL, Source


class Policy(Protocol):
    """Gives every round its stop rule, and learns from what the round brought."""

    def rule(self, seq: int, limit: int) -> StopRule:
        """The rule for a round of `seq` that may propose at most `limit` tokens."""

    def review(self, seq: int, proposal: Proposal) -> Proposal:
        """The proposal as it will be verified: the policy may shorten or drop it."""

    def observe(
        self, seq: int, proposal: Proposal, accepted: int, draft_ms: float, verify_ms: float
    ) -> None:
        """What came of a round."""

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

    def hope(self, source: Source) -> float:  # noqa: ARG002
        return 0.5 if self.draft_max > 0 else 0.0


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """llama.cpp's `--spec-draft-n-max`, `-n-min` and `-p-min`, with its meaning of each."""

    draft_max: int = 3
    draft_min: int = 0
    p_min: float = 0.0

    def rule(self, seq: int, limit: int) -> StopRule:  # noqa: ARG002
        return FixedRule(limit, self.draft_max, self.p_min)

    def review(self, seq: int, proposal: Proposal) -> Proposal:  # noqa: ARG002
        short = len(proposal) < self.draft_min and proposal.sources[:1] == [MODEL]
        return Proposal() if short else proposal

    def observe(
        self, seq: int, proposal: Proposal, accepted: int, draft_ms: float, verify_ms: float
    ) -> None:
        pass

    def end(self, seq: int) -> None:
        pass
