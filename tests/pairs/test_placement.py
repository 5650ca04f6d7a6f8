"""What goes where with -ngl and --device, and the numbers of layers that fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.errors import MemoryShortError
from specli.gguf.facts import read_facts
from specli.pairs.placement import (
    SPARE,
    CacheShape,
    ModelPlacement,
    advice_after_failure,
    device_need,
    fitting,
    require_placement,
    shortage,
)
from specli.pairs.sizing import CacheTypes, DeviceMemory, FreeMemory
from tests import tiny_gguf as tiny

GIB = 1 << 30
MIB = 1 << 20
FACTS = read_facts(tiny.header(tiny.llama_bytes()))
RUN = CacheShape(4096)


def load(
    role: str = "target", layers: int = 32, layer: int = 200 * MIB, **more: object
) -> ModelPlacement:
    """A model of equal blocks with an output layer as large as one, 1 MiB of cache a block."""
    facts = replace(
        FACTS,
        layers=layers,
        layer_bytes=(layer,) * layers,
        output_bytes=layer,
        weight_bytes=(layers + 2) * layer,
        k_elements=64 * layers,
        v_elements=64 * layers,
        heads=8,
    )
    flag = "-ngl" if role == "target" else "-ngld"
    return ModelPlacement(role, flag, facts, **more)  # type: ignore[arg-type]


def room(*gibibytes: float, ram: int = 64 * GIB) -> FreeMemory:
    devices = (
        DeviceMemory(f"CUDA{n}", int(size * GIB) + SPARE) for n, size in enumerate(gibibytes)
    )
    return FreeMemory(ram, tuple(devices))


def test_layers_move_from_the_end_and_the_output_layer_goes_first() -> None:
    facts = replace(FACTS, layer_bytes=(1000, 200, 30), output_bytes=4, k_elements=3, v_elements=3)
    one = ModelPlacement("target", "-ngl", facts)
    weights = [device_need(one, count, RUN).weights for count in range(5)]
    assert weights == [0, 4, 34, 234, 1234]
    whole = device_need(one, 4, RUN).cache
    assert [device_need(one, count, RUN).cache * 3 for count in range(1, 5)] == [
        0,
        whole,
        2 * whole,
        3 * whole,
    ]
    assert device_need(one, 0, RUN).total == 0


def test_a_model_s_header_gives_the_bytes_of_each_layer() -> None:
    assert len(FACTS.layer_bytes) == FACTS.layers == 2
    assert FACTS.layer_bytes[0] == FACTS.layer_bytes[1] > 0
    embedding = 4 * FACTS.vocabulary * FACTS.embedding_length
    assert FACTS.output_bytes == embedding + 4 * FACTS.embedding_length
    assert FACTS.weight_bytes == sum(FACTS.layer_bytes) + FACTS.output_bytes + embedding


def test_a_pair_that_does_not_fit_is_refused_with_figures_and_the_layers_that_fit() -> None:
    loads = [load(), load("draft", layers=8, layer=50 * MIB)]
    require_placement(loads, RUN, room(8))
    with pytest.raises(MemoryShortError) as caught:
        require_placement(loads, RUN, room(4))
    message, hint = caught.value.message, caught.value.hint or ""
    assert message.startswith("the target needs 6.5 GiB on CUDA0 (6.4 GiB weights, 32 MiB cache, ")
    kept_back = "256 MiB of each device reserved for kernels"
    assert message.endswith(f"and 4.0 GiB are free, {kept_back}")
    layers = fitting(loads, RUN, room(4))
    assert layers is not None
    assert hint.startswith(
        f"-ngl {layers[0]} would fit (the target has 33 layers, the draft has 9 "
    )
    assert shortage(loads, layers, RUN, room(4)) is None
    assert shortage(loads, (layers[0] + 1, layers[1]), RUN, room(4)) is not None


def test_a_draft_without_room_beside_the_target_says_so_and_the_target_gives_way() -> None:
    loads = [load(), load("draft", layers=8)]
    with pytest.raises(
        MemoryShortError, match=r"the draft needs .* free next to the target"
    ) as err:
        require_placement(loads, RUN, room(7))
    assert "-ngl 2" in (err.value.hint or "")
    assert "-ngld" not in (err.value.hint or "")


def test_a_draft_that_is_too_large_alone_gives_way_as_well() -> None:
    found = fitting([load(), load("draft")], RUN, room(3))
    assert found is not None
    target, draft = found
    assert target == 0
    assert 0 < draft < 33


@pytest.mark.parametrize(
    ("placement", "fits"),
    [
        ({"gpu_layers": 0}, True),
        ({"devices": ("none",)}, True),
        ({"gpu_layers": 10}, True),
        ({"gpu_layers": -1}, False),
        ({"gpu_layers": 99}, False),
        ({"devices": ("CUDA1",)}, True),
        ({"devices": ("CUDA0",)}, False),
        ({"devices": ("CUDA0", "CUDA1"), "gpu_layers": 33}, True),
    ],
)
def test_layers_and_devices_decide_what_has_to_fit(
    placement: dict[str, object], fits: bool
) -> None:
    two = room(4, 8) if "devices" in placement else room(4)
    one = replace(load(), **placement)  # type: ignore[arg-type]
    assert (shortage([one], [one.asked], RUN, two) is None) is fits


def test_cache_types_sequences_and_flash_attention_count() -> None:
    one = load(layer=MIB)
    plain = device_need(one, 33, RUN)
    small = device_need(load(layer=MIB, types=CacheTypes("q8_0", "q8_0")), 33, RUN)
    assert small.cache == plain.cache * 34 // 64
    assert device_need(one, 33, CacheShape(4096, 4)).cache == 4 * plain.cache
    matrix = device_need(one, 33, CacheShape(4096, attention_matrix=True))
    assert matrix.scratch - plain.scratch == 4 * 512 * 4096 * 8


def test_a_context_of_its_own_counts_in_place_of_the_target_s() -> None:
    short = load("draft", layer=MIB, context=1024)
    assert device_need(short, 33, RUN) == device_need(load(layer=MIB), 33, CacheShape(1024))


def test_caches_that_stay_with_the_cpu_need_the_machine_s_memory() -> None:
    large = CacheShape(1 << 24)
    with pytest.raises(MemoryShortError, match="of the machine's memory") as caught:
        require_placement([load(gpu_layers=0)], large, room(4, ram=8 * GIB))
    assert (caught.value.hint or "").startswith("use a smaller context")


@given(st.integers(0, 9000), st.integers(0, 3000), st.integers(1, 40), st.integers(0, 40))
def test_what_fits_fits_and_one_layer_more_does_not(
    first: int, second: int, layers: int, draft_layers: int
) -> None:
    loads = [load(layers=layers), load("draft", layers=8, layer=90 * MIB, gpu_layers=draft_layers)]
    place = room(first / 1024, second / 1024)
    found = fitting(loads, RUN, place)
    assert found is not None
    assert shortage(loads, found, RUN, place) is None
    if found[0] < loads[0].asked:
        assert shortage(loads, (found[0] + 1, found[1]), RUN, place) is not None


def test_after_a_failed_allocation_fewer_layers_are_advised_than_were_tried() -> None:
    loads = [load(gpu_layers=12)]
    assert "-ngl 11 would fit" in advice_after_failure(loads, RUN, room(40))
    assert "-ngl" not in advice_after_failure(loads, RUN, FreeMemory(64 * GIB))
    apart = [load(devices=("none",)), load("draft", layers=8)]
    assert advice_after_failure(apart, RUN, room(40)).startswith("-ngld 8 would fit")
