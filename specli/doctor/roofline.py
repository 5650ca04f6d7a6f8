"""What speed-up a pair can have at all: limits of the machine, and of what was measured.

A round that verifies k tokens emits k of them at best: k-1 drafts, all accepted, and the target's
own. So k T(1) / (T(k) + time of the k-1 drafts) bounds the speed-up, T(k) being the target's time
for k tokens at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from specli.doctor.measure import Rates
from specli.engine.measure import POINTS
from specli.engine.policy.cost import CostModel
from specli.events import MODEL
from specli.gguf.facts import read_facts
from specli.gguf.header import Header

PAST = 64
"""Tokens in the cache when a token is decoded: as many as where the costs are measured."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one model asks of the machine for a token, bytes and milliseconds."""

    name: str
    quantisation: str
    weight_bytes: int
    """Weights that one token reads; experts at rest are not among them."""
    cache_bytes: int
    """Keys, values and state that one token reads with `PAST` tokens before it."""
    memory_ms: float
    """Time to read both once: the memory-bound lower limit of T(1)."""
    compute_ms: float
    """Time to multiply by the weights for one token: k times this is the limit for k."""

    def least_ms(self, tokens: int) -> float:
        """No batch of `tokens` takes less time, as far as the two measured rates tell."""
        return max(self.memory_ms, tokens * self.compute_ms)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """A speed-up that is not exceeded, and the tokens verified at once that would reach it."""

    speedup: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Roofline:
    """Limits of a pair. Ceilings with `draft` count the time of its draft model.

    None stands for what is not known: no draft model, or costs that were not measured yet.
    """

    target: Limits
    draft: Limits | None
    possible: Ceiling
    possible_with_draft: Ceiling | None
    target_ms: dict[int, float] | None
    """Measured T(k)."""
    draft_token_ms: float | None
    measured: Ceiling | None
    measured_with_draft: Ceiling | None


def limits(header: Header, rates: Rates) -> Limits:
    """What a model asks of a machine with these rates. Raises ModelFileError as facts do."""
    facts = read_facts(header)
    cache = int(PAST * facts.kv_bytes_per_token()) + facts.state_bytes
    multiplied = facts.active_parameters
    if "output.weight" in header.tensors:
        # The embedding is only looked up; without an output matrix it is that as well.
        multiplied -= facts.vocabulary * facts.embedding_length
    return Limits(
        name=facts.name or header.name,
        quantisation=facts.quantisation,
        weight_bytes=facts.active_bytes,
        cache_bytes=cache,
        memory_ms=1000 * (facts.active_bytes + cache) / rates.read_bytes_per_second,
        compute_ms=1000 * 2 * max(multiplied, 0) / rates.flops_per_second,
    )


def roofline(target: Limits, draft: Limits | None, costs: CostModel | None) -> Roofline:
    """The ceilings of a pair, from limits and from measured costs where there are some."""
    drafter = None if costs is None else costs.drafters.get(MODEL)
    draft_ms = None if drafter is None else drafter(1)
    return Roofline(
        target,
        draft,
        possible=ceiling(target.least_ms, 0.0, POINTS),
        possible_with_draft=(
            None if draft is None else ceiling(target.least_ms, draft.least_ms(1), POINTS)
        ),
        target_ms=None if costs is None else {k: costs.target(k) for k in costs.target.sizes},
        draft_token_ms=draft_ms,
        measured=None if costs is None else ceiling(costs.target, 0.0, costs.target.sizes),
        measured_with_draft=(
            None
            if costs is None or draft_ms is None
            else ceiling(costs.target, draft_ms, costs.target.sizes)
        ),
    )


def ceiling(
    target_ms: Callable[[int], float], draft_ms: float, sizes: tuple[int, ...] | list[int]
) -> Ceiling:
    """The best of k T(1) / (T(k) + (k-1) d) over `sizes`, d being the time of a drafted token."""
    alone = target_ms(1)
    found = [(k * alone / (target_ms(k) + (k - 1) * draft_ms), k) for k in sizes]
    # Of equal ones the shortest: more tokens at once would win nothing.
    speedup, tokens = max(found, key=lambda one: (one[0], -one[1]))
    return Ceiling(speedup, tokens)
