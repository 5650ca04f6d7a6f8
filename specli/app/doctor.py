"""The pair that a check of the machine is about."""

from __future__ import annotations

from pathlib import Path

from specli.app.pairs import automatic_draft
from specli.app.prepare import with_profile
from specli.errors import ModelFileError
from specli.hub.made import Recipe
from specli.hub.references import present
from specli.options import AUTO, Options
from specli.session import Setup
from specli.speculative import DraftModel, SpeculativeConfig, placement


def setup_to_examine(options: Options) -> Setup | None:
    """The pair as `specli run` would set it up; None where only the embedded one is meant and is
    not here yet.

    Raises UsageError, and ModelFileError for a model that was named and is not here.
    """
    named = options.given().keys() & {"profile", "model", "model_draft"}
    options, profile = with_profile(options)
    target: str | Recipe | None = options.model
    draft: str | Recipe | None = options.model_draft
    if profile is not None:
        if target is None:
            draft = draft or profile.draft_model
        target = target or profile.target_model
    if target is None:
        return None
    target_file = _present(target, required=bool(named))
    draft_file = None if draft is None else _draft_file(draft, target_file, required=bool(named))
    if target_file is None or (draft is not None and draft_file is None):
        return None
    config = SpeculativeConfig()
    if draft_file is not None:
        config = SpeculativeConfig((DraftModel(draft_file, placement(options.given(), "_draft")),))
    return Setup(
        target=target_file,
        n_ctx=options.number("ctx_size"),
        flash_attention=options.flash_attn or "auto",
        target_placement=placement(options.given()),
        speculative=config,
    )


def _draft_file(draft: str | Recipe, target: Path | None, *, required: bool) -> Path | None:
    """The draft's file; `auto` is the best one on this machine."""
    if draft == AUTO:
        return None if target is None else automatic_draft(target)
    return _present(draft, required=required)


def _present(model: str | Recipe, *, required: bool) -> Path | None:
    path = present(model)
    if path is None and required:
        raise ModelFileError(
            f"{model} is not on this machine yet",
            hint=f"specli pull {model}" if isinstance(model, str) else "specli run makes it",
        )
    return path
