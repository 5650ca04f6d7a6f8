"""A model's text on a terminal: coloured by source, without control characters, wrapped."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from rich.cells import chop_cells
from rich.text import Text

from specli.escapes import harmless
from specli.events import TARGET, Piece, Source

STYLES: dict[Source, str] = {
    TARGET: "",
    "draft": "green",
    "ngram": "cyan",
    "suffix": "magenta",
    "prediction": "yellow",
    "lookup": "blue",
}
OTHER_STYLE = "bright_blue"

TAB_SIZE = 8


def style_of(source: Source) -> str:
    """The Rich style for text that came from `source`."""
    return STYLES.get(source, OTHER_STYLE)


def add_pieces(lines: list[list[Piece]], pieces: Iterable[Piece]) -> None:
    """Append pieces to the last of the lines, and begin new ones at line ends."""
    for piece in pieces:
        head, *rest = piece.text.split("\n")
        lines[-1].append(Piece(head, piece.source))
        lines += [[Piece(text, piece.source)] for text in rest]


def styled(line: list[Piece]) -> Text:
    """One line in the colours of its sources; markup in it is not interpreted."""
    text = Text()
    for piece in line:
        text.append(harmless(piece.text), style_of(piece.source))
    text.expand_tabs(TAB_SIZE)
    return text


def rows_of(line: Text, width: int) -> list[Text]:
    """A line split as a terminal of `width` cells would wrap it."""
    ends = list(accumulate(map(len, chop_cells(line.plain, width))))
    return list(line.divide(ends[:-1]))
