"""What `specli tune` can change: settings, what they do to a set-up and what a profile says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from specli.engine.policy import FixedPolicy
from specli.session import NgramSettings, Placement, Setup


@dataclass(frozen=True, slots=True)
class Drafting:
    """Who drafts and how far: `policy` None lets costs decide round by round."""

    draft: bool
    suffix: bool = False
    ngram: NgramSettings | None = None
    policy: FixedPolicy | None = None

    @property
    def drafts(self) -> bool:
        return self.draft or self.suffix or self.ngram is not None

    def defaults(self) -> dict[str, object]:
        """What a profile says for it, beside naming a draft or none."""
        if not self.drafts:
            return {"draft_max": 0}
        said: dict[str, object] = {}
        if self.policy is not None and self.draft:
            said["draft_max"] = self.policy.draft_max
            if self.policy.draft_min:
                said["draft_min"] = self.policy.draft_min
            if self.policy.p_min:
                said["draft_p_min"] = self.policy.p_min
        if self.ngram is not None:
            said["ngram_size"] = self.ngram.size
            said["ngram_draft"] = self.ngram.draft_max
        elif self.policy is None and not self.suffix:
            said["ngram"] = False
        return said

    def __str__(self) -> str:
        if not self.drafts:
            return "plain"
        parts = []
        if self.draft and self.policy is not None:
            parts.append(f"draft {self.policy.draft_max}")
            if self.policy.p_min:
                parts[0] += f" p-min {self.policy.p_min:g}"
        elif self.draft:
            parts.append("auto" if self.suffix else "auto, draft model alone")
        elif self.suffix:
            parts.append("auto, suffix alone")
        if self.ngram is not None:
            parts.append(f"n-gram {self.ngram.size}/{self.ngram.draft_max}")
        return " + ".join(parts)


PLAIN = Drafting(draft=False, policy=FixedPolicy(draft_max=0))
SUFFIX = Drafting(draft=False, suffix=True)
AUTO = Drafting(draft=True, suffix=True)
MODEL_AUTO = Drafting(draft=True)


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
        named = {
            "threads": self.threads,
            "threads_draft": self.threads_draft,
            "cache_type_k": self.cache_type,
            "cache_type_v": self.cache_type,
            "cache_type_k_draft": self.cache_type_draft,
            "cache_type_v_draft": self.cache_type_draft,
            "gpu_layers": self.gpu_layers,
            "gpu_layers_draft": self.gpu_layers_draft,
        }
        return {name: value for name, value in named.items() if value is not None}

    def without_draft(self) -> Machine:
        return Machine(self.threads, None, self.cache_type, None, self.gpu_layers)

    def and_also(self, other: Machine) -> Machine:
        """Both changes, `other` winning where they meet."""
        changed = {name: getattr(other, name) for name in _MACHINE_FLAGS}
        return replace(self, **{n: value for n, value in changed.items() if value is not None})

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

    drafting: Drafting
    machine: Machine = field(default_factory=Machine)

    @property
    def changes(self) -> int:
        """How far it is from the default, which costs decide on the machine as it is given."""
        flags = sum(getattr(self.machine, name) is not None for name in _MACHINE_FLAGS)
        return flags + len(self.drafting.defaults())

    def over(self, base: Setup) -> Setup:
        """The set-up that `specli run` would make of a profile with this setting."""
        machine, drafting = self.machine, self.drafting
        draft = base.draft_placement
        return replace(
            base,
            draft=base.draft if drafting.draft else None,
            suffix=drafting.suffix,
            ngram=drafting.ngram,
            policy=drafting.policy,
            target_placement=_placed(
                base.target_placement, machine.threads, machine.cache_type, machine.gpu_layers
            ),
            draft_placement=_placed(
                draft,
                machine.threads_draft or draft.threads or machine.threads,
                machine.cache_type_draft,
                machine.gpu_layers_draft,
            ),
        )

    def defaults(self) -> dict[str, object]:
        """What a profile says for it, beside naming a draft or none."""
        return {**self.drafting.defaults(), **self.machine.defaults()}

    def __str__(self) -> str:
        return f"{self.drafting} {self.machine}".strip()


PLAIN_SETTING = Setting(PLAIN)


def _placed(
    place: Placement, threads: int | None, cache_type: str | None, gpu_layers: int | None
) -> Placement:
    return replace(
        place,
        threads=place.threads if threads is None else threads,
        type_k=cache_type or place.type_k,
        type_v=cache_type or place.type_v,
        gpu_layers=place.gpu_layers if gpu_layers is None else gpu_layers,
    )


_LENGTHS = ((4, 0.0), (8, 0.5), (2, 0.0), (16, 0.8), (8, 0.0), (4, 0.5), (8, 0.8))
"""Draft lengths and cut-offs, the likelier ones first: a slow machine tries only some. What lies
between is found by steps from the best."""

_NGRAMS = ((3, 8), (2, 4), (12, 48))


def drafting_settings(*, draft: bool) -> list[Drafting]:
    """Ways to draft beside the default, likelier ones first."""
    ngrams = [
        Drafting(draft=False, ngram=NgramSettings(*sizes), policy=FixedPolicy())
        for sizes in _NGRAMS
    ]
    if not draft:
        return ngrams
    fixed = [_fixed(length, p_min) for length, p_min in _LENGTHS]
    return [*fixed[:2], SUFFIX, *fixed[2:4], MODEL_AUTO, ngrams[0], *fixed[4:], *ngrams[1:]]


def _fixed(draft_max: int, p_min: float) -> Drafting:
    return Drafting(draft=True, policy=FixedPolicy(draft_max=draft_max, p_min=p_min))


def neighbours(drafting: Drafting) -> list[Drafting]:
    """Settings one step beside a fixed draft length; none where costs decide."""
    policy = drafting.policy
    if policy is None or not drafting.draft:
        return []
    step = 1 if policy.draft_max <= 4 else 2 if policy.draft_max <= 8 else 4
    lengths = [n for n in (policy.draft_max - step, policy.draft_max + step) if n > 0]
    cuts = [round(p, 2) for p in (policy.p_min - 0.2, policy.p_min + 0.2) if 0 <= p < 1]
    found = [replace(drafting, policy=replace(policy, draft_max=n)) for n in lengths]
    found += [replace(drafting, policy=replace(policy, p_min=p)) for p in cuts]
    if drafting.ngram is None:
        found.append(replace(drafting, ngram=NgramSettings(*_NGRAMS[0])))
    return found


@dataclass(frozen=True, slots=True)
class Choices:
    """Values to try for each part of a `Machine`, beside what the set-up has."""

    threads: tuple[int, ...] = ()
    threads_draft: tuple[int, ...] = ()
    cache_type: tuple[str, ...] = ()
    cache_type_draft: tuple[str, ...] = ()
    gpu_layers: tuple[int, ...] = ()
    gpu_layers_draft: tuple[int, ...] = ()

    def single(self, *, draft: bool) -> list[Machine]:
        """Every change by itself; those of the draft only where there is one."""
        return [
            Machine(**{name: value})
            for name in _MACHINE_FLAGS
            if draft or not name.endswith("_draft")
            for value in getattr(self, name)
        ]


def thread_choices(cores: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Threads to try for target and draft where `cores` is the default of both."""
    target = {cores // 2, 3 * cores // 4} - {0, cores}
    draft = {1, cores // 4, cores // 2} - {0, cores}
    return tuple(sorted(target, reverse=True)), tuple(sorted(draft, reverse=True))


def layer_choices(layers: int) -> tuple[int, ...]:
    """Layers on the GPU to try where all is the default: as many as fit is best, if all do not."""
    return tuple(sorted({3 * layers // 4, layers // 2, 0}, reverse=True))


def together(changes: Sequence[Machine]) -> Machine:
    """All of several changes at once, earlier ones winning where they meet."""
    result = Machine()
    for change in reversed(changes):
        result = result.and_also(change)
    return result
