"""Listens, serves, and shuts down: running answers are finished first."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from specli.errors import UsageError
from specli.server.application import application
from specli.server.context import Context
from specli.server.settings import BODY_SECONDS, SEND_SECONDS

_MARGIN = 5.0
"""Seconds after the end of all answers for their last bytes."""


class _Connection(H11Protocol):
    """Drops clients that send no request, or do not read their answer: uvicorn waits for ever."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._after(BODY_SECONDS, self._drop_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._after(SEND_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop()
        super().resume_writing()

    def _drop_if_silent(self) -> None:
        if self.cycle is None:
            self.transport.abort()

    def _after(self, seconds: float, action: Callable[[], object]) -> None:
        self._stop()
        self._timer = self.loop.call_later(seconds, action)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Server(uvicorn.Server):
    """Refuses new requests at shutdown, and tells those that do not end in time."""

    def __init__(self, config: uvicorn.Config, context: Context, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = context.service
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.closing = True
        grace = self._service.settings.grace
        ending = asyncio.get_running_loop().call_later(grace, self._service.stop)
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises UsageError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            hint="another program may use the port: choose one with --port",
        ) from None


def server_of(context: Context, ready: Callable[[], None]) -> uvicorn.Server:
    """A server that calls `ready` once it takes requests."""
    options: dict[str, Any] = {
        "http": _Connection,
        "ws": "none",
        "lifespan": "off",
        "log_level": "error",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": int(context.service.settings.grace + _MARGIN),
    }
    return _Server(uvicorn.Config(application(context), **options), context, ready)


def listen(context: Context, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called once requests are taken."""
    # uvicorn raises the signal again once everything has ended.
    with suppress(KeyboardInterrupt):
        server_of(context, ready).run(sockets=[listener])
