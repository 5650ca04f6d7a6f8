"""Fixtures of all tests, and how OpenMP waits when tests run side by side."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.hub.fixtures import hub, index, own_cache, own_home

__all__ = ["alone", "hub", "index", "own_cache", "own_home"]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests that run at the same time decide no number of threads."""
    monkeypatch.setattr("specli.session.cores.processor_times", lambda _cores: None)


# No test asserts how long something takes. CI judges each change by the same inputs; new ones are
# what `make fuzz` and runs by hand are for.
settings.register_profile("unhurried", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("unhurried")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several workers share the cores: OpenMP threads that spin while they wait would stop the
    # others. Set before llama.cpp loads, and inherited by commands that tests start.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
