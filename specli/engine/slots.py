"""Where sequences run: free slots, and what the target's cache of each slot begins with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from specli.engine.sequence import Sequence
from specli.llama.decoder import Decoder, common_prefix

WORTH_COPYING = 4
"""Minimum extra prefix, in tokens, that justifies copying from another slot: a copy clears what
the slot itself has."""

WORTH_WAITING = 16
"""Minimum prefix, in tokens, for which a sequence waits until another has decoded it: waiting
takes a step, and a step decodes hundreds of prompt tokens."""


@dataclass(slots=True)
class Decodes:
    """What the target has decoded for requests: how many batches, how many sequences were live in
    all of them together, and the tokens of the longest sequence."""

    batches: int = 0
    sequences: int = 0
    longest: int = 0


class Slots:
    """The slots of one target. It borrows the decoder."""

    def __init__(
        self,
        target: Decoder,
        count: int,
        cached: Mapping[int, list[int]] | None = None,
        first: int = 0,
    ) -> None:
        """Slots are numbered from `first` on. `cached` is what an earlier engine on the same target
        left in the cache, by slot."""
        left = cached or {}
        self._target = target
        self._free = list(range(first, first + count))
        self._cached = {slot: left.get(slot, []) for slot in self._free}

    @property
    def cached(self) -> dict[int, list[int]]:
        """The tokens that ended sequences left in the target's cache, by slot."""
        return dict(self._cached)

    @property
    def available(self) -> bool:
        return bool(self._free)

    def take(self, prompt: list[int], live: Iterable[Sequence]) -> tuple[int, int]:
        """A slot for `prompt`, and how many of its tokens the slot's cache now holds.

        At least the prompt's last token is decoded anew, because its logits are needed. Of slots
        that hold as much, the first is taken: neighbours are computed at once.
        """
        slot = max(self._free, key=lambda one: (common_prefix(self._cached[one], prompt), -one))
        self._free.remove(slot)
        return slot, self._reuse(slot, prompt, self._all(live))

    def give_back(self, slot: int, cached: list[int]) -> None:
        self._cached[slot] = cached
        self._free.append(slot)

    def shared_soon(self, prompt: list[int], live: Iterable[Sequence]) -> bool:
        """Whether a live sequence is decoding a part of its prompt that this one starts with."""
        if not self._target.can_cut:
            return False
        live = list(live)
        there = max((common_prefix(one, prompt) for one in self._all(live).values()), default=0)
        return any(
            common_prefix(one.tokens, prompt) >= there + WORTH_WAITING
            for one in live
            if not one.drafting
        )

    def _all(self, live: Iterable[Sequence]) -> dict[int, list[int]]:
        """The tokens in the target's cache, by slot."""
        return {**self._cached, **{one.slot: one.tokens[: one.cached] for one in live}}

    def _reuse(self, slot: int, prompt: list[int], every: dict[int, list[int]]) -> int:
        target, most = self._target, len(prompt) - 1
        own = self._cached[slot]
        common = min(common_prefix(own, prompt), most)
        if not target.can_cut:
            common = common if common == len(own) else 0
            target.rollback(slot, common)
            return common
        shares = {other: min(common_prefix(one, prompt), most) for other, one in every.items()}
        source = max(shares, key=shares.__getitem__)
        if shares[source] < common + WORTH_COPYING:
            target.rollback(slot, common)
            return common
        target.rollback(slot, 0)
        target.copy(source, slot, shares[source])
        return shares[source]
