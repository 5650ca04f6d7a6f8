"""Rules that only warn: what makes a pair that works a poor one."""

from __future__ import annotations

from specli.gguf.facts import ModelFacts
from specli.gguf.tokenizer import Tokenizer, shown
from specli.pairs.quantities import short_bytes, short_count
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
from specli.pairs.vocabulary import FIRST_COMPARED_ID, RuleResult


def special_tokens(target: Tokenizer, draft: Tokenizer) -> RuleResult:
    rule = "special tokens"
    notes = []
    end = min(FIRST_COMPARED_ID, len(target), len(draft))
    different = [index for index in range(end) if target.texts[index] != draft.texts[index]]
    if different:
        first = different[0]
        notes.append(
            f"token {first} is {shown(target.texts[first])} in the target and "
            f"{shown(draft.texts[first])} in the draft"
        )
    if target.bos != draft.bos:
        notes.append(f"BOS is {_id(target.bos)} in the target and {_id(draft.bos)} in the draft")
    if target.eos != draft.eos:
        notes.append(f"EOS is {_id(target.eos)} in the target and {_id(draft.eos)} in the draft")
    if notes:
        return RuleResult(rule, "warn", "; ".join(notes), "harmless unless prompts contain them")
    return RuleResult(rule, "pass", f"BOS {_id(target.bos)}, EOS {_id(target.eos)} in both")


def _id(token: int | None) -> str:
    return "none" if token is None else str(token)


def ends(target: Tokenizer, draft: Tokenizer) -> RuleResult:
    rule = "end of generation"
    if target.ends == draft.ends:
        return RuleResult(rule, "pass", f"{len(target.ends)} ending tokens in both")
    token = min(target.ends ^ draft.ends)
    owner, tokenizer = ("target", target) if token in target.ends else ("draft", draft)
    text = shown(tokenizer.texts[token])
    return RuleResult(
        rule,
        "warn",
        f"token {token} {text} ends an answer of the {owner} only",
        "the target decides when to stop; drafts are less often right near the end",
    )


def pre_tokenizer(target: Tokenizer, draft: Tokenizer) -> RuleResult:
    rule = "pre-tokenizer"
    if target.pre == draft.pre:
        return RuleResult(rule, "pass", target.pre or "none")
    return RuleResult(
        rule,
        "warn",
        f"{target.pre or 'none'} in the target, {draft.pre or 'none'} in the draft",
        "text is split by the target's; the draft sees other splits than it was trained on",
    )


def chat_template(target: ModelFacts, draft: ModelFacts) -> RuleResult:
    rule = "chat template"
    if target.chat_template == draft.chat_template:
        return RuleResult(rule, "pass", "the same" if target.chat_template else "neither has one")
    missing = [
        name for name, facts in (("target", target), ("draft", draft)) if not facts.chat_template
    ]
    detail = f"the {missing[0]} has none" if missing else "they differ"
    return RuleResult(
        rule,
        "warn",
        detail,
        "the target's is used for both; a draft trained on another one is less often right",
    )


def family(target: ModelFacts, draft: ModelFacts) -> RuleResult:
    rule = "family"
    names = f"{target.name or target.architecture} and {draft.name or draft.architecture}"
    if target.architecture == draft.architecture:
        return RuleResult(rule, "pass", f"both {target.architecture}: {names}")
    return RuleResult(
        rule,
        "warn",
        f"{target.architecture} and {draft.architecture}: {names}",
        "drafts of the target's own family are more often right",
    )


def context(target: ModelFacts, draft: ModelFacts, context: int) -> RuleResult:
    rule = "context"
    detail = (
        f"trained on {target.context_length} (target) and {draft.context_length} (draft) tokens; "
        f"checked for {context}"
    )
    if context > target.context_length:
        return RuleResult(
            rule, "warn", detail, f"use -c {target.context_length}; beyond it quality falls"
        )
    if context > draft.context_length:
        hint = f"use -c {draft.context_length}; beyond it drafts are seldom right"
        return RuleResult(rule, "warn", detail, hint)
    return RuleResult(rule, "pass", detail)


def rollback(target: ModelFacts, draft: ModelFacts) -> RuleResult:
    rule = "rollback"
    stateful = [
        f"the {name} ({facts.architecture})"
        for name, facts in (("target", target), ("draft", draft))
        if facts.is_recurrent
    ]
    if not stateful:
        return RuleResult(rule, "pass", "rejected tokens can be cut from both caches")
    return RuleResult(
        rule,
        "warn",
        f"{' and '.join(stateful)} keeps a recurrent state that cannot be cut",
        "every rejected draft costs a restored state, so gains are smaller",
    )


def size_advice(target: ModelFacts, draft: ModelFacts) -> RuleResult:
    rule = "model sizes"
    detail = f"{_parameters(target)} target, {_parameters(draft)} draft"
    most = largest_draft(target)
    if most is None:
        return RuleResult(
            rule,
            "warn",
            f"{detail}: below 3B a draft model seldom pays",
            "n-gram drafting costs nothing and may do better here",
        )
    if draft.active_parameters > 1.1 * most:
        return RuleResult(
            rule,
            "warn",
            f"{detail}: at most {short_count(most)} is advised for this target",
            "use a smaller draft of the family",
        )
    return RuleResult(rule, "pass", f"{detail}: at most {short_count(most)} is advised")


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
        return RuleResult(rule, "pass", detail)
    if ratio >= SMALLEST_COST_RATIO:
        return RuleResult(rule, "pass", f"{detail}; {GOOD_COST_RATIO:g} or more is better")
    return RuleResult(
        rule,
        "warn",
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
    free = [f"{short_bytes(memory_free.ram)} RAM"]
    free += [f"{short_bytes(device.free)} on {device.name}" for device in memory_free.devices]
    detail = (
        f"{short_bytes(need)} at {context} tokens ({short_bytes(weights)} weights, "
        f"{short_bytes(sum(part.cache for part in needs))} caches); free: {', '.join(free)}"
    )
    if need <= memory_free.ram or need <= sum(device.free for device in memory_free.devices):
        return RuleResult(rule, "pass", detail)
    if need <= memory_free.total:
        return RuleResult(
            rule,
            "pass",
            f"{detail}; neither holds both models alone",
            "keep some layers on the CPU: lower -ngl until it fits",
        )
    fitting = largest_context(target, draft, memory_free.total, *types)
    if fitting:
        hint = f"-c {fitting} fits, or try -ctk q8_0 -ctv q8_0"
    else:
        hint = "use smaller quantisations: the weights alone leave no room for a context"
    return RuleResult(rule, "warn", f"{detail}; it does not fit", hint)
