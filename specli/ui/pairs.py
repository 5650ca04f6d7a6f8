"""Pairs of models as tables: the rules of one pair, several drafts by rank."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from specli.pairs.check import PairCheck
from specli.pairs.vocabulary import RuleResult

_MARKS = {"pass": ("pass", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}
_MAPPED = ("map", "yellow")
"""In place of a failure that translating the draft's tokens mends."""
_WORST_FIRST = ("fail", "warn", "pass")


def rules_table(report: PairCheck) -> Table:
    """The rules of a pair, each with its verdict and what to do; those that decide come first."""
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for rule in sorted(report.rules, key=lambda rule: _WORST_FIRST.index(rule.verdict)):
        summary = Text(rule.detail)
        if rule.hint and rule.verdict != "pass":
            summary.append(f"\n→ {rule.hint}", style="dim")
        table.add_row(Text(*_mark(report, rule)), Text(rule.rule), summary)
    return table


def ranking_table(rows: Sequence[tuple[str, str, PairCheck]]) -> Table:
    """Drafts by (name, cost, report), each with its worst finding."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("", no_wrap=True)
    table.add_column("cost", no_wrap=True)
    table.add_column("draft", overflow="fold")
    for name, cost, report in rows:
        worst = min(report.rules, key=lambda rule: _WORST_FIRST.index(rule.verdict))
        notes = [rule for rule in report.rules if rule.verdict == worst.verdict != "pass"]
        summary = notes[0].rule + ": " + notes[0].detail if notes else "all rules pass"
        if len(notes) > 1:
            summary += f" (and {len(notes) - 1} more)"
        mark = Text(*_mark(report, worst))
        table.add_row(mark, cost, Text.assemble(name, "\n", (summary, "dim")))
    return table


def _mark(report: PairCheck, rule: RuleResult) -> tuple[str, str]:
    mends = rule.verdict == "fail" and report.verdict == "mapped"
    return _MAPPED if mends else _MARKS[rule.verdict]
