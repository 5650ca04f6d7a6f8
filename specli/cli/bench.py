"""`specli bench`: how fast a pair is here, by kind of text, and what drafting brings."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from specli.cli import help_page
from specli.cli.failures import INTERRUPTED
from specli.cli.output import Sink, console, freeze_loaded
from specli.cli.parameters import own, takes
from specli.errors import UsageError
from specli.option_table import GENERATION, OPTIONS, OUTPUT
from specli.options import Options

RUNS = 5
PREDICT = 128

UNUSED = {"raw", "prediction", "json_schema", "grammar", "grammar_file", "stop", "ignore_eos"}
"""What a bench does not measure."""
LENGTHS = replace(
    OPTIONS["draft_max"],
    metavar="N|auto,...",
    several=True,
    help="Draft lengths to compare.",
    default="what specli run would do",
)
CUTS = replace(
    OPTIONS["draft_p_min"],
    metavar="P,...",
    several=True,
    help="Cut-offs to compare, each with every length.",
    common=True,
)
ANSWER = replace(
    OPTIONS["predict"], least=1, help="Maximum tokens of an answer.", default=str(PREDICT)
)
SWEPT = {option.name: option for option in (LENGTHS, CUTS, ANSWER)}
OWN = (
    own("--runs", "Runs of each setting on each prompt.", "integer", least=1, default=str(RUNS)),
    own("--prompts", "Prompts: text, one a line; or .jsonl with prompt, messages or turns (as in "
        "Spec-Bench and MT-Bench).", "file", default="those that ship"),
    own("--categories", "Only prompts of these categories.", metavar="NAME,...", several=True),
    own("--cache-prompt", "Keep prompts in the target's cache between runs. Faster, but then the "
        "time to the first token says little.", "switch"),
    own("-o --output", "Write the report with every run to FILE, as JSON.", "file", group=OUTPUT),
    own("--csv", "Write a row for every run.", "file", name="csv_file", group=OUTPUT),
    own("--html", "Write a page with charts that opens offline; needs specli[bench].", "file",
        name="html_file", group=OUTPUT),
)  # fmt: skip

app = typer.Typer(cls=help_page.Group, invoke_without_command=True)


@app.callback()
@takes(
    *OWN,
    *(SWEPT.get(name, name) for name in GENERATION if name not in UNUSED),
    "json",
    "quiet",
    "verbose",
)
def bench(context: typer.Context, *, options: Options, **given: Any) -> None:
    """Measure a pair: speed and acceptance by kind of text, against plain decoding.

    Plain decoding and each setting take turns on every prompt, each run with empty caches unless
    --cache-prompt is given. Ctrl-C ends it early and shows what has been measured.

    Examples:
      specli bench -m target.gguf -md draft.gguf
      specli bench -m target.gguf -md draft.gguf --draft 2,4,8,auto -o bench.json
      specli bench compare before.json after.json
    """
    if context.invoked_subcommand is not None:
        return
    lengths = options.draft_max or ()
    if 0 in lengths:
        raise UsageError(
            "--draft 0 is plain decoding, which is measured anyway", hint="leave the 0 out"
        )

    from specli.app.bench import BenchTask, keep
    from specli.app.bench import bench as measure
    from specli.bench.report import to_json
    from specli.ui.bench import report_view
    from specli.ui.bench_progress import watching

    sink = Sink.of(options)
    runs, predict = given.pop("runs", RUNS), options.predict or PREDICT
    task = BenchTask(runs, predict, lengths=lengths, cuts=options.draft_p_min or (), **given)

    def open_watch(total: int) -> AbstractContextManager[Callable[[str, int], None]]:
        freeze_loaded()
        return watching(total, quiet=sink.quiet)

    options = options.but(draft_max=None, draft_p_min=None, predict=None)
    report = measure(options, task, sink.feedback(), open_watch)
    try:
        for path in keep(report, task, shlex.join(["specli", *sys.argv[1:]])):
            sink.remark(f"wrote {path}")
    finally:
        # A disk that is full must not cost the figures as well.
        sink.document(to_json(report))
        sink.show(report_view(report, console().width))
    if not report.complete:
        raise typer.Exit(INTERRUPTED)


@app.command("compare", cls=help_page.Command)
def compare(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="A report that bench -o wrote.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Another one.")],
    force: Annotated[
        bool,
        typer.Option("--force", help="Compare benches of different machines or models too."),
    ] = False,
) -> None:
    """Compare two benches: speed-ups by setting and kind of text, and what has changed."""
    from specli.app.bench import compare as compare_reports
    from specli.ui.bench import changes_view

    differences, changes = compare_reports(first, second, force=force)
    sink = Sink()
    for sentence in differences:
        sink.note(f"different {sentence}")
    sink.show(changes_view(changes))
