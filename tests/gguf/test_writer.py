from __future__ import annotations

from pathlib import Path

import pytest

from specli.errors import ModelFileError
from specli.gguf.header import Header, read_header
from specli.gguf.writer import rewrite
from tests import tiny_gguf as tiny

LONG = "A name much longer than llama.cpp's own overrides take. " * 10


def weights(header: Header, path: Path) -> bytes:
    return path.read_bytes()[header.data_offset :]


def test_values_are_set_and_everything_else_is_copied(tmp_path: Path) -> None:
    content = tiny.llama_bytes(extra={"llama.scales": [0.5, 1.5]})
    source, made = tiny.write(tmp_path / "source.gguf", content), tmp_path / "made.gguf"
    values: dict[str, str | int] = {
        "general.name": LONG,
        "specli.size": 1 << 40,
        "specli.count": 3,
    }
    rewrite(source, made, values)
    before, after = read_header(source), read_header(made)
    assert after.text("general.name") == LONG
    assert after.integer("specli.size") == 1 << 40
    assert after.integer("specli.count") == 3
    untouched = before.fields.keys() - values.keys()
    assert {key: before.fields[key] for key in untouched} == {
        key: after.fields[key] for key in untouched
    }
    assert after.tensors == before.tensors
    assert weights(after, made) == weights(before, source)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    broken = tiny.write(tmp_path / "broken.gguf", b"GGUF")
    with pytest.raises(ModelFileError, match=r"broken\.gguf"):
        rewrite(broken, tmp_path / "made.gguf", {})
    assert not (tmp_path / "made.gguf").exists()
