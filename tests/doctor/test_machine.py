"""What is read of a machine, from the files that Linux shows of odd ones."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from specli.doctor.machine import (
    cpu_of,
    cpu_quota,
    largest_cache,
    read_cores,
    read_machine,
    visible_gpus,
)
from tests.doctor.made import files

X86 = """processor\t: 0
model name\t: AMD EPYC 9654 96-Core Processor
flags\t\t: fpu vme avx fma avx2 avx512f amx_tile amx_int8 clzero

processor\t: 1
model name\t: AMD EPYC 9654 96-Core Processor
flags\t\t: fpu vme avx fma avx2 avx512f amx_tile amx_int8 clzero
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd aes asimdhp asimddp sve i8mm bf16\nCPU part\t: 0xd40\n"


def test_the_processor_has_its_name_and_the_instructions_that_llama_cpp_uses() -> None:
    name, instructions = cpu_of(X86)
    assert name == "AMD EPYC 9654 96-Core Processor"
    assert instructions == ("avx", "fma", "avx2", "avx512f", "amx_tile", "amx_int8")


def test_an_arm_processor_has_features_and_no_name() -> None:
    assert cpu_of(ARM) == (None, ("asimd", "asimdhp", "asimddp", "sve", "i8mm", "bf16"))


def test_a_system_without_those_files_is_unknown_and_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    machine = read_machine(tmp_path)
    assert machine.cpu == "unknown"
    assert (machine.instructions, machine.cache, machine.cores.quota) == ((), None, None)


@pytest.mark.parametrize(
    ("contents", "quota"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/pod/app\n", "sys/fs/cgroup/pod/cpu.max": "200000 100000"}, 2),
        (
            {
                "proc/self/cgroup": "0::/pod/app\n",
                "sys/fs/cgroup/pod/cpu.max": "200000 100000",
                "sys/fs/cgroup/pod/app/cpu.max": "50000 100000",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "rubbish"}, None),
        ({}, None),
    ],
    ids=["none", "own", "above", "tightest", "version 1", "unlimited", "rubbish", "not Linux"],
)
def test_the_tightest_limit_of_a_container_counts(
    tmp_path: Path, contents: dict[str, str], quota: float | None
) -> None:
    assert cpu_quota(files(tmp_path, contents)) == quota


def test_a_limit_above_the_mount_is_not_looked_for(tmp_path: Path) -> None:
    root = files(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cpu.max": "1000 100000"})
    assert cpu_quota(root) is None


def test_the_largest_cache_is_found_among_all_levels(tmp_path: Path) -> None:
    folder = "sys/devices/system/cpu/cpu0/cache/index"
    sizes = {"0": "48K", "1": "32K", "2": "2048K", "3": "105M"}
    root = files(tmp_path, {f"{folder}{index}/size": size for index, size in sizes.items()})
    assert largest_cache(root) == 105 << 20


def test_cores_that_a_system_does_not_tell_of_are_not_invented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_arguments: object) -> None:
        raise AttributeError("cpu_affinity")

    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 8 if logical else None)
    monkeypatch.setattr(psutil.Process, "cpu_affinity", unknown)
    monkeypatch.setattr(psutil, "getloadavg", unknown)
    cores = read_cores(tmp_path)
    assert (cores.physical, cores.logical, cores.allowed, cores.load) == (8, 8, 8, None)


def test_cores_that_are_not_allowed_are_not_counted_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 16 if logical else 8)
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _self: [0, 1, 2], raising=False)
    cores = read_cores(tmp_path)
    assert (cores.allowed, cores.threads) == (3, 3)


@pytest.mark.parametrize(
    ("devices", "program", "signs"),
    [
        (["nvidia0", "nvidia1", "nvidiactl"], True, ["nvidia0", "nvidia1"]),
        (["nvidiactl"], False, []),
        (["kfd"], False, ["kfd (AMD)"]),
        ([], True, ["the program nvidia-smi"]),
        ([], False, []),
    ],
)
def test_a_gpu_shows_by_its_device_files_or_its_program(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    devices: list[str],
    program: bool,
    signs: list[str],
) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: "/bin/nvidia-smi" if program else None)
    root = files(tmp_path, {f"dev/{name}": "" for name in devices})
    found = [sign.removeprefix(f"{tmp_path}/dev/") for sign in visible_gpus(root)]
    assert found == signs
