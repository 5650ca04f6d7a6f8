"""The measurements of scripts/gpu_check.py: one pair of models at one placement at a time."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import native
from bench_llama_cpp import Prompt

from specli.bench.difference import compared
from specli.engine.engine import Engine
from specli.engine.measure import POINTS, Batches, measure, timed
from specli.engine.policy.cost import Curve
from specli.engine.sequence import GenerationRequest
from specli.generation import Generation
from specli.gguf.check import check_file
from specli.gguf.facts import read_facts
from specli.llama import library
from specli.llama.decoder import common_prefix
from specli.native import Native
from specli.pairs.placement import CacheShape, ModelPlacement, device_need
from specli.session import Session, Setup
from specli.speculative import DraftModel, FixedLength, Placement, SpeculativeConfig, Suffix

PLAIN, AUTO = "plain", "--draft auto"
FIXED_LENGTH = 4
FIXED = f"--draft {FIXED_LENGTH}"
CURVE_SECONDS = 2.0
NEAR_TIE = 0.5
"""Logits: kernels of two devices, which round apart, may order tokens this near in either way."""
CPU = Placement(gpu_layers=0, devices=("none",))
BENCH, SIMPLE = "llama-bench", "llama-speculative-simple"


@dataclass(frozen=True, slots=True)
class Where:
    """Where the two models of a pair run."""

    name: str
    target: Placement
    draft: Placement

    @property
    def needs_gpu(self) -> bool:
        return (self.target, self.draft) != (CPU, CPU)


@dataclass(frozen=True, slots=True)
class Pair:
    name: str
    target: Path
    draft: Path


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run at each placement. `programs` are llama.cpp's own; None leaves them out."""

    prompts: Sequence[Prompt]
    tokens: int
    runs: int
    threads: int
    contenders: tuple[str, ...]
    programs: Path | None
    n_ctx: int = 4096
    flash_attention: str = "auto"
    batch: int | None = None
    """Most tokens of one decode; None leaves it to specli."""
    sizes: tuple[int, ...] = POINTS
    """Batch sizes whose time is measured, where they fit."""


@dataclass(slots=True)
class Contender:
    """Tokens per second by prompt, a figure a run, and what was seen beside the speed."""

    speeds: dict[str, list[float]] = field(default_factory=dict)
    drafted: int = 0
    accepted: int = 0
    rounds: int = 0
    predicted: int = 0
    outside: list[float] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    differs: bool = False
    """Some text differs from plain decoding by more than near ties."""

    def add(self, prompt: str, generation: Generation) -> None:
        stats = generation.stats
        self.speeds.setdefault(prompt, []).append(stats.predicted_per_second or 0.0)
        self.drafted += stats.drafted
        self.accepted += stats.accepted
        self.rounds += stats.rounds
        self.predicted += stats.predicted_n
        self.outside.append(stats.outside_ms / max(stats.predicted_ms, 1e-9))

    def median(self, prompt: str) -> float:
        return statistics.median(self.speeds[prompt])


@dataclass(slots=True)
class Result:
    where: Where
    contenders: dict[str, Contender]
    first_use: float
    """Seconds in which both models computed each batch size once."""
    target_curve: Curve
    draft_ms: float
    used: dict[str, int]
    """Bytes that each GPU had less after loading."""
    estimated: int
    """Bytes that the memory check had counted for the GPUs."""
    drafts_on_device: bool
    """Whether the draft's best tokens are found on its device."""
    plain: dict[str, Generation] = field(default_factory=dict)
    """Plain decoding's answer to each prompt."""
    beside_cpu: list[str] = field(default_factory=list)
    """Where plain decoding's answers leave those of the CPU, and how near a tie that is."""
    strays: bool = False
    """One of them leaves the CPU's where its kernels saw no near tie."""


def placements(layers: int) -> list[Where]:
    """The placements to compare for a target of so many blocks."""
    every = Placement(gpu_layers=layers + 1)
    half = Placement(gpu_layers=(layers + 1) // 2)
    draft = Placement(gpu_layers=None)
    return [
        # First, because the others' texts are compared with its own.
        Where("both on CPU", CPU, CPU),
        Where("both on GPU", every, draft),
        Where("target on GPU, draft on CPU", every, CPU),
        Where("target on CPU, draft on GPU", CPU, draft),
        Where(f"{half.gpu_layers} of {layers + 1} layers and draft on GPU", half, draft),
    ]


def run_placement(
    pair: Pair, where: Where, plan: Plan, records: Path, on_cpu: Mapping[str, Generation]
) -> Result:
    """Load the pair there and let every contender generate, in turns.

    `on_cpu` are plain decoding's answers on the CPU.
    """
    threads, batched = plan.threads, Native(batch=plan.batch, ubatch=plan.batch)
    setup = Setup(
        target=pair.target,
        n_ctx=plan.n_ctx,
        flash_attention=plan.flash_attention,
        target_placement=replace(where.target, threads=threads, native=batched),
        speculative=SpeculativeConfig(
            (DraftModel(pair.draft, replace(where.draft, threads=threads, native=batched)),),
            FixedLength(FIXED_LENGTH),
        ),
    )
    before = _gpu_memory()
    with Session(setup, records) as session:
        used = {name: size - _gpu_memory()[name] for name, size in before.items()}
        token = max(session.target_model.vocab.eos, 0)
        first_use = _first_use((session.target, session.draft), plan.sizes, token)
        curve = measure(session.target, plan.sizes, token, CURVE_SECONDS)
        draft_ms = 0.0
        if session.draft is not None:
            draft_ms = measure(session.draft, (1, 2), token, CURVE_SECONDS / 4)(1)
        contenders = {name: Contender() for name in plan.contenders}
        if plan.programs is not None:
            contenders |= {BENCH: Contender(), SIMPLE: Contender()}
        found = _drafts_on_device(session, token)
        counted = _estimate(pair, where, plan)
        result = Result(where, contenders, first_use, curve, draft_ms, used, counted, found)
        for prompt in plan.prompts:
            plain = _run_prompt(session, pair, where, plan, prompt, contenders)
            result.plain[prompt.name] = plain
            if prompt.name in on_cpu:
                _beside_cpu(session, prompt, plain, on_cpu[prompt.name], result)
    return result


def _first_use(decoders: Sequence[Batches | None], sizes: Sequence[int], token: int) -> float:
    """Seconds to compute each batch size once: Vulkan's drivers compile kernels on first use."""
    began = perf_counter()
    for decoder in filter(None, decoders):
        for size in sizes:
            if size <= min(decoder.n_batch, decoder.n_ctx):
                timed(decoder, token, 0, size, perf_counter)
        decoder.rollback(0, 0)
    return perf_counter() - began


def _drafts_on_device(session: Session, token: int) -> bool:
    """Whether the draft's device finds its best token; the token has to be that of its logits."""
    draft = session.draft
    assert draft is not None
    draft.watch_best(0, True)
    row = draft.add(0, [token], 0, 1)
    draft.decode()
    found = draft.best(row)
    draft.watch_best(0, False)
    draft.rollback(0, 0)
    if found is None:
        return False
    row = draft.add(0, [token], 0, 1)
    draft.decode()
    best = int(draft.logits(row).argmax())
    draft.rollback(0, 0)
    if found[0] != best:
        sys.exit(f"the device drafts token {found[0]}, and its logits say {best}")
    return True


def _beside_cpu(
    session: Session, prompt: Prompt, plain: Generation, on_cpu: Generation, result: Result
) -> None:
    """Compare a text with the CPU's; where they part, ask the target here how near a tie it is."""
    at = common_prefix(plain.tokens, on_cpu.tokens)
    if at == len(plain.tokens) == len(on_cpu.tokens):
        return
    tokens = session.target_model.vocab.tokenize(prompt.text, add_special=True)
    target, read = session.target, [*tokens, *plain.tokens[:at]]
    target.rollback(0, 0)
    row = 0
    for start in range(0, len(read), target.n_batch):
        row = target.add(0, read[start : start + target.n_batch], start, 1)
        target.decode()
    logits = target.logits(row)
    gap = float(logits[plain.tokens[at]] - logits[on_cpu.tokens[at]])
    target.rollback(0, 0)
    result.beside_cpu.append(f"{prompt.name}, token {at}: {gap:.2f} logits apart")
    result.strays |= abs(gap) > NEAR_TIE


def _run_prompt(
    session: Session,
    pair: Pair,
    where: Where,
    plan: Plan,
    prompt: Prompt,
    contenders: dict[str, Contender],
) -> Generation:
    """Let every contender answer; what plain decoding answers first."""
    tokens = session.target_model.vocab.tokenize(prompt.text, add_special=True)
    request = GenerationRequest(tokens, plan.tokens, ignore_end=True)
    generate(_engine(session, PLAIN), replace(request, max_tokens=8))
    plain: Generation | None = None

    def ours(name: str) -> None:
        nonlocal plain
        generation = generate(_engine(session, name), request)
        contenders[name].add(prompt.name, generation)
        if name == PLAIN:
            plain = plain or generation
        elif plain is not None:
            _compare(session, request, plain, generation, prompt, contenders[name])

    for names in _in_turns(list(contenders), plan.runs):
        for name in names:
            if plan.programs is None or name not in (BENCH, SIMPLE):
                ours(name)
                continue
            if name == BENCH:
                speed = _bench(plan.programs, plan, pair, where, len(tokens))
            else:
                speed = _simple(plan.programs, plan, pair, where, prompt)
            contenders[name].speeds.setdefault(prompt.name, []).append(speed)
    assert plain is not None
    return plain


def _in_turns(names: list[str], runs: int) -> Iterator[list[str]]:
    """Plain first, because the others are compared with it; the rest turns by one each run."""
    first, rest = names[:1], names[1:]
    for run in range(runs):
        turn = run % max(len(rest), 1)
        yield first + rest[turn:] + rest[:turn]


def _engine(session: Session, name: str) -> Engine:
    draft = session.setup.draft
    assert draft is not None
    configs = {
        PLAIN: SpeculativeConfig(),
        FIXED: session.setup.speculative,
        AUTO: SpeculativeConfig((draft, Suffix())),
    }
    return session.engine_for(configs[name])


def generate(engine: Engine, request: GenerationRequest) -> Generation:
    generation = Generation()
    engine.submit(request)
    for event in engine.run():
        generation.add(event)
    return generation


def _compare(
    session: Session,
    request: GenerationRequest,
    plain: Generation,
    other: Generation,
    prompt: Prompt,
    contender: Contender,
) -> None:
    if other.tokens == plain.tokens:
        return
    vocab = session.target_model.vocab
    found = compared([(request, other)], [plain], session.target, vocab)
    contender.differs |= not found.passed
    contender.differences.append(f"{prompt.name}, token {found.position}")


def _gpu_memory() -> dict[str, int]:
    return {device.name: device.free for device in library.devices() if device.is_gpu}


def _estimate(pair: Pair, where: Where, plan: Plan) -> int:
    if not library.supports_gpu():
        return 0
    total = 0
    parts = (("target", pair.target, where.target), ("draft", pair.draft, where.draft))
    for role, path, placement in parts:
        if placement == CPU:
            continue
        facts = read_facts(check_file(path))
        load = ModelPlacement(role, "", facts, gpu_layers=placement.gpu_layers)
        shape = CacheShape(plan.n_ctx, attention_matrix=plan.flash_attention == "off")
        total += device_need(load, load.asked, shape).total
    return total


def _layers(placement: Placement, flag: str, device_flag: str) -> list[str]:
    if placement == CPU:
        return [flag, "0", device_flag, "none"]
    return [flag, "999" if placement.gpu_layers is None else str(placement.gpu_layers)]


def _bench(programs: Path, plan: Plan, pair: Pair, where: Where, prompt_n: int) -> float:
    """Plain tokens per second of llama-bench behind as many tokens as the prompt has."""
    command = [str(programs / BENCH), "-m", str(pair.target), "-p", "0", "-r", "1"]
    command += ["-n", str(plan.tokens), "-d", str(prompt_n), "-t", str(plan.threads), "-o", "json"]
    command += _layers(where.target, "-ngl", "-dev")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout)[0]["avg_ts"])


def _simple(programs: Path, plan: Plan, pair: Pair, where: Where, prompt: Prompt) -> float:
    """Tokens per second of llama.cpp's own speculation at the same length."""
    arguments = ["-md", str(pair.draft), "--spec-type", "draft-simple", "--ignore-eos"]
    arguments += ["--spec-draft-n-max", str(FIXED_LENGTH), "-td", str(plan.threads)]
    arguments += _layers(where.target, "-ngl", "-dev") + _layers(where.draft, "-ngld", "-devd")
    return native.speculative(
        programs, pair.target, prompt.file, plan.tokens, plan.threads, *arguments
    ).per_second
