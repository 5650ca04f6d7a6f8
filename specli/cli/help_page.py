"""What --help prints: plain text that fits the terminal, with nothing cut."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap
from typing import Annotated, Any

import typer

from specli.cli import completion
from specli.cli.llama_flags import known_spellings, translated
from specli.cli.lone import completed
from specli.cli.output import print_stderr
from specli.option_table import OPTIONS

EVERYTHING = "help_all"
"""The parameter that asks for the whole help."""

EXAMPLES = "Examples:"
WIDEST = 100
NARROW = 72
"""Columns below which a flag's help goes under it."""
COLUMN = 30
"""Where a flag's help starts on a wide terminal."""

Shown = typer.core.TyperCommand | typer.core.TyperGroup


@dataclass(frozen=True, slots=True)
class Row:
    """A flag, an argument or a command, and what it does."""

    name: str
    help: str


@dataclass(frozen=True, slots=True)
class Page:
    """The help of a command."""

    usage: str
    about: list[str]
    """Paragraphs."""
    examples: list[str]
    sections: dict[str, list[Row]]
    epilog: str


def page_of(command: Shown, context: typer.Context, *, everything: bool) -> Page:
    """The help of a command; without `everything`, only of its common flags and spellings."""
    about, _, examples = (command.help or "").partition(EXAMPLES)
    sections: dict[str, list[Row]] = {}
    if isinstance(command, typer.core.TyperGroup):
        sections["Commands"] = [
            Row(name, command.commands[name].get_short_help_str(limit=200))
            for name in command.list_commands(context)
        ]
    for parameter in command.get_params(context):
        row = _row(parameter, everything=everything)
        if row is not None:
            panel = getattr(parameter, "rich_help_panel", None) or "Options"
            title = "Arguments" if parameter.param_type_name == "argument" else panel
            sections.setdefault(title, []).append(row)
    if "Options" in sections:
        # --help comes last everywhere.
        sections["Options"] = sections.pop("Options")
    return Page(
        usage=" ".join([context.command_path, *map(_bare, command.collect_usage_pieces(context))]),
        about=[" ".join(paragraph.split()) for paragraph in about.split("\n\n") if paragraph],
        examples=[line.strip() for line in examples.splitlines() if line.strip()],
        sections=sections,
        epilog=command.epilog or "",
    )


def _bare(piece: str) -> str:
    """An argument without the braces in which Click puts what is required; metavars of several
    have their dots already."""
    return piece.removesuffix("...").strip("{}") if piece.startswith("{") else piece


def _row(parameter: Any, *, everything: bool) -> Row | None:
    name = str(parameter.name)
    if parameter.hidden and not everything:
        return None
    text = " ".join((parameter.help or "").split())
    if parameter.param_type_name == "argument":
        return Row(parameter.metavar or name.upper(), text)
    option = OPTIONS.get(name)
    foreign = option.aliases.split() if option and not everything else []
    spellings = [spelling for spelling in parameter.opts if spelling not in foreign]
    if everything:
        spellings += parameter.secondary_opts
    # Short ones first, as everywhere.
    spellings.sort(key=lambda spelling: spelling.startswith("--"))
    metavar = parameter.metavar or ""
    if not metavar and not parameter.is_flag:
        metavar = "N" if "int" in parameter.display_type(None) else "X"
    return Row(f"{', '.join(spellings)} {metavar}".strip(), text)


def text_of(page: Page, width: int, *, bold: bool = False) -> str:
    """The page for a terminal of `width` columns."""
    width = max(20, min(width, WIDEST))
    blocks = [_wrapped(f"Usage: {page.usage}", width, later="  ")]
    blocks += [_wrapped(page.about[0], width)] if page.about else []
    if page.examples:
        # Over several lines as a shell takes them.
        commands = [_wrapped(one, width - 2, "  ", "      ") for one in page.examples]
        lines = [one.replace("\n", " \\\n") for one in commands]
        blocks.append("\n".join([_heading("Examples", bold=bold), *lines]))
    blocks += [_wrapped(paragraph, width) for paragraph in page.about[1:]]
    for title, rows in page.sections.items():
        lines = [line for row in rows for line in _lines(row, width)]
        blocks.append("\n".join([_heading(title, bold=bold), *lines]))
    if page.epilog:
        blocks.append(_wrapped(page.epilog, width))
    return "\n\n".join(blocks) + "\n"


def _heading(title: str, *, bold: bool) -> str:
    return typer.style(f"{title}:", bold=True) if bold else f"{title}:"


def _wrapped(text: str, width: int, first: str = "", later: str = "") -> str:
    lines = wrap(
        text, width, initial_indent=first, subsequent_indent=later,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join(lines)


def _lines(row: Row, width: int) -> Iterator[str]:
    name = _wrapped(row.name, width, "  ", "      ")
    if width < NARROW or len(name) > COLUMN - 2 or "\n" in name:
        yield name
        indent = " " * (COLUMN if width >= NARROW else 6)
        yield _wrapped(row.help, width, indent, indent)
    else:
        yield _wrapped(row.help, width, name.ljust(COLUMN), " " * COLUMN)


def printed(command: Shown, context: typer.Context, *, everything: bool = False) -> str:
    """The help of a command for this terminal."""
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.getenv("TERM") == "dumb"
    width = shutil.get_terminal_size().columns
    return text_of(page_of(command, context, everything=everything), width, bold=not plain)


class Command(typer.core.TyperCommand):
    """A command with specli's help, which takes llama.cpp's flags too."""

    def get_help(self, ctx: Any) -> str:
        return printed(self, ctx).rstrip("\n")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:
            # A shell asks how a line may go on.
            return super().parse_args(ctx, args)
        known = known_spellings(self.get_params(ctx))
        taken, notes = translated(completed(args), known, ctx.command_path)
        for note in [] if {"-q", "--quiet"} & {*taken} else notes:
            print_stderr(f"note: {note}")
        return super().parse_args(ctx, taken)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """How a word with a dash may go on; options that --help leaves out as well."""
        if not incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        options: list[Any] = [
            one for one in self.get_params(ctx) if one.param_type_name == "option"
        ]
        known = [(one.help or "", (*one.opts, *one.secondary_opts)) for one in options]
        item = typer.core.CompletionItem  # type: ignore[attr-defined] # typer's copy of click
        found = completion.spellings(incomplete, known)
        return [item(name, help=text) for name, text in found.items()]


class Group(typer.core.TyperGroup):
    """A group of commands with specli's help, which it prints where no command is named."""

    def get_help(self, ctx: Any) -> str:
        return printed(self, ctx).rstrip("\n")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            typer.echo(self.get_help(ctx), err=True)
            raise typer.Exit(2)
        return super().parse_args(ctx, args)


def _print_everything(context: typer.Context, wanted: bool | None) -> None:
    if wanted:
        command = context.command
        if isinstance(command, Shown):
            typer.echo(printed(command, context, everything=True), nl=False)
        raise typer.Exit


EVERYTHING_FLAG = Annotated[
    bool | None,
    typer.Option(
        "--help-all",
        callback=_print_everything,
        is_eager=True,
        help="Show every option and spelling, and exit.",
    ),
]
