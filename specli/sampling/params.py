"""How a token is chosen: the parameters, under llama.cpp's names and with its defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from specli.errors import UsageError


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Temperature 0 is greedy. `top_k` 0, `top_p` 1 and `min_p` 0 switch those filters off.

    Penalties look at the last `penalty_last_n` tokens, the prompt's included. `logit_bias` maps
    token ids to what is added to their logits.
    """

    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_last_n: int = 64
    seed: int = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises UsageError for a value outside its range."""
        _require("temp", self.temperature, 0 <= self.temperature < math.inf, "0 or more")
        _require("top_k", self.top_k, self.top_k >= 0, "0 (off) or more")
        _require("top_p", self.top_p, 0 < self.top_p <= 1, "above 0, at most 1 (off)")
        _require("min_p", self.min_p, 0 <= self.min_p <= 1, "0 (off) to 1")
        _require(
            "repeat_penalty", self.repeat_penalty, 0 < self.repeat_penalty < math.inf, "above 0"
        )
        for name, value in (
            ("presence_penalty", self.presence_penalty),
            ("frequency_penalty", self.frequency_penalty),
        ):
            _require(name, value, math.isfinite(value), "a finite number")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    @property
    def penalises(self) -> bool:
        return self.penalty_last_n > 0 and (
            self.repeat_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0
        )


def _require(name: str, value: float, holds: bool, allowed: str) -> None:
    if not holds:
        raise UsageError(f"`{name}` is {value}, but must be {allowed}")
