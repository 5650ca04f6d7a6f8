"""`specli config`: the user's own defaults, and where each setting in force comes from."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from specli.cli import completion, help_page
from specli.cli.given import from_environment, variable_of
from specli.cli.output import Sink, print_stderr
from specli.errors import UsageError
from specli.option_table import GENERATION, OPTIONS
from specli.option_values import written
from specli.options import Options

ABOUT = """Show and change your own defaults.

    Flags override the environment, which overrides a profile, which overrides these.
    """

app = typer.Typer(cls=help_page.Group, help=ABOUT)
Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="An option's name: temp, or default.temp.",
        autocompletion=completion.settings,
    ),
]


@app.callback()
def config() -> None:
    """Show and change your own defaults."""


@app.command("path", cls=help_page.Command)
def path() -> None:
    """Print the path of the file, whether or not it exists."""
    from specli.config import config_path

    Sink().write(f"{config_path()}\n")


@app.command("show", cls=help_page.Command)
def show(
    origin: Annotated[bool, typer.Option("--origin", help="Say where each comes from.")] = False,
) -> None:
    """Print the settings in force without flags, as TOML."""
    rows = list(_in_force())
    if not rows:
        print_stderr("nothing is set: specli's own defaults apply")
    lines = [(f"{name} = {_toml(value)}", where) for name, value, where in rows]
    width = max((len(line) for line, _where in lines), default=0)
    for line, where in lines:
        Sink().write(f"{line.ljust(width)}  # {where}\n" if origin else f"{line}\n")


@app.command("set", cls=help_page.Command)
def set_value(
    key: Key, value: Annotated[str, typer.Argument(metavar="VALUE", help="Its value.")]
) -> None:
    """Set a default, as in `specli config set default.profile smollm2`."""
    from specli.config import config_path, with_value, write_config

    if key.removeprefix("default.") == "profile":
        from specli.profiles import find_profile

        find_profile(value)
    write_config(with_value(key, value))
    print_stderr(f"wrote {config_path()}")


@app.command("unset", cls=help_page.Command)
def unset(key: Key) -> None:
    """Remove a default."""
    from specli.config import config_path, without_value, write_config

    write_config(without_value(key))
    print_stderr(f"wrote {config_path()}")


@app.command("edit", cls=help_page.Command)
def edit() -> None:
    """Open the file in $VISUAL or $EDITOR, and check it afterwards."""
    from specli.config import HEAD, config_path, read_config, write_config

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise UsageError("no editor is set", hint="EDITOR=nano specli config edit")
    file = config_path()
    if not file.exists():
        write_config(HEAD)
    _edit(editor, file)
    read_config()


def _edit(editor: str, file: Path) -> None:
    try:
        code = subprocess.run([*shlex.split(editor), str(file)], check=False).returncode
    except (OSError, ValueError) as error:
        raise UsageError(f"{editor} cannot be started: {error}", hint="set EDITOR") from None
    if code:
        raise UsageError(f"{editor} ended with code {code}", hint=f"the file is {file}")


def _in_force() -> Iterator[tuple[str, Any, str]]:
    """(name, value, origin) of every setting, the strongest layer of each."""
    from specli.app.prepare import with_profile
    from specli.config import config_path, read_config

    own = read_config()
    environment = from_environment(GENERATION)
    _options, profile = with_profile(environment.under(own))
    layers: list[tuple[dict[str, Any], str]] = [(environment.given(), "")]
    if profile is not None:
        layers.append((profile.defaults.given(), f"profile {profile.name}"))
    layers.append((own, str(config_path())))
    given: dict[str, tuple[Any, str]] = {}
    for settings, origin in layers:
        fresh = Options(**{name: value for name, (value, _) in given.items()}).over(settings)
        for name, value in fresh.given().items():
            given.setdefault(name, (value, origin or _variable(name)))
    for name in sorted(given, key=list(OPTIONS).index):
        yield name, *given[name]


def _variable(name: str) -> str:
    found = variable_of(OPTIONS[name])
    return "environment" if found is None else f"environment {found[0]}"


def _toml(value: Any) -> str:
    return json.dumps(written(value), ensure_ascii=False)
