"""How many engines a cluster runs, what each takes of its node, and how prompts are dealt out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from specli.cluster.ray import Node
from specli.options import Options

MOST_ROWS = 16
"""Prompts of a task at most: what is lost, and answered again, when an engine dies."""

TASKS_PER_SLOT = 50
"""Tasks into which the share of a slot is cut at least: the end waits for one of them."""

AUTO_SLOTS = 32
"""Prompts at once for which an engine has enough at hand where it chooses their number itself."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Engines from `least` to `most`, each with `cpus` and `gpus` of its node. A task has `rows`
    prompts, and an engine has `tasks` at once, so that it need not wait for the next."""

    least: int
    most: int
    cpus: int
    gpus: int
    rows: int
    tasks: int


def pool_for(
    options: Options,
    nodes: Sequence[Node],
    *,
    actors: tuple[int, int] | None,
    slots: int | None,
    prompts: int,
) -> Pool:
    """The pool for a number of prompts; `slots` of them at once in an engine."""
    gpus = gpus_of(options) if any(node.gpus for node in nodes) or _names_gpu(options) else 0
    working = [node for node in nodes if node.holds(1, gpus)] or [Node(1, 0)]
    usual = sum(node.gpus // gpus for node in nodes) if gpus else len(working)
    least, most = actors or (max(1, usual), max(1, usual))
    cores = min(node.cpus for node in working)
    cpus = options.number("threads") or max(1, cores // -(-most // len(working)))
    rows = min(MOST_ROWS, max(1, prompts // (TASKS_PER_SLOT * most * (slots or 1))))
    ahead = min(2 * (slots or AUTO_SLOTS), prompts // (4 * most))
    return Pool(least, most, cpus, gpus, rows, tasks=max(2, -(-ahead // rows)))


def fitting(pool: Pool, nodes: Sequence[Node]) -> int:
    """How many engines of the pool have room."""
    return sum(node.holds(pool.cpus, pool.gpus) for node in nodes)


def gpus_of(options: Options) -> int:
    """GPUs of an engine: those that are named, else one unless the target stays on the CPU."""
    target = _devices(options.gpu_layers, options.device)
    if options.gpu_layers_draft is None and options.device_draft is None:
        return target
    return max(target, _devices(options.gpu_layers_draft, options.device_draft))


def _devices(layers: int | str | None, device: str | None) -> int:
    if layers == 0 or device == "none":
        return 0
    return len(device.split(",")) if device else 1


def _names_gpu(options: Options) -> bool:
    given = (options.gpu_layers, options.device, options.gpu_layers_draft, options.device_draft)
    return any(one is not None for one in given) and gpus_of(options) > 0
