"""Pairs of models as tables: the rules of one pair, several drafts by rank."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from specli.pairs.check import PairReport

_MARKS = {"pass": ("pass", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}


def rules_table(report: PairReport) -> Table:
    """The rules of a pair, each with its verdict and what to do."""
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


def ranking_table(rows: Sequence[tuple[str, str, PairReport]]) -> Table:
    """Drafts by (name, speed-up, report), each with what is worst about it."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("", no_wrap=True)
    table.add_column("speed-up", no_wrap=True)
    table.add_column("draft", overflow="fold")
    for name, speedup, report in rows:
        notes = [rule for rule in report.rules if rule.verdict == report.verdict != "pass"]
        told = notes[0].rule + ": " + notes[0].detail if notes else "all rules pass"
        if len(notes) > 1:
            told += f" (and {len(notes) - 1} more)"
        mark = Text(*_MARKS[report.verdict])
        table.add_row(mark, speedup, Text.assemble(name, "\n", (told, "dim")))
    return table
