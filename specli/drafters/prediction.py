"""Drafts from a prediction: text that the answer is expected to resemble.

Follows the prediction while the answer agrees. Where it does not, one token is assumed to have
been replaced, by one or by several, and every token that disagrees is looked up in the
prediction: the position whose last tokens agree longest, and that lies nearest, is where drafting
goes on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import log2

from specli.drafters.grow import LEAST_CHANCE, LONGEST_DRAFT, agreeing, build_proposal
from specli.drafters.protocol import Accepted, Proposal, Request
from specli.drafters.without_model import WithoutModel
from specli.events import PREDICTION, Source

LONGEST_MATCH = 8
"""Tokens of the answer that are compared to find the position again."""

MOST_POSITIONS = 32
"""Places that are compared in either direction, those nearest to the last trusted one."""

TRUSTED = 8
"""Agreement this long confirms a position: the next search starts from it."""

REACH = 3.0
"""Powers of two that a position may be further away for each further token that matches."""

RARE = 4.0
"""Powers of two by which a token is rarer for each further token that it counts for."""

FIRST_RATES = ((0.5, 4.0), (0.65, 4.0), (0.85, 6.0), (0.93, 24.0))
"""Agreement expected after 0, 1, 2 and 4 tokens in a row that agreed, and the tokens it is worth.

Who gives a prediction knows something: it is believed until it has been wrong."""

START = 0.65
"""Confidence in the prediction's first token."""

MEMORY = 100.0
"""Tokens after which a rate has forgotten about two thirds: texts change."""

REPLACED = (2.0, 1.0)
"""Matching tokens that the guess counts for, by the tokens that disagreed since: most edits
replace a word by a word."""


class _Expected:
    """A prediction, and the positions right after each of its tokens."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = tokens
        self.positions: dict[int, list[int]] = {}
        for position, token in enumerate(tokens, 1):
            self.positions.setdefault(token, []).append(position)


@dataclass(slots=True)
class _Rate:
    """How often tokens agreed, of a number seen; both forget."""

    value: float
    seen: float

    def observe(self, agrees: bool) -> None:
        self.seen = self.seen * (1 - 1 / MEMORY) + 1
        self.value += (agrees - self.value) / self.seen


@dataclass(slots=True)
class _Following:
    """How one sequence follows its prediction."""

    expected: _Expected
    answer: list[int] = field(default_factory=list)
    """Its last tokens, as many as are compared."""
    position: int = 0
    """Where in the prediction the next token is expected."""
    matched: int = 0
    """Tokens right before `position` that agreed; 0 when the position is a guess."""
    missed: int = 0
    """Tokens in a row that disagreed."""
    before: int = 0
    """Tokens that had agreed before those."""
    trusted: int = 0
    """The last position that was beyond doubt."""
    rates: list[_Rate] = field(default_factory=lambda: [_Rate(*first) for first in FIRST_RATES])
    """How often the prediction has agreed lately, by what had agreed before."""


class PredictionDrafter(WithoutModel):
    """Drafts a sequence's own prediction, or else `tokens`, in step with what the answer says."""

    name: Source = PREDICTION

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self._expected = _Expected(tokens)
        self._following: dict[int, _Following] = {}

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:  # noqa: ARG002
        self._following[seq] = _Following(_Expected(prediction) if prediction else self._expected)

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        """The prediction from the present position on; nothing when it has been used up."""
        return [
            build_proposal(self.name, self._candidates(following), request.rule, LEAST_CHANCE)
            for request in requests
            for following in (self._following[request.seq],)
        ]

    def accept(self, results: Sequence[Accepted]) -> None:
        for result in results:
            for token in result.tokens[len(result.tokens) - result.emitted :]:
                self._follow(self._following[result.seq], token)

    def end(self, seq: int) -> None:
        self._following.pop(seq, None)

    def _candidates(self, following: _Following) -> Iterator[tuple[int, float]]:
        matched = following.matched
        tokens = following.expected.tokens
        for token in tokens[following.position : following.position + LONGEST_DRAFT]:
            known = following.answer or matched
            yield token, following.rates[_stage(matched)].value if known else START
            matched += 1

    def _follow(self, following: _Following, token: int) -> None:
        following.answer.append(token)
        del following.answer[:-LONGEST_MATCH]
        tokens = following.expected.tokens
        if following.position < len(tokens):
            agrees = tokens[following.position] == token
            following.rates[_stage(following.matched)].observe(agrees)
            # One token has been replaced by one, or by several: the position after it is the guess.
            following.position += agrees or following.matched > 0
            if agrees:
                # A guess that holds after a long agreement is no coincidence.
                following.matched = max(following.matched + 1, following.before)
                following.missed = following.before = 0
                if following.matched >= TRUSTED:
                    following.trusted = following.position
                return
        following.before = max(following.before, following.matched)
        following.matched = 0
        following.missed += 1
        self._find_again(following)

    def _find_again(self, following: _Following) -> None:
        """Move to the best position after the newest token; stay at the guess if none is good.

        A position is good where many tokens match, rare ones, and near the last trusted position
        (tokens were inserted or left out) or near the guess (tokens were replaced).
        """
        positions = following.expected.positions.get(following.answer[-1], [])
        guess = following.position
        middle = bisect_left(positions, following.trusted + 1)
        rarity = log2(len(following.expected.tokens) / len(positions)) / RARE if positions else 0.0
        best = REPLACED[following.missed - 1] if following.missed <= len(REPLACED) else 0.0
        for position in positions[max(0, middle - MOST_POSITIONS) : middle + MOST_POSITIONS]:
            distance = min(abs(position - 1 - following.trusted), abs(position - guess))
            matched = agreeing(following.expected.tokens, position, following.answer)
            score = matched + rarity - log2(1 + distance) / REACH
            if score > best:
                best = score
                following.position, following.matched = position, matched
                following.before = 0
        if following.matched >= TRUSTED:
            following.trusted = following.position


def _stage(matched: int) -> int:
    return min(matched.bit_length(), len(FIRST_RATES) - 1)
