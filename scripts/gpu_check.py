"""specli on the GPUs of this machine: placements, memory, speed, text, beside llama.cpp's own.

    python scripts/gpu_check.py                        the default pair
    python scripts/gpu_check.py --large 4G             also a random model of 4 GB with a draft
    python scripts/gpu_check.py --native PROGRAMS      beside llama-bench and
                                                       llama-speculative-simple of one build
    python scripts/gpu_check.py --markdown docs/gpu-NAME.md

The devices may be of any backend: CUDA, Metal, Vulkan. At each placement the pair is loaded once,
in a process of its own, and plain decoding, a fixed draft length and `--draft auto` take turns on
every prompt, greedy. Times outside llama.cpp's calls, T(k), device memory against what the memory
check had counted, whether the draft's device chooses its tokens, and any difference of the text,
also from the CPU's, are reported; medians, with the lowest and the highest run in brackets. The
random model says nothing about acceptance.

Ends with 0 when all was run and all texts agree but for near ties, 1 when one does not or a
placement gave no result, and 3 when placements were skipped because llama.cpp has no GPU here.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import own_process
import random_gguf
from bench_llama_cpp import Prompt, geometric_mean, read_prompts
from gpu_runs import (
    AUTO,
    BENCH,
    FIXED,
    PLAIN,
    SIMPLE,
    Pair,
    Plan,
    Result,
    placements,
    run_placement,
)
from own_process import Failed

from specli.engine.measure import POINTS
from specli.errors import MemoryShortError, SpecliError
from specli.figures import short_bytes
from specli.generation import Generation
from specli.gguf.check import check_file
from specli.gguf.facts import ModelFacts, read_facts
from specli.hub.cache import cache_dir
from specli.hub.references import resolve
from specli.llama import library
from specli.llama.context import Context
from specli.llama.model import Model, ModelOptions
from specli.llama.opening import ContextOptions
from specli.llama.quantize import quantize
from specli.profiles import load_profile
from specli.session import Session, Setup
from specli.session.loading import physical_cores
from specli.speculative import DraftModel, SpeculativeConfig

SKIPPED = 3
CURVE_POINTS = (1, 2, 4, 8, 16, 32, 64)
MIB = 1 << 20

Report = list[str]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def machine() -> str:
    """What llama.cpp finds here, as specli sees it."""
    rows = [
        [one.name, one.description, one.kind, short_bytes(one.free), short_bytes(one.total)]
        for one in library.devices()
    ]
    sees = "can" if library.supports_gpu() else "cannot"
    return "\n\n".join(
        [
            f"{library.build_id()}, Python {platform.python_version()}, "
            f"{physical_cores()} physical cores; this build {sees} offload layers here.",
            table(["device", "description", "kind", "free", "total"], rows),
        ]
    )


def speeds(results: Sequence[Result]) -> str:
    """Every contender at every placement, over all prompts."""
    rows = []
    for result in results:
        for name in (PLAIN, FIXED, AUTO):
            if name in result.contenders:
                rows.append(_speed_row(result, name))
    heads = ["placement", "decoding", "tokens/s", "of plain", "acceptance", "tokens a round"]
    return table([*heads, "outside llama.cpp", "text"], rows)


def _speed_row(result: Result, name: str) -> list[str]:
    one, plain = result.contenders[name], result.contenders[PLAIN]
    every = [speed for speeds in one.speeds.values() for speed in speeds]
    ratios = [one.median(prompt) / plain.median(prompt) for prompt in one.speeds]
    text = "is plain" if name == PLAIN else "same"
    if one.differences:
        kind = "DIFFERS" if one.differs else "by kernels"
        text = f"{kind}: {'; '.join(dict.fromkeys(one.differences))}"
    return [
        result.where.name,
        name,
        _spread(every),
        "" if name == PLAIN else f"{geometric_mean(ratios):.2f} ({_ends(ratios)})",
        f"{one.accepted / one.drafted:.0%}" if one.drafted else "",
        f"{one.predicted / max(one.rounds, 1):.2f}",
        f"{statistics.median(one.outside):.1%} (at most {max(one.outside):.1%})",
        text,
    ]


def beside_native(results: Sequence[Result]) -> str:
    """specli over llama.cpp's own programs: above 1 specli is faster."""
    rows = []
    for result in results:
        for ours, theirs in ((PLAIN, BENCH), (FIXED, SIMPLE)):
            one, other = result.contenders[ours], result.contenders[theirs]
            for prompt in one.speeds:
                mine, native = one.speeds[prompt], other.speeds[prompt]
                single = [a / b for a, b in zip(mine, native, strict=True)]
                ratio = f"{one.median(prompt) / other.median(prompt):.3f} ({_ends(single, 3)})"
                row = [result.where.name, prompt, f"{ours}: {_spread(mine)}"]
                rows.append([*row, f"{theirs}: {_spread(native)}", ratio])
            medians = [one.median(prompt) / other.median(prompt) for prompt in one.speeds]
            mean = f"{geometric_mean(medians):.3f} ({_ends(medians, 3)})"
            rows.append([result.where.name, "geometric mean", ours, theirs, mean])
    return table(["placement", "prompt", "specli, tokens/s", "llama.cpp, tokens/s", "ratio"], rows)


def costs(results: Sequence[Result]) -> str:
    """T(k) by placement, the draft's time for one token, and that of computing anything first."""
    sizes = [
        size for size in CURVE_POINTS if size <= min(r.target_curve.sizes[-1] for r in results)
    ]
    rows = []
    for result in results:
        times = [*map(result.target_curve, sizes), result.draft_ms]
        first = f"{result.first_use:.1f} s"
        rows.append([result.where.name, *(f"{ms:.2f}" for ms in times), first])
    return table(["ms for k tokens", *map(str, sizes), "draft, 1", "first use of all sizes"], rows)


def memory(results: Sequence[Result]) -> str:
    """What loading took of each GPU, and what the check before loading had counted."""
    rows = []
    for result in results:
        used = ", ".join(f"{name} {size / MIB:.0f} MiB" for name, size in result.used.items())
        counted = f"{result.estimated / MIB:.0f} MiB" if result.used else "no GPU"
        rows.append([result.where.name, used or "no GPU", counted])
    return table(["placement", "taken", "counted beforehand"], rows)


def devices_apart(results: Sequence[Result]) -> str:
    """What a placement changes: the text, and where the draft's tokens are chosen."""
    offloaded = [result for result in results if result.where.needs_gpu]
    same = "the same" if len(offloaded) < len(results) else "no text of the CPU"
    rows = []
    for result in offloaded:
        text = "; ".join(result.beside_cpu) or same
        chosen = "on the device" if result.drafts_on_device else "from logits"
        rows.append([result.where.name, ("DIFFERS: " if result.strays else "") + text, chosen])
    return table(["placement", "plain text beside the CPU's", "draft's tokens are chosen"], rows)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _ends(values: Sequence[float], digits: int = 2) -> str:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def shortages(pair: Pair, records: Path) -> str:
    """What is said where memory is short: refused beforehand, and refused by llama.cpp."""
    facts = read_facts(check_file(pair.target))
    per_token = facts.kv_bytes_per_token()
    gpus = [device for device in library.devices() if device.is_gpu]
    told = []
    config = SpeculativeConfig((DraftModel(pair.draft),))
    huge = int(8 * (sum(device.free for device in library.devices())) / per_token)
    tries: list[tuple[str, Callable[[], None]]] = [
        (f"-c {huge}", lambda: _load(Setup(pair.target, n_ctx=huge, speculative=config), records))
    ]
    if gpus:
        too_long = int(1.2 * gpus[0].free / per_token)
        # The target alone, which the memory of machine and devices together would hold.
        setup = Setup(pair.target, n_ctx=too_long)
        tries.append((f"-c {too_long}", lambda: _load(setup, records)))
        # Not where the device is the processor, or a part of it: there the system would run out.
        if gpus[0].kind == "gpu" and "llvmpipe" not in gpus[0].description:
            force = f"-c {too_long}, past the check"
            tries.append((force, lambda: _force(pair.target, facts, too_long)))
    for name, attempt in tries:
        try:
            attempt()
            told.append([name, "was not refused", ""])
        except MemoryShortError as error:
            told.append([name, error.message, error.hint or ""])
        except SpecliError as error:
            told.append([name, f"{type(error).__name__}: {error.message}", error.hint or ""])
    return table(["tried", "message", "hint"], told)


def _load(setup: Setup, records: Path) -> None:
    Session(setup, records).close()


def _force(path: Path, facts: ModelFacts, n_ctx: int) -> None:
    options = ModelOptions(gpu_layers=facts.layers + 1)
    with Model(path, options) as model:
        Context(model, ContextOptions(n_ctx=n_ctx)).close()


def check_pair(
    pair: Pair, plan: Plan, records: Path, limit: float | None
) -> tuple[Report, bool, bool]:
    """(report, whether all gave results and texts agree, whether placements were skipped)."""
    layers = read_facts(check_file(pair.target)).layers
    wanted = placements(layers)
    skipped = [where.name for where in wanted if where.needs_gpu and not library.supports_gpu()]
    results: list[Result] = []
    failed: list[list[str]] = []
    on_cpu: dict[str, Generation] = {}
    for where in wanted:
        if where.name in skipped:
            continue
        print(f"running: {pair.name}, {where.name}", file=sys.stderr, flush=True)
        found = own_process.call(run_placement, pair, where, plan, records, on_cpu, limit=limit)
        if isinstance(found, Failed):
            failed.append([where.name, found.reason])
            continue
        results.append(found)
        if not where.needs_gpu:
            on_cpu = found.plain
    report = [f"## {pair.name}", f"Target {pair.target.name}, draft {pair.draft.name}; "]
    report[1] += f"{plan.tokens} tokens, {len(plan.prompts)} prompts, {plan.runs} runs, greedy."
    if results:
        report += tables(results, plan)
    if failed:
        report += ["### Without a result", table(["placement", "what happened"], failed)]
    if skipped:
        report.append("Skipped, because llama.cpp has no GPU here: " + "; ".join(skipped) + ".")
    contenders = [one for result in results for one in result.contenders.values()]
    astray = any(one.differs for one in contenders) or any(one.strays for one in results)
    return report, not failed and not astray, bool(skipped)


def tables(results: Sequence[Result], plan: Plan) -> Report:
    report = [speeds(results)]
    if len(results) > 1:
        report += ["### Devices apart", devices_apart(results)]
    report += ["### Cost of a batch", costs(results)]
    report += ["### Device memory", memory(results)]
    if plan.programs is not None:
        report += ["### Beside llama.cpp's own programs", beside_native(results)]
    return report


def default_pair(given: argparse.Namespace) -> Pair:
    if given.model is not None and given.model_draft is not None:
        return Pair("The given pair", given.model, given.model_draft)
    profile = load_profile("smollm2")
    if profile.draft_model is None:
        sys.exit("the default profile has no draft")
    target, draft = (resolve(one, quantize) for one in (profile.target_model, profile.draft_model))
    return Pair("The default pair", target, draft)


def large_pair(size: int) -> Pair:
    """Random models kept in the cache: the target of `size` bytes, the draft of an eighth."""
    folder = cache_dir() / "random"
    folder.mkdir(parents=True, exist_ok=True)
    target, draft = (
        random_gguf.write(folder / f"random-{part >> 20}M.gguf", part) for part in (size, size // 8)
    )
    return Pair(f"A random model of {short_bytes(target.stat().st_size)}", target, draft)


def sizes_of(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-m", "--model", type=Path)
    parser.add_argument("-md", "--model-draft", type=Path)
    parser.add_argument("-n", "--tokens", type=int, default=128)
    parser.add_argument("-t", "--threads", type=int, default=physical_cores())
    parser.add_argument("-fa", "--flash-attn", choices=("on", "off", "auto"), default="auto")
    parser.add_argument("-c", "--ctx-size", type=int, default=4096)
    parser.add_argument("-b", "--batch-size", type=int, help="most tokens of one decode")
    parser.add_argument("--sizes", type=sizes_of, default=POINTS, help="of T(k), with commas")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="of each placement")
    parser.add_argument("--categories", default="question,code,copy-edit")
    parser.add_argument("--prompt", help="text to continue, in place of those categories")
    parser.add_argument("--large", type=random_gguf.bytes_of, metavar="SIZE")
    parser.add_argument("--native", type=Path, metavar="PROGRAMS")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    given = parser.parse_args()
    if (given.model is None) != (given.model_draft is None):
        parser.error("-m and -md belong together")
    return given


def prompts_for(pair: Pair, given: argparse.Namespace, folder: Path) -> list[Prompt]:
    """The given prompt, as it is; else the first one of each category, in the model's template."""
    if given.prompt is not None:
        file = folder / "given.txt"
        file.write_text(given.prompt + "\n")
        return [Prompt("given", "the given prompt", given.prompt, file)]
    with Model(pair.target, ModelOptions(vocab_only=True)) as model:
        prompts = read_prompts(model, folder, set(given.categories.split(",")))
    first = {prompt.category: prompt for prompt in reversed(prompts)}
    return list(first.values())[::-1]


def main() -> int:
    given = arguments()
    library.start()
    records = cache_dir() / "probes"
    report = ["# specli on a GPU", machine()]
    print("\n\n".join(report), flush=True)
    all_agree, any_skipped = True, False
    pairs = [default_pair(given)]
    if given.large is not None:
        pairs.append(large_pair(given.large))
    with tempfile.TemporaryDirectory() as folder:
        for pair in pairs:
            chosen = prompts_for(pair, given, Path(folder))
            names = (PLAIN, FIXED, AUTO)
            plan = Plan(chosen, given.tokens, given.runs, given.threads, names, given.native)
            plan = replace(plan, n_ctx=given.ctx_size, flash_attention=given.flash_attn)
            plan = replace(plan, batch=given.batch_size, sizes=given.sizes)
            if pair is not pairs[0]:
                plan = replace(plan, prompts=chosen[:1], contenders=(PLAIN, FIXED))
            said, agree, skipped = check_pair(pair, plan, records, given.limit)
            print("\n\n" + "\n\n".join(said), flush=True)
            report += said
            all_agree, any_skipped = all_agree and agree, any_skipped or skipped
    short = ["## Where memory is short", shortages(pairs[-1], records)]
    print("\n\n" + "\n\n".join(short), flush=True)
    report += short
    if given.markdown is not None:
        given.markdown.write_text("\n\n".join(report) + "\n")
    if not all_agree:
        return 1
    return SKIPPED if any_skipped else 0


if __name__ == "__main__":
    sys.exit(main())
