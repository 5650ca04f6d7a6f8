"""A smaller model drafts: all sequences in lockstep, one batch per draft position.

Its cache keeps what it drafted. After a round it is cut back to the accepted point, and only the
tokens it has not seen are decoded (llama.cpp's `draft-simple` decodes every verify batch again).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from specli.drafters.grow import extend
from specli.drafters.protocol import STEPS, Accepted, Proposal, Request
from specli.drafters.without_model import WithoutStates
from specli.errors import DecodeError
from specli.events import MODEL, Source
from specli.llama.decoder import Decoder, common_prefix


@dataclass(slots=True)
class _Drafting:
    """One sequence while its proposal grows."""

    request: Request
    proposal: Proposal
    pending: list[int]
    """Tokens to decode next; the last one's logits give the next draft."""
    length: int
    """Tokens of the sequence and of the proposal: the position of the next drafted token."""
    row: int = 0


class DraftModel(WithoutStates):
    """Drafts with a model. It borrows the decoder: who made it closes it."""

    cost = STEPS

    def __init__(
        self, decoder: Decoder, name: Source = MODEL, wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """`wanted` says whether it is likely to be asked for a text that begins."""
        self.name = name
        self._wanted = wanted
        self._decoder = decoder
        self._cached: dict[int, list[int]] = {}
        """The tokens in the draft's cache: first the sequence's own, then drafted ones."""
        self._live: set[int] = set()

    @property
    def native_ns(self) -> int:
        return self._decoder.native_ns

    def begin(self, seq: int, prompt: Sequence[int], prediction: Sequence[int] = ()) -> None:  # noqa: ARG002
        """Decode the prompt except its last token, reusing what the cache has of it.

        With other sequences live a draft model seldom pays, and where it is not wanted it does not:
        then the prompt is decoded when the first proposal is asked for.
        """
        if seq not in self._cached:
            self._cached[seq] = []
            self._decoder.rollback(seq, 0)
        common = self._shared(seq, prompt[:-1])
        self._live.add(seq)
        if len(self._live) > 1 or not self._wanted():
            return
        self._decode_silently(seq, prompt[common : min(len(prompt) - 1, self._decoder.n_ctx)])

    def _shared(self, seq: int, prompt: Sequence[int]) -> int:
        """Keep of the cache, or take over from another sequence's, what `prompt` starts with."""
        cached = self._cached[seq]
        common = common_prefix(cached, prompt)
        if not self._decoder.can_cut:
            common = common if common == len(cached) else 0
            self._decoder.rollback(seq, common)
            del cached[common:]
            return common
        source = max(self._cached, key=lambda other: common_prefix(self._cached[other], prompt))
        longest = common_prefix(self._cached[source], prompt)
        if longest > common:
            self._decoder.rollback(seq, 0)
            self._decoder.copy(source, seq, longest)
            self._cached[seq] = self._cached[source][:longest]
            return longest
        if common < len(cached):
            self._decoder.rollback(seq, common)
            del cached[common:]
        return common

    def pending(self, seq: int, tokens: list[int]) -> int:
        return len(tokens) - len(self._cached[seq])

    def propose(self, requests: Sequence[Request]) -> list[Proposal]:
        """Proposals that grow together; each ends where its rule or the context says so."""
        proposals = [Proposal() for _ in requests]
        drafting: list[_Drafting] = []
        share = self._decoder.n_batch // len(requests)
        for request, proposal in zip(requests, proposals, strict=True):
            length = len(request.tokens)
            if length > self._decoder.n_ctx:
                continue
            missed = request.tokens[len(self._cached[request.seq]) :]
            if len(missed) > share:
                self._decode_silently(request.seq, missed[:-1])
                missed = missed[-1:]
            self._decoder.watch_best(request.seq, request.chooser.plain)
            drafting.append(_Drafting(request, proposal, missed, length))
        checkpointed = False
        while drafting:
            for one in drafting:
                self._add(one)
            self._decode()
            if not checkpointed:
                checkpointed = True
                for one in drafting:
                    self._decoder.checkpoint(one.request.seq)
            drafting = [one for one in drafting if self._extend(one)]
        return proposals

    def accept(self, results: Sequence[Accepted]) -> None:
        """Cut the cache back to what the sequences kept."""
        for result in results:
            cached, tokens = self._cached[result.seq], result.tokens
            before = len(tokens) - result.emitted
            kept = before + common_prefix(cached[before:], tokens[before:-1])
            if kept < len(cached):
                # What a state cannot keep is decoded with the next tokens, in one batch.
                kept = self._decoder.cheap_rollback(result.seq, kept)
                self._decoder.rollback(result.seq, kept)
                del cached[kept:]

    def drop(self, seq: int, start: int, count: int) -> None:
        """Forget `count` tokens from `start` on; what comes after them moves up, or is decoded
        again where the cache cannot do that."""
        cached, end = self._cached[seq], start + count
        if len(cached) > end and self._decoder.drop(seq, start, end):
            del cached[start:end]
        elif len(cached) > start:
            start = start if self._decoder.can_cut else 0
            self._decoder.rollback(seq, start)
            del cached[start:]

    def end(self, seq: int) -> None:
        """Keep the cache: the slot's next sequence may start with the same tokens."""
        self._live.discard(seq)

    def _extend(self, one: _Drafting) -> bool:
        """Draft one token; whether another one is wanted."""
        proposal, rule = one.proposal, one.request.rule
        found = self._decoder.best(one.row)
        wanted = extend(proposal, rule, self.name, lambda: found or self._choice(one), "model")
        one.pending = proposal.tokens[-1:]
        one.length += 1
        return wanted and one.length <= self._decoder.n_ctx

    def _choice(self, one: _Drafting) -> tuple[int, float]:
        chooser, logits = one.request.chooser, self._decoder.logits(one.row)
        if one.request.rule.needs_confidence:
            return chooser.draft(logits, one.length)
        return chooser.guess(logits, one.length), 1.0

    def _add(self, one: _Drafting) -> None:
        start = one.length - len(one.pending)
        one.row = self._decoder.add(one.request.seq, one.pending, start, 1)
        self._cached[one.request.seq].extend(one.pending)

    def _decode_silently(self, seq: int, tokens: Sequence[int]) -> None:
        """Bring the cache up to date where no logits are needed."""
        cached = self._cached[seq]
        for start in range(0, len(tokens), self._decoder.n_batch):
            chunk = tokens[start : start + self._decoder.n_batch]
            self._decoder.add(seq, chunk, len(cached), 0)
            self._decode()
            cached.extend(chunk)

    def _decode(self) -> None:
        """Run the batch; after a failure nobody knows what the cache holds."""
        try:
            self._decoder.decode()
        except DecodeError:
            for seq, cached in self._cached.items():
                self._decoder.rollback(seq, 0)
                cached.clear()
            raise
