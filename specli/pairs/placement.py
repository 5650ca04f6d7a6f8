"""Which bytes of a pair go to which device, and how many layers fit there.

llama.cpp offloads from the end of a model: `-ngl 1` moves the output layer, every further layer a
block with its share of the cache. The input embedding stays with the CPU. With several devices
the layers are shared out by free memory, so that only the sum has to fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import psutil

from specli.errors import MemoryShortError
from specli.figures import short_bytes
from specli.gguf.facts import ModelFacts
from specli.llama import library
from specli.pairs.sizing import (
    MICRO_BATCH,
    CacheTypes,
    DeviceMemory,
    FreeMemory,
    MemoryNeed,
    memory_need,
)

NO_DEVICE = "none"

SPARE = 256 << 20
"""Bytes of each device left free: kernels, their workspaces and the pools of a first batch. When
these run out llama.cpp ends the process."""

_AFTER_FAILURE = 0.85
"""Share of a device's free memory to count on where an estimate has proved too low."""


def free_memory() -> FreeMemory:
    """What is free now, of the machine and of each device that models can be put on."""
    devices = (DeviceMemory(one.name, one.free) for one in library.devices() if one.is_gpu)
    return FreeMemory(psutil.virtual_memory().available, tuple(devices))


@dataclass(frozen=True, slots=True)
class ModelPlacement:
    """A model as it is to be loaded.

    `devices` are names of devices; none named means all, `NO_DEVICE` the CPU alone.
    `gpu_layers` None or below 0 means all, where there is a device.
    """

    role: str
    flag: str
    """What sets `gpu_layers` on the command line."""
    facts: ModelFacts
    types: CacheTypes = field(default_factory=CacheTypes)
    devices: tuple[str, ...] = ()
    gpu_layers: int | None = None
    context: int | None = None
    """Tokens of each sequence, where that is not the target's."""
    snapshots: int = 0
    """Earlier steps of a recurrent state that are asked for."""

    @property
    def most_layers(self) -> int:
        """All blocks and the output layer."""
        return len(self.facts.layer_bytes) + 1

    @property
    def asked(self) -> int:
        """Layers to be offloaded, where there is a device."""
        if self.gpu_layers is None or self.gpu_layers < 0:
            return self.most_layers
        return min(self.gpu_layers, self.most_layers)


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What the caches are sized by; `context` is the target's. `attention_matrix` is true without
    flash attention."""

    context: int
    sequences: int = 1
    attention_matrix: bool = False


@dataclass(frozen=True, slots=True)
class Shortage:
    """The first model that does not fit: what it needs on its devices, and what is left there.

    `devices` is empty where it is the machine's own memory that is short.
    """

    load: ModelPlacement
    need: MemoryNeed
    free: int
    devices: tuple[str, ...]
    sharing: tuple[str, ...] = ()
    """Models that took their part of these devices before."""


def device_need(load: ModelPlacement, layers: int, shape: CacheShape) -> MemoryNeed:
    """Bytes on devices with `layers` offloaded."""
    whole = whole_need(load, shape)
    if layers == 0:
        return MemoryNeed(0, 0, 0)
    blocks = load.facts.layer_bytes
    moved = blocks[len(blocks) - (layers - 1) :]
    cache = whole.cache * len(moved) // max(len(blocks), 1)
    return MemoryNeed(load.facts.output_bytes + sum(moved), cache, whole.scratch)


def whole_need(load: ModelPlacement, shape: CacheShape) -> MemoryNeed:
    """Bytes on whatever device."""
    context = load.context or shape.context
    need = memory_need(load.facts, context, load.types, shape.sequences, load.snapshots)
    scratch = need.scratch
    if shape.attention_matrix:
        positions = context * shape.sequences
        scratch += 4 * min(MICRO_BATCH, context) * positions * load.facts.heads
    return MemoryNeed(need.weights, need.cache, scratch)


def shortage(
    loads: Sequence[ModelPlacement], layers: Sequence[int], shape: CacheShape, memory: FreeMemory
) -> Shortage | None:
    """What does not fit when the models are loaded one after the other; None when all fits.

    Weights on the CPU are not counted: they are mapped from the file, and what does not fit is
    slow, not impossible.
    """
    free = {device.name: max(device.free - SPARE, 0) for device in memory.devices}
    ram = memory.ram
    taken: list[tuple[ModelPlacement, tuple[str, ...]]] = []
    for load, count in zip(loads, layers, strict=True):
        pool = tuple(name for name in free if not load.devices or name in load.devices)
        need = device_need(load, count if pool else 0, shape)
        left = sum(free[name] for name in pool)
        if need.total > left:
            sharing = tuple(other.role for other, used in taken if set(used) & set(pool))
            return Shortage(load, need, left, pool, sharing)
        for name in pool:
            free[name] -= need.total * free[name] // max(left, 1)
        if need.total:
            taken.append((load, pool))
        whole = whole_need(load, shape)
        own = MemoryNeed(0, whole.cache - need.cache, whole.scratch)
        if own.cache + own.scratch > ram:
            return Shortage(load, own, ram, ())
        ram -= own.cache + own.scratch
    return None


def fitting(
    loads: Sequence[ModelPlacement], shape: CacheShape, memory: FreeMemory
) -> tuple[int, ...] | None:
    """The most layers of each model that fit together, none more than requested.

    The first model loses layers first: a slow draft is of no use. None when nothing fits.
    """
    # The first number varies fastest.
    for counts in product(*(range(load.asked, -1, -1) for load in reversed(loads))):
        layers = counts[::-1]
        if shortage(loads, layers, shape, memory) is None:
            return layers
    return None


def require_placement(
    loads: Sequence[ModelPlacement], shape: CacheShape, memory: FreeMemory
) -> None:
    """Raise MemoryShortError, before anything is loaded, when a model cannot fit where it is put.

    The hint names the numbers of layers that fit.
    """
    found = shortage(loads, [load.asked for load in loads], shape, memory)
    if found is not None:
        raise MemoryShortError(_sentence(found), hint=advice(loads, fitting(loads, shape, memory)))


def _sentence(found: Shortage) -> str:
    need = found.need
    parts = {"weights": need.weights, "cache": need.cache, "scratch memory": need.scratch}
    made_of = ", ".join(f"{short_bytes(size)} {name}" for name, size in parts.items() if size)
    where = f"on {' and '.join(found.devices)}" if found.devices else "of the machine's memory"
    details = f" next to the {' and the '.join(found.sharing)}" if found.sharing else ""
    if found.devices:
        details += f", {short_bytes(SPARE)} of each device reserved for kernels"
    return (
        f"the {found.load.role} needs {short_bytes(need.total)} {where} ({made_of}) "
        f"and {short_bytes(found.free)} are free{details}"
    )


def advice(loads: Sequence[ModelPlacement], layers: tuple[int, ...] | None) -> str:
    """What to type so that the models fit; `layers` as `fitting` found them."""
    smaller = "a smaller context (-c) or smaller cache types (-ctk q8_0 -ctv q8_0)"
    if layers is None:
        return f"use {smaller}"
    pairs = zip(loads, layers, strict=True)
    fewer = [f"{load.flag} {count}" for load, count in pairs if count < load.asked]
    limits = ", ".join(f"the {load.role} has {load.most_layers} layers" for load in loads)
    return f"{' '.join(fewer)} would fit ({limits}), or use {smaller}"


def advice_after_failure(
    loads: Sequence[ModelPlacement], shape: CacheShape, memory: FreeMemory
) -> str:
    """What to type where llama.cpp ran out of memory although an estimate had let it pass."""
    first = next((load for load in loads if load.devices != (NO_DEVICE,)), None)
    if not memory.devices or first is None:
        return advice(loads, None)
    one_less = replace(first, gpu_layers=max(first.asked - 1, 0))
    fewer = [one_less if load is first else load for load in loads]
    devices = (DeviceMemory(one.name, int(_AFTER_FAILURE * one.free)) for one in memory.devices)
    return advice(loads, fitting(fewer, shape, FreeMemory(memory.ram, tuple(devices))))
