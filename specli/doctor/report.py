"""Everything that `specli doctor` reports, gathered once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from specli.doctor.machine import Machine, read_machine
from specli.doctor.measure import Rates, measured_rates
from specli.doctor.paths import DiskUse, disk_use, relevant_variables
from specli.doctor.problems import (
    Problem,
    crash_problems,
    disturbed_problems,
    find_problems,
    memory_problems,
)
from specli.doctor.roofline import Roofline, limits, roofline
from specli.gguf.check import check_file
from specli.gguf.facts import read_facts
from specli.hub.cache import cache_dir
from specli.llama import library
from specli.pairs.placement import CacheShape, whole_need
from specli.pairs.sizing import MemoryNeed, chosen_context
from specli.session import Setup
from specli.session.costs import costs_record
from specli.session.loading import placed
from specli.session.records import load


@dataclass(frozen=True, slots=True)
class Build:
    """The versions in use, and what llama.cpp was compiled with, backend by backend."""

    specli: str
    llama: str
    backends: tuple[str, ...]
    features: dict[str, str]
    devices: tuple[library.Device, ...]
    gpu_offload: bool


@dataclass(frozen=True, slots=True)
class PairLimits:
    """What is known about the chosen pair."""

    target: Path
    draft: Path | None
    roofline: Roofline
    needs: tuple[MemoryNeed, ...]
    """Memory of the target and, where there is one, of the draft, at `context` tokens."""
    context: int


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """All sections of the report."""

    build: Build
    machine: Machine
    rates: Rates
    pair: PairLimits | None
    paths: tuple[DiskUse, ...]
    variables: Mapping[str, str]
    problems: tuple[Problem, ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON: rates in bytes and operations per second, times in milliseconds."""
        return dataclasses.asdict(self)


def examine(version: str, setup: Setup | None) -> DoctorReport:
    """Read and measure the machine, and compare the pair of `setup` with it.

    Takes about two seconds. Raises ModelFileError for a model that would not load.
    """
    # First, because measuring adds to the load.
    machine = read_machine()
    build = Build(
        specli=version,
        llama=library.build_id(),
        backends=tuple(library.backends()),
        features=library.features(),
        devices=tuple(library.devices()),
        gpu_offload=library.supports_gpu(),
    )
    rates = measured_rates(machine.cores.threads, machine.cache, machine.memory_free)
    problems = find_problems(build.backends, build.features, build.gpu_offload, machine)
    pair = None
    if setup is not None:
        records = cache_dir() / "probes"
        pair = examine_pair(setup, rates, records, busy=machine.cores.busy)
        free = machine.memory_free + sum(d.free for d in build.devices if d.is_gpu)
        problems += memory_problems(sum(need.total for need in pair.needs), free)
        problems += crash_problems(setup.files, records)
        problems += disturbed_problems(pair.roofline, busy=machine.cores.busy)
    return DoctorReport(
        build=build,
        machine=machine,
        rates=rates,
        pair=pair,
        paths=tuple(disk_use()),
        variables=relevant_variables(os.environ),
        problems=tuple(problems),
    )


def examine_pair(setup: Setup, rates: Rates, records: Path, *, busy: bool) -> PairLimits:
    """Limits, measured costs and memory of a pair. Raises as `examine` does."""
    headers = [check_file(path) for path in setup.files]
    facts = [read_facts(header) for header in headers]
    context = chosen_context(facts[0], setup.n_ctx)
    shape = CacheShape(context)
    needs = tuple(whole_need(one, shape) for one in placed(setup, facts, context))
    known = load(costs_record(setup, records))
    draft_limits = None if len(headers) == 1 else limits(headers[1], rates)
    return PairLimits(
        target=setup.target,
        draft=setup.files[1] if len(headers) > 1 else None,
        roofline=roofline(
            limits(headers[0], rates), draft_limits, known[0] if known else None, busy=busy
        ),
        needs=needs,
        context=context,
    )
