"""How many sequences to run side by side."""

from __future__ import annotations

from specli.engine.policy.cost import Curve

_NEAR_BEST = 0.95


def best_parallel(target: Curve, most: int) -> int:
    """The fewest sequences, of at most `most`, whose plain decoding comes near the most tokens a
    second: n of them take T(n) for n tokens. More would only make each of them slower."""
    speeds = {count: count / target(count) for count in range(1, most + 1)}
    enough = _NEAR_BEST * max(speeds.values())
    return min(count for count, speed in speeds.items() if speed >= enough)
