"""From files to an engine that is ready: check, probe, load, and free it all again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self

import psutil

from specli.drafters.cascade import Cascade
from specli.drafters.lookup import LookupDrafter
from specli.drafters.lookup import load as load_counts
from specli.drafters.lookup import load_static as load_static_counts
from specli.drafters.lookup import save as save_counts
from specli.drafters.model import DraftModel
from specli.drafters.ngram import NgramDrafter
from specli.drafters.ngram_map import MapSettings, NgramMapDrafter
from specli.drafters.ngram_mod import ModSettings, NgramModDrafter
from specli.drafters.prediction import PredictionDrafter
from specli.drafters.protocol import Drafter
from specli.drafters.suffix import SuffixDrafter
from specli.engine.adaptive import AdaptivePolicy
from specli.engine.calibration import Calibration
from specli.engine.cost import (
    DRAFT_POINTS,
    POINTS,
    CostModel,
    Curve,
    measure,
    undisturbed,
)
from specli.engine.engine import Engine
from specli.engine.policy import FixedPolicy, Policy
from specli.errors import MemoryShortError
from specli.gguf.check import check_file
from specli.gguf.facts import read_facts
from specli.gguf.header import Header
from specli.llama import library
from specli.llama.context import Context, ContextOptions
from specli.llama.grammar import Grammar
from specli.llama.model import Model, ModelOptions
from specli.llama.probe import probe
from specli.measured import load, record_path, save
from specli.pairs.placement import CacheShape as Run
from specli.pairs.placement import ModelPlacement as Load
from specli.pairs.placement import advice_after_failure, require_placement
from specli.pairs.sizing import CacheTypes, require_memory
from specli.pairs.sizing import DeviceMemory as Device
from specli.pairs.sizing import FreeMemory as Room
from specli.pairs.vocabulary import require_compatible

DEFAULT_CONTEXT = 4096

AUTO_SNAPSHOTS = 16
"""Steps of recurrent rollback asked for where the draft length is decided round by round."""

PROBE_SECONDS = 1.0
SLOW_PROBE = 3.0
"""Seconds of measuring that a user is told of."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one model of the pair runs, and with what. None leaves a choice to specli.

    `threads` None means one per physical core that this process may use.
    """

    gpu_layers: int | None = None
    devices: tuple[str, ...] = ()
    threads: int | None = None
    type_k: str = "f16"
    type_v: str = "f16"


@dataclass(frozen=True, slots=True)
class NgramSettings:
    """Sizes of the n-gram drafter: tokens to match, and most tokens to propose."""

    size: int
    draft_max: int


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything that decides how text is generated, apart from the prompt and the sampling."""

    target: Path
    draft: Path | None = None
    n_ctx: int | None = None
    flash_attention: str = "auto"
    target_placement: Placement = field(default_factory=Placement)
    draft_placement: Placement = field(default_factory=Placement)
    ngram: NgramSettings | None = None
    policy: FixedPolicy | None = None
    """Fixed draft lengths; None lets costs decide every round."""
    suffix: bool = False
    lookup: bool = False
    lookup_cache: Path | None = None
    """A file of n-gram counts that the lookup drafter starts from and adds to."""
    lookup_static: Path | None = None
    """A file of n-gram counts that the lookup drafter reads and leaves as it is."""
    tables: tuple[MapSettings | ModSettings, ...] = ()
    """llama.cpp's n-gram kinds that keep tables, with their sizes."""
    prediction: str | None = None
    """Text that an answer is expected to repeat in part, where its request does not say so
    itself; with None, requests' own predictions are not drafted from either."""
    recalibrate: bool = False
    """Measure the costs again, also where they are known."""
    slots: int = 1

    @property
    def drafts(self) -> bool:
        """Whether anything proposes; a prediction that requests bring is not among it."""
        return bool(self.draft or self.ngram or self.suffix or self.lookup or self.tables)


@dataclass(frozen=True, slots=True)
class Arranged:
    """An engine on loaded models, and the policy that decides its rounds."""

    engine: Engine
    policy: Policy


def physical_cores() -> int:
    """Physical cores that this process may run on; hyper-threads only slow llama.cpp down."""
    physical = psutil.cpu_count(logical=False) or 1
    try:
        allowed = len(psutil.Process().cpu_affinity() or [])
    except (AttributeError, psutil.Error):
        return physical
    return max(1, min(physical, allowed))


class Session:
    """Loaded models and their contexts. Use it as a context manager, or call `close`."""

    def __init__(
        self, setup: Setup, records: Path, notice: Callable[[str], None] = lambda _text: None
    ) -> None:
        """Check both files, then load them. `records` is a folder for what the probe learns;
        `notice` is told, in one sentence each, what a user should know and did not ask for.

        Raises ModelFileError, PairIncompatibleError, MemoryShortError and LoadError.
        """
        self.setup = setup
        self._records = records
        self._notice = notice
        self._knowledge: dict[Path, tuple[CostModel, Calibration]] = {}
        target_header = check_file(setup.target)
        draft_header = None
        if setup.draft is not None:
            draft_header = check_file(setup.draft)
            require_compatible(target_header, draft_header, setup.target, setup.draft)
        self.n_ctx = _context_size(setup, target_header)
        loads = _loads(setup, target_header, draft_header)
        run = Run(self.n_ctx, setup.slots, attention_matrix=setup.flash_attention == "off")
        _require_memory(loads, run)
        with _telling_what_fits(loads, run), ExitStack() as stack:
            self.target_model = stack.enter_context(
                _load(setup.target, setup.target_placement, records, notice)
            )
            self.draft_model: Model | None = None
            if setup.draft is not None:
                self.draft_model = stack.enter_context(
                    _load(setup.draft, setup.draft_placement, records, notice)
                )
            rollback = setup.policy.draft_max if setup.policy else AUTO_SNAPSHOTS
            self.target = stack.enter_context(
                self._context(self.target_model, setup.target_placement, rollback)
            )
            self.draft: Context | None = None
            if self.draft_model is not None:
                self.draft = stack.enter_context(
                    self._context(self.draft_model, setup.draft_placement, 0)
                )
            self._stack = stack.pop_all()
        try:
            # One for the whole session: later texts draft from earlier ones.
            self._suffix = SuffixDrafter() if setup.suffix else None
            self._lookup = self._lookup_drafter() if setup.lookup else None
            self.policy = self._policy()
        except BaseException:
            self.close()
            raise

    def _context(self, model: Model, placement: Placement, snapshots: int) -> Context:
        threads = placement.threads or physical_cores()
        return Context(
            model,
            ContextOptions(
                n_ctx=self.n_ctx,
                n_seq=self.setup.slots,
                threads=threads,
                type_k=placement.type_k,
                type_v=placement.type_v,
                flash_attention=self.setup.flash_attention,
                snapshots=snapshots,
            ),
        )

    def engine(self) -> Engine:
        """A new engine on the loaded models; one at a time, since they share the caches."""
        drafter = self._drafter(self.setup, self._suffix, self._lookup)
        return self._engine(drafter, self.policy)

    def arranged(self, setup: Setup, kept: Mapping[int, list[int]] | None = None) -> Arranged:
        """The session's models under other drafters and another policy, for comparisons.

        `setup` differs from the session's in nothing but what drafts and how far. Nothing that
        was learned from texts goes back: costs and calibration are copies of what the session
        knows. `kept` is the last engine's, where its cached prompts may be used again.

        Raises ValueError when more than that differs.
        """
        if _undrafted(setup) != _undrafted(self.setup):
            raise ValueError("only drafters and policy may differ from the session's set-up")
        suffix = SuffixDrafter() if setup.suffix else None
        lookup = LookupDrafter() if setup.lookup else None
        drafter = self._drafter(setup, suffix, lookup)
        if setup.policy is not None or drafter is None:
            policy: Policy = setup.policy or FixedPolicy(draft_max=0)
        else:
            policy = AdaptivePolicy(*deepcopy(self._known()))
        return Arranged(self._engine(drafter, policy, kept), policy)

    def use_threads(self, target: int | None, draft: int | None) -> None:
        """Go on with other thread counts on the same contexts; None is one per physical core.

        What is arranged from here on has the costs of these threads. `policy` keeps its own.
        """
        target_place = replace(self.setup.target_placement, threads=target)
        draft_place = replace(self.setup.draft_placement, threads=draft)
        self.target.use_threads(target or physical_cores())
        if self.draft is not None:
            self.draft.use_threads(draft or physical_cores())
        self.setup = replace(self.setup, target_placement=target_place, draft_placement=draft_place)

    def _engine(
        self,
        drafter: Drafter | None,
        policy: Policy,
        kept: Mapping[int, list[int]] | None = None,
    ) -> Engine:
        vocab, slots = self.target_model.vocab, self.setup.slots
        return Engine(self.target, vocab, drafter, policy, slots=slots, kept=kept)

    def _drafter(
        self, setup: Setup, suffix: SuffixDrafter | None, lookup: LookupDrafter | None
    ) -> Drafter | None:
        cheap: list[Drafter] = []
        if setup.ngram is not None:
            cheap.append(NgramDrafter(size_n=setup.ngram.size, size_m=setup.ngram.draft_max))
        if setup.prediction is not None:
            vocab = self.target_model.vocab
            expected = vocab.tokenize(setup.prediction, add_special=False, parse_special=False)
            cheap.append(PredictionDrafter(expected))
        cheap += [drafter for drafter in (suffix, lookup) if drafter is not None]
        cheap += [
            NgramMapDrafter(table) if isinstance(table, MapSettings) else NgramModDrafter(table)
            for table in setup.tables
        ]
        model = None
        if setup.draft is not None and self.draft is not None:
            model = DraftModel(self.draft)
        return Cascade(cheap, model) if cheap or model is not None else None

    def _lookup_drafter(self) -> LookupDrafter:
        path, static = self.setup.lookup_cache, self.setup.lookup_static
        vocab_size = self.target_model.vocab.size
        backing = None if static is None else load_static_counts(static, vocab_size)
        if path is None:
            return LookupDrafter(static=backing)
        drafter = LookupDrafter(load_counts(path, vocab_size), static=backing)
        self._stack.callback(lambda: save_counts(path, drafter.cache))
        return drafter

    def _policy(self) -> Policy:
        setup = self.setup
        if setup.policy is not None or not (setup.drafts or setup.prediction is not None):
            return setup.policy or FixedPolicy(draft_max=0)
        return AdaptivePolicy(*self._known())

    def _known(self) -> tuple[CostModel, Calibration]:
        """Costs and calibration of this pair: from the record, or measured; kept at the end."""
        setup = self.setup
        path = costs_record(setup, self._records)
        if path not in self._knowledge:
            known = None if setup.recalibrate else load(path)
            before = None if known is None else deepcopy(known)
            if known is None:
                # What a draft is worth does not depend on threads, what it costs does.
                learned = [calibration for _cost, calibration in self._knowledge.values()]
                known = (self._measured(), deepcopy(learned[-1]) if learned else Calibration())
            self._knowledge[path] = known
            self._stack.callback(_keep, path, known, before)
        return self._knowledge[path]

    @property
    def costs(self) -> CostModel:
        """What target and draft cost here, measured now where that is not known."""
        return self._known()[0]

    def _measured(self) -> CostModel:
        """What target and draft cost on this machine, timed now."""
        began = perf_counter()
        draft = None
        if self.draft is not None:
            draft = self._timed(self.draft, DRAFT_POINTS, PROBE_SECONDS / 4)
        cost = CostModel(self._timed(self.target, POINTS, PROBE_SECONDS), draft)
        if not undisturbed(cost.target):
            self._notice(
                "the machine was busy while the cost of drafting was measured; "
                "it will be measured again next time"
            )
        elif perf_counter() - began > SLOW_PROBE:
            self._notice(
                f"what drafting costs with these models was measured in "
                f"{perf_counter() - began:.0f} s, and is kept for the next time"
            )
        return cost

    @property
    def _any_token(self) -> int:
        return max(self.target_model.vocab.eos, 0)

    def _timed(self, context: Context, points: tuple[int, ...], seconds: float) -> Curve:
        """A curve; measured a second time where other work disturbed the first."""
        curve = measure(context, points, self._any_token, seconds)
        if undisturbed(curve):
            return curve
        again = measure(context, points, self._any_token, seconds)
        return again if undisturbed(again) else curve.fastest(again)

    def grammar(self, gbnf: str) -> Grammar:
        """A grammar at its start, closed with the session. Raises UsageError for a bad one."""
        grammar = Grammar(self.target_model.vocab, gbnf)
        self._stack.callback(grammar.close)
        return grammar

    def rollback_means(self) -> Sequence[tuple[str, str]]:
        """(model, means) for each model that cannot simply cut its cache."""
        contexts = [("target", self.target), ("draft", self.draft)]
        return [
            (name, context.rollback_means)
            for name, context in contexts
            if context is not None and context.rollback_means != "cut"
        ]

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def fitting_slots(setup: Setup, most: int) -> int:
    """How many sequences' caches fit into memory: `most`, or the next power of two that does.

    1 where not even that fits. Raises ModelFileError.
    """
    target = check_file(setup.target)
    loads = _loads(setup, target, None if setup.draft is None else check_file(setup.draft))
    n_ctx = _context_size(setup, target)
    slots = most
    while slots > 1:
        try:
            _require_memory(loads, Run(n_ctx, slots, setup.flash_attention == "off"))
        except MemoryShortError:
            slots = 1 << (slots - 1).bit_length() - 1
        else:
            break
    return slots


def _context_size(setup: Setup, header: Header) -> int:
    limit = header.model_integer("context_length") or DEFAULT_CONTEXT
    if setup.n_ctx is None:
        return min(DEFAULT_CONTEXT, limit)
    return setup.n_ctx or limit


def costs_record(setup: Setup, records: Path) -> Path:
    """Where the measured costs of a set-up are kept, whether or not they have been measured."""
    files = [setup.target, *([setup.draft] if setup.draft is not None else [])]
    circumstances = [
        library.build_id(),
        setup.flash_attention,
        str(physical_cores()),
        repr(setup.target_placement),
        repr(setup.draft_placement),
        *(device.description for device in library.devices() if device.is_gpu),
    ]
    return record_path(records, files, circumstances)


def _keep(
    path: Path, known: tuple[CostModel, Calibration], before: tuple[CostModel, Calibration] | None
) -> None:
    """Keep what is known for the next time, unless a busy machine has spoilt it.

    What has taught nothing new since `before` leaves no trace: keeping lets knowledge age.
    """
    cost, calibration = known
    if known != before and undisturbed(cost.target):
        save(path, cost, calibration)


def _undrafted(setup: Setup) -> Setup:
    """A set-up without what `Session.arranged` may change."""
    return replace(
        setup,
        draft=None,
        ngram=None,
        policy=None,
        suffix=False,
        lookup=False,
        lookup_cache=None,
        lookup_static=None,
        tables=(),
        prediction=None,
        recalibrate=False,
    )


def _loads(setup: Setup, target: Header, draft: Header | None) -> list[Load]:
    parts = [("target", "-ngl", target, setup.target_placement)]
    if draft is not None:
        parts.append(("draft", "-ngld", draft, setup.draft_placement))
    return [
        Load(
            role=role,
            flag=flag,
            facts=read_facts(header),
            types=CacheTypes(placement.type_k, placement.type_v),
            devices=placement.devices,
            gpu_layers=placement.gpu_layers,
        )
        for role, flag, header, placement in parts
    ]


def _room() -> Room:
    gpus = (Device(d.name, d.free) for d in library.devices() if d.is_gpu)
    return Room(psutil.virtual_memory().available, tuple(gpus))


def _require_memory(loads: Sequence[Load], run: Run) -> None:
    room = _room()
    target, draft = loads[0], loads[1] if len(loads) > 1 else None
    require_memory(
        target.facts,
        None if draft is None else draft.facts,
        run.context,
        room,
        (target.types, target.types if draft is None else draft.types),
        run.sequences,
    )
    if room.devices:
        require_placement(loads, run, room)


@contextmanager
def _telling_what_fits(loads: Sequence[Load], run: Run) -> Iterator[None]:
    """Where llama.cpp runs out of memory all the same, say what to try; all has been freed."""
    try:
        yield
    except MemoryShortError as error:
        hint = advice_after_failure(loads, run, _room())
        raise MemoryShortError(error.message, hint=hint) from error


def _load(path: Path, placement: Placement, records: Path, notice: Callable[[str], None]) -> Model:
    found = probe(path, records)
    if found.note is not None:
        notice(found.note)
    if not found.repacked:
        notice(
            f"llama.cpp's repacked weights crash on this machine with {path.name}; "
            "it is loaded without them (a build without AMX avoids this)"
        )
    options = ModelOptions(
        gpu_layers=placement.gpu_layers, devices=list(placement.devices), repacked=found.repacked
    )
    model = Model(path, options)
    model.require_text_generation()
    return model
