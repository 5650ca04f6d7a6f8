from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np

from specli.gguf.header import read_header
from specli.llama.influence import block_influence
from specli.llama.model import Model
from tests import tiny_gguf as tiny

LAYERS = 4
SILENT = 2


def test_a_block_that_adds_nothing_has_no_influence(tmp_path: Path) -> None:
    content = silenced(tiny.llama_bytes(shape=tiny.Shape(layers=LAYERS)))
    with Model(tiny.write(tmp_path / "model.gguf", content)) as model:
        influence = block_influence(model, range(10, 42), threads=1)
    # What goes into the first block is no block's output.
    assert sorted(influence) == [1, 2, 3]
    assert abs(influence[SILENT]) < 1e-5
    assert all(value > 1e-3 for block, value in influence.items() if block != SILENT)


def silenced(content: bytes) -> bytes:
    """The same model with zeros where one block adds to what passes through it."""
    header = read_header(BytesIO(content))
    data = bytearray(content)
    for part in ("attn_output", "ffn_down"):
        info = header.tensors[f"blk.{SILENT}.{part}.weight"]
        start = header.data_offset + info.offset
        data[start : start + info.size] = np.zeros(info.elements, dtype="<f4").tobytes()
    return bytes(data)
