"""DFlash and DSpark: a block of tokens is drafted at once from the target's hidden states.

Methods: DFlash, "Block Diffusion for Flash Speculative Decoding" (arXiv 2602.06036), and DSpark,
which adds a Markov head and a confidence. Order of calls: llama.cpp's `draft-dflash`.

The head's cache holds keys and values made of the target's states, at the target's positions. A
block is the last token and masks in the places to be filled, all of them seeing each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from specli.drafters.grow import extend
from specli.drafters.heads.core import Asked, HeadDecoder, Part
from specli.drafters.heads.steps import choice
from specli.drafters.protocol import DraftingCost
from specli.events import Source


@dataclass(frozen=True, slots=True)
class Block:
    """What a head was trained on: blocks of `size` tokens with `mask` in the places to fill.

    With `from_anchor` the place of the last token gives the first draft, so that a block of so many
    tokens drafts as many; otherwise it drafts one fewer. With `confidence` the head says of each
    place how sure it is.
    """

    size: int
    mask: int
    from_anchor: bool = False
    confidence: bool = False

    @property
    def most(self) -> int:
        return self.size if self.from_anchor else self.size - 1


class BlockHead:
    """`layers` are those whose inputs the head reads, of `target_size` floats each."""

    pairs = False

    def __init__(
        self,
        name: Source,
        decoder: HeadDecoder,
        layers: Sequence[int],
        target_size: int,
        block: Block,
    ) -> None:
        self.name = name
        self.decoder = decoder
        self.features = tuple(layers)
        self.width = len(layers) * target_size
        self.cost = DraftingCost("block", block.most)
        self._block = block

    def feed(self, part: Part) -> None:
        self._inject([part])

    def draft(self, asked: Sequence[Asked]) -> None:
        self._inject([one.part for one in asked])
        # llama.cpp needs blocks of one length in a batch.
        most = max(one.request.rule.block or self._block.most for one in asked)
        drafts = min(most, self._block.most)
        rows = []
        for one in asked:
            last, position = one.request.tokens[-1], one.part.end
            rows.append(self._add(one.part.seq, last, position, drafts))
        self.decoder.decode()
        for one, row in zip(asked, rows, strict=True):
            while self._extend(one, row + len(one.proposal)) and len(one.proposal) < drafts:
                pass

    def trial(self, first: int, size: int) -> None:
        drafts = min(size, self._block.most)
        rows = np.zeros((max(size - drafts, 1), self.width), dtype=np.float32)
        self._inject([Part(0, first, 0, [], rows)])
        self._add(0, 0, first + len(rows), drafts)
        self.decoder.decode()
        self.decoder.rollback(0, first + size)

    def copy(self, source: int, seq: int, end: int) -> None:
        self.decoder.rollback(seq, 0)
        self.decoder.copy(source, seq, end)

    def _inject(self, parts: Sequence[Part]) -> None:
        """Make keys and values of rows, as many at once as the context computes."""
        filled, most = 0, self.decoder.n_ubatch
        for part in parts:
            self.decoder.rollback(part.seq, part.first)
            for start in range(0, len(part.rows), most):
                rows = part.rows[start : start + most]
                if filled + len(rows) > most:
                    self.decoder.decode()
                    filled = 0
                self.decoder.add_states(part.seq, rows, part.first + start)
                filled += len(rows)
        if filled:
            self.decoder.decode()

    def _add(self, seq: int, last: int, position: int, drafts: int) -> int:
        """Add a block to the batch; returns the batch row that gives the first draft."""
        masks = drafts - 1 if self._block.from_anchor else drafts
        tokens = [last] + [self._block.mask] * masks
        first = self.decoder.add(seq, tokens, position, len(tokens))
        return first + len(tokens) - drafts

    def _extend(self, one: Asked, row: int) -> bool:
        """Take the token of one place; whether another one is wanted."""
        rule = one.request.rule

        def choose() -> tuple[int, float]:
            token, confidence = choice(one, self.decoder.logits(row))
            if self._block.confidence and rule.needs_confidence:
                confidence = float(self.decoder.state(row)[0])
            return token, confidence

        return extend(one.proposal, rule, self.name, choose, "head")
