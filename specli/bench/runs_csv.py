"""The runs of a report as CSV."""

from __future__ import annotations

import csv
from typing import IO

from specli.bench.report import Report, Run

COLUMNS = (
    "order",
    "setting",
    "category",
    "prompt",
    "run",
    "prompt_n",
    "prompt_ms",
    "first_token_ms",
    "predicted_n",
    "predicted_ms",
    "predicted_per_second",
    "rounds",
    "rounds_with_proposal",
    "drafted",
    "accepted",
    "draft_ms",
    "verify_ms",
    "finish",
    "identical",
    "near_tie",
    "difference_at",
    "memory",
)


def write_csv(report: Report, file: IO[str]) -> None:
    """A header and one row per run, in the order of measurement; times in milliseconds."""
    categories = {prompt.id: prompt.category for prompt in report.prompts}
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for run in report.runs:
        writer.writerow(_row(run, categories[run.prompt]))


def _row(run: Run, category: str) -> list[object]:
    found = run.compared
    compared = ("", "", "") if found is None else (found.identical, found.near_tie, found.position)
    return [
        run.order,
        run.setting,
        category,
        run.prompt,
        run.number,
        run.prompt_n,
        round(run.prompt_ms, 3),
        round(run.first_token_ms, 3),
        run.predicted_n,
        round(run.predicted_ms, 3),
        round(run.per_second, 3),
        run.rounds,
        run.rounds_with_proposal,
        run.drafted,
        run.accepted,
        round(run.draft_ms, 3),
        round(run.verify_ms, 3),
        run.finish,
        *compared,
        run.memory,
    ]
