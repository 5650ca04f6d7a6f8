"""Damages headers at random and checks that each ends in a header or in one clear error.

    python -m scripts.fuzz_headers --count 5000 [--model FILE] [--load]

Every damaged file goes through the same check as `specli run` and `specli pair check`. It must
end within five seconds and one gibibyte of memory. With --load, files that pass the check are
then loaded by llama.cpp in a child process; those that crash it are kept and counted. They are
why `specli.llama.probe` exists, and candidates for another line in `specli.gguf.check`.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from specli.errors import ModelFileError, SpecliError
from specli.gguf.check import check_file
from specli.gguf.header import read_header
from specli.pairs.check import CheckOptions, check_pair, examine
from tests import tiny_gguf as tiny

SECONDS = 5
MEMORY = 1 << 30
MAKERS: tuple[Callable[[], bytes], ...] = (
    tiny.llama_bytes,
    lambda: tiny.llama_bytes(tiny.spm_vocabulary()),
    tiny.gemma3_bytes,
    tiny.mamba_bytes,
    tiny.falcon_h1_bytes,
)


def damaged(content: bytes, header_size: int, rng: random.Random) -> bytes:
    """A copy that is cut short, has flipped bits or wild numbers in its header, or several."""
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


def outcome(path: Path) -> str:
    """How the check of one file ends; anything but an error of ours escapes."""
    try:
        model = examine(check_file(path))
        check_pair(model, model, CheckOptions())
    except ModelFileError as error:
        if "\n" in error.message or not error.message.startswith(str(path.parent)):
            raise RuntimeError(f"not one clear sentence: {error.message!r}") from error
        return "refused"
    return "accepted"


def loads(path: Path) -> bool:
    """Whether llama.cpp survives loading and decoding the file in a child process."""
    child = os.fork()
    if child == 0:
        os.closerange(1, 3)
        os._exit(_decode_some(path))
    _, status = os.waitpid(child, 0)
    return os.WIFEXITED(status)


def _decode_some(path: Path) -> int:
    from specli.llama.context import Context, ContextOptions
    from specli.llama.model import Model

    try:
        with Model(path) as model:
            model.require_text_generation()
            with Context(model, ContextOptions(n_ctx=64, n_batch=32, threads=1)) as context:
                tokens = model.vocab.tokenize("a thing", add_special=True)[:16]
                context.add(0, tokens or [0], 0, 1)
                context.decode()
    except SpecliError:
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, help="damage this file instead of tiny ones")
    parser.add_argument("--load", action="store_true", help="load what passes with llama.cpp")
    options = parser.parse_args()
    if options.load:
        import specli.llama.model  # noqa: F401 - imported once, before the children
    contents = [options.model.read_bytes()] if options.model else [make() for make in MAKERS]
    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + MEMORY
    rng = random.Random(options.seed)
    results: Counter[str] = Counter()
    slowest = 0.0
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.gguf"
        sizes = []
        for content in contents:
            path.write_bytes(content)
            sizes.append(read_header(path).data_offset)
        for number in range(options.count):
            index = rng.randrange(len(contents))
            path.write_bytes(damaged(contents[index], sizes[index], rng))
            begin = time.perf_counter()
            signal.alarm(SECONDS)
            result = outcome(path)
            signal.alarm(0)
            slowest = max(slowest, time.perf_counter() - begin)
            results[result] += 1
            if result == "accepted" and options.load and not loads(path):
                results["crashed llama.cpp"] += 1
                kept = Path(tempfile.gettempdir()) / f"crash-{options.seed}-{number}.gguf"
                kept.write_bytes(path.read_bytes())
                print(f"llama.cpp crashed on {kept}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{options.count} files: {dict(results)}")
    print(f"slowest {1000 * slowest:.0f} ms, peak memory {peak >> 20} MiB")
    return int(peak > limit)


if __name__ == "__main__":
    sys.exit(main())
