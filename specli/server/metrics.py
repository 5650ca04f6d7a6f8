"""Figures for Prometheus, under the names of vLLM and of llama-server."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from specli.engine.slots import Decodes
from specli.events import Event, Finished, Round
from specli.generation import Generation

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600)
_FIRST_GUESS = 5.0
"""Seconds of an answer before one has been measured."""

_RUNS, _WAITS = "Requests that run.", "Requests that wait for a slot."


class Metrics:
    """Counts of one server. `load` says how many requests run and wait; `decodes` goes on with the
    engine."""

    def __init__(self, model: str, load: Callable[[], tuple[int, int]], decodes: Decodes) -> None:
        self._decodes = decodes
        self.registry = CollectorRegistry()
        self._labels = {"model_name": model}
        self._seconds = _FIRST_GUESS
        self._speculation()
        self._traffic(load)

    def _speculation(self) -> None:
        names = ("drafts", "draft_tokens", "accepted_tokens")
        self._spec = {
            name: (
                self._counter(f"vllm:spec_decode_num_{name}", f"Speculative {name}."),
                Counter(
                    f"llamacpp:spec_decode_num_{name}",
                    f"Speculative {name}.",
                    registry=self.registry,
                ),
            )
            for name in names
        }
        text = "Accepted draft tokens by position in the proposal, from 0."
        self._positions = (
            Counter(
                "vllm:spec_decode_num_accepted_tokens_per_pos",
                text,
                ["model_name", "position"],
                registry=self.registry,
            ),
            Counter(
                "llamacpp:spec_decode_num_accepted_tokens_per_pos",
                text,
                ["position"],
                registry=self.registry,
            ),
        )
        self._by_drafter = {
            name: Counter(f"specli:{name}", text, ["drafter"], registry=self.registry)
            for name, text in (
                ("draft_tokens", "Tokens proposed by each drafter."),
                ("accepted_tokens", "Tokens of each drafter that were accepted."),
            )
        }

    def _traffic(self, load: Callable[[], tuple[int, int]]) -> None:
        self._loads(load)
        self._first = self._histogram(
            "vllm:time_to_first_token_seconds", "From request to first token."
        )
        self._whole = self._histogram(
            "vllm:e2e_request_latency_seconds", "From request to last token."
        )
        self._prompt = (
            self._counter("vllm:prompt_tokens", "Prompt tokens."),
            Counter("llamacpp:prompt_tokens", "Prompt tokens decoded.", registry=self.registry),
            Counter("llamacpp:prompt_seconds", "Time of prompts.", registry=self.registry),
            Counter(
                "llamacpp:prompt_tokens_cached", "Prompt tokens reused.", registry=self.registry
            ),
        )
        self._predicted = (
            self._counter("vllm:generation_tokens", "Tokens generated."),
            Counter("llamacpp:tokens_predicted", "Tokens generated.", registry=self.registry),
            Counter(
                "llamacpp:tokens_predicted_seconds", "Time of generation.", registry=self.registry
            ),
        )
        self._speed = Gauge(
            "llamacpp:predicted_tokens_seconds",
            "Tokens per second of the last answer.",
            registry=self.registry,
        )
        self._prompt_speed = Gauge(
            "llamacpp:prompt_tokens_seconds",
            "Prompt tokens per second of the last answer.",
            registry=self.registry,
        )
        self._success = Counter(
            "vllm:request_success",
            "Finished requests.",
            ["model_name", "finished_reason"],
            registry=self.registry,
        )
        self.cancelled = Counter(
            "specli:requests_cancelled", "Requests given up by clients.", registry=self.registry
        )
        self.refused = Counter(
            "specli:requests_refused", "Requests for which the queue was full.",
            registry=self.registry,
        )  # fmt: skip

    def _counter(self, name: str, text: str) -> Counter:
        """One of vLLM's metrics, which all carry the model's name."""
        made = Counter(name, text, ["model_name"], registry=self.registry)
        return made.labels(**self._labels)

    def _histogram(self, name: str, text: str) -> Histogram:
        made = Histogram(name, text, ["model_name"], registry=self.registry, buckets=_SECONDS)
        return made.labels(**self._labels)

    def _loads(self, load: Callable[[], tuple[int, int]]) -> None:
        """How many requests run and wait, asked for whenever somebody reads the metrics."""
        running = Gauge("vllm:num_requests_running", _RUNS, ["model_name"], registry=self.registry)
        running.labels(**self._labels).set_function(lambda: load()[0])
        waiting = Gauge("vllm:num_requests_waiting", _WAITS, ["model_name"], registry=self.registry)
        waiting.labels(**self._labels).set_function(lambda: load()[1])
        runs = Gauge("llamacpp:requests_processing", _RUNS, registry=self.registry)
        runs.set_function(lambda: load()[0])
        waits = Gauge("llamacpp:requests_deferred", _WAITS, registry=self.registry)
        waits.set_function(lambda: load()[1])

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
        for counter in self._predicted[:2]:
            counter.inc(len(event.tokens))
        if not drafted:
            return
        amounts = {"drafts": 1, "draft_tokens": drafted, "accepted_tokens": event.accepted}
        for name, counters in self._spec.items():
            for counter in counters:
                counter.inc(amounts[name])
        vllm, llamacpp = self._positions
        for position in range(event.accepted):
            vllm.labels(position=str(position), **self._labels).inc()
            llamacpp.labels(position=str(position)).inc()
        for position, source in enumerate(event.proposal_sources):
            self._by_drafter["draft_tokens"].labels(source).inc()
            if position < event.accepted:
                self._by_drafter["accepted_tokens"].labels(source).inc()

    def _finished(self, generation: Generation, event: Finished) -> None:
        stats = generation.stats
        self._success.labels(finished_reason=event.reason, **self._labels).inc()
        self._prompt[0].inc(stats.prompt_n)
        self._prompt[1].inc(stats.prompt_n - stats.prompt_cached)
        self._prompt[2].inc(stats.prompt_ms / 1000)
        self._prompt[3].inc(stats.prompt_cached)
        self._predicted[2].inc(stats.predicted_ms / 1000)
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
