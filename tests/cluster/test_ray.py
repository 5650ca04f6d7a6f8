"""A batch on a local Ray cluster: nothing is lost or doubled, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from tests import tiny_gguf as tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: specli[ray]"),
    pytest.mark.skipif(os.name != "posix", reason="kills processes by signals"),
]

PROMPTS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray")
    tiny.write(folder / "target.gguf", tiny.llama_bytes())
    tiny.write(folder / "draft.gguf", tiny.llama_bytes(noise=0.1))
    lines = [{"id": f"p{n}", "prompt": f"the cat number {n}"} for n in range(PROMPTS)]
    (folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@contextmanager
def running(folder: Path, output: str, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "specli", "batch", "in.jsonl", "-o", output, "-n", "24"]
    command += ["-m", "target.gguf", "-md", "draft.gguf", "--draft", "3", "-np", "1", *more]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "SPECLI_CACHE": str(folder / "cache"), "PYTHONPATH": paths}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


RAY = ("--ray", "local", "--ray-actors", "2", "-t", "1")


def records(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    assert len({record["id"] for record in found}) == len(found), "an id has two records"
    return {record["id"]: record["text"] for record in found}


def workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The engines of a run's cluster."""
    children = psutil.Process(process.pid).children(recursive=True)
    found = []
    for child in children:
        try:
            if "MapWorker" in child.name() or "MapWorker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            pass
    return found


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> dict[str, str]:
    """The texts that one process writes without a cluster."""
    with running(folder, "local.jsonl", "-t", "1") as process:
        assert process.wait() == 0
    return records(folder / "local.jsonl")


def test_engines_that_are_killed_are_replaced_and_every_prompt_is_answered_once(
    folder: Path, undisturbed: dict[str, str]
) -> None:
    killed = 0
    with running(folder, "killed.jsonl", *RAY) as process:
        while process.poll() is None:
            if killed < 2 and len(records(folder / "killed.jsonl")) > 8 * (killed + 1):
                for worker in workers(process)[:1]:
                    worker.kill()
                    killed += 1
            time.sleep(0.2)
        assert process.returncode == 0, (process.stderr.read() if process.stderr else b"").decode()
    assert killed > 0
    assert records(folder / "killed.jsonl") == undisturbed


def test_the_same_command_goes_on_after_its_process_was_killed(
    folder: Path, undisturbed: dict[str, str]
) -> None:
    output = folder / "resumed.jsonl"
    with running(folder, output.name, *RAY) as process:
        while process.poll() is None and not records(output):
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = records(output)
    with running(folder, output.name, *RAY) as process:
        assert process.wait() == 0
    after = records(output)
    assert after == undisturbed
    assert before.items() <= after.items()
