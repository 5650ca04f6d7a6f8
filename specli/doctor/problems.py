"""What is wrong or unfortunate here, one sentence each with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from specli.doctor.machine import Cores, Machine
from specli.llama.probe import tried
from specli.pairs.quantities import short_bytes

_QUIET_LOAD = 0.25
"""Share of all cores that other programs may keep busy before it is worth a word."""
# llama.cpp's name of a kernel set, and the instructions in Linux's words that it needs.
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
    "pip cache remove llama_cpp_python, then install it again with CMAKE_ARGS"
    '="$(python3 scripts/cmake_args.py)"'
)


@dataclass(frozen=True, slots=True)
class Problem:
    sentence: str
    hint: str | None = None


def find_problems(
    backends: Sequence[str], features: Mapping[str, str], gpu_offload: bool, machine: Machine
) -> list[Problem]:
    """All that is known to make llama.cpp slower here than it has to be."""
    return [
        *core_problems(machine.cores),
        *gpu_problems(backends, gpu_offload, machine.gpus),
        *kernel_problems(features.get("CPU", "").split(), machine.instructions),
    ]


def core_problems(cores: Cores) -> list[Problem]:
    """Cores that this process does not have, or shares."""
    found = []
    if cores.allowed < cores.logical:
        found.append(
            Problem(
                f"this process may use {cores.allowed} of {cores.logical} cores",
                hint="taskset, a container or a batch system has set that, and specli starts "
                "no more threads than it may use cores",
            )
        )
    if cores.quota is not None and cores.quota < cores.threads:
        found.append(
            Problem(
                f"a container limit grants {cores.quota:.3g} cores of time to {cores.threads} "
                "threads, which then wait for each other",
                hint=f"use -t {max(1, int(cores.quota))}, or raise the limit",
            )
        )
    if cores.load is not None and _is_busy(cores, cores.load):
        found.append(
            Problem(
                f"the machine is busy: {cores.load:.1f} programs wanted to run on its "
                f"{cores.logical} cores in the last minute",
                hint="threads of llama.cpp wait for the slowest of them: timings taken now lie, "
                "and fewer threads (-t) can be faster",
            )
        )
    return found


def _is_busy(cores: Cores, load: float) -> bool:
    return load > _QUIET_LOAD * cores.logical and cores.logical - load < cores.threads


def gpu_problems(backends: Sequence[str], gpu_offload: bool, gpus: Sequence[str]) -> list[Problem]:
    """A GPU without a backend, or a backend without a GPU."""
    others = [name for name in backends if name not in ("CPU", "BLAS", "RPC")]
    if gpus and not others:
        return [
            Problem(
                f"a GPU is to be seen ({', '.join(gpus)}), but llama.cpp was built without one",
                hint="install llama-cpp-python again with CMAKE_ARGS=-DGGML_CUDA=on "
                "(NVIDIA), -DGGML_HIP=on (AMD) or -DGGML_VULKAN=on",
            )
        ]
    if others and not gpu_offload:
        return [
            Problem(
                f"llama.cpp was built for {', '.join(others)}, but finds no such device",
                hint="check the driver, and CUDA_VISIBLE_DEVICES where it is set",
            )
        ]
    return []


def kernel_problems(built: Sequence[str], instructions: Sequence[str]) -> list[Problem]:
    """Instructions that the processor has and the build does not use."""
    usable = [name for name, needed in _KERNELS.items() if needed in instructions]
    missing = [name for name in usable if name not in built]
    found = []
    if built and missing:
        found.append(
            Problem(
                f"llama.cpp was built without {', '.join(missing)}, which this processor has",
                hint=f"it was compiled for another machine: {_REBUILD}",
            )
        )
    if built and _AMX in instructions and _AMX_KERNELS not in built:
        found.append(
            Problem(
                "llama.cpp was built without AMX, which this processor has",
                hint="that is right with GCC 12, whose AMX code crashes on quantised weights; "
                f"with GCC 13 or later: {_REBUILD}",
            )
        )
    return found


def crash_problems(models: Sequence[Path], records: Path) -> list[Problem]:
    """Models whose weights crash this build in their fastest layout, as their first load found."""
    return [
        Problem(
            f"this build of llama.cpp crashes on the repacked weights of {path.name}; specli "
            "loads them as they are, which is slower",
            hint=f"GCC 12 compiles AMX wrongly: {_REBUILD}",
        )
        for path in models
        if (probe := tried(path, records)) is not None and not probe.repacked
    ]


def memory_problems(needed: int, free: int) -> list[Problem]:
    """A pair that is larger than what is free, both in bytes."""
    if needed <= free:
        return []
    return [
        Problem(
            f"the pair needs about {short_bytes(needed)} and {short_bytes(free)} are free: "
            "weights would be read from disk again and again",
            hint="take smaller quantisations, or a smaller context (-c)",
        )
    ]
