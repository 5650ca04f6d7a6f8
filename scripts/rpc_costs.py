"""What a target on an RPC server costs by the network's latency, and what drafting brings there.

    python scripts/rpc_costs.py [-m FILE -md FILE] [--round-trips 0,1,5,20] [-n 96]

Servers are started on loopback, one of them for every latency, behind a proxy that passes all
bytes on later; bandwidth is not bounded. The whole target is on the server, the draft here. Where
servers and client together have more threads than there are cores, they slow each other down.
T(k) is the target's time for k tokens. How many round trips a decode takes follows from T(1).
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gpu_check import default_pair, table
from gpu_runs import CPU, Pair, generate

from specli.engine.measure import measure
from specli.engine.sequence import GenerationRequest
from specli.errors import SpecliError
from specli.hub.cache import cache_dir
from specli.llama import library, rpc
from specli.llama.chat import Message, prompt_tokens
from specli.session import Session, Setup
from specli.session.loading import physical_cores
from specli.speculative import DraftModel, FixedLength, Placement, SpeculativeConfig, Suffix

SIZES = (1, 2, 4, 8, 16, 32)
LENGTH = 4
WAYS = ("fixed", "auto")
PROMPTS = (
    "Write a Python function that merges two sorted lists.",
    "Explain in a few sentences why the sky is blue.",
)


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    curve: list[float]
    speeds: dict[str, float]
    texts: list[str]

    def cells(self) -> list[str]:
        plain = self.speeds["plain"]
        gains = [f"{self.speeds[way]:.1f} ({self.speeds[way] / plain:.2f}×)" for way in WAYS]
        return [self.name, *(f"{ms:.1f}" for ms in self.curve), f"{plain:.1f}", *gains]


@contextmanager
def serving(round_trips: list[float], threads: int) -> Iterator[list[str]]:
    """Servers of which each answers so many milliseconds late; their addresses."""
    processes, names = [], []
    try:
        for late in round_trips:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            script = str(Path(__file__).with_name("rpc_server.py"))
            command = [sys.executable, script, "-p", str(port), "-t", str(threads)]
            command += ["--delay", str(late / 2)] if late else []
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            names.append(f"127.0.0.1:{port}")
        yield names
    finally:
        for one in processes:
            one.terminate()
            one.wait()


def connect(names: list[str]) -> None:
    """Connect the servers once they are all there."""
    for _attempt in range(60):
        try:
            rpc.connect(names)
            return
        except SpecliError:
            time.sleep(0.5)
    sys.exit("the servers did not start within 30 seconds")


def row(name: str, pair: Pair, target: Placement, given: argparse.Namespace) -> Row:
    """A placement of the target: T(k), speeds, and the texts."""
    draft = DraftModel(pair.draft, replace(CPU, threads=given.threads))
    setup = Setup(
        target=pair.target,
        n_ctx=2048,
        target_placement=replace(target, threads=given.threads),
        speculative=SpeculativeConfig((draft,), FixedLength(LENGTH)),
    )
    ways = {
        "plain": SpeculativeConfig(),
        "fixed": setup.speculative,
        "auto": SpeculativeConfig((draft, Suffix())),
    }
    with Session(setup, cache_dir() / "probes") as session:
        vocab = session.target_model.vocab
        curve = measure(session.target, SIZES, max(vocab.eos, 0), 3.0)
        speeds, texts = {}, []
        for way, config in ways.items():
            ms = 0.0
            for prompt in PROMPTS:
                tokens = prompt_tokens(session.target_model, [Message("user", prompt)])
                request = GenerationRequest(tokens, given.tokens, ignore_end=True)
                done = generate(session.engine_for(config), request)
                ms += done.stats.predicted_ms
                if way == "plain":
                    texts.append(done.text)
            speeds[way] = 1000 * len(PROMPTS) * given.tokens / ms
    return Row(name, [curve(size) for size in SIZES], speeds, texts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-m", "--model", type=Path)
    parser.add_argument("-md", "--model-draft", type=Path)
    parser.add_argument("-n", "--tokens", type=int, default=96)
    parser.add_argument("-t", "--threads", type=int, default=physical_cores())
    parser.add_argument("--round-trips", default="0,1,5,20", metavar="MS,...")
    given = parser.parse_args()
    late = [float(ms) for ms in given.round_trips.split(",")]
    pair = default_pair(given)
    # The last two share the layers.
    with serving([*late, 0, 0], given.threads) as names:
        connect(names)
        devices = [one.name for one in library.devices() if one.is_remote]
        rows = [row("here", pair, CPU, given)]
        for ms, device in zip(late, devices, strict=False):
            where = Placement(devices=(device,))
            rows.append(row(f"a server, {ms:g} ms", pair, where, given))
        halves = Placement(devices=tuple(devices[-2:]))
        rows.append(row("two servers, 0 ms, half each", pair, halves, given))
    heads = ["target", *(f"T({size})" for size in SIZES), "plain, tok/s"]
    print(table([*heads, f"--draft {LENGTH}", "--draft auto"], [one.cells() for one in rows]))
    for one in rows[1:]:
        if one.texts != rows[0].texts:
            print(f"\n{one.name}: another text than here")


if __name__ == "__main__":
    main()
