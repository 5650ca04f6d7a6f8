"""An allocation that fails inside llama.cpp becomes an error with figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llama_cpp
import pytest

from specli.errors import LoadError, MemoryShortError
from specli.llama import library
from specli.llama.context import Context
from specli.llama.library import Device, FailedAllocation
from specli.llama.model import Model
from tests import tiny_gguf
from tests.llama.conftest import Loader

MIB = 1 << 20
ERROR = 4
DEVICES = [
    Device("CPU", "a processor", "cpu", 9000 * MIB, 16000 * MIB),
    Device("CUDA0", "a GPU", "gpu", 700 * MIB, 8000 * MIB),
    Device("CUDA1", "a GPU", "gpu", 300 * MIB, 8000 * MIB),
]
CUDA = [
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 1234.00 MiB on device 1: "
    "cudaMalloc failed: out of memory",
    f"alloc_tensor_range: failed to allocate CUDA1 buffer of size {1234 * MIB}",
    "llama_model_load: error loading model: unable to allocate CUDA1 buffer",
]


@pytest.fixture
def three_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "devices", lambda: DEVICES)


def says(*lines: str) -> Callable[..., None]:
    """A native function that logs errors and returns NULL."""

    def fail(*_given: Any) -> None:
        for line in lines:
            library._log.write(ERROR, line + "\n")

    return fail


@pytest.mark.usefixtures("three_devices")
@pytest.mark.parametrize(
    ("lines", "device", "size"),
    [
        (CUDA, "CUDA1", 1234 * MIB),
        (["ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 5"], "CUDA0", 5),
        (["x: error: failed to allocate buffer, size =   512.50 MiB"], "CUDA0", 1025 * MIB // 2),
        (["output_reserve: failed to allocate output buffer of size 96.00 MiB"], "CPU", 96 * MIB),
        (["x: failed to allocate CPU buffer of size 7"], "CPU", 7),
        (["error loading model: unable to allocate CUDA0 buffer"], "CUDA0", 0),
    ],
)
def test_the_log_tells_which_allocation_failed(lines: list[str], device: str, size: int) -> None:
    library.forget_log()
    says(*lines)()
    assert library.failed_allocation() == FailedAllocation(device, size)


def test_other_errors_are_no_failed_allocation() -> None:
    library.forget_log()
    says("llama_model_load: error loading model: unknown model architecture: 'x'")()
    assert library.failed_allocation() is None
    assert library.out_of_memory("anything") is None


@pytest.mark.usefixtures("three_devices")
def test_weights_that_do_not_fit_are_a_shortage_of_memory_with_both_figures(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_gguf.write(tmp_path / "large.gguf", tiny_gguf.llama_bytes())
    monkeypatch.setattr(llama_cpp, "llama_model_load_from_file", says(*CUDA))
    with pytest.raises(MemoryShortError) as caught:
        Model(path)
    assert caught.value.message == (
        f"llama.cpp could not allocate 1234 MiB on CUDA1 for {path}: 300 MiB are free there"
    )


@pytest.mark.usefixtures("three_devices")
def test_a_cache_that_does_not_fit_is_one_as_well_and_other_refusals_stay_what_they_are(
    load: Loader, contexts: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(tiny_gguf.llama_bytes())
    monkeypatch.setattr(llama_cpp, "llama_init_from_model", says(CUDA[1]))
    with pytest.raises(MemoryShortError, match="1234 MiB on CUDA1 for a context of 128 tokens"):
        contexts(model)
    monkeypatch.setattr(llama_cpp, "llama_init_from_model", says("some other reason"))
    with pytest.raises(LoadError, match="some other reason"):
        contexts(model)
