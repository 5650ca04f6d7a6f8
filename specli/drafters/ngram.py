"""Prompt lookup: what followed the last tokens where the text had them before.

Drafts what llama.cpp's `ngram-simple` drafts, token for token, but looks the index up in an index
where llama.cpp searches the whole text in every round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from specli.drafters.grow import agreeing, build_proposal
from specli.drafters.protocol import Accepted, Proposal, Request
from specli.drafters.without_model import WithoutModel
from specli.events import Source
from specli.speculative import NGRAM_DRAFT, NGRAM_SIZE

LONGEST_MATCH = 32
"""A longer match than this raises the confidence no further."""


@dataclass(slots=True)
class _Index:
    """Where each key started last. The newest keys are missing, see `NgramDrafter._index`."""

    last: dict[tuple[int, ...], int] = field(default_factory=dict)
    next: int = 1
    """The first start that is not in the index; llama.cpp never matches at 0."""


class NgramDrafter(WithoutModel):
    """Looks up the last `size_n` tokens and drafts up to `size_m` that followed them."""

    name: Source = "ngram"

    def __init__(self, size_n: int = NGRAM_SIZE, size_m: int = NGRAM_DRAFT) -> None:
        self._size_n = size_n
        self._size_m = size_m
        self._indexes: dict[int, _Index] = {}

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:  # noqa: ARG002
        self._indexes[seq] = _Index()
        self._index(seq, prompt)

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        """What followed the latest match; nothing when fewer than `size_n` tokens did."""
        return [
            build_proposal(self.name, self._candidates(request.seq, request.tokens), request.rule)
            for request in requests
        ]

    def accept(self, results: Sequence[Accepted]) -> None:
        for result in results:
            self._index(result.seq, result.tokens)

    def end(self, seq: int) -> None:
        self._indexes.pop(seq, None)

    def _index(self, seq: int, tokens: Sequence[int]) -> None:
        """Index the keys that end two tokens before the last one or earlier, as llama.cpp does."""
        size, index = self._size_n, self._indexes[seq]
        end = max(index.next, len(tokens) - size - 1)
        for start in range(index.next, end):
            index.last[tuple(tokens[start : start + size])] = start
        index.next = end

    def _candidates(self, seq: int, tokens: list[int]) -> Iterator[tuple[int, float]]:
        size, known = self._size_n, len(tokens) - 1
        if known <= size + self._size_m + 1:
            return
        start = self._indexes[seq].last.get(tuple(tokens[-size:]))
        if start is None:
            return
        follows = start + size
        count = min(self._size_m, known - follows)
        if count < size:
            return
        matched = size + agreeing(tokens, start, tokens[-LONGEST_MATCH:-size])
        for index, token in enumerate(tokens[follows : follows + count]):
            yield token, confidence(matched + index)


def confidence(matched: int) -> float:
    """How often the next token is right after `matched` tokens that were, drafted ones included."""
    return 1 - 0.9 / (1 + 0.45 * min(matched, LONGEST_MATCH))
