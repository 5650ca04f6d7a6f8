"""Replays a recorded answer through the real engine, policy and drafters on a virtual clock.

The target is a decoder that knows the answer, the draft model one that knows what the draft says at
every position of it: right or wrong, and how sure. That is all that matters until its first wrong
token. Batches take the time that a cost curve gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from specli.drafters.draft_model import DraftModel
from specli.drafters.protocol import Drafter
from specli.engine.engine import Engine
from specli.engine.policy.protocol import Policy
from specli.engine.sequence import GenerationRequest
from specli.events import Round, Stats
from specli.llama.decoder import Logits

Milliseconds = Callable[[int], float]
VOCAB = 49152
SURE = 9.0


@dataclass
class Clock:
    """Seconds, as `time.perf_counter` counts them."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class RecordedDecoder:
    """Implements `Decoder` for one sequence whose choices are known at every position.

    `choices[i]` is (token, confidence) for position `start + i`; anything beyond is token 0.
    """

    can_cut = True
    max_rollback = None
    native_ns = 0
    n_batch = 512
    n_vocab = VOCAB
    exact = False
    least_rows = 1

    def __init__(
        self,
        choices: Sequence[tuple[int, float]],
        start: int,
        clock: Clock,
        ms: Milliseconds,
        n_ctx: int = 4096,
    ) -> None:
        self.n_ctx = n_ctx
        self._choices = choices
        self._start = start
        self._clock = clock
        self._ms = ms
        self._positions: list[int] = []
        self._decoded: list[int] = []
        self._row = np.zeros(VOCAB, dtype=np.float32)
        self._set = 0
        self._length = 0

    def length(self, seq: int) -> int:
        return self._length

    def add(self, seq: int, tokens: Sequence[int], position: int, outputs: int) -> int:
        first = len(self._positions) + len(tokens) - outputs
        self._length = position + len(tokens)
        self._positions += range(position, self._length)
        return first

    def decode(self) -> None:
        self._clock.now += self._ms(len(self._positions)) / 1000
        self._decoded, self._positions = self._positions, []

    def _choice(self, row: int) -> tuple[int, float]:
        index = self._decoded[row] + 1 - self._start
        return self._choices[index] if 0 <= index < len(self._choices) else (0, 0.01)

    def logits(self, row: int) -> Logits:
        self._row[self._set] = 0.0
        self._set = self._choice(row)[0]
        self._row[self._set] = SURE
        return self._row

    def watch_best(self, seq: int, wanted: bool) -> None: ...

    def best(self, row: int) -> tuple[int, float] | None:
        return self._choice(row)

    def checkpoint(self, seq: int) -> None: ...

    def drop(self, _seq: int, _start: int, _end: int) -> bool:
        return False

    def cheap_rollback(self, _seq: int, length: int) -> int:
        return length

    def rollback(self, seq: int, length: int) -> None:
        self._length = min(self._length, length)

    def copy(self, source: int, seq: int, length: int) -> None: ...

    def want_features(self, layers: Sequence[int]) -> None: ...

    def features(self, layer: int) -> Logits:
        raise NotImplementedError


class NoText:
    """A vocabulary without texts and ends: the answer's length is what was recorded."""

    def piece(self, token: int) -> bytes:
        return b""

    def name(self, token: int) -> str:
        return ""

    def is_end(self, token: int) -> bool:
        return False

    def breakers(self, texts: tuple[str, ...]) -> dict[int, list[list[int]]]:
        return {}


@dataclass(slots=True)
class Replay:
    """Milliseconds of the answer, and (proposed, accepted) of every round."""

    ms: float = 0.0
    rounds: list[tuple[int, int]] = field(default_factory=list)
    stats: Stats = field(default_factory=Stats)


def replay(
    policy: Policy,
    prompt: Sequence[int],
    answer: Sequence[int],
    target_ms: Milliseconds,
    *,
    says: Sequence[tuple[int, float]] = (),
    draft_ms: Milliseconds | None = None,
    drafters: Sequence[Drafter] = (),
) -> Replay:
    """One sequence from prompt to the end of `answer`; `says` is what a draft model would say.

    The prompt takes no time: all contenders read it.
    """
    clock = Clock()
    target = RecordedDecoder([(token, 1.0) for token in answer], len(prompt), clock, target_ms)
    every = list(drafters)
    if draft_ms is not None:
        every.append(DraftModel(RecordedDecoder(says, len(prompt), clock, draft_ms)))
    engine = Engine(target, NoText(), every, policy, clock=clock)
    engine.submit(GenerationRequest(list(prompt), max_tokens=len(answer)))
    done = Replay()
    prompt_ms = 0.0
    for event in engine.run():
        done.stats.add(event)
        if isinstance(event, Round):
            done.rounds.append((len(event.proposal_sources), event.accepted))
        elif not done.rounds:
            prompt_ms = 1000 * clock.now
    done.ms = 1000 * clock.now - prompt_ms
    return done
