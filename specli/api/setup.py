"""From the arguments of an LLM to a set-up of local files."""

from __future__ import annotations

from collections.abc import Mapping

from specli.errors import UsageError
from specli.hub.made import Recipe
from specli.hub.references import resolve
from specli.llama.quantize import quantize
from specli.profiles import Profile, load_profile
from specli.session import Setup
from specli.speculative import (
    DraftModel,
    SpeculativeConfig,
    from_vllm,
    placement,
    speculative_config,
)

DEFAULT_PROFILE = "smollm2"

Drafting = Mapping[str, object] | SpeculativeConfig | None
"""vLLM's `speculative_config`, specli's, or None, where costs or the profile decide."""

Settings = Mapping[str, object]
"""Values under the names that profiles have for them."""


def chosen_profile(name: str | None, model: str | None) -> Profile | None:
    """The profile of this name; the embedded pair's where neither it nor a model is named.

    Raises UsageError for a profile that is not there or is wrong.
    """
    if name is not None:
        return load_profile(name)
    return load_profile(DEFAULT_PROFILE) if model is None else None


def older_form(config: Drafting, model: str | None, length: int | None) -> Drafting:
    """`speculative_model` and `num_speculative_tokens` as a `speculative_config`.

    Raises UsageError where both forms are given.
    """
    given = {"model": model, "num_speculative_tokens": length}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return config
    if config is not None:
        raise UsageError(
            "speculative_config is given together with its older form, speculative_model and "
            "num_speculative_tokens",
            hint="put all of it into speculative_config",
        )
    return given


def prepared_setup(
    model: str | None,
    profile: Profile | None,
    drafting: Drafting,
    settings: Settings,
    slots: int | None,
) -> Setup:
    """The set-up, with every model as a local file, fetched or made where it is not there yet.

    `settings` are the profile's and, over them, the caller's. Raises UsageError and what
    `hub.references.resolve` raises.
    """
    target: str | Recipe | None = model
    draft: str | Recipe | None = None
    if profile is not None and model is None:
        target, draft = profile.target_model, profile.draft_model
    if target is None:
        raise UsageError("no target model was given", hint="name one: LLM(model=…)")
    config, draft = _config(drafting, draft, settings)
    file = resolve(target, quantize)
    if config.draft_model is not None and draft is not None:
        own = config.draft_model.placement
        config = config.with_model(DraftModel(resolve(draft, quantize), own))
    return Setup(
        target=file,
        target_placement=placement(settings),
        n_ctx=_context(settings),
        flash_attention=str(settings.get("flash_attn") or "auto"),
        speculative=config,
        slots=slots,
    )


def _config(
    drafting: Drafting, draft: str | Recipe | None, settings: Settings
) -> tuple[SpeculativeConfig, str | Recipe | None]:
    """The configuration, and the draft model that it takes; `draft` is the profile's."""
    if isinstance(drafting, SpeculativeConfig):
        own = drafting.draft_model
        return drafting, None if own is None else str(own.model)
    if drafting is None:
        named = None if draft is None else str(draft)
        return speculative_config({**settings, "model_draft": named}), draft
    if drafting.get("method") in (None, "draft_model"):
        model = drafting.get("model")
        draft = draft if model is None else str(model)
        if draft is None:
            raise UsageError(
                "speculative_config names no draft model",
                hint='add "model": a GGUF file or a reference; or "method": "suffix"',
            )
        drafting = {**drafting, "model": str(draft)}
    config = from_vllm(drafting)
    if config.draft_model is not None:
        where = placement(settings, "_draft")
        config = config.with_model(DraftModel(config.draft_model.model, where))
    return config, draft


def _context(settings: Settings) -> int | None:
    size = settings.get("ctx_size")
    return size if isinstance(size, int) else None
