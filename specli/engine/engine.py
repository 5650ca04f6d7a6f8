"""The round loop: every live sequence advances by one round per step.

propose -> verify -> accept -> commit; see `Engine.step`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from specli.drafters.protocol import Drafter, Proposal, Request
from specli.engine.policy import Outcome, Policy
from specli.engine.sequence import GenerationRequest, Sequence
from specli.engine.text import TextStream
from specli.errors import PromptTooLongError, UsageError
from specli.events import TARGET, Event, FinishReason, Piece, Prefilled, Round
from specli.llama.decoder import Decoder, common_prefix
from specli.sampling.chooser import Chooser


class Pieces(Protocol):
    """What the engine needs of a vocabulary; `llama.vocab.Vocab` is one."""

    def piece(self, token: int) -> bytes: ...

    def is_end(self, token: int) -> bool: ...


WORTH_COPYING = 4
"""Tokens by which another slot's cache has to have more of a prompt to be copied from."""

WORTH_WAITING = 16
"""Tokens of a prompt for which a sequence waits until another has decoded them."""


@dataclass(slots=True)
class _Verification:
    """A sequence's share of a verify batch."""

    sequence: Sequence
    proposal: Proposal
    row: int = 0


class Engine:
    """Owns the way of every sequence through the target and the drafters.

    It borrows the target, the vocabulary and the drafter: who made them closes them.
    """

    def __init__(
        self,
        target: Decoder,
        vocab: Pieces,
        drafter: Drafter | None,
        policy: Policy,
        *,
        slots: int = 1,
        prefill_chunk: int = 512,
        kept: Mapping[int, list[int]] | None = None,
    ) -> None:
        """At most `slots` sequences run at once, others wait; a step decodes at most
        `prefill_chunk` prompt tokens, so that an interrupt never waits long. `kept` is what an
        earlier engine on the same target says it left in the cache; without it nothing is reused.
        """
        self._target = target
        self._vocab = vocab
        self._drafter = drafter
        self._policy = policy
        self._prefill_chunk = prefill_chunk
        left = kept or {}
        self._kept: dict[int, list[int]] = {slot: left.get(slot, []) for slot in range(slots)}
        self._free = list(range(slots))
        self._live: dict[int, Sequence] = {}
        self._waiting: deque[tuple[int, GenerationRequest]] = deque()
        self._next_id = 0

    def submit(self, request: GenerationRequest) -> int:
        """Queue a request and return the id that its events will carry. Raises as `check`."""
        self.check(request)
        seq = self._next_id
        self._next_id += 1
        self._waiting.append((seq, request))
        return seq

    def check(self, request: GenerationRequest) -> None:
        """Raises PromptTooLongError when the prompt leaves no room for an answer, and UsageError
        when it is empty."""
        n_ctx = self._target.n_ctx
        if not request.prompt:
            raise UsageError("the prompt is empty", hint="give at least one word")
        if len(request.prompt) >= n_ctx:
            raise PromptTooLongError(
                f"the prompt has {len(request.prompt)} tokens, "
                f"but the context holds {n_ctx} with room for an answer",
                hint=f"give a larger context, such as -c {2 * len(request.prompt)}",
            )

    @property
    def kept(self) -> dict[int, list[int]]:
        """The tokens that ended sequences left in the target's cache, by slot."""
        return dict(self._kept)

    @property
    def idle(self) -> bool:
        return not self._live and not self._waiting

    def run(self) -> Generator[Event, None, None]:
        """Steps until every sequence is finished; closing the iterator cancels them."""
        try:
            while not self.idle:
                yield from self.step()
        finally:
            for seq in list(self._live):
                self.cancel(seq)
            self._waiting.clear()

    def cancel(self, seq: int) -> list[Piece]:
        """End a sequence early and return the text that was still held back."""
        sequence = self._live.get(seq)
        if sequence is None:
            self._waiting = deque(item for item in self._waiting if item[0] != seq)
            return []
        held = sequence.text.finish(TARGET)
        self._retire(sequence)
        return held

    def step(self) -> list[Event]:
        """One round for every live sequence.

        1. propose: the drafters propose tokens for each sequence that has its prompt decoded;
        2. verify: one target batch of `[last token] + proposal` per sequence, shared with prompt
           chunks of sequences that are still prefilling;
        3. accept: the sequence's own choice at each position; the longest matching prefix of the
           proposal is kept, plus the one token that the target adds;
        4. commit: the target's cache is cut back to what was accepted, drafters and policy learn.
        """
        native_before = self._native_ns()
        began = perf_counter()
        self._admit()
        checks = [_Verification(s, Proposal()) for s in self._live.values() if s.drafting]
        self._propose(checks)
        proposed = perf_counter()
        advancing, filled = self._fill(checks)
        if filled:
            self._target.decode()
        verified = perf_counter()
        rounds = [self._accept(check) for check in checks]
        events: list[Event] = [*self._prefilled(advancing, began)]
        draft_ms, verify_ms = 1000 * (proposed - began), 1000 * (verified - proposed)
        native_ms = (self._native_ns() - native_before) / 1e6
        at = perf_counter()
        outcomes = [
            Outcome(check.sequence.id, check.proposal, round_.accepted)
            for check, round_ in zip(checks, rounds, strict=True)
        ]
        self._policy.observe(outcomes, draft_ms, verify_ms, with_prompts=bool(advancing))
        for check, round_ in zip(checks, rounds, strict=True):
            round_.draft_ms, round_.verify_ms = draft_ms, verify_ms
            round_.native_ms, round_.at = native_ms, at
            if round_.finish is not None:
                self._retire(check.sequence)
            events.append(round_)
        return events

    def _native_ns(self) -> int:
        drafting = self._drafter.native_ns if self._drafter is not None else 0
        return self._target.native_ns + drafting

    def _admit(self) -> None:
        while self._free and self._waiting and not self._shared_soon(self._waiting[0][1].prompt):
            seq, request = self._waiting.popleft()
            slot = max(self._free, key=lambda s: common_prefix(self._kept[s], request.prompt))
            self._free.remove(slot)
            reused = self._reuse(slot, request.prompt)
            self._live[seq] = Sequence(
                id=seq,
                slot=slot,
                request=request,
                tokens=list(request.prompt),
                cached=reused,
                reused=reused,
                chooser=Chooser(
                    request.sampling, request.prompt, request.grammar, margins=request.margins
                ),
                text=TextStream(request.stops),
                prompt_n=len(request.prompt),
            )

    def _shared_soon(self, prompt: list[int]) -> bool:
        """Whether a sequence is just decoding a part of its prompt that this one starts with:
        waiting for it costs a step, decoding the same again costs more."""
        if not self._target.can_cut:
            return False
        there = max(
            (common_prefix(tokens, prompt) for tokens in self._cached().values()), default=0
        )
        return any(
            common_prefix(sequence.tokens, prompt) >= there + WORTH_WAITING
            for sequence in self._live.values()
            if not sequence.drafting
        )

    def _cached(self) -> dict[int, list[int]]:
        """The tokens in the target's cache, by slot."""
        live = {s.slot: s.tokens[: s.cached] for s in self._live.values()}
        return {**self._kept, **live}

    def _reuse(self, slot: int, prompt: list[int]) -> int:
        """Bring what any slot's cache has of the prompt's beginning into this slot's; at least
        the prompt's last token is decoded anew, because its logits are needed."""
        most = len(prompt) - 1
        kept = self._kept[slot]
        common = min(common_prefix(kept, prompt), most)
        if not self._target.can_cut:
            common = common if common == len(kept) else 0
            self._target.rollback(slot, common)
            return common
        shares = {
            other: min(common_prefix(tokens, prompt), most)
            for other, tokens in self._cached().items()
        }
        source = max(shares, key=shares.__getitem__)
        if shares[source] >= common + WORTH_COPYING:
            common = shares[source]
            self._target.rollback(slot, 0)
            self._target.copy(source, slot, common)
        else:
            self._target.rollback(slot, common)
        return common

    def _propose(self, checks: list[_Verification]) -> None:
        if self._drafter is None:
            return
        asking: list[_Verification] = []
        requests: list[Request] = []
        share = self._target.n_batch // max(len(self._live), 1) - 1
        for check in checks:
            sequence = check.sequence
            # The target adds a token of its own to whatever is accepted.
            limit = min(sequence.room(self._target.n_ctx) - 1, share)
            if self._target.max_rollback is not None:
                limit = min(limit, self._target.max_rollback)
            if limit <= 0 or not sequence.request.speculate:
                continue
            rule = self._policy.rule(sequence.id, limit, len(checks))
            if rule.limit > 0:
                asking.append(check)
                requests.append(Request(sequence.slot, sequence.tokens, rule, sequence.chooser))
        if requests:
            proposals = zip(asking, self._drafter.propose(requests), strict=True)
            given = [(check.sequence.id, proposal) for check, proposal in proposals]
            for check, proposal in zip(asking, self._policy.review(given), strict=True):
                check.proposal = proposal

    def _fill(self, checks: list[_Verification]) -> tuple[list[Sequence], int]:
        """Put the verifications and, in the room left, prompt chunks into the target's batch.

        Returns the sequences still at their prompt, and how many tokens the batch holds: none
        when a prompt was in the cache already.
        """
        target = self._target
        filled = 0
        for check in checks:
            sequence, proposed = check.sequence, check.proposal.tokens
            if proposed:
                target.checkpoint(sequence.slot)
            tokens = [sequence.tokens[-1], *proposed]
            check.row = target.add(sequence.slot, tokens, sequence.cached, len(tokens))
            filled += len(tokens)
        room = min(target.n_batch - filled, self._prefill_chunk)
        advancing = [s for s in self._live.values() if not s.drafting]
        for sequence in advancing:
            size = min(len(sequence.tokens) - 1 - sequence.cached, room)
            if size > 0:
                chunk = sequence.tokens[sequence.cached : sequence.cached + size]
                target.add(sequence.slot, chunk, sequence.cached, 0)
                sequence.cached += size
                room -= size
                filled += size
        return advancing, filled

    def _prefilled(self, advancing: list[Sequence], began: float) -> list[Prefilled]:
        """Let the drafters see the prompts that are complete now; this too is prompt time."""
        events = []
        for sequence in advancing:
            if sequence.cached == len(sequence.tokens) - 1:
                sequence.drafting = True
                if self._drafter is not None and sequence.request.speculate:
                    self._drafter.begin(sequence.slot, sequence.tokens, sequence.request.prediction)
            at = perf_counter()
            events.append(
                Prefilled(
                    seq=sequence.id,
                    done=sequence.prompt_n if sequence.drafting else sequence.cached,
                    total=sequence.prompt_n,
                    cached=sequence.reused,
                    ms=1000 * (at - began),
                    at=at,
                )
            )
        return events

    def _accept(self, check: _Verification) -> Round:
        """Choose token by token until the proposal is left, and cut the cache back to that."""
        sequence, proposal = check.sequence, check.proposal
        chooser, request = sequence.chooser, sequence.request
        emitted: list[int] = []
        pieces: list[Piece] = []
        margins: list[float] = []
        accepted = 0
        finish: FinishReason | None = None
        room = sequence.room(self._target.n_ctx)
        start = len(sequence.tokens)
        while finish is None:
            place = len(emitted)
            token = chooser.choose(self._target.logits(check.row + place), start + place)
            if token is None:
                finish = "stop"
                break
            matched = place < len(proposal) and token == proposal.tokens[place]
            accepted += matched
            source = proposal.sources[place] if matched else TARGET
            emitted.append(token)
            margins.append(chooser.margin)
            if self._vocab.is_end(token) and not request.ignore_end:
                finish = "stop"
            else:
                chooser.accept(token)
                pieces += sequence.text.feed(self._vocab.piece(token), source)
                if sequence.text.stopped:
                    finish = "stop"
                elif len(emitted) >= room:
                    finish = "length"
            if not matched:
                break
        if finish is not None:
            pieces += sequence.text.finish(TARGET)
        self._commit(sequence, emitted, accepted, drafted=len(proposal))
        return Round(
            seq=sequence.id,
            tokens=emitted,
            sources=proposal.sources[:accepted] + [TARGET] * (len(emitted) - accepted),
            pieces=pieces,
            proposal_sources=proposal.sources,
            accepted=accepted,
            draft_ms=0.0,
            verify_ms=0.0,
            native_ms=0.0,
            at=0.0,
            finish=finish,
            margins=margins if request.margins else None,
        )

    def _commit(self, sequence: Sequence, emitted: list[int], accepted: int, drafted: int) -> None:
        decoded = sequence.cached + 1 + drafted
        sequence.tokens += emitted
        sequence.cached = min(len(sequence.tokens) - 1, decoded) if emitted else sequence.cached
        if sequence.cached < decoded:
            self._target.rollback(sequence.slot, sequence.cached)
        if self._drafter is not None and sequence.request.speculate:
            self._drafter.observe(sequence.slot, sequence.tokens, len(emitted), accepted)

    def _retire(self, sequence: Sequence) -> None:
        del self._live[sequence.id]
        self._kept[sequence.slot] = sequence.tokens[: sequence.cached]
        self._free.append(sequence.slot)
        self._policy.end(sequence.id)
        if self._drafter is not None:
            self._drafter.end(sequence.slot)
