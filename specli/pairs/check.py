"""Every rule for a target and a draft, and a verdict.

The rules of llama.cpp decide whether a pair works; all others only warn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from specli.gguf.facts import ModelFacts, read_facts
from specli.gguf.header import Header
from specli.gguf.heads import HeadFacts, read_head
from specli.gguf.tokenizer import Tokenizer, read_tokenizer
from specli.pairs import advice
from specli.pairs.heads import head_rules
from specli.pairs.sizing import (
    PAYING_COST_RATIO,
    CacheTypes,
    FreeMemory,
    MemoryNeed,
    chosen_context,
    cost_ratio,
    draft_context,
    memory_need,
)
from specli.pairs.vocabulary import VOCABULARY_RULES, RuleResult, compare_tokenizers

Verdict = Literal["same", "mapped", "incompatible"]
"""Whether the draft has the target's vocabulary, drafts by translation, or cannot draft."""

VERDICTS: tuple[Verdict, ...] = ("same", "mapped", "incompatible")
"""Best first."""


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What a pair is checked for: context in tokens as in `chosen_context`, and cache types.

    Without `free`, the free memory, needs are estimated but not judged. With `strict_vocab` a
    draft with another vocabulary is refused.
    """

    context: int | None = None
    types: CacheTypes = field(default_factory=CacheTypes)
    draft_types: CacheTypes = field(default_factory=CacheTypes)
    free: FreeMemory | None = None
    strict_vocab: bool = False


@dataclass(frozen=True, slots=True)
class ExaminedModel:
    """A model that is read once however many drafts it is compared with; `head` where it is one."""

    header: Header
    facts: ModelFacts
    tokenizer: Tokenizer
    head: HeadFacts | None = None


@dataclass(frozen=True, slots=True)
class PairCheck:
    """What was found about a pair. `memory` holds the needs of target and draft."""

    target: ExaminedModel
    draft: ExaminedModel
    context: int
    rules: list[RuleResult]
    memory: tuple[MemoryNeed, MemoryNeed]
    strict_vocab: bool = False

    @property
    def verdict(self) -> Verdict:
        failed = {rule.rule for rule in self.rules if rule.verdict == "fail"}
        if not failed:
            return "same"
        translatable = self.draft.head is None and self.draft.facts.writes_text
        only_words = failed <= set(VOCABULARY_RULES) and not self.strict_vocab
        return "mapped" if translatable and only_words else "incompatible"

    @property
    def compatible(self) -> bool:
        """Whether the draft can draft, be it by translation."""
        return self.verdict != "incompatible"

    @property
    def cost_ratio(self) -> float:
        """How many times more bytes a token of the target reads than one of the draft.

        A head without an output matrix reads the target's.
        """
        draft = self.draft.facts
        if self.draft.head is not None and self.draft.head.borrows_output:
            borrowed = draft.active_bytes + self.target.facts.output_bytes
            draft = replace(draft, active_bytes=borrowed)
        return cost_ratio(self.target.facts, draft)

    @property
    def may_pay(self) -> bool:
        """Whether the draft is small enough to gain anything."""
        return self.cost_ratio >= PAYING_COST_RATIO


def examine(header: Header) -> ExaminedModel:
    """Read what a check needs. Raises ModelFileError for a model that would not load."""
    return ExaminedModel(header, read_facts(header), read_tokenizer(header), read_head(header))


def check_pair(target: ExaminedModel, draft: ExaminedModel, setup: CheckOptions) -> PairCheck:
    """Check a pair by every rule; a head by those for heads."""
    facts, tokenizers = (target.facts, draft.facts), (target.tokenizer, draft.tokenizer)
    context = chosen_context(target.facts, setup.context)
    types = (setup.types, setup.draft_types)
    drafting = context if draft.head is not None else draft_context(draft.facts, context)
    memory = (
        memory_need(target.facts, context, setup.types),
        memory_need(draft.facts, drafting, setup.draft_types),
    )
    if draft.head is not None:
        rules = head_rules(target.facts, draft.head, *tokenizers)
    else:
        rules = [
            *compare_tokenizers(*tokenizers),
            advice.special_tokens(*tokenizers),
            advice.ends(*tokenizers),
            advice.pre_tokenizer(*tokenizers),
            advice.chat_template(*facts),
            advice.family(*facts),
            advice.size_advice(*facts),
            advice.cost(*facts),
        ]
    rules += [advice.context(*facts, context), advice.rollback(*facts)]
    if setup.free is not None:
        rules.append(advice.memory(*facts, memory, context, types, setup.free))
    return PairCheck(target, draft, context, rules, memory, setup.strict_vocab)


def merit(report: PairCheck) -> tuple[int, bool, float]:
    """Sorts pairs: the same vocabulary first, then by translation, then what cannot draft; among
    equals heads, then by bytes that a draft token reads.

    How often a draft is right cannot be read from its header, but a head was trained on the very
    target.
    """
    return VERDICTS.index(report.verdict), report.draft.head is None, -report.cost_ratio


def rank(reports: Sequence[PairCheck]) -> list[PairCheck]:
    return sorted(reports, key=merit)
