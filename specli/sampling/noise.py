"""Gumbel noise that is a pure function of (seed, position, token id).

Target and draft draw the same noise, so a draft that agrees on the probabilities agrees on the
choice, and the text for a seed does not depend on who proposed what (Daliri, Musco, Suresh,
"Coupling without Communication and Drafter-Invariant Speculative Decoding", arXiv 2408.07978).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
_STEP = np.uint64(_GOLDEN)
_FRACTION_SHIFT = np.uint64(11)
_UNIT = 2.0**-53


def _mix_int(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * int(_MIX_1)) & _MASK
    value = ((value ^ (value >> 27)) * int(_MIX_2)) & _MASK
    return value ^ (value >> 31)


def uniform(seed: int, position: int, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number between 0 and 1 for each of `tokens`, shape as `tokens`.

    The hash is SplitMix64's output function (Steele, Lea, Flood 2014) over seed, position, id.
    """
    stream = np.uint64(_mix_int(_mix_int(seed & _MASK) ^ (position & _MASK)))
    with np.errstate(over="ignore"):
        mixed = stream ^ (tokens.astype(np.uint64) * _STEP)
        mixed += _STEP
        mixed = (mixed ^ (mixed >> _SHIFT_1)) * _MIX_1
        mixed = (mixed ^ (mixed >> _SHIFT_2)) * _MIX_2
        mixed ^= mixed >> _SHIFT_3
    numbers: NDArray[np.float64] = ((mixed >> _FRACTION_SHIFT).astype(np.float64) + 0.5) * _UNIT
    return numbers


def chance(seed: int, position: int) -> float:
    """A number between 0 and 1 for a position, apart from those of all tokens."""
    return float(uniform(seed, position, np.array([-1]))[0])


def gumbel(seed: int, position: int, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Standard Gumbel noise for each of `tokens`, shape as `tokens`."""
    noise: NDArray[np.float64] = -np.log(-np.log(uniform(seed, position, tokens)))
    return noise
