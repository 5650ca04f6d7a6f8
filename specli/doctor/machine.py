"""Processor, cores, load and memory of this machine, and signs of GPUs.

Files under `root` are those of Linux; on other systems they are missing, and the facts they hold
are unknown, never guessed.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from specli.session.loading import allowed_cores, physical_cores

ROOT = Path("/")

_QUIET_LOAD = 0.25
"""Share of all cores that other programs may keep busy without affecting timings."""

# What llama.cpp has kernels for, by Linux's names: x86 first, then ARM.
_USED_INSTRUCTIONS = re.compile(
    r"pni|ssse3|sse4_[12]|avx|avx2|avx_vnni|avx512\w+|amx_\w+|f16c|fma|bmi2|"
    r"asimd\w*|i8mm|bf16|sve2?|sme"
)


@dataclass(frozen=True, slots=True)
class Cores:
    """Counts of cores. `allowed` is the number this process may run on, `quota` the CPU time that
    a container may use, in cores. None: unknown or, for the quota, unlimited."""

    physical: int
    logical: int
    allowed: int
    quota: float | None
    load: float | None
    """The system's load average over one minute."""
    threads: int
    """Threads that specli uses without -t."""

    @property
    def busy(self) -> bool:
        """Whether other programs leave specli's threads too few cores for reliable timings."""
        return (
            self.load is not None
            and self.load > _QUIET_LOAD * self.logical
            and self.logical - self.load < self.threads
        )


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine; memory in bytes, `cache` the size of the processor's largest cache."""

    system: str
    cpu: str
    instructions: tuple[str, ...]
    cores: Cores
    memory: int
    memory_free: int
    cache: int | None
    gpus: tuple[str, ...]
    """Signs of GPUs, whether or not this build of llama.cpp supports them."""


def read_machine(root: Path = ROOT) -> Machine:
    """Read the facts of this machine; nothing is measured."""
    memory = psutil.virtual_memory()
    name, instructions = cpu_of(_text(root / "proc/cpuinfo"))
    return Machine(
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        cpu=name or _cpu_name() or "unknown",
        instructions=instructions,
        cores=read_cores(root),
        memory=memory.total,
        memory_free=memory.available,
        cache=largest_cache(root),
        gpus=tuple(visible_gpus(root)),
    )


def read_cores(root: Path = ROOT) -> Cores:
    """Cores of the machine, and how many of them this process may use."""
    logical = psutil.cpu_count() or 1
    try:
        load = psutil.getloadavg()[0]
    except (AttributeError, OSError):
        load = None
    return Cores(
        physical=psutil.cpu_count(logical=False) or logical,
        logical=logical,
        allowed=len(allowed_cores()) or logical,
        quota=cpu_quota(root),
        load=load,
        threads=physical_cores(),
    )


def cpu_of(cpuinfo: str) -> tuple[str | None, tuple[str, ...]]:
    """Name and the instruction sets that llama.cpp uses, from the text of /proc/cpuinfo."""
    model = re.search(r"^(?:model name|Hardware)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    available = flags[1].split() if flags else []
    used = tuple(name for name in available if _USED_INSTRUCTIONS.fullmatch(name))
    return (model[1].strip() if model else None), used


def _cpu_name() -> str:
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        with suppress(OSError, subprocess.SubprocessError):
            return subprocess.check_output(command, text=True, timeout=5).strip()
    return platform.processor()


def cpu_quota(root: Path = ROOT) -> float | None:
    """CPU time that control groups allow this process, in cores; None if unlimited.

    Parent groups count too; the lowest limit applies.
    """
    quotas: list[float | None] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _number, _colon, rest = line.partition(":")
        controllers, _colon, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        group = mount / path.strip("/")
        # Inside a container the path can be the host's: then only the mount itself is there.
        groups = [group, *group.parents]
        quotas += map(_quota, groups[: groups.index(mount) + 1])
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(group: Path) -> float | None:
    # One file, or two in the first version of control groups; `max` and -1 are no limit.
    names = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
    words = " ".join(_text(group / name) for name in names).split()
    if len(words) != 2 or not all(map(str.isdigit, words)):
        return None
    return int(words[0]) / int(words[1])


def largest_cache(root: Path = ROOT) -> int | None:
    """Bytes of the largest cache of the first core."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    sizes = []
    for file in (root / "sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        found = re.fullmatch(r"(\d+)([KMG])", _text(file).strip())
        if found:
            sizes.append(int(found[1]) * units[found[2]])
    return max(sizes, default=None)


def visible_gpus(root: Path = ROOT) -> list[str]:
    """Signs of a GPU: device files of its driver, or NVIDIA's own program."""
    devices = root / "dev"
    signs = [str(path) for path in sorted(devices.glob("nvidia[0-9]*"))]
    if (devices / "kfd").exists():
        signs.append(f"{devices / 'kfd'} (AMD)")
    if not signs and shutil.which("nvidia-smi"):
        signs.append("the program nvidia-smi")
    return signs


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
