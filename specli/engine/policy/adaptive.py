"""Decides every round by measured costs and learned acceptance, inside a bound on what it loses.

docs/policy.md has the formula, the bound and its proof, and how each constant was chosen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np

from specli.drafters.protocol import DraftingCost, Proposal
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
from specli.engine.policy.protocol import Choice, Costly, Outcome, StepTimes, Turn
from specli.engine.policy.text import TEXT_MEMORY, Text
from specli.events import Source

MOST_DRAFTED = 16
"""Longest proposal of a drafter with a model; drafts' curves are measured as far."""

MOST_FREE = 63
"""Longest proposal of a drafter without one: T(k) is measured up to 64 tokens."""

CAUGHT_UP = 2
"""Tokens that a drafter has to decode after a round whose proposal was accepted whole."""


@dataclass(slots=True)
class AdaptivePolicy:
    """`cost` and `acceptance` are the pair's; both learn from every step."""

    cost: CostModel
    acceptance: Acceptance = field(default_factory=Acceptance)
    decisions: Counter[str] = field(default_factory=Counter)
    """Rounds by the drafter whose proposal was verified, or `plain`."""
    asked: Counter[Source] = field(default_factory=Counter)
    """Rounds in which a costly drafter was asked."""
    texts: dict[int, Text] = field(default_factory=dict)
    alone: float = TEXT_MEMORY
    """Steps since a proposal was verified; at the start as if it were long ago."""

    def rests(self, turns: Sequence[Turn]) -> bool:
        """Whether the room is less than one rejected token takes, and nobody looks."""
        self._at(turns)
        step = _Verifying(self.cost, turns[0].width, turns[0].least)
        texts = [self.texts.get(turn.seq) or Text() for turn in turns]
        if any(text.foretold.looks for text in texts):
            return False
        room = sum(text.room(step.share) for text in texts)
        return room - self.cost.rollback < step(1)

    def rule(self, turn: Turn) -> Rule:
        return Rule(min(turn.limit, MOST_FREE))

    def choose(self, turns: Sequence[Turn]) -> list[Choice | None]:
        self._at(turns)
        verifying = _Verifying(self.cost, turns[0].width, turns[0].least)
        return [
            self._choice(_View(self, turn, verifying), turn.costly) if turn.costly else None
            for turn in turns
        ]

    def _at(self, turns: Sequence[Turn]) -> None:
        """Costs are those of the mean length."""
        self.cost.at(sum(turn.length for turn in turns) // max(len(turns), 1))

    def verify(self, turns: Sequence[Turn]) -> list[Proposal]:
        self._at(turns)
        step = _Verifying(self.cost, turns[0].width, turns[0].least)
        views = [_View(self, turn, step) for turn in turns]
        best = [view.likeliest() for view in views]
        chances = [view.survivals(one) for view, one in zip(views, best, strict=True)]
        room = sum(view.room for view in views)
        sunk = sum(view.sunk_ms for view in views)
        speed = max(view.speed for view in views)
        verifying = step.within(sum(map(len, chances)), room - sunk)
        costs = [speed * ms for ms in verifying]
        lengths, _worth = best_lengths(chances, costs, speed * room, speed * sunk)
        if self.alone >= TEXT_MEMORY and len(verifying) > 1 and not any(lengths):
            lengths = _trial(chances)
        return [one.head(length) for one, length in zip(best, lengths, strict=True)]

    def would_ask(self, name: Source, cost: DraftingCost) -> bool:
        """Whether a drafter would be asked for a text of which nothing is known yet, if it had read
        the prompt."""
        drafter = Costly(name, cost, CAUGHT_UP)
        view = _View(self, Turn(-1, MOST_DRAFTED, costly=[drafter]), _Verifying(self.cost))
        verifying = view.affordable(drafter)
        if len(verifying) < 2:
            return False
        return view.asking(drafter, verifying)[0] > 0 or view.worth_a_look(drafter, verifying, 0.0)

    def _choice(self, view: _View, costly: Sequence[Costly]) -> Choice | None:
        """The costly drafter that is worth most to ask, if any is worth more than the best free
        proposal."""
        best, chosen = view.best()[1], None
        for drafter in costly:
            verifying = view.affordable(drafter)
            if len(verifying) < 2:
                continue
            worth, rule = view.asking(drafter, verifying)
            if worth > best:
                best, chosen = worth, Choice(drafter.name, rule)
            elif chosen is None and view.worth_a_look(drafter, verifying, best):
                chosen = Choice(drafter.name, Rule(1))
        return chosen

    def learn(self, outcomes: Sequence[Outcome], times: StepTimes) -> None:
        if not outcomes:
            return
        self._at([one.turn for one in outcomes])
        width = len(outcomes)
        step = _Verifying(self.cost, width, outcomes[0].turn.least)
        proposed = sum(len(one.verified) for one in outcomes)
        self.alone = 0 if proposed else self.alone + 1
        verify_ms, rows = times.verify, step.rows([one.verified for one in outcomes])
        if times.with_prompts:
            # The time of the prompts cannot be separated from it.
            verify_ms = min(verify_ms, step.plain + step(proposed))
        elif rows is not None:
            self.cost.target.observe(rows, verify_ms)
        if proposed > sum(one.accepted for one in outcomes):
            self.cost.observe_rollback(times.rollback)
        for name, ms in times.drafting.items():
            self._learn_drafting(name, outcomes, ms)
        for name in self.cost.drafters.keys() - times.drafting.keys():
            self.cost.drafters[name].doubt(self.cost.target.factor)
        plain = self.cost.target(step.least * width)
        for one in outcomes:
            text = self._text(one.turn.seq)
            text.lost_ms += times.deciding / width
            if one.verified:
                more = max(verify_ms - plain, 0.0) + times.rollback
                text.lost_ms += more * len(one.verified) / proposed - one.accepted * plain / width
                if one.accepted < len(one.verified):
                    text.reject(plain / width)
            text.spend((verify_ms + times.rollback) / width)
            text.emit(len(one.emitted))
            text.foretold.compare(_foretelling(one), one.emitted)
            self._learn_acceptance(one, text)

    def _learn_acceptance(self, one: Outcome, text: Text) -> None:
        """The target's choice judges a token, whether or not it was verified."""
        self.decisions[one.verified.source or "plain"] += 1
        if not one.turn.proposals:
            return
        text.catch_up()
        for proposal in one.turn.proposals:
            for index, token in enumerate(one.emitted[: len(proposal)]):
                source, confidence = proposal.sources[index], proposal.confidences[index]
                right = token == proposal.tokens[index]
                self.acceptance.learning(source).judge(confidence, right)
                text.learning(source).judge(confidence, right)
                if not right:
                    break
        proposal = _drafted(one.turn)
        if one.turn.asked is not None and proposal:
            self.acceptance.learning(one.turn.asked.name).count(proposal)
            text.learning(one.turn.asked.name).count(proposal)

    def _learn_drafting(self, name: Source, outcomes: Sequence[Outcome], ms: float) -> None:
        """Compare what drafting in lockstep took with the drafter's curve; `ms` is lost for now."""
        turns = [one.turn for one in outcomes if one.turn.asked and one.turn.asked.name == name]
        lengths = [max(len(_drafted(turn)), 1) for turn in turns]
        costly = [turn.asked for turn in turns if turn.asked]
        curve, pending = self.cost.drafters[name], sum(max(one.pending, 1) for one in costly)
        if costly[0].cost.batches == "block":
            expected = curve(pending + sum(one.cost.block for one in costly))
        else:
            expected = curve(pending)
            for step in range(1, max(lengths)):
                expected += curve(sum(length > step for length in lengths))
        curve.observe(1, ms / expected * curve(1))
        self.asked[name] += len(turns)
        for turn in turns:
            text = self._text(turn.seq)
            text.lost_ms += ms / len(turns)
            text.spend(ms / len(turns))

    def _text(self, seq: int) -> Text:
        text = self.texts.get(seq)
        if text is None:
            text = self.texts[seq] = Text()
        return text

    def end(self, seq: int) -> None:
        text = self.texts.pop(seq, None)
        if text is not None:
            self.acceptance.fade(text.emitted)


@dataclass(slots=True)
class _Verifying:
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


class _View:
    """One turn as the policy sees it: what is known of its text, its speed and its room."""

    def __init__(self, policy: AdaptivePolicy, turn: Turn, verifying: _Verifying) -> None:
        self._policy = policy
        self._turn = turn
        self._verifying = verifying
        self._text = policy.texts.get(turn.seq) or Text()
        self._text.catch_up()
        self.speed = self._text.speed(verifying.share)
        """Tokens per millisecond of all sequences of the step."""
        self.room = self._text.room(verifying.share)

    def chance(self, source: Source, confidence: float) -> float:
        # A model's probability understates how often two models choose alike: recorded pairs agree
        # in 47 % of the tokens with a confidence of 0.25, in 66 % at 0.45 and in 81 % at 0.65.
        expected = sqrt(confidence) if source in self._policy.cost.drafters else confidence
        pair = self._policy.acceptance.track(source).chance(confidence, expected)
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
        curve = self._policy.cost.drafters[drafter.name]
        return drafting_time(drafter.cost, curve, pending, self._turn.width)

    def affordable(self, drafter: Costly) -> list[float]:
        """The costs in tokens of verifying 0, 1, ... tokens, up to the longest proposal that is
        within the room if all of it is drafted and rejected."""
        time = self.drafting(drafter, drafter.pending)
        most = min(self._turn.limit, drafter.cost.block or MOST_DRAFTED)
        verifying = self._verifying.within(most, self.room)
        spare = self.room - self._policy.cost.rollback
        while len(verifying) > 1 and time(len(verifying) - 1) + verifying[-1] > spare:
            verifying.pop()
        return [self.speed * ms for ms in verifying]

    def worth_a_look(self, drafter: Costly, verifying: Sequence[float], best: float) -> bool:
        """Whether nothing has confirmed in this process what a drafter costs, and it would be
        asked if it cost a quarter: drafting one token measures it."""
        if self._policy.cost.drafters[drafter.name].seen:
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
        pair, own = self._policy.acceptance.track(name), self._text.track(name)
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
        return self.drafting(asked, asked.pending)(max(len(_drafted(self._turn)), 1))


def _trial(chances: Sequence[Sequence[float]]) -> list[int]:
    """One token of the likeliest proposal, if it is likely: costs that keep every proposal from
    being verified may be wrong, or no longer right, and nothing else would measure them."""
    first = [found[0] if found else 0.0 for found in chances]
    likeliest = max(range(len(first)), key=first.__getitem__)
    return [int(n == likeliest and first[n] >= _LIKELY) for n in range(len(first))]


_EXPECTED = [sqrt(centre) for centre in CENTRES]
"""What is thought of a drafter with a model by confidence bin; see `_View.chance`."""

_LIKELY = 0.8

_LOOK = 0.25
"""A busy machine made drafts look up to 2.6 times as dear as they were."""


def _foretelling(one: Outcome) -> Sequence[int]:
    return (one.verified or max(one.turn.proposals, key=len, default=one.verified)).tokens


def _drafted(turn: Turn) -> Proposal:
    """The proposal of the costly drafter that was asked."""
    for one in turn.proposals:
        if turn.asked is not None and one.source == turn.asked.name:
            return one
    return Proposal()
