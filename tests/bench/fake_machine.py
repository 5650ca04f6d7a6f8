"""Settings whose speeds are known, on a clock that only measurements move."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from specli.bench.halving import Failed, Race

S = TypeVar("S", bound=Hashable)


@dataclass
class FakeMachine(Generic[S]):
    """`speedup` of a setting over plain decoding; `noise` is a share of each speed."""

    speedup: Callable[[S], float | Failed]
    noise: float = 0.0
    tokens: int = 50
    plain_speed: float = 50.0
    prompt_seconds: float = 0.1
    seed: int = 0
    now: float = 1000.0
    measured: list[tuple[S, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def clock(self) -> float:
        return self.now

    def measure(self, setting: S, number: int, deadline: float) -> float | Failed | None:
        speedup = self.speedup(setting)
        if isinstance(speedup, Failed):
            return speedup
        # Prompts differ for all settings alike, and the machine slows down as time goes on.
        prompt = random.Random(number).uniform(0.7, 1.4)
        drift = 1 - 0.3 * min(1.0, (self.now - 1000) / 1000)
        noise = self._random.gauss(0, self.noise)
        speed = self.plain_speed * speedup * prompt * drift * max(0.2, 1 + noise)
        seconds = self.prompt_seconds + self.tokens / speed
        if self.now + seconds > deadline:
            self.now = max(self.now, deadline)
            return None
        self.now += seconds
        self.measured.append((setting, number))
        return speed

    def race(self, plain: S, budget: float) -> Race[S]:
        return Race(plain, self.measure, self.clock, self.now + budget)
