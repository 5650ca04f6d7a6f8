"""`specli batch`: many prompts, one record each, and nothing lost when it is cut short."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, Annotated, Literal

import typer

from specli.cli.output import Sink, print_stderr
from specli.cli.parameters import takes
from specli.errors import BatchFailedError, UsageError
from specli.options import AUTO, GENERATION, OPTIONS, Options

BATCH = "Batch"
MOST_PARALLEL = 256
"""Sequences of one context, by llama.cpp's own limit."""
TIMEOUT = replace(OPTIONS["timeout"], group=BATCH)


@takes(*GENERATION, "quiet", "verbose", TIMEOUT)
def batch(
    *,
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="A file or a folder of files; `-` is stdin.")
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Append records to FILE, and resume there after an interruption. Default: stdout.",
            rich_help_panel=BATCH,
        ),
    ] = "-",
    form: Annotated[
        Literal["jsonl", "text", "csv"] | None,
        typer.Option(
            "--format",
            help="Form of the input. Default: by its name, else by its first line.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            metavar="TEXT",
            help="Make each prompt from fields of its line, as in 'Summarise: {text}'.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            "--column",
            metavar="NAME",
            help="CSV column of the prompts. Default: prompt.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    parallel: Annotated[
        str,
        typer.Option(
            "-np",
            "--parallel",
            metavar="N|auto",
            help="Prompts that are answered at once. Default: auto, by memory and measured costs.",
            rich_help_panel=BATCH,
        ),
    ] = "auto",
    unordered: Annotated[
        bool,
        typer.Option(
            "--unordered",
            help="Write records as they finish, not in input order.",
            rich_help_panel=BATCH,
        ),
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Delete existing records and start again.", rich_help_panel=BATCH
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Check every prompt first; generate nothing if one is bad.",
            rich_help_panel=BATCH,
        ),
    ] = False,
    max_failures: Annotated[
        int | None,
        typer.Option(
            "--max-failures",
            min=1,
            help="Stop after N failed prompts.",
            metavar="N",
            rich_help_panel=BATCH,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Write the totals to FILE, as JSON.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    options: Options,
) -> None:
    """Answer many prompts, one JSON line each: from JSON lines, text, CSV or a folder.

    The same command again resumes where an earlier one was stopped.

    Examples:
      specli batch prompts.jsonl -o answers.jsonl
      specli batch reviews.csv --column text --template "Summarise: {text}" -o out.jsonl
      cat prompts.txt | specli batch - -np 8
    """
    from specli.app.batch import STANDARD, Streams, Task, answer_batch
    from specli.cli.attendant import TerminalAttendant

    task = Task(
        source=source,
        output=output,
        form=form,
        template=template,
        column=column,
        parallel=parse_parallel(parallel),
        in_order=not unordered,
        restart=restart,
        strict=strict,
        max_failures=max_failures,
        report=report,
    )
    sink = Sink.of(options)
    attendant = TerminalAttendant(sink, says_slots=parallel == AUTO)
    streams = Streams(_stdin, lambda: sys.stdout.buffer)
    totals = answer_batch(options, task, streams, sink.feedback(), attendant)
    if attendant.signal is not None:
        print_stderr(attendant.how_to_resume(to_stdout=output == STANDARD))
        raise typer.Exit(128 + attendant.signal)
    if totals.failed:
        raise BatchFailedError(f"{totals.failed} of {totals.seen} prompts failed")


def _stdin() -> IO[bytes]:
    return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)


def parse_parallel(value: str) -> int | None:
    """How many prompts run at once; None where that is left to costs and memory.

    Raises UsageError.
    """
    if value == AUTO:
        return None
    if value.isdecimal() and 1 <= int(value) <= MOST_PARALLEL:
        return int(value)
    raise UsageError(
        f"--parallel takes auto or a number from 1 to {MOST_PARALLEL}, not {value!r}",
        hint="such as --parallel 4",
    )
