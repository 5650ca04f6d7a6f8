"""What drafters have in common that look at tokens alone."""

from __future__ import annotations

from typing import Generic, TypeVar

from specli.drafters.protocol import FREE, Drafter, DraftingCost, TargetBatch

Inner = TypeVar("Inner", bound=Drafter)


class WithoutStates:
    """A drafter that reads no hidden states of the target."""

    features: tuple[int, ...] = ()

    def covers(self, seq: int) -> None:
        """Nothing: it reads no hidden states."""

    def process(self, batch: TargetBatch) -> None:
        """Nothing: the tokens of a sequence are all it needs."""


class Around(WithoutStates, Generic[Inner]):
    """A drafter around another one, under its name and at its cost."""

    def __init__(self, inner: Inner) -> None:
        self.name = inner.name
        self.cost = inner.cost
        self._inner = inner

    @property
    def native_ns(self) -> int:
        return self._inner.native_ns

    def end(self, seq: int) -> None:
        self._inner.end(seq)


class WithoutModel(WithoutStates):
    """A drafter that only looks tokens up: free, with nothing to catch up with."""

    cost: DraftingCost = FREE
    native_ns = 0

    def pending(self, seq: int, tokens: list[int]) -> int:  # noqa: ARG002 - part of the protocol
        return 0
