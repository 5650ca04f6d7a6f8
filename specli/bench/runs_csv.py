"""The runs of a report as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict

from specli.bench.report import Report

COLUMNS = (
    *("order", "setting", "category", "prompt", "run", "prompt_n", "prompt_ms", "first_token_ms"),
    *("predicted_n", "predicted_ms", "predicted_per_second", "rounds", "rounds_with_proposal"),
    *("drafted", "accepted", "draft_ms", "verify_ms", "finish"),
    *("identical", "verdict", "difference_at", "memory"),
)


def runs_csv(report: Report) -> str:
    """A header and one row per run, in the order of measurement; times in milliseconds."""
    categories = {prompt.id: prompt.category for prompt in report.prompts}
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for run in report.runs:
        row = asdict(run) | {
            "category": categories[run.prompt],
            "run": run.number,
            "predicted_per_second": run.per_second,
        }
        if run.compared is not None:
            row |= run.compared.as_dict() | {"difference_at": run.compared.position}
        writer.writerow({n: round(v, 3) if isinstance(v, float) else v for n, v in row.items()})
    return file.getvalue()
