"""The pair that a check of the machine is about."""

from __future__ import annotations

from pathlib import Path

from specli.app.pairs import automatic_draft
from specli.app.prepare import named_models, with_profile
from specli.app.servers import with_servers
from specli.drafting_settings import placement
from specli.errors import ModelFileError
from specli.hub.made import Recipe
from specli.hub.references import present
from specli.option_table import AUTO
from specli.options import Options
from specli.session import Setup
from specli.speculative import DraftModel, SpeculativeConfig


def setup_to_examine(options: Options) -> Setup | None:
    """The pair as `specli run` would set it up; None for the embedded pair before its download.

    Raises UsageError, ModelFileError for a model that was named and is not here, and SpecliError
    for an RPC server that does not answer.
    """
    named = options.given().keys() & {"profile", "model", "model_draft"}
    options, profile = with_profile(with_servers(options))
    target, draft = named_models(options, profile)
    if target is None:
        return None
    target_file = _present(target, required=bool(named))
    if target_file is None:
        return None
    config = SpeculativeConfig()
    if draft is not None:
        file = automatic_draft(target_file) if draft == AUTO else None
        file = file or _present(draft, required=bool(named))
        if file is None:
            return None
        one = DraftModel(
            file,
            placement(options.given(), "_draft"),
            n_ctx=options.number("ctx_size_draft") or None,
        )
        config = SpeculativeConfig((one,))
    return Setup(
        target=target_file,
        n_ctx=options.number("ctx_size"),
        flash_attention=options.flash_attn or "auto",
        target_placement=placement(options.given()),
        speculative=config,
    )


def _present(model: str | Recipe, *, required: bool) -> Path | None:
    path = present(model)
    if path is None and required:
        raise ModelFileError(
            f"{model} is not on this machine yet",
            hint=f"specli pull {model}" if isinstance(model, str) else "specli run makes it",
        )
    return path
