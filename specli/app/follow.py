"""Runs one request to its end and hands its events to a view."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from specli.engine.engine import Engine
from specli.engine.sequence import GenerationRequest
from specli.events import Event, Round, Stats
from specli.generation import Generation
from specli.session import Session


class View(Protocol):
    """Shows a generation while it runs."""

    def event(self, event: Event, stats: Stats) -> None: ...


class Silent:
    """Shows nothing."""

    def event(self, event: Event, stats: Stats) -> None:
        pass


@dataclass(slots=True)
class Recorder:
    """Passes events on to a view, and keeps the rounds."""

    view: View
    rounds: list[Round] = field(default_factory=list)

    def event(self, event: Event, stats: Stats) -> None:
        if isinstance(event, Round):
            self.rounds.append(event)
        self.view.event(event, stats)


def follow(
    session: Session, request: GenerationRequest, view: View, engine: Engine | None = None
) -> tuple[Generation, bool]:
    """Run one request to its end, or to Ctrl-C; (generation, interrupted)."""
    engine = engine or session.engine()
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
