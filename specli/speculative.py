"""One drafting configuration: which drafters propose, and how far.

`specli.drafting_settings` makes it of flags, profiles and Python alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from specli.native import USUAL, Native

AUTO = "auto"

LARGEST = 2**31 - 1
"""The largest number that llama.cpp's 32-bit integers hold."""

MOST_THREADS = 512
"""GGML_MAX_N_THREADS of ggml.h; with more llama.cpp ends the process."""

MOST_DRAFTED = 512
"""Tokens of a proposal: one and the token before it must fit into a batch with others."""

DRAFT_MAX = 4
"""Draft length where other lengths are set by hand and this one is not."""

NGRAM_SIZE, NGRAM_DRAFT = 3, 8
"""llama.cpp's own 12 and 48 rarely find anything in a chat."""


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
    native: Native = USUAL


@dataclass(frozen=True, slots=True)
class DraftModel:
    """A smaller model drafts. `model` is a reference until it has been resolved to a file."""

    kind: ClassVar[str] = "draft-simple"
    name: ClassVar[str] = "draft"
    model: Path | str
    placement: Placement = Placement()
    strict_vocab: bool = False
    """Refuse a model with another vocabulary, which drafts through a translation otherwise."""
    n_ctx: int | None = None
    """Its context, where that is shorter than the target's; None is what it was trained on."""


@dataclass(frozen=True, slots=True)
class Head:
    """A head drafts from the target's hidden states; `kind` is llama.cpp's name of its drafter.

    `model` is a reference until it has been resolved to a file; None where the target has it.
    """

    kind: str
    model: Path | str | None = None
    placement: Placement = Placement()

    @property
    def name(self) -> str:
        return self.kind.removeprefix("draft-")


@dataclass(frozen=True, slots=True)
class Suffix:
    """What most often followed the longest context, in this text and, where `shared`, in earlier
    answers."""

    kind: ClassVar[str] = "suffix"
    name: ClassVar[str] = "suffix"
    shared: bool = True


@dataclass(frozen=True, slots=True)
class NgramSimple:
    """What followed the last `size_n` tokens before, up to `size_m` tokens of it."""

    kind: ClassVar[str] = "ngram-simple"
    name: ClassVar[str] = "ngram"
    size_n: int = NGRAM_SIZE
    size_m: int = NGRAM_DRAFT


@dataclass(frozen=True, slots=True)
class NgramCache:
    """Counts of what followed short n-grams; `dynamic` is a file that keeps them between runs."""

    kind: ClassVar[str] = "ngram-cache"
    name: ClassVar[str] = "lookup"
    dynamic: Path | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """Text that answers are expected to repeat in part; a request's own prediction replaces it.

    With an empty text only the predictions of requests are drafted from.
    """

    kind: ClassVar[str] = "prediction"
    name: ClassVar[str] = "prediction"
    text: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """What the grammar or the JSON schema of a request leaves as the only text."""

    kind: ClassVar[str] = "grammar"
    name: ClassVar[str] = "grammar"


DrafterConfig = DraftModel | Head | Suffix | NgramSimple | NgramCache | Prediction | Grammar


@dataclass(frozen=True, slots=True)
class Adaptive:
    """Measured costs and acceptance decide the length of every proposal."""


@dataclass(frozen=True, slots=True)
class FixedLength:
    """llama.cpp's `--spec-draft-n-max`, `-n-min` and `-p-min`: a draft model proposes up to
    `draft_max` tokens and stops at one less probable than `p_min`."""

    draft_max: int = 3
    draft_min: int = 0
    p_min: float = 0.0


PolicyConfig = Adaptive | FixedLength

MTP = "draft-mtp"
HEADS = ("draft-eagle3", "draft-dflash", "draft-dspark", MTP)
"""Kinds of heads. MTP layers are in the target's own file, or like the others in one of theirs."""

KINDS: Mapping[str, str] = {
    "draft": DraftModel.kind,
    "draft-simple": DraftModel.kind,
    **{kind: kind for kind in HEADS},
    "ngram": NgramSimple.kind,
    "ngram-simple": NgramSimple.kind,
    "suffix": Suffix.kind,
    "grammar": Grammar.kind,
    "lookup": NgramCache.kind,
    "ngram-cache": NgramCache.kind,
    "ngram-map-k": Suffix.kind,
    "ngram-map-k4v": Suffix.kind,
    "ngram-mod": Suffix.kind,
}
"""Names of drafters, llama.cpp's and ours, and the kind that each one means."""

REPLACED_BY_SUFFIX = ("ngram-map-k", "ngram-map-k4v", "ngram-mod")
"""llama.cpp's kinds that are accepted and mean `suffix`."""


@dataclass(frozen=True, slots=True)
class SpeculativeConfig:
    """Which drafters propose, and what decides how far. Without drafters nothing is drafted:
    `SpeculativeConfig()` is plain decoding, and nothing else is."""

    drafters: tuple[DrafterConfig, ...] = ()
    policy: PolicyConfig = Adaptive()

    def __post_init__(self) -> None:
        if not self.drafters:
            # A policy without a drafter has nothing to decide.
            object.__setattr__(self, "policy", Adaptive())

    @property
    def draft_model(self) -> DraftModel | None:
        return next((one for one in self.drafters if isinstance(one, DraftModel)), None)

    @property
    def head(self) -> Head | None:
        return next((one for one in self.drafters if isinstance(one, Head)), None)

    @property
    def models(self) -> tuple[DraftModel | Head, ...]:
        """The drafters that are files of their own."""
        return tuple(
            one
            for one in self.drafters
            if isinstance(one, DraftModel) or (isinstance(one, Head) and one.model is not None)
        )

    @property
    def ngram(self) -> NgramSimple | None:
        return next((one for one in self.drafters if isinstance(one, NgramSimple)), None)

    def has(self, kind: str) -> bool:
        """Whether a drafter of this kind, in any of its spellings, proposes."""
        return any(one.kind == KINDS.get(kind, kind) for one in self.drafters)

    def without_model(self) -> SpeculativeConfig:
        """The same without a draft model and without a head."""
        return self.with_drafters(
            one for one in self.drafters if not isinstance(one, DraftModel | Head)
        )

    def with_model(self, draft: DraftModel | Head) -> SpeculativeConfig:
        """The same with another draft model or head in the place of its own, if it has one."""
        mine = next((one for one in self.models if type(one) is type(draft)), None)
        mine = mine or next(iter(self.models), None)
        return self.with_drafters(draft if one is mine else one for one in self.drafters)

    def with_drafters(self, drafters: Iterable[DrafterConfig]) -> SpeculativeConfig:
        """Other drafters under the same policy; plain decoding without any."""
        return replace(self, drafters=tuple(drafters))

    def __str__(self) -> str:
        """The name of the setting in tables and reports."""
        model, suffix = self.draft_model is not None, self.has(Suffix.kind)
        head = "" if self.head is None else self.head.name
        if isinstance(self.policy, FixedLength):
            p_min = f" p-min {self.policy.p_min:g}" if self.policy.p_min else ""
            bounds = f"{self.policy.draft_max}{p_min}"
            parts = [f"draft {bounds}"] * model + [f"{head} {bounds}"] * bool(head)
            parts += ["suffix"] * suffix
        elif model or head:
            own = " + ".join(["draft model"] * model + [head] * bool(head))
            parts = ["auto" if suffix and not head else f"auto, {own}" + " alone" * (not suffix)]
        else:
            parts = ["auto, suffix alone"] * suffix
        for one in self.drafters:
            if isinstance(one, NgramSimple):
                parts.append(f"n-gram {one.size_n}/{one.size_m}")
            elif isinstance(one, NgramCache | Prediction | Grammar):
                parts.append(one.name)
        return " + ".join(parts) or "plain"
