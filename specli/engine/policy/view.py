"""What a round may bring one sequence: worths and rules from costs, acceptance and its own text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np

from specli.drafters.protocol import Proposal
from specli.drafters.rule import Growth, Lookahead, Rule, stopping
from specli.engine.policy.acceptance import CENTRES, Acceptance, mixed, upper
from specli.engine.policy.cost import CostModel
from specli.engine.policy.decision import (
    DraftingTime,
    asking_worth,
    best_lengths,
    drafting_time,
    survivals,
)
from specli.engine.policy.protocol import Costly, Turn
from specli.engine.policy.text import TEXT_MEMORY, Text
from specli.events import Source

MOST_DRAFTED = 16
"""Longest proposal of a drafter with a model; drafts' curves are measured as far."""

CAUGHT_UP = 2
"""Tokens that a drafter has to decode after a round whose proposal was accepted whole."""

_EXPECTED = [sqrt(centre) for centre in CENTRES]
"""What is thought of a drafter with a model by confidence bin; see `View.chance`."""

_LOOK = 0.25
"""A busy machine made drafts look up to 2.6 times as dear as they were."""


@dataclass(slots=True)
class Verifying:
    """Milliseconds to verify 0, 1, ... proposed tokens with the `width` sequences' own, for all
    sequences of a step.

    Several sequences that take `least` rows each at least have caches of their own: llama.cpp
    computes as many rows of each at once as the shortest has, and then the rest.
    """

    cost: CostModel
    width: int = 1
    least: int = 1
    known: list[float] = field(default_factory=lambda: [0.0])
    plain: float = field(init=False)

    def __post_init__(self) -> None:
        if self.width == 1:
            # What fills up the batch of one sequence was measured with it.
            self.least = 1
        self.plain = self.cost.target(self.least * self.width)

    @property
    def share(self) -> float:
        """What a plain step takes of one sequence's time."""
        return self.plain / self.width

    def __call__(self, proposed: int) -> float:
        if self.least == 1:
            return self.cost.target(self.width + proposed) - self.plain
        rest = 1 + proposed - self.least
        return self.cost.target(rest) if rest > 0 else 0.0

    def rows(self, proposals: Sequence[Proposal]) -> int | None:
        """Of the step's batch; None where it is computed in more than one part."""
        if self.least == 1:
            return self.width + sum(map(len, proposals))
        most = max(map(len, proposals))
        return self.least * self.width if 1 + most <= self.least else None

    def within(self, most: int, room: float) -> list[float]:
        """At most `most` tokens, and none that would lose more than `room` if all were rejected."""
        known, bound = self.known, room - self.cost.rollback
        while len(known) <= most and (len(known) == 1 or known[-1] <= bound):
            known.append(self(len(known)))
        return known[: max(bisect_right(known, bound, hi=min(most + 1, len(known))), 1)]


class View:
    """One turn as the policy sees it: what is known of its text, its speed and its room."""

    def __init__(
        self, turn: Turn, text: Text, acceptance: Acceptance, verifying: Verifying
    ) -> None:
        self._turn = turn
        self._text = text
        self._acceptance = acceptance
        self._verifying = verifying
        self._cost = verifying.cost
        self._text.catch_up()
        self.speed = self._text.speed(verifying.share)
        """Tokens per millisecond of all sequences of the step."""
        self.room = self._text.room(verifying.share)

    def chance(self, source: Source, confidence: float) -> float:
        # A model's probability understates how often two models choose alike: recorded pairs agree
        # in 47 % of the tokens with a confidence of 0.25, in 66 % at 0.45 and in 81 % at 0.65.
        expected = sqrt(confidence) if source in self._cost.drafters else confidence
        pair = self._acceptance.track(source).chance(confidence, expected)
        own = self._text.tracks.get(source)
        return pair if own is None else own.chance(confidence, pair)

    def survivals(self, proposal: Proposal) -> list[float]:
        return survivals(proposal, self.chance)[: self._turn.limit]

    def likeliest(self) -> Proposal:
        """The proposal of `best`, whose worth nobody asks for where there is one alone."""
        return self._turn.proposals[0] if len(self._turn.proposals) == 1 else self.best()[0]

    def best(self) -> tuple[Proposal, float]:
        """The proposal whose best part is worth most to verify, and what it is worth in tokens."""
        best, most = Proposal(), 0.0
        for proposal in self._turn.proposals:
            chances = self.survivals(proposal)
            verifying = self.verifying(len(chances))
            worth = best_lengths([chances], verifying, self.speed * self.room)[1]
            if worth > most or not best:
                best, most = proposal, worth
        return best, most

    def verifying(self, most: int) -> list[float]:
        """The costs of verifying 0, 1, ... tokens, in tokens, as far as the room allows."""
        found = self._verifying.within(most, self.room)
        return [self.speed * ms for ms in found]

    def drafting(self, drafter: Costly, pending: int) -> DraftingTime:
        curve = self._cost.drafters[drafter.name]
        return drafting_time(drafter.cost, curve, pending, self._turn.width)

    def affordable(self, drafter: Costly) -> list[float]:
        """The costs in tokens of verifying 0, 1, ... tokens, up to the longest proposal that is
        within the room if all of it is drafted and rejected."""
        time = self.drafting(drafter, drafter.pending)
        most = min(self._turn.limit, drafter.cost.block or MOST_DRAFTED)
        verifying = self._verifying.within(most, self.room)
        spare = self.room - self._cost.rollback
        while len(verifying) > 1 and time(len(verifying) - 1) + verifying[-1] > spare:
            verifying.pop()
        return [self.speed * ms for ms in verifying]

    def worth_a_look(self, drafter: Costly, verifying: Sequence[float], best: float) -> bool:
        """Whether nothing has confirmed in this process what a drafter costs, and it would be
        asked if it cost a quarter: drafting one token measures it."""
        if self._cost.drafters[drafter.name].seen:
            return False
        return self.asking(drafter, verifying, _LOOK)[0] > best

    def asking(
        self, drafter: Costly, verifying: Sequence[float], share: float = 1.0
    ) -> tuple[float, Rule]:
        """What asking is worth, and the rule to draft by, if drafting takes this share of what is
        believed.

        Catching up with the text is paid once and serves what follows, so its cost is spread over
        the tokens that the text remembers.
        """
        name, price = drafter.name, share * self.speed
        time = self.drafting(drafter, min(drafter.pending, CAUGHT_UP))
        drafting = [price * time(count) for count in range(len(verifying))]
        costs = np.asarray(drafting[1:]) + np.asarray(verifying[1:])
        if (costs >= np.arange(1, len(verifying))).all():
            # It would not pay if all of it were accepted, as where many sequences share a batch.
            return 0.0, Rule(1)
        pair, own = self._acceptance.track(name), self._text.track(name)
        chances = own.chances(pair.chances(_EXPECTED))
        first, later = mixed(own.first, pair.first), mixed(own.further, pair.further)
        mean = sum(share * chance for share, chance in zip(later.shares, chances, strict=True))
        further = upper(mean, later.known)
        room, length = self.speed * self.room, len(verifying) - 1
        growth = Growth(costs, room)
        optimistic = [upper(chance, first.known) for chance in chances]
        stop = stopping(drafting[1], room)
        worth = asking_worth(first.shares, optimistic, further, growth, stop, length)
        catching_up = self.drafting(drafter, drafter.pending).first - time.first
        worth -= price * catching_up / max(min(self._turn.limit, TEXT_MEMORY), 1.0)
        ahead = Lookahead(
            chance=lambda confidence: self.chance(name, confidence),
            further=further,
            drafting=drafting,
            verify=verifying,
            growth=growth,
            room=room,
        )
        return worth, Rule(length, lookahead=ahead)

    @property
    def sunk_ms(self) -> float:
        """What drafting in this step has taken already, by the costs that it was decided on."""
        asked = self._turn.asked
        if asked is None:
            return 0.0
        return self.drafting(asked, asked.pending)(max(len(drafted(self._turn)), 1))


def drafted(turn: Turn) -> Proposal:
    """The proposal of the costly drafter that was asked."""
    for one in turn.proposals:
        if turn.asked is not None and one.source == turn.asked.name:
            return one
    return Proposal()
