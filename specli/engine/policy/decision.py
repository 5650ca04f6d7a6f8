"""The decision itself: pure functions from costs and probabilities to lengths and gains.

All gains are in tokens. At the present speed (tokens per millisecond) a millisecond costs that
many tokens, so a proposal of k tokens with survival S_i, the chance that its first i tokens are all
accepted, gains S_1 + ... + S_k - speed * (T(n + k) - T(n) + drafting time).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from specli.drafters.protocol import DraftingCost, Proposal
from specli.drafters.rule import LEAST_SURVIVAL, Growth, stopping

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


def asking_worth(
    first: Sequence[float],
    chances: Sequence[float],
    further: float,
    growth: Growth,
    stop: float,
    length: int,
) -> float:
    """The expected worth of one round in which a costly drafter is asked for up to `length` tokens.

    `first` is the share of its first tokens by confidence bin, `chances` the acceptance by bin and
    `further` that of later tokens. `growth` is the worth of drafting and verifying, `stop` that of
    drafting one token for nothing. The first token is always drafted; what follows depends on its
    confidence.
    """
    accepted = growth.worth(np.power(further, np.arange(length, dtype=np.float64)))
    # Linear in the chances of the outcomes, and so in the first token's own.
    weights = np.asarray(chances)[:, None]
    worth = (weights * accepted + (1 - weights) * growth.if_rejected).max(axis=1)
    return float(np.asarray(first) @ np.maximum(worth, stop))


def best_lengths(
    chances: Sequence[Sequence[float]], verifying: Sequence[float], room: float, sunk: float = 0.0
) -> tuple[list[int], float]:
    """How many tokens of each sequence's proposal to verify in one batch, and what that is worth.

    `chances[i]` are the survivals of sequence i's proposal, `verifying[k]` is the cost of k
    proposed tokens; `sunk` has been spent on drafting. The likeliest tokens come first, whichever
    sequence they belong to: how many of them pay is one question for the whole batch. Proposals of
    several sequences spread the risk, so there the mean decides.
    """
    lengths = [0] * len(chances)
    order = sorted(
        (-survival, index, number)
        for number, found in enumerate(chances)
        for index, survival in enumerate(found)
    )[: len(verifying) - 1]
    if not order or room <= sunk:
        return lengths, -sunk
    survivals = -np.asarray([negative for negative, _index, _number in order])
    costs = np.asarray(verifying[1 : len(order) + 1]) + sunk
    worth, stop = np.cumsum(survivals) - costs, -sunk
    if len({number for _negative, _index, number in order}) == 1:
        stop = stopping(sunk, room)
        if worth.max() > stop:
            # The mean gain is never less than the worth.
            worth = Growth(costs, room).worth(survivals)
    best = int(worth.argmax())
    if worth[best] <= stop:
        return lengths, stop
    for _negative, _index, number in order[: best + 1]:
        lengths[number] += 1
    return lengths, float(worth[best])
