"""`specli pair make`: a draft made from the target itself, or from another family's model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli.output import Sink
from specli.cli.parameters import Target, own, takes
from specli.cli.run import example
from specli.errors import UsageError
from specli.options import OPTIONS, Options

if TYPE_CHECKING:
    from specli.drafts.evaluator import Trial
    from specli.drafts.make import MakeResult

BUDGET = 300.0
"""Seconds."""
OWN = (
    own("--type", "Try this weight type only, such as Q4_0.", name="type_name", metavar="TYPE"),
    own("--from", "Give this small model of another family the target's vocabulary instead.",
        name="donor", metavar="DRAFT"),
    replace(OPTIONS["budget"], default="5m"),
)  # fmt: skip


@takes(*OWN, "json")
def make(
    target: Target,
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
    *,
    options: Options,
    type_name: str | None = None,
    donor: str | None = None,
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
    sink.data(
        {
            "target": target,
            "draft": None if result.path is None else str(result.path),
            "plain_ms": round(result.plain_ms, 3),
            "answer_tokens": result.tokens,
            "seconds": round(result.seconds, 1),
            "trials": [_json(trial) for trial in result.trials],
        }
    )
    _show(target, result, sink, cached=output is None)


def _show(target: str, result: MakeResult, sink: Sink, *, cached: bool) -> None:
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
        sink.show(example(target, "--no-draft"), style="bold")
    if result.path is not None:
        because = "" if pays else " because --type was given"
        sink.show(f"Written{because}: {result.path}")
        draft = "auto" if cached else str(result.path)
        sink.show(example(target, "--draft-model", draft), style="bold")


def _json(trial: Trial) -> dict[str, object]:
    expected = trial.expected
    return {
        "type": trial.type,
        "bytes": trial.size,
        "draft_ms": round(trial.draft_ms, 3),
        "agreement": round(expected.agreement, 4),
        "mean_accepted_length": round(expected.mean_accepted_length, 3),
        "predicted_per_second": round(expected.predicted_per_second, 2),
        "speedup": round(trial.speedup, 3),
        "draft_max": expected.draft_max,
        "draft_p_min": expected.p_min,
    }
