"""How the tokens of a request are chosen and where its text ends, under vLLM's names."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Self

from specli.app.prepare import constraint_of
from specli.errors import UsageError, shortened
from specli.option_table import LARGEST, OPTIONS
from specli.options import Options
from specli.sampling import params

_SEED_BITS = 32

_OTHER_NAMES = {
    "temperature": "temp",
    "repetition_penalty": "repeat_penalty",
    "max_tokens": "predict",
}
"""Fields whose options have other names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to choose tokens, and when to stop.

    Names are vLLM's, defaults are specli's: `temperature` 0 is greedy decoding (vLLM: 1.0), and
    `max_tokens` None goes on until the model ends its text or the context is full (vLLM: 16).

    `top_k` 0 or -1, `top_p` 1 and `min_p` 0 switch these filters off. Penalties look at the last
    `repeat_last_n` tokens, the prompt's included. `seed` None draws one for each request, which
    `RequestOutput.seed` reports. Generation ends before any of the strings in `stop`, and with
    `ignore_eos` not at the model's end token. `logit_bias` maps token ids to what is added to
    their logits. The text follows `grammar` (GBNF with a rule `root`) or `json_schema`, a schema
    as a mapping or as JSON. `exact` True insists that the models are loaded with it.

    Raises UsageError for a value outside its range, and for a grammar together with a schema.
    """

    temperature: float = 0.0
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    seed: int | None = None
    max_tokens: int | None = None
    stop: str | Sequence[str] = ()
    ignore_eos: bool = False
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    repeat_last_n: int = 64
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    grammar: str | None = None
    json_schema: str | Mapping[str, object] | None = None
    exact: bool | None = None

    def __post_init__(self) -> None:
        for name in ("temperature", "repetition_penalty"):
            option, value = OPTIONS[_OTHER_NAMES[name]], getattr(self, name)
            if not option.allows(value):
                raise UsageError(f"{name} is {shortened(value)}, but must be {option.range}")
        if self.max_tokens is not None and not 1 <= self.max_tokens <= LARGEST:
            raise UsageError(
                f"max_tokens is {shortened(self.max_tokens)}, but must be 1 to {LARGEST}, or None"
            )
        if self.grammar is not None and self.json_schema is not None:
            raise UsageError("both grammar and json_schema are set", hint="set one of them")
        self.choice(0)

    @classmethod
    def of_options(cls, options: Options) -> Self:
        """The parameters that options, such as a profile's, set; -1 is no limit and no seed.

        Raises UsageError for more than one grammar, and for a file that cannot be read.
        """
        grammar, schema = constraint_of(options)
        found = {
            one.name: getattr(options, _OTHER_NAMES.get(one.name, one.name)) for one in fields(cls)
        }
        found |= {"grammar": grammar, "json_schema": schema}
        for name in ("seed", "max_tokens"):
            if found[name] == -1:
                found[name] = None
        return cls(**{name: value for name, value in found.items() if value is not None})

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def schema_text(self) -> str | None:
        """The JSON schema as JSON."""
        schema = self.json_schema
        return schema if schema is None or isinstance(schema, str) else json.dumps(schema)

    def chosen_seed(self, default: int | None) -> int:
        """The seed of one request: its own, else `default`, else a random one."""
        if self.seed is not None:
            return self.seed
        return secrets.randbits(_SEED_BITS) if default is None else default

    def choice(self, seed: int) -> params.SamplingParams:
        """What the engine needs to choose a token."""
        return params.SamplingParams(
            temperature=self.temperature,
            top_k=max(self.top_k, 0),
            top_p=self.top_p,
            min_p=self.min_p,
            repeat_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            penalty_last_n=self.repeat_last_n,
            seed=seed,
            logit_bias=dict(self.logit_bias),
        )
