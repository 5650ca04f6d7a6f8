"""llama.cpp's own programs, built from the source archive of the installed bindings, and run.

The archive is fetched from the package index and built once, under .native/, with the CMAKE_ARGS
that the bindings were built with on this machine (see scripts/cmake_args.py).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = (
    "llama-speculative-simple",
    "llama-completion",
    "llama-bench",
    "llama-lookup",
    "llama-server",
)


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a program generated, and how fast: tokens per second, the prompt not included.

    `counts` are the tokens drafted and accepted, and `log` what else the program wrote, where it
    does. `outside` is the time outside llama.cpp as a share and in microseconds a round. `rounds`
    are specli's: accepted tokens, and the proposal.
    """

    text: str
    predicted: int
    per_second: float
    counts: tuple[int, int] = (0, 0)
    log: str = ""
    outside: tuple[float, float] = (0.0, 0.0)
    rounds: tuple[tuple[int, list[int]], ...] = ()


def build() -> Path:
    """The folder with llama.cpp's programs, built where they are not there yet."""
    release = version("llama-cpp-python")
    home = ROOT / ".native" / release
    programs = home / "build" / "bin"
    if all((programs / tool).exists() for tool in TOOLS):
        return programs
    home.mkdir(parents=True, exist_ok=True)
    source = _source(home, release)
    arguments = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "cmake_args.py")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    switches = ["LLAMA_CURL", "LLAMA_OPENSSL", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_UI"]
    configure = ["cmake", "-S", str(source), "-B", str(home / "build")]
    configure += [
        "-DCMAKE_BUILD_TYPE=Release",
        "-DLLAMA_BUILD_SERVER=ON",
        *(f"-D{name}=OFF" for name in switches),
    ]
    print(f"building llama.cpp's programs of {release} (some minutes, once)", file=sys.stderr)
    _quietly([*configure, *shlex.split(arguments)])
    targets = [word for tool in TOOLS for word in ("--target", tool)]
    jobs = str(os.cpu_count() or 1)
    _quietly(["cmake", "--build", str(home / "build"), "-j", jobs, *targets])
    return programs


def _source(home: Path, release: str) -> Path:
    folder = home / f"llama_cpp_python-{release}" / "vendor" / "llama.cpp"
    if not folder.is_dir():
        name = f"llama-cpp-python=={release}"
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        _quietly([*fetch, "--no-binary", ":all:", "--dest", str(home), name])
        with tarfile.open(home / f"llama_cpp_python-{release}.tar.gz") as archive:
            archive.extractall(home, filter="data")
    return folder


def _quietly(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def speculative(
    programs: Path, target: Path, prompt: Path, tokens: int, threads: int, *arguments: str
) -> Spoken:
    """`llama-speculative-simple`, greedy; `arguments` choose the drafting."""
    return _decoded(
        programs / "llama-speculative-simple", target, prompt, tokens, threads, arguments
    )


def lookup(
    programs: Path, target: Path, prompt: Path, tokens: int, threads: int, *arguments: str
) -> Spoken:
    """`llama-lookup`, greedy."""
    return _decoded(programs / "llama-lookup", target, prompt, tokens, threads, arguments)


def _decoded(
    program: Path,
    target: Path,
    prompt: Path,
    tokens: int,
    threads: int,
    arguments: tuple[str, ...],
) -> Spoken:
    command = [str(program), "-m", str(target), "-f", str(prompt), "-n", str(tokens)]
    command += ["--temp", "0", "-t", str(threads), "-c", "4096", *arguments]
    said = _run(command)
    both = said.out + said.err
    found = re.search(r"decoded\s+(\d+) tokens in\s+[\d.]+ seconds, speed:\s+([\d.]+)", both)
    if found is None:
        sys.exit(f"{' '.join(command)} said no speed:\n{said.err[-2000:]}")
    # The last round may go past the limit; nobody asked for those tokens, and we stop before them.
    predicted = min(int(found[1]), tokens)
    counted = re.search(r"n_drafted = (\d+)[\s\S]*?n_accept\s+= (\d+)", both)
    counts = (int(counted[1]), int(counted[2])) if counted else (0, 0)
    speed = predicted / int(found[1]) * float(found[2])
    return Spoken(said.out, predicted, speed, counts, said.err)


def plain(programs: Path, target: Path, prompt: Path, tokens: int, threads: int) -> Spoken:
    """`llama-completion`, greedy: the time of its evaluations and of its sampling."""
    command = [str(programs / "llama-completion"), "-m", str(target), "-f", str(prompt)]
    command += ["-n", str(tokens), "--temp", "0", "-t", str(threads), "-c", "4096", "-no-cnv"]
    said = _run(command)
    found = re.search(r"\beval time =\s+([\d.]+) ms /\s+(\d+) runs", said.err)
    sampled = re.search(r"sampling time =\s+([\d.]+) ms", said.err)
    if found is None or sampled is None:
        sys.exit(f"{' '.join(command)} said no speed:\n{said.err[-2000:]}")
    # The first token is sampled from the prompt's logits and has no evaluation of its own.
    evaluated = int(found[2])
    share = evaluated / (evaluated + 1)
    ms = float(found[1]) + share * float(sampled[1])
    return Spoken(said.out, evaluated, 1000 * evaluated / ms)


@dataclass(frozen=True, slots=True)
class _Said:
    out: str
    err: str


def _run(command: list[str]) -> _Said:
    done = subprocess.run(
        command, capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=600
    )
    err = done.stderr.decode("utf-8", "replace")
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{err[-2000:]}")
    return _Said(done.stdout.decode("utf-8", "replace"), err)
