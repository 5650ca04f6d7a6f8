"""`specli pair make`: a draft made from the target itself, or from another family's model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli.output import Sink
from specli.cli.parameters import Target, own, takes
from specli.cli.run import example
from specli.errors import UsageError
from specli.figures import short_bytes
from specli.option_table import OPTIONS
from specli.options import Options

if TYPE_CHECKING:
    from specli.app.make import Made, TransplantResult

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
    if donor is not None and type_name:
        raise UsageError(
            "--from copies the weights as they are and cannot be combined with --type",
            hint="make the other draft first, then give it the target's vocabulary",
        )
    from specli.app import make
    from specli.ui.make import make_progress
    from specli.ui.progress import reporting

    sink = Sink.of(options)
    reports = partial(reporting, quiet=sink.json)
    if donor is not None:
        found = make.transplant_draft(target, donor, output, reports)
        sink.data(found.report())
        _show_transplant(found, sink, cached=output is None)
        return
    made = make.make(
        target,
        output,
        reports,
        partial(make_progress, quiet=sink.json),
        seconds=options.budget or BUDGET,
        type_name=type_name,
    )
    sink.data(made.report())
    _show_made(made, sink, cached=output is None)


def _show_made(made: Made, sink: Sink, *, cached: bool) -> None:
    from specli.ui.make import speed, trials_table

    result, best = made.result, made.result.best
    sink.show(trials_table(result.trials))
    sink.say(
        f"Target {result.plain_ms:.1f} ms/token; {result.tokens} tokens of its own answers; "
        f"{result.seconds:.0f} s.",
        style="dim",
    )
    if made.pays:
        sink.say(
            f"Best: {best.type}, {short_bytes(best.size)}, expected {speed(best.speedup)} with "
            f"{best.expected.agreement:.0%} of its tokens right.",
        )
    else:
        sink.say(
            f"No draft made from this target pays: best candidate {speed(best.speedup)} "
            f"({best.type}). Use n-gram or suffix drafting, which cost nothing:",
        )
        sink.show(example(made.target, "--no-draft"), style="bold")
    if result.path is not None:
        because = "" if made.pays else " because --type was given"
        sink.show(f"Written{because}: {result.path}")
        _show_use(made.target, result.path, sink, cached=cached)


def _show_transplant(found: TransplantResult, sink: Sink, *, cached: bool) -> None:
    """What the two vocabularies share, and how to use the draft."""
    done = found.done
    sink.say(f"Shared: {done.overlap}.")
    if done.averaged or found.unknown:
        sink.say(
            f"{done.averaged} tokens have the mean weights of those that spell them; "
            f"{found.unknown} have no counterpart and will not be drafted.",
            style="dim",
        )
    sink.show(f"Written: {done.path}, {short_bytes(found.size)}")
    _show_use(found.target, done.path, sink, cached=cached)


def _show_use(target: str, draft: Path, sink: Sink, *, cached: bool) -> None:
    sink.show(example(target, "--draft-model", "auto" if cached else str(draft)), style="bold")
