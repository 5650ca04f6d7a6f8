"""`specli pair check`: whether a draft fits a target, judged by their headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli.completion import models
from specli.cli.output import Sink
from specli.cli.parameters import Target, own, takes
from specli.errors import PairIncompatibleError
from specli.options import Options

if TYPE_CHECKING:
    from specli.app.demo import Demonstration
    from specli.pairs.check import PairCheck

CACHES = ("cache_type_k", "cache_type_v", "cache_type_k_draft", "cache_type_v_draft")


MEASURE = own(
    "--measure",
    "Load the pair too, and measure three short texts with and without drafting.",
    "switch",
)


@takes("ctx_size", *CACHES, "strict_vocab", MEASURE, "json")
def check(
    target: Target,
    drafts: Annotated[
        list[str],
        typer.Argument(
            metavar="DRAFT...", help="Draft models; several are ranked.", autocompletion=models
        ),
    ],
    *,
    options: Options,
    measure: bool = False,
) -> None:
    """Check from the headers whether drafts fit a target, and what is wrong.

    How often a draft is right is not in its header: --measure measures it.

    A draft with another vocabulary drafts by translation ("mapped"). Exit code 0 when a draft can
    draft, 3 when none can (with --strict-vocab: when none has the target's vocabulary), 1 when a
    model cannot be read.
    """
    from rich.text import Text

    from specli.app.pairs import RANKED_BY, check_drafts, cost_share, report_json
    from specli.ui.pairs import ranking_table, rules_table

    reports, unreadable = check_drafts(target, drafts, options)
    best = reports[0]
    sink = Sink.of(options)
    measured = None
    if measure and best.compatible:
        from specli.app.demo import measure_pair
        from specli.cli.demo import watch_of

        pair = options.but(model=target, model_draft=best.draft.header.name)
        measured = measure_pair(pair, sink.feedback(), lambda: watch_of(sink))
    sink.data(
        {
            "target": target,
            "verdict": best.verdict,
            "compatible": best.compatible,
            "mapped": best.verdict == "mapped",
            "drafts": [report_json(report) for report in reports],
            "unreadable": [str(error) for error in unreadable],
            **({} if measured is None else {"speedup": measured.speedup}),
        }
    )
    # What is decided comes before what decided it.
    sink.show(Text(_conclusion(best, cost_share(best)), "bold"), Text())
    if measured is not None:
        _show_measured(sink, measured)
    for error in unreadable:
        sink.show(f"skipped: {error}", style="red")
    if len(reports) == 1:
        sink.show(rules_table(best))
    else:
        costs = [cost_share(report) if report.compatible else "" for report in reports]
        names = [report.draft.header.name for report in reports]
        sink.show(ranking_table(list(zip(names, costs, reports, strict=True))))
    if not best.compatible:
        raise typer.Exit(PairIncompatibleError.exit_code)
    if measured is None:
        sink.show(Text(), Text(RANKED_BY, "dim"))


def _show_measured(sink: Sink, measured: Demonstration) -> None:
    from rich.text import Text

    from specli.cli.demo import table_of
    from specli.ui.summary import verdict

    if measured.speedup is not None:
        sink.show(Text(f"Measured: {verdict(measured.speedup)} (geometric mean of three texts)"))
    sink.show(Text(), table_of(measured), Text())


def _conclusion(best: PairCheck, cost: str) -> str:
    target, draft = best.target.header.name, best.draft.header.name
    if best.verdict == "mapped":
        return (
            f"Mapped: {draft} has another vocabulary than {target}. It drafts by translation, "
            "less often right than a draft with the same one; --measure shows whether it pays."
        )
    if not best.compatible:
        return f"Incompatible: {draft} cannot draft for {target}."
    if not best.may_pay:
        return f"Compatible, but {draft} is not small enough to make {target} faster."
    return f"Compatible: {draft} can draft for {target}, at {cost} of its cost per token."
