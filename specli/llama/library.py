"""The native library as a whole: start-up, log, build features, devices."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import llama_cpp
from llama_cpp._ggml import libggml

from specli.errors import MemoryShortError

_LEVEL_WARN = 3
_LEVEL_ERROR = 4
_LEVEL_CONT = 5
_KEPT_LINES = 200
_STDERR = 2


class _Log:
    """llama.cpp's log: kept for error messages, shown only on request."""

    def __init__(self) -> None:
        self.verbose = False
        self._lines: deque[tuple[int, str]] = deque(maxlen=_KEPT_LINES)
        self._level = 0
        self._partial = ""

    def write(self, level: int, text: str) -> None:
        if self.verbose:
            sys.stderr.write(text)
        if level != _LEVEL_CONT:
            self._level = level
        *lines, self._partial = (self._partial + text).split("\n")
        self._lines.extend((self._level, line) for line in lines if line.strip())

    def mark(self) -> None:
        self._lines.clear()
        self._partial = ""

    def errors(self) -> list[str]:
        worst = [line for level, line in self._lines if level == _LEVEL_ERROR]
        return worst or [line for level, line in self._lines if level == _LEVEL_WARN]


_log = _Log()


@llama_cpp.llama_log_callback
def _on_log(level: int, text: bytes, _user_data: object) -> None:
    _log.write(level, text.decode("utf-8", "replace"))


@cache
def start() -> None:
    """Start llama.cpp once in this process and catch its log."""
    llama_cpp.llama_log_set(_on_log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()


def show_log(verbose: bool) -> None:
    """Print llama.cpp's log to stderr, or only keep it."""
    _log.verbose = verbose


def forget_log() -> None:
    """Drop the kept log lines, so that `log_errors` covers what follows."""
    _log.mark()


def log_errors(last: int = 3) -> str:
    """The last error lines that llama.cpp logged, or its warnings where it logged no error; words
    that say so where it logged neither."""
    return "; ".join(line.strip() for line in _log.errors()[-last:]) or "no reason given"


@contextmanager
def holding_stderr() -> Iterator[Callable[[], str]]:
    """Hold back what native code writes to stderr by itself, past llama.cpp's log.

    Yields a function that returns what has been written.
    """
    with tempfile.TemporaryFile() as held:
        before = os.dup(_STDERR)
        os.dup2(held.fileno(), _STDERR)

        def written() -> str:
            held.seek(0)
            return held.read().decode("utf-8", "replace")

        try:
            yield written
        finally:
            os.dup2(before, _STDERR)
            os.close(before)


@contextmanager
def holding_interrupts() -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C back during a native call that calls Python back, and raise it afterwards.

    Inside a callback KeyboardInterrupt would be printed and lost. Yields a function that returns
    whether Ctrl-C was pressed, so that a callback can end the call early.
    """
    with _caught(most=sys.maxsize) as pressed:
        yield lambda: bool(pressed)
    if pressed:
        raise KeyboardInterrupt


@contextmanager
def taking_one_interrupt() -> Iterator[Callable[[], bool]]:
    """Take the first Ctrl-C as the wish to skip what runs; the second one is raised.

    Yields a function that returns whether Ctrl-C was pressed.
    """
    with _caught(most=1) as pressed:
        yield lambda: bool(pressed)


@contextmanager
def _caught(most: int) -> Iterator[list[int]]:
    """A list of the times that Ctrl-C is pressed in the block; what comes after `most` is raised.

    A handler of the host, or an ignored Ctrl-C (nohup), is left alone.
    """
    pressed: list[int] = []
    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield pressed
        return

    def caught(number: int, _frame: object) -> None:
        if len(pressed) >= most:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, caught)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True, slots=True)
class Device:
    """A compute device as llama.cpp names it; memory in bytes."""

    name: str
    description: str
    kind: str
    free: int
    total: int
    backend: str = ""

    @property
    def is_gpu(self) -> bool:
        """Whether it is no part of the processor; devices of RPC servers count."""
        return self.kind in _OFFLOADED

    @property
    def is_remote(self) -> bool:
        return self.backend == RPC


RPC = "RPC"
"""The backend of other machines' devices, which are there once they were connected."""


_DEVICE_KINDS = ("cpu", "gpu", "igpu", "accel", "meta")
_OFFLOADED = ("gpu", "igpu")


def function(name: str, restype: Any, *argtypes: Any) -> Any:
    """A function of llama.cpp or ggml as llama-cpp-python does not bind it; types of ctypes.

    ggml's are looked up through llama.cpp: the bindings' wheel has three copies of each library,
    and the one that they load themselves has a registry of devices of its own, unknown to
    llama.cpp. On Windows, where a library does not give out its dependencies' functions, there is
    one copy.
    """
    try:
        found = llama_cpp.llama_cpp._lib[name]
    except AttributeError:
        found = libggml[name]
    found.restype = restype
    found.argtypes = argtypes
    return found


def _device_text(name: str, handle: Any) -> str:
    found: bytes = function(name, ctypes.c_char_p, ctypes.c_void_p)(handle)
    return found.decode("utf-8", "replace")


def _handles() -> Iterator[Any]:
    start()
    get = function("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    yield from map(get, range(function("ggml_backend_dev_count", ctypes.c_size_t)()))


def _kind(handle: Any) -> str:
    return _DEVICE_KINDS[function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)(handle)]


def devices() -> list[Device]:
    """Every device that this build of llama.cpp can use, the CPU included.

    Each RPC server is asked for its memory.
    """
    size_p = ctypes.POINTER(ctypes.c_size_t)
    memory = function("ggml_backend_dev_memory", None, ctypes.c_void_p, size_p, size_p)
    registry = function("ggml_backend_dev_backend_reg", ctypes.c_void_p, ctypes.c_void_p)
    found = []
    for handle in _handles():
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        memory(handle, ctypes.byref(free), ctypes.byref(total))
        found.append(
            Device(
                name=_device_text("ggml_backend_dev_name", handle),
                description=_device_text("ggml_backend_dev_description", handle),
                kind=_kind(handle),
                free=free.value,
                total=total.value,
                backend=_device_text("ggml_backend_reg_name", registry(handle)),
            )
        )
    return found


def gpus() -> list[str]:
    """What the devices are that layers can be offloaded to; for an RPC server, its address."""
    return [
        _device_text("ggml_backend_dev_description", handle)
        for handle in _handles()
        if _kind(handle) in _OFFLOADED
    ]


def device_handles(names: list[str]) -> Any:
    """A NULL-ended array of device handles for llama.cpp's model parameters.

    Raises KeyError with the name that no device has.
    """
    start()
    by_name = function("ggml_backend_dev_by_name", ctypes.c_void_p, ctypes.c_char_p)
    handles = {name: by_name(name.encode()) for name in names}
    for name, handle in handles.items():
        if not handle:
            raise KeyError(name)
    return (ctypes.c_void_p * (len(names) + 1))(*(handles[name] for name in names), None)


NUMA = {"distribute": 1, "isolate": 2, "numactl": 3}  # of ggml-cpu.h


@cache
def use_numa(strategy: str) -> None:
    """Place threads and memory for several NUMA nodes; the first strategy of a process stays."""
    start()
    llama_cpp.llama_numa_init(NUMA[strategy])


def buffer_types() -> dict[str, int]:
    """Names of the buffers that a tensor can be kept in, with their handles."""
    buffer = function("ggml_backend_dev_buffer_type", ctypes.c_void_p, ctypes.c_void_p)
    handles = filter(None, map(buffer, _handles()))
    return {_device_text("ggml_backend_buft_name", handle): int(handle) for handle in handles}


@dataclass(frozen=True, slots=True)
class FailedAllocation:
    """Memory that llama.cpp could not allocate; `size` in bytes, 0 where the log has no figure."""

    device: str
    size: int


_ALLOCATIONS = (
    re.compile(r"failed to allocate (?P<device>\S+) buffer of size (?P<bytes>\d+)\s*$"),
    re.compile(r"failed to allocate (?P<device>\S+) buffer of size (?P<mib>[\d.]+) MiB"),
    re.compile(r"failed to allocate buffer, size = +(?P<mib>[\d.]+) MiB"),
    re.compile(r"unable to allocate (?P<device>\S+) buffer"),
)


def failed_allocation() -> FailedAllocation | None:
    """The first allocation that failed since `forget_log`, according to the log."""
    matches = (pattern.search(line) for pattern in _ALLOCATIONS for line in _log.errors())
    found = next(filter(None, matches), None)
    if found is None:
        return None
    values = found.groupdict()
    size = int(values.get("bytes") or 0) or int(float(values.get("mib") or 0) * 2**20)
    known = devices()
    buffer = values.get("device")
    if buffer is None:
        # Where the log names no device it is the first GPU.
        return FailedAllocation(next((one.name for one in known if one.is_gpu), "CPU"), size)
    # `CUDA0` is a device; buffers like `output` and `CUDA_Host` are in main memory.
    return FailedAllocation(buffer if any(one.name == buffer for one in known) else "CPU", size)


def out_of_memory(what: str) -> MemoryShortError | None:
    """An error with the figures where an allocation failed since `forget_log`, else None."""
    failed = failed_allocation()
    if failed is None:
        return None
    free = next((device.free for device in devices() if device.name == failed.device), 0)
    size = f"{failed.size / 2**20:.0f} MiB" if failed.size else "memory"
    return MemoryShortError(
        f"llama.cpp could not allocate {size} on {failed.device} for {what}: "
        f"{free / 2**20:.0f} MiB are free there"
    )


def supports_gpu() -> bool:
    """Whether layers can be offloaded: there is a device other than the processor.

    llama.cpp's own function says so of every build with RPC, also without a server.
    """
    return bool(gpus())


def features() -> dict[str, str]:
    """The features that each backend of this build was compiled with, in llama.cpp's words."""
    start()
    info = llama_cpp.llama_print_system_info().decode("utf-8", "replace")
    groups: dict[str, list[str]] = {}
    backend = ""
    # "CPU : SSE3 = 1 | AVX2 = 1 | CUDA : ARCHS = 800 | ": a name opens what follows it.
    for entry in filter(None, (entry.strip() for entry in info.split("|"))):
        name, colon, first = entry.partition(" : ")
        if colon:
            backend, entry = name, first
        feature, _equals, value = entry.partition(" = ")
        groups.setdefault(backend, []).append(feature if value == "1" else f"{feature}={value}")
    return {name: " ".join(found) for name, found in groups.items()}


def backends() -> list[str]:
    """Names of the backends that were built in, the CPU included, with a device or without."""
    start()
    get = function("ggml_backend_reg_get", ctypes.c_void_p, ctypes.c_size_t)
    name = function("ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)
    count = function("ggml_backend_reg_count", ctypes.c_size_t)()
    names = [name(get(index)).decode("utf-8", "replace") for index in range(count)]
    # Each server that is connected is one more, named RPC[HOST:PORT].
    return [one for one in names if not one.startswith(f"{RPC}[")]


def build_id() -> str:
    """Names the library build: measurements and made files of another build are not reused."""
    version = llama_cpp.llama_version().decode()
    return f"llama-cpp-python {llama_cpp.__version__}, llama.cpp {version}"
