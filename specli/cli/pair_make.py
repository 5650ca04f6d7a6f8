"""`specli pair make`: a draft made from the target itself."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli.output import Sink
from specli.cli.parameters import takes
from specli.errors import UsageError
from specli.options import OPTIONS, Options

if TYPE_CHECKING:
    from specli.drafts.make import MakeResult

PROMPT = "Why is the sky blue?"
BUDGET = 300.0
"""Seconds."""


@takes("json", replace(OPTIONS["budget"], default="5m"))
def make(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The target model.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            dir_okay=False,
            help="Write the draft here. Default: specli's cache, for --draft-model auto.",
        ),
    ] = None,
    type_name: Annotated[
        str | None,
        typer.Option("--type", metavar="TYPE", help="Try this weight type only, such as Q4_0."),
    ] = None,
    donor: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="DRAFT",
            help="Give this small model of another family the target's vocabulary instead.",
        ),
    ] = None,
    *,
    options: Options,
) -> None:
    """Make a draft from the target: the same model with smaller weights.

    Weight types are compared by the tokens per second that the pair will reach on this machine.
    The draft is written when it pays, or when its type was given.

    With --from nothing is searched for: tokens that both vocabularies have keep their weights.
    Exit code 3 when they share too few.
    """
    sink = Sink.of(options)
    if donor is not None:
        from specli.cli.pair_transplant import transplant_draft

        if type_name:
            raise UsageError(
                "--from copies the weights as they are and cannot be combined with --type",
                hint="make the other draft first, then give it the target's vocabulary",
            )
        transplant_draft(target, donor, output, sink)
        return
    from specli.drafts.make import MakeOptions, make_draft
    from specli.hub.references import fetch
    from specli.ui.make import make_progress
    from specli.ui.progress import reporting

    wanted = MakeOptions(options.budget or BUDGET, type_name)
    with reporting(quiet=sink.json) as report:
        path = fetch(target, report)
    with make_progress(quiet=sink.json) as on_progress:
        result = make_draft(path, wanted, output, on_progress)
    sink.data(_json(target, result))
    _print_result(target, result, sink, cached=output is None)


def _print_result(target: str, result: MakeResult, sink: Sink, *, cached: bool) -> None:
    from specli.drafts.make import PAYS
    from specli.pairs.quantities import short_bytes
    from specli.ui.make import speed, trials_table

    sink.show(trials_table(result.trials))
    sink.show(
        f"Target {result.plain_ms:.1f} ms/token; {result.tokens} tokens of its own answers; "
        f"{result.seconds:.0f} s.",
        style="dim",
    )
    best = result.best
    pays = best.speedup >= PAYS
    if pays:
        sink.show(
            f"Best: {best.type}, {short_bytes(best.size)}, expected {speed(best.speedup)} with "
            f"{best.expected.agreement:.0%} of its tokens right.",
        )
    else:
        sink.show(
            f"No draft made from this target pays: best candidate {speed(best.speedup)} "
            f"({best.type}). Use n-gram or suffix drafting, which cost nothing:",
        )
        command = ["specli", "run", "-m", target, "--no-draft", PROMPT]
        sink.show(shlex.join(command), style="bold")
    if result.path is not None:
        because = "" if pays else " because --type was given"
        sink.show(f"Written{because}: {result.path}")
        draft = "auto" if cached else str(result.path)
        command = ["specli", "run", "-m", target, "--draft-model", draft, PROMPT]
        sink.show(shlex.join(command), style="bold")


def _json(target: str, result: MakeResult) -> dict[str, object]:
    return {
        "target": target,
        "draft": None if result.path is None else str(result.path),
        "plain_ms": round(result.plain_ms, 3),
        "answer_tokens": result.tokens,
        "seconds": round(result.seconds, 1),
        "trials": [
            {
                "type": trial.type,
                "bytes": trial.size,
                "draft_ms": round(trial.draft_ms, 3),
                "agreement": round(trial.expected.agreement, 4),
                "mean_accepted_length": round(trial.expected.mean_accepted_length, 3),
                "predicted_per_second": round(trial.expected.predicted_per_second, 2),
                "speedup": round(trial.speedup, 3),
                "draft_max": trial.expected.draft_max,
                "draft_p_min": trial.expected.p_min,
            }
            for trial in result.trials
        ],
    }
