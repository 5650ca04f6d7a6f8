"""What is said of odd machines, and that nothing is said of a sound one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specli.doctor.problems import crash_problems, find_problems, memory_problems
from specli.llama import probe
from tests.doctor.made import XEON, cores, machine

CPU = {"CPU": "FMA AVX2"}


def sentences(**odd: object) -> list[str]:
    arguments = {
        "backends": ["CPU"],
        "features": CPU,
        "gpu_offload": False,
        "machine": machine(),
    } | odd
    return [problem.sentence for problem in find_problems(**arguments)]  # type: ignore[arg-type]


def test_a_sound_machine_has_no_problem() -> None:
    assert sentences() == []


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (cores(allowed=2, threads=2), "may use 2 of 8 cores"),
        (cores(quota=1.5), "limits CPU time to 1.5 cores, shared by 4 threads"),
        (cores(load=6.2), "load average (1 min) 6.2 on 8 cores"),
    ],
)
def test_cores_that_are_missing_or_shared_are_told(odd: object, said: str) -> None:
    (sentence,) = sentences(machine=machine(of_cores=odd))  # type: ignore[arg-type]
    assert said in sentence


@pytest.mark.parametrize(
    "fine",
    [
        cores(quota=4.0),
        cores(load=4.0),
        cores(load=None),
        cores(physical=2, logical=2, allowed=2, threads=2, load=0.4),
    ],
    ids=["quota of all threads", "half the cores idle", "load not known", "hardly busy"],
)
def test_cores_that_are_there_are_not_worth_a_word(fine: object) -> None:
    assert sentences(machine=machine(of_cores=fine)) == []  # type: ignore[arg-type]


def test_a_limit_below_one_core_still_advises_one_thread() -> None:
    found = find_problems(["CPU"], CPU, False, machine(of_cores=cores(quota=0.5)))
    assert found[0].hint is not None
    assert "-t 1," in found[0].hint


@pytest.mark.parametrize(
    ("backends", "offload", "gpus", "said"),
    [
        (["CPU"], False, ("/dev/nvidia0",), "a GPU is present (/dev/nvidia0)"),
        (["CPU", "BLAS"], False, ("/dev/kfd (AMD)",), "built without GPU support"),
        (["CUDA", "CPU"], False, (), "built for CUDA, but finds no such device"),
    ],
)
def test_a_gpu_and_a_build_that_do_not_meet_are_told(
    backends: list[str], offload: bool, gpus: tuple[str, ...], said: str
) -> None:
    (sentence,) = sentences(backends=backends, gpu_offload=offload, machine=machine(gpus=gpus))
    assert said in sentence


def test_a_gpu_in_use_is_no_problem() -> None:
    seen = machine(gpus=("/dev/nvidia0",))
    assert sentences(backends=["CUDA", "CPU"], gpu_offload=True, machine=seen) == []


def test_instructions_that_the_build_leaves_unused_are_named() -> None:
    modern = machine(instructions=("fma", "avx2", "avx512f", "avx512_vnni"))
    (sentence,) = sentences(machine=modern)
    assert "without AVX512, AVX512_VNNI" in sentence


def test_a_build_without_amx_is_told_with_the_compiler_that_needs_it() -> None:
    built = {"CPU": "FMA AVX2 AVX512"}
    (problem,) = find_problems(["CPU"], built, False, machine(instructions=XEON))
    assert "without AMX" in problem.sentence
    assert problem.hint is not None
    assert "GCC 12" in problem.hint
    complete = {"CPU": "FMA AVX2 AVX512 AMX_INT8"}
    assert find_problems(["CPU"], complete, False, machine(instructions=XEON)) == []


def test_a_build_that_names_no_features_is_not_accused() -> None:
    assert sentences(features={}, machine=machine(instructions=XEON)) == []


def test_models_that_crashed_in_their_fast_layout_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("sound", "crashing", "untried")
    models = [tmp_path / f"{name}.gguf" for name in names]
    for model in models:
        model.write_bytes(model.name.encode())
    outcomes: dict[str, list[probe.Failure | None]] = {
        "sound.gguf": [None],
        "crashing.gguf": [probe.Failure("it ends with SIGSEGV"), None],
    }
    monkeypatch.setattr(probe, "_try", lambda path, *_, **__: outcomes[path.name].pop(0))
    for model in models[:2]:
        probe.probe(model, tmp_path / "records")
    (problem,) = crash_problems(models, tmp_path / "records")
    assert "crashing.gguf" in problem.sentence


def test_a_record_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"model")
    assert probe.tried(model, tmp_path) is None
    for record in (b"", b"\xff", b"[]", json.dumps({"path": "x"}).encode()):
        probe._record(model, tmp_path).write_bytes(record)
        assert probe.tried(model, tmp_path) is None


def test_a_pair_larger_than_free_memory_is_told() -> None:
    assert memory_problems(10, 10) == []
    (problem,) = memory_problems(3 << 30, 2 << 30)
    assert "needs about 3.0 GiB, but only 2.0 GiB are free" in problem.sentence
