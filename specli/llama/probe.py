"""A model file is tried in a child process before this one loads it.

llama.cpp ends the process on many kinds of broken files (failed assertions, divisions by zero,
wild reads) that no header check can foresee. The child loads the file and decodes a few tokens
on the CPU; a crash of the child is a result. A file that passed is not tried again until the file
or the library changes.

    python -m specli.llama.probe FILE PARAMETERS repacked|plain
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from specli.errors import ModelFileError
from specli.files import replacing
from specli.llama.child import search_path
from specli.native import USUAL, Native

_TOKENS = 8
_SECONDS = 60
_BYTES_PER_SECOND = 50_000_000
_USELESS_LINES = ("ptrace", "gdb", "warning:", "[Thread", "#", "See:", "0x", "Reading symbols")


@dataclass(frozen=True, slots=True)
class Probe:
    """A file that llama.cpp can use. `repacked` is False where its repacked weights crash.

    `note` says why the result could not be recorded, once per process and folder of records.
    """

    repacked: bool
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a trial in a child process failed."""

    reason: str
    timed_out: bool = False


_unwritable: set[Path] = set()
"""Folders of records that could not be written, for which a note was returned already."""


def probe(path: Path, records: Path, native: Native = USUAL) -> Probe:
    """Try `path` in a child process, or read from `records` (a folder) that it passed before.

    With other parameters than llama.cpp's own it is tried with them.

    Raises ModelFileError with llama.cpp's reason, or with the signal that ended the child.
    """
    known = tried(path, records, native)
    if known is not None:
        return known
    stat = path.stat()
    seconds = _SECONDS + stat.st_size // _BYTES_PER_SECOND
    failure = _try(path, seconds, native)
    if failure is not None and failure.timed_out:
        # A slow disk says nothing about the file, which by now is partly in memory.
        failure = _try(path, seconds, native)
        if failure is not None and failure.timed_out:
            raise ModelFileError(
                f"llama.cpp could not try {path}: {failure.reason} in two attempts",
                hint="the disk or the machine may be busy: try again, or copy the file to a "
                "faster disk",
            )
    if failure is not None and _try(path, seconds, native, plain=True) is not None:
        raise ModelFileError(
            f"llama.cpp cannot use {path}: {failure.reason}",
            hint="the file is damaged, or of a kind that this llama.cpp does not know"
            if native == USUAL
            else "try without `override_kv`, `lora`, `control_vector`, and what is set of RoPE",
        )
    error = write_record(_record(path, records, native), path, repacked=failure is None)
    return Probe(failure is None, None if error is None else _note(records, error))


def _note(records: Path, error: OSError) -> str | None:
    """Why nothing can be recorded, where that has not been said yet."""
    if records in _unwritable:
        return None
    _unwritable.add(records)
    return (
        f"{records} cannot be written ({error.strerror or error}), so models are checked again on "
        "every run; the variable SPECLI_CACHE names another folder"
    )


def tried(path: Path, records: Path, native: Native = USUAL) -> Probe | None:
    """What an earlier `probe` found of this file with this library; None where there was none."""
    repacked = read_record(_record(path, records, native))
    return None if repacked is None else Probe(repacked)


def read_record(record: Path) -> bool | None:
    """Whether repacked weights worked in an earlier trial; None where there was none."""
    try:
        return bool(json.loads(record.read_text())["repacked"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(record: Path, path: Path, *, repacked: bool) -> OSError | None:
    """Keep what a trial of `path` has found; what prevents it costs another trial, not the run."""
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        with replacing(record) as partial:
            partial.write_text(json.dumps({"repacked": repacked, "path": str(path)}))
    except OSError as error:
        return error
    return None


def _record(path: Path, records: Path, native: Native = USUAL) -> Path:
    from specli.llama import library

    stat = path.stat()
    key = f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n{library.build_id()}"
    native = _on_the_cpu(native)
    if native != USUAL:
        stats = [one.stat() for one in native.adapters if one.exists()]
        key += f"\n{native!r}\n{[(one.st_size, one.st_mtime_ns) for one in stats]}"
    return records / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:32]}.json"


def _try(path: Path, seconds: int, native: Native, *, plain: bool = False) -> Failure | None:
    """None when the child used the file, else what went wrong."""
    parameters = json.dumps(asdict(_on_the_cpu(native)))
    weights = "plain" if plain else "repacked"
    return run_child("specli.llama.probe", [str(path), parameters, weights], seconds)


def run_child(module: str, arguments: Sequence[str], seconds: int) -> Failure | None:
    """Try something in a child process: None where that ended well, else what went wrong."""
    try:
        child = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            capture_output=True,
            check=False,
            timeout=seconds,
            env={**os.environ, "PYTHONPATH": search_path(), "GGML_NO_BACKTRACE": "1"},
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Failure(f"loading it did not end within {seconds} seconds", timed_out=True)
    if child.returncode == 0:
        return None
    output = child.stderr.decode("utf-8", "replace").strip()
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return Failure(f"it makes llama.cpp end with {name}{_last_line(output)}")
    return Failure(output.splitlines()[-1] if output else f"exit code {child.returncode}")


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    reasons = [line for line in lines if not line.startswith(_USELESS_LINES)]
    return f" ({reasons[-1]})" if reasons else ""


def _on_the_cpu(native: Native) -> Native:
    """Without what needs devices that a child does not use, or more of the memory than it may."""
    return replace(
        native, load_mode="auto", numa=None, split_mode="layer", main_gpu=0, tensor_split=(),
        tensor_buffers=(), batch=None, ubatch=None, threads_batch=None,
    )  # fmt: skip


def _child(path: Path, native: Native, *, plain: bool) -> None:
    from specli.llama.context import Context
    from specli.llama.model import Model, ModelOptions
    from specli.llama.opening import ContextOptions

    options = ModelOptions(gpu_layers=0, devices=["none"], repacked=not plain, native=native)
    with Model(path, options) as model:
        model.require_text_generation()
        if model.vocab.size < 1:
            raise ModelFileError(f"{path} has no vocabulary")
        small = ContextOptions(n_ctx=64, n_batch=32, threads=2, native=native)
        with Context(model, small) as context:
            token = min(max(model.vocab.bos, 0), model.vocab.size - 1)
            for count in (1, _TOKENS):
                row = context.add(0, [token] * count, context.length(0), 1)
                context.decode()
                context.logits(row)
        model.vocab.tokenize("A test, 1 2 3", add_special=True)


if __name__ == "__main__":
    from specli.errors import SpecliError

    try:
        _child(
            Path(sys.argv[1]),
            Native.from_json(json.loads(sys.argv[2])),
            plain=sys.argv[3] == "plain",
        )
    except SpecliError as error:
        sys.exit(error.message.replace("\n", " "))
