"""Memory stays flat over the number of prompts; scripts/batch_memory.py shows it for many more."""

from __future__ import annotations

from pathlib import Path

import pytest
from batch_memory import peak

ALLOWED_MIB = 15
"""Prompts and records held on to would take about 30 MiB, at 2 KiB for each."""


@pytest.mark.slow
def test_many_prompts_take_no_more_memory_than_few(tmp_path: Path) -> None:
    peak(tmp_path, 1)
    few = peak(tmp_path, 50)
    assert peak(tmp_path, 15_000) - few < ALLOWED_MIB
    # Once more, with every answer there already.
    assert peak(tmp_path, 15_000) - few < ALLOWED_MIB
