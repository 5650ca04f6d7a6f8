"""`specli pair check`: whether a draft fits a target, judged by their headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli.output import Sink
from specli.cli.parameters import Target, takes
from specli.errors import PairIncompatibleError
from specli.options import Options

if TYPE_CHECKING:
    from specli.pairs.check import PairCheck

CACHES = ("cache_type_k", "cache_type_v", "cache_type_k_draft", "cache_type_v_draft")


@takes("ctx_size", *CACHES, "json")
def check(
    target: Target,
    drafts: Annotated[
        list[str], typer.Argument(metavar="DRAFT...", help="Draft models; several are ranked.")
    ],
    *,
    options: Options,
) -> None:
    """Check from the headers whether drafts fit a target, and what is wrong.

    Exit code 0 when a draft is compatible, 3 when none is, 1 when a model cannot be read.
    """
    from specli.app.pairs import RANKED_BY, check_drafts, cost_share, report_json
    from specli.ui.pairs import ranking_table, rules_table

    reports, unreadable = check_drafts(target, drafts, options)
    best = reports[0]
    sink = Sink.of(options)
    sink.data(
        {
            "target": target,
            "compatible": best.compatible,
            "drafts": [report_json(report) for report in reports],
            "unreadable": [str(error) for error in unreadable],
        }
    )
    for error in unreadable:
        sink.show(f"skipped: {error}", style="red")
    if len(reports) == 1:
        sink.show(rules_table(best))
    else:
        costs = [cost_share(report) if report.compatible else "" for report in reports]
        names = [report.draft.header.name for report in reports]
        sink.show(ranking_table(list(zip(names, costs, reports, strict=True))))
    sink.show(_conclusion(best, cost_share(best)))
    if not best.compatible:
        raise typer.Exit(PairIncompatibleError.exit_code)
    sink.show(RANKED_BY, style="dim")


def _conclusion(best: PairCheck, cost: str) -> str:
    target, draft = best.target.header.name, best.draft.header.name
    if not best.compatible:
        return f"Incompatible: {draft} cannot draft for {target}."
    if not best.may_pay:
        return f"Compatible, but {draft} is not small enough to make {target} faster."
    return f"Compatible: {draft} can draft for {target}, at {cost} of its cost per token."
