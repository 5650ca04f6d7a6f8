"""The highest speed-up a pair can reach, by the machine's limits and by measured costs.

A round that verifies k tokens emits k of them at best: k-1 drafts, all accepted, and the target's
own. So k T(1) / (T(k) + time of the k-1 drafts) bounds the speed-up, T(k) being the target's time
for k tokens at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from specli.doctor.measure import Rates
from specli.engine.measure import POINTS
from specli.engine.policy.cost import CostModel
from specli.events import MODEL
from specli.gguf.facts import read_facts
from specli.gguf.header import Header

PAST = 64
"""Tokens in the cache when a token is decoded: as many as when costs are measured."""

FAR_ABOVE = 4
"""Measured T(1) over its lower limit, above which the model alone does not explain the time.

One other busy process multiplied T(1) by 40 to 190; overhead and the unpacking of quantised
weights stay well below this factor.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """The work of one model for one token, in bytes and milliseconds."""

    name: str
    quantisation: str
    weight_bytes: int
    """Weights read for one token; inactive experts do not count."""
    cache_bytes: int
    """Keys, values and state read for one token after `PAST` others."""
    memory_ms: float
    """Time to read both once: the memory-bound lower limit of T(1)."""
    compute_ms: float
    """Time to multiply by the weights for one token: k times this is the limit for k."""

    def least_ms(self, tokens: int) -> float:
        """The least time of a batch of `tokens`, by the two measured rates."""
        return max(self.memory_ms, tokens * self.compute_ms)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """An upper bound of the speed-up, and the tokens per round that would reach it."""

    speedup: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Roofline:
    """Limits of a pair. Ceilings with `draft` count the time of its draft model.

    None is unknown: no draft model, or costs that were not measured yet. `disturbed` costs give
    no measured ceiling.
    """

    target: Limits
    draft: Limits | None
    possible: Ceiling
    possible_with_draft: Ceiling | None
    target_ms: dict[int, float] | None
    """Measured T(k)."""
    draft_token_ms: float | None
    disturbed: bool
    """Whether other programs slowed down what was measured, as far as can be seen now."""
    measured: Ceiling | None
    measured_with_draft: Ceiling | None


def limits(header: Header, rates: Rates) -> Limits:
    """The limits of a model on a machine with these rates. Raises ModelFileError."""
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


def is_far_above_limit(target: Limits, target_ms: Mapping[int, float]) -> bool:
    """Whether the measured T(1) cannot be explained by the model alone."""
    return target_ms.get(1, 0.0) > FAR_ABOVE * target.least_ms(1)


def roofline(
    target: Limits, draft: Limits | None, costs: CostModel | None, *, busy: bool = False
) -> Roofline:
    """The ceilings of a pair, from limits and from measured costs if there are any.

    `busy` says that other programs take the machine's time now.
    """
    target_ms = draft_ms = None
    if costs is not None:
        target_ms = {k: costs.target(k) for k in costs.target.sizes}
        draft_ms = costs.drafters[MODEL](1) if MODEL in costs.drafters else None
    disturbed = busy and target_ms is not None and is_far_above_limit(target, target_ms)
    found = Roofline(
        target,
        draft,
        possible=ceiling(target.least_ms, 0.0, POINTS),
        possible_with_draft=(
            None if draft is None else ceiling(target.least_ms, draft.least_ms(1), POINTS)
        ),
        target_ms=target_ms,
        draft_token_ms=draft_ms,
        disturbed=disturbed,
        measured=None,
        measured_with_draft=None,
    )
    # Disturbed costs say nothing about the pair.
    if costs is None or disturbed:
        return found
    curve, sizes = costs.target, costs.target.sizes
    with_draft = None if draft_ms is None else ceiling(curve, draft_ms, sizes)
    return replace(found, measured=ceiling(curve, 0.0, sizes), measured_with_draft=with_draft)


def ceiling(
    target_ms: Callable[[int], float], draft_ms: float, sizes: tuple[int, ...] | list[int]
) -> Ceiling:
    """The best of k T(1) / (T(k) + (k-1) d) over `sizes`, d being the time of a drafted token."""
    alone = target_ms(1)
    found = [(k * alone / (target_ms(k) + (k - 1) * draft_ms), k) for k in sizes]
    # Of equal ones the shortest: more tokens would gain nothing.
    speedup, tokens = max(found, key=lambda one: (one[0], -one[1]))
    return Ceiling(speedup, tokens)
