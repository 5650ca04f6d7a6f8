"""`specli pair check`: whether a draft fits a target, told from their headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli.output import Sink
from specli.cli.parameters import takes
from specli.options import Options

if TYPE_CHECKING:
    from rich.table import Table

    from specli.errors import SpecliError
    from specli.pairs.check import PairReport, Setup
    from specli.pairs.sizing import MemoryNeed

INCOMPATIBLE = 3
CACHES = ("cache_type_k", "cache_type_v", "cache_type_k_draft", "cache_type_v_draft")
WORTHWHILE = 1.05
"""Best speed-up below which nothing is promised."""


@takes("ctx_size", *CACHES, "json")
def check(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The target model.")],
    drafts: Annotated[
        list[str], typer.Argument(metavar="DRAFT...", help="Draft models; several are ranked.")
    ],
    *,
    options: Options,
) -> None:
    """Check from the headers whether drafts fit a target, what is wrong, and what to expect.

    Exit code 0 when a draft is compatible, 3 when none is, 1 when a model cannot be read.
    """
    reports, unreadable = _examined(target, drafts, _setup(options))
    sink = Sink.of(options)
    sink.data(_json(target, reports, unreadable))
    _show(reports, unreadable, sink)
    if not any(report.compatible for report in reports):
        raise typer.Exit(INCOMPATIBLE)


def _setup(options: Options) -> Setup:
    from specli.pairs.check import Setup
    from specli.pairs.memory import free_memory
    from specli.pairs.sizing import CacheTypes

    draft_k, draft_v = options.cache_type_k_draft, options.cache_type_v_draft
    return Setup(
        context=options.number("ctx_size"),
        types=CacheTypes(options.cache_type_k or "f16", options.cache_type_v or "f16"),
        draft_types=CacheTypes(draft_k or "f16", draft_v or "f16"),
        free=free_memory(),
    )


def _examined(
    target: str, drafts: list[str], setup: Setup
) -> tuple[list[PairReport], list[SpecliError]]:
    """Reports, best first, and why some drafts could not be read; one must be readable."""
    from specli.errors import SpecliError
    from specli.hub.remote import read_model_header
    from specli.pairs.check import check_pair, examine, rank

    target_model = examine(read_model_header(target))
    reports: list[PairReport] = []
    unreadable: list[SpecliError] = []
    for draft in drafts:
        try:
            reports.append(check_pair(target_model, examine(read_model_header(draft)), setup))
        except SpecliError as error:
            unreadable.append(error)
    if not reports:
        raise unreadable[0]
    return rank(reports), unreadable


def _show(reports: list[PairReport], unreadable: list[SpecliError], sink: Sink) -> None:
    for error in unreadable:
        sink.show(f"skipped: {error}", style="red")
    if len(reports) == 1:
        sink.show(_rules_table(reports[0]))
    else:
        rows = [(report.draft.header.name, report) for report in reports]
        sink.show(ranking_table(rows))
    best = reports[0]
    sink.show(_conclusion(best))
    if best.compatible:
        sink.show(f"Assumed: {best.speedup.assumptions}.", style="dim")


_MARKS = {"pass": ("pass", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}


def _rules_table(report: PairReport) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for rule in report.rules:
        told = Text(rule.detail)
        if rule.hint and rule.verdict != "pass":
            told.append(f"\n→ {rule.hint}", style="dim")
        table.add_row(Text(*_MARKS[rule.verdict]), Text(rule.rule), told)
    return table


def ranking_table(rows: list[tuple[str, PairReport]]) -> Table:
    """Drafts by name, each with its speed-up and what is worst about it."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1))
    table.add_column("", no_wrap=True)
    table.add_column("speed-up", no_wrap=True)
    table.add_column("draft", overflow="fold")
    for name, report in rows:
        speedup = speedup_range(report) if report.compatible else ""
        notes = [rule for rule in report.rules if rule.verdict == report.verdict != "pass"]
        told = notes[0].rule + ": " + notes[0].detail if notes else "all rules pass"
        if len(notes) > 1:
            told += f" (and {len(notes) - 1} more)"
        mark = Text(*_MARKS[report.verdict])
        table.add_row(mark, speedup, Text.assemble(name, "\n", (told, "dim")))
    return table


def _conclusion(best: PairReport) -> str:
    target, draft = best.target.header.name, best.draft.header.name
    if not best.compatible:
        return f"Incompatible: {draft} cannot draft for {target}."
    return f"Compatible: expect {speedup_range(best)} with {draft} drafting for {target}."


def gains(report: PairReport) -> bool:
    """Whether the pair may be faster than its target alone."""
    return report.speedup.high >= WORTHWHILE


def speedup_range(report: PairReport) -> str:
    """The speed-up to expect, as people read it."""
    low, high = report.speedup.low, report.speedup.high
    return f"{low:.1f}× to {high:.1f}×" if gains(report) else "no gain"


def _json(
    target: str, reports: list[PairReport], unreadable: list[SpecliError]
) -> dict[str, object]:
    return {
        "target": target,
        "compatible": any(report.compatible for report in reports),
        "drafts": [report_json(report) for report in reports],
        "unreadable": [str(error) for error in unreadable],
    }


def report_json(report: PairReport) -> dict[str, object]:
    """A report as `--json` prints it."""
    from dataclasses import asdict

    return {
        "draft": report.draft.header.name,
        "compatible": report.compatible,
        "verdict": report.verdict,
        "rules": [asdict(rule) for rule in report.rules],
        "context": report.context,
        "speedup": asdict(report.speedup),
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
