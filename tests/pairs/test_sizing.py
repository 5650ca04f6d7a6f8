from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.errors import MemoryShortError
from specli.gguf.facts import ModelFacts, read_facts
from specli.pairs.sizing import (
    CacheTypes,
    DeviceMemory,
    FreeMemory,
    cost_ratio,
    draft_context,
    largest_context,
    largest_draft,
    memory_need,
    require_memory,
)
from tests import tiny_gguf as tiny

FACTS = read_facts(tiny.header(tiny.llama_bytes()))
MIB = 1 << 20


def model(parameters: float, size: float | None = None, k: int = 0, v: int = 0) -> ModelFacts:
    """A model of that many parameters, one byte each where no size is given."""
    active = int(parameters if size is None else size)
    return replace(
        FACTS,
        parameters=int(parameters),
        active_parameters=int(parameters),
        weight_bytes=active,
        active_bytes=active,
        context_length=32768,
        k_elements=k,
        v_elements=v,
    )


def test_memory_is_weights_and_a_cache_that_grows_with_context_and_sequences() -> None:
    need = memory_need(model(1e9, k=1000, v=500), 4096)
    assert need.weights == 1_000_000_000
    assert need.cache == 4096 * 1500 * 2
    assert need.total == need.weights + need.cache + need.scratch
    assert memory_need(FACTS, 200, sequences=3).cache == 3 * memory_need(FACTS, 200).cache
    assert (
        memory_need(FACTS, 200, CacheTypes("f32", "f32")).cache == 2 * memory_need(FACTS, 200).cache
    )


def test_recurrent_state_does_not_grow_with_the_context() -> None:
    facts = replace(FACTS, k_elements=0, v_elements=0, state_bytes=1000)
    assert memory_need(facts, 100).cache == memory_need(facts, 200).cache


@pytest.mark.parametrize(
    ("architecture", "sequences", "snapshots", "states"),
    [
        ("mamba", 1, 16, 2),
        ("mamba", 3, 16, 6),
        ("lfm2", 1, 16, 17),
        ("lfm2", 1, 0, 2),
        ("lfm2", 3, 16, 6),
    ],
)
def test_snapshots_or_a_checkpoint_of_each_sequence_count_beside_its_state(
    architecture: str, sequences: int, snapshots: int, states: int
) -> None:
    facts = replace(FACTS, architecture=architecture, k_elements=0, v_elements=0, state_bytes=1000)
    need = memory_need(facts, 100, sequences=sequences, snapshots=snapshots)
    assert need.cache == 1000 * states


@pytest.mark.parametrize(
    ("target", "draft"),
    [(70e9, 7e9), (32.8e9, 7e9), (14.8e9, 3e9), (8e9, 1e9), (6.7e9, 1e9), (3.2e9, 1e9)],
)
def test_the_largest_advised_draft_follows_the_target(target: float, draft: float) -> None:
    assert largest_draft(model(target)) == draft


def test_no_draft_is_advised_below_three_billion_parameters() -> None:
    assert largest_draft(model(1.7e9)) is None


def test_a_mixture_of_experts_is_sized_by_what_is_active() -> None:
    sparse = replace(model(30e9), active_parameters=int(2.5e9))
    assert largest_draft(sparse) is None


def test_a_context_whose_caches_cannot_fit_is_refused_with_both_amounts() -> None:
    pair = model(8e9, k=4096, v=4096), model(1e9, k=512, v=512)
    room = FreeMemory(2 << 30, (DeviceMemory("GPU0", 1 << 30),))

    def require(context: int, types: CacheTypes | None = None, sequences: int = 1) -> None:
        needs = [memory_need(one, context, types, sequences) for one in pair]
        require_memory(needs, context, room, sequences)

    require(32768)
    with pytest.raises(MemoryShortError) as caught:
        require(200_000)
    assert "200000 tokens needs 3.4 GiB and 3.0 GiB are free" in caught.value.message
    assert "-ctk q8_0" in (caught.value.hint or "")
    with pytest.raises(MemoryShortError, match="each of 8 sequences"):
        require(32768, sequences=8)
    require(200_000, CacheTypes("q8_0", "q8_0"))


def test_a_draft_goes_as_far_as_it_was_trained_asked_for_or_stretched() -> None:
    draft = replace(FACTS, context_length=2048)
    assert draft_context(draft, 32768) == 2048
    assert draft_context(draft, 1024) == 1024
    assert draft_context(draft, 32768, 512) == 512
    assert draft_context(draft, 1024, 4096) == 1024
    assert draft_context(draft, 32768, scaled=True) == 32768
    assert draft_context(replace(draft, state_bytes=1000), 32768) == 32768


@given(st.integers(0, 400))
def test_the_largest_context_fits_and_the_next_step_does_not(room_mib: int) -> None:
    target = model(100 * MIB, k=1024, v=1024)
    draft = replace(model(10 * MIB, k=128, v=128), context_length=8192)
    types = CacheTypes()

    def total(context: int) -> int:
        need = memory_need(target, context, types).total
        return need + memory_need(draft, min(context, 8192), types).total

    room = room_mib * MIB
    found = largest_context(target, draft, room, types, types)
    assert found <= target.context_length
    assert found == 0 or total(found) <= room
    assert found == target.context_length or total(found + 256) > room


def test_the_cost_of_a_token_is_what_it_reads_not_the_parameters() -> None:
    assert cost_ratio(model(1e9, size=4e9), model(1e9, size=1e9)) == 4.0
