"""What all drafters that only look tokens up have in common."""

from __future__ import annotations

from specli.drafters.protocol import FREE, DraftingCost, TargetBatch


class WithoutModel:
    """A drafter without a model: free, without hidden states, with nothing to catch up with."""

    cost: DraftingCost = FREE
    features: tuple[int, ...] = ()
    native_ns = 0

    def covers(self, seq: int) -> None:
        """Nothing: it reads no hidden states."""

    def process(self, batch: TargetBatch) -> None:
        """Nothing: the tokens of a sequence are all it needs."""

    def pending(self, seq: int, tokens: list[int]) -> int:  # noqa: ARG002 - part of the protocol
        return 0
