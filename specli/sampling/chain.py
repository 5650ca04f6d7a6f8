"""The filters between logits and the draw, in the order that is asked for; llama.cpp's own.

Each filter is a pure function of what it gets, so that a speculative text is the plain one. Read
beside llama.cpp's src/llama-sampler.cpp, whose names and defaults they have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specli.llama.decoder import Logits
from specli.sampling.params import FILTERS, SamplingParams

# e**-40 of the best candidate's probability: less than the noise can ever lift to the top.
_NEGLIGIBLE = 40.0

_COLDEST = 1e-6
"""In place of a temperature of 0 that a range reaches: the best token is all that is left."""

_MIROSTAT_M = 100  # of common/sampling.cpp: the tokens from which mirostat 1 estimates its curve

_ADAPTIVE_WIDTH, _ADAPTIVE_SHARPNESS = 0.3, 10.0

Values = NDArray[np.float32] | NDArray[np.float64]


@dataclass(slots=True)
class Candidates:
    """Tokens that are left, best first, and their logits."""

    ids: NDArray[np.int64]
    values: Values
    whole: int = 0
    """Tokens with a finite logit while no filter has dropped any, else 0."""
    sigma: float = 0.0
    """Standard deviation of all those logits."""

    def keep(self, which: slice | NDArray[np.intp]) -> None:
        self.ids, self.values, self.whole = self.ids[which], self.values[which], 0

    def chances(self) -> NDArray[np.float64]:
        """The softmax of the logits."""
        weights: NDArray[np.float64] = np.exp((self.values - self.values[0]).astype(np.float64))
        return weights / float(weights.sum())


def filtered(logits: Logits, top: float, params: SamplingParams, chance: float) -> Candidates:
    """The tokens that the filters leave, with logits divided by the temperature where that is
    among the samplers.

    `top` is the highest logit, and `chance`, from 0 to 1, decides whether XTC takes part.
    """
    left = _start(logits, top, params)
    for name in params.applied:
        match name:
            case "top_k" if params.top_k:
                left.keep(slice(params.top_k))
            case "top_p" if params.top_p < 1:
                _top_p(left, params.top_p)
            case "min_p" if params.min_p > 0:
                best = float(left.values[0])
                kept = int(np.count_nonzero(left.values >= best + math.log(params.min_p)))
                left.keep(slice(max(kept, 1)))
            case "typ_p" if params.typical_p < 1:
                _typical(left, params.typical_p)
            case "top_n_sigma" if params.top_n_sigma > 0:
                _top_n_sigma(left, params.top_n_sigma)
            case "xtc" if chance < params.xtc_probability:
                _exclude_top(left, params.xtc_threshold)
            case "temperature" if not params.greedy:
                temperature = _temperature(left, params)
                left.values = left.values.astype(np.float64) / temperature
                left.sigma /= temperature
    return left


def surprising(left: Candidates, params: SamplingParams, mu: float, vocabulary: int) -> None:
    """Mirostat's cut, version 1 or 2, at a surprise of `mu` bits (arXiv 2007.14966)."""
    chances = left.chances()
    if params.mirostat == 2:
        kept = int(np.count_nonzero(-np.log2(chances) <= mu))
    else:
        ranks = np.arange(1, min(len(chances), _MIROSTAT_M))
        t = np.log((ranks + 1) / ranks)
        b = np.log(chances[: len(ranks)] / chances[1 : len(ranks) + 1])
        # A flat or a steep curve makes a number that is none; then one token is as good as all.
        with np.errstate(all="ignore"):
            s = float((t * b).sum() / (t * t).sum())
            e = np.float64(s - 1)
            k = ((e * 2.0**mu) / (1 - np.float64(vocabulary) ** -e)) ** (1 / np.float64(s))
        kept = min(int(k), len(chances)) if np.isfinite(k) else 1
    left.keep(slice(max(kept, 1)))


def near(chances: NDArray[np.float64], target: float) -> NDArray[np.float64]:
    """Adaptive-p: logits that prefer tokens whose probability is near `target`."""
    distance = np.abs(chances - target) / _ADAPTIVE_WIDTH
    scores: NDArray[np.float64] = -_ADAPTIVE_SHARPNESS * distance**2 / (1 + distance)
    return scores


def _start(logits: Logits, top: float, params: SamplingParams) -> Candidates:
    """All tokens that can matter, best first; those of top-k where that is the first filter."""
    filters = [name for name in params.applied if name in FILTERS]
    k = params.top_k if filters[:1] == ["top_k"] or filters[:2] == ["top_n_sigma", "top_k"] else 0
    # A temperature before the filters is applied to them too.
    ids = _best(logits, top, k, max(params.temperature, 1.0))
    values = logits[ids]
    # Ties are ordered by id, so that the order never depends on how the ids were found.
    order = np.lexsort((ids, -values))
    left = Candidates(ids[order], values[order])
    if params.dynatemp_range > 0 or params.top_n_sigma > 0:
        finite = logits[np.isfinite(logits)]
        left.whole, left.sigma = len(finite), float(finite.std(dtype=np.float64))
    return left


def _best(logits: Logits, top: float, k: int, temperature: float) -> NDArray[np.int64]:
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


def _top_p(left: Candidates, p: float) -> None:
    weights = np.exp((left.values - left.values[0]).astype(np.float64))
    reached = np.cumsum(weights) / weights.sum() >= p
    left.keep(slice(int(reached.argmax()) + 1 if reached.any() else len(weights)))


def _typical(left: Candidates, p: float) -> None:
    """Locally typical sampling (arXiv 2202.00666)."""
    chances = left.chances()
    bits = -np.log(np.maximum(chances, np.finfo(np.float64).tiny))
    order = np.argsort(np.abs(bits - (chances * bits).sum()), kind="stable")
    above = np.cumsum(chances[order]) > p
    kept = int(above.argmax()) + 1 if above.any() else len(order)
    left.keep(np.sort(order[:kept]))


def _top_n_sigma(left: Candidates, n: float) -> None:
    """Top-nσ (arXiv 2411.07641)."""
    values = left.values.astype(np.float64)
    sigma = left.sigma if left.whole else float(values.std())
    kept = int(np.count_nonzero(values >= values[0] - n * sigma))
    left.keep(slice(max(kept, 1)))


def _exclude_top(left: Candidates, threshold: float) -> None:
    """XTC: of the tokens above the threshold, the least probable is the best that is left."""
    if threshold > 0.5 or len(left.ids) < 2:
        return
    above = int(np.count_nonzero(left.chances() >= threshold))
    if above > 1:
        left.keep(slice(above - 1, None))


def _temperature(left: Candidates, params: SamplingParams) -> float:
    """The temperature; with a range, the one that the entropy of what is left asks for."""
    if params.dynatemp_range <= 0 or len(left.ids) < 2:
        return params.temperature
    chances = left.chances()
    entropy = -float((chances * np.log(np.maximum(chances, np.finfo(np.float64).tiny))).sum())
    share = entropy / math.log(max(left.whole, len(left.ids)))
    low = max(0.0, params.temperature - params.dynatemp_range)
    span = params.temperature + params.dynatemp_range - low
    return max(low + span * float(share**params.dynatemp_exponent), _COLDEST)
