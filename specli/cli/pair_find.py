"""`specli pair find`: drafts for a target, on this machine and in the catalogue."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli import flags
from specli.cli.pair_check import (
    INCOMPATIBLE,
    RANKED_BY,
    cost_share,
    ranking_table,
    report_json,
)

if TYPE_CHECKING:
    from specli.hub.local import LocalModel
    from specli.pairs.check import ExaminedModel
    from specli.pairs.search import Candidate, Findings, FoundDraft

CATALOGUE = "catalogue"
PROMPT = "Why is the sky blue?"


def find(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The target model.")],
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "--dir", metavar="DIR", exists=True, file_okay=False, help="Look below DIR as well."
        ),
    ] = None,
    as_json: flags.Json = False,
) -> None:
    """Look for drafts that fit a target, on this machine and in the catalogue, smallest first.

    Of models that are not here only the headers are fetched. Exit code 0 when a draft fits, 3
    when none does, 1 when the target cannot be read.
    """
    from specli.hub.remote import read_model_header
    from specli.pairs.check import CheckOptions, examine
    from specli.pairs.memory import free_memory
    from specli.pairs.search import find_drafts

    model = examine(read_model_header(target))
    candidates = list(_candidates(target, model, folders or []))
    findings = find_drafts(model, candidates, read_model_header, CheckOptions(free=free_memory()))
    best = findings.drafts[0] if findings.drafts else None
    command = shlex.join(_command(target, best)) if best else None
    if as_json:
        report = _json(target, findings, command)
        typer.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        _show(target, model, findings, command)
    if best is None:
        raise typer.Exit(INCOMPATIBLE)


def _candidates(target: str, model: ExaminedModel, folders: Sequence[Path]) -> Iterator[Candidate]:
    from specli.pairs.search import Candidate

    here = local_candidates(folders)
    yield from here
    known = {candidate.reference for candidate in here}
    for reference in _catalogue(target, model):
        if reference not in known:
            yield Candidate(reference, reference, CATALOGUE)


def local_candidates(folders: Sequence[Path] = ()) -> dict[Candidate, Path]:
    """Every model on this machine, and its file."""
    from specli.hub.local import local_models
    from specli.pairs.search import Candidate

    return {
        Candidate(found.name, _typed(found), found.origin, found.size): found.path
        for found in local_models(folders)
    }


def _typed(model: LocalModel) -> str:
    """What names this very model: other programs' names are not always unique."""
    lasting = model.origin == "huggingface" or model.name.startswith("package:")
    return model.name if lasting else str(model.path)


def _catalogue(target: str, model: ExaminedModel) -> list[str]:
    """The drafts of the profiles whose target is of the model's family, each once."""
    from specli.errors import UsageError
    from specli.pairs.search import of_one_family
    from specli.profiles import profile_files, read_profile

    texts = [model.facts.name, Path(target).name]
    drafts = {}
    for name, path in profile_files().items():
        if not of_one_family(name, texts):
            continue
        try:
            draft = read_profile(path).draft_model
        except UsageError:
            # A folder called profiles may hold other programs' files.
            continue
        # A draft that is still to be made has no header to look at.
        if isinstance(draft, str):
            drafts[draft] = name
    return list(drafts)


def _command(target: str, best: FoundDraft) -> list[str]:
    draft = ["-md", best.candidate.reference] if best.report.may_pay else []
    return ["specli", "run", "-m", target, *draft, PROMPT]


def _show(target: str, model: ExaminedModel, findings: Findings, command: str | None) -> None:
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    for error in findings.unreadable:
        console.print(f"skipped: {error}", style="red", soft_wrap=True)
    if findings.drafts:
        rows = [(_title(found), found.report) for found in findings.drafts]
        console.print(ranking_table(rows))
    skipped = _skipped(findings)
    if skipped:
        console.print(skipped, style="dim", soft_wrap=True)
    for line in _conclusion(target, model, findings):
        console.print(line, soft_wrap=True)
    if findings.drafts:
        console.print(RANKED_BY, style="dim")
    if command:
        console.print(command, style="bold", soft_wrap=True)


def _title(found: FoundDraft) -> str:
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
