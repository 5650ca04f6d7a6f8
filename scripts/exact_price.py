"""What `--exact` costs: tokens per second beside the default, plain and drafting.

    python scripts/exact_price.py MODEL.gguf[,DRAFT.gguf] … [--runs N]

Every run is a process of its own, since llama.cpp decides about its tiled kernels once; default and
exact take turns. Prints one row per model, medians over the runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from specli.engine.sequence import GenerationRequest
from specli.generation import Generation
from specli.llama.chat import Message, prompt_tokens
from specli.session import Session, Setup
from specli.speculative import DraftModel, SpeculativeConfig, Suffix

PROMPT = "Write about the sea, and repeat your first sentence at the end. " * 6


def speeds(target: Path, draft: Path | None, records: Path, *, exact: bool) -> dict[str, float]:
    drafters = (Suffix(),) if draft is None else (DraftModel(draft), Suffix())
    setup = Setup(target, speculative=SpeculativeConfig(drafters), n_ctx=1024, exact=exact)
    found = {}
    with Session(setup, records) as session:
        tokens = prompt_tokens(session.target_model, [Message("user", PROMPT)])
        for name, config in (("plain", SpeculativeConfig()), ("auto", setup.speculative)):
            for most in (8, 64):
                engine, generation = session.engine_for(config), Generation()
                engine.submit(GenerationRequest(tokens, max_tokens=most, ignore_end=True))
                for event in engine.run():
                    generation.add(event)
            found[name] = generation.stats.predicted_per_second or 0.0
            found["prompt"] = generation.stats.prompt_per_second or 0.0
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--records", type=Path)
    parser.add_argument("--one", choices=("default", "exact"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    records = given.records or Path(tempfile.gettempdir()) / "exact-price"
    if given.one:
        target, _comma, draft = given.models[0].partition(",")
        exact = given.one == "exact"
        found = speeds(Path(target), Path(draft) if draft else None, records, exact=exact)
        print(json.dumps(found))
        return
    print("model: plain, auto, prompt in tokens/s; default and exact")
    for model in given.models:
        runs: dict[str, list[dict[str, float]]] = {"default": [], "exact": []}
        # The first of each finds costs and batch sizes.
        for _run in range(given.runs + 1):
            for kind, several in runs.items():
                command = [sys.executable, __file__, model, "--one", kind]
                command += ["--records", str(records)]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                several.append(json.loads(told.splitlines()[-1]))
        medians = {
            name: [statistics.median(run[name] for run in several[1:]) for several in runs.values()]
            for name in ("plain", "auto", "prompt")
        }
        cells = (f"{n} {a:.1f} {b:.1f} ({b / a:.2f})" for n, (a, b) in medians.items())
        print(f"{Path(model.partition(',')[0]).name}: {'; '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
