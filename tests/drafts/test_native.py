"""llama.cpp's own program takes a made draft, where `make bench-llama-cpp` has built it."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

import specli
from specli.drafts.make import MakeOptions, make_draft
from tests import tiny_gguf as tiny

BUILT = Path(specli.__file__).parents[1] / ".native" / version("llama-cpp-python") / "build/bin"
PROGRAM = BUILT / "llama-completion"


@pytest.mark.skipif(not PROGRAM.exists(), reason="llama.cpp's programs have not been built")
def test_llama_cpp_generates_with_a_made_draft(tmp_path: Path, own_cache: Path) -> None:
    target = tiny.write(tmp_path / "target.gguf", tiny.llama_bytes())
    draft = tmp_path / "draft.gguf"
    make_draft(target, MakeOptions(60, "Q8_0"), draft, lambda _task, _spent, _best: None)
    arguments = ["-m", str(draft), "-p", "the", "-n", "4", "-t", "1", "-c", "64", "--ignore-eos"]
    done = subprocess.run(
        [str(PROGRAM), *arguments, "--no-conversation", "--temp", "0"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    # What it prints proves nothing: llama.cpp's programs may end before their log is written.
    assert done.returncode == 0, done.stderr[-2000:]
