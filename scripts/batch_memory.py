"""Peak memory of `specli batch` for many short prompts beside that for few.

    python -m scripts.batch_memory [--few 200] [--many 200000]

One token each from a tiny made-up model; the third run finds every answer in the output.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import tiny_gguf as tiny

MIB = 1 << 20
PARALLEL = 8
ALLOWED = 100


def peak(folder: Path, count: int) -> float:
    """MiB that a batch of `count` prompts takes at most; a second call finds it answered."""
    model, prompts = folder / "model.gguf", folder / f"{count}.txt"
    if not model.exists():
        tiny.write(model, tiny.llama_bytes())
    if not prompts.exists():
        prompts.write_text("".join(f"{number}\n" for number in range(count)))
    command = [
        *(sys.executable, "-m", "specli", "batch", str(prompts), "-o", f"{prompts}.jsonl"),
        *("-m", str(model), "--raw", "-n", "1", "-c", "64", "-np", str(PARALLEL), "-q"),
        *("--spec-type", "none"),
    ]
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "SPECLI_CACHE": str(folder / "cache"), "PYTHONPATH": root}
    process = subprocess.Popen(command, env=environment)
    _pid, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    with open(f"{prompts}.jsonl", "rb") as records:  # noqa: PTH123 - beside the prompts
        written = sum(1 for _ in records)
    if written != count:
        raise ValueError(f"{written} records for {count} prompts")
    # Linux counts in KiB, macOS in bytes.
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / MIB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=200)
    parser.add_argument("--many", type=int, default=200_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # The first run also tries the model in a child process, once and for all.
        peak(Path(folder), 1)
        few = peak(Path(folder), given.few)
        many = peak(Path(folder), given.many)
        again = peak(Path(folder), given.many)
    print(f"{given.few} prompts: {few:.1f} MiB at most")
    print(f"{given.many} prompts: {many:.1f} MiB at most, {many - few:+.1f}")
    print(f"the same again, all answered: {again:.1f} MiB at most, {again - few:+.1f}")
    return 0 if max(many, again) - few < ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
