"""A model file is tried in a child process before this one loads it.

llama.cpp ends the process on many kinds of broken files (failed assertions, divisions by zero,
wild reads) that no header check can foresee. The child loads the file and decodes a few tokens
on the CPU; what happens to it is a result, not a crash. A file that passed is not tried again
until it, or the library, changes.

    python -m specli.llama.probe FILE [plain]
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from specli.errors import ModelFileError

_TOKENS = 8
_SECONDS = 60
_BYTES_PER_SECOND = 50_000_000
_USELESS_LINES = ("ptrace", "gdb", "warning:", "[Thread", "#", "See:", "0x", "Reading symbols")


@dataclass(frozen=True, slots=True)
class Probe:
    """A file that llama.cpp can use. `repacked` is False where its repacked weights crash."""

    repacked: bool


def probe(path: Path, records: Path) -> Probe:
    """Try `path` in a child process, or read from `records` (a folder) that it passed before.

    Raises ModelFileError with llama.cpp's reason, or with the signal that ended the child.
    """
    known = tried(path, records)
    if known is not None:
        return known
    stat = path.stat()
    seconds = _SECONDS + stat.st_size // _BYTES_PER_SECOND
    failure = _try(path, seconds, plain=False)
    passed = Probe(repacked=True)
    if failure is not None:
        if _try(path, seconds, plain=True) is not None:
            raise ModelFileError(
                f"llama.cpp cannot use {path}: {failure}",
                hint="the file is damaged, or of a kind that this llama.cpp does not know",
            )
        passed = Probe(repacked=False)
    record = _record(path, records)
    records.mkdir(parents=True, exist_ok=True)
    temporary = record.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"repacked": passed.repacked, "path": str(path)}))
    temporary.replace(record)
    return passed


def tried(path: Path, records: Path) -> Probe | None:
    """What an earlier `probe` found of this file with this library; None where there was none."""
    try:
        return Probe(repacked=bool(json.loads(_record(path, records).read_text())["repacked"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record(path: Path, records: Path) -> Path:
    from specli.llama import library

    stat = path.stat()
    key = f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n{library.build_id()}"
    return records / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _try(path: Path, seconds: int, *, plain: bool) -> str | None:
    """None when the child used the file, else one sentence about what went wrong."""
    command = [sys.executable, "-m", "specli.llama.probe", str(path)]
    if plain:
        command.append("plain")
    # The child must find this very package, also where it is not installed.
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "GGML_NO_BACKTRACE": "1"}
    try:
        child = subprocess.run(
            command,
            capture_output=True,
            check=False,
            timeout=seconds,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"loading it did not end within {seconds} seconds"
    if child.returncode == 0:
        return None
    said = child.stderr.decode("utf-8", "replace")
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return f"it makes llama.cpp end with {name}{_last_line(said)}"
    return said.strip().splitlines()[-1] if said.strip() else f"exit code {child.returncode}"


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(_USELESS_LINES)]
    return f" ({telling[-1]})" if telling else ""


def _child(path: Path, *, plain: bool) -> None:
    from specli.llama.context import Context, ContextOptions
    from specli.llama.model import Model, ModelOptions

    options = ModelOptions(gpu_layers=0, devices=["none"], repacked=not plain)
    with Model(path, options) as model:
        model.require_text_generation()
        if model.vocab.size < 1:
            raise ModelFileError(f"{path} has no vocabulary")
        with Context(model, ContextOptions(n_ctx=64, n_batch=32, threads=2)) as context:
            token = min(max(model.vocab.bos, 0), model.vocab.size - 1)
            for count in (1, _TOKENS):
                row = context.add(0, [token] * count, context.length(0), 1)
                context.decode()
                context.logits(row)
        model.vocab.tokenize("A test, 1 2 3", add_special=True)


if __name__ == "__main__":
    from specli.errors import SpecliError

    try:
        _child(Path(sys.argv[1]), plain=sys.argv[2:] == ["plain"])
    except SpecliError as error:
        sys.exit(error.message.replace("\n", " "))
