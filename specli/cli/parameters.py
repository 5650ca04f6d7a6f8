"""From the table of options to the flags of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from specli.cli import help_page
from specli.cli.output import Sink
from specli.options import IGNORED, OPTIONS, Option, Options, parsed

Command = Callable[..., None]


def takes(*wanted: str | Option) -> Callable[[Command], Command]:
    """A command whose parameter `options` Typer sees as flags, by name from the table or as given.

    Raises UsageError, when the command is called, for a value that a flag does not take.
    """
    chosen = [OPTIONS[one] if isinstance(one, str) else one for one in wanted]
    names = [option.name for option in chosen]
    ignored = {f"ignored_{number}": flags for number, flags in enumerate(IGNORED)}
    if "spec_type" not in names:
        ignored = {}

    def decorated(command: Command) -> Command:
        @wraps(command)
        def with_flags(**given: Any) -> None:
            given.pop(help_page.EVERYTHING, None)
            unused = [flags.split()[0] for name, flags in ignored.items() if given.pop(name)]
            raw = {name: given.pop(name) for name in names}
            options = Options(
                **{
                    option.name: parsed(option, raw[option.name])
                    for option in chosen
                    if raw[option.name] is not None
                }
            )
            if unused:
                text = "they belong to drafters that are replaced by suffix drafting"
                Sink.of(options).note(f"ignored {', '.join(unused)}: {text}")
            command(options=options, **given)

        own = inspect.signature(command, eval_str=True)
        kept = [p for p in own.parameters.values() if p.name != "options"]
        added = {option.name: _flag(option) for option in chosen}
        added |= {name: _ignored(flags) for name, flags in ignored.items()}
        if not all(option.common for option in chosen):
            added[help_page.EVERYTHING] = help_page.everything_flag()
        shared = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=None
            )
            for name, annotation in added.items()
        ]
        kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in kept]
        signature = own.replace(parameters=[*kept, *shared])
        with_flags.__signature__ = signature  # type: ignore[attr-defined]
        with_flags.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return with_flags

    return decorated


def _flag(option: Option) -> object:
    """How Typer sees an option: texts, which `parsed` reads, and switches."""
    spellings = [*option.flags.split(), *option.aliases.split()]
    if option.kind == "switch":
        if option.setting:
            # What a profile switches on can be switched off.
            spellings = [f"{option.flag}/--no-{option.flag.removeprefix('--')}"]
        kind: object = bool | None
    else:
        kind = list[str] | None if option.kind in ("texts", "biases") else str | None
    return Annotated[
        kind,
        typer.Option(
            *spellings,
            metavar=option.metavar or None,
            help=_help(option),
            hidden=not option.common,
            rich_help_panel=option.group,
        ),
    ]


def _help(option: Option) -> str:
    parts = [option.help]
    if option.kind == "text" and option.words and "|" not in option.metavar:
        parts.append(f"One of {', '.join(option.words)}.")
    if option.default:
        parts.append(f"Default: {option.default}.")
    return " ".join(parts)


def _ignored(flags: str) -> object:
    return Annotated[str | None, typer.Option(*flags.split(), hidden=True)]
