"""How llama.cpp loads a model and computes with it, apart from where: its own parameters.

None leaves a value to llama.cpp or to the model's file.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from specli.errors import UsageError

Override = tuple[str, Literal["int", "float", "bool", "str"], int | float | bool | str]
"""Key, type and value of a metadata entry."""

EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"  # of common/common.h
DENSE = r"\.ffn_(up|down|gate)\."  # of common/common.h

_LONGEST = 127  # bytes of a key or a text in llama_model_kv_override
_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class Native:
    """Parameters of llama.cpp's model and context, under its names.

    `tensor_buffers` are (pattern, buffer type), `loras` and `control_vectors` (file, scale);
    `control_layers` are the first and the last layer that the latter act on. A tuple can be part of
    a record's key.
    """

    load_mode: str = "auto"
    numa: str | None = None
    split_mode: str = "layer"
    main_gpu: int = 0
    tensor_split: tuple[float, ...] = ()
    tensor_buffers: tuple[tuple[str, str], ...] = ()
    overrides: tuple[Override, ...] = ()
    loras: tuple[tuple[str, float], ...] = ()
    control_vectors: tuple[tuple[str, float], ...] = ()
    control_layers: tuple[int, ...] = ()
    batch: int | None = None
    ubatch: int | None = None
    threads_batch: int | None = None
    rope_scaling: str | None = None
    rope_freq_base: float | None = None
    rope_freq_scale: float | None = None
    yarn_orig_ctx: int | None = None
    yarn_ext_factor: float | None = None
    yarn_attn_factor: float | None = None
    yarn_beta_slow: float | None = None
    yarn_beta_fast: float | None = None

    @property
    def scales_positions(self) -> bool:
        """Whether a model goes further than it was trained for."""
        scaled = (self.rope_scaling, self.rope_freq_scale, self.yarn_orig_ctx)
        return any(one is not None for one in scaled)

    @property
    def adapters(self) -> tuple[Path, ...]:
        """The files that change what the model says."""
        return tuple(Path(file).expanduser() for file, _scale in self.loras + self.control_vectors)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` gave, after JSON has made lists of its tuples."""
        return cls(**{name: _tuples(value) for name, value in fields.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


USUAL = Native()

POSITIONS = (
    "rope_freq_base",
    "rope_freq_scale",
    "yarn_orig_ctx",
    "yarn_ext_factor",
    "yarn_attn_factor",
    "yarn_beta_slow",
    "yarn_beta_fast",
)
"""Fields that say how positions are encoded, named as llama.cpp's parameters."""

_SAME = ("rope_scaling", *POSITIONS, "numa")
"""Settings with the names of fields, for both models of a pair as in llama.cpp."""

_STEERING = ("control_vector", "control_vector_scaled", "control_vector_layer_range")

DECIDING = ("override_kv", "lora", "lora_scaled", *_STEERING, "rope_scale", *_SAME[:-1])
"""Settings that change what the target says."""


def native(values: Mapping[str, object], role: str = "") -> Native:
    """The parameters of flat settings, named as the flags' long names with underscores; `role`
    "_draft" is the draft model, which has its own tensors, threads and LoRA and no control vectors.

    Raises UsageError for what has not the form that llama.cpp reads.
    """
    given = {name: value for name, value in values.items() if value is not None}
    same = {name: given[name] for name in _SAME if name in given}
    scale = given.get("rope_scale")
    if isinstance(scale, int | float):
        same["rope_freq_scale"] = 1 / scale
    batched = given.get(f"threads_batch{role}")
    return Native(
        load_mode=str(given.get("load_mode", "auto")),
        split_mode=str(given.get("split_mode", "layer")),
        main_gpu=_whole(given, "main_gpu") or 0,
        tensor_split=_shares(str(given.get("tensor_split", ""))),
        tensor_buffers=tuple(_buffers(given, role)),
        overrides=tuple(map(_override, _parts(given, "override_kv"))),
        loras=tuple(_scaled(given, "lora", role)),
        control_vectors=() if role else tuple(_scaled(given, "control_vector")),
        control_layers=() if role else _layer_range(given),
        batch=_whole(given, "batch_size"),
        ubatch=_whole(given, "ubatch_size"),
        threads_batch=batched if isinstance(batched, int) else None,
        **same,  # type: ignore[arg-type]
    )


def _whole(given: Mapping[str, object], name: str) -> int | None:
    value = given.get(name)
    return value if isinstance(value, int) else None


def _parts(given: Mapping[str, object], name: str) -> Iterator[str]:
    """What is separated by commas, and may be quoted, in every text of a setting."""
    texts = given.get(name, ())
    for text in texts if isinstance(texts, list | tuple) else [str(texts)]:
        for part in next(csv.reader([str(text)]), []):
            if part.strip():
                yield part.strip()


def _shares(text: str) -> tuple[float, ...]:
    """llama.cpp's proportions of the model for each GPU, such as 3,1."""
    try:
        shares = tuple(float(part) for part in text.replace("/", ",").split(",") if part.strip())
    except ValueError:
        shares = (math.nan,)
    if shares and not (all(0 <= one < math.inf for one in shares) and sum(shares) > 0):
        raise UsageError(f"`tensor_split` takes shares, not {text!r}", hint="such as 3,1")
    return shares


def _buffers(given: Mapping[str, object], role: str) -> Iterator[tuple[str, str]]:
    for text in _parts(given, f"override_tensor{role}"):
        pattern, equals, buffer = text.rpartition("=")
        if not equals or not pattern or not buffer:
            raise UsageError(
                f"`override_tensor{role}` takes PATTERN=BUFFER, not {text!r}",
                hint=r"such as 'blk\.1\.ffn=CPU'",
            )
        yield pattern, buffer
    if given.get(f"cpu_moe{role}"):
        yield EXPERTS, "CPU"
    for name, tensors in ((f"n_cpu_moe{role}", EXPERTS), (f"n_cpu_ffn{role}", DENSE)):
        for layer in range(_whole(given, name) or 0):
            yield rf"blk\.{layer}{tensors}", "CPU"


def _override(text: str) -> Override:
    """KEY=TYPE:VALUE as an entry of metadata."""
    key, _equals, typed = text.partition("=")
    kind, _colon, value = typed.partition(":")
    try:
        if not 0 < len(key.encode()) <= _LONGEST:
            raise ValueError
        if kind == "int" and -_INT64 <= int(value) < _INT64:
            return key, "int", int(value)
        if kind == "float" and math.isfinite(float(value)):
            return key, "float", float(value)
        if kind == "bool" and value in ("true", "false"):
            return key, "bool", value == "true"
        if kind == "str" and len(value.encode()) <= _LONGEST and "\0" not in value:
            return key, "str", value
    except ValueError:
        pass
    raise UsageError(
        f"`override_kv` takes KEY=TYPE:VALUE, not {text!r}",
        hint="types are int, float, bool, str: tokenizer.ggml.add_bos_token=bool:false",
    )


def _scaled(given: Mapping[str, object], name: str, role: str = "") -> Iterator[tuple[str, float]]:
    """The files of a setting and of its form with scales."""
    for text in _parts(given, f"{name}{role}"):
        yield text, 1.0
    for text in _parts(given, f"{name}_scaled{role}"):
        file, _colon, scale = text.rpartition(":")
        try:
            factor = float(scale)
        except ValueError:
            factor = math.nan
        if not file or not math.isfinite(factor):
            raise UsageError(
                f"`{name}_scaled{role}` takes FILE:SCALE, not {text!r}", hint="such as a:0.5"
            )
        yield file, factor


def _layer_range(given: Mapping[str, object]) -> tuple[int, ...]:
    text = given.get("control_vector_layer_range")
    if text is None:
        return ()
    try:
        first, last = map(int, str(text).split(","))
    except ValueError:
        first, last = 1, 0
    if not 1 <= first <= last:
        raise UsageError(
            f"`control_vector_layer_range` takes START,END, not {text!r}", hint="such as 10,20"
        )
    return first, last
