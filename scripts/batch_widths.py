"""Tokens per second of a batch by how many prompts run at once, plain and with speculation.

    python scripts/batch_widths.py [--widths 1,2,4,8,16,32] [--tokens 48] [--runs 3]
        [--threads 2] [--profile P]

For every width both engines answer the same prompts in turns, twice as many as the width and at
least eight; loading and a first answer in every slot do not count. Prints a table of medians, and
ends with one line of JSON for docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import ExitStack

from specli.cluster import BatchEngine

TOPICS = ("rivers", "clocks", "gardens", "letters", "engines", "windows", "markets", "bridges")


class Side:
    """An engine, and what its answers took so far."""

    def __init__(self, options: dict[str, object], width: int) -> None:
        self.engine = BatchEngine(options, parallel=width)
        self.speeds: list[float] = []
        self.drafted = self.accepted = self.tokens = 0

    def answer(self, prompts: list[str]) -> None:
        since = time.perf_counter()
        answers = self.engine({"prompt": prompts})
        seconds = time.perf_counter() - since
        records = [json.loads(record) for record in answers["record"]]
        tokens = sum(record["completion_tokens"] for record in records)
        self.speeds.append(tokens / seconds)
        self.tokens += tokens
        self.drafted += sum(record["timings"]["draft_n"] for record in records)
        self.accepted += sum(record["timings"]["draft_n_accepted"] for record in records)

    def figures(self) -> dict[str, float]:
        return {
            "tokens_per_second": round(statistics.median(self.speeds), 1),
            "drafted_per_token": round(self.drafted / self.tokens, 2),
            "acceptance_rate": round(self.accepted / self.drafted, 3) if self.drafted else 0.0,
        }


def speeds(common: dict[str, object], width: int, runs: int) -> tuple[Side, Side]:
    """Plain and speculative decoding in turns; a first answer in every slot does not count."""
    prompts = [
        f"Explain to a child, in a few sentences, what {TOPICS[n % 8]} are for. ({n})"
        for n in range(max(8, 2 * width))
    ]
    with ExitStack() as stack:
        plain, auto = Side({**common, "draft_max": 0}, width), Side(common, width)
        for side in (plain, auto):
            stack.callback(side.engine.close)
            side.engine({"prompt": prompts[:width]})
        for run in range(runs):
            for side in (plain, auto) if run % 2 else (auto, plain):
                side.answer(prompts)
    return plain, auto


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", default="1,2,4,8,16,32")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--profile", default="smollm2")
    given = parser.parse_args()
    common = {
        "profile": given.profile,
        "predict": given.tokens,
        "ignore_eos": True,
        "temp": 0.0,
        "threads": given.threads,
        "ctx_size": 256,
    }
    found = []
    print("width   plain    auto  ratio  drafted/token  accepted")
    for width in map(int, given.widths.split(",")):
        sides = speeds(common, width, given.runs)
        plain, auto = (side.figures() for side in sides)
        pairs = zip(sides[1].speeds, sides[0].speeds, strict=True)
        ratio = statistics.median(one / other for one, other in pairs)
        found.append({"width": width, "plain": plain["tokens_per_second"], "auto": auto})
        print(
            f"{width:5} {plain['tokens_per_second']:7.1f} {auto['tokens_per_second']:7.1f}"
            f" {ratio:6.2f} {auto['drafted_per_token']:14.2f} {auto['acceptance_rate']:9.2f}",
            flush=True,
        )
    print(json.dumps({"check": "widths", "threads": given.threads, "found": found}))


if __name__ == "__main__":
    main()
