"""Chooses the next token of one sequence: the same choice whoever proposed it.

The order of the filters is llama.cpp's: bias, penalties, top-k, top-p, min-p, temperature. The
draw is the Gumbel maximum with noise fixed by (seed, position, token id).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from specli.errors import DecodeError
from specli.llama.decoder import Logits
from specli.sampling.noise import gumbel
from specli.sampling.params import SamplingParams

# e**-40 of the best candidate's probability: less than the noise can ever lift to the top.
_NEGLIGIBLE = 40.0

# Exponentials of a million such logits add up without leaving 32-bit floats, so that one pass
# over the vocabulary, the one that subtracts the highest logit, can be left out.
_HARMLESS = 60.0


class GrammarState(Protocol):
    """What a grammar says about the next token; see specli.llama.grammar."""

    def allows(self, token: int) -> bool: ...

    def mask(self, logits: Logits) -> Logits: ...

    def accept(self, token: int) -> None: ...


class Chooser:
    """One sequence's sampler. `choose` decides, `accept` moves on."""

    def __init__(
        self,
        params: SamplingParams,
        prompt: Sequence[int],
        grammar: GrammarState | None = None,
        *,
        margins: bool = False,
    ) -> None:
        """With `margins`, `choose` also leaves the distance of the two best in `margin`."""
        self._params = params
        self._grammar = grammar
        self._margins = margins
        self.margin = math.inf
        self._bias_ids = np.fromiter(params.logit_bias.keys(), dtype=np.int64)
        self._bias = np.fromiter(params.logit_bias.values(), dtype=np.float32)
        self._recent: deque[int] = deque(maxlen=params.penalty_last_n)
        self._counts: Counter[int] = Counter()
        self.plain = params.greedy and not params.penalises and not params.logit_bias
        self._scratch = np.empty(0, dtype=np.float32)
        if params.penalises:
            for token in prompt[-params.penalty_last_n :]:
                self._remember(token)

    def choose(self, logits: Logits, position: int) -> int | None:
        """The token for `position`, or None where the grammar allows nothing more.

        Raises DecodeError when the model has computed no number (NaN).
        """
        if self.plain and self._grammar is None and not self._margins:
            token = int(logits.argmax())
            if math.isnan(logits[token]):
                raise _not_a_number(position)
            return token
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
        if self._params.penalises:
            self._remember(token)
        if self._grammar is not None:
            self._grammar.accept(token)

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
        """See `drafters.protocol.Chooser`."""
        return int(logits.argmax()) if self.plain else self._pick(self._adjust(logits), position)

    def _remember(self, token: int) -> None:
        if len(self._recent) == self._recent.maxlen:
            oldest = self._recent[0]
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self._recent.append(token)
        self._counts[token] += 1

    def _adjust(self, logits: Logits) -> Logits:
        params = self._params
        if not len(self._bias_ids) and not (params.penalises and self._counts):
            return logits
        adjusted = logits.copy()
        if len(self._bias_ids):
            adjusted[self._bias_ids] += self._bias
        if params.penalises and self._counts:
            ids = np.fromiter(self._counts.keys(), dtype=np.int64)
            counts = np.fromiter(self._counts.values(), dtype=np.float32)
            values = adjusted[ids]
            values = np.where(
                values <= 0, values * params.repeat_penalty, values / params.repeat_penalty
            )
            values -= counts * params.frequency_penalty + params.presence_penalty
            adjusted[ids] = values
        return adjusted

    def _pick(self, logits: Logits, position: int) -> int:
        params = self._params
        best = int(logits.argmax())
        top = float(logits[best])
        if math.isnan(top):
            raise _not_a_number(position)
        if params.greedy:
            if self._margins:
                self.margin = _distance_of_two_best(logits)
            return best
        ids = candidates(logits, top, params)
        if len(ids) == 1:
            self.margin = math.inf
            return int(ids[0])
        scores = logits[ids].astype(np.float64) / params.temperature
        scores += gumbel(params.seed, position, ids)
        if self._margins:
            self.margin = _distance_of_two_best(scores)
        return int(ids[scores.argmax()])


def candidates(logits: Logits, top: float, params: SamplingParams) -> NDArray[np.int64]:
    """Ids that survive top-k, top-p and min-p, best first; `top` is the highest logit."""
    ids = _top_k(logits, top, params.top_k, max(params.temperature, 1.0))
    values = logits[ids]
    # Ties are ordered by id, so that the order never depends on how the ids were found.
    order = np.lexsort((ids, -values))
    ids, values = ids[order], values[order]
    if params.top_k:
        ids, values = ids[: params.top_k], values[: params.top_k]
    if params.top_p < 1:
        weights = np.exp((values - top).astype(np.float64))
        reached = np.cumsum(weights) / weights.sum() >= params.top_p
        kept = int(reached.argmax()) + 1 if reached.any() else len(ids)
        ids, values = ids[:kept], values[:kept]
    if params.min_p > 0:
        kept = int(np.count_nonzero(values >= top + math.log(params.min_p)))
        ids = ids[: max(kept, 1)]
    return ids


def _top_k(logits: Logits, top: float, k: int, temperature: float) -> NDArray[np.int64]:
    """At least the k best ids (all that matter when k is 0), without sorting the vocabulary."""
    if k == 0:
        return np.flatnonzero(logits >= top - _NEGLIGIBLE * temperature)
    for reach in (6.0, 12.0):
        ids = np.flatnonzero(logits >= top - reach)
        if len(ids) >= k:
            return ids
    finite = np.flatnonzero(logits > -np.inf)
    if len(finite) <= k:
        return finite
    threshold = np.partition(logits[finite], len(finite) - k)[len(finite) - k]
    return np.flatnonzero(logits >= threshold)


def _distance_of_two_best(scores: NDArray[np.float32] | NDArray[np.float64]) -> float:
    if len(scores) < 2:
        return math.inf
    second, first = np.partition(scores, len(scores) - 2)[-2:]
    return float(first - second)


def _not_a_number(position: int) -> DecodeError:
    return DecodeError(
        f"the model computed no number (NaN) at position {position}",
        hint="the weights are probably damaged: fetch the file again",
    )
