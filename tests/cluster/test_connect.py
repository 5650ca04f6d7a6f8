"""Errors of connecting to a cluster, in one sentence and without waiting for Ray."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import pytest

from specli.cluster.ray import connected, imported, meant
from specli.errors import SpecliError, UsageError


class FakeRay:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.given: dict[str, Any] = {}
        self.running = False

    def init(self, **given: Any) -> None:
        self.given = given
        if self.error is not None:
            raise self.error
        self.running = True

    def shutdown(self) -> None:
        self.running = False


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="Ray, which is not installed") as caught:
        imported("auto")
    assert caught.value.hint == "pip install 'specli[ray]'"


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_not_left_to_ray(scheme: str) -> None:
    ray = FakeRay()
    address = f"{scheme}127.0.0.1:{closed_port()}"
    with pytest.raises(SpecliError, match=f"no Ray cluster at {address}: .*refused"):
        connected(ray, address).__enter__()
    assert not ray.given


def test_what_ray_says_is_cut_to_its_first_line() -> None:
    ray = FakeRay(ConnectionError("Could not find any running Ray instance.\nMore about it."))
    with pytest.raises(SpecliError) as caught, connected(ray, "auto"):
        pass
    assert caught.value.message == (
        "no Ray cluster at auto: Could not find any running Ray instance."
    )
    assert "ray start --head" in (caught.value.hint or "")


def test_a_cluster_that_is_started_here_wants_a_token_and_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for address in ("auto", "local"):
        with pytest.raises(UsageError):
            imported(address)
        assert ("RAY_AUTH_TOKEN" in os.environ) == (address == "local")
    assert os.environ["RAY_AUTH_MODE"] == "token"
    ray = FakeRay()
    with connected(ray, "local"):
        assert ray.running
    assert not ray.running


def test_without_an_address_rays_own_variable_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert meant("here") == "local"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert meant("here") == "10.0.0.1:6379"
    assert meant("local") == "local"
