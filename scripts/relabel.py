"""The embedded model's weights as another architecture that computes the same: qwen2.

Both are the same stack of blocks, but qwen2 rotates positions in halves of a head, llama in
pairs. With the rows of the query and key matrices put in that order the two models say the same.
It is no other model: it exercises the way of another architecture through llama.cpp.

    python scripts/relabel.py SOURCE.gguf MADE.gguf
"""

from __future__ import annotations

import argparse
from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specli.gguf.header import Header, read_header
from specli.gguf.types import ValueType
from tests.tiny_gguf import Typed, Value, gguf_bytes

OLD, NEW = "llama.", "qwen2."


def relabelled(source: Path) -> bytes:
    """The bytes of the qwen2 model. Raises ValueError unless `source` is llama in F32."""
    header = read_header(source)
    if header.architecture != "llama" or any(t.type.name != "F32" for t in header.tensors.values()):
        raise ValueError(f"{source} is no llama model with F32 weights")
    tensors = {}
    data = np.memmap(source, dtype=np.uint8, mode="r", offset=header.data_offset)
    heads = {
        "attn_q.weight": header.integer("llama.attention.head_count") or 1,
        "attn_k.weight": header.integer("llama.attention.head_count_kv") or 1,
    }
    for name, info in header.tensors.items():
        raw = data[info.offset : info.offset + info.size]
        tensor = raw.view("<f4").reshape(tuple(reversed(info.shape)))
        kind = name.split(".", 2)[-1]
        tensors[name] = _in_halves(tensor, heads[kind]) if kind in heads else tensor
    return gguf_bytes(_fields(header), tensors)


def _in_halves(matrix: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of each head: the first of every pair, then the second of every pair."""
    rows, columns = matrix.shape
    pairs = matrix.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _fields(header: Header) -> dict[str, Value]:
    fields: dict[str, Value] = {}
    for key, field in header.fields.items():
        value: object = field.value
        if isinstance(value, array):
            value = value.tolist()
        if key == "general.architecture":
            value = NEW.removesuffix(".")
        renamed = NEW + key.removeprefix(OLD) if key.startswith(OLD) else key
        if field.element is None:
            fields[renamed] = Typed(int(field.kind), value)
        else:
            fields[renamed] = Typed(int(ValueType.ARRAY), value, element=int(field.element))
    return fields


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("source", type=Path)
    parser.add_argument("made", type=Path)
    options = parser.parse_args()
    options.made.write_bytes(relabelled(options.source))


if __name__ == "__main__":
    main()
