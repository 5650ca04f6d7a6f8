"""Drafting with the beginning and the end of a text: a wrapper around a draft model.

What a draft was trained for may be shorter than the target's context. Attention hangs on the first
tokens of a text (Xiao et al. 2023, arXiv 2309.17453), so that these stay, with as many of the last
ones as fit; what lies between is dropped from the cache, and the later tokens move up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from specli.drafters.draft_model import DraftModel
from specli.drafters.protocol import Accepted, Chooser, Proposal, Request
from specli.drafters.without_model import Around
from specli.llama.decoder import Logits

SINKS = 4
"""First tokens that stay."""

DROPPED = 0.25
"""Share of the context that is dropped at once: fewer tokens would move the others more often."""


class WindowedDrafter(Around[DraftModel]):
    """Gives `inner` sequences that fit its context of `n_ctx` tokens."""

    def __init__(self, inner: DraftModel, n_ctx: int) -> None:
        super().__init__(inner)
        self._n_ctx = n_ctx
        self._dropped: dict[int, int] = {}
        """Tokens of each sequence that have been dropped after its first ones."""

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:
        self._dropped[seq] = self._excess(len(prompt))
        self._inner.begin(seq, self._seen(seq, prompt), prediction)

    def pending(self, seq: int, tokens: list[int]) -> int:
        return self._inner.pending(seq, self._seen(seq, tokens))

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        return self._inner.propose([self._asked(request) for request in requests])

    def accept(self, results: Sequence[Accepted]) -> None:
        for one in results:
            self._fit(one.seq, len(one.tokens))
        self._inner.accept(
            [replace(one, tokens=self._seen(one.seq, one.tokens)) for one in results]
        )

    def _asked(self, request: Request) -> Request:
        seq = request.seq
        # A proposal needs room behind what it continues.
        room = min(request.rule.limit, self._n_ctx // 4)
        dropped = self._fit(seq, len(request.tokens) + room)
        chooser: Chooser = _Later(request.chooser, dropped) if dropped else request.chooser
        return Request(seq, self._seen(seq, request.tokens), request.rule, chooser)

    def _fit(self, seq: int, length: int) -> int:
        """Drop what a text of this length has too many; how many that are in all."""
        before = self._dropped[seq]
        dropped = self._dropped[seq] = self._excess(length, before)
        if dropped > before:
            self._inner.drop(seq, SINKS, dropped - before)
        return dropped

    def _excess(self, length: int, dropped: int = 0) -> int:
        """How many tokens to drop of a text of `length`, where `dropped` are already."""
        if length - dropped <= self._n_ctx:
            return dropped
        least = length - dropped - self._n_ctx
        return dropped + max(least, int(DROPPED * self._n_ctx))

    def _seen(self, seq: int, tokens: Sequence[int]) -> list[int]:
        dropped = self._dropped[seq]
        if dropped:
            return [*tokens[:SINKS], *tokens[SINKS + dropped :]]
        return tokens if isinstance(tokens, list) else list(tokens)


class _Later:
    """The sequence's own chooser, for positions that are counted without what was dropped."""

    def __init__(self, chooser: Chooser, dropped: int) -> None:
        self._chooser = chooser
        self._dropped = dropped

    @property
    def plain(self) -> bool:
        return self._chooser.plain

    def forced(self) -> Sequence[int]:
        return self._chooser.forced()

    def guess(self, logits: Logits, position: int) -> int:
        return self._chooser.guess(logits, position + self._dropped)

    def draft(self, logits: Logits, position: int) -> tuple[int, float]:
        return self._chooser.draft(logits, position + self._dropped)
