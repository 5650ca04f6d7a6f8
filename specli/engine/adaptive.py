"""`--draft auto`: every round decides from costs what to draft, with whom, and whether at all.

In expected tokens and milliseconds: with survival S_i, the chance that the first i proposed
tokens are all accepted, verifying j of them emits 1 + S_1 + ... + S_j tokens and takes T(1 + j).
Against the present speed (lambda, tokens per millisecond) a proposal is worth

    gain(j) = S_1 + ... + S_j - lambda * (T(1 + j) - T(1) + drafting time),

and the best j is verified, none where no gain is positive. A draft model goes on while some
longer proposal is expected to be worth more than stopping; since T(2) is far above T(1), the
look-ahead matters: one more token alone may not pay where four more do.

Losing rounds are paid from accounts: what a kind of drafter has cost beyond plain decoding may
never exceed a small share of the time spent so far. That bounds the loss on texts and pairs where
speculation does not pay, and still lets it try again as the text goes on.

Of n sequences side by side plain decoding takes T(n) already, and j proposed tokens T(n + j),
whoever proposed them; lambda is the speed of all. So the surest tokens of all proposals are taken
until the next one no longer pays, and more sequences leave less room for drafts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from specli.drafters.protocol import Proposal, StopRule
from specli.engine.calibration import Calibration
from specli.engine.cost import CostModel, Curve
from specli.engine.policy import Outcome
from specli.events import MODEL, PREDICTION, Source

DRAFT_LIMIT = 16
UNKNOWN_LIMIT = 3
CHEAP_LIMIT = 63

OTHERS: Source = "others"
_LOSS_SHARE = 0.008
"""Share of the time so far that one account of speculation may have lost."""
_GRACE = 30.0
"""The account starts as if this many plain tokens had been generated already."""
_CREDIT = 8.0
"""Gains of the past buy no more than this many plain tokens of losses later."""
_RISK = 0.5
"""Share of the account that a proposal's tokens behind the first may be expected to waste; gains
add to it, so that proposals grow where they have been right."""
_CAUTION = 0.15
"""Gain in tokens asked of a proposal when the whole account is spent."""
_TRIAL = 0.01
"""What a trial of the draft model counts for beside the finds of other drafters."""
_CURIOSITY = 1.2
_CURIOUS = 4.0
"""Plain tokens that trials of an unknown draft model may have cost, and the observations after
which it is half of that. The longer it is not asked, the more it has to read before it can be, so
that a text which starts without it seldom comes to it."""
_GOOD = 0.9
"""Acceptance with which a draft model must pay to be worth a trial."""
_HOPE, _HOPED = 0.73, 4.0
"""Acceptance expected of an unknown draft model, and the observations that this is worth."""
_LONG_ALONE = 32
_LIKELY = 0.5
"""Steps without a proposal after which one so likely is verified to see what that takes now: a
busy machine becomes idle again, and nothing else would tell."""
_KNOWN = 12.0
"""Observations after which a drafter is known and needs no trial."""
_RATE_STEP = 0.08
_HOPE_STEP = 0.15
_LEAST_SURVIVAL = 0.02
# The figures above were chosen with scripts/replay_policy.py, under several cost curves.


@dataclass(slots=True)
class _State:
    """What the policy keeps of one sequence."""

    rate: float
    """Tokens per millisecond, smoothed."""
    first: float
    further: float
    """Smoothed acceptance of a draft model's first token, and of its further ones."""
    lost_ms: defaultdict[Source, float] = field(default_factory=lambda: defaultdict(float))
    """Time that speculation has cost beyond plain decoding; negative where it has gained.

    The draft model, a prediction and all others pay from accounts of their own: what one gains
    is not for another to lose, and what one lost does not keep another from showing what it can.
    """
    spent_ms: float = 0.0
    behind: int = 1
    """Tokens that the draft model has not seen."""
    drafted: int = 0
    """Tokens that the draft model computed for this round's proposal."""


class AdaptiveRule:
    """One round's decisions for one sequence and one drafter."""

    judges = True

    def __init__(self, policy: AdaptivePolicy, state: _State, limit: int, source: Source) -> None:
        self._policy = policy
        self._state = state
        self._source = source
        self._room = limit
        self.limit = min(limit, policy.longest(source))
        self._survival = 1.0
        self._seen = 0
        self._waste = 0.0

    def of(self, source: Source) -> AdaptiveRule:
        """The rule for another drafter in the same round."""
        return AdaptiveRule(self._policy, self._state, self._room, source)

    def keeps(self, confidences: Sequence[float]) -> bool:
        """Every token stays for now: `AdaptivePolicy.review` cuts where it pays."""
        if self._source == MODEL:
            self._state.drafted = len(confidences)
        return True

    def wants_more(self, confidences: Sequence[float]) -> bool:
        """Whether a longer proposal is expected to be worth more than this one."""
        while self._seen < len(confidences):
            self._survival *= self._policy.calibration.probability(
                self._source, confidences[self._seen]
            )
            self._waste += self._policy.waste(self._seen, self._survival)
            self._seen += 1
        if self._survival < _LEAST_SURVIVAL:
            return False
        if self._waste > self._policy.affordable_waste(self._state, self._source):
            return False
        if self._source != MODEL:
            return True
        return self._policy.ahead(self._state, self._survival, self._seen, self.limit) > 0

    def worth(self, proposal: Proposal) -> float:
        """Expected gain, in tokens, of verifying the best part of a proposal."""
        return self._policy.best_cut(self._state, proposal)[1]

    def hope(self, source: Source, unseen: int) -> float:
        """Expected gain, in tokens, of asking a drafter that costs time."""
        self._state.behind = unseen
        return self._policy.hope(self._state, self.limit) if source == MODEL else 0.0


@dataclass(slots=True)
class AdaptivePolicy:
    """Decides every round by `cost` and `calibration`, and keeps learning both."""

    cost: CostModel
    calibration: Calibration = field(default_factory=Calibration)
    decisions: Counter[str] = field(default_factory=Counter)
    """Rounds by what was decided: the drafter verified, or `plain`."""
    _states: dict[int, _State] = field(default_factory=dict)
    _width: int = 1
    """Sequences that the present step verifies."""
    _steps_alone: int = 0
    """Steps since anything proposed was verified."""

    def longest(self, source: Source) -> int:
        """Most tokens of one proposal: few from a draft model that has shown nothing yet."""
        if source != MODEL:
            return CHEAP_LIMIT
        return DRAFT_LIMIT if self.calibration.seen(MODEL) > _KNOWN else UNKNOWN_LIMIT

    def rule(self, seq: int, limit: int, width: int = 1) -> StopRule:
        state = self._states.get(seq)
        if state is None:
            hope = self.calibration.rate(MODEL, _HOPE, _HOPED)
            state = _State(rate=1 / self.cost.target(width), first=hope, further=hope)
            self._states[seq] = state
        state.drafted = 0
        self._width = width
        return AdaptiveRule(self, state, limit, MODEL)

    def _verifying(self, proposed: int) -> float:
        """Milliseconds to verify so many proposed tokens beside each sequence's own token."""
        return self.cost.target(self._width + proposed)

    def _drafting(self, behind: int, draft: Curve) -> float:
        """A sequence's share of one draft position, drafted by all in lockstep."""
        return draft(self._width * behind) / self._width

    def _rate(self, state: _State) -> float:
        """Tokens per millisecond of all sequences side by side; the others are like this one."""
        return self._width * state.rate

    def ahead(
        self,
        state: _State,
        survival: float,
        drafted: int,
        limit: int,
        rates: tuple[float, float] | None = None,
    ) -> float:
        """The best expected gain of drafting on, for a draft model that has drafted so many.

        `rates` are the acceptance of its first token and of further ones, where not the text's.
        """
        first, further = rates or (state.first, state.further)
        draft = self.cost.draft
        if draft is None:
            return 0.0
        step = self._drafting(1, draft)
        now = self._verifying(drafted)
        if not drafted:
            # Mostly too much unseen text lies between: no number of tokens would make up for it.
            least = self._drafting(state.behind, draft) + self._verifying(1) - now
            if further < 1 and first / (1 - further) <= self._rate(state) * least:
                return 0.0
        best = gained = cost = 0.0
        for length in range(drafted + 1, limit + 1):
            if length == 1:
                survival *= first
                cost += self._drafting(state.behind, draft)
            else:
                survival *= further
                cost += step
            gained += survival
            gain = gained - self._rate(state) * (cost + self._verifying(length) - now)
            best = max(best, gain)
            if survival < _LEAST_SURVIVAL:
                break
        return best

    def hope(self, state: _State, limit: int) -> float:
        """The expected gain of asking the draft model; a little where a trial can be afforded."""
        draft = self.cost.draft
        if draft is None:
            return 0.0
        gain = self.ahead(state, 1.0, 0, limit)
        if gain > self._caution(state, MODEL):
            return gain
        # One drafted token is cheap beside a verification, and its confidence tells much.
        if not self._affords(state, MODEL, self._drafting(state.behind, draft)):
            return 0.0
        could_pay = self.ahead(state, 1.0, 0, DRAFT_LIMIT, (_GOOD, _GOOD)) > 0
        return _TRIAL if could_pay else 0.0

    def _affords(self, state: _State, source: Source, loss: float) -> bool:
        allowed = self._allowed(state)
        if source == MODEL:
            curiosity = _CURIOSITY * _CURIOUS / (_CURIOUS + self.calibration.seen(MODEL))
            allowed = max(allowed, curiosity * self.cost.target(1))
        return state.lost_ms[_account(source)] + loss <= allowed

    def best_cut(self, state: _State, proposal: Proposal) -> tuple[int, float]:
        """(length, gain in tokens) of the part of a proposal that is worth most to verify."""
        lengths, gain = self._best_cuts([(state, proposal)])
        return lengths[0], gain

    def _best_cuts(self, proposals: Sequence[tuple[_State, Proposal]]) -> tuple[list[int], float]:
        """Lengths of the parts that are worth most to verify in one batch, and their gain.

        The tokens most likely to be accepted come first, whichever sequence proposed them: how
        many of them pay is one question for the whole batch.
        """
        tokens = sorted(
            (
                (-survival, place, number)
                for number, (state, proposal) in enumerate(proposals)
                for place, survival in enumerate(self._survivals(state, proposal))
            ),
        )
        base = self._verifying(0)
        lengths = [0] * len(proposals)
        best, best_gain, gained = list(lengths), 0.0, 0.0
        for count, (survival, place, number) in enumerate(tokens, 1):
            state, proposal = proposals[number]
            if place == 0:
                gained -= self._caution(state, proposal.sources[0])
            gained -= survival
            lengths[number] = place + 1
            gain = gained - self._rate(state) * (self._verifying(count) - base)
            if gain > best_gain:
                best, best_gain = list(lengths), gain
        return best, best_gain

    def _survivals(self, state: _State, proposal: Proposal) -> list[float]:
        """The chance of each token, as far as they are worth a thought and may be risked."""
        survivals: list[float] = []
        if not proposal:
            return survivals
        survival, waste = 1.0, 0.0
        affordable = self.affordable_waste(state, proposal.sources[0])
        for place, source in enumerate(proposal.sources):
            survival *= self.calibration.probability(source, proposal.confidences[place])
            waste += self.waste(place, survival)
            if waste > affordable:
                break
            survivals.append(survival)
            if survival < _LEAST_SURVIVAL:
                break
        return survivals

    def waste(self, place: int, survival: float) -> float:
        """Milliseconds that verifying the token at `place` of a proposal is expected to waste.

        The first is not counted: where two tokens take much longer than one, nothing else would
        ever be tried.
        """
        if place == 0:
            return 0.0
        return (1 - survival) * (self._verifying(place + 1) - self._verifying(place))

    def affordable_waste(self, state: _State, source: Source) -> float:
        """Milliseconds that a proposal's tokens behind the first may be expected to waste."""
        return max(0.0, _RISK * self._allowed(state) - state.lost_ms[_account(source)])

    def _caution(self, state: _State, source: Source) -> float:
        """The gain, in tokens, below which nothing is verified: more, the more has been lost."""
        return _CAUTION * max(state.lost_ms[_account(source)], 0.0) / self._allowed(state)

    def _allowed(self, state: _State) -> float:
        return _LOSS_SHARE * (state.spent_ms + _GRACE * self.cost.target(1))

    def review(self, proposals: Sequence[tuple[int, Proposal]]) -> list[Proposal]:
        given = [(self._states[seq], proposal) for seq, proposal in proposals]
        for state, proposal in given:
            if proposal.sources[:1] == [MODEL]:
                self._learn_hope(state, proposal)
        lengths, _gain = self._best_cuts(given)
        for number, (state, proposal) in enumerate(given):
            beside = sum(lengths)
            if proposal and not lengths[number] and self._worth_a_trial(state, proposal, beside):
                lengths[number] = 1
        return [
            proposal.head(length) for (_state, proposal), length in zip(given, lengths, strict=True)
        ]

    def _worth_a_trial(self, state: _State, proposal: Proposal, beside: int) -> bool:
        """Whether to verify one token only to learn: what the drafter is worth, or whether a batch
        still takes as long as it did."""
        source = proposal.sources[0]
        likely = self.calibration.probability(source, proposal.confidences[0]) >= _LIKELY
        if self.calibration.seen(source) > _KNOWN and not (
            likely and self._steps_alone >= _LONG_ALONE
        ):
            return False
        loss = self._verifying(beside + 1) - self._verifying(beside)
        return self._affords(state, source, loss)

    def _learn_hope(self, state: _State, proposal: Proposal) -> None:
        chances = [
            self.calibration.probability(MODEL, confidence) for confidence in proposal.confidences
        ]
        state.first += _HOPE_STEP * (chances[0] - state.first)
        for chance in chances[1:]:
            state.further += _HOPE_STEP * (chance - state.further)

    def observe(
        self,
        outcomes: Sequence[Outcome],
        draft_ms: float,
        verify_ms: float,
        *,
        with_prompts: bool = False,
    ) -> None:
        known = [(self._states[one.seq], one) for one in outcomes if one.seq in self._states]
        if not known:
            return
        width = len(outcomes)
        proposed = sum(len(one.proposal) for one in outcomes)
        if with_prompts:
            # What the prompts took cannot be told apart.
            verify_ms = min(verify_ms, self.cost.target(width + proposed))
        else:
            self.cost.target.observe(width + proposed, verify_ms)
        self._steps_alone = 0 if proposed else self._steps_alone + 1
        drafted = sum(state.drafted for state, _one in known)
        if drafted:
            self._observe_draft([state for state, _one in known if state.drafted], draft_ms)
        plain = self.cost.target(width)
        for state, one in known:
            self._learn(one)
            length, emitted = len(one.proposal), one.accepted + 1
            if length:
                more = (verify_ms - plain) * length / proposed
                self._charge(state, one.proposal.sources[0], more - one.accepted * plain / width)
            if state.drafted:
                self._charge(state, MODEL, draft_ms * state.drafted / drafted)
            state.spent_ms += (draft_ms + verify_ms) / width
            rate = emitted / (draft_ms + verify_ms)
            state.rate = max(state.rate + _RATE_STEP * (rate - state.rate), 1 / plain)

    def _learn(self, one: Outcome) -> None:
        """What the round says of the drafters' confidences."""
        proposal, length = one.proposal, len(one.proposal)
        self.decisions[proposal.sources[0] if length else "plain"] += 1
        for place in range(min(one.accepted + 1, length)):
            self.calibration.observe(
                proposal.sources[place], proposal.confidences[place], place < one.accepted
            )

    def _charge(self, state: _State, source: Source, ms: float) -> None:
        account = _account(source)
        floor = -_CREDIT * self.cost.target(1)
        state.lost_ms[account] = max(state.lost_ms[account] + ms, floor)

    def _observe_draft(self, drafting: Sequence[_State], draft_ms: float) -> None:
        """Learn from what drafting in lockstep took: one batch a position."""
        draft = self.cost.draft
        if draft is None:
            return
        expected = draft(sum(state.behind for state in drafting))
        for place in range(1, max(state.drafted for state in drafting)):
            expected += draft(sum(state.drafted > place for state in drafting))
        draft.observe(1, draft_ms / expected * draft(1))

    def end(self, seq: int) -> None:
        self._states.pop(seq, None)


def _account(source: Source) -> Source:
    return source if source in (MODEL, PREDICTION) else OTHERS
