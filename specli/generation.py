"""A text and how it came to be, from the events of one sequence."""

from __future__ import annotations

from dataclasses import dataclass, field

from specli.errors import SpecliError
from specli.events import Event, Finished, Piece, Prefilled, Round, Stats, TokenLogprob


@dataclass(slots=True)
class Generation:
    """What one sequence has generated so far."""

    stats: Stats = field(default_factory=Stats)
    pieces: list[Piece] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    prefilled: list[int] = field(default_factory=list)
    """Prompt tokens that were in the cache at first, then after each chunk."""
    rounds: list[tuple[list[int], list[int]]] = field(default_factory=list)
    """What was proposed and what was emitted."""
    margins: list[float] = field(default_factory=list)
    """Distances between the two best candidates of every token, where they were asked for."""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    """How probable every token was, where it was asked for."""
    finish: str = "cancelled"
    error: SpecliError | None = None
    """What ended the text, where `finish` is `error`."""
    first_at: float | None = None
    """When the first token came, on the clock of the events."""

    def add(self, event: Event) -> None:
        """Take in an event of this sequence."""
        self.stats.add(event)
        if isinstance(event, Round):
            if self.first_at is None and event.tokens:
                self.first_at = event.at
            self.pieces += event.pieces
            self.tokens += event.tokens
            self.rounds.append((event.proposal, event.tokens))
            self.margins += event.margins or []
            self.logprobs += event.logprobs or []
        elif isinstance(event, Prefilled):
            self.prefilled += [event.cached, event.done] if not self.prefilled else [event.done]
        elif isinstance(event, Finished):
            self.pieces += event.pieces
            self.finish = event.reason
            self.error = event.error

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)
