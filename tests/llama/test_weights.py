"""Rows of weights in ggml's types and back."""

from __future__ import annotations

import numpy as np
import pytest

from specli.gguf.types import TENSOR_TYPES, TensorType
from specli.llama.weights import floats, stored

WIDTH = 512
CLOSE = {"F32": 1.0, "F16": 0.9999, "BF16": 0.9999, "Q8_0": 0.9999, "Q6_K": 0.999}
CLOSE |= {"Q5_K": 0.998, "Q5_0": 0.998, "Q4_K": 0.99, "Q4_0": 0.99, "Q3_K": 0.97, "Q2_K": 0.93}
CLOSE |= {"IQ4_XS": 0.99, "IQ3_S": 0.97, "IQ2_XXS": 0.9, "IQ1_S": 0.8}
KINDS = {kind.name: kind for kind in TENSOR_TYPES.values()}


# llama.cpp builds the tables of IQ1_S for seconds.
_NAMES = [pytest.param(n, marks=pytest.mark.slow) if n == "IQ1_S" else n for n in CLOSE]


@pytest.mark.parametrize("name", _NAMES)
def test_rows_come_back_as_exactly_as_their_type_allows(name: str) -> None:
    kind: TensorType = KINDS[name]
    rows = np.random.default_rng(1).standard_normal((3, WIDTH)).astype(np.float32)
    kept = stored(kind, rows)
    assert kept.shape == (3, WIDTH // kind.block_size * kind.block_bytes)
    back = floats(kind, kept)
    assert back.shape == rows.shape
    assert np.corrcoef(rows.ravel(), back.ravel())[0, 1] >= CLOSE[name] - 1e-6
    # Each row stands alone: others may be taken out and put in another order.
    assert np.array_equal(floats(kind, kept[[2, 0]]), back[[2, 0]])
