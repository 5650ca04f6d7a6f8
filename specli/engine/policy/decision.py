"""The decision itself: pure functions from costs and probabilities to lengths and gains.

All gains are in tokens. At the present speed (tokens per millisecond) a millisecond costs that
many tokens, so a proposal of k tokens with survival S_i, the chance that its first i tokens are all
accepted, gains S_1 + ... + S_k - speed * (T(n + k) - T(n) + drafting time).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from specli.drafters.protocol import DraftingCost, Proposal
from specli.drafters.rule import LEAST_SURVIVAL

Milliseconds = Callable[[int], float]
"""Time of a batch of so many tokens."""


def survivals(proposal: Proposal, chance: Callable[[str, float], float]) -> list[float]:
    """The chance of each proposed token that it and all before it are accepted."""
    found: list[float] = []
    survival = 1.0
    for source, confidence in zip(proposal.sources, proposal.confidences, strict=True):
        survival *= chance(source, confidence)
        if survival < LEAST_SURVIVAL:
            break
        found.append(survival)
    return found


@dataclass(frozen=True, slots=True)
class DraftingTime:
    """Milliseconds to draft the first token of a proposal, and each further one."""

    first: float
    step: float

    def __call__(self, length: int) -> float:
        return self.first + (length - 1) * self.step if length else 0.0


def drafting_time(
    cost: DraftingCost, batch: Milliseconds, pending: int, width: int = 1
) -> DraftingTime:
    """One sequence's share of the time to draft, `width` sequences in lockstep."""
    if cost.batches == "none":
        return DraftingTime(0.0, 0.0)
    if cost.batches == "block":
        return DraftingTime(batch(width * (pending + cost.block)) / width, 0.0)
    return DraftingTime(batch(width * max(pending, 1)) / width, batch(width) / width)


def utility(mean: float, square: float, room: float) -> float:
    """The worth of an uncertain gain with this mean and mean square if `room` may be lost:
    room * log(1 + gain / room) to second order (Kelly 1956).

    With much room it is the mean; with little, variance costs; with none, nothing is risked.
    """
    if room <= 0:
        return mean if square == 0 else -inf
    return mean - square / (2 * room)


def asking_worth(
    first: Sequence[float],
    chances: Sequence[float],
    further: float,
    drafting: DraftingTime,
    verifying: Sequence[float],
    room: float,
) -> float:
    """The expected worth of one round in which a costly drafter is asked.

    `first` is the share of its first tokens by confidence bin, `chances` the acceptance by bin and
    `further` that of later tokens. `drafting`, `verifying[k]` (k = 0 ... the most) and `room` are
    costs in tokens. The first token is always drafted; what follows depends on its confidence.
    """
    lengths = np.arange(1, len(verifying))
    survival = further ** (lengths - 1.0)
    mean = np.outer(chances, np.cumsum(survival))
    square = np.outer(chances, np.cumsum((2 * lengths - 1) * survival))
    cost = np.asarray(verifying[1:]) + drafting.first + (lengths - 1) * drafting.step
    worth = mean - cost - (square - 2 * cost * mean + cost * cost) / (2 * room)
    stop = utility(-drafting.first, drafting.first**2, room)
    best = np.maximum(worth.max(axis=1), stop)
    return float(np.asarray(first) @ best)


def best_lengths(
    chances: Sequence[Sequence[float]], verifying: Sequence[float], room: float, sunk: float = 0.0
) -> tuple[list[int], float]:
    """How many tokens of each sequence's proposal to verify in one batch, and what that is worth.

    `chances[i]` are the survivals of sequence i's proposal, `verifying[k]` is the cost of k
    proposed tokens; `sunk` has been spent on drafting. The likeliest tokens come first, whichever
    sequence they belong to: how many of them pay is one question for the whole batch.
    """
    order = sorted(
        (-survival, index, number)
        for number, found in enumerate(chances)
        for index, survival in enumerate(found)
    )
    lengths, means = [0] * len(chances), [0.0] * len(chances)
    best, best_worth = list(lengths), utility(-sunk, sunk * sunk, room)
    mean = variance = 0.0
    for count, (negative, index, number) in enumerate(order[: len(verifying) - 1], 1):
        lengths[number] = index + 1
        # Of a count A with P(A >= i) = S_i: E[A] = sum S_i, E[A^2] = sum (2 i - 1) S_i.
        before = means[number]
        means[number] -= negative
        variance += (2 * index + 1) * -negative - (means[number] ** 2 - before**2)
        mean -= negative
        gain = mean - verifying[count] - sunk
        worth = utility(gain, variance + gain * gain, room)
        if worth > best_worth:
            best, best_worth = list(lengths), worth
    return best, best_worth
