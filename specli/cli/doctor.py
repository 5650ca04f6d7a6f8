"""`specli doctor`: what this machine can do, and what speed-up it allows at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specli.cli.output import Sink
from specli.cli.parameters import takes
from specli.options import AUTO, Options

if TYPE_CHECKING:
    from pathlib import Path

    from specli.hub.made import Recipe
    from specli.session import Setup


@takes("profile", "model", "model_draft", "json")
def doctor(*, options: Options) -> None:
    """Show what this machine can do: build, cores, memory, its speed, and the speed-up to expect.

    Memory and arithmetic are measured, for about two seconds. Nothing is downloaded.
    """
    import specli
    from specli.doctor.report import examine
    from specli.ui.doctor import doctor_view

    report = examine(specli.__version__, _setup(options))
    sink = Sink.of(options)
    sink.data(report.as_dict())
    sink.show(doctor_view(report))


def _setup(options: Options) -> Setup | None:
    """The pair as `specli run` would set it up; None where only the embedded one is meant and is
    not here yet.

    Raises UsageError, and ModelFileError for a model that was named and is not here.
    """
    from specli.cli.prepare import chosen_profile
    from specli.session import Setup
    from specli.speculative import DraftModel, SpeculativeConfig, placement

    named = options.given().keys() & {"profile", "model", "model_draft"}
    profile = chosen_profile(options)
    target: str | Recipe | None = options.model
    draft: str | Recipe | None = options.model_draft
    if profile is not None:
        options = options.over(profile.defaults.given())
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
    from specli.cli.auto_draft import automatic_draft

    if draft == AUTO:
        return None if target is None else automatic_draft(target)
    return _present(draft, required=required)


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
