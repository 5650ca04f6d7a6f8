"""Texts under `--exact`: every drafter, draft length and parallel width against plain decoding.

    python scripts/exact_texts.py MODEL.gguf[,DRAFT.gguf] … [--checked] [--tokens N] [--prompts N]
        [--threads N] [--records DIR]

For each target, greedy and sampled: plain decoding of one sequence, then the first prompts with
every drafter, and the others side by side at widths 4 and 8. The first prompt is longer than 512
tokens. With `--checked` the drafted texts are made without `--exact`, and each one that differs
from plain decoding is replayed. Ends with one JSON line of counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from specli.bench.difference import compared
from specli.engine.engine import Engine
from specli.engine.sequence import GenerationRequest
from specli.generation import Generation
from specli.llama.chat import Message, prompt_tokens
from specli.sampling.params import SamplingParams
from specli.session import Session, Setup
from specli.speculative import (
    DraftModel,
    FixedLength,
    NgramCache,
    NgramSimple,
    Placement,
    Prediction,
    SpeculativeConfig,
    Suffix,
)

PROMPTS = (
    "Write one sentence about the sea.",
    "Repeat twice: one two three, one two three.",
    "List four colours.",
    "def add(a, b):",
    "Why is the sky blue?",
    "Write a haiku about rain.",
    "Count from one to ten, then count again.",
    "Translate to French: good morning, good evening.",
    "Name a city, and say where it is.",
)
EXPECTED = "The sky is blue. One two three, one two three. Red, green, blue and yellow."
SAMPLINGS = {
    "greedy": SamplingParams(),
    "sampled": SamplingParams(temperature=0.8, seed=7, repeat_penalty=1.1),
}
WIDTHS = (4, 8)


def configs(draft: DraftModel | None) -> dict[str, SpeculativeConfig]:
    found = {
        "suffix": SpeculativeConfig((Suffix(),)),
        "n-gram": SpeculativeConfig((NgramSimple(1, 8),), FixedLength(8)),
        "lookup": SpeculativeConfig((NgramCache(),), FixedLength(8)),
        "prediction": SpeculativeConfig((Prediction(EXPECTED),)),
    }
    if draft is not None:
        found["draft 3"] = SpeculativeConfig((draft,), FixedLength(3))
        found["draft 11"] = SpeculativeConfig((draft,), FixedLength(11))
        found["auto"] = SpeculativeConfig((draft, Suffix()))
    return found


def texts_of(engine: Engine, requests: list[GenerationRequest]) -> list[Generation]:
    """All requests at once, in their order."""
    found = {engine.submit(request): Generation() for request in requests}
    for event in engine.run():
        found[event.seq].add(event)
    return list(found.values())


def requests_of(
    session: Session, given: argparse.Namespace, sampling: SamplingParams
) -> list[GenerationRequest]:
    # The first prompt is long enough for attention to pass 512 cached tokens.
    before = "A word is a word is a word. " * 70
    return [
        GenerationRequest(
            prompt_tokens(session.target_model, [Message("user", before * (number == 0) + text)]),
            max_tokens=given.tokens,
            sampling=replace(sampling, seed=sampling.seed + number),
            ignore_end=True,
        )
        for number, text in enumerate(PROMPTS[: given.prompts] if given.checked else PROMPTS)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--checked", action="store_true")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help="for each drafter")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--records", type=Path)
    given = parser.parse_args()
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for named in given.models:
            target, _comma, other = named.partition(",")
            placed = Placement(threads=given.threads)
            draft = DraftModel(Path(other), placed) if other else None
            records = given.records or Path(folder)
            counts: Counter[str] = Counter()
            alone(Path(target), draft, records, given, counts)
            print(f"{Path(target).name}: {dict(counts)}", flush=True)
            total += counts
    print(json.dumps(dict(total)))
    sys.exit(any("DIFFERS" in name or "fault" in name for name in total))


def alone(
    target: Path,
    draft: DraftModel | None,
    records: Path,
    given: argparse.Namespace,
    counts: Counter[str],
) -> None:
    every = SpeculativeConfig(() if draft is None else (draft,))
    placed = Placement(threads=given.threads)
    setup = Setup(
        target, placed, n_ctx=1024, speculative=every, exact=not given.checked, steady=True
    )
    plain: dict[str, list[list[int]]] = {name: [] for name in SAMPLINGS}
    with Session(setup, records, print) as session:
        for name, sampling in SAMPLINGS.items():
            for number, request in enumerate(requests_of(session, given, sampling)):
                engine = session.engine_for(SpeculativeConfig())
                reference = texts_of(engine, [request])[0]
                plain[name].append(reference.tokens)
                for config in configs(draft).values() if number < given.prompts else ():
                    # A cached prompt is as exact as a new one; only whole texts can be replayed.
                    cached = None if given.checked else engine.cached_prefixes
                    engine = session.engine_for(config, cached)
                    text = texts_of(engine, [request])[0]
                    if given.checked:
                        vocab = session.target_model.vocab
                        turns = [(request, text)]
                        counts[compared(turns, [reference], session.target, vocab).verdict] += 1
                    else:
                        counts[_verdict(text.tokens == reference.tokens)] += 1
    for width in () if given.checked else WIDTHS:
        # With a fixed length no costs are measured.
        every, drafting = (
            replace(config, policy=FixedLength(3))
            for config in (every, SpeculativeConfig((*every.drafters, Suffix())))
        )
        wide = replace(setup, slots=width, speculative=every, n_ctx=256)
        with Session(wide, records, print) as session:
            for name, sampling in SAMPLINGS.items():
                requests = requests_of(session, given, sampling)[1:]
                cached = None
                for config in (SpeculativeConfig(), drafting):
                    engine = session.engine_for(config, cached)
                    texts = texts_of(engine, requests)
                    cached = engine.cached_prefixes
                    for text, tokens in zip(texts, plain[name][1:], strict=True):
                        counts[_verdict(text.tokens == tokens)] += 1


def _verdict(same: bool) -> str:
    return "identical" if same else "DIFFERS"


if __name__ == "__main__":
    main()
