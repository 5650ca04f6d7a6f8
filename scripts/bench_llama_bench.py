"""Plain decoding of specli bench beside llama.cpp's llama-bench, taking turns.

A turn is `llama-bench -p 0 -n N -r 1` and one plain run of N tokens, who is first changing from
turn to turn; both start from a cache that is (nearly) empty, with the same threads. Printed are
the speeds of each turn, and the median of their ratios (above 1: specli is faster).

    python scripts/bench_llama_bench.py [--turns 5] [-n 128] [-t 2] [-m FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import native

from specli.engine.sequence import GenerationRequest
from specli.events import Stats
from specli.hub.references import resolve
from specli.llama.quantize import quantize
from specli.profiles import load_profile
from specli.session import Session, Setup
from specli.session.loading import physical_cores
from specli.speculative import SpeculativeConfig


def llama_bench(programs: Path, target: Path, tokens: int, threads: int) -> float:
    """Tokens per second of one run of llama-bench, which warms up before it."""
    command = [str(programs / "llama-bench"), "-m", str(target), "-p", "0", "-n", str(tokens)]
    command += ["-r", "1", "-t", str(threads), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout)[0]["avg_ts"])


def specli(session: Session, tokens: int) -> float:
    """Tokens per second of plain decoding behind a prompt of one token."""
    engine = session.engine_for(SpeculativeConfig())
    start = max(session.target_model.vocab.bos, 0)
    engine.submit(GenerationRequest([start], max_tokens=tokens, ignore_end=True))
    stats = Stats()
    for event in engine.run():
        stats.add(event)
    return stats.predicted_per_second or 0.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("-n", type=int, default=128)
    parser.add_argument("-t", type=int, default=physical_cores())
    parser.add_argument("-m", type=Path, default=None)
    given = parser.parse_args()
    target = given.m or resolve(load_profile("smollm2").target_model, quantize)
    programs = native.build()
    found = []
    with (
        tempfile.TemporaryDirectory() as records,
        Session(Setup(target), Path(records)) as session,
    ):
        session.use_threads(given.t, None)
        # llama-bench warms up by itself.
        specli(session, 16)
        for turn in range(given.turns):
            speeds = {}
            for name in ("specli", "llama-bench") if turn % 2 else ("llama-bench", "specli"):
                if name == "specli":
                    speeds[name] = specli(session, given.n)
                else:
                    speeds[name] = llama_bench(programs, target, given.n, given.t)
            found.append(speeds["specli"] / speeds["llama-bench"])
            shown = "  ".join(f"{name} {speeds[name]:.2f} tok/s" for name in sorted(speeds))
            print(f"turn {turn + 1}: {shown}  ratio {found[-1]:.3f}")
    median = statistics.median(found)
    print(f"median ratio {median:.3f}, {min(found):.3f} to {max(found):.3f}")
    print(json.dumps({"median": median, "ratios": found, "tokens": given.n, "threads": given.t}))


if __name__ == "__main__":
    main()
