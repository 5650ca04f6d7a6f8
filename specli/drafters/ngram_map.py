"""Lookup of long n-grams that learns how far each one is to be trusted.

Drafts what llama.cpp's `ngram-map-k` and `ngram-map-k4v` draft. Where llama.cpp keeps places in a
table by hash, in which some n-grams hide others, here each has its own. A text starts with
nothing known; llama.cpp's server goes on with what the slot's last text left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from specli.drafters.grow import grown
from specli.drafters.ngram import rising
from specli.drafters.protocol import Proposal, Request
from specli.events import Source
from specli.llama.decoder import common_prefix

MOST_VALUES = 4
"""Continuations that `ngram-map-k4v` keeps of one n-gram."""

MOST_TIMES = 16380

Kind = Literal["ngram-map-k", "ngram-map-k4v"]


@dataclass(frozen=True, slots=True)
class MapSettings:
    """Tokens to look up, most tokens to draft, and how often an n-gram must have come up before
    `ngram-map-k4v` drafts after it; `ngram-map-k` drafts at once. llama.cpp's own defaults."""

    kind: Kind
    size: int = 12
    draft_max: int = 48
    min_hits: int = 1


@dataclass(slots=True)
class _Value:
    """A continuation: where it starts, how often it was counted, how much of it was right."""

    start: int
    times: int
    accepted: int


@dataclass(slots=True)
class _Key:
    hits: int = 0
    counted: int = 0
    """Continuations have been counted up to here."""
    values: list[_Value] = field(default_factory=list)


@dataclass(slots=True)
class _Text:
    """What is known of one text; `drafted` is the last proposal and the continuation behind it."""

    prompt: int
    places: dict[tuple[int, ...], int] = field(default_factory=dict)
    indexed: int = 0
    keys: dict[tuple[int, ...], _Key] = field(default_factory=dict)
    drafted: tuple[_Value, list[int], int] | None = None


class NgramMapDrafter:
    """Drafts what followed the last `size` tokens, as far as it was right the last time."""

    native_ns = 0

    def __init__(self, settings: MapSettings) -> None:
        self.name: Source = settings.kind
        self._settings = settings
        self._texts: dict[int, _Text] = {}

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:  # noqa: ARG002
        self._texts[seq] = _Text(len(prompt))

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        return [self._proposed(self._texts[request.seq], request) for request in requests]

    def observe(self, seq: int, tokens: list[int], emitted: int, accepted: int) -> None:  # noqa: ARG002
        """Learn how much of the last proposal was right.

        A text that goes on with nothing but the proposal was drafted by another: what would have
        come of this one is not known.
        """
        text = self._texts[seq]
        if text.drafted is None:
            return
        value, proposed, offered = text.drafted
        text.drafted = None
        right = common_prefix(proposed, tokens[-emitted:])
        cut_short = right == len(proposed) < offered
        if right < emitted and not cut_short:
            value.accepted = right

    def end(self, seq: int) -> None:
        self._texts.pop(seq, None)

    def _proposed(self, text: _Text, request: Request) -> Proposal:
        tokens, size = request.tokens, self._settings.size
        text.drafted = None
        place = self._found(text, tokens)
        if place is None:
            return Proposal()
        key = text.keys.setdefault(tuple(tokens[-size:]), _Key())
        key.hits = min(key.hits + 1, MOST_TIMES)
        best = self._best(key, tokens, place)
        if best is None:
            return Proposal()
        value, share = best
        # Drafted is what follows the place that was found, as in llama.cpp, even where the most
        # frequent continuation was counted elsewhere.
        start = place + size
        follows = tokens[start : start + min(self._settings.draft_max, value.accepted)]
        proposal = grown(self.name, rising(follows, size, share), request.rule)
        if proposal:
            text.drafted = (value, proposal.tokens, len(follows))
        return proposal

    def _found(self, text: _Text, tokens: list[int]) -> int | None:
        """Where the last n-gram stood before, early enough for a whole draft to follow it.

        In llama.cpp's order: a place once known stays; else the latest in the prompt, else the
        latest in the answer.
        """
        size, most = self._settings.size, self._settings.draft_max
        known = len(tokens) - 1
        if known < 2 * size + most:
            return None
        key = tuple(tokens[-size:])
        latest = known - size - most - 1
        place = text.places.get(key)
        in_prompt = range(text.prompt - size - most - 1, text.indexed, -1)
        in_answer = range(latest, max(text.prompt, text.indexed), -1)
        for starts in (in_prompt, in_answer):
            for start in starts:
                text.places.setdefault(tuple(tokens[start : start + size]), start)
        text.indexed = max(text.indexed, latest)
        if place is None:
            return text.places.get(key)
        return place if place < latest else None

    def _best(self, key: _Key, tokens: list[int], place: int) -> tuple[_Value, float] | None:
        """The continuation that drafts, and its share of all; None where none stands out."""
        most = self._settings.draft_max
        if self._settings.kind == "ngram-map-k":
            if not key.values:
                key.values.append(_Value(place, 1, most))
            return key.values[0], 1.0
        if key.hits < self._settings.min_hits:
            return None
        self._count(key, tokens, place)
        best = max(key.values, key=lambda value: value.times)
        others = sum(value.times for value in key.values) - best.times
        if others and best.times < 2 * others:
            return None
        return best, best.times / (best.times + others)

    def _count(self, key: _Key, tokens: list[int], place: int) -> None:
        """Count what followed the n-gram up to `place`; the place counted last counts again."""
        size, most = self._settings.size, self._settings.draft_max
        wanted = tokens[-size:]
        for start in range(key.counted, place + 1):
            if tokens[start : start + size] != wanted:
                continue
            follows = tokens[start + size : start + size + most]
            for value in key.values:
                if tokens[value.start : value.start + most] == follows:
                    break
            else:
                if len(key.values) == MOST_VALUES:
                    continue
                value = _Value(start + size, 0, most)
                key.values.append(value)
            value.times = min(value.times + 1, MOST_TIMES)
        key.counted = place
