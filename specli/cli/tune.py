"""`specli tune`: the fastest settings for a pair on this machine, written as a profile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from specli.cli.parameters import takes
from specli.options import MACHINE, OPTIONS, Options

BUDGET = 180.0
"""Seconds."""
MACHINE_OPTIONS = [option.name for option in OPTIONS.values() if option.group == MACHINE]
SEARCH_TIME = replace(OPTIONS["budget"], default="3m")


@takes(
    "profile",
    "model",
    "model_draft",
    "ctx_size",
    "temp",
    *MACHINE_OPTIONS,
    "quiet",
    "verbose",
    SEARCH_TIME,
)
def tune(
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="NAME|FILE",
            help="The profile to write. Default: the pair's name with -tuned, in your "
            "configuration folder.",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts", metavar="FILE", help="Measure on these prompts. Default: those that ship."
        ),
    ] = None,
    lossy: Annotated[
        bool,
        typer.Option(
            "--lossy",
            help="Try an 8-bit cache for the target too, which changes its text a little.",
        ),
    ] = False,
    *,
    options: Options,
) -> None:
    """Find the fastest settings for a pair on this machine, and write them as a profile.

    Drafters, draft lengths, cut-offs, threads, cache types and GPU layers are compared with plain
    decoding, in turns on the same prompts. What a flag or the profile sets for the machine stays.
    Where plain decoding is fastest, a profile is written only with -o.

    Examples:
      specli tune -m target.gguf -md draft.gguf
      specli tune --profile qwen3-8b --budget 10m -o my-qwen3
    """
    from specli.cli.tuning import TuneTask, run_tuning

    task = TuneTask(
        budget=options.budget or BUDGET,
        out=out,
        prompts=prompts,
        lossy=lossy,
    )
    code = run_tuning(options.but(budget=None), task)
    if code:
        raise typer.Exit(code)
