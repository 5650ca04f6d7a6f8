"""What a proposal foretells is compared with what the text brings, verified or not, at no cost.

A text that has lost all that it may lose verifies nothing any more, though a copied passage may
follow. So where the tokens that were foretold have come for long enough, a trial is granted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from specli.engine.policy.acceptance import PRIOR
from specli.llama.decoder import common_prefix

MOST_PAUSE = 7
"""Most rounds without room between two looks at what free drafters foretell: a look takes as long
as some rounds' worth of bookkeeping, and a copied passage is longer."""


@dataclass(slots=True)
class Foretold:
    """Of one text: what is expected to come, and how many tokens in a row came as foretold."""

    expected: list[int] = field(default_factory=list)
    right: int = 0
    failed: int = 0
    """Trials that were granted and lost: the next one takes twice as many right tokens."""
    pause: int = 0
    """Rounds until free drafters are asked again."""
    _longer: int = 0

    @property
    def looks(self) -> bool:
        """Whether free drafters are asked, though there is no room."""
        return not self.expected and self.pause <= 0

    @property
    def grants(self) -> bool:
        return self.right >= PRIOR * (1 << self.failed)

    def compare(self, proposed: Sequence[int], emitted: Sequence[int]) -> None:
        """What was foretold before, or else is proposed now, with what came."""
        looked = not self.expected
        expected = list(proposed) if looked else self.expected
        right = common_prefix(expected, emitted)
        if expected and right == min(len(expected), len(emitted)):
            self.right += right
            self.expected = expected[right:]
            self.pause = self._longer = 0
            return
        self.right, self.expected = 0, []
        if looked and self.pause <= 0:
            self.pause = self._longer = min(2 * self._longer + 1, MOST_PAUSE)
        else:
            self.pause -= 1
