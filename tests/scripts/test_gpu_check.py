"""The GPU check runs to its end where there is no GPU, and says what it has left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from specli.gguf.check import check_file
from specli.gguf.facts import read_facts
from specli.llama import library
from specli.llama.context import Context
from specli.llama.model import Model
from specli.llama.opening import ContextOptions
from specli.llama.quantize import quantize
from tests import tiny_gguf

ROOT = Path(__file__).resolve().parents[2]


def run(
    script: str, *arguments: str | Path, seconds: int = 120
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=seconds,
    )


@pytest.mark.skipif(library.supports_gpu(), reason="the placements on a GPU are not skipped here")
def test_without_a_gpu_the_rest_is_run_and_the_exit_code_tells(tmp_path: Path) -> None:
    target = tiny_gguf.write(tmp_path / "target.gguf", tiny_gguf.llama_bytes())
    draft = tiny_gguf.write(tmp_path / "draft.gguf", tiny_gguf.llama_bytes(noise=0.05))
    report = tmp_path / "report.md"
    done = run(
        "gpu_check.py",
        *("-m", target, "-md", draft, "-n", "12", "-t", "1", "--runs", "1"),
        *("--categories", "question", "--markdown", report),
    )
    assert done.returncode == 3, done.stderr
    text = report.read_text()
    assert text.strip() == done.stdout.strip().replace("\n\n\n", "\n\n")
    assert "| CPU |" in text
    for decoding in ("plain", "--draft 4", "--draft auto"):
        assert f"| both on CPU | {decoding} |" in text
    assert "DIFFERS" not in text
    assert "Skipped, because llama.cpp has no GPU here: both on GPU; target on GPU, draft" in text
    assert "use a smaller context (-c)" in text


def eight_bits(source: Path) -> Path:
    """The same model in Q8_0, for which Mesa's driver compiles far faster than for F32."""
    made = source.with_suffix(".Q8_0.gguf")
    quantize(source, made, "Q8_0")
    return made


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    not library.supports_gpu(),
    reason="llama.cpp finds no device but the processor; scripts/gpu_wheel.sh vulkan builds one "
    "that takes Mesa's lavapipe (see docs/gpu.md)",
)
def test_with_a_device_every_placement_is_run_and_the_texts_agree(tmp_path: Path) -> None:
    target = tiny_gguf.write(tmp_path / "target.gguf", tiny_gguf.llama_bytes())
    draft = tiny_gguf.write(tmp_path / "draft.gguf", tiny_gguf.llama_bytes(noise=0.05))
    done = run(
        "gpu_check.py",
        *("-m", eight_bits(target), "-md", eight_bits(draft), "-n", "8", "-t", "1", "--runs", "1"),
        *("-c", "128", "-fa", "off", "-b", "2", "--sizes", "1,2", "--prompt", "a b c"),
        seconds=1700,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    for placement in (
        "both on CPU",
        "both on GPU",
        "target on GPU, draft on CPU",
        "target on CPU, draft on GPU",
        "1 of 3 layers and draft on GPU",
    ):
        assert f"| {placement} | plain |" in done.stdout
    assert "DIFFERS" not in done.stdout
    assert "was not refused" not in done.stdout


def test_a_placement_without_a_result_in_time_is_named_and_fails_the_check(tmp_path: Path) -> None:
    target = tiny_gguf.write(tmp_path / "target.gguf", tiny_gguf.llama_bytes())
    done = run("gpu_check.py", "-m", target, "-md", target, "--limit", "0.01")
    assert done.returncode == 1, done.stderr
    assert "| both on CPU | no result within 0.01 s |" in done.stdout


def test_a_pair_is_given_whole_or_not_at_all(tmp_path: Path) -> None:
    done = run("gpu_check.py", "-m", tmp_path / "target.gguf")
    assert done.returncode == 2
    assert "-m and -md belong together" in done.stderr


def test_a_random_model_has_the_size_asked_for_and_decodes(tmp_path: Path) -> None:
    path = tmp_path / "random.gguf"
    done = run("random_gguf.py", path, "80M")
    assert done.returncode == 0, done.stderr
    assert abs(path.stat().st_size / (80 << 20) - 1) < 0.1
    facts = read_facts(check_file(path))
    with Model(path) as model, Context(model, ContextOptions(n_ctx=64, threads=1)) as context:
        assert model.layers == facts.layers
        row = context.add(0, [10, 11, 12], 0, 1)
        context.decode()
        logits = context.logits(row)
        assert logits.std() > 0
