"""Drafts what usually follows the longest context that the text has shown before.

Looks at the sequence's own text and at what earlier sequences of this process have answered.
The index is that of an LZ77 compressor: the last tokens lead to the latest position where the text
had them, and from each position a link leads to the one before. A few links find the positions
whose context is longest; they vote on each next token, and those that were outvoted leave. A tree
of counts would know every occurrence, but costs several times as much per token in Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from specli.drafters.grow import LEAST_CHANCE, LONGEST_DRAFT, agreeing, build_proposal
from specli.drafters.protocol import Accepted, Proposal, Request
from specli.drafters.without_model import WithoutModel
from specli.events import Source

CONTEXTS = (4, 2, 1)
"""Lengths of the contexts that are indexed, tried from the longest down."""

MOST_POSITIONS = 8
"""Most positions of one text that vote, the latest ones."""

LONGEST_MATCH = 16
"""Context tokens that are compared at each position."""

DOUBT = 1.4
"""Votes held back for tokens never seen there, once for each token that got some."""

MOST_INDEXED = 65536
"""Most tokens of one text that are indexed, at about 200 bytes each."""

SHARED_TOKENS = 32768
"""Most answer tokens remembered for other sequences, at about 200 bytes each."""

SEPARATOR = -1
"""Ends each remembered answer, and a draft that reaches it."""

Match = tuple[list[int], int]
"""What followed a context, and how many tokens before it were like the present ones."""


class _Index:
    """Where each context of a text ended. Positions are counts of tokens, so 0 means none."""

    def __init__(self, most: int = MOST_INDEXED) -> None:
        self._most = most
        self._begin(0)

    def _begin(self, start: int) -> None:
        """Index what comes after the first `start` tokens."""
        self._start = start
        self._latest: list[dict[int, int]] = [{} for _ in CONTEXTS]
        self._earlier: list[list[int]] = [[] for _ in CONTEXTS]

    def extend(self, tokens: Sequence[int]) -> None:
        """Index what has been appended to `tokens` since the last call.

        Of a text with more than `most` tokens the last half of so many is indexed anew.
        """
        if len(tokens) - self._start > self._most:
            self._begin(len(tokens) - self._most // 2)
        start, end = self._start, len(tokens) + 1
        for size, latest, earlier in zip(CONTEXTS, self._latest, self._earlier, strict=True):
            for position in range(start + len(earlier) + 1, end):
                # Hashes keep no tokens alive; `find` compares the tokens, so they may collide.
                key = hash(tuple(tokens[max(0, position - size) : position]))
                earlier.append(latest.get(key, 0))
                latest[key] = position

    def find(
        self, tokens: list[int], context: list[int], longer_than: int = 0
    ) -> list[tuple[int, int]]:
        """The latest positions in `tokens` that follow the longest indexed end of `context`.

        Each is the position and the tokens matched. The end of `tokens` is no position. Contexts
        that cannot be `longer_than` so many tokens need not be found.
        """
        found: list[tuple[int, int]] = []
        start = self._start
        for size, latest, earlier in zip(CONTEXTS, self._latest, self._earlier, strict=True):
            position = latest.get(hash(tuple(context[-size:])), 0)
            if position and position == len(tokens):
                position = earlier[position - 1 - start]
            for _ in range(MOST_POSITIONS):
                if not position:
                    break
                matched = agreeing(tokens, position, context)
                if matched >= size:
                    found.append((position, matched))
                position = earlier[position - 1 - start]
            if found or size <= longer_than:
                break
        return found


class _Shared:
    """The answers of earlier sequences, in two halves: the older one goes when both are full."""

    def __init__(self, most_tokens: int) -> None:
        self._half = most_tokens // 2
        self.holds_any = self._half > 0
        self._old: tuple[list[int], _Index] = [], _Index()
        self._new: tuple[list[int], _Index] = [], _Index()

    def add(self, answer: Sequence[int]) -> None:
        answer = answer[: self._half - 1]
        if len(self._new[0]) + len(answer) >= self._half:
            self._old, self._new = self._new, ([], _Index())
        tokens, index = self._new
        tokens.extend(answer)
        tokens.append(SEPARATOR)
        index.extend(tokens)

    def matches(self, context: list[int], most: int, longer_than: int) -> list[Match]:
        return [
            (tokens[position : position + most], matched)
            for tokens, index in (self._new, self._old)
            for position, matched in index.find(tokens, context, longer_than)
        ]


class SuffixDrafter(WithoutModel):
    """Drafts by frequency after the longest context known, however long the rule lets it."""

    name: Source = "suffix"

    def __init__(self, shared_tokens: int = SHARED_TOKENS) -> None:
        """With 0 `shared_tokens` no sequence drafts from the answer of another."""
        self._shared = _Shared(shared_tokens)
        self._indexes: dict[int, _Index] = {}
        self._answers: dict[int, tuple[list[int], int]] = {}
        """The tokens of each sequence, and where its answer starts."""

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:  # noqa: ARG002
        self._indexes[seq] = _Index()
        self._indexes[seq].extend(prompt)
        self._answers[seq] = [], len(prompt)

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        """What followed the longest context most often, token by token."""
        for request in requests:
            self._indexes[request.seq].extend(request.tokens)
        return [
            build_proposal(self.name, _voted(self._matches(request)), request.rule, LEAST_CHANCE)
            for request in requests
        ]

    def accept(self, results: Sequence[Accepted]) -> None:
        """New tokens are indexed when the next proposal is wanted."""
        for result in results:
            self._answers[result.seq] = result.tokens, self._answers[result.seq][1]

    def end(self, seq: int) -> None:
        """Remember the answer for other sequences."""
        self._indexes.pop(seq, None)
        tokens, start = self._answers.pop(seq, ([], 0))
        if self._shared.holds_any and len(tokens) > start:
            self._shared.add(tokens[start:])

    def _matches(self, request: Request) -> list[Match]:
        """The positions in the sequence's own text; others' answers join if they match longer."""
        tokens = request.tokens
        context = tokens[-LONGEST_MATCH:]
        most = min(request.rule.limit, LONGEST_DRAFT)
        matches: list[Match] = []
        longest = 0
        for position, matched in self._indexes[request.seq].find(tokens, context):
            follows = tokens[position : position + most]
            if len(follows) < most:
                # The position is so near the end that the text may be repeating itself.
                follows = follows * (most // len(follows) + 1)
            matches.append((follows, matched))
            longest = max(longest, matched)
        if longest < LONGEST_MATCH:
            shared = self._shared.matches(context, most, longest)
            if any(matched > longest for _, matched in shared):
                matches += shared
        return matches


def _voted(matches: list[Match]) -> Iterator[tuple[int, float]]:
    """The token that most matches vote for, again and again, with a confidence in each.

    A match's vote weighs as much as its context is long. Drafted tokens that it agreed with
    count half: nobody has confirmed them.
    """
    offset = 0
    while True:
        votes: dict[int, float] = {}
        for follows, matched in matches:
            if offset < len(follows):
                token = follows[offset]
                votes[token] = votes.get(token, 0.0) + matched + offset / 2
        if not votes:
            return
        best = max(votes, key=votes.__getitem__)
        if best == SEPARATOR:
            return
        yield best, votes[best] / (sum(votes.values()) + DOUBT * len(votes))
        if len(votes) > 1:
            matches = [one for one in matches if one[0][offset : offset + 1] == [best]]
        offset += 1
