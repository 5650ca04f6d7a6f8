"""What an answer cost and how well the speculation did, under the names of other servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from specli.events import PREDICTION, Round, Stats, TokenLogprob
from specli.generation import Generation
from specli.llama.vocab import Vocab


def usage(
    prompt_tokens: int, generations: Sequence[Generation], reasoning: int = 0
) -> dict[str, Any]:
    """OpenAI's `usage`; tokens of a prediction that were not accepted count as rejected."""
    every = [one.stats for one in generations]
    completion = sum(stats.predicted_n for stats in every)
    predicted = [one.by_drafter[PREDICTION] for one in every if PREDICTION in one.by_drafter]
    accepted = sum(counts.accepted for counts in predicted)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": prompt_tokens + completion,
        "prompt_tokens_details": {
            "cached_tokens": max((s.prompt_cached for s in every), default=0)
        },
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "accepted_prediction_tokens": accepted,
            "rejected_prediction_tokens": sum(counts.drafted for counts in predicted) - accepted,
        },
    }


def figures(generation: Generation, since: float) -> dict[str, Any]:
    """llama-server's `timings`, and vLLM's `metrics` with its block on speculation.

    `since` is when the request came, on the clock of the events.
    """
    stats = generation.stats
    first = None if generation.first_at is None else 1000 * (generation.first_at - since)
    return {
        "timings": stats.timings(),
        "metrics": {
            "time_to_first_token_ms": None if first is None else round(first, 3),
            "generation_time_ms": round(stats.predicted_ms, 3),
            "tokens_per_second": stats.predicted_per_second,
            "speculative_decoding": speculation(stats),
        },
    }


def speculation(stats: Stats) -> dict[str, Any] | None:
    """vLLM's block of one request; None where nothing was drafted.

    `acceptance_histogram[k]` is the number of verifications that accepted k draft tokens, of those
    that had any.
    """
    steps = stats.rounds_with_proposal
    if not steps:
        return None
    reached = [steps, *stats.accepted_at, 0]
    return {
        "mean_acceptance_length": 1 + stats.accepted / steps,
        "draft_acceptance_rate": stats.acceptance_rate,
        "acceptance_histogram": [here - further for here, further in pairwise(reached)],
        "num_spec_steps": steps,
        "num_draft_tokens": stats.drafted,
        "num_accepted_draft_tokens": stats.accepted,
    }


def token_sources(vocab: Vocab, event: Round) -> dict[str, Any]:
    """Who proposed each token of a round, how sure that drafter was, and the target's rank of it;
    and how many proposed tokens were rejected. Bytes, because a token may end inside a character.
    """
    ranks = [one.rank for one in event.logprobs or ()]
    return {
        "tokens": [
            {
                "bytes": list(vocab.piece(token)),
                "source": source,
                "confidence": event.confidences[index] if index < event.accepted else None,
                "rank": ranks[index] if index < len(ranks) else None,
            }
            for index, (token, source) in enumerate(zip(event.tokens, event.sources, strict=True))
        ],
        "rejected": len(event.proposal_sources) - event.accepted,
    }


def chat_logprobs(vocab: Vocab, found: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """OpenAI's `logprobs.content`; the token that ends the text is not a part of it."""
    return [
        {
            **_entry(vocab, one.token, one.logprob),
            "top_logprobs": [_entry(vocab, token, value) for token, value in one.top],
        }
        for one in found
        if not vocab.is_end(one.token)
    ]


def _entry(vocab: Vocab, token: int, logprob: float) -> dict[str, Any]:
    data = vocab.piece(token)
    text = data.decode("utf-8", "replace") if data else vocab.name(token)
    return {"token": text, "logprob": max(logprob, _LOWEST), "bytes": list(data)}


_LOWEST = -9999.0
"""OpenAI's value for what is practically impossible; JSON has no infinity."""


def completion_logprobs(
    vocab: Vocab, found: Sequence[TokenLogprob], offset: int = 0
) -> dict[str, Any]:
    """The form of `/v1/completions`; `offset` is the length of the text before."""
    kept = [one for one in found if not vocab.is_end(one.token)]
    entries = [_entry(vocab, one.token, one.logprob) for one in kept]
    offsets = []
    for entry in entries:
        offsets.append(offset)
        offset += len(entry["token"])
    tops: list[Mapping[str, float]] = [
        {_entry(vocab, token, 0)["token"]: max(value, _LOWEST) for token, value in one.top}
        for one in kept
    ]
    return {
        "tokens": [entry["token"] for entry in entries],
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": tops,
        "text_offset": offsets,
    }
