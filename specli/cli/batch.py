"""`specli batch`: many prompts, one record each, and nothing lost when it is cut short."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from specli.cli.output import Sink, print_stderr
from specli.cli.parameters import own, takes
from specli.errors import BatchFailedError, UsageError
from specli.option_table import AUTO, GENERATION, OPTIONS
from specli.options import Options

if TYPE_CHECKING:
    from specli.app.batch import Elsewhere
    from specli.app.feedback import Feedback

BATCH = "Batch"
CLUSTER = "Cluster"
OWN = (
    own("-o --output", "Append records to FILE, and resume there after an interruption.",
        metavar="FILE", default="stdout", group=BATCH),
    own("--format", "Form of the input.", name="form", metavar="jsonl|text|csv|parquet",
        words=("jsonl", "text", "csv", "parquet"), default="by its name, else by its first line",
        group=BATCH),
    own("--template", "Make each prompt from fields of its line, as in 'Summarise: {text}'.",
        metavar="TEXT", group=BATCH),
    own("--column", "CSV or Parquet column of the prompts.", metavar="NAME", default="prompt",
        group=BATCH),
    # 256 sequences are llama.cpp's own limit for one context.
    own("-np --parallel", "Prompts that are answered at once.", "integer", metavar="N|auto",
        least=1, most=256, words=(AUTO,), default="auto, by memory and measured costs",
        group=BATCH),
    own("--unordered", "Write records as they finish, not in input order.", "switch",
        group=BATCH),
    own("--restart", "Delete existing records and start again.", "switch", group=BATCH),
    own("--strict", "Check every prompt first; generate nothing if one is bad.", "switch",
        group=BATCH),
    own("--max-failures", "Stop after N failed prompts.", "integer", least=1, group=BATCH),
    own("--report", "Write the totals to FILE, as JSON.", "file", group=BATCH),
    replace(OPTIONS["timeout"], group=BATCH),
    own("--ray", "Answer on a Ray cluster: HOST:PORT, `auto` for the one that this machine is in; "
        "without ADDRESS that of RAY_ADDRESS, else one started here. Needs specli[ray].",
        metavar="[ADDRESS]", group=CLUSTER),
    own("--ray-actors", "Engines on the cluster, or the least and the most.", metavar="N|MIN,MAX",
        default="one per node, or per GPU", group=CLUSTER),
)  # fmt: skip


@takes(*OWN, *GENERATION, "quiet", "verbose")
def batch(
    *,
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="A file, a folder or a URI; `-` is stdin.")
    ],
    options: Options,
    **task: Any,
) -> None:
    """Answer many prompts, one JSON line each: from JSON lines, text, CSV, Parquet or a folder.

    The same command again resumes where an earlier one was stopped.

    Examples:
      specli batch prompts.jsonl -o answers.jsonl
      specli batch reviews.csv --column text --template "Summarise: {text}" -o out.jsonl
      cat prompts.txt | specli batch - -np 8
      specli batch s3://bucket/prompts.parquet -o out.jsonl --ray --ray-actors 2
    """
    from specli.app.batch import STANDARD, Streams, Task, answer_batch
    from specli.cli.attendant import TerminalAttendant

    sink = Sink.of(options)
    cluster = task.pop("ray", None), task.pop("ray_actors", None)
    elsewhere = _elsewhere(*cluster, options, sink.feedback())
    wanted = Task(source, **task)
    # Engines elsewhere choose for themselves.
    shows_slots = wanted.parallel == AUTO and elsewhere is None
    attendant = TerminalAttendant(sink, shows_slots=shows_slots)
    streams = Streams(_stdin, lambda: sys.stdout.buffer)
    totals = answer_batch(options, wanted, streams, sink.feedback(), attendant, elsewhere)
    if attendant.signal is not None:
        print_stderr(attendant.how_to_resume(to_stdout=wanted.output == STANDARD))
        raise typer.Exit(128 + attendant.signal)
    if totals.failed:
        raise BatchFailedError(f"{totals.failed} of {totals.seen} prompts failed")


def _elsewhere(
    address: str | None, actors: str | None, options: Options, feedback: Feedback
) -> Elsewhere | None:
    """Where the batch runs; None for this process. Raises UsageError."""
    if address is None:
        if actors is not None:
            raise UsageError("--ray-actors is for --ray", hint="add --ray")
        return None
    if options.rpc:
        raise UsageError(
            "--rpc shares out one target, and --ray loads one in each actor",
            hint="leave one of them out",
        )
    from specli.cluster.batch import Cluster, answer_on

    try:
        numbers = sorted(int(number) for number in actors.split(",")) if actors else []
    except ValueError:
        numbers = [0]
    if len(numbers) > 2 or any(number < 1 for number in numbers):
        raise UsageError(f"--ray-actors is N or MIN,MAX, not {actors!r}", hint="--ray-actors 2")
    bounds = (numbers[0], numbers[-1]) if numbers else None
    return partial(answer_on, Cluster(address, bounds, feedback))


def _stdin() -> IO[bytes]:
    return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
