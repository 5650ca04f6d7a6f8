"""What drafters have in common that look at tokens alone, and those that only look them up."""

from __future__ import annotations

from specli.drafters.protocol import FREE, DraftingCost, TargetBatch


class WithoutStates:
    """A drafter that reads no hidden states of the target."""

    features: tuple[int, ...] = ()

    def covers(self, seq: int) -> None:
        """Nothing: it reads no hidden states."""

    def process(self, batch: TargetBatch) -> None:
        """Nothing: the tokens of a sequence are all it needs."""


class WithoutModel(WithoutStates):
    """A drafter without a model: free, with nothing to catch up with."""

    cost: DraftingCost = FREE
    native_ns = 0

    def pending(self, seq: int, tokens: list[int]) -> int:  # noqa: ARG002 - part of the protocol
        return 0
