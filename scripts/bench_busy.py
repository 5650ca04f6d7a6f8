"""How fast a pair generates beside other programs, by how the threads of llama.cpp wait.

Every variant is a process of its own, because libgomp reads its environment once: it loads the pair
and generates for some seconds whenever it is its turn; the others are stopped meanwhile. Variants
take turns under the same load, so that a slow minute of the machine hits all of them. A busy
process is an endless loop in Python, bound to no core. Printed are tokens per second (medians)
and each variant's share of the best in its case; at the end one line of JSON.

    python scripts/bench_busy.py                            every variant, idle and busy
    python scripts/bench_busy.py --only specli,libgomp --runs 3
    python scripts/bench_busy.py --without-openmp FOLDER    also ggml's own threads, from a folder
        that `CMAKE_ARGS=-DGGML_OPENMP=OFF pip install --target FOLDER llama-cpp-python` made
    python scripts/bench_busy.py --before FOLDER            also specli as its source in FOLDER is
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from specli.speculative import DraftModel, Placement, SpeculativeConfig

ROOT = Path(__file__).resolve().parents[1]
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
PROMPT = "Write a Python function that computes a factorial, and explain it."
PLAIN, AUTO = "plain", "auto"


@dataclass(frozen=True, slots=True)
class Variant:
    """`threads` of None leaves their number to specli. `poll` is the level of a thread pool of
    ggml's own, which only builds without OpenMP have."""

    environment: dict[str, str] = field(default_factory=dict)
    threads: int | None = 2
    poll: int | None = None
    before: bool = False
    """Another version of specli."""


def spinning(count: int, threads: int | None = 2) -> Variant:
    return Variant({"GOMP_SPINCOUNT": str(count)}, threads)


VARIANTS = {
    "specli": Variant(threads=None),
    # 300,000 is what libgomp takes where nothing is set (libgomp/env.c).
    "libgomp": spinning(300_000),
    "active": Variant({"OMP_WAIT_POLICY": "active"}),
    "passive": Variant({"OMP_WAIT_POLICY": "passive"}),
    **{f"spin {count}": spinning(count) for count in (100, 1_000, 3_000, 10_000, 30_000, 100_000)},
    "one thread": spinning(300_000, 1),
}
BEFORE = {"before": Variant(threads=None, before=True)}
POOLS = {f"pool {level}": Variant(poll=level) for level in (0, 1, 50)}


class Generator:
    """A process that generates with one variant, stopped while it is not its turn."""

    def __init__(self, name: str, variant: Variant, given: argparse.Namespace) -> None:
        self.name = name
        environment = {key: value for key, value in os.environ.items() if key not in WAITING}
        # Children of the process find the package in the folder that it runs in.
        root = given.before.resolve() if variant.before else ROOT
        paths = [str(root), os.environ.get("PYTHONPATH", "")]
        if variant.poll is not None:
            paths.insert(0, str(given.without_openmp))
        environment |= {"PYTHONPATH": os.pathsep.join(paths), **variant.environment}
        models = [str(path.resolve()) for path in (given.model, given.draft)]
        command = [sys.executable, str(Path(__file__).resolve()), "--generate", *models]
        command += ["--threads", str(variant.threads or 0), "--seconds", str(given.seconds)]
        if variant.poll is not None:
            command += ["--poll", str(variant.poll)]
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=root,
        )
        self._answer()
        self._child.send_signal(signal.SIGSTOP)

    def measure(self, way: str) -> dict[str, float]:
        assert self._child.stdin is not None
        self._child.send_signal(signal.SIGCONT)
        self._child.stdin.write(way + "\n")
        self._child.stdin.flush()
        found = self._answer()
        self._child.send_signal(signal.SIGSTOP)
        return found

    def _answer(self) -> dict[str, float]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            sys.exit(f"the process of {self.name} ended with {self._child.wait()}")
        found: dict[str, float] = json.loads(line)
        return found

    def close(self) -> None:
        self._child.kill()
        self._child.wait()


def generate(given: argparse.Namespace) -> None:
    """The process of one variant: a way from each line of stdin, its speed to stdout."""
    from specli.session import Session, Setup

    target, draft = given.generate
    threads = Placement(threads=given.threads or None)
    # Suffix drafting would learn the text of the first run by heart.
    auto = SpeculativeConfig((DraftModel(draft, threads),))
    with tempfile.TemporaryDirectory() as records:
        setup = Setup(Path(target), threads, n_ctx=1024, speculative=auto)
        with Session(setup, Path(records)) as session:
            if given.poll is not None:
                attach_pools(session, given.threads, given.poll)
            timed(session, AUTO, given.seconds)
            print("{}", flush=True)
            for line in sys.stdin:
                print(json.dumps(timed(session, line.strip(), given.seconds)), flush=True)


def timed(session: object, way: str, seconds: float) -> dict[str, float]:
    """Tokens per second after the prompt, and threads at the end."""
    from specli.engine.sequence import GenerationRequest
    from specli.events import Round
    from specli.llama.chat import Message, prompt_tokens
    from specli.session import Session

    assert isinstance(session, Session)
    prompt = prompt_tokens(session.target_model, [Message("user", PROMPT)])
    engine = session.engine_for(SpeculativeConfig()) if way == PLAIN else session.engine()
    engine.submit(GenerationRequest(prompt, max_tokens=900, ignore_end=True))
    tokens, began = 0, None
    for event in engine.run():
        if not isinstance(event, Round):
            began = perf_counter()
            continue
        tokens += len(event.tokens)
        if began is None or perf_counter() - began > seconds:
            break
    assert began is not None
    return {
        "speed": tokens / (perf_counter() - began),
        "threads": getattr(session.target, "threads", 0),
    }


def attach_pools(session: object, threads: int, poll: int) -> None:
    """ggml's own threads for target and draft, which end with the process."""
    import llama_cpp

    from specli.llama import library
    from specli.session import Session

    assert isinstance(session, Session)
    if "OPENMP" in library.features()["CPU"]:
        sys.exit("this build uses OpenMP, which ignores thread pools")
    library.function("ggml_threadpool_params_init", None, ctypes.c_void_p, ctypes.c_int)
    for context in filter(None, (session.target, session.draft)):
        pool = _pool(threads, poll)
        attach = llama_cpp.llama_cpp._lib["llama_attach_threadpool"]
        attach.restype, attach.argtypes = None, [ctypes.c_void_p] * 3
        attach(ctypes.cast(context.handle, ctypes.c_void_p), pool, pool)


class _PoolParameters(ctypes.Structure):
    """ggml_threadpool_params of ggml.h; GGML_MAX_N_THREADS is 512."""

    _fields_ = (
        ("cpumask", ctypes.c_bool * 512),
        ("n_threads", ctypes.c_int),
        ("prio", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict_cpu", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    )


def _pool(threads: int, poll: int) -> object:
    from llama_cpp._ggml import libggml_base_path

    cpu = ctypes.CDLL(str(libggml_base_path / "libggml-cpu.so"))
    base = ctypes.CDLL(str(libggml_base_path / "libggml-base.so"))
    parameters = _PoolParameters()
    base.ggml_threadpool_params_init(ctypes.byref(parameters), threads)
    parameters.poll = poll
    cpu.ggml_threadpool_new.restype = ctypes.c_void_p
    pool = cpu.ggml_threadpool_new(ctypes.byref(parameters))
    if not pool:
        sys.exit("ggml made no thread pool")
    return ctypes.c_void_p(pool)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many endless loops beside what runs here."""
    children = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def compare(given: argparse.Namespace, variants: dict[str, Variant]) -> None:
    speeds: dict[tuple[int, str, str], list[float]] = {}
    threads: dict[tuple[int, str, str], list[float]] = {}
    with ExitStack() as stack:
        generators = [Generator(name, variant, given) for name, variant in variants.items()]
        for one in generators:
            stack.callback(one.close)
        for run in range(given.runs):
            for load in given.busy:
                with busy(load):
                    for one in generators:
                        # What adapts itself may do so first; it takes half a second.
                        if variants[one.name].threads is None:
                            one.measure(PLAIN)
                    for way in given.ways:
                        for one in generators[run % len(generators) :] + generators[:run]:
                            found = one.measure(way)
                            case = load, way, one.name
                            speeds.setdefault(case, []).append(found["speed"])
                            threads.setdefault(case, []).append(found["threads"])
    report(given, list(variants), speeds)
    flat = [
        {"busy": load, "way": way, "variant": name, "speeds": found, "threads": threads[case]}
        for case, found in speeds.items()
        for load, way, name in (case,)
    ]
    print(json.dumps(flat))


def report(
    given: argparse.Namespace, names: Sequence[str], speeds: dict[tuple[int, str, str], list[float]]
) -> None:
    cases = [(load, way) for load in given.busy for way in given.ways]
    medians = {case: statistics.median(found) for case, found in speeds.items()}
    print(f"{'busy processes':14}" + "".join(f"{f'{load} {way}':>16}" for load, way in cases))
    for name in names:
        cells = []
        for load, way in cases:
            best = max(medians[load, way, other] for other in names)
            speed = medians[load, way, name]
            cells.append(f"{f'{speed:.1f} ({speed / best:.2f})':>16}")
        print(f"{name:14}" + "".join(cells))


def embedded_pair() -> tuple[Path, Path]:
    """The files of SmolLM2 and its draft."""
    from specli.hub.references import resolve
    from specli.llama.quantize import quantize
    from specli.profiles import load_profile

    profile = load_profile("smollm2")
    assert profile.draft_model is not None
    return resolve(profile.target_model, quantize), resolve(profile.draft_model, quantize)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-m", "--model", type=Path, help="without it, the embedded pair")
    parser.add_argument("-md", "--draft", type=Path)
    parser.add_argument("--only", help="variants, separated by commas")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=(PLAIN, AUTO), default=[PLAIN, AUTO])
    parser.add_argument("--without-openmp", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--generate", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--poll", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.generate:
        generate(given)
        return
    if given.model is None:
        given.model, given.draft = embedded_pair()
    known = VARIANTS | (POOLS if given.without_openmp else {}) | (BEFORE if given.before else {})
    names = given.only.split(",") if given.only else list(known)
    compare(given, {name: known[name] for name in names})


if __name__ == "__main__":
    main()
