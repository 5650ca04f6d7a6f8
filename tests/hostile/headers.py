"""Damaged headers of models: each ends in a header or in one clear error."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

from specli.errors import ModelFileError
from specli.gguf.check import check_file
from specli.gguf.header import read_header
from specli.pairs.check import CheckOptions, check_pair, examine
from tests import tiny_gguf as tiny
from tests.hostile.entry import Entry, require_sentence

MAKERS: tuple[Callable[[], bytes], ...] = (
    tiny.llama_bytes,
    lambda: tiny.llama_bytes(tiny.spm_vocabulary()),
    tiny.gemma3_bytes,
    tiny.mamba_bytes,
    tiny.falcon_h1_bytes,
)


@cache
def _models() -> list[tuple[bytes, int]]:
    """Whole models, and where the header of each ends."""
    from tempfile import TemporaryDirectory

    found = []
    with TemporaryDirectory() as folder:
        for make in MAKERS:
            path = Path(folder) / "model.gguf"
            path.write_bytes(make())
            found.append((path.read_bytes(), read_header(path).data_offset))
    return found


def make(rng: random.Random) -> bytes:
    """A model that is cut short, has flipped bits or wild numbers in its header, or several."""
    content, header_size = rng.choice(_models())
    broken = bytearray(content)
    kind = rng.choice(("cut", "flip", "flip", "number", "both"))
    if kind != "cut":
        for _ in range(rng.choice((1, 1, 1, 2, 8))):
            # Most of a header is tokens: look more often at the fields and the tensor list.
            regions = ((0, header_size), (0, 900), (header_size - 2000, header_size))
            position = rng.randrange(*rng.choice(regions))
            if kind == "number":
                wild = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1))
                size = rng.choice((4, 8))
                broken[position : position + size] = wild.to_bytes(8, "little")[:size]
            else:
                broken[position] ^= 1 << rng.randrange(8)
    if kind in ("cut", "both"):
        del broken[rng.randrange(rng.choice((header_size, len(broken)))) :]
    return bytes(broken)


def check(content: bytes, folder: Path) -> str:
    path = folder / "model.gguf"
    path.write_bytes(content)
    try:
        model = examine(check_file(path))
        check_pair(model, model, CheckOptions())
    except ModelFileError as error:
        message = error.message
    else:
        return "accepted"
    require_sentence(message)
    assert "\n" not in message
    assert message.startswith(str(folder))
    return "refused"


ENTRY = Entry(
    "headers", make, check, in_ci=150, seeds=(b"", b"GGUF", b"GGUF\3\0\0\0" + b"\xff" * 16)
)
