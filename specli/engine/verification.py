"""Judges a proposal: the sequence's own choice at each position decides what is emitted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from specli.drafters.protocol import Accepted, Proposal
from specli.engine.policy.protocol import StepTimes, Turn
from specli.engine.sequence import GenerationRequest, Sequence
from specli.errors import FaultError, SpecliError
from specli.events import TARGET, FinishReason, Piece, Round, TokenLogprob
from specli.llama.decoder import Decoder, Logits
from specli.sampling.chooser import Chooser
from specli.sampling.logprobs import logprob


class Pieces(Protocol):
    """What the engine needs of a vocabulary; `llama.vocab.Vocab` is one."""

    def piece(self, token: int) -> bytes: ...

    def name(self, token: int) -> str: ...

    def is_end(self, token: int) -> bool: ...

    def breakers(self, texts: tuple[str, ...]) -> dict[int, list[list[int]]]: ...


def chooser_of(request: GenerationRequest, vocab: Pieces) -> Chooser:
    """The sampler of a request at its start."""
    sampling = request.sampling
    breaks = sampling.dry_breakers if sampling.punishes_repetition else ()
    return Chooser(
        sampling,
        request.prompt,
        request.grammar,
        margins=request.margins,
        breakers=vocab.breakers(breaks) if breaks else {},
    )


@dataclass(slots=True)
class Verification:
    """A sequence's share of a verify batch, and what came of it."""

    sequence: Sequence
    turn: Turn
    proposal: Proposal = field(default_factory=Proposal)
    row: int = 0
    emitted: list[int] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None
    refused: TokenLogprob | None = None
    judged: int = 0
    accepted: int = 0
    finish: FinishReason | None = None
    error: SpecliError | None = None

    @property
    def result(self) -> Accepted:
        """What drafters are told."""
        live = self.sequence
        emitted = len(self.emitted)
        return Accepted(live.slot, live.tokens, emitted, self.proposal, self.judged, self.accepted)

    def round(self, times: StepTimes, native_ms: float, at: float) -> Round:
        """What callers are told; the times are those of the whole step."""
        live = self.sequence
        return Round(
            seq=live.id,
            tokens=self.emitted,
            sources=self.sources,
            pieces=self.pieces,
            proposal=self.proposal.tokens,
            proposal_sources=self.proposal.sources,
            accepted=self.accepted,
            draft_ms=times.draft,
            verify_ms=times.verify,
            rollback_ms=times.rollback,
            native_ms=native_ms,
            at=at,
            margins=self.margins if live.request.margins else None,
            confidences=self.proposal.confidences,
            logprobs=self.logprobs,
            refused=self.refused,
        )

    @property
    def sources(self) -> list[str]:
        """Where each emitted token came from."""
        own = len(self.emitted) - self.accepted
        return self.proposal.sources[: self.accepted] + [TARGET] * own


def judge(check: Verification, target: Decoder, vocab: Pieces) -> None:
    """Choose token by token until a choice differs from the proposal or the text ends.

    A sequence whose logits are no numbers, on which a drafter failed or that meets a fault of
    specli, ends with an error, and no other one does.
    """
    try:
        if check.turn.error is not None:
            raise check.turn.error
        _judge(check, target, vocab)
    except SpecliError as error:
        check.finish, check.error = "error", error
    except Exception as error:
        check.finish, check.error = "error", FaultError.of(error)


def _judge(check: Verification, target: Decoder, vocab: Pieces) -> None:
    sequence, proposal = check.sequence, check.proposal
    room = sequence.room(target.n_ctx)
    if room < 1:
        check.finish = "length"
    start = len(sequence.tokens)
    best = sequence.request.top_logprobs
    check.logprobs = None if best is None else []
    while check.finish is None:
        index = len(check.emitted)
        logits = target.logits(check.row + index)
        token = sequence.chooser.choose(logits, start + index)
        if token is None:
            check.finish = "stop"
            break
        proposed = index < len(proposal)
        matched = proposed and token == proposal.tokens[index]
        check.judged += proposed
        check.accepted += matched
        check.margins.append(sequence.chooser.margin)
        if best is not None:
            _note_logprobs(check, logits, token, best)
        _emit(check, token, proposal.sources[index] if matched else TARGET, vocab)
        if check.finish is None and len(check.emitted) >= room:
            check.finish = "length"
        if not matched:
            break


def _note_logprobs(check: Verification, logits: Logits, token: int, best: int) -> None:
    """Note how probable the next token is, and a proposed one that it takes the place of."""
    proposal, index = check.proposal, len(check.emitted)
    check.logprobs = [*(check.logprobs or []), logprob(logits, token, best)]
    if index < len(proposal) and proposal.tokens[index] != token:
        check.refused = logprob(logits, proposal.tokens[index], 0)


def _emit(check: Verification, token: int, source: str, vocab: Pieces) -> None:
    sequence = check.sequence
    check.emitted.append(token)
    if vocab.is_end(token) and not sequence.request.ignore_end:
        check.finish = "stop"
        return
    sequence.chooser.accept(token)
    spelled = token in sequence.request.spelled
    data = vocab.name(token).encode() if spelled else vocab.piece(token)
    check.pieces += sequence.text.feed(data, source)
    if sequence.text.stopped:
        check.finish = "stop"
