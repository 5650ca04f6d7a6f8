"""How fast this machine reads memory and multiplies matrices, measured now.

Plain decoding reads every weight and multiplies by it once per token, so these two rates bound
the speed of any implementation.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

SECONDS = 0.8
"""Time for each of the two measurements, without set-up."""
SMALLEST, LARGEST = 128 << 20, 1 << 30
_WIDTH, _COLUMNS = 1024, 256

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured rates, each from the fastest of several repeats: noise only slows a repeat down."""

    read_bytes_per_second: float
    read_size: int
    """Bytes read in each repeat."""
    read_threads: int
    read_repeats: int
    flops_per_second: float
    """Multiplications and additions of F32 matrices, with NumPy's own number of threads."""


def measured_rates(threads: int, cache: int | None, free: int) -> Rates:
    """Measure both rates, in about two seconds.

    `cache` and `free` are bytes. The memory read is larger than the cache and a small part of
    what is free.
    """
    size = read_size(cache, free)
    read, repeats = read_rate(size, threads)
    return Rates(read, size, threads, repeats, matrix_rate())


def read_size(cache: int | None, free: int) -> int:
    """Bytes to read: twice the processor's cache, within bounds and an eighth of free memory."""
    wanted = min(max(2 * (cache or 0), SMALLEST), LARGEST)
    return max(min(wanted, free // 8), 1 << 20) // 4096 * 4096


def read_rate(size: int, threads: int, clock: Clock = perf_counter) -> tuple[float, int]:
    """Bytes per second at which `threads` threads together read `size` bytes; number of repeats."""
    parts = np.array_split(np.empty(size // 8, dtype=np.uint64), threads)
    # NumPy releases the interpreter's lock in both loops, so the threads run in parallel.
    with ThreadPoolExecutor(threads) as pool:
        # Pages never written are all one shared page, which stays in the cache.
        list(pool.map(lambda part: part.fill(1), parts))
        seconds, repeats = _fastest(lambda: list(pool.map(_read, parts)), clock)
    return sum(part.nbytes for part in parts) / seconds, repeats


def _read(part: NDArray[np.uint64]) -> int:
    return int(np.bitwise_or.reduce(part))


def matrix_rate(clock: Clock = perf_counter) -> float:
    """Floating-point operations per second of a product of F32 matrices."""
    weights = np.ones((_WIDTH, _WIDTH), dtype=np.float32)
    tokens = np.ones((_WIDTH, _COLUMNS), dtype=np.float32)
    product = np.empty((_WIDTH, _COLUMNS), dtype=np.float32)
    seconds, _repeats = _fastest(lambda: np.matmul(weights, tokens, out=product), clock)
    return 2 * _WIDTH * _WIDTH * _COLUMNS / seconds


def _fastest(work: Callable[[], object], clock: Clock) -> tuple[float, int]:
    """Seconds of the fastest repeat, and the number of repeats, at least one."""
    end = clock() + SECONDS
    best, repeats = float("inf"), 0
    while not repeats or clock() < end:
        began = clock()
        work()
        # Some clocks are coarse.
        best = min(best, max(clock() - began, 1e-6))
        repeats += 1
    return best, repeats
