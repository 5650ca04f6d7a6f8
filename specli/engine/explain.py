"""Why the adaptive policy decided as it did, in figures, and advice where a pair cannot pay."""

from __future__ import annotations

from dataclasses import dataclass

from specli.engine.adaptive import DRAFT_LIMIT, AdaptivePolicy
from specli.engine.calibration import EDGES
from specli.events import MODEL, Source, Stats

_SHORT_ANSWER = 16
_PAYS = 1.05
_SLOW_DRAFT = 0.6
_SURVIVES = 0.02


@dataclass(frozen=True, slots=True)
class Explanation:
    """Times in milliseconds; acceptance as (lowest confidence of the bin, rate, observations)."""

    target_ms: dict[int, float]
    draft_ms: dict[int, float]
    acceptance: dict[Source, list[tuple[float, float, float]]]
    decisions: dict[str, int]
    plain_ms: float
    """Estimated time of plain decoding for the same tokens: their number times T(1)."""
    plain_rounds: int
    """Rounds of this run that measured T(1); with none it rests on the probe."""
    speedup: float | None
    break_even: float | None
    """Share of the draft's tokens that must be accepted for it to pay at all; None: no draft."""
    advice: str | None

    def as_dict(self) -> dict[str, object]:
        return {
            "target_ms": {str(size): round(ms, 3) for size, ms in self.target_ms.items()},
            "draft_ms": {str(size): round(ms, 3) for size, ms in self.draft_ms.items()},
            "acceptance": {
                source: [
                    {"confidence": low, "rate": round(rate, 3), "seen": round(seen, 1)}
                    for low, rate, seen in rows
                ]
                for source, rows in self.acceptance.items()
            },
            "decisions": self.decisions,
            "plain_ms": round(self.plain_ms, 1),
            "plain_rounds": self.plain_rounds,
            "speedup": None if self.speedup is None else round(self.speedup, 3),
            "break_even": None if self.break_even is None else round(self.break_even, 3),
            "advice": self.advice,
        }


def explain(policy: AdaptivePolicy, stats: Stats) -> Explanation:
    """What the policy knows after a generation that `stats` tells of."""
    target, draft = policy.cost.target, policy.cost.draft
    plain_ms = stats.predicted_n * target(1)
    speedup = plain_ms / stats.predicted_ms if stats.predicted_ms else None
    even = break_even(policy)
    return Explanation(
        target_ms={size: target(size) for size in target.sizes},
        draft_ms={} if draft is None else {size: draft(size) for size in draft.sizes},
        acceptance={source: _rates(policy, source) for source in policy.calibration.tables},
        decisions=dict(policy.decisions),
        plain_ms=plain_ms,
        plain_rounds=target.seen[1],
        speedup=speedup,
        break_even=even,
        advice=_advice(policy, stats, speedup, even),
    )


def _rates(policy: AdaptivePolicy, source: Source) -> list[tuple[float, float, float]]:
    table = policy.calibration.tables[source]
    return [
        (low, accepted / seen, seen)
        for low, (accepted, seen) in zip((0.0, *EDGES), table, strict=True)
        if seen >= 1
    ]


def break_even(policy: AdaptivePolicy) -> float | None:
    """The acceptance rate at which the best draft length just equals plain decoding.

    1.0 or more means that the draft cannot pay however often it is right.
    """
    draft = policy.cost.draft
    if draft is None:
        return None
    low, high = 0.0, 1.0
    if _best_gain(policy, high) <= 0:
        return 1.0
    for _halving in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if _best_gain(policy, middle) > 0 else (middle, high)
    return high


def _best_gain(policy: AdaptivePolicy, rate: float) -> float:
    """Milliseconds that the best draft length saves a round when every token has `rate`."""
    target, draft = policy.cost.target, policy.cost.draft
    if draft is None:
        return 0.0
    plain, best, survival, gained = target(1), float("-inf"), 1.0, 0.0
    for length in range(1, DRAFT_LIMIT + 1):
        survival *= rate
        gained += survival
        best = max(best, gained * plain - length * draft(1) - (target(1 + length) - plain))
        if survival < _SURVIVES:
            break
    return best


def _advice(
    policy: AdaptivePolicy, stats: Stats, speedup: float | None, even: float | None
) -> str | None:
    """One sentence, with the numbers, where the pair has not paid."""
    if speedup is None or speedup >= _PAYS:
        return None
    if stats.predicted_n < _SHORT_ANSWER:
        return (
            f"the answer had only {stats.predicted_n} tokens: "
            f"speculation needs some rounds to find out what pays"
        )
    draft = policy.cost.draft
    if draft is None or even is None:
        return None
    target_ms, draft_ms = policy.cost.target(1), draft(1)
    if even >= 1 or draft_ms > _SLOW_DRAFT * target_ms:
        return (
            f"the draft takes {draft_ms:.1f} ms a token and the target {target_ms:.1f} ms: "
            "a draft several times smaller is needed"
        )
    counts = stats.by_drafter.get(MODEL)
    rate = counts.acceptance_rate if counts is not None else None
    if rate is not None and rate < even:
        return (
            f"{100 * rate:.0f} % of the draft's tokens were accepted, but {100 * even:.0f} % "
            "are needed to pay at these costs: a closer draft is needed, or none for such texts"
        )
    return None
