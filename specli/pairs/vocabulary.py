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

Verdict = Literal["pass", "warn", "fail"]


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
    verdict: Verdict
    detail: str
    hint: str | None = None
    difference: TokenDifference | None = None


def compare_vocabularies(target: Header, draft: Header) -> list[RuleResult]:
    """Every rule that llama.cpp checks a pair by, in its order; the pair works when none fails.

    Raises ModelFileError when one of the tokenizers would not load.
    """
    return compare_tokenizers(read_tokenizer(target), read_tokenizer(draft))


def compare_tokenizers(target: Tokenizer, draft: Tokenizer) -> list[RuleResult]:
    """`compare_vocabularies` for tokenizers that have been read already."""
    return [
        _vocabulary_type(target, draft),
        _edge_token("BOS", target, draft, (target.add_bos, target.bos), (draft.add_bos, draft.bos)),
        _edge_token("EOS", target, draft, (target.add_eos, target.eos), (draft.add_eos, draft.eos)),
        _size(target, draft),
        _texts(target, draft),
    ]


def require_compatible(
    target: Header,
    draft: Header,
    target_path: str | PathLike[str],
    draft_path: str | PathLike[str],
) -> None:
    """Raise PairIncompatibleError naming the first broken rule; ModelFileError as above."""
    for result in compare_vocabularies(target, draft):
        if result.verdict == "fail":
            raise PairIncompatibleError(
                f"{draft_path} cannot draft for {target_path} ({result.rule}): {result.detail}",
                hint=result.hint,
            )


_SAME_FAMILY = (
    "use a draft of the same model family and generation, converted by the same people if possible"
)


def _vocabulary_type(target: Tokenizer, draft: Tokenizer) -> RuleResult:
    rule = "vocabulary type"
    if target.kind == draft.kind:
        return RuleResult(rule, "pass", f"both {target.kind}")
    return RuleResult(
        rule, "fail", f"the target's is {target.kind}, the draft's is {draft.kind}", _SAME_FAMILY
    )


_Edge = tuple[bool, int | None]


def _edge_token(
    name: str, target: Tokenizer, draft: Tokenizer, target_edge: _Edge, draft_edge: _Edge
) -> RuleResult:
    rule = f"{name} token"
    (target_adds, target_id), (draft_adds, draft_id) = target_edge, draft_edge
    if target_adds != draft_adds:
        adds, not_adds = ("target", "draft") if target_adds else ("draft", "target")
        return RuleResult(
            rule,
            "fail",
            f"the {adds} adds {name} to every prompt and the {not_adds} does not",
            f"set tokenizer.ggml.add_{name.lower()}_token alike in both files, or {_SAME_FAMILY}",
        )
    if not target_adds:
        return RuleResult(rule, "pass", f"neither adds {name}")
    if target_id == draft_id:
        return RuleResult(rule, "pass", f"both add {_named(target, target_id)}")
    return RuleResult(
        rule,
        "fail",
        f"{name} is {_named(target, target_id)} in the target and {_named(draft, draft_id)} "
        "in the draft",
        f"set tokenizer.ggml.{name.lower()}_token_id alike in both files, or {_SAME_FAMILY}",
    )


def _named(tokenizer: Tokenizer, token: int | None) -> str:
    return "none" if token is None else f"token {token} {shown(tokenizer.texts[token])}"


def _size(target: Tokenizer, draft: Tokenizer) -> RuleResult:
    rule = "vocabulary size"
    difference = abs(len(target) - len(draft))
    if difference == 0:
        return RuleResult(rule, "pass", f"both {len(target)} tokens")
    detail = f"the target has {len(target)} tokens and the draft {len(draft)}"
    if difference > MAX_SIZE_DIFFERENCE:
        return RuleResult(
            rule,
            "fail",
            f"{detail}: {difference} apart, and {MAX_SIZE_DIFFERENCE} is the most allowed",
            _SAME_FAMILY,
        )
    return RuleResult(rule, "pass", f"{detail}: {difference} apart, {MAX_SIZE_DIFFERENCE} allowed")


def _texts(target: Tokenizer, draft: Tokenizer) -> RuleResult:
    rule = "token texts"
    end = min(len(target), len(draft))
    first = FIRST_COMPARED_ID
    if target.texts[first:end] == draft.texts[first:end]:
        return RuleResult(rule, "pass", f"equal from id {first} to {end - 1}")
    pairs = zip(target.texts[first:end], draft.texts[first:end], strict=True)
    different = [first + index for index, (mine, other) in enumerate(pairs) if mine != other]
    token = different[0]
    difference = TokenDifference(
        token, shown(target.texts[token]), shown(draft.texts[token]), len(different)
    )
    more = f"; {len(different)} of {end - first} tokens differ" if len(different) > 1 else ""
    return RuleResult(
        rule,
        "fail",
        f"token {token} is {difference.target} in the target and {difference.draft} "
        f"in the draft{more}",
        _SAME_FAMILY,
        difference,
    )
