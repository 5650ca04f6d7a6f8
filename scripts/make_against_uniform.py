"""Drafts of `specli pair make` beside the uniform choice, and beside plain decoding.

    agreement  at equal size, the share of the target's tokens that the made draft says itself,
               against drafts that leave out every n-th block
    speed      the made pair with `--draft auto` against plain decoding, taking turns on every
               prompt; speeds are those of the generation phase

Both on scripts/prompts.yaml, which `pair make` never sees, greedily, one prompt a category.

    python scripts/make_against_uniform.py TARGET.gguf DRAFT.gguf [--only speed] [--runs 1]
        [--trials FOUND.json]

FOUND.json is what `specli pair make --json` has printed: the best trial of each number of blocks
is then compared with as many blocks left out at even distances, same type, same size.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from specli.engine.engine import Engine
from specli.engine.policy import FixedPolicy
from specli.engine.sequence import GenerationRequest
from specli.events import Stats
from specli.gguf.facts import read_facts
from specli.gguf.header import read_header
from specli.hub.cache import cache_dir
from specli.llama.chat import Message, prompt_tokens
from specli.llama.context import Context, ContextOptions
from specli.llama.model import Model
from specli.llama.quantize import prune, quantize
from specli.making.answers import Answer, echo, record_answers
from specli.making.blocks import block_ranges
from specli.session import Session, Setup, physical_cores

TOKENS = 128
HEAVIER = ("Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16")


def prompts(model: Model) -> dict[str, list[int]]:
    """The first prompt of every category, in tokens."""
    content = yaml.safe_load((Path(__file__).parent / "prompts.yaml").read_text(encoding="utf-8"))
    return {name: prompt_tokens(model, _messages(texts[0])) for name, texts in content.items()}


def _messages(turns: str | list[str]) -> list[Message]:
    texts = [turns] if isinstance(turns, str) else turns
    roles = ("user", "assistant")
    return [Message(roles[place % 2], text) for place, text in enumerate(texts)]


def compare_agreement(target: Path, draft: Path) -> dict[str, object]:
    """Agreement of the made draft and of uniform ones that are no smaller."""
    answers = _answers(target)
    made = _agreement(draft, answers)
    size = draft.stat().st_size
    dropped = _dropped(draft)
    print(f"made     {_told(draft, dropped)} {size >> 20} MiB: {made:.1%}")
    rivals = []
    with tempfile.TemporaryDirectory() as folder:
        for name in HEAVIER:
            rival = _uniform(target, name, size, Path(folder))
            if rival is None:
                continue
            path, blocks = rival
            agreement = _agreement(path, answers)
            rivals.append(agreement)
            told = f"{name} without {block_ranges(blocks)}" if blocks else name
            print(f"uniform  {told} {path.stat().st_size >> 20} MiB: {agreement:.1%}")
    return {"made": made, "dropped": dropped, "uniform": rivals, "tokens": _count(answers)}


def compare_trials(target: Path, found: Path) -> list[dict[str, object]]:
    """Blocks that the search has left out, against as many at even distances."""
    told = json.loads(found.read_text(encoding="utf-8"))
    best: dict[int, dict[str, Any]] = {}
    for trial in told["trials"]:
        best.setdefault(len(trial["dropped"]), trial)
    answers = _answers(target)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        whole, path = Path(folder, "whole.gguf"), Path(folder, "pruned.gguf")
        for count, trial in sorted(best.items()):
            if not count:
                continue
            quantize(target, whole, trial["type"])
            row: dict[str, object] = {"type": trial["type"], "blocks": count}
            even = every_nth(told["blocks"], count)
            for side, blocks in (("made", trial["dropped"]), ("uniform", even)):
                prune(whole, path, blocks)
                row[side] = _agreement(path, answers)
                print(f"{side:8} {trial['type']} without {block_ranges(blocks)}: {row[side]:.1%}")
            rows.append(row)
    return rows


def _dropped(draft: Path) -> list[int]:
    return list(read_header(draft).integers("specli.dropped_blocks") or ())


def _told(draft: Path, dropped: Sequence[int]) -> str:
    kind = read_facts(read_header(draft)).quantisation
    return f"{kind} without {block_ranges(dropped)}" if dropped else kind


def _count(answers: Sequence[Answer]) -> int:
    return sum(len(answer.tokens) for answer in answers)


def _uniform(target: Path, name: str, size: int, folder: Path) -> tuple[Path, list[int]] | None:
    """The largest draft of a type that is no larger than `size` and leaves out every n-th block.

    None where all blocks fit: then there is nothing uniform to leave out.
    """
    whole = folder / f"{name}.gguf"
    quantize(target, whole, name)
    count = read_header(whole).model_integer("block_count") or 0
    path = folder / f"{name}-uniform.gguf"
    for left_out in range(1, count):
        if whole.stat().st_size <= size:
            return None
        blocks = every_nth(count, left_out)
        prune(whole, path, blocks)
        if path.stat().st_size <= size:
            return path, blocks
    return None


def every_nth(count: int, left_out: int) -> list[int]:
    """`left_out` of `count` blocks at even distances."""
    return [int((place + 0.5) * count / left_out) for place in range(left_out)]


def _answers(target: Path) -> list[Answer]:
    with Model(target) as model:
        asked = list(prompts(model).values())
        options = ContextOptions(n_ctx=1024, n_seq=len(asked), threads=physical_cores())
        with Context(model, options) as context:
            return record_answers(context, asked, model.vocab.is_end, TOKENS, math.inf)


def _agreement(draft: Path, answers: Sequence[Answer]) -> float:
    with (
        Model(draft) as model,
        Context(model, ContextOptions(n_ctx=1024, threads=physical_cores())) as context,
    ):
        echoes = [echo(context, answer) for answer in answers]
    return sum(sum(one.agrees) for one in echoes) / _count(answers)


def compare_speed(target: Path, draft: Path, runs: int) -> dict[str, object]:
    """The made pair as `specli run` has it, against plain decoding."""
    setup = Setup(target=target, draft=draft, suffix=True)
    plain_setup = replace(setup, draft=None, suffix=False, policy=FixedPolicy(draft_max=0))
    speeds: dict[str, dict[str, list[float]]] = {}
    same = True
    with Session(setup, cache_dir() / "probes", print) as session:
        for run in range(runs):
            for name, prompt in prompts(session.target_model).items():
                order = ["plain", "auto"] if run % 2 == 0 else ["auto", "plain"]
                texts = []
                for who in order:
                    chosen = setup if who == "auto" else plain_setup
                    stats, tokens = _generate(session.arranged(chosen).engine, prompt)
                    texts.append(tokens)
                    speed = stats.predicted_per_second or math.nan
                    speeds.setdefault(name, {}).setdefault(who, []).append(speed)
                same = same and texts[0] == texts[1]
    ratios = {}
    for name, sides in speeds.items():
        best = {who: sorted(values)[len(values) // 2] for who, values in sides.items()}
        ratios[name] = best["auto"] / best["plain"]
        print(f"{name:12} plain {best['plain']:6.1f}  auto {best['auto']:6.1f}  {ratios[name]:.3f}")
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    print(f"geometric mean {mean:.3f}, {'the same texts' if same else 'texts differ'}")
    return {"ratios": ratios, "geometric_mean": mean, "same_texts": same}


def _generate(engine: Engine, prompt: list[int]) -> tuple[Stats, list[int]]:
    stats = Stats()
    tokens: list[int] = []
    engine.submit(GenerationRequest(prompt, max_tokens=TOKENS))
    for event in engine.run():
        stats.add(event)
        tokens += getattr(event, "tokens", [])
    return stats, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("target", type=Path)
    parser.add_argument("draft", type=Path, help="what specli pair make has written")
    parser.add_argument("--only", choices=("agreement", "speed"))
    parser.add_argument("--trials", type=Path)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    told: dict[str, object] = {"target": options.target.name, "draft": options.draft.name}
    if options.only != "speed":
        told["agreement"] = compare_agreement(options.target, options.draft)
    if options.trials is not None:
        told["trials"] = compare_trials(options.target, options.trials)
    if options.only != "agreement":
        told["speed"] = compare_speed(options.target, options.draft, options.runs)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
