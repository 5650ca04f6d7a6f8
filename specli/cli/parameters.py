"""From options to the flags of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from specli.cli import help_page
from specli.cli.completion import completer, models
from specli.cli.given import from_config, from_environment, from_flags
from specli.option_table import OPTIONS, Option, option
from specli.option_values import parsed

Command = Callable[..., None]

Target = Annotated[
    str, typer.Argument(metavar="TARGET", help="The target model.", autocompletion=models)
]
Folders = Annotated[
    list[Path] | None,
    typer.Option(
        "--dir", metavar="DIR", exists=True, file_okay=False, help="Look below DIR as well."
    ),
]


def own(flags: str, help: str, *kind: Any, **more: Any) -> Option:
    """An option of one command, always shown."""
    return option(flags, help, *kind, **{"group": "Options"} | more, common=True, setting=False)


def takes(*wanted: str | Option) -> Callable[[Command], Command]:
    """A command with these flags, by name from the table or as given.

    Values of options that are in the table, from flags and from the environment, are its
    parameter `options`; each other option that is given is a parameter of its own. Raises
    UsageError, when the command is called, for a value that a flag does not take.
    """
    chosen = [OPTIONS[one] if isinstance(one, str) else one for one in wanted]
    shared = [one.name for one in chosen if one.name in OPTIONS]

    def decorated(command: Command) -> Command:
        @wraps(command)
        def with_flags(**given: Any) -> None:
            given.pop(help_page.EVERYTHING, None)
            raw = [(option, given.pop(option.name)) for option in chosen]
            values = {one.name: parsed(one, value) for one, value in raw if value is not None}
            flags = from_flags({name: values.pop(name) for name in shared if name in values})
            options = flags.over(from_environment(shared).given())
            options = options.under(from_config(shared))
            command(options=options, **given, **values)

        added = {option.name: _flag(option) for option in chosen}
        if not all(option.common for option in chosen):
            added[help_page.EVERYTHING] = help_page.EVERYTHING_FLAG
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            *(
                parameter.replace(kind=keyword)
                for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
                if name not in ("options", *added)
                and parameter.kind != inspect.Parameter.VAR_KEYWORD
            ),
            *(
                inspect.Parameter(name, keyword, annotation=annotation, default=None)
                for name, annotation in added.items()
            ),
        ]
        with_flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_flags.__annotations__ = {one.name: one.annotation for one in parameters}
        return with_flags

    return decorated


def _flag(option: Option) -> object:
    """How Typer sees an option: texts, which `parsed` reads, and switches."""
    spellings = [*option.flags.split(), *option.aliases.split()]
    kind: object = list[str] | None if option.kind in ("texts", "biases") else str | None
    if option.kind == "switch":
        kind = bool | None
        if option.setting:
            # What a profile switches on can be switched off.
            off = f"{option.flag}/--no-{option.flag.removeprefix('--')}"
            spellings = [off if one == option.flag else one for one in spellings]
    return Annotated[
        kind,
        typer.Option(
            *spellings,
            metavar=option.metavar or None,
            help=_help(option),
            hidden=not option.common,
            rich_help_panel=option.group,
            autocompletion=completer(option),
        ),
    ]


def _help(option: Option) -> str:
    parts = [option.help]
    if option.kind == "text" and option.words and "|" not in option.metavar:
        parts.append(f"One of {', '.join(option.words)}.")
    if option.default:
        parts.append(f"Default: {option.default}.")
    return " ".join(parts)
