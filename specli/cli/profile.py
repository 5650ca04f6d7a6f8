"""`specli profile`: the profiles there are, and what they say."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli import completion, help_page
from specli.cli.output import Sink
from specli.errors import UsageError
from specli.option_table import AUTO, OPTIONS, Option

if TYPE_CHECKING:
    from specli.profiles import Profile

Named = Annotated[
    str,
    typer.Argument(metavar="NAME|FILE", help="The profile.", autocompletion=completion.profiles),
]

app = typer.Typer(cls=help_page.Group, help="List, show, check and export profiles.")


@app.callback()
def profile() -> None:
    """List, show, check and export profiles."""


@app.command("list", cls=help_page.Command)
def list_profiles() -> None:
    """List the profiles in ./profiles, in your configuration folder and in specli itself."""
    from rich.table import Table
    from rich.text import Text

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
    Sink().show(table)


@app.command("show", cls=help_page.Command)
def show(
    name: Named,
    effective: Annotated[
        bool, typer.Option("--effective", help="Every setting, with specli's own defaults.")
    ] = False,
) -> None:
    """Print a profile, or with --effective every setting that results from it."""
    from specli.profiles import find_profile, read_profile

    path = find_profile(name)
    checked = read_profile(path)
    Sink().write(_effective(checked) if effective else path.read_text(encoding="utf-8"))


@app.command("validate", cls=help_page.Command)
def validate(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|FILE...", help="Profiles to check.", autocompletion=completion.profiles
        ),
    ],
) -> None:
    """Check profiles; each mistake is reported with file, line and key. Exit code 2 if any."""
    from specli.profiles import find_profile, read_profile

    sink = Sink()
    code = 0
    for name in names:
        try:
            path = find_profile(name)
            read_profile(path)
            sink.write(f"{path}: valid\n")
        except UsageError as error:
            code = error.exit_code
            for one in (error, *getattr(error, "further", ())):
                sink.remark(one.message + (f" ({one.hint})" if one.hint else ""))
    raise typer.Exit(code)


@app.command("export", cls=help_page.Command)
def export(
    name: Named,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TOOL",
            help="llama-server, vllm, fireworks, lm-studio or ollama.",
            autocompletion=completion.tools,
        ),
    ],
) -> None:
    """Print the pair and its settings as another tool's command or file.

    Settings that the tool does not have are listed on stderr.
    """
    from specli.cli.profile_export import TOOLS, exported
    from specli.profiles import load_profile

    if to not in TOOLS:
        raise UsageError(f"no export to {to!r}", hint=f"there are: {', '.join(TOOLS)}")
    made = exported(load_profile(name), to)
    sink = Sink()
    sink.write(made.text)
    for note in made.notes:
        sink.note(note)


@app.command("import", cls=help_page.Command)
def import_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the profile is called.")],
    command: Annotated[
        str,
        typer.Argument(
            metavar="COMMAND", help="A line of llama-server, vllm or firectl; `-` reads it."
        ),
    ],
) -> None:
    """Print a profile made of another tool's command line, given as one quoted argument.

    Examples:
      specli profile import mine "llama-server -m a.gguf -md b.gguf" > mine.yaml
    """
    import yaml

    from specli.cli.profile_import import imported
    from specli.profiles import Profile

    content, notes = imported(sys.stdin.read() if command == "-" else command, name)
    try:
        Profile.model_validate(content)
    except ValueError as error:
        raise UsageError(f"this makes no valid profile: {error}", hint="check NAME") from None
    sink = Sink()
    sink.write(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    for note in notes:
        sink.note(note)


def _effective(profile: Profile) -> str:
    """The profile's settings over specli's defaults as YAML; `auto` is decided when it runs."""
    import yaml

    given = profile.model_dump(by_alias=True, exclude_defaults=True)
    merged = {
        "name": profile.name,
        "target": given["target"],
        "draft": given.get("draft"),
        **{option.name: _default(option) for option in OPTIONS.values() if option.setting},
        **profile.defaults.model_dump(exclude_none=True),
    }
    return yaml.safe_dump(merged, sort_keys=False, allow_unicode=True)


def _default(option: Option) -> object:
    """specli's own value of an option: a number or a word, `auto` where it depends."""
    import yaml

    if option.kind == "switch":
        return False
    unnamed = option.words and option.default not in option.words
    return AUTO if unnamed else yaml.safe_load(option.default or "null")
