"""A batch killed at random moments and resumed ends with the output of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from specli.batch.output import HELD_SUFFIX
from tests import tiny_gguf as tiny

TOKENS = 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the kills left. `kept` counts records before the last run, `earlier` those it reused."""

    runs_cut_short: int
    same: bool
    kept: int
    earlier: int


def kill_often(
    folder: Path, *, kills: int, prompts: int, seconds: tuple[float, float], seed: int = 0
) -> Outcome:
    """Kill runs in `folder`, each after a time between the two `seconds`, then let one end."""
    tiny.write(folder / "target.gguf", tiny.llama_bytes())
    tiny.write(folder / "draft.gguf", tiny.llama_bytes(noise=0.1))
    lengths = random.Random(seed)
    with (folder / "prompts.jsonl").open("w") as file:
        for number in range(prompts):
            # Unequal lengths let later prompts finish first.
            tokens = lengths.choice([TOKENS // 8, TOKENS // 2, TOKENS, 4 * TOKENS])
            line = {"prompt": f"number {number}", "id": f"p{number}", "max_tokens": tokens}
            file.write(json.dumps(line) + "\n")
    subprocess.run(_command(folder, "whole.jsonl"), check=True, env=_environment(folder))
    moments = random.Random(seed + 1)
    cut = 0
    for _ in range(kills):
        run = subprocess.Popen(_command(folder, "cut.jsonl"), env=_environment(folder))
        time.sleep(moments.uniform(*seconds))
        run.kill()
        cut += run.wait() != 0
    kept = len(_ids(folder / "cut.jsonl") | _ids(folder / f"cut.jsonl{HELD_SUFFIX}"))
    subprocess.run(_command(folder, "cut.jsonl"), check=True, env=_environment(folder))
    report = json.loads((folder / "cut.jsonl.report").read_text())
    same = _texts(folder / "cut.jsonl") == _texts(folder / "whole.jsonl")
    return Outcome(cut, same, kept, report["answered_earlier"])


def _command(folder: Path, output: str) -> list[str]:
    flags = "-m target.gguf -md draft.gguf --draft 3 --temp 0.7 --seed 1 --ignore-eos -np 2 -q"
    # With 16-bit caches near ties fall by where in the cache a sequence lies.
    flags += " -fa off -ctk f32 -ctv f32 -ctkd f32 -ctvd f32"
    return [
        *(sys.executable, "-m", "specli", "batch", str(folder / "prompts.jsonl")),
        *("-o", str(folder / output), "--report", str(folder / f"{output}.report")),
        *(str(folder / word) if word.endswith(".gguf") else word for word in flags.split()),
    ]


def _environment(folder: Path) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {**os.environ, "SPECLI_CACHE": str(folder / "cache"), "PYTHONPATH": root}


def _ids(path: Path) -> set[str]:
    """Ids of the whole records in a file."""
    whole = [line for line in _lines(path) if line.endswith(b"\n")]
    return {json.loads(line)["id"] for line in whole}


def _texts(path: Path) -> list[tuple[str, str]]:
    records = map(json.loads, _lines(path))
    return [(record["id"], record["text"]) for record in records]


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


@pytest.mark.slow
def test_six_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    outcome = kill_often(tmp_path, kills=6, prompts=600, seconds=(0.3, 1.0))
    assert outcome.runs_cut_short >= 3
    assert outcome.same
    assert outcome.kept == outcome.earlier
