"""A call in a process of its own: a driver that crashes, or does not return, is then a result."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from specli.errors import SpecliError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a call returned nothing."""

    reason: str


def call(function: Callable[..., T], *arguments: Any, limit: float | None = None) -> T | Failed:
    """What the function of a module returns, within `limit` seconds where that is given.

    Arguments and result are pickled. The traceback of what it raises is on stderr, but that of a
    SpecliError, whose sentence is the reason.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sending, function, arguments), daemon=True)
    process.start()
    sending.close()
    with receiving:
        if not receiving.poll(limit):
            process.kill()
            process.join()
            return Failed(f"no result within {limit:g} s")
        try:
            answer: T | Failed = receiving.recv()
        except EOFError:
            answer = Failed("")
    process.join()
    return Failed(_end(process.exitcode or 0)) if answer == Failed("") else answer


def _answer(sending: Connection, function: Callable[..., T], arguments: tuple[Any, ...]) -> None:
    try:
        sending.send(function(*arguments))
    except SpecliError as error:
        sending.send(Failed(error.message))


def _end(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
