"""A draft from its target: what can be tried, the search, the file and what its metadata says."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from filelock import FileLock, Timeout

import specli
from specli.engine.calibration import Calibration
from specli.engine.cost import POINTS, CostModel, Curve, measure, undisturbed
from specli.errors import SpecliError, UsageError
from specli.events import MODEL
from specli.gguf.check import check_file
from specli.gguf.facts import ModelFacts, read_facts
from specli.gguf.header import Header
from specli.hub.cache import cache_dir, explained_write, file_sha256, locked, writing
from specli.hub.split import parts_of
from specli.llama.chat import Message, prompt_tokens
from specli.llama.context import Context, ContextOptions
from specli.llama.influence import block_influence
from specli.llama.model import Model, ModelOptions
from specli.llama.probe import probe
from specli.llama.quantize import require_type
from specli.making.answers import record_answers
from specli.making.blocks import (
    Blocks,
    block_ranges,
    per_block_keys,
    read_blocks,
    require_droppable,
)
from specli.making.prompts import PROMPTS
from specli.making.search import ALL, Trial, Variant, best_first, least_first, search
from specli.making.workshop import Tell, Workshop, faster
from specli.pairs.memory import free_memory
from specli.pairs.sizing import require_memory
from specli.session import Setup
from specli.session.costs import costs_record
from specli.session.loading import physical_cores
from specli.session.records import save
from specli.speculative import DraftModel, SpeculativeConfig

PAYS = 1.05
"""Expected speed-up from which a draft is worth its file."""

N_CTX = 512
ANSWER_TOKENS = 96
ANSWERS_SHARE = 0.2
"""Share of the budget that the target's answers may take."""

INFLUENCE_TOKENS = 256

TARGET_SECONDS = 1.0

BITS = {
    "Q4_0": 4.6,
    "Q8_0": 8.5,
    "Q4_K_M": 4.9,
    "Q2_K": 3.0,
    "Q3_K_M": 3.9,
    "Q5_K_M": 5.7,
    "Q6_K": 6.6,
}
"""Weight types that are tried, in this order, with their usual bits a weight."""

_SMALLER = 0.9
"""A type is tried where its file has less than this share of the target's bytes."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user has settled: a weight type, blocks to leave out; None leaves it to a search.

    `seconds` is the budget of the search.
    """

    seconds: float
    type: str | None = None
    dropped: frozenset[int] | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing is left to search for."""
        return self.type is not None and self.dropped is not None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found. `trials` are full ones, best first; times in milliseconds.

    `path` is the draft that was written, None where none pays.
    """

    trials: list[Trial]
    plain_ms: float
    blocks: Blocks
    tokens: int
    seconds: float
    path: Path | None

    @property
    def best(self) -> Trial:
        return self.trials[0]


@dataclass(frozen=True, slots=True)
class _Target:
    path: Path
    header: Header
    facts: ModelFacts
    blocks: Blocks


def made_draft_path(target: Path) -> Path:
    """Where the draft made for a target is kept, by the target's content."""
    digests = [file_sha256(part) for part in parts_of(target)]
    key = "".join(digest[:12] for digest in digests)[:12]
    return cache_dir() / "made" / f"{target.stem}.draft-{key}.gguf"


def find_made_draft(target: Path) -> Path | None:
    """The draft that `make_draft` keeps for a target, None where there is none."""
    # A large target takes a while to hash: only where some draft may be there.
    if not any((cache_dir() / "made").glob("*.draft-*.gguf")):
        return None
    path = made_draft_path(target)
    return path if path.exists() else None


def make_draft(target: Path, wishes: Wishes, output: Path | None, tell: Tell) -> Found:
    """Search for the draft that makes the pair fastest, and write it where it pays.

    A draft whose type and blocks were both given is written in any case. `output` None keeps it
    in specli's cache, where `--draft-model auto` finds it. Candidates lie in a folder of the
    cache that is emptied before and after.

    Raises UsageError for wishes that cannot be met, and as Session does for the target.
    """
    header = check_file(target)
    one = _Target(target, header, read_facts(header), read_blocks(header))
    require_droppable(one.blocks, wishes.dropped or ())
    types = types_to_try(one.facts, wishes)
    path = made_draft_path(target) if output is None else output.absolute()
    if path.resolve() == target.resolve():
        raise UsageError(f"{path} is the target itself", hint="name another file with -o")
    with _folder() as folder, ExitStack() as stack:
        workshop = _workshop(one, folder, wishes, tell, stack)
        trials = _search(workshop, types, one.blocks, wishes)
        again = measure(workshop.target, POINTS, _token(workshop.target.model), TARGET_SECONDS)
        workshop.target_curve = faster(workshop.target_curve, again)
        trials = best_first(workshop.again(trials))
        seconds = perf_counter() - workshop.began
        pays = trials[0].speedup >= PAYS or wishes.settled
        if pays:
            _write(workshop, one, trials[0], path)
        return Found(
            trials=trials,
            plain_ms=workshop.target_curve(1),
            blocks=one.blocks,
            tokens=sum(len(answer.tokens) for answer in workshop.answers),
            seconds=seconds,
            path=path if pays else None,
        )


def types_to_try(facts: ModelFacts, wishes: Wishes) -> list[str]:
    """Weight types that make the target smaller; its own where only fewer blocks can."""
    if wishes.type is not None:
        require_type(wishes.type)
        return [wishes.type.upper()]
    smaller = [
        name
        for name, bits in BITS.items()
        if bits * facts.parameters / 8 < _SMALLER * facts.weight_bytes
    ]
    if len(smaller) < 3:
        # Harder quantisation of few bits costs much: fewer blocks of the same weights may not.
        smaller.append(facts.quantisation)
    return smaller


@contextmanager
def _folder() -> Iterator[Path]:
    """An empty folder for candidates, this process's alone.

    Raises SpecliError when another search is running: each would spoil the other's timings.
    """
    folder = cache_dir() / "making"
    with explained_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name("making.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise SpecliError(
                "another search for a draft is running on this machine",
                hint="wait for its end: two at once would spoil each other's measurements",
            ) from None
        try:
            # What a killed search has left.
            shutil.rmtree(folder)
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()


def _workshop(one: _Target, folder: Path, wishes: Wishes, tell: Tell, stack: ExitStack) -> Workshop:
    """The target loaded, timed and asked."""
    began = perf_counter()
    tell("timing the target", 0.0, None)
    n_ctx = min(N_CTX, one.facts.context_length)
    require_memory(one.facts, one.facts, n_ctx, free_memory(), None, len(PROMPTS))
    repacked = probe(one.path, cache_dir() / "probes").repacked
    model = stack.enter_context(Model(one.path, ModelOptions(repacked=repacked)))
    model.require_text_generation()
    threads = physical_cores()
    options = ContextOptions(n_ctx=n_ctx, n_seq=len(PROMPTS), threads=threads)
    context = stack.enter_context(Context(model, options))
    curve: Curve = measure(context, POINTS, _token(model), TARGET_SECONDS)
    # Long prompts only meet contexts as tiny as those of tests.
    longest = n_ctx // 2
    prompts = [prompt_tokens(model, [Message("user", text)])[-longest:] for text in PROMPTS]
    tell("recording the target's answers", (perf_counter() - began) / wishes.seconds, None)
    answers = record_answers(
        context,
        prompts,
        model.vocab.is_end,
        min(ANSWER_TOKENS, n_ctx - longest),
        ANSWERS_SHARE * wishes.seconds,
    )
    return Workshop(
        source=one.path,
        own_type=one.facts.quantisation,
        blocks=one.blocks.count,
        per_block=per_block_keys(one.header),
        folder=folder,
        records=folder / "probes",
        threads=threads,
        target=context,
        target_curve=curve,
        answers=answers,
        began=began,
        seconds=wishes.seconds,
        tell=tell,
        n_ctx=n_ctx,
    )


def _token(model: Model) -> int:
    return max(model.vocab.eos, 0)


def _search(
    workshop: Workshop, types: Sequence[str], blocks: Blocks, wishes: Wishes
) -> list[Trial]:
    if wishes.dropped is None:
        units = blocks.units and least_first(blocks.units, _influence(workshop))
        return search(types, units, workshop.measure)
    dropped = tuple(sorted(wishes.dropped))
    tried = (workshop.measure(Variant(name, dropped), until=ALL) for name in types)
    return best_first([trial for trial in tried if trial is not None])


def _influence(workshop: Workshop) -> dict[int, float]:
    """What each block changes, seen on the first of the target's answers."""
    tokens = [t for answer in workshop.answers for t in (*answer.prompt, *answer.tokens)]
    model = workshop.target.model
    return block_influence(model, tokens[:INFLUENCE_TOKENS], workshop.threads)


def _write(workshop: Workshop, one: _Target, trial: Trial, path: Path) -> None:
    values = provenance(one.path, one.header, one.blocks.count, trial.variant)
    with locked(path), writing(path) as partial:
        workshop.write(trial.variant, partial, values)
    records = cache_dir() / "probes"
    # Where it may not be used, it had better be known now.
    probe(path, records)
    pair = Setup(one.path, speculative=SpeculativeConfig((DraftModel(path),)))
    _remember(workshop, trial, costs_record(pair, records))


def _remember(workshop: Workshop, trial: Trial, record: Path) -> None:
    """Let runs of the pair begin with what the search has learned of it."""
    calibration = Calibration()
    for one in trial.echoes:
        for agrees, confidence in zip(one.agrees, one.confidences, strict=True):
            calibration.observe(MODEL, confidence, agrees)
    if undisturbed(workshop.target_curve):
        costs = CostModel(workshop.target_curve, workshop.cost(trial.variant))
        save(record, costs, calibration)


def provenance(
    target: Path, header: Header, count: int, variant: Variant
) -> dict[str, str | int | Sequence[int]]:
    """What a made draft says of itself: its name, what it was made from, how, and by whom."""
    name = header.text("general.name") or target.stem
    kept = count - len(variant.dropped)
    shape = f"{variant.type}, {kept} of {count} blocks"
    digest = file_sha256(target)
    values: dict[str, str | int | Sequence[int]] = {
        "general.name": f"{name} draft ({shape})",
        "general.description": f"Draft model for {name}, made from {target.name} "
        f"(SHA-256 {digest}) by specli {specli.__version__}: weights as {variant.type}, "
        + (f"without blocks {block_ranges(variant.dropped)}" if variant.dropped else "all blocks"),
        "general.quantized_by": f"specli {specli.__version__}",
        "general.base_model.count": 1,
        "general.base_model.0.name": name,
        "specli.made_from.file": target.name,
        "specli.made_from.sha256": digest,
        "specli.made_from.size": target.stat().st_size,
        "specli.version": specli.__version__,
        "specli.type": variant.type,
    }
    if variant.dropped:
        values["specli.dropped_blocks"] = list(variant.dropped)
    return values


def dropped_by(keep: Collection[int], count: int) -> frozenset[int]:
    """Blocks to leave out so that exactly `keep` stay."""
    return frozenset(range(count)) - frozenset(keep)
