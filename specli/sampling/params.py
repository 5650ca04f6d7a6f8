"""How a token is chosen: the parameters, under llama.cpp's names and with its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from specli.errors import UsageError, shortened
from specli.option_table import LARGEST, MOST_BIAS, OPTIONS
from specli.option_values import allows_bias

OPTION_NAMES = {
    "temperature": "temp",
    "penalty_last_n": "repeat_last_n",
    "dynatemp_exponent": "dynatemp_exp",
    "dry_last_n": "dry_penalty_last_n",
    "dry_breakers": "dry_sequence_breaker",
    "mirostat_rate": "mirostat_lr",
    "mirostat_entropy": "mirostat_ent",
}
"""The options of those parameters that have other names than their options."""

PENALTIES = ("penalties", "dry")
FILTERS = ("top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc")
SAMPLERS = (*PENALTIES, *FILTERS, "temperature")
"""In llama.cpp's order, under its names."""

ADAPTIVE = "adaptive_p"
"""No sampler unless it is named; it takes part last."""

_LETTERS = dict(zip("edskypmxta", (*SAMPLERS, ADAPTIVE), strict=True))
_OTHER_NAMES = {"nucleus": "top_p", "temp": "temperature", "typ": "typ_p", "typical_p": "typ_p"}

BREAKERS = ("\n", ":", '"', "*")  # of common/common.h


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Temperature 0 is greedy. `top_k` 0, `top_p` 1, `min_p` 0, `typical_p` 1, `top_n_sigma` 0 and
    `xtc_probability` 0 switch those filters off, `dry_multiplier` 0 the penalty of repetitions.

    Penalties look at the last `penalty_last_n` tokens, the prompt's included, DRY at the last
    `dry_last_n`. `logit_bias` maps token ids to what is added to their logits. `samplers` are those
    that take part, in their order. `mirostat` 1 or 2 takes the place of all but the temperature.
    `adaptive_target` is for the sampler adaptive_p.
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
    typical_p: float = 1.0
    top_n_sigma: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_last_n: int = 64
    dry_breakers: tuple[str, ...] = BREAKERS
    mirostat: int = 0
    mirostat_rate: float = 0.1
    mirostat_entropy: float = 5.0
    adaptive_target: float = -1.0
    adaptive_decay: float = 0.9
    samplers: tuple[str, ...] = SAMPLERS

    def __post_init__(self) -> None:
        """Raises UsageError for a value outside its range."""
        for one in fields(self):
            option, value = OPTIONS[OPTION_NAMES.get(one.name, one.name)], getattr(self, one.name)
            if isinstance(value, int | float) and not option.allows(value):
                raise UsageError(
                    f"`{option.name}` is {shortened(value)}, but must be {option.range}"
                )
        for token, bias in self.logit_bias.items():
            if not (0 <= token <= LARGEST and allows_bias(bias)):
                raise UsageError(
                    f"the logit bias of token {shortened(token)} is {shortened(bias)}",
                    hint=f"token ids are 0 or more, biases at most {MOST_BIAS:,}; -inf forbids",
                )

        _require_order(self.samplers)

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 and "temperature" in self.samplers

    @property
    def takes_best(self) -> bool:
        """Whether the token with the highest logit is taken, after penalties."""
        moves = self.typical_p < 1 or self.xtc_probability > 0
        return self.greedy and (not moves or self.mirostat != 0)

    @property
    def adapts(self) -> bool:
        """Whether adaptive-p takes part."""
        return ADAPTIVE in self.applied and self.adaptive_target >= 0

    @property
    def penalises(self) -> bool:
        return (
            self.penalty_last_n > 0
            and "penalties" in self.applied
            and (
                self.repeat_penalty != 1
                or self.presence_penalty != 0
                or self.frequency_penalty != 0
            )
        )

    @property
    def punishes_repetition(self) -> bool:
        """Whether DRY takes part."""
        return (
            self.dry_multiplier != 0
            and self.dry_base >= 1
            and self.dry_last_n > 0
            and "dry" in self.applied
        )

    @property
    def applied(self) -> tuple[str, ...]:
        """The samplers that take part: with mirostat the temperature only, as in llama.cpp."""
        return ("temperature",) if self.mirostat else self.samplers


def sampler_names(text: str) -> tuple[str, ...]:
    """The samplers of `top_k;temperature`, of its other spellings, or of `kt`.

    Names that do not exist are left to SamplingParams.
    """
    names = [part.strip().lower().replace("-", "_") for part in text.split(";") if part.strip()]
    names = [_OTHER_NAMES.get(name, name) for name in names]
    if len(names) == 1 and names[0] not in (*SAMPLERS, ADAPTIVE) and {*names[0]} <= {*_LETTERS}:
        names = [_LETTERS[letter] for letter in names[0]]
    return tuple(names)


def _require_order(samplers: tuple[str, ...]) -> None:
    known = (*SAMPLERS, ADAPTIVE)
    for name in samplers:
        if name not in known:
            raise UsageError(f"`samplers` has no {name!r}", hint=f"it has: {', '.join(known)}")
    if ADAPTIVE in samplers[:-1]:
        raise UsageError(
            f"`samplers` has {ADAPTIVE} before another one", hint="it chooses, so it comes last"
        )
    if len({*samplers}) < len(samplers):
        raise UsageError("`samplers` names one twice", hint="each takes part once")
    first = [name in PENALTIES for name in samplers]
    if first != sorted(first, reverse=True):
        raise UsageError(
            "`samplers` has penalties or dry after another one",
            hint="they look at all tokens, so they come first",
        )
