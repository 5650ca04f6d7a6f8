"""The terms of the adaptive policy's decisions, in figures, and advice where a pair cannot pay."""

from __future__ import annotations

from dataclasses import dataclass

from specli.engine.policy.acceptance import EDGES
from specli.engine.policy.adaptive import AdaptivePolicy
from specli.engine.policy.cost import CHECKED, Curve
from specli.engine.policy.view import MOST_DRAFTED
from specli.events import MODEL, Source, Stats
from specli.figures import rounded

_SHORT_ANSWER = 16
_PAYS = 1.05
_SLOW_DRAFT = 0.6
_SURVIVES = 0.02


@dataclass(frozen=True, slots=True)
class Explanation:
    """Times in milliseconds; acceptance as (lowest confidence of the bin, rate, observations)."""

    target_ms: dict[int, float]
    drafting_ms: dict[Source, dict[int, float]]
    """Batches of each drafter with a model of its own."""
    rollback_ms: float
    acceptance: dict[Source, list[tuple[float, float, float]]]
    decisions: dict[str, int]
    """Rounds by the drafter whose proposal was verified, or `plain`."""
    asked: dict[Source, int]
    """Rounds in which a drafter with a model drafted, verified or not."""
    plain_ms: float | None
    """Time of plain decoding for the same tokens, by the rounds of this run without a proposal;
    None where those are too few."""
    plain_rounds: int
    """How many such rounds there were."""
    speedup: float | None
    """By the same rounds; None too where nothing was drafted."""
    break_even: dict[Source, float]
    """Share of a drafter's tokens that must be accepted for it to pay at all."""
    advice: str | None

    def as_dict(self) -> dict[str, object]:
        return {
            "target_ms": _rounded(self.target_ms),
            "drafting_ms": {name: _rounded(curve) for name, curve in self.drafting_ms.items()},
            "rollback_ms": round(self.rollback_ms, 3),
            "acceptance": {
                source: [
                    {"confidence": low, "rate": round(rate, 3), "seen": round(seen, 1)}
                    for low, rate, seen in rows
                ]
                for source, rows in self.acceptance.items()
            },
            "decisions": self.decisions,
            "asked": self.asked,
            "plain_ms": rounded(self.plain_ms, 1),
            "plain_rounds": self.plain_rounds,
            "speedup": rounded(self.speedup, 3),
            "break_even": {name: round(rate, 3) for name, rate in self.break_even.items()},
            "advice": self.advice,
        }


def _rounded(curve: dict[int, float]) -> dict[str, float]:
    return {str(size): round(ms, 3) for size, ms in curve.items()}


def explain(policy: AdaptivePolicy, stats: Stats) -> Explanation:
    """What the policy knows after a generation with these `stats`."""
    target = policy.cost.target
    plain = stats.plain_per_second
    estimated = None
    if stats.predicted_ms:
        estimated = stats.predicted_n * target(1) / stats.predicted_ms
    even = {name: break_even(policy, name) for name in policy.cost.drafters}
    return Explanation(
        target_ms=_points(target),
        drafting_ms={name: _points(curve) for name, curve in policy.cost.drafters.items()},
        rollback_ms=policy.cost.rollback,
        acceptance={source: _rates(policy, source) for source in policy.acceptance.tracks},
        decisions=dict(policy.decisions),
        asked=dict(policy.asked),
        plain_ms=1000 * stats.predicted_n / plain if plain else None,
        plain_rounds=len(stats.plain_times),
        speedup=stats.speedup,
        break_even=even,
        advice=_advice(policy, stats, stats.speedup or estimated, even),
    )


def _points(curve: Curve) -> dict[int, float]:
    return {size: curve(size) for size in curve.sizes}


def _rates(policy: AdaptivePolicy, source: Source) -> list[tuple[float, float, float]]:
    judged = policy.acceptance.track(source).judged
    return [
        (low, accepted / seen, seen)
        for low, (accepted, seen) in zip((0.0, *EDGES), judged, strict=True)
        if seen >= 1
    ]


def break_even(policy: AdaptivePolicy, name: Source) -> float:
    """The acceptance rate at which a drafter's best length just equals plain decoding.

    1.0 means that it cannot pay however often it is right.
    """
    low, high = 0.0, 1.0
    if _best_gain(policy, name, high) <= 0:
        return 1.0
    for _halving in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if _best_gain(policy, name, middle) > 0 else (middle, high)
    return high


def _best_gain(policy: AdaptivePolicy, name: Source, rate: float) -> float:
    """Milliseconds that the best length saves a round when every token is accepted at `rate`."""
    target, drafting = policy.cost.target, policy.cost.drafters[name]
    plain, best, survival, gained = target(1), float("-inf"), 1.0, 0.0
    for length in range(1, MOST_DRAFTED + 1):
        survival *= rate
        gained += survival
        best = max(best, gained * plain - length * drafting(1) - (target(1 + length) - plain))
        if survival < _SURVIVES:
            break
    return best


def _advice(
    policy: AdaptivePolicy, stats: Stats, speedup: float | None, even: dict[Source, float]
) -> str | None:
    """One sentence with the numbers, where the pair has not paid and this run has measured why."""
    if speedup is None or speedup >= _PAYS:
        return None
    if stats.predicted_n < _SHORT_ANSWER:
        return (
            f"short answer ({stats.predicted_n} tokens): "
            "speculation needs some rounds to find out what pays"
        )
    cost = policy.cost
    target_ms = cost.target(1)
    if not cost.sure or cost.target.seen[1] < CHECKED:
        return None
    for name, least in even.items():
        drafting_ms = cost.drafters[name](1)
        if not cost.drafters[name].seen:
            continue
        if least >= 1 or drafting_ms > _SLOW_DRAFT * target_ms:
            instead = "try a much smaller one" if name == MODEL else "`no_draft` leaves it out"
            return (
                f"{name} too slow: {drafting_ms:.1f} ms/token against the target's "
                f"{target_ms:.1f}; {instead}"
            )
        counts = stats.by_drafter.get(name)
        rate = counts.acceptance_rate if counts is not None else None
        if rate is not None and rate < least:
            return (
                f"acceptance rate of {name} {100 * rate:.0f} %, below the {100 * least:.0f} % that "
                "pay at these costs; try a draft closer to the target, or none for such texts"
            )
    return None
