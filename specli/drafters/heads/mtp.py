"""MTP: layers that continue from the target's last hidden state, in its own file or beside it.

Method: Gloeckle, Idrissi, Rozière, Lopez-Paz, Synnaeve, "Better & Faster Large Language Models via
Multi-token Prediction" (arXiv 2404.19737), and DeepSeek-V3's chained form (arXiv 2412.19437). Order
of calls: llama.cpp's `draft-mtp`.

At position P + 1 of the head's cache stands the pair (token P + 1, the target's state at P), and at
position 0 the first token with nothing before it. In the next step the head's own hidden state
takes the place of the target's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from specli.drafters.heads.core import Asked, HeadDecoder, Part
from specli.drafters.heads.eagle3 import CAUGHT_UP
from specli.drafters.heads.steps import Growing, draft_in_steps, extend
from specli.drafters.protocol import STEPS, DraftingCost
from specli.events import Source
from specli.llama.features import NEXTN
from specli.llama.head import States

MTP: Source = "mtp"


class Mtp:
    """One layer for all draft steps."""

    name: Source = MTP
    cost: DraftingCost = STEPS
    pairs = True
    features: tuple[int, ...] = (NEXTN,)

    def __init__(self, decoder: HeadDecoder) -> None:
        self.decoder = decoder
        self._chained = 0
        """Rows of a batch that proposals take beside the new ones."""
        self.width = decoder.hidden_size

    def feed(self, part: Part) -> None:
        self._start(part)
        self._add(part, wanted=False)
        self.decoder.decode()

    def draft(self, asked: Sequence[Asked]) -> None:
        growing: list[Growing] = []
        for one in self._short(asked):
            row = self._add(one.part, wanted=True)
            growing.append(Growing(one, row, one.part.end + 1))
        draft_in_steps(self.decoder, self.name, growing)

    def copy(self, source: int, seq: int, end: int) -> None:
        self.decoder.rollback(seq, 0)
        if end:
            self.decoder.copy(source, seq, end + 1)

    def trial(self, first: int, size: int) -> None:
        rows = np.zeros((size, self.width), dtype=np.float32)
        self.decoder.add_states(0, rows, first, [0] * size, outputs=1)
        self.decoder.decode()

    def _short(self, asked: Sequence[Asked]) -> Sequence[Asked]:
        """The same, with rows left that one batch can hold: others are decoded now."""
        share = max(min(self.decoder.n_batch // len(asked) - self._chained, CAUGHT_UP), 1)
        for one in asked:
            self._start(one.part)
            if len(one.part.rows) > share:
                before, one.part = one.part.split(len(one.part.rows) - 1)
                self.feed(before)
        return asked

    def _start(self, part: Part) -> None:
        """Decode the first token of a sequence, which no state precedes."""
        if part.first == 0:
            self.decoder.rollback(part.seq, 0)
            nothing = np.zeros((1, self.width), dtype=np.float32)
            self.decoder.add_states(part.seq, nothing, 0, [part.token])
            self.decoder.decode()

    def _add(self, part: Part, *, wanted: bool) -> int:
        """Add rows to the batch; returns the batch row of the last one.

        All rows are outputs or none: most of llama.cpp's MTP graphs give the hidden states of the
        first rows for those of the outputs.
        """
        self.decoder.rollback(part.seq, part.first + 1)
        outputs = len(part.rows) if wanted else 0
        first = self.decoder.add_states(part.seq, part.rows, part.first + 1, part.tokens, outputs)
        return first + len(part.rows) - 1


class ChainedMtp(Mtp):
    """A layer for each draft step, each with a cache of its own.

    A layer sees only what it has decoded itself. So every layer decodes the new rows, and what was
    proposed so far after them. llama.cpp finds the same cells for the same rows in the same order:
    they come first in every batch.
    """

    def __init__(self, decoder: HeadDecoder, layers: int) -> None:
        super().__init__(decoder)
        self._layers = self._chained = layers
        self.cost = DraftingCost("block", layers)

    def feed(self, part: Part) -> None:
        self._start(part)
        for layer in range(self._layers):
            self.decoder.use_layer(layer)
            self._add(part, wanted=False)
            self.decoder.decode()
        self.decoder.use_layer(0)

    def draft(self, asked: Sequence[Asked]) -> None:
        decoder = self.decoder
        growing = [Growing(one, 0, one.part.end + 1) for one in self._short(asked)]
        states: dict[int, list[States]] = {one.request.seq: [] for one in asked}
        for layer in range(self._layers):
            decoder.use_layer(layer)
            rows = [self._add(one.part, wanted=True) for one in asked]
            if layer == 0:
                for grown, row in zip(growing, rows, strict=True):
                    grown.row = row
            else:
                for grown in growing:
                    seq, tokens = grown.asked.request.seq, grown.asked.proposal.tokens
                    before = np.stack(states[seq])
                    count = len(tokens)
                    row = decoder.add_states(seq, before, grown.position, tokens, count)
                    grown.row = row + count - 1
            decoder.decode()
            growing = [one for one in growing if extend(decoder, self.name, one)]
            for grown in growing:
                states[grown.asked.request.seq].append(decoder.state(grown.row).copy())
        decoder.use_layer(0)

    def trial(self, first: int, size: int) -> None:
        for layer in range(self._layers):
            self.decoder.use_layer(layer)
            self.decoder.rollback(0, first)
            super().trial(first, size)
        self.decoder.use_layer(0)

    def _start(self, part: Part) -> None:
        for layer in range(self._layers):
            self.decoder.use_layer(layer)
            super()._start(part)


class SharedMtp(Mtp):
    """Layers that read the target's cache and have none: every step is at the position of the
    first one."""

    def feed(self, part: Part) -> None:
        """Nothing: the target has decoded the rows."""

    def draft(self, asked: Sequence[Asked]) -> None:
        growing: list[Growing] = []
        for one in asked:
            part = one.part
            row = self.decoder.add_states(part.seq, part.rows[-1:], part.end, part.tokens[-1:], 1)
            growing.append(Growing(one, row, part.end))
        draft_in_steps(self.decoder, self.name, growing, stride=0)

    def copy(self, source: int, seq: int, end: int) -> None:
        """Nothing: the target's cache has been copied."""

    def trial(self, first: int, size: int) -> None:  # noqa: ARG002
        nothing = np.zeros((1, self.width), dtype=np.float32)
        self.decoder.add_states(0, nothing, self.decoder.length(0), [0], 1)
        self.decoder.decode()
