"""What every way in has in common: inputs that were found, inputs that are made, and a check."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """A way in for what somebody else has written.

    `check` takes one input and an empty folder, and returns in a word how specli dealt with it.
    Whatever it raises is a finding, and so is a signal that ends the process. `seeds` are inputs
    that once were findings, or are known to be hard.
    """

    name: str
    make: Callable[[random.Random], Any]
    check: Callable[[Any, Path], str]
    seeds: Sequence[Any] = ()
    in_ci: int = 60
    """Made inputs of a run in CI."""
    seconds: int = 30
    """After which a case counts as one that never ends."""


def require_sentence(message: str) -> None:
    """Raises AssertionError for a message that is no sentence for a person."""
    assert message.strip(), "an empty message"
    assert len(message) < 2000, f"a message of {len(message)} characters"
    assert "Traceback" not in message
