"""Writes docs/cli.md and docs/man from the table of options and the commands' own arguments.

python scripts/cli_docs.py            write them
python scripts/cli_docs.py --check    fail where a file is not what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from man_pages import manual

from specli.cli.help_page import Page, Row, Shown, page_of
from specli.cli.main import app

DOCS = Path(__file__).parent.parent / "docs"
PATH = DOCS / "cli.md"
MANUALS = DOCS / "man"
"""The build puts these where `man` looks: share/man/man1."""
HEAD = """\
# Command line reference

Written by `make docs` from the table of options, `specli/option_table.py`, and the commands;
changes belong there. What is listed here is what `--help-all` shows.
"""


@dataclass(frozen=True, slots=True)
class Described:
    """A command with everything that --help-all says of it."""

    path: str
    page: Page
    related: list[str]
    """The group that it is in, and the commands that it has."""


def commands() -> list[Described]:
    """Every command and group, in the order of the help."""
    return list(_described(typer.main.get_command(app), None))


def _described(command: object, parent: typer.Context | None) -> Iterator[Described]:
    if not isinstance(command, Shown):
        raise TypeError(f"{command!r} is not a command of Typer's")
    context = typer.Context(
        command, info_name=command.name, parent=parent, **command.context_settings
    )
    path = context.command_path
    page = page_of(command, context, everything=True)
    names = command.list_commands(context) if isinstance(command, typer.core.TyperGroup) else []
    above = [] if parent is None else [parent.command_path]
    yield Described(path, page, above + [f"{path} {name}" for name in names])
    if isinstance(command, typer.core.TyperGroup):
        for name in names:
            yield from _described(command.commands[name], context)


def reference(described: list[Described]) -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for one in described for line in _section(one))])


def _section(one: Described) -> Iterator[str]:
    page = one.page
    yield f"## {one.path}\n"
    yield f"    {page.usage}\n"
    for paragraph in page.about:
        yield f"{paragraph}\n"
    if page.examples:
        yield "\n".join(["```", *page.examples, "```", ""])
    for title, rows in page.sections.items():
        yield from _table(title, rows)
    if page.epilog:
        yield f"{page.epilog}\n"


def _table(title: str, rows: list[Row]) -> Iterator[str]:
    yield f"| {title} | |"
    yield "|---|---|"
    for row in rows:
        yield f"| `{_cell(row.name)}` | {_cell(row.help)} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def files() -> dict[Path, str]:
    """Every file that is written, with what it says."""
    described = commands()
    pages = {
        MANUALS / f"{one.path.replace(' ', '-')}.1": manual(one.path, one.page, one.related)
        for one in described
    }
    return {PATH: reference(described)} | pages


def main() -> None:
    wanted = files()
    there = {PATH, *MANUALS.glob("*")}
    if "--check" not in sys.argv[1:]:
        MANUALS.mkdir(exist_ok=True)
        for path in there - wanted.keys():
            path.unlink()
        for path, text in wanted.items():
            path.write_text(text, encoding="utf-8")
        return
    stale = there ^ wanted.keys() | {
        path
        for path in there & wanted.keys()
        if not path.exists() or path.read_text(encoding="utf-8") != wanted[path]
    }
    if stale:
        names = ", ".join(sorted(path.name for path in stale))
        sys.exit(f"out of date: {names}; run `make docs`")


if __name__ == "__main__":
    main()
