"""From flags to drafters: which of them propose, and whether costs or fixed lengths decide."""

from __future__ import annotations

from dataclasses import dataclass

from specli.cli.options import DRAFT_MAX, RunOptions
from specli.drafters import ngram as ngram_sizes
from specli.drafters.ngram_map import Kind, MapSettings
from specli.drafters.ngram_mod import ModSettings
from specli.engine.policy import FixedPolicy
from specli.errors import UsageError
from specli.session import NgramSettings

DRAFT, NGRAM, SUFFIX, LOOKUP = "draft", "ngram", "suffix", "lookup"
MAP_K: Kind = "ngram-map-k"
MAP_K4V: Kind = "ngram-map-k4v"
MOD = "ngram-mod"

KINDS = {
    "draft": DRAFT,
    "draft-simple": DRAFT,
    "ngram": NGRAM,
    "ngram-simple": NGRAM,
    "suffix": SUFFIX,
    "ngram-cache": LOOKUP,
    "lookup": LOOKUP,
    "ngram-map-k": MAP_K,
    "ngram-map-k4v": MAP_K4V,
    "ngram-mod": MOD,
}
"""Names that --spec-type takes, llama.cpp's among them, and the drafter behind each."""


@dataclass(frozen=True, slots=True)
class Drafting:
    """What proposes, and how far: `policy` None lets costs decide."""

    draft: bool
    ngram: NgramSettings | None
    suffix: bool
    lookup: bool
    tables: tuple[MapSettings | ModSettings, ...]
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
    if options.lookup_cache is not None or options.lookup_cache_static is not None:
        kinds.add(LOOKUP)
    if options.draft_max == 0:
        kinds.discard(DRAFT)
    return Drafting(
        draft=DRAFT in kinds,
        ngram=_ngram(options) if NGRAM in kinds else None,
        suffix=SUFFIX in kinds,
        lookup=LOOKUP in kinds,
        tables=_tables(options, kinds),
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
        raise UsageError(
            f"--spec-type has no {name!r}",
            hint=f"one or more of: {', '.join(KINDS)}; or auto, or none",
        )
    return {KINDS[name] for name in names}


def _fixed(options: RunOptions) -> FixedPolicy:
    return FixedPolicy(
        draft_max=DRAFT_MAX if options.draft_max is None else options.draft_max,
        draft_min=options.draft_min or 0,
        p_min=options.draft_p_min or 0.0,
    )


def _tables(options: RunOptions, kinds: set[str]) -> tuple[MapSettings | ModSettings, ...]:
    """llama.cpp's kinds among `kinds`. Raises UsageError for sizes that could never draft."""
    made: list[MapSettings | ModSettings] = []
    for kind, prefix in ((MAP_K, "map_k_"), (MAP_K4V, "map_k4v_")):
        sizes = _sizes(options, kind, prefix, kinds)
        if kind in kinds:
            made.append(MapSettings(kind, **sizes))
    mod = ModSettings(**_sizes(options, MOD, "mod_", kinds))
    if mod.draft_max < mod.draft_min:
        raise UsageError(
            f"--spec-ngram-mod-n-max {mod.draft_max} is less than "
            f"--spec-ngram-mod-n-min {mod.draft_min}, and ngram-mod proposes nothing then",
            hint=f"--spec-ngram-mod-n-min {mod.draft_max} or less",
        )
    return (*made, mod) if MOD in kinds else tuple(made)


def _sizes(options: RunOptions, kind: str, prefix: str, kinds: set[str]) -> dict[str, int]:
    """The sizes given for a kind. Raises UsageError where that kind does not draft."""
    given = options.table_sizes.items()
    sizes = {name.removeprefix(prefix): size for name, size in given if name.startswith(prefix)}
    if sizes and kind not in kinds:
        raise UsageError(
            f"a size is given for {kind}, which does not draft", hint=f"--spec-type {kind}"
        )
    return sizes


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
