"""Calls on one engine: what fails for one caller, and what fails for all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from specli.api.requests import Request
from specli.api.sampling import SamplingParams
from specli.api.scheduler import Call, Scheduler
from specli.engine.engine import Engine
from specli.engine.policy.fixed import FixedPolicy
from specli.errors import DecodeError, SpecliError
from specli.events import Finished, Round
from specli.session import Session
from tests.fakes import FakeDecoder, FakeVocab, hashed

N_VOCAB = 64


def scheduler(target: FakeDecoder, slots: int = 2) -> Scheduler:
    def engine() -> Engine:
        return Engine(target, FakeVocab(), [], FixedPolicy(draft_max=0), slots=slots)

    model = SimpleNamespace(vocab=SimpleNamespace(size=N_VOCAB), path=SimpleNamespace(name="fake"))
    return Scheduler(
        cast("Session", SimpleNamespace(engine=engine, target_model=model, slots=slots))
    )


def call(*prompts: list[int]) -> Call:
    params = SamplingParams(max_tokens=6, ignore_eos=True)
    return Call([Request(prompt, params, seed=0) for prompt in prompts])


def drained(call: Call) -> list[Any]:
    return [call.events.get() for _item in range(call.events.qsize())]


def run(scheduler: Scheduler) -> None:
    for _step in range(100):
        if scheduler.idle:
            return
        scheduler.step()
    pytest.fail("the scheduler does not come to an end")


def finished(call: Call) -> list[tuple[int, str]]:
    return sorted(
        (item[0], item[1].reason)
        for item in drained(call)
        if isinstance(item, tuple) and isinstance(item[1], Finished)
    )


def test_every_request_of_every_call_finishes_once() -> None:
    serving = scheduler(FakeDecoder(hashed(1)))
    first, second = call([1, 2], [3], [4, 5]), call([6])
    serving.add(first)
    serving.add(second)
    run(serving)
    assert finished(first) == [(0, "length"), (1, "length"), (2, "length")]
    assert finished(second) == [(0, "length")]


def test_logits_that_are_no_numbers_end_the_call_that_has_them() -> None:
    serving = scheduler(FakeDecoder(hashed(1), nan_at={(0, 3)}), slots=3)
    broken, sound = call([1, 2], [3, 4]), call([5, 6])
    serving.add(broken)
    serving.add(sound)
    run(serving)
    *_events, error = drained(broken)
    assert isinstance(error, SpecliError)
    assert "NaN" in error.message
    assert finished(sound) == [(0, "length")]


def test_a_decode_that_fails_ends_the_calls_that_were_in_it_and_no_others() -> None:
    target = FakeDecoder(hashed(1), faults={2: DecodeError("out of order")})
    serving = scheduler(target, slots=2)
    first, second, later = call([1, 2]), call([3]), call([1, 2])
    for one in (first, second, later):
        serving.add(one)
    run(serving)
    for one in (first, second):
        items = drained(one)
        assert isinstance(items[-1], DecodeError)
        assert sum(isinstance(item, BaseException) for item in items) == 1
    expected = call([1, 2])
    fresh = scheduler(FakeDecoder(hashed(1)))
    fresh.add(expected)
    run(fresh)
    assert tokens(later) == tokens(expected)


def tokens(call: Call) -> list[int]:
    rounds = [item[1] for item in drained(call) if isinstance(item, tuple)]
    return [token for one in rounds if isinstance(one, Round) for token in one.tokens]


def test_a_call_that_is_cancelled_leaves_the_others() -> None:
    serving = scheduler(FakeDecoder(hashed(1)), slots=1)
    first, second = call([1, 2], [3]), call([5])
    serving.add(first)
    serving.add(second)
    serving.step()
    serving.cancel(first)
    drained(first)
    run(serving)
    assert drained(first) == []
    assert finished(second) == [(0, "length")]
