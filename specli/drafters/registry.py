"""Which drafter each kind of configuration builds: one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from specli.drafters import lookup
from specli.drafters.draft_model import DraftModel as ModelDrafter
from specli.drafters.grammar import GrammarDrafter
from specli.drafters.heads.core import HeadDrafter, Kind
from specli.drafters.lookup import LookupDrafter
from specli.drafters.ngram import NgramDrafter
from specli.drafters.prediction import PredictionDrafter
from specli.drafters.protocol import Drafter
from specli.drafters.suffix import SuffixDrafter
from specli.drafters.translated import TranslatedDrafter
from specli.drafters.translation import Translation
from specli.drafters.windowed import WindowedDrafter
from specli.llama.decoder import Decoder
from specli.llama.vocab import Vocab
from specli.speculative import (
    HEADS,
    DrafterConfig,
    DraftModel,
    Grammar,
    Head,
    NgramCache,
    NgramSimple,
    Prediction,
    Suffix,
)


@dataclass(frozen=True, slots=True)
class Materials:
    """What drafters are built from: the target's vocabulary, the draft model's context, with a
    translation where its vocabulary is another one, and a head; `n_ctx` is the target's context.

    `at_end` takes what has to be done when the drafters are no longer used.
    """

    vocab: Vocab
    draft: Decoder | None
    head: Kind | None
    at_end: Callable[[Callable[[], None]], object]
    translation: Translation | None = None
    n_ctx: int = 0
    wanted: Callable[[], bool] = lambda: True
    """Whether the draft model is likely to be asked for a text that begins."""


def _draft_model(_config: DraftModel, given: Materials) -> Drafter:
    if given.draft is None:
        raise ValueError("no draft model is loaded")
    model = ModelDrafter(given.draft, wanted=given.wanted)
    drafter: Drafter = model
    if given.draft.n_ctx < given.n_ctx:
        drafter = WindowedDrafter(model, given.draft.n_ctx)
    return TranslatedDrafter(drafter, given.translation) if given.translation else drafter


def _head(config: Head, given: Materials) -> Drafter:
    if given.head is None or given.head.name != config.name:
        raise ValueError(f"no head for {config.kind} is loaded")
    return HeadDrafter(given.head)


def _ngram_cache(config: NgramCache, given: Materials) -> Drafter:
    path = config.dynamic
    if path is None:
        return LookupDrafter()
    drafter = LookupDrafter(lookup.load(path, given.vocab.size))
    given.at_end(lambda: lookup.save(path, drafter.cache))
    return drafter


def _prediction(config: Prediction, given: Materials) -> Drafter:
    return PredictionDrafter(
        given.vocab.tokenize(config.text, add_special=False, parse_special=False)
    )


BUILDERS: Mapping[str, Callable[[Any, Materials], Drafter]] = {
    DraftModel.kind: _draft_model,
    **dict.fromkeys(HEADS, _head),
    Suffix.kind: lambda config, _given: SuffixDrafter() if config.shared else SuffixDrafter(0),
    NgramSimple.kind: lambda config, _given: NgramDrafter(config.size_n, config.size_m),
    Grammar.kind: lambda _config, _given: GrammarDrafter(),
    NgramCache.kind: _ngram_cache,
    Prediction.kind: _prediction,
}


def build(config: DrafterConfig, given: Materials) -> Drafter:
    """A new drafter. Raises UsageError for a lookup cache that cannot be read or does not fit the
    vocabulary, and ValueError for a draft model that is not loaded."""
    return BUILDERS[config.kind](config, given)
