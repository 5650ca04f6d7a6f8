"""Killed at random moments, a batch is gone on from as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import pytest
from batch_kills import kill_often


@pytest.mark.slow
def test_six_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    outcome = kill_often(tmp_path, kills=6, prompts=600, seconds=(0.3, 1.0))
    assert outcome.runs_cut_short >= 3
    assert outcome.same
    assert outcome.kept == outcome.earlier
