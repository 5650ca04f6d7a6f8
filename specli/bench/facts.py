"""The machine, models and costs in a report."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import psutil

from specli.bench.report import CostCurve, MachineFacts, ModelFacts
from specli.doctor.machine import read_machine
from specli.engine.policy.adaptive import AdaptivePolicy
from specli.engine.policy.protocol import Policy
from specli.gguf.check import check_file
from specli.gguf.facts import read_facts
from specli.llama import library
from specli.session import Setup

_MIB = 1 << 20


def machine_facts() -> MachineFacts:
    """This machine, with the GPUs that llama.cpp finds."""
    machine = read_machine()
    return MachineFacts(
        system=machine.system,
        cpu=machine.cpu,
        cores=machine.cores.threads,
        memory=machine.memory,
        devices=tuple(library.gpus()),
        build=library.build_id(),
    )


def models_of(setup: Setup) -> tuple[ModelFacts, ...]:
    """Target and draft, if there is one. Raises ModelFileError."""
    return tuple(
        ModelFacts(
            role=role,
            name=path.name,
            type=read_facts(check_file(path)).quantisation,
            size=path.stat().st_size,
            fingerprint=fingerprint(path),
        )
        for role, path in zip(("target", "draft"), setup.files, strict=False)
    )


def fingerprint(path: Path) -> str:
    """SHA-256 over the size, the first and the last MiB of a file: distinguishes models without
    reading the whole file, which would take minutes."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_MIB))
        file.seek(max(size - _MIB, 0))
        digest.update(file.read(_MIB))
    return digest.hexdigest()


def costs_of(policy: Policy) -> dict[str, CostCurve]:
    """T(k) of target and draft, if the policy knows them."""
    if not isinstance(policy, AdaptivePolicy):
        return {}
    curves = {"target": policy.cost.target, **policy.cost.drafters}
    return {
        name: CostCurve(tuple(curve.sizes), tuple(round(curve(size), 4) for size in curve.sizes))
        for name, curve in curves.items()
    }


def peak_memory() -> int:
    """Peak resident memory of this process in bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, KiB elsewhere.
    return peak if sys.platform == "darwin" else 1024 * peak
