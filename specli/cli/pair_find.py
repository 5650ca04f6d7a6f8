"""`specli pair find`: drafts for a target, on this machine and in the catalogue."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli.output import Sink
from specli.cli.pair_check import (
    INCOMPATIBLE,
    gains,
    ranking_table,
    report_json,
    speedup_range,
)
from specli.cli.parameters import takes
from specli.options import Options

if TYPE_CHECKING:
    from specli.hub.local import LocalModel
    from specli.pairs.check import Model
    from specli.pairs.search import Candidate, Findings, Found

CATALOGUE = "catalogue"
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
    """Look for drafts that fit a target, on this machine and in the catalogue, best first.

    Of models that are not here only the headers are fetched. Exit code 0 when a draft fits, 3
    when none does, 1 when the target cannot be read.
    """
    from specli.hub.remote import read_model_header
    from specli.pairs.check import Setup, examine
    from specli.pairs.memory import free_memory
    from specli.pairs.search import find_drafts

    model = examine(read_model_header(target))
    candidates = list(_candidates(target, model, folders or []))
    findings = find_drafts(model, candidates, read_model_header, Setup(free=free_memory()))
    best = findings.drafts[0] if findings.drafts else None
    command = shlex.join(_command(target, best)) if best else None
    sink = Sink.of(options)
    sink.data(_json(target, findings, command))
    _show(target, model, findings, command, sink)
    if best is None:
        raise typer.Exit(INCOMPATIBLE)


def _candidates(target: str, model: Model, folders: Sequence[Path]) -> Iterator[Candidate]:
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


def _catalogue(target: str, model: Model) -> list[str]:
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


def _command(target: str, best: Found) -> list[str]:
    draft = ["-md", best.candidate.reference] if gains(best.report) else []
    return ["specli", "run", "-m", target, *draft, PROMPT]


def _show(target: str, model: Model, findings: Findings, command: str | None, sink: Sink) -> None:
    for error in findings.unreadable:
        sink.show(f"skipped: {error}", style="red")
    if findings.drafts:
        rows = [(_title(found), found.report) for found in findings.drafts]
        sink.show(ranking_table(rows))
    passed = _passed_over(findings)
    if passed:
        sink.show(passed, style="dim")
    for line in _conclusion(target, model, findings):
        sink.show(line)
    if findings.drafts:
        sink.show(f"Assumed: {findings.drafts[0].report.speedup.assumptions}.", style="dim")
    if command:
        sink.show(command, style="bold")


def _title(found: Found) -> str:
    from specli.pairs.quantities import short_bytes

    size = short_bytes(found.report.draft.header.file_size)
    origin = found.candidate.origin
    where = {CATALOGUE: "to download", "folder": "here"}.get(origin, f"here, by {origin}")
    return f"{found.candidate.name}\n{size}, {where}"


def _passed_over(findings: Findings) -> str:
    notes = []
    if findings.other_vocabulary:
        notes.append(f"{findings.other_vocabulary}: another vocabulary")
    if findings.not_smaller:
        notes.append(f"{findings.not_smaller}: not smaller than the target")
    return f"skipped {'; '.join(notes)}" if notes else ""


def _conclusion(target: str, model: Model, findings: Findings) -> list[str]:
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
    if not gains(best.report):
        return ["What fits is not fast enough to gain: draft from the text itself instead."]
    return [f"Best: expect {speedup_range(best.report)} with {best.candidate.name}."]


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
