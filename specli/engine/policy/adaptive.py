"""Decides every round by measured costs and learned acceptance, inside a bound on what it loses.

docs/policy.md has the formula, the bound and its proof, and how each constant was chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from specli.drafters.protocol import DraftingCost, Proposal
from specli.drafters.rule import Rule
from specli.engine.policy.acceptance import Acceptance
from specli.engine.policy.cost import CostModel
from specli.engine.policy.decision import best_lengths
from specli.engine.policy.protocol import Choice, Costly, Outcome, StepTimes, Turn
from specli.engine.policy.text import TEXT_MEMORY, Text
from specli.engine.policy.view import CAUGHT_UP, MOST_DRAFTED, Verifying, View, drafted
from specli.events import Source

MOST_FREE = 63
"""Longest proposal of a drafter without one: T(k) is measured up to 64 tokens."""


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
        step = Verifying(self.cost, turns[0].width, turns[0].least)
        texts = [self.texts.get(turn.seq) or Text() for turn in turns]
        if any(text.foretold.looks for text in texts):
            return False
        room = sum(text.room(step.share) for text in texts)
        return room - self.cost.rollback < step(1)

    def rule(self, turn: Turn) -> Rule:
        return Rule(min(turn.limit, MOST_FREE))

    def choose(self, turns: Sequence[Turn]) -> list[Choice | None]:
        self._at(turns)
        verifying = Verifying(self.cost, turns[0].width, turns[0].least)
        return [
            self._choice(self._view(turn, verifying), turn.costly) if turn.costly else None
            for turn in turns
        ]

    def _at(self, turns: Sequence[Turn]) -> None:
        """Costs are those of the mean length."""
        self.cost.at(sum(turn.length for turn in turns) // max(len(turns), 1))

    def verify(self, turns: Sequence[Turn]) -> list[Proposal]:
        self._at(turns)
        step = Verifying(self.cost, turns[0].width, turns[0].least)
        views = [self._view(turn, step) for turn in turns]
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
        view = self._view(Turn(-1, MOST_DRAFTED, costly=[drafter]), Verifying(self.cost))
        verifying = view.affordable(drafter)
        if len(verifying) < 2:
            return False
        return view.asking(drafter, verifying)[0] > 0 or view.worth_a_look(drafter, verifying, 0.0)

    def _choice(self, view: View, costly: Sequence[Costly]) -> Choice | None:
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
        step = Verifying(self.cost, width, outcomes[0].turn.least)
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
        proposal = drafted(one.turn)
        if one.turn.asked is not None and proposal:
            self.acceptance.learning(one.turn.asked.name).count(proposal)
            text.learning(one.turn.asked.name).count(proposal)

    def _learn_drafting(self, name: Source, outcomes: Sequence[Outcome], ms: float) -> None:
        """Compare what drafting in lockstep took with the drafter's curve; `ms` is lost for now."""
        turns = [one.turn for one in outcomes if one.turn.asked and one.turn.asked.name == name]
        lengths = [max(len(drafted(turn)), 1) for turn in turns]
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

    def _view(self, turn: Turn, verifying: Verifying) -> View:
        return View(turn, self.texts.get(turn.seq) or Text(), self.acceptance, verifying)

    def _text(self, seq: int) -> Text:
        text = self.texts.get(seq)
        if text is None:
            text = self.texts[seq] = Text()
        return text

    def end(self, seq: int) -> None:
        text = self.texts.pop(seq, None)
        if text is not None:
            self.acceptance.fade(text.emitted)


def _trial(chances: Sequence[Sequence[float]]) -> list[int]:
    """One token of the likeliest proposal, if it is likely: costs that keep every proposal from
    being verified may be wrong, or no longer right, and nothing else would measure them."""
    first = [found[0] if found else 0.0 for found in chances]
    likeliest = max(range(len(first)), key=first.__getitem__)
    return [int(n == likeliest and first[n] >= _LIKELY) for n in range(len(first))]


_LIKELY = 0.8


def _foretelling(one: Outcome) -> Sequence[int]:
    return (one.verified or max(one.turn.proposals, key=len, default=one.verified)).tokens
