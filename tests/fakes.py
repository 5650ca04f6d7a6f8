"""A target, a draft and a vocabulary without native code, for the engine's own tests."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from specli.llama.decoder import Logits

Script = Callable[[Sequence[int]], Logits]
"""Logits of the token that follows the given ones."""


def scripted(answer: Sequence[int], prompt_length: int, vocab: int = 16) -> Script:
    """A model that continues every prompt of `prompt_length` with `answer`, then with zeros."""

    def logits(tokens: Sequence[int]) -> Logits:
        place = len(tokens) - prompt_length
        row = np.zeros(vocab, dtype=np.float32)
        row[answer[place] if 0 <= place < len(answer) else 0] = 5.0
        return row

    return logits


def hashed(seed: int, vocab: int = 16, window: int = 3) -> Script:
    """A model whose every choice depends on its last `window` tokens, in no simple way."""

    def logits(tokens: Sequence[int]) -> Logits:
        state = zlib.crc32(bytes(token % 256 for token in tokens[-window:]), seed)
        return np.random.default_rng(state).normal(0, 2, vocab).astype(np.float32)

    return logits


def mostly(model: Script, other: Script, share: float) -> Script:
    """Agrees with `model` in about `share` of the positions, else follows `other`."""

    def logits(tokens: Sequence[int]) -> Logits:
        state = zlib.crc32(bytes(token % 256 for token in tokens), 99)
        return (model if state % 1000 < 1000 * share else other)(tokens)

    return logits


@dataclass
class FakeClock:
    """A clock in seconds that only moves when something says that it took time."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def spend(self, ms: float) -> None:
        self.now += ms / 1000


class FakeDecoder:
    """Implements `Decoder` over a script and refuses what llama.cpp would refuse.

    `calls` counts decodes; `seen` holds the tokens in each sequence's cache. With
    `keeps_state`, a rollback works to the last checkpoint only, as with recurrent models. On a
    `clock` a batch of k tokens takes `ms(k)`, and a rollback `rollback_ms`. The hidden state of a
    token is its sequence, its position and the layer. `faults` raises at the n-th decode, and
    `nan_at` holds (sequence, position) whose logits are no numbers.
    """

    def __init__(
        self,
        script: Script,
        *,
        n_ctx: int = 256,
        n_batch: int = 64,
        vocab: int = 16,
        keeps_state: bool = False,
        max_rollback: int | None = None,
        clock: FakeClock | None = None,
        ms: Callable[[int], float] = lambda _tokens: 1.0,
        rollback_ms: float = 0.0,
        faults: Mapping[int, Exception] | None = None,
        nan_at: Container[tuple[int, int]] = (),
    ) -> None:
        self.n_ctx = n_ctx
        self.n_batch = n_batch
        self.n_vocab = vocab
        self.exact = False
        self.least_rows = 1
        self.native_ns = 0
        self.can_cut = not keeps_state
        self.max_rollback = max_rollback
        self.seen: dict[int, list[int]] = {}
        self.calls = 0
        self.decoded = 0
        self._script = script
        self._pending: list[tuple[int, int, int, bool]] = []
        self._rows: dict[int, Logits] = {}
        self._checkpoints: dict[int, int] = {}
        self._clock = clock or FakeClock()
        self._ms = ms
        self._rollback_ms = rollback_ms
        self._faults = faults or {}
        self._nan_at = nan_at
        self._layers: tuple[int, ...] = ()
        self._batch: list[tuple[int, int, int, bool]] = []

    def length(self, seq: int) -> int:
        return len(self.seen.get(seq, ()))

    def add(self, seq: int, tokens: Sequence[int], position: int, outputs: int) -> int:
        assert 0 <= outputs <= len(tokens)
        start = len(self._pending)
        for place, token in enumerate(tokens):
            wanted = place >= len(tokens) - outputs
            self._pending.append((seq, int(token), position + place, wanted))
        assert len(self._pending) <= self.n_batch, "the batch is too large"
        return start + len(tokens) - outputs

    def decode(self) -> None:
        assert self._pending, "an empty batch"
        batch, self._pending = self._pending, []
        self.calls += 1
        if self.calls - 1 in self._faults:
            raise self._faults[self.calls - 1]
        self._clock.spend(self._ms(len(batch)))
        self._rows = {}
        for row, (seq, token, position, wanted) in enumerate(batch):
            seen = self.seen.setdefault(seq, [])
            assert position == len(seen), f"position {position}, but {len(seen)} tokens are cached"
            assert position < self.n_ctx, "the context is full"
            seen.append(token)
            if wanted:
                row_logits = self._script(tuple(seen))
                broken = (seq, position) in self._nan_at
                self._rows[row] = np.full_like(row_logits, np.nan) if broken else row_logits
        self._batch = batch
        self.decoded += len(batch)

    def logits(self, row: int) -> Logits:
        return self._rows[row]

    def watch_best(self, seq: int, wanted: bool) -> None:
        pass

    def best(self, row: int) -> tuple[int, float] | None:
        return None

    def checkpoint(self, seq: int) -> None:
        self._checkpoints[seq] = len(self.seen.get(seq, []))

    def drop(self, seq: int, start: int, end: int) -> bool:
        if not self.can_cut:
            return False
        del self.seen[seq][start:end]
        return True

    def cheap_rollback(self, seq: int, length: int) -> int:
        if self.can_cut or self.length(seq) <= length:
            return length
        saved = self._checkpoints.get(seq, 0)
        return saved if saved <= length else 0

    def copy(self, source: int, seq: int, length: int) -> None:
        assert self.can_cut, "a state cannot be shared"
        assert not self.seen.get(seq), "the sequence is not empty"
        assert length <= len(self.seen[source])
        self.seen[seq] = self.seen[source][:length]

    def rollback(self, seq: int, length: int) -> None:
        seen = self.seen.setdefault(seq, [])
        cut = len(seen) - length
        if cut > 0 and length > 0:
            if not self.can_cut:
                assert length >= self._checkpoints[seq], "no checkpoint so far back"
            assert self.max_rollback is None or cut <= self.max_rollback
        if cut > 0:
            self._clock.spend(self._rollback_ms)
        del seen[length:]

    def want_features(self, layers: Sequence[int]) -> None:
        self._layers = tuple(layers)

    def features(self, layer: int) -> Logits:
        assert layer in self._layers, "a layer that nobody wanted"
        rows = [(seq, position, layer) for seq, _token, position, _wanted in self._batch]
        return np.asarray(rows, dtype=np.float32)


class FakeVocab:
    """Tokens are letters: 0 is the end, 1 is `a`, 2 is `b` and so on; or bytes as given."""

    def __init__(self, pieces: dict[int, bytes] | None = None, end: int = 0) -> None:
        self._pieces = pieces or {}
        self._end = end

    def piece(self, token: int) -> bytes:
        return self._pieces.get(token, bytes([96 + token]) if token != self._end else b"")

    def name(self, token: int) -> str:
        return self.piece(token).decode("utf-8", "replace") or f"<{token}>"

    def is_end(self, token: int) -> bool:
        return token == self._end

    def breakers(self, texts: tuple[str, ...]) -> dict[int, list[list[int]]]:
        """Tokens that hold one of the texts; no text is cut in two."""
        pieces = ((token, self.piece(token)) for token in range(16))
        return {
            token: [[]] for token, piece in pieces if any(one.encode() in piece for one in texts)
        }
