"""How many sequences run side by side, from what batches cost."""

from __future__ import annotations

import pytest

from specli.engine.policy.cost import Curve
from specli.engine.policy.parallel import best_parallel


@pytest.mark.parametrize(
    ("ms", "most", "expected"),
    [
        pytest.param([10, 20, 80, 160], 16, 1, id="nothing is gained"),
        pytest.param([10, 10, 10, 10], 16, 16, id="beside the first all are free"),
        pytest.param([10, 12, 20, 40], 16, 8, id="until the machine is full"),
        pytest.param([10, 10, 10, 10], 3, 3, id="as many as there is room for"),
    ],
)
def test_as_many_as_pay_and_no_more(ms: list[float], most: int, expected: int) -> None:
    assert best_parallel(Curve([1, 2, 8, 16], [float(one) for one in ms]), most) == expected
