"""Drafts from one table of hashed n-grams, shared by all texts, as llama.cpp's `ngram-mod`.

The table holds one token for each hash of the `size` tokens before it; a later n-gram of the same
hash takes the place. It is emptied when it fills up, and after drafts that were mostly wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from specli.drafters.grow import grown
from specli.drafters.ngram import rising
from specli.drafters.protocol import Proposal, Request
from specli.events import Source
from specli.llama.decoder import common_prefix

ENTRIES = 1 << 22
FACTOR = 6364136223846793005 % ENTRIES
"""llama.cpp computes with 64 bits; of the result it uses as many as the table has."""

FULL = 0.25
"""Share of used entries from which a new text finds an empty table."""

CHUNK = 32
"""Tokens of an answer that are learned at once."""

LOW, MOST_LOW = 0.25, 5
"""After so many drafts in a row with less than this share right, the table is emptied."""


@dataclass(frozen=True, slots=True)
class ModSettings:
    """Tokens that are hashed, and least and most tokens to draft; llama.cpp's own defaults."""

    kind: ClassVar[str] = "ngram-mod"
    size: int = 24
    draft_min: int = 48
    draft_max: int = 64


@dataclass(slots=True)
class _Text:
    learned: int = 0
    """N-grams that start before this are in the table."""
    low: int = 0
    drafted: list[int] | None = None


class NgramModDrafter:
    """Follows the table from token to token; nothing when that ends before `draft_min`."""

    name: Source = ModSettings.kind
    native_ns = 0

    def __init__(self, settings: ModSettings | None = None) -> None:
        self._settings = settings or ModSettings()
        # One more than the token, so that an empty table costs no memory until it is used.
        self._table = np.zeros(ENTRIES, dtype=np.int32)
        self._used = 0
        self._first = pow(FACTOR, self._settings.size, ENTRIES)
        self._texts: dict[int, _Text] = {}

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:  # noqa: ARG002
        text = self._texts[seq] = _Text()
        end = len(prompt) - self._settings.size
        if end < 0:
            return
        self._learn(prompt, 0, end)
        text.learned = end
        if self._used > FULL * ENTRIES:
            self._clear()

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        return [self._proposed(self._texts[request.seq], request) for request in requests]

    def observe(self, seq: int, tokens: list[int], emitted: int, accepted: int) -> None:  # noqa: ARG002
        """Count drafts that were mostly wrong.

        A text that goes on with nothing but the proposal was drafted by another: what would have
        come of this one is not known.
        """
        text = self._texts[seq]
        if text.drafted is None:
            return
        right, size = common_prefix(text.drafted, tokens[-emitted:]), len(text.drafted)
        text.drafted = None
        if right == emitted:
            return
        text.low = text.low + 1 if right < LOW * size else 0
        if text.low >= MOST_LOW:
            self._clear()
            text.low = text.learned = 0

    def end(self, seq: int) -> None:
        self._texts.pop(seq, None)

    def _proposed(self, text: _Text, request: Request) -> Proposal:
        size = self._settings.size
        tokens, known = request.tokens, len(request.tokens) - 1
        text.drafted = None
        if known < size:
            return Proposal()
        if text.learned + CHUNK < known:
            self._learn(tokens, text.learned, known - size)
            text.learned = known - size
        found = list(self._followed(tokens[-size:]))
        if len(found) < self._settings.draft_min:
            return Proposal()
        proposal = grown(self.name, rising(found, size), request.rule)
        if proposal:
            text.drafted = proposal.tokens
        return proposal

    def _followed(self, window: list[int]) -> Iterator[int]:
        """Tokens that the table gives after a window, each from those before it."""
        place = self._hash(window)
        for index in range(self._settings.draft_max):
            token = int(self._table[place]) - 1
            if token < 0:
                return
            yield token
            window.append(token)
            place = (place * FACTOR + token - window[index] * self._first) % ENTRIES

    def _learn(self, tokens: Sequence[int], start: int, end: int) -> None:
        """Enter the n-grams that start from `start` up to `end`, which is left out."""
        if start >= end:
            return
        size = self._settings.size
        place = self._hash(tokens[start : start + size])
        for begins in range(start, end):
            follows = tokens[begins + size]
            self._used += not self._table[place]
            self._table[place] = follows + 1
            place = (place * FACTOR + follows - tokens[begins] * self._first) % ENTRIES

    def _hash(self, tokens: Sequence[int]) -> int:
        place = 0
        for token in tokens:
            place = (place * FACTOR + token) % ENTRIES
        return place

    def _clear(self) -> None:
        self._table[:] = 0
        self._used = 0
