"""Rules for a target and a draft head: what llama.cpp would abort on, or draft nonsense with."""

from __future__ import annotations

from os import PathLike

from specli.errors import PairIncompatibleError
from specli.figures import counted, short_bytes
from specli.gguf.facts import ModelFacts, read_facts
from specli.gguf.header import Header
from specli.gguf.heads import (
    ASSISTANT,
    ASSISTED,
    EAGLE3,
    MTP,
    ONE_MTP_HEAD,
    PUBLISHING,
    PUBLISHING_LAST,
    PUBLISHING_NEXTN,
    SEVERAL_MTP_HEADS,
    HeadFacts,
    read_mtp_layers,
)
from specli.gguf.tokenizer import Tokenizer, read_tokenizer
from specli.pairs.vocabulary import RuleResult, passed, token_texts, vocabulary_type

OTHER_HEAD = "use the head that was trained for this very target"
NO_HEAD = "draft with a model of the target's family, or from the text itself"


def described(head: HeadFacts) -> str:
    """A head in one line: its drafter, its blocks, what it reads and proposes."""
    parts = [head.kind, counted(head.layers, "layer"), short_bytes(head.weight_bytes)]
    if head.target_layers:
        parts.append(f"reads layers {', '.join(map(str, head.target_layers))}")
    if head.longest is not None:
        parts.append(f"up to {head.longest} tokens at once")
    if head.has_confidence:
        parts.append("says how sure it is")
    return ", ".join(parts)


def head_rules(
    target: ModelFacts, head: HeadFacts, target_tokens: Tokenizer, head_tokens: Tokenizer
) -> list[RuleResult]:
    """Every rule for a head in a file of its own; it can draft where none fails."""
    if head.has_selector:
        return [
            _failed("head", "it is a DFlash2 head, whose selector specli does not have", NO_HEAD)
        ]
    return [
        passed("head", described(head)),
        mtp_graph(target, head) if head.kind == MTP else _layer_inputs(target, head),
        _width(target, head),
        vocabulary_type(target_tokens, head_tokens),
        token_texts(target_tokens, head_tokens),
        _draft_vocabulary(target_tokens, head),
    ]


def require_head(
    target: Header,
    head: Header,
    facts: HeadFacts,
    target_path: str | PathLike[str],
    head_path: str | PathLike[str],
) -> None:
    """Raise PairIncompatibleError naming the first broken rule; ModelFileError where the target
    or a tokenizer would not load."""
    tokens = read_tokenizer(target), read_tokenizer(head)
    for result in head_rules(read_facts(target), facts, *tokens):
        if result.verdict == "fail":
            raise PairIncompatibleError(
                f"{head_path} cannot draft for {target_path}: {result.detail}", hint=result.hint
            )


def require_own_heads(target: Header, path: str | PathLike[str]) -> None:
    """Raise PairIncompatibleError where the MTP layers in a target's own file cannot draft."""
    own = read_mtp_layers(target)
    if own is None:
        raise PairIncompatibleError(
            f"{path} has no MTP layers to draft with",
            hint="name a file of them with `model_draft`, or drop `spec_type` draft-mtp",
        )
    result = mtp_graph(read_facts(target), own)
    if result.verdict == "fail":
        raise PairIncompatibleError(
            f"{path} cannot draft with its MTP layers: {result.detail}", hint=result.hint
        )


def mtp_graph(target: ModelFacts, head: HeadFacts) -> RuleResult:
    """Whether llama.cpp can compute MTP layers of a target's architecture, and so many of them."""
    rule = "MTP layers"
    if ASSISTANT in (head.architecture, target.architecture):
        if (head.architecture, target.architecture) == (ASSISTANT, ASSISTED):
            return passed(rule, f"{ASSISTANT} reads the cache of {ASSISTED}")
        return _failed(
            rule,
            f"{ASSISTANT} drafts for {ASSISTED}, and the target is {target.architecture!r}",
            OTHER_HEAD,
        )
    if head.architecture != target.architecture:
        return _failed(
            rule,
            f"they are layers of {head.architecture!r}, and the target is {target.architecture!r}",
            OTHER_HEAD,
        )
    if head.architecture in SEVERAL_MTP_HEADS:
        return passed(rule, f"{head.layers}, one for each draft step")
    if head.architecture not in ONE_MTP_HEAD:
        return _failed(
            rule, f"llama.cpp keeps those of {head.architecture!r} but cannot run them", NO_HEAD
        )
    if head.layers != 1:
        return _failed(
            rule,
            f"{head.layers}, and llama.cpp drafts with one of {head.architecture!r} only",
            NO_HEAD,
        )
    return passed(rule, "one, used at every draft step")


def _layer_inputs(target: ModelFacts, head: HeadFacts) -> RuleResult:
    rule = "layers"
    layers = ", ".join(map(str, head.target_layers))
    if target.architecture not in PUBLISHING:
        return _failed(
            rule,
            f"llama.cpp gives no hidden states of the architecture {target.architecture!r}",
            NO_HEAD,
        )
    # Of EAGLE-3 llama.cpp takes the last hidden states for the output of the last layer.
    last = PUBLISHING_LAST | (PUBLISHING_NEXTN if head.kind == EAGLE3 else frozenset())
    end = target.layers + (target.architecture in last)
    outside = [layer for layer in head.target_layers if not 0 <= layer < end]
    if outside:
        return _failed(
            rule,
            f"the head reads layer {outside[0]}; the target has layers 0 to {target.layers - 1}",
            OTHER_HEAD,
        )
    return passed(rule, f"{layers} of {target.layers}")


def _width(target: ModelFacts, head: HeadFacts) -> RuleResult:
    rule, width = "hidden size", target.embedding_length
    if head.hidden_size == width:
        return passed(rule, f"{width} in both")
    return _failed(
        rule,
        f"this head was made for a hidden size of {head.hidden_size}; the target has {width}",
        OTHER_HEAD,
    )


def _draft_vocabulary(target: Tokenizer, head: HeadFacts) -> RuleResult:
    rule = "draft vocabulary"
    if head.vocabulary != len(target):
        return _failed(
            rule,
            f"the head was made for {head.vocabulary} tokens; the target has {len(target)}",
            OTHER_HEAD,
        )
    if head.draft_vocabulary < head.vocabulary:
        share = f"{100 * head.share:.0f} %"
        return passed(
            rule, f"proposes {head.draft_vocabulary} of {head.vocabulary} tokens ({share})"
        )
    return passed(rule, f"all {head.vocabulary} tokens")


def _failed(rule: str, detail: str, hint: str) -> RuleResult:
    return RuleResult(rule, "fail", detail, hint)
