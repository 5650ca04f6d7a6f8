"""Every token of a text in a table: source, confidence, the target's rank, what was rejected."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from specli.escapes import harmless
from specli.figures import UNKNOWN
from specli.inspection import InspectedRound, InspectedToken
from specli.ui.text import style_of

NOTE = (
    "conf.: the drafter's confidence; rank and prob.: the token among the target's choices; "
    "rejected: the rest of a proposal, of which the target judged the first token only."
)


def inspection(rounds: Sequence[InspectedRound]) -> RenderableType:
    """A row for each token, with the number of its round where that begins."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name, right in (
        ("round", True), ("token", False), ("source", False), ("conf.", True), ("rank", True),
        ("prob.", True),
    ):  # fmt: skip
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=right)
    for number, one in enumerate(rounds, 1):
        for index, token in enumerate(one.tokens):
            table.add_row(str(number) if index == 0 else "", *_cells(token))
        for token in one.rejected:
            table.add_row("", *_cells(token, rejected=True), style="dim")
    return Group(Text(), table, Text(NOTE, "dim"))


def _cells(token: InspectedToken, *, rejected: bool = False) -> list[Text | str]:
    style = "strike" if rejected else style_of(token.source)
    return [
        Text(quoted(token.text), style),
        f"{token.source}, rejected" if rejected else Text(token.source, style_of(token.source)),
        share(token.confidence),
        UNKNOWN if token.rank is None else str(token.rank),
        share(token.probability),
    ]


def quoted(text: str) -> str:
    """A token's text with its spaces and control characters in sight."""
    return f"‘{harmless(text.replace(chr(10), '⏎').replace(chr(9), '⇥'))}’"


def share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"
