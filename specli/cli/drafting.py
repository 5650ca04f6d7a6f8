"""From flags to drafters: which of them propose, and whether costs or fixed lengths decide."""

from __future__ import annotations

from dataclasses import dataclass

from specli.cli.options import DRAFT_MAX, RunOptions
from specli.drafters import ngram as ngram_sizes
from specli.engine.policy import FixedPolicy
from specli.errors import UsageError
from specli.session import NgramSettings

DRAFT, NGRAM, SUFFIX, LOOKUP = "draft", "ngram", "suffix", "lookup"

KINDS = {
    "draft": DRAFT,
    "draft-simple": DRAFT,
    "ngram": NGRAM,
    "ngram-simple": NGRAM,
    "suffix": SUFFIX,
    "ngram-cache": LOOKUP,
    "lookup": LOOKUP,
}
"""Names that --spec-type takes, llama.cpp's among them, and the drafter behind each."""

ELSEWHERE = {
    "ngram-map-k": "suffix",
    "ngram-map-k4v": "suffix",
    "ngram-mod": "suffix",
}
"""Kinds of llama.cpp that specli does not have, and what comes nearest."""


@dataclass(frozen=True, slots=True)
class Drafting:
    """What proposes, and how far: `policy` None lets costs decide."""

    draft: bool
    ngram: NgramSettings | None
    suffix: bool
    lookup: bool
    policy: FixedPolicy | None


def choose_drafting(options: RunOptions) -> Drafting:
    """The drafters that the options ask for. Raises UsageError for a kind that does not exist."""
    by_hand = options.by_hand
    kinds = _kinds(options.spec_type)
    if kinds is None:
        searches = options.ngram is not False
        kinds = {DRAFT}
        if searches and not by_hand:
            kinds.add(SUFFIX)
        if searches and (options.ngram or options.ngram_size or options.ngram_draft):
            kinds.add(NGRAM)
    if options.lookup_cache is not None:
        kinds.add(LOOKUP)
    if options.draft_max == 0:
        kinds.discard(DRAFT)
    return Drafting(
        draft=DRAFT in kinds,
        ngram=_ngram(options) if NGRAM in kinds else None,
        suffix=SUFFIX in kinds,
        lookup=LOOKUP in kinds,
        policy=_fixed(options) if by_hand else None,
    )


def _kinds(spec_type: str | None) -> set[str] | None:
    """The drafters that --spec-type names; None where it leaves the choice to specli."""
    if spec_type is None or spec_type == "auto":
        return None
    names = [name.strip() for name in spec_type.split(",") if name.strip()]
    if names == ["none"]:
        return set()
    for name in names:
        if name in KINDS:
            continue
        nearest = ELSEWHERE.get(name)
        raise UsageError(
            f"--spec-type has no {name!r}",
            hint=f"{nearest} comes nearest to it"
            if nearest
            else f"one or more of: {', '.join(KINDS)}; or auto, or none",
        )
    return {KINDS[name] for name in names}


def _fixed(options: RunOptions) -> FixedPolicy:
    return FixedPolicy(
        draft_max=DRAFT_MAX if options.draft_max is None else options.draft_max,
        draft_min=options.draft_min or 0,
        p_min=options.draft_p_min or 0.0,
    )


def _ngram(options: RunOptions) -> NgramSettings:
    """Raises UsageError for a draft shorter than its key: as in llama.cpp, none would be made."""
    size = options.ngram_size or min(
        ngram_sizes.DEFAULT_SIZE, options.ngram_draft or ngram_sizes.DEFAULT_SIZE
    )
    draft_max = options.ngram_draft or max(ngram_sizes.DEFAULT_DRAFT, size)
    if draft_max < size:
        raise UsageError(
            f"--ngram-draft {draft_max} is less than --ngram-size {size}, "
            "and n-gram drafting proposes nothing then",
            hint=f"--ngram-draft {size} or more, or a smaller --ngram-size",
        )
    return NgramSettings(size=size, draft_max=draft_max)
