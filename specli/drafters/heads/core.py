"""What all heads have in common: hidden states kept, catching up, roll-back and shared prefixes.

llama.cpp decodes every batch of the target with the head too, rejected tokens included. Here rows
of hidden states are kept until the head is asked, and only those of accepted tokens are decoded:
a round without the head costs a copy of some rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from specli.drafters.heads.rows import Rows
from specli.drafters.protocol import Accepted, DraftingCost, Proposal, Request, TargetBatch
from specli.events import Source
from specli.llama.decoder import Decoder, common_prefix
from specli.llama.head import States

KEPT, KEPT_BYTES, MOST_KEPT = 64, 1 << 22, 256
"""Rows kept of a sequence's answer before the head decodes them unasked: as many as fit into so
many bytes, within these bounds. A head that does not pay costs nothing until then, and one that is
asked again has no more to catch up with than a target needs for a token or two."""

VERIFIED = 64
"""Rows of a verify batch that fit beside those."""


class HeadDecoder(Decoder, Protocol):
    """What heads need of a context besides `Decoder`: `llama.head.HeadContext` is one."""

    @property
    def hidden_size(self) -> int: ...

    @property
    def n_ubatch(self) -> int:
        """Tokens that are computed at once; a head that sees whole blocks takes no more."""

    threads: int
    native_ns: int

    def length(self, seq: int) -> int: ...

    def use_threads(self, threads: int) -> None: ...

    def use_layer(self, layer: int) -> None: ...

    def close(self) -> None: ...

    def add_states(
        self,
        seq: int,
        states: States,
        position: int,
        tokens: Sequence[int] | None = None,
        outputs: int = 0,
    ) -> int: ...

    def encode(self, states: States) -> States: ...

    def state(self, row: int) -> States: ...


@dataclass(slots=True)
class Part:
    """Rows of hidden states that a head has to decode for one sequence.

    `rows[i]` is the target's at position `first + i`, and `tokens[i]` the token that follows it.
    `token` is the one at `first`.
    """

    seq: int
    first: int
    token: int
    tokens: list[int]
    rows: States

    @property
    def end(self) -> int:
        return self.first + len(self.rows)

    def split(self, count: int) -> tuple[Part, Part]:
        """The first `count` rows, and the others."""
        first, others = self.first, self.first + count
        last = self.tokens[count - 1]
        return (
            Part(self.seq, first, self.token, self.tokens[:count], self.rows[:count]),
            Part(self.seq, others, last, self.tokens[count:], self.rows[count:]),
        )


@dataclass(slots=True)
class Asked:
    """One sequence that a head drafts for: what it has to decode first, and the proposal to fill.

    `part` ends with the row of the last token that the target has decoded, so its last token is
    the sequence's last one.
    """

    request: Request
    part: Part
    proposal: Proposal = field(default_factory=Proposal)


class Kind(Protocol):
    """One kind of head: how it decodes hidden states, and how it drafts."""

    name: Source
    cost: DraftingCost
    features: tuple[int, ...]
    decoder: HeadDecoder
    width: int
    """Floats of a row: all the layers that it reads."""
    pairs: bool
    """Whether a row is decoded together with the token that follows it."""

    def feed(self, part: Part) -> None:
        """Decode rows that nothing is drafted from."""

    def draft(self, asked: Sequence[Asked]) -> None:
        """Decode the rows of all sequences and fill their proposals, in lockstep.

        What stands in the head's cache past the rows is forgotten by the next call.
        """

    def copy(self, source: int, seq: int, end: int) -> None:
        """Share what the cache holds of the rows before position `end` with `seq`, whose own is
        forgotten."""

    def trial(self, first: int, size: int) -> None:
        """Do what drafting after `size` rows takes, in sequence 0 from position `first` on, with
        states of nothing: their values do not change the time."""


@dataclass(slots=True)
class _Trail:
    """What a head has of one sequence: rows before `rows.first` are in its cache."""

    tokens: list[int]
    rows: Rows
    live: bool = True
    broken: bool = False
    """Rows were missed: nothing is drafted until the sequence begins anew."""

    def have(self, common: int, pairs: bool) -> tuple[int, int]:
        """How many rows of the first `common` tokens are in the cache, and how many there are.

        A row that was decoded with a token other than the next one is of no use.
        """
        if self.broken:
            return 0, 0
        cached = max(min(self.rows.first, common - 1 if pairs else common), 0)
        known = min(self.rows.end, common) if cached == self.rows.first else cached
        return cached, max(known, cached)


class HeadDrafter:
    """Drafts with a head of any kind. It borrows the head's context: who made it closes it."""

    def __init__(self, kind: Kind) -> None:
        self.name, self.cost, self.features = kind.name, kind.cost, kind.features
        self._kind = kind
        self._kept = min(max(KEPT, KEPT_BYTES // (4 * kind.width)), MOST_KEPT)
        self._trails: dict[int, _Trail] = {}

    @property
    def native_ns(self) -> int:
        return self._kind.decoder.native_ns

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:  # noqa: ARG002
        """Keep of the rows, or take over from another sequence's, what `prompt` starts with."""
        source, cached, known = seq, 0, 0
        for other, trail in self._trails.items():
            common = common_prefix(trail.tokens, prompt[:-1])
            has, knows = trail.have(common, self._kind.pairs)
            if knows > known or (knows == known and other == seq):
                source, cached, known = other, has, knows
        rows = Rows(self._kind.width, cached, self._kept + VERIFIED)
        if known > cached:
            rows = self._trails[source].rows
            rows = rows if source == seq else rows.copy(known)
            rows.cut(known)
        if source != seq:
            self._kind.copy(source, seq, cached)
        self._trails[seq] = _Trail(list(prompt), rows)

    def covers(self, seq: int) -> int:
        """How many tokens of the prompt the target need not decode for this drafter."""
        return self._trails[seq].rows.end

    def process(self, batch: TargetBatch) -> None:
        """Keep the hidden states of the sequences that are drafted for. Those of a prompt are
        decoded while it is: the first proposal would have to wait for them."""
        layers = [batch.features[layer] for layer in self.features]
        for part in batch.parts:
            trail = self._trails.get(part.seq)
            if trail is not None and trail.live and not trail.broken:
                count = len(part.tokens)
                self._keep(part.seq, trail, part.position, layers, (part.row, part.row + count))
                if part.position + count == len(trail.tokens) - 1 and len(trail.rows) > 1:
                    self._feed(part.seq, trail, trail.rows.end - 1)

    def pending(self, seq: int, tokens: list[int]) -> int:
        return max(len(tokens) - 1 - self._trails[seq].rows.first, 1)

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        """Proposals that grow together; none for a sequence whose hidden states were missed."""
        proposals = [Proposal() for _ in requests]
        asked: list[Asked] = []
        for request, proposal in zip(requests, proposals, strict=True):
            trail = self._trails[request.seq]
            end = len(request.tokens) - 1
            first = trail.rows.first + self._kind.pairs
            if 0 < end <= trail.rows.end and first <= end and not trail.broken:
                trail.rows.cut(end)
                asked.append(Asked(request, self._part(request.seq, request.tokens, end), proposal))
        if asked:
            self._kind.draft(asked)
        for one in asked:
            self._trails[one.request.seq].rows.drop(one.part.end)
        return proposals

    def accept(self, results: Sequence[Accepted]) -> None:
        """Forget the rows of rejected tokens; decode the others once there are many."""
        for result in results:
            trail = self._trails[result.seq]
            trail.tokens = result.tokens
            trail.rows.cut(len(result.tokens) - 1)
            if len(trail.rows) > self._kept:
                self._feed(result.seq, trail, trail.rows.end - 1)

    def end(self, seq: int) -> None:
        """Keep what the head has: the slot's next sequence may start with the same tokens."""
        self._trails[seq].live = False

    def _keep(
        self,
        seq: int,
        trail: _Trail,
        position: int,
        layers: Sequence[States],
        span: tuple[int, int],
    ) -> None:
        """Copy a span of the batch's rows, the first at `position`; decode rows of a long prompt
        at once."""
        rows, (start, stop) = trail.rows, span
        if position > rows.end:
            trail.broken = True
            return
        start += max(rows.first - position, 0)
        rows.cut(position)
        while start < stop:
            count = min(stop - start, rows.room)
            rows.add(layers, start, start + count)
            start += count
            # Every row of the prompt belongs to a token that stays, and so does the next token.
            certain = min(rows.end, len(trail.tokens)) - 1
            if start < stop:
                if certain <= rows.first:
                    rows.add(layers, start, stop)
                    return
                self._feed(seq, trail, certain)

    def _feed(self, seq: int, trail: _Trail, end: int) -> None:
        part, most = self._part(seq, trail.tokens, end), self._kind.decoder.n_batch
        while len(part.rows) > most:
            piece, part = part.split(most)
            self._kind.feed(piece)
        self._kind.feed(part)
        trail.rows.drop(end)

    def _part(self, seq: int, tokens: Sequence[int], end: int) -> Part:
        rows = self._trails[seq].rows
        first = rows.first
        following = list(tokens[first + 1 : end + 1])
        return Part(seq, first, tokens[first], following, rows.view(end))
