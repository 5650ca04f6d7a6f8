"""DRY: a penalty on tokens that would continue a repetition, longer ones the more.

As llama.cpp has it (`llama_sampler_dry_apply`), which took it from Koboldcpp.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

from specli.sampling.params import SamplingParams

Breakers = Mapping[int, Sequence[Sequence[int]]]
"""Tokens with which a text that ends a repetition begins, and the tokens that may follow them."""

_LARGEST = 88.7228391  # the logarithm of the largest 32-bit float


class Dry:
    """What one sequence has written, and what that says of the next token."""

    def __init__(self, params: SamplingParams, prompt: Sequence[int], breakers: Breakers) -> None:
        self._params = params
        self._breakers = breakers
        self._recent: deque[int] = deque(prompt[-params.dry_last_n :], maxlen=params.dry_last_n)

    def accept(self, token: int) -> None:
        self._recent.append(token)

    def penalties(self) -> dict[int, float]:
        """What is subtracted from the logits of tokens."""
        params, back = self._params, list(self._recent)[::-1]
        if len(back) <= params.dry_allowed_length:
            return {}
        limit = self._since_break(back)
        if limit < params.dry_allowed_length:
            return {}
        longest: dict[int, int] = {}
        for start, repeated in enumerate(_repeated(back), start=1):
            length = min(repeated, limit)
            if length >= params.dry_allowed_length:
                # The token that followed the same text before.
                token = back[start - 1]
                longest[token] = max(longest.get(token, 0), length)
        return {
            token: params.dry_multiplier * self._power(length - params.dry_allowed_length)
            for token, length in longest.items()
            if not any(len(tail) == 0 for tail in self._breakers.get(token, ()))
        }

    def _power(self, exponent: int) -> float:
        base = self._params.dry_base
        most = int(_LARGEST / math.log(base)) if base > 1.000001 else 0
        return float(base ** (min(exponent, most) if most else exponent))

    def _since_break(self, back: list[int]) -> int:
        """Tokens since the last text that ends a repetition; `back` has the newest first."""
        for index, token in enumerate(back):
            tails = [
                len(tail)
                for tail in self._breakers.get(token, ())
                if len(tail) <= index and list(tail) == back[index - len(tail) : index][::-1]
            ]
            if tails:
                return index - max(tails)
        return len(back)


def _repeated(back: Sequence[int]) -> list[int]:
    """For each index from 1 on, how many tokens from there are those from the start on."""
    # The Z-function of the reversed text, without its first value.
    found = [0] * len(back)
    left = right = 0
    for index in range(1, len(back)):
        length = min(right - index, found[index - left]) if index < right else 0
        while index + length < len(back) and back[length] == back[index + length]:
            length += 1
        found[index] = length
        if index + length > right:
            left, right = index, index + length
    return found[1:]
