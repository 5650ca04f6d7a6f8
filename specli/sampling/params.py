"""How a token is chosen: the parameters, under llama.cpp's names and with its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from specli.errors import UsageError, shortened
from specli.options import LARGEST, MOST_BIAS, OPTIONS, allows_bias

RANGED = {
    "temperature": "temp",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "penalty_last_n": "repeat_last_n",
    "seed": "seed",
}
"""Parameters, and the options that say what they may be."""


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
        for field_, name in RANGED.items():
            option, value = OPTIONS[name], getattr(self, field_)
            if not option.allows(value):
                raise UsageError(f"`{name}` is {shortened(value)}, but must be {option.range}")
        for token, bias in self.logit_bias.items():
            if not (0 <= token <= LARGEST and allows_bias(bias)):
                raise UsageError(
                    f"the logit bias of token {shortened(token)} is {shortened(bias)}",
                    hint=f"token ids are 0 or more, biases at most {MOST_BIAS:,}; -inf forbids",
                )

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    @property
    def penalises(self) -> bool:
        return self.penalty_last_n > 0 and (
            self.repeat_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0
        )
