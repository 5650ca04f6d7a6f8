"""Tokens to text as it may be shown: whole characters only, and never a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from specli.events import Piece, Source


class TextStream:
    """The text of one sequence, fed token by token.

    Bytes are held back until they make whole characters, and text that could be the start of a
    stop string until it is clear that it is not.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = [stop for stop in stops if stop]
        self._longest = max(map(len, self._stops), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held: list[Piece] = []
        self.stopped = False

    def feed(self, data: bytes, source: Source) -> list[Piece]:
        """The text that may be shown now; sets `stopped` when a stop string is complete."""
        return self._release(self._decoder.decode(data), source)

    def finish(self, source: Source) -> list[Piece]:
        """What is still held back when the sequence ends without a stop string."""
        if self.stopped:
            return []
        pieces = self._release(self._decoder.decode(b"", final=True), source)
        if not self.stopped:
            pieces += self._held
            self._held = []
        return pieces

    def _release(self, text: str, source: Source) -> list[Piece]:
        if not text:
            return []
        if not self._stops:
            return [Piece(text, source)]
        self._held.append(Piece(text, source))
        held = "".join(piece.text for piece in self._held)
        found = [at for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            self.stopped = True
            shown = self._take(min(found))
            self._held = []
            return shown
        return self._take(len(held) - self._undecided(held))

    def _undecided(self, held: str) -> int:
        """Length of the longest tail that a stop string could begin with."""
        for length in range(min(self._longest - 1, len(held)), 0, -1):
            tail = held[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0

    def _take(self, length: int) -> list[Piece]:
        taken: list[Piece] = []
        while length > 0:
            piece = self._held[0]
            if len(piece.text) <= length:
                taken.append(piece)
                del self._held[0]
            else:
                taken.append(Piece(piece.text[:length], piece.source))
                self._held[0] = Piece(piece.text[length:], piece.source)
            length -= len(piece.text)
        return taken
