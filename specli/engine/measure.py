"""Measures what batches of a model cost, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from specli.engine.policy.cost import Curve
from specli.llama.decoder import Decoder

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

Watch = Callable[[int, int], bool]
"""Called before each batch with how many sizes are known of how many; False ends the measuring."""


def measure(
    decoder: Decoder,
    points: tuple[int, ...],
    token: int,
    seconds: float,
    clock: Callable[[], float] = perf_counter,
    watch: Watch = lambda _done, _total: True,
) -> Curve:
    """Time batches of growing size on sequence 0, which must be empty and is empty again after.

    Powers of two up to 16 come first, because a curve without them decides wrongly: only a model
    of many seconds stops at 4. `seconds` bounds what follows: the points between, then all again,
    small ones first. The fastest time of a size counts: what a busy machine adds is no cost of the
    model. Points that context or batch cannot hold are left out. `token` is any token of the
    vocabulary. `watch` may end it early, with two sizes at least.
    """
    began = clock()
    past = min(64, decoder.n_ctx // 4, decoder.n_batch)
    most = min(decoder.n_batch, decoder.n_ctx - past)
    _timed(decoder, token, 0, past, clock)
    _timed(decoder, token, past, 1, clock)
    sizes = [size for size in points if size <= most]
    best: dict[int, float] = {}

    def go_on() -> bool:
        return watch(len(best), len(sizes)) or len(best) < _LEAST_POINTS

    for size in (size for size in sizes if size in _FIRST_SIZES):
        if not go_on():
            break
        if size <= _LEAST_SIZE or clock() - began < _PATIENCE:
            best[size] = _timed(decoder, token, past, size, clock)
    between = [size for size in sizes if size not in best]
    for size in (*between, *(sizes * _MOST_REPEATS)):
        if not go_on():
            break
        expected = _expected(best, size)
        if clock() - began + expected / 1000 > seconds:
            if size in best:
                break
            continue
        took = _timed(decoder, token, past, size, clock)
        best[size] = min(took, best.get(size, took))
    decoder.rollback(0, 0)
    measured = sorted(best)
    return Curve(measured, [best[size] for size in measured])


def _expected(best: dict[int, float], size: int) -> float:
    """Milliseconds that a size is expected to take, from those that were timed."""
    return best.get(size) or min(ms * max(1.0, size / known) for known, ms in best.items())


def undisturbed(curve: Curve) -> bool:
    """Whether a measured curve can be a model's, and not that of a machine busy with other work.

    Twice the tokens never take much more than twice the time.
    """
    times = dict(zip(curve.sizes, curve.ms, strict=True))
    doubled = [(size, ms, times[2 * size]) for size, ms in times.items() if 2 * size in times]
    return all(
        twice < (_TWICE_ONE if size == 1 else _TWICE) * once for size, once, twice in doubled
    )


def _timed(
    decoder: Decoder, token: int, position: int, size: int, clock: Callable[[], float]
) -> float:
    """Milliseconds to decode `size` tokens at `position`; those before it stay."""
    decoder.rollback(0, position)
    decoder.checkpoint(0)
    began = clock()
    decoder.add(0, [token] * size, position, size)
    decoder.decode()
    return 1000 * (clock() - began)
