"""specli beside llama.cpp's own programs: same files, prompts, threads, lengths, one run.

The two sides of a comparison alternate, and the one that goes first alternates too, so that a
slow minute of the machine hits both. Speeds are those each side reports for its generation phase,
prompt processing and loading not included. Printed are ratios (above 1: specli is faster): per
prompt the ratio of the medians and the lowest and highest ratio of single runs; at the end the
geometric mean, and one line of JSON.

    python scripts/bench_llama_cpp.py [--runs 3] [--tokens 128] [--only plain,draft,ngram]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import native
import yaml

from specli.hub.references import resolve
from specli.llama.chat import Message, prompt_text
from specli.llama.model import Model, ModelOptions
from specli.llama.quantize import quantize
from specli.profiles import load_profile
from specli.session import physical_cores

Side = Callable[[], native.Spoken]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt as two files: llama.cpp's programs drop one newline at the end."""

    category: str
    ours: Path
    theirs: Path


@dataclass(slots=True)
class Row:
    name: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    same_text: bool = True

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.theirs)

    @property
    def spread(self) -> tuple[float, float]:
        single = [a / b for a, b in zip(self.ours, self.theirs, strict=True)]
        return min(single), max(single)


@dataclass(frozen=True, slots=True)
class Bench:
    programs: Path
    target: Path
    draft: Path
    prompts: list[Prompt]
    tokens: int
    threads: int
    runs: int

    def ours(self, prompt: Prompt, *arguments: str) -> native.Spoken:
        command = [sys.executable, "-m", "specli", "run", "--raw", "--json", "-f", str(prompt.ours)]
        command += ["-m", str(self.target), "-n", str(self.tokens), "-t", str(self.threads)]
        done = subprocess.run(
            [*command, "-c", "4096", "--temp", "0", *arguments],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(native.ROOT)},
        )
        if done.returncode != 0:
            sys.exit(f"specli failed: {done.stderr}")
        said = json.loads(done.stdout)
        timings, outside = said["timings"], said["speculation"]["outside_ms"]
        OUTSIDE.append(outside / timings["predicted_ms"])
        return native.Spoken(
            text=said["text"],
            predicted=timings["predicted_n"],
            per_second=timings["predicted_per_second"],
            drafted=timings["draft_n"],
            accepted=timings["draft_n_accepted"],
        )

    def theirs(self, prompt: Prompt, *arguments: str) -> native.Spoken:
        return native.speculative(
            self.programs, self.target, prompt.theirs, self.tokens, self.threads, *arguments
        )


OUTSIDE: list[float] = []
"""Share of our generation time outside llama.cpp's calls, of every run."""


def alternate(name: str, runs: int, ours: Side, theirs: Side) -> Row:
    row = Row(name)
    for run in range(runs):
        first, second = (ours, theirs) if run % 2 == 0 else (theirs, ours)
        results = {first: first(), second: second()}
        row.ours.append(results[ours].per_second)
        row.theirs.append(results[theirs].per_second)
        row.same_text &= _same(results[ours].text, results[theirs].text)
    return row


def _same(ours: str, theirs: str) -> bool:
    """llama.cpp's programs print the prompt before the answer, and a word behind its end."""
    answer = theirs.replace("[end of text]", "").strip()
    return answer.endswith(ours.strip()) or ours.strip()[:60] in answer


def compare(bench: Bench, name: str) -> list[Row]:
    """One of the comparisons, over every prompt."""
    rows = []
    drafting = ["-md", str(bench.draft)]
    for prompt in bench.prompts:
        if name == "plain":
            ours: Side = lambda p=prompt: bench.ours(p, "--no-draft", "--no-ngram")  # type: ignore[misc] # noqa: E731
            theirs: Side = lambda p=prompt: native.plain(  # type: ignore[misc] # noqa: E731
                bench.programs, bench.target, p.theirs, bench.tokens, bench.threads
            )
        elif name == "draft":
            length = str(DRAFT_MAX)
            ours = lambda p=prompt, n=length: bench.ours(p, *drafting, "--draft", n)  # type: ignore[misc] # noqa: E731
            theirs = lambda p=prompt, n=length: bench.theirs(  # type: ignore[misc] # noqa: E731
                p, *drafting, "--spec-type", "draft-simple", "--spec-draft-n-max", n
            )
        else:
            size, most = str(NGRAM_SIZE), str(NGRAM_DRAFT)
            ours = lambda p=prompt: bench.ours(  # type: ignore[misc] # noqa: E731
                p, "--ngram", "--ngram-size", size, "--ngram-draft", most
            )
            theirs = lambda p=prompt: bench.theirs(  # type: ignore[misc] # noqa: E731
                p,
                "--spec-type",
                "ngram-simple",
                "--spec-ngram-simple-size-n",
                size,
                "--spec-ngram-simple-size-m",
                most,
            )
        rows.append(alternate(prompt.category, bench.runs, ours, theirs))
        _print_row(name, rows[-1])
    return rows


DRAFT_MAX = 4
NGRAM_SIZE, NGRAM_DRAFT = 4, 10


def _print_row(name: str, row: Row) -> None:
    low, high = row.spread
    ours, theirs = statistics.median(row.ours), statistics.median(row.theirs)
    text = "" if row.same_text else "  TEXT DIFFERS"
    print(
        f"{name:6} {row.name:12} {ours:7.1f} {theirs:7.1f} tok/s  "
        f"ratio {row.ratio:.3f}  ({low:.3f} to {high:.3f}){text}",
        flush=True,
    )


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def read_prompts(model: Model, folder: Path, categories: set[str]) -> list[Prompt]:
    """The prompts of scripts/prompts.yaml, rendered by the target's own template."""
    prompts = []
    texts = yaml.safe_load((native.ROOT / "scripts" / "prompts.yaml").read_text())
    for category, given in texts.items():
        if categories and category not in categories:
            continue
        for number, turns in enumerate(given):
            turns = turns if isinstance(turns, list) else [turns]
            roles = ["user", "assistant"] * len(turns)
            messages = [Message(role, turn) for role, turn in zip(roles, turns, strict=False)]
            text = prompt_text(model, messages)
            ours, theirs = (folder / f"{category}{number}.{side}" for side in ("ours", "theirs"))
            ours.write_text(text)
            theirs.write_text(text + "\n")
            prompts.append(Prompt(f"{category} {number + 1}", ours, theirs))
    return prompts


def main() -> None:
    parser = argparse.ArgumentParser(description="specli beside llama.cpp's own programs")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--only", default="plain,draft,ngram")
    parser.add_argument("--categories", default="")
    parser.add_argument("-m", "--model", type=Path)
    parser.add_argument("-md", "--model-draft", type=Path)
    arguments = parser.parse_args()
    programs = native.build()
    profile = load_profile("smollm2")
    target = arguments.model or resolve(profile.target_model, quantize)
    if profile.draft_model is None:
        sys.exit("the profile has no draft")
    draft = arguments.model_draft or resolve(profile.draft_model, quantize)
    with tempfile.TemporaryDirectory() as folder:
        with Model(target, ModelOptions(vocab_only=True)) as model:
            wanted = set(filter(None, arguments.categories.split(",")))
            prompts = read_prompts(model, Path(folder), wanted)
        bench = Bench(
            programs, target, draft, prompts, arguments.tokens, arguments.threads, arguments.runs
        )
        print(f"target {target.name}, draft {draft.name}, {bench.threads} threads")
        summary: dict[str, object] = {}
        for name in arguments.only.split(","):
            rows = compare(bench, name)
            ratios = [row.ratio for row in rows]
            summary[name] = {
                "geometric_mean": round(geometric_mean(ratios), 3),
                "lowest": round(min(ratios), 3),
                "highest": round(max(ratios), 3),
                "same_text": sum(row.same_text for row in rows),
                "prompts": len(rows),
            }
            print(f"{name}: geometric mean {geometric_mean(ratios):.3f}", flush=True)
        summary["outside_llama_cpp"] = round(statistics.median(OUTSIDE), 4)
        summary["outside_llama_cpp_highest"] = round(max(OUTSIDE), 4)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
