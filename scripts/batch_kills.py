"""Kills `specli batch` again and again, lets it end at last, and compares with an undisturbed run.

    python -m scripts.batch_kills [--kills 20] [--prompts 4000]

A tiny made-up pair answers, two prompts at once. Every run but the last gets SIGKILL at a random
moment. The output must then hold each id once, in input order, with the same texts, and no record
that was on disk at the last kill may have been computed again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from specli.batch.output import HELD_SUFFIX
from tests import tiny_gguf as tiny

TOKENS = 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the kills left. `kept` counts records before the last run, `earlier` those it used."""

    kills: int
    runs_cut_short: int
    same: bool
    kept: int
    earlier: int

    @property
    def sound(self) -> bool:
        return self.same and self.kept == self.earlier


def kill_often(
    folder: Path, *, kills: int, prompts: int, seconds: tuple[float, float], seed: int = 0
) -> Outcome:
    """Kill runs in `folder` after a time between the two `seconds` each, then let one end."""
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
    return Outcome(kills, cut, same, kept, report["answered_earlier"])


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
    root = str(Path(__file__).parent.parent)
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=4000)
    parser.add_argument("--longest", type=float, default=2.5, help="seconds of the longest run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = kill_often(
            Path(folder), kills=given.kills, prompts=given.prompts, seconds=(0.3, given.longest)
        )
    print(f"{outcome.runs_cut_short} of {outcome.kills} runs were cut short")
    print(f"{outcome.kept} records were on disk, of which the last run used {outcome.earlier}")
    print("the output is the undisturbed run's" if outcome.same else "THE OUTPUT DIFFERS")
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
