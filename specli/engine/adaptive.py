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
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from specli.drafters.protocol import Proposal, StopRule
from specli.engine.calibration import Calibration
from specli.engine.cost import CostModel
from specli.events import MODEL, PREDICTION, Source

DRAFT_LIMIT = 16
UNKNOWN_LIMIT = 3
CHEAP_LIMIT = 63

OTHERS: Source = "others"
_LOSS_SHARE = 0.012
"""Share of the time so far that one account of speculation may have lost."""
_GRACE = 30.0
"""The account starts as if this many plain tokens had been generated already."""
_CREDIT = 4.0
"""Gains of the past buy no more than this many plain tokens of losses later."""
_RISK = 4.0
"""Times the account that one proposal may cost if all of it is wrong; gains add to it, so that
proposals grow where they have been right."""
_CAUTION = 0.15
"""Gain in tokens asked of a proposal when the whole account is spent."""
_TRIAL = 0.01
"""What a trial of the draft model counts for beside the finds of other drafters."""
_KNOWN = 12.0
"""Observations after which a drafter is known and needs no trial."""
_RATE_STEP = 0.08
_HOPE_STEP = 0.15
_LEAST_SURVIVAL = 0.02
# The figures above were chosen by replaying recorded answers under several cost curves.


@dataclass(slots=True)
class _State:
    """What the policy keeps of one sequence."""

    rate: float
    """Tokens per millisecond, smoothed."""
    lost_ms: defaultdict[Source, float] = field(default_factory=lambda: defaultdict(float))
    """Time that speculation has cost beyond plain decoding; negative where it has gained.

    The draft model, a prediction and all others pay from accounts of their own: what one gains
    is not for another to lose, and what one lost does not keep another from showing what it can.
    """
    spent_ms: float = 0.0
    first: float = 0.7
    """Smoothed acceptance of a draft model's first token, and of its further ones."""
    further: float = 0.75
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
            self._seen += 1
        if self._survival < _LEAST_SURVIVAL:
            return False
        if self._source != MODEL:
            return True
        return self._policy.ahead(self._state, self._survival, self._seen, self.limit) > 0

    def worth(self, proposal: Proposal) -> float:
        """Expected gain, in tokens, of verifying the best part of a proposal."""
        return self._policy.best_cut(self._state, proposal)[1]

    def hope(self, source: Source) -> float:
        """Expected gain, in tokens, of asking a drafter that costs time."""
        return self._policy.hope(self._state, self.limit) if source == MODEL else 0.0


@dataclass(slots=True)
class AdaptivePolicy:
    """Decides every round by `cost` and `calibration`, and keeps learning both."""

    cost: CostModel
    calibration: Calibration = field(default_factory=Calibration)
    decisions: Counter[str] = field(default_factory=Counter)
    """Rounds by what was decided: the drafter verified, or `plain`."""
    _states: dict[int, _State] = field(default_factory=dict)

    def longest(self, source: Source) -> int:
        """Most tokens of one proposal: few from a draft model that has shown nothing yet."""
        if source != MODEL:
            return CHEAP_LIMIT
        return DRAFT_LIMIT if self.calibration.seen(MODEL) > _KNOWN else UNKNOWN_LIMIT

    def rule(self, seq: int, limit: int) -> StopRule:
        state = self._states.get(seq)
        if state is None:
            state = self._states[seq] = _State(rate=1 / self.cost.target(1))
        state.drafted = 0
        return AdaptiveRule(self, state, limit, MODEL)

    def ahead(self, state: _State, survival: float, drafted: int, limit: int) -> float:
        """The best expected gain of drafting on, for a draft model that has drafted so many."""
        target, draft = self.cost.target, self.cost.draft
        if draft is None:
            return 0.0
        step = draft(1)
        now = target(1 + drafted)
        best = gained = cost = 0.0
        for length in range(drafted + 1, limit + 1):
            if length == 1:
                survival *= state.first
                cost += draft(state.behind)
            else:
                survival *= state.further
                cost += step
            gained += survival
            gain = gained - state.rate * (cost + target(1 + length) - now)
            best = max(best, gain)
            if survival < _LEAST_SURVIVAL:
                break
        return best

    def hope(self, state: _State, limit: int) -> float:
        """The expected gain of asking the draft model; a little where a trial can be afforded."""
        if self.cost.draft is None:
            return 0.0
        gain = self.ahead(state, 1.0, 0, limit)
        if gain > self._caution(state, MODEL):
            return gain
        # One drafted token is cheap beside a verification, and its confidence tells much.
        return _TRIAL if self._affords(state, MODEL, self.cost.draft(state.behind)) else 0.0

    def _affords(self, state: _State, source: Source, loss: float) -> bool:
        return state.lost_ms[_account(source)] + loss <= self._allowed(state)

    def best_cut(self, state: _State, proposal: Proposal) -> tuple[int, float]:
        """(length, gain in tokens) of the part of a proposal that is worth most to verify."""
        target = self.cost.target
        base = target(1)
        survival, gained = 1.0, 0.0
        if not proposal:
            return 0, 0.0
        best_length, best_gain = 0, self._caution(state, proposal.sources[0])
        risk = _RISK * self._allowed(state) - state.lost_ms[_account(proposal.sources[0])]
        for place, source in enumerate(proposal.sources):
            survival *= self.calibration.probability(source, proposal.confidences[place])
            gained += survival
            gain = gained - state.rate * (target(2 + place) - base)
            if place and target(2 + place) - base > risk:
                break
            if gain > best_gain:
                best_length, best_gain = place + 1, gain
            if survival < _LEAST_SURVIVAL:
                break
        return best_length, best_gain if best_length else 0.0

    def _caution(self, state: _State, source: Source) -> float:
        """The gain, in tokens, below which nothing is verified: more, the more has been lost."""
        return _CAUTION * max(state.lost_ms[_account(source)], 0.0) / self._allowed(state)

    def _allowed(self, state: _State) -> float:
        return _LOSS_SHARE * (state.spent_ms + _GRACE * self.cost.target(1))

    def review(self, seq: int, proposal: Proposal) -> Proposal:
        state = self._states[seq]
        if not proposal:
            return proposal
        if proposal.sources[0] == MODEL:
            self._learn_hope(state, proposal)
        length, _gain = self.best_cut(state, proposal)
        if not length and not self._worth_a_trial(state, proposal):
            return Proposal()
        length = length or 1
        return Proposal(
            proposal.tokens[:length], proposal.sources[:length], proposal.confidences[:length]
        )

    def _worth_a_trial(self, state: _State, proposal: Proposal) -> bool:
        """Whether to verify one token only to learn what the drafter is worth."""
        if self.calibration.seen(proposal.sources[0]) > _KNOWN:
            return False
        target = self.cost.target
        return self._affords(state, proposal.sources[0], target(2) - target(1))

    def _learn_hope(self, state: _State, proposal: Proposal) -> None:
        chances = [
            self.calibration.probability(MODEL, confidence) for confidence in proposal.confidences
        ]
        state.first += _HOPE_STEP * (chances[0] - state.first)
        for chance in chances[1:]:
            state.further += _HOPE_STEP * (chance - state.further)

    def observe(
        self, seq: int, proposal: Proposal, accepted: int, draft_ms: float, verify_ms: float
    ) -> None:
        state = self._states.get(seq)
        if state is None:
            return
        length = len(proposal)
        plain = self.cost.target(1)
        emitted = accepted + 1
        self.decisions[proposal.sources[0] if length else "plain"] += 1
        self.cost.target.observe(1 + length, verify_ms)
        if state.drafted and self.cost.draft is not None:
            self._observe_draft(state, draft_ms)
        for place in range(min(accepted + 1, length)):
            self.calibration.observe(
                proposal.sources[place], proposal.confidences[place], place < accepted
            )
        spent = draft_ms + verify_ms
        state.spent_ms += spent
        if length:
            self._charge(state, proposal.sources[0], verify_ms - emitted * plain)
        if state.drafted:
            self._charge(state, MODEL, draft_ms)
        if not state.drafted:
            state.behind += emitted
        elif length and proposal.sources[0] != MODEL:
            state.behind = emitted
        else:
            # After a full acceptance the last drafted token is unseen as well as the target's.
            state.behind = 2 if accepted >= state.drafted else 1
        rate = emitted / spent
        state.rate = max(state.rate + _RATE_STEP * (rate - state.rate), 1 / plain)

    def _charge(self, state: _State, source: Source, ms: float) -> None:
        account = _account(source)
        floor = -_CREDIT * self.cost.target(1)
        state.lost_ms[account] = max(state.lost_ms[account] + ms, floor)

    def _observe_draft(self, state: _State, draft_ms: float) -> None:
        draft = self.cost.draft
        if draft is None:
            return
        expected = draft(state.behind) + (state.drafted - 1) * draft(1)
        ratio = draft_ms / expected
        draft.observe(1, ratio * draft(1))

    def end(self, seq: int) -> None:
        self._states.pop(seq, None)


def _account(source: Source) -> Source:
    return source if source in (MODEL, PREDICTION) else OTHERS
