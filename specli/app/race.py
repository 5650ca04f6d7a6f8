"""One request with and without drafting, in turns: the same text twice, each with its own time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter

from specli.engine.engine import Engine
from specli.engine.sequence import GenerationRequest
from specli.events import Event, Stats
from specli.generation import Generation
from specli.llama.decoder import common_prefix
from specli.session import Lane, Session
from specli.speculative import SpeculativeConfig

OnEvent = Callable[[str, Event, Stats], None]
"""Called with the side, `plain` or `drafted`, its event and its figures so far."""

PLAIN, DRAFTED = "plain", "drafted"


@dataclass(slots=True)
class OwnClock:
    """Seconds that one side has taken; it stands still while the other one works."""

    clock: Callable[[], float] = perf_counter
    _spent: float = 0.0
    _since: float | None = None

    def __call__(self) -> float:
        return self._spent + (0.0 if self._since is None else self.clock() - self._since)

    def go(self) -> None:
        self._since = self.clock()

    def stop(self) -> None:
        self._spent, self._since = self(), None


@dataclass(slots=True)
class Side:
    """One of the two generations."""

    name: str
    engine: Engine
    clock: OwnClock
    generation: Generation = field(default_factory=Generation)


@dataclass(frozen=True, slots=True)
class Race:
    """Both generations of a request."""

    plain: Generation
    drafted: Generation
    interrupted: bool = False

    @property
    def speedup(self) -> float | None:
        """Tokens per second with drafting over those without."""
        plain, drafted = (one.stats.predicted_per_second for one in (self.plain, self.drafted))
        return drafted / plain if plain and drafted else None

    @property
    def same_tokens(self) -> int | None:
        """How many tokens the texts have in common at their start; None where they are equal."""
        plain, drafted = self.plain.tokens, self.drafted.tokens
        return None if plain == drafted else common_prefix(plain, drafted)


def race(
    session: Session,
    request: Callable[[], GenerationRequest],
    on_event: OnEvent = lambda _side, _event, _stats: None,
    *,
    seconds: float = math.inf,
) -> Race:
    """Run a request with the session's drafting and without it, in turns of one round.

    Drafters know nothing of earlier texts, since one that has seen the answer repeats it.

    The side that has taken less time so far has the next round, so both advance at their own
    speeds, and whatever else the machine does slows both. `session` needs two slots. `request` is
    made for each side, because a grammar moves on with its text. Ctrl-C ends both, and so does the
    clock after so many `seconds`.
    """
    clocks = OwnClock(), OwnClock()
    engines = (
        session.engine_for(SpeculativeConfig(), lane=Lane(1, clock=clocks[0])),
        session.engine_for(session.setup.speculative, lane=Lane(0, clock=clocks[1])),
    )
    sides = [
        Side(name, engine, clock)
        for name, engine, clock in zip((PLAIN, DRAFTED), engines, clocks, strict=True)
    ]
    plain, drafted = sides
    plain.engine.submit(replace(request(), speculate=False))
    drafted.engine.submit(request())
    interrupted = False
    until = perf_counter() + seconds
    try:
        while running := [side for side in sides if not side.engine.idle]:
            if perf_counter() > until:
                break
            _step(min(running, key=lambda side: side.clock()), on_event)
    except KeyboardInterrupt:
        interrupted = True
    for side in sides:
        side.engine.cancel(0)
    return Race(plain.generation, drafted.generation, interrupted)


def _step(side: Side, on_event: OnEvent) -> None:
    side.clock.go()
    try:
        events = side.engine.step()
    finally:
        side.clock.stop()
    for event in events:
        side.generation.add(event)
        on_event(side.name, event, side.generation.stats)
