"""Runs one request to its end and hands its events to a view."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Protocol

from specli.engine.sequence import GenerationRequest
from specli.events import Event, Piece, Round, Stats
from specli.session import Session
from specli.ui.text import harmless


@dataclass(slots=True)
class Generation:
    """A text and how it came to be."""

    stats: Stats = field(default_factory=Stats)
    pieces: list[Piece] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    finish: str = "cancelled"

    def add(self, event: Event) -> None:
        self.stats.add(event)
        if isinstance(event, Round):
            self.pieces += event.pieces
            self.tokens += event.tokens
            self.margins += event.margins or []
            self.finish = event.finish or self.finish

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


class View(Protocol):
    """Shows a generation while it runs."""

    def event(self, event: Event, stats: Stats) -> None: ...

    def held(self, pieces: list[Piece]) -> None:
        """Text that an interrupt set free."""


class Silent:
    def event(self, event: Event, stats: Stats) -> None:
        pass

    def held(self, pieces: list[Piece]) -> None:
        pass


class PlainText:
    """Only the text, as soon as it is there: for pipes and files."""

    def event(self, event: Event, stats: Stats) -> None:  # noqa: ARG002
        if isinstance(event, Round):
            self.held(event.pieces)

    def held(self, pieces: list[Piece]) -> None:
        text = "".join(piece.text for piece in pieces)
        sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()


def follow(session: Session, request: GenerationRequest, view: View) -> tuple[Generation, bool]:
    """Run one request to its end, or to Ctrl-C; (generation, interrupted)."""
    engine = session.engine()
    generation = Generation()
    seq = engine.submit(request)
    try:
        while not engine.idle:
            for event in engine.step():
                generation.add(event)
                view.event(event, generation.stats)
    except KeyboardInterrupt:
        held = engine.cancel(seq)
        generation.pieces += held
        view.held(held)
        return generation, True
    return generation, False
