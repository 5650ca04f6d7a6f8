"""What makes generation slower here than it could be, each with a remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from specli.doctor.machine import Cores, Machine
from specli.doctor.roofline import Roofline, is_far_above_limit
from specli.figures import short_bytes
from specli.llama.probe import tried

# llama.cpp's name of a kernel set, and the instruction set it needs, by Linux's name.
_KERNELS = {
    "AVX2": "avx2",
    "FMA": "fma",
    "AVX512": "avx512f",
    "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16",
    "DOTPROD": "asimddp",
    "MATMUL_INT8": "i8mm",
    "SVE": "sve",
}
_AMX_KERNELS, _AMX = "AMX_INT8", "amx_int8"
_REBUILD = (
    "pip cache remove llama_cpp_python, then reinstall it with CMAKE_ARGS"
    '="$(python3 scripts/cmake_args.py)"'
)


@dataclass(frozen=True, slots=True)
class Problem:
    sentence: str
    hint: str | None = None


def find_problems(
    backends: Sequence[str], features: Mapping[str, str], gpu_offload: bool, machine: Machine
) -> list[Problem]:
    """Everything about the build and the machine that slows llama.cpp down."""
    return [
        *core_problems(machine.cores),
        *gpu_problems(backends, gpu_offload, machine.gpus),
        *kernel_problems(features.get("CPU", "").split(), machine.instructions),
    ]


def core_problems(cores: Cores) -> list[Problem]:
    """Cores that this process may not use, or shares with other programs."""
    found = []
    if cores.allowed < cores.logical:
        sentence = f"this process may use {cores.allowed} of {cores.logical} cores"
        hint = (
            "set by taskset, a container or a batch system; specli starts no more threads than that"
        )
        found.append(Problem(sentence, hint))
    if cores.quota is not None and cores.quota < cores.threads:
        sentence = (
            f"a container limits CPU time to {cores.quota:.3g} cores, shared by {cores.threads} "
            "threads that then wait for each other"
        )
        found.append(Problem(sentence, f"use -t {max(1, int(cores.quota))}, or raise the limit"))
    if cores.busy:
        sentence = (
            f"the machine is busy: load average (1 min) {cores.load:.1f} on {cores.logical} cores"
        )
        hint = (
            "timings are unreliable right now; without -t specli computes with as many threads as "
            "other programs leave cores"
        )
        found.append(Problem(sentence, hint))
    return found


def gpu_problems(backends: Sequence[str], gpu_offload: bool, gpus: Sequence[str]) -> list[Problem]:
    """A GPU without a backend, or a backend without a GPU."""
    others = ", ".join(name for name in backends if name not in ("CPU", "BLAS", "RPC"))
    if gpus and not others:
        found = ", ".join(gpus)
        sentence = f"a GPU is present ({found}), but llama.cpp was built without GPU support"
        hint = (
            "reinstall llama-cpp-python with CMAKE_ARGS=-DGGML_CUDA=on (NVIDIA), "
            "-DGGML_HIP=on (AMD) or -DGGML_VULKAN=on"
        )
        return [Problem(sentence, hint)]
    if others and not gpu_offload:
        sentence = f"llama.cpp was built for {others}, but finds no such device"
        hint = "check the driver, and CUDA_VISIBLE_DEVICES if it is set"
        return [Problem(sentence, hint)]
    return []


def kernel_problems(built: Sequence[str], instructions: Sequence[str]) -> list[Problem]:
    """Instruction sets that the processor has and the build does not use."""
    usable = [name for name, needed in _KERNELS.items() if needed in instructions]
    missing = [name for name in usable if name not in built]
    found = []
    if built and missing:
        sentence = f"llama.cpp was built without {', '.join(missing)}, which this processor has"
        found.append(Problem(sentence, f"compiled for another machine: {_REBUILD}"))
    if built and _AMX in instructions and _AMX_KERNELS not in built:
        sentence = "llama.cpp was built without AMX, which this processor has"
        hint = (
            "correct with GCC 12, whose AMX code crashes on quantised weights; with GCC 13 or "
            f"later: {_REBUILD}"
        )
        found.append(Problem(sentence, hint))
    return found


def crash_problems(models: Sequence[Path], records: Path) -> list[Problem]:
    """Models whose repacked weights crash this build, as found on their first load."""
    sentence = (
        "this build of llama.cpp crashes on the repacked weights of {}; specli loads them without "
        "repacking, which is slower"
    )
    return [
        Problem(sentence.format(path.name), hint=f"GCC 12 compiles AMX wrongly: {_REBUILD}")
        for path in models
        if (probe := tried(path, records)) is not None and not probe.repacked
    ]


def memory_problems(needed: int, free: int) -> list[Problem]:
    """A pair larger than free memory, both in bytes."""
    if needed <= free:
        return []
    sentence = (
        f"the pair needs about {short_bytes(needed)}, but only {short_bytes(free)} are free: "
        "weights would be read from disk for every token"
    )
    return [Problem(sentence, hint="use smaller quantisations or a smaller context (-c)")]


def disturbed_problems(line: Roofline, *, busy: bool) -> list[Problem]:
    """A measured T(1) far above the memory limit of this machine."""
    if line.target_ms is None or not is_far_above_limit(line.target, line.target_ms):
        return []
    times = line.target_ms[1] / line.target.memory_ms
    return [
        Problem(
            f"the measured T(1) of {line.target_ms[1]:.1f} ms is {times:.0f} times its memory "
            f"limit of {line.target.memory_ms:.1f} ms: other programs "
            f"{'disturbed' if busy else 'may have disturbed'} the measurement",
            hint="measure again on an idle machine: specli run --recalibrate",
        )
    ]
