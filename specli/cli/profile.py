"""`specli profile`: the profiles there are, what they say, and new ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli import flags

if TYPE_CHECKING:
    from specli.hub.made import Recipe
    from specli.profiles import Profile

app = typer.Typer(help="List, show, write and check profiles.", no_args_is_help=True)


@app.callback()
def profile() -> None:
    """List, show, write and check profiles."""


@app.command("list")
def list_profiles() -> None:
    """List the profiles in ./profiles, in your configuration folder and in specli itself."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from specli.errors import UsageError
    from specli.profiles import profile_files, read_profile

    table = Table(box=None, padding=(0, 1))
    table.add_column("profile", no_wrap=True)
    table.add_column("", overflow="fold")
    for name, path in profile_files().items():
        try:
            table.add_row(Text(name), Text(read_profile(path).description))
        except UsageError as error:
            # A folder called profiles may hold other programs' files.
            table.add_row(Text(name), Text(f"not valid: {error.message}", style="red"))
    Console(highlight=False).print(table)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="The profile.")],
    effective: Annotated[
        bool, typer.Option("--effective", help="Every setting, with specli's own defaults.")
    ] = False,
) -> None:
    """Print a profile, or with --effective what results from it where no flag says otherwise."""
    from specli.profiles import find_profile, read_profile

    path = find_profile(name)
    checked = read_profile(path)
    typer.echo(_effective(checked) if effective else path.read_text(encoding="utf-8"), nl=False)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new profile's name.")],
    model: flags.Model = None,
    model_draft: flags.ModelDraft = None,
    draft_max: Annotated[
        int | None, typer.Option("--draft-max", min=0, help="Most tokens drafted per round.")
    ] = None,
) -> None:
    """Write a profile into your configuration folder, to be edited there."""
    from specli.errors import UsageError
    from specli.profiles import user_folder, write_profile

    if model is None:
        raise UsageError("a profile needs a target model", hint="name it with -m")
    path = user_folder() / f"{name}.yaml"
    if path.exists():
        raise UsageError(f"{path} is there already", hint="edit it, or choose another name")
    content: dict[str, object] = {
        "name": name,
        "description": f"{model} drafted by {model_draft}" if model_draft else model,
        "target": model,
    }
    if model_draft is not None:
        content["draft"] = model_draft
    if draft_max is not None:
        content["defaults"] = {"draft_max": draft_max}
    write_profile(path, content)
    typer.echo(path)


@app.command("validate")
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Profiles to check.")],
) -> None:
    """Check profiles; each mistake is named with its file, line and key. Exit code 2 if any."""
    from specli.errors import UsageError
    from specli.profiles import read_profile

    failed = False
    for path in files:
        try:
            read_profile(path)
        except UsageError as error:
            failed = True
            typer.echo(error.message + (f" ({error.hint})" if error.hint else ""), err=True)
        else:
            typer.echo(f"{path}: valid")
    if failed:
        raise typer.Exit(UsageError.exit_code)


def _effective(profile: Profile) -> str:
    """The profile's settings over specli's defaults as YAML; `auto` is decided when it runs."""
    import yaml

    from specli.profiles import Settings
    from specli.sampling.params import SamplingParams

    sampling = SamplingParams()
    defaults: dict[str, object] = {
        **dict.fromkeys(Settings.model_fields, "auto"),
        "temp": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repeat_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repeat_last_n": sampling.penalty_last_n,
        "predict": -1,
        "seed": -1,
        "system": None,
    }
    merged = {
        "name": profile.name,
        "target": _plain(profile.target_model),
        "draft": None if profile.draft_model is None else _plain(profile.draft_model),
        **defaults,
        **profile.defaults.given(),
    }
    return yaml.safe_dump(merged, sort_keys=False, allow_unicode=True)


def _plain(model: str | Recipe) -> object:
    if isinstance(model, str):
        return model
    made: dict[str, object] = {"from": model.source, "type": model.quantize}
    if model.prune_layers:
        made["prune_layers"] = list(model.prune_layers)
    return made
