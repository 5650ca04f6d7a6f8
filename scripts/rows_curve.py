"""T(rows): milliseconds for one decode of so many rows, at several widths.

    python scripts/rows_curve.py TARGET.gguf [--draft DRAFT.gguf] [--threads 2] [--repeat 5]
        [--context 64]

A row is one token of one sequence. At width n with k drafted tokens each, a round decodes
n · (k + 1) rows. Measured is every width in WIDTHS with every k in DRAFTED, as far as there are at
most 256 rows, with a cache in which every sequence has `--context` tokens already. Of the draft
model the time for one row of each of n sequences is measured: one step of drafting at width n.
Prints a table, and ends with one line of JSON for docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from specli.llama.context import Context
from specli.llama.model import Model
from specli.llama.opening import ContextOptions

WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
DRAFTED = (0, 1, 2, 3, 4, 7)
MOST_ROWS = 256


def times(
    path: Path, drafted: tuple[int, ...], *, threads: int, repeat: int, context: int
) -> dict[str, float]:
    """Medians by `width x rows of each`."""
    options = ContextOptions(
        n_ctx=context + 16,
        n_seq=max(WIDTHS),
        n_batch=MOST_ROWS,
        n_ubatch=MOST_ROWS,
        threads=threads,
    )
    token = 100
    found: dict[str, float] = {}
    with Model(path) as model, Context(model, options) as opened:
        for seq in range(max(WIDTHS)):
            opened.add(seq, [token + seq % 50] * context, 0, 1)
            opened.decode()
            # Only as many sequences as are measured lie in the cache.
            if seq + 1 in WIDTHS:
                for k in drafted:
                    if (seq + 1) * (k + 1) > MOST_ROWS:
                        continue
                    taken = [
                        one_round(opened, seq + 1, [token] * (k + 1), context)
                        for _turn in range(repeat + 1)
                    ]
                    found[f"{seq + 1}x{k + 1}"] = round(statistics.median(taken[1:]), 2)
    return found


def one_round(opened: Context, width: int, tokens: list[int], context: int) -> float:
    """One decode of these tokens for each sequence, taken back afterwards; milliseconds."""
    for seq in range(width):
        opened.add(seq, tokens, context, len(tokens))
    since = time.perf_counter()
    opened.decode()
    ms = 1000 * (time.perf_counter() - since)
    for seq in range(width):
        opened.rollback(seq, context)
    return ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--draft", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--context", type=int, default=64)
    given = parser.parse_args()
    how = {"threads": given.threads, "repeat": given.repeat, "context": given.context}
    target = times(given.target, DRAFTED, **how)
    draft = times(given.draft, (0,), **how) if given.draft else {}
    print("width " + "".join(f"  k={k:<6}" for k in DRAFTED) + "  draft step")
    for width in WIDTHS:
        cells = [target.get(f"{width}x{k + 1}") for k in DRAFTED]
        row = "".join("        –" if ms is None else f"{ms:9.1f}" for ms in cells)
        print(f"{width:5} {row}{draft.get(f'{width}x1', float('nan')):12.1f}")
    print(json.dumps({"target": given.target.name, **how, "ms": target, "draft_ms": draft}))


if __name__ == "__main__":
    main()
