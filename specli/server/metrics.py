"""Figures for Prometheus, under the names of vLLM and of llama-server."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from specli.engine.slots import Decodes
from specli.events import Event, Finished, Round
from specli.generation import Generation

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600)
_FIRST_GUESS = 5.0
"""Seconds of an answer before one has been measured."""

_SERVERS = ("vllm", "llamacpp")
_COUNTERS: Mapping[str, tuple[str, str | None]] = {
    **{
        f"{server}:spec_decode_num_{name}": (f"Speculative {name}.", None)
        for server in _SERVERS
        for name in ("drafts", "draft_tokens", "accepted_tokens")
    },
    **{
        f"{server}:spec_decode_num_accepted_tokens_per_pos": (
            "Accepted draft tokens by position in the proposal, from 0.", "position"
        )
        for server in _SERVERS
    },
    "specli:draft_tokens": ("Tokens proposed by each drafter.", "drafter"),
    "specli:accepted_tokens": ("Tokens of each drafter that were accepted.", "drafter"),
    "vllm:prompt_tokens": ("Prompt tokens.", None),
    "llamacpp:prompt_tokens": ("Prompt tokens decoded.", None),
    "llamacpp:prompt_seconds": ("Time of prompts.", None),
    "llamacpp:prompt_tokens_cached": ("Prompt tokens reused.", None),
    "vllm:generation_tokens": ("Tokens generated.", None),
    "llamacpp:tokens_predicted": ("Tokens generated.", None),
    "llamacpp:tokens_predicted_seconds": ("Time of generation.", None),
    "vllm:request_success": ("Finished requests.", "finished_reason"),
    "specli:requests_cancelled": ("Requests given up by clients.", None),
    "specli:requests_refused": ("Requests for which the queue was full.", None),
}  # fmt: skip
"""What each counts, and its label where it has one."""

_LOADS = (
    ("Requests that run.", "vllm:num_requests_running", "llamacpp:requests_processing"),
    ("Requests that wait for a slot.", "vllm:num_requests_waiting", "llamacpp:requests_deferred"),
)

Kind = TypeVar("Kind", Counter, Gauge, Histogram)


def _entry(load: Callable[[], tuple[int, int]], index: int) -> float:
    return load()[index]


class Metrics:
    """Counts of one server. `load` says how many requests run and wait; `decodes` goes on with the
    engine."""

    def __init__(self, model: str, load: Callable[[], tuple[int, int]], decodes: Decodes) -> None:
        self._decodes = decodes
        self.registry = CollectorRegistry()
        self._model = model
        self._seconds = _FIRST_GUESS
        self._counters = {name: self._made(Counter, name, *of) for name, of in _COUNTERS.items()}
        for index, (text, *names) in enumerate(_LOADS):
            for name in names:
                # Asked for whenever somebody reads the metrics.
                self._made(Gauge, name, text).set_function(partial(_entry, load, index))
        self._speed = self._made(
            Gauge, "llamacpp:predicted_tokens_seconds", "Tokens per second of the last answer."
        )
        self._prompt_speed = self._made(
            Gauge, "llamacpp:prompt_tokens_seconds", "Prompt tokens per second of the last answer."
        )
        self._first = self._made(
            Histogram, "vllm:time_to_first_token_seconds", "From request to first token."
        )
        self._whole = self._made(
            Histogram, "vllm:e2e_request_latency_seconds", "From request to last token."
        )

    def _made(self, kind: type[Kind], name: str, text: str, label: str | None = None) -> Kind:
        """One of the metrics; all of vLLM's carry the model's name."""
        labels = ["model_name"] if name.startswith("vllm:") else []
        labels += [] if label is None else [label]
        more: dict[str, Any] = {"buckets": _SECONDS} if kind is Histogram else {}
        made = kind(name, text, labels, registry=self.registry, **more)
        return made.labels(self._model) if labels == ["model_name"] else made

    def count(self, name: str, amount: float = 1, label: str | None = None) -> None:
        """Add to a counter, of this label where it has one."""
        counter = self._counters[name]
        if label is not None:
            model = [self._model] if name.startswith("vllm:") else []
            counter = counter.labels(*model, label)
        counter.inc(amount)

    def observe(self, generation: Generation, since: float, event: Event) -> None:
        """Count an event that `generation` has taken in; its request came at `since`."""
        if isinstance(event, Round):
            self._round(event)
            if generation.stats.rounds == 1:
                self._first.observe(event.at - since)
        elif isinstance(event, Finished):
            self._finished(generation, event)
            if generation.first_at is not None:
                took = (generation.first_at - since) + generation.stats.predicted_ms / 1000
                self._whole.observe(took)
                self._seconds += (took - self._seconds) / 8

    def _round(self, event: Round) -> None:
        drafted = len(event.proposal_sources)
        for name in ("vllm:generation_tokens", "llamacpp:tokens_predicted"):
            self.count(name, len(event.tokens))
        if not drafted:
            return
        for begin in (f"{server}:spec_decode_num_" for server in _SERVERS):
            self.count(f"{begin}drafts")
            self.count(f"{begin}draft_tokens", drafted)
            self.count(f"{begin}accepted_tokens", event.accepted)
            for position in range(event.accepted):
                self.count(f"{begin}accepted_tokens_per_pos", label=str(position))
        for position, source in enumerate(event.proposal_sources):
            self.count("specli:draft_tokens", label=source)
            if position < event.accepted:
                self.count("specli:accepted_tokens", label=source)

    def _finished(self, generation: Generation, event: Finished) -> None:
        stats = generation.stats
        self.count("vllm:request_success", label=event.reason)
        self.count("vllm:prompt_tokens", stats.prompt_n)
        self.count("llamacpp:prompt_tokens", stats.prompt_n - stats.prompt_cached)
        self.count("llamacpp:prompt_seconds", stats.prompt_ms / 1000)
        self.count("llamacpp:prompt_tokens_cached", stats.prompt_cached)
        self.count("llamacpp:tokens_predicted_seconds", stats.predicted_ms / 1000)
        if stats.predicted_per_second is not None:
            self._speed.set(stats.predicted_per_second)
        if stats.prompt_per_second is not None:
            self._prompt_speed.set(stats.prompt_per_second)

    def retry_after(self, waiting: int, slots: int) -> int:
        """Seconds until a place in the queue is likely: recent answers' time, over the slots."""
        return max(1, math.ceil(self._seconds * (waiting / max(slots, 1)) / 4))

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry) + "".join(self._batches()).encode()

    def _batches(self) -> Iterator[str]:
        """llama-server's figures of its batches. Its `n_tokens_max` is a counter without `_total`,
        which `prometheus_client` does not write."""
        batches, sequences = self._decodes.batches, self._decodes.sequences
        for name, kind, value, text in (
            ("n_decode_total", "counter", batches, "Batches of the target, warming up left out."),
            ("n_tokens_max", "counter", self._decodes.longest, "Tokens of the longest sequence."),
            (
                "n_busy_slots_per_decode",
                "gauge",
                sequences / max(batches, 1),
                "Requests that ran, on average over the batches.",
            ),
        ):
            yield f"# HELP llamacpp:{name} {text}\n# TYPE llamacpp:{name} {kind}\n"
            yield f"llamacpp:{name} {float(value)}\n"
