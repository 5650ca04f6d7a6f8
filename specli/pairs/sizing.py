"""How much memory a pair takes, and how the costs of its models compare by their sizes.

All of it is an estimate from header facts; nothing is loaded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from specli.errors import MemoryShortError
from specli.figures import short_bytes
from specli.gguf.facts import ModelFacts

DEFAULT_CONTEXT = 4096
MICRO_BATCH = 512
"""Tokens that llama.cpp computes at once; its scratch memory grows with them."""

LARGEST_DRAFT = ((32e9, 7e9), (14e9, 3e9), (7e9, 1e9))
"""(target, largest draft) in parameters that one token passes through, as tools advise it."""
SMALLEST_TARGET = 3e9
"""Below this a draft model seldom pays."""
SMALLEST_COST_RATIO = 3.0
GOOD_COST_RATIO = 5.0

PAYING_COST_RATIO = 1.5
"""Below this a draft cannot pay even if four of five of its tokens are accepted and verifying one
more token costs the target 3 % of a step."""


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
class DeviceMemory:
    """A device other than the CPU and its free memory in bytes."""

    name: str
    free: int


@dataclass(frozen=True, slots=True)
class FreeMemory:
    """Free memory in bytes: of the machine, and of each device that models can be put on."""

    ram: int
    devices: tuple[DeviceMemory, ...] = ()

    @property
    def total(self) -> int:
        return self.ram + sum(device.free for device in self.devices)


def chosen_context(target: ModelFacts, requested: int | None) -> int:
    """Context in tokens: the requested one, the model's own for 0, by default a usual one."""
    if requested is None:
        return min(DEFAULT_CONTEXT, target.context_length)
    return requested or target.context_length


def draft_context(
    draft: ModelFacts, context: int, asked: int | None = None, *, scaled: bool = False
) -> int:
    """Context of a draft model beside a target with one of `context` tokens: what was asked for,
    else no more than it was trained on, unless its positions are scaled or its state has no length.
    """
    if asked is not None:
        return min(asked, context)
    if scaled or draft.is_recurrent:
        return context
    return min(draft.context_length or context, context)


def memory_need(
    facts: ModelFacts,
    context: int,
    types: CacheTypes | None = None,
    sequences: int = 1,
    snapshots: int = 0,
) -> MemoryNeed:
    """Memory of a model with `sequences` sequences of `context` tokens each, and `snapshots` of its
    recurrent state where it has one."""
    types = types or CacheTypes()
    states = facts.state_bytes * facts.states(sequences, snapshots)
    per_sequence = facts.kv_bytes_per_token(types.k, types.v) * context + states
    cache = int(per_sequence * sequences)
    widest = 2 * facts.feed_forward_length + 4 * facts.embedding_length
    rows = min(MICRO_BATCH, context)
    return MemoryNeed(facts.weight_bytes, cache, 4 * rows * (facts.vocabulary + widest))


def require_memory(
    needs: Iterable[MemoryNeed], context: int, free: FreeMemory, sequences: int = 1
) -> None:
    """Raise MemoryShortError when caches and scratch memory cannot fit, before anything is loaded.

    Weights are not counted: they are mapped from the file, and what does not fit is slow, not
    impossible. `context` and `sequences` are the target's, for the message.
    """
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
        shorter = draft_context(draft, context)
        return need + memory_need(draft, shorter, draft_types).total <= room

    steps = range(1, max(target.context_length // 256, 1) + 1)
    return 256 * bisect_left(steps, True, key=lambda step: not fits(256 * step))


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
