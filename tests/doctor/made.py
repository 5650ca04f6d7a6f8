"""Machines that are not this one."""

from __future__ import annotations

from pathlib import Path

from specli.doctor.machine import Cores, Machine
from specli.doctor.measure import Rates

XEON = ("fma", "avx2", "avx512f", "amx_int8")


def cores(
    physical: int = 4,
    logical: int = 8,
    allowed: int = 8,
    quota: float | None = None,
    load: float | None = 0.1,
    threads: int = 4,
) -> Cores:
    return Cores(physical, logical, allowed, quota, load, threads)


def machine(
    instructions: tuple[str, ...] = ("fma", "avx2"),
    gpus: tuple[str, ...] = (),
    of_cores: Cores | None = None,
    cache: int | None = 32 << 20,
) -> Machine:
    return Machine(
        system="Linux 6.1, x86_64",
        cpu="Some Processor",
        instructions=instructions,
        cores=of_cores or cores(),
        memory=16 << 30,
        memory_free=8 << 30,
        cache=cache,
        gpus=gpus,
    )


def rates(read: float = 20e9, flops: float = 200e9) -> Rates:
    """20 bytes a nanosecond: 20 MB a millisecond."""
    return Rates(read, 256 << 20, 4, 10, flops)


def files(root: Path, contents: dict[str, str]) -> Path:
    """A root folder with these files, as Linux would show them."""
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
