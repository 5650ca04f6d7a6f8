"""How much memory a pair takes, how its sizes compare, and what speed-up they allow.

All of it is an estimate from header facts; nothing is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from specli.errors import MemoryShortError
from specli.gguf.facts import ModelFacts
from specli.pairs.quantities import short_bytes

DEFAULT_CONTEXT = 4096
MICRO_BATCH = 512
"""Tokens that llama.cpp computes at once; its scratch memory grows with them."""

LARGEST_DRAFT = ((32e9, 7e9), (14e9, 3e9), (7e9, 1e9))
"""(target, largest draft) in parameters that one token passes through, as tools advise it."""
SMALLEST_TARGET = 3e9
"""Below this a draft model seldom pays."""
SMALLEST_COST_RATIO = 3.0
GOOD_COST_RATIO = 5.0


@dataclass(frozen=True, slots=True)
class CacheTypes:
    """Storage types of keys and values, named as llama.cpp names them."""

    k: str = "f16"
    v: str = "f16"


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that a model takes at a context length; `scratch` is a rough figure."""

    weights: int
    cache: int
    scratch: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.scratch


@dataclass(frozen=True, slots=True)
class Device:
    """A device beside the CPU with its free memory in bytes."""

    name: str
    free: int


@dataclass(frozen=True, slots=True)
class FreeMemory:
    """Free memory in bytes: of the machine, and of each device that models can be put on."""

    ram: int
    devices: tuple[Device, ...] = ()

    @property
    def total(self) -> int:
        return self.ram + sum(device.free for device in self.devices)


@dataclass(frozen=True, slots=True)
class Speedup:
    """A range of speeds over plain decoding, at the draft lengths that are best for each end."""

    low: float
    high: float
    cost_ratio: float
    assumptions: str


def chosen_context(target: ModelFacts, asked: int | None) -> int:
    """Context in tokens: as asked, the model's own for 0, a usual one where nobody asked."""
    if asked is None:
        return min(DEFAULT_CONTEXT, target.context_length)
    return asked or target.context_length


def memory_need(
    facts: ModelFacts, context: int, types: CacheTypes | None = None, sequences: int = 1
) -> MemoryNeed:
    """Memory of a model with `sequences` sequences of `context` tokens each."""
    types = types or CacheTypes()
    per_token = facts.kv_bytes_per_token(types.k, types.v)
    cache = int(per_token * context * sequences) + facts.state_bytes * sequences
    widest = 2 * facts.feed_forward_length + 4 * facts.embedding_length
    rows = min(MICRO_BATCH, context)
    return MemoryNeed(facts.weight_bytes, cache, 4 * rows * (facts.vocabulary + widest))


def require_memory(
    target: ModelFacts,
    draft: ModelFacts | None,
    context: int,
    free: FreeMemory,
    types: tuple[CacheTypes, CacheTypes] | None = None,
    sequences: int = 1,
) -> None:
    """Raise MemoryShortError when caches and scratch memory cannot fit, before anything is loaded.

    Weights are not counted: they are mapped from the file, and what does not fit is slow, not
    impossible.
    """
    types = types or (CacheTypes(), CacheTypes())
    models = [target] if draft is None else [target, draft]
    needs = [
        memory_need(facts, context, kind, sequences)
        for facts, kind in zip(models, types, strict=False)
    ]
    needed = sum(need.cache + need.scratch for need in needs)
    if needed > free.total:
        many = f" for each of {sequences} sequences" if sequences > 1 else ""
        raise MemoryShortError(
            f"a context of {context} tokens{many} needs {short_bytes(needed)} "
            f"and {short_bytes(free.total)} are free",
            hint="use a smaller context (-c) or smaller cache types (-ctk q8_0 -ctv q8_0)",
        )


def largest_context(
    target: ModelFacts, draft: ModelFacts, room: int, types: CacheTypes, draft_types: CacheTypes
) -> int:
    """The longest context, in steps of 256 tokens, that fits into `room` bytes; 0 if none does."""

    def fits(context: int) -> bool:
        need = memory_need(target, context, types).total
        return need + memory_need(draft, context, draft_types).total <= room

    low, high = 0, max(target.context_length // 256, 1)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(256 * middle):
            low = middle
        else:
            high = middle - 1
    return 256 * low


def largest_draft(target: ModelFacts) -> float | None:
    """Parameters of the largest draft advised for a target; None where none is advised."""
    for size, draft in LARGEST_DRAFT:
        # Published sizes are rounded: a "7B" may have 6.7 billion parameters, or 8.
        if target.active_parameters >= 0.9 * size:
            return draft
    return 1e9 if target.active_parameters >= SMALLEST_TARGET else None


def cost_ratio(target: ModelFacts, draft: ModelFacts) -> float:
    """How many times more bytes a token of the target reads than one of the draft."""
    return max(target.active_bytes, 1) / max(draft.active_bytes, 1)


# A poor match on a CPU, and a good one on a GPU. Published speed-ups of draft models lie between:
# 1.47 and 2.43 for 32B with 0.5B, 1.83 for 7B in Spec-Bench.
_LOW_ACCEPTANCE, _HIGH_ACCEPTANCE = 0.55, 0.8
_LOW_SLOPE, _HIGH_SLOPE = 0.15, 0.03
_MOST_DRAFTED = 16


def predict_speedup(target: ModelFacts, draft: ModelFacts) -> Speedup:
    """The speed-up that the sizes allow; `assumptions` tells what it rests on."""
    ratio = cost_ratio(target, draft)
    low = _best_speedup(ratio, _LOW_ACCEPTANCE, _LOW_SLOPE)
    high = _best_speedup(ratio, _HIGH_ACCEPTANCE, _HIGH_SLOPE)
    return Speedup(
        low,
        high,
        ratio,
        f"decoding is bound by memory, so a drafted token costs 1/{ratio:.1f} of a target token; "
        f"{_LOW_ACCEPTANCE:.0%} to {_HIGH_ACCEPTANCE:.0%} of drafted tokens are right; verifying "
        f"one more token costs {_LOW_SLOPE:.0%} to {_HIGH_SLOPE:.0%} of a step; both models are "
        "on the same device; nothing is drafted where it does not pay",
    )


def _best_speedup(ratio: float, acceptance: float, slope: float) -> float:
    """Tokens per plain decoding step at the best draft length, zero included."""
    best = 1.0
    for drafted in range(1, _MOST_DRAFTED + 1):
        emitted = (1 - acceptance ** (drafted + 1)) / (1 - acceptance)
        best = max(best, emitted / (1 + drafted * slope + drafted / ratio))
    return best
