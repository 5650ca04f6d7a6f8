"""What plain decoding takes here and now, where a text has too few plain rounds to tell."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from time import perf_counter

from specli.engine.engine import Engine
from specli.engine.sequence import GenerationRequest
from specli.events import PLAIN_ROUNDS, Stats
from specli.generation import Generation
from specli.session import Session
from specli.speculative import SpeculativeConfig

LEAST_SECONDS = 0.25
"""Nobody notices so much after the last word."""
SHARE = 0.05
"""Of the time that the text took; large models get no more than this."""


def measure_plain(
    session: Session, engine: Engine, request: GenerationRequest, generation: Generation
) -> None:
    """Go on without drafting behind the text for some rounds, and count their times as the text's.

    `engine` is the one that has generated the text. Does nothing where nothing was drafted, or
    where the text has plain rounds enough; the tokens are dropped.
    """
    stats = generation.stats
    missing = PLAIN_ROUNDS - len(stats.plain_times)
    prompt = [*request.prompt, *generation.tokens]
    ended = generation.finish in ("stop", "length")
    if not (stats.drafted and ended and missing > 0 and len(prompt) + missing < session.n_ctx):
        return
    going_on = replace(
        request, prompt=prompt, max_tokens=missing + 1, stops=(), ignore_end=True, grammar=None
    )
    plain = session.engine_for(SpeculativeConfig(), engine.cached_prefixes)
    plain.submit(going_on)
    measured = Stats()
    until = perf_counter() + max(LEAST_SECONDS, SHARE * stats.predicted_ms / 1000)
    with suppress(KeyboardInterrupt):
        for event in plain.run():
            measured.add(event)
            if perf_counter() > until:
                break
    # For the first single token after batches llama.cpp builds another graph.
    stats.plain_times += measured.plain_times[1:]
