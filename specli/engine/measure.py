"""Measures what batches of a model cost, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Protocol

from specli.engine.policy.cost import TRUSTED_SPREAD, Curve

POINTS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64)
"""Batch sizes at which T(k) is measured."""

DRAFT_POINTS = (1, 2, 4, 8, 16)

_FIRST_SIZES = (1, 2, 4, 8, 16)
_LEAST_SIZE = 4
_LEAST_POINTS = 2
"""A curve needs a slope."""
_PATIENCE = 5.0
"""Seconds after which a slow model gets no further point."""
_MOST_REPEATS = 3
_TWICE_ONE = 2.6
_TWICE = 2.3
"""Small quantised models, whose single row has a kernel of its own, come to 2.2 from 1 to 2."""


class Batches(Protocol):
    """What can be timed; `Decoder` says what each of these does."""

    @property
    def n_ctx(self) -> int: ...

    @property
    def n_batch(self) -> int: ...

    @property
    def max_rollback(self) -> int | None: ...

    def length(self, seq: int) -> int: ...

    def add(self, seq: int, tokens: Sequence[int], position: int, outputs: int) -> int: ...

    def decode(self) -> None: ...

    def checkpoint(self, seq: int) -> None: ...

    def rollback(self, seq: int, length: int) -> None: ...


Watch = Callable[[int, int], bool]
"""Called before each batch with how many sizes are known of how many; False ends the measuring."""


def measure(
    decoder: Batches,
    points: tuple[int, ...],
    token: int,
    seconds: float,
    clock: Callable[[], float] = perf_counter,
    watch: Watch = lambda _done, _total: True,
) -> Curve:
    """Time batches of growing size on sequence 0, which must be empty and is empty again after.

    Powers of two up to 16 come first, because a curve without them decides wrongly: only a model
    of many seconds stops at 4. They come twice: the fastest time of a size counts, as what a busy
    machine adds is no cost of the model, and how far the second fastest is from it says whether
    there was any. `seconds` bounds what follows: the points between, then all again. Points that
    context or batch cannot hold are left out. `token` is any token of the vocabulary. `watch` may
    end it early, with two sizes at least.
    """
    began = clock()
    past = min(64, decoder.n_ctx // 4, decoder.n_batch)
    most = min(decoder.n_batch, decoder.n_ctx - past)
    timed(decoder, token, 0, past, clock)
    timed(decoder, token, past, 1, clock)
    sizes = [size for size in points if size <= most]
    times: dict[int, list[float]] = {}

    def go_on() -> bool:
        return watch(len(times), len(sizes)) or len(times) < _LEAST_POINTS

    for size in [size for size in sizes if size in _FIRST_SIZES] * 2:
        if not go_on():
            break
        least = size <= _LEAST_SIZE and size not in times
        if least or clock() - began < _PATIENCE:
            times.setdefault(size, []).append(timed(decoder, token, past, size, clock))
    between = [size for size in sizes if size not in times]
    for size in (*between, *(sizes * _MOST_REPEATS)):
        if not go_on():
            break
        if clock() - began + _expected(times, size) / 1000 > seconds:
            if size in times:
                break
            continue
        times.setdefault(size, []).append(timed(decoder, token, past, size, clock))
    decoder.rollback(0, 0)
    measured = sorted(times)
    return Curve(measured, [min(times[size]) for size in measured], spread=_spread(times.values()))


def _spread(times: Iterable[list[float]]) -> float:
    """The median over sizes of the second fastest time over the fastest; 1 where none has two."""
    pairs = [sorted(found)[:2] for found in times if len(found) > 1]
    return median(second / first for first, second in pairs) if pairs else 1.0


def _expected(times: Mapping[int, list[float]], size: int) -> float:
    """Milliseconds that a size is expected to take, from those that were timed."""
    if size in times:
        return min(times[size])
    return min(min(found) * max(1.0, size / known) for known, found in times.items())


def undisturbed(curve: Curve) -> bool:
    """Whether a measured curve can be a model's, and not that of a machine busy with other work.

    Its own times do not scatter then, and twice the tokens never take much more than twice the
    time.
    """
    if curve.spread > TRUSTED_SPREAD:
        return False
    times = dict(zip(curve.sizes, curve.ms, strict=True))
    doubled = [(size, ms, times[2 * size]) for size, ms in times.items() if 2 * size in times]
    return not any(too_slow(*each) for each in doubled)


def too_slow(size: int, once: float, twice: float) -> bool:
    """Whether `twice` is no model's time for twice as many tokens as the `size` in `once`."""
    return twice >= (_TWICE_ONE if size == 1 else _TWICE) * once


def timed(
    decoder: Batches, token: int, position: int, size: int, clock: Callable[[], float]
) -> float:
    """Milliseconds to decode `size` tokens at `position`; those before it stay."""
    decoder.rollback(0, position)
    decoder.checkpoint(0)
    began = clock()
    decoder.add(0, [token] * size, position, size)
    decoder.decode()
    return 1000 * (clock() - began)
