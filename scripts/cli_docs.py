"""Writes docs/cli.md from the table of options and the commands' own arguments.

python scripts/cli_docs.py            write it
python scripts/cli_docs.py --check    fail where the file is not what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from specli.cli.help_page import Row, Shown, page_of
from specli.cli.main import app

PATH = Path(__file__).parent.parent / "docs" / "cli.md"
HEAD = """\
# Command line reference

Written by `make docs` from the table of options, `specli/options.py`, and the commands; changes
belong there. What is listed here is what `--help-all` shows.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_sections(typer.main.get_command(app), None)])


def _sections(command: object, parent: typer.Context | None) -> Iterator[str]:
    if not isinstance(command, Shown):
        raise TypeError(f"{command!r} is not a command of Typer's")
    context = typer.Context(
        command, info_name=command.name, parent=parent, **command.context_settings
    )
    page = page_of(command, context, everything=True)
    yield f"## {context.command_path}\n"
    yield f"    {page.usage}\n"
    for paragraph in page.about:
        yield f"{paragraph}\n"
    if page.examples:
        yield "\n".join(["```", *page.examples, "```", ""])
    for title, rows in page.sections.items():
        yield from _table(title, rows)
    if page.epilog:
        yield f"{page.epilog}\n"
    if isinstance(command, typer.core.TyperGroup):
        for name in command.list_commands(context):
            yield from _sections(command.commands[name], context)


def _table(title: str, rows: list[Row]) -> Iterator[str]:
    yield f"| {title} | |"
    yield "|---|---|"
    for row in rows:
        yield f"| `{_cell(row.name)}` | {_cell(row.help)} |"
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
