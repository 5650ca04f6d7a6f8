"""The pair doctor: every rule for a target and a draft, a verdict, and the speed-up to expect.

The rules of llama.cpp decide whether a pair works; all others only warn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from specli.gguf.facts import ModelFacts, read_facts
from specli.gguf.header import Header
from specli.gguf.tokenizer import Tokenizer, read_tokenizer
from specli.pairs import advice
from specli.pairs.sizing import (
    CacheTypes,
    FreeMemory,
    MemoryNeed,
    Speedup,
    chosen_context,
    memory_need,
    predict_speedup,
)
from specli.pairs.vocabulary import RuleResult, Verdict, compare_tokenizers


@dataclass(frozen=True, slots=True)
class Setup:
    """What a pair is checked for: context in tokens as in `chosen_context`, and cache types.

    Without `free`, the free memory, needs are estimated but not judged.
    """

    context: int | None = None
    types: CacheTypes = field(default_factory=CacheTypes)
    draft_types: CacheTypes = field(default_factory=CacheTypes)
    free: FreeMemory | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model under examination, read once however many drafts it is compared with."""

    header: Header
    facts: ModelFacts
    tokenizer: Tokenizer


@dataclass(frozen=True, slots=True)
class PairReport:
    """All that was found about a pair. `memory` holds the needs of target and draft."""

    target: Model
    draft: Model
    context: int
    rules: list[RuleResult]
    speedup: Speedup
    memory: tuple[MemoryNeed, MemoryNeed]

    @property
    def compatible(self) -> bool:
        return all(rule.verdict != "fail" for rule in self.rules)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all rules."""
        verdicts = {rule.verdict for rule in self.rules}
        worst: tuple[Verdict, ...] = ("fail", "warn")
        return next((verdict for verdict in worst if verdict in verdicts), "pass")


def examine(header: Header) -> Model:
    """Read what a check needs. Raises ModelFileError for a model that would not load."""
    return Model(header, read_facts(header), read_tokenizer(header))


def check_pair(target: Model, draft: Model, setup: Setup) -> PairReport:
    """Hold a pair to every rule."""
    context = chosen_context(target.facts, setup.context)
    memory = (
        memory_need(target.facts, context, setup.types),
        memory_need(draft.facts, context, setup.draft_types),
    )
    rules = [
        *compare_tokenizers(target.tokenizer, draft.tokenizer),
        advice.special_tokens(target.tokenizer, draft.tokenizer),
        advice.ends(target.tokenizer, draft.tokenizer),
        advice.pre_tokenizer(target.tokenizer, draft.tokenizer),
        advice.chat_template(target.facts, draft.facts),
        advice.family(target.facts, draft.facts),
        advice.context(target.facts, draft.facts, context),
        advice.rollback(target.facts, draft.facts),
        advice.size_advice(target.facts, draft.facts),
        advice.cost(target.facts, draft.facts),
    ]
    if setup.free is not None:
        types = (setup.types, setup.draft_types)
        rules.append(advice.memory(target.facts, draft.facts, memory, context, types, setup.free))
    speedup = predict_speedup(target.facts, draft.facts)
    return PairReport(target, draft, context, rules, speedup, memory)


def rank(reports: Sequence[PairReport]) -> list[PairReport]:
    """Drafts that work first, those with the higher expected speed-up before others."""
    return sorted(reports, key=lambda found: (not found.compatible, -_expected(found.speedup)))


def _expected(speedup: Speedup) -> float:
    return speedup.low * speedup.high
