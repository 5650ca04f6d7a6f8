"""Tiny models as real GGUF files, made in milliseconds, that llama.cpp loads and decodes.

Weights are random but seeded. Two models with the same seed are equal; `noise` moves one away
from the other by degrees, which gives a target and a draft that agree often but not always.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specli.gguf.header import Header, parse_header

Tensor = NDArray[np.float32] | NDArray[np.int64]

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

_SCALAR_CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?"}
_SCALAR_CODES |= {U64: "Q", I64: "q", F64: "d"}

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Typed:
    """A metadata value with its GGUF type spelled out; `element` makes it an array."""

    kind: int
    value: object
    element: int | None = None


Value = Typed | bool | int | float | str | bytes | Sequence[bytes] | Sequence[int] | Sequence[float]


def gguf_bytes(
    fields: Mapping[str, Value],
    tensors: Mapping[str, Tensor] | None = None,
    *,
    version: int = 3,
    alignment: int = 32,
) -> bytes:
    """The bytes of a GGUF file with these fields and tensors, F32 or I64 (shapes rows first)."""
    tensors = tensors or {}
    out = [b"GGUF", struct.pack("<IQQ", version, len(tensors), len(fields))]
    for key, value in fields.items():
        out += [_string(key.encode()), _value(value)]
    offset = 0
    data = []
    for name, tensor in tensors.items():
        kind, dtype = (27, "<i8") if tensor.dtype == np.int64 else (0, "<f4")
        raw = np.ascontiguousarray(tensor, dtype=dtype).tobytes()
        raw += b"\0" * (-len(raw) % alignment)
        shape = tuple(reversed(tensor.shape))
        out += [_string(name.encode()), struct.pack(f"<I{len(shape)}Q", len(shape), *shape)]
        out.append(struct.pack("<IQ", kind, offset))
        offset += len(raw)
        data.append(raw)
    header = b"".join(out)
    padding = b"\0" * (-len(header) % alignment) if tensors else b""
    return header + padding + b"".join(data)


def header(content: bytes) -> Header:
    """The header of a file with this content."""
    return parse_header(content, len(content), "the GGUF data")


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _value(value: Value) -> bytes:
    typed = value if isinstance(value, Typed) else _typed(value)
    if typed.element is None:
        return struct.pack("<I", typed.kind) + _scalar(typed.kind, typed.value)
    items = typed.value
    assert isinstance(items, Sequence)
    head = struct.pack("<IIQ", ARRAY, typed.element, len(items))
    return head + b"".join(_scalar(typed.element, item) for item in items)


def _typed(value: object) -> Typed:
    match value:
        case bool():
            return Typed(BOOL, value)
        case int():
            return Typed(U32, value)
        case float():
            return Typed(F32, value)
        case str() | bytes():
            return Typed(STRING, value)
        case [float(), *_]:
            return Typed(ARRAY, value, element=F32)
        case [int(), *_]:
            return Typed(ARRAY, value, element=I32)
        case _:
            return Typed(ARRAY, value, element=STRING)


def _scalar(kind: int, value: object) -> bytes:
    if kind == STRING:
        return _string(value.encode() if isinstance(value, str) else bytes(value))  # type: ignore[call-overload]
    return struct.pack("<" + _SCALAR_CODES[kind], value)


@dataclass(frozen=True)
class Vocabulary:
    """Tokenizer fields of a tiny model. None leaves a field out of the file."""

    model: str
    tokens: tuple[bytes, ...]
    types: tuple[int, ...]
    pre: str | None = None
    merges: tuple[bytes, ...] | None = None
    scores: tuple[float, ...] | None = None
    bos: int | None = None
    eos: int | None = None
    unk: int | None = None
    add_bos: bool | None = None
    add_eos: bool | None = None
    chat_template: str | None = CHATML
    extra: Mapping[str, Value] = field(default_factory=dict)

    def with_token(self, index: int, text: bytes) -> Vocabulary:
        """The same vocabulary with another text for one token."""
        return replace(self, tokens=(*self.tokens[:index], text, *self.tokens[index + 1 :]))

    def resized(self, size: int) -> Vocabulary:
        """The same vocabulary cut, or filled up with unused names, to `size` tokens."""
        more = range(len(self.tokens), size)
        scores = self.scores
        if scores is not None:
            scores = (*scores[:size], *(-1000.0 for _ in more))
        return replace(
            self,
            tokens=(*self.tokens[:size], *(b"filler%d" % index for index in more)),
            types=(*self.types[:size], *(NORMAL for _ in more)),
            scores=scores,
        )

    def fields(self) -> dict[str, Value]:
        given: dict[str, Value | None] = {
            "model": self.model,
            "pre": self.pre,
            "tokens": self.tokens,
            "token_type": self.types,
            "merges": self.merges,
            "scores": self.scores,
            "bos_token_id": self.bos,
            "eos_token_id": self.eos,
            "unknown_token_id": self.unk,
            "add_bos_token": self.add_bos,
            "add_eos_token": self.add_eos,
        }
        fields = {f"tokenizer.ggml.{key}": v for key, v in given.items() if v is not None}
        if self.chat_template is not None:
            fields["tokenizer.chat_template"] = self.chat_template
        return fields | dict(self.extra)


_BPE_MERGES = "t h,th e,i n,e r,a n,o n,r e,a t,e n,o r,Ġ t,Ġ a,Ġt he,Ġ s,Ġ w,in g,an d,Ġ c,h e,o u"


def bpe_vocabulary(size: int = 320) -> Vocabulary:
    """A byte-level BPE vocabulary: five special tokens, all 256 bytes, twenty merges, fillers.

    Ids 0 to 4 are <|endoftext|>, <|im_start|>, <|im_end|>, <unk> and <pad>; bytes start at 5.
    """
    special = [b"<|endoftext|>", b"<|im_start|>", b"<|im_end|>", b"<unk>", b"<pad>"]
    merges = tuple(pair.encode() for pair in _BPE_MERGES.split(","))
    tokens = special + [char.encode() for char in _byte_characters()]
    tokens += [merge.replace(b" ", b"") for merge in merges]
    types = [CONTROL] * len(special) + [NORMAL] * (len(tokens) - len(special))
    return Vocabulary(
        model="gpt2",
        pre="gpt-2",
        tokens=tuple(tokens),
        types=tuple(types),
        merges=merges,
        bos=1,
        eos=2,
        add_bos=False,
    ).resized(size)


def spm_vocabulary(size: int = 320) -> Vocabulary:
    """A SentencePiece vocabulary: <unk>, <s>, </s>, all 256 byte tokens, some pieces, fillers."""
    tokens = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % byte for byte in range(256)]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256
    pieces = ["▁", "e", "t", "a", "o", "n", "h", "th", "the", "▁the", "an", "in", "▁a", "▁t"]
    tokens += [piece.encode() for piece in pieces]
    types += [NORMAL] * len(pieces)
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(pieces))]
    return Vocabulary(
        model="llama",
        tokens=tuple(tokens),
        types=tuple(types),
        scores=tuple(scores),
        bos=1,
        eos=2,
        unk=0,
    ).resized(size)


def _byte_characters() -> list[str]:
    """The character that GPT-2's byte-level alphabet gives to each of the 256 bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


@dataclass(frozen=True)
class Shape:
    """Sizes of a tiny model. `kv_heads` below `heads` gives grouped-query attention."""

    layers: int = 2
    n_embd: int = 32
    heads: int = 4
    kv_heads: int = 2
    n_ff: int = 64
    context: int = 256
    window: int = 16
    """Sliding window of the architectures that have one, in tokens."""


class Weights:
    """Seeded random tensors, with an optional second seeded stream that disturbs them."""

    def __init__(self, seed: int, noise: float) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._base = np.random.default_rng(seed)
        self._disturbance = np.random.default_rng(seed + 1_000_003)
        self._noise = noise

    def matrix(self, name: str, rows: int, columns: int, scale: float | None = None) -> None:
        scale = columns**-0.5 if scale is None else scale
        self.tensors[name] = self._draw((rows, columns), scale)

    def vector(self, name: str, size: int, value: float = 1.0) -> None:
        self.tensors[name] = np.full(size, value, dtype=np.float32)

    def _draw(self, shape: tuple[int, ...], scale: float) -> Tensor:
        drawn = self._base.standard_normal(shape)
        drawn = drawn + self._noise * self._disturbance.standard_normal(shape)
        return (scale * drawn).astype(np.float32)


def common_fields(architecture: str, shape: Shape) -> dict[str, Value]:
    return {
        "general.architecture": architecture,
        "general.name": f"tiny {architecture}",
        f"{architecture}.context_length": shape.context,
        f"{architecture}.embedding_length": shape.n_embd,
        f"{architecture}.block_count": shape.layers,
        f"{architecture}.feed_forward_length": shape.n_ff,
        f"{architecture}.attention.head_count": shape.heads,
        f"{architecture}.attention.head_count_kv": shape.kv_heads,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
    }


def attention(weights: Weights, prefix: str, shape: Shape) -> None:
    kv_size = shape.n_embd // shape.heads * shape.kv_heads
    weights.matrix(f"{prefix}.attn_q.weight", shape.n_embd, shape.n_embd)
    weights.matrix(f"{prefix}.attn_k.weight", kv_size, shape.n_embd)
    weights.matrix(f"{prefix}.attn_v.weight", kv_size, shape.n_embd)
    weights.matrix(f"{prefix}.attn_output.weight", shape.n_embd, shape.n_embd)


def feed_forward(weights: Weights, prefix: str, shape: Shape) -> None:
    weights.matrix(f"{prefix}.ffn_gate.weight", shape.n_ff, shape.n_embd)
    weights.matrix(f"{prefix}.ffn_up.weight", shape.n_ff, shape.n_embd)
    weights.matrix(f"{prefix}.ffn_down.weight", shape.n_embd, shape.n_ff)


def llama_bytes(
    vocabulary: Vocabulary | None = None,
    *,
    seed: int = 0,
    noise: float = 0.0,
    shape: Shape | None = None,
    architecture: str = "llama",
    extra: Mapping[str, Value] | None = None,
) -> bytes:
    """A llama model. Another `architecture` string only renames the fields; `extra` adds some."""
    shape = shape or Shape()
    vocabulary = vocabulary or bpe_vocabulary()
    weights = Weights(seed, noise)
    weights.matrix("token_embd.weight", len(vocabulary.tokens), shape.n_embd, scale=1.0)
    for layer in range(shape.layers):
        prefix = f"blk.{layer}"
        weights.vector(f"{prefix}.attn_norm.weight", shape.n_embd)
        attention(weights, prefix, shape)
        weights.vector(f"{prefix}.ffn_norm.weight", shape.n_embd)
        feed_forward(weights, prefix, shape)
    weights.vector("output_norm.weight", shape.n_embd)
    weights.matrix("output.weight", len(vocabulary.tokens), shape.n_embd, scale=0.6)
    fields = common_fields(architecture, shape)
    fields[f"{architecture}.rope.dimension_count"] = shape.n_embd // shape.heads
    return gguf_bytes({**fields, **vocabulary.fields(), **(extra or {})}, weights.tensors)


def gemma3_bytes(
    vocabulary: Vocabulary | None = None,
    *,
    seed: int = 0,
    noise: float = 0.0,
    shape: Shape | None = None,
) -> bytes:
    """A Gemma 3 model: every other layer sees only a sliding window of `shape.window` tokens."""
    shape = shape or Shape()
    vocabulary = vocabulary or bpe_vocabulary()
    weights = Weights(seed, noise)
    head_size = shape.n_embd // shape.heads
    weights.matrix("token_embd.weight", len(vocabulary.tokens), shape.n_embd, scale=0.2)
    for layer in range(shape.layers):
        prefix = f"blk.{layer}"
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            weights.vector(f"{prefix}.{norm}.weight", shape.n_embd)
        weights.vector(f"{prefix}.attn_q_norm.weight", head_size)
        weights.vector(f"{prefix}.attn_k_norm.weight", head_size)
        attention(weights, prefix, shape)
        feed_forward(weights, prefix, shape)
    weights.vector("output_norm.weight", shape.n_embd)
    weights.matrix("output.weight", len(vocabulary.tokens), shape.n_embd, scale=0.6)
    fields = common_fields("gemma3", shape) | {
        "gemma3.attention.key_length": head_size,
        "gemma3.attention.value_length": head_size,
        "gemma3.attention.sliding_window": shape.window,
        "gemma3.attention.sliding_window_pattern": 2,
    }
    return gguf_bytes(fields | vocabulary.fields(), weights.tensors)


def mamba_bytes(
    vocabulary: Vocabulary | None = None,
    *,
    seed: int = 0,
    noise: float = 0.0,
    shape: Shape | None = None,
) -> bytes:
    """A Mamba model: recurrent, its cache cannot forget a tail."""
    shape = shape or Shape()
    vocabulary = vocabulary or bpe_vocabulary()
    weights = Weights(seed, noise)
    inner, state, rank, kernel = 2 * shape.n_embd, 8, 4, 4
    weights.matrix("token_embd.weight", len(vocabulary.tokens), shape.n_embd, scale=0.6)
    for layer in range(shape.layers):
        prefix = f"blk.{layer}"
        weights.vector(f"{prefix}.attn_norm.weight", shape.n_embd)
        weights.matrix(f"{prefix}.ssm_in.weight", 2 * inner, shape.n_embd)
        weights.matrix(f"{prefix}.ssm_conv1d.weight", inner, kernel)
        weights.vector(f"{prefix}.ssm_conv1d.bias", inner, 0.0)
        weights.matrix(f"{prefix}.ssm_x.weight", rank + 2 * state, inner)
        weights.matrix(f"{prefix}.ssm_dt.weight", inner, rank)
        weights.vector(f"{prefix}.ssm_dt.bias", inner, -2.0)
        weights.tensors[f"{prefix}.ssm_a"] = -np.ones((inner, state), dtype=np.float32)
        weights.vector(f"{prefix}.ssm_d", inner)
        weights.matrix(f"{prefix}.ssm_out.weight", shape.n_embd, inner)
    weights.vector("output_norm.weight", shape.n_embd)
    weights.matrix("output.weight", len(vocabulary.tokens), shape.n_embd, scale=0.6)
    fields = common_fields("mamba", shape) | {
        "mamba.feed_forward_length": 0,
        "mamba.attention.head_count": 0,
        "mamba.attention.head_count_kv": 0,
        "mamba.ssm.conv_kernel": kernel,
        "mamba.ssm.inner_size": inner,
        "mamba.ssm.state_size": state,
        "mamba.ssm.time_step_rank": rank,
    }
    return gguf_bytes(fields | vocabulary.fields(), weights.tensors)


def falcon_h1_bytes(
    vocabulary: Vocabulary | None = None,
    *,
    seed: int = 0,
    noise: float = 0.0,
    shape: Shape | None = None,
) -> bytes:
    """A Falcon-H1 model: hybrid, attention and a recurrent mixer side by side in each layer."""
    shape = shape or Shape()
    vocabulary = vocabulary or bpe_vocabulary()
    weights = Weights(seed, noise)
    inner, state, ssm_heads, groups, kernel = 2 * shape.n_embd, 16, 4, 1, 4
    channels = inner + 2 * groups * state
    weights.matrix("token_embd.weight", len(vocabulary.tokens), shape.n_embd, scale=0.6)
    for layer in range(shape.layers):
        prefix = f"blk.{layer}"
        weights.vector(f"{prefix}.attn_norm.weight", shape.n_embd)
        attention(weights, prefix, shape)
        weights.matrix(f"{prefix}.ssm_in.weight", inner + channels + ssm_heads, shape.n_embd)
        weights.matrix(f"{prefix}.ssm_conv1d.weight", channels, kernel)
        weights.vector(f"{prefix}.ssm_conv1d.bias", channels, 0.0)
        weights.vector(f"{prefix}.ssm_dt.bias", ssm_heads, -2.0)
        weights.tensors[f"{prefix}.ssm_a"] = -np.ones((ssm_heads, 1), dtype=np.float32)
        weights.tensors[f"{prefix}.ssm_d"] = np.ones((ssm_heads, 1), dtype=np.float32)
        weights.tensors[f"{prefix}.ssm_norm.weight"] = np.ones((groups, inner), dtype=np.float32)
        weights.matrix(f"{prefix}.ssm_out.weight", shape.n_embd, inner)
        # llama.cpp asks for this one tensor without the usual ".weight"
        weights.vector(f"{prefix}.ffn_norm", shape.n_embd)
        feed_forward(weights, prefix, shape)
    weights.vector("output_norm.weight", shape.n_embd)
    weights.matrix("output.weight", len(vocabulary.tokens), shape.n_embd, scale=0.6)
    fields = common_fields("falcon-h1", shape) | {
        "falcon-h1.rope.dimension_count": shape.n_embd // shape.heads,
        "falcon-h1.ssm.conv_kernel": kernel,
        "falcon-h1.ssm.inner_size": inner,
        "falcon-h1.ssm.state_size": state,
        "falcon-h1.ssm.time_step_rank": ssm_heads,
        "falcon-h1.ssm.group_count": groups,
    }
    return gguf_bytes(fields | vocabulary.fields(), weights.tensors)


def write(path: Path, content: bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content)
    return path
