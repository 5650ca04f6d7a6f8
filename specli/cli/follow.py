"""Runs one request to its end and hands its events to a view."""

from __future__ import annotations

import sys
from typing import Protocol

from specli.engine.sequence import GenerationRequest
from specli.events import Event, Prefilled, Stats
from specli.generation import Generation as Generation
from specli.session import Session
from specli.ui.text import harmless


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
