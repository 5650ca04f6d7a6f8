"""Counts and rates of a batch, for the progress bar and the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Literal

from specli.events import Event, Prefilled, Stats
from specli.figures import rounded

FailureKind = Literal["input", "timeout", "error", "fault"]

MOST_FAILURES = 100
"""Failures listed in the report."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A prompt without a complete answer: its file and line, and the reason.

    Only an `input` is bad for good; the same command tries the others again.
    """

    location: str
    reason: str
    kind: FailureKind = "input"


@dataclass(slots=True)
class Totals:
    """Counts of one run. `expected` is None if the number of prompts is unknown."""

    expected: int | None = None
    answered: int = 0
    earlier: int = 0
    """Prompts answered by an earlier run."""
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    finish_reasons: Counter[str] = field(default_factory=Counter)
    prompt_n: int = 0
    stats: Stats = field(default_factory=Stats)
    """Rounds of all sequences together. Only counts and rates are used: times of sequences that
    ran at once are added up."""
    engines: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """Answers by node, its address and process, where engines of a cluster gave them."""
    since: float = field(default_factory=perf_counter)

    def add(self, event: Event) -> None:
        if isinstance(event, Prefilled):
            if event.done == event.total:
                self.prompt_n += event.total
        else:
            self.stats.add(event)

    def fail(self, failure: Failure) -> None:
        self.failed += 1
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(failure)

    @property
    def seen(self) -> int:
        """Prompts answered, failed, or answered earlier."""
        return self.answered + self.earlier + self.failed

    @property
    def seconds(self) -> float:
        return perf_counter() - self.since

    @property
    def predicted_per_second(self) -> float | None:
        """Tokens per second over all sequences, prompts and pauses included."""
        return self.stats.predicted_n / self.seconds if self.stats.predicted_n else None

    @property
    def seconds_left(self) -> float | None:
        """Expected time for the remaining prompts at the average pace."""
        now = self.answered + self.failed
        if self.expected is None or not now:
            return None
        return max(self.expected - self.seen, 0) * self.seconds / now

    def report(self) -> dict[str, object]:
        """The figures of `--report`; times in seconds, rates between 0 and 1."""
        engines = [
            {"node": node, "address": address, "pid": pid, "answered": answered}
            for (node, address, pid), answered in self.engines.items()
        ]
        return {
            "answered": self.answered,
            "answered_earlier": self.earlier,
            "failed": self.failed,
            "finish_reasons": dict(self.finish_reasons),
            "prompt_tokens": self.prompt_n,
            "completion_tokens": self.stats.predicted_n,
            "seconds": round(self.seconds, 3),
            "predicted_per_second": rounded(self.predicted_per_second, 2),
            "draft_n": self.stats.drafted,
            "draft_n_accepted": self.stats.accepted,
            "acceptance_rate": rounded(self.stats.acceptance_rate, 4),
            "mean_accepted_length": rounded(self.stats.mean_accepted_length, 4),
            "failures": [asdict(failure) for failure in self.failures],
            **({"engines": engines} if engines else {}),
        }
