"""`specli pair find`: drafts for a target, on this machine and in the catalogue."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import typer

from specli.cli.output import Sink, console
from specli.cli.parameters import Folders, Target, takes
from specli.cli.run import example
from specli.errors import PairIncompatibleError
from specli.options import Options

if TYPE_CHECKING:
    from specli.pairs.check import ExaminedModel
    from specli.pairs.search import Findings, FoundDraft


@takes("strict_vocab", "json")
def find(target: Target, folders: Folders = None, *, options: Options) -> None:
    """Look for drafts that fit a target, on this machine and in the catalogue, smallest first.

    Drafts with another vocabulary, which draft by translation, come last (with --strict-vocab: not
    at all). Of models that are not here only the headers are fetched. Exit code 0 when a draft
    fits, 3 when none does, 1 when the target cannot be read.
    """
    from specli.app.pairs import RANKED_BY, cost_share, findings_json, own_heads
    from specli.app.pairs import find as find_drafts
    from specli.ui.pairs import ranking_table
    from specli.ui.race import announcing

    sink = Sink.of(options)
    with announcing(quiet=sink.json, console=console(stderr=True)) as announce:
        model, findings = find_drafts(
            target,
            folders or [],
            lambda name: announce(f"reading the header of {name} …"),
            strict_vocab=bool(options.strict_vocab),
        )
    best = findings.drafts[0] if findings.drafts else None
    own = own_heads(model)
    command = None if own is None else example(target)
    if best is not None and own is None:
        draft = ["-md", best.candidate.reference] if best.report.may_pay else []
        command = example(target, *draft)
    sink.data({"target": target, **findings_json(findings), "command": command})
    for error in findings.unreadable:
        sink.say(f"skipped: {error}", "red")
    rows = [(_title(found), cost_share(found.report), found.report) for found in findings.drafts]
    if rows:
        sink.show(ranking_table(rows))
    skipped = {
        "of another vocabulary": findings.other_vocabulary,
        "heads for other targets": findings.other_target,
        "not smaller than the target": findings.not_smaller,
    }
    notes = [f"{count} {reason}" for reason, count in skipped.items() if count]
    if notes:
        sink.say(f"skipped: {', '.join(notes)}", "dim")
    if own is not None:
        sink.say(f"{target} drafts with its own MTP layers ({own}) where no draft is named.")
    if command is None:
        sink.show(_advice(target, model, findings))
        raise typer.Exit(PairIncompatibleError.exit_code)
    if best is None:
        sink.show(command, style="bold")
        return
    if best.report.may_pay:
        cost = cost_share(best.report)
        mapped = ", drafting by translation" * (best.report.verdict == "mapped")
        sink.say(f"Smallest: {best.candidate.name}, at {cost} of the target's cost{mapped}.")
    else:
        sink.say("No draft that fits is small enough to pay: draft from the text itself instead.")
    sink.say(RANKED_BY, "dim")
    sink.show(command, style="bold")


def _title(found: FoundDraft) -> str:
    from specli.app.pairs import CATALOGUE, REPOSITORY
    from specli.figures import short_bytes

    size = short_bytes(found.report.draft.header.file_size)
    origin = found.candidate.origin
    fetched = {CATALOGUE: "to download", REPOSITORY: "to download, next to the target"}
    where = {**fetched, "folder": "here"}.get(origin, f"here, by {origin}")
    head = found.report.draft.head
    what = "" if head is None else f", a head for {head.kind}"
    return f"{found.candidate.name}\n{size}, {where}{what}"


def _advice(target: str, model: ExaminedModel, findings: Findings) -> str:
    name = model.facts.name or model.facts.architecture
    where = "that could be read" if findings.unreadable else "here or in the catalogue"
    return (
        f"Nothing {where} can draft for {target}.\n"
        f"Look for the smallest model of the {name} family as a GGUF, then: "
        f"{shlex.join(['specli', 'pair', 'check', target])} DRAFT\n"
        f"Or draft from the text itself, without a second model: {example(target)}"
    )
