"""Computes a generation again, batch by batch, and asks at each token what the target chooses.

llama.cpp computes the same row with other kernels in batches of other sizes, so a text that was
drafted may differ from plain decoding's though nobody is wrong. The same batches give the same
logits: what the target then chooses is what the text must be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from specli.engine.sequence import GenerationRequest
from specli.engine.text import TextStream
from specli.engine.verification import Pieces, chooser_of
from specli.events import TARGET
from specli.generation import Generation
from specli.llama.decoder import Decoder


@dataclass(frozen=True, slots=True)
class Deviation:
    """The first token that the target does not choose: `position` counts generated tokens.

    `written` is what the text has there and `chosen` what the target takes; None is no token:
    the text ends there.
    """

    position: int
    written: int | None
    chosen: int | None


def replay(
    target: Decoder,
    vocab: Pieces,
    turns: Sequence[tuple[GenerationRequest, Generation]],
    slot: int = 0,
) -> Deviation | None:
    """The first token that `turns` have and the target does not choose; None where there is none.

    Turns follow each other in one slot, the first one from an empty cache. A request's grammar
    must be at its start. The slot's cache holds anything afterwards.

    Raises DecodeError.
    """
    target.rollback(slot, 0)
    before = 0
    for number, (request, generation) in enumerate(turns):
        one = _Replay(target, vocab, request, generation, slot, first=number == 0)
        found = one.deviation()
        if found is not None:
            return Deviation(before + found.position, found.written, found.chosen)
        before += len(generation.tokens)
    return None


@dataclass
class _Replay:
    """One turn. It shares the chooser with the engine, and nothing that handles positions, caches
    or ends: a fault there must not explain itself."""

    target: Decoder
    vocab: Pieces
    request: GenerationRequest
    generation: Generation
    slot: int
    first: bool
    text: list[str] = field(default_factory=list)
    ended: bool = False

    def __post_init__(self) -> None:
        self.chooser = chooser_of(self.request, self.vocab)
        self.stream = TextStream(self.request.stops)
        self.tokens = list(self.request.prompt)

    def deviation(self) -> Deviation | None:
        self._prefill()
        for proposal, emitted in self.generation.rounds:
            found = self._round(proposal, emitted)
            if found is not None:
                return found
        if self.generation.finish in ("stop", "length"):
            return self._end()
        return None

    def _prefill(self) -> None:
        bounds = self.generation.prefilled
        if self.first and bounds[:1] != [0]:
            # Another text left these tokens, in batches of its own.
            bounds = [0, *bounds]
        if bounds:
            self.target.rollback(self.slot, bounds[0])
        for start, end in pairwise(bounds):
            chunk = self.request.prompt[start : min(end, len(self.request.prompt) - 1)]
            if chunk:
                self.target.add(self.slot, chunk, start, 0)
                self.target.decode()

    def _round(self, proposal: Sequence[int], emitted: Sequence[int]) -> Deviation | None:
        target, slot = self.target, self.slot
        position = len(self.tokens) - 1
        if proposal:
            target.checkpoint(slot)
        row = target.add(slot, [self.tokens[-1], *proposal], position, len(proposal) + 1)
        target.decode()
        for index, written in enumerate(emitted):
            if self.ended:
                return self._at(written, None)
            if index > len(proposal) or list(emitted[:index]) != list(proposal[:index]):
                # The text goes on after a token that was not proposed: its logits do not exist.
                return self._at(written, None)
            chosen = self.chooser.choose(target.logits(row + index), len(self.tokens))
            if chosen != written:
                return self._at(written, chosen)
            self._take(written)
        if not self.ended and list(emitted) == list(proposal[: len(emitted)]):
            chosen = self.chooser.choose(target.logits(row + len(emitted)), len(self.tokens))
            self.ended = chosen is None
        kept = min(len(self.tokens) - 1, position + 1 + len(proposal))
        if kept < position + 1 + len(proposal):
            target.rollback(slot, kept)
        return None

    def _take(self, token: int) -> None:
        request = self.request
        self.tokens.append(token)
        generated = len(self.tokens) - len(request.prompt)
        most = self.target.n_ctx - len(request.prompt)
        if request.max_tokens is not None:
            most = min(most, request.max_tokens)
        self.ended = generated >= most
        if self.vocab.is_end(token) and not request.ignore_end:
            self.ended = True
            return
        self.chooser.accept(token)
        vocab = self.vocab
        data = vocab.name(token).encode() if token in request.spelled else vocab.piece(token)
        self.text += [one.text for one in self.stream.feed(data, TARGET)]
        self.ended |= self.stream.stopped

    def _end(self) -> Deviation | None:
        """Whether the text ends where it must, with all of its characters."""
        text = "".join(self.text) + "".join(one.text for one in self.stream.finish(TARGET))
        if self.ended and text == self.generation.text:
            return None
        return self._at(None, None)

    def _at(self, written: int | None, chosen: int | None) -> Deviation:
        return Deviation(len(self.tokens) - len(self.request.prompt), written, chosen)
