"""Speculation against plain decoding and fixed lengths, round by round in one process.

Every contender has a sequence of its own on the same models, and they take turns after each round,
so that what else the machine does hits all alike: on a shared machine whole runs differ by a tenth,
and these ratios by a hundredth or two. Each figure is a speed over plain decoding's. What a run
pays once, loading and measuring, is in none of them; measuring again between rounds is.

    python scripts/round_by_round.py -m TARGET [-md DRAFT_OR_HEAD] [--lengths 2,4,8,16]
        [--prompts FILE.yaml] [--count 10] [--tokens 96]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import yaml
from bench_llama_cpp import geometric_mean

from specli.engine.engine import Engine
from specli.engine.sequence import GenerationRequest
from specli.events import Finished, Round
from specli.gguf.check import check_file
from specli.gguf.heads import head_kind
from specli.llama.chat import Message, prompt_tokens
from specli.session import Lane, Session, Setup
from specli.speculative import (
    DrafterConfig,
    DraftModel,
    FixedLength,
    Head,
    SpeculativeConfig,
    Suffix,
)

PROMPTS = Path(__file__).parent / "prompts.yaml"


@dataclass(slots=True)
class Contender:
    """One way to decode, and what its rounds after the prompt took, in seconds."""

    name: str
    engine: Engine
    seconds: float = 0.0
    outside: float = 0.0
    tokens: list[int] = field(default_factory=list)

    def step(self) -> None:
        began = perf_counter()
        events = self.engine.step()
        took = perf_counter() - began
        for event in events:
            if isinstance(event, Round):
                self.seconds += took
                self.outside += took - event.native_ms / 1000
                self.tokens += event.tokens
            elif isinstance(event, Finished) and event.error is not None:
                raise event.error

    @property
    def speed(self) -> float:
        return len(self.tokens) / self.seconds


def configs(given: argparse.Namespace) -> dict[str, SpeculativeConfig]:
    drafters: list[DrafterConfig] = []
    if given.draft is not None:
        kind = head_kind(check_file(given.draft))
        drafters.append(DraftModel(given.draft) if kind is None else Head(kind, given.draft))
    every = SpeculativeConfig((*drafters, Suffix()))
    fixed = [int(length) for length in given.lengths.split(",") if length] if drafters else []
    return {
        "auto": every,
        "plain": SpeculativeConfig(),
        **{str(one): SpeculativeConfig(tuple(drafters), FixedLength(one)) for one in fixed},
    }


def read_prompts(path: Path, count: int) -> dict[str, str]:
    """The first turn of one prompt of every category, then of the others."""
    texts: dict[str, list[str | list[str]]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = {
        f"{category} {number + 1}": turn if isinstance(turn, str) else turn[0]
        for number in range(max(map(len, texts.values())))
        for category, turns in texts.items()
        for turn in turns[number : number + 1]
    }
    return dict(list(found.items())[:count])


def raced(
    session: Session, text: str, tokens: int, every: dict[str, SpeculativeConfig]
) -> list[Contender]:
    prompt = prompt_tokens(session.target_model, [Message("user", text)])
    contenders = [
        Contender(name, session.engine_for(config, lane=Lane(slot)))
        for slot, (name, config) in enumerate(every.items())
    ]
    for one in contenders:
        one.engine.submit(GenerationRequest(prompt, max_tokens=tokens))
    while running := [one for one in contenders if not one.engine.idle]:
        for one in running:
            one.step()
    return contenders


def told(name: str, contenders: list[Contender]) -> dict[str, float]:
    """Print one prompt's speeds over plain decoding."""
    plain = next(one for one in contenders if one.name == "plain")
    ratios = {one.name: one.speed / plain.speed for one in contenders if one is not plain}
    auto = contenders[0]
    figures = "  ".join(f"{one} {ratio:.3f}" for one, ratio in ratios.items())
    outside = f"outside llama.cpp {100 * auto.outside / auto.seconds:.1f} %"
    other = [one.name for one in contenders if one.tokens != plain.tokens]
    differ = f"  other text: {', '.join(other)}" if other else ""
    print(f"{name:16} {figures}  (plain {plain.speed:.1f} tok/s, {outside}){differ}", flush=True)
    return ratios


def summary(found: list[dict[str, float]]) -> dict[str, object]:
    autos = [one["auto"] for one in found]
    best = [max([1.0, *(ratio for name, ratio in one.items() if name != "auto")]) for one in found]
    over = [auto / most for auto, most in zip(autos, best, strict=True)]
    return {
        "geometric_means": {
            name: round(geometric_mean(one[name] for one in found), 3) for name in found[0]
        },
        "auto_lowest": round(min(autos), 3),
        "auto_below_0.97": sum(auto < 0.97 for auto in autos),
        "auto_over_best": {
            "mean": round(statistics.fmean(over), 3),
            "lowest": round(min(over), 3),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-m", "--model", type=Path, required=True)
    parser.add_argument("-md", "--draft", type=Path)
    parser.add_argument("--lengths", default="2,4,8,16")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=96)
    given = parser.parse_args()
    every = configs(given)
    setup = Setup(given.model, speculative=every["auto"], n_ctx=2048, slots=len(every), steady=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Session(setup, Path(folder), lambda note: print(note, file=sys.stderr)) as session,
    ):
        found = [
            told(name, raced(session, text, given.tokens, every))
            for name, text in read_prompts(given.prompts, given.count).items()
        ]
    print(json.dumps(summary(found)))


if __name__ == "__main__":
    main()
