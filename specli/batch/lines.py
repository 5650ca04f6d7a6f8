"""Lines of a file or a pipe, read in pieces; waiting for a pipe can be called off."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable, Iterator

_PIECE = 1 << 16
_PATIENCE = 0.2
"""Seconds between two checks whether the wait has been called off."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Lines:
    """Numbered lines of a descriptor without their line ends; the first is line 1."""

    def __init__(self, descriptor: int, called_off: Callable[[], bool] = lambda: False) -> None:
        """`called_off` ends the iteration while it waits for a pipe."""
        self._descriptor = descriptor
        self._called_off = called_off
        self._lines: deque[bytes] = deque()
        self._rest = bytearray()
        self._ended = False

    def ready(self) -> bool:
        """Whether the next line, or the end, is available without waiting."""
        return bool(self._lines) or self._ended or self._readable(0)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        while True:
            while not self._lines and not self._ended:
                if not self._readable(_PATIENCE):
                    if self._called_off():
                        return
                    continue
                self._read()
            if not self._lines:
                return
            number += 1
            line = self._lines.popleft()
            yield number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line

    def _readable(self, seconds: float) -> bool:
        try:
            return bool(select.select([self._descriptor], [], [], seconds)[0])
        except OSError:
            # On Windows select takes only sockets; reading waits instead.
            return True

    def _read(self) -> None:
        piece = os.read(self._descriptor, _PIECE)
        self._ended = not piece
        first, *more = piece.split(b"\n")
        self._rest += first
        if more or (self._ended and self._rest):
            self._lines.append(bytes(self._rest).removesuffix(b"\r"))
            self._rest = bytearray(more[-1] if more else b"")
            self._lines.extend(line.removesuffix(b"\r") for line in more[:-1])
