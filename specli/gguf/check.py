"""Checks a model file before llama.cpp sees it.

llama.cpp aborts the whole process on some broken files instead of refusing them. What is known
to abort is refused here with a sentence.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from specli.errors import ModelFileError
from specli.gguf.facts import layer_values
from specli.gguf.header import MAGIC, Header, read_header
from specli.gguf.split import part_name, parts_of, split_part
from specli.gguf.tokenizer import Tokenizer, read_tokenizer

MAX_LAYERS = 512
MAX_EXPERTS = 1024
_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")


def check_file(path: str | os.PathLike[str]) -> Header:
    """The header of a model that can be handed to llama.cpp, all parts of a split one included.

    For a split model the tensors of all parts are in the result, and its sizes are those of all
    parts together. Raises ModelFileError saying what is wrong: not a file, not a GGUF, cut
    short, a part missing, no architecture, no tokenizer, fields that llama.cpp would abort on.
    """
    path = Path(path)
    _require_file(path)
    header = _whole(path)
    parts = header.integer("split.count") or 1
    if parts > 1:
        header = _with_other_parts(path, header, parts)
    if not header.architecture:
        raise ModelFileError(
            f"{path} does not name its architecture",
            hint="convert the model again; general.architecture is missing",
        )
    check_metadata(header)
    return header


def check_metadata(header: Header) -> None:
    """Raise ModelFileError for fields on which llama.cpp would refuse the file or abort."""
    _check_bytes(header, read_tokenizer(header))
    layers = header.model_integer("block_count")
    if layers is not None and not 1 <= layers <= MAX_LAYERS:
        _impossible(header, "block_count", layers)
    predicting = header.model_integer("nextn_predict_layers") or 0
    if not 0 <= predicting <= (layers or 0):
        _impossible(header, "nextn_predict_layers", predicting)
    _check_experts(header)
    _check_heads(header, layers or 0)
    _check_rotation(header)
    for key in ("layer_norm_epsilon", "layer_norm_rms_epsilon"):
        epsilon = header.number(f"{header.architecture}.attention.{key}")
        if epsilon is not None and not 0 <= epsilon < 1:
            _impossible(header, f"attention.{key}", epsilon)
    scaling = header.text(f"{header.architecture}.rope.scaling.type")
    if scaling is not None and scaling not in _ROPE_SCALINGS:
        _impossible(header, "rope.scaling.type", repr(scaling))


def _check_bytes(header: Header, tokenizer: Tokenizer) -> None:
    """SentencePiece falls back to byte tokens, and llama.cpp ends the process where one lacks."""
    if tokenizer.kind != "SPM":
        return
    texts = set(tokenizer.texts)
    for byte in range(256):
        if b"<0x%02X>" % byte not in texts and bytes([byte]) not in texts:
            raise ModelFileError(
                f"{header.name} has no token for the byte 0x{byte:02X}, "
                "so it cannot take in every text",
                hint="download or convert the file again",
            )


def _check_heads(header: Header, layers: int) -> None:
    heads = layer_values(header, "attention.head_count", layers)
    shared = layer_values(header, "attention.head_count_kv", layers)
    for most, count in zip(heads, shared, strict=False):
        if count > most:
            _impossible(header, "attention.head_count_kv", count)


def _check_experts(header: Header) -> None:
    experts = header.model_integer("expert_count") or 0
    if experts > MAX_EXPERTS:
        _impossible(header, "expert_count", experts)
    used = max(layer_values(header, "expert_used_count", 0), default=0)
    # llama.cpp's own converters leave both counts out or write both.
    if used > experts or (experts and not used):
        _impossible(header, "expert_used_count", used)
    groups = header.model_integer("expert_group_count") or 0
    if groups and groups >= experts:
        _impossible(header, "expert_group_count", groups)
    if groups > 1:
        group_used = header.model_integer("expert_group_used_count") or 0
        if experts % groups or not 0 < group_used < groups:
            _impossible(header, "expert_group_used_count", group_used)


def _check_rotation(header: Header) -> None:
    """Position encoding turns pairs of elements inside a head."""
    turned = header.model_integer("rope.dimension_count")
    heads = max(layer_values(header, "attention.head_count", 0), default=0)
    if turned is None or not heads:
        return
    head_size = header.model_integer("attention.key_length")
    if head_size is None:
        head_size = (header.model_integer("embedding_length") or 0) // heads
    if turned > head_size or turned % 2:
        _impossible(header, "rope.dimension_count", turned)


def _impossible(header: Header, key: str, value: object) -> None:
    raise ModelFileError(
        f"{header.name} is damaged: {header.architecture}.{key} is {value}",
        hint="download or convert the file again",
    )


def _require_file(path: Path) -> None:
    if path.is_dir():
        models = sorted(file.name for file in path.glob("*.gguf"))
        hint = f"name a file in it, such as {models[0]}" if models else "name a .gguf file"
        raise ModelFileError(f"{path} is a directory, not a model file", hint=hint)
    if not path.exists():
        raise ModelFileError(f"{path} does not exist", hint="check the spelling of the path")
    if not path.is_file():
        raise ModelFileError(f"{path} is not a regular file", hint="name a .gguf file")


def _whole(path: Path) -> Header:
    """The header of one file, which must be a GGUF and have all its bytes."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read: {error.strerror}", hint="check the permissions of the file"
        ) from error
    if not start:
        raise ModelFileError(f"{path} is empty", hint="download the file again")
    if not start.startswith(MAGIC):
        what, hint = _likeness(start)
        raise ModelFileError(f"{path} is not a GGUF file: {what}", hint=hint)
    header = read_header(path)
    if header.file_size < header.expected_size:
        raise ModelFileError(
            f"{path} is cut short: it has {header.file_size:,} bytes "
            f"and should have {header.expected_size:,}",
            hint="finish or repeat the download",
        )
    return header


_CONVERT = "convert it with llama.cpp's convert_hf_to_gguf.py, or download a GGUF of the model"


def _likeness(start: bytes) -> tuple[str, str]:
    """What a file that is not a GGUF looks like, and what to do about it."""
    text = start.lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer", "fetch the real file with `git lfs pull`"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page", "download the file itself, not the page that links to it"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return "it looks like safetensors", _CONVERT
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")):
        return "it looks like a PyTorch checkpoint or a zip archive", _CONVERT
    if start.startswith((b"lmgg", b"fmgg", b"tjgg", b"algg")):
        return "it is in a format older than GGUF", "download a newer conversion of the model"
    if text.startswith((b"{", b"[")):
        return "it looks like JSON", "name the .gguf file"
    return f"it starts with {start[:4]!r}", "name a .gguf file, or download it again"


def _with_other_parts(path: Path, first: Header, count: int) -> Header:
    number = (first.integer("split.no") or 0) + 1
    name = split_part(path.name)
    if number != 1:
        hint = "give the first part; the others are found next to it"
        if name:
            hint = f"give the first part, {part_name(name[0], 1, count)}"
        raise ModelFileError(f"{path} is part {number} of {count} of a split model", hint=hint)
    if name is None or name[1:] != (1, count):
        raise ModelFileError(
            f"{path} is the first of {count} parts, but its name does not end in "
            f"-00001-of-{count:05d}.gguf, so the others cannot be found",
            hint="give the parts back the names that they were published under",
        )
    others = list(enumerate(parts_of(path), 1))[1:]
    whole = joined([first, *(_part(part, number, count) for number, part in others)])
    promised = first.integer("split.tensors.count")
    if promised != len(whole.tensors):
        raise ModelFileError(
            f"{path} and its other parts have {len(whole.tensors)} tensors, "
            f"not the {promised} promised",
            hint="download all parts again",
        )
    return whole


def _part(path: Path, number: int, count: int) -> Header:
    if not path.exists():
        raise ModelFileError(
            f"part {number} of {count} of the model is missing: {path}",
            hint="download it into the same directory",
        )
    header = _whole(path)
    marked = (header.integer("split.no") or 0) + 1
    if marked != number:
        raise ModelFileError(
            f"{path} is marked as part {marked}, not {number}",
            hint="download it again under its published name",
        )
    return header


def joined(headers: Sequence[Header]) -> Header:
    """One header for all parts of a model: the fields of the first, the tensors of all.

    Raises ModelFileError where a part repeats a tensor of an earlier one.
    """
    first, *others = headers
    tensors = dict(first.tensors)
    for header in others:
        repeated = next((name for name in header.tensors if name in tensors), None)
        if repeated is not None:
            raise ModelFileError(
                f"{header.name} repeats the tensor {repeated!r} of an earlier part",
                hint="download all parts again",
            )
        tensors |= header.tensors
    return replace(
        first,
        tensors=tensors,
        file_size=first.file_size + sum(header.file_size for header in others),
        expected_size=first.expected_size + sum(header.expected_size for header in others),
    )
