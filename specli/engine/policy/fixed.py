"""Draft lengths set by hand, as llama.cpp's users know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from specli.drafters.protocol import Proposal
from specli.drafters.rule import Rule
from specli.engine.policy.protocol import Choice, Outcome, StepTimes, Turn


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """llama.cpp's `--spec-draft-n-max`, `-n-min` and `-p-min`, with its meaning of each.

    They bound drafters with a model; one that only looks tokens up goes as far as its own settings
    let it, and is preferred where it proposes anything.
    """

    draft_max: int = 3
    draft_min: int = 0
    p_min: float = 0.0

    def rests(self, turns: Sequence[Turn]) -> bool:  # noqa: ARG002 - part of the protocol
        return False

    def rule(self, turn: Turn) -> Rule:
        return Rule(turn.limit)

    def choose(self, turns: Sequence[Turn]) -> list[Choice | None]:
        return [self._choice(turn) for turn in turns]

    def _choice(self, turn: Turn) -> Choice | None:
        limit = min(turn.limit, self.draft_max)
        if turn.proposals or not turn.costly or limit < 1:
            return None
        return Choice(turn.costly[0].name, Rule(limit, self.p_min, block=self.draft_max))

    def verify(self, turns: Sequence[Turn]) -> list[Proposal]:
        return [self._kept(turn) for turn in turns]

    def _kept(self, turn: Turn) -> Proposal:
        if not turn.proposals:
            return Proposal()
        proposal = turn.proposals[0]
        if turn.asked is not None and len(proposal) < self.draft_min:
            return Proposal()
        return proposal

    def learn(self, outcomes: Sequence[Outcome], times: StepTimes) -> None:
        """Nothing: the lengths are fixed."""

    def end(self, seq: int) -> None:
        """Nothing is kept of a sequence."""
