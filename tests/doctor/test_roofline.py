"""Limits and ceilings, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.doctor.roofline import PAST, Limits, ceiling, limits, roofline
from specli.engine.cost import POINTS, CostModel, Curve
from specli.gguf.check import check_file
from specli.gguf.facts import read_facts
from tests import tiny_gguf as tiny
from tests.doctor.made import rates


def of(memory_ms: float, compute_ms: float) -> Limits:
    return Limits("model", "F32", 1, 1, memory_ms, compute_ms)


def test_a_token_reads_all_weights_and_its_past_once(tmp_path: Path) -> None:
    header = check_file(tiny.write(tmp_path / "model.gguf", tiny.llama_bytes()))
    facts = read_facts(header)
    found = limits(header, rates(read=1e6, flops=1e6))
    assert found.weight_bytes == facts.active_bytes
    # Two layers of two heads with eight elements, keys and values, two bytes each.
    assert found.cache_bytes == PAST * 2 * 2 * 8 * 2 * 2
    assert found.memory_ms == pytest.approx((found.weight_bytes + found.cache_bytes) / 1e3)


def test_a_weight_costs_a_multiplication_and_an_addition_a_token(tmp_path: Path) -> None:
    header = check_file(tiny.write(tmp_path / "model.gguf", tiny.llama_bytes()))
    tensors = header.tensors
    assert "output.weight" in tensors, "the embedding is only looked up"
    multiplied = sum(t.elements for name, t in tensors.items() if name != "token_embd.weight")
    assert limits(header, rates(flops=1e6)).compute_ms == pytest.approx(2 * multiplied / 1e3)


def test_until_arithmetic_takes_over_more_tokens_cost_nothing() -> None:
    model = of(memory_ms=20, compute_ms=2)
    assert [model.least_ms(k) for k in (1, 10, 11, 20)] == [20, 20, 22, 40]


def test_the_ceiling_of_the_measured_table() -> None:
    curve = Curve([1, 2, 4, 8, 16], [20.0, 26.0, 29.0, 38.0, 54.0])
    free = ceiling(curve, 0.0, curve.sizes)
    assert (round(free.speedup, 2), free.tokens) == (5.93, 16)
    drafted = ceiling(curve, 5.0, curve.sizes)
    assert (round(drafted.speedup, 2), drafted.tokens) == (2.48, 16)


def test_a_draft_as_slow_as_its_target_cannot_pay() -> None:
    curve = Curve([1, 2, 4], [10.0, 11.0, 12.0])
    assert ceiling(curve, 10.0, curve.sizes).tokens == 1
    assert ceiling(curve, 10.0, curve.sizes).speedup == 1


def test_what_is_not_measured_is_not_told() -> None:
    line = roofline(of(20, 1), None, None)
    assert (line.target_ms, line.draft_token_ms) == (None, None)
    assert (line.measured, line.measured_with_draft, line.possible_with_draft) == (None,) * 3
    # 20 tokens fit into the time of one; of the sizes that are looked at, 24 gives no more.
    assert (line.possible.speedup, line.possible.tokens) == (20, 24)


def test_measured_costs_without_a_draft_have_a_ceiling_for_free_drafts_alone() -> None:
    costs = CostModel(Curve([1, 4], [10.0, 16.0]))
    line = roofline(of(8, 1), None, costs)
    assert line.target_ms == {1: 10.0, 4: 16.0}
    assert line.measured is not None
    assert line.measured.speedup == 2.5
    assert line.measured_with_draft is None


@given(
    memory=st.floats(0.01, 1e4),
    compute=st.floats(1e-4, 1e3),
    draft=st.floats(0, 1e4),
    more=st.floats(0, 1e3),
)
def test_a_slower_draft_never_raises_the_ceiling(
    memory: float, compute: float, draft: float, more: float
) -> None:
    model = of(memory, compute)
    fast, slow = (ceiling(model.least_ms, ms, POINTS).speedup for ms in (draft, draft + more))
    assert 1 <= slow <= fast <= max(POINTS)


def test_a_measured_time_far_above_the_limit_is_disturbed_only_on_a_busy_machine() -> None:
    costs = CostModel(Curve([1, 4], [1047.9, 4000.0]))
    model = of(memory_ms=7.9, compute_ms=0.1)
    idle, busy = roofline(model, None, costs), roofline(model, None, costs, busy=True)
    assert (idle.disturbed, busy.disturbed) == (False, True)
    assert idle.measured is not None
    assert busy.measured is None
    assert busy.target_ms == {1: 1047.9, 4: 4000.0}


def test_a_slow_model_on_a_busy_machine_is_not_disturbed() -> None:
    costs = CostModel(Curve([1, 4], [20.0, 30.0]))
    line = roofline(of(memory_ms=7.9, compute_ms=0.1), None, costs, busy=True)
    assert not line.disturbed
    assert line.measured is not None
