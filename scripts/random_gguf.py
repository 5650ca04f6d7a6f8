"""Writes a llama model of any size with random weights, for placement, memory and timing.

Its text is noise and no draft agrees with it; what a batch costs does not depend on that. Weights
are F16 and written piece by piece, so that several GB need no memory. Two files of different
sizes share the vocabulary and can be paired.

    python scripts/random_gguf.py FILE SIZE      SIZE like 512M or 4G
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from specli.hub.cache import writing
from tests import tiny_gguf

F32, F16 = 0, 1
ALIGNMENT = 32
VOCABULARY = 32_000
HEAD = 64
CONTEXT = 32_768
WIDTHS = ((3 << 30, 4096), (1 << 30, 2048), (1 << 28, 1024), (0, 512))
"""(size from, embedding length): few wide layers cost less time a byte than many narrow ones."""
PIECE = 1 << 25


@dataclass(frozen=True, slots=True)
class Tensor:
    """Shape with rows first; matrices are F16, vectors F32 and all ones."""

    name: str
    shape: tuple[int, ...]

    @property
    def kind(self) -> int:
        return F16 if len(self.shape) == 2 else F32

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape))

    @property
    def size(self) -> int:
        return self.elements * (2 if self.kind == F16 else 4)


def write(path: Path, size: int, seed: int = 0) -> Path:
    """A model file of about `size` bytes, at least one layer; an existing file is kept."""
    if path.exists():
        return path
    width = next(width for least, width in WIDTHS if size >= least)
    layers = max(1, round((size - 4 * VOCABULARY * width) / _layer_bytes(width)))
    tensors = list(_tensors(width, layers))
    with writing(path) as partial, partial.open("wb") as out:
        out.write(_header(_fields(width, layers), tensors))
        _write_data(out, tensors, seed)
    return path


def _layer_bytes(width: int) -> int:
    return sum(tensor.size for tensor in _layer(0, width))


def _layer(number: int, width: int) -> Iterator[Tensor]:
    prefix, kv, hidden = f"blk.{number}", width // 4, 11 * width // 4
    yield Tensor(f"{prefix}.attn_norm.weight", (width,))
    yield Tensor(f"{prefix}.attn_q.weight", (width, width))
    yield Tensor(f"{prefix}.attn_k.weight", (kv, width))
    yield Tensor(f"{prefix}.attn_v.weight", (kv, width))
    yield Tensor(f"{prefix}.attn_output.weight", (width, width))
    yield Tensor(f"{prefix}.ffn_norm.weight", (width,))
    yield Tensor(f"{prefix}.ffn_gate.weight", (hidden, width))
    yield Tensor(f"{prefix}.ffn_up.weight", (hidden, width))
    yield Tensor(f"{prefix}.ffn_down.weight", (width, hidden))


def _tensors(width: int, layers: int) -> Iterator[Tensor]:
    yield Tensor("token_embd.weight", (VOCABULARY, width))
    for number in range(layers):
        yield from _layer(number, width)
    yield Tensor("output_norm.weight", (width,))
    yield Tensor("output.weight", (VOCABULARY, width))


def _fields(width: int, layers: int) -> dict[str, tiny_gguf.Value]:
    sizes = {
        "context_length": CONTEXT,
        "embedding_length": width,
        "block_count": layers,
        "feed_forward_length": 11 * width // 4,
        "attention.head_count": width // HEAD,
        "attention.head_count_kv": width // HEAD // 4,
        "rope.dimension_count": HEAD,
    }
    return {
        "general.architecture": "llama",
        "general.name": f"random {layers}x{width}",
        "general.file_type": F16,
        **{f"llama.{key}": value for key, value in sizes.items()},
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        **tiny_gguf.bpe_vocabulary(VOCABULARY).fields(),
    }


def _header(fields: dict[str, tiny_gguf.Value], tensors: list[Tensor]) -> bytes:
    """Everything before the weights, padded to where they begin."""
    head = bytearray(tiny_gguf.gguf_bytes(fields))
    struct.pack_into("<Q", head, 8, len(tensors))
    offset = 0
    for tensor in tensors:
        name, shape = tensor.name.encode(), tensor.shape[::-1]
        head += struct.pack("<Q", len(name)) + name
        head += struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, tensor.kind, offset)
        offset += tensor.size + -tensor.size % ALIGNMENT
    return bytes(head) + bytes(-len(head) % ALIGNMENT)


def _write_data(out: BinaryIO, tensors: list[Tensor], seed: int) -> None:
    # One piece of noise over and over: what the numbers are changes no time.
    noise = np.random.default_rng(seed).standard_normal(PIECE // 2, dtype=np.float32)
    piece = (0.02 * noise).astype(np.float16).tobytes()
    for tensor in tensors:
        if tensor.kind == F32:
            out.write(np.ones(tensor.elements, dtype="<f4").tobytes())
        else:
            for start in range(0, tensor.size, PIECE):
                out.write(piece[: tensor.size - start])
        out.write(bytes(-tensor.size % ALIGNMENT))


def bytes_of(text: str) -> int:
    """A size as people write it: 512M, 4G."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in units else (text, "")
    try:
        return int(float(number) * units.get(unit, 1))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 512M or 4G") from None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("size", type=bytes_of)
    given = parser.parse_args()
    print(write(given.file, given.size))


if __name__ == "__main__":
    main()
