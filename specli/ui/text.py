"""A model's text on a terminal: coloured by source, without control characters, wrapped."""

from __future__ import annotations

from itertools import accumulate

from rich.cells import chop_cells
from rich.text import Text

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

_NO_SIGN = "\N{REPLACEMENT CHARACTER}"


def _signs() -> dict[int, str | None]:
    signs: dict[int, str | None] = {code: chr(0x2400 + code) for code in range(0x20)}
    signs |= dict.fromkeys(range(0x80, 0xA0), _NO_SIGN)
    # Overrides of the writing direction would also reverse the status line.
    signs |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], _NO_SIGN)
    signs |= dict.fromkeys([0x2028, 0x2029], _NO_SIGN)
    signs[0x7F] = "\N{SYMBOL FOR DELETE}"
    # A carriage return is half of a Windows line end, and useless elsewhere.
    signs[ord("\r")] = None
    del signs[ord("\n")], signs[ord("\t")]
    return signs


_SIGNS = _signs()


def harmless(text: str) -> str:
    """`text` with control characters made visible, so that it cannot control the terminal."""
    return text.translate(_SIGNS)


def style_of(source: Source) -> str:
    """The Rich style for text that came from `source`."""
    return STYLES.get(source, OTHER_STYLE)


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
