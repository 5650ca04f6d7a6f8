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
    from specli.making.make import Found, Wishes

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
        typer.Option("--type", metavar="TYPE", help="Weights of this type only, such as Q4_0."),
    ] = None,
    keep_layers: Annotated[
        str | None,
        typer.Option("--keep-layers", metavar="A-B,C", help="Keep exactly these blocks."),
    ] = None,
    drop_layers: Annotated[
        str | None,
        typer.Option(
            "--drop-layers", metavar="A-B,C", help="Leave out exactly these blocks, or `none`."
        ),
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
    """Make a draft from the target: smaller weights, fewer blocks, the same vocabulary.

    Candidates are judged by the tokens per second that the pair will reach on this machine. The
    draft is written when it pays, or when type and blocks are both given.

    With --from nothing is searched for: tokens that both vocabularies have keep their weights.
    Exit code 3 when they share too few.
    """
    if donor is not None:
        from specli.cli.pair_transplant import transplant_draft

        if type_name or keep_layers or drop_layers:
            raise UsageError(
                "--from takes the weights as they are: not with --type or --keep/--drop-layers",
                hint="make the other draft first, then give it the target's vocabulary",
            )
        transplant_draft(target, donor, output, Sink.of(options))
        return
    from specli.hub.references import fetch
    from specli.making.make import make_draft
    from specli.ui.make import searching
    from specli.ui.progress import reporting

    sink = Sink.of(options)
    with reporting(quiet=sink.json) as report:
        path = fetch(target, report)
    wishes = _wishes(path, options.budget or BUDGET, type_name, keep_layers, drop_layers)
    with searching(quiet=sink.json) as tell:
        found = make_draft(path, wishes, output, tell)
    if found.blocks.refusal and not sink.json:
        sink.note(f"no block was left out: {found.blocks.refusal}")
    sink.data(_json(target, found))
    _show(target, found, sink, cached=output is None)


def _wishes(
    target: Path, seconds: float, type_name: str | None, keep: str | None, drop: str | None
) -> Wishes:
    from specli.gguf.header import read_header
    from specli.making.blocks import parse_blocks
    from specli.making.make import Wishes, dropped_by

    if keep is not None and drop is not None:
        raise UsageError("--keep-layers and --drop-layers were both given", hint="give one of them")
    dropped = None
    if drop is not None:
        dropped = parse_blocks("--drop-layers", drop)
    if keep is not None:
        kept = parse_blocks("--keep-layers", keep)
        count = read_header(target).model_integer("block_count") or 0
        if kept and max(kept) >= count:
            raise UsageError(
                f"--keep-layers names block {max(kept)} of {count}",
                hint=f"blocks are numbered from 0 to {count - 1}",
            )
        dropped = dropped_by(kept, count)
    return Wishes(seconds, type_name, dropped)


def _show(target: str, found: Found, sink: Sink, *, cached: bool) -> None:
    from specli.making.make import PAYS
    from specli.pairs.quantities import short_bytes
    from specli.ui.make import SHOWN, speed, trials_table

    sink.show(trials_table(found))
    others = len(found.trials) - SHOWN
    counted = f"{others} others were slower. " if others > 0 else ""
    sink.show(
        f"{counted}Target {found.plain_ms:.1f} ms a token; {found.tokens} tokens of its own "
        f"answers; {found.seconds:.0f} s.",
        style="dim",
    )
    best = found.best
    if best.speedup < PAYS:
        sink.show(
            f"No draft made from this target pays: best candidate {speed(best.speedup)} "
            f"({best.variant}). Use n-gram or suffix drafting, which cost nothing:",
        )
        command = ["specli", "run", "-m", target, "--no-draft", PROMPT]
        sink.show(shlex.join(command), style="bold")
    else:
        sink.show(
            f"Best: {best.variant}, {short_bytes(best.size)}, {speed(best.speedup)} expected with "
            f"{best.expected.agreement:.0%} of its tokens right.",
        )
    if found.path is not None:
        because = "" if best.speedup >= PAYS else ", as type and blocks were given"
        sink.show(f"Written{because}: {found.path}")
        draft = "auto" if cached else str(found.path)
        command = ["specli", "run", "-m", target, "--draft-model", draft, PROMPT]
        sink.show(shlex.join(command), style="bold")


def _json(target: str, found: Found) -> dict[str, object]:
    return {
        "target": target,
        "draft": None if found.path is None else str(found.path),
        "plain_ms": round(found.plain_ms, 3),
        "answer_tokens": found.tokens,
        "seconds": round(found.seconds, 1),
        "blocks": found.blocks.count,
        "refusal": found.blocks.refusal,
        "trials": [
            {
                "type": trial.variant.type,
                "dropped": list(trial.variant.dropped),
                "bytes": trial.size,
                "draft_ms": round(trial.draft_ms, 3),
                "agreement": round(trial.expected.agreement, 4),
                "mean_accepted_length": round(trial.expected.mean_accepted_length, 3),
                "predicted_per_second": round(trial.expected.predicted_per_second, 2),
                "speedup": round(trial.speedup, 3),
                "draft_max": trial.expected.draft_max,
                "draft_p_min": trial.expected.p_min,
            }
            for trial in found.trials
        ],
    }
