"""A terminal's window and scrollback, as far as the live view uses a terminal."""

from __future__ import annotations

import io
import re

from rich.cells import cell_len

SEQUENCE = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])")


class Screen(io.StringIO):
    """What is written here is shown in a window of `width` times `height` cells.

    Raises ValueError for a control sequence that it does not know, which model text must not send.
    """

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self.width, self.height = width, height
        self.rows: list[list[str]] = [[]]
        self.wrapped: set[int] = set()
        self.cursor_hidden = False
        self.writes = 0
        self._row = self._column = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes += bool(text)
        place = 0
        while place < len(text):
            if text[place] == "\x1b":
                found = SEQUENCE.match(text, place)
                if found is None:
                    raise ValueError(f"unknown sequence at {text[place : place + 10]!r}")
                self._control(*found.groups())
                place = found.end()
            else:
                self._put(text[place])
                place += 1
        return len(text)

    def _control(self, private: str, numbers: str, letter: str) -> None:
        if private and letter in "hl":
            if numbers == "25":
                self.cursor_hidden = letter == "l"
            elif numbers != "2026":
                raise ValueError(f"unknown mode {numbers}")
        elif letter == "A":
            top = max(0, len(self.rows) - self.height)
            self._row = max(top, self._row - int(numbers or 1))
        elif letter == "K" and numbers == "2":
            self.rows[self._row] = []
            self.wrapped.discard(self._row)
        elif letter != "m":
            raise ValueError(f"unknown sequence {numbers}{letter}")

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._down()
        elif not character.isprintable():
            raise ValueError(f"control character {character!r}")
        else:
            cells = cell_len(character)
            if self._column + cells > self.width:
                self.wrapped.add(self._row)
                self._down()
            row = self.rows[self._row]
            row += [" "] * (self._column - len(row))
            row[self._column : self._column + cells] = [character, *[""] * (cells - 1)]
            self._column += cells

    def _down(self) -> None:
        self._row, self._column = self._row + 1, 0
        if self._row == len(self.rows):
            self.rows.append([])

    @property
    def window(self) -> list[str]:
        """The rows in sight, without the empty ones at the end."""
        shown = ["".join(row).rstrip() for row in self.rows[-self.height :]]
        return without_empty_end(shown)

    @property
    def lines(self) -> list[str]:
        """What copying everything gives: wrapped rows are one line."""
        lines, begun = [], ""
        for number, row in enumerate(self.rows):
            begun += "".join(row)
            if number not in self.wrapped:
                lines.append(begun.rstrip())
                begun = ""
        return without_empty_end(lines)


def without_empty_end(lines: list[str]) -> list[str]:
    """`lines` up to the last that is not empty."""
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines
