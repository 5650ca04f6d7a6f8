"""How many engines a cluster gets, of what size, and how prompts are dealt out."""

from __future__ import annotations

import pytest

from specli.cluster.pool import Pool, fitting, gpus_of, pool_for
from specli.cluster.ray import Node
from specli.options import Options

CPUS = [Node(8, 0), Node(8, 0)]
GPUS = [Node(16, 0), Node(16, 4), Node(16, 4)]


def pool(nodes: list[Node], options: Options | None = None, **more: object) -> Pool:
    chosen = {"actors": None, "slots": 1, "prompts": 1000, **more}
    return pool_for(options or Options(), nodes, **chosen)  # type: ignore[arg-type]


def test_there_is_one_engine_per_node_with_all_of_its_cpus() -> None:
    found = pool(CPUS)
    assert (found.least, found.most, found.cpus, found.gpus) == (2, 2, 8, 0)


def test_several_engines_share_the_cpus_of_a_node() -> None:
    assert pool(CPUS, actors=(4, 4)).cpus == 4
    assert pool(CPUS, Options(threads=3), actors=(4, 4)).cpus == 3


def test_where_there_are_gpus_each_has_an_engine() -> None:
    found = pool(GPUS)
    assert (found.least, found.most, found.gpus) == (8, 8, 1)
    assert fitting(found, GPUS) == 8


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        (Options(), 1),
        (Options(gpu_layers=0), 0),
        (Options(device="none"), 0),
        (Options(device="CUDA0,CUDA1"), 2),
        (Options(gpu_layers=0, gpu_layers_draft=99), 1),
        (Options(gpu_layers=20), 1),
    ],
)
def test_placement_flags_say_how_many_gpus_an_engine_takes(options: Options, gpus: int) -> None:
    assert gpus_of(options) == gpus


def test_a_gpu_that_no_node_has_is_asked_for_only_by_name() -> None:
    assert pool(CPUS).gpus == 0
    assert pool(CPUS, Options(gpu_layers=99)).gpus == 1
    assert fitting(pool(CPUS, Options(gpu_layers=99)), CPUS) == 0


def test_nodes_that_only_coordinate_have_no_engine() -> None:
    found = pool([Node(0, 0), *CPUS])
    assert (found.most, found.cpus) == (2, 8)


@pytest.mark.parametrize("prompts", [1, 40, 200, 10_000, 1_000_000])
@pytest.mark.parametrize("slots", [None, 1, 8, 64])
def test_an_engine_has_enough_at_hand_and_never_a_large_share_of_the_batch(
    prompts: int, slots: int | None
) -> None:
    found = pool(CPUS, slots=slots, prompts=prompts)
    at_hand = found.rows * found.tasks
    assert 1 <= found.rows <= 16
    if slots is not None and prompts >= 100 * slots:
        assert at_hand >= 2 * slots
    assert at_hand <= max(2, prompts // 4)
