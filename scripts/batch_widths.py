"""Tokens per second of a batch by how many prompts run at once, plain and with speculation.

    python scripts/batch_widths.py [--widths 1,2,4,8,16,32] [--tokens 48]
        [--threads 2] [--profile P]

For every width both engines answer the same prompts, twice as many as the width and at least eight;
loading and a first answer in every slot do not count. Prints a table, and ends with one line of
JSON for docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import time

from specli.cluster import BatchEngine

TOPICS = ("rivers", "clocks", "gardens", "letters", "engines", "windows", "markets", "bridges")


def speed(options: dict[str, object], width: int) -> dict[str, float]:
    prompts = [
        f"Explain to a child, in a few sentences, what {TOPICS[n % 8]} are for. ({n})"
        for n in range(max(8, 2 * width))
    ]
    engine = BatchEngine(options, parallel=width)
    try:
        engine({"prompt": prompts[:width]})
        since = time.perf_counter()
        answers = engine({"prompt": prompts})
        seconds = time.perf_counter() - since
    finally:
        engine.close()
    records = [json.loads(record) for record in answers["record"]]
    tokens = sum(record["completion_tokens"] for record in records)
    drafted = sum(record["timings"]["draft_n"] for record in records)
    accepted = sum(record["timings"]["draft_n_accepted"] for record in records)
    return {
        "tokens_per_second": round(tokens / seconds, 1),
        "drafted_per_token": round(drafted / tokens, 2),
        "acceptance_rate": round(accepted / drafted, 3) if drafted else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", default="1,2,4,8,16,32")
    parser.add_argument("--tokens", type=int, default=48)
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
        plain = speed({**common, "draft_max": 0}, width)
        auto = speed(common, width)
        ratio = auto["tokens_per_second"] / plain["tokens_per_second"]
        found.append({"width": width, "plain": plain["tokens_per_second"], "auto": auto})
        print(
            f"{width:5} {plain['tokens_per_second']:7.1f} {auto['tokens_per_second']:7.1f}"
            f" {ratio:6.2f} {auto['drafted_per_token']:14.2f} {auto['acceptance_rate']:9.2f}",
            flush=True,
        )
    print(json.dumps({"check": "widths", "threads": given.threads, "found": found}))


if __name__ == "__main__":
    main()
