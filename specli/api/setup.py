"""The arguments of an LLM as options, which `app.prepare` makes a set-up of."""

from __future__ import annotations

from collections.abc import Mapping

from specli.app.prepare import chosen_profile, with_profile
from specli.drafting_settings import vllm_settings
from specli.errors import UsageError
from specli.options import Options
from specli.profiles import Profile
from specli.speculative import SpeculativeConfig

Drafting = Mapping[str, object] | SpeculativeConfig | None
"""vLLM's `speculative_config`, specli's, or None, where costs or the profile decide."""


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


def options_of(options: Options, drafting: Drafting) -> tuple[Options, Profile | None]:
    """The options with what `drafting` says, over those of the profile; and the profile.

    Raises UsageError for drafting without a draft model, and for a profile that is not there or
    is wrong.
    """
    if isinstance(drafting, Mapping):
        profile = chosen_profile(options)
        from_profile = options.model is None and profile is not None and profile.draft is not None
        options = options.but(**_settings(drafting, from_profile=from_profile))
    return with_profile(options)


def _settings(drafting: Mapping[str, object], *, from_profile: bool) -> dict[str, object]:
    """`from_profile`: the profile has a draft model, which needs no name."""
    if drafting.get("method") not in (None, "draft_model") or drafting.get("model") is not None:
        return vllm_settings(drafting)
    if not from_profile:
        raise UsageError(
            "speculative_config names no draft model",
            hint='add "model": a GGUF file or a reference; or "method": "suffix"',
        )
    return {**vllm_settings({**drafting, "model": "the profile's"}), "model_draft": None}
