"""The events of a generation, and the `Stats` that every view and every report reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Literal

from specli.errors import SpecliError
from specli.figures import rounded

Source = str
"""Where a token came from: `target`, or the name of the drafter that proposed it."""

TARGET: Source = "target"

MODEL: Source = "draft"
"""The drafter that costs time: a draft model."""

PREDICTION: Source = "prediction"
"""The drafter that follows a text which the user expects."""

FinishReason = Literal["stop", "length", "cancelled", "timeout", "error"]


@dataclass(slots=True, frozen=True)
class Piece:
    """Text that may be shown, and where it came from."""

    text: str
    source: Source


@dataclass(slots=True, frozen=True)
class TokenLogprob:
    """How probable the target found a token, before penalties, filters and temperature.

    `rank` 0 is the most probable token. `top` are the best tokens, each with the logarithm of its
    probability.
    """

    token: int
    logprob: float
    rank: int
    top: list[tuple[int, float]]


@dataclass(slots=True)
class Prefilled:
    """A chunk of prompt tokens has been decoded for one sequence."""

    seq: int
    done: int
    total: int
    cached: int
    """Prompt tokens that were in the cache already and were not decoded again."""
    ms: float
    at: float
    """Seconds on the `time.perf_counter` clock when the event happened."""


@dataclass(slots=True)
class Round:
    """One verify step of one sequence.

    `tokens` are the tokens emitted: the accepted head of the proposal, then the target's own
    token unless a stop or a limit came first. `sources` runs parallel to `tokens`.
    `proposal_sources` runs parallel to `proposal`; its first `accepted` entries were kept.
    `draft_ms`, `verify_ms` and `rollback_ms` are wall times of the whole step, shared by the
    sequences in it; choosing tokens is part of verifying. `native_ms` is the part of them that was
    spent inside llama.cpp.
    `margins`, where asked for, holds for each emitted token the distance between the two best
    candidates in the units that the choice was made in (logits when greedy). `logprobs`, where
    asked for, runs parallel to `tokens`. `confidences` are the drafters' own in their proposals,
    parallel to `proposal_sources`.
    """

    seq: int
    tokens: list[int]
    sources: list[Source]
    pieces: list[Piece]
    proposal_sources: list[Source]
    accepted: int
    draft_ms: float
    verify_ms: float
    rollback_ms: float
    native_ms: float
    at: float
    """Seconds on the `time.perf_counter` clock when the round was over."""
    margins: list[float] | None = None
    proposal: list[int] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None
    refused: TokenLogprob | None = None
    """Of the first proposed token that was not accepted, where `logprobs` are asked for."""


@dataclass(slots=True)
class Finished:
    """The last event of every request, exactly one."""

    seq: int
    reason: FinishReason
    pieces: list[Piece] = field(default_factory=list)
    """Text that was held back and may be shown now."""
    error: SpecliError | None = None
    """What happened, where the reason is `error`."""


Event = Prefilled | Round | Finished


@dataclass(slots=True)
class DrafterCounts:
    drafted: int = 0
    accepted: int = 0
    rounds: int = 0

    @property
    def acceptance_rate(self) -> float | None:
        return self.accepted / self.drafted if self.drafted else None


RECENT_ROUNDS = 64

PLAIN_ROUNDS = 6
"""Rounds without a proposal from which on their median stands for plain decoding: with a scatter
of 10 % from round to round it is then known to 5 %."""


@dataclass(slots=True)
class Stats:
    """Counts and times of one sequence; the only place where a statistic is computed.

    Definitions follow llama.cpp #24536: the rate at position i is the number of verify steps
    whose i-th proposed token was accepted, over the number of verify steps that had a proposal.
    Every predicted token belongs to exactly one round, so
    `predicted_n == accepted + <rounds that ended with a token of the target>`.
    """

    prompt_n: int = 0
    prompt_cached: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0
    rounds: int = 0
    rounds_with_proposal: int = 0
    drafted: int = 0
    accepted: int = 0
    draft_ms: float = 0.0
    verify_ms: float = 0.0
    rollback_ms: float = 0.0
    native_ms: float = 0.0
    accepted_at: list[int] = field(default_factory=list)
    by_drafter: dict[Source, DrafterCounts] = field(default_factory=dict)
    recent: list[tuple[int, int]] = field(default_factory=list)
    """(accepted, drafted) of the last rounds, newest last, at most `RECENT_ROUNDS`."""
    predicting_since: float | None = None
    """When the prompt was done; the wall time from there on, views included, is `predicted_ms`."""
    plain_times: list[float] = field(default_factory=list)
    """Milliseconds of each round without a proposal, less what drafters took in it: what plain
    decoding takes. Of a sequence that shares its rounds with others they say nothing."""
    _last_at: float | None = None

    def add(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, Finished):
            return
        if isinstance(event, Prefilled):
            self.prompt_n = event.total
            self.prompt_cached = event.cached
            self.prompt_ms += event.ms
            self.predicting_since = self._last_at = event.at
            return
        drafted = len(event.proposal_sources)
        self.rounds += 1
        self.predicted_n += len(event.tokens)
        if self.predicting_since is not None:
            self.predicted_ms = 1000 * (event.at - self.predicting_since)
        self.draft_ms += event.draft_ms
        self.verify_ms += event.verify_ms
        self.rollback_ms += event.rollback_ms
        self.native_ms += event.native_ms
        self.drafted += drafted
        self.accepted += event.accepted
        if drafted:
            self._count_proposal(event, drafted)
        elif self._last_at is not None:
            took = 1000 * (event.at - self._last_at) - event.draft_ms - event.rollback_ms
            self.plain_times.append(max(took, 0.0))
        self._last_at = event.at
        self.recent.append((event.accepted, drafted))
        del self.recent[:-RECENT_ROUNDS]

    def _count_proposal(self, event: Round, drafted: int) -> None:
        self.rounds_with_proposal += 1
        self.accepted_at += [0] * (drafted - len(self.accepted_at))
        for position in range(event.accepted):
            self.accepted_at[position] += 1
        for position, source in enumerate(event.proposal_sources):
            counts = self.by_drafter.setdefault(source, DrafterCounts())
            counts.drafted += 1
            counts.accepted += position < event.accepted
        for source in set(event.proposal_sources):
            self.by_drafter[source].rounds += 1

    @property
    def acceptance_rate(self) -> float | None:
        return self.accepted / self.drafted if self.drafted else None

    @property
    def mean_accepted_length(self) -> float | None:
        """Tokens emitted per round, the target's own token included."""
        return self.predicted_n / self.rounds if self.rounds else None

    @property
    def acceptance_per_position(self) -> list[float]:
        return [count / self.rounds_with_proposal for count in self.accepted_at]

    @property
    def predicted_per_second(self) -> float | None:
        return 1000 * self.predicted_n / self.predicted_ms if self.predicted_ms else None

    @property
    def plain_per_second(self) -> float | None:
        """Tokens per second without drafting, from this text's own rounds; None where too few of
        them had no proposal."""
        if len(self.plain_times) < PLAIN_ROUNDS:
            return None
        ms = median(self.plain_times)
        return 1000 / ms if ms else None

    @property
    def speedup(self) -> float | None:
        """How many times as fast as without drafting; None where nothing was drafted, or where
        `plain_per_second` is not known."""
        plain, speed = self.plain_per_second, self.predicted_per_second
        return speed / plain if self.drafted and plain and speed else None

    @property
    def outside_ms(self) -> float:
        """Generation time that was not spent inside llama.cpp."""
        return max(self.predicted_ms - self.native_ms, 0.0)

    @property
    def prompt_per_second(self) -> float | None:
        decoded = self.prompt_n - self.prompt_cached
        return 1000 * decoded / self.prompt_ms if self.prompt_ms else None

    def report(self, text: str, finish: str) -> dict[str, object]:
        """What every JSON object about a text has in common."""
        return {
            "text": text,
            "finish_reason": finish,
            "prompt_tokens": self.prompt_n,
            "completion_tokens": self.predicted_n,
            "timings": self.timings(),
            "speculation": self.speculation(),
        }

    def timings(self) -> dict[str, float | int | None]:
        """The figures under llama-server's names, times in milliseconds.

        As there, `prompt_n` leaves out the `cache_n` tokens that were not decoded again.
        """
        decoded = self.prompt_n - self.prompt_cached
        return {
            "cache_n": self.prompt_cached,
            "prompt_n": decoded,
            "prompt_ms": round(self.prompt_ms, 3),
            "prompt_per_token_ms": round(self.prompt_ms / decoded, 3) if decoded else None,
            "prompt_per_second": rounded(self.prompt_per_second, 2),
            "predicted_n": self.predicted_n,
            "predicted_ms": round(self.predicted_ms, 3),
            "predicted_per_token_ms": (
                round(self.predicted_ms / self.predicted_n, 3) if self.predicted_n else None
            ),
            "predicted_per_second": rounded(self.predicted_per_second, 2),
            "draft_n": self.drafted,
            "draft_n_accepted": self.accepted,
        }

    def speculation(self) -> dict[str, object]:
        """The figures of the speculation itself, rates between 0 and 1, times in milliseconds."""
        return {
            "rounds": self.rounds,
            "mean_accepted_length": rounded(self.mean_accepted_length, 4),
            "acceptance_rate": rounded(self.acceptance_rate, 4),
            "acceptance_per_position": [round(rate, 4) for rate in self.acceptance_per_position],
            "by_drafter": {
                name: {**asdict(counts), "acceptance_rate": rounded(counts.acceptance_rate, 4)}
                for name, counts in self.by_drafter.items()
            },
            "draft_ms": round(self.draft_ms, 3),
            "verify_ms": round(self.verify_ms, 3),
            "rollback_ms": round(self.rollback_ms, 3),
            "outside_ms": round(self.outside_ms, 3),
        }
