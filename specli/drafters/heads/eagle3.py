"""EAGLE-3: one decoder layer over the hidden states of three layers of the target.

Method: Li, Wei, Zhang, Zhang, "EAGLE-3: Scaling up Inference Acceleration of Large Language Models
via Training-Time Test" (arXiv 2503.01840). Order of calls: llama.cpp's `draft-eagle3`.

An encoder turns the three states of a token into one, g. At position P of the head's cache stands
the pair (token P + 1, g of P), whose logits are those of token P + 2; in the next step the head's
own hidden state takes the place of g.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from specli.drafters.heads.core import Asked, HeadDecoder, Part
from specli.drafters.heads.steps import Growing, draft_in_steps
from specli.drafters.protocol import STEPS
from specli.events import Source
from specli.llama.head import States

ENCODED = 64
"""Rows encoded at once: llama.cpp reserves logits for each of them, 40 MB at 152k tokens."""

CAUGHT_UP = 16
"""Most rows of a sequence that are decoded together with the one that is drafted from. llama.cpp
computes the logits of every row, and finds them only where every row is an output, so that each
one costs a copy of its logits."""


class Eagle3:
    """`layers` are those whose inputs the head reads, of `target_size` floats each."""

    name: Source = "eagle3"
    cost = STEPS
    pairs = True

    def __init__(self, decoder: HeadDecoder, layers: Sequence[int], target_size: int) -> None:
        self.decoder = decoder
        self.features = tuple(layers)
        self.width = len(layers) * target_size

    def feed(self, part: Part) -> None:
        self.decoder.rollback(part.seq, part.first)
        self._add(part, self._encoded(part.rows), wanted=False)
        self.decoder.decode()

    def draft(self, asked: Sequence[Asked]) -> None:
        decoder = self.decoder
        for one in asked:
            if len(one.part.rows) > CAUGHT_UP:
                before, one.part = one.part.split(len(one.part.rows) - 1)
                self.feed(before)
        # The encoder's batch would end the decoder's: all rows are encoded first.
        encoded = self._encoded(np.concatenate([one.part.rows for one in asked]))
        growing: list[Growing] = []
        for one in asked:
            part, seq = one.part, one.request.seq
            decoder.rollback(seq, part.first)
            states, encoded = encoded[: len(part.rows)], encoded[len(part.rows) :]
            row = self._add(part, states, wanted=True)
            growing.append(Growing(one, row, part.end))
        draft_in_steps(decoder, self.name, growing)

    def trial(self, first: int, size: int) -> None:
        rows = np.zeros((size, self.width), dtype=np.float32)
        self._add(Part(0, first, 0, [0] * size, rows), self._encoded(rows), wanted=True)
        self.decoder.decode()

    def copy(self, source: int, seq: int, end: int) -> None:
        self.decoder.rollback(seq, 0)
        self.decoder.copy(source, seq, end)

    def _add(self, part: Part, states: States, *, wanted: bool) -> int:
        """Add rows to the batch; returns the batch row of the last one."""
        outputs = len(states) if wanted else 0
        first = self.decoder.add_states(part.seq, states, part.first, part.tokens, outputs)
        return first + len(states) - 1

    def _encoded(self, rows: States) -> States:
        if len(rows) <= ENCODED:
            return self.decoder.encode(rows)
        pieces = range(0, len(rows), ENCODED)
        return np.concatenate(
            [self.decoder.encode(rows[start : start + ENCODED]).copy() for start in pieces]
        )
