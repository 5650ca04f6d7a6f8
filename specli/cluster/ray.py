"""Ray itself: imported, connected to, and what its nodes have."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

from specli.errors import SpecliError, UsageError

AUTO_ADDRESS, LOCAL, HERE = "auto", "local", "here"

_PATIENCE = 5.0
"""Seconds for a connection to an address; Ray itself tries for more than a minute."""


@dataclass(frozen=True, slots=True)
class Node:
    """What a node of a cluster has for engines."""

    cpus: int
    gpus: int

    def holds(self, cpus: int, gpus: int) -> int:
        """How many engines of this size."""
        return min(self.cpus // cpus, self.gpus // gpus if gpus else self.cpus)


def imported(address: str) -> Any:
    """Ray, with its usage statistics, dashboard and progress bars off. Raises UsageError.

    A cluster that will be started here takes no one in who does not know a word that is drawn for
    it: its processes listen on every address of this machine.
    """
    if address == LOCAL:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Its C++ part writes to the terminal, as errors, what Ray Data's actors might meet one day.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Its own patience with an address where something else listens is a minute.
    os.environ.setdefault("RAY_gcs_server_request_timeout_seconds", "10")
    try:
        import ray
        import ray.data
    except ImportError:
        raise UsageError(
            "--ray needs Ray, which is not installed", hint="pip install 'specli[ray]'"
        ) from None
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


def meant(address: str) -> str:
    """The address where none was given: the one that Ray's jobs have, else a new cluster."""
    return (os.environ.get("RAY_ADDRESS") or LOCAL) if address == HERE else address


@contextmanager
def connected(ray: Any, address: str) -> Iterator[None]:
    """Connected to a cluster; one that is started here ends here.

    Raises SpecliError where there is none.
    """
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        quiet["include_dashboard"] = False
    try:
        _require_listening(address)
        with redirect_stdout(StringIO()):
            ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        hint = "start one with ray start --head, or give --ray without an address"
        if "auth" in reason.lower():
            hint = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN where ~/.ray/auth_token is not its"
        raise SpecliError(f"no Ray cluster at {address}: {reason}", hint=hint) from None
    try:
        yield
    finally:
        ray.shutdown()


def is_there(ray: Any) -> bool:
    """Whether the head of the cluster still takes connections."""
    try:
        _require_listening(ray.get_runtime_context().gcs_address)
    except OSError:
        return False
    return True


def _require_listening(address: str) -> None:
    """Raises OSError where nothing takes connections at an address of a host and a port."""
    host, colon, port = address.removeprefix("ray://").rstrip("/").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()


def nodes(ray: Any) -> list[Node]:
    """Those that are alive."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(int(one.get("CPU", 0)), int(one.get("GPU", 0))) for one in found]
