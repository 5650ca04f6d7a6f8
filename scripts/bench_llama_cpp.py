"""specli beside llama.cpp's own programs: same files, prompts, threads, lengths, one run.

The contenders of a comparison take turns on every prompt, and who goes first changes from run to
run, so that a slow minute of the machine hits all of them. Speeds are those that each side
reports for its generation phase, loading and prompt not included. Printed are ratios (above 1:
specli is faster): per prompt the ratio of the medians, and the lowest and highest ratio of single
runs; at the end geometric means, and one line of JSON.

    plain   plain decoding, against llama-completion
    draft   the draft model at a fixed length, against draft-simple at the same length
    ngram   n-gram drafting at fixed sizes, against ngram-simple at the same sizes
    auto    `--draft auto`, against draft-simple with llama.cpp's defaults, and against plain
    grid    `--draft auto`, against the best of draft-simple over lengths and cut-offs
    search  no draft model: against the best of llama.cpp's n-gram kinds, default and small
    predict `--prediction` of the plain answer with every tenth word wrong, against plain

    python scripts/bench_llama_cpp.py [--runs 3] [--only plain,draft,ngram] [-m FILE -md FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import native
import yaml

from specli.events import TARGET
from specli.hub.references import resolve
from specli.llama.chat import Message, prompt_text
from specli.llama.model import Model, ModelOptions
from specli.llama.quantize import quantize
from specli.profiles import load_profile
from specli.session.loading import physical_cores

DRAFT_MAX = "4"
NGRAM_SIZE, NGRAM_DRAFT = "4", "10"
GRID = [
    ("--spec-draft-n-max", str(length), "--spec-draft-p-min", str(cut))
    for length in (2, 3, 4, 6, 8, 16)
    for cut in (0, 0.5, 0.75)
]
SEARCHED = ("copy-edit", "summary", "code", "json")

WRONG_WORDS = ("something", "green", "nevertheless", "x", "table", "Monday", "42", "value_of_it")

Run = Callable[[], native.Spoken]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt and its file, with the one newline at the end that every program drops."""

    category: str
    name: str
    text: str
    file: Path


@dataclass(slots=True)
class Measured:
    """Tokens per second of one contender on one prompt, a run each, and what came of the last."""

    speeds: list[float] = field(default_factory=list)
    last: native.Spoken = field(default_factory=lambda: native.Spoken("", 0, 0.0))

    @property
    def median(self) -> float:
        return statistics.median(self.speeds)


@dataclass(frozen=True, slots=True)
class Ratio:
    """specli over another contender on one prompt."""

    prompt: Prompt
    ours: Measured
    theirs: Measured
    same_text: bool

    @property
    def value(self) -> float:
        return self.ours.median / self.theirs.median

    @property
    def spread(self) -> tuple[float, float]:
        pairs = zip(self.ours.speeds, self.theirs.speeds, strict=True)
        single = [ours / theirs for ours, theirs in pairs]
        return min(single), max(single)


@dataclass(slots=True)
class Bench:
    programs: Path
    target: Path
    draft: Path
    prompts: list[Prompt]
    tokens: int
    threads: int
    runs: int
    outside: list[float] = field(default_factory=list)
    """Share of specli's generation time outside llama.cpp's calls, of every run."""

    def specli(self, prompt: Prompt, *arguments: str) -> native.Spoken:
        command = [sys.executable, "-m", "specli", "run", "--raw", "--json", "-f", str(prompt.file)]
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
        timings, told = said["timings"], said["speculation"]
        share = told["outside_ms"] / timings["predicted_ms"]
        self.outside.append(share)
        return native.Spoken(
            said["text"],
            timings["predicted_n"],
            timings["predicted_per_second"],
            (timings["draft_n"], timings["draft_n_accepted"]),
            outside=(share, 1000 * told["outside_ms"] / told["rounds"]),
            rounds=tuple(map(_round, said["rounds"])),
        )

    def with_draft(self, prompt: Prompt, *arguments: str) -> native.Spoken:
        return self.specli(prompt, "-md", str(self.draft), *arguments)

    def plain(self, prompt: Prompt) -> native.Spoken:
        return self.specli(prompt, "--spec-type", "none")

    def completion(self, prompt: Prompt) -> native.Spoken:
        return native.plain(self.programs, self.target, prompt.file, self.tokens, self.threads)

    def speculative(self, prompt: Prompt, *arguments: str) -> native.Spoken:
        return native.speculative(
            self.programs, self.target, prompt.file, self.tokens, self.threads, *arguments
        )

    def draft_simple(self, prompt: Prompt, *arguments: str) -> native.Spoken:
        drafting = ("-md", str(self.draft), "--spec-type", "draft-simple")
        return self.speculative(prompt, *drafting, *arguments)

    def lookup(self, prompt: Prompt, *arguments: str) -> native.Spoken:
        return native.lookup(
            self.programs, self.target, prompt.file, self.tokens, self.threads, *arguments
        )


def _round(told: dict[str, list[dict[str, object]]]) -> tuple[int, list[int]]:
    """Accepted tokens and the proposal of a round in specli's JSON."""
    accepted = [token for token in told["tokens"] if token["source"] != TARGET]
    return len(accepted), [int(str(token["id"])) for token in accepted + told["rejected"]]


def take_turns(runs: int, contenders: dict[str, Run]) -> dict[str, Measured]:
    """Every contender `runs` times, in an order that turns by one from run to run."""
    measured = {name: Measured() for name in contenders}
    names = list(contenders)
    for run in range(runs):
        turn = run % len(names)
        for name in names[turn:] + names[:turn]:
            spoken = contenders[name]()
            measured[name].speeds.append(spoken.per_second)
            measured[name].last = spoken
    return measured


def ratio(prompt: Prompt, ours: Measured, theirs: Measured) -> Ratio:
    return Ratio(prompt, ours, theirs, _same(ours.last.text, theirs.last.text))


def _same(ours: str, theirs: str) -> bool:
    """llama.cpp's programs print the prompt before the answer and may go on for some tokens."""
    answer = ours.strip()
    return answer in theirs.replace("[end of text]", "")


def contenders_of(bench: Bench, name: str, prompt: Prompt) -> dict[str, Run]:
    """specli first, under the name `specli`; every other one is compared with it."""
    if name == "plain":
        return {
            "specli": partial(bench.plain, prompt),
            "llama-completion": partial(bench.completion, prompt),
        }
    if name == "draft":
        return {
            "specli": partial(bench.with_draft, prompt, "--draft", DRAFT_MAX),
            "draft-simple": partial(bench.draft_simple, prompt, "--spec-draft-n-max", DRAFT_MAX),
        }
    if name == "ngram":
        sizes = ("--ngram-size", NGRAM_SIZE, "--ngram-draft", NGRAM_DRAFT)
        return {
            "specli": partial(bench.specli, prompt, "--ngram", *sizes),
            "ngram-simple": partial(
                bench.speculative, prompt, *_ngram("simple", NGRAM_SIZE, NGRAM_DRAFT)
            ),
        }
    if name == "auto":
        return {
            "specli": partial(bench.with_draft, prompt),
            "draft-simple": partial(bench.draft_simple, prompt),
            "plain": partial(bench.plain, prompt),
        }
    if name == "grid":
        grid = {" ".join(setting[1::2]): setting for setting in GRID}
        return {
            "specli": partial(bench.with_draft, prompt),
            **{key: partial(bench.draft_simple, prompt, *args) for key, args in grid.items()},
        }
    if name == "search":
        return {"specli": partial(bench.specli, prompt), **_searching(bench, prompt)}
    raise SystemExit(f"no comparison is called {name!r}")


def _ngram(kind: str, size: str, most: str) -> list[str]:
    option = f"--spec-ngram-{kind}-size"
    return ["--spec-type", f"ngram-{kind}", f"{option}-n", size, f"{option}-m", most]


def _searching(bench: Bench, prompt: Prompt) -> dict[str, Run]:
    """llama.cpp's n-gram kinds at default and at small sizes, and llama-lookup."""
    mod = ["--spec-type", "ngram-mod"]
    small = ["--spec-ngram-mod-n-match", "6", "--spec-ngram-mod-n-min", "2"]
    kinds = {
        "ngram-simple": ["--spec-type", "ngram-simple"],
        "ngram-simple small": _ngram("simple", "3", "8"),
        "ngram-map-k": ["--spec-type", "ngram-map-k"],
        "ngram-map-k small": _ngram("map-k", "3", "8"),
        "ngram-mod": mod,
        "ngram-mod small": [*mod, *small, "--spec-ngram-mod-n-max", "8"],
        "ngram-cache": ["--spec-type", "ngram-cache"],
    }
    runs: dict[str, Run] = {
        name: partial(bench.speculative, prompt, *arguments) for name, arguments in kinds.items()
    }
    return {**runs, "llama-lookup": partial(bench.lookup, prompt)}


def compare(bench: Bench, name: str) -> dict[str, object]:
    """One comparison over every prompt: prints a row a prompt, returns the summary."""
    against: dict[str, list[Ratio]] = {}
    best: list[Ratio] = []
    for prompt in bench.prompts:
        if name == "search" and prompt.category not in SEARCHED:
            continue
        if name == "predict":
            measured = _predict(bench, prompt)
        else:
            measured = take_turns(bench.runs, contenders_of(bench, name, prompt))
        ours = measured.pop("specli")
        ratios = {key: ratio(prompt, ours, theirs) for key, theirs in measured.items()}
        for key, one in ratios.items():
            against.setdefault(key, []).append(one)
        strongest = min(ratios, key=lambda key: ratios[key].value)
        best.append(ratios[strongest])
        for key, one in ratios.items() if len(ratios) <= 2 else [(strongest, ratios[strongest])]:
            _print_row(name, key, one)
    summary: dict[str, object] = {key: _summary(ratios) for key, ratios in against.items()}
    if len(against) > 2:
        summary = {"best of them for each prompt": _summary(best)}
        if name == "grid":
            summary["best of them for each category"] = _by_category(against)
    for key, told in summary.items():
        print(f"{name} against {key}: {told}", flush=True)
    return summary


def _predict(bench: Bench, prompt: Prompt) -> dict[str, Measured]:
    """The plain answer with every tenth word replaced is the prediction."""
    text = bench.plain(prompt).text
    count = itertools.count(1)
    wrong = itertools.cycle(WRONG_WORDS)
    expected = re.sub(
        r"\S+", lambda word: next(wrong) if next(count) % 10 == 5 else word.group(), text
    )
    prediction = prompt.file.with_suffix(".prediction")
    prediction.write_text(expected)
    contenders: dict[str, Run] = {
        "specli": partial(bench.with_draft, prompt, "--prediction", str(prediction)),
        "plain": partial(bench.plain, prompt),
    }
    return take_turns(bench.runs, contenders)


def _summary(ratios: list[Ratio]) -> dict[str, object]:
    values = [one.value for one in ratios]
    return {
        "geometric_mean": round(geometric_mean(values), 3),
        "lowest": round(min(values), 3),
        "highest": round(max(values), 3),
        "prompts": len(values),
        "other_text": [one.prompt.name for one in ratios if not one.same_text],
    }


def _by_category(against: dict[str, list[Ratio]]) -> dict[str, object]:
    """Per category the setting that was best there in hindsight, and our ratio to it."""
    categories = {one.prompt.category for ratios in against.values() for one in ratios}
    told = {}
    for category in sorted(categories):
        means = {
            key: geometric_mean(one.value for one in ratios if one.prompt.category == category)
            for key, ratios in against.items()
        }
        strongest = min(means, key=lambda key: means[key])
        told[category] = (strongest, round(means[strongest], 3))
    overall = geometric_mean(value for _setting, value in told.values())
    return {"geometric_mean": round(overall, 3), **told}


def _print_row(name: str, other: str, one: Ratio) -> None:
    low, high = one.spread
    text = "" if one.same_text else "  TEXT DIFFERS"
    print(
        f"{name:6} {one.prompt.name:13} {one.ours.median:6.1f}  {other:18} "
        f"{one.theirs.median:6.1f} tok/s  ratio {one.value:.3f}  ({low:.3f} to {high:.3f}){text}",
        flush=True,
    )


def geometric_mean(values: Iterable[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def read_prompts(model: Model, folder: Path, categories: set[str]) -> list[Prompt]:
    """The prompts of scripts/prompts.yaml, rendered by the target's own template."""
    prompts = []
    texts = yaml.safe_load((native.ROOT / "scripts" / "prompts.yaml").read_text())
    for category, given in texts.items():
        if categories and category not in categories:
            continue
        for number, turns in enumerate(given):
            said = turns if isinstance(turns, list) else [turns]
            roles = ["user", "assistant"] * len(said)
            messages = [Message(role, turn) for role, turn in zip(roles, said, strict=False)]
            text = prompt_text(model, messages)
            file = folder / f"{category}{number}.txt"
            file.write_text(text + "\n")
            prompts.append(Prompt(category, f"{category} {number + 1}", text, file))
    return prompts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--only", default="plain,draft,ngram,auto")
    parser.add_argument("--categories", default="")
    parser.add_argument("--one-each", action="store_true", help="one prompt a category")
    parser.add_argument("-m", "--model", type=Path)
    parser.add_argument("-md", "--model-draft", type=Path)
    given = parser.parse_args()
    programs = native.build()
    profile = load_profile("smollm2")
    target = given.model or resolve(profile.target_model, quantize)
    if profile.draft_model is None:
        sys.exit("the profile has no draft")
    draft = given.model_draft or resolve(profile.draft_model, quantize)
    with tempfile.TemporaryDirectory() as folder:
        with Model(target, ModelOptions(vocab_only=True)) as model:
            wanted = set(filter(None, given.categories.split(",")))
            prompts = read_prompts(model, Path(folder), wanted)
        if given.one_each:
            prompts = list({prompt.category: prompt for prompt in reversed(prompts)}.values())[::-1]
        bench = Bench(programs, target, draft, prompts, given.tokens, given.threads, given.runs)
        print(f"target {target.name}, draft {draft.name}, {bench.threads} threads", flush=True)
        summary: dict[str, object] = {name: compare(bench, name) for name in given.only.split(",")}
    summary["outside_llama_cpp"] = {
        "median": round(statistics.median(bench.outside), 4),
        "highest": round(max(bench.outside), 4),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
