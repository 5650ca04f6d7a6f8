"""Whether another version of specli decodes as fast as this one, round by round in turns.

Each version has a process of its own with the same models, and they take turns after every round,
so that what else the machine does hits both alike. The version in FOLDER (a work tree of the
repository) must have today's `Session.engine_for`. Printed are, for plain decoding, for a sampled
text and for drafts of four tokens, the time of this version over the other's, and how far the
median moves between halves of the prompts; texts must be the same.

    python scripts/two_versions.py FOLDER -m TARGET -md DRAFT [--prompts FILE.yaml] [--count 6]
        [--tokens 96] [-t 2]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

WAYS = ("plain", "sampled", "drafts of 4")
HERE = Path(__file__).resolve().parents[1]


@dataclass(slots=True)
class Version:
    """A process that runs one version; `ask` has it do one thing."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, folder: Path, given: argparse.Namespace, records: str) -> Version:
        models = ["-m", str(given.model.resolve()), "-md", str(given.draft.resolve())]
        models += ["-t", str(given.threads)]
        command = [sys.executable, str(Path(__file__).resolve()), str(folder), *models]
        return cls(
            subprocess.Popen(
                [*command, "--work", records],
                # A child that tries files must find this version too.
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    def ask(self, what: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline() or "{}")
        if not answer:
            raise SystemExit("a version has ended; its error is above")
        return answer


def work(given: argparse.Namespace) -> None:
    """Serve one version: begin a text, or do one round of it."""
    from specli.engine.sequence import GenerationRequest
    from specli.events import Round
    from specli.llama.chat import Message, prompt_tokens
    from specli.sampling.params import SamplingParams
    from specli.session import Session, Setup
    from specli.speculative import DraftModel, FixedLength, Placement, SpeculativeConfig

    # With threads that are given, a version does not make room for the other one.
    placement = Placement(threads=given.threads)
    drafting = SpeculativeConfig((DraftModel(given.draft, placement),), FixedLength(4))
    plain, sampled = SpeculativeConfig(), SamplingParams(temperature=0.8, seed=7)
    served = ((plain, SamplingParams()), (plain, sampled), (drafting, SamplingParams()))
    ways = dict(zip(WAYS, served, strict=True))
    setup = Setup(given.model, placement, n_ctx=2048, speculative=drafting)
    with Session(setup, Path(given.work)) as session:
        engine = session.engine_for(SpeculativeConfig())
        for line in sys.stdin:
            asked = json.loads(line)
            if "prompt" in asked:
                config, sampling = ways[asked["way"]]
                engine = session.engine_for(config)
                prompt = prompt_tokens(session.target_model, [Message("user", asked["prompt"])])
                engine.submit(
                    GenerationRequest(prompt, sampling=sampling, max_tokens=asked["tokens"])
                )
                print(json.dumps({"begun": True}), flush=True)
                continue
            # The threads of the other version may spin for some milliseconds after its round.
            sleep(0.05)
            began = perf_counter()
            events = [] if engine.idle else engine.step()
            seconds = perf_counter() - began
            tokens = [token for one in events if isinstance(one, Round) for token in one.tokens]
            told = {"seconds": seconds, "tokens": tokens, "idle": engine.idle}
            print(json.dumps(told), flush=True)


def raced(versions: list[Version], way: str, prompt: str, tokens: int) -> tuple[list[float], bool]:
    """The time of each round of the first version over the second's, and whether the texts are the
    same."""
    for one in versions:
        one.ask({"way": way, "prompt": prompt, "tokens": tokens})
    ratios: list[float] = []
    same, turn = True, 0
    while True:
        order = versions if turn % 2 else versions[::-1]
        told = {id(one): one.ask({}) for one in order}
        here, other = (told[id(one)] for one in versions)
        same &= here["tokens"] == other["tokens"]
        if here["tokens"] and other["tokens"]:
            ratios.append(here["seconds"] / other["seconds"])
        if here["idle"] or other["idle"]:
            return ratios, same
        turn += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-m", "--model", type=Path, required=True)
    parser.add_argument("-md", "--draft", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, default=HERE / "scripts" / "prompts.yaml")
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work is not None:
        work(given)
        return
    from round_by_round import read_prompts

    prompts = read_prompts(given.prompts, given.count)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        versions = [
            Version.start(HERE, given, first),
            Version.start(given.folder.resolve(), given, second),
        ]
        found: dict[str, object] = {}
        for way in WAYS:
            texts = [raced(versions, way, text, given.tokens) for text in prompts.values()]
            every = [ratio for ratios, _same in texts for ratio in ratios]
            halves = [
                statistics.median(ratio for ratios, _same in texts[part::2] for ratio in ratios)
                for part in (0, 1)
            ]
            found[way] = {
                "rounds": len(every),
                "median": round(statistics.median(every), 4),
                "halves": [round(one, 4) for one in halves],
                "same_texts": sum(same for _ratios, same in texts),
            }
            print(f"{way:12} {json.dumps(found[way])}", flush=True)
        for one in versions:
            one.process.terminate()
            one.process.wait()
    print(json.dumps({"check": "two versions", "prompts": len(prompts), "found": found}))


if __name__ == "__main__":
    main()
