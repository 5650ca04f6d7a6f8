"""Rules that only warn: what makes a pair that works a poor one."""

from __future__ import annotations

from specli.figures import short_bytes, short_count
from specli.gguf.facts import ModelFacts
from specli.gguf.tokenizer import Tokenizer, shown
from specli.pairs.sizing import (
    GOOD_COST_RATIO,
    SMALLEST_COST_RATIO,
    CacheTypes,
    FreeMemory,
    MemoryNeed,
    cost_ratio,
    largest_context,
    largest_draft,
)
from specli.pairs.vocabulary import FIRST_COMPARED_ID, RuleResult, passed, warned


def special_tokens(target: Tokenizer, draft: Tokenizer) -> RuleResult:
    rule = "special tokens"
    notes = []
    texts = list(zip(target.texts, draft.texts, strict=False))[:FIRST_COMPARED_ID]
    different = [token for token, (mine, other) in enumerate(texts) if mine != other]
    if different:
        mine, other = texts[different[0]]
        notes.append(
            f"token {different[0]} is {shown(mine)} in the target and {shown(other)} in the draft"
        )
    bos, eos = ("none" if token is None else str(token) for token in (target.bos, target.eos))
    for name, own, token in (("BOS", bos, draft.bos), ("EOS", eos, draft.eos)):
        other_id = "none" if token is None else str(token)
        if own != other_id:
            notes.append(f"{name} is {own} in the target and {other_id} in the draft")
    if notes:
        return warned(rule, "; ".join(notes), "harmless unless prompts contain them")
    return passed(rule, f"BOS {bos}, EOS {eos} in both")


def ends(target: Tokenizer, draft: Tokenizer) -> RuleResult:
    rule = "end of generation"
    if target.ends == draft.ends:
        return passed(rule, f"{len(target.ends)} ending tokens in both")
    token = min(target.ends ^ draft.ends)
    owner, tokenizer = ("target", target) if token in target.ends else ("draft", draft)
    return warned(
        rule,
        f"token {token} {shown(tokenizer.texts[token])} ends an answer of the {owner} only",
        "the target decides when to stop; drafts are less often right near the end",
    )


def pre_tokenizer(target: Tokenizer, draft: Tokenizer) -> RuleResult:
    rule = "pre-tokenizer"
    mine, other = target.pre or "none", draft.pre or "none"
    if mine == other:
        return passed(rule, mine)
    return warned(
        rule,
        f"{mine} in the target, {other} in the draft",
        "text is split by the target's; the draft sees other splits than it was trained on",
    )


def chat_template(target: ModelFacts, draft: ModelFacts) -> RuleResult:
    rule = "chat template"
    if target.chat_template == draft.chat_template:
        return passed(rule, "the same" if target.chat_template else "neither has one")
    detail = "they differ"
    if not target.chat_template or not draft.chat_template:
        detail = f"the {'draft' if target.chat_template else 'target'} has none"
    hint = "the target's is used for both; a draft trained on another one is less often right"
    return warned(rule, detail, hint)


def family(target: ModelFacts, draft: ModelFacts) -> RuleResult:
    rule = "family"
    names = f"{target.name or target.architecture} and {draft.name or draft.architecture}"
    if target.architecture == draft.architecture:
        return passed(rule, f"both {target.architecture}: {names}")
    detail = f"{target.architecture} and {draft.architecture}: {names}"
    return warned(rule, detail, "drafts of the target's own family are more often right")


def context(target: ModelFacts, draft: ModelFacts, context: int) -> RuleResult:
    rule = "context"
    detail = (
        f"trained on {target.context_length} (target) and {draft.context_length} (draft) tokens; "
        f"checked for {context}"
    )
    if context > target.context_length:
        return warned(rule, detail, f"use -c {target.context_length}; beyond it quality falls")
    if context > draft.context_length:
        hint = "past its own the draft sees the beginning and the end of a text, which costs hits"
        return warned(rule, detail, hint)
    return passed(rule, detail)


def rollback(target: ModelFacts, draft: ModelFacts) -> RuleResult:
    rule = "rollback"
    roles = (("target", target), ("draft", draft))
    stateful = [f"the {role} ({facts.architecture})" for role, facts in roles if facts.is_recurrent]
    if not stateful:
        return passed(rule, "rejected tokens can be cut from both caches")
    return warned(
        rule,
        f"{' and '.join(stateful)} keeps a recurrent state that cannot be cut",
        "every rejected draft costs a restored state, so gains are smaller",
    )


def size_advice(target: ModelFacts, draft: ModelFacts) -> RuleResult:
    rule = "model sizes"
    detail = f"{_parameters(target)} target, {_parameters(draft)} draft"
    most = largest_draft(target)
    if most is None:
        detail += ": below 3B a draft model seldom pays"
        return warned(rule, detail, "n-gram drafting costs nothing and may do better here")
    detail += f": at most {short_count(most)} is advised"
    if draft.active_parameters > 1.1 * most:
        return warned(rule, f"{detail} for this target", "use a smaller draft of the family")
    return passed(rule, detail)


def _parameters(facts: ModelFacts) -> str:
    total = short_count(facts.parameters)
    if facts.active_parameters == facts.parameters:
        return total
    return f"{total} ({short_count(facts.active_parameters)} active)"


def cost(target: ModelFacts, draft: ModelFacts) -> RuleResult:
    rule = "cost ratio"
    ratio = cost_ratio(target, draft)
    detail = f"a target token reads {ratio:.1f} times the bytes of a draft token"
    if ratio >= GOOD_COST_RATIO:
        return passed(rule, detail)
    if ratio >= SMALLEST_COST_RATIO:
        return passed(rule, f"{detail}; {GOOD_COST_RATIO:g} or more is better")
    return warned(
        rule,
        f"{detail}; drafts should be {SMALLEST_COST_RATIO:g} to {GOOD_COST_RATIO:g} times smaller",
        "use a smaller or more strongly quantised draft",
    )


def memory(
    target: ModelFacts,
    draft: ModelFacts,
    needs: tuple[MemoryNeed, MemoryNeed],
    context: int,
    types: tuple[CacheTypes, CacheTypes],
    memory_free: FreeMemory,
) -> RuleResult:
    rule = "memory"
    need = sum(part.total for part in needs)
    weights = sum(part.weights for part in needs)
    caches = sum(part.cache for part in needs)
    free = [f"{short_bytes(memory_free.ram)} RAM"]
    free += [f"{short_bytes(device.free)} on {device.name}" for device in memory_free.devices]
    detail = (
        f"{short_bytes(need)} at {context} tokens ({short_bytes(weights)} weights, "
        f"{short_bytes(caches)} caches); free: {', '.join(free)}"
    )
    if need <= max(memory_free.ram, memory_free.total - memory_free.ram):
        return passed(rule, detail)
    if need <= memory_free.total:
        hint = "keep some layers on the CPU: lower -ngl until it fits"
        return RuleResult(rule, "pass", f"{detail}; neither holds both models alone", hint)
    fitting = largest_context(target, draft, memory_free.total, *types)
    hint = "use smaller quantisations: the weights alone leave no room for a context"
    if fitting:
        hint = f"-c {fitting} fits, or try -ctk q8_0 -ctv q8_0"
    return warned(rule, f"{detail}; it does not fit", hint)
