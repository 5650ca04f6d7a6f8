"""llama.cpp's own rules for a pair of vocabularies, with the reason when one is broken.

llama.cpp compares in `common_speculative_are_compatible` and reports every failure alike. Here
each rule is checked on its own, so that all broken rules are reported at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Literal

from specli.errors import PairIncompatibleError
from specli.gguf.header import Header
from specli.gguf.tokenizer import Tokenizer, read_tokenizer, shown

MAX_SIZE_DIFFERENCE = 128
FIRST_COMPARED_ID = 5
"""Lower ids are special tokens, which may be named differently."""

VOCABULARY_RULES = ("vocabulary type", "BOS token", "EOS token", "vocabulary size", "token texts")
"""The names of the rules of `compare_vocabularies`."""

Outcome = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class TokenDifference:
    """The first id whose texts differ, both texts as printable strings, and how many ids differ."""

    token: int
    target: str
    draft: str
    count: int


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The outcome of one rule: `detail` is what was found, `hint` what to change."""

    rule: str
    verdict: Outcome
    detail: str
    hint: str | None = None
    difference: TokenDifference | None = None


def passed(rule: str, detail: str) -> RuleResult:
    return RuleResult(rule, "pass", detail)


def warned(rule: str, detail: str, hint: str) -> RuleResult:
    return RuleResult(rule, "warn", detail, hint)


def compare_vocabularies(target: Header, draft: Header) -> list[RuleResult]:
    """Every rule that llama.cpp checks a pair by, in its order; the pair works when none fails.

    Raises ModelFileError when one of the tokenizers would not load.
    """
    return compare_tokenizers(read_tokenizer(target), read_tokenizer(draft))


def compare_tokenizers(target: Tokenizer, draft: Tokenizer) -> list[RuleResult]:
    """`compare_vocabularies` for tokenizers that have been read already."""
    return [
        vocabulary_type(target, draft),
        _edge_token("bos", target, draft),
        _edge_token("eos", target, draft),
        _size(target, draft),
        token_texts(target, draft),
    ]


def require_compatible(
    target: Header,
    draft: Header,
    target_path: str | PathLike[str],
    draft_path: str | PathLike[str],
) -> None:
    """Raise PairIncompatibleError naming the first broken rule; ModelFileError as above."""
    broken = broken_rule(read_tokenizer(target), read_tokenizer(draft))
    if broken is not None:
        raise PairIncompatibleError(
            f"{draft_path} cannot draft for {target_path} ({broken.rule}): {broken.detail}",
            hint=broken.hint,
        )


def broken_rule(target: Tokenizer, draft: Tokenizer) -> RuleResult | None:
    """The first rule that a pair breaks: without one, both have the same vocabulary."""
    results = compare_tokenizers(target, draft)
    return next((result for result in results if result.verdict == "fail"), None)


_SAME_FAMILY = (
    "use a draft of the same model family and generation, converted by the same people if possible"
)


def vocabulary_type(target: Tokenizer, draft: Tokenizer) -> RuleResult:
    """Whether both split text by the same kind of tokenizer."""
    rule = "vocabulary type"
    if target.kind == draft.kind:
        return passed(rule, f"both {target.kind}")
    detail = f"the target's is {target.kind}, the draft's is {draft.kind}"
    return RuleResult(rule, "fail", detail, _SAME_FAMILY)


def _edge_token(key: str, target: Tokenizer, draft: Tokenizer) -> RuleResult:
    """Compare what is added to every prompt; `key` is bos or eos."""
    name = key.upper()
    rule = f"{name} token"
    target_adds, draft_adds = getattr(target, f"add_{key}"), getattr(draft, f"add_{key}")
    if target_adds != draft_adds:
        adds, not_adds = ("target", "draft") if target_adds else ("draft", "target")
        return RuleResult(
            rule,
            "fail",
            f"the {adds} adds {name} to every prompt and the {not_adds} does not",
            f"set tokenizer.ggml.add_{key}_token alike in both files, or {_SAME_FAMILY}",
        )
    if not target_adds:
        return passed(rule, f"neither adds {name}")
    mine, other = _named(target, getattr(target, key)), _named(draft, getattr(draft, key))
    if getattr(target, key) == getattr(draft, key):
        return passed(rule, f"both add {mine}")
    return RuleResult(
        rule,
        "fail",
        f"{name} is {mine} in the target and {other} in the draft",
        f"set tokenizer.ggml.{key}_token_id alike in both files, or {_SAME_FAMILY}",
    )


def _named(tokenizer: Tokenizer, token: int | None) -> str:
    return "none" if token is None else f"token {token} {shown(tokenizer.texts[token])}"


def _size(target: Tokenizer, draft: Tokenizer) -> RuleResult:
    rule = "vocabulary size"
    difference = abs(len(target) - len(draft))
    if difference == 0:
        return passed(rule, f"both {len(target)} tokens")
    detail = f"the target has {len(target)} tokens and the draft {len(draft)}: {difference} apart, "
    if difference <= MAX_SIZE_DIFFERENCE:
        return passed(rule, f"{detail}{MAX_SIZE_DIFFERENCE} allowed")
    detail += f"and {MAX_SIZE_DIFFERENCE} is the most allowed"
    return RuleResult(rule, "fail", detail, _SAME_FAMILY)


def token_texts(target: Tokenizer, draft: Tokenizer) -> RuleResult:
    """Whether ids past the special tokens mean the same text."""
    rule = "token texts"
    first, end = FIRST_COMPARED_ID, min(len(target), len(draft))
    if target.texts[first:end] == draft.texts[first:end]:
        return passed(rule, f"equal from id {first} to {end - 1}")
    different = [token for token in range(first, end) if target.texts[token] != draft.texts[token]]
    token = different[0]
    mine, other = shown(target.texts[token]), shown(draft.texts[token])
    detail = f"token {token} is {mine} in the target and {other} in the draft"
    if len(different) > 1:
        detail += f"; {len(different)} of {end - first} tokens differ"
    difference = TokenDifference(token, mine, other, len(different))
    return RuleResult(rule, "fail", detail, _SAME_FAMILY, difference)
