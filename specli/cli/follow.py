"""Runs one request to its end and hands its events to a view."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Protocol

from specli.engine.sequence import GenerationRequest
from specli.errors import SpecliError
from specli.events import Event, Finished, Piece, Prefilled, Round, Stats
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
    error: SpecliError | None = None

    def add(self, event: Event) -> None:
        self.stats.add(event)
        if isinstance(event, Round):
            self.pieces += event.pieces
            self.tokens += event.tokens
            self.margins += event.margins or []
        elif isinstance(event, Finished):
            self.pieces += event.pieces
            self.finish = event.reason
            self.error = event.error

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


class View(Protocol):
    """Shows a generation while it runs."""

    def event(self, event: Event, stats: Stats) -> None: ...


class Silent:
    def event(self, event: Event, stats: Stats) -> None:
        pass


class PlainText:
    """Only the text, as soon as it is there: for pipes and files."""

    def event(self, event: Event, stats: Stats) -> None:  # noqa: ARG002
        if isinstance(event, Prefilled):
            return
        text = "".join(piece.text for piece in event.pieces)
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
        finished = engine.cancel(seq)
        if finished is not None:
            generation.add(finished)
            view.event(finished, generation.stats)
        return generation, True
    return generation, False
