"""From files to models and contexts, as far as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import psutil

from specli.engine.measure import timed
from specli.engine.policy.view import MOST_DRAFTED
from specli.errors import MemoryShortError
from specli.gguf.check import check_file
from specli.gguf.facts import ModelFacts, read_facts
from specli.gguf.header import Header
from specli.gguf.heads import read_head
from specli.gguf.tokenizer import Tokenizer, read_tokenizer
from specli.hub.progress import Progress, ProgressSink, ignore
from specli.llama.context import Context
from specli.llama.exact import ExactContext
from specli.llama.model import Model, ModelOptions
from specli.llama.opening import BATCH, UBATCH, ContextOptions
from specli.llama.probe import probe, tried
from specli.pairs.heads import require_head, require_own_heads
from specli.pairs.placement import (
    CacheShape,
    ModelPlacement,
    advice_after_failure,
    device_need,
    free_memory,
    require_placement,
    whole_need,
)
from specli.pairs.sizing import (
    CacheTypes,
    FreeMemory,
    chosen_context,
    draft_context,
    require_memory,
)
from specli.pairs.vocabulary import RuleResult, broken_rule, require_compatible
from specli.session.setup import Setup
from specli.speculative import DraftModel, FixedLength, Head, Placement, SpeculativeConfig

AUTO_SNAPSHOTS = 16
"""Steps of recurrent rollback asked for where the draft length is decided round by round."""

MOST_SLOTS = 16
"""Sequences at once where memory and costs decide: past it a CPU gains nothing more, and each
answer waits longer for its rounds."""


def allowed_cores() -> list[int]:
    """The logical cores that this process may run on."""
    try:
        return psutil.Process().cpu_affinity() or []
    except (AttributeError, psutil.Error):
        return list(range(psutil.cpu_count() or 1))


def physical_cores() -> int:
    """Physical cores that this process may run on; hyper-threads only slow llama.cpp down."""
    return max(1, min(psutil.cpu_count(logical=False) or 1, len(allowed_cores())))


def threads_of(placement: Placement) -> int:
    """The threads that a model is loaded with."""
    return placement.threads or physical_cores()


@dataclass(frozen=True, slots=True)
class OtherVocabulary:
    """What differs between a target and its draft, and both tokenizers."""

    broken: RuleResult
    tokenizers: tuple[Tokenizer, Tokenizer]


@dataclass(frozen=True, slots=True)
class Checked:
    """What the files of a set-up say before anything is loaded."""

    setup: Setup
    n_ctx: int
    headers: tuple[Header, ...]
    placements: tuple[ModelPlacement, ...]
    """Of each file."""
    other_vocabulary: OtherVocabulary | None
    """Where the draft's vocabulary is not the target's."""

    @property
    def tensor_types(self) -> frozenset[str]:
        """Of the target."""
        return frozenset(tensor.type.name for tensor in self.headers[0].tensors.values())

    def shape(self, slots: int) -> CacheShape:
        return CacheShape(self.n_ctx, slots, self.setup.flash_attention == "off")


def check(setup: Setup) -> Checked:
    """Check the files, and whether the two have one vocabulary.

    Raises ModelFileError, and PairIncompatibleError where they must and have not.
    """
    headers = tuple(check_file(path) for path in setup.files)
    other = None
    for one, header in zip(setup.speculative.models, headers[1:], strict=True):
        path = Path(str(one.model))
        head = read_head(header) if isinstance(one, Head) else None
        if head is not None:
            require_head(headers[0], header, head, setup.target, path)
        elif isinstance(one, Head) or one.strict_vocab:
            require_compatible(headers[0], header, setup.target, path)
        else:
            tokenizers = read_tokenizer(headers[0]), read_tokenizer(header)
            broken = broken_rule(*tokenizers)
            other = None if broken is None else OtherVocabulary(broken, tokenizers)
    if setup.own_head is not None:
        require_own_heads(headers[0], setup.target)
    facts = [read_facts(header) for header in headers]
    n_ctx = chosen_context(facts[0], setup.n_ctx)
    return Checked(setup, n_ctx, headers, tuple(placed(setup, facts, n_ctx)), other)


def placed(setup: Setup, facts: Sequence[ModelFacts], n_ctx: int) -> Iterator[ModelPlacement]:
    """How each file of a set-up is loaded beside a target with a context of `n_ctx`."""
    for one, model, placement in zip(
        facts, (None, *setup.speculative.models), setup.placements, strict=True
    ):
        role, context = "target" if model is None else "head", n_ctx
        if isinstance(model, DraftModel):
            scaled = placement.native.scales_positions
            role, context = "draft", draft_context(one, n_ctx, model.n_ctx, scaled=scaled)
        yield ModelPlacement(
            role=role,
            flag="-ngl" if model is None else "-ngld",
            facts=one,
            types=CacheTypes(placement.type_k, placement.type_v),
            devices=placement.devices,
            gpu_layers=placement.gpu_layers,
            context=context,
            snapshots=_snapshots(setup.speculative) if model is None else 0,
        )


def _snapshots(config: SpeculativeConfig) -> int:
    """Steps of recurrent rollback that a target keeps. A draft, whose batches are single tokens,
    has no use for any: llama.cpp keeps steps of one batch."""
    if isinstance(config.policy, FixedLength):
        return config.policy.draft_max
    return AUTO_SNAPSHOTS if config.drafters else 0


def fitting_slots(checked: Checked, most: int = MOST_SLOTS) -> int:
    """How many sequences fit into memory with the weights: `most`, or the next power of two that
    does; 1 where not even that fits.

    Weights count although llama.cpp maps them from the file: caches that push them out of memory
    make every round read them again.
    """
    free, shape = free_memory(), checked.shape(1)
    weights = sum(
        one.facts.weight_bytes - (device_need(one, one.asked, shape).weights if free.devices else 0)
        for one in checked.placements
    )
    free = FreeMemory(max(free.ram - weights, 0), free.devices)
    slots = most
    while slots > 1:
        try:
            require_fit(checked, slots, free)
            break
        except MemoryShortError:
            slots = 1 << (slots - 1).bit_length() - 1
    return slots


def require_fit(checked: Checked, slots: int, free: FreeMemory | None = None) -> None:
    """Raise MemoryShortError where caches and scratch memory of `slots` sequences cannot fit."""
    free = free or free_memory()
    placements, shape = checked.placements, checked.shape(slots)
    require_memory((whole_need(one, shape) for one in placements), shape.context, free, slots)
    moved = any(one.native.tensor_buffers for one in checked.setup.placements)
    if free.devices and not moved:
        # Where tensors are placed by hand, only llama.cpp can say what fits.
        require_placement(placements, shape, free)


@contextmanager
def explained_shortage(checked: Checked, slots: int) -> Iterator[None]:
    """Add what to try to the error of llama.cpp that runs out of memory; all has been freed."""
    try:
        yield
    except MemoryShortError as error:
        hint = advice_after_failure(checked.placements, checked.shape(slots), free_memory())
        raise MemoryShortError(error.message, hint=hint) from error


def meet_servers(target: Context, report: ProgressSink) -> None:
    """Decode a batch of each size that drafting uses, on a cache that is empty before and after.

    llama.cpp asks an RPC server for the memory of a batch's results, once for each size
    (`ggml_backend_rpc_buffer_type_get_alloc_size`). That takes six round trips and more, which
    would make the first round of each size slow, and its cost look wrong.
    """
    most = min(MOST_DRAFTED + 1, target.n_batch, target.n_ctx)
    for size in range(1, most + 1):
        report(Progress("measure", target.model.path.name, size, most))
        timed(target, max(target.model.vocab.eos, 0), 0, size, perf_counter)
    target.rollback(0, 0)


def load_model(  # noqa: PLR0913
    path: Path,
    placement: Placement,
    records: Path,
    notice: Callable[[str], None],
    report: ProgressSink = ignore,
    *,
    repacked: bool = True,
    mtp: bool = False,
) -> Model:
    """Load a model that can generate text, tried in a child process before; `repacked` False keeps
    the weights as they are in the file, `mtp` loads its MTP layers too.

    Raises ModelFileError, LoadError and MemoryShortError.
    """
    size = path.stat().st_size
    if tried(path, records, placement.native) is None:
        report(Progress("check", path.name, 0, None))
    found = probe(path, records, placement.native)
    if found.note is not None:
        notice(found.note)
    if not found.repacked:
        notice(
            f"llama.cpp's repacked weights crash on this machine with {path.name}; "
            "it is loaded without them (a build without AMX avoids this)"
        )
    options = ModelOptions(
        gpu_layers=placement.gpu_layers,
        devices=list(placement.devices),
        repacked=found.repacked and repacked,
        native=placement.native,
        mtp=mtp,
    )
    report(Progress("load", path.name, 0, size))
    model = Model(
        path, options, lambda share: report(Progress("load", path.name, int(share * size), size))
    )
    model.require_text_generation()
    return model


def open_context(
    model: Model,
    placement: Placement,
    checked: Checked,
    slots: int,
    *,
    file: int = 0,
    exact: bool = False,
) -> Context:
    """A context for `slots` sequences; `file` counts the model's among the checked ones.

    Raises LoadError and MemoryShortError.
    """
    place = checked.placements[file]
    options = ContextOptions(
        n_ctx=place.context or checked.n_ctx,
        n_seq=slots,
        threads=threads_of(placement),
        type_k=placement.type_k,
        type_v=placement.type_v,
        flash_attention=checked.setup.flash_attention,
        snapshots=place.snapshots,
        native=placement.native,
        n_batch=placement.native.batch or BATCH,
        n_ubatch=placement.native.ubatch or UBATCH,
        threads_batch=placement.native.threads_batch,
        separate_caches=exact and slots > 1,
    )
    return ExactContext(model, options) if exact else Context(model, options)
