"""`specli batch`: many prompts, one record each, and nothing lost when it is cut short."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from specli.cli import flags
from specli.cli.options import RunOptions
from specli.cli.run import read_constraint
from specli.cli.run_options import taking_run_options

BATCH = "The batch"


@taking_run_options
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
            help="Append records to FILE, and go on there after an interruption. Default: stdout.",
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
            help="Prompts that are answered at once; auto goes by memory and what batches cost.",
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
            "--restart", help="Drop the records there are and begin anew.", rich_help_panel=BATCH
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
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.001,
            help="Cut an answer off that takes longer; it counts as failed.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    max_failures: Annotated[
        int | None,
        typer.Option(
            "--max-failures",
            min=1,
            help="Stop when so many prompts have failed.",
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
    raw: flags.Raw = False,
    profile: flags.Profile = None,
    options: RunOptions,
    no_draft: flags.NoDraft = False,
    recalibrate: flags.Recalibrate = False,
    grammar: flags.Grammar = None,
    grammar_file: flags.GrammarFile = None,
    json_schema: flags.JsonSchema = None,
    stop: flags.Stop = None,
    ignore_eos: flags.IgnoreEos = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
) -> None:
    """Answer many prompts, one JSON line each: from JSON lines, text, CSV or a folder.

    The same command again goes on where an earlier one was stopped.
    """
    gbnf, schema = read_constraint(grammar, grammar_file, json_schema)

    from specli.cli.batch_run import Task, run_batch

    task = Task(
        source=source,
        output=output,
        form=form,
        template=template,
        column=column,
        parallel=parallel,
        in_order=not unordered,
        restart=restart,
        strict=strict,
        timeout=timeout,
        max_failures=max_failures,
        report=report,
        raw=raw,
        stops=tuple(stop or ()),
        ignore_end=ignore_eos,
        grammar=gbnf,
        json_schema=schema,
        profile=profile,
        draft=not no_draft,
        recalibrate=recalibrate,
        quiet=quiet,
        verbose=verbose,
    )
    code = run_batch(options, task)
    if code:
        raise typer.Exit(code)
