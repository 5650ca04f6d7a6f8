"""specli serve beside llama-server under load: the same files, slots and requests.

GuideLLM (pip install guidellm, in an environment of its own) keeps as many requests open as
`--streams` says, of mixed lengths, and counts. The contenders take turns, who goes first changing
from run to run, each started anew and asked a few times before it counts. llama-server runs
without speculation and with the same draft. Printed are output tokens per second, the median time
to the first token and the requests lost; then ratios of medians with the lowest and highest of
single runs, and at the end one line of JSON.

    python scripts/bench_load.py --guidellm VENV/bin/guidellm [--runs 3] [--requests 128]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import native
from bench_llama_server import CONTEXT, TASKS, TOPICS, posted, wait_for

from specli.hub.references import resolve
from specli.llama.quantize import quantize
from specli.profiles import load_profile

SENTENCES = (
    "The reading room closes at eight in the evening, and on Saturdays at four.",
    "Books that others have reserved can be kept for one week only.",
    "Children under twelve need the signature of a parent for a card.",
    "The van visits the villages along the river every second Thursday.",
    "Whoever finds a damaged page should say so at the desk, and will not have to pay.",
    "Maps and newspapers from before 1920 may be read, but not taken home.",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of the generator: tokens per second, milliseconds, and requests not answered."""

    speed: float
    first_ms: float
    lost: int


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked, of whom, and by which program."""

    generator: Path
    target: Path
    draft: Path
    data: Path
    requests: int
    streams: int
    slots: int
    threads: int | None
    """None is what each program takes by itself."""

    def specli(self, *arguments: str) -> Measured:
        command = [sys.executable, "-m", "specli", "serve", "-c", str(CONTEXT)]
        return self._measured([*command, "-md", str(self.draft), *arguments])

    def llama_server(self, program: Path, *arguments: str) -> Measured:
        return self._measured([str(program), "-c", str(CONTEXT * self.slots), *arguments])

    def _measured(self, command: list[str]) -> Measured:
        with self._serving(command) as address, tempfile.TemporaryDirectory() as folder:
            for number in range(self.slots):
                message = {"role": "user", "content": f"Count from {number} to ten."}
                posted(address + "/v1/chat/completions", {"messages": [message], "max_tokens": 8})
            found = Path(folder) / "found.json"
            asking = [str(self.generator), "run", "--disable-console"]
            asking += ["--backend", f"kind=openai_http,target={address},extras.body.temperature=0"]
            asking += ["--profile", f"kind=concurrent,streams={self.streams}"]
            asking += ["--constraint", f"kind=max_requests,count={self.requests}"]
            asking += ["--data", f"kind=json_file,path={self.data}"]
            asking += ["--output", f"kind=json,path={found}"]
            # One worker: the generator runs on the same cores. Nothing is fetched.
            own = {"GUIDELLM__MAX_WORKER_PROCESSES": "1", "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(
                asking,
                cwd=folder,
                env={**os.environ, **own},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                sys.exit(f"the generator failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
            return _read(json.loads(found.read_text()), self.requests)

    @contextmanager
    def _serving(self, command: list[str]) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [*command, "-m", str(self.target), "--host", "127.0.0.1", "--port", str(port)]
        command += ["-np", str(self.slots), *(["-t", str(self.threads)] if self.threads else [])]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(native.ROOT)},
        ) as server:
            try:
                wait_for(f"http://127.0.0.1:{port}", server)
                yield f"http://127.0.0.1:{port}"
            finally:
                server.terminate()


def _read(report: dict[str, Any], requests: int) -> Measured:
    (benchmark,) = report["benchmarks"]
    found = benchmark["metrics"]
    answered = found["request_totals"]["successful"]
    tokens = found["output_token_count"]["successful"]["total_sum"]
    first = found["time_to_first_token_ms"]["successful"]["median"]
    return Measured(tokens / benchmark["duration"], first, requests - answered)


def write_requests(path: Path, count: int) -> None:
    """Questions behind none to four sentences, with 8 to 64 tokens wanted; always the same."""
    rng = random.Random(1)
    lines = []
    for number in range(count):
        task = TASKS[number % len(TASKS)].format(rng.choice(TOPICS))
        before = " ".join(rng.choice(SENTENCES) for _ in range(rng.randrange(5)))
        wanted = round(8 * 8 ** rng.random())
        lines.append(json.dumps({"prompt": f"{before} {task}", "output_tokens_count": wanted}))
    path.write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--guidellm", type=Path, required=True, help="the program")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("-np", "--slots", type=int, default=8)
    parser.add_argument("-t", "--threads", type=int, help="of both, in place of their own")
    parser.add_argument("-m", "--model", type=Path)
    parser.add_argument("-md", "--model-draft", type=Path)
    parser.add_argument("--only", help="the contenders with this in their names")
    given = parser.parse_args()
    # Where a time limit ends this script, the servers end too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    profile = load_profile("smollm2")
    assert profile.draft_model is not None
    target = given.model or resolve(profile.target_model, quantize)
    draft = given.model_draft or resolve(profile.draft_model, quantize)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "requests.jsonl"
        write_requests(data, given.requests)
        load = Load(given.guidellm, target, draft, data, given.requests, given.streams, given.slots,
                    given.threads)  # fmt: skip
        program = native.build() / "llama-server"
        drafting = ("-md", str(draft), "--spec-type", "draft-simple")
        contenders: dict[str, Callable[[], Measured]] = {
            "specli": load.specli,
            "llama-server": partial(load.llama_server, program),
            "llama-server, drafting": partial(load.llama_server, program, *drafting),
        }
        chosen = {name: run for name, run in contenders.items() if (given.only or "") in name}
        print(json.dumps(compared(chosen, given.runs)))


def compared(contenders: dict[str, Callable[[], Measured]], runs: int) -> dict[str, Any]:
    found: dict[str, list[Measured]] = {name: [] for name in contenders}
    for number in range(runs):
        names = list(contenders)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            one = contenders[name]()
            found[name].append(one)
            print(f"{number + 1}  {name:24} {one.speed:7.1f} tok/s, first token after "
                  f"{one.first_ms:7.0f} ms, {one.lost} lost", flush=True)  # fmt: skip
    told: dict[str, Any] = {}
    for name, theirs in found.items():
        told[name] = {
            "tokens_per_second": round(statistics.median(one.speed for one in theirs), 1),
            "first_token_ms": round(statistics.median(one.first_ms for one in theirs)),
            "lost": sum(one.lost for one in theirs),
        }
        if name != "specli" and "specli" in found:
            pairs = list(zip(found["specli"], theirs, strict=True))
            speeds = [ours.speed / their.speed for ours, their in pairs]
            firsts = [ours.first_ms / their.first_ms for ours, their in pairs]
            told[name] |= {"speed_ratio": _told(speeds), "first_token_ratio": _told(firsts)}
    return told


def _told(ratios: list[float]) -> list[float]:
    """Median, lowest and highest."""
    return [round(one, 3) for one in (statistics.median(ratios), min(ratios), max(ratios))]


if __name__ == "__main__":
    main()
