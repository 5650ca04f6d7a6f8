"""A draft made from its target: which types are tried, the file and its metadata."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from filelock import FileLock, Timeout

import specli
from specli.drafts.evaluator import CandidateEvaluator, Trial, ranked
from specli.drafts.prompts import PROMPTS
from specli.drafts.provenance import source_metadata
from specli.drafts.recording import record_answers
from specli.engine.measure import POINTS, measure, undisturbed
from specli.engine.policy.acceptance import Acceptance
from specli.engine.policy.cost import CostModel, Curve
from specli.errors import SpecliError, UsageError
from specli.events import MODEL
from specli.gguf.check import check_file
from specli.gguf.facts import ModelFacts, read_facts
from specli.gguf.header import Header
from specli.gguf.split import parts_of
from specli.gguf.writer import rewrite
from specli.hub.cache import cache_dir, explained_write, file_sha256, locked, writing
from specli.llama.chat import Message, prompt_tokens
from specli.llama.context import Context
from specli.llama.model import Model, ModelOptions
from specli.llama.opening import ContextOptions
from specli.llama.probe import probe
from specli.llama.quantize import require_type
from specli.pairs.placement import free_memory
from specli.pairs.sizing import memory_need, require_memory
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
"""Share of the budget that recording the target's answers may take."""

TARGET_SECONDS = 1.0

# fmt: off
BITS = {
    "Q4_0": 4.6, "Q8_0": 8.5, "Q4_K_M": 4.9, "Q2_K": 3.0, "Q3_K_M": 3.9, "Q5_K_M": 5.7, "Q6_K": 6.6
}
# fmt: on
"""Weight types that are tried, in this order, with their usual bits per weight."""

_SMALLER = 0.9
"""A type is tried where its file has less than this share of the target's bytes."""

_LONGER = 1.3
"""How much longer than the last candidate the next one may take."""

OnProgress = Callable[[str, float, Trial | None], None]
"""Called with the current task, the share of the budget spent and the best trial so far."""


@dataclass(frozen=True, slots=True)
class MakeOptions:
    """`seconds` is the budget of the search; a `type` leaves nothing to search for."""

    seconds: float
    type: str | None = None


@dataclass(frozen=True, slots=True)
class MakeResult:
    """`trials` are sorted, fastest first; `plain_ms` is the target's time for one token.

    `tokens` counts the recorded answers' tokens. `path` is the draft that was written, None where
    none pays.
    """

    trials: list[Trial]
    plain_ms: float
    tokens: int
    seconds: float
    path: Path | None

    @property
    def best(self) -> Trial:
        return self.trials[0]


def made_draft_path(target: Path) -> Path:
    """Where the draft made for a target is kept, named after the target's content."""
    digests = [file_sha256(part) for part in parts_of(target)]
    key = "".join(digest[:12] for digest in digests)[:12]
    return cache_dir() / "made" / f"{target.stem}.draft-{key}.gguf"


def find_made_draft(target: Path) -> Path | None:
    """The draft that `make_draft` keeps for a target, None where there is none."""
    # Hashing a large target takes a while: only where there is some made draft.
    has_some = any((cache_dir() / "made").glob("*.draft-*.gguf"))
    return path if has_some and (path := made_draft_path(target)).exists() else None


def make_draft(
    target: Path, options: MakeOptions, output: Path | None, on_progress: OnProgress
) -> MakeResult:
    """Try weight types, and write the draft that makes the pair fastest if it pays.

    A draft whose type was given is written in any case. `output` None keeps it in specli's cache,
    where `--draft-model auto` finds it. Candidates are written to a folder of the cache that is
    emptied before and after.

    Raises UsageError for an unknown type and for a target that no type makes smaller, and as
    Session does for the target.
    """
    began = perf_counter()
    header = check_file(target)
    facts = read_facts(header)
    types = types_to_try(facts, options.type)
    path = made_draft_path(target) if output is None else output.absolute()
    if path.resolve() == target.resolve():
        raise UsageError(f"{path} is the target itself", hint="name another file with -o")

    def report(task: str, best: Trial | None = None) -> None:
        on_progress(task, (perf_counter() - began) / options.seconds, best)

    with _candidates_folder() as folder, ExitStack() as stack:
        evaluator = _evaluator(target, facts, folder, options, report, stack)
        trials = _try_types(evaluator, types, began + options.seconds, report)
        again = measure(evaluator.target, POINTS, _filler(evaluator.target.model), TARGET_SECONDS)
        # A busy machine only ever adds time.
        target_cost = evaluator.target_cost.fastest(again)
        trials = ranked(trials, target_cost)
        seconds = perf_counter() - began
        pays = trials[0].speedup >= PAYS or options.type is not None
        if pays:
            candidate = evaluator.write(trials[0].type)
            with locked(path), writing(path) as partial:
                rewrite(candidate, partial, provenance(target, header, trials[0].type))
            _record_costs(target, path, target_cost, trials[0])
        tokens = sum(len(answer.tokens) for answer in evaluator.answers)
        return MakeResult(trials, target_cost(1), tokens, seconds, path if pays else None)


def types_to_try(facts: ModelFacts, type_name: str | None) -> list[str]:
    """The weight type that was given, else those that make the target smaller.

    Raises UsageError for an unknown type and where no type makes the target smaller.
    """
    if type_name is not None:
        require_type(type_name)
        return [type_name.upper()]
    most = _SMALLER * facts.weight_bytes
    smaller = [name for name, bits in BITS.items() if bits * facts.parameters / 8 < most]
    if not smaller:
        raise UsageError(
            f"the target has {facts.quantisation} weights already, and no type that is tried "
            "makes it much smaller",
            hint="look for a smaller model: specli pair find TARGET",
        )
    return smaller


@contextmanager
def _candidates_folder() -> Iterator[Path]:
    """An empty folder for candidates, locked by this process.

    Raises SpecliError when another search is running: each would distort the other's timings.
    """
    folder = cache_dir() / "candidates"
    with explained_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name("candidates.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise SpecliError(
                "another search for a draft is running on this machine",
                hint="wait until it ends: two at once would distort each other's timings",
            ) from None
        try:
            # Files of a search that was killed.
            shutil.rmtree(folder)
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()


def _evaluator(
    target: Path,
    facts: ModelFacts,
    folder: Path,
    options: MakeOptions,
    report: Callable[[str], None],
    stack: ExitStack,
) -> CandidateEvaluator:
    """Load the target, time it and record its answers."""
    report("timing the target")
    n_ctx = min(N_CTX, facts.context_length)
    # A candidate takes no more than the target.
    needs = 2 * [memory_need(facts, n_ctx, sequences=len(PROMPTS))]
    require_memory(needs, n_ctx, free_memory(), len(PROMPTS))
    repacked = probe(target, cache_dir() / "probes").repacked
    model = stack.enter_context(Model(target, ModelOptions(repacked=repacked)))
    model.require_text_generation()
    threads = physical_cores()
    context_options = ContextOptions(n_ctx=n_ctx, n_seq=len(PROMPTS), threads=threads)
    context = stack.enter_context(Context(model, context_options))
    target_cost = measure(context, POINTS, _filler(model), TARGET_SECONDS)
    # Only the tiny contexts of tests are too short for a prompt.
    longest = n_ctx // 2
    prompts = [prompt_tokens(model, [Message("user", text)])[-longest:] for text in PROMPTS]
    report("recording the target's answers")
    most, seconds = min(ANSWER_TOKENS, n_ctx - longest), ANSWERS_SHARE * options.seconds
    answers = record_answers(context, prompts, model.vocab.is_end, most, seconds)
    return CandidateEvaluator(target, folder, threads, n_ctx, context, target_cost, answers)


def _filler(model: Model) -> int:
    """Any token that the model has: timings do not depend on which."""
    return max(model.vocab.eos, 0)


def _try_types(
    evaluator: CandidateEvaluator,
    types: Sequence[str],
    deadline: float,
    report: Callable[[str, Trial | None], None],
) -> list[Trial]:
    """One trial for each type until the deadline; the first however short the time is."""
    trials: list[Trial] = []
    best: Trial | None = None
    took = 0.0
    for name in types:
        began = perf_counter()
        if trials and began + _LONGER * took > deadline:
            break
        report(f"trying {name}", best)
        trials.append(evaluator.measure(name))
        best = max(trials, key=lambda trial: trial.speedup)
        # A large target's candidates would fill a disk: keep the best one's file only.
        for trial in trials:
            if trial is not best:
                evaluator.path(trial.type).unlink(missing_ok=True)
        took = perf_counter() - began
    return trials


def _record_costs(target: Path, draft: Path, target_cost: Curve, trial: Trial) -> None:
    """Let the first run of the pair start with the measured costs and acceptance."""
    records = cache_dir() / "probes"
    # Fails now if llama.cpp cannot use the file.
    probe(draft, records)
    acceptance = Acceptance()
    track = acceptance.learning(MODEL)
    for agreement in trial.agreements:
        for agrees, confidence in zip(agreement.agrees, agreement.confidences, strict=True):
            track.judge(confidence, agrees)
    if undisturbed(target_cost):
        pair = Setup(target, speculative=SpeculativeConfig((DraftModel(draft),)))
        costs = CostModel(target_cost, {MODEL: trial.cost})
        save(costs_record(pair, records), costs, acceptance)


def provenance(target: Path, header: Header, type_name: str) -> dict[str, str | int]:
    """Metadata of a made draft: its name, its source and how it was made."""
    name = header.text("general.name") or target.stem
    return {
        "general.name": f"{name} draft ({type_name})",
        "general.description": f"Draft model for {name}, made from {target.name} (SHA-256 "
        f"{file_sha256(target)}) by specli {specli.__version__}: weights as {type_name}",
        "general.quantized_by": f"specli {specli.__version__}",
        **source_metadata(target, name),
        "specli.type": type_name,
    }
