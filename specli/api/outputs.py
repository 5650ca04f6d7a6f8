"""What a request leads to, under vLLM's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from specli.events import Stats


@dataclass(frozen=True, slots=True)
class CompletionOutput:
    """One generated text.

    `token_ids` includes the end token where the model chose one; `text` does not, and ends before
    a stop string. `finish_reason` is "stop" (end token, stop string, end of the grammar) or
    "length" (`max_tokens`, or the context is full).
    """

    index: int
    text: str
    token_ids: list[int]
    finish_reason: str


@dataclass(frozen=True, slots=True)
class DrafterMetrics:
    """Tokens that one drafter proposed, and how many of them the target accepted."""

    num_draft_tokens: int
    num_accepted_draft_tokens: int

    @property
    def draft_acceptance_rate(self) -> float | None:
        """From 0 to 1; None where nothing was drafted."""
        drafted = self.num_draft_tokens
        return self.num_accepted_draft_tokens / drafted if drafted else None


@dataclass(frozen=True, slots=True)
class RequestMetrics:
    """Counts, rates from 0 to 1, and times in seconds; None where there was nothing to measure.

    `mean_acceptance_length` is the tokens per round, the target's own token included.
    `acceptance_per_position[i]` is the share of proposals whose token i was accepted.
    `by_drafter` has an entry for each drafter that proposed something. `num_cached_tokens` are
    tokens of the prompt that an earlier request had left in the cache. `time_to_first_token`
    counts from the call, waiting for a slot included; `tokens_per_second` from the end of the
    prompt.
    """

    num_draft_tokens: int
    num_accepted_draft_tokens: int
    draft_acceptance_rate: float | None
    mean_acceptance_length: float | None
    acceptance_per_position: list[float]
    by_drafter: Mapping[str, DrafterMetrics]
    num_cached_tokens: int
    time_to_first_token: float | None
    tokens_per_second: float | None


def metrics_of(stats: Stats, time_to_first_token: float | None) -> RequestMetrics:
    """The public form of the statistics of one sequence."""
    return RequestMetrics(
        num_draft_tokens=stats.drafted,
        num_accepted_draft_tokens=stats.accepted,
        draft_acceptance_rate=stats.acceptance_rate,
        mean_acceptance_length=stats.mean_accepted_length,
        acceptance_per_position=stats.acceptance_per_position,
        by_drafter={
            name: DrafterMetrics(counts.drafted, counts.accepted)
            for name, counts in stats.by_drafter.items()
        },
        num_cached_tokens=stats.prompt_cached,
        time_to_first_token=time_to_first_token,
        tokens_per_second=stats.predicted_per_second,
    )


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """A finished request. `outputs` has one entry.

    `prompt` is the text that was tokenised, for a chat as the model's template writes it; None
    where token ids were given. `seed` is the seed in force, also where one was drawn.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int] = field(repr=False)
    outputs: list[CompletionOutput]
    metrics: RequestMetrics
    seed: int
