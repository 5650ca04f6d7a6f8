"""A draft from a small model of another family: its weights, the target's vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

import specli
from specli.drafts.prompts import PROMPTS
from specli.drafts.transplant_match import (
    NO_TOKEN,
    Overlap,
    match,
    overlap,
    parts,
    read_lexicon,
)
from specli.errors import ModelFileError, PairIncompatibleError, UsageError
from specli.gguf.check import check_file
from specli.gguf.header import DEFAULT_ALIGNMENT, Header, TensorInfo
from specli.gguf.writer import write_grafted
from specli.hub.cache import cache_dir, file_sha256, locked, writing
from specli.hub.progress import ProgressSink, watching
from specli.llama.model import Model, ModelOptions
from specli.llama.probe import probe
from specli.llama.weights import Stored, floats, stored
from specli.pairs.vocabulary import compare_vocabularies

LEAST_OF_TEXT = 0.95
"""Share of a text's tokens that the donor must know: each other one ends a proposal."""

LEAST_OF_VOCABULARY = 0.5
"""Sample texts are short: with less than this in common, others would be covered worse."""

EMBEDDING = "token_embd.weight"
PER_TOKEN = (EMBEDDING, "output.weight", "output.bias")
"""Tensors with one row for each token of the vocabulary."""

_CHUNK_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Transplanted:
    """A draft that was written. `averaged` tokens have rows made from several of the donor's."""

    path: Path
    overlap: Overlap
    averaged: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where the rows of the made tensors come from: the donor's `found` row, or the mean of
    `parts`, or, where there is neither, the mean of all."""

    found: NDArray[np.int64]
    parts: dict[int, list[int]]


def transplant(target: Path, donor: Path, made: Path, report: ProgressSink) -> Transplanted:
    """Write `made`: the donor with the target's tokenizer, and rows of weights for its tokens.

    Rows of tokens that both have are copied as they are, so that the donor predicts the same
    there. A token that the donor does not have gets the mean of those that spell it. One
    that cannot be spelled gets the mean of all, which is never the most probable.

    Raises PairIncompatibleError with the overlap where too few tokens are shared, UsageError
    where the donor can draft as it is or cannot be taken apart, and ModelFileError.
    """
    target_header, donor_header = check_file(target), check_file(donor)
    _require_sense(target_header, donor_header, target, donor, made)
    rows, shared = _compared(target_header, donor_header, target, donor)
    tensors = _resized(donor_header, len(rows.found))
    values = _provenance(target, donor, target_header, donor_header, shared)
    vocab_size = f"{donor_header.architecture}.vocab_size"
    if vocab_size in donor_header.fields:
        values[vocab_size] = len(rows.found)
    total = sum(tensor.size for tensor in tensors)
    with (
        locked(made),
        writing(made) as partial,
        watching(partial, "make", made.name, total, report),
    ):
        write_grafted(donor, target, partial, values, tensors)
        with partial.open("ab") as file:
            _write_data(donor, donor_header, rows, file)
    # Fails now if llama.cpp cannot use the file.
    probe(made, cache_dir() / "probes")
    return Transplanted(made, shared, len(rows.parts))


def _require_sense(
    target_header: Header, donor_header: Header, target: Path, donor: Path, made: Path
) -> None:
    if made.resolve() in (target.resolve(), donor.resolve()):
        raise UsageError(f"{made} is one of the two models", hint="name another file with -o")
    if (donor_header.integer("split.count") or 1) > 1:
        raise UsageError(
            f"{donor} is split into several files",
            hint="merge them first: llama-gguf-split --merge FIRST_PART MERGED",
        )
    results = compare_vocabularies(target_header, donor_header)
    if all(result.verdict != "fail" for result in results):
        raise UsageError(
            f"{donor} has the vocabulary of {target} already",
            hint=f"use it as it is: -m {target} -md {donor}",
        )


def _compared(
    target_header: Header, donor_header: Header, target: Path, donor: Path
) -> tuple[_Rows, Overlap]:
    """Raises PairIncompatibleError with the overlap where too little is shared."""
    options = ModelOptions(gpu_layers=0, vocab_only=True)
    with Model(target, options) as target_model, Model(donor, options) as donor_model:
        target_words = read_lexicon(target_header, target_model.vocab)
        donor_words = read_lexicon(donor_header, donor_model.vocab)
        found = match(target_words, donor_words)
        used = [
            token
            for text in PROMPTS
            for token in target_model.vocab.tokenize(text, add_special=False)
        ]
        shared = overlap(found, used)
        if shared.of_text < LEAST_OF_TEXT or shared.of_vocabulary < LEAST_OF_VOCABULARY:
            raise PairIncompatibleError(
                f"{donor} cannot take the vocabulary of {target}: they share {shared}; "
                f"{LEAST_OF_TEXT:.0%} of texts and {LEAST_OF_VOCABULARY:.0%} of the vocabulary "
                "are the least that works",
                hint="make a draft from the target itself: the same command without --from",
            )
        split = parts(found, target_words, donor_words, donor_model.vocab)
    return _Rows(np.array(found, dtype=np.int64), split), shared


def _resized(donor: Header, size: int) -> list[TensorInfo]:
    """The donor's tensors with rows for `size` tokens.

    Raises ModelFileError for a donor without embeddings as long as its vocabulary.
    """
    embedding = donor.tensors.get(EMBEDDING)
    known = len(donor.strings("tokenizer.ggml.tokens") or ())
    if embedding is None or embedding.shape[-1] != known:
        raise ModelFileError(
            f"{donor.name} has no embedding for each of its {known} tokens",
            hint="convert the model again",
        )
    resized = []
    for tensor in donor.tensors.values():
        if tensor.name in PER_TOKEN:
            tensor = replace(
                tensor,
                shape=(*tensor.shape[:-1], size),
                size=tensor.size // tensor.shape[-1] * size,
            )
        elif known in tensor.shape and (
            not tensor.name.startswith("blk.") or ".nextn." in tensor.name
        ):
            raise UsageError(
                f"{donor.name} has the tensor {tensor.name} for each token, and what it does "
                "with it is not known",
                hint="take a model of another architecture",
            )
        resized.append(tensor)
    return resized


def _write_data(donor: Path, header: Header, rows: _Rows, file: BinaryIO) -> None:
    for tensor in header.tensors.values():
        data = np.memmap(
            donor,
            dtype=np.uint8,
            mode="r",
            offset=header.data_offset + tensor.offset,
            shape=(tensor.size,),
        )
        if tensor.name in PER_TOKEN:
            chunks = _moved(tensor, data.reshape(tensor.shape[-1], -1), rows)
        else:
            chunks = (
                data[start : start + _CHUNK_BYTES] for start in range(0, tensor.size, _CHUNK_BYTES)
            )
        written = 0
        for chunk in chunks:
            written += file.write(chunk.data)
        file.write(b"\0" * (-written % DEFAULT_ALIGNMENT))


def _moved(tensor: TensorInfo, data: Stored, rows: _Rows) -> Iterator[Stored]:
    """The rows of a tensor in the target's order, some megabytes at a time."""
    kind = tensor.type
    step = max(1, _CHUNK_BYTES // data.shape[1])
    mean = sum(
        floats(kind, data[start : start + step]).sum(axis=0, dtype=np.float64)
        for start in range(0, len(data), step)
    ) / len(data)
    average = stored(kind, np.array([mean], dtype=np.float32))
    for start in range(0, len(rows.found), step):
        found = rows.found[start : start + step]
        chunk = np.empty((len(found), data.shape[1]), dtype=np.uint8)
        known = found != NO_TOKEN
        chunk[known] = data[found[known]]
        chunk[~known] = average
        spelled = [
            index for index in np.flatnonzero(~known).tolist() if start + index in rows.parts
        ]
        if spelled:
            means = [
                floats(kind, data[rows.parts[start + index]]).mean(axis=0) for index in spelled
            ]
            chunk[spelled] = stored(kind, np.array(means))
        yield chunk


def _provenance(
    target: Path, donor: Path, target_header: Header, donor_header: Header, shared: Overlap
) -> dict[str, str | int]:
    target_name = target_header.text("general.name") or target.stem
    donor_name = donor_header.text("general.name") or donor.stem
    digest = file_sha256(donor)
    return {
        "general.name": f"{donor_name} with the vocabulary of {target_name}",
        "general.description": f"Draft model for {target_name}, made from {donor.name} "
        f"(SHA-256 {digest}) by specli {specli.__version__}: the weights of {donor_name} and the "
        f"vocabulary of {target_name}, of which {shared.of_vocabulary:.1%} was shared",
        "general.base_model.count": 1,
        "general.base_model.0.name": donor_name,
        "specli.made_from.file": donor.name,
        "specli.made_from.sha256": digest,
        "specli.made_from.size": donor.stat().st_size,
        "specli.vocabulary_from.file": target.name,
        "specli.version": specli.__version__,
    }
