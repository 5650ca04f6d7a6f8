"""Drafts from counts of what followed the last one to four tokens, as llama.cpp's `ngram-cache`.

The counts of earlier runs can be kept in a lookup cache, in the format of llama.cpp's
`--lookup-cache-dynamic`: records without any header, each an n-gram of four 32-bit tokens (-1
where it is shorter), the number of tokens that followed it, and for each of them token and count.
"""

from __future__ import annotations

import errno
import sys
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from specli.drafters.grow import build_proposal
from specli.drafters.protocol import Accepted, Proposal, Request
from specli.drafters.without_model import WithoutModel
from specli.errors import UsageError
from specli.events import Source
from specli.files import replacing

LONGEST = 4
"""Tokens of the longest n-gram; fixed by the file format."""

DEFAULT_DRAFT = 8
"""llama.cpp's fixed length for drafts of this kind."""

NO_TOKEN = -1

MOST_NGRAMS = 500_000
"""A lookup cache that holds so many n-grams learns no new ones, at some 350 bytes each."""

MOST_TIMES = 2**31 - 1
"""The highest count that the file format holds."""

Counts = dict[tuple[int, ...], dict[int, int]]
"""What followed each n-gram, and how often."""

Thresholds = tuple[tuple[int, int], ...]
"""For n-grams of 1, 2, 3 and 4 tokens: least sample, and least per cent for the best token."""

IN_CONTEXT: Thresholds = ((2, 66), (2, 50), (1, 50), (1, 50))
IN_CACHE: Thresholds = ((4, 75), (3, 66), (2, 66), (2, 66))
"""llama.cpp's own limits; what other texts say must be more certain than what this one says."""


DOUBT = (1.4, 0.8, 0.65, 0.12)
"""Counts held against n-grams of 1 to 4 tokens for what never followed them yet."""


class LookupDrafter(WithoutModel):
    """Drafts from the sequence's own counts, then from those of a lookup cache.

    `cache` is what earlier runs saved; it learns from each sequence that ends. A draft has up to
    `draft_max` tokens.
    """

    name: Source = "lookup"

    def __init__(self, cache: Counts | None = None, draft_max: int = DEFAULT_DRAFT) -> None:
        self.cache: Counts = {} if cache is None else cache
        self._draft_max = draft_max
        self._own: dict[int, Counts] = {}
        self._counted: dict[int, int] = {}
        """How many tokens of each sequence have been counted."""

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:  # noqa: ARG002
        self._own[seq] = {}
        self._counted[seq] = 0
        self._count(seq, prompt)

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        """The best counted token, again and again, until the counts say too little."""
        return [
            build_proposal(self.name, self._candidates(request), request.rule)
            for request in requests
        ]

    def accept(self, results: Sequence[Accepted]) -> None:
        for result in results:
            self._count(result.seq, result.tokens)

    def end(self, seq: int) -> None:
        """Add the sequence's counts to the cache."""
        merge(self.cache, self._own.pop(seq, {}))
        self._counted.pop(seq, None)

    def _count(self, seq: int, tokens: Sequence[int]) -> None:
        own = self._own[seq]
        for index in range(self._counted[seq], len(tokens)):
            token = tokens[index]
            for start in range(max(0, index - LONGEST), index):
                followers = own.setdefault(tuple(tokens[start:index]), {})
                followers[token] = followers.get(token, 0) + 1
        self._counted[seq] = len(tokens)

    def _candidates(self, request: Request) -> Iterator[tuple[int, float]]:
        own, context = self._own[request.seq], tuple(request.tokens[-LONGEST:])
        for _ in range(self._draft_max):
            found = _best(own, context, IN_CONTEXT) or _best(self.cache, context, IN_CACHE)
            if found is None:
                return
            yield found
            context = (*context[1 - LONGEST :], found[0])


def _best(
    counts: Counts, context: tuple[int, ...], thresholds: Thresholds
) -> tuple[int, float] | None:
    """What most often followed the longest n-gram whose counts say enough."""
    for size in range(min(LONGEST, len(context)), 0, -1):
        followers = counts.get(context[-size:])
        found = _most(followers, size, thresholds) if followers else None
        if found is not None:
            return found
    return None


def _most(followers: dict[int, int], size: int, thresholds: Thresholds) -> tuple[int, float] | None:
    """The token that followed most often, where it followed often enough."""
    token = max(followers, key=followers.__getitem__)
    count, total = followers[token], sum(followers.values())
    least, percent = thresholds[size - 1]
    if total < least or 100 * count < percent * total:
        return None
    return token, confidence(size, count, total)


def confidence(size: int, count: int, total: int) -> float:
    """How often a token is right that followed `count` of `total` n-grams of `size` tokens."""
    return count / (2 * total - count + DOUBT[size - 1])


def merge(into: Counts, new: Counts) -> None:
    """Add the counts of `new`, up to `MOST_TIMES`; n-grams beyond `MOST_NGRAMS` are left out."""
    for ngram, followers in new.items():
        known = into.get(ngram)
        if known is not None:
            for token, count in followers.items():
                known[token] = min(known.get(token, 0) + count, MOST_TIMES)
        elif len(into) < MOST_NGRAMS:
            into[ngram] = dict(followers)


def load(path: Path, vocab_size: int) -> Counts:
    """Read a lookup cache; one that does not exist yet is empty.

    Raises UsageError where the file cannot be read or its directory does not exist, where it is
    not a lookup cache, or holds tokens that a model of `vocab_size` tokens does not have.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is no regular file")
        data = path.read_bytes()
    except FileNotFoundError as error:
        if path.parent.is_dir():
            return {}
        # Said now: the save comes after everything has been generated.
        raise UsageError(
            f"the lookup cache {path} cannot be made: there is no directory {path.parent}",
            hint=f"make it with: mkdir -p {path.parent}",
        ) from error
    except OSError as error:
        raise UsageError(
            f"the lookup cache {path} cannot be read: {error.strerror}",
            hint="name a file that can be read and written, or one that does not exist yet",
        ) from error
    try:
        counts = _parsed(data)
    except ValueError as error:
        raise UsageError(
            f"{path} is not a lookup cache of llama.cpp: {error}",
            hint="delete the file, or name another one",
        ) from error
    highest = max((max(*ngram, *followers) for ngram, followers in counts.items()), default=0)
    if highest >= vocab_size:
        raise UsageError(
            f"the lookup cache {path} was made with another model: it holds the token {highest}, "
            f"and this model has {vocab_size} tokens",
            hint="keep one lookup cache per model family",
        )
    return counts


def save(path: Path, counts: Counts) -> None:
    """Write a lookup cache so that readers see the old file or the new one, nothing between.

    Raises UsageError where the file cannot be written.
    """
    numbers = _numbers()
    for ngram, followers in counts.items():
        numbers.extend(ngram)
        numbers.extend([NO_TOKEN] * (LONGEST - len(ngram)))
        numbers.append(len(followers))
        for pair in followers.items():
            numbers.extend(pair)
    if sys.byteorder == "big":
        numbers.byteswap()
    try:
        with replacing(path) as partial, partial.open("wb") as file:
            numbers.tofile(file)
    except OSError as error:
        raise UsageError(
            f"the lookup cache {path} cannot be written: {error.strerror}",
            hint="give `lookup_cache` a file in a directory that you can write to",
        ) from error


def _numbers() -> array[int]:
    return array("i")


def _parsed(data: bytes) -> Counts:
    """Raises ValueError that says what is wrong and where."""
    numbers = _numbers()
    if len(data) % numbers.itemsize:
        raise ValueError(f"its length of {len(data)} bytes is no multiple of {numbers.itemsize}")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    counts: Counts = {}
    index = 0
    while index < len(numbers):
        head = index + LONGEST
        followers = numbers[head] if head < len(numbers) else 0
        end = head + 1 + 2 * followers
        if followers < 1 or end > len(numbers):
            raise ValueError(
                f"the record at byte {index * numbers.itemsize} is broken or cut short"
            )
        ngram = tuple(token for token in numbers[index:head] if token != NO_TOKEN)
        pairs = numbers[head + 1 : end]
        tokens, times = pairs[::2], pairs[1::2]
        padded = (*ngram, *[NO_TOKEN] * (LONGEST - len(ngram)))
        if not ngram or padded != tuple(numbers[index:head]) or min(*ngram, *tokens) < 0:
            raise ValueError(f"the record at byte {index * numbers.itemsize} has invalid tokens")
        if min(times) < 1:
            raise ValueError(f"the record at byte {index * numbers.itemsize} has an invalid count")
        counts[ngram] = dict(zip(tokens, times, strict=True))
        index = end
    return counts
