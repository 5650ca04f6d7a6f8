"""specli beside llama.cpp's own drafting with the same head: same files, prompts, threads, one run.

For each prompt five contenders take turns, and who goes first changes from run to run: specli and
`llama-speculative-simple` at one fixed length, specli with lengths by cost, llama.cpp with its
defaults, and specli without drafting. Texts have to be equal, and so have, at the fixed length, the
drafted and accepted tokens, but where the head has a near tie. llama.cpp's are taken from its log
of an untimed run, without what it drafts past the limit and counts past the end
(tests/heads_compare.py). Ratios above 1 mean that specli is faster.

    python scripts/bench_heads.py -m TARGET -md HEAD [--kind draft-eagle3] [--length 4] [--runs 1]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

import native
from bench_llama_cpp import (
    Bench,
    Measured,
    Prompt,
    Ratio,
    Run,
    geometric_mean,
    ratio,
    read_prompts,
    take_turns,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from specli.gguf.check import check_file
from specli.gguf.heads import head_kind
from specli.llama.model import Model, ModelOptions
from specli.session.loading import physical_cores
from tests import heads_compare

COMPARED = {
    "fixed": ("specli", "llama.cpp"),
    "auto": ("auto", "default"),
    "plain": ("auto", "plain"),
}
"""Ratios: who is compared with whom."""


def contenders(bench: Bench, prompt: Prompt, kind: str, length: str, *more: str) -> dict[str, Run]:
    theirs = ("-md", str(bench.draft), "--spec-type", kind, *more)
    return {
        "specli": partial(bench.with_draft, prompt, "--spec-type", kind, "--draft", length),
        "llama.cpp": partial(bench.speculative, prompt, *theirs, "--spec-draft-n-max", length),
        "auto": partial(bench.with_draft, prompt),
        "default": partial(bench.speculative, prompt, *theirs),
        "plain": partial(bench.plain, prompt),
    }


def counts(
    bench: Bench, prompt: Prompt, kind: str, length: str, ours: native.Spoken
) -> tuple[str, bool]:
    """How the drafts of both at one fixed length compare, and whether that is explained: they are
    the same until the text ends as specli's does, or part at near ties of the head alone."""
    said = contenders(bench, prompt, kind, length, "--log-verbosity", "5")["llama.cpp"]()
    rounds = heads_compare.counted(
        heads_compare.told_rounds(said.log), bench.tokens, ours.predicted
    )
    theirs = sum(drafted for _, drafted in rounds), sum(accepted for accepted, _ in rounds)
    ties, others = heads_compare.other_drafts(ours.rounds, said.log, bench.tokens)
    drafted, accepted = ours.counts
    told = f"{accepted:3} of {drafted:3}"
    same = theirs == (drafted, accepted - heads_compare.uncounted_end(ours.rounds, ours.predicted))
    if not same or others:
        told += f" ({theirs[1]} of {theirs[0]}; near ties after {ties}, other drafts {others})"
    return told, not others and (same or bool(ties))


def print_prompt(
    prompt: Prompt, measured: dict[str, Measured], ratios: dict[str, Ratio], counted: str
) -> None:
    told = "  ".join(f"{name} {one.value:.3f}" for name, one in ratios.items())
    speeds = "  ".join(f"{name} {one.median:.1f}" for name, one in measured.items())
    marks = [f"{name}: TEXT DIFFERS" for name, one in ratios.items() if not one.same_text]
    print(f"{prompt.name:13} {counted}  {told}  ({speeds})", *marks, flush=True)


def summary(
    found: dict[str, list[Ratio]], outside: dict[str, list[tuple[float, float]]]
) -> dict[str, object]:
    told: dict[str, object] = {
        name: {
            "geometric_mean": round(geometric_mean(one.value for one in ratios), 3),
            "lowest": round(min(one.value for one in ratios), 3),
            "other_text": [one.prompt.name for one in ratios if not one.same_text],
        }
        for name, ratios in found.items()
    }
    told["outside_llama_cpp"] = {
        name: {
            "share": round(statistics.median(share for share, _ in shares), 4),
            "us_a_round": round(statistics.median(us for _, us in shares)),
        }
        for name, shares in outside.items()
    }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-m", "--model", type=Path, required=True)
    parser.add_argument("-md", "--head", type=Path, required=True)
    parser.add_argument("--kind", help="llama.cpp's name of the drafter; by default the file's")
    parser.add_argument("--length", default="4")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("-t", "--threads", type=int, default=physical_cores())
    parser.add_argument("--prompts", type=int, default=10, help="one prompt a category first")
    given = parser.parse_args()
    kind = given.kind or head_kind(check_file(given.head))
    if kind is None:
        sys.exit(f"{given.head} is no draft head")
    found: dict[str, list[Ratio]] = {name: [] for name in COMPARED}
    outside: dict[str, list[tuple[float, float]]] = {"specli": [], "auto": [], "plain": []}
    unexplained: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        with Model(given.model, ModelOptions(vocab_only=True)) as model:
            prompts = read_prompts(model, Path(folder), set())
        first = {prompt.category: prompt for prompt in reversed(prompts)}
        others = [prompt for prompt in prompts if prompt not in first.values()]
        prompts = [*reversed(first.values()), *others][: given.prompts]
        bench = Bench(
            native.build(),
            given.model,
            given.head,
            prompts,
            given.tokens,
            given.threads,
            given.runs,
        )
        print(f"target {given.model.name}, {kind} {given.head.name}, {bench.threads} threads")
        for prompt in prompts:
            measured = take_turns(bench.runs, contenders(bench, prompt, kind, given.length))
            ratios = {
                name: ratio(prompt, measured[ours], measured[theirs])
                for name, (ours, theirs) in COMPARED.items()
            }
            for name, one in ratios.items():
                found[name].append(one)
            counted, explained = counts(bench, prompt, kind, given.length, measured["specli"].last)
            if not explained:
                unexplained.append(prompt.name)
            for name, shares in outside.items():
                shares.append(measured[name].last.outside)
            print_prompt(prompt, measured, ratios, counted)
    print(json.dumps({**summary(found, outside), "unexplained_counts": unexplained}))


if __name__ == "__main__":
    main()
