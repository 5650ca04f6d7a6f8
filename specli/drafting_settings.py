"""Flat settings as a drafting configuration: of flags, profiles and Python, and in vLLM's form.

Nothing heavy is imported, so that `--help` stays fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from specli.errors import UsageError, shortened
from specli.native import native
from specli.speculative import (
    AUTO,
    DRAFT_MAX,
    HEADS,
    KINDS,
    LARGEST,
    MOST_DRAFTED,
    MOST_THREADS,
    MTP,
    NGRAM_DRAFT,
    NGRAM_SIZE,
    Adaptive,
    DrafterConfig,
    DraftModel,
    FixedLength,
    Grammar,
    Head,
    NgramCache,
    NgramSimple,
    Placement,
    PolicyConfig,
    Prediction,
    SpeculativeConfig,
    Suffix,
)


def placement(values: Mapping[str, object], role: str = "") -> Placement:
    """Where a model runs, of the settings `gpu_layers`, `device`, `threads`, `cache_type_k` and
    `cache_type_v`; `role` "_draft" takes the draft's own, and the target's threads otherwise."""
    devices = str(values.get(f"device{role}") or "").split(",")
    own = f"threads{role}" if values.get(f"threads{role}") is not None else "threads"
    return Placement(
        gpu_layers=_layers(values, f"gpu_layers{role}"),
        devices=tuple(name.strip() for name in devices if name.strip()),
        threads=None if values.get(own) == AUTO else _number(values, own, 0, MOST_THREADS) or None,
        type_k=str(values.get(f"cache_type_k{role}") or "f16"),
        type_v=str(values.get(f"cache_type_v{role}") or "f16"),
        native=native(values, role),
    )


def speculative_config(values: Mapping[str, object]) -> SpeculativeConfig:
    """The configuration of flat settings, named as the flags' long names with underscores.

    Read are `spec_type`, `model_draft` with the settings of its placement, `strict_vocab`,
    `ctx_size_draft`, `draft_max` (a number or "auto"), `draft_min`, `draft_p_min`, `ngram`,
    `ngram_size`, `ngram_draft`, `lookup_cache` and `prediction` (the text itself); others are left
    alone, and None means not given. With
    `draft_max` "auto", costs decide all lengths, whatever `draft_min` and `draft_p_min` say.

    Raises UsageError for a kind that does not exist, a draft model that is missing, and values
    that no proposal could fulfil.
    """
    given = {name: value for name, value in values.items() if value is not None}
    policy = _policy(given)
    spec_type = given.get("spec_type", AUTO)
    named = _named(str(spec_type))
    kinds = _default_kinds(given, policy) if named is None else named
    if "lookup_cache" in given:
        kinds.add(NgramCache.kind)
    found: list[DrafterConfig] = [*_with_model(given, kinds, str(spec_type))]
    if NgramSimple.kind in kinds:
        found.append(_ngram(given))
    if "prediction" in given:
        found.append(Prediction(str(given["prediction"])))
    found += [one for one in (Suffix(), Grammar()) if one.kind in kinds]
    if NgramCache.kind in kinds:
        path = given.get("lookup_cache")
        found.append(NgramCache(None if path is None else Path(str(path))))
    return SpeculativeConfig(tuple(found), policy)


def flat_settings(config: SpeculativeConfig) -> dict[str, object]:
    """The settings that `speculative_config` needs for a configuration that `specli tune` tries,
    apart from the draft model, which a profile names elsewhere."""
    if not config.drafters:
        return {"draft_max": 0}
    flat: dict[str, object] = {}
    if isinstance(config.policy, FixedLength) and config.models:
        flat["draft_max"] = config.policy.draft_max
        bounds = {"draft_min": config.policy.draft_min, "draft_p_min": config.policy.p_min}
        flat |= {name: bound for name, bound in bounds.items() if bound}
    if config.ngram is not None:
        flat |= {"ngram_size": config.ngram.size_n, "ngram_draft": config.ngram.size_m}
    elif isinstance(config.policy, Adaptive) and not config.has(Suffix.kind):
        flat["ngram"] = False
    return flat


VLLM_METHODS: Mapping[str, str] = {
    "draft_model": DraftModel.kind,
    "eagle3": "draft-eagle3",
    "dflash": "draft-dflash",
    "dspark": "draft-dspark",
    "mtp": MTP,
    "ngram": NgramSimple.kind,
    "suffix": Suffix.kind,
}
_VLLM_KEYS = (
    "method",
    "model",
    "num_speculative_tokens",
    "prompt_lookup_max",
    "prompt_lookup_min",
    "strict_vocab",
)


def vllm_settings(mapping: Mapping[str, object]) -> dict[str, object]:
    """vLLM's `speculative_config` as the settings that `speculative_config` reads.

    `strict_vocab` is specli's own. `num_speculative_tokens` is the draft length; without it, costs
    decide. A model without a
    method drafts as `model_draft` does. Raises UsageError for what specli does not have.
    """
    given = {name: value for name, value in mapping.items() if value is not None}
    for name in given:
        if name not in _VLLM_KEYS:
            raise UsageError(
                f"speculative_config has no {name!r}", hint=f"it has: {', '.join(_VLLM_KEYS)}"
            )
    method = given.get("method", AUTO if "model" in given else None)
    if method != AUTO and method not in VLLM_METHODS:
        raise UsageError(
            f"speculative_config has no method {method!r}"
            if method is not None
            else "speculative_config names neither a model nor a method",
            hint=f"method is one of: {', '.join(VLLM_METHODS)}",
        )
    if method in ("ngram", "suffix") and "model" in given:
        raise UsageError(f"the method {method!r} of speculative_config has no model")
    length = given.get("num_speculative_tokens")
    values: dict[str, object] = {"model_draft": given.get("model"), "draft_max": length}
    values["strict_vocab"] = given.get("strict_vocab")
    if method != AUTO:
        values["spec_type"] = VLLM_METHODS[str(method)]
    if method == "ngram":
        # vLLM matches the longest of several sizes, and a shorter one serves a shorter draft.
        longest = _number(given, "prompt_lookup_max", NGRAM_SIZE)
        least = _number(given, "prompt_lookup_min", 1)
        size = max(least, min(longest, _number(given, "num_speculative_tokens", longest)))
        values |= {"ngram_size": size, "ngram_draft": length}
    return values


def _policy(given: Mapping[str, object]) -> PolicyConfig:
    """Costs decide, unless any length is set by hand."""
    by_hand = ("draft_max", "draft_min", "draft_p_min", "ngram_size", "ngram_draft")
    if given.get("draft_max") == AUTO or not any(name in given for name in by_hand):
        return Adaptive()
    p_min = given.get("draft_p_min", 0.0)
    if not isinstance(p_min, int | float) or not 0 <= p_min <= 1:
        raise UsageError(f"`draft_p_min` is a probability from 0 to 1, not {p_min!r}")
    return FixedLength(
        draft_max=_number(given, "draft_max", DRAFT_MAX, MOST_DRAFTED),
        draft_min=_number(given, "draft_min", 0, MOST_DRAFTED),
        p_min=float(p_min),
    )


def _number(given: Mapping[str, object], name: str, default: int, most: int = LARGEST) -> int:
    """A setting that is a whole number from 0 to `most`. Raises UsageError for anything else."""
    value = given.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise UsageError(f"`{name}` is a whole number from 0 to {most}, not {shortened(value)}")
    return value


def _named(spec_type: str) -> set[str] | None:
    """The kinds that `spec_type` names; None where it leaves the choice to specli."""
    if spec_type == AUTO:
        return None
    names = [name.strip() for name in spec_type.split(",") if name.strip()]
    if names == ["none"]:
        return set()
    for name in names:
        if name not in KINDS:
            raise UsageError(
                f"`spec_type` has no {name!r}",
                hint=f"one or more of: {', '.join(KINDS)}; or auto, or none",
            )
    return {KINDS[name] for name in names}


def _default_kinds(given: Mapping[str, object], policy: PolicyConfig) -> set[str]:
    """A draft model where there is one, and searching the text unless that is turned off."""
    kinds = {DraftModel.kind}
    if given.get("ngram") is not False:
        if isinstance(policy, Adaptive):
            kinds.add(Suffix.kind)
        if any(given.get(name) for name in ("ngram", "ngram_size", "ngram_draft")):
            kinds.add(NgramSimple.kind)
    return kinds


def _with_model(
    given: Mapping[str, object], kinds: set[str], spec_type: str
) -> Iterable[DraftModel | Head]:
    """The drafter that the file of `model_draft` is. Raises UsageError where there is no file for
    it, or more than one kind for the file."""
    model = given.get("model_draft")
    needing = [kind for kind in (DraftModel.kind, *HEADS) if kind in kinds]
    if given.get("draft_max") == 0 or (model is None and spec_type == AUTO):
        return
    if model is None and needing == [MTP]:
        yield Head(MTP, None, placement(given, "_draft"))
        return
    if needing and model is None:
        raise UsageError(
            f"`spec_type` {spec_type} needs a draft model", hint="name one: `model_draft`"
        )
    if len(needing) > 1:
        raise UsageError(
            f"`spec_type` {spec_type} makes one file two drafters", hint=f"choose {needing[0]}"
        )
    where = placement(given, "_draft")
    for kind in needing:
        file = model if isinstance(model, Path) else str(model)
        if kind == DraftModel.kind:
            context = _number(given, "ctx_size_draft", 0) or None
            yield DraftModel(file, where, given.get("strict_vocab") is True, context)
        else:
            yield Head(kind, file, where)


def _ngram(given: Mapping[str, object]) -> NgramSimple:
    """Raises UsageError for a draft shorter than its key: as in llama.cpp, none would be made."""
    size, draft = _number(given, "ngram_size", 0), _number(given, "ngram_draft", 0)
    size = size or min(NGRAM_SIZE, draft or NGRAM_SIZE)
    draft = draft or max(NGRAM_DRAFT, size)
    if draft < size:
        raise UsageError(
            f"`ngram_draft` {draft} is less than `ngram_size` {size}, "
            "and n-gram drafting proposes nothing then",
            hint=f"`ngram_draft` {size} or more, or a smaller `ngram_size`",
        )
    return NgramSimple(size, draft)


def _layers(given: Mapping[str, object], name: str) -> int | None:
    """Layers for a GPU: None leaves the choice to specli, -1 is all of them."""
    value = given.get(name)
    if value in (None, AUTO):
        return None
    return -1 if value in ("all", -1) else _number(given, name, 0)
