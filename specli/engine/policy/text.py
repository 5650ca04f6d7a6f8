"""What the policy keeps of one live sequence: its speed, what it may lose, and its own experience.

Times are in milliseconds, and a sequence's share of the steps it runs in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from specli.engine.policy.acceptance import PRIOR, Tracks
from specli.engine.policy.foretold import Foretold

LOSS_SHARE = 0.005
"""Share of the time so far that speculation may have lost against plain decoding. It bounds long
texts, where trials go on."""

LOSS_START = 2.5
"""Plain tokens that it may lose in addition: what a few trials cost. More finds out sooner what
pays, less bounds short texts better. With both, 0.97 of plain decoding holds from 100 tokens on
whatever is accepted, and on recorded texts of 64 tokens nearly always."""

TEXT_MEMORY = 48.0
"""Tokens after which a text's own experience has faded to a third: paragraphs differ."""


@dataclass(slots=True)
class Text(Tracks):
    """One sequence. `lost_ms` is negative where speculation has gained."""

    spent_ms: float = 0.0
    lost_ms: float = 0.0
    emitted: int = 0
    tokens: float = 0.0
    ms: float = 0.0
    """Tokens emitted and the time they took, both discounted: the present speed."""
    foretold: Foretold = field(default_factory=Foretold)
    _unfaded: float = 1.0
    """What the tracks have still to be multiplied by, once they are read."""

    def speed(self, plain_ms: float) -> float:
        """Tokens per millisecond, at least that of plain decoding, where a token takes
        `plain_ms`."""
        return max((self.tokens + PRIOR) / (self.ms + PRIOR * plain_ms), 1 / plain_ms)

    def room(self, plain_ms: float) -> float:
        """Milliseconds that speculation may still lose, or a granted trial."""
        granted = plain_ms if self.foretold.grants else 0.0
        return max(self._own_room(plain_ms), granted)

    def _own_room(self, plain_ms: float) -> float:
        return LOSS_SHARE * self.spent_ms + LOSS_START * plain_ms - self.lost_ms

    def reject(self, plain_ms: float) -> None:
        """A part of a verified proposal was rejected."""
        if self.foretold.grants and self._own_room(plain_ms) <= 0:
            self.foretold.failed += 1

    def spend(self, ms: float) -> None:
        self.spent_ms += ms
        self.ms += ms

    def emit(self, tokens: int) -> None:
        """So many tokens came: experience fades, and the speed follows."""
        keep = (1 - 1 / TEXT_MEMORY) ** tokens
        self.emitted += tokens
        self.tokens = keep * self.tokens + tokens
        self.ms *= keep
        self._unfaded *= keep

    def catch_up(self) -> None:
        """Let the tracks fade by what was emitted; to be called before they are read."""
        if self._unfaded < 1:
            for track in self.tracks.values():
                track.fade(self._unfaded)
            self._unfaded = 1.0
