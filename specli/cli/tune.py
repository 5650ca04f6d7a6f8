"""`specli tune`: the fastest settings for a pair on this machine, written as a profile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import typer

from specli.cli.failures import INTERRUPTED
from specli.cli.output import Sink, console, freeze_loaded, print_stderr
from specli.cli.parameters import own, takes
from specli.option_table import MACHINE, OPTIONS
from specli.options import Options

BUDGET = 180.0
"""Seconds."""
OWN = (
    own("-o --output", "The profile to write.", name="out", metavar="NAME|FILE",
        default="the pair's name with -tuned, in your configuration folder"),
    own("--prompts", "Measure on these prompts.", "file", default="those that ship"),
    own("--lossy", "Try an 8-bit cache for the target too, which changes its text a little.",
        "switch"),
)  # fmt: skip
SHARED = ("profile", "model", "model_draft", "ctx_size", "temp")


@takes(
    *OWN,
    *SHARED,
    *(option.name for option in OPTIONS.values() if option.group == MACHINE),
    "quiet",
    "verbose",
    replace(OPTIONS["budget"], default="3m"),
)
def tune(*, options: Options, **given: Any) -> None:
    """Find the fastest settings for a pair on this machine, and write them as a profile.

    Drafters, draft lengths, cut-offs, threads, cache types and GPU layers are compared with plain
    decoding, in turns on the same prompts. What a flag or the profile sets for the machine stays.
    Where plain decoding is fastest, a profile is written only with -o.

    Examples:
      specli tune -m target.gguf -md draft.gguf
      specli tune --profile qwen3-8b --budget 10m -o my-qwen3
    """
    from specli.app.tune import TuneTask, keep, search
    from specli.bench.evidence import failures, rows, sentence
    from specli.profiles import user_folder
    from specli.ui.tune import outcome, watching

    task = TuneTask(options.budget or BUDGET, **given)
    sink = Sink.of(options)
    freeze_loaded()
    found = search(
        options.but(budget=None),
        task,
        sink.feedback(),
        lambda seconds: watching(seconds, quiet=sink.quiet),
    )
    tuned = found.tuned
    if not sink.quiet:
        sink.show(outcome(rows(tuned.race, found.verdict.chosen), console().width))
    for name, reason in failures(tuned.race):
        sink.note(f"{name} could not be measured: {reason}")
    sink.say(sentence(found.verdict, tuned.space.default))
    if tuned.interrupted and task.out is None:
        print_stderr("interrupted: no profile is written without -o")
    elif found.is_plain and task.out is None:
        print_stderr("no profile is written, since specli run --draft 0 is the same; -o writes one")
    else:
        keep(found, task)
        named = found.path.stem if found.path.parent == user_folder() else found.path
        print_stderr(f"wrote {found.path}; use it with: specli run --profile {named} ...")
    if tuned.interrupted:
        raise typer.Exit(INTERRUPTED)
