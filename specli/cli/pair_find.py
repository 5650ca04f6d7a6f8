"""`specli pair find`: drafts for a target, on this machine and in the catalogue."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli.output import Sink
from specli.cli.pair_check import INCOMPATIBLE
from specli.cli.parameters import takes
from specli.options import Options

if TYPE_CHECKING:
    from specli.pairs.check import ExaminedModel
    from specli.pairs.search import Findings, FoundDraft

PROMPT = "Why is the sky blue?"


@takes("json")
def find(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The target model.")],
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "--dir", metavar="DIR", exists=True, file_okay=False, help="Look below DIR as well."
        ),
    ] = None,
    *,
    options: Options,
) -> None:
    """Look for drafts that fit a target, on this machine and in the catalogue, smallest first.

    Of models that are not here only the headers are fetched. Exit code 0 when a draft fits, 3
    when none does, 1 when the target cannot be read.
    """
    from specli.app.pairs import find as find_drafts

    model, findings = find_drafts(target, folders or [])
    best = findings.drafts[0] if findings.drafts else None
    command = shlex.join(_command(target, best)) if best else None
    sink = Sink.of(options)
    sink.data(_json(target, findings, command))
    _show(target, model, findings, command, sink)
    if best is None:
        raise typer.Exit(INCOMPATIBLE)


def _command(target: str, best: FoundDraft) -> list[str]:
    draft = ["-md", best.candidate.reference] if best.report.may_pay else []
    return ["specli", "run", "-m", target, *draft, PROMPT]


def _show(
    target: str, model: ExaminedModel, findings: Findings, command: str | None, sink: Sink
) -> None:
    from specli.app.pairs import RANKED_BY, cost_share
    from specli.ui.pairs import ranking_table

    for error in findings.unreadable:
        sink.show(f"skipped: {error}", style="red")
    if findings.drafts:
        rows = [
            (_title(found), cost_share(found.report), found.report) for found in findings.drafts
        ]
        sink.show(ranking_table(rows))
    passed = _skipped(findings)
    if passed:
        sink.show(passed, style="dim")
    for line in _conclusion(target, model, findings):
        sink.show(line)
    if findings.drafts:
        sink.show(RANKED_BY, style="dim")
    if command:
        sink.show(command, style="bold")


def _title(found: FoundDraft) -> str:
    from specli.app.pairs import CATALOGUE
    from specli.pairs.quantities import short_bytes

    size = short_bytes(found.report.draft.header.file_size)
    origin = found.candidate.origin
    where = {CATALOGUE: "to download", "folder": "here"}.get(origin, f"here, by {origin}")
    return f"{found.candidate.name}\n{size}, {where}"


def _skipped(findings: Findings) -> str:
    notes = []
    if findings.other_vocabulary:
        notes.append(f"{findings.other_vocabulary} of another vocabulary")
    if findings.not_smaller:
        notes.append(f"{findings.not_smaller} not smaller than the target")
    return f"skipped: {', '.join(notes)}" if notes else ""


def _conclusion(target: str, model: ExaminedModel, findings: Findings) -> list[str]:
    from specli.app.pairs import cost_share

    if not findings.drafts:
        name = model.facts.name or model.facts.architecture
        where = "that could be read" if findings.unreadable else "here or in the catalogue"
        return [
            f"Nothing {where} can draft for {target}.",
            f"Look for the smallest model of the {name} family as a GGUF, then: "
            f"{shlex.join(['specli', 'pair', 'check', target])} DRAFT",
            "Or draft from the text itself, without a second model: "
            + shlex.join(["specli", "run", "-m", target, PROMPT]),
        ]
    best = findings.drafts[0]
    if not best.report.may_pay:
        return ["No draft that fits is small enough to pay: draft from the text itself instead."]
    return [f"Smallest: {best.candidate.name}, at {cost_share(best.report)} of the target's cost."]


def _json(target: str, findings: Findings, command: str | None) -> dict[str, object]:
    from specli.app.pairs import report_json

    return {
        "target": target,
        "drafts": [
            {
                "name": found.candidate.name,
                "reference": found.candidate.reference,
                "origin": found.candidate.origin,
                "bytes": found.report.draft.header.file_size,
                **report_json(found.report),
            }
            for found in findings.drafts
        ],
        "passed_over": {
            "other_vocabulary": findings.other_vocabulary,
            "not_smaller": findings.not_smaller,
        },
        "unreadable": [str(error) for error in findings.unreadable],
        "command": command,
    }
