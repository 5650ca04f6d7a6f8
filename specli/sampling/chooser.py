"""Chooses the next token of one sequence: the same choice whoever proposed it.

The order of the filters is llama.cpp's: bias, then the chain of specli.sampling.chain. The draw
is the Gumbel maximum with noise fixed by (seed, position, token id).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from specli.errors import DecodeError
from specli.llama.decoder import Logits
from specli.sampling.chain import filtered, near, surprising
from specli.sampling.dry import Breakers, Dry
from specli.sampling.noise import chance, gumbel
from specli.sampling.params import SamplingParams

# Exponentials of a million such logits add up without leaving 32-bit floats, so that one pass
# over the vocabulary, the one that subtracts the highest logit, can be left out.
_HARMLESS = 60.0


class GrammarState(Protocol):
    """What a grammar says about the next token; see specli.llama.grammar."""

    def allows(self, token: int) -> bool: ...

    def mask(self, logits: Logits) -> Logits: ...

    def accept(self, token: int) -> None: ...


@runtime_checkable
class Forcing(Protocol):
    """A grammar that knows what must come next."""

    def forced(self) -> Sequence[int]: ...


class Chooser:
    """One sequence's sampler. `choose` decides, `accept` moves on."""

    def __init__(
        self,
        params: SamplingParams,
        prompt: Sequence[int],
        grammar: GrammarState | None = None,
        *,
        margins: bool = False,
        breakers: Breakers | None = None,
    ) -> None:
        """With `margins`, `choose` also leaves the distance of the two best in `margin`.

        `breakers` end what DRY takes for a repetition.
        """
        self._params = params
        self._grammar = grammar
        self._forcing = grammar if isinstance(grammar, Forcing) else None
        self._margins = margins
        self.margin = math.inf
        self._bias_ids = np.fromiter(params.logit_bias.keys(), dtype=np.int64)
        self._bias = np.fromiter(params.logit_bias.values(), dtype=np.float32)
        self._recent: deque[int] = deque(maxlen=params.penalty_last_n)
        self._counts: Counter[int] = Counter()
        self._dry = Dry(params, prompt, breakers or {}) if params.punishes_repetition else None
        adjusts = params.penalises or params.logit_bias or self._dry is not None
        self.plain = params.takes_best and not adjusts
        # Mirostat's, in bits; it starts at twice what it aims at.
        self._mu = 2 * params.mirostat_entropy
        self._surprise = params.mirostat_entropy
        # Adaptive-p's mean of probabilities taken, as a sum and its weight, begins at its target.
        self._weight = 1 / (1 - params.adaptive_decay)
        self._taken = params.adaptive_target * self._weight
        self._chance = params.adaptive_target
        self._scratch = np.empty(0, dtype=np.float32)
        if params.penalises:
            for token in prompt[-params.penalty_last_n :]:
                self._remember(token)

    def choose(self, logits: Logits, position: int) -> int | None:
        """The token for `position`, or None where the grammar allows nothing more.

        Raises DecodeError when the model has computed no number (NaN).
        """
        if self.plain and self._grammar is None and not self._margins:
            return _best(logits, position)
        adjusted = self._adjust(logits)
        token = self._pick(adjusted, position)
        if self._grammar is None or self._grammar.allows(token):
            return token
        masked = self._grammar.mask(adjusted)
        if not np.isfinite(masked).any():
            return None
        return self._pick(masked, position)

    def accept(self, token: int) -> None:
        """The sequence goes on with `token`, which `choose` has returned."""
        params = self._params
        if params.penalises:
            self._remember(token)
        if self._dry is not None:
            self._dry.accept(token)
        self._weight = 1 + params.adaptive_decay * self._weight
        self._taken = self._chance + params.adaptive_decay * self._taken
        self._mu -= params.mirostat_rate * (self._surprise - params.mirostat_entropy)
        if self._grammar is not None:
            self._grammar.accept(token)

    def forced(self) -> Sequence[int]:
        """See `drafters.protocol.Chooser`."""
        return () if self._forcing is None else self._forcing.forced()

    @property
    def aim(self) -> float:
        """The probability that adaptive-p prefers now."""
        return min(max(2 * self._params.adaptive_target - self._taken / self._weight, 0.0), 1.0)

    def draft(self, logits: Logits, position: int) -> tuple[int, float]:
        """See `drafters.protocol.Chooser`. The grammar has no say in drafts."""
        token = self.guess(logits, position)
        # In place on one buffer: this runs once per drafted token over the whole vocabulary.
        if len(self._scratch) != len(logits):
            self._scratch = np.empty_like(logits)
        weights = self._scratch
        chosen = float(logits[token])
        top = chosen if self.plain else float(logits.max())
        if abs(top) < _HARMLESS:
            np.exp(logits, out=weights)
            return token, math.exp(chosen) / float(weights.sum())
        np.subtract(logits, np.float32(top), out=weights)
        np.exp(weights, out=weights)
        return token, math.exp(chosen - top) / float(weights.sum())

    def guess(self, logits: Logits, position: int) -> int:
        """See `drafters.protocol.Chooser`. Raises DecodeError as `choose` does."""
        return _best(logits, position) if self.plain else self._pick(self._adjust(logits), position)

    def _remember(self, token: int) -> None:
        if len(self._recent) == self._recent.maxlen:
            oldest = self._recent[0]
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self._recent.append(token)
        self._counts[token] += 1

    def _adjust(self, logits: Logits) -> Logits:
        """With biases and penalties. The logits themselves stay as they are."""
        params = self._params
        repeated = self._dry.penalties() if self._dry is not None else {}
        if not len(self._bias_ids) and not (params.penalises and self._counts) and not repeated:
            return logits
        adjusted = logits.copy()
        if len(self._bias_ids):
            adjusted[self._bias_ids] += self._bias
        for name in params.applied:
            if name == "penalties" and params.penalises and self._counts:
                self._penalise(adjusted)
            elif name == "dry" and repeated:
                ids = np.fromiter(repeated.keys(), dtype=np.int64)
                adjusted[ids] -= np.fromiter(repeated.values(), dtype=np.float32)
        return adjusted

    def _penalise(self, logits: Logits) -> None:
        params = self._params
        ids = np.fromiter(self._counts.keys(), dtype=np.int64)
        counts = np.fromiter(self._counts.values(), dtype=np.float32)
        values = logits[ids]
        values = np.where(
            values <= 0, values * params.repeat_penalty, values / params.repeat_penalty
        )
        values -= counts * params.frequency_penalty + params.presence_penalty
        logits[ids] = values

    def _pick(self, logits: Logits, position: int) -> int:
        params = self._params
        best = _best(logits, position)
        top = float(logits[best])
        if params.takes_best:
            if self._margins:
                self.margin = _distance_of_two_best(logits)
            return best
        excludes = params.xtc_probability > 0
        left = filtered(logits, top, params, chance(params.seed, position) if excludes else 1.0)
        if params.mirostat:
            surprising(left, params, self._mu, len(logits))
        if params.adapts:
            chances = left.chances()
            index = self._drawn(left.ids, near(chances, self.aim), position)
            self._chance = float(chances[index])
            return int(left.ids[index])
        index = self._drawn(left.ids, left.values, position)
        if params.mirostat:
            self._surprise = -math.log2(left.chances()[index])
        return int(left.ids[index])

    def _drawn(
        self, ids: NDArray[np.int64], values: NDArray[np.floating[Any]], position: int
    ) -> int:
        """The index of the token that is taken."""
        if len(ids) == 1:
            self.margin = math.inf
            return 0
        scores = values.astype(np.float64)
        if not self._params.greedy:
            scores += gumbel(self._params.seed, position, ids)
        if self._margins:
            self.margin = _distance_of_two_best(scores)
        return int(scores.argmax())


def _distance_of_two_best(scores: NDArray[np.float32] | NDArray[np.float64]) -> float:
    if len(scores) < 2:
        return math.inf
    second, first = np.partition(scores, len(scores) - 2)[-2:]
    return float(first - second)


def _best(logits: Logits, position: int) -> int:
    """The token of the highest logit. Raises DecodeError where any logit is no number."""
    best = int(logits.argmax())
    if math.isnan(logits[best]):
        raise DecodeError(
            f"the model computed no number (NaN) at position {position}",
            hint="the weights are probably damaged: fetch the file again",
        )
    return best
