"""`specli pair make`: a draft made from the target itself."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli import flags
from specli.errors import UsageError

if TYPE_CHECKING:
    from specli.drafts.make import MakeResult

NOTHING_PAYS = 1
PROMPT = "Why is the sky blue?"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


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
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="Time for the search: 90s, 5m, 1h.")
    ] = "5m",
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
    as_json: flags.Json = False,
) -> None:
    """Make a draft from the target: the same model with smaller weights.

    Weight types are compared by the tokens per second that the pair will reach on this machine.
    The draft is written when it pays, or when its type was given. Exit code 0 when it was
    written, 1 when no draft pays.

    With --from nothing is searched for: tokens that both vocabularies have keep their weights.
    Exit code 3 when they share too few.
    """
    if donor is not None:
        from specli.cli.pair_transplant import transplant_draft

        if type_name:
            raise UsageError(
                "--from copies the weights as they are and cannot be combined with --type",
                hint="make the other draft first, then give it the target's vocabulary",
            )
        transplant_draft(target, donor, output, as_json=as_json)
        return
    from specli.drafts.make import MakeOptions, make_draft
    from specli.hub.references import fetch
    from specli.ui.make import make_progress
    from specli.ui.progress import reporting

    options = MakeOptions(parse_budget(budget), type_name)
    with reporting(quiet=as_json) as report:
        path = fetch(target, report)
    with make_progress(quiet=as_json) as on_progress:
        result = make_draft(path, options, output, on_progress)
    if as_json:
        typer.echo(json.dumps(_json(target, result), ensure_ascii=False, indent=2))
    else:
        _print_result(target, result, cached=output is None)
    if result.path is None:
        raise typer.Exit(NOTHING_PAYS)


def parse_budget(text: str) -> float:
    """Seconds of a time such as 90s, 5m or 1.5h. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if found is None or float(found[1]) == 0:
        raise UsageError(f"--budget takes a time, not {text!r}", hint="such as --budget 5m")
    return float(found[1]) * _UNITS[found[2]]


def _print_result(target: str, result: MakeResult, *, cached: bool) -> None:
    from rich.console import Console

    from specli.drafts.make import PAYS
    from specli.pairs.quantities import short_bytes
    from specli.ui.make import speed, trials_table

    console = Console(markup=False, highlight=False)
    console.print(trials_table(result.trials))
    console.print(
        f"Target {result.plain_ms:.1f} ms/token; {result.tokens} tokens of its own answers; "
        f"{result.seconds:.0f} s.",
        style="dim",
        soft_wrap=True,
    )
    best = result.best
    pays = best.speedup >= PAYS
    if pays:
        console.print(
            f"Best: {best.type}, {short_bytes(best.size)}, expected {speed(best.speedup)} with "
            f"{best.expected.agreement:.0%} of its tokens right.",
            soft_wrap=True,
        )
    else:
        console.print(
            f"No draft made from this target pays: best candidate {speed(best.speedup)} "
            f"({best.type}). Use n-gram or suffix drafting, which cost nothing:",
            soft_wrap=True,
        )
        command = ["specli", "run", "-m", target, "--no-draft", PROMPT]
        console.print(shlex.join(command), style="bold", soft_wrap=True)
    if result.path is not None:
        because = "" if pays else " because --type was given"
        console.print(f"Written{because}: {result.path}", soft_wrap=True)
        draft = "auto" if cached else str(result.path)
        command = ["specli", "run", "-m", target, "--draft-model", draft, PROMPT]
        console.print(shlex.join(command), style="bold", soft_wrap=True)


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
