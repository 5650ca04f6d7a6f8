"""specli batch beside llama-server: many prompts at once, same files, slots, threads, lengths.

The contenders take turns, who goes first changing from run to run, each in a process of its own
that has loaded its models before the clock starts. All answer the same prompts greedily, with the
same system prompt; counted are the tokens of all answers over the time from the first request to
the last answer, prompts included. Printed are tokens per second, and ratios (above 1: specli is
faster) of medians with the lowest and highest of single runs; then, for every text that is not
the same everywhere, how close plain decoding's choice is where it parts; at the end one line of
JSON.

    python scripts/bench_llama_server.py [--runs 3] [--prompts 64] [-n 64] [-np 8]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import native

from specli.app.follow import Silent, follow
from specli.engine.sequence import GenerationRequest
from specli.generation import Generation
from specli.hub.references import resolve
from specli.llama.chat import Message, prompt_tokens
from specli.llama.quantize import quantize
from specli.profiles import load_profile
from specli.session import Session, Setup
from specli.session.loading import physical_cores

SYSTEM = (
    "You help the staff of a public library. Answer in plain words, keep to what was asked, and "
    "say so when something is not known."
)
TASKS = (
    "Explain in a few sentences: {}.",
    "Write a short story about {}.",
    "List five facts about {}, one a line.",
    "Write a Python function with a docstring that prints a line about {}.",
    "Give the keys title, topic and audience of a course on {} as JSON.",
    "Write an invitation to a talk on {} for children.",
    "What three books would you order on {}, and why?",
    "Translate into French: we are looking for somebody who knows about {}.",
)
TOPICS = (
    "bees and their dances",
    "the tides",
    "how bread rises",
    "old maps of the coast",
    "repairing a bicycle",
    "the night sky in winter",
    "growing tomatoes on a balcony",
    "the history of paper",
)
CONTEXT = 1024


@dataclass(frozen=True, slots=True)
class Answered:
    """What one run brought: tokens, seconds, and the texts in the prompts' order."""

    tokens: int
    seconds: float
    texts: list[str]

    @property
    def speed(self) -> float:
        return self.tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Bench:
    programs: Path
    target: Path
    draft: Path
    prompts: list[str]
    tokens: int
    slots: int
    threads: int

    def specli(self, slots: int, *arguments: str) -> Answered:
        """`specli batch`; its own clock starts when the models are loaded."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            lines = [json.dumps({"prompt": prompt}) for prompt in self.prompts]
            (folder / "prompts.jsonl").write_text("\n".join(lines))
            command = [sys.executable, "-m", "specli", "batch", str(folder / "prompts.jsonl")]
            command += ["-o", str(folder / "answers.jsonl"), "--report", str(folder / "report")]
            command += ["-m", str(self.target), "-md", str(self.draft), "-np", str(slots)]
            command += ["-n", str(self.tokens), "-t", str(self.threads), "-c", str(CONTEXT)]
            command += ["--temp", "0", "--system", SYSTEM, *arguments]
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(native.ROOT)},
            )
            if done.returncode != 0:
                sys.exit(f"specli failed: {done.stderr}")
            told = json.loads((folder / "report").read_text())
            records = (folder / "answers.jsonl").read_text().splitlines()
            texts = [json.loads(line)["text"] for line in records]
            return Answered(told["completion_tokens"], told["seconds"], texts)

    def server(self, *arguments: str) -> Answered:
        """`llama-server` with as many clients as slots."""
        with self._serving(arguments) as address:

            def ask(prompt: str) -> tuple[int, str]:
                messages = [{"role": "system", "content": SYSTEM}]
                messages.append({"role": "user", "content": prompt})
                body: dict[str, object] = {
                    "messages": messages,
                    "max_tokens": self.tokens,
                    "temperature": 0,
                }
                told = posted(f"{address}/v1/chat/completions", body)
                text = told["choices"][0]["message"]["content"]
                return told["usage"]["completion_tokens"], text

            began = time.perf_counter()
            with ThreadPoolExecutor(self.slots) as pool:
                answers = list(pool.map(ask, self.prompts))
            seconds = time.perf_counter() - began
        return Answered(sum(count for count, _ in answers), seconds, [text for _, text in answers])

    @contextmanager
    def _serving(self, arguments: tuple[str, ...]) -> Iterator[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [str(self.programs / "llama-server"), "-m", str(self.target)]
        command += ["--host", "127.0.0.1", "--port", str(port), "-np", str(self.slots)]
        command += ["-c", str(CONTEXT * self.slots), "-t", str(self.threads), *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        ) as server:
            address = f"http://127.0.0.1:{port}"
            try:
                wait_for(address, server)
                yield address
            finally:
                server.terminate()


def posted(address: str, body: dict[str, object]) -> dict[str, Any]:
    request = urllib.request.Request(
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    for _attempt in range(600):
        if server.poll() is not None:
            sys.exit(f"llama-server ended with {server.returncode}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit("llama-server did not start")


@dataclass(frozen=True, slots=True)
class Parting:
    """Where texts part: the place in plain decoding's tokens, and how close the choice is there."""

    prompt: int
    token: int
    margin: float


def partings(bench: Bench, texts: Sequence[Sequence[str]]) -> list[Parting]:
    """For each prompt whose `texts`, one list a contender, are not all the same."""
    given = [[text.strip() for text in of_prompt] for of_prompt in zip(*texts, strict=True)]
    parted = [number for number, of_prompt in enumerate(given) if len(set(of_prompt)) > 1]
    if not parted:
        return []
    with (
        tempfile.TemporaryDirectory() as folder,
        Session(Setup(bench.target, n_ctx=CONTEXT), Path(folder)) as session,
    ):
        return [_parting(number, _common(given[number]), bench, session) for number in parted]


def _common(texts: Sequence[str]) -> str:
    """What all texts begin with."""
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in alike)


def _parting(number: int, common: str, bench: Bench, session: Session) -> Parting:
    messages = [Message("system", SYSTEM), Message("user", bench.prompts[number])]
    prompt = prompt_tokens(session.target_model, messages)
    request = GenerationRequest(prompt, max_tokens=bench.tokens, margins=True)
    plain: Generation = follow(session, request, Silent())[0]
    vocab, so_far = session.target_model.vocab, b""
    for place, (token, margin) in enumerate(zip(plain.tokens, plain.margins, strict=True)):
        so_far += vocab.piece(token)
        # The text itself, or only one of the others, may go on here.
        if not common.encode().startswith(so_far.lstrip()):
            return Parting(number, place, margin)
    return Parting(number, len(plain.tokens), math.nan)


def contenders_of(bench: Bench, single: bool) -> dict[str, Callable[[], Answered]]:
    drafting = ("-md", str(bench.draft), "--spec-type", "draft-simple")
    runs: dict[str, Callable[[], Answered]] = {
        "specli": partial(bench.specli, bench.slots),
        "llama-server": bench.server,
        "llama-server, drafting": partial(bench.server, *drafting),
    }
    if single:
        runs["specli, one at a time"] = partial(bench.specli, 1)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("-n", "--tokens", type=int, default=64)
    parser.add_argument("-np", "--slots", type=int, default=8)
    parser.add_argument("-t", "--threads", type=int, default=physical_cores())
    parser.add_argument("-m", "--model", type=Path)
    parser.add_argument("-md", "--model-draft", type=Path)
    parser.add_argument("--no-single", action="store_true", help="leave out one at a time")
    given = parser.parse_args()
    profile = load_profile("smollm2")
    target = given.model or resolve(profile.target_model, quantize)
    if profile.draft_model is None:
        sys.exit("the profile has no draft")
    draft = given.model_draft or resolve(profile.draft_model, quantize)
    # Neighbours differ in task and topic, as in real use.
    pairs = itertools.product(range(len(TOPICS)), range(len(TASKS)))
    asked = [TASKS[(task + topic) % len(TASKS)].format(TOPICS[topic]) for topic, task in pairs]
    bench = Bench(
        native.build(),
        target,
        draft,
        asked[: given.prompts],
        given.tokens,
        given.slots,
        given.threads,
    )
    contenders = contenders_of(bench, not given.no_single)
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    texts: dict[str, list[str]] = {}
    for number in range(given.runs):
        names = list(contenders)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            answered = contenders[name]()
            speeds[name].append(answered.speed)
            texts[name] = answered.texts
            print(f"{number + 1}  {name:24} {answered.speed:7.1f} tok/s", flush=True)
    told: dict[str, object] = {"slots": bench.slots, "prompts": len(bench.prompts)}
    for name, theirs in speeds.items():
        if name == "specli":
            continue
        single = [a / b for a, b in zip(speeds["specli"], theirs, strict=True)]
        ratio = statistics.median(speeds["specli"]) / statistics.median(theirs)
        pairs_of_texts = zip(texts["specli"], texts[name], strict=True)
        same = sum(a.strip() == b.strip() for a, b in pairs_of_texts)
        print(
            f"specli against {name}: {ratio:.3f} ({min(single):.3f} to {max(single):.3f}), "
            f"{same} of {len(bench.prompts)} texts the same"
        )
        told[name] = {"ratio": round(ratio, 3), "same_texts": same}
    found = partings(bench, list(texts.values()))
    for one in found:
        print(f"prompt {one.prompt + 1} parts at token {one.token}, margin {one.margin:.4g}")
    told["margins"] = [round(one.margin, 4) for one in found]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
