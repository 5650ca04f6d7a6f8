"""A draft from a small model of another family: its weights, the target's vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

import specli
from specli.drafts.prompts import PROMPTS
from specli.drafts.provenance import source_metadata
from specli.errors import ModelFileError, PairIncompatibleError, UsageError
from specli.gguf.check import check_file
from specli.gguf.header import DEFAULT_ALIGNMENT, Header, TensorInfo
from specli.gguf.writer import write_grafted
from specli.hub.cache import cache_dir, file_sha256, locked, writing
from specli.hub.progress import ProgressSink, watching
from specli.llama.lexicon import (
    NO_TOKEN,
    Overlap,
    match,
    overlap,
    parts,
    read_lexicon,
)
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
    if made.resolve() in (target.resolve(), donor.resolve()):
        raise UsageError(f"{made} is one of the two models", hint="name another file with -o")
    _require_sense(target_header, donor_header)
    rows, shared = _compared(target_header, donor_header)
    tensors = _resized(donor_header, len(rows.found))
    values = _provenance(target_header, donor_header, shared)
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
            _write_data(donor_header, rows, file)
    # Fails now if llama.cpp cannot use the file.
    probe(made, cache_dir() / "probes")
    return Transplanted(made, shared, len(rows.parts))


def _require_sense(target: Header, donor: Header) -> None:
    if (donor.integer("split.count") or 1) > 1:
        raise UsageError(
            f"{donor.name} is split into several files",
            hint="merge them first: llama-gguf-split --merge FIRST_PART MERGED",
        )
    if all(result.verdict != "fail" for result in compare_vocabularies(target, donor)):
        raise UsageError(
            f"{donor.name} has the vocabulary of {target.name} already",
            hint=f"use it as it is: -m {target.name} -md {donor.name}",
        )


def _compared(target: Header, donor: Header) -> tuple[_Rows, Overlap]:
    """Raises PairIncompatibleError with the overlap where too little is shared."""
    options = ModelOptions(gpu_layers=0, vocab_only=True)
    with Model(Path(target.name), options) as own, Model(Path(donor.name), options) as other:
        words, donor_words = read_lexicon(target, own.vocab), read_lexicon(donor, other.vocab)
        found = match(words, donor_words)
        texts = (own.vocab.tokenize(text, add_special=False) for text in PROMPTS)
        shared = overlap(found, list(chain.from_iterable(texts)))
        if shared.of_text < LEAST_OF_TEXT or shared.of_vocabulary < LEAST_OF_VOCABULARY:
            raise PairIncompatibleError(
                f"{donor.name} cannot take the vocabulary of {target.name}: they share {shared}; "
                f"{LEAST_OF_TEXT:.0%} of texts and {LEAST_OF_VOCABULARY:.0%} of the vocabulary "
                "are the least that works",
                hint="make a draft from the target itself: the same command without --from",
            )
        split = parts(found, words, donor_words, other.vocab)
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
            tensor = replace(tensor, shape=(*tensor.shape[:-1], size))
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


def _write_data(donor: Header, rows: _Rows, file: BinaryIO) -> None:
    data = np.memmap(donor.name, dtype=np.uint8, mode="r")
    for tensor in donor.tensors.values():
        start = donor.data_offset + tensor.offset
        own = data[start : start + tensor.size]
        if tensor.name in PER_TOKEN:
            written = 0
            for chunk in _moved(tensor, own.reshape(tensor.shape[-1], -1), rows):
                written += file.write(chunk.data)
        else:
            written = file.write(own.data)
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
        known = found != NO_TOKEN
        chunk = np.empty((len(found), data.shape[1]), dtype=np.uint8)
        chunk[known] = data[found[known]]
        chunk[~known] = average
        split = [index for index in range(len(found)) if start + index in rows.parts]
        if split:
            made_of = (floats(kind, data[rows.parts[start + index]]) for index in split)
            chunk[split] = stored(kind, np.array([one.mean(axis=0) for one in made_of]))
        yield chunk


def _provenance(target: Header, donor: Header, shared: Overlap) -> dict[str, str | int]:
    target_path, donor_path = Path(target.name), Path(donor.name)
    target_name = target.text("general.name") or target_path.stem
    donor_name = donor.text("general.name") or donor_path.stem
    return {
        "general.name": f"{donor_name} with the vocabulary of {target_name}",
        "general.description": f"Draft model for {target_name}, made from {donor_path.name} "
        f"(SHA-256 {file_sha256(donor_path)}) by specli {specli.__version__}: the weights of "
        f"{donor_name} and the vocabulary of {target_name}, of which {shared.of_vocabulary:.1%} "
        "was shared",
        **source_metadata(donor_path, donor_name),
        "specli.vocabulary_from.file": target_path.name,
    }
