"""`specli doctor`: what this machine can do, and the speed-up it allows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli import flags
from specli.cli.options import RunOptions

if TYPE_CHECKING:
    from pathlib import Path

    from specli.hub.made import Recipe
    from specli.session import Setup


def doctor(
    profile: flags.Profile = None,
    model: flags.Model = None,
    model_draft: flags.ModelDraft = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show build, cores, memory and speed of this machine, and the speed-up they allow.

    Measures memory and arithmetic for about two seconds. Downloads nothing.
    """
    import specli
    from specli.doctor.report import examine

    report = examine(specli.__version__, _setup(RunOptions(model, model_draft), profile))
    if as_json:
        typer.echo(json.dumps(report.as_dict(), default=str, ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    from specli.ui.doctor import doctor_view

    Console(highlight=False).print(doctor_view(report))


def _setup(options: RunOptions, profile_name: str | None) -> Setup | None:
    """The pair as `specli run` would set it up; None if that is the embedded pair and it has not
    been fetched.

    Raises UsageError, and ModelFileError for a named model that is not on this machine.
    """
    from specli.cli.auto_draft import AUTO, automatic_draft
    from specli.cli.prepare import chosen_profile
    from specli.session import Setup
    from specli.speculative import DraftModel, SpeculativeConfig

    profile = chosen_profile(options, profile_name)
    target: str | Recipe | None = options.model
    draft: str | Recipe | None = options.model_draft
    if profile is not None:
        options = options.over(profile)
        if target is None:
            draft = draft or profile.draft_model
        target = target or profile.target_model
    if target is None:
        return None
    required = profile_name is not None or options.given().keys() & {"model", "model_draft"}
    target_file = _present(target, required=bool(required))
    if target_file is None:
        return None
    draft_file: Path | None = None
    if draft == AUTO:
        draft_file = automatic_draft(target_file)
    elif draft is not None:
        draft_file = _present(draft, required=bool(required))
        if draft_file is None:
            return None
    config = SpeculativeConfig()
    if draft_file is not None:
        config = SpeculativeConfig((DraftModel(draft_file, options.draft_placement()),))
    return Setup(
        target=target_file,
        n_ctx=options.ctx_size,
        flash_attention=options.flash_attn or "auto",
        target_placement=options.target_placement(),
        speculative=config,
    )


def _present(model: str | Recipe, *, required: bool) -> Path | None:
    from specli.errors import ModelFileError
    from specli.hub.references import present

    path = present(model)
    if path is None and required:
        raise ModelFileError(
            f"{model} is not on this machine yet",
            hint=f"specli pull {model}" if isinstance(model, str) else "specli run makes it",
        )
    return path
