"""How sure a head is of a token: its share among the ten most probable ones."""

from __future__ import annotations

import numpy as np
import pytest

from specli.drafters.heads.steps import CANDIDATES, share


@pytest.mark.parametrize("size", [3, 10, 11, 319, 320, 331, 352, 353, 49152])
@pytest.mark.parametrize("draftable", [1.0, 0.1])
def test_the_ten_most_probable_tokens_are_found_wherever_they_stand(
    size: int, draftable: float
) -> None:
    draw = np.random.default_rng(size)
    for _ in range(20):
        logits = draw.normal(0, 3, size).astype(np.float32)
        # A head with a vocabulary of its own gives every other token no chance at all.
        logits[draw.random(size) > draftable] = -np.inf
        logits[draw.integers(size)] = 1.0
        best = np.sort(logits.astype(np.float64))[::-1][:CANDIDATES]
        for token in (int(logits.argmax()), int(draw.integers(size))):
            expected = np.exp(logits[token].astype(np.float64)) / np.exp(best).sum()
            assert share(logits, token) == pytest.approx(expected, rel=1e-4)
