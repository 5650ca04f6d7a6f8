"""What one generation was asked for: flags over profile over defaults."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from specli.errors import UsageError

if TYPE_CHECKING:
    from specli.profiles import Profile
    from specli.sampling.params import SamplingParams
    from specli.speculative import Placement

DRAFT_MAX = 4
FLASH_ATTENTION = ("on", "off", "auto")
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Flags by their long names; None means not given."""

    model: str | None = None
    model_draft: str | None = None
    ctx_size: int | None = None
    draft_max: int | None = None
    draft_min: int | None = None
    draft_p_min: float | None = None
    ngram: bool | None = None
    ngram_size: int | None = None
    ngram_draft: int | None = None
    spec_type: str | None = None
    lookup_cache: Path | None = None
    lookup_cache_static: Path | None = None
    map_k_size: int | None = None
    map_k_draft_max: int | None = None
    map_k4v_size: int | None = None
    map_k4v_draft_max: int | None = None
    map_k4v_min_hits: int | None = None
    mod_size: int | None = None
    mod_draft_min: int | None = None
    mod_draft_max: int | None = None
    prediction: Path | None = None
    predict: int | None = None
    temp: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_last_n: int | None = None
    seed: int | None = None
    logit_bias: dict[int, float] = field(default_factory=dict)
    threads: int | None = None
    threads_draft: int | None = None
    gpu_layers: int | None = None
    gpu_layers_draft: int | None = None
    device: str | None = None
    device_draft: str | None = None
    cache_type_k: str | None = None
    cache_type_v: str | None = None
    cache_type_k_draft: str | None = None
    cache_type_v_draft: str | None = None
    flash_attn: str | None = None
    system: str | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for a value that no flag takes."""
        _one_of("--flash-attn", self.flash_attn, FLASH_ATTENTION)
        for name in ("cache_type_k", "cache_type_v", "cache_type_k_draft", "cache_type_v_draft"):
            _one_of(f"--{name.replace('_', '-')}", getattr(self, name), CACHE_TYPES)

    def over(self, profile: Profile) -> RunOptions:
        """These options where they are given, the profile's defaults elsewhere."""
        missing = {
            name: value
            for name, value in profile.defaults.given().items()
            if getattr(self, name) is None
        }
        return replace(self, **missing)

    def given(self) -> dict[str, object]:
        """The options that are set, by their long names."""
        return {
            f.name: value
            for f in fields(self)
            if (value := getattr(self, f.name)) not in (None, {})
        }

    @property
    def table_sizes(self) -> dict[str, int]:
        """The sizes that are given for llama.cpp's kinds with tables."""
        names = [f.name for f in fields(self) if f.name.startswith(("map_", "mod_"))]
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def by_hand(self) -> bool:
        """Whether draft lengths are set by hand; else costs decide round by round."""
        settings = (
            self.draft_max,
            self.draft_min,
            self.draft_p_min,
            self.ngram_size,
            self.ngram_draft,
            *self.table_sizes.values(),
        )
        return any(value is not None for value in settings)

    def sampling(self) -> SamplingParams:
        """The sampling parameters; a seed of -1, or none, is drawn here."""
        from specli.sampling.params import SamplingParams

        given = {
            "temperature": self.temp,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "min_p": self.min_p,
            "repeat_penalty": self.repeat_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "penalty_last_n": self.repeat_last_n,
        }
        return SamplingParams(
            seed=_seed(self.seed),
            logit_bias=self.logit_bias,
            **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
        )

    def target_placement(self) -> Placement:
        from specli.speculative import Placement

        return Placement(
            gpu_layers=self.gpu_layers,
            devices=_devices(self.device),
            threads=self.threads,
            type_k=self.cache_type_k or "f16",
            type_v=self.cache_type_v or "f16",
        )

    def draft_placement(self) -> Placement:
        from specli.speculative import Placement

        return Placement(
            gpu_layers=self.gpu_layers_draft,
            devices=_devices(self.device_draft),
            threads=self.threads_draft or self.threads,
            type_k=self.cache_type_k_draft or "f16",
            type_v=self.cache_type_v_draft or "f16",
        )


def parse_draft_max(value: str | None) -> int | None:
    """The number given to --draft, None for `auto`.

    Raises UsageError, also for a model given by mistake.
    """
    if value is None or value == "auto":
        return None
    if re.fullmatch(r"\d+", value):
        return int(value)
    if re.search(r"[/.:]|gguf", value, re.IGNORECASE) or Path(value).exists():
        raise UsageError(
            f"--draft takes a number of tokens, but {value!r} looks like a model",
            hint=f"a draft model is named with -md: -md {value}",
        )
    raise UsageError(
        f"--draft takes a number of tokens or `auto`, not {value!r}", hint="such as --draft 4"
    )


def parse_gpu_layers(flag: str, value: str | None) -> int | None:
    """Layers for the GPU; None lets specli choose. Raises UsageError."""
    if value is None or value == "auto":
        return None
    if value == "all":
        return -1
    if re.fullmatch(r"-?\d+", value):
        return int(value)
    raise UsageError(f"{flag} takes a number, `all` or `auto`, not {value!r}")


def parse_logit_bias(values: list[str]) -> dict[int, float]:
    """llama.cpp's form, ID followed by a signed number. Raises UsageError."""
    biases = {}
    for value in values:
        found = re.fullmatch(r"(\d+)([+-](?:\d+(?:\.\d*)?|\.\d+|inf))", value)
        if found is None or found[2] == "+inf":
            raise UsageError(
                f"--logit-bias takes a token id and a signed number, not {value!r}",
                hint="such as 15043+1 to favour a token, 15043-inf to forbid it",
            )
        biases[int(found[1])] = float(found[2])
    return biases


def _devices(names: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip()) if names else ()


def _seed(seed: int | None) -> int:
    if seed is None or seed < 0:
        import secrets

        return secrets.randbits(32)
    return seed


def _one_of(flag: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise UsageError(f"{flag} is {value!r}, but must be one of: {', '.join(allowed)}")
