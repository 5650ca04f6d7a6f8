"""The round loop: every live sequence advances by one round per step.

propose -> verify -> accept -> commit; see `Engine.step`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from time import perf_counter

from specli.drafters.protocol import Decoded, Drafter, TargetBatch
from specli.engine.drafting import draft
from specli.engine.policy.protocol import Outcome, Policy, StepTimes, Turn
from specli.engine.sequence import GenerationRequest
from specli.engine.sequence import Sequence as Live
from specli.engine.slots import Decodes, Slots
from specli.engine.text import TextStream
from specli.engine.verification import Pieces, Verification, chooser_of, judge
from specli.errors import FaultError, PromptTooLongError, SpecliError, UsageError
from specli.events import TARGET, Event, Finished, FinishReason, Prefilled, Source
from specli.llama.decoder import Decoder


class Engine:
    """Owns the way of every sequence through the target and the drafters.

    It borrows the target, the vocabulary and the drafters: who made them closes them.
    """

    def __init__(
        self,
        target: Decoder,
        vocab: Pieces,
        drafters: Sequence[Drafter],
        policy: Policy,
        *,
        slots: int = 1,
        first_slot: int = 0,
        prefill_chunk: int = 512,
        cached: Mapping[int, list[int]] | None = None,
        clock: Callable[[], float] = perf_counter,
        before_step: Callable[[], None] = lambda: None,
    ) -> None:
        """At most `slots` sequences run at once, others wait; a step decodes at most
        `prefill_chunk` prompt tokens, so that an interrupt never waits long. `cached` is what an
        earlier engine on the same target says it left in the cache; without it nothing is reused.
        Engines that work in turns on one target have slots of their own, from `first_slot` on.
        `before_step` is called before each step; it may decode, and leaves the caches as they were.
        """
        self._target = target
        self._vocab = vocab
        self._drafters = list(drafters)
        self._policy = policy
        self._prefill_chunk = prefill_chunk
        self._clock = clock
        self._before_step = before_step
        self._slots = Slots(target, slots, cached, first_slot)
        self._live: dict[int, Live] = {}
        self._waiting: deque[tuple[int, GenerationRequest]] = deque()
        self._next_id = 0
        self.decodes = Decodes()
        self._learning = 0.0
        """Seconds that the policy took to learn from the last step."""
        self._computing = [one for one in self._drafters if not one.cost.is_free]
        self._layers = tuple(sorted({layer for one in drafters for layer in one.features}))
        if self._layers:
            target.want_features(self._layers)

    def submit(self, request: GenerationRequest) -> int:
        """Queue a request and return the id that its events will carry. Raises as `check`."""
        self.check(request)
        seq = self._next_id
        self._next_id += 1
        self._waiting.append((seq, request))
        return seq

    def check(self, request: GenerationRequest) -> None:
        """Raises PromptTooLongError when the prompt leaves no room for an answer, and UsageError
        when it is empty or asks for what the target is not."""
        n_ctx = self._target.n_ctx
        if request.exact and not self._target.exact:
            raise UsageError(
                "`exact` is asked for by a request, but the models are loaded without it",
                hint="load them with `exact`; every text is exact then",
            )
        if not request.prompt:
            raise UsageError("the prompt is empty", hint="give at least one word")
        if len(request.prompt) >= n_ctx:
            raise PromptTooLongError(
                f"the prompt has {len(request.prompt)} tokens, "
                f"but the context holds {n_ctx} with room for an answer",
                hint=f"give a larger context, such as -c {2 * len(request.prompt)}",
            )

    @property
    def cached_prefixes(self) -> dict[int, list[int]]:
        """The tokens that ended sequences left in the target's cache, by slot."""
        return self._slots.cached

    @property
    def placed(self) -> dict[int, int]:
        """The slot of each sequence that has one."""
        return {seq: live.slot for seq, live in dict(self._live).items()}

    @property
    def idle(self) -> bool:
        return not self._live and not self._waiting

    def run(self) -> Generator[Event, None, None]:
        """Steps until every sequence is finished; closing the iterator cancels them."""
        try:
            while not self.idle:
                yield from self.step()
        finally:
            for seq in [*self._live, *(seq for seq, _request in self._waiting)]:
                self.cancel(seq)

    def cancel(self, seq: int, reason: FinishReason = "cancelled") -> Finished | None:
        """End a request early; its last event, or None where it has ended already."""
        live = self._live.get(seq)
        if live is not None:
            held = live.text.finish(TARGET)
            self._retire(live)
            return Finished(seq, reason, held)
        waiting = len(self._waiting)
        self._waiting = deque(item for item in self._waiting if item[0] != seq)
        return Finished(seq, reason) if len(self._waiting) < waiting else None

    def step(self) -> list[Event]:
        """One round for every live sequence.

        1. propose: the drafters propose tokens for each sequence that has its prompt decoded;
        2. verify: one target batch of `[last token] + proposal` per sequence, shared with prompt
           chunks of sequences that are still prefilling;
        3. accept: the sequence's own choice at each position; the longest matching prefix of the
           proposal is kept, plus the one token that the target adds;
        4. commit: the target's cache is cut back to what was accepted, drafters and policy learn.

        Where llama.cpp or a drafter fails in between, every live sequence ends with the error.
        """
        try:
            self._before_step()
            return self._round()
        except Exception as error:
            return self._abandon(error)

    def _round(self) -> list[Event]:
        native = self._native_ns()
        began = self._clock()
        self._admit()
        admitted = self._clock()
        checks = self._turns()
        drafting = self._propose(checks)
        proposed = self._clock()
        parts, advancing = self._verify(checks)
        decoded = self._clock()
        self._process(parts)
        processed = self._clock()
        for check in checks:
            judge(check, self._target, self._vocab)
        verified = self._clock()
        for check in checks:
            self._commit(check)
        lengths = (live.cached for live in self._live.values())
        self.decodes.longest = max(self.decodes.longest, *lengths, 0)
        self._tell(checks)
        committed = self._clock()
        # What a head does with prompts is no cost of the sequences that draft.
        keeping = 0.0 if advancing else processed - decoded
        times = StepTimes(
            drafting,
            1000 * (verified - processed + decoded - proposed),
            1000 * (committed - verified),
            with_prompts=bool(advancing),
            deciding=1000 * (proposed - admitted + keeping + self._learning)
            - sum(drafting.values()),
        )
        native_ms = (self._native_ns() - native) / 1e6
        self._policy.learn(
            [Outcome(c.turn, c.proposal, c.accepted, c.emitted) for c in checks],
            times,
        )
        self._learning = self._clock() - committed
        prompt_ms = 1000 * (committed - began)
        events: list[Event] = [self._prefilled(live, prompt_ms) for live in advancing]
        for check in checks:
            events += self._events(check, times, native_ms)
        return events

    def _native_ns(self) -> int:
        return self._target.native_ns + sum(drafter.native_ns for drafter in self._computing)

    def _admit(self) -> None:
        """Give waiting requests a slot; drafters see their prompts. This is prompt time."""
        while self._waiting and self._slots.available:
            seq, request = self._waiting[0]
            if self._slots.shared_soon(request.prompt, self._live.values()):
                return
            self._waiting.popleft()
            slot, reused = self._slots.take(request.prompt, self._live.values())
            live = self._live[seq] = Live(
                id=seq,
                slot=slot,
                request=request,
                tokens=list(request.prompt),
                cached=reused,
                reused=reused,
                chooser=chooser_of(request, self._vocab),
                text=TextStream(request.stops),
                prompt_n=len(request.prompt),
            )
            if request.speculate:
                live.cached = live.reused = self._begin(slot, request, reused)

    def _begin(self, slot: int, request: GenerationRequest, reused: int) -> int:
        """Tell the drafters; how much of the target's cache may be reused if they are to see the
        hidden states of every token."""
        most = reused
        for drafter in self._drafters:
            drafter.begin(slot, request.prompt, request.prediction)
            seen = drafter.covers(slot)
            most = most if seen is None else min(most, seen)
        if most < reused:
            most = most if self._target.can_cut else 0
            self._target.rollback(slot, most)
        return most

    def _turns(self) -> list[Verification]:
        """The sequences that have their prompt decoded, and how far each may be drafted for."""
        # With caches of their own, llama.cpp computes neighbours at once that follow each other.
        ready = sorted(
            (live for live in self._live.values() if live.drafting), key=lambda live: live.slot
        )
        share = self._target.n_batch // max(len(self._live), 1) - 1
        if self._target.max_rollback is not None:
            share = min(share, self._target.max_rollback)
        width, least = len(ready), self._target.least_rows
        return [
            # The target adds a token of its own to whatever is accepted.
            Verification(
                live,
                Turn(live.slot, self._limit(live, share), width, length=live.cached, least=least),
            )
            for live in ready
        ]

    def _limit(self, live: Live, share: int) -> int:
        most = live.request.limits.most
        limit = min(live.room(self._target.n_ctx) - 1, share)
        return limit if most is None else min(limit, most)

    def _propose(self, checks: Sequence[Verification]) -> Mapping[Source, float]:
        asking = [
            check for check in checks if check.turn.limit > 0 and check.sequence.request.speculate
        ]
        if not asking or not self._drafters:
            return {}
        turns = [check.turn for check in asking]
        if self._policy.rests(turns):
            return {}
        pairs = [(check.sequence, check.turn) for check in asking]
        took = draft(self._drafters, self._policy, pairs, self._clock)
        proposals = self._policy.verify(turns)
        for check, proposal in zip(asking, proposals, strict=True):
            if len(proposal) >= check.sequence.request.limits.least:
                check.proposal = proposal
        return took

    def _verify(self, checks: Sequence[Verification]) -> tuple[list[Decoded], list[Live]]:
        """Decode the verifications and, in the room left, prompt chunks; what was decoded, and the
        sequences still at their prompt. Nothing is where a prompt was in the cache already."""
        target = self._target
        parts: list[Decoded] = []
        filled = 0
        for check in checks:
            live, proposed = check.sequence, check.proposal.tokens
            if proposed:
                target.checkpoint(live.slot)
            tokens = [live.tokens[-1], *proposed]
            check.row = target.add(live.slot, tokens, live.cached, len(tokens))
            parts.append(Decoded(live.slot, tokens, live.cached, filled))
            filled += len(tokens)
        room = min(target.n_batch - filled, self._prefill_chunk)
        advancing = [live for live in self._live.values() if not live.drafting]
        for live in advancing:
            chunk = live.tokens[live.cached : min(live.cached + room, len(live.tokens) - 1)]
            if chunk:
                target.add(live.slot, chunk, live.cached, 0)
                parts.append(Decoded(live.slot, chunk, live.cached, filled))
                filled += len(chunk)
                live.cached += len(chunk)
                room -= len(chunk)
            live.drafting = live.cached == len(live.tokens) - 1
        if parts:
            target.decode()
            self.decodes.batches += 1
            self.decodes.sequences += len(self._live)
        return parts, advancing

    def _process(self, parts: Sequence[Decoded]) -> None:
        """Show the batch to the drafters that read hidden states."""
        if not (self._layers and parts):
            return
        batch = TargetBatch(parts, {layer: self._target.features(layer) for layer in self._layers})
        for drafter in self._drafters:
            if drafter.features:
                drafter.process(batch)

    def _commit(self, check: Verification) -> None:
        """Keep what was emitted, and cut the target's cache back to it."""
        live, emitted = check.sequence, check.emitted
        decoded = live.cached + 1 + len(check.proposal)
        live.tokens += emitted
        if emitted:
            live.cached = min(len(live.tokens) - 1, decoded)
        if live.cached < decoded:
            self._target.rollback(live.slot, live.cached)

    def _tell(self, checks: Sequence[Verification]) -> None:
        """Tell the drafters what came of the round; they may roll back too."""
        results = [check.result for check in checks if check.sequence.request.speculate]
        for drafter in self._drafters if results else ():
            drafter.accept(results)

    def _prefilled(self, live: Live, ms: float) -> Prefilled:
        return Prefilled(
            seq=live.id,
            done=live.prompt_n if live.drafting else live.cached,
            total=live.prompt_n,
            cached=live.reused,
            ms=ms,
            at=self._clock(),
        )

    def _events(self, check: Verification, times: StepTimes, native_ms: float) -> list[Event]:
        """The round of a sequence and, where it has ended, its last event."""
        live = check.sequence
        events: list[Event] = []
        if check.finish == "error":
            held = live.text.finish(TARGET)
        else:
            held = []
            if check.finish is not None:
                check.pieces += live.text.finish(TARGET)
        if check.emitted or check.finish != "error":
            events.append(check.round(times, native_ms, at=self._clock()))
        if check.finish is not None:
            self._retire(live)
            events.append(Finished(live.id, check.finish, held, check.error))
        return events

    def _abandon(self, error: Exception) -> list[Event]:
        """End every live sequence; nobody knows what the caches hold of them."""
        ours = error if isinstance(error, SpecliError) else FaultError.of(error)
        events: list[Event] = []
        for live in list(self._live.values()):
            live.cached = 0
            held = live.text.finish(TARGET)
            with suppress(Exception):
                # A drafter may have failed before it knew of the sequence.
                self._retire(live)
            events.append(Finished(live.id, "error", held, ours))
        if not events:
            raise error
        return events

    def _retire(self, live: Live) -> None:
        del self._live[live.id]
        self._slots.give_back(live.slot, live.tokens[: live.cached])
        self._policy.end(live.slot)
        if live.request.speculate:
            for drafter in self._drafters:
                drafter.end(live.slot)
