"""From a prompt of a batch to a request for the engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

from specli.batch.fields import Speculative
from specli.batch.ids import digest
from specli.batch.prompt import Prompt
from specli.batch.speculation import limits_of
from specli.engine.sequence import GenerationRequest
from specli.errors import UsageError
from specli.llama.chat import Message, prompt_tokens, with_system
from specli.llama.constraint import Rules, rules_of
from specli.llama.model import Model
from specli.sampling.params import SamplingParams
from specli.speculative import DrafterConfig

_rules = lru_cache(maxsize=64)(rules_of)


@dataclass(frozen=True, slots=True)
class Defaults:
    """Settings for every prompt whose line does not override them."""

    sampling: SamplingParams
    max_tokens: int | None = None
    system: str | None = None
    raw: bool = False
    stops: tuple[str, ...] = ()
    ignore_end: bool = False
    rules: Rules | None = None
    drafters: Sequence[DrafterConfig] = ()
    """What is loaded; a line chooses among them."""


_NOT_DECIDING = ("id", "location", "prediction", "speculative")


def request_hash(prompt: Prompt, settings: Mapping[str, object]) -> str:
    """A hash, 32 hexadecimal digits, of everything that decides an answer's text."""
    deciding = {
        name: value
        for name, value in asdict(prompt).items()
        if value is not None and name not in _NOT_DECIDING
    }
    return digest(json.dumps([deciding, settings], sort_keys=True)).hex()


def build(model: Model, prompt: Prompt, defaults: Defaults) -> GenerationRequest:
    """The request of a prompt; the caller closes its grammar.

    Raises UsageError for invalid messages, settings or schemas.
    """
    tokens = _prompt_tokens(model, prompt, defaults)
    predicted: list[int] = []
    if prompt.prediction is not None:
        predicted = model.vocab.tokenize(prompt.prediction, add_special=False, parse_special=False)
    asked = Speculative.model_validate(prompt.speculative or {})
    predicts = prompt.prediction is not None
    speculate, limits = limits_of(asked, defaults.drafters, predicts=predicts)
    rules = defaults.rules if prompt.json_schema is None else _rules(None, prompt.json_schema)
    return GenerationRequest(
        prompt=tokens,
        max_tokens=defaults.max_tokens if prompt.max_tokens is None else prompt.max_tokens,
        sampling=_sampling(prompt, defaults.sampling),
        stops=defaults.stops if prompt.stop is None else prompt.stop,
        ignore_end=defaults.ignore_end,
        grammar=None if rules is None else rules.begin(model.vocab),
        prediction=tuple(predicted),
        speculate=speculate,
        limits=limits,
        exact=bool(prompt.exact),
    )


def _prompt_tokens(model: Model, prompt: Prompt, defaults: Defaults) -> list[int]:
    messages = [Message(role, text) for role, text in prompt.messages]
    if prompt.raw or defaults.raw:
        if prompt.system is not None or len(messages) > 1 or messages[0].role != "user":
            raise UsageError("several messages need the chat template, which --raw disables")
        return model.vocab.tokenize(messages[0].content, add_special=True)
    system = defaults.system if prompt.system is None else prompt.system
    return prompt_tokens(model, with_system(system, messages))


_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed")


def _sampling(prompt: Prompt, sampling: SamplingParams) -> SamplingParams:
    own = {name: getattr(prompt, name) for name in _SAMPLING}
    return replace(sampling, **{name: value for name, value in own.items() if value is not None})
