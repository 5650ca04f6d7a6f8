"""`specli pair check`: whether a draft fits a target, by their headers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli import flags
from specli.cli.options import RunOptions

if TYPE_CHECKING:
    from rich.table import Table

    from specli.errors import SpecliError
    from specli.pairs.check import CheckOptions, PairCheck
    from specli.pairs.sizing import MemoryNeed

INCOMPATIBLE = 3
RANKED_BY = (
    "Cost: bytes that a draft token reads, as a share of a target token's. How often a draft is "
    "right cannot be read from its header: measure it with specli bench."
)


def check(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The target model.")],
    drafts: Annotated[
        list[str], typer.Argument(metavar="DRAFT...", help="Draft models; several are ranked.")
    ],
    ctx_size: flags.ContextSize = None,
    cache_type_k: flags.CacheTypeK = None,
    cache_type_v: flags.CacheTypeV = None,
    cache_type_k_draft: flags.CacheTypeKDraft = None,
    cache_type_v_draft: flags.CacheTypeVDraft = None,
    as_json: flags.Json = False,
) -> None:
    """Check from the headers whether drafts fit a target, and what is wrong.

    Exit code 0 when a draft is compatible, 3 when none is, 1 when a model cannot be read.
    """
    # Built for its own checks: it refuses a cache type that does not exist.
    options = RunOptions(
        ctx_size=ctx_size,
        cache_type_k=cache_type_k,
        cache_type_v=cache_type_v,
        cache_type_k_draft=cache_type_k_draft,
        cache_type_v_draft=cache_type_v_draft,
    )
    reports, unreadable = _examined(target, drafts, _setup(options))
    if as_json:
        typer.echo(json.dumps(_json(target, reports, unreadable), ensure_ascii=False, indent=2))
    else:
        _show(reports, unreadable)
    if not any(report.compatible for report in reports):
        raise typer.Exit(INCOMPATIBLE)


def _setup(options: RunOptions) -> CheckOptions:
    from specli.pairs.check import CheckOptions
    from specli.pairs.memory import free_memory
    from specli.pairs.sizing import CacheTypes

    draft_k, draft_v = options.cache_type_k_draft, options.cache_type_v_draft
    return CheckOptions(
        context=options.ctx_size,
        types=CacheTypes(options.cache_type_k or "f16", options.cache_type_v or "f16"),
        draft_types=CacheTypes(draft_k or "f16", draft_v or "f16"),
        free=free_memory(),
    )


def _examined(
    target: str, drafts: list[str], setup: CheckOptions
) -> tuple[list[PairCheck], list[SpecliError]]:
    """Reports, best first, and why some drafts could not be read; one must be readable."""
    from specli.errors import SpecliError
    from specli.hub.remote import read_model_header
    from specli.pairs.check import check_pair, examine, rank

    target_model = examine(read_model_header(target))
    reports: list[PairCheck] = []
    unreadable: list[SpecliError] = []
    for draft in drafts:
        try:
            reports.append(check_pair(target_model, examine(read_model_header(draft)), setup))
        except SpecliError as error:
            unreadable.append(error)
    if not reports:
        raise unreadable[0]
    return rank(reports), unreadable


def _show(reports: list[PairCheck], unreadable: list[SpecliError]) -> None:
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    for error in unreadable:
        console.print(f"skipped: {error}", style="red", soft_wrap=True)
    if len(reports) == 1:
        console.print(_rules_table(reports[0]))
    else:
        rows = [(report.draft.header.name, report) for report in reports]
        console.print(ranking_table(rows))
    best = reports[0]
    console.print(_conclusion(best), soft_wrap=True)
    if best.compatible:
        console.print(RANKED_BY, style="dim")


_MARKS = {"pass": ("pass", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}


def _rules_table(report: PairCheck) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for rule in report.rules:
        detail = Text(rule.detail)
        if rule.hint and rule.verdict != "pass":
            detail.append(f"\n→ {rule.hint}", style="dim")
        table.add_row(Text(*_MARKS[rule.verdict]), Text(rule.rule), detail)
    return table


def ranking_table(rows: list[tuple[str, PairCheck]]) -> Table:
    """Drafts by name, each with its cost and its worst finding."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1))
    table.add_column("", no_wrap=True)
    table.add_column("cost", no_wrap=True)
    table.add_column("draft", overflow="fold")
    for name, report in rows:
        cost = cost_share(report) if report.compatible else ""
        notes = [rule for rule in report.rules if rule.verdict == report.verdict != "pass"]
        summary = notes[0].rule + ": " + notes[0].detail if notes else "all rules pass"
        if len(notes) > 1:
            summary += f" (and {len(notes) - 1} more)"
        mark = Text(*_MARKS[report.verdict])
        table.add_row(mark, cost, Text.assemble(name, "\n", (summary, "dim")))
    return table


def _conclusion(best: PairCheck) -> str:
    target, draft = best.target.header.name, best.draft.header.name
    if not best.compatible:
        return f"Incompatible: {draft} cannot draft for {target}."
    if not best.may_pay:
        return f"Compatible, but {draft} is not small enough to make {target} faster."
    return (
        f"Compatible: {draft} can draft for {target}, at {cost_share(best)} of its cost per token."
    )


def cost_share(report: PairCheck) -> str:
    """The cost of a draft token as a share of a target token's."""
    return f"1/{report.cost_ratio:.1f}"


def _json(
    target: str, reports: list[PairCheck], unreadable: list[SpecliError]
) -> dict[str, object]:
    return {
        "target": target,
        "compatible": any(report.compatible for report in reports),
        "drafts": [report_json(report) for report in reports],
        "unreadable": [str(error) for error in unreadable],
    }


def report_json(report: PairCheck) -> dict[str, object]:
    """A report as `--json` prints it."""
    from dataclasses import asdict

    return {
        "draft": report.draft.header.name,
        "compatible": report.compatible,
        "verdict": report.verdict,
        "rules": [asdict(rule) for rule in report.rules],
        "context": report.context,
        "cost_ratio": round(report.cost_ratio, 3),
        "memory": {
            name: _memory_json(need)
            for name, need in zip(("target", "draft"), report.memory, strict=True)
        },
    }


def _memory_json(need: MemoryNeed) -> dict[str, int]:
    return {
        "weights": need.weights,
        "cache": need.cache,
        "scratch": need.scratch,
        "total": need.total,
    }
