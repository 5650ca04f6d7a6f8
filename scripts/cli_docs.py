"""Writes docs/cli.md from what `--help` says of every command.

python scripts/cli_docs.py            write it
python scripts/cli_docs.py --check    fail where the file is not what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from specli.cli.main import app

PATH = Path(__file__).parent.parent / "docs" / "cli.md"
HEAD = """\
# Command line reference

Written by `make docs` from the commands' own `--help`; changes belong there.
"""

Command = typer.core.TyperCommand | typer.core.TyperGroup


def reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_sections(typer.main.get_command(app), None)])


def _sections(command: object, parent: typer.Context | None) -> Iterator[str]:
    if not isinstance(command, Command):
        raise TypeError(f"{command!r} is not a command of Typer's")
    context = typer.Context(command, info_name=command.name, parent=parent)
    yield f"## {context.command_path}\n"
    yield f"    {' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n"
    if command.help:
        yield f"{command.help}\n"
    if isinstance(command, typer.core.TyperGroup):
        yield from _table("Command", _commands(command))
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            panel = getattr(parameter, "rich_help_panel", None)
            kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
            panels.setdefault(panel or kind, []).append(record)
    for panel, records in panels.items():
        yield from _table(panel, records)
    if command.epilog:
        yield f"{command.epilog}\n"
    if isinstance(command, typer.core.TyperGroup):
        for name in command.list_commands(context):
            yield from _sections(command.commands[name], context)


def _commands(group: typer.core.TyperGroup) -> list[tuple[str, str]]:
    return [
        (name, command.get_short_help_str(limit=200))
        for name, command in group.commands.items()
        if not command.hidden
    ]


def _table(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    yield f"| {title} | |"
    yield "|---|---|"
    for left, right in rows:
        yield f"| `{_cell(left)}` | {_cell(right)} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    text = reference()
    if "--check" not in sys.argv[1:]:
        PATH.write_text(text, encoding="utf-8")
    elif not PATH.exists() or PATH.read_text(encoding="utf-8") != text:
        sys.exit(f"{PATH.name} is out of date: run `make docs`")


if __name__ == "__main__":
    main()
