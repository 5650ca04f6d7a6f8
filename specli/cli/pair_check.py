"""`specli pair check`: whether a draft fits a target, judged by their headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli.output import Sink
from specli.cli.parameters import takes
from specli.options import Options

if TYPE_CHECKING:
    from specli.errors import SpecliError
    from specli.pairs.check import PairCheck

INCOMPATIBLE = 3
CACHES = ("cache_type_k", "cache_type_v", "cache_type_k_draft", "cache_type_v_draft")


@takes("ctx_size", *CACHES, "json")
def check(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The target model.")],
    drafts: Annotated[
        list[str], typer.Argument(metavar="DRAFT...", help="Draft models; several are ranked.")
    ],
    *,
    options: Options,
) -> None:
    """Check from the headers whether drafts fit a target, and what is wrong.

    Exit code 0 when a draft is compatible, 3 when none is, 1 when a model cannot be read.
    """
    from specli.app.pairs import check_drafts

    reports, unreadable = check_drafts(target, drafts, options)
    sink = Sink.of(options)
    sink.data(_json(target, reports, unreadable))
    _show(reports, unreadable, sink)
    if not any(report.compatible for report in reports):
        raise typer.Exit(INCOMPATIBLE)


def _show(reports: list[PairCheck], unreadable: list[SpecliError], sink: Sink) -> None:
    from specli.app.pairs import RANKED_BY, cost_share
    from specli.ui.pairs import ranking_table, rules_table

    for error in unreadable:
        sink.show(f"skipped: {error}", style="red")
    if len(reports) == 1:
        sink.show(rules_table(reports[0]))
    else:
        rows = [
            (report.draft.header.name, cost_share(report) if report.compatible else "", report)
            for report in reports
        ]
        sink.show(ranking_table(rows))
    best = reports[0]
    sink.show(_conclusion(best))
    if best.compatible:
        sink.show(RANKED_BY, style="dim")


def _conclusion(best: PairCheck) -> str:
    from specli.app.pairs import cost_share

    target, draft = best.target.header.name, best.draft.header.name
    if not best.compatible:
        return f"Incompatible: {draft} cannot draft for {target}."
    if not best.may_pay:
        return f"Compatible, but {draft} is not small enough to make {target} faster."
    return (
        f"Compatible: {draft} can draft for {target}, at {cost_share(best)} of its cost per token."
    )


def _json(
    target: str, reports: list[PairCheck], unreadable: list[SpecliError]
) -> dict[str, object]:
    from specli.app.pairs import report_json

    return {
        "target": target,
        "compatible": any(report.compatible for report in reports),
        "drafts": [report_json(report) for report in reports],
        "unreadable": [str(error) for error in unreadable],
    }
