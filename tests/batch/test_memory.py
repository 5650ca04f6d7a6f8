"""Memory stays flat over the number of prompts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny_gguf as tiny

ALLOWED_MIB = 15
"""Prompts and records that stay in memory would take about 30 MiB, at 2 KiB for each."""


@pytest.mark.slow
def test_many_prompts_take_no_more_memory_than_few(tmp_path: Path) -> None:
    peak(tmp_path, 1)
    few = peak(tmp_path, 50)
    assert peak(tmp_path, 15_000) - few < ALLOWED_MIB
    # Once more, with every answer there already.
    assert peak(tmp_path, 15_000) - few < ALLOWED_MIB


def peak(folder: Path, count: int) -> float:
    """MiB that a batch of `count` prompts takes at most; a second call finds it answered."""
    model, prompts = folder / "model.gguf", folder / f"{count}.txt"
    if not model.exists():
        tiny.write(model, tiny.llama_bytes())
    if not prompts.exists():
        prompts.write_text("".join(f"{number}\n" for number in range(count)))
    command = [
        *(sys.executable, "-m", "specli", "batch", str(prompts), "-o", f"{prompts}.jsonl"),
        *("-m", str(model), "--raw", "-n", "1", "-c", "64", "-np", "8", "-q"),
        *("--spec-type", "none"),
    ]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "SPECLI_CACHE": str(folder / "cache"), "PYTHONPATH": root}
    process = subprocess.Popen(command, env=environment)
    _pid, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    with open(f"{prompts}.jsonl", "rb") as records:  # noqa: PTH123 - next to the prompts
        written = sum(1 for _ in records)
    if written != count:
        raise ValueError(f"{written} records for {count} prompts")
    # Linux counts in KiB, macOS in bytes.
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**20
