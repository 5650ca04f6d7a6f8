"""From flags to drafters: which of them propose, and whether costs or fixed lengths decide."""

from __future__ import annotations

from dataclasses import dataclass

from specli.drafters import ngram as ngram_sizes
from specli.engine.policy import FixedPolicy
from specli.errors import UsageError
from specli.options import AUTO, Options
from specli.session import NgramSettings

DRAFT, NGRAM, SUFFIX, LOOKUP = "draft", "ngram", "suffix", "lookup"
DRAFT_MAX = 4
"""Draft tokens per round where lengths are fixed and none is given."""

LENGTHS = ("draft_max", "draft_min", "draft_p_min", "ngram_size", "ngram_draft")
"""Options that fix draft lengths; else costs decide round by round."""

KINDS = {
    "draft": DRAFT,
    "draft-simple": DRAFT,
    "ngram": NGRAM,
    "ngram-simple": NGRAM,
    "suffix": SUFFIX,
    "ngram-cache": LOOKUP,
    "lookup": LOOKUP,
}
"""Names that --spec-type takes, llama.cpp's among them, and the drafter of each."""
REPLACED = ("ngram-map-k", "ngram-map-k4v", "ngram-mod")
"""Names of llama.cpp's that mean suffix drafting."""


@dataclass(frozen=True, slots=True)
class Drafting:
    """What proposes, and how far: `policy` None lets costs decide."""

    draft: bool
    ngram: NgramSettings | None
    suffix: bool
    lookup: bool
    policy: FixedPolicy | None


def choose_drafting(options: Options) -> Drafting:
    """The drafters that the options ask for. Raises UsageError for a kind that does not exist."""
    by_hand = fixes_lengths(options)
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
    known = KINDS | dict.fromkeys(REPLACED, SUFFIX)
    for name in names:
        if name in known:
            continue
        raise UsageError(
            f"--spec-type has no {name!r}",
            hint=f"one or more of: {', '.join(KINDS)}; or auto, or none",
        )
    return {known[name] for name in names}


def replaced_kinds(options: Options) -> list[str]:
    """The kinds of --spec-type that suffix drafting takes the place of."""
    names = [name.strip() for name in (options.spec_type or "").split(",")]
    return [name for name in names if name in REPLACED]


def fixes_lengths(options: Options) -> bool:
    """Whether draft lengths are fixed; with `--draft auto` costs decide whatever else is given."""
    given = options.given()
    return options.draft_max != AUTO and any(name in given for name in LENGTHS)


def _fixed(options: Options) -> FixedPolicy:
    return FixedPolicy(
        draft_max=DRAFT_MAX if options.draft_max is None else options.draft_max,
        draft_min=options.draft_min or 0,
        p_min=options.draft_p_min or 0.0,
    )


def _ngram(options: Options) -> NgramSettings:
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
