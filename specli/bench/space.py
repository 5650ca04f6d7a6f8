"""What `specli tune` can change: settings, what they do to a set-up and what a profile says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from specli.drafting_settings import flat_settings
from specli.session import Setup
from specli.speculative import (
    DRAFT_MAX,
    DraftModel,
    FixedLength,
    NgramSimple,
    Placement,
    SpeculativeConfig,
    Suffix,
)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and how the pair runs; None keeps what the given set-up has."""

    threads: int | None = None
    threads_draft: int | None = None
    cache_type: str | None = None
    """Of K and V alike."""
    cache_type_draft: str | None = None
    gpu_layers: int | None = None
    gpu_layers_draft: int | None = None

    def defaults(self) -> dict[str, object]:
        """The same under the names of a profile's settings."""
        found: dict[str, object] = {}
        for name in _MACHINE_FLAGS:
            if (value := getattr(self, name)) is not None:
                prefix, cache, suffix = name.partition("cache_type")
                names = [f"{cache}_k{suffix}", f"{cache}_v{suffix}"] if cache else [prefix]
                found |= dict.fromkeys(names, value)
        return found

    def placed(self, placement: Placement) -> Placement:
        """A placement with the target's part of these changes."""
        return replace(
            placement,
            threads=placement.threads if self.threads is None else self.threads,
            type_k=self.cache_type or placement.type_k,
            type_v=self.cache_type or placement.type_v,
            gpu_layers=placement.gpu_layers if self.gpu_layers is None else self.gpu_layers,
        )

    def without_draft(self) -> Machine:
        return Machine(self.threads, None, self.cache_type, None, self.gpu_layers)

    def __str__(self) -> str:
        return " ".join(
            f"{flag} {value}"
            for name, flag in _MACHINE_FLAGS.items()
            if (value := getattr(self, name)) is not None
        )


_MACHINE_FLAGS = {
    "threads": "-t",
    "threads_draft": "-td",
    "cache_type": "-ctk/-ctv",
    "cache_type_draft": "-ctkd/-ctvd",
    "gpu_layers": "-ngl",
    "gpu_layers_draft": "-ngld",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run a pair."""

    speculative: SpeculativeConfig
    machine: Machine = field(default_factory=Machine)

    @property
    def drafts(self) -> bool:
        return bool(self.speculative.drafters)

    @property
    def changes(self) -> int:
        """How far it is from the default, which costs decide on the machine as it is given."""
        flags = sum(getattr(self.machine, name) is not None for name in _MACHINE_FLAGS)
        return flags + len(flat_settings(self.speculative))

    def over(self, base: Setup) -> Setup:
        """The set-up that `specli run` would make of a profile with this setting."""
        machine, config, draft = self.machine, self.speculative, self.speculative.draft_model
        if draft is not None:
            threads = machine.threads_draft or draft.placement.threads or machine.threads
            own = Machine(threads, None, machine.cache_type_draft, None, machine.gpu_layers_draft)
            placement = own.placed(draft.placement)
            config = config.with_model(replace(draft, placement=placement))
        target_placement = machine.placed(base.target_placement)
        return replace(base, speculative=config, target_placement=target_placement)

    def defaults(self) -> dict[str, object]:
        """Its entries in a profile, the draft's name excepted."""
        return {**flat_settings(self.speculative), **self.machine.defaults()}

    def __str__(self) -> str:
        return f"{self.speculative} {self.machine}".strip()


PLAIN_SETTING = Setting(SpeculativeConfig())


_LENGTHS = ((4, 0.0), (8, 0.5), (2, 0.0), (16, 0.8), (8, 0.0), (4, 0.5), (8, 0.8))
"""Draft lengths and cut-offs, the likelier ones first: a slow machine tries only some. What lies
between is found by steps from the best."""

_NGRAMS = ((3, 8), (2, 4), (12, 48))


def default_config(draft: DraftModel | None) -> SpeculativeConfig:
    """What `specli run` does without further flags."""
    return SpeculativeConfig((Suffix(),) if draft is None else (draft, Suffix()))


def configs_to_try(draft: DraftModel | None) -> list[SpeculativeConfig]:
    """Ways to draft other than the default, likelier ones first."""
    ngrams = [
        SpeculativeConfig((NgramSimple(*sizes),), FixedLength(DRAFT_MAX)) for sizes in _NGRAMS
    ]
    if draft is None:
        return ngrams
    fixed = [
        SpeculativeConfig((draft,), FixedLength(length, p_min=p_min)) for length, p_min in _LENGTHS
    ]
    suffix, model = default_config(None), SpeculativeConfig((draft,))
    return [*fixed[:2], suffix, *fixed[2:4], model, ngrams[0], *fixed[4:], *ngrams[1:]]


def neighbours(config: SpeculativeConfig) -> list[SpeculativeConfig]:
    """Settings one step from a fixed draft length; none where costs decide."""
    policy = config.policy
    if not isinstance(policy, FixedLength) or config.draft_model is None:
        return []
    step = 1 if policy.draft_max <= 4 else 2 if policy.draft_max <= 8 else 4
    lengths = [n for n in (policy.draft_max - step, policy.draft_max + step) if n > 0]
    cuts = [round(p, 2) for p in (policy.p_min - 0.2, policy.p_min + 0.2) if 0 <= p < 1]
    found = [replace(config, policy=replace(policy, draft_max=n)) for n in lengths]
    found += [replace(config, policy=replace(policy, p_min=p)) for p in cuts]
    if config.ngram is None:
        found.append(config.with_drafters((*config.drafters, NgramSimple(*_NGRAMS[0]))))
    return found


Choices = dict[str, tuple[Any, ...]]
"""Values to try for the fields of `Machine`, other than those of the set-up."""


def single_changes(choices: Choices, *, draft: bool) -> list[Machine]:
    """Every change by itself; those of the draft only if there is one."""
    names = [name for name in choices if draft or not name.endswith("_draft")]
    return [Machine(**{name: value}) for name in names for value in choices[name]]


def thread_choices(cores: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Threads to try for target and draft where `cores` is the default of both."""
    target = {cores // 2, 3 * cores // 4} - {0, cores}
    draft = {1, cores // 4, cores // 2} - {0, cores}
    return tuple(sorted(target, reverse=True)), tuple(sorted(draft, reverse=True))


def layer_choices(layers: int) -> tuple[int, ...]:
    """Layers on the GPU to try where all is the default: as many as fit is best, if all do not."""
    return tuple(sorted({3 * layers // 4, layers // 2, 0}, reverse=True))


def together(changes: Sequence[Machine]) -> Machine:
    """All of several changes at once; of different values for one flag, the first."""
    values = {}
    for name in _MACHINE_FLAGS:
        given = (getattr(change, name) for change in changes)
        values[name] = next((value for value in given if value is not None), None)
    return Machine(**values)
